//! Guests, built on demand: `guest("hostile-guest")` is the path of its component.
//!
//! cargo is run once a process for each, by `tests/guests/build`, in a target directory of its own below
//! the workspace's (a build inside a running `cargo test` must not wait for its lock). Processes that
//! build at the same moment wait for one another: cargo locks the directory.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock},
};

/// Where cargo lays them.
const RELEASE: &str = "target/guests/wasm32-wasip2/release";

/// The component of a package of this workspace, a plugin or a hostile guest.
///
/// Panics with cargo's words if it does not build: a test without its guest shows nothing.
pub fn guest(package: &str) -> PathBuf {
    static BUILT: OnceLock<Mutex<HashMap<String, PathBuf>>> = OnceLock::new();
    let mut built =
        BUILT.get_or_init(Mutex::default).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(path) = built.get(package) {
        return path.clone();
    }
    let path = build(package);
    built.insert(package.to_owned(), path.clone());
    path
}

/// The folder with the components of all of them.
///
/// Panics likewise.
pub fn guests() -> PathBuf {
    run(&[]);
    workspace().join(RELEASE)
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

fn build(package: &str) -> PathBuf {
    run(&[package]);
    workspace().join(RELEASE).join(format!("{}.wasm", package.replace('-', "_")))
}

/// One place says how they are built: what it builds is what plugins/curated.lock names.
#[expect(clippy::panic, reason = "a test helper: see above")]
fn run(packages: &[&str]) {
    let mut command = Command::new(workspace().join("tests/guests/build"));
    match command.env("CARGO", env!("CARGO")).args(packages).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "guests {packages:?} do not build (is the target there? `rustup target add \
             wasm32-wasip2`):\n{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("tests/guests/build does not run: {error}"),
    }
}
