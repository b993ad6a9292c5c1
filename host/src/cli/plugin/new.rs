//! `wavetank plugin new`: a plugin to begin with, that builds and passes as it is.

use std::{fs, io::Write, path::Path};

use crate::{
    cli::{
        Failed,
        args::{NewArgs, PluginKind},
        load::configuration,
        print::say,
    },
    diagnostic::Diagnostic,
    report::printable::printable,
    workload::component::{self, Language, World},
};

/// Characters of a name.
const TEXT: usize = 160;
/// Letters of a name.
const LONGEST: usize = 64;

/// Runs the subcommand.
pub fn new(args: &NewArgs) -> Result<(), Failed> {
    let folder = &args.folder;
    let name = folder.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= LONGEST;
    if !(is_name && name.chars().all(fits)) {
        let message = format!("`{}` cannot be the name of a plugin", printable(&name, TEXT));
        return Err(configuration(Diagnostic::new(message).help(format!(
            "its folder's name is its own: small letters, digits and `-`, a letter first, at most {LONGEST}"
        ))));
    }
    // Nothing of anybody's is written over.
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Err(configuration(
            Diagnostic::new(format!("`{}` is there already, and not empty", folder.display()))
                .help("name a folder that does not exist"),
        ));
    }
    let world = match args.kind {
        PluginKind::Workload => World::Workload,
        PluginKind::Service => World::Service,
    };
    for file in component::plugin(args.lang, &name, world) {
        write(&folder.join(&file.path), &file.text)?;
    }
    let folder = folder.display();
    let needed = match args.lang {
        Language::Rust => "`rustup target add wasm32-wasip2` once".to_owned(),
        Language::JavaScript => format!("`npm install --prefix {folder}` once"),
        Language::C => "`apt-get install clang lld` once".to_owned(),
        Language::Python => format!(
            "`python3 -m venv {folder}/.venv` and \
             `{folder}/.venv/bin/pip install -r {folder}/requirements.txt` once"
        ),
    };
    say(&format!("{folder} written; {needed}, then `wavetank plugin build {folder}`"));
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failed> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(parent)
        .and_then(|()| fs::OpenOptions::new().write(true).create_new(true).open(path))
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        configuration(
            Diagnostic::new(format!("`{}` cannot be written: {error}", path.display()))
                .help("name a folder that does not exist, in one that may be written to"),
        )
    })
}
