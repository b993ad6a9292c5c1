//! Python: componentize-py, which starts an interpreter, imports the plugin in it and makes a component of
//! what is then in its memory.
//!
//! The interpreter sees a copy of the plugin's files and no others, so that what else is installed on this
//! machine, and what an earlier build left behind, is not in it.

use std::{fs, path::Path, process::Command};

use super::{Manifest, copied, scratch, text, tool, unread, unwritten, written};
use crate::{
    cli::{Failed, load::configuration},
    plan::toml_tree,
    workload::component::World,
};

const INSTALL: &str =
    "`python3 -m venv .venv` and `.venv/bin/pip install -r requirements.txt` in its folder";
/// What marks a folder of installed packages.
const INSTALLED: &str = "pyvenv.cfg";
/// What is none of the plugin's modules.
const OTHERS: [&str; 3] = ["build", "wit", "__pycache__"];

/// What its manifest says, and the component's bytes.
pub(super) fn build(folder: &Path) -> Result<(Manifest, Vec<u8>), Failed> {
    let manifest = manifest(folder)?;
    let tool = tool::find(folder, ".venv/bin/componentize-py", "componentize-py", INSTALL)?;
    let scratch = scratch(folder)?;
    let source = scratch.join("source");
    copy(folder, &source)?;
    written(&source.join("entry.py"), entry(manifest.world).as_bytes())?;
    // Where it looks for installed packages: nowhere.
    let packages = scratch.join("packages/lib/site-packages");
    fs::create_dir_all(&packages).map_err(|error| unwritten(&packages, &error))?;
    let mut command = Command::new(tool);
    command.current_dir(folder).env("VIRTUAL_ENV", "build/packages");
    command.args(["--wit-path", "wit", "--world", manifest.world.name(), "componentize"]);
    command.args(["--stub-wasi", "--python-path", "build/source", "entry"]);
    command.args(["--output", "build/component.wasm"]);
    tool::steady(&mut command, &scratch)?;
    let help = "mend `plugin.py`; what it imports must lie beside it (`pip install --target .`)";
    tool::run_level(command, &scratch, "componentize-py", help)?;
    let built = scratch.join("component.wasm");
    let bytes = fs::read(&built).map_err(|error| unread(&built, &error))?;
    Ok((manifest, bytes))
}

fn manifest(folder: &Path) -> Result<Manifest, Failed> {
    let text = text(&folder.join("pyproject.toml"))?;
    let read = toml_tree(&text, "pyproject.toml").map_err(configuration)?;
    Manifest::new("pyproject.toml", &read["project"], &read["tool"]["wavetank"]["world"])
}

/// Copies the plugin's modules, and what lies beside them.
fn copy(from: &Path, to: &Path) -> Result<(), Failed> {
    fs::create_dir(to).map_err(|error| unwritten(to, &error))?;
    for entry in fs::read_dir(from).map_err(|error| unread(from, &error))? {
        let entry = entry.map_err(|error| unread(from, &error))?;
        let (name, path) = (entry.file_name(), entry.path());
        let shown = name.to_string_lossy();
        let component = path.extension().is_some_and(|it| it == "wasm");
        if shown.starts_with('.') || OTHERS.contains(&shown.as_ref()) || component {
            continue;
        }
        if path.is_file() {
            copied(&path, &to.join(name))?;
        } else if path.is_dir() && !path.join(INSTALLED).exists() {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

/// What is built: first what a component lacks, then the plugin, then the end of its making.
fn entry(world: World) -> String {
    let base = match world {
        World::Workload => "WorkloadWorld",
        World::Service => "ServiceWorld",
    };
    format!(
        "import prelude\nimport plugin\nfrom wavetank import {base}\n\nOWN = plugin.Plugin()\n\n\n\
         class WitWorld({base}):\n    def __init__(self):\n        super().__init__(OWN)\n\n\n\
         prelude.made()\n"
    )
}
