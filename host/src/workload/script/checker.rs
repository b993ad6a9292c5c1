//! What can be found in a script without running it: functions that nobody has, calls with the wrong
//! number of arguments, options that a host call does not know, operations and metrics that the
//! script's options do not declare. In the script and in the files that it imports.
//!
//! Rhai finds an unknown function only when it is called, which may be an hour into a run. The
//! checker walks the syntax tree against what is registered with the engine and what the script
//! defines. It reports only what cannot be right: a method may be a closure in a map, so a method's
//! name is doubted only if nothing in any of the files could have put it there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use rhai::{AST, ASTNode, Engine, Expr, FnAccess, FnCallExpr, Position, Stmt};

use super::{
    fault::place,
    resolver::inside,
    surface::{CALLS, Call, hint},
};
use crate::{
    diagnostic::{Diagnostic, nearest},
    plan::Options,
};

/// Functions that Rhai handles in its syntax; they are registered nowhere.
const SYNTAX: [&str; 10] = [
    "print",
    "debug",
    "type_of",
    "Fn",
    "call",
    "curry",
    "is_def_var",
    "is_def_fn",
    "is_shared",
    "eval",
];

/// At most so many findings: the first ones are what is mended first.
const MOST: usize = 50;

type Arities = BTreeMap<String, BTreeSet<usize>>;

/// A file that was parsed.
pub struct File<'a> {
    /// Canonical; of the script itself it is not asked for.
    pub path: PathBuf,
    /// As it is shown.
    pub origin: String,
    pub text: &'a str,
    pub ast: AST,
}

/// What is wrong with a script and the files that it imports: the script first, each in the order of
/// its lines.
pub fn findings(
    script: &File<'_>,
    imported: &[File<'_>],
    root: &Path,
    engine: &Engine,
    options: &Options,
) -> Vec<Diagnostic> {
    let mut known = Known::new(engine, options);
    let files = || std::iter::once(script).chain(imported);
    files().for_each(|file| known.add_names(&file.ast));
    let mut found = Vec::new();
    for file in files() {
        // What the script defines is at hand in the files that it imports, once it runs.
        known.own = functions(&script.ast, false);
        for (name, arities) in functions(&file.ast, false) {
            known.own.entry(name).or_default().extend(arities);
        }
        known.imports = imports(&file.ast, imported, root);
        let doubts = doubts(&known, &file.ast, MOST.saturating_sub(found.len()));
        found.extend(
            doubts.into_iter().map(|(position, it)| place(it, &file.origin, file.text, position)),
        );
    }
    found
}

/// What is doubted in a file, at most so much.
fn doubts(known: &Known, ast: &AST, most: usize) -> Vec<(Position, Diagnostic)> {
    let mut found = Vec::new();
    if most == 0 {
        return found;
    }
    ast.walk(&mut |path: &[ASTNode]| {
        let call = match path.last() {
            Some(
                ASTNode::Expr(Expr::FnCall(call, position))
                | ASTNode::Stmt(Stmt::FnCall(call, position)),
            ) => Some((call, *position, false)),
            Some(ASTNode::Expr(Expr::MethodCall(call, position))) => Some((call, *position, true)),
            _ => None,
        };
        if let Some((call, position, is_method)) = call {
            found.extend(known.doubts(call, is_method, position));
        }
        found.len() < most
    });
    found.sort_by_key(|(position, _)| at(*position));
    found
}

/// The functions of a file; only those that others may call, if asked.
fn functions(ast: &AST, public: bool) -> Arities {
    let mut functions = Arities::new();
    for function in ast.iter_functions() {
        if !public || function.access == FnAccess::Public {
            functions.entry(function.name.to_owned()).or_default().insert(function.params.len());
        }
    }
    functions
}

/// The names under which a file imports others, with the functions behind them; `None` where the path
/// is computed.
fn imports(ast: &AST, imported: &[File<'_>], root: &Path) -> BTreeMap<String, Option<Arities>> {
    let mut names = BTreeMap::from([("global".to_owned(), None)]);
    ast.walk(&mut |path: &[ASTNode]| {
        if let Some(ASTNode::Stmt(Stmt::Import(import, _))) = path.last() {
            let file = match &import.0 {
                Expr::StringConstant(path, _) => inside(root, path, Some("rhai")).ok(),
                _ => None,
            };
            let file = file.and_then(|path| imported.iter().find(|file| file.path == path));
            let functions = file.map(|file| functions(&file.ast, true));
            let name = import.1.name.to_string();
            // One name for two files: which one is meant where is not known.
            let clear = names.get(&name).is_none_or(|known| *known == functions);
            names.insert(name, functions.filter(|_| clear));
        }
        true
    });
    names
}

fn at(position: Position) -> (usize, usize) {
    (position.line().unwrap_or(0), position.position().unwrap_or(0))
}

struct Known {
    /// Functions by module; the empty name is the global one.
    modules: BTreeMap<String, Arities>,
    /// Functions that the file in question may call by their names.
    own: Arities,
    /// Names under which it imports something.
    imports: BTreeMap<String, Option<Arities>>,
    /// Functions of all files, which may be called as methods.
    methods: BTreeSet<String>,
    /// Names that may hold a closure: variables, parameters, keys of maps, properties.
    values: BTreeSet<String>,
    ops: BTreeSet<String>,
    metrics: BTreeSet<String>,
}

impl Known {
    fn new(engine: &Engine, options: &Options) -> Self {
        let registered = engine.collect_fn_metadata(
            None,
            |info| {
                let (name, count) = (info.metadata.name.to_string(), info.metadata.num_params);
                Some((info.namespace.to_string(), name, count))
            },
            true,
        );
        let mut modules: BTreeMap<String, Arities> = BTreeMap::new();
        for (module, name, count) in registered {
            modules.entry(module).or_default().entry(name).or_default().insert(count);
        }
        let names = |key: &str| match options.0.get(key) {
            Some(serde_json::Value::Array(items)) => {
                items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
            }
            Some(serde_json::Value::Object(fields)) => fields.keys().cloned().collect(),
            _ => BTreeSet::new(),
        };
        Self {
            modules,
            own: Arities::new(),
            imports: BTreeMap::new(),
            methods: BTreeSet::new(),
            values: BTreeSet::new(),
            ops: names("ops"),
            metrics: names("metrics"),
        }
    }

    fn add_names(&mut self, ast: &AST) {
        for function in ast.iter_functions() {
            self.methods.insert(function.name.to_owned());
            self.values.extend(function.params.iter().map(ToString::to_string));
        }
        ast.walk(&mut |path: &[ASTNode]| {
            match path.last() {
                Some(ASTNode::Stmt(Stmt::Var(declared, ..))) => {
                    self.values.insert(declared.0.name.to_string());
                }
                Some(ASTNode::Expr(Expr::Map(map, _))) => {
                    self.values.extend(map.0.iter().map(|(key, _)| key.name.to_string()));
                }
                Some(ASTNode::Expr(Expr::Property(property, _))) => {
                    self.values.insert(property.2.to_string());
                }
                _ => {}
            }
            true
        });
    }

    fn doubts(
        &self,
        call: &FnCallExpr,
        is_method: bool,
        position: Position,
    ) -> Vec<(Position, Diagnostic)> {
        if call.op_token.is_some() || SYNTAX.contains(&call.name.as_str()) {
            return Vec::new();
        }
        let callee = if is_method {
            self.method(call)
        } else if call.namespace.is_empty() {
            self.function(call)
        } else {
            self.qualified(call)
        };
        let doubts = callee.into_iter().chain(self.metric(call));
        doubts.map(|diagnostic| (position, diagnostic)).chain(self.options(call)).collect()
    }

    fn function(&self, call: &FnCallExpr) -> Option<Diagnostic> {
        let name = call.name.as_str();
        if self.values.contains(name) || name.contains('$') {
            return None;
        }
        let global = self.modules.get("").and_then(|module| module.get(name));
        let arities: BTreeSet<usize> =
            self.own.get(name).into_iter().chain(global).flatten().copied().collect();
        if !arities.is_empty() {
            return arity(name, call.args.len(), &arities);
        }
        // Methods of a module's types are found without its name, too.
        if self.modules.values().any(|module| module.contains_key(name)) {
            return None;
        }
        let names = self.own.keys().chain(self.modules.get("").into_iter().flat_map(Arities::keys));
        Some(unknown(&format!("function `{name}`"), name, names.map(String::as_str)))
    }

    fn qualified(&self, call: &FnCallExpr) -> Option<Diagnostic> {
        let path = call.namespace.to_string();
        let module = path.trim_end_matches("::");
        if module.contains("::") {
            return None;
        }
        let functions = match self.imports.get(module) {
            Some(imported) if !self.values.contains(call.name.as_str()) => Some(imported.as_ref()?),
            Some(_) => return None,
            None => self.modules.get(module),
        };
        let Some(functions) = functions else {
            let names = self.modules.keys().map(String::as_str).filter(|name| !name.is_empty());
            return Some(unknown(&format!("module `{module}`"), module, names));
        };
        let name = call.name.as_str();
        match functions.get(name) {
            Some(arities) => arity(&format!("{module}::{name}"), call.args.len(), arities),
            None => Some(unknown(
                &format!("function `{module}::{name}`"),
                name,
                functions.keys().map(String::as_str),
            )),
        }
    }

    fn method(&self, call: &FnCallExpr) -> Option<Diagnostic> {
        let name = call.name.as_str();
        let is_known = self.methods.contains(name)
            || self.values.contains(name)
            || self.modules.values().any(|module| module.contains_key(name));
        if is_known {
            return None;
        }
        let names = self.modules.values().flat_map(Arities::keys).map(String::as_str);
        Some(unknown(&format!("method `{name}`"), name, names))
    }

    /// A metric that is named but not declared.
    fn metric(&self, call: &FnCallExpr) -> Option<Diagnostic> {
        match call.args.first() {
            Some(Expr::StringConstant(name, _))
                if module(call) == "metric" && !self.metrics.contains(name.as_str()) =>
            {
                Some(undeclared("metric", name, "metrics", &self.metrics))
            }
            _ => None,
        }
    }

    /// Options of a host call that are written as a map: keys that it does not know, operations that
    /// are not declared.
    fn options(&self, call: &FnCallExpr) -> Vec<(Position, Diagnostic)> {
        let (module, function) = (module(call), call.name.as_str());
        let is_it = |host: &&Call| host.name.split_once("::") == Some((module.as_str(), function));
        let Some(host) = CALLS.iter().find(is_it) else { return Vec::new() };
        if self.imports.contains_key(&module) {
            return Vec::new();
        }
        let options = call.args.get(host.argument).map(|options| (options, host.keys));
        let elements = match call.args.first() {
            Some(Expr::Array(items, _)) if !host.elements.is_empty() => items.as_slice(),
            _ => &[],
        };
        let elements = elements.iter().map(|item| (item, host.elements));
        let mut doubts = Vec::new();
        for (written, known) in elements.chain(options) {
            let Expr::Map(map, _) = written else { continue };
            for (key, value) in &map.0 {
                let doubt = match value {
                    _ if !known.contains(&key.name.as_str()) => {
                        let message = format!("`{}` has no option `{}`", host.name, key.name);
                        Diagnostic::new(message).help(hint(&key.name, known))
                    }
                    Expr::StringConstant(op, _)
                        if key.name == "op" && !self.ops.contains(op.as_str()) =>
                    {
                        undeclared("op", op, "ops", &self.ops)
                    }
                    _ => continue,
                };
                doubts.push((key.pos, doubt));
            }
        }
        doubts
    }
}

/// The module that a call names; empty for none.
fn module(call: &FnCallExpr) -> String {
    call.namespace.to_string().trim_end_matches("::").to_owned()
}

fn arity(name: &str, given: usize, arities: &BTreeSet<usize>) -> Option<Diagnostic> {
    if arities.contains(&given) {
        return None;
    }
    let wanted: Vec<_> = arities.iter().map(ToString::to_string).collect();
    Some(Diagnostic::new(format!(
        "`{name}` is called with {given} argument{}, but takes {}",
        if given == 1 { "" } else { "s" },
        wanted.join(" or ")
    )))
}

fn unknown<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str>) -> Diagnostic {
    let diagnostic = Diagnostic::new(format!("there is no {what}"));
    match nearest(name, names) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}

fn undeclared(what: &str, name: &str, key: &str, declared: &BTreeSet<String>) -> Diagnostic {
    let help = nearest(name, declared.iter().map(String::as_str)).map_or_else(
        || format!("add it to `{key}` in the options"),
        |near| format!("did you mean `{near}`? else add it to `{key}` in the options"),
    );
    Diagnostic::new(format!("{what} `{name}` is not declared")).help(help)
}
