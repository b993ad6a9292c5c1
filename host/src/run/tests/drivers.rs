//! Drivers against systems whose truth is known, in virtual time: so many servers with so long a service,
//! and systems that follow the Universal Scalability Law by construction.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use tokio::sync::Semaphore;

use super::*;
use crate::{
    plan::{Options, PlanInput},
    verdict::{Judgement, Scaling, Status},
};

/// A plan from options, as a script writes them.
fn build(options: Json) -> Plan {
    let Json::Object(options) = options else { panic!("options are a map") };
    let input = PlanInput {
        name: "test".to_owned(),
        options: Options(options),
        functions: vec!["iteration".to_owned()],
        cores: 1,
        ..PlanInput::default()
    };
    Plan::build(input).unwrap()
}

/// A system of so many servers, each of which takes so long.
fn servers(count: usize, service: Duration) -> Native {
    let servers = Arc::new(Semaphore::new(count));
    Native::new(move |primitives, _| {
        let servers = Arc::clone(&servers);
        Box::pin(async move {
            let _server = servers.acquire().await.unwrap();
            let clock = primitives.scope.clock();
            clock.sleep_until(clock.now() + service).await;
            Ok(())
        })
    })
}

/// A system that takes (1 + σ(N − 1) + κN(N − 1)) × 10 ms when it finds N in it, itself included.
fn lawful(sigma: f64, kappa: f64) -> Native {
    let inside = Arc::new(AtomicU32::new(0));
    Native::new(move |primitives, _| {
        let inside = Arc::clone(&inside);
        Box::pin(async move {
            let n = f64::from(inside.fetch_add(1, Ordering::Relaxed) + 1);
            let factor = 1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0);
            let clock = primitives.scope.clock();
            clock.sleep_until(clock.now() + ms(10).mul_f64(factor)).await;
            inside.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        })
    })
}

async fn judged(options: Json, native: &Native) -> (Ran, Judgement) {
    let mut ran = run_virtually(build(options), native).await;
    ran.check_identity();
    let judgement = ran.outcome.judge.finish(ran.outcome.start, &ran.outcome.facts);
    (ran, judgement)
}

async fn scaled(scenario: Json, native: &Native) -> (Scaling, Judgement) {
    let (_, mut judgement) = judged(json!({ "scenarios": { "mix": scenario } }), native).await;
    (judgement.scaling.remove(0), judgement)
}

fn near(found: f64, expected: f64, tolerance: f64) {
    let off = (found / expected - 1.0).abs();
    assert!(off <= tolerance, "{found} instead of {expected}");
}

#[tokio::test(start_paused = true)]
async fn a_system_that_scales_and_then_saturates_has_its_knee_where_it_is() {
    // Four servers of 10 ms do 400 per second and no more.
    let (_, judgement) = judged(
        json!({
            "scenarios": { "mix": {
                "executor": "constant-arrival-rate", "levels": [50, 100, 200, 300, 390, 500, 700],
                "duration": "6s", "drain": "6s", "expected": 250, "max_vus": 3_000,
            } },
            "derived": {
                "knee": { "kind": "scaling", "value": "knee" },
                "headroom": { "kind": "scaling", "scenario": "mix", "value": "headroom" },
            },
            "thresholds": { "knee": "value >= 390", "headroom": "value > 1.5" },
        }),
        &servers(4, ms(10)),
    )
    .await;
    let scaling = &judgement.scaling[0];
    assert_eq!(scaling.knee, Some(390.0), "{scaling:#?}");
    assert_eq!(scaling.class.as_deref(), Some("less than linear"));
    assert!(judgement.thresholds.iter().all(|it| it.status == Status::Pass), "{judgement:#?}");
    for level in &scaling.levels {
        near(level.throughput.unwrap(), level.asked.min(400.0), 0.01);
        if level.asked < 400.0 {
            near(level.achieved.unwrap(), 1.0, 0.01);
            // Nobody waits: in the system is what is served. (Virtual timers tick in milliseconds.)
            near(level.concurrency.unwrap(), level.asked * 0.01, 0.05);
            near(level.response_mean_ns.unwrap(), 10e6, 0.05);
        }
    }
    near(scaling.peak_throughput.unwrap().value, 400.0, 0.05);
    // A sudden wall is no contention that the law knows: it says so.
    assert!(scaling.remarks.iter().any(|it| it.contains("the law misses")), "{scaling:#?}");
    assert!(
        scaling.operation.is_none() && scaling.resource.is_none(),
        "nothing was measured of any"
    );
}

#[tokio::test(start_paused = true)]
async fn a_system_that_scales_linearly_has_no_knee_that_was_measured() {
    let vus = json!({ "executor": "constant-vus", "levels": [1, 2, 4, 8, 16], "duration": "5s" });
    let (scaling, _) = scaled(vus, &servers(1_000, ms(10))).await;
    assert_eq!(scaling.class.as_deref(), Some("linear"), "{scaling:#?}");
    assert_eq!((scaling.knee, scaling.peak_throughput), (None, None));
    near(scaling.lambda.unwrap().value, 100.0, 0.01);
    assert!(scaling.sigma.unwrap().value < 1e-3 && scaling.kappa.unwrap().value < 1e-4);
    assert!(scaling.remarks.iter().any(|it| it.contains("beyond what was measured")));
}

#[tokio::test(start_paused = true)]
async fn a_system_that_follows_the_law_is_found_with_its_coefficients() {
    let levels = json!({
        "executor": "constant-vus", "levels": [1, 2, 4, 8, 16, 32], "duration": "10s",
    });
    let (sigma, kappa) = (0.05, 0.01);
    let (scaling, _) = scaled(levels, &lawful(sigma, kappa)).await;
    assert_eq!(scaling.class.as_deref(), Some("retrograde"), "{scaling:#?}");
    near(scaling.sigma.unwrap().value, sigma, 0.3);
    near(scaling.kappa.unwrap().value, kappa, 0.15);
    near(scaling.peak_concurrency.unwrap().value, ((1.0 - sigma) / kappa).sqrt(), 0.1);
}

fn search(change: Json) -> Json {
    let mut options = json!({
        "scenarios": { "max": {
            "executor": "constant-arrival-rate", "max_vus": 5_000, "exec": "iteration",
            "search": { "from": 50, "to": 10_000, "probe": "5s", "expected": 250 },
        } },
        "derived": {
            "max_rate": { "kind": "search", "value": "max_rate" },
            "headroom": { "kind": "search", "value": "headroom" },
        },
    });
    for (key, value) in change.as_object().unwrap() {
        options[key] = value.clone();
    }
    options
}

#[tokio::test(start_paused = true)]
async fn a_search_finds_what_one_server_can_do_by_its_backlog_alone() {
    let (ran, judgement) = judged(
        search(json!({ "thresholds": { "max_rate": "value > 450", "headroom": "min > 1.8" } })),
        // 500 per second.
        &servers(1, ms(2)),
    )
    .await;
    let found = ran.outcome.facts.search.as_ref().unwrap();
    let (low, high) = (found.max_rate.unwrap(), found.failed.unwrap());
    assert!((475.0..=512.0).contains(&low) && high <= 525.0, "{low} {high} {found:#?}");
    assert!(low < high && found.confirmed && !found.runner_limited, "{found:#?}");
    assert!(found.limited_by.as_ref().unwrap().contains("backlog"), "{found:#?}");
    assert_eq!(judgement.status, Status::Pass, "{judgement:#?}");
    let failing = found.probes.iter().find(|probe| probe.asked > 600.0).unwrap();
    assert!((failing.achieved - 500.0).abs() < 5.0, "what it did beyond its limit: {failing:#?}");
    assert!(found.probes.iter().all(|probe| probe.drained_s.is_some()), "{found:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_search_names_the_threshold_that_limits_and_failing_probes_fail_no_run() {
    // Ten servers of 10 ms, whose service takes longer from 300 per second on: three in the system.
    let inside = Arc::new(AtomicU32::new(0));
    let native = Native::new(move |primitives, _| {
        let inside = Arc::clone(&inside);
        Box::pin(async move {
            let n = inside.fetch_add(1, Ordering::Relaxed) + 1;
            let clock = primitives.scope.clock();
            clock.sleep_until(clock.now() + if n > 3 { ms(40) } else { ms(10) }).await;
            inside.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        })
    });
    let thresholds = json!({
        "iteration_response_time": "p(95) < 30ms", "max_rate": "value > 200",
        "iteration_errors": "rate == 0",
    });
    let (ran, judgement) = judged(search(json!({ "thresholds": thresholds })), &native).await;
    let found = ran.outcome.facts.search.as_ref().unwrap();
    assert!((220.0..=310.0).contains(&found.max_rate.unwrap()), "{found:#?}");
    assert!(found.limited_by.as_ref().unwrap().contains("iteration_response_time"), "{found:#?}");
    assert_eq!(judgement.status, Status::Pass, "{judgement:#?}");
    let judged: Vec<_> = judgement.thresholds.iter().map(|it| it.metric.as_str()).collect();
    assert_eq!(judged, ["iteration_response_time", "iteration_errors", "max_rate"]);
}

#[tokio::test(start_paused = true)]
async fn a_search_whose_lowest_rate_fails_fails_the_run_and_gives_up_what_does_not_drain() {
    let mut options = search(json!({ "thresholds": { "max_rate": "value > 1" } }));
    options["scenarios"]["max"]["search"] = json!({ "from": 50, "to": 100, "probe": "1s" });
    options["derived"].as_object_mut().unwrap().remove("headroom");
    // Nobody ever gets an answer.
    let (ran, judgement) = judged(options, &servers(1, Duration::from_secs(500))).await;
    let found = ran.outcome.facts.search.as_ref().unwrap();
    assert_eq!((found.max_rate, found.failed, found.probes.len()), (None, Some(50.0), 2));
    assert!(found.probes[0].drained_s.is_none());
    let scenario = ran.scenario(0);
    assert_eq!((scenario.planned, scenario.completed), (100, 0));
    assert_ne!(judgement.status, Status::Pass);
}
