//! Figures out of summaries, which of them are compared, and which runs may be.

use super::*;
use crate::{
    metric::{Cell, Rate, Trend, Unit},
    plan::threshold::Stored,
    run::summary::{MetricSummary, RunInfo, Suite, Values, VerdictInfo, WorkloadInfo, values_of},
    verdict::{ThresholdResult, comparison::Method},
};

/// A run without figures.
fn run(id: &str) -> Summary {
    let suite = Suite {
        run: RunInfo { id: id.to_owned(), name: "shop".to_owned(), ..RunInfo::default() },
        skipped: Vec::new(),
        order: Vec::new(),
        fail_on_warn: false,
        cut: None,
    };
    suite.join(Vec::new())
}

fn entry(name: &str, kind: Kind, unit: Unit, tags: &str, values: Values) -> MetricSummary {
    let tags = tags.split(',').filter_map(|pair| pair.split_once(':'));
    let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    MetricSummary { name: name.to_owned(), kind, unit, tags, values }
}

fn times(tags: &str, values: impl IntoIterator<Item = u64>, censored: u64) -> MetricSummary {
    let mut trend = Trend::<u64>::default();
    values.into_iter().for_each(|value| trend.record(value));
    (0..censored).for_each(|_| trend.record_censored(7));
    let values = values_of(&Cell::Trend(Box::new(trend)), Unit::Nanoseconds, 10.0);
    entry("bus_request_duration", Kind::Trend, Unit::Nanoseconds, tags, values)
}

fn counted(name: &str, tags: &str, count: f64) -> MetricSummary {
    let values = values_of(&Cell::Counter(count), Unit::Count, 10.0);
    entry(name, Kind::Counter, Unit::Count, tags, values)
}

fn selector(text: &str) -> Selector {
    FigureName::parse(&format!("m{text}")).unwrap().selector
}

fn exact(value: f64, samples: u64) -> Stored {
    Stored { low: value, high: Some(value), samples, censored: 0 }
}

#[test]
fn a_figure_is_made_of_the_samples_of_all_series_that_match() {
    let mut run = run("a");
    run.metrics = vec![
        times("", 1..=200, 0),
        times("op:a,stage:one", 1..=50, 0),
        times("op:a,stage:two", 51..=100, 0),
        times("op:b,stage:one", 101..=200, 0),
        times("op:a,outcome:error", [999], 0),
        times("op:a,phase:setup", [999], 0),
        counted("bus_requests", "", 200.0),
        counted("bus_requests", "op:a", 101.0),
    ];
    let p99 = Aggregate::Percentile(99.0);
    let figure =
        |metric: &str, text: &str, aggregate| run.figure(metric, &selector(text), aggregate);
    let time = "bus_request_duration";
    assert_eq!(figure(time, "", p99), Some(exact(198.0, 200)));
    assert_eq!(figure(time, "{op:a}", p99), Some(exact(99.0, 100)));
    assert_eq!(figure(time, "{op:a}", Aggregate::Mean), Some(exact(50.5, 100)));
    assert_eq!(figure(time, "{op:a}", Aggregate::Max), Some(exact(100.0, 100)));
    assert_eq!(figure(time, "{op:a,stage:two}", Aggregate::Median), Some(exact(75.0, 50)));
    assert_eq!(figure(time, "{outcome:error}", Aggregate::Count), Some(exact(1.0, 1)));
    assert_eq!(figure(time, "{op:nothing}", p99), None);
    assert_eq!(figure("bus_requests", "", Aggregate::Rate), Some(exact(20.0, 200)));
    assert_eq!(figure("bus_requests", "{op:a}", Aggregate::Count), Some(exact(101.0, 101)));
    assert_eq!(figure("nothing", "", p99), None);
    assert_eq!(figure(time, "", Aggregate::Slope), None);
}

#[test]
fn what_censored_samples_leave_open_is_known_within_bounds() {
    let mut run = run("a");
    run.metrics = vec![times("", 1..=95, 5)];
    let figure = |percent| {
        run.figure("bus_request_duration", &Selector::default(), Aggregate::Percentile(percent))
    };
    let open = figure(99.0).unwrap();
    assert_eq!((open.high, open.samples, open.censored), (None, 95, 5));
    let median = figure(50.0).unwrap();
    assert!(median.low <= 45.0 && median.high == Some(50.0), "{median:?}");
}

#[test]
fn parts_of_a_suite_are_told_apart_and_counted_once() {
    let mut run = run("a");
    run.run.workloads = vec![WorkloadInfo { duration_s: 10.0, ..WorkloadInfo::default() }; 2];
    run.metrics = vec![
        times("", 1..=200, 0),
        times("row:R1+R2", 1..=100, 0),
        times("row:R1+R2,op:a,workload:one", 1..=100, 0),
        times("row:R3", 101..=200, 0),
        times("row:R3,op:a,workload:two", 101..=200, 0),
    ];
    let figure = |text: &str| {
        run.figure("bus_request_duration", &selector(text), Aggregate::Max).map(|it| it.low)
    };
    assert_eq!(figure(""), Some(200.0));
    assert_eq!(figure("{row:R1+R2}"), Some(100.0));
    assert_eq!(figure("{op:a,row:R3}"), Some(200.0));
    assert_eq!(figure("{workload:one}"), Some(100.0));
    let counts = run.figure("bus_request_duration", &selector("{op:a}"), Aggregate::Count);
    assert_eq!(counts.map(|it| it.samples), Some(200), "parts' totals are not counted again");
    assert_eq!(tag_of_row(&run, "R2").as_deref(), Some("R1+R2"));
    // As a suite writes them: all of a part bears the names of its workload and its rows.
    run.metrics = vec![
        counted("bus_requests", "", 500.0),
        counted("bus_requests", "row:R1+R2,workload:one", 200.0),
        counted("bus_requests", "op:a,row:R1+R2,workload:one", 150.0),
        counted("bus_requests", "op:b,row:R1+R2,workload:one", 50.0),
        counted("bus_requests", "row:R1+R2,workload:two", 300.0),
        counted("bus_requests", "op:a,row:R1+R2,workload:two", 300.0),
    ];
    let count =
        |text: &str| run.figure("bus_requests", &selector(text), Aggregate::Count).map(|it| it.low);
    assert_eq!(count("{row:R1+R2}"), Some(500.0));
    assert_eq!(count("{workload:one}"), Some(200.0));
    assert_eq!(count("{op:a,workload:one}"), Some(150.0));
    assert_eq!(count("{op:a}"), Some(450.0));
}

#[test]
fn a_file_that_lies_has_no_figures() {
    let mut run = run("a");
    let mut lying = times("", 1..=10, 0);
    let Values::Trend(values) = &mut lying.values else { unreachable!("a trend") };
    values.count = 11;
    let mut broken = lying.clone();
    let Values::Trend(values) = &mut broken.values else { unreachable!("a trend") };
    values.histogram = "AAAA".to_owned();
    let mut huge = times("", 1..=10, 0);
    let Values::Trend(values) = &mut huge.values else { unreachable!("a trend") };
    values.censored = u64::MAX;
    for entry in [lying, broken, huge] {
        run.metrics = vec![entry];
        let figure =
            run.figure("bus_request_duration", &Selector::default(), Aggregate::Percentile(50.0));
        assert_eq!(figure, None);
    }
}

fn threshold(metric: &str, selector: &str, expression: &str) -> ThresholdResult {
    ThresholdResult {
        metric: metric.to_owned(),
        selector: selector.to_owned(),
        expression: expression.to_owned(),
        severity: Severity::Critical,
        row: None,
        status: Status::Pass,
        observed: None,
        interval: None,
        limit: None,
        unit: String::new(),
        samples: 0,
        censored: 0,
        on_missing: None,
        reason: None,
    }
}

/// A run of a shop whose requests take about so long.
fn shop(id: &str, micros: u64) -> Summary {
    let mut run = run(id);
    run.metrics = vec![
        counted("iterations", "", 500.0),
        counted("bus_requests", "", 1_000.0),
        times("", (1..=1_000).map(|n| micros * n), 0),
        times("op:buy", (1..=1_000).map(|n| micros * n), 0),
    ];
    let checks = values_of(&Cell::Rate(Rate { hits: 99, total: 100 }), Unit::Count, 10.0);
    run.metrics.push(entry("checks", Kind::Rate, Unit::Count, "", checks));
    let cpu = values_of(&Cell::Counter(2.0), Unit::Seconds, 10.0);
    run.metrics.push(entry("target_cpu_seconds", Kind::Counter, Unit::Seconds, "", cpu));
    run.thresholds = vec![
        threshold("bus_request_duration", "{op:buy}", "p(95) < 10ms and p(50) < 5ms"),
        threshold("checks", "", "rate > 0.9"),
        threshold("iteration_errors", "", "rate == 0"),
        threshold("bus_request_duration", "", "max over first 5s < 1s"),
    ];
    run
}

fn runs(count: u64, micros: u64) -> Vec<Summary> {
    (0..count).map(|run| shop(&format!("run{run}"), micros + run)).collect()
}

#[test]
fn the_primary_figures_are_the_limited_ones_and_three_more() {
    let found = compare(&runs(8, 1_000), &runs(8, 1_300), &Terms::default()).unwrap();
    let names: Vec<_> = found.findings.iter().map(|it| (it.name.as_str(), it.better)).collect();
    let expected = [
        ("bus_request_duration.p(95){op:buy}", Better::Lower),
        ("bus_request_duration.p(50){op:buy}", Better::Lower),
        ("checks.rate", Better::Higher),
        ("iterations.rate", Better::Higher),
        ("bus_request_duration.p(99)", Better::Lower),
        ("target_cpu_seconds.count / bus_requests.count", Better::Lower),
    ];
    assert_eq!(names, expected);
    assert_eq!(found.outcome, Outcome::Regression);
    let outcomes: Vec<_> = found.findings.iter().map(|it| it.outcome).collect();
    let (worse, same) = (Outcome::Regression, Outcome::NoChange);
    assert_eq!(outcomes, [worse, worse, same, same, worse, same]);
    assert!((found.findings[0].change.unwrap() - 0.3).abs() < 0.01, "{found:#?}");
    assert_eq!(found.findings[5].base_median, Some(0.002));
    assert!((found.times.unwrap() - 1.3).abs() < 0.01);
}

#[test]
fn figures_that_somebody_names_are_compared_and_no_others() {
    let names = ["bus_request_duration.mean{op:buy}", "checks", "iterations"];
    let metrics: Vec<_> = names.iter().map(|name| FigureName::parse(name).unwrap()).collect();
    let terms = Terms { metrics, ..Terms::default() };
    let found = compare(&runs(8, 1_000), &runs(8, 1_000), &terms).unwrap();
    let names: Vec<_> = found.findings.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["bus_request_duration.mean{op:buy}", "checks.rate", "iterations.rate"]);
    assert_eq!(found.outcome, Outcome::NoChange);
    let metrics = vec![FigureName::parse("iteration.rate").unwrap()];
    let refused =
        compare(&runs(1, 1), &runs(1, 1), &Terms { metrics, ..Terms::default() }).unwrap_err();
    assert_eq!(refused.cause, Cause::Configuration);
    assert_eq!(refused.diagnostic.help.as_deref(), Some("did you mean `iterations`?"));
    for wrong in ["", ".p(99)", "a.p(101)", "a.nothing", "a{b", "a b", "a.p(9)x"] {
        assert!(FigureName::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_invalid_run_and_one_that_was_cut_off_are_compared_with_nothing() {
    let mut new = runs(8, 1_300);
    new[2].verdict.status = Status::Invalid;
    new[5].run.complete = false;
    let found = compare(&runs(8, 1_000), &new, &Terms::default()).unwrap();
    assert_eq!((found.base.len(), found.new.len(), found.remarks.len()), (8, 6, 2));
    let paired = Terms { design: Design::Pairs, ..Terms::default() };
    let found = compare(&runs(8, 1_000), &new, &paired).unwrap();
    assert_eq!((found.base.len(), found.new.len()), (6, 6));
    new.truncate(3);
    new.drain(..2);
    let refused = compare(&runs(8, 1_000), &new, &Terms::default()).unwrap_err();
    assert_eq!(refused.cause, Cause::NotShown);
    assert!(refused.diagnostic.message.contains("is invalid"), "{refused}");
}

#[test]
fn runs_of_different_machines_are_refused_or_marked() {
    let mut new = runs(8, 1_000);
    new[3].environment.cpu = "another".to_owned();
    let refused = compare(&runs(8, 1_000), &new, &Terms::default()).unwrap_err();
    assert_eq!(refused.cause, Cause::Configuration);
    assert!(refused.diagnostic.message.contains("different machines"), "{refused}");
    let terms = Terms { other_machine: true, ..Terms::default() };
    let found = compare(&runs(8, 1_000), &new, &terms).unwrap();
    assert!(found.remarks.iter().any(|it| it.contains("different machines")), "{found:#?}");
    // A little memory more or less is the kernel's.
    let (mut one, mut other) = (Environment::default(), Environment::default());
    (one.ram_bytes, other.ram_bytes) = (8_000_000_000, 7_900_000_000);
    assert_eq!(other_machine(&one, &other), None);
    other.ram_bytes = 4_000_000_000;
    assert!(other_machine(&one, &other).is_some());
}

#[test]
fn what_else_differs_is_remarked_on() {
    let mut new = runs(8, 1_000);
    for run in &mut new {
        run.run.scale = 0.1;
        run.environment.bus = "nats://127.0.0.1:4222".to_owned();
    }
    let found = compare(&runs(8, 1_000), &new, &Terms::default()).unwrap();
    assert_eq!(found.remarks.len(), 2, "{:?}", found.remarks);
}

#[test]
fn a_run_against_its_baseline_warns_and_against_five_it_may_regress() {
    let verdict = |baseline: &[Summary], mut run: Summary| -> (VerdictInfo, Option<Comparison>) {
        let found = run.against(baseline, &Terms::default());
        run.set_against(found, false);
        (run.verdict, run.baseline)
    };
    let (found, comparison) = verdict(&runs(1, 1_000), shop("new", 2_000));
    assert_eq!((found.status, found.exit_code), (Status::Warn, 0), "{found:#?}");
    assert!(found.reasons[0].starts_with("worse than the baseline: bus_request_duration"));
    assert_eq!(comparison.unwrap().findings[0].method, Method::None);
    let (found, _) = verdict(&runs(1, 1_000), shop("new", 1_010));
    assert_eq!((found.status, found.exit_code), (Status::Pass, 0), "{found:#?}");
    let (found, comparison) = verdict(&runs(5, 1_000), shop("new", 2_000));
    assert_eq!((found.status, found.exit_code), (Status::Fail, 112), "{found:#?}");
    assert_eq!(comparison.unwrap().findings[0].method, Method::Prediction);
    // Never from an invalid run.
    let mut invalid = shop("new", 2_000);
    invalid.verdict.status = Status::Invalid;
    let (found, comparison) = verdict(&runs(5, 1_000), invalid);
    assert_eq!((found.status, comparison), (Status::Invalid, None));
    let mut other = shop("new", 2_000);
    other.run.name = "library".to_owned();
    assert_eq!(verdict(&runs(5, 1_000), other).1, None);
    let (found, _) = verdict(&runs(5, 1_000), shop("new", 1_002));
    assert_eq!((found.status, found.causes.as_slice()), (Status::Pass, &[][..]), "{found:#?}");
}

#[test]
fn the_times_of_the_base_are_those_that_it_has() {
    let mut one = run("a");
    one.metrics = vec![
        times("", 1..=200, 0),
        times("op:a", 1..=100, 0),
        times("op:b", 101..=200, 0),
        times("op:a,outcome:error", [999], 0),
        counted("bus_requests", "", 200.0),
    ];
    let mut two = one.clone();
    two.metrics[0] = times("", std::iter::repeat_n(100, 1_000), 20);
    let found = base_times(&[&one]);
    let names: Vec<_> = found.iter().map(|it| (it.metric.as_str(), it.op.as_deref())).collect();
    let metric = "bus_request_duration";
    assert_eq!(names, [(metric, None), (metric, Some("a")), (metric, Some("b"))]);
    assert_eq!((found[0].p50, found[0].p99), (Some(100.0), Some(198.0)));
    let all: Vec<_> = found[0].percentiles().collect();
    assert_eq!(all, [(50.0, 100.0), (90.0, 180.0), (95.0, 190.0), (99.0, 198.0), (99.9, 200.0)]);
    assert_eq!((found[2].p50, found[2].p99), (Some(150.0), Some(199.0)));
    // Where censored samples leave a figure open there is none, and the other run's alone is left.
    let open = base_times(&[&two]);
    assert_eq!((open[0].p50, open[0].p99), (Some(100.0), None));
    assert_eq!(base_times(&[&two, &one])[0].p99, Some(198.0));
    assert!(base_times(&[]).is_empty());
    // Of a suite each workload has its own.
    one.run.workloads = vec![WorkloadInfo { duration_s: 10.0, ..WorkloadInfo::default() }; 2];
    one.metrics = vec![
        times("", 1..=200, 0),
        times("row:R1,workload:one", 1..=100, 0),
        times("op:a,row:R1,workload:one", 1..=100, 0),
        times("row:R2,workload:two", 101..=200, 0),
    ];
    let found = base_times(&[&one]);
    let medians: Vec<_> =
        found.iter().map(|it| (it.workload.as_str(), it.op.as_deref(), it.p50)).collect();
    let expected =
        [("one", None, Some(50.0)), ("one", Some("a"), Some(50.0)), ("two", None, Some(150.0))];
    assert_eq!(medians, expected);
}
