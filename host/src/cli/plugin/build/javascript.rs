//! JavaScript: componentize-qjs, which starts an interpreter, runs the plugin's top level in it and makes a
//! component of what is then in its memory.
//!
//! The tool has an export `init` of its own, and so fails on a world that has one. The plugin's is built
//! under another name of the same length, and in the component the two change their names: what the host
//! calls as `init` is the plugin's, and the tool's, which nobody calls again, bears the other name.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{Manifest, scratch, text, tool, unread, unwritten, written};
use crate::{
    cli::{Failed, load::configuration},
    diagnostic::Diagnostic,
    workload::component::{World, exchange_exports},
};

const INSTALL: &str = "`npm install` in its folder";
/// What `init` is called on the way.
const BETWEEN: &str = "wake";

/// What its manifest says, and the component's bytes.
pub(super) fn build(folder: &Path) -> Result<(Manifest, Vec<u8>), Failed> {
    let manifest = manifest(folder)?;
    let tool =
        tool::find(folder, "node_modules/componentize-qjs/cli.mjs", "componentize-qjs", INSTALL)?;
    let scratch = scratch(folder)?;
    let world = manifest.world;
    contract(folder, &scratch)?;
    written(&scratch.join("entry.js"), entry(world).as_bytes())?;
    let mut command = if tool.extension().is_some_and(|it| it == "mjs") {
        let mut node = Command::new("node");
        node.arg(&tool);
        node
    } else {
        Command::new(&tool)
    };
    command.current_dir(folder);
    command.args(["--wit", "build/wit", "--world", world.name(), "--js", "build/entry.js"]);
    command.args(["--module-root", ".", "--output", "build/component.wasm"]);
    command.args(["--sync", "--stub-wasi"]);
    tool::steady(&mut command, &scratch)?;
    tool::run(
        command,
        "componentize-qjs",
        "mend `plugin.js`; it runs on Node.js 18 or newer, and its version is in package.json",
    )?;
    let built = scratch.join("component.wasm");
    let bytes = fs::read(&built).map_err(|error| unread(&built, &error))?;
    let bytes = match world {
        World::Service => bytes,
        World::Workload => exchange_exports(&bytes, "init", BETWEEN).ok_or_else(|| {
            configuration(
                Diagnostic::new("componentize-qjs made a component without `init`")
                    .help("use the version of it that `wavetank plugin new` writes"),
            )
        })?,
    };
    Ok((manifest, bytes))
}

fn manifest(folder: &Path) -> Result<Manifest, Failed> {
    let text = text(&folder.join("package.json"))?;
    let read: Value = serde_json::from_str(&text).map_err(|error| {
        configuration(
            Diagnostic::new(format!("`package.json` is not JSON: {error}"))
                .help("`wavetank plugin new DIR --lang js` writes one"),
        )
    })?;
    Manifest::new("package.json", &read, &read["wavetank"]["world"])
}

/// A copy of the contract in which `init` bears the other name.
fn contract(folder: &Path, scratch: &Path) -> Result<(), Failed> {
    let (from, to) = (folder.join("wit"), scratch.join("wit"));
    fs::create_dir(&to).map_err(|error| unwritten(&to, &error))?;
    for entry in fs::read_dir(&from).map_err(|error| unread(&from, &error))? {
        let entry = entry.map_err(|error| unread(&from, &error))?;
        if entry.path().extension().is_none_or(|it| it != "wit") {
            continue;
        }
        let renamed = text(&entry.path())?.replace("export init:", &format!("export {BETWEEN}:"));
        written(&to.join(entry.file_name()), renamed.as_bytes())?;
    }
    Ok(())
}

/// What is built: first what the engine lacks, then the plugin.
fn entry(world: World) -> String {
    let exports = match world {
        World::Workload => format!("describe, setup, init as {BETWEEN}, iterate, teardown"),
        World::Service => "describe, start, handle, stop".to_owned(),
    };
    format!("import \"../prelude.js\";\nexport {{ {exports} }} from \"../plugin.js\";\n")
}
