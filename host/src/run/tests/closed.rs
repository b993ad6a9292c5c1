//! The closed executors, exactly, in virtual time.

use super::*;
use crate::plan::VuStage;

fn times(numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
    numbers.into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn shared_iterations_are_taken_by_whoever_is_free_and_each_runs_once() {
    let executor = Executor::SharedIterations {
        vus: 3,
        iterations: 10,
        max_duration: Duration::from_secs(600),
    };
    let native = Native::taking(ms(100));
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    assert_eq!(ran.start_times(), [0, 0, 0, 100, 100, 100, 200, 200, 200, 300]);
    let mut numbers: Vec<_> = ran.starts.iter().map(|start| start.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, times(0..10));
    assert_eq!(ran.scenario(0).completed, 10);
    assert_eq!(ran.scenario(0).duration_s, 0.4);
    assert_eq!(ran.trend(Builtin::IterationDuration, &[]).max, 100_000_000);
}

#[tokio::test(start_paused = true)]
async fn shared_iterations_stop_starting_at_max_duration() {
    let executor = Executor::SharedIterations { vus: 2, iterations: 100, max_duration: ms(250) };
    let native = Native::taking(ms(100));
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    assert_eq!(ran.start_times(), [0, 0, 100, 100, 200, 200]);
    assert_eq!((ran.scenario(0).completed, ran.scenario(0).interrupted), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn per_vu_iterations_give_each_vu_its_own_and_keep_the_pace() {
    let executor = Executor::PerVuIterations {
        vus: 2,
        iterations: 3,
        max_duration: Duration::from_secs(600),
        pace: Some(ms(250)),
    };
    let native = Native::taking(ms(100));
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    assert_eq!(ran.start_times(), [0, 0, 250, 250, 500, 500]);
    let of_first: Vec<_> = ran.starts.iter().filter(|s| s.vu == 1).map(|s| s.number).collect();
    assert_eq!(of_first, [0, 2, 4], "numbers are scenario-wide");
    let mut draws: Vec<_> = ran.starts.iter().map(|start| start.draw).collect();
    draws.sort_unstable();
    draws.dedup();
    assert_eq!(draws.len(), 6, "each VU and iteration has random numbers of its own");
}

#[tokio::test(start_paused = true)]
async fn constant_vus_start_nothing_at_the_end_and_let_running_ones_finish() {
    let executor = Executor::ConstantVus { vus: 2, duration: SECOND, pace: None };
    let native = Native::taking(ms(300));
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    assert_eq!(ran.start_times(), [0, 0, 300, 300, 600, 600, 900, 900]);
    assert_eq!((ran.scenario(0).completed, ran.scenario(0).duration_s), (8, 1.2));
}

#[tokio::test(start_paused = true)]
async fn graceful_stop_is_the_time_that_running_iterations_have() {
    for (graceful, completed, duration) in [(0, 6, 1.0), (100, 6, 1.1), (200, 8, 1.2)] {
        let executor = Executor::ConstantVus { vus: 2, duration: SECOND, pace: None };
        let scenario = Scenario { graceful_stop: ms(graceful), ..scenario("s", executor) };
        let ran = run_virtually(plan(vec![scenario]), &Native::taking(ms(300))).await;
        ran.check_identity();
        assert_eq!((ran.scenario(0).started, ran.scenario(0).completed), (8, completed));
        assert_eq!(ran.scenario(0).duration_s, duration, "graceful_stop {graceful} ms");
        let durations = ran.trend(Builtin::IterationDuration, &[]);
        assert_eq!(durations.censored.len(), 8 - completed);
        if completed < 8 {
            let waited = durations.censored.max();
            assert!(durations.censored.equivalent(waited, (100 + graceful) * 1_000_000));
        }
    }
}

fn ramp(stages: &[(u64, u32)], graceful_ramp_down: Duration) -> Executor {
    Executor::RampingVus {
        start_vus: 0,
        stages: stages
            .iter()
            .enumerate()
            .map(|(index, (millis, target))| VuStage {
                duration: ms(*millis),
                target: *target,
                name: format!("stage{index}"),
            })
            .collect(),
        graceful_ramp_down,
        pace: None,
    }
}

#[tokio::test(start_paused = true)]
async fn ramping_vus_follow_the_line_and_tag_the_stage() {
    let executor = ramp(&[(1_000, 4), (1_000, 4), (0, 1), (1_000, 1)], Duration::from_secs(30));
    let native = Native::taking(ms(10_000));
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    // A VU starts where the line reaches its number.
    assert_eq!(ran.start_times(), [250, 500, 750, 1_000]);
    let stages: Vec<_> = ran.starts.iter().map(|start| start.stage.as_str()).collect();
    assert_eq!(stages, ["stage0", "stage0", "stage0", "stage1"]);
    assert_eq!(ran.scenario(0).completed, 4, "30 s are enough for all");
    assert_eq!(ran.trend(Builtin::IterationDuration, &[("stage", "stage1")]).values.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_vu_that_is_ramped_down_has_its_grace_and_may_come_back() {
    // 2 VUs at once, one is removed at 1 s and comes back at 2 s.
    let stages = [(0, 2), (1_000, 2), (0, 1), (1_000, 1), (0, 2), (1_000, 2)];
    for (graceful, interrupted) in [(500, 1), (1_500, 0)] {
        let native = Native::taking(ms(1_900));
        let executor = ramp(&stages, ms(graceful));
        let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
        ran.check_identity();
        assert_eq!(ran.scenario(0).interrupted, interrupted, "grace {graceful} ms");
        // Without interruption VU 2 ends at 1.9 s while it is removed and starts again at 2 s.
        assert_eq!(ran.start_times(), [0, 0, 1_900, 2_000]);
        let second: Vec<_> = ran.starts.iter().filter(|s| s.vu == 2).collect();
        assert_eq!(second.len(), 2);
    }
    // It comes back before its grace is over: nothing happens to its iteration.
    let native = Native::taking(ms(2_500));
    let executor = ramp(&stages, ms(1_200));
    let ran = run_virtually(plan(vec![scenario("s", executor)]), &native).await;
    ran.check_identity();
    assert_eq!(ran.scenario(0).interrupted, 0);
    assert_eq!(ran.start_times(), [0, 0, 2_500, 2_500]);
}

#[tokio::test(start_paused = true)]
async fn an_iteration_that_outlasts_its_timeout_is_cut_off_and_its_vu_goes_on() {
    let executor = Executor::PerVuIterations {
        vus: 2,
        iterations: 2,
        max_duration: Duration::from_secs(600),
        pace: None,
    };
    let native = Native::new(|primitives, iteration| {
        Box::pin(async move {
            let clock = primitives.scope.clock();
            let millis = if iteration.number == 0 { 5_000 } else { 100 };
            clock.sleep_until(clock.now() + ms(millis)).await;
            Ok(())
        })
    });
    let scenario = Scenario { iteration_timeout: SECOND, ..scenario("s", executor) };
    let ran = run_virtually(plan(vec![scenario]), &native).await;
    ran.check_identity();
    assert_eq!(ran.start_times(), [0, 0, 100, 1_000]);
    assert_eq!((ran.scenario(0).interrupted, ran.scenario(0).errors), (1, 1));
    let error = &ran.outcome.facts.errors[0];
    assert_eq!((error.kind.as_str(), error.count), ("iteration_timeout", 1));
}
