//! Two suites at the same time on one nats-server and one PostgreSQL: neither hears, stores or counts what
//! is the other's.

use std::process::Child;

use serde_json::Value;
use wavetank_tests::{
    command::{Ran, Workplace},
    nats::NatsServer,
    postgres::Postgres,
    wait,
};

use crate::WAVETANK;

/// A service in a process of its own: its queue group has the same name in both suites, and each request that
/// went to the other's would be missing in the count.
const COUNTER: &str = r#"
export const options = #{ services: #{
    "count.up": "up",
    "jobs.>": #{ handler: "job", stream: "JOBS", consumer: "worker" },
} };
fn init(ctx) {
    db::execute("CREATE TABLE IF NOT EXISTS counted (n INTEGER)");
    db::execute("CREATE TABLE IF NOT EXISTS done (n INTEGER)");
}
fn up(message) {
    db::execute("INSERT INTO counted (n) VALUES (1)");
    #{ n: db::query("SELECT count(*) AS n FROM counted").rows[0].n }
}
fn job(message) { db::execute("INSERT INTO done (n) VALUES (?)", [message.json.n]); }
"#;

const ASKS: &str = r#"
export const options = #{
    vus: 1, iterations: 150,
    thresholds: #{ "checks": "rate == 1", "service_handled{op:up}": "count == 150" },
};
fn iteration(ctx) {
    let reply = bus::request("count.up", #{});
    check("counted from nothing", reply.ok && reply.json.n == ctx.iteration + 1);
    sleep("20ms");
}
"#;

/// A service inside the runner: without a queue group, so that it would have what both publish.
const TALLIES: &str = r#"
export const options = #{
    scenarios: #{
        send: #{ executor: "per-vu-iterations", vus: 1, iterations: 150, exec: "send" },
        wait: #{ executor: "per-vu-iterations", start_after: "send", exec: "wait" },
    },
    services: #{ "tally.up": "up" },
    metrics: #{ heard: "counter" },
    thresholds: #{ "service_handled{op:up}": "count == 150", "heard": "count == 150", "bus_lost": "count == 0" },
};
fn send(ctx) {
    if type_of(this.heard) == "()" { this.heard = bus::subscribe("tally.>"); }
    bus::publish("tally.up", #{ n: ctx.iteration });
    if this.heard.next("5s") != () { metric::add("heard", 1); }
    sleep("10ms");
}
fn wait(ctx) { sleep("1s"); }
fn up(message) { () }
"#;

/// The stream of both has the same name and the same subjects.
const PRODUCES: &str = r#"
export const options = #{
    scenarios: #{
        send: #{ executor: "shared-iterations", vus: 1, iterations: 150, exec: "send" },
        look: #{ executor: "shared-iterations", start_after: "send", exec: "look" },
    },
    thresholds: #{
        "service_handled{op:job}": "count == 150",
        "bus_publish_failed": "rate == 0",
        "checks": "rate == 1",
    },
};
fn send(ctx) { bus::publish_acknowledged(`jobs.${ctx.iteration % 3}`, #{ n: ctx.iteration }); sleep("10ms"); }
fn look(ctx) {
    for attempt in 0..400 {
        let done = db::query("SELECT count(*) AS n, count(DISTINCT n) AS ids FROM done");
        if done.ok && done.rows[0].n == 150 {
            check("each once", done.rows[0].ids == 150);
            return;
        }
        sleep("50ms");
    }
    check("all done in 20 s", false);
}
"#;

const SUITE: &str = r#"
name = "beside"

[streams]
JOBS = ["jobs.>"]

[services.counter]
workload = "counter.rhai"
concurrency = 1

[[workloads]]
workload = "asks.rhai"
row = "A"

[[workloads]]
workload = "tallies.rhai"
row = "B"

[[workloads]]
workload = "produces.rhai"
row = "C"

[rows.A]
[rows.B]
[rows.C]
"#;

fn start(workplace: &Workplace, bus: &str, database: &str) -> Child {
    for (name, text) in [
        ("counter.rhai", COUNTER),
        ("asks.rhai", ASKS),
        ("tallies.rhai", TALLIES),
        ("produces.rhai", PRODUCES),
        ("suite.toml", SUITE),
    ] {
        workplace.file(name, text);
    }
    workplace.start(&[
        "run",
        "suite.toml",
        "--bus",
        bus,
        "--db",
        database,
        "--progress",
        "none",
        "--summary-export",
        "summary.json",
    ])
}

#[test]
fn two_suites_on_one_server_and_one_database_leave_each_other_alone() {
    let server = wait(NatsServer::with_config("http: \"127.0.0.1:-1\""));
    let cluster = Postgres::shared();
    let database = wait(cluster.database());
    let places = [Workplace::new(WAVETANK), Workplace::new(WAVETANK)];
    let children = places.each_ref().map(|place| start(place, &server.url(), &database));
    // Both run to their end before anything is judged: neither is left behind.
    let outputs = children.map(|child| child.wait_with_output().unwrap());
    let ran: Vec<Ran> = places.iter().zip(outputs).map(|(place, it)| place.finish(it)).collect();
    let mut prefixes = Vec::new();
    for ran in &ran {
        assert_eq!(ran.code, 0, "{ran:#?}");
        let summary = ran.summary.as_ref().unwrap();
        let statuses: Vec<&Value> =
            summary["rows"].as_array().unwrap().iter().map(|row| &row["status"]).collect();
        assert_eq!(statuses, ["pass", "pass", "pass"], "{ran:#?}");
        for (row, workload) in [("A", "asks"), ("B", "tallies"), ("C", "produces")] {
            let tags = [("row", row), ("workload", workload)];
            let handled = ran.metric("service_handled", &tags);
            assert_eq!(handled["count"], 150.0, "{row}: {ran:#?}");
        }
        prefixes.push(summary["environment"]["subjects"].as_str().unwrap().to_owned());
    }
    assert!(prefixes.iter().all(|it| it.starts_with("own, under `wt_")), "{prefixes:?}");
    assert_ne!(prefixes[0], prefixes[1]);
    assert_eq!(server.monitor("/jsz")["streams"], 0, "the streams of both are removed");
}
