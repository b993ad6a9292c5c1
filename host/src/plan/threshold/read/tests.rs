//! The grammar of SEMANTICS §3, and every error with the stretch of text that it points at.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    metric::{Kind, Metric, Registry, Unit},
    plan::{
        Scenario,
        section::Places,
        threshold::{Aggregate, Assertion, Base, Comparison, Operand, Window},
    },
};

fn scenario() -> Scenario {
    let value = json!({
        "executor": "ramping-arrival-rate", "tags": { "tier": "gold" },
        "stages": [
            { "duration": "1s", "target": 1, "name": "normal" },
            { "duration": "1s", "target": 2, "name": "peak" },
        ],
    });
    let item = Item { value: &value, path: Vec::new(), places: &Places::new() };
    crate::plan::scenario::read::read("steady", &item).unwrap().scenario
}

fn with_universe<T>(run: impl FnOnce(&Universe<'_>) -> T) -> T {
    let mut registry = Registry::default();
    for (name, kind, unit) in [
        ("rows_stored", Kind::Counter, Unit::Count),
        ("fill", Kind::Trend, Unit::Percent),
        ("lag", Kind::Trend, Unit::Nanoseconds),
    ] {
        registry.insert(Metric { name: name.to_owned(), kind, unit }).unwrap();
    }
    let first_derived = MetricId(registry.iter().count() as u16);
    let ratio = Metric { name: "ratio".to_owned(), kind: Kind::Gauge, unit: Unit::Count };
    registry.insert(ratio).unwrap();
    run(&Universe {
        registry: &registry,
        scenarios: &[scenario()],
        ops: &["user_stats".to_owned(), "join".to_owned()],
        tags: &BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
        left: &[],
        unmeasured: &[Builtin::GuestTraps],
        first_derived,
    })
}

fn read_value(value: &Value) -> Result<Vec<Threshold>, Diagnostic> {
    let places = Places::new();
    let item = Item { value, path: vec!["thresholds".to_owned()], places: &places };
    with_universe(|universe| read(&item, universe, &[]))
}

fn expression(metric: &str, source: &str) -> Expression {
    read_value(&json!({ metric: source })).unwrap().remove(0).expression
}

fn assertion(metric: &str, source: &str) -> Assertion {
    let mut expression = expression(metric, source);
    assert_eq!((expression.0.len(), expression.0[0].len()), (1, 1), "{source}");
    expression.0.remove(0).remove(0)
}

fn limit(metric: &str, source: &str) -> f64 {
    match assertion(metric, source).operand {
        Operand::Number(number) => number,
        other => panic!("{other:?}"),
    }
}

/// The message, and the text under the caret.
fn refused(metric: &str, source: &str) -> (String, String) {
    let error = read_value(&json!({ metric: source })).unwrap_err();
    assert!(error.help.is_some(), "{}", error.message);
    let place = error.place.unwrap();
    (error.message, place.text[place.range].to_owned())
}

#[test]
fn numbers_are_converted_into_the_metrics_own_unit() {
    for (metric, source, expected) in [
        ("bus_request_duration", "p(95) < 200", 200e6),
        ("bus_request_duration", "p(95) < 200ms", 200e6),
        ("bus_request_duration", "p(95)<1.5 s", 1.5e9),
        ("bus_request_duration", "mean < 5 µs", 5e3),
        ("bus_request_duration", "count > 100", 100.0),
        ("lag", "max < 2m", 120e9),
        ("checks", "rate > 0.99", 0.99),
        ("checks", "rate > 99%", 0.99),
        ("checks", "rate >= 99.9 %", 0.999),
        ("checks", "count > 10", 10.0),
        ("iterations", "rate > 100", 100.0),
        ("iterations", "rate > 600/m", 10.0),
        ("data_sent", "count < 10 MB", 1e7),
        ("data_sent", "rate < 1 MiB/s", 1_048_576.0),
        ("data_sent", "rate < 36MB/h", 10_000.0),
        ("runner_rss_bytes", "slope < 3.6 KB/h", 1.0),
        ("runner_rss_bytes", "value < 1GiB", 1_073_741_824.0),
        ("runner_cpu_percent", "avg < 80%", 80.0),
        ("runner_cpu_percent", "max < 80", 80.0),
        ("service_cpu_seconds", "count < 5", 5.0),
        ("service_cpu_seconds", "count < 500ms", 0.5),
        ("fill", "p(50) < 12.5%", 12.5),
        ("vus", "value > -1", -1.0),
        ("iterations", "count > 1e3", 1e3),
        ("iterations", "count > 1_000", 1e3),
    ] {
        let found = limit(metric, source);
        assert!((found - expected).abs() <= expected.abs() * 1e-12, "{source}: {found}");
    }
}

#[test]
fn every_aggregate_and_comparison_is_read() {
    for (text, aggregate) in [
        ("avg", Aggregate::Mean),
        ("mean", Aggregate::Mean),
        ("min", Aggregate::Min),
        ("max", Aggregate::Max),
        ("med", Aggregate::Median),
        ("stddev", Aggregate::Stddev),
        ("count", Aggregate::Count),
        ("p(99.9)", Aggregate::Percentile(99.9)),
        ("p( 0 )", Aggregate::Percentile(0.0)),
        ("p(100)", Aggregate::Percentile(100.0)),
    ] {
        assert_eq!(assertion("bus_request_duration", &format!("{text} < 1")).aggregate, aggregate);
    }
    for (text, comparison) in [
        (">", Comparison::Greater),
        (">=", Comparison::AtLeast),
        ("<=", Comparison::AtMost),
        ("<", Comparison::Less),
        ("==", Comparison::Equal),
        ("===", Comparison::Equal),
        ("!=", Comparison::NotEqual),
    ] {
        for source in [format!("count{text}1"), format!(" count  {text}  1 ")] {
            assert_eq!(assertion("iterations", &source).comparison, comparison);
        }
    }
}

#[test]
fn and_binds_tighter_than_or() {
    let Expression(found) =
        expression("bus_request_duration", "p(95) < 10ms and mean < 5ms or max < 1s and count > 3");
    let sizes: Vec<_> = found.iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2]);
    assert_eq!(found[1][0].aggregate, Aggregate::Max);
}

#[test]
fn windows_belong_to_the_operand_that_they_follow() {
    let found = assertion(
        "iteration_response_time{stage:peak}",
        "p(95) over last 10s <= 2 * iteration_response_time.p(95){stage:normal} over first 1m",
    );
    assert_eq!(found.window, Some(Window::Last(Duration::from_secs(10))));
    let Operand::Figure { factor, metric, aggregate, selector, window } = found.operand else {
        panic!("no figure")
    };
    assert_eq!((factor, metric.as_deref()), (2.0, Some("iteration_response_time")));
    assert_eq!(aggregate, Aggregate::Percentile(95.0));
    assert_eq!(selector.unwrap().text(), "{stage:normal}");
    assert_eq!(window, Some(Window::First(Duration::from_secs(60))));
    for (text, window) in [
        ("mean each 5s < 1s", Window::Each(Duration::from_secs(5))),
        ("mean after 1m30s < 1s", Window::After(Duration::from_secs(90))),
    ] {
        assert_eq!(assertion("lag", text).window, Some(window));
    }
    let own = assertion("lag", "max < 10 * med and count > 0".split(" and").next().unwrap());
    assert!(matches!(own.operand, Operand::Figure { factor: 10.0, metric: None, .. }));
}

#[test]
fn a_baseline_is_an_operand_with_a_factor_and_names_can_be_read_alone() {
    for (source, factor) in [("p(95) < 1.1 * baseline", 1.1), ("mean<baseline", 1.0)] {
        let found = assertion("bus_request_duration", source).operand;
        assert_eq!(found, Operand::Baseline { factor, base: Base::Missing }, "{source}");
    }
    let name = crate::plan::threshold::FigureName::parse("a.p(99.9){op:b,stage:c}").unwrap();
    assert_eq!((name.metric.as_str(), name.selector.text().as_str()), ("a", "{op:b,stage:c}"));
    assert_eq!(name.aggregate, Some(Aggregate::Percentile(99.9)));
    let asked =
        crate::plan::threshold::asked("p(50) < 1ms and max over first 5s < 2s or count > 1");
    let expected =
        [(Aggregate::Percentile(50.0), Comparison::Less), (Aggregate::Count, Comparison::Greater)];
    assert_eq!(asked, expected);
    assert_eq!(crate::plan::threshold::asked("nonsense"), []);
}

#[test]
fn errors_point_at_the_word_that_is_wrong() {
    let duration = "bus_request_duration";
    for (metric, source, message, under) in [
        (duration, "p95 < 1", "`p95` is not an aggregate", "p95"),
        (duration, "p(101) < 1", "between 0 and 100", "101"),
        (duration, "p(-1) < 1", "between 0 and 100", "-1"),
        (duration, "p(x) < 1", "`x` is not a number", "x"),
        (duration, "p(95 < 1", "`)` is missing", "p(95 "),
        (duration, "p 95 < 1", "`(` is missing", "p "),
        (duration, "rate < 1", "is a trend", "rate"),
        ("checks", "p(95) < 1", "is a rate", "p(95)"),
        ("iterations", "value < 1", "is a counter", "value"),
        ("vus", "count < 1", "is a gauge", "count"),
        (duration, "mean 5", "a comparison is missing", "5"),
        (duration, "mean =< 5", "`=<` is not a comparison", "=<"),
        (duration, "mean <", "nothing to compare with", ""),
        (duration, "mean < 5 MB", "unit `MB` does not fit", "MB"),
        (duration, "mean < 5 parsecs", "unit `parsecs` does not fit", "parsecs"),
        (duration, "mean < 5/s", "unit `/s` does not fit", "/s"),
        ("iterations", "count > 5ms", "unit `ms` does not fit", "ms"),
        ("data_sent", "rate < 5 MB", "unit `MB` does not fit", "MB"),
        ("checks", "rate > 99", "a share is never 99", "99"),
        (duration, "mean < 5 and", "an aggregate is missing", ""),
        (duration, "mean < 5 nor max < 3", "`max < 3` does not belong", "max < 3"),
        (duration, "mean < 5ms xor max < 3", "`xor max < 3` does not belong", "xor max < 3"),
        (duration, "mean over 5s < 5", "needs `first` or `last`", "over 5s"),
        (duration, "mean each 5 < 5", "no unit", "5"),
        (duration, "mean each 500ms < 5", "is not possible", "500ms"),
        (duration, "mean < 5ms over first 10s", "belongs to a figure", "over"),
        (duration, "mean over first 5s < baseline", "none of a window", "over first 5s"),
        ("vus", "slope < 2 * baseline", "keeps no slopes", "2 * baseline"),
        (duration, "mean < 2 * nothing.mean", "no metric `nothing`", "nothing"),
        (duration, "mean < bus_requests.count", "cannot be compared", "bus_requests.count"),
        (duration, "mean < mean{stage:calm}", "no stage `calm`", "{stage:calm}"),
        (duration, "mean < mean{stage:peak", "`{` without `}`", "{stage:peak"),
        (duration, "mean < 1..5", "`1..5` is not a number", "1..5"),
        (duration, "", "an aggregate is missing", ""),
    ] {
        let (found, caret) = refused(metric, source);
        assert!(found.contains(message), "`{source}`: {found}");
        assert_eq!(caret, under, "`{source}`: {found}");
    }
}

#[test]
fn errors_in_the_metric_and_its_selector_point_there() {
    for (key, message, under) in [
        ("bus_request_duratoin", "no metric `bus_request_duratoin`", "bus_request_duratoin"),
        ("bus_requests{op:stats}", "no operation `stats`", "{op:stats}"),
        ("bus_requests{op:user_stats", "`{` without `}`", "{op:user_stats"),
        ("bus_requests{op}", "`op` is not a tag and its value", "op"),
        ("bus_requests{op:join,op:join}", "named twice", "op:join"),
        ("bus_requests{group:\u{1b}[2J}", "is not a tag and its value", "group:\u{1b}[2J"),
        ("bus_requests{}", "is not a tag and its value", "}"),
        ("bus_requests{scenario:stead}", "no scenario `stead`", "{scenario:stead}"),
        ("bus_requests{stage:calm}", "no stage `calm`", "{stage:calm}"),
        ("bus_requests{phase:prob}", "no phase `prob`", "{phase:prob}"),
        ("bus_requests{outcome:bad}", "no outcome `bad`", "{outcome:bad}"),
        ("bus_request_failed{outcome:error}", "share of both", "{outcome:error}"),
        ("iterations{op:join}", "has no tag `op`", "{op:join}"),
        ("iterations{check:x}", "has no tag `check`", "{check:x}"),
        ("bus_requests{colour:red}", "nothing bears the tag `colour`", "{colour:red}"),
        ("bus_requests{team:red}", "nothing has `red`", "{team:red}"),
        ("ratio{scenario:steady}", "is derived", "{scenario:steady}"),
        ("bus_requests{op:join} x", "behind the selector", " x"),
    ] {
        let (found, caret) = refused(key, "count > 1");
        assert!(found.contains(message), "`{key}`: {found}");
        assert_eq!(caret, under, "`{key}`: {found}");
    }
    let error = read_value(&json!({ "bus_request_duratoin": "mean < 1" })).unwrap_err();
    assert_eq!(error.help.as_deref(), Some("did you mean `bus_request_duration`?"));
}

#[test]
fn a_derived_metric_has_no_windows_and_stops_no_run() {
    for (metric, source, under) in [
        ("ratio", "value over first 5s < 1", "over first 5s"),
        ("ratio", "value each 5s < 1", "each 5s"),
        ("rows_stored", "count < 2 * ratio.value after 5s", "after 5s"),
    ] {
        let (found, caret) = refused(metric, source);
        assert!(found.contains("`ratio` is derived: it is one value"), "`{source}`: {found}");
        assert_eq!(caret.trim(), under, "`{source}`: {found}");
    }
    for (metric, source) in [("ratio", "value < 1"), ("rows_stored", "count < 2 * ratio.value")] {
        let stopping = |stop: bool| {
            let threshold = json!({ "threshold": source, "abort_on_fail": stop });
            read_value(&json!({ metric: threshold }))
        };
        let error = stopping(true).unwrap_err();
        assert!(error.message.contains("`ratio` is derived"), "{}", error.message);
        assert!(error.help.unwrap().contains("leave `abort_on_fail` out"));
        stopping(false).unwrap();
    }
}

#[test]
fn what_something_declared_can_match_is_accepted() {
    for key in [
        "bus_request_duration{op:user_stats}",
        "bus_request_duration{scenario:steady,stage:peak,outcome:error,error:timeout}",
        "bus_request_duration{group:::login::form}",
        "bus_request_duration{phase:setup}",
        "bus_request_duration{phase:service}",
        "db_query_duration{phase:probe}",
        "bus_requests{team:blue}",
        "bus_requests{tier:gold}",
        "checks{check:found}",
        "service_handle_duration{op:elsewhere}",
        "rows_stored { scenario : steady }",
    ] {
        let metric = if key.starts_with("checks") { "rate > 0.5" } else { "count > 1" };
        read_value(&json!({ key: metric })).unwrap_or_else(|error| panic!("{key}: {error}"));
    }
}

#[test]
fn the_long_form_says_how_a_miss_is_taken() {
    let found = read_value(&json!({ "bus_request_duration": [
        "p(95) < 10ms",
        {
            "threshold": "mean < 5ms", "severity": "warning", "warn_within": "10%",
            "no_data": "pass", "insufficient": "warn", "min_samples": 500,
            "abort_on_fail": true, "delay_abort_eval": "5s", "row": "R2",
        },
    ] }))
    .unwrap();
    assert_eq!((found.len(), found[0].severity), (2, Severity::Critical));
    let long = &found[1];
    assert_eq!((long.severity, long.warn_within), (Severity::Warning, Some(0.1)));
    assert_eq!((long.no_data, long.insufficient), (OnMissing::Pass, OnMissing::Warn));
    assert_eq!((long.min_samples, long.abort_on_fail), (Some(500), true));
    assert_eq!((long.delay_abort_eval, long.row.as_deref()), (Duration::from_secs(5), Some("R2")));
    for (value, part) in [
        (json!({ "threshold": "rate == 0", "warn_within": 0.1 }), "`warn_within` does not go with"),
        (json!({ "threshold": "rate < 0.1", "warn_within": 5 }), "not a share"),
        (json!({ "threshold": "rate < 0.1", "severity": "fatal" }), "`fatal` is not one of"),
        (
            json!({ "threshold": "rate < 0.1", "abortOnFail": true }),
            "`abortOnFail` is not an option",
        ),
        (json!({ "severity": "info" }), "`threshold` is missing"),
        (json!(5), "expected a string"),
    ] {
        let error = read_value(&json!({ "checks": value })).unwrap_err();
        assert!(error.message.contains(part), "{}", error.message);
    }
}

#[test]
fn the_caret_is_in_the_file_where_the_place_is_known() {
    let file = "export const options = #{ thresholds: #{ \"checks\": \"rte > 0.99\" } };";
    let start = file.find("\"rte").unwrap();
    let place = Place { origin: "a.rhai".into(), text: file.into(), range: start..start + 12 };
    let places = Places::from([(vec!["thresholds".to_owned(), "checks".to_owned()], place)]);
    let value = json!({ "checks": "rte > 0.99" });
    let item = Item { value: &value, path: vec!["thresholds".to_owned()], places: &places };
    let error = with_universe(|universe| read(&item, universe, &[])).unwrap_err();
    let place = error.place.unwrap();
    assert_eq!(place.origin, "a.rhai");
    assert_eq!((&place.text[place.range.clone()], place.range.start), ("rte", start + 1));
}

#[test]
fn defaults_are_added_where_a_workload_sets_none_on_that_metric() {
    let set = read_value(&json!({ "bus_request_failed{op:join}": "rate < 0.1" })).unwrap();
    let added = defaults(&set);
    let names: Vec<_> = added.iter().map(|threshold| threshold.metric.as_str()).collect();
    assert_eq!(names, ["iteration_errors", "bus_connect_failed", "db_query_failed"]);
    for threshold in added {
        assert!(threshold.is_default);
        let same = expression(&threshold.metric, &threshold.source);
        assert_eq!(threshold.expression, same, "the default is what it says");
    }
}

proptest! {
    // Failures are kept as tests of their own, not as files.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics_and_every_error_points_into_it(
        source in "[pavg()0-9.<>=!*{}:,a-zµ/% ]{0,60}|\\PC{0,40}",
        key in "(checks|lag|bus_requests)[{}a-z:, é]{0,20}",
    ) {
        for (metric, source) in [("bus_request_duration", source.as_str()), (&key, "count > 1")] {
            if let Err(error) = read_value(&json!({ metric: source })) {
                prop_assert!(error.help.is_some());
                let place = error.place.unwrap();
                prop_assert!(place.text.get(place.range).is_some());
            }
        }
    }
}
