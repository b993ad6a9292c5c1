//! Windows of thresholds: which samples they hold, and in how much memory.

use super::*;
use crate::{plan::VuStage, verdict::window::MAX_OPEN};

fn windowed(window: Window, aggregate: Aggregate, limit_ms: u64) -> Threshold {
    let mut threshold =
        limit("bus_request_duration", aggregate, Comparison::Less, (limit_ms * MS) as f64);
    threshold.expression.0[0][0].window = Some(window);
    threshold
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Second s of the run has one sample of s + 1 milliseconds in its middle.
fn ramp(threshold: Threshold, seconds: u64) -> ThresholdResult {
    let mut run = Run::of(plan(vec![threshold]));
    run.facts.duration = at(seconds);
    for second in 0..seconds {
        run.times(REQUESTS, "", at(second) + Duration::from_millis(500), [second + 1]);
        run.observe();
        run.judge.abort(START, START + at(second + 1));
    }
    run.only()
}

fn mean_of(result: &ThresholdResult) -> f64 {
    result.observed.unwrap() / MS as f64
}

#[test]
fn windows_hold_the_seconds_that_they_say() {
    let mean = |window| ramp(windowed(window, Aggregate::Mean, 1_000), 40);
    assert_eq!(mean_of(&mean(Window::First(at(10)))), 5.5);
    assert_eq!(mean_of(&mean(Window::After(at(10)))), 25.5);
    assert_eq!(mean_of(&mean(Window::Last(at(10)))), 35.5);
    let each = mean(Window::Each(at(10)));
    assert_eq!((mean_of(&each), each.samples), (35.5, 10));
    assert_eq!(each.reason.unwrap(), "worst window: 30 s to 40 s");
    assert_eq!(mean_of(&mean(Window::Last(at(100)))), 20.5, "a run shorter than its window");
}

#[test]
fn a_sample_belongs_to_the_second_of_its_start_however_late_it_comes() {
    let run = |window| {
        let mut run = Run::of(plan(vec![windowed(window, Aggregate::Max, 50)]));
        run.facts.duration = at(60);
        for second in 0..60 {
            run.times(REQUESTS, "", at(second), [1]);
            run.observe();
        }
        run.times(REQUESTS, "", at(3), [100]);
        run.only().status
    };
    assert_eq!(run(Window::First(at(4))), Status::Fail);
    assert_eq!(run(Window::First(at(3))), Status::Pass);
    assert_eq!(run(Window::Each(at(2))), Status::Fail);
    assert_eq!(run(Window::After(at(4))), Status::Pass);
    assert_eq!(run(Window::Last(at(57))), Status::Fail);
    assert_eq!(run(Window::Last(at(56))), Status::Pass);
}

#[test]
fn each_window_has_to_have_samples_and_enough_of_them() {
    let gap = |counts: [usize; 3]| {
        let mut run = Run::of(plan(vec![windowed(Window::Each(at(2)), P95, 50)]));
        run.facts.duration = at(6);
        for (index, count) in counts.into_iter().enumerate() {
            run.times(REQUESTS, "", at(2 * index as u64), vec![1; count]);
        }
        run.only()
    };
    assert_eq!(gap([59, 59, 59]).status, Status::Pass);
    assert_eq!(gap([59, 58, 59]).status, Status::Insufficient);
    let empty = gap([59, 0, 59]);
    assert_eq!(empty.status, Status::NoData);
    assert_eq!(empty.reason.unwrap(), "nothing was measured in 2 s to 4 s");
}

#[test]
fn a_window_without_failures_counts_none() {
    let mut none =
        limit("bus_request_duration{outcome:error}", Aggregate::Count, Comparison::Less, 1.0);
    none.expression.0[0][0].window = Some(Window::Each(at(2)));
    let judged = |failed_at: Option<u64>| {
        let mut run = Run::of(plan(vec![none.clone()]));
        run.facts.duration = at(6);
        run.times(REQUESTS, "outcome:ok", at(0), [1]);
        if let Some(second) = failed_at {
            run.times(REQUESTS, "outcome:error", at(second), [1]);
        }
        run.only().status
    };
    assert_eq!((judged(None), judged(Some(3))), (Status::Pass, Status::Fail));
}

#[test]
fn a_run_shorter_than_a_window_shows_nothing() {
    let result = ramp(windowed(Window::Each(at(10)), Aggregate::Mean, 1_000), 5);
    assert_eq!(result.status, Status::NoData);
    assert_eq!(result.reason.unwrap(), "the run was shorter than one window of 10 s");
}

#[test]
fn rates_of_windows_are_per_second_of_the_window() {
    let rate = |window| {
        let mut threshold = limit("iterations", Aggregate::Rate, Comparison::Greater, 4.0);
        threshold.expression.0[0][0].window = Some(window);
        let mut run = Run::of(plan(vec![threshold]));
        run.facts.duration = at(40);
        for second in 0..40 {
            let count = if second < 20 { 10.0 } else { 5.0 };
            let tags = TagSet::default();
            run.recorder.add(Builtin::Iterations.id(), tags, START + at(second), count);
        }
        run.only().observed.unwrap()
    };
    assert_eq!(rate(Window::First(at(20))), 10.0);
    assert_eq!(rate(Window::After(at(10))), 200.0 / 30.0);
    assert_eq!(rate(Window::Last(at(20))), 5.0);
    assert_eq!(rate(Window::Each(at(10))), 5.0, "the worst of a minimum is the smallest");
}

#[test]
fn a_limit_may_be_a_window_of_the_same_metric() {
    let mut threshold = windowed(Window::Last(at(10)), Aggregate::Mean, 0);
    threshold.expression.0[0][0].operand = Operand::Figure {
        factor: 7.0,
        metric: None,
        aggregate: Aggregate::Mean,
        selector: None,
        window: Some(Window::First(at(10))),
    };
    let result = ramp(threshold, 40);
    assert_eq!((result.status, result.limit), (Status::Pass, Some(38.5e6)));
}

#[test]
fn memory_of_windows_is_bounded_and_the_worst_is_not_forgotten() {
    let mut run = Run::of(plan(vec![windowed(Window::Each(at(1)), Aggregate::Max, 50)]));
    let seconds = MAX_OPEN as u64 + 500;
    run.facts.duration = at(seconds);
    run.judge.plan = Arc::new(Plan { scenarios: Vec::new(), ..(*run.judge.plan).clone() });
    for second in 0..seconds {
        run.times(REQUESTS, "", at(second), [if second == 7 { 99 } else { 1 }]);
        run.observe();
    }
    let result = run.only();
    assert_eq!((result.status, result.observed), (Status::Fail, Some(99e6)));
    assert_eq!(result.reason.unwrap(), "worst window: 7 s to 8 s");
}

#[test]
fn what_comes_after_its_window_was_closed_is_not_taken_for_nothing() {
    let mut run = Run::of(plan(vec![windowed(Window::Each(at(1)), Aggregate::Max, 50)]));
    let seconds = MAX_OPEN as u64 + 5;
    run.facts.duration = at(seconds);
    for second in 0..seconds {
        run.times(REQUESTS, "", at(second), [1]);
    }
    run.observe();
    run.times(REQUESTS, "", at(0), [99]);
    run.judge.plan = Arc::new(Plan { scenarios: Vec::new(), ..(*run.judge.plan).clone() });
    let result = run.only();
    assert_eq!(result.status, Status::Insufficient);
    assert!(result.reason.unwrap().starts_with("1 samples arrived after"));
}

#[test]
fn cells_that_come_before_the_start_is_known_are_not_lost() {
    let mut run = Run::of(plan(vec![windowed(Window::First(at(1)), Aggregate::Max, 50)]));
    run.times(REQUESTS, "", Duration::ZERO, [99]);
    run.observe();
    assert_eq!(run.only().status, Status::Fail);
}

/// A run of three stages, of which the second ends after `spike`, that was slow until 27 s, but for one
/// calm second; its recovery is to take less than `limit_s`.
fn recovering(spike: Duration, limit_s: f64) -> Run {
    recovering_until(27, spike, limit_s)
}

fn recovering_until(normal: u64, spike: Duration, limit_s: f64) -> Run {
    let mut registry = Registry::default();
    let metric = Metric {
        name: "recovery".to_owned(),
        kind: crate::metric::Kind::Gauge,
        unit: crate::metric::Unit::Nanoseconds,
    };
    registry.insert(metric).unwrap();
    let threshold = limit("recovery", Aggregate::Value, Comparison::Less, limit_s * 1e9);
    let mut plan = plan(vec![threshold]);
    plan.registry = Arc::new(registry);
    let stage = |name: &str, duration| VuStage { duration, target: 1, name: name.to_owned() };
    plan.scenarios[0].executor = Executor::RampingVus {
        start_vus: 1,
        stages: vec![stage("normal", at(10)), stage("spike", spike), stage("after", at(30))],
        graceful_ramp_down: SECOND,
        pace: None,
    };
    plan.derived = vec![Derived {
        name: "recovery".to_owned(),
        source: String::new(),
        kind: DerivedKind::RecoveryTime {
            metric: "bus_request_duration".to_owned(),
            selector: Selector::default(),
            aggregate: Aggregate::Mean,
            stage: "spike".to_owned(),
            reference: "normal".to_owned(),
            factor: 1.2,
        },
    }];
    let mut run = Run::of(plan);
    run.facts.duration = at(50);
    for second in 0..50 {
        let (stage, value) = match second {
            0..10 => ("stage:normal", 10),
            10..20 => ("stage:spike", 100),
            22 => ("stage:after", 10),
            20.. if second < normal => ("stage:after", 50),
            _ => ("stage:after", 11),
        };
        run.times(REQUESTS, stage, at(second), [value; 5]);
        run.observe();
    }
    run
}

#[test]
fn recovery_ends_with_the_first_second_of_a_stretch_that_is_back_to_normal() {
    let judgement = recovering(at(10), 9.0).finish();
    assert_eq!(judgement.derived[0].value, Some(8e9));
    assert_eq!(judgement.thresholds[0].status, Status::Pass);
    // A stage that ends within a second of the run: never less than the truth, which is 6.5 s.
    let judgement = recovering(Duration::from_millis(10_500), 9.0).finish();
    assert_eq!(judgement.derived[0].value, Some(7.5e9));
}

#[test]
fn a_recovery_that_does_not_come_misses_every_limit_that_it_was_waited_for() {
    let judgement = recovering_until(50, at(10), 9.0).finish();
    assert_eq!(judgement.derived[0].value, None);
    let why = judgement.derived[0].why.as_ref().unwrap();
    assert!(why.contains("29 s at least"), "{why}");
    assert_eq!(judgement.thresholds[0].status, Status::Fail);
    assert_eq!(judgement.thresholds[0].observed, Some(29e9));
    // Two calm seconds at the end could be the beginning of a stretch.
    let judged = |limit_s| recovering_until(48, at(10), limit_s).only().status;
    assert_eq!(judged(29.0), Status::Fail);
    assert_eq!(judged(29.5), Status::Insufficient);
    assert_eq!(judged(60.0), Status::Insufficient);
}

#[test]
fn a_recovery_that_the_runner_s_lag_may_have_delayed_is_invalid_when_missed() {
    let judged = |limit_s, lag_at, lag| {
        let run = recovering(at(10), limit_s);
        run.times(Builtin::RunnerLoopLag, "", at(lag_at), [lag; 100]);
        run.only().status
    };
    // Normal is at most 12 ms.
    assert_eq!(judged(5.0, 25, 1), Status::Fail);
    assert_eq!(judged(5.0, 25, 2), Status::Invalid);
    assert_eq!(judged(9.0, 25, 2), Status::Pass, "lag only delays it");
    assert_eq!(judged(5.0, 5, 50), Status::Fail, "the runner was late only before");
    let mut short = recovering(at(10), 9.0);
    short.facts.scenarios[0].runner_short = 11;
    assert_eq!(short.only().status, Status::Invalid, "the load was not applied");
}

#[test]
fn the_slope_of_a_gauge_has_an_interval_over_its_seconds() {
    let threshold = limit("target_rss_bytes{target:db}", Aggregate::Slope, Comparison::Less, 1e6);
    let mut run = Run::of(plan(vec![threshold]));
    run.facts.duration = at(60);
    let metric = Builtin::TargetRssBytes.id();
    for second in 0..60_u64 {
        for tenth in 0..10 {
            let when = START + at(second) + Duration::from_millis(100 * tenth);
            let tags = |name: &str| TagSet {
                target: run.recorder.names().intern(name),
                ..TagSet::default()
            };
            let wobble = if second % 4 < 2 { 700.0 } else { -700.0 };
            let value = 50.0 * (second * 10 + tenth) as f64 + wobble;
            run.recorder.gauge(metric, tags("db"), when, value);
            run.recorder.gauge(metric, tags("other"), when, -value);
        }
        run.observe();
    }
    let result = run.only();
    let [low, high] = result.interval.unwrap();
    // 50 bytes in a tenth of a second, and what wobbles around it.
    assert!(low < 500.0 && 500.0 < high && high - low < 100.0, "{result:?}");
    let observed = result.observed.unwrap();
    assert!(low < observed && observed < high, "{result:?}");
}

#[test]
fn a_target_that_nobody_looked_at_is_no_zero() {
    let few = |metric: &str| limit(metric, Aggregate::Count, Comparison::Less, 5.0);
    let judged = |metric: &str| {
        let mut run = Run::of(plan(vec![few(metric)]));
        let target = run.recorder.names().intern("db");
        let tags = TagSet { target, ..TagSet::default() };
        run.recorder.gauge(Builtin::TargetRssBytes.id(), tags, START + at(1), 1e6);
        run.observe();
        run.only().status
    };
    assert_eq!(judged("target_cpu_seconds{target:db}"), Status::Pass);
    assert_eq!(judged("target_cpu_seconds{target:db,mode:user}"), Status::Pass);
    for unseen in ["target_cpu_seconds{target:bd}", "target_written_bytes{target:db,scenario:x}"] {
        assert_eq!(judged(unseen), Status::NoData, "{unseen}");
    }
    // Of what shares the runner's network nothing is known.
    assert_eq!(judged("target_network_bytes{target:db}"), Status::NoData);
}
