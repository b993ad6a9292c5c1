//! The tools of other languages: found in the plugin's own folder or on the PATH, run where chance and
//! the clock stand still.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::written;
use crate::{
    cli::{Failed, load::configuration, print::say},
    diagnostic::Diagnostic,
    report::printable::printable,
};

/// Fixes chance and the clock for whoever loads it; empty where nobody can.
const STEADY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/steady.so"));
/// What loads it.
const LOADER: &str = "LD_PRELOAD";
/// Set, it also levels what is seen of files, and makes a file of this name once it does.
const STEADY_FILES: &str = "STEADY_FILES";
const LEVELLED: &str = "levelled";
/// Characters of what a tool said that are shown: its last ones.
const SAID: usize = 8_000;

/// A tool: in the plugin's folder, else on the PATH.
pub(super) fn find(
    folder: &Path,
    local: &str,
    name: &str,
    install: &str,
) -> Result<PathBuf, Failed> {
    let local = folder.join(local);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = [local].into_iter().chain(env::split_paths(&path).map(|it| it.join(name)));
    places.find(|place| place.is_file()).ok_or_else(|| {
        configuration(
            Diagnostic::new(format!("`{name}` is neither in the plugin's folder nor on the PATH"))
                .help(format!("install it: {install}")),
        )
    })
}

/// Has a command run where chance and the clock stand still, so that it does the same each time.
pub(super) fn steady(command: &mut Command, scratch: &Path) -> Result<(), Failed> {
    if STEADY.is_empty() {
        say(
            "this system lets nobody hold chance and the clock: another build may give other bytes",
        );
        return Ok(());
    }
    let library = scratch.join("steady.so");
    written(&library, STEADY)?;
    let mut loaded = OsString::from(library);
    if let Some(others) = env::var_os(LOADER).filter(|others| !others.is_empty()) {
        loaded.push(":");
        loaded.push(others);
    }
    command.env(LOADER, loaded);
    Ok(())
}

/// Runs a steady command that sees of files what is the same on every system: for tools that keep what they
/// see. Where the system does not agree to that, it says so.
pub(super) fn run_level(
    mut command: Command,
    scratch: &Path,
    what: &str,
    help: &str,
) -> Result<(), Failed> {
    let levelled = scratch.join(LEVELLED);
    command.env(STEADY_FILES, &levelled);
    run(command, what, help)?;
    if !levelled.exists() {
        say("files have times that this system does not hide: another build may give other bytes");
    }
    Ok(())
}

/// Runs a tool to its end; what it said is shown if it failed.
pub(super) fn run(mut command: Command, what: &str, help: &str) -> Result<(), Failed> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        let message = format!("`{what}` cannot be run: {error}");
        configuration(Diagnostic::new(message).help(help.to_owned()))
    })?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if output.status.success() {
        return Ok(());
    }
    let skipped = said.chars().count().saturating_sub(SAID);
    for line in said.chars().skip(skipped).collect::<String>().lines() {
        say(&printable(line, SAID));
    }
    Err(configuration(
        Diagnostic::new(format!("`{what}` did not build it: what it says stands above"))
            .help(help.to_owned()),
    ))
}
