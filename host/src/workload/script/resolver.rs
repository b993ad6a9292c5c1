//! Imports: files of the script's own folder, and nothing else.
//!
//! A path is joined to the folder and canonicalised; what then lies outside (through `..`, a link, an
//! absolute path) is refused. Each file is read once (see `files`) and bounded in size.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use rhai::{Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

use super::{files::Files, source};

type Imported = Result<Shared<Module>, Box<EvalAltResult>>;

/// Resolves imports within a folder.
#[derive(Clone, Debug)]
pub struct Resolver {
    root: PathBuf,
    limit: u64,
    from: Files,
    modules: Rc<RefCell<BTreeMap<PathBuf, Shared<Module>>>>,
    /// Files that are being evaluated: an import of one of them would never end.
    open: Rc<RefCell<Vec<PathBuf>>>,
    /// What was imported, in the order of paths.
    pub files: Rc<RefCell<BTreeMap<PathBuf, String>>>,
}

impl Resolver {
    /// A resolver for a script's folder, which is canonical.
    pub fn new(root: &Path, limit: u64, from: Files) -> Self {
        Self {
            root: root.to_owned(),
            limit,
            from,
            modules: Rc::default(),
            open: Rc::default(),
            files: Rc::default(),
        }
    }

    fn import(&self, engine: &Engine, path: &str, position: Position) -> Imported {
        let found = self.from.get(path, Some("rhai"), (self.limit, "source_bytes"));
        let (file, bytes) = found.map_err(|why| refuse(why, position))?;
        if let Some(module) = self.modules.borrow().get(&file) {
            return Ok(module.clone());
        }
        if self.open.borrow().contains(&file) {
            let why = format!("`{path}` imports itself, directly or through others");
            return Err(refuse(why, position));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            refuse(format!("`{path}`: not UTF-8 (byte {})", error.valid_up_to()), position)
        })?;
        source::check(text, path).map_err(|error| refuse(error.message, position))?;
        self.files.borrow_mut().insert(file.clone(), text.to_owned());
        let name = file.strip_prefix(&self.root).unwrap_or(&file).display().to_string();
        self.open.borrow_mut().push(file.clone());
        let module = engine
            .compile(text)
            .map_err(|error| Box::new(EvalAltResult::from(error)))
            .and_then(|mut ast| {
                ast.set_source(name.clone());
                Module::eval_ast_as_new(Scope::new(), &ast, engine)
            });
        self.open.borrow_mut().pop();
        let module: Shared<Module> = module
            .map_err(|error| Box::new(EvalAltResult::ErrorInModule(name, error, position)))?
            .into();
        self.modules.borrow_mut().insert(file, module.clone());
        Ok(module)
    }
}

impl ModuleResolver for Resolver {
    fn resolve(
        &self,
        engine: &Engine,
        _source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Imported {
        self.import(engine, path, position)
    }
}

/// A file of the script's folder, canonical; or why it is none.
pub fn inside(root: &Path, path: &str, extension: Option<&str>) -> Result<PathBuf, String> {
    let relative = Path::new(path);
    if relative.is_absolute() {
        return Err(format!(
            "`{path}` is an absolute path: only files in the script's folder can be used"
        ));
    }
    let mut file = root.join(relative);
    if let Some(extension) = extension {
        file.set_extension(extension);
    }
    let file = file.canonicalize().map_err(|error| {
        format!("`{path}` cannot be read in the script's folder: {}", reason(&error))
    })?;
    if !file.starts_with(root) {
        return Err(format!(
            "`{path}` lies outside of the script's folder: only files in it can be used"
        ));
    }
    Ok(file)
}

/// An I/O error without its code.
pub fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn refuse(why: String, position: Position) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(why.into(), position).into()
}
