//! Whose fault it was: SEMANTICS §5, one test for each of its sentences.

use super::*;

const RESPONSE: Builtin = Builtin::IterationResponseTime;

/// A run of an open scenario, `open`, beside a closed one, whose requests took `took` ms.
fn run(threshold: Threshold, took: u64) -> Run {
    let mut plan = plan(vec![threshold]);
    plan.scenarios = vec![scenario("open", true), scenario("closed", false)];
    let run = Run::of(plan);
    for name in ["scenario:open", "scenario:closed"] {
        run.times(RESPONSE, name, Duration::ZERO, [took; 60]);
        run.times(REQUESTS, name, Duration::ZERO, [took; 60]);
    }
    run
}

fn response(selector: &str, limit_ms: u64) -> Threshold {
    let metric = format!("iteration_response_time{selector}");
    limit(&metric, P95, Comparison::Less, (limit_ms * MS) as f64)
}

#[test]
fn lag_makes_a_missed_time_limit_invalid_and_leaves_a_kept_one() {
    let judged = |part: Builtin, lag: u64, limit: u64| {
        let run = run(response("", limit), 100);
        run.times(part, "", Duration::ZERO, [lag; 100]);
        run.finish()
    };
    for part in [Builtin::RunnerLoopLag, Builtin::DispatchRelease, Builtin::DispatchStart] {
        let spoilt = judged(part, 6, 50);
        assert_eq!((spoilt.status, spoilt.exit_code(false)), (Status::Invalid, 111));
        let reason = spoilt.thresholds[0].reason.clone().unwrap();
        assert!(reason.contains("the runner itself was late"), "{reason}");
        assert_eq!(judged(part, 4, 50).status, Status::Fail, "not above a tenth of the limit");
        assert_eq!(judged(part, 60, 200).status, Status::Pass, "lag only inflates times");
    }
    assert_eq!(judged(Builtin::DispatchQueue, 60, 50).status, Status::Fail, "the system's part");
}

#[test]
fn lag_spoils_a_lower_limit_the_other_way_round() {
    let judged = |limit_ms: u64| {
        let minimum = limit(
            "iteration_response_time",
            Aggregate::Min,
            Comparison::Greater,
            (limit_ms * MS) as f64,
        );
        let run = run(minimum, 100);
        run.times(Builtin::RunnerLoopLag, "", Duration::ZERO, [90; 100]);
        run.only().status
    };
    assert_eq!(judged(99), Status::Invalid);
    assert_eq!(judged(101), Status::Fail);
}

#[test]
fn lag_counts_in_the_window_and_the_scenario_that_are_judged() {
    let judged = |window, lag_at: u64| {
        let mut threshold = response("", 50);
        threshold.expression.0[0][0].window = window;
        let run = run(threshold, 100);
        let lag_at = Duration::from_secs(lag_at);
        run.times(Builtin::RunnerLoopLag, "", lag_at, [30; 100]);
        run.times(Builtin::RunnerLoopLag, "", Duration::ZERO, [1; 10]);
        run.only().status
    };
    let first = Some(Window::First(Duration::from_secs(5)));
    assert_eq!(judged(None, 20), Status::Invalid);
    assert_eq!(judged(first, 20), Status::Fail, "the runner was late only later");
    assert_eq!(judged(first, 2), Status::Invalid);
    let elsewhere = run(response("{scenario:closed}", 50), 100);
    elsewhere.times(Builtin::DispatchRelease, "scenario:open", Duration::ZERO, [30; 100]);
    assert_eq!(elsewhere.only().status, Status::Fail, "another scenario's releases were late");
}

#[test]
fn a_short_schedule_makes_time_limits_invalid_both_ways() {
    let judged = |selector: &str, limit: u64, short: u64| {
        let mut run = run(response(selector, limit), 100);
        run.facts.scenarios[0].runner_short = short;
        run.only().status
    };
    assert_eq!(judged("", 200, 11), Status::Invalid);
    assert_eq!(judged("", 50, 11), Status::Invalid);
    assert_eq!(judged("", 200, 10), Status::Pass, "one in a hundred is not more than 1 %");
    assert_eq!(judged("{scenario:closed}", 200, 11), Status::Pass);
    assert_eq!(judged("{scenario:open}", 200, 11), Status::Invalid);
}

#[test]
fn a_short_schedule_spoils_every_time_but_what_measures_itself() {
    use Builtin::{
        DbWaitDuration, DispatchDelay, DispatchQueue, DispatchRelease, DispatchStart, EffectError,
        GuestCpuTime, RunnerLoopLag, ServiceHandleDuration,
    };
    let judged = |metric: Builtin, short: u64| {
        let threshold = limit(metric.name(), P95, Comparison::Less, 200e6);
        let mut run = run(threshold, 1);
        run.times(metric, "scenario:open", Duration::ZERO, [100; 60]);
        run.facts.scenarios[0].runner_short = short;
        run.only().status
    };
    for spoilt in [DispatchDelay, DispatchQueue, EffectError, DbWaitDuration] {
        assert_eq!(judged(spoilt, 10), Status::Pass, "{spoilt:?}");
        assert_eq!(judged(spoilt, 11), Status::Invalid, "{spoilt:?}");
    }
    for own in [ServiceHandleDuration, GuestCpuTime, RunnerLoopLag, DispatchRelease, DispatchStart]
    {
        assert_eq!(judged(own, 500), Status::Pass, "{own:?}");
    }
}

#[test]
fn a_capacity_row_reports_a_limited_generator_and_is_judged() {
    let mut plan = plan(vec![response("", 200), response("", 50)]);
    plan.scenarios = vec![scenario("open", true)];
    plan.scenarios[0].generator_limited = GeneratorLimited::Report;
    let mut run = Run::of(plan);
    run.times(RESPONSE, "scenario:open", Duration::ZERO, [100; 60]);
    run.facts.scenarios[0].runner_short = 500;
    let judgement = run.finish();
    let statuses: Vec<_> = judgement.thresholds.iter().map(|result| result.status).collect();
    assert_eq!(statuses, [Status::Pass, Status::Fail]);
    let reason = judgement.thresholds[0].reason.clone().unwrap();
    assert!(reason.contains("500 of 1000 arrivals of `open`"), "{reason}");
}

#[test]
fn a_missed_minimum_of_throughput_is_invalid_where_the_runner_was_the_limit() {
    let judged = |limit_per_second: f64, cpu: f64, short: u64| {
        let rate = limit("iterations", Aggregate::Rate, Comparison::AtLeast, limit_per_second);
        let mut run = run(rate, 1);
        run.recorder.add(Builtin::Iterations.id(), TagSet::default(), START, 600.0);
        run.facts.runner.cpu_percent = cpu;
        run.facts.scenarios[0].runner_short = short;
        run.only().status
    };
    assert_eq!(judged(20.0, 100.0, 0), Status::Fail);
    assert_eq!(judged(20.0, 180.0, 0), Status::Invalid, "90 % of two cores");
    assert_eq!(judged(20.0, 100.0, 50), Status::Invalid);
    assert_eq!(judged(10.0, 200.0, 50), Status::Pass, "reached is reached");
}

#[test]
fn a_service_time_is_blind_to_the_wait_for_a_vu() {
    let judged = |metric: &str, limit_ms: u64, waited: u64| {
        let threshold = limit(metric, P95, Comparison::Less, (limit_ms * MS) as f64);
        let run = run(threshold, 10);
        run.times(Builtin::DispatchDelay, "scenario:open", Duration::ZERO, [waited; 100]);
        run.only()
    };
    let blind = judged("bus_request_duration", 50, 500);
    assert_eq!(blind.status, Status::Insufficient);
    assert!(blind.reason.unwrap().contains("judge iteration_response_time"));
    assert_eq!(judged("bus_request_duration", 50, 4).status, Status::Pass);
    assert_eq!(judged("iteration_response_time", 50, 500).status, Status::Pass);
    let closed = judged("bus_request_duration{scenario:closed}", 50, 500);
    assert_eq!(closed.status, Status::Pass, "a closed model does not wait");
}

#[test]
fn a_service_s_own_times_and_figures_that_are_no_times_are_not_the_runner_s() {
    let handled = limit("service_handle_duration", P95, Comparison::Less, 10e6);
    let own = run(handled, 1);
    own.times(Builtin::ServiceHandleDuration, "", Duration::ZERO, [100; 60]);
    own.times(Builtin::RunnerLoopLag, "", Duration::ZERO, [100; 100]);
    assert_eq!(own.only().status, Status::Fail);
    let failed = limit("bus_request_failed", Aggregate::Rate, Comparison::Equal, 0.0);
    let share = run(failed, 1);
    share.recorder.rate(Builtin::BusRequestFailed.id(), TagSet::default(), START, true);
    share.times(Builtin::RunnerLoopLag, "", Duration::ZERO, [100; 100]);
    assert_eq!(share.only().status, Status::Fail);
}

#[test]
fn invalid_outranks_failed_and_both_are_told() {
    let mut plan = plan(vec![
        response("", 50),
        limit("bus_request_failed", Aggregate::Rate, Comparison::Equal, 0.0),
    ]);
    plan.scenarios = vec![scenario("open", true)];
    let run = Run::of(plan);
    run.times(RESPONSE, "scenario:open", Duration::ZERO, [100; 60]);
    run.times(Builtin::RunnerLoopLag, "", Duration::ZERO, [30; 100]);
    run.recorder.rate(Builtin::BusRequestFailed.id(), TagSet::default(), START, true);
    let judgement = run.finish();
    assert_eq!(judgement.status, Status::Invalid);
    assert_eq!(judgement.causes, [Cause::Invalid, Cause::ThresholdsFailed]);
    assert_eq!(judgement.exit_code(false), 111);
}
