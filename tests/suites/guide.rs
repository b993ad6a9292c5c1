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
