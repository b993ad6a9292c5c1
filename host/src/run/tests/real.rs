//! Smoke in real time over two shards. Nothing here depends on the speed of the machine.

use super::*;
use crate::{
    plan::{
        Severity, Threshold,
        threshold::{Aggregate, Assertion, Comparison, Expression, OnMissing, Operand},
    },
    verdict::Status,
};

#[tokio::test]
async fn shared_iterations_and_arrivals_run_over_two_shards() {
    let shared = Executor::SharedIterations { vus: 4, iterations: 200, max_duration: 60 * SECOND };
    let arrivals = Executor::ConstantArrivalRate {
        rate: 200.0,
        time_unit: SECOND,
        duration: SECOND,
        arrival: arrival(4, 50),
    };
    let scenarios = vec![scenario("shared", shared), scenario("arrivals", arrivals)];
    let native = Native::taking(ms(2));
    let ran = run_on(Clock::real(), plan(scenarios), &native, StopSignal::new()).await;
    ran.check_identity();
    assert_eq!((ran.scenario(0).completed, ran.scenario(1).planned), (200, 200));
    let mut vus: Vec<_> = ran.starts.iter().map(|start| start.vu).collect();
    vus.sort_unstable();
    vus.dedup();
    assert!(vus.len() >= 4, "{vus:?}");
    assert!(ran.starts.iter().all(|start| start.at >= start.due));
    assert!(ran.trend(Builtin::RunnerLoopLag, &[]).count() > 0);
    assert!(ran.outcome.facts.runner.rss_bytes > 0);
    assert!(ran.outcome.facts.runner.clock_read_ns > 0.0);
    assert_eq!(ran.outcome.facts.causes, []);
}

#[tokio::test]
async fn vus_grow_ahead_of_arrivals_on_all_shards() {
    let executor = Executor::ConstantArrivalRate {
        rate: 300.0,
        time_unit: SECOND,
        duration: 2 * SECOND,
        arrival: arrival(10, 10_000),
    };
    let native = Native::taking(ms(200));
    let plan = plan(vec![scenario("s", executor)]);
    let ran = run_on(Clock::real(), plan, &native, StopSignal::new()).await;
    ran.check_identity();
    // 60 are busy at once, by Little's law.
    let facts = ran.scenario(0);
    assert_eq!((facts.started, facts.dropped), (600, 0));
    assert!(facts.vus >= 60 && facts.vus_max > facts.vus, "{facts:?}");
    let lag = ran.trend(Builtin::RunnerLoopLag, &[]).max;
    let cold = ran.outcome.facts.runner.cold_vus;
    if lag > 10_000_000 {
        eprintln!("not judged: this machine itself held up the load by {lag} ns; {cold} cold VUs");
        return;
    }
    assert_eq!(cold, 0);
    assert!(facts.vus_max < 120, "{facts:?}");
}

#[tokio::test]
async fn one_vu_uses_one_shard_and_serves_all_arrivals_in_order() {
    let executor = Executor::ConstantArrivalRate {
        rate: 400.0,
        time_unit: SECOND,
        duration: ms(500),
        arrival: arrival(1, 1),
    };
    let native = Native::taking(Duration::ZERO);
    let plan = plan(vec![scenario("s", executor)]);
    let ran = run_on(Clock::real(), plan, &native, StopSignal::new()).await;
    ran.check_identity();
    let numbers: Vec<_> = ran.starts.iter().map(|start| start.number).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_eq!(ran.scenario(0).planned, 200);
}

#[tokio::test]
async fn a_run_of_many_vus_stops_when_told() {
    let executor = Executor::ConstantVus { vus: 1_000, duration: 3_600 * SECOND, pace: None };
    let native = Native::taking(3_600 * SECOND);
    let stop = StopSignal::new();
    let signal = stop.clone();
    let clock = Clock::real();
    tokio::spawn(async move {
        clock.sleep_until(clock.now() + ms(700)).await;
        signal.stop(super::super::StopLevel::Graceful);
    });
    let ran = run_on(clock, plan(vec![scenario("s", executor)]), &native, stop).await;
    ran.check_identity();
    assert_eq!(ran.scenario(0).started, ran.scenario(0).interrupted);
}

/// A threshold on a time of the iterations.
fn limit(metric: Builtin, aggregate: Aggregate, limit: Duration) -> Threshold {
    Threshold {
        metric: metric.name().to_owned(),
        selector: Selector::default(),
        source: String::new(),
        expression: Expression(vec![vec![Assertion {
            aggregate,
            window: None,
            comparison: Comparison::Less,
            operand: Operand::Number(limit.as_nanos() as f64),
        }]]),
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

#[tokio::test]
async fn lag_before_the_load_excuses_no_limit_that_the_load_misses() {
    let executor =
        Executor::PerVuIterations { vus: 6, iterations: 1, max_duration: 60 * SECOND, pace: None };
    let busy: Arc<Hook> = Arc::new(|_| {
        use_cpu(ms(300));
        Box::pin(async { Ok(Json::Null) })
    });
    let native = Native::taking(2 * SECOND).init(busy.clone()).teardown(busy);
    let mut plan = plan(vec![scenario("s", executor)]);
    plan.thresholds = vec![limit(Builtin::IterationDuration, Aggregate::Median, ms(1_900))];
    let mut ran = run_on(Clock::real(), plan, &native, StopSignal::new()).await;
    let p99 = |ran: &Ran, selector: &[(&str, &str)]| {
        ran.trend(Builtin::RunnerLoopLag, selector).values.value_at_quantile(0.99)
    };
    assert!(p99(&ran, &[("phase", "setup")]) > 190_000_000, "init was not heavy enough");
    assert!(ran.trend(Builtin::RunnerLoopLag, &[("phase", "teardown")]).count() > 0);
    let judgement = ran.outcome.judge.finish(ran.outcome.start, &ran.outcome.facts);
    if p99(&ran, &[]) > 190_000_000 {
        eprintln!("not judged: this machine itself held up the load");
        return;
    }
    assert_eq!(judgement.thresholds[0].status, Status::Fail, "{:?}", judgement.thresholds);
}
