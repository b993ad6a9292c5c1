//! The curated set, `plugins/curated.toml`: the gate that this repository's own plugins have to pass, from the
//! bytes that `plugins/curated.lock` names.

use std::{collections::BTreeMap, fs, process::Command};

use wavetank_tests::{
    command::{Workplace, repository},
    guests::guests,
};

use crate::{MACHINE, WAVETANK};

/// Packages of `plugins/` that are components.
fn plugins() -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(repository().join("plugins")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&manifest) else { continue };
        if text.contains("cdylib") {
            let folder = manifest.parent().unwrap().file_name().unwrap();
            names.push(folder.to_str().unwrap().to_owned());
        }
    }
    assert!(names.len() > 10, "{names:?}");
    names
}

/// The cases of JUnit's suite `rows`: what each is called, and what is in it.
fn rows(xml: &str) -> BTreeMap<String, String> {
    let from = xml.find("<testsuite name=\"rows\"").unwrap();
    let part = &xml[from..from + xml[from..].find("</testsuite>").unwrap()];
    let cases = part.split("<testcase ").skip(1);
    let named = cases.map(|case| {
        let name = case.split("name=\"").nth(2).unwrap();
        (name.split('"').next().unwrap().to_owned(), case.to_owned())
    });
    named.collect()
}

#[test]
fn every_plugin_of_the_repository_passes_from_its_locked_bytes() {
    let _whole = MACHINE.lock();
    let built = guests();
    let suite = repository().join("plugins/curated.toml");
    let workplace = Workplace::new(WAVETANK);
    let mut arguments = vec![suite.to_str().unwrap(), "--locked", "--out", "out"];
    arguments.extend(["--report", "junit=curated.xml"]);
    let ran = workplace.run_workload(&arguments);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);

    let xml = fs::read_to_string(workplace.path().join("curated.xml")).unwrap();
    let rows = rows(&xml);
    let lock = fs::read_to_string(repository().join("plugins/curated.lock")).unwrap();
    for plugin in plugins() {
        assert!(lock.contains(&format!("source = \"plugin:{plugin}\"")), "{plugin} is not locked");
        assert!(built.join(format!("{}.wasm", plugin.replace('-', "_"))).exists(), "{plugin}");
        let case = rows.get(&plugin).unwrap_or_else(|| panic!("{plugin} has no verdict:\n{xml}"));
        let bad = ["<failure", "<error", "<skipped"].iter().any(|it| case.contains(it));
        assert!(!bad && case.contains("<system-out>pass"), "{plugin}: {case}");
    }
}

/// The same sources elsewhere: another folder, other settings of whoever builds.
#[test]
fn a_component_built_in_another_folder_is_the_same() {
    let here = guests();
    let folder = tempfile::tempdir().unwrap();
    let clone = folder.path().join("deeper/elsewhere");
    for part in
        ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "host", "sdk", "plugins", "tests"]
    {
        let to = clone.join(part);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copied = Command::new("cp").arg("-r").arg(repository().join(part)).arg(&to).status();
        assert!(copied.unwrap().success(), "{part}");
    }
    let mut command = Command::new(clone.join("tests/guests/build"));
    command.args(["stats-queries", "aegis"]).env("CARGO", env!("CARGO"));
    command.env("RUSTFLAGS", "-C debuginfo=2").env("CARGO_PROFILE_RELEASE_DEBUG", "2");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["stats_queries.wasm", "aegis.wasm"] {
        let there = clone.join("target/guests/wasm32-wasip2/release").join(name);
        let bytes = fs::read(there).unwrap();
        assert!(bytes == fs::read(here.join(name)).unwrap(), "{name} is another");
        let told = clone.display().to_string();
        assert!(!bytes.windows(told.len()).any(|it| it == told.as_bytes()), "{name} tells where");
    }
}
