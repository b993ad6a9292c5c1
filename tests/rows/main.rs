//! The suites of the four systems: complete, checked, and run short on E and S. What they judge of time is
//! for `tests/catalogue` on an idle machine; here it is that every row is really run and measured.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod curated;

use std::{collections::BTreeMap, path::PathBuf, sync::Mutex};

use serde_json::Value;
use wavetank::plan::suite::Suite;
use wavetank_tests::{
    command::{Ran, Workplace, repository},
    nats::NatsServer,
    postgres::Postgres,
    wait,
};

/// The command under test.
const WAVETANK: &str = env!("CARGO_BIN_EXE_wavetank-under-test");

/// Rows of the catalogue, and those that exist as script and as plugin.
const ROWS: [(&str, &str, u32, &[u32]); 4] = [
    ("rosey", "R", 12, &[1, 2, 10, 12]),
    ("arrakis", "A", 4, &[2, 3]),
    ("aegis", "G", 9, &[]),
    ("warming", "W", 14, &[1, 2, 3]),
];

fn path(system: &str) -> PathBuf {
    repository().join("scripts").join(system).join("suite.toml")
}

fn suite(system: &str) -> Suite {
    let path = path(system);
    Suite::read(&std::fs::read_to_string(&path).unwrap(), &path.display().to_string()).unwrap()
}

#[test]
fn every_row_of_the_catalogue_is_covered() {
    for (system, letter, count, twins) in ROWS {
        let suite = suite(system);
        let mut wanted: Vec<_> = (1..=count).map(|number| format!("{letter}{number}")).collect();
        wanted.sort();
        assert_eq!(suite.rows.keys().cloned().collect::<Vec<_>>(), wanted, "{system}");
        for number in twins {
            let row = format!("{letter}{number}");
            let covered = suite.workloads.iter().filter(|entry| entry.rows.contains(&row));
            assert!(covered.clone().any(|entry| entry.twin.is_some()), "{row} has no twin");
            for twin in covered.filter_map(|entry| entry.twin.as_ref()) {
                let file = suite.resolve(path(system).parent().unwrap(), twin);
                assert!(file.exists(), "{}: see tests/guests/build", file.display());
            }
        }
    }
}

#[test]
fn every_suite_is_checked() {
    for (system, ..) in ROWS {
        let path = path(system);
        let ran = Workplace::new(WAVETANK).run(&["check", path.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
}

/// Runs a system's suite short, and says what must be so however slow the machine is.
fn short(system: &str, backend: &str, flags: &[&str]) {
    let path = path(system);
    let workplace = Workplace::new(WAVETANK);
    let ran = workplace
        .run_workload(&[&[path.to_str().unwrap(), "--quick", "--out", "out"], flags].concat());
    let what = format!("{system} on {backend}: exit code {}\n{}", ran.code, ran.stderr);
    let summary = ran.summary.as_ref().unwrap_or_else(|| panic!("{what}"));
    assert_eq!(summary["run"]["complete"], true, "{what}\n{:#}", summary["verdict"]);
    let causes = summary["verdict"]["causes"].as_array().unwrap();
    let slow = ["thresholds_failed", "invalid", "not_shown"];
    assert!(
        causes.iter().all(|cause| slow.contains(&cause.as_str().unwrap())),
        "{what}\n{:#}",
        summary["verdict"]
    );
    assert_eq!(summary["errors"], Value::Array(Vec::new()), "{what}");

    let suite = suite(system);
    let statuses: BTreeMap<_, _> = summary["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["row"].as_str().unwrap(), row["status"].as_str().unwrap()))
        .collect();
    for (name, row) in suite.rows.iter().filter(|(_, row)| !row.long) {
        let status =
            statuses.get(name.as_str()).unwrap_or_else(|| panic!("{name} is missing: {what}"));
        let applies = !row.not_applicable.keys().any(|known| known.name() == backend);
        assert_eq!(*status != "not_applicable", applies, "{name}: {status}");
        // What takes longer than `--quick` leaves, a slope or a law, says so; the rest of the row has data.
        let found = summary["rows"].as_array().unwrap().iter().filter(|row| row["row"] == **name);
        for row in found.filter(|_| applies) {
            let thresholds = row["thresholds"].as_array().unwrap().iter();
            let mut own =
                thresholds.map(|it| &summary["thresholds"][it.as_u64().unwrap() as usize]);
            let measured = own.any(|threshold| {
                threshold["status"] != "no_data" && threshold["observed"].is_number()
            });
            assert!(measured, "{name}: {what}\n{:#}", summary["verdict"]);
        }
    }
}

/// One after the other: each takes the whole machine.
static MACHINE: Mutex<()> = Mutex::new(());

#[test]
fn the_suites_run_short_on_the_embedded_bus_and_on_nats() {
    let _whole = MACHINE.lock();
    for (system, ..) in ROWS {
        short(system, "E", &[]);
        short(system, "S", &["--bus", "nats-server"]);
    }
}

/// Runs rows of a suite twice at the same time, on one nats-server and one PostgreSQL.
fn at_once(system: &str, rows: &[&str]) -> [Ran; 2] {
    let server = wait(NatsServer::start());
    let cluster = Postgres::shared();
    let database = wait(cluster.database());
    let path = path(system);
    let (bus, suite) = (server.url(), path.to_str().unwrap());
    let mut arguments = vec!["run", suite, "--quick", "--out", "out", "--progress", "none"];
    arguments.extend(["--summary-export", "summary.json", "--bus", &bus, "--db", &database]);
    arguments.extend(rows.iter().flat_map(|row| ["--row", row]));
    let places = [Workplace::new(WAVETANK), Workplace::new(WAVETANK)];
    let children = places.each_ref().map(|place| place.start(&arguments));
    let outputs = children.map(|child| child.wait_with_output().unwrap());
    let mut ran = places.iter().zip(outputs).map(|(place, output)| place.finish(output));
    [ran.next().unwrap(), ran.next().unwrap()]
}

fn count(ran: &Ran, metric: &str, tags: &[(&str, &str)]) -> f64 {
    ran.metric(metric, tags)["count"].as_f64().unwrap_or_else(|| panic!("{metric}: {ran:#?}"))
}

/// Both send messages with the same ids to the same subjects: what one service had of the other's would be
/// missing there, and twice here.
#[test]
fn two_of_a_suite_at_once_store_what_each_published() {
    let _whole = MACHINE.lock();
    for ran in at_once("rosey", &["R4", "R5"]) {
        for tags in [
            [("row", "R4"), ("workload", "r4-sustained")],
            [("row", "R5"), ("workload", "r5-burst")],
        ] {
            let published = count(&ran, "bus_published", &tags);
            assert!(published >= 100.0, "{tags:?}: {ran:#?}");
            assert_eq!(count(&ran, "events_stored", &tags), published, "{tags:?}: {ran:#?}");
            let handled = count(&ran, "service_handled", &tags);
            assert_eq!(handled, published, "{tags:?}: {ran:#?}");
            let twice = ran.metric("events_twice", &tags);
            assert!(twice.is_null() || twice["count"] == 0.0, "{tags:?}: {ran:#?}");
        }
    }
    // With streams of the same names, and replies on subjects that both choose alike.
    for ran in at_once("arrakis", &["A2"]) {
        assert_eq!(ran.metric("burst_whole", &[])["rate"], 1.0, "{ran:#?}");
        let published = count(&ran, "bus_published", &[]);
        assert_eq!(count(&ran, "service_handled", &[]), published, "{ran:#?}");
    }
}
