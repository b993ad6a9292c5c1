//! `wavetank plugin build`: a component from a plugin's folder, by its language's own tool.
//!
//! The same files give the same bytes, wherever they lie: what the tool would put in of the folder's name,
//! of its own, of the moment or of chance is replaced. So a digest says what was built, and whoever builds
//! it again can see that. What is made on the way lies in the folder's `build`.

mod c;
mod javascript;
mod python;
mod rust;
mod tool;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    cli::{
        Failed,
        args::{BuildArgs, WorkloadArgs},
        load::{self, configuration},
        print::{out, say},
    },
    diagnostic::Diagnostic,
    plan::toml_tree,
    report::printable::printable,
    verdict::Cause,
    workload::{
        Program,
        component::{Language, Provenance, World},
    },
};

/// Characters of a name that is shown.
const TEXT: usize = 160;

/// The file by which a language is known.
const MANIFESTS: [(&str, Language); 4] = [
    ("Cargo.toml", Language::Rust),
    ("package.json", Language::JavaScript),
    ("plugin.toml", Language::C),
    ("pyproject.toml", Language::Python),
];

/// Runs the subcommand; where the component is.
pub fn build(args: &BuildArgs) -> Result<PathBuf, Failed> {
    let folder = fs::canonicalize(&args.folder).map_err(|error| {
        configuration(
            Diagnostic::new(format!("there is no folder `{}`: {error}", args.folder.display()))
                .help("name a plugin's folder: `wavetank plugin new DIR` makes one"),
        )
    })?;
    let known = MANIFESTS.iter().find(|(manifest, _)| folder.join(manifest).is_file());
    let Some((_, language)) = known else {
        let names = MANIFESTS.map(|(manifest, _)| manifest).join(", ");
        return Err(configuration(
            Diagnostic::new(format!("`{}` has none of {names}", args.folder.display()))
                .help("name a plugin's folder: `wavetank plugin new DIR` makes one"),
        ));
    };
    let (name, bytes, provenance) = match language {
        Language::Rust => {
            let built = rust::cargo(&folder)?;
            let name = built.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let bytes = fs::read(&built).map_err(|error| unread(&built, &error))?;
            let manifest = text(&folder.join("Cargo.toml"))?;
            let manifest = toml_tree(&manifest, "Cargo.toml").map_err(configuration)?;
            (name, bytes, provenance(&manifest["package"]))
        }
        Language::JavaScript => named(javascript::build(&folder)?),
        Language::C => named(c::build(&folder)?),
        Language::Python => named(python::build(&folder)?),
    };
    let bytes = provenance.write(&bytes);
    let component = args.folder.join(name);
    written(&component, &bytes)?;
    // What cannot be run was not built.
    let program = load::program(&WorkloadArgs::of(component.clone()), &load::Reach::default())?;
    let world = match &program {
        Program::Component(component) => component.contract().world.name(),
        Program::Script(_) => "script",
    };
    out(&format!("{} {}", component.display(), program.describe().digest));
    say(&format!("a {world} of {:.0} KB", bytes.len() as f64 / 1e3));
    Ok(component)
}

fn named((manifest, bytes): (Manifest, Vec<u8>)) -> (String, Vec<u8>, Provenance) {
    (format!("{}.wasm", manifest.name.replace('-', "_")), bytes, manifest.provenance)
}

/// What a manifest says that the build needs.
#[derive(Debug)]
struct Manifest {
    name: String,
    world: World,
    provenance: Provenance,
}

impl Manifest {
    /// From a manifest's own fields, which most languages name alike, and the world where it is said.
    fn new(file: &str, fields: &Value, world: &Value) -> Result<Self, Failed> {
        let wrong = |what: String, help: &str| Err(configuration(Diagnostic::new(what).help(help)));
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let name = fields["name"].as_str().unwrap_or_default();
        if name.is_empty() || !name.chars().all(fits) {
            let name = printable(name, TEXT);
            let help = "a plugin's name has small letters, digits, `-` and `_`";
            return wrong(format!("`{file}`: `{name}` is no name of a plugin"), help);
        }
        let world = match world.as_str() {
            None | Some("workload") => World::Workload,
            Some("service") => World::Service,
            Some(other) => {
                let other = printable(other, TEXT);
                let help = "it is `workload` or `service`";
                return wrong(format!("`{file}`: there is no world `{other}`"), help);
            }
        };
        Ok(Self { name: name.to_owned(), world, provenance: provenance(fields) })
    }
}

/// What a manifest says for people, in the words of Cargo, npm and Python. What is empty says nothing.
fn provenance(fields: &Value) -> Provenance {
    let said = |value: &Value| match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        // npm: `{"type": "git", "url": …}`; Python: `{"name": …, "email": …}`.
        Value::Object(one) => {
            let known = ["url", "name", "text"].into_iter().find_map(|key| one.get(key)?.as_str());
            known.map(str::to_owned)
        }
        _ => None,
    };
    let field = |name: &str| said(&fields[name]);
    let all = fields["authors"].as_array().into_iter().flatten();
    let authors: Vec<String> = all.chain([&fields["author"]]).filter_map(said).collect();
    Provenance {
        name: field("name"),
        version: field("version"),
        description: field("description"),
        authors: Some(authors.join(", ")).filter(|authors| !authors.is_empty()),
        licences: field("license"),
        source: field("repository")
            .or_else(|| field("source"))
            .or_else(|| said(&fields["urls"]["Repository"])),
    }
}

/// The folder for what is made on the way, empty.
fn scratch(folder: &Path) -> Result<PathBuf, Failed> {
    let scratch = folder.join("build");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).map_err(|error| unwritten(&scratch, &error))?;
    }
    fs::create_dir(&scratch).map_err(|error| unwritten(&scratch, &error))?;
    Ok(scratch)
}

fn written(path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    fs::write(path, bytes).map_err(|error| unwritten(path, &error))
}

fn copied(from: &Path, to: &Path) -> Result<(), Failed> {
    fs::copy(from, to).map(|_| ()).map_err(|error| unwritten(to, &error))
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failed {
    let message = format!("`{}` cannot be written: {error}", path.display());
    Failed::new(Cause::NotWritten, Diagnostic::new(message).help("free some space"))
}

fn unread(path: &Path, error: &std::io::Error) -> Failed {
    let message = format!("`{}` cannot be read: {error}", path.display());
    configuration(
        Diagnostic::new(message).help("`wavetank plugin new DIR` writes one that is whole"),
    )
}

fn text(path: &Path) -> Result<String, Failed> {
    fs::read_to_string(path).map_err(|error| unread(path, &error))
}
