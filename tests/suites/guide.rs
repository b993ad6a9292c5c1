//! The guide of the SDK is followed: every command in it, in order, as a reader would type them.

use std::fs;

use wavetank_tests::command::{Workplace, repository};

use crate::{WAVETANK, readme::blocks};

/// What needs no test of ours: `tests/run` runs it, as it stands.
const SET_UP: &str = "rustup target add wasm32-wasip2";

#[test]
fn every_command_works() {
    let source = fs::read_to_string(repository().join("sdk/src/guide.rs")).expect("a guide");
    let text: String = source
        .lines()
        .map(|line| line.trim_start_matches("//!"))
        .fold(String::new(), |text, line| text + line.strip_prefix(' ').unwrap_or(line) + "\n");
    let workplace = Workplace::new(WAVETANK);
    let suites = blocks(&text, "toml");
    assert_eq!(suites.len(), 1, "one suite");
    workplace.file("shop.toml", &suites[0]);
    let run = fs::read_to_string(repository().join("tests/run")).expect("tests/run");
    assert!(run.contains(SET_UP), "`tests/run` does not run `{SET_UP}`");
    let mut commands = 0;
    for line in blocks(&text, "sh").iter().flat_map(|block| block.lines()) {
        if line == SET_UP {
            continue;
        }
        let arguments =
            line.strip_prefix("wavetank ").unwrap_or_else(|| panic!("nobody tests `{line}`"));
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        let mut command = workplace.command(&arguments);
        if arguments[..2] == ["plugin", "build"] {
            // With the caller's Rust; what it compiles is kept between builds, as in a workspace.
            command.envs(std::env::vars_os());
            command.env("CARGO_TARGET_DIR", repository().join("target/plugins"));
        }
        let ran = workplace.finish(command.output().expect("the command runs"));
        // A run on a machine that is busy may find its own limits on time unshown: it ran all the same.
        let slow = arguments[0] == "run" && matches!(ran.code, 99 | 111 | 117);
        assert!(ran.code == 0 || slow, "`{line}`: {ran:#?}");
        commands += 1;
    }
    assert!(commands >= 7, "{commands}");
    assert!(workplace.path().join("junit.xml").is_file());
}

/// Whatever asks the host for something shows how: an example, which the SDK's own tests compile.
#[test]
fn every_call_of_the_sdk_has_an_example() {
    let mut calls = 0;
    for file in ["bus", "database", "guest", "lib", "random", "target", "time"] {
        let path = format!("sdk/src/{file}.rs");
        let source = fs::read_to_string(repository().join(&path)).expect("a part of the SDK");
        let lines: Vec<_> = source.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) = line.strip_prefix("pub fn ") else { continue };
            let body = lines[at..].iter().take_while(|line| **line != "}").take(12);
            let asks = body.clone().any(|it| {
                ["raw::", "self.0.next", "self.0.fetch", "self.0.held", "metrics::"]
                    .iter()
                    .any(|word| it.contains(word))
            });
            if !asks {
                continue;
            }
            let docs = lines[..at]
                .iter()
                .rev()
                .take_while(|it| it.starts_with("///") || it.starts_with("#["));
            assert!(docs.clone().any(|it| it.contains("```")), "{path}: `{name}` has no example");
            calls += 1;
        }
    }
    assert!(calls >= 25, "{calls}");
}
