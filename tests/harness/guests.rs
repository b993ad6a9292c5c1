//! Guests, built on demand: `guest("hostile-guest")` is the path of its component.
//!
//! cargo is run once a process for each, for `wasm32-wasip2`, in a target directory of its own below
//! the workspace's (a build inside a running `cargo test` must not wait for its lock). Processes that
//! build at the same moment wait for one another: cargo locks the directory.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock},
};

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

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

#[expect(clippy::panic, reason = "a test helper: see above")]
fn build(package: &str) -> PathBuf {
    let target = workspace().join("target").join("guests");
    let output = Command::new(env!("CARGO"))
        .current_dir(workspace())
        .args(["build", "--release", "--target", "wasm32-wasip2", "--package", package])
        .arg("--target-dir")
        .arg(&target)
        // As `tests/guests/build` does it; otherwise each would build anew what the other built.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env_remove("RUSTFLAGS")
        .output();
    match output {
        Ok(output) if output.status.success() => {
            target.join("wasm32-wasip2/release").join(format!("{}.wasm", package.replace('-', "_")))
        }
        Ok(output) => panic!(
            "guest `{package}` does not build (is the target there? `rustup target add \
             wasm32-wasip2`):\n{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("cargo does not run: {error}"),
    }
}
