//! `wavetank run suite.toml`, as a user runs it: several workloads, their services, one summary.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use serde_json::Value;
use wavetank_tests::command::{Ran, Workplace};

use crate::WAVETANK;

/// A service that counts how often it was asked, in the database.
const COUNTER: &str = r#"
export const options = #{ services: #{ "count.up": "up" } };
fn init(ctx) { db::execute("CREATE TABLE IF NOT EXISTS counted (n INTEGER)"); }
fn up(message) {
    if message.json.fail == true { throw "told to"; }
    db::execute("INSERT INTO counted (n) VALUES (1)");
    #{ n: db::query("SELECT count(*) AS n FROM counted").rows[0].n }
}
"#;

/// Asks it; `expect` is the count that it then has.
const ASKS: &str = r#"
export const options = #{
    vus: 1, iterations: param("times", 5, "how often"),
    ops: ["up"],
    thresholds: #{ "bus_request_duration{op:up}": "max < 5s", "checks": "rate == 1" },
};
const TIMES = param("times", 5, "how often");
fn setup(ctx) { check("there", bus::request("count.up", #{}, #{ op: "up" }).ok); () }
fn iteration(ctx) {
    let reply = bus::request("count.up", #{}, #{ op: "up" });
    check("counted from nothing", reply.ok && reply.json.n == ctx.iteration + 2);
}
"#;

/// Its only threshold cannot hold.
const CANNOT: &str = r#"
export const options = #{
    vus: 1, iterations: 3,
    thresholds: #{ "checks": #{ threshold: "rate == 1", row: "B" } },
};
fn iteration(ctx) { check("cannot", false); }
"#;

fn workplace(suite: &str) -> Workplace {
    let workplace = Workplace::new(WAVETANK);
    workplace.file("counter.rhai", COUNTER);
    workplace.file("asks.rhai", ASKS);
    workplace.file("cannot.rhai", CANNOT);
    workplace.file("suite.toml", suite);
    workplace
}

fn rows(ran: &Ran) -> Vec<(String, String)> {
    let summary = ran.summary.as_ref().unwrap_or_else(|| panic!("{ran:#?}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rows = summary["rows"].as_array().unwrap().iter();
    rows.map(|row| (text(&row["row"]), text(&row["status"]))).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(row, status)| ((*row).to_owned(), (*status).to_owned())).collect()
}

const SUITE: &str = r#"
name = "counting"

[services.counter]
workload = "counter.rhai"
concurrency = 1

[[workloads]]
workload = "asks.rhai"
row = "A"
tags = ["first"]

[[workloads]]
workload = "cannot.rhai"
rows = ["B", "C"]

[[workloads]]
workload = "asks.rhai"
row = "D"
parameters = { times = 7 }
thresholds = { "iterations" = "count == 7" }

[rows.A]
[rows.B]
known_failing = "it cannot"
[rows.C]
not_applicable = { E = "no reason", S = "another" }
[rows.D]
priority = "P1"
"#;

#[test]
fn a_suite_ends_in_one_summary_with_its_rows() {
    let workplace = workplace(SUITE);
    let ran = workplace.run_workload(&["suite.toml", "--out", "out"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let statuses = [("A", "pass"), ("B", "known_failing"), ("C", "not_applicable"), ("D", "pass")];
    assert_eq!(rows(&ran), pairs(&statuses));
    let summary = ran.summary.as_ref().unwrap();
    assert_eq!(summary["rows"][1]["reason"], "it cannot");
    assert_eq!(summary["rows"][2]["reason"], "no reason");
    assert_eq!(summary["rows"][3]["priority"], "P1");
    assert_eq!(summary["verdict"]["exit_code"], 0);
    // What a row is judged by is found through its indices, and the suite's own threshold is among it.
    let of_row = &summary["rows"][3]["thresholds"];
    let own: Vec<_> = of_row
        .as_array()
        .unwrap()
        .iter()
        .map(|index| &summary["thresholds"][index.as_u64().unwrap() as usize])
        .collect();
    assert!(own.iter().any(|it| it["metric"] == "iterations" && it["observed"] == 7.0), "{own:#?}");
    assert!(
        own.iter().all(|it| it["row"] == "D" && it["severity"] == "warning" || it["row"].is_null())
    );

    // Data start anew for each workload, or a check of the second would have failed; what `setup` asked
    // is not the load's.
    assert_eq!(ran.metric("iterations", &[])["count"], 15.0);
    assert_eq!(ran.metric("iterations", &[("row", "D"), ("workload", "asks-2")])["count"], 7.0);
    assert_eq!(
        ran.metric("bus_request_duration", &[("row", "A"), ("workload", "asks")])["count"],
        5
    );
    assert_eq!(
        ran.metric("service_handled", &[("row", "D"), ("workload", "asks-2")])["count"],
        7.0
    );
    assert_eq!(ran.metric("service_handle_duration", &[])["count"], 12);
    for (folder, iterations) in [("01-asks", 5.0), ("02-cannot", 3.0), ("03-asks-2", 7.0)] {
        let path = workplace.path().join("out").join(folder).join("summary.json");
        let own: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(own["scenarios"][0]["completed"], iterations);
    }
    assert!(ran.stdout.contains("known failing"), "{}", ran.stdout);
}

#[test]
fn workloads_have_names_and_the_services_that_they_name() {
    let suite = r#"
        name = "two"
        [services.counter]
        workload = "counter.rhai"
        [services.other]
        workload = "counter.rhai"
        rows = ["A"]
        [[workloads]]
        workload = "asks.rhai"
        row = "A"
        services = ["counter"]
        [[workloads]]
        name = "nobody-answers"
        workload = "asks.rhai"
        row = "A"
        services = []
        thresholds = { "bus_request_failed" = "rate == 1" }
        [rows.A]
    "#;
    let ran = workplace(suite).run_workload(&["suite.toml"]);
    let summary = ran.summary.as_ref().unwrap();
    assert_eq!(summary["scenarios"][0]["name"].as_str().unwrap().split(' ').next(), Some("asks"));
    let handled = |workload: &str| {
        let tags = [("row", "A"), ("workload", workload)];
        ran.metric("service_handled", &tags)["count"].as_f64()
    };
    // With the other one beside it, each would have had a share.
    assert_eq!(handled("asks"), Some(5.0));
    assert_eq!(handled("nobody-answers").unwrap_or(0.0), 0.0);
    for (from, to, said) in [
        ("[\"counter\"]", "[\"conter\"]", "did you mean `counter`?"),
        ("name = \"two\"", "name = \"two\"\nfresh = \"suite\"", "services start once"),
        (
            "workload = \"asks.rhai\"\n        row = \"A\"\n        services = [\"counter\"]",
            "name = \"nobody-answers\"\nworkload = \"asks.rhai\"\nrow = \"A\"",
            "another workload",
        ),
    ] {
        let wrong = suite.replacen(from, to, 1);
        assert_ne!(wrong, suite);
        let ran = workplace(&wrong).run_workload(&["suite.toml"]);
        assert_eq!(ran.code, 104, "{to}: {ran:#?}");
        assert!(ran.stderr.contains(said), "{to}: {}", ran.stderr);
    }
}

#[test]
fn flags_choose_rows_and_tags() {
    let workplace = workplace(SUITE);
    let ran = workplace.run_workload(&["suite.toml", "--row", "D"]);
    assert_eq!(rows(&ran), pairs(&[("D", "pass")]));
    let ran = workplace.run_workload(&["suite.toml", "--tag", "first"]);
    assert_eq!(rows(&ran), pairs(&[("A", "pass")]));
    let ran = workplace.run_workload(&["suite.toml", "--row", "X"]);
    assert_eq!(ran.code, 104);
    assert!(ran.stderr.contains("no row `X`") && ran.stderr.contains("A, B, C, D"), "{ran:#?}");
    for flags in [["--vus", "3"], ["--param", "a=1"], ["--scenario", "x"], ["--tag", "unknown"]] {
        let ran = workplace.run_workload(&["suite.toml", flags[0], flags[1]]);
        assert_eq!(ran.code, 104, "{flags:?}: {ran:#?}");
    }
    for flags in [vec!["--row", "A"], vec!["--long"], vec!["--soak"], vec!["--tag", "first"]] {
        let ran = workplace.run_workload(&[&["asks.rhai"], flags.as_slice()].concat());
        assert_eq!(ran.code, 104, "{flags:?}: {ran:#?}");
    }
}

#[test]
fn a_row_that_is_known_to_fail_fails_the_suite_when_it_passes() {
    let suite = SUITE.replace("[rows.A]", "[rows.A]\nknown_failing = \"two cores\"");
    let ran = workplace(&suite).run_workload(&["suite.toml"]);
    assert_eq!(ran.code, 99, "{ran:#?}");
    assert_eq!(rows(&ran)[0], ("A".to_owned(), "fail".to_owned()));
    assert!(ran.stdout.contains("A is known to fail, and passed"), "{}", ran.stdout);
}

#[test]
fn the_worst_of_its_workloads_is_the_suites_verdict() {
    let suite = SUITE.replace("known_failing = \"it cannot\"", "");
    let ran = workplace(&suite).run_workload(&["suite.toml"]);
    assert_eq!(ran.code, 99, "{ran:#?}");
    assert_eq!(rows(&ran)[1], ("B".to_owned(), "fail".to_owned()));
    // A row that nothing judges has shown nothing.
    let suite = SUITE.replace("not_applicable = { E = \"no reason\", S = \"another\" }", "");
    let ran = workplace(&suite).run_workload(&["suite.toml"]);
    assert_eq!(rows(&ran)[2], ("C".to_owned(), "no_data".to_owned()));
}

#[test]
fn a_service_that_cannot_start_or_ends_is_named() {
    let suite = SUITE.replace("counter.rhai", "missing.rhai");
    let ran = workplace(&suite).run_workload(&["suite.toml"]);
    assert_eq!(ran.code, 104, "{ran:#?}");
    assert!(ran.stderr.contains("missing.rhai"), "{}", ran.stderr);
    let workplace = workplace(SUITE);
    workplace.file(
        "counter.rhai",
        COUNTER.replace("db::execute(\"CREATE", "throw \"no room\"; db::execute(\"CREATE"),
    );
    let ran = workplace.run_workload(&["suite.toml"]);
    assert_eq!(ran.code, 107, "{ran:#?}");
    assert!(ran.stderr.contains("counter") && ran.stderr.contains("no room"), "{}", ran.stderr);
}

#[test]
fn mistakes_in_a_suite_are_found_before_anything_runs() {
    let wrong = [
        ("row = \"A\"", "rwo = \"A\"", "did you mean `row`?"),
        ("\"count == 7\"", "\"count = 7\"", "count = 7"),
        ("times = 7", "tims = 7", "tims"),
        ("asks.rhai\"\nrow = \"D\"", "nothing.rhai\"\nrow = \"D\"", "nothing.rhai"),
        ("name = \"counting\"", "name = ", "not TOML"),
    ];
    for (from, to, said) in wrong {
        let suite = SUITE.replacen(from, to, 1);
        assert_ne!(suite, SUITE);
        let ran = workplace(&suite).run_workload(&["suite.toml", "--out", "out"]);
        assert_eq!(ran.code, 104, "{to}: {ran:#?}");
        assert!(ran.stderr.contains(said), "{to}: {}", ran.stderr);
        assert!(!ran.stderr.contains("1 of 3"), "{}", ran.stderr);
    }
}

/// Keeps what it gets from a stream.
const CONSUMES: &str = r#"
export const options = #{ services: #{
    "jobs.>": #{ handler: "job", stream: "JOBS", consumer: "worker" },
} };
fn init(ctx) {
    db::execute("CREATE TABLE IF NOT EXISTS done (n INTEGER)");
}
fn job(message) { db::execute("INSERT INTO done (n) VALUES (?)", [message.json.n]); }
"#;

const PRODUCES: &str = r#"
export const options = #{
    scenarios: #{
        send: #{ executor: "shared-iterations", vus: 1, iterations: 600, exec: "send" },
        look: #{ executor: "shared-iterations", start_after: "send", exec: "look" },
    },
    thresholds: #{
        "service_handled{op:job}": "count == 600",
        "bus_publish_failed": "rate == 0",
        "checks": "rate == 1",
    },
};
fn send(ctx) { bus::publish_acknowledged(`jobs.${ctx.iteration % 3}`, #{ n: ctx.iteration }); }
fn look(ctx) {
    for attempt in 0..200 {
        let done = db::query("SELECT count(*) AS n, count(DISTINCT n) AS ids FROM done");
        if done.ok && done.rows[0].n == 600 {
            check("each once", done.rows[0].ids == 600);
            return;
        }
        sleep("50ms");
    }
    check("all done in 10 s", false);
}
"#;

#[test]
fn a_service_in_its_own_process_consumes_a_stream_of_the_suite() {
    let workplace = Workplace::new(WAVETANK);
    workplace.file("consumes.rhai", CONSUMES);
    workplace.file("produces.rhai", PRODUCES);
    let suite = r#"
        name = "streams"
        [streams]
        JOBS = ["jobs.>"]
        [services.worker]
        workload = "consumes.rhai"
        concurrency = 4
        [[workloads]]
        workload = "produces.rhai"
        row = "A"
        [rows.A]
    "#;
    workplace.file("suite.toml", suite);
    let ran = workplace.run_workload(&["suite.toml", "--bus", "nats-server"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(rows(&ran), pairs(&[("A", "pass")]));
    let summary = ran.summary.as_ref().unwrap();
    assert_eq!(summary["rows"][0]["backend"], "S");
    assert_eq!(summary["targets"][0]["name"], "produces › worker");
    assert_eq!(
        ran.metric("service_handled", &[("row", "A"), ("workload", "produces")])["count"],
        600.0
    );
    // Without a stream it consumes what is published, and the embedded bus has none.
    let ran = workplace.run_workload(&["suite.toml"]);
    assert!(ran.stdout.contains("no JetStream"), "{}", ran.stdout);
}

#[test]
fn the_schema_of_a_suite_is_printed() {
    let ran = Workplace::new(WAVETANK).run(&["schema", "suite"]);
    let schema: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(schema["properties"]["workloads"]["items"]["required"][0], "workload");
}

#[test]
fn a_suite_goes_on_when_its_program_is_replaced() {
    let workplace = workplace(
        "name = \"long\"\n[services.counter]\nworkload = \"counter.rhai\"\nconcurrency = 1\n\
         [[workloads]]\nworkload = \"replace.rhai\"\nservices = []\n\
         [[workloads]]\nworkload = \"asks.rhai\"\n",
    );
    workplace.file("replace.rhai", "fn iteration(ctx) { sleep(\"2s\"); }");
    let program = workplace.path().join("program");
    std::fs::copy(WAVETANK, &program).unwrap();
    let command = workplace.command(&["run", "suite.toml", "--bus", "nats-server"]);
    let mut copied = std::process::Command::new(&program);
    copied.args(command.get_args()).current_dir(workplace.path()).env_clear();
    copied.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    copied.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = copied.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("1 of 2")), "the first workload runs");
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "no program").unwrap();
    let rest: Vec<_> = said.collect();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:#?}");
}
