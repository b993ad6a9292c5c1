//! Setup, init, teardown, stops, and what each makes of a run.

use super::*;
use crate::verdict::Cause;

fn one_second() -> Plan {
    let executor = Executor::ConstantVus { vus: 2, duration: SECOND, pace: None };
    plan(vec![scenario("s", executor)])
}

/// The same beside arrivals: a hundred of them.
fn with_arrivals() -> Plan {
    let executor = Executor::ConstantArrivalRate {
        rate: 50.0,
        time_unit: SECOND,
        duration: 2 * SECOND,
        arrival: arrival(2, 2),
    };
    let mut after = scenario("after", executor.clone());
    after.start = Start::After("s".to_owned());
    let mut plan = one_second();
    plan.scenarios.extend([scenario("arrivals", executor), after]);
    plan
}

/// Nothing was started, of what the plan says of arrivals; of the closed model nothing was planned.
fn nothing_was_started(ran: &Ran) {
    ran.check_identity();
    let facts = &ran.outcome.facts.scenarios;
    let planned: Vec<_> = facts.iter().map(|it| (it.planned, it.never_started)).collect();
    assert_eq!(planned, [(0, 0), (100, 100), (100, 100)]);
    assert_eq!(facts.iter().map(|it| it.runner_short).sum::<u64>(), 0);
}

fn causes(ran: &Ran) -> Vec<Cause> {
    ran.outcome.facts.causes.iter().map(|(cause, _)| *cause).collect()
}

/// A hook that takes this long and then ends so.
fn hook(takes: Duration, result: Result<Json, GuestError>) -> Arc<Hook> {
    Arc::new(move |primitives| {
        let result = result.clone();
        Box::pin(async move {
            let clock = primitives.scope.clock();
            clock.sleep_until(clock.now() + takes).await;
            result
        })
    })
}

/// A teardown that leaves a trace.
fn counted() -> (Arc<Mutex<u32>>, Arc<Hook>) {
    let count = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&count);
    let hook: Arc<Hook> = Arc::new(move |_| {
        *counter.lock().unwrap() += 1;
        Box::pin(async { Ok(Json::Null) })
    });
    (count, hook)
}

#[tokio::test(start_paused = true)]
async fn a_run_has_its_phases_in_order_and_no_cause() {
    let (torn_down, teardown) = counted();
    let native = Native::taking(ms(100)).teardown(teardown);
    let ran = run_virtually(one_second(), &native).await;
    ran.check_identity();
    assert_eq!(causes(&ran), []);
    assert!(ran.outcome.complete);
    assert_eq!(*torn_down.lock().unwrap(), 1);
    let phases: Vec<_> = ran
        .events
        .iter()
        .filter_map(|event| if let Event::Phase(name) = event { Some(*name) } else { None })
        .collect();
    assert_eq!(phases, ["setup", "prepare", "run", "teardown", "report"]);
}

#[tokio::test(start_paused = true)]
async fn a_setup_that_fails_or_hangs_ends_the_run_without_teardown() {
    let hanging = hook(Duration::from_secs(3_600), Ok(Json::Null));
    let failing = hook(ms(10), Err(threw("no schema")));
    for (setup, cause) in [(hanging, Cause::SetupTimeout), (failing, Cause::WorkloadError)] {
        let (torn_down, teardown) = counted();
        let native = Native::taking(ms(100)).setup(setup).teardown(teardown);
        let ran = run_virtually(with_arrivals(), &native).await;
        nothing_was_started(&ran);
        assert_eq!(causes(&ran), [cause]);
        assert!(!ran.outcome.complete);
        assert_eq!((ran.starts.len(), *torn_down.lock().unwrap()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_init_that_fails_or_hangs_starts_nothing_and_tears_down() {
    let hanging = hook(Duration::from_secs(3_600), Ok(Json::Null));
    let failing = hook(ms(10), Err(threw("no user")));
    for (init, cause) in [(hanging, Cause::SetupTimeout), (failing, Cause::WorkloadError)] {
        let (torn_down, teardown) = counted();
        let native = Native::taking(ms(100)).init(init).teardown(teardown);
        let ran = run_virtually(with_arrivals(), &native).await;
        nothing_was_started(&ran);
        assert_eq!(causes(&ran), [cause]);
        assert_eq!((ran.starts.len(), *torn_down.lock().unwrap()), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_teardown_that_fails_or_hangs_is_told() {
    let hanging = hook(Duration::from_secs(3_600), Ok(Json::Null));
    let failing = hook(ms(10), Err(threw("still there")));
    for (teardown, cause) in [(hanging, Cause::TeardownTimeout), (failing, Cause::WorkloadError)] {
        let native = Native::taking(ms(100)).teardown(teardown);
        let ran = run_virtually(one_second(), &native).await;
        ran.check_identity();
        assert_eq!(causes(&ran), [cause]);
        assert!(ran.outcome.complete, "the load came to its end");
        assert_eq!(ran.starts.len(), 20);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_from_outside_interrupts_at_once_and_tears_down() {
    let (torn_down, teardown) = counted();
    let native = Native::taking(ms(400)).teardown(teardown);
    let ran = run_stopped(one_second(), &native, ms(500)).await;
    ran.check_identity();
    assert_eq!(causes(&ran), [Cause::Interrupted]);
    assert!(!ran.outcome.complete);
    assert_eq!(*torn_down.lock().unwrap(), 1);
    assert_eq!((ran.scenario(0).completed, ran.scenario(0).interrupted), (2, 2));
    assert_eq!(ran.scenario(0).duration_s, 0.5);
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_setup_runs_no_teardown() {
    let (torn_down, teardown) = counted();
    let setup = hook(SECOND, Ok(Json::Null));
    let native = Native::taking(ms(400)).setup(setup).teardown(teardown);
    let ran = run_stopped(one_second(), &native, ms(500)).await;
    assert_eq!(causes(&ran), [Cause::Interrupted]);
    assert_eq!((ran.starts.len(), *torn_down.lock().unwrap()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_run_is_a_stop_from_outside() {
    let plan = Plan { timeout: Some(ms(250)), ..one_second() };
    let ran = run_virtually(plan, &Native::taking(ms(100))).await;
    ran.check_identity();
    assert_eq!(causes(&ran), [Cause::Interrupted]);
    assert_eq!(ran.scenario(0).duration_s, 0.25);
}

#[tokio::test(start_paused = true)]
async fn a_workload_can_abort_and_mark_a_run() {
    let native = Native::new(|primitives, iteration| {
        Box::pin(async move {
            let clock = primitives.scope.clock();
            clock.sleep_until(clock.now() + ms(100)).await;
            primitives.scope.mark_failed("seen enough");
            if iteration.number == 6 {
                primitives.scope.abort("seen too much");
            }
            Ok(())
        })
    });
    let ran = run_virtually(one_second(), &native).await;
    ran.check_identity();
    assert_eq!(causes(&ran), [Cause::Aborted, Cause::MarkedFailed]);
    assert!(ran.starts.len() < 12, "{}", ran.starts.len());
}

#[tokio::test(start_paused = true)]
async fn scenarios_start_at_their_time_and_after_one_another() {
    let executor =
        Executor::PerVuIterations { vus: 1, iterations: 1, max_duration: SECOND, pace: None };
    let scenarios = vec![
        Scenario { start: Start::After("b".to_owned()), ..scenario("a", executor.clone()) },
        Scenario { start: Start::At(ms(500)), ..scenario("b", executor.clone()) },
        scenario("c", executor),
    ];
    let ran = run_virtually(plan(scenarios), &Native::taking(ms(300))).await;
    ran.check_identity();
    assert_eq!(ran.start_times(), [0, 500, 800]);
    let vus: Vec<_> = ran.starts.iter().map(|start| start.vu).collect();
    assert_eq!(vus, [3, 2, 1], "VU numbers are the run's");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_vu_is_an_internal_error_and_no_hang() {
    let native = Native::new(|primitives, iteration| {
        Box::pin(async move {
            let clock = primitives.scope.clock();
            clock.sleep_until(clock.now() + ms(100)).await;
            assert!(iteration.number != 4, "a bug");
            Ok(())
        })
    });
    let ran = run_virtually(one_second(), &native).await;
    assert_eq!(causes(&ran), [Cause::Internal]);
    let facts = ran.scenario(0);
    assert_eq!(facts.started, facts.completed + facts.interrupted, "{facts:?}");
}
