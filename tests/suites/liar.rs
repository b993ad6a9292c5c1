//! Truth: a set is held against the service's own counters and the database's content; and a service that
//! loses, doubles and answers too early is caught by the rows that should catch it.

use std::path::Path;

use serde_json::Value;
use wavetank_tests::{
    command::{Ran, Workplace, repository},
    guests::guest,
};

use crate::WAVETANK;

/// Runs rows of the chat bot's set against a service, each a process of its own.
fn run(service: &str, parameters: &str) -> (Workplace, Ran) {
    let scripts = repository().join("scripts/rosey").canonicalize().unwrap();
    let scripts = scripts.display();
    let component = guest(service);
    let plugins = component.parent().unwrap().display();
    let workplace = Workplace::new(WAVETANK);
    let suite = format!(
        r#"
        name = "truth"
        plugins = "{plugins}"
        [services.database]
        workload = "plugin:{service}"
        parameters = {{ {parameters} }}
        grants = {{ subscribe = ["rosey.>"], publish = ["rosey.db.liar.store"], database = "write" }}
        [[workloads]]
        workload = "{scripts}/r4-sustained.rhai"
        row = "R4"
        parameters = {{ duration = "3s" }}
        thresholds = {{ "bus_published{{op:message}}" = "count == 360" }}
        [[workloads]]
        workload = "{scripts}/r3-same-instant.rhai"
        row = "R3"
        parameters = {{ users = 10, rounds = 6 }}
        thresholds = {{ "effect_duration{{op:joined}}" = "max < 1m" }}
        [[workloads]]
        workload = "{scripts}/r11-restart.rhai"
        row = "R11"
        grants = {{ targets = ["database"] }}
        parameters = {{ seconds = 6 }}
        thresholds = {{ "target_restart_duration{{target:database}}" = "max < 1m" }}
        [rows.R3]
        [rows.R4]
        [rows.R11]
        "#
    );
    workplace.file("suite.toml", suite);
    let flags = ["suite.toml", "--bus", "nats-server", "--out", "out"];
    let ran = workplace.run_workload(&flags);
    (workplace, ran)
}

fn rows(ran: &Ran) -> Vec<(&str, &str)> {
    let rows = ran.summary.as_ref().unwrap_or_else(|| panic!("{ran:#?}"))["rows"].as_array();
    let text = |value: &'_ Value| -> &'static str { value.as_str().unwrap().to_owned().leak() };
    rows.unwrap().iter().map(|row| (text(&row["row"]), text(&row["status"]))).collect()
}

/// What a derived metric or a counter of a row came to.
fn observed(ran: &Ran, row: &str, metric: &str) -> f64 {
    let thresholds = ran.summary.as_ref().unwrap()["thresholds"].as_array().unwrap();
    let found = thresholds.iter().find(|it| it["row"] == row && it["metric"] == metric);
    found.unwrap_or_else(|| panic!("{row} {metric}: {ran:#?}"))["observed"].as_f64().unwrap()
}

/// What the database of a row's run says.
fn stored(workplace: &Workplace, folder: &str, sql: &str) -> f64 {
    let path = workplace.path().join("out").join(folder).join("database.sqlite");
    let database = rusqlite::Connection::open(Path::new(&path)).unwrap();
    database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as f64
}

#[test]
fn what_an_honest_service_is_said_to_have_done_it_has_done() {
    let (workplace, ran) = run("rosey-database", "");
    assert_eq!(rows(&ran), [("R4", "pass"), ("R3", "pass"), ("R11", "pass")], "{}", ran.stdout);
    let published =
        ran.metric("bus_published", &[("row", "R4"), ("workload", "r4-sustained")])["count"]
            .as_f64()
            .unwrap();
    let handled =
        ran.metric("service_handled", &[("row", "R4"), ("workload", "r4-sustained")])["count"]
            .as_f64()
            .unwrap();
    let counted = stored(
        &workplace,
        "01-r4-sustained",
        "SELECT sum(value) FROM rosey_counters WHERE name = 'stored.message'",
    );
    let kept = stored(&workplace, "01-r4-sustained", "SELECT count(*) FROM recent_chat");
    assert_eq!([published, handled, counted, kept], [360.0; 4]);
    assert_eq!(observed(&ran, "R4", "events_lost"), 0.0);
    let acknowledged = observed(&ran, "R11", "acknowledged");
    let keys = stored(&workplace, "03-r11-restart", "SELECT count(*) FROM plugin_kv");
    assert!(keys >= acknowledged, "{keys} keys of {acknowledged} acknowledged");
}

#[test]
fn a_service_that_lies_is_caught() {
    let (workplace, ran) = run("lying-database", "drop = 0.1, twice = 0.1, early = true");
    assert_eq!(ran.code, 99, "{ran:#?}");
    assert_eq!(rows(&ran), [("R4", "fail"), ("R3", "fail"), ("R11", "fail")], "{}", ran.stdout);
    // What is reported lost and doubled is what it lost and doubled, exactly.
    let own = |name: &str| {
        let sql = format!("SELECT sum(value) FROM liar_counters WHERE name = '{name}'");
        stored(&workplace, "01-r4-sustained", &sql)
    };
    assert!(own("dropped") > 0.0 && own("doubled") > 0.0);
    assert_eq!(observed(&ran, "R4", "events_lost"), own("dropped"));
    assert_eq!(observed(&ran, "R4", "events_twice"), own("doubled"));
    assert!(observed(&ran, "R11", "acknowledged_lost") > 0.0, "it answered before it had stored");
}
