//! Growth, levels and searches, from options to plans.

use super::*;
use crate::plan::{Priority, Severity};

pub(super) fn growth(per: &str) -> Value {
    json!({ "kind": "growth", "metric": "vus", "aggregate": "avg", "per": per })
}

pub(super) fn levels(change: Value) -> Value {
    let mut scenario = json!({
        "executor": "constant-arrival-rate", "levels": [10, 20, 50], "duration": "10s",
        "drain": "3s",
    });
    for (key, value) in change.as_object().unwrap() {
        scenario[key] = value.clone();
    }
    json!({ "scenarios": { "only": scenario } })
}

pub(super) fn search(change: Value, metric: &str) -> Value {
    let mut search = json!({ "from": 10, "to": 1_000, "probe": "10s" });
    for (key, value) in change.as_object().unwrap() {
        search[key] = value.clone();
    }
    json!({
        "scenarios": { "only": { "executor": "constant-arrival-rate", "search": search } },
        "thresholds": { metric: "count > 1" },
    })
}

#[test]
fn a_search_is_alone_and_judged_by_what_a_probe_can_show() {
    let built = plan(search(json!({}), "iterations"));
    let criteria = built.thresholds.iter().filter(|it| built.is_criterion(it)).count();
    assert_eq!(criteria, 5, "its own and the defaults");
    assert_eq!(built.forecast().scenarios[0].planned, None);
    let with = |threshold: Value| {
        let mut options = search(json!({}), "iterations");
        options["thresholds"] = threshold;
        error(options).message
    };
    assert!(with(json!({ "iteration_duration": "p(99) < 1s" })).contains("takes 299 samples"));
    assert!(with(json!({ "iterations": "count over first 1s > 1" })).contains("has a window"));
    let mut two = search(json!({}), "iterations");
    two["scenarios"]["other"] = json!({ "executor": "constant-vus", "duration": "1s" });
    assert!(error(two).message.contains("there are others beside it"));
    let quick = overridden(search(json!({}), "iterations"), |it| it.scale = Some(QUICK)).unwrap();
    assert_eq!(quick.scenarios[0].search().unwrap().probe, Duration::from_secs(1));
    let mut shown = search(json!({}), "iterations");
    shown["thresholds"] = json!({ "iteration_duration": "p(95) < 1s" });
    let quick = overridden(shown, |it| it.scale = Some(QUICK)).unwrap();
    let probe = quick.scenarios[0].search().unwrap().probe;
    assert!((probe.as_secs_f64() - 5.9).abs() < 1e-6, "59 samples at 10/s: {probe:?}");
}

#[test]
fn levels_are_stages_with_a_drain_behind_each() {
    let mut options = levels(json!({}));
    options["derived"] = json!({ "d": { "kind": "scaling", "value": "headroom" } });
    assert!(error(options).message.contains("does not say what is expected"));
    let mut options = levels(json!({ "time_unit": "1m", "start_time": "1s" }));
    options["thresholds"] = json!({ "iteration_errors{level:20}": "rate == 0" });
    let scenario = plan(options.clone()).scenarios.remove(0);
    let times: Vec<_> = scenario
        .level_times()
        .iter()
        .map(|time| (time.level.name.clone(), time.from.as_secs(), time.to.as_secs()))
        .collect();
    let expected = [("10", 1, 11), ("20", 14, 24), ("50", 27, 37)];
    assert_eq!(times, expected.map(|(name, from, to)| (name.to_owned(), from, to)));
    assert_eq!(scenario.arrivals(Segment::default(), 0).unwrap().planned(), 14, "10 s of 80/min");
    let of: Vec<_> = (0..12).map(|stage| scenario.level_of(stage).map(|it| it.asked)).collect();
    assert_eq!(of[4..8], [Some(20.0 / 60.0), Some(20.0 / 60.0), None, None]);
    options["thresholds"] = json!({ "iteration_errors{level:21}": "rate == 0" });
    assert!(error(options).message.contains("there is no level `21`"));
    let quick = overridden(levels(json!({})), |it| it.scale = Some(QUICK)).unwrap();
    let times = quick.scenarios[0].level_times();
    assert_eq!((times[1].from.as_secs(), times[1].to.as_secs()), (5, 9), "never below 4 s");
}

#[test]
fn growth_is_per_time_per_stage_or_per_number_of_what_is_counted() {
    let kind = |per: &str| {
        let mut options = two_scenarios();
        options["scenarios"]["steady"].as_object_mut().unwrap().remove("start_after");
        options["derived"] = json!({ "d": growth(per) });
        options["thresholds"] = json!({ "d": "max < 5" });
        let plan = plan(options);
        match plan.derived[0].kind.clone() {
            DerivedKind::Growth(growth) => (growth.per, plan.windowed().len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(kind("1h"), (Per::Time(60 * MINUTE), 1));
    assert_eq!(kind("stage"), (Per::Stage("steady".to_owned()), 1));
    let (per, windowed) = kind("1000 iterations{scenario:warm}");
    let selector = Selector([("scenario".to_owned(), "warm".to_owned())].into());
    let expected = Per::Count { number: 1_000.0, metric: "iterations".to_owned(), selector };
    assert_eq!((per, windowed), (expected, 2), "the counter is kept per second too");
    let relative = json!({ "d": {
        "kind": "growth", "metric": "runner_rss_bytes", "aggregate": "avg", "per": "1m",
        "relative": true,
    } });
    let plan = plan(json!({
        "duration": "200s", "derived": relative, "thresholds": { "d": "max < 2%" },
    }));
    assert_eq!(plan.registry.get(plan.registry.find("d").unwrap()).unit, Unit::Percent);
    let quick = json!({ "duration": "20s", "derived": { "d": growth("1h") } });
    let quick = overridden(quick, |it| it.scale = Some(QUICK)).unwrap();
    assert!((quick.scale - 0.55).abs() < 1e-9, "a slope takes ten seconds: {}", quick.scale);
}

#[test]
fn a_quick_growth_has_its_seconds_in_what_it_is_counted_against() {
    let stages = |lengths: [&str; 3]| {
        let stages = lengths.map(|length| json!({ "duration": length, "target": 2 }));
        let options = json!({
            "scenarios": {
                "before": { "executor": "constant-vus", "duration": "60s" },
                "load": { "executor": "ramping-vus", "stages": stages },
            },
            "derived": { "d": {
                "kind": "growth", "metric": "runner_rss_bytes", "aggregate": "avg",
                "per": "stage", "scenario": "load",
            } },
        });
        overridden(options, |it| it.scale = Some(QUICK)).unwrap().scale
    };
    // Ten seconds, and one lost at an end of each stage, of the 20 s of that scenario.
    assert!((stages(["6s", "7s", "7s"]) - 13.0 / 20.0).abs() < 1e-9);
    // A whole second of the shortest stage.
    assert!((stages(["4s", "98s", "98s"]) - 0.5).abs() < 1e-9);
}

#[test]
fn the_criteria_of_a_search_are_critical_however_much_its_row_matters() {
    let of_row = |threshold: Value| {
        let mut options = search(json!({}), "iterations");
        options["thresholds"] = json!({ "bus_request_failed": threshold });
        let row = Row { name: "W14".into(), priority: Priority::P2, ..Row::default() };
        let plan = overridden(options, |it| it.rows = vec![row]).unwrap();
        let (scenario, search) = plan.search().unwrap();
        let probe = plan.of_probe(scenario, search, 100.0);
        let severity = |plan: &Plan| {
            let own = plan.thresholds.iter().find(|it| it.metric == "bus_request_failed");
            own.unwrap().severity
        };
        (severity(&plan), severity(&probe))
    };
    assert_eq!(of_row(json!("rate == 0")), (Severity::Info, Severity::Critical));
    let shown = json!({ "threshold": "rate == 0", "severity": "info" });
    assert_eq!(of_row(shown), (Severity::Info, Severity::Info));
}
