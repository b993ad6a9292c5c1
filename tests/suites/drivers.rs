//! Drivers against systems of known truth, over real NATS: a responder that does one request after the
//! other, compared with what it did itself in that very run.

use std::time::Duration;

use serde_json::Value;
use wavetank_tests::{
    command::Ran,
    truth::{Answered, Behaviour, Responder},
};

use crate::truth::Case;

fn script(scenario: &str, rest: &str) -> String {
    format!(
        r#"
export const options = #{{
    scenarios: #{{ load: #{{ executor: "constant-arrival-rate", {scenario}, exec: "ask" }} }},
    ops: ["ask"],
    {rest}
}};
fn ask(ctx) {{
    bus::request("tank.echo", "hello", #{{ op: "ask", timeout: "20s" }});
}}
"#
    )
}

/// What the responder did in its best second.
fn best_second(record: &[Answered]) -> f64 {
    let replies = |first: usize| {
        let from = record[first].replied;
        record[first..].partition_point(|one| one.replied < from + Duration::from_secs(1))
    };
    (0..record.len()).step_by(10).map(replies).max().unwrap_or(0) as f64
}

fn told(ran: &Ran) -> String {
    format!("{}{}", ran.stdout, ran.stderr)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The answer may be off by this share: probes of a second on a machine that does other things too.
const TOLERANCE: f64 = 0.2;

#[test]
fn a_search_finds_what_a_responder_of_two_milliseconds_can_do() {
    let case = Case::alone();
    let behaviour = Behaviour::Serial(Duration::from_millis(2));
    let responder = Responder::start(&case.server.url(), "tank.echo", behaviour);
    let search = r#"search: #{ from: 50, to: 10000, probe: "1s", precision: 0.1, expected: 100 }"#;
    let rest = r#"
        derived: #{
            max_rate: #{ kind: "search", value: "max_rate" },
            headroom: #{ kind: "search", value: "headroom" },
        },
        thresholds: #{ "max_rate": "value > 20", "iteration_errors": "rate == 0" },"#;
    let ran = case.run(&script(search, rest));
    assert_eq!(ran.code, 0, "{}", told(&ran));
    let truth = best_second(&responder.record());
    let summary = ran.summary.as_ref().unwrap();
    let search = &summary["searches"][0];
    let low = number(&search["max_rate"]);
    assert!(low <= truth * (1.0 + TOLERANCE), "found {low}, and it did {truth}\n{}", told(&ran));
    if search["runner_limited"] == false {
        let high = number(&search["failed"]);
        assert!(
            high >= truth * (1.0 - 2.0 * TOLERANCE),
            "up to {high}, and it did {truth}\n{}",
            told(&ran)
        );
        assert!(search["limited_by"].is_string(), "{search}");
    }
    let probes = search["probes"].as_array().unwrap();
    assert!(probes.len() >= 4 && ran.stdout.contains("highest rate of load"), "{}", told(&ran));
    let scenario = &summary["scenarios"][0];
    let counts =
        ["planned", "started", "dropped", "never_started"].map(|key| number(&scenario[key]));
    assert_eq!(counts[0], counts[1] + counts[2] + counts[3], "{scenario}");
    assert_eq!(responder.record().len() as f64, counts[1], "every one that started reached it");
}

#[test]
fn a_responder_that_saturates_does_not_scale_linearly_and_its_knee_is_known() {
    let case = Case::alone();
    let behaviour = Behaviour::Serial(Duration::from_millis(2));
    let responder = Responder::start(&case.server.url(), "tank.echo", behaviour);
    let levels = r#"levels: [20, 50, 100, 800, 1000], duration: "4s", drain: "8s""#;
    let rest = r#"derived: #{ knee: #{ kind: "scaling", value: "knee" } },
        thresholds: #{ "knee": "value >= 20" },"#;
    let ran = case.run(&script(levels, rest));
    let truth = best_second(&responder.record());
    assert!(truth < 520.0, "sleeping 2 ms, it cannot do {truth} per second");
    let scaling = &ran.summary.as_ref().unwrap()["scaling"][0];
    assert_eq!(scaling["levels"].as_array().unwrap().len(), 5, "{}", told(&ran));
    for level in scaling["levels"].as_array().unwrap() {
        let done = number(&level["throughput"]);
        assert!(done <= truth * 1.1 && done <= number(&level["asked"]) * 1.1, "{level} {truth}");
    }
    assert_ne!(scaling["class"], "linear", "{}", told(&ran));
    // A machine that has nothing left for the responder may not even let it do 100.
    assert!(number(&scaling["knee"]) <= 100.0, "{}", told(&ran));
    if truth > 250.0 {
        assert_eq!(number(&scaling["knee"]), 100.0, "{}", told(&ran));
        assert_eq!(scaling["operation"]["op"], "ask", "{}", told(&ran));
    }
}

#[test]
fn a_dry_run_says_what_drivers_will_do() {
    let workplace = wavetank_tests::command::Workplace::new(crate::WAVETANK);
    let search = script(r#"search: #{ from: 50, to: 800, probe: "2s" }"#, "");
    let levels = script(r#"levels: [10, 20, 40], duration: "5s""#, "");
    for (script, words) in
        [(search, "a search from 50/s to 800/s"), (levels, "levels 10, 20, 40/s")]
    {
        let file = workplace.file("driven.rhai", &script);
        let ran = workplace.run(&["run", "--dry-run", &file]);
        assert!(ran.stdout.contains(words), "{}", told(&ran));
    }
}
