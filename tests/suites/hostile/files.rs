//! What may lie where a workload should: no component, no script, no file at all; another file than a
//! moment ago.

use std::{fs, path::Path, process::Command};

use wavetank::digest::digest;
use wavetank_tests::component_text::{Text, component, component_with};

use super::{
    components::run,
    ground::{pause, watch, workplace},
};
use crate::input::in_time;

/// Runs what lies in `name`; it must be refused, with words and without a panic.
fn assert_refused(name: &str, make: impl FnOnce(&Path), says: &str) {
    let workplace = workplace();
    make(&workplace.path().join(name));
    let ran = in_time(|| workplace.run_workload(&[name]));
    assert!(matches!(ran.code, 104 | 114), "{name}: {ran:#?}");
    assert!(ran.stderr.contains(says) && ran.stderr.contains(name), "{says:?}: {ran:#?}");
    assert!(!ran.stderr.contains("panicked") && ran.summary.is_none(), "{ran:#?}");
}

fn shell(command: &str, path: &Path) {
    let status = Command::new("sh").args(["-c", command, "sh"]).arg(path).status().unwrap();
    assert!(status.success(), "{command}");
}

#[test]
fn folders_devices_pipes_and_archives_are_refused_at_once() {
    for name in ["bad.wasm", "bad.rhai", "bad.toml"] {
        assert_refused(name, |path| fs::create_dir(path).unwrap(), "a folder");
        assert_refused(name, |path| shell("mkfifo \"$1\"", path), "a device or a pipe");
        for device in ["/dev/zero", "/dev/random", "/dev/null", "/dev/tty"] {
            let link = |path: &Path| std::os::unix::fs::symlink(device, path).unwrap();
            // Without a terminal, opening one fails in words of the system.
            let says = if device == "/dev/tty" { "" } else { "a device or a pipe" };
            assert_refused(name, link, says);
        }
        assert_refused(name, |path| std::os::unix::fs::symlink(path, path).unwrap(), "");
    }
    for magic in [&b"PK\x03\x04"[..], b"\x1f\x8b\x08\0", b"!<arch>\n", b"\x7fELF\x02\x01"] {
        let bytes = [magic, &[7; 4_000]].concat();
        assert_refused("bad.wasm", |path| fs::write(path, &bytes).unwrap(), "not WebAssembly");
        assert_refused("bad.rhai", |path| fs::write(path, &bytes).unwrap(), "");
    }
    // 64 GiB, of which none is on the disk.
    let sparse = |path: &Path| fs::File::create(path).unwrap().set_len(64 << 30).unwrap();
    for (name, says) in
        [("bad.wasm", "component_bytes"), ("bad.rhai", "larger than"), ("bad.toml", "more than")]
    {
        assert_refused(name, sparse, says);
    }
}

#[test]
fn a_script_reads_no_pipes_and_devices() {
    for call in ["data::json(\"pipe\")", "data::csv(\"pipe\")", "import \"pipe\" as p"] {
        let workplace = workplace();
        for name in ["pipe", "pipe.rhai"] {
            shell("mkfifo \"$1\"", &workplace.path().join(name));
        }
        let file = workplace.file("bad.rhai", format!("{call};\nfn iteration(ctx) {{}}\n"));
        let ran = in_time(|| workplace.run_workload(&[&file]));
        assert_eq!(ran.code, 104, "{ran:#?}");
        assert!(ran.stderr.contains("a device or a pipe"), "{ran:#?}");
    }
}

/// Every truncation of a component at some of its bytes, and every one of some bits flipped, is refused or is
/// a component; nothing in between.
#[test]
fn truncations_and_flipped_bits_are_refused_or_harmless() {
    let whole = component(Text::default());
    for part in 0..12 {
        let cut = whole[..part * whole.len() / 12].to_vec();
        assert_refused("bad.wasm", |path| fs::write(path, &cut).unwrap(), "");
    }
    for flip in 0..24 {
        let mut flipped = whole.clone();
        flipped[8 + flip * 79 % (whole.len() - 8)] ^= 1 << (flip % 8);
        let workplace = workplace();
        let file = workplace.file("bad.wasm", &flipped);
        let ran = in_time(|| workplace.run(&["check", &file]));
        assert!(matches!(ran.code, 0 | 104 | 114), "{flip}: {ran:#?}");
        assert!(!ran.stderr.contains("panicked"), "{flip}: {ran:#?}");
    }
}

/// A loop in each function of the lifecycle, and in the start section.
#[test]
fn an_endless_loop_in_any_function_of_the_lifecycle_ends_in_its_code() {
    const LOOP: &str = "(loop $l (br $l))";
    let start = "(func $start (loop $l (br $l))) (start $start)";
    let limit = ["--limit", "lifecycle_cpu=300ms"];
    for (place, text, code, says) in [
        ("start section", Text { more: start, ..Text::default() }, 104, "cut off after"),
        ("describe", Text { describe: LOOP, ..Text::default() }, 104, "cut off after"),
        ("setup", Text { setup: LOOP, ..Text::default() }, 107, "lifecycle_cpu of 300ms"),
        ("init", Text { init: LOOP, ..Text::default() }, 107, "lifecycle_cpu of 300ms"),
        ("teardown", Text { teardown: LOOP, ..Text::default() }, 107, "lifecycle_cpu of 300ms"),
    ] {
        let seen = run(&component(text), &limit);
        let told = format!("{place}: {:#?}", seen.ran);
        assert_eq!(seen.ran.code, code, "{told}");
        let said = format!("{}{}", seen.ran.stdout, seen.ran.stderr);
        assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains(says), "{told}");
        if place == "teardown" {
            // What the nine did before is measured and reported.
            assert!(seen.scenario("good")["completed"].as_u64().unwrap() > 0, "{told}");
        }
    }
}

#[test]
fn a_hundred_thousand_traps_leave_nothing() {
    let scenarios = r#"
        "good": { "executor": "constant-vus", "vus": 9, "duration": "1s", "exec": "good" },
        "bad": { "executor": "shared-iterations", "vus": 1, "iterations": 100000, "exec": "bad", "max_duration": "10m" }
    "#;
    let text = Text { bad: "unreachable", ..Text::default() };
    let seen = run(&component_with(text, scenarios, ""), &[]);
    seen.assert_the_nine_go_on("100 000 traps");
    let bad = seen.scenario("bad");
    assert_eq!((&bad["errors"], &bad["started"]), (&100_000.into(), &100_000.into()), "{bad:#}");
    assert_eq!(seen.ran.metric("guest_traps", &[])["count"], 100_000.0);
    assert_eq!(seen.ran.code, 99);
    assert!(seen.memory < 256 << 20, "{} bytes", seen.memory);
}

#[test]
fn a_plugin_that_is_swapped_during_its_run_is_the_one_that_was_loaded() {
    let workplace = workplace();
    let good = component(Text::default());
    let file = workplace.file("hostile.wasm", &good);
    let path = workplace.path().join(&file);
    let swap = std::thread::spawn({
        let bad = component(Text { bad: "unreachable", ..Text::default() });
        move || {
            // When it is loaded, its folder is there.
            while !path.parent().unwrap().join("wavetank-runs").exists() {
                pause(5);
            }
            fs::write(&path, bad).unwrap();
        }
    });
    let seen = watch(&workplace, &[&file]);
    swap.join().unwrap();
    seen.assert_the_nine_go_on("swapped");
    assert_eq!((seen.ran.code, &seen.scenario("bad")["errors"]), (0, &0.into()));
    let told = &seen.ran.summary.as_ref().unwrap()["run"]["workloads"][0]["digest"];
    assert_eq!(*told, digest(&good));
}
