//! The README is run: every command in it, in order, as a reader would type them.

use std::{collections::BTreeSet, fs};

use wavetank_tests::command::{Workplace, repository};

use crate::WAVETANK;

/// The set-up commands: `.ci/run` runs these two, as they stand.
const SET_UP: [&str; 2] = ["cargo run --release -- run scripts/quickstart.rhai", "tests/run"];

pub fn readme() -> String {
    fs::read_to_string(repository().join("README.md")).expect("a README")
}

/// Contents of the fenced blocks of a language.
pub fn blocks(text: &str, language: &str) -> Vec<String> {
    text.split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(&format!("{language}\n")).map(str::to_owned))
        .collect()
}

#[test]
fn every_command_works() {
    let workplace = Workplace::new(WAVETANK);
    std::os::unix::fs::symlink(repository().join("target"), workplace.path().join("target"))
        .unwrap();
    std::os::unix::fs::symlink(repository().join("scripts"), workplace.path().join("scripts"))
        .unwrap();
    let ci = fs::read_to_string(repository().join(".ci/run")).expect(".ci/run");
    let mut set_up = Vec::new();
    for block in blocks(&readme(), "sh") {
        for line in block.lines().filter(|line| !line.trim().is_empty()) {
            if SET_UP.contains(&line) {
                assert!(
                    ci.lines().any(|command| command == line),
                    "`.ci/run` does not run `{line}`"
                );
                set_up.push(line.to_owned());
                continue;
            }
            let Some(arguments) = line.strip_prefix("wavetank ") else {
                panic!("nobody tests `{line}`");
            };
            let arguments: Vec<_> = arguments.split_whitespace().collect();
            let ran = workplace.run(&arguments);
            // A run on a machine that is busy may find its own limits on time unshown: it ran all the same.
            let slow = arguments[0] == "run" && matches!(ran.code, 99 | 111 | 117);
            assert!(ran.code == 0 || slow, "`{line}`: {ran:#?}");
        }
    }
    assert_eq!(set_up, SET_UP, "exactly two set-up commands");
}

#[test]
fn its_script_is_a_good_one() {
    let workplace = Workplace::new(WAVETANK);
    for script in blocks(&readme(), "rhai") {
        let file = workplace.file("readme.rhai", script);
        let ran = workplace.run(&["check", &file]);
        assert_eq!(ran.code, 0, "{ran:#?}");
    }
}

#[test]
fn it_lists_the_subcommands_that_exist() {
    let help = Workplace::new(WAVETANK).run(&["--help"]).stdout;
    let from_help: BTreeSet<_> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    let from_readme: BTreeSet<_> = readme()
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| `wavetank ")?.split(['`', ' ']).next().map(str::to_owned)
        })
        .collect();
    assert_eq!(from_readme, from_help);
}

#[test]
fn its_flags_exist() {
    let workplace = Workplace::new(WAVETANK);
    let mut known = BTreeSet::new();
    let subcommands = [
        "run",
        "check",
        "inspect",
        "serve",
        "compare",
        "ab",
        "doctor",
        "runs prune",
        "plugin new",
        "plugin check",
        "plugin test",
        "plugin lock",
        "plugin push",
        "plugin pull",
    ];
    for subcommand in subcommands {
        let words: Vec<_> = subcommand.split(' ').chain(["--help"]).collect();
        let help = workplace.run(&words).stdout;
        known.extend(flags(&help));
    }
    // Flags of cargo and of this repository's own scripts.
    known.extend(["--release", "--quick", "--open"].map(str::to_owned));
    // Those of the workflow are tried by `workflow`, with its other programs.
    let text = readme();
    let cut = |text: String, block: &String| text.replace(block, "");
    let prose = blocks(&text, "yaml").iter().fold(text, cut);
    let unknown: Vec<_> = flags(&prose).into_iter().filter(|flag| !known.contains(flag)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

fn flags(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.starts_with("--") && !word.ends_with('-'))
        .map(str::to_owned)
        .collect()
}
