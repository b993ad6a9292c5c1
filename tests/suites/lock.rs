//! What is locked is what is run, byte for byte: a component, a script or a suite that changed since is
//! refused before anything of it runs.

use std::{fs, time::Duration};

use wavetank::workload::{LoadInput, Program};
use wavetank_tests::{command::Workplace, guests::guest, wait};

use crate::WAVETANK;

const SUITE: &str = r#"
name = "shop"
plugins = "plugins"

[services.database]
workload = "plugin:rosey-database"
grants = { subscribe = ["rosey.>"], database = "write" }

[[workloads]]
workload = "plugin:stats-queries"
name = "asks"
parameters = { players = 10 }
grants = { bus = ["rosey.>"] }

[[workloads]]
workload = "first.rhai"
"#;

const SCRIPT: &str = "import \"part\" as part;\n\
                      export const options = #{ vus: 1, iterations: 2 };\n\
                      fn iteration(ctx) { part::once(); }\n";

fn shop() -> Workplace {
    let workplace = Workplace::new(WAVETANK);
    workplace.file("shop.toml", SUITE);
    workplace.file("first.rhai", SCRIPT);
    workplace.file("part.rhai", "fn once() { }\n");
    for name in ["rosey-database", "stats-queries"] {
        let file = format!("plugins/{}.wasm", name.replace('-', "_"));
        workplace.file(&file, fs::read(guest(name)).unwrap());
    }
    workplace
}

#[test]
fn a_locked_suite_runs_what_was_locked_and_nothing_else() {
    let workplace = shop();
    let run = || workplace.run_workload(&["shop.toml", "--locked", "--quick"]);
    run().assert_says(
        104,
        &["the lock `shop.lock` cannot be read", "wavetank plugin lock shop.toml"],
    );
    let locked = workplace.run(&["plugin", "lock", "shop.toml"]);
    locked.assert_says(0, &["plugin:rosey-database sha256:", "first.rhai sha256:", "shop.lock"]);
    let text = fs::read_to_string(workplace.path().join("shop.lock")).unwrap();
    for word in ["world = \"service\"", "world = \"workload\"", "name = \"stats-queries\"", "/bus@"]
    {
        assert!(text.contains(word), "{text}");
    }
    // Locked again it is the same.
    workplace.run(&["plugin", "lock", "shop.toml"]);
    assert_eq!(fs::read_to_string(workplace.path().join("shop.lock")).unwrap(), text);

    let good = run();
    assert!(matches!(good.code, 0 | 99 | 111 | 117), "it runs, however it is judged: {good:#?}");
    let files = good.summary.as_ref().unwrap()["run"]["files"].as_array().unwrap().clone();
    let kinds: Vec<_> = files.iter().map(|file| file["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["suite", "service"]);
    let named = |digest: &str| text.contains(&format!("digest = \"{digest}\""));
    assert!(files.iter().all(|file| named(file["digest"].as_str().unwrap())), "{files:#?}\n{text}");
    let workloads = good.summary.as_ref().unwrap()["run"]["workloads"].as_array().unwrap().clone();
    assert_eq!(workloads.len(), 2);
    assert!(workloads.iter().all(|it| named(it["digest"].as_str().unwrap())), "{workloads:#?}");

    // A custom section changes nothing that it does, and it is another file all the same.
    let mut bytes = fs::read(guest("stats-queries")).unwrap();
    bytes.extend([0, 2, 1, b'x']);
    workplace.file("plugins/stats_queries.wasm", &bytes);
    run().assert_says(114, &["it is not what was locked", "stats_queries.wasm"]);
    run().assert_says(
        114,
        &["stats-queries 0.1.0 was locked as", "`wavetank plugin lock shop.toml`"],
    );
    let unlocked = workplace.run_workload(&["shop.toml", "--quick"]);
    assert_ne!(unlocked.code, 114, "without --locked nobody minds: {unlocked:#?}");
    workplace.file("plugins/stats_queries.wasm", fs::read(guest("stats-queries")).unwrap());

    let mut service = fs::read(guest("rosey-database")).unwrap();
    service.extend([0, 2, 1, b'x']);
    workplace.file("plugins/rosey_database.wasm", &service);
    run().assert_says(114, &["it is not what was locked", "rosey_database.wasm"]);
    workplace.file("plugins/rosey_database.wasm", fs::read(guest("rosey-database")).unwrap());

    workplace.file("part.rhai", "fn once() { 1 }\n");
    run().assert_says(114, &["it is not what was locked", "first.rhai"]);
    workplace.file("part.rhai", "fn once() { }\n");

    workplace.file("shop.toml", SUITE.replace("players = 10", "players = 20"));
    run().assert_says(114, &["the suite `shop.toml` is not what was locked"]);
    workplace.file("shop.toml", SUITE);

    // The lock of another suite: what it does not name is not run.
    let without = text.replacen("source = \"first.rhai\"", "source = \"other.rhai\"", 1);
    workplace.file("shop.lock", without);
    run().assert_says(114, &["the lock `shop.lock` does not name `first.rhai`"]);
    workplace.file("shop.lock", text.replacen("sha256:", "sha255:", 1));
    run().assert_says(104, &["shop.lock:", "this is no digest"]);
}

#[test]
fn a_workload_alone_is_locked_likewise() {
    let workplace = shop();
    workplace.run(&["plugin", "lock", "first.rhai"]).assert_says(0, &["locked in `first.lock`"]);
    let run =
        |flags: &[&str]| workplace.run_workload(&[&["first.rhai", "--locked"], flags].concat());
    run(&[]).assert_says(0, &[]);
    let target = run(&["--target", "db=sleep 60"]);
    target
        .assert_says(114, &["--target runs a command, and --locked only those of a locked suite"]);
    workplace.file("first.rhai", format!("{SCRIPT}\n"));
    run(&[]).assert_says(114, &["it is not what was locked", "first.rhai"]);
    let nothing = workplace.run(&["plugin", "lock", "nothing.wasm"]);
    nothing.assert_says(104, &["there is no file `nothing.wasm`"]);
}

/// Reads a file of rows and a part; asks for another file only when it is told to.
const READS: &str = r#"
import "part" as part;
const ROWS = data::json("rows.json");
const LATE = param("late", "no", "whether another file is read");
export const options = #{ scenarios: #{ one: #{ executor: "per-vu-iterations", vus: 4, iterations: 3 } } };
fn setup(ctx) { if global::LATE == "yes" { data::json("late.json"); } }
fn iteration(ctx) { if global::ROWS.len() != 2 || part::once() != 1 { fail("other bytes"); } }
"#;

#[test]
fn what_a_script_reads_and_imports_is_locked_with_it() {
    let workplace = Workplace::new(WAVETANK);
    workplace.file("reads.rhai", READS);
    workplace.file("rows.json", "[1, 2]");
    workplace.file("part.rhai", "fn once() { 1 }");
    workplace.file("late.json", "[]");
    workplace.run(&["plugin", "lock", "reads.rhai"]).assert_says(0, &["reads.rhai sha256:"]);
    let run =
        |flags: &[&str]| workplace.run_workload(&[&["reads.rhai", "--locked"], flags].concat());
    run(&["--shards", "2"]).assert_says(0, &[]);
    workplace.file("rows.json", "[1, 3]");
    run(&[]).assert_says(114, &["it is not what was locked", "plugin lock reads.rhai"]);
    workplace.file("rows.json", "[1, 2]");
    workplace.file("part.rhai", "fn once() { 2 - 1 }");
    run(&[]).assert_says(114, &["it is not what was locked"]);
    workplace.file("part.rhai", "fn once() { 1 }");
    // Nobody has looked at this one: what it would be is not locked.
    let late = run(&["-p", "late=yes"]);
    late.assert_says(107, &["`late.json` was not read when the script was loaded"]);
    let unlocked = workplace.run_workload(&["reads.rhai", "-p", "late=yes"]);
    unlocked.assert_says(0, &[]);
}

/// A lock is of names and bytes: the same bytes cut elsewhere are another script.
#[test]
fn what_is_cut_elsewhere_has_another_digest() {
    let workplace = Workplace::new(WAVETANK);
    let digest = |rows: &str, more: &str| {
        workplace
            .file("cut.rhai", "const A = data::csv(\"a.csv\"); const B = data::csv(\"b.csv\");");
        workplace.file("a.csv", rows);
        workplace.file("b.csv", more);
        let ran = workplace.run(&["plugin", "lock", "cut.rhai"]);
        ran.assert_says(0, &[]);
        ran.stdout
    };
    assert_ne!(digest("x", "yb.csvz"), digest("xb.csvy", "z"));
}

/// Shards are made one after the other, from what was loaded and from nothing that lies there since.
#[test]
fn every_shard_is_made_of_what_was_loaded() {
    let workplace = Workplace::new(WAVETANK);
    workplace.file("reads.rhai", READS);
    workplace.file("rows.json", "[1, 2]");
    workplace.file("part.rhai", "fn once() { 1 }");
    workplace.file("asks.wasm", fs::read(guest("stats-queries")).unwrap());
    for name in ["reads.rhai", "asks.wasm"] {
        let path = workplace.path().join(name);
        let program = Program::load(&path, &LoadInput::default()).unwrap();
        program.on_shard().unwrap();
        for file in [name, "rows.json", "part.rhai"] {
            let _ = fs::remove_file(workplace.path().join(file));
            workplace.file(file, "nonsense (");
        }
        program.on_shard().unwrap();
        assert!(Program::load(&path, &LoadInput::default()).is_err(), "{name} is another now");
    }
}

/// A file that is swapped while the run goes on changes nothing of it: every shard has read it already.
#[test]
fn what_is_swapped_during_the_run_is_not_what_runs() {
    let workplace = Workplace::new(WAVETANK);
    workplace.file(
        "swapped.rhai",
        r#"
import "part" as part;
const ROWS = data::json("rows.json");
export const options = #{ vus: 4, duration: "3s",
    thresholds: #{ "checks": "rate == 1", "iterations": "count > 8" } };
fn iteration(ctx) { check("as it was", part::once() == 1 && data::json("rows.json").len() == 2); sleep("20ms"); }
"#,
    );
    workplace.file("part.rhai", "fn once() { 1 }");
    workplace.file("rows.json", "[1, 2]");
    let arguments =
        ["run", "swapped.rhai", "--summary-export", "summary.json", "--progress", "plain"];
    let child = workplace.start(&[&arguments[..], &["--shards", "2"]].concat());
    let told = workplace.path().join("wavetank-runs");
    // Once it has a folder its script is loaded.
    for _ in 0..1_000 {
        if told.exists() {
            break;
        }
        wait(async { tokio::time::sleep(Duration::from_millis(10)).await });
    }
    workplace.file("part.rhai", "fn once() { 2 }");
    workplace.file("rows.json", "[]");
    workplace.file("swapped.rhai", "nonsense");
    let ran = workplace.finish(child.wait_with_output().unwrap());
    ran.assert_says(0, &[]);
    assert_eq!(ran.metric("checks", &[])["rate"], 1.0, "{ran:#?}");
}

#[test]
fn a_service_is_served_only_if_it_is_the_one_that_is_meant() {
    let workplace = Workplace::new(WAVETANK);
    let file = guest("rosey-database").display().to_string();
    let zeros = format!("sha256:{}", "0".repeat(64));
    let other = workplace.run(&["serve", &file, "--digest", &zeros, "--bus", "nats-server"]);
    other.assert_says(114, &["it is not what was locked", &zeros]);
}
