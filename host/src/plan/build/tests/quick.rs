//! `--quick` and a suite's `scale`: shorter, and never too short for what is to be shown.

use serde_json::json;

use super::{super::*, overridden};
use crate::plan::{QUICK, samples_needed};

#[test]
fn quick_leaves_the_time_that_a_recovery_takes_to_be_found() {
    let options = |threshold: &str| {
        json!({
            "scenarios": { "spike": {
                "executor": "ramping-arrival-rate", "start_rate": 100,
                "stages": [
                    { "duration": "10s", "target": 100, "name": "normal" },
                    { "duration": "10s", "target": 1000, "name": "up" },
                    { "duration": "12s", "target": 100, "name": "down" },
                    { "duration": "8s", "target": 100, "name": "after" },
                ],
            } },
            "derived": { "recovery": {
                "kind": "recovery_time", "metric": "iteration_response_time", "aggregate": "mean",
                "stage": "up", "reference": "normal",
            } },
            "thresholds": { "recovery": threshold },
        })
    };
    let quick =
        |threshold: &str| overridden(options(threshold), |it| it.scale = Some(QUICK)).unwrap();
    assert_eq!(quick("value < 2s").scale, 0.25);
    let without =
        overridden(json!({ "duration": "10s", "vus": 1 }), |it| it.scale = Some(QUICK)).unwrap();
    assert_eq!(without.scale, 0.1);
}

#[test]
fn quick_is_a_tenth_but_never_less_than_thresholds_need() {
    let options = |threshold: &str| {
        json!({
            "scenarios": {
                "open": { "executor": "constant-arrival-rate", "rate": 100, "duration": "100s" },
                "closed": { "executor": "per-vu-iterations", "vus": 2, "iterations": 15 },
            },
            "thresholds": { "iteration_duration{scenario:open}": threshold },
        })
    };
    let quick =
        |threshold: &str| overridden(options(threshold), |it| it.scale = Some(QUICK)).unwrap();
    let plan = quick("p(95) < 1s and mean over first 20s < 1s");
    assert_eq!(plan.scale, 0.1);
    assert_eq!(plan.scenarios[0].executor.duration().as_secs(), 10);
    assert!(matches!(plan.scenarios[1].executor, Executor::PerVuIterations { iterations: 2, .. }));
    let window = plan.thresholds[0].expression.0[0][1].window;
    assert_eq!(window.map(threshold::Window::length), Some(Duration::from_secs(2)));
    // p(99.9) takes 2 995 samples of 10 000.
    assert!((quick("p(99.9) < 1s").scale - 0.2995).abs() < 1e-9);
    // A window of 2 s cannot be shorter than one.
    assert_eq!(quick("mean over first 2s < 1s").scale, 0.5);
    let whole = quick("p(99.99) < 1s");
    assert_eq!((whole.scale, whole.scenarios[0].executor.duration().as_secs()), (1.0, 100));
    assert!(whole.notes[0].contains("not shortened"));
    let needs = |percent| samples_needed(threshold::Aggregate::Percentile(percent));
    assert_eq!([needs(50.0), needs(95.0), needs(99.0), needs(99.9)], [5, 59, 299, 2_995]);
}
