//! C: clang and lld make a core module, the host makes a component of it. No C library is needed, and no
//! tool of WebAssembly's.

use std::{fs, path::Path, process::Command};

use super::{Manifest, scratch, text, tool, unread};
use crate::{
    cli::{Failed, load::configuration},
    plan::toml_tree,
    workload::component::encode,
};

const INSTALL: &str = "`apt-get install clang lld`";
const FLAGS: [&str; 11] = [
    "--target=wasm32-unknown-unknown",
    "-std=c11",
    "-O2",
    "-Wall",
    "-ffreestanding",
    "-fno-builtin",
    "-nostdlib",
    "-isysteminclude",
    "-I.",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
];

/// What its manifest says, and the component's bytes.
pub(super) fn build(folder: &Path) -> Result<(Manifest, Vec<u8>), Failed> {
    let manifest = manifest(folder)?;
    let clang = tool::find(folder, "bin/clang", "clang", INSTALL)?;
    tool::find(folder, "bin/wasm-ld", "wasm-ld", INSTALL)?;
    scratch(folder)?;
    let mut command = Command::new(clang);
    command.current_dir(folder).args(FLAGS).args(["-o", "build/module.wasm"]);
    // In one order: the linker lays out what it is given as it is given.
    command.args(sources(folder, "")?).args(sources(folder, "bindings/")?);
    tool::run(command, "clang", &format!("mend what it names; clang and lld: {INSTALL}"))?;
    let built = folder.join("build/module.wasm");
    let module = fs::read(&built).map_err(|error| unread(&built, &error))?;
    let component = encode(module, &folder.join("wit"), manifest.world).map_err(configuration)?;
    Ok((manifest, component))
}

fn manifest(folder: &Path) -> Result<Manifest, Failed> {
    let text = text(&folder.join("plugin.toml"))?;
    let read = toml_tree(&text, "plugin.toml").map_err(configuration)?;
    Manifest::new("plugin.toml", &read, &read["world"])
}

/// The C files of a folder within the plugin's, in order.
fn sources(folder: &Path, within: &str) -> Result<Vec<String>, Failed> {
    let place = folder.join(within);
    let entries = fs::read_dir(&place).map_err(|error| unread(&place, &error))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unread(&place, &error))?.path();
        if path.extension().is_some_and(|it| it == "c") {
            names
                .extend(path.file_name().map(|name| format!("{within}{}", name.to_string_lossy())));
        }
    }
    names.sort_unstable();
    Ok(names)
}
