//! Growth, from samples to thresholds on it.

use super::*;
use crate::{
    metric::Unit,
    plan::{Growth, Per, VuStage},
};

const GROWING: &str = "runner_rss_bytes";

/// A run of 60 s whose memory is 100 MB and grows by 1 MB with each second, and by nothing else; with ten
/// iterations in each. Its noise is what `wobble` makes of a second.
fn growing(per: Per, relative: bool, limits: Vec<Threshold>, wobble: impl Fn(u64) -> f64) -> Run {
    let mut registry = Registry::default();
    let unit = if relative { Unit::Percent } else { Unit::Bytes };
    registry.insert(Metric { name: "growth".to_owned(), kind: crate::metric::Kind::Gauge, unit });
    let mut plan = plan(limits);
    plan.registry = Arc::new(registry);
    let stage = |name: &str| VuStage { duration: 10 * SECOND, target: 1, name: name.to_owned() };
    plan.scenarios[0].executor = Executor::RampingVus {
        start_vus: 1,
        stages: ["a", "b", "c", "d", "e", "f"].map(stage).into(),
        graceful_ramp_down: SECOND,
        pace: None,
    };
    plan.derived = vec![Derived {
        name: "growth".to_owned(),
        source: String::new(),
        kind: DerivedKind::Growth(Growth {
            metric: GROWING.to_owned(),
            selector: Selector::default(),
            aggregate: Aggregate::Mean,
            per,
            relative,
        }),
    }];
    let mut run = Run::of(plan);
    for second in 0..60_u64 {
        let at = START + Duration::from_millis(1_000 * second + 500);
        let tags = TagSet::default();
        let bytes = 1e8 + 1e6 * (second as f64 + wobble(second));
        run.recorder.gauge(Builtin::RunnerRssBytes.id(), tags, at, bytes);
        run.recorder.add(Builtin::Iterations.id(), tags, at, 10.0);
        run.observe();
    }
    run
}

fn value(per: Per, relative: bool) -> f64 {
    let judgement = growing(per, relative, Vec::new(), |_| 0.0).finish();
    judgement.derived[0].value.unwrap()
}

#[test]
fn growth_is_counted_against_what_was_asked_for() {
    let near = |found: f64, expected: f64| {
        assert!((found / expected - 1.0).abs() < 1e-6, "{found} instead of {expected}");
    };
    near(value(Per::Time(60 * SECOND), false), 60e6);
    near(
        value(Per::Stage("steady".to_owned()), false),
        1e7 * (35.0 / 36.0) * (3_500.0 / 3_402.777_8),
    );
    let metric = "iterations".to_owned();
    let per = Per::Count { number: 1_000.0, metric, selector: Selector::default() };
    near(value(per, false), 100e6);
    // Of 100 MB in the first second, 1 MB is 1 %.
    near(value(Per::Time(SECOND), true), 1.0);
}

#[test]
fn thresholds_judge_the_estimate_or_the_ends_of_its_interval() {
    let noise = |second: u64| if second.is_multiple_of(2) { 3.0 } else { -3.0 };
    let limit =
        |aggregate, megabytes: f64| limit("growth", aggregate, Comparison::Less, megabytes * 1e6);
    let limits = vec![
        limit(Aggregate::Value, 60.5),
        limit(Aggregate::Max, 60.5),
        limit(Aggregate::Max, 70.0),
        limit(Aggregate::Min, 60.0),
    ];
    let judgement = growing(Per::Time(60 * SECOND), false, limits, noise).finish();
    let status: Vec<_> = judgement.thresholds.iter().map(|it| it.status).collect();
    assert_eq!(status, [Status::Pass, Status::Fail, Status::Pass, Status::Pass], "{judgement:#?}");
    let [low, high] = judgement.thresholds[0].interval.unwrap();
    assert!(low < 60e6 && 60e6 < high, "{low} {high}");
    let again = growing(Per::Time(60 * SECOND), false, Vec::new(), noise).finish();
    assert_eq!(again.derived, judgement.derived, "one seed, one interval");
}

#[test]
fn a_run_too_short_for_a_slope_has_none_and_says_so() {
    let limits = vec![limit("growth", Aggregate::Max, Comparison::Less, 1e9)];
    let mut run = growing(Per::Time(SECOND), false, limits, |_| 0.0);
    run.facts.duration = 9 * SECOND;
    let result = run.only();
    assert_eq!(result.status, Status::NoData);
    assert!(result.reason.unwrap().contains("9 seconds have a figure; it takes 10"));
}
