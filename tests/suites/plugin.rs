//! From nothing to a judged run, as a plugin's author goes: begun, built, run. The builds are cargo's own,
//! from the registry that it is set up for.

use std::{fs, io::BufRead as _, path::PathBuf};

use wavetank_tests::command::{Ran, Workplace, repository};

use crate::{WAVETANK, input::in_time};

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
        new.assert_says(0, &["wavetank plugin build"]);
        let built = build(&workplace, folder);
        built.assert_says(0, &["first_visit.wasm sha256:", "a workload of"]);
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

    let own = components[0].to_str().unwrap();
    let checked = workplace.run(&["plugin", "check", own]);
    checked.assert_says(
        0,
        &[
            "first-visit 0.1.0: a workload for wavetank:workload 0.1.",
            "it uses the database",
            "licence: Apache-2.0",
            "its metadata names no authors, no source",
        ],
    );
    // Every call to the host, from the same seed the same each time.
    let tested = workplace.run(&["plugin", "test", own]);
    tested.assert_says(
        0,
        &[
            "vu 0: db::execute(CREATE TABLE visits (name TEXT); 0 values)",
            "vu 1: db::execute(INSERT INTO visits (name) VALUES (?); 1 values)",
            "check found: 3 of 3",
            "3 iterations, 0 errors",
        ],
    );
    assert_eq!(workplace.run(&["plugin", "test", own]).stdout, tested.stdout);

    let again = workplace.run(&["plugin", "new", "here/first-visit"]);
    again.assert_says(104, &["is there already, and not empty"]);
    let source = workplace.path().join("here/first-visit/src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    fs::write(&source, text.replace("check(\"found\"", "chekc(\"found\"")).unwrap();
    let broken = build(&workplace, "here/first-visit");
    broken.assert_says(104, &["chekc", "cargo did not build it"]);
    let own: PathBuf = workplace.path().join("here/first-visit/first_visit.wasm");
    assert_eq!(fs::read(own).unwrap(), bytes[0], "what was built stays");
}

#[test]
fn a_new_service_is_one() {
    let workplace = Workplace::new(WAVETANK);
    let new = workplace.run(&["plugin", "new", "greeter", "--kind", "service"]);
    new.assert_says(0, &[]);
    build(&workplace, "greeter").assert_says(0, &["greeter.wasm sha256:", "a service of"]);
    let shown = workplace.run(&["inspect", "greeter/greeter.wasm"]);
    shown.assert_says(0, &["example.greet", "what is said before the name"]);
    let test = |flags: &[&str]| {
        workplace.run(&[&["plugin", "test", "greeter/greeter.wasm"], flags].concat())
    };
    test(&[])
        .assert_says(0, &["sent to example.greet: {}", "replied: {\"text\":\"hello, stranger\"}"]);
    let sent = ["--send", "example.greet={\"name\":\"you\"}", "-p", "greeting=hi"];
    test(&sent)
        .assert_says(0, &["replied: {\"text\":\"hi, you\"}", "1 messages, 0 without a reply"]);
    let nobody = test(&["--send", "example.other=1"]);
    nobody.assert_says(0, &["no reply", "1 messages, 1 without a reply"]);
    test(&["--send", "a b=1"]).assert_says(104, &["nothing can be sent to `a b`"]);
    workplace.run(&["plugin", "check", "greeter/greeter.wasm"]).assert_says(0, &["a service for"]);
}

#[test]
fn under_a_virtual_clock_an_hour_is_over_at_once_and_a_fault_is_told() {
    let workplace = Workplace::new(WAVETANK);
    let script = |body: &str| {
        let head = "export const options = #{ scenarios: #{ main: #{ executor: \"constant-vus\", vus: 9, duration: \"1h\", iteration_timeout: \"2h\" } } };";
        let setup = "fn setup(ctx) { db::execute(\"CREATE TABLE t (n INTEGER)\"); () }";
        workplace.file("slow.rhai", format!("{head}\n{setup}\nfn iteration(ctx) {{ {body} }}\n"))
    };
    let test =
        |file: &str| in_time(|| workplace.run(&["plugin", "test", file, "--iterations", "2"]));
    let slow = script(
        "db::execute(\"INSERT INTO t (n) VALUES (?)\", [ctx.random.int(1, 1000000)]); sleep(\"1h\"); \
         check(\"kept\", db::query(\"SELECT count(*) AS n FROM t\").rows[0].n == ctx.iteration + 1);",
    );
    let words = ["vu 1: sleep(3600s)", "check kept: 2 of 2", "2 iterations, 0 errors, 0 cut off"];
    test(&slow).assert_says(0, &words);
    let thrown = test(&script("if ctx.iteration == 1 { throw \"not today\" }"));
    thrown.assert_says(99, &["1 × threw", "not today", "2 iterations, 1 errors, 0 cut off"]);
    let stuck = test(&script("let n = 0; loop { n += 1 }"));
    stuck.assert_says(99, &["cpu_timeout"]);
}

#[test]
fn what_a_suite_does_not_grant_is_told_with_what_to_add() {
    let workplace = Workplace::new(WAVETANK);
    let plugin = repository().join("target/guests/wasm32-wasip2/release/stats_queries.wasm");
    fs::copy(plugin, workplace.path().join("mine.wasm")).unwrap();
    let suite = |grants: &str| {
        let text = format!("name = \"s\"\n[[workloads]]\nworkload = \"mine.wasm\"\n{grants}\n");
        workplace.file("s.toml", text);
        workplace.run(&["plugin", "check", "mine.wasm", "--suite", "s.toml"])
    };
    let bus = "add `bus = [\"SUBJECT\"]` to its `grants`";
    suite("").assert_says(104, &["imports `bus`, and `s.toml` does not grant it", bus]);
    suite("grants = { request = [\"rosey.>\"] }")
        .assert_says(0, &["it sends and receives messages"]);
    workplace.file("other.toml", "name = \"o\"\n[[workloads]]\nworkload = \"other.wasm\"\n");
    let other = workplace.run(&["plugin", "check", "mine.wasm", "--suite", "other.toml"]);
    other.assert_says(104, &["`other.toml` does not run `mine.wasm`"]);
    workplace.file("a.rhai", "fn iteration(ctx) {}");
    let script = workplace.run(&["plugin", "check", "a.rhai"]);
    script.assert_says(104, &["is a script, and no plugin"]);
}

#[test]
fn a_service_of_a_suite_is_given_what_the_suite_grants_it() {
    let workplace = Workplace::new(WAVETANK);
    let plugin = repository().join("target/guests/wasm32-wasip2/release/rosey_database.wasm");
    fs::copy(plugin, workplace.path().join("store.wasm")).unwrap();
    workplace.file(
        "asks.rhai",
        "export const options = #{ vus: 1, iterations: 3, thresholds: #{ checks: \"rate == 1\" } };\n\
         fn iteration(ctx) { check(\"told\", bus::request(\"rosey.db.service.stats\", \"{}\").ok); }\n",
    );
    let suite = |grants: &str| {
        let text = format!(
            "name = \"s\"\n[services.store]\nworkload = \"store.wasm\"\n{grants}\n\
             [[workloads]]\nworkload = \"asks.rhai\"\n"
        );
        workplace.file("s.toml", text);
    };
    let check = || workplace.run(&["plugin", "check", "store.wasm", "--suite", "s.toml"]);
    let subscribe =
        "wants to answer \"rosey.db.action.pm_command\" and 16 more, which it is not granted";
    let line = "add `subscribe = [\"rosey.db.action.pm_command\", ";
    let database =
        ["add `database = \"read\"` to its `grants`", "add `database = \"write\"` to its `grants`"];
    // Inside the runner, and in a process of its own.
    for place in ["embedded", "nats-server"] {
        let run = || workplace.run_workload(&["s.toml", "--bus", place]);
        suite("");
        run().assert_says(114, &["the service `store` ", subscribe, line]);
        check().assert_says(104, &["the service `store` ", subscribe, line, database[1]]);
        suite("grants = { subscribe = [\"rosey.>\"] }");
        let ran = run();
        assert_ne!(ran.code, 0, "{place}");
        let told = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("this component has no database"), "{place}: {ran:#?}");
        assert!(told.contains(database[0]), "{place}: {ran:#?}");
        check().assert_says(104, &["`store` imports `database`", database[1]]);
        suite("grants = { subscribe = [\"rosey.>\"], database = \"write\" }");
        run().assert_says(0, &[]);
        check().assert_says(0, &["grants = { subscribe = [\"rosey.db.action.pm_command\", "]);
    }
}

#[test]
fn a_watched_script_is_tested_again_when_it_changes() {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("w.rhai", "fn iteration(ctx) { log(\"first\"); }");
    let mut child = workplace.start(&["plugin", "test", &file, "--watch"]);
    let mut lines =
        std::io::BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("first")), "it ended");
    // As an editor saves: another file in its place.
    workplace.file("new", "fn iteration(ctx) { log(\"second\"); }");
    fs::rename(workplace.path().join("new"), workplace.path().join("w.rhai")).unwrap();
    assert!(lines.any(|line| line.contains("second")), "it ended");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_is_no_plugin_is_told() {
    let workplace = Workplace::new(WAVETANK);
    for name in ["Big", "1st", "a_b", ".."] {
        let ran = workplace.run(&["plugin", "new", name]);
        ran.assert_says(104, &["cannot be the name of a plugin"]);
    }
    let ran = workplace.run(&["plugin", "new", "a", "--lang", "cobol"]);
    ran.assert_says(104, &["possible values: rust, js, c"]);
    workplace.run(&["plugin", "build", "nowhere"]).assert_says(104, &["there is no folder"]);
    workplace.run(&["plugin", "build"]).assert_says(104, &["has none of Cargo.toml"]);
}
