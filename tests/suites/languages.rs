//! One workload in every language that plugins are written in: begun, built twice, run with one seed. What
//! they did is read from the database that they did it to, not from what they say.

use std::{fs, path::PathBuf};

use rusqlite::Connection;
use wavetank_tests::{
    command::{Ran, Workplace, repository},
    nats::search_path,
};

use crate::WAVETANK;

const LANGUAGES: [&str; 4] = ["rust", "js", "c", "python"];
const ITERATIONS: usize = 40;

/// Builds a plugin's folder with the tools that `tests/run` installed.
fn build(workplace: &Workplace, folder: &str) -> Ran {
    let mut command = workplace.command(&["plugin", "build", folder]);
    command.envs(std::env::vars_os()).env("PATH", search_path());
    command.env("CARGO_TARGET_DIR", repository().join("target/plugins"));
    workplace.finish(command.output().expect("the command runs"))
}

/// A new plugin's component.
fn component(workplace: &Workplace, language: &str, folder: &str, kind: &str) -> PathBuf {
    let new = workplace.run(&["plugin", "new", folder, "--lang", language, "--kind", kind]);
    new.assert_says(0, &["wavetank plugin build"]);
    build(workplace, folder).assert_says(0, &["visits.wasm sha256:", &format!("a {kind} of")]);
    workplace.path().join(folder).join("visits.wasm")
}

/// What a run left in its database, in order.
fn stored(workplace: &Workplace, language: &str, component: &str) -> Vec<String> {
    let file = workplace.path().join(format!("{language}.db"));
    let database = format!("sqlite:{}", file.display());
    let iterations = ITERATIONS.to_string();
    let ran = workplace.run_workload(&[
        component,
        "--db",
        &database,
        "--allow",
        "db",
        "--seed",
        "7",
        "--vus",
        "1",
        "--iterations",
        &iterations,
        "-p",
        "people=1000000",
    ]);
    // A machine that is busy may leave its limits on time unshown: it ran all the same.
    assert!(matches!(ran.code, 0 | 99 | 111 | 117), "{language}: {ran:#?}");
    let count =
        |name: &str, tags: &[(&str, &str)], field: &str| ran.metric(name, tags)[field].as_f64();
    let whole = Some(ITERATIONS as f64);
    assert_eq!(count("iterations", &[], "count"), whole, "{language}: {ran:#?}");
    assert_eq!(count("iteration_errors", &[], "rate"), Some(0.0), "{language}: {ran:#?}");
    assert_eq!(count("checks", &[], "passes"), whole.map(|it| it * 2.0), "{language}: {ran:#?}");
    let asked = count("db_queries", &[], "count");
    assert_eq!(asked, whole.map(|it| it * 2.0), "{language}: {ran:#?}");
    let looked = &ran.summary.as_ref().unwrap()["thresholds"].as_array().unwrap();
    let looked = looked.iter().find(|it| it["selector"] == "{op:look}").unwrap();
    assert_eq!(looked["samples"], ITERATIONS, "{language}: {ran:#?}");
    let database = Connection::open(file).unwrap();
    let mut rows = database.prepare("SELECT name FROM visits ORDER BY rowid").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_same_workload_does_the_same_in_each_language_and_is_the_same_bytes_in_each_folder() {
    let workplace = Workplace::new(WAVETANK);
    let mut did: Vec<(&str, Vec<String>)> = Vec::new();
    for language in LANGUAGES {
        let folders = [format!("{language}/visits"), format!("elsewhere/{language}/deeper/visits")];
        let [first, second] = folders.map(|it| component(&workplace, language, &it, "workload"));
        let (one, other) = (fs::read(&first).unwrap(), fs::read(second).unwrap());
        assert!(one == other, "{language}: {} and {} bytes, not the same", one.len(), other.len());
        let path = workplace.path().display().to_string();
        let told = one.windows(path.len()).any(|it| it == path.as_bytes());
        assert!(!told, "{language}: the folder's name is in it");
        let inspected = workplace.run(&["inspect", first.to_str().unwrap()]);
        let metadata =
            ["metadata: name: visits version: 0.1.0", "description: What it does, in a line"];
        inspected.assert_says(0, &metadata);
        inspected.assert_says(0, &["licenses: Apache-2.0"]);
        did.push((language, stored(&workplace, language, first.to_str().unwrap())));
    }
    let (_, expected) = did[0].clone();
    assert_eq!(expected.len(), ITERATIONS);
    assert!(expected.iter().any(|name| *name != expected[0]), "{expected:?}");
    for (language, names) in did {
        assert_eq!(names, expected, "{language}");
    }
}

#[test]
fn a_service_is_one_in_each_language() {
    let workplace = Workplace::new(WAVETANK);
    for language in LANGUAGES {
        let component = component(&workplace, language, &format!("{language}/visits"), "service");
        let name = component.strip_prefix(workplace.path()).unwrap().display().to_string();
        let suite = workplace.file(
            &format!("{language}.toml"),
            format!(
                "name = \"greeting\"\n\n[services.greeter]\nworkload = \"{name}\"\n\
                 grants = {{ subscribe = [\"example.greet\"] }}\n\n[[workloads]]\nworkload = \"asks.rhai\"\n"
            ),
        );
        workplace.file(
            "asks.rhai",
            r#"
export const options = #{ vus: 1, iterations: 20, thresholds: #{ checks: "rate == 1" } };
fn iteration(ctx) {
    let reply = bus::request("example.greet", #{ name: "Ann" });
    check("greeted", reply.ok && reply.json.text == "hello, Ann");
}
"#,
        );
        let ran = workplace.run_workload(&[&suite]);
        assert_eq!(ran.metric("checks", &[])["passes"], 20.0, "{language}: {ran:#?}");
    }
}

#[test]
fn a_tool_that_is_missing_is_told_with_how_to_install_it() {
    let workplace = Workplace::new(WAVETANK);
    for (language, words) in [
        ("js", ["componentize-qjs", "npm install"]),
        ("c", ["clang", "apt-get install clang lld"]),
        ("python", ["componentize-py", "python3 -m venv .venv"]),
    ] {
        let new = workplace.run(&["plugin", "new", language, "--lang", language]);
        new.assert_says(0, &["wavetank plugin build"]);
        let mut command = workplace.command(&["plugin", "build", language]);
        command.env("PATH", workplace.path());
        let ran = workplace.finish(command.output().expect("the command runs"));
        ran.assert_says(104, &words);
    }
}

#[test]
fn a_plugin_that_is_broken_is_told_by_its_own_tool() {
    let workplace = Workplace::new(WAVETANK);
    for (language, file, from, to, word) in [
        ("js", "plugin.js", "setup() {", "setup( {", "at /plugin.js:"),
        ("c", "plugin.c", "check(\"found\"", "chekc(\"found\"", "chekc"),
        ("python", "plugin.py", "def setup(self", "def setup(self self", "plugin.py\", line 29"),
    ] {
        let new = workplace.run(&["plugin", "new", language, "--lang", language]);
        new.assert_says(0, &[]);
        let path = workplace.path().join(language).join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        build(&workplace, language).assert_says(104, &[word, "did not build it"]);
    }
}

/// What a Python plugin's iterations say: the run's time and chance, and the way to mend what it lacks.
#[test]
fn python_has_the_runs_time_and_chance_and_says_what_it_has_not() {
    let workplace = Workplace::new(WAVETANK);
    workplace.run(&["plugin", "new", "own", "--lang", "python"]).assert_says(0, &[]);
    workplace.file(
        "own/plugin.py",
        r#"
import datetime, os, random, sys, time, uuid
from wavetank import Workload, check

class Plugin(Workload):
    name = "own"
    options = {"vus": 1, "iterations": 4, "thresholds": {"checks": "rate == 1"}}

    def iterate(self, iteration):
        begun = time.monotonic()
        time.sleep(0.02)
        check("slept", 0.02 <= time.monotonic() - begun < 60)
        check("dated", datetime.datetime.now(datetime.timezone.utc).year == 1970)
        print("drew", random.randint(1, 10**9), random.sample(range(1000), 3), random.gauss(0, 1))
        print("made", uuid.uuid4(), os.urandom(5).hex())
        if iteration.number == 1:
            print("to the other", file=sys.stderr)
        if iteration.number == 2:
            import smtplib
        if iteration.number == 3:
            raise ValueError("no more")
"#,
    );
    build(&workplace, "own").assert_says(0, &["own.wasm"]);
    let said = |seed: &str| {
        let ran = workplace.run_workload(&["own/own.wasm", "--seed", seed]);
        assert_eq!(ran.metric("checks", &[])["passes"], 8.0, "{ran:#?}");
        assert_eq!(ran.metric("iteration_errors", &[])["rate"], 0.5, "{ran:#?}");
        let errors = "`smtplib` is imported too late: import it at the top of plugin.py";
        for word in [errors, "ValueError: no more", "at iterate (plugin.py:", "to the other"] {
            assert!(ran.stderr.contains(word), "{word}: {ran:#?}");
        }
        let drawn = |line: &&str| line.contains("drew ") || line.contains("made ");
        ran.stderr.lines().filter(drawn).map(str::to_owned).collect::<Vec<_>>()
    };
    let first = said("7");
    assert_eq!(first.len(), 8);
    assert_eq!(first, said("7"));
    let mut others = [first.clone(), said("8")].concat();
    others.sort_unstable();
    others.dedup();
    assert_eq!(others.len(), 16, "{others:#?}");
}

/// In a suite a component knows no secret that its grants do not name; by hand it knows all that it is given.
#[test]
fn a_secret_is_told_to_whom_it_is_granted() {
    let workplace = Workplace::new(WAVETANK);
    workplace.run(&["plugin", "new", "knows", "--lang", "js"]).assert_says(0, &[]);
    workplace.file(
        "knows/plugin.js",
        r#"
import { log, workload } from "./wavetank.js";
let known;
export const { describe, setup, init, iterate, teardown } = workload({
    name: "knows",
    version: "0.1.0",
    options: { vus: 1, iterations: 1 },
    init(context) { known = Object.keys(context.secrets).sort(); },
    iterate() { log(`it was told ${known.length}: [${known}]`); },
});
"#,
    );
    build(&workplace, "knows").assert_says(0, &["knows.wasm"]);
    let says = |workload: &str| {
        let mut command = workplace.command(&["run", workload, "--progress", "none"]);
        command.args(["--secret-env", "token=TOKEN", "--secret-env", "other=OTHER"]);
        command.env("TOKEN", "first-of-them").env("OTHER", "second-of-them");
        let ran = workplace.finish(command.output().unwrap());
        let line = ran.stderr.lines().find(|line| line.contains("it was told "));
        let told = line.unwrap_or_else(|| panic!("{ran:#?}")).split_once("told ").unwrap().1;
        // Those that nobody is told are named, with what tells them.
        let page = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let untold = ["token", "other"].into_iter().filter(|name| {
            page.contains(&format!(
                "no workload is told the secret `{name}`: add `secrets = [\"{name}\"]`"
            ))
        });
        (told.to_owned(), untold.collect::<Vec<_>>().join(","))
    };
    let is = |told: &str, untold: &str| (told.to_owned(), untold.to_owned());
    let suite = |name: &str, grants: &str| {
        let text =
            format!("name = \"asks\"\n\n[[workloads]]\nworkload = \"knows/knows.wasm\"\n{grants}");
        says(&workplace.file(name, text))
    };
    assert_eq!(says("knows/knows.wasm"), is("2: [other,token]", ""));
    assert_eq!(suite("none.toml", ""), is("0: []", "token,other"));
    let one = suite("one.toml", "grants = { secrets = [\"token\"] }\n");
    assert_eq!(one, is("1: [token]", "other"));
    let all = suite("all.toml", "grants = { secrets = [\"*\"] }\n");
    assert_eq!(all, is("2: [other,token]", ""));
}

#[test]
fn a_wrong_build_is_told_what_to_change() {
    let workplace = Workplace::new(WAVETANK);
    let new = workplace.run(&["plugin", "new", "wrong", "--lang", "js"]);
    new.assert_says(0, &[]);
    build(&workplace, "wrong").assert_says(0, &["wrong.wasm"]);
    let folder = workplace.path().join("wrong");
    let by_hand = |flags: &[&str]| {
        let path = search_path();
        let mut tools = std::env::split_paths(&path).map(|it| it.join("componentize-qjs"));
        let tool = tools.find(|it| it.is_file()).expect("`tests/run` installs it");
        let mut command = std::process::Command::new(tool);
        command.current_dir(&folder).args(["--wit", "build/wit", "--world", "workload"]);
        command.args(["--js", "build/entry.js", "--module-root", ".", "--output", "by-hand.wasm"]);
        let made = command.args(flags).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        workplace.run(&["inspect", "wrong/by-hand.wasm"])
    };
    by_hand(&["--sync"]).assert_says(114, &["imports `wasi:filesystem/", "--stub-wasi"]);
    by_hand(&["--stub-wasi"]).assert_says(114, &["asynchronous", "--sync"]);
    let wit = folder.join("build/wit");
    for entry in fs::read_dir(wit).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("workload@0.1.0", "workload@0.2.0")).unwrap();
    }
    let later = by_hand(&["--sync", "--stub-wasi"]);
    later.assert_says(114, &["wavetank:workload@0.2.0", "speaks 0.1", "wavetank plugin new"]);
}
