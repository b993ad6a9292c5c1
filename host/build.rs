//! Compiles what `wavetank plugin build` loads into the tools of other languages, so that the same files
//! give the same bytes. Only Linux loads it; elsewhere it is empty, and the command says so.

use std::{env, fs, path::PathBuf};

const SOURCES: [&str; 2] = ["assets/steady/steady.c", "assets/steady/files.c"];

fn main() {
    println!("cargo::rerun-if-changed=assets/steady");
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").map(PathBuf::from).expect("cargo sets OUT_DIR");
    let library = out.join("steady.so");
    if env::var_os("CARGO_CFG_TARGET_OS").is_none_or(|system| system != "linux") {
        fs::write(&library, []).expect("OUT_DIR can be written to");
        return;
    }
    let compiler = cc::Build::new().cargo_metadata(false).opt_level(2).get_compiler();
    let status = compiler
        .to_command()
        .args(["-shared", "-fPIC", "-fno-builtin", "-s", "-o"])
        .arg(&library)
        .args(SOURCES)
        .status()
        .expect("the C compiler runs");
    assert!(status.success(), "assets/steady does not compile: {status}");
}
