//! A bus and a database that die in mid-run, and return or do not: the run goes on to its end, in
//! time, and no iteration is lost from its books.

use std::time::{Duration, Instant};

use wavetank_tests::{
    command::{Ran, Workplace},
    nats::NatsServer,
    postgres::Postgres,
    wait,
};

use crate::WAVETANK;

/// From the start of a run to the death of what it uses.
const BEFORE: Duration = Duration::from_secs(3);
/// How long what returns is away.
const AWAY: Duration = Duration::from_millis(1_500);
/// A run is planned for 8 seconds and 3 of grace; the rest is starting, connecting and cleaning up.
const PATIENCE: Duration = Duration::from_secs(30);

const RATE: u64 = 50;
const PLANNED: u64 = RATE * 8;

/// A script that does `body` 50 times a second for 8 seconds.
fn script(body: &str) -> String {
    format!(
        r#"
export const options = #{{
    scenarios: #{{ load: #{{ executor: "constant-arrival-rate", rate: {RATE}, duration: "8s", graceful_stop: "3s" }} }},
}};
fn iteration(ctx) {{ {body} }}
"#
    )
}

/// Runs a script, and lets `events` happen meanwhile.
#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
fn meanwhile(script: &str, world: [&str; 2], events: impl FnOnce()) -> Ran {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("asking.rhai", script);
    let start = Instant::now();
    let common = ["run", "--summary-export", "summary.json", "--progress", "none", &file];
    let child = workplace.start(&[&common[..], &world].concat());
    pause(BEFORE);
    events();
    let ran = workplace.finish(child.wait_with_output().unwrap());
    assert!(start.elapsed() < PATIENCE, "took {:?}: {ran:#?}", start.elapsed());
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
    assert_books_balance(&ran);
    ran
}

#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// planned = started + dropped + never started, started = completed + interrupted, and nothing that
/// was planned is missing.
fn assert_books_balance(ran: &Ran) {
    let scenario = &ran.summary.as_ref().unwrap_or_else(|| panic!("{ran:#?}"))["scenarios"][0];
    let count = |name: &str| scenario[name].as_u64().unwrap();
    assert_eq!(count("planned"), PLANNED, "{scenario:#}");
    let accounted = count("started") + count("dropped") + count("never_started");
    assert_eq!(count("planned"), accounted, "{scenario:#}");
    assert_eq!(count("started"), count("completed") + count("interrupted"), "{scenario:#}");
}

/// How many operations went well and how many failed.
fn outcomes(ran: &Ran, failed: &str) -> (f64, f64) {
    let rate = ran.metric(failed, &[]);
    let (fails, total) = (rate["passes"].as_f64().unwrap(), rate["total"].as_f64().unwrap());
    (total - fails, fails)
}

const ASKING: &str = r#"bus::request("nobody.home", "x", #{ timeout: "500ms" });"#;

fn with_a_bus_that_dies(afterwards: impl FnOnce(&mut NatsServer)) -> Ran {
    let mut server = wait(NatsServer::start());
    let url = server.url();
    meanwhile(&script(ASKING), ["--bus", &url], || {
        server.kill();
        afterwards(&mut server);
    })
}

#[test]
fn a_bus_that_dies_and_returns_is_data() {
    let ran = with_a_bus_that_dies(|server| {
        pause(AWAY);
        wait(server.restart());
    });
    assert_eq!(ran.code, 99, "{ran:#?}");
    assert!(ran.metric("bus_reconnects", &[])["count"].as_f64().unwrap_or(0.0) >= 1.0, "{ran:#?}");
}

#[test]
fn a_bus_that_never_returns_ends_the_run_all_the_same() {
    let ran = with_a_bus_that_dies(|_| {});
    assert_eq!(ran.code, 99, "{ran:#?}");
    assert!(ran.stdout.contains("bus_request_failed"), "{ran:#?}");
}

const QUERYING: &str = r#"db::query("SELECT 1 AS n", [], #{ timeout: "500ms" });"#;

fn with_a_database_that_dies(afterwards: impl FnOnce(&Postgres)) -> Ran {
    let cluster = Postgres::start();
    let url = wait(cluster.database());
    meanwhile(&script(QUERYING), ["--db", &url], || {
        cluster.stop();
        afterwards(&cluster);
    })
}

#[test]
fn a_database_that_dies_and_returns_is_data() {
    let ran = with_a_database_that_dies(|cluster| {
        pause(AWAY);
        assert!(cluster.serve());
    });
    assert_eq!(ran.code, 99, "{ran:#?}");
    let (well, failed) = outcomes(&ran, "db_query_failed");
    assert!(failed >= 1.0, "{ran:#?}");
    // What was before it died, and as much again: the connections came back with it.
    let before = (RATE * BEFORE.as_secs()) as f64;
    assert!(well > before + 50.0, "{well} went well, {failed} failed: {ran:#?}");
    assert!(ran.stdout.contains("db_query_failed"), "{ran:#?}");
    assert!(!ran.stderr.contains("may be left"), "the schema was dropped: {ran:#?}");
}

#[test]
fn a_database_that_never_returns_ends_the_run_all_the_same() {
    let ran = with_a_database_that_dies(|_| {});
    assert_eq!(ran.code, 99, "{ran:#?}");
    let (well, failed) = outcomes(&ran, "db_query_failed");
    assert!(well >= 1.0 && failed >= 1.0, "{ran:#?}");
    // What could not be cleaned up is named.
    assert!(ran.stderr.contains("the schema wavetank_"), "{ran:#?}");
}
