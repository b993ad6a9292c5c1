//! Rust: cargo, with the names of folders kept out.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    cli::{Failed, load::configuration},
    diagnostic::Diagnostic,
};

const TARGET: &str = "wasm32-wasip2";
/// What separates cargo's encoded flags.
const SEPARATOR: &str = "\u{1f}";

/// The component that cargo makes of a folder.
pub(super) fn cargo(folder: &Path) -> Result<PathBuf, Failed> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    // So that the folder of the crates' sources is there, whose name is kept out. Where it fails, the build
    // says why.
    let mut fetch = Command::new(&cargo);
    fetch.args(["fetch", "--quiet", "--target", TARGET]).current_dir(folder);
    let _ = fetch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let mut command = Command::new(&cargo);
    command.args(["build", "--release", "--target", TARGET]);
    command.args(["--message-format", "json-render-diagnostics"]);
    command.current_dir(folder).env("CARGO_ENCODED_RUSTFLAGS", flags(folder));
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| {
        let message = format!("`{}` cannot be run: {error}", cargo.display());
        configuration(Diagnostic::new(message).help("install Rust, with cargo on the PATH"))
    })?;
    if !output.status.success() {
        return Err(configuration(
            Diagnostic::new("cargo did not build it: what it says stands above").help(format!(
                "where it misses `core` or `std`: `rustup target add {TARGET}` installs them"
            )),
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let manifest = folder.join("Cargo.toml");
    let artifacts = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let own = artifacts.filter(|it| it["manifest_path"].as_str().map(Path::new) == Some(&manifest));
    let files = own.flat_map(|it| it["filenames"].as_array().cloned().unwrap_or_default());
    let mut paths = files.filter_map(|file| file.as_str().map(PathBuf::from));
    paths.find(|path| path.extension().is_some_and(|it| it == "wasm")).ok_or_else(|| {
        configuration(
            Diagnostic::new("cargo made no component of it").help(
                "a plugin is a library: `[lib]` with `crate-type = [\"cdylib\"]` in Cargo.toml",
            ),
        )
    })
}

/// The flags of whoever calls, and those that keep the names of folders out.
fn flags(folder: &Path) -> OsString {
    let mut flags: Vec<OsString> = Vec::new();
    match (env::var_os("CARGO_ENCODED_RUSTFLAGS"), env::var_os("RUSTFLAGS")) {
        (Some(encoded), _) if !encoded.is_empty() => flags.push(encoded),
        (_, Some(plain)) => {
            flags.extend(plain.to_string_lossy().split_whitespace().map(OsString::from));
        }
        _ => {}
    }
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let mut remapped = vec![(folder.to_owned(), "/plugin")];
    if let Some(home) = home {
        // Crates lie in a folder that is named after where they came from. What is said last holds.
        let sources = fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten();
        let sources: Vec<_> = sources.map(|it| (it.path(), "/cargo/crates")).collect();
        remapped.push((home, "/cargo"));
        remapped.extend(sources);
    }
    for (from, to) in remapped {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    }
    flags.join(OsString::from(SEPARATOR).as_os_str())
}
