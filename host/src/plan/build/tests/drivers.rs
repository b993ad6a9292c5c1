//! Growth, levels and searches, from options to plans.

use super::*;

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
    assert_eq!(criteria, 4, "its own and the defaults");
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
