//! The identity of SEMANTICS §1 under stops at any moment.

use proptest::prelude::*;

use super::*;
use crate::plan::{RateStage, VuStage};

fn executors(kind: u8, vus: u32, rate: f64) -> Executor {
    let duration = 2 * SECOND;
    match kind {
        0 => Executor::SharedIterations { vus, iterations: 40, max_duration: duration },
        1 => Executor::PerVuIterations {
            vus,
            iterations: 9,
            max_duration: duration,
            pace: Some(ms(130)),
        },
        2 => Executor::ConstantVus { vus, duration, pace: None },
        3 => Executor::RampingVus {
            start_vus: 1,
            stages: [(800, vus), (0, 1), (700, vus), (500, 0)]
                .map(|(millis, target)| VuStage {
                    duration: ms(millis),
                    target,
                    name: target.to_string(),
                })
                .to_vec(),
            graceful_ramp_down: ms(150),
            pace: None,
        },
        4 => Executor::ConstantArrivalRate {
            rate,
            time_unit: SECOND,
            duration,
            arrival: Arrival { max_backlog: 5, ..arrival(vus.div_ceil(2), vus) },
        },
        5 => Executor::ConstantArrivalRate {
            rate,
            time_unit: SECOND,
            duration,
            arrival: Arrival {
                on_late: OnLate::Drop,
                pacing: Pacing::Poisson,
                ..arrival(vus.div_ceil(2), vus)
            },
        },
        _ => Executor::RampingArrivalRate {
            start_rate: 0.0,
            time_unit: SECOND,
            stages: vec![RateStage { duration, target: rate, name: "up".to_owned() }],
            arrival: arrival(1, vus),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_arrival_and_iteration_is_accounted_for(
        kinds in prop::collection::vec(0_u8..7, 1..3),
        vus in 1_u32..6,
        rate in 1_f64..80.0,
        taking in 0_u64..700,
        graceful in prop::sample::select(vec![0_u64, 90, 30_000]),
        timeout in prop::sample::select(vec![120_u64, 600_000]),
        stop_after in prop::option::of(0_u64..2_600),
    ) {
        let scenarios = kinds.iter().enumerate().map(|(index, kind)| Scenario {
            graceful_stop: ms(graceful),
            iteration_timeout: ms(timeout),
            start: Start::At(ms(400 * index as u64)),
            ..scenario(&format!("s{index}"), executors(*kind, vus, rate))
        });
        let plan = plan(scenarios.collect());
        let native = Native::new(move |primitives, iteration| Box::pin(async move {
            let clock = primitives.scope.clock();
            let millis = (taking * (1 + iteration.number % 3)) / 2 + 1;
            clock.sleep_until(clock.now() + ms(millis)).await;
            if iteration.number % 5 == 0 { Err(threw("every fifth")) } else { Ok(()) }
        }));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let ran = match stop_after {
                Some(after) => run_stopped(plan, &native, ms(after)).await,
                None => run_virtually(plan, &native).await,
            };
            ran.check_identity();
        });
    }
}
