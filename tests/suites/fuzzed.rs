//! What fuzzing began with and what it found, run again each time, on the compiler that all else is built
//! with. A panic fails it. `tests/fuzz/run` fuzzes; the functions are `untrusted` of the harness.

use std::{collections::BTreeSet, fs};

use wavetank_tests::{
    command::repository,
    untrusted::{TARGETS, feed},
};

/// Bytes of all inputs that are kept.
const MOST_BYTES: u64 = 1 << 20;

#[test]
fn no_input_that_was_kept_finds_anything() {
    let mut bytes = 0;
    for (kind, _) in TARGETS {
        let folder = repository().join("tests/fuzz/corpus").join(kind);
        let mut files: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{kind} has nothing to begin with");
        for file in files {
            eprintln!("{}", file.display());
            let input = fs::read(&file).unwrap();
            bytes += input.len() as u64;
            feed(kind, &input);
        }
    }
    assert!(
        bytes <= MOST_BYTES,
        "{bytes} bytes are kept: make them smaller with `cargo fuzz cmin`"
    );
}

#[test]
fn each_kind_of_untrusted_bytes_is_fuzzed() {
    let names = |folder: &str| -> BTreeSet<String> {
        fs::read_dir(repository().join("tests/fuzz").join(folder))
            .unwrap()
            .map(|it| it.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    let kinds: BTreeSet<_> = TARGETS.iter().map(|(kind, _)| (*kind).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), kinds);
    assert_eq!(names("corpus"), kinds);
    let manifest = fs::read_to_string(repository().join("tests/fuzz/Cargo.toml")).unwrap();
    let run = fs::read_to_string(repository().join("tests/fuzz/run")).unwrap();
    for kind in &kinds {
        assert!(manifest.contains(&format!("\nname = \"{kind}\"\n")), "{kind}");
        assert!(run.lines().any(|line| line.contains("kinds=(") && line.contains(kind)), "{kind}");
    }
}
