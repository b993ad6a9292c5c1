//! Schedules against arithmetic, and against the definition: the integral of the rate.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::plan::{Arrival, OnLate, RateStage, VuStage};

fn arrival(pacing: Pacing) -> Arrival {
    Arrival {
        pre_allocated_vus: 1,
        max_vus: 1,
        max_vus_open: false,
        pacing,
        on_late: OnLate::Queue,
        max_backlog: 1,
        spin: false,
    }
}

fn constant(rate: f64, duration: Duration) -> Executor {
    Executor::ConstantArrivalRate {
        rate,
        time_unit: Duration::from_secs(1),
        duration,
        arrival: arrival(Pacing::Uniform),
    }
}

fn ramping(start_rate: f64, stages: &[(u64, f64)], pacing: Pacing) -> Executor {
    let stages = stages
        .iter()
        .map(|(millis, target)| RateStage {
            duration: Duration::from_millis(*millis),
            target: *target,
            name: String::new(),
        })
        .collect();
    let time_unit = Duration::from_secs(1);
    Executor::RampingArrivalRate { start_rate, time_unit, stages, arrival: arrival(pacing) }
}

fn ramping_vus(start_vus: u32, stages: &[(u64, u32)]) -> Executor {
    let stages = stages
        .iter()
        .map(|(nanos, target)| VuStage {
            duration: Duration::from_nanos(*nanos),
            target: *target,
            name: String::new(),
        })
        .collect();
    Executor::RampingVus { start_vus, stages, graceful_ramp_down: Duration::ZERO, pace: None }
}

fn all(executor: &Executor, segment: Segment) -> Vec<(u64, u64, usize)> {
    let mut schedule = ArrivalSchedule::new(executor, segment, 7).unwrap();
    std::iter::from_fn(|| schedule.next())
        .map(|(number, due, stage)| (number, due.as_nanos(), stage))
        .collect()
}

fn due(executor: &Executor) -> Vec<u64> {
    all(executor, Segment::default()).into_iter().map(|(_, due, _)| due).collect()
}

#[test]
fn a_constant_rate_is_evenly_spaced_and_exact_after_a_day() {
    let executor = constant(200.0, Duration::from_secs(10));
    let expected: Vec<_> = (0..2_000).map(|n| n * 5_000_000).collect();
    assert_eq!(due(&executor), expected);

    let executor = constant(3_000.0, Duration::from_secs(86_400));
    let schedule = ArrivalSchedule::new(&executor, Segment::default(), 0).unwrap();
    assert_eq!(schedule.planned(), 3_000 * 86_400);
    for n in [1_u64, 2, 299_999_999 / 2, 259_199_999] {
        let exact = (u128::from(n) * 1_000_000_000 * 2 / 3_000).div_ceil(2) as u64;
        assert_eq!(schedule.profile.reaches(n as f64), Some(exact), "arrival {n}");
    }
}

#[test]
fn fractional_rates_and_parts_of_a_second_count_right() {
    assert_eq!(due(&constant(0.3, Duration::from_secs(10))), [0, 3_333_333_333, 6_666_666_667]);
    assert_eq!(due(&constant(2.5, Duration::from_millis(900))), [0, 400_000_000, 800_000_000]);
    assert_eq!(due(&constant(10.0, Duration::from_millis(5))), [0]);
    let per_minute = Executor::ConstantArrivalRate {
        rate: 90.0,
        time_unit: Duration::from_secs(60),
        duration: Duration::from_secs(2),
        arrival: arrival(Pacing::Uniform),
    };
    assert_eq!(due(&per_minute), [0, 666_666_667, 1_333_333_333]);
}

#[test]
fn a_ramp_from_nothing_follows_the_square_root() {
    // 0 → 10/s in 10 s: the integral is t²/2, arrival n is due at √(2n).
    let times = due(&ramping(0.0, &[(10_000, 10.0)], Pacing::Uniform));
    assert_eq!(times.len(), 50);
    for (n, time) in times.iter().enumerate() {
        let exact = ((2 * n) as f64).sqrt() * 1e9;
        assert!((*time as f64 - exact).abs() <= 0.6, "arrival {n}: {time} ≠ {exact}");
    }
    // The mirrored ramp has the mirrored times, to the nanosecond: no digits are lost near 0.
    let falling = due(&ramping(10.0, &[(10_000, 0.0)], Pacing::Uniform));
    let mirrored: Vec<_> = times[1..].iter().rev().map(|time| 10_000_000_000 - time).collect();
    assert_eq!(falling[1..], mirrored);
    assert_eq!(falling[0], 0);
}

#[test]
fn stages_jump_pause_and_are_named_by_the_due_time() {
    // 10/s for 1 s, a pause of 5 s, a jump to 4/s for 1 s.
    let executor = ramping(
        10.0,
        &[(1_000, 10.0), (0, 0.0), (5_000, 0.0), (0, 4.0), (1_000, 4.0)],
        Pacing::Uniform,
    );
    let arrivals = all(&executor, Segment::default());
    let first = (0..10).map(|n| (n, n * 100_000_000, 0));
    let last = (0..4).map(|n| (10 + n, 6_000_000_000 + n * 250_000_000, 4));
    assert_eq!(arrivals, first.chain(last).collect::<Vec<_>>());
    let schedule = ArrivalSchedule::new(&executor, Segment::default(), 0).unwrap();
    let rate = |millis: u64| schedule.rate_at(Instant::from_nanos(millis * 1_000_000));
    assert_eq!([rate(0), rate(999), rate(3_000), rate(6_500), rate(7_000)], [10., 10., 0., 4., 0.]);
    assert_eq!(schedule.stage_at(Instant::from_nanos(u64::MAX)), 4);
}

#[test]
fn an_arrival_due_where_a_pause_begins_waits_for_its_end_whatever_the_rounding() {
    // 0.1/s for 10 s ten times over: the sums of 0.1 miss whole numbers by their rounding.
    let mut stages = vec![(10_000, 0.1); 10];
    stages.extend([(0, 0.0), (10_000, 0.0), (0, 0.1), (10_000, 0.1)]);
    let times = due(&ramping(0.1, &stages, Pacing::Uniform));
    let expected: Vec<_> =
        (0..11).map(|n| n * 10_000_000_000 + 10_000_000_000 * (n / 10)).collect();
    assert_eq!(times, expected);
}

#[test]
fn poisson_arrivals_are_one_sequence_of_the_same_rate() {
    let executor = ramping(0.0, &[(10_000, 2_000.0), (10_000, 2_000.0)], Pacing::Poisson);
    let whole = all(&executor, Segment::default());
    let mut parts: Vec<_> =
        (0..3).flat_map(|index| all(&executor, Segment { index, count: 3 })).collect();
    parts.sort_unstable();
    assert_eq!(parts, whole);
    // 30 000 expected; four standard deviations are 693.
    assert!((29_307..=30_693).contains(&whole.len()), "{}", whole.len());
    let ramp = whole.iter().filter(|(_, due, _)| *due < 10_000_000_000).count();
    assert!((9_600..=10_400).contains(&ramp), "{ramp}");
    // Gaps of the flat part: their deviation is their mean, where even spacing has none.
    let flat: Vec<_> =
        whole.iter().map(|arrival| arrival.1).filter(|due| *due >= 10_000_000_000).collect();
    let gaps: Vec<_> = flat.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    assert!((0.95..1.05).contains(&(variance.sqrt() / mean)));
    let other = ArrivalSchedule::new(&executor, Segment::default(), 8).unwrap().next().unwrap();
    assert_ne!(other.1.as_nanos(), whole[0].1);
}

#[test]
fn vus_follow_the_line_as_in_k6() {
    let second = 1_000_000_000;
    let up = ramping_vus(0, &[(10 * second, 10), (0, 4), (4 * second, 0)]);
    let schedule = VuSchedule::new(&up, Segment::default()).unwrap();
    let at = |nanos| schedule.vus_at(Instant::from_nanos(nanos));
    assert_eq!([at(0), at(second - 1), at(second), at(10 * second - 1)], [0, 0, 1, 9]);
    assert_eq!([at(10 * second), at(11 * second - 1), at(11 * second)], [4, 4, 3]);
    assert_eq!([at(14 * second - 1), at(14 * second), at(u64::MAX)], [1, 0, 0]);
    let mut changes = Vec::new();
    let mut now = Instant::ZERO;
    while let Some((at, vus)) = schedule.next_change(now) {
        changes.push((at.as_nanos() / second, vus));
        now = at;
    }
    let expected =
        (1..=9).map(|n| (n, n as u32)).chain([(10, 4), (11, 3), (12, 2), (13, 1), (14, 0)]);
    assert_eq!(changes, expected.collect::<Vec<_>>());
    assert_eq!(schedule.stage_at(Instant::from_nanos(12 * second)), 2);
}

#[test]
fn closed_executors_without_stages_are_constant() {
    let executor = Executor::ConstantVus { vus: 5, duration: Duration::from_secs(1), pace: None };
    let schedule = VuSchedule::new(&executor, Segment { index: 1, count: 3 }).unwrap();
    assert_eq!(schedule.vus_at(Instant::ZERO), 2);
    assert_eq!(schedule.next_change(Instant::ZERO), None);
    assert!(ArrivalSchedule::new(&executor, Segment::default(), 0).is_none());
    assert!(VuSchedule::new(&constant(1.0, Duration::from_secs(1)), Segment::default()).is_none());
}

prop_compose! {
    fn any_rates()(
        start in prop_oneof![Just(0.0), 0.0..50.0],
        stages in prop::collection::vec(
            (prop_oneof![Just(0), 1..4_000_u64], prop_oneof![Just(0.0), 0.0..200.0, (0..9_u8).prop_map(f64::from)]),
            1..6,
        ),
    ) -> (f64, Vec<(u64, f64)>) {
        (start, stages)
    }
}

/// The integral of the rate, by its definition, independent of the code under test.
fn integral(start: f64, stages: &[(u64, f64)], until: u64) -> f64 {
    let (mut at, mut rate, mut sum) = (0, start, 0.0);
    for (millis, target) in stages {
        let length = millis * 1_000_000;
        let inside = until.saturating_sub(at).min(length);
        if length > 0 {
            let slope = (target - rate) / length as f64;
            let inside = inside as f64;
            sum += (rate + slope * inside / 2.0) * inside / 1e9;
        }
        (at, rate) = (at + length, *target);
    }
    sum
}

proptest! {
    // Failures are kept as tests of their own, not as files.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arrivals_are_where_the_integral_of_the_rate_is_their_number(
        (start, stages) in any_rates(),
    ) {
        let executor = ramping(start, &stages, Pacing::Uniform);
        let arrivals = all(&executor, Segment::default());
        let end = stages.iter().map(|stage| stage.0 * 1_000_000).sum::<u64>();
        // What the rate can add within the two nanoseconds that rounding may take.
        let slack = 250.0 * 2e-9 + 1e-9;
        for (index, (number, due, stage)) in arrivals.iter().enumerate() {
            prop_assert_eq!(*number, index as u64);
            prop_assert!(*due < end);
            let reached = integral(start, &stages, *due);
            prop_assert!((reached - *number as f64).abs() <= slack, "{number}: {reached}");
            let ends: u64 = stages[..=*stage].iter().map(|stage| stage.0 * 1_000_000).sum();
            prop_assert!(*due < ends && *due >= ends - stages[*stage].0 * 1_000_000);
        }
        prop_assert!(arrivals.is_sorted_by_key(|arrival| arrival.1));
        let total = integral(start, &stages, end);
        let missed = total - arrivals.len() as f64;
        prop_assert!(missed <= slack && missed >= -1.0 - slack, "{} of {total}", arrivals.len());
    }

    #[test]
    fn segments_of_arrivals_sum_to_the_whole(
        (start, stages) in any_rates(), count in 1..5_u32, shards in 1..4_u32, poisson: bool,
    ) {
        let pacing = if poisson { Pacing::Poisson } else { Pacing::Uniform };
        let executor = ramping(start, &stages, pacing);
        let mut parts = Vec::new();
        for index in 0..count {
            for shard in 0..shards {
                let segment = Segment { index, count }.nested(shard, shards);
                let mine = all(&executor, segment);
                prop_assert!(mine.iter().all(|(number, ..)| segment.owns(*number)));
                let mut schedule = ArrivalSchedule::new(&executor, segment, 7).unwrap();
                prop_assert_eq!(schedule.planned(), mine.len() as u64);
                schedule.next();
                prop_assert_eq!(schedule.planned(), mine.len() as u64);
                parts.extend(mine);
            }
        }
        parts.sort_unstable();
        prop_assert_eq!(parts, all(&executor, Segment::default()));
    }

    #[test]
    fn segments_of_vus_sum_to_the_whole_at_every_instant(
        start in 0..20_u32,
        stages in prop::collection::vec((prop_oneof![Just(0_u64), 1..200_u64], 0..40_u32), 1..6),
        count in 1..5_u32,
    ) {
        let executor = ramping_vus(start, &stages);
        let whole = VuSchedule::new(&executor, Segment::default()).unwrap();
        let parts: Vec<_> = (0..count)
            .map(|index| VuSchedule::new(&executor, Segment { index, count }).unwrap())
            .collect();
        let end = stages.iter().map(|stage| stage.0).sum::<u64>();
        for at in (0..end + 2).map(Instant::from_nanos) {
            let sum: u32 = parts.iter().map(|part| part.vus_at(at)).sum();
            prop_assert_eq!(sum, whole.vus_at(at));
        }
        // The changes are all the changes, each at its first nanosecond.
        for schedule in parts.iter().chain([&whole]) {
            let mut now = Instant::ZERO;
            for at in (1..end + 2).map(Instant::from_nanos) {
                let before = Instant::from_nanos(at.as_nanos() - 1);
                if schedule.vus_at(at) != schedule.vus_at(before) {
                    prop_assert_eq!(schedule.next_change(now), Some((at, schedule.vus_at(at))));
                    now = at;
                }
            }
            prop_assert_eq!(schedule.next_change(now), None);
        }
    }
}
