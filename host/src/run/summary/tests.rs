//! The format against DESIGN §5, and its figures against arithmetic.

use std::{sync::Arc, time::Duration};

use hdrhistogram::{Histogram, serialization::Deserializer};

use super::*;
use crate::{
    clock::Instant,
    metric::{Outcome, Recorder, RecorderConfig},
    plan::{Limits, Segment},
    verdict::Judge,
};

fn plan() -> Plan {
    Plan {
        recipe: Arc::default(),
        notes: Vec::new(),
        name: "test".to_owned(),
        scenarios: Vec::new(),
        registry: Arc::default(),
        declared_metrics: Vec::new(),
        ops: Vec::new(),
        thresholds: Vec::new(),
        derived: Vec::new(),
        services: BTreeMap::new(),
        consumers: BTreeMap::new(),
        seed: u64::MAX,
        scale: f64::NAN,
        shards: 1,
        segment: Segment::default(),
        setup_timeout: Duration::ZERO,
        teardown_timeout: Duration::ZERO,
        timeout: None,
        tags: BTreeMap::new(),
        rows: Vec::new(),
        limits: Limits::default(),
    }
}

fn build(facts: &Facts, samples: impl FnOnce(&Recorder)) -> Summary {
    build_of(plan(), facts, samples)
}

fn build_of(plan: Plan, facts: &Facts, samples: impl FnOnce(&Recorder)) -> Summary {
    let (plan, names) = (Arc::new(plan), Names::default());
    let config = RecorderConfig {
        registry: plan.registry.clone(),
        names: names.clone(),
        windowed: Vec::new(),
        max_series: 100,
    };
    let recorder = Recorder::new(config, 0, Instant::ZERO);
    samples(&recorder);
    let mut judge = Judge::new(plan.clone(), names.clone(), 1);
    judge.observe(&recorder.take(Instant::from_nanos(1)));
    let judgement = judge.finish(Instant::ZERO, facts);
    Summary::build(SummaryInput {
        plan: &plan,
        names: &names,
        totals: judge.totals(),
        judgement: &judgement,
        fail_on_warn: false,
        facts,
        run: &RunInfo::default(),
        environment: &Environment::default(),
        backend: None,
    })
}

fn ten_seconds() -> Facts {
    Facts { duration: Duration::from_secs(10), ..Facts::default() }
}

fn everything(recorder: &Recorder) {
    let at = Instant::ZERO;
    let names = recorder.names();
    let op = |op: &str| TagSet { op: names.intern(op), ..TagSet::default() };
    for value in 1..=100 {
        recorder.trend(Builtin::BusRequestDuration.id(), op("a"), at, value);
        recorder.trend(Builtin::BusRequestDuration.id(), op("b"), at, 100 + value);
    }
    let failed = TagSet { outcome: Outcome::Error, ..op("a") };
    recorder.trend(Builtin::BusRequestDuration.id(), failed, at, 1);
    let setup = TagSet { phase: Phase::Setup, ..op("a") };
    recorder.trend(Builtin::BusRequestDuration.id(), setup, at, 1);
    recorder.add(Builtin::Iterations.id(), TagSet::default(), at, 50.0);
    recorder.gauge(Builtin::Vus.id(), TagSet::default(), at, 3.0);
    recorder.gauge(Builtin::Vus.id(), TagSet::default(), at + Duration::from_secs(1), 5.0);
    for index in 0..10 {
        let check = |name: &str, group: &str| TagSet {
            check: names.intern(name),
            group: names.intern(group),
            ..TagSet::default()
        };
        let scenario = names.intern(if index % 2 == 0 { "one" } else { "two" });
        let tags = TagSet { scenario, ..check("found", "login") };
        recorder.rate(Builtin::Checks.id(), tags, at, index != 0);
        recorder.rate(Builtin::Checks.id(), check("found", ""), at, true);
    }
}

#[test]
fn values_are_arithmetic() {
    let summary = build(&ten_seconds(), everything);
    let all = summary.trend("bus_request_duration").unwrap();
    assert_eq!((all.count, all.censored), (200, 0));
    let figures = [all.min, all.med, all.p50, all.p90, all.p95, all.p99, all.p999, all.max];
    assert_eq!(figures.map(Option::unwrap), [1.0, 100.0, 100.0, 180.0, 190.0, 198.0, 200.0, 200.0]);
    assert_eq!(all.mean, Some(100.5));
    let counter = &summary.metric("iterations").unwrap().values;
    assert_eq!(*counter, Values::Counter { count: 50.0, per_second: Some(5.0) });
    let gauge = &summary.metric("vus").unwrap().values;
    let expected =
        Values::Gauge { value: Some(5.0), min: Some(3.0), max: Some(5.0), avg: Some(4.0) };
    assert_eq!(*gauge, expected);
    let rate = &summary.metric("checks").unwrap().values;
    assert_eq!(*rate, Values::Rate { rate: Some(0.95), passes: 19, total: 20 });
}

#[test]
fn each_series_has_an_entry_and_each_metric_one_without_tags() {
    let summary = build(&ten_seconds(), everything);
    let requests: Vec<_> = summary
        .metrics
        .iter()
        .filter(|metric| metric.name == "bus_request_duration")
        .map(|metric| {
            let tags: Vec<_> =
                metric.tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            let Values::Trend(values) = &metric.values else { unreachable!("a trend") };
            (tags.join(","), values.count)
        })
        .collect();
    let expected = [
        ("", 200),
        ("op:a", 100),
        ("op:b", 100),
        ("op:a,outcome:error", 1),
        ("op:a,phase:setup", 1),
    ];
    assert_eq!(requests, expected.map(|(tags, count)| (tags.to_owned(), count)));
    assert!(summary.metric("db_queries").is_none(), "nothing was measured of it");
    let dropped = &summary.metric("dropped_iterations").unwrap().values;
    assert_eq!(*dropped, Values::Counter { count: 0.0, per_second: Some(0.0) });
}

#[test]
fn a_declared_metric_is_there_though_nothing_was_measured() {
    let mut plan = plan();
    let mut registry = crate::metric::Registry::default();
    let (name, kind, unit) = ("stock", Kind::Trend, Unit::Count);
    let metric = crate::metric::Metric { name: name.to_owned(), kind, unit };
    let id = registry.insert(metric).unwrap();
    plan.registry = Arc::new(registry);
    plan.declared_metrics =
        vec![crate::plan::MetricDeclaration { name: name.to_owned(), kind, unit, scale: 1, id }];
    let summary = build_of(plan, &ten_seconds(), |_| {});
    let text = serde_json::to_string(&summary).unwrap();
    let read: Summary = serde_json::from_str(&text).unwrap();
    let values = read.trend("stock").unwrap();
    assert_eq!((values.count, values.mean, values.p99), (0, None, None));
}

#[test]
fn checks_are_summed_over_scenarios() {
    let summary = build(&ten_seconds(), everything);
    let check = |group: &str, passes, fails| CheckSummary {
        name: "found".to_owned(),
        group: group.to_owned(),
        passes,
        fails,
    };
    assert_eq!(summary.checks, [check("", 10, 0), check("login", 9, 1)]);
}

#[test]
fn a_histogram_can_be_read_by_any_hdr_reader() {
    let summary = build(&ten_seconds(), everything);
    let text = &summary.trend("bus_request_duration").unwrap().histogram;
    let bytes = STANDARD.decode(text).unwrap();
    let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
    assert_eq!((histogram.len(), histogram.min(), histogram.max()), (200, 1, 200));
}

#[test]
fn censored_samples_make_lower_bounds_and_say_of_which() {
    let summary = build(&ten_seconds(), |recorder| {
        let (metric, tags) = (Builtin::EffectDuration.id(), TagSet::default());
        (1..=95).for_each(|value| recorder.trend(metric, tags, Instant::ZERO, value));
        (0..5).for_each(|_| recorder.censored(metric, tags, Instant::ZERO, 500));
    });
    let values = summary.trend("effect_duration").unwrap();
    assert_eq!((values.count, values.censored), (95, 5));
    assert_eq!(values.at_least, ["mean", "max", "p(99)", "p(99.9)"]);
    assert_eq!((values.p95, values.p99, values.max), (Some(95.0), Some(500.0), Some(500.0)));
    assert_eq!(values.mean, Some(f64::from((1..=95).sum::<i32>() + 2_500) / 100.0));
}

#[test]
fn there_is_never_a_nan_and_what_is_written_can_be_read() {
    let mut facts = Facts::default();
    facts.runner.cpu_percent = f64::NAN;
    facts.runner.empty_operation_ns = f64::INFINITY;
    facts.scenarios = vec![ScenarioFacts {
        achieved_rate: f64::NAN,
        asked_rate: Some(f64::INFINITY),
        ..ScenarioFacts::default()
    }];
    let summary = build(&facts, |recorder| {
        everything(recorder);
        let at = Instant::ZERO;
        recorder.gauge(Builtin::RunnerRssBytes.id(), TagSet::default(), at, f64::NAN);
        recorder.add(Builtin::DataSent.id(), TagSet::default(), at, f64::INFINITY);
    });
    let text = serde_json::to_string(&summary).unwrap();
    assert!(!text.contains("NaN") && !text.contains("inf"));
    let read: Summary = serde_json::from_str(&text).unwrap();
    assert_eq!(read, summary);
    assert_eq!(read.run.seed, u64::MAX);
    assert_eq!(read.scenarios[0].asked_rate, None);
    // A run without duration has no rate per second.
    let counter = &read.metric("iterations").unwrap().values;
    assert_eq!(*counter, Values::Counter { count: 50.0, per_second: None });
}

#[test]
fn the_schema_names_the_keys_of_the_contract() {
    let schema = schemars::schema_for!(Summary);
    let properties = schema.as_value()["properties"].as_object().unwrap();
    for key in [
        "schema",
        "run",
        "verdict",
        "rows",
        "thresholds",
        "metrics",
        "checks",
        "scenarios",
        "targets",
        "runner",
        "environment",
    ] {
        assert!(properties.contains_key(key), "{key}");
    }
    let summary = serde_json::to_value(build(&ten_seconds(), everything)).unwrap();
    let written: Vec<_> = summary.as_object().unwrap().keys().collect();
    assert_eq!(written, properties.keys().collect::<Vec<_>>());
    assert_eq!(summary["schema"], "wavetank.summary/1");
    assert_eq!(summary["metrics"][0]["type"], "counter");
    let trend = summary["metrics"].as_array().unwrap().iter().find(|one| one["type"] == "trend");
    let values = &trend.unwrap()["values"];
    for key in [
        "count",
        "censored",
        "mean",
        "stddev",
        "min",
        "med",
        "max",
        "p(50)",
        "p(90)",
        "p(95)",
        "p(99)",
        "p(99.9)",
        "histogram",
    ] {
        assert!(!values[key].is_null(), "{key}");
    }
}
