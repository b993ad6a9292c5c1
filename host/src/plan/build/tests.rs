//! Options as a user writes them, and the plan or the error that comes of them.

mod drivers;
mod quick;

use proptest::prelude::*;
use serde_json::json;

use super::{
    super::{QUICK, VuStage},
    *,
};
use crate::metric::Builtin;

use drivers::{growth, levels, search};

fn input(options: Value) -> PlanInput {
    let Value::Object(options) = options else { panic!("options are a map") };
    PlanInput {
        name: "test".to_owned(),
        options: Options(options),
        functions: vec!["iteration".to_owned(), "user_stats".to_owned()],
        cores: 4,
        ..PlanInput::default()
    }
}

fn plan(options: Value) -> Plan {
    Plan::build(input(options)).unwrap()
}

fn error(options: Value) -> Diagnostic {
    Plan::build(input(options)).unwrap_err()
}

fn only(options: Value) -> Scenario {
    let mut scenarios = plan(json!({ "scenarios": { "only": options } })).scenarios;
    assert_eq!(scenarios.len(), 1);
    scenarios.remove(0)
}

#[test]
fn nothing_is_one_vu_and_one_iteration() {
    let plan = plan(json!({}));
    assert_eq!(plan.scenarios.len(), 1);
    assert_eq!(plan.scenarios[0].name, "default");
    assert_eq!(plan.scenarios[0].exec, "iteration");
    assert_eq!(plan.scenarios[0].executor, one_iteration());
    assert_eq!((plan.shards, plan.seed, plan.scale), (1, 0, 1.0));
}

#[test]
fn a_service_needs_nothing_to_run_and_something_to_offer() {
    let options = json!({
        "services": { "a.echo": "echo" },
        "thresholds": { "checks": ["rate == 1"] },
    });
    let service = PlanInput { functions: vec!["echo".to_owned()], ..input(options) };
    assert!(Plan::build(service.clone()).is_err(), "it has no iteration function");
    let misspelt = PlanInput { functions: vec!["ehco".to_owned()], ..service.clone() };
    let error = Plan::service(misspelt).unwrap_err();
    assert!(
        error.message.contains("services.a.echo") && error.message.contains("`echo`"),
        "{error}"
    );
    assert!(error.help.as_ref().is_some_and(|help| help.contains("`ehco`")), "{error:?}");
    let plan = Plan::service(service).unwrap();
    assert_eq!(plan.services, BTreeMap::from([("a.echo".to_owned(), "echo".to_owned())]));
    assert!(plan.scenarios.is_empty() && plan.thresholds.is_empty());
    let error = Plan::service(input(json!({}))).unwrap_err();
    assert!(error.message.contains("`test` offers no services"), "{error}");
}

#[test]
fn the_example_of_the_design_is_read() {
    let scenario = only(json!({
        "executor": "constant-arrival-rate", "rate": 200, "duration": "10s", "exec": "user_stats",
    }));
    assert_eq!(scenario.exec, "user_stats");
    assert_eq!(scenario.graceful_stop, Duration::from_secs(30));
    let Executor::ConstantArrivalRate { rate, time_unit, duration, arrival } = scenario.executor
    else {
        panic!("another executor")
    };
    assert_eq!((rate, time_unit, duration.as_secs()), (200.0, Duration::from_secs(1), 10));
    assert_eq!((arrival.pre_allocated_vus, arrival.max_vus), (50, 10_000));
}

#[test]
fn defaults_are_those_of_the_table() {
    let scenario = only(json!({ "executor": "shared-iterations" }));
    assert_eq!(scenario.executor, one_iteration());
    assert_eq!((scenario.iteration_timeout, scenario.cpu_timeout.as_secs()), (10 * MINUTE, 5));
    assert_eq!((scenario.start, scenario.warmup), (Start::At(Duration::ZERO), Duration::ZERO));
    let scenario = only(json!({ "executor": "per-vu-iterations", "vus": 3, "pace": "1s" }));
    let Executor::PerVuIterations { vus: 3, iterations: 1, max_duration, pace } = scenario.executor
    else {
        panic!("{scenario:?}")
    };
    assert_eq!((max_duration, pace), (10 * MINUTE, Some(Duration::from_secs(1))));
    let scenario = only(json!({
        "executor": "ramping-vus", "stages": [{ "duration": "1m", "target": 5.0, "name": "up" }],
    }));
    let Executor::RampingVus { start_vus: 1, stages, graceful_ramp_down, pace: None } =
        &scenario.executor
    else {
        panic!("{scenario:?}")
    };
    assert_eq!((stages[0].target, stages[0].name.as_str()), (5, "up"));
    assert_eq!(graceful_ramp_down.as_secs(), 30);
    let scenario = only(json!({
        "executor": "ramping-arrival-rate", "time_unit": "1m", "max_vus": 7, "arrival": "poisson",
        "on_late": "drop", "pacing": "spin", "max_backlog": 5, "connection": "vu",
        "generator_limited": "report", "stages": [{ "duration": "90s", "target": 0.5 }],
        "env": { "SIZE": 5, "FAST": true }, "tags": { "tier": "gold" },
    }));
    let Executor::RampingArrivalRate { start_rate, stages, arrival, .. } = &scenario.executor
    else {
        panic!("{scenario:?}")
    };
    assert_eq!((*start_rate, stages[0].target, stages[0].name.as_str()), (0.0, 0.5, "0"));
    assert_eq!((arrival.pre_allocated_vus, arrival.max_vus, arrival.max_backlog), (1, 7, 5));
    assert!(arrival.spin);
    assert_eq!(scenario.env["SIZE"], "5");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn scenarios_that_cannot_be_are_refused_with_the_reason() {
    for (options, message, help) in [
        (json!({}), "`executor` is missing", "constant-vus"),
        (json!({ "executor": "constant-rate" }), "not an executor", "constant-"),
        (json!({ "executor": 5 }), "expected a string, found the number 5", ""),
        (json!({ "executor": "constant-vus" }), "`duration` is missing", "30s"),
        (json!({ "executor": "constant-vus", "duration": 10 }), "10 has no unit", "\"10s\""),
        (json!({ "executor": "constant-vus", "duration": "0s" }), "above 0", ""),
        (json!({ "executor": "constant-vus", "duration": "10" }), "it has no unit", "500ms"),
        (json!({ "executor": "constant-vus", "duration": "1s", "vus": 0 }), "above 0", ""),
        (json!({ "executor": "constant-vus", "duration": "1s", "vus": 1.5 }), "whole number", ""),
        (json!({ "executor": "constant-vus", "duration": "1s", "vus": -1 }), "whole number", ""),
        (
            json!({ "executor": "constant-vus", "duration": "1s", "rate": 5 }),
            "`rate` is not an option of the executor `constant-vus`",
            "`constant-arrival-rate`",
        ),
        (
            json!({ "executor": "constant-vus", "duration": "1s", "gracefull_stop": "1s" }),
            "`gracefull_stop` is not an option",
            "did you mean `graceful_stop`?",
        ),
        (
            json!({ "executor": "constant-vus", "duration": "1s", "startTime": "1s" }),
            "`startTime` is not an option",
            "did you mean `start_time`?",
        ),
        (
            json!({ "executor": "shared-iterations", "vus": 5, "iterations": 4 }),
            "4 iterations are fewer than 5 VUs",
            "",
        ),
        (json!({ "executor": "per-vu-iterations", "iterations": 0 }), "above 0", ""),
        (json!({ "executor": "ramping-vus" }), "`stages` is missing", "target"),
        (json!({ "executor": "ramping-vus", "stages": [] }), "there is no stage", ""),
        (
            json!({ "executor": "ramping-vus", "stages": [{ "duration": "0s", "target": 1 }] }),
            "take no time",
            "",
        ),
        (
            json!({
                "executor": "ramping-vus", "start_vus": 0,
                "stages": [{ "duration": "1s", "target": 0 }],
            }),
            "never a VU",
            "",
        ),
        (
            json!({ "executor": "ramping-vus", "stages": [{ "duration": "1s", "targt": 0 }] }),
            "`targt` is not an option of a stage",
            "did you mean `target`?",
        ),
        (json!({ "executor": "constant-arrival-rate", "duration": "1s" }), "`rate` is missing", ""),
        (
            json!({ "executor": "constant-arrival-rate", "duration": "1s", "rate": 0 }),
            "the rate is 0",
            "",
        ),
        (
            json!({ "executor": "constant-arrival-rate", "duration": "1s", "rate": 1e300 }),
            "beyond the limit",
            "time_unit",
        ),
        (
            json!({
                "executor": "constant-arrival-rate", "duration": "1s", "rate": 1,
                "pre_allocated_vus": 5, "max_vus": 4,
            }),
            "4 VUs at the most are fewer than 5 pre-allocated",
            "",
        ),
        (
            json!({ "executor": "constant-arrival-rate", "duration": "1s", "rate": 1, "max_vus": 10_001 }),
            "10001 VUs in all are more than the limit of 10000",
            "--limit vus",
        ),
        (
            json!({
                "executor": "constant-arrival-rate", "duration": "10h", "rate": 1e7,
                "arrival": "poisson",
            }),
            "100 000 000 Poisson arrivals",
            "uniform",
        ),
        (
            json!({
                "executor": "ramping-arrival-rate", "stages": [{ "duration": "1s", "target": 0 }],
            }),
            "never above 0",
            "",
        ),
        (
            json!({ "executor": "constant-vus", "duration": "1s", "exec": "user_stat" }),
            "there is no function `user_stat`",
            "did you mean `user_stats`?",
        ),
        (
            json!({ "executor": "constant-vus", "duration": "1s", "warmup": "1s" }),
            "nothing would be measured",
            "",
        ),
        (
            json!({ "executor": "constant-vus", "duration": "1s", "start_after": "only" }),
            "wait for each other",
            "start_time",
        ),
        (
            json!({ "executor": "constant-vus", "duration": "1s", "start_after": "onl" }),
            "no scenario `onl`",
            "did you mean `only`?",
        ),
        (
            json!({
                "executor": "constant-vus", "duration": "1s", "start_after": "x", "start_time": "1s",
            }),
            "exclude each other",
            "",
        ),
        (
            json!({ "executor": "constant-vus", "duration": "1s", "tags": { "op": "x" } }),
            "the tag `op` is the host's",
            "",
        ),
        (
            json!({ "executor": "constant-vus", "duration": "1s", "connection": "own" }),
            "`own` is not one of `shard`, `vu`",
            "",
        ),
    ] {
        let found = error(json!({ "scenarios": { "only": options } }));
        assert!(found.message.contains(message), "{options}: {}", found.message);
        assert!(found.help.unwrap_or_default().contains(help), "{options}");
    }
}

#[test]
fn options_that_cannot_be_are_refused_with_the_reason() {
    let scenario = json!({ "executor": "shared-iterations" });
    for (options, message) in [
        (json!({ "scenarios": {} }), "there is no scenario"),
        (json!({ "scenarios": { "a b": scenario } }), "`a b` cannot be a scenario's name"),
        (json!({ "scenarios": { "a": scenario }, "vus": 1 }), "are mixed"),
        (json!({ "thresholdz": {} }), "`thresholdz` is not an option of a workload"),
        (json!({ "limits": { "vus": 1_000_000 } }), "does not set its own limits"),
        (json!({ "vus": 5 }), "says neither how often nor how long"),
        (json!({ "iterations": 5, "rate": 5 }), "exclude each other"),
        (json!({ "duration": "5s", "stages": [{ "duration": "1s", "target": 1 }] }), "exclude"),
        (json!({ "rate": 5 }), "says not how long"),
        (json!({ "iterations": 1, "vus": 2 }), "1 iterations are fewer than 2 VUs"),
        (json!({ "seed": "x" }), "whole number"),
        (json!({ "setup_timeout": "0s" }), "above 0"),
        (json!({ "ops": ["a b"] }), "`a b` cannot be an operation's name"),
        (json!({ "ops": ["a", "a"] }), "declared twice"),
        (json!({ "ops": ["other"] }), "cannot be"),
        (json!({ "metrics": { "checks": "rate" } }), "already a metric `checks`"),
        (json!({ "metrics": { "1st": "rate" } }), "cannot be a metric's name"),
        (json!({ "metrics": { "m": "ratio" } }), "`ratio` is not one of"),
        (
            json!({ "metrics": { "m": { "type": "trend", "unit": "miles" } } }),
            "`miles` is not a unit",
        ),
        (json!({ "metrics": { "m": { "unit": "ms" } } }), "`type` is missing"),
        (json!({ "services": { "a..b": "f" } }), "not a subject"),
        (json!({ "tags": { "a": "b,c" } }), "cannot be `b,c`"),
        (json!({ "derived": { "d": "iterations.count /" } }), "an aggregate is missing"),
        (
            json!({ "derived": { "d": "iterations.count iterations.count" } }),
            "does not belong here",
        ),
        (json!({ "derived": { "d": "(iterations.count" } }), "`(` without `)`"),
        (json!({ "derived": { "d": "iterations.p(5)" } }), "is a counter"),
        (json!({ "derived": { "d": "count / 2" } }), "a metric is missing"),
        (json!({ "derived": { "d": "1", "e": "d.value" } }), "no metric `d`"),
        (json!({ "derived": { "checks": "1" } }), "already a metric"),
        (json!({ "derived": { "d": { "kind": "growht" } } }), "is not a kind"),
        (json!({ "derived": { "d": { "kind": "growth" } } }), "`metric` is missing"),
        (json!({ "derived": { "d": growth("") } }), "nothing to count against"),
        (json!({ "derived": { "d": growth("0s") } }), "growth per no time"),
        (json!({ "derived": { "d": growth("0 iterations") } }), "no number above 0"),
        (json!({ "derived": { "d": growth("10 checks") } }), "not a counter"),
        (json!({ "derived": { "d": growth("10 nothing") } }), "no metric `nothing`"),
        (json!({ "derived": { "d": growth("stage") } }), "no scenario has stages"),
        (
            json!({ "derived": { "d": { "kind": "scaling", "value": "knee" } } }),
            "0 scenarios have `levels`",
        ),
        (levels(json!({ "rate": 5 })), "exclude each other"),
        (levels(json!({ "levels": [1, 2] })), "2 levels"),
        (levels(json!({ "levels": [1, 3, 2] })), "the level 2 is not above"),
        (levels(json!({ "levels": [0, 3, 5] })), "the level 0 is not above"),
        (levels(json!({ "duration": "3s" })), "too short"),
        (levels(json!({ "expected": 0 })), "above 0"),
        (levels(json!({ "levels": null })), "`drain` is of `levels`"),
        (search(json!({ "probe": "1ms" }), "iterations"), "too short"),
        (search(json!({ "to": 5 }), "iterations"), "is below 10/s"),
        (search(json!({ "from": 0 }), "iterations"), "above 0"),
        (search(json!({ "precision": 0.001 }), "iterations"), "not a precision"),
        (search(json!({ "frm": 0 }), "iterations"), "not an option of a search"),
        (levels(json!({ "search": { "from": 1, "to": 2, "probe": "5s" } })), "exclude each other"),
        (json!({ "derived": { "d": "(".repeat(1_000) } }), "too many nested"),
        (json!({ "ops": vec!["x"; 10_001] }), "10001 entries are too many"),
        (json!({ "derived": { "d": "-".repeat(1_000) } }), "too many nested"),
    ] {
        let found = error(options.clone());
        assert!(found.message.contains(message), "{options}: {}", found.message);
        assert!(found.help.is_some(), "{options}: {}", found.message);
    }
}

#[test]
fn an_error_stands_at_the_nearest_place_that_is_known() {
    let place = |range| crate::diagnostic::Place {
        origin: "a.rhai".to_owned(),
        text: "0123456789".to_owned(),
        range,
    };
    let options = json!({ "scenarios": { "only": { "executor": "constant-vus", "duration": 5 } } });
    let mut input = input(options);
    let path = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    input.places.insert(path(&["scenarios", "only"]), place(2..4));
    let error = Plan::build(input.clone()).unwrap_err();
    assert_eq!(error.place.unwrap().range, 2..4);
    input.places.insert(path(&["scenarios", "only", "duration"]), place(6..7));
    let error = Plan::build(input).unwrap_err();
    assert_eq!(error.place.unwrap().range, 6..7);
    assert!(error.message.starts_with("scenarios.only.duration: "));
}

fn overridden(options: Value, change: impl FnOnce(&mut Overrides)) -> Result<Plan, Diagnostic> {
    let mut input = input(options);
    change(&mut input.overrides);
    Plan::build(input)
}

fn two_scenarios() -> Value {
    json!({
        "scenarios": {
            "warm": { "executor": "constant-vus", "duration": "1s", "exec": "user_stats" },
            "steady": {
                "executor": "ramping-vus", "start_after": "warm", "exec": "user_stats",
                "stages": [{ "duration": "20s", "target": 9, "name": "up" }],
            },
        },
        "derived": { "back": {
            "kind": "recovery_time", "metric": "iteration_duration{scenario:steady}",
            "aggregate": "p(95)", "stage": "up", "reference": "up",
        } },
        "thresholds": {
            "iterations{scenario:warm}": "count > 1",
            "iterations{scenario:steady,stage:up}": "count > 1",
            "back": "value < 5s",
            "iterations": "count > 2",
        },
    })
}

#[test]
fn shortcuts_stand_for_scenarios() {
    let executor = |options| plan(options).scenarios.remove(0).executor;
    assert!(matches!(
        executor(json!({ "vus": 2, "iterations": 10, "duration": "1m" })),
        Executor::SharedIterations { vus: 2, iterations: 10, max_duration: MINUTE }
    ));
    assert!(matches!(
        executor(json!({ "vus": 2, "duration": "1m" })),
        Executor::ConstantVus { vus: 2, duration: MINUTE, pace: None }
    ));
    let Executor::RampingVus { start_vus: 0, stages, .. } =
        executor(json!({ "vus": 0, "stages": [{ "duration": "1m", "target": 3, "name": "up" }] }))
    else {
        panic!("another executor")
    };
    assert_eq!(stages, [VuStage { duration: MINUTE, target: 3, name: "up".to_owned() }]);
    let Executor::ConstantArrivalRate { rate, arrival, .. } =
        executor(json!({ "rate": 2.5, "duration": "1m" }))
    else {
        panic!("another executor")
    };
    assert_eq!((rate, arrival.pre_allocated_vus, arrival.max_vus), (2.5, 3, 10_000));
}

#[test]
fn shortcuts_of_flags_replace_all_scenarios_and_keep_their_function() {
    let plan = overridden(two_scenarios(), |it| {
        it.shortcuts = Shortcuts { iterations: Some(3), ..Shortcuts::default() };
    })
    .unwrap();
    assert_eq!(plan.scenarios.len(), 1);
    let only = &plan.scenarios[0];
    assert_eq!((only.name.as_str(), only.exec.as_str()), ("default", "user_stats"));
    let thresholds: Vec<_> = plan.thresholds.iter().map(|it| it.metric.as_str()).collect();
    let defaults =
        ["iteration_errors", "bus_request_failed", "bus_connect_failed", "db_query_failed"];
    assert_eq!(thresholds[0], "iterations");
    assert_eq!(thresholds[1..], defaults);
    assert_eq!(plan.notes.len(), 4, "{:?}", plan.notes);

    let plan = overridden(two_scenarios(), |it| {
        it.scenario = Some("warm".to_owned());
        it.shortcuts = Shortcuts { vus: Some(4), ..Shortcuts::default() };
    })
    .unwrap();
    let only = &plan.scenarios[0];
    assert_eq!(only.name, "warm");
    assert!(matches!(only.executor, Executor::ConstantVus { vus: 4, .. }));
    assert_eq!(plan.thresholds[0].selector.text(), "{scenario:warm}");

    let error = overridden(two_scenarios(), |it| {
        it.shortcuts.iterations = Some(1);
        it.shortcuts.rate = Some(1.0);
    })
    .unwrap_err();
    assert!(error.message.contains("`--iterations` and `--rate` exclude each other"));
}

#[test]
fn one_scenario_can_be_chosen() {
    let plan = overridden(two_scenarios(), |it| it.scenario = Some("steady".to_owned())).unwrap();
    assert_eq!(plan.scenarios.len(), 1);
    assert_eq!(plan.scenarios[0].start, Start::At(Duration::ZERO), "what it waited for is not run");
    assert_eq!(plan.notes.len(), 1);
    let error = overridden(two_scenarios(), |it| it.scenario = Some("stead".into())).unwrap_err();
    assert_eq!(error.help.as_deref(), Some("did you mean `steady`?"));
}

#[test]
fn flags_win_over_options() {
    let options = json!({ "seed": 1, "tags": { "a": "1", "b": "1" }, "teardown_timeout": "5s" });
    let plan = overridden(options, |it| {
        it.seed = Some(2);
        it.tags.insert("b".into(), "2".into());
        it.limits.insert("operation_timeout".into(), "9s".into());
        it.shards = Some(3);
    })
    .unwrap();
    assert_eq!((plan.seed, plan.shards, plan.limits.operation_timeout.as_secs()), (2, 3, 9));
    assert_eq!((plan.tags["a"].as_str(), plan.tags["b"].as_str()), ("1", "2"));
    assert_eq!(plan.teardown_timeout.as_secs(), 5);
}

#[test]
fn vus_that_are_left_open_share_what_the_limit_leaves() {
    let open = json!({ "executor": "constant-arrival-rate", "rate": 10, "duration": "1s" });
    let closed = json!({ "executor": "constant-vus", "vus": 1_000, "duration": "1s" });
    let plan = plan(json!({ "scenarios": { "a": open, "b": open, "c": closed } }));
    let vus: Vec<_> = plan.scenarios.iter().map(|it| it.executor.max_vus()).collect();
    assert_eq!(vus, [4_500, 4_500, 1_000]);
    assert_eq!(plan.shards, 4);
}

#[test]
fn declared_metrics_are_held_in_their_unit() {
    let plan = plan(json!({
        "metrics": {
            "plain": "trend",
            "lag": { "type": "trend", "unit": "ms" },
            "wait": { "type": "trend", "time": true },
            "size": { "type": "gauge", "unit": "KB" },
        },
        "derived": {
            "ratio": "2 * (iterations.count - 1) / iteration_errors.count",
            "per_event": "service_cpu_seconds.count{target:db} / bus_published.count",
        },
        "thresholds": { "lag": "p(95) < 5", "per_event": "value < 2ms" },
    }));
    let of = |name| {
        let id = plan.registry.find(name).unwrap();
        (plan.registry.get(id).unit, plan.registry.scale(id))
    };
    assert_eq!(of("plain"), (Unit::Count, 1.0));
    assert_eq!(of("lag"), (Unit::Nanoseconds, 1e6));
    assert_eq!(of("wait"), (Unit::Nanoseconds, 1e6));
    assert_eq!(of("size"), (Unit::Bytes, 1e3));
    assert_eq!(of("ratio"), (Unit::Count, 1.0));
    assert_eq!(of("per_event"), (Unit::Seconds, 1.0));
    let limits: Vec<_> =
        plan.thresholds[..2].iter().map(|it| &it.expression.0[0][0].operand).collect();
    assert_eq!(limits, [&Operand::Number(5e6), &Operand::Number(0.002)]);
    let DerivedKind::Formula(formula) = &plan.derived[0].kind else { panic!("no formula") };
    assert_eq!(formula.figures().len(), 2);
    let super::super::Formula::Binary(_, '/', _) = formula else { panic!("{formula:?}") };
}

#[test]
fn windows_and_recoveries_ask_for_seconds() {
    let mut options = two_scenarios();
    options["thresholds"]["iteration_duration{stage:up}"] =
        json!("p(95) over first 5s < 2 * bus_request_duration.mean over last 5s");
    let windowed: Vec<_> = plan(options.clone())
        .windowed()
        .into_iter()
        .map(|it| (it.metric, it.selector.text()))
        .collect();
    assert_eq!(
        windowed,
        [
            (Builtin::IterationDuration.id(), "{stage:up}".to_owned()),
            (Builtin::BusRequestDuration.id(), String::new()),
            (Builtin::IterationDuration.id(), "{scenario:steady}".to_owned()),
        ]
    );
}

#[test]
fn the_forecast_is_what_the_schedules_say() {
    let plan = plan(json!({ "scenarios": {
        "ramp": {
            "executor": "ramping-arrival-rate", "max_vus": 50, "graceful_stop": "5s",
            "stages": [
                { "duration": "10s", "target": 100 },
                { "duration": "10s", "target": 100, "name": "flat" },
            ],
        },
        "after": { "executor": "shared-iterations", "iterations": 7, "start_after": "ramp" },
    } }));
    let forecast = plan.forecast();
    let ramp = &forecast.scenarios[0];
    assert_eq!((ramp.planned, ramp.max_vus), (Some(1_500), 50));
    assert_eq!(ramp.rate, Some(crate::plan::MeanAndPeak { mean: 75.0, peak: 100.0 }));
    assert_eq!(ramp.longest_iteration, Some(Duration::from_millis(500)));
    let middle = ramp.course.iter().find(|point| point.at.as_secs() == 5).unwrap();
    assert_eq!((middle.rate, middle.stage.as_str(), middle.vus), (Some(50.0), "0", None));
    let flat = ramp.course.iter().find(|point| point.at.as_secs() == 10).unwrap();
    assert_eq!((flat.rate, flat.stage.as_str()), (Some(100.0), "flat"));
    let after = &forecast.scenarios[1];
    assert_eq!((after.planned, after.start.as_secs()), (Some(7), 25));
    assert_eq!(after.after.as_deref(), Some("ramp"));
    assert_eq!(forecast.longest.as_secs(), 25 + 600 + 30);
}

#[test]
fn what_nothing_produces_cannot_be_judged() {
    let with = |metric: &str, executor: Value| json!({ "thresholds": { metric: "p(95) < 1s" }, "scenarios": { "main": executor } });
    let closed = || json!({ "executor": "constant-vus", "duration": "5s", "exec": "user_stats" });
    let open = || {
        json!({
            "executor": "constant-arrival-rate", "duration": "5s", "rate": 5, "exec": "user_stats",
        })
    };
    for metric in
        ["iteration_response_time", "dispatch_delay", "dispatch_delay_queue{scenario:main}"]
    {
        assert_eq!(
            plan(with(metric, open())).thresholds[0].metric,
            metric.split('{').next().unwrap()
        );
        let refused = error(with(metric, closed()));
        assert!(refused.message.contains("is of arrivals"), "{metric}: {}", refused.message);
        assert!(refused.help.unwrap().contains("judge `iteration_duration`"));
        let rate = |overrides: &mut Overrides| {
            overrides.shortcuts.rate = Some(5.0);
            overrides.shortcuts.duration = Some(Duration::from_secs(5));
        };
        let opened = overridden(with(metric, closed()), rate).unwrap();
        assert!(opened.notes.is_empty(), "flags make arrivals of it: {:?}", opened.notes);
        let once = |overrides: &mut Overrides| overrides.shortcuts.iterations = Some(1);
        let shut = overridden(with(metric, open()), once).unwrap();
        assert!(shut.notes[0].contains("flags took away"), "{:?}", shut.notes);
    }
    let script = |unmeasured| {
        let options = json!({ "thresholds": { "guest_traps": "count == 0" } });
        Plan::build(PlanInput { unmeasured, ..input(options) })
    };
    script(vec![]).unwrap();
    let refused = script(vec![Builtin::GuestTraps]).unwrap_err();
    assert!(refused.message.contains("`guest_traps` is not measured"), "{}", refused.message);
}

#[test]
fn each_shard_has_a_database_connection() {
    let options = json!({ "vus": 64, "iterations": 64 });
    let with = |shards: Option<usize>| {
        let mut plan = overridden(options.clone(), |overrides| {
            overrides.shards = shards;
            overrides.limits.insert("database_connections".to_owned(), "3".to_owned());
        })
        .unwrap();
        plan.share_connections(shards).map(|()| plan.shards)
    };
    assert_eq!(with(None).unwrap(), 3, "what was left open is fewer");
    assert_eq!(with(Some(2)).unwrap(), 2);
    let refused = with(Some(5)).unwrap_err();
    assert!(refused.message.contains("5 shards are more than the 3"), "{}", refused.message);
    let help = refused.help.unwrap();
    assert!(help.contains("--limit database_connections=5, or use --shards 3"), "{help}");
}

#[test]
fn a_low_limit_on_vus_bounds_what_was_left_open_and_refuses_what_was_not() {
    let build = |options| {
        overridden(json!({ "scenarios": { "only": options } }), |it| {
            it.limits.insert("vus".into(), "10".into());
        })
    };
    let open = json!({ "executor": "constant-arrival-rate", "rate": 200, "duration": "1s" });
    let plan = build(open.clone()).unwrap();
    let Executor::ConstantArrivalRate { arrival, .. } = &plan.scenarios[0].executor else {
        panic!("another executor")
    };
    assert_eq!((arrival.pre_allocated_vus, arrival.max_vus), (10, 10));
    let mut given = open;
    given["pre_allocated_vus"] = json!(11);
    assert!(build(given).unwrap_err().message.contains("more than the limit of 10"));
}

fn any_leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        prop::sample::select(vec![
            json!(0),
            json!(-1),
            json!(1),
            json!(7),
            json!(0.5),
            json!(100),
            json!(u64::MAX),
            json!(1e300),
            json!([]),
            json!({}),
            json!([[]]),
            json!([{}]),
        ]),
        prop::sample::select(vec![
            "",
            "0s",
            "1s",
            "30s",
            "366d",
            "1h",
            "iteration",
            "shared-iterations",
            "constant-vus",
            "ramping-vus",
            "per-vu-iterations",
            "constant-arrival-rate",
            "ramping-arrival-rate",
            "poisson",
            "drop",
            "p(95) < 5",
            "rate == 0",
            "counter",
            "iterations.count / 2",
        ])
        .prop_map(|text| json!(text)),
        prop::collection::vec(
            (prop::sample::select(vec!["0s", "1s", "366d", "x"]), 0..200_u32)
                .prop_map(|(duration, target)| json!({ "duration": duration, "target": target })),
            0..4,
        )
        .prop_map(Value::Array),
    ]
}

fn any_map(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(prop::sample::select(keys), any_leaf(), 0..4)
        .prop_map(|map| json!(map))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_options_panic_and_a_plan_that_exists_can_be_forecast(
        mut options in any_map(KEYS),
        scenario in prop::option::of(any_map(&[
            "executor", "executor", "vus", "iterations", "duration", "stages", "rate", "start_rate",
            "start_vus", "time_unit", "max_vus", "pre_allocated_vus", "arrival", "on_late", "pace",
            "start_after", "start_time", "warmup", "graceful_stop", "exec", "env", "tags",
        ])),
        executor in prop::sample::select(vec![
            "shared-iterations", "per-vu-iterations", "constant-vus", "ramping-vus",
            "constant-arrival-rate", "ramping-arrival-rate",
        ]),
        quick: bool,
    ) {
        if let Some(mut scenario) = scenario {
            // What is required is there unless a random value took its place.
            let stages = json!([{ "duration": "30s", "target": 9 }, { "duration": "0s", "target": 2 }]);
            let required = match executor {
                "constant-vus" => json!({ "duration": "30s" }),
                "constant-arrival-rate" => json!({ "duration": "30s", "rate": 100 }),
                "ramping-vus" | "ramping-arrival-rate" => json!({ "stages": stages }),
                _ => json!({}),
            };
            for (key, value) in required.as_object().unwrap() {
                if scenario.get(key).is_none() {
                    scenario[key] = value.clone();
                }
            }
            scenario["executor"] = json!(executor);
            options = json!({ "scenarios": { "only": scenario } });
        }
        match overridden(options, |it| it.scale = quick.then_some(QUICK)) {
            Err(error) => prop_assert!(error.help.is_some(), "{}", error.message),
            Ok(plan) => {
                let forecast = plan.forecast();
                prop_assert_eq!(forecast.scenarios.len(), plan.scenarios.len());
                prop_assert!(plan.scenarios.iter().all(|it| it.executor.max_vus() <= 10_000));
            }
        }
    }
}

#[test]
fn only_what_was_left_open_is_lowered_to_what_the_machine_allows() {
    let mut plan = plan(json!({ "scenarios": {
        "a": { "executor": "constant-arrival-rate", "rate": 20, "duration": "1s" },
        "b": { "executor": "constant-arrival-rate", "rate": 20, "duration": "1s", "max_vus": 1_000 },
        "c": {
            "executor": "constant-arrival-rate", "rate": 20, "duration": "1s",
            "pre_allocated_vus": 40,
        },
        "d": { "executor": "constant-vus", "vus": 500, "duration": "1s" },
    } }));
    let max = |plan: &Plan| -> Vec<u32> {
        plan.scenarios.iter().map(|it| it.executor.max_vus()).collect()
    };
    assert_eq!(max(&plan), [4_240, 1_000, 4_260, 500]);
    assert!(!plan.fit(10_000, "of nothing") && plan.notes.is_empty());
    assert!(plan.fit(5_780, "the machine is small"));
    assert_eq!(max(&plan), [2_130, 1_000, 2_150, 500]);
    let note =
        "at most 5780 VUs instead of 10000, because the machine is small: `max_vus` was left open";
    assert_eq!(plan.notes, [note]);
    assert_eq!(plan.forecast().scenarios[0].max_vus, 2_130);
    assert!(plan.fit(3, "it is tiny"));
    assert_eq!(max(&plan), [20, 1_000, 40, 500], "what was asked for stays");
    assert!(!plan.fit(3, "it is tiny"));
}
