//! Scripts as workloads: Rhai, on stackful fibres. DESIGN §3, §6, §8.
//!
//! A script's text is what all shards share; each evaluates it once, because Rhai values stay on
//! their thread. The evaluated top level becomes a module whose functions carry their surroundings,
//! so that constants (`global::NAME`) and imports stay visible. Functions are called through pointers
//! that are linked to that module, with the virtual user's map as `this`: nothing is looked up by
//! name, which makes an empty iteration cheap.
//!
//! | file | what it holds |
//! |---|---|
//! | `source` | reading, and what is refused before it is parsed |
//! | `engine`, `resolver`, `files` | what a script may use, and how much |
//! | `surface/` | the functions and types that it sees |
//! | `fibre` | how its blocking calls suspend (the only unsafe code) |
//! | `session` | who runs at the moment, and for how long |
//! | `user` | the virtual user |
//! | `describe`, `checker` | what can be said without running it |
//! | `convert`, `fault` | values and errors across the wall |
//! | `template` | what `wavetank script new` writes |

#![expect(clippy::unnecessary_box_returns, reason = "Rhai's functions throw boxed errors")]

mod checker;
mod convert;
mod describe;
mod engine;
mod fault;
mod fibre;
mod files;
mod resolver;
mod session;
mod source;
mod surface;
mod template;
mod user;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_hostile;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, mpsc},
    time::Duration,
};

pub use template::TEMPLATE;

use rhai::{AST, Dynamic, Engine, Module, Scope, Shared};
use serde_json::Value as Json;

use super::{
    Description, GuestError, GuestErrorKind, LoadError, LoadInput, VirtualUser, VirtualUserInput,
};
use crate::{
    diagnostic::{Diagnostic, nearest},
    digest::Digest,
    metric::Builtin,
    plan::{Grants, Limits, Options},
};

/// Functions that are not iterations.
const LIFECYCLE: [&str; 3] = ["setup", "init", "teardown"];

/// What only an instance of a component has.
const UNMEASURED: &[Builtin] =
    &[Builtin::GuestMemoryBytes, Builtin::GuestRefused, Builtin::GuestTraps];

/// How long a script's top level may run.
const TOP_LEVEL: Duration = Duration::from_secs(10);

/// A loaded script; shared by all shards.
#[derive(Debug)]
pub struct Program {
    description: Description,
    findings: Vec<Diagnostic>,
    text: Text,
}

/// What is known of a script once it was loaded.
#[derive(Debug)]
struct Loaded {
    description: Description,
    findings: Vec<Diagnostic>,
}

/// What a script is evaluated from.
#[derive(Clone, Debug)]
struct Text {
    /// The file as it is shown.
    origin: String,
    /// Its folder, canonical.
    root: PathBuf,
    /// Its text.
    source: String,
    /// What it imports and reads, as it was read first.
    files: files::Files,
    given: Arc<BTreeMap<String, String>>,
    secrets: Arc<BTreeMap<String, String>>,
    limits: Arc<Limits>,
    grants: Arc<Grants>,
}

/// A script prepared for one shard's thread.
#[derive(Debug)]
pub struct ShardProgram {
    engine: Engine,
    current: Rc<session::Current>,
    stacks: Rc<fibre::StackPool>,
    /// Public functions with the numbers of parameters that they take.
    functions: BTreeMap<String, Vec<usize>>,
    module: Shared<Module>,
    /// What it may do with targets.
    grants: Arc<Grants>,
    entries: RefCell<BTreeMap<String, Rc<user::Entry>>>,
    data: RefCell<Option<(Arc<Json>, Dynamic)>>,
    origin: String,
    root: PathBuf,
}

/// A script whose top level was evaluated, on its thread.
struct Evaluated {
    engine: Engine,
    current: Rc<session::Current>,
    ast: AST,
    module: Module,
    loading: surface::Loading,
    resolver: resolver::Resolver,
}

impl Program {
    /// Its text, as it was read.
    pub fn source(&self) -> &str {
        &self.text.source
    }

    /// Reads, checks and describes it.
    pub fn load(path: &Path, input: &LoadInput) -> Result<Self, LoadError> {
        let origin = path.display().to_string();
        let text = source::read(path, input.limits.source_bytes)?;
        source::check(&text, &origin)?;
        let root = path
            .canonicalize()
            .ok()
            .and_then(|path| path.parent().map(Path::to_owned))
            .ok_or_else(|| Diagnostic::new(format!("`{origin}` lies in no folder")))?;
        let text = Text {
            origin,
            files: files::Files::of(&root),
            root,
            source: text,
            given: Arc::new(input.parameters.clone()),
            secrets: Arc::new(input.secrets.clone()),
            limits: input.limits.clone(),
            grants: Arc::clone(&input.grants),
        };
        let Loaded { description, findings } = load_aside(&text)?;
        // What it imports is known only now: so far nothing of it could do anything but compute.
        let refused = |error: Diagnostic| LoadError::Refused(error.in_file(path));
        input.check(&description.digest).map_err(refused)?;
        if input.pin.is_some() {
            text.files.seal();
        }
        Ok(Self { description, findings, text })
    }

    /// What it says of itself.
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// What is wrong with it, found without running it: unknown functions, wrong numbers of
    /// arguments, undeclared operations and metrics.
    pub fn findings(&self) -> &[Diagnostic] {
        &self.findings
    }

    /// Prepares it for the calling thread.
    pub fn on_shard(&self) -> Result<ShardProgram, LoadError> {
        let evaluated = fibre::on_roomy_stack(|| evaluate(&self.text, true, || {}))
            .map_err(|error| Diagnostic::new(format!("no stack for a script: {error}")))??;
        let Evaluated { mut engine, current, ast, module, .. } = evaluated;
        let module = Shared::new(module);
        engine.register_global_module(module.clone());
        Ok(ShardProgram {
            engine,
            current,
            stacks: Rc::default(),
            functions: functions(&ast),
            module,
            grants: Arc::clone(&self.text.grants),
            entries: RefCell::default(),
            data: RefCell::default(),
            origin: self.text.origin.clone(),
            root: self.text.root.clone(),
        })
    }
}

impl ShardProgram {
    /// A new virtual user.
    pub fn virtual_user(
        self: &Rc<Self>,
        input: VirtualUserInput,
    ) -> Result<Box<dyn VirtualUser>, GuestError> {
        Ok(Box::new(user::User::new(self, input)))
    }

    /// A function as it is called; `None` if the script does not have it.
    fn entry(&self, function: &str) -> Result<Option<Rc<user::Entry>>, GuestError> {
        if let Some(entry) = self.entries.borrow().get(function) {
            return Ok(Some(entry.clone()));
        }
        let Some(arities) = self.functions.get(function) else { return Ok(None) };
        let found = [1, 0].into_iter().find_map(|arity| {
            arities.contains(&arity).then_some(())?;
            Some((arity, self.module.get_script_fn(function, arity)?.clone()))
        });
        let Some((arity, definition)) = found else {
            return Err(GuestError {
                kind: GuestErrorKind::Misuse,
                message: format!("function `{function}` must take one parameter"),
                place: None,
            });
        };
        let entry = Rc::new(user::Entry { function: definition.into(), takes_one: arity == 1 });
        self.entries.borrow_mut().insert(function.to_owned(), entry.clone());
        Ok(Some(entry))
    }

    /// What setup returned, as scripts see it; converted once per shard.
    fn data(&self, json: &Arc<Json>) -> Dynamic {
        let mut data = self.data.borrow_mut();
        match &*data {
            Some((known, value)) if Arc::ptr_eq(known, json) => value.clone(),
            _ => {
                let value = convert::view(Json::clone(json));
                *data = Some((json.clone(), value.clone()));
                value
            }
        }
    }
}

/// What scripts can use, as a Rhai definition file for editors (`wavetank script definitions`).
pub fn definitions() -> String {
    let current = Rc::new(session::Current::new());
    let loading = surface::Loading::default();
    let resolver = resolver::Resolver::new(Path::new(""), 0, files::Files::default());
    let engine = engine::engine(&Limits::default(), &current, resolver, &loading, true);
    engine.definitions().with_headers(true).single_file()
}

/// Loads a script on a thread of its own, because nothing can stop Rhai's parser: when it takes
/// too long, the thread is left behind and the script refused.
fn load_aside(text: &Text) -> Result<Loaded, Diagnostic> {
    let (tell, told) = mpsc::channel();
    let parse_time = text.limits.parse_time;
    let own = text.clone();
    let work = move || {
        let parsed = tell.clone();
        let evaluated = fibre::on_roomy_stack(|| {
            evaluate(&own, false, || drop(parsed.send(None)))
                .and_then(|evaluated| loaded(&own, &evaluated))
        });
        let result =
            evaluated.unwrap_or_else(|error| Err(Diagnostic::new(format!("no stack: {error}"))));
        // Nobody listens any more when this took too long.
        let _ = tell.send(Some(result));
    };
    std::thread::Builder::new()
        .name("script-load".to_owned())
        .spawn(work)
        .map_err(|error| Diagnostic::new(format!("no thread to parse a script on: {error}")))?;
    let gone = |what: &str, limit: Duration| {
        Diagnostic::new(format!("the script takes longer than {limit:?} to {what}"))
            .help("make it smaller, or raise --limit parse_time=DURATION")
            .in_file(&text.origin)
    };
    let panicked = || {
        Diagnostic::new("the interpreter panicked on this script: a bug, please report it")
            .in_file(&text.origin)
    };
    for (what, limit) in [("parse", parse_time), ("evaluate", TOP_LEVEL + parse_time)] {
        match told.recv_timeout(limit) {
            Ok(Some(result)) => return result,
            Ok(None) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => return Err(gone(what, limit)),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(panicked()),
        }
    }
    Err(panicked())
}

/// Parses and evaluates a script's top level. `parsed` is called in between.
fn evaluate(text: &Text, optimise: bool, parsed: impl FnOnce()) -> Result<Evaluated, Diagnostic> {
    let current = Rc::new(session::Current::new());
    let loading = surface::Loading {
        files: text.files.clone(),
        given: text.given.clone(),
        secrets: text.secrets.clone(),
        limits: text.limits.clone(),
        ..surface::Loading::default()
    };
    let (limit, files) = (text.limits.source_bytes, text.files.clone());
    let resolver = resolver::Resolver::new(&text.root, limit, files);
    let engine = engine::engine(&text.limits, &current, resolver.clone(), &loading, optimise);
    let mut ast = engine
        .compile(&text.source)
        .map_err(|error| fault::parse_diagnostic(&error, &text.origin, &text.source))?;
    parsed();
    ast.set_source(text.origin.as_str());
    current.load_within(TOP_LEVEL);
    let module = Module::eval_ast_as_new(Scope::new(), &ast, &engine);
    let ended = current.loaded();
    let module = module.map_err(|error| {
        fault::load_diagnostic(&error, ended, &text.root, &text.origin, &text.source)
    })?;
    Ok(Evaluated { engine, current, ast, module, loading, resolver })
}

fn loaded(text: &Text, evaluated: &Evaluated) -> Result<Loaded, Diagnostic> {
    let description = description(text, evaluated)?;
    let read = evaluated.resolver.files.borrow();
    let script = checker::File {
        path: PathBuf::new(),
        origin: text.origin.clone(),
        text: &text.source,
        ast: evaluated.ast.clone(),
    };
    // They were compiled once already, so there is no error to be told.
    let imported = read.iter().filter_map(|(path, source)| {
        let ast = evaluated.engine.compile(source).ok()?;
        let name = path.strip_prefix(&text.root).unwrap_or(path);
        let origin = fault::beside(&text.origin, name);
        Some(checker::File { path: path.clone(), origin, text: source, ast })
    });
    let (imported, engine): (Vec<_>, _) = (imported.collect(), &evaluated.engine);
    let findings = checker::findings(&script, &imported, &text.root, engine, &description.options);
    Ok(Loaded { description, findings })
}

fn description(text: &Text, evaluated: &Evaluated) -> Result<Description, Diagnostic> {
    let parameters = evaluated.loading.parameters.take();
    if let Some(unknown) =
        text.given.keys().find(|name| !parameters.iter().any(|known| known.name == **name))
    {
        let names = || parameters.iter().map(|parameter| parameter.name.as_str());
        let help = nearest(unknown, names()).map_or_else(
            || format!("it has: {}", names().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(Diagnostic::new(format!("the script has no parameter `{unknown}`"))
            .help(help)
            .in_file(&text.origin));
    }
    let functions = functions(&evaluated.ast)
        .into_iter()
        .filter(|(name, arities)| {
            !LIFECYCLE.contains(&name.as_str()) && arities.iter().any(|arity| *arity <= 1)
        })
        .map(|(name, _)| name)
        .collect();
    Ok(Description {
        name: Path::new(&text.origin)
            .file_stem()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        version: String::new(),
        options: options(text, evaluated)?,
        functions,
        parameters,
        places: describe::places(&evaluated.ast, &text.origin, &text.source),
        unmeasured: UNMEASURED,
        digest: digest(text),
    })
}

fn options(text: &Text, evaluated: &Evaluated) -> Result<Options, Diagnostic> {
    let Some(value) = evaluated.module.get_var("options") else {
        return Ok(Options::default());
    };
    let wrong = |message: String| {
        let at = text.source.find("options").unwrap_or(0);
        Diagnostic::new(message).help("write `export const options = #{ … };`").at(
            text.origin.as_str(),
            text.source.as_str(),
            at..at + "options".len(),
        )
    };
    match convert::to_json(&value) {
        Ok(Json::Object(map)) => Ok(Options(map)),
        Ok(_) => Err(wrong(format!("`options` is a {}, not a map", value.type_name()))),
        Err(error) => Err(wrong(format!("`options`: {error}"))),
    }
}

/// Public functions of a script with the numbers of parameters that they take.
fn functions(ast: &AST) -> BTreeMap<String, Vec<usize>> {
    let mut functions: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let public = ast.iter_functions().filter(|it| it.access == rhai::FnAccess::Public);
    for function in public.filter(|function| !function.name.starts_with("anon$")) {
        functions.entry(function.name.to_owned()).or_default().push(function.params.len());
    }
    functions
}

/// That of the script; of one with others, of all of them with their names and lengths, the script first and the
/// others in the order of their paths. No script begins with the byte that those do.
fn digest(text: &Text) -> String {
    let mut whole = Digest::default();
    let files = text.files.all();
    if files.is_empty() {
        whole.update(text.source.as_bytes());
        return whole.finish();
    }
    let mut part = |name: &[u8], bytes: &[u8]| {
        for it in [name, bytes] {
            whole.update(&(it.len() as u64).to_be_bytes());
            whole.update(it);
        }
    };
    part(b"", text.source.as_bytes());
    for (name, bytes) in files {
        part(name.as_os_str().as_encoded_bytes(), &bytes);
    }
    whole.finish()
}
