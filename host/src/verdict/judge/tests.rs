//! Thresholds against arithmetic, on plans and snapshots made by hand.

mod baseline;
mod growth;
mod midrun;
mod validity;
mod windows;

use std::collections::BTreeMap;

use super::*;
use crate::{
    metric::{Builtin, Metric, Outcome as Ended, Recorder, RecorderConfig, Registry, TagSet},
    plan::{
        Arrival, ConnectionSharing, Derived, DerivedKind, Executor, Formula, GeneratorLimited,
        Limits, OnLate, Pacing, Scenario, Segment, Start,
        threshold::{Comparison, Expression},
    },
    verdict::{RunnerFacts, ScenarioFacts},
};

const MS: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);
/// Runs do not begin on a whole second of the clock.
const START: Instant = Instant::from_nanos(2_700_000_000);

pub(super) fn scenario(name: &str, open: bool) -> Scenario {
    let arrival = Arrival {
        pre_allocated_vus: 1,
        max_vus: 10,
        max_vus_open: false,
        pacing: Pacing::Uniform,
        on_late: OnLate::Queue,
        max_backlog: 100,
        spin: false,
    };
    let duration = Duration::from_secs(60);
    Scenario {
        name: name.to_owned(),
        executor: if open {
            Executor::ConstantArrivalRate { rate: 100.0, time_unit: SECOND, duration, arrival }
        } else {
            Executor::ConstantVus { vus: 1, duration, pace: None }
        },
        start: Start::At(Duration::ZERO),
        graceful_stop: Duration::ZERO,
        exec: "iteration".to_owned(),
        env: BTreeMap::new(),
        tags: BTreeMap::new(),
        warmup: Duration::ZERO,
        iteration_timeout: SECOND,
        cpu_timeout: SECOND,
        connection: ConnectionSharing::Shard,
        generator_limited: GeneratorLimited::Invalid,
        driver: None,
    }
}

pub(super) fn plan(thresholds: Vec<Threshold>) -> Plan {
    Plan {
        notes: Vec::new(),
        recipe: Arc::default(),
        name: "test".to_owned(),
        scenarios: vec![scenario("steady", false)],
        registry: Arc::default(),
        declared_metrics: Vec::new(),
        ops: Vec::new(),
        thresholds,
        derived: Vec::new(),
        services: BTreeMap::new(),
        consumers: BTreeMap::new(),
        seed: 1,
        scale: 1.0,
        shards: 1,
        segment: Segment::default(),
        setup_timeout: SECOND,
        teardown_timeout: SECOND,
        timeout: None,
        tags: BTreeMap::new(),
        rows: Vec::new(),
        limits: Limits::default(),
    }
}

pub(super) fn selector(text: &str) -> Selector {
    let pairs = text.split(',').filter_map(|pair| pair.split_once(':'));
    Selector(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// `bus_request_duration{op:x}` and an assertion with a number.
pub(super) fn limit(
    metric: &str,
    aggregate: Aggregate,
    comparison: Comparison,
    number: f64,
) -> Threshold {
    let (name, tags) = metric.split_once('{').unwrap_or((metric, ""));
    let assertion =
        Assertion { aggregate, window: None, comparison, operand: Operand::Number(number) };
    Threshold {
        metric: name.to_owned(),
        selector: selector(tags.trim_end_matches('}')),
        source: format!("{aggregate:?} {comparison:?} {number}"),
        expression: Expression(vec![vec![assertion]]),
        severity: Severity::Critical,
        warn_within: None,
        no_data: OnMissing::Fail,
        insufficient: OnMissing::Fail,
        min_samples: None,
        abort_on_fail: false,
        delay_abort_eval: Duration::ZERO,
        row: None,
        own_severity: false,
        is_default: false,
    }
}

pub(super) const P95: Aggregate = Aggregate::Percentile(95.0);

/// A run: a recorder as a shard has it, and the judge that its snapshots go to.
pub(super) struct Run {
    pub(super) judge: Judge,
    pub(super) recorder: Recorder,
    pub(super) facts: Facts,
}

impl Run {
    pub(super) fn of(plan: Plan) -> Self {
        let (plan, names) = (Arc::new(plan), Names::default());
        let judge = Judge::new(plan.clone(), names.clone(), 1);
        let config = RecorderConfig {
            registry: plan.registry.clone(),
            names,
            windowed: windowed(&plan),
            max_series: 1_000,
        };
        let recorder = Recorder::new(config, 0, Instant::ZERO);
        recorder.start_at(START);
        let scenarios = plan.scenarios.iter().map(|scenario| ScenarioFacts {
            name: scenario.name.clone(),
            open: scenario.executor.is_open(),
            planned: 1_000,
            started: 1_000,
            ..ScenarioFacts::default()
        });
        let facts = Facts {
            duration: Duration::from_secs(60),
            scenarios: scenarios.collect(),
            runner: RunnerFacts { cores: 2, cpu_percent: 50.0, ..RunnerFacts::default() },
            ..Facts::default()
        };
        Self { judge, recorder, facts }
    }

    pub(super) fn tags(&self, text: &str) -> TagSet {
        let names = self.recorder.names();
        let mut tags = TagSet::default();
        for (key, value) in &selector(text).0 {
            let name = names.intern(value);
            match key.as_str() {
                "op" => tags.op = name,
                "scenario" => tags.scenario = name,
                "stage" => tags.stage = name,
                "outcome" if value == "error" => tags.outcome = Ended::Error,
                _ => tags.outcome = Ended::Ok,
            }
        }
        tags
    }

    /// Samples of a time in milliseconds, all at one moment of the run.
    pub(super) fn times(
        &self,
        metric: Builtin,
        tags: &str,
        at: Duration,
        values: impl IntoIterator<Item = u64>,
    ) {
        for value in values {
            self.recorder.trend(metric.id(), self.tags(tags), START + at, value * MS);
        }
    }

    pub(super) fn observe(&mut self) {
        self.judge.observe(&self.recorder.take(START));
    }

    pub(super) fn finish(mut self) -> Judgement {
        self.observe();
        self.judge.finish(START, &self.facts)
    }

    pub(super) fn only(self) -> ThresholdResult {
        let mut judgement = self.finish();
        assert_eq!(judgement.thresholds.len(), 1);
        judgement.thresholds.remove(0)
    }
}

pub(super) const REQUESTS: Builtin = Builtin::BusRequestDuration;

fn one(threshold: Threshold, samples: impl FnOnce(&Run)) -> ThresholdResult {
    let run = Run::of(plan(vec![threshold]));
    samples(&run);
    run.only()
}

fn requests(tags: &'static str, values: impl IntoIterator<Item = u64>) -> impl FnOnce(&Run) {
    move |run: &Run| run.times(REQUESTS, tags, Duration::ZERO, values)
}

fn p95_below(milliseconds: u64) -> Threshold {
    limit("bus_request_duration", P95, Comparison::Less, (milliseconds * MS) as f64)
}

#[test]
fn a_limit_holds_or_does_not_and_says_what_it_saw() {
    let passed = one(p95_below(96), requests("", 1..=100));
    assert_eq!((passed.status, passed.samples, passed.censored), (Status::Pass, 100, 0));
    let observed = passed.observed.unwrap();
    assert!((95.0e6..95.1e6).contains(&observed), "{observed}");
    assert_eq!((passed.limit, passed.unit.as_str()), (Some(96e6), "ns"));
    let [low, high] = passed.interval.unwrap();
    // Ranks 90 and 100 of 100.
    assert!((90e6..90.1e6).contains(&low) && (99e6..=100e6).contains(&high), "{low} {high}");
    let failed = one(p95_below(95), requests("", 1..=100));
    assert_eq!(failed.status, Status::Fail);
}

#[test]
fn durations_of_failed_operations_improve_nothing() {
    let run = |run: &Run| {
        run.times(REQUESTS, "outcome:ok", Duration::ZERO, [50; 60]);
        run.times(REQUESTS, "outcome:error", Duration::ZERO, vec![1; 10_000]);
    };
    let result = one(p95_below(10), run);
    assert_eq!((result.status, result.samples), (Status::Fail, 60));
    let named = limit("bus_request_duration{outcome:error}", P95, Comparison::Less, 2e6);
    assert_eq!(one(named, run).samples, 10_000);
}

#[test]
fn a_miss_within_the_margin_warns_relative_for_times_in_points_for_shares() {
    let near = |limit: u64, margin| {
        let threshold = Threshold { warn_within: Some(margin), ..p95_below(limit) };
        one(threshold, requests("", [110; 60])).status
    };
    assert_eq!(near(100, 0.11), Status::Warn);
    assert_eq!(near(100, 0.09), Status::Fail);
    assert_eq!(near(200, 0.1), Status::Pass);
    let share = |hits: u32, margin| {
        let threshold = limit("checks", Aggregate::Rate, Comparison::Greater, 0.99);
        one(Threshold { warn_within: Some(margin), ..threshold }, |run| {
            for index in 0..100 {
                let tags = TagSet::default();
                run.recorder.rate(Builtin::Checks.id(), tags, START, index < hits);
            }
        })
    };
    assert_eq!(share(100, 0.01).status, Status::Pass);
    assert_eq!(share(98, 0.01).status, Status::Warn);
    assert_eq!(share(97, 0.01).status, Status::Fail);
    assert_eq!(share(97, 0.01).observed, Some(0.97));
    assert_eq!(share(99, 0.01).status, Status::Warn, "> is not ≥");
}

#[test]
fn too_few_samples_show_nothing() {
    assert_eq!(one(p95_below(10), requests("", [1; 58])).status, Status::Insufficient);
    assert_eq!(one(p95_below(10), requests("", [1; 59])).status, Status::Pass);
    let lower =
        limit("bus_request_duration", Aggregate::Percentile(5.0), Comparison::Greater, 0.5e6);
    assert_eq!(one(lower.clone(), requests("", [1; 58])).status, Status::Insufficient);
    assert_eq!(one(lower, requests("", [1; 59])).status, Status::Pass);
    let more = Threshold { min_samples: Some(100), ..p95_below(10) };
    let result = one(more, requests("", [1; 99]));
    assert_eq!(result.status, Status::Insufficient);
    assert_eq!(result.reason.unwrap(), "99 samples, and 100 were asked for");
}

#[test]
fn censored_samples_decide_nothing_that_they_leave_open() {
    let judged = |limit: u64, waited: u64| {
        one(p95_below(limit), |run| {
            run.times(REQUESTS, "", Duration::ZERO, [1; 90]);
            let (metric, tags) = (REQUESTS.id(), TagSet::default());
            (0..10).for_each(|_| run.recorder.censored(metric, tags, START, waited * MS));
        })
    };
    // They waited longer than the limit: it is missed, whatever they would have been.
    let missed = judged(100, 200);
    assert_eq!((missed.status, missed.samples, missed.censored), (Status::Fail, 90, 10));
    // They had waited less: they may have been anything.
    let open = judged(100, 5);
    assert_eq!(open.status, Status::Insufficient);
    assert!(open.reason.unwrap().contains("10 censored samples leave it open"));
    assert_eq!(open.interval, None, "its upper end is not known");
    // Ten in a hundred are beyond p(90).
    let p90 = limit("bus_request_duration", Aggregate::Percentile(90.0), Comparison::Less, 2e6);
    let passed = one(p90, |run| {
        run.times(REQUESTS, "", Duration::ZERO, [1; 90]);
        let (metric, tags) = (REQUESTS.id(), TagSet::default());
        (0..10).for_each(|_| run.recorder.censored(metric, tags, START, 5 * MS));
    });
    assert_eq!(passed.status, Status::Pass);
}

#[test]
fn nothing_measured_is_no_data_but_an_untouched_counter_is_zero() {
    let trend = one(p95_below(10), |_| {});
    assert_eq!((trend.status, trend.observed), (Status::NoData, None));
    let rate = limit("bus_request_failed", Aggregate::Rate, Comparison::Equal, 0.0);
    assert_eq!(one(rate, |_| {}).status, Status::NoData);
    let gauge = limit("runner_rss_bytes", Aggregate::Max, Comparison::Less, 1e9);
    assert_eq!(one(gauge, |_| {}).status, Status::NoData);
    let counter = limit("dropped_iterations", Aggregate::Count, Comparison::Equal, 0.0);
    let untouched = one(counter.clone(), |_| {});
    assert_eq!((untouched.status, untouched.observed), (Status::Pass, Some(0.0)));
    let mut idle = Run::of(plan(vec![counter]));
    idle.facts.scenarios[0].started = 0;
    assert_eq!(idle.only().status, Status::NoData, "nothing ran that could have been dropped");
}

#[test]
fn no_message_lost_of_none_received_says_nothing() {
    let lost = limit("bus_lost", Aggregate::Count, Comparison::Equal, 0.0);
    assert_eq!(one(lost.clone(), |_| {}).status, Status::NoData);
    let add = |metric: Builtin| {
        move |run: &Run| run.recorder.add(metric.id(), TagSet::default(), START, 3.0)
    };
    assert_eq!(one(lost.clone(), add(Builtin::BusReceived)).status, Status::Pass);
    assert_eq!(one(lost, add(Builtin::BusLost)).status, Status::Fail);
}

#[test]
fn a_service_that_told_nothing_has_not_handled_little() {
    let few = |metric: &str| limit(metric, Aggregate::Count, Comparison::Less, 5.0);
    let told = |run: &Run| {
        let (handled, cpu) = (Builtin::ServiceHandled.id(), Builtin::ServiceCpuSeconds.id());
        run.recorder.add(handled, run.tags("op:stats,outcome:ok"), START, 3.0);
        run.recorder.add(cpu, run.tags("op:stats"), START, 0.1);
    };
    for metric in ["service_handled", "service_cpu_seconds", "service_cpu_seconds{op:stats}"] {
        assert_eq!(one(few(metric), |_| {}).status, Status::NoData, "{metric}");
        assert_eq!(one(few(metric), told).status, Status::Pass, "{metric}");
    }
    let nothing = one(few("service_cpu_seconds{op:nothing}"), told);
    assert_eq!(nothing.status, Status::NoData);
    assert!(nothing.reason.unwrap().contains("no service{op:nothing} told"));
    let failed = one(few("service_handled{op:stats,outcome:error}"), told);
    assert_eq!(failed.status, Status::Pass, "none of those that it handled failed");
}

#[test]
fn a_tag_that_samples_have_lost_shows_nothing() {
    let judged = |metric: &str, max_series: usize| {
        let threshold = limit(metric, P95, Comparison::Less, 10e6);
        let mut run = Run::of(plan(vec![threshold]));
        let config = RecorderConfig {
            registry: run.judge.plan.registry.clone(),
            names: run.recorder.names().clone(),
            windowed: Vec::new(),
            max_series,
        };
        run.recorder = Recorder::new(config, 0, Instant::ZERO);
        for op in ["op:a", "op:b", "op:c", "op:d"] {
            run.times(REQUESTS, op, Duration::ZERO, [1; 60]);
        }
        run.only()
    };
    assert_eq!(judged("bus_request_duration{op:a}", 100).status, Status::Pass);
    for op in ["a", "d"] {
        let folded = judged(&format!("bus_request_duration{{op:{op}}}"), 2);
        assert_eq!(folded.status, Status::Insufficient, "{op}");
        assert!(folded.reason.unwrap().contains("folded into `other`"));
    }
    let all = judged("bus_request_duration", 2);
    assert_eq!((all.status, all.samples), (Status::Pass, 240));
}

#[test]
fn no_failed_operation_is_a_count_of_zero_where_others_were_measured() {
    let none =
        limit("bus_request_duration{outcome:error}", Aggregate::Count, Comparison::Equal, 0.0);
    assert_eq!(one(none.clone(), requests("outcome:ok", [1])).status, Status::Pass);
    assert_eq!(one(none.clone(), requests("outcome:error", [1])).status, Status::Fail);
    assert_eq!(one(none, |_| {}).status, Status::NoData);
}

#[test]
fn rates_per_second_are_of_the_whole_run() {
    let rate = limit("iterations", Aggregate::Rate, Comparison::AtLeast, 2.0);
    let result = one(rate, |run| {
        run.recorder.add(Builtin::Iterations.id(), TagSet::default(), START, 120.0);
    });
    assert_eq!((result.status, result.observed), (Status::Pass, Some(2.0)));
    assert_eq!(result.unit, "/s");
}

#[test]
fn a_certain_failure_decides_a_conjunction_and_a_certain_hold_an_alternative() {
    let p = |limit: f64| Assertion {
        aggregate: P95,
        window: None,
        comparison: Comparison::Less,
        operand: Operand::Number(limit),
    };
    let max = |limit: f64| Assertion { aggregate: Aggregate::Max, ..p(limit) };
    let judged = |expression: Vec<Vec<Assertion>>| {
        let threshold = Threshold { expression: Expression(expression), ..p95_below(1) };
        one(threshold, requests("", [10; 20])).status
    };
    // Twenty samples are too few for p(95), and enough for a maximum.
    assert_eq!(judged(vec![vec![p(99e6), max(20e6)]]), Status::Insufficient);
    assert_eq!(judged(vec![vec![p(99e6), max(5e6)]]), Status::Fail);
    assert_eq!(judged(vec![vec![p(99e6)], vec![max(20e6)]]), Status::Pass);
    assert_eq!(judged(vec![vec![p(99e6)], vec![max(5e6)]]), Status::Insufficient);
}

#[test]
fn a_limit_may_be_another_figure() {
    let ratio = |factor| {
        let mut threshold =
            limit("bus_request_duration{op:b}", Aggregate::Mean, Comparison::Less, 0.0);
        threshold.expression.0[0][0].operand = Operand::Figure {
            factor,
            metric: None,
            aggregate: Aggregate::Mean,
            selector: Some(selector("op:a")),
            window: None,
        };
        threshold
    };
    let both = |run: &Run| {
        run.times(REQUESTS, "op:a", Duration::ZERO, [10; 10]);
        run.times(REQUESTS, "op:b", Duration::ZERO, [19; 10]);
    };
    let passed = one(ratio(2.0), both);
    assert_eq!((passed.status, passed.limit), (Status::Pass, Some(20e6)));
    assert_eq!(one(ratio(1.5), both).status, Status::Fail);
    let missing = one(ratio(2.0), requests("op:b", [19; 10]));
    assert_eq!(missing.status, Status::NoData);
    assert!(missing.reason.unwrap().contains("bus_request_duration{op:a}"));
}

#[test]
fn severities_and_options_decide_what_a_threshold_does_to_the_run() {
    let run = |threshold: Threshold, samples: usize| {
        let run = Run::of(plan(vec![threshold]));
        run.times(REQUESTS, "", Duration::ZERO, vec![100; samples]);
        let judgement = run.finish();
        (judgement.thresholds[0].status, judgement.status, judgement.exit_code(false))
    };
    let missed = p95_below(10);
    assert_eq!(run(missed.clone(), 60), (Status::Fail, Status::Fail, 99));
    let warning = Threshold { severity: Severity::Warning, ..missed.clone() };
    assert_eq!(run(warning.clone(), 60), (Status::Warn, Status::Warn, 0));
    assert_eq!(run(warning, 0), (Status::NoData, Status::Warn, 0));
    let info = Threshold { severity: Severity::Info, ..missed.clone() };
    assert_eq!(run(info, 60), (Status::Fail, Status::Pass, 0));
    assert_eq!(run(missed.clone(), 0), (Status::NoData, Status::Fail, 117));
    assert_eq!(run(missed.clone(), 9), (Status::Insufficient, Status::Fail, 117));
    let lenient = Threshold { no_data: OnMissing::Pass, insufficient: OnMissing::Warn, ..missed };
    assert_eq!(run(lenient.clone(), 0), (Status::NoData, Status::Pass, 0));
    assert_eq!(run(lenient, 9), (Status::Insufficient, Status::Warn, 0));
}

#[test]
fn a_default_threshold_without_data_is_left_out() {
    let default = limit("bus_request_failed", Aggregate::Rate, Comparison::Equal, 0.0);
    let default = Threshold { is_default: true, ..default };
    let silent = Run::of(plan(vec![default.clone()])).finish();
    assert_eq!((silent.status, silent.thresholds.len()), (Status::Pass, 0));
    let failed = one(default, |run| {
        run.recorder.rate(Builtin::BusRequestFailed.id(), TagSet::default(), START, true);
    });
    assert_eq!(failed.status, Status::Fail);
}

#[test]
fn the_first_cause_is_the_exit_code_and_all_are_told() {
    let mut run = Run::of(plan(vec![p95_below(10), p95_below(20), p95_below(200)]));
    run.times(REQUESTS, "", Duration::ZERO, [100; 60]);
    run.facts.causes = vec![(Cause::MarkedFailed, "marked".to_owned())];
    let judgement = run.finish();
    assert_eq!(judgement.causes, [Cause::ThresholdsFailed, Cause::MarkedFailed]);
    assert_eq!(judgement.exit_code(true), 99);
    assert_eq!(judgement.reasons.len(), 3);
    assert_eq!(judgement.reasons[2], "marked");
    let mut stopped = Run::of(plan(vec![p95_below(10)]));
    stopped.facts.causes = vec![(Cause::Interrupted, "Ctrl-C".to_owned())];
    let judgement = stopped.finish();
    assert_eq!(judgement.causes, [Cause::Interrupted], "117 means nothing else");
    assert!(judgement.reasons[1].contains("no data"), "{:?}", judgement.reasons);
    assert_eq!((judgement.exit_code(false), judgement.status), (105, Status::Fail));
}

#[test]
fn a_warning_exits_zero_unless_asked_otherwise() {
    let run = Run::of(plan(vec![Threshold { severity: Severity::Warning, ..p95_below(10) }]));
    run.times(REQUESTS, "", Duration::ZERO, [100; 60]);
    let judgement = run.finish();
    assert!(judgement.causes.is_empty() && judgement.reasons.len() == 1);
    assert_eq!((judgement.exit_code(false), judgement.exit_code(true)), (0, 99));
}

#[test]
fn derived_metrics_are_gauges_in_thresholds() {
    let mut registry = Registry::default();
    for name in ["stored_ratio", "by_zero"] {
        let (kind, unit) = (crate::metric::Kind::Gauge, crate::metric::Unit::Count);
        registry.insert(Metric { name: name.to_owned(), kind, unit }).unwrap();
    }
    let count = |metric: &str| {
        Box::new(Formula::Figure {
            metric: metric.to_owned(),
            aggregate: Aggregate::Count,
            selector: Selector::default(),
        })
    };
    let formula = |name: &str, formula| Derived {
        name: name.to_owned(),
        source: String::new(),
        kind: DerivedKind::Formula(formula),
    };
    let stored = limit("stored_ratio", Aggregate::Value, Comparison::AtLeast, 0.5);
    let mut plan = plan(vec![stored, limit("by_zero", Aggregate::Value, Comparison::Less, 1.0)]);
    plan.registry = Arc::new(registry);
    plan.derived = vec![
        formula("stored_ratio", Formula::Binary(count("db_rows"), '/', count("bus_published"))),
        formula("by_zero", Formula::Binary(count("db_rows"), '/', count("bus_lost"))),
    ];
    let run = Run::of(plan);
    run.recorder.add(Builtin::DbRows.id(), TagSet::default(), START, 30.0);
    run.recorder.add(Builtin::BusPublished.id(), TagSet::default(), START, 40.0);
    let judgement = run.finish();
    let values = judgement.derived.iter().map(|derived| (derived.name.as_str(), derived.value));
    assert_eq!(values.collect::<Vec<_>>(), [("stored_ratio", Some(0.75)), ("by_zero", None)]);
    let statuses: Vec<_> = judgement.thresholds.iter().map(|result| result.status).collect();
    assert_eq!(statuses, [Status::Pass, Status::NoData]);
}

#[test]
fn only_a_certain_failure_stops_a_run_and_only_when_it_may() {
    let stop = Threshold {
        abort_on_fail: true,
        delay_abort_eval: Duration::from_secs(5),
        ..p95_below(10)
    };
    let mut run = Run::of(plan(vec![stop]));
    run.times(REQUESTS, "", Duration::ZERO, [100; 58]);
    run.observe();
    let at = |seconds| START + Duration::from_secs(seconds);
    assert_eq!(run.judge.abort(START, at(6)), None, "58 samples show nothing");
    run.times(REQUESTS, "", Duration::ZERO, [100; 2]);
    run.observe();
    assert_eq!(run.judge.abort(START, at(4)), None, "not yet");
    let why = run.judge.abort(START, at(5)).unwrap();
    assert!(why.contains("bus_request_duration"), "{why}");
    let mut patient = Run::of(plan(vec![p95_below(10)]));
    patient.times(REQUESTS, "", Duration::ZERO, [100; 60]);
    patient.observe();
    assert_eq!(patient.judge.abort(START, at(9)), None, "it was not asked to stop");
}
