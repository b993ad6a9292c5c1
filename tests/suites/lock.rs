//! What is locked is what is run, byte for byte: a component, a script or a suite that changed since is
//! refused before anything of it runs.

use std::fs;

use wavetank_tests::{
    command::{Ran, Workplace},
    guests::guest,
};

use crate::WAVETANK;

const SUITE: &str = r#"
name = "shop"
plugins = "plugins"

[services.database]
workload = "plugin:rosey-database"

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

fn assert_says(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{ran:#?}");
    let shown = format!("{}{}", ran.stdout, ran.stderr);
    let unbroken = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(unbroken.contains(word), "no `{word}` in:\n{shown}");
    }
}

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
    assert_says(
        &run(),
        104,
        &["the lock `shop.lock` cannot be read", "wavetank plugin lock shop.toml"],
    );
    let locked = workplace.run(&["plugin", "lock", "shop.toml"]);
    assert_says(&locked, 0, &["plugin:rosey-database sha256:", "first.rhai sha256:", "shop.lock"]);
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
    assert_says(&run(), 114, &["it is not what was locked", "stats_queries.wasm"]);
    assert_says(
        &run(),
        114,
        &["stats-queries 0.1.0 was locked as", "`wavetank plugin lock shop.toml`"],
    );
    let unlocked = workplace.run_workload(&["shop.toml", "--quick"]);
    assert_ne!(unlocked.code, 114, "without --locked nobody minds: {unlocked:#?}");
    workplace.file("plugins/stats_queries.wasm", fs::read(guest("stats-queries")).unwrap());

    let mut service = fs::read(guest("rosey-database")).unwrap();
    service.extend([0, 2, 1, b'x']);
    workplace.file("plugins/rosey_database.wasm", &service);
    assert_says(&run(), 114, &["it is not what was locked", "rosey_database.wasm"]);
    workplace.file("plugins/rosey_database.wasm", fs::read(guest("rosey-database")).unwrap());

    workplace.file("part.rhai", "fn once() { 1 }\n");
    assert_says(&run(), 114, &["it is not what was locked", "first.rhai"]);
    workplace.file("part.rhai", "fn once() { }\n");

    workplace.file("shop.toml", SUITE.replace("players = 10", "players = 20"));
    assert_says(&run(), 114, &["the suite `shop.toml` is not what was locked"]);
    workplace.file("shop.toml", SUITE);

    // The lock of another suite: what it does not name is not run.
    let without = text.replacen("source = \"first.rhai\"", "source = \"other.rhai\"", 1);
    workplace.file("shop.lock", without);
    assert_says(&run(), 114, &["the lock `shop.lock` does not name `first.rhai`"]);
    workplace.file("shop.lock", text.replacen("sha256:", "sha255:", 1));
    assert_says(&run(), 104, &["shop.lock:", "this is no digest"]);
}

#[test]
fn a_workload_alone_is_locked_likewise() {
    let workplace = shop();
    assert_says(&workplace.run(&["plugin", "lock", "first.rhai"]), 0, &["locked in `first.lock`"]);
    let run =
        |flags: &[&str]| workplace.run_workload(&[&["first.rhai", "--locked"], flags].concat());
    assert_says(&run(&[]), 0, &[]);
    let target = run(&["--target", "db=sleep 60"]);
    assert_says(
        &target,
        114,
        &["--target runs a command, and --locked only those of a locked suite"],
    );
    workplace.file("first.rhai", format!("{SCRIPT}\n"));
    assert_says(&run(&[]), 114, &["it is not what was locked", "first.rhai"]);
    let nothing = workplace.run(&["plugin", "lock", "nothing.wasm"]);
    assert_says(&nothing, 104, &["there is no file `nothing.wasm`"]);
}

#[test]
fn a_service_is_served_only_if_it_is_the_one_that_is_meant() {
    let workplace = Workplace::new(WAVETANK);
    let file = guest("rosey-database").display().to_string();
    let zeros = format!("sha256:{}", "0".repeat(64));
    let other = workplace.run(&["serve", &file, "--digest", &zeros, "--bus", "nats-server"]);
    assert_says(&other, 114, &["it is not what was locked", &zeros]);
}
