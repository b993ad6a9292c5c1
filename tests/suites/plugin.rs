//! From nothing to a judged run, as a plugin's author goes: begun, built, run. The builds are cargo's own,
//! from the registry that it is set up for.

use std::{fs, path::PathBuf};

use wavetank_tests::command::{Ran, Workplace, repository};

use crate::WAVETANK;

fn assert_says(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{ran:#?}");
    let shown = format!("{}{}", ran.stdout, ran.stderr);
    let unbroken = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(unbroken.contains(word), "no `{word}` in:\n{shown}");
    }
}

/// Builds with the caller's Rust; what it compiles is kept between builds, as in a workspace.
fn build(workplace: &Workplace, folder: &str) -> Ran {
    let mut command = workplace.command(&["plugin", "build", folder]);
    command.envs(std::env::vars_os());
    command.env("CARGO_TARGET_DIR", repository().join("target/plugins"));
    workplace.finish(command.output().expect("the command runs"))
}

#[test]
fn a_new_plugin_is_built_and_judged_and_built_again_is_the_same() {
    let workplace = Workplace::new(WAVETANK);
    let mut components = Vec::new();
    for folder in ["here/first-visit", "elsewhere/deeper/first-visit"] {
        let new = workplace.run(&["plugin", "new", folder]);
        assert_says(&new, 0, &["wavetank plugin build"]);
        let built = build(&workplace, folder);
        assert_says(&built, 0, &["first_visit.wasm sha256:", "a workload of"]);
        components.push(workplace.path().join(folder).join("first_visit.wasm"));
    }
    let bytes: Vec<_> = components.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(bytes[0] == bytes[1], "{} and {} bytes", bytes[0].len(), bytes[1].len());
    let path = workplace.path().display().to_string();
    let told = bytes[0].windows(path.len()).any(|it| it == path.as_bytes());
    assert!(!told, "the folder's name is in it");

    let ran = workplace.run_workload(&[components[0].to_str().unwrap(), "--quick"]);
    // A machine that is busy may leave its limits on time unshown: it ran all the same.
    assert!(matches!(ran.code, 0 | 99 | 111 | 117), "{ran:#?}");
    let checks = ran.metric("checks", &[]);
    assert!(checks["total"].as_u64() > Some(0), "{checks}");
    assert_eq!(checks["rate"], 1.0, "{checks}");

    let again = workplace.run(&["plugin", "new", "here/first-visit"]);
    assert_says(&again, 104, &["is there already, and not empty"]);
    let source = workplace.path().join("here/first-visit/src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    fs::write(&source, text.replace("check(\"found\"", "chekc(\"found\"")).unwrap();
    let broken = build(&workplace, "here/first-visit");
    assert_says(&broken, 104, &["chekc", "cargo did not build it"]);
    let own: PathBuf = workplace.path().join("here/first-visit/first_visit.wasm");
    assert_eq!(fs::read(own).unwrap(), bytes[0], "what was built stays");
}

#[test]
fn a_new_service_is_one() {
    let workplace = Workplace::new(WAVETANK);
    let new = workplace.run(&["plugin", "new", "greeter", "--kind", "service"]);
    assert_says(&new, 0, &[]);
    assert_says(&build(&workplace, "greeter"), 0, &["greeter.wasm sha256:", "a service of"]);
    let shown = workplace.run(&["inspect", "greeter/greeter.wasm"]);
    assert_says(&shown, 0, &["example.greet", "what is said before the name"]);
}

#[test]
fn what_is_no_plugin_is_told() {
    let workplace = Workplace::new(WAVETANK);
    for name in ["Big", "1st", "a_b", ".."] {
        let ran = workplace.run(&["plugin", "new", name]);
        assert_says(&ran, 104, &["cannot be the name of a plugin"]);
    }
    let ran = workplace.run(&["plugin", "new", "a", "--lang", "cobol"]);
    assert_says(&ran, 104, &["possible values: rust, js, c"]);
    assert_says(&workplace.run(&["plugin", "build", "nowhere"]), 104, &["there is no folder"]);
    assert_says(&workplace.run(&["plugin", "build"]), 104, &["has none of Cargo.toml"]);
}
