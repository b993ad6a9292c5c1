//! The arrival-rate executors, exactly, in virtual time; and the arithmetic of waiting.

use super::*;
use crate::plan::RateStage;

fn constant(rate: f64, duration: Duration, arrival: Arrival) -> Executor {
    Executor::ConstantArrivalRate { rate, time_unit: SECOND, duration, arrival }
}

fn near(trend: &Trend<u64>, quantile: f64, expected_ms: f64, tolerance_ms: f64) {
    let value = trend.values.value_at_quantile(quantile) as f64 / 1e6;
    assert!((value - expected_ms).abs() <= tolerance_ms, "p{quantile} {value} ms");
}

#[tokio::test(start_paused = true)]
async fn arrivals_start_when_they_are_due_whatever_the_system_does() {
    let executor = constant(10.0, SECOND, arrival(5, 5));
    let native = Native::taking(ms(350));
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    assert_eq!(ran.start_times(), [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    let numbers: Vec<_> = ran.starts.iter().map(|start| start.number).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(ran.scenario(0).planned, 10);
    for metric in [
        Builtin::DispatchDelay,
        Builtin::DispatchRelease,
        Builtin::DispatchQueue,
        Builtin::DispatchStart,
    ] {
        assert_eq!((ran.trend(metric, &[]).count(), ran.trend(metric, &[]).max), (10, 0));
    }
    assert_eq!(ran.trend(Builtin::IterationResponseTime, &[]).max, 350_000_000);
    assert_eq!(ran.scenario(0).asked_rate, Some(10.0));
}

#[tokio::test(start_paused = true)]
async fn ramping_arrivals_follow_the_integral_and_tag_the_stage() {
    let stage = |millis, target, name: &str| RateStage {
        duration: ms(millis),
        target,
        name: name.to_owned(),
    };
    let executor = Executor::RampingArrivalRate {
        start_rate: 10.0,
        time_unit: SECOND,
        stages: vec![stage(500, 10.0, "low"), stage(0, 20.0, "jump"), stage(500, 20.0, "high")],
        arrival: arrival(2, 2),
    };
    let native = Native::taking(Duration::ZERO);
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    let expected = [0, 100, 200, 300, 400, 500, 550, 600, 650, 700, 750, 800, 850, 900, 950];
    assert_eq!(ran.start_times(), expected);
    assert_eq!(ran.starts.iter().filter(|start| start.stage == "low").count(), 5);
    assert_eq!(ran.starts.iter().filter(|start| start.stage == "high").count(), 10);
}

#[tokio::test(start_paused = true)]
async fn the_backlog_of_one_server_is_arithmetic() {
    // 10/s for 1 s at one VU that takes 300 ms: start n at 300·n ms, until the time is up.
    let executor = constant(10.0, SECOND, arrival(1, 1));
    let native = Native::taking(ms(300));
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    assert_eq!(ran.start_times(), [0, 300, 600, 900]);
    let facts = ran.scenario(0);
    assert_eq!((facts.started, facts.never_started, facts.runner_short), (4, 6, 0));
    let queue = ran.trend(Builtin::DispatchQueue, &[]);
    assert_eq!((queue.max, queue.sum), (600_000_000, 1_200e6), "0 + 200 + 400 + 600 ms");
    let response = ran.trend(Builtin::IterationResponseTime, &[]);
    assert_eq!((response.values.len(), response.censored.len()), (4, 6));
    assert_eq!(response.max, 900_000_000);
    // Arrivals 4 to 9 were due at 400 to 900 ms and had waited for 600 to 100 ms at the end.
    assert!(response.censored.equivalent(response.censored.max(), 600_000_000));
    assert!(response.censored.equivalent(response.censored.min(), 100_000_000));
}

#[tokio::test(start_paused = true)]
async fn late_arrivals_are_dropped_as_in_k6_when_asked_and_beyond_the_backlog() {
    for (on_late, max_backlog, started, dropped, never) in
        [(OnLate::Drop, 100, 4, 6, 0), (OnLate::Queue, 2, 4, 4, 2)]
    {
        let arrival = Arrival { on_late, max_backlog, ..arrival(1, 1) };
        let executor = constant(10.0, SECOND, arrival);
        let native = Native::taking(ms(290));
        let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
        ran.check_identity();
        let facts = ran.scenario(0);
        assert_eq!(
            (facts.started, facts.dropped, facts.never_started),
            (started, dropped, never),
            "{on_late:?}"
        );
        let response = ran.trend(Builtin::IterationResponseTime, &[]);
        assert_eq!(response.censored.len(), dropped + never);
    }
}

/// `init` takes this long.
fn slow_init(init: Duration) -> Arc<Hook> {
    Arc::new(move |primitives| {
        Box::pin(async move {
            let clock = primitives.scope.clock();
            clock.sleep_until(clock.now() + init).await;
            Ok(Json::Null)
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_vu_made_inside_an_arrival_is_the_runners_part() {
    // At 100/s one VU is there; each that is made after it takes 25 ms, more than two arrivals.
    let executor = constant(100.0, SECOND, arrival(1, 4));
    let native = Native::taking(ms(400)).init(slow_init(ms(25)));
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    // Asked for with the first, the second and the third arrival; the fourth finds none to come.
    assert_eq!(ran.start_times()[..5], [0, 25, 35, 45, 400]);
    assert_eq!(ran.outcome.facts.runner.cold_vus, 3);
    assert_eq!(ran.trend(Builtin::DispatchStart, &[]).sum, 3.0 * 15e6);
    assert_eq!((ran.scenario(0).vus, ran.scenario(0).vus_max), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn vus_are_made_ahead_of_arrivals() {
    // Little's law: 200/s, 500 ms each, keep 100 busy; making one takes longer than five arrivals.
    let executor = constant(200.0, 5 * SECOND, arrival(20, 10_000));
    let native = Native::taking(ms(500)).init(slow_init(ms(27)));
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    assert_eq!(ran.outcome.facts.runner.cold_vus, 0);
    assert_eq!(ran.trend(Builtin::DispatchDelay, &[]).max, 0);
    let facts = ran.scenario(0);
    assert_eq!((facts.started, facts.vus), (1_000, 100));
    assert_eq!(facts.vus_max, 100 + 10 + 6, "and a margin, and those that arrive meanwhile");
}

#[tokio::test(start_paused = true)]
async fn littles_law_asks_for_the_highest_rate_from_the_first_second() {
    // 20/s of 100 ms keep 2 busy; 500/s would keep 50, but they come for 50 ms only, which is 25.
    let stage = |millis, target, name: &str| RateStage {
        duration: ms(millis),
        target,
        name: name.to_owned(),
    };
    let executor = Executor::RampingArrivalRate {
        start_rate: 20.0,
        time_unit: SECOND,
        stages: vec![stage(3_000, 20.0, "low"), stage(0, 500.0, "jump"), stage(50, 500.0, "high")],
        arrival: arrival(4, 10_000),
    };
    let native = Native::taking(ms(100)).init(slow_init(ms(5)));
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    assert_eq!(ran.outcome.facts.runner.cold_vus, 0);
    assert_eq!(ran.trend(Builtin::DispatchDelay, &[]).max, 0);
    // A margin of a standard deviation of 50, and what arrives while one is made.
    assert_eq!(ran.scenario(0).vus_max, 50 + 8 + 3);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_system_shows_its_freeze_with_many_vus_and_with_few() {
    // Frozen from 4 s to 5 s of 10 s at 500/s: P(response > x) = (1 s − x) / 10 s.
    for max_vus in [10_000, 50] {
        let native = Native::new(|primitives, _| {
            Box::pin(async move {
                let clock = primitives.scope.clock();
                let now = clock.now();
                let (from, to) = (Instant::ZERO + 4 * SECOND, Instant::ZERO + 5 * SECOND);
                let answered = if now >= from && now < to { to } else { now };
                clock.sleep_until(answered + ms(1)).await;
                Ok(())
            })
        });
        let executor = constant(500.0, 10 * SECOND, arrival(50, max_vus));
        let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
        ran.check_identity();
        assert_eq!((ran.scenario(0).planned, ran.scenario(0).completed), (5_000, 5_000));
        let response = ran.trend(Builtin::IterationResponseTime, &[]);
        near(&response, 0.95, 500.0, 20.0);
        near(&response, 0.99, 900.0, 20.0);
        near(&response, 0.999, 990.0, 20.0);
        near(&response, 0.5, 1.0, 0.1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_warm_up_is_kept_apart() {
    let executor = constant(10.0, SECOND, arrival(2, 2));
    let scenario = Scenario { warmup: ms(300), ..scenario("s", executor) };
    let ran = run_virtually(plan(vec![scenario]), &Native::taking(ms(10))).await;
    assert_eq!(ran.trend(Builtin::IterationDuration, &[]).values.len(), 7);
    let warm = ran.trend(Builtin::IterationDuration, &[("phase", "warmup")]);
    assert_eq!(warm.values.len(), 3);
    assert_eq!(ran.scenario(0).completed, 10);
}

#[tokio::test(start_paused = true)]
async fn what_fails_does_not_improve_any_percentile() {
    let executor = constant(100.0, SECOND, arrival(20, 20));
    let native = Native::new(|primitives, iteration| {
        Box::pin(async move {
            if iteration.number % 2 == 0 {
                return Err(threw("fails fast"));
            }
            let clock = primitives.scope.clock();
            clock.sleep_until(clock.now() + ms(100)).await;
            Ok(())
        })
    });
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    assert_eq!(ran.trend(Builtin::IterationDuration, &[]).min, 100_000_000);
    let failed = ran.trend(Builtin::IterationDuration, &[("outcome", "error")]);
    assert_eq!(failed.values.len(), 50);
    assert_eq!((ran.scenario(0).errors, ran.scenario(0).completed), (50, 100));
    assert_eq!(ran.outcome.facts.errors[0].count, 50);
}

#[tokio::test(start_paused = true)]
async fn random_numbers_belong_to_the_iteration() {
    let draws = async |vus| {
        let executor = constant(10.0, SECOND, arrival(vus, vus));
        let ran =
            run_virtually(plan(vec![scenario("s", executor)]), &Native::taking(ms(200))).await;
        let mut draws: Vec<_> = ran.starts.iter().map(|s| (s.number, s.draw)).collect();
        draws.sort_unstable();
        draws
    };
    let (few, many) = (draws(3).await, draws(9).await);
    assert_eq!(few.len(), 10);
    assert_eq!(few, many);
}

#[tokio::test(start_paused = true)]
async fn progress_shows_what_users_wait_and_what_was_cut_off_as_at_least() {
    // Every hundredth iteration takes 400 ms and holds up those behind it, for 391 ms, 382 ms, …
    let native = Native::new(|primitives, iteration| {
        Box::pin(async move {
            let clock = primitives.scope.clock();
            let takes = if iteration.number % 100 == 0 { ms(400) } else { ms(1) };
            clock.sleep_until(clock.now() + takes).await;
            Ok(())
        })
    });
    let executor = |duration| Executor::ConstantArrivalRate {
        rate: 100.0,
        time_unit: SECOND,
        duration,
        arrival: arrival(1, 1),
    };
    let shown = |ran: &Ran| -> Vec<(Duration, bool)> {
        let progress = ran.events.iter().filter_map(|event| match event {
            Event::Progress(progress) => Some((progress.p95?, progress.p95_at_least)),
            _ => None,
        });
        progress.collect()
    };
    let ran = run_virtually(plan(vec![scenario("s", executor(5 * SECOND))]), &native).await;
    // Six of a hundred waited longer than 350 ms; their durations, beside which those of the others are
    // nothing, must not be taken for it.
    let whole = shown(&ran);
    assert!(whole.iter().any(|(p95, _)| (ms(345)..ms(365)).contains(p95)), "{whole:?}");
    assert!(whole.iter().all(|(_, at_least)| !at_least), "{whole:?}");
    let stuck = Native::taking(3_600 * SECOND);
    let mut cut = scenario("s", executor(SECOND));
    cut.graceful_stop = SECOND / 2;
    let ran = run_virtually(plan(vec![cut]), &stuck).await;
    let cut = shown(&ran);
    assert!(!cut.is_empty() && cut.iter().all(|(_, at_least)| *at_least), "{cut:?}");
}

#[tokio::test(start_paused = true)]
async fn folded_series_are_told() {
    let executor = Executor::ConstantVus { vus: 1, duration: SECOND, pace: None };
    let named = Native::new(|primitives, iteration| {
        Box::pin(async move {
            let clock = primitives.scope.clock();
            clock.sleep_until(clock.now() + ms(10)).await;
            primitives.scope.check(&format!("check {}", iteration.number), true).unwrap();
            Ok(())
        })
    });
    let mut plan = plan(vec![scenario("s", executor)]);
    let remarks = |ran: &Ran| ran.outcome.facts.remarks.join("\n");
    let ran = run_virtually(plan.clone(), &named).await;
    assert!(!remarks(&ran).contains("series"), "{}", remarks(&ran));
    plan.limits.series = 50;
    let ran = run_virtually(plan, &named).await;
    assert!(remarks(&ran).contains("samples were of series beyond the limit of 50"));
}
