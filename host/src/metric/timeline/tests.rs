//! The fold against what was put in: counts exact, percentiles within their bound, memory bounded.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::metric::{Builtin, Outcome, Recorder, RecorderConfig, Selector, Windowed};

const SECOND: u64 = 1_000_000_000;

struct Course {
    recorder: Recorder,
    timeline: Timeline,
    start: Instant,
    at: u64,
}

impl Course {
    fn new(windowed: Vec<Windowed>) -> Self {
        let config = RecorderConfig {
            registry: Arc::default(),
            names: Names::default(),
            windowed,
            max_series: 5_000,
        };
        // The load begins some time after the clock's origin, and not on a whole second.
        let start = Instant::from_nanos(7 * SECOND + SECOND / 3);
        let recorder = Recorder::new(config, 0, start);
        recorder.start_at(start);
        let mut timeline = Timeline::default();
        timeline.begin(start);
        Self { recorder, timeline, start, at: 0 }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_nanos(self.at)
    }

    /// Hands over what was measured, after so many nanoseconds.
    fn pass(&mut self, nanos: u64) {
        self.at += nanos;
        let snapshot = self.recorder.take(self.now());
        self.timeline.observe(&snapshot, self.recorder.registry(), self.recorder.names());
    }
}

fn counted(line: &Line) -> f64 {
    line.points
        .iter()
        .map(|(_, point)| match point {
            Point::Counter(sum) => *sum,
            Point::Rate(_, total) => *total as f64,
            Point::Gauge(level) => level.count as f64,
            Point::Trend(spread) => (spread.count + spread.censored) as f64,
        })
        .sum()
}

#[test]
fn each_second_has_what_was_measured_in_it() {
    let mut course = Course::new(Vec::new());
    let all = TagSet::default();
    for second in 0..10_u32 {
        let now = course.now();
        course.recorder.add(Builtin::Iterations.id(), all, now, f64::from(second));
        course.recorder.rate(Builtin::Checks.id(), all, now, second != 3);
        course.recorder.gauge(Builtin::Vus.id(), all, now, f64::from(second * 2));
        for value in 1..=100 {
            course.recorder.trend(Builtin::IterationDuration.id(), all, now, value * 1_000_000);
        }
        // Shards are never quite on time.
        course.pass(SECOND + u64::from(second % 3));
    }
    let timeline = &course.timeline;
    assert_eq!((timeline.steps(), timeline.width_s), (10, 1));
    let line = |name: &'static str| timeline.of(name).next().unwrap();
    let sums: Vec<_> = line("iterations").points.iter().map(|it| (it.0, it.1.clone())).collect();
    // A counter of nothing leaves no point.
    assert_eq!(sums.len(), 9);
    assert!(sums.iter().all(|(step, point)| *point == Point::Counter(f64::from(*step))));
    assert_eq!(line("checks").points[3].1, Point::Rate(0, 1));
    let Point::Gauge(level) = line("vus").points[4].1 else { panic!() };
    assert_eq!((level.last, level.min, level.max), (8.0, 8.0, 8.0));
    let Point::Trend(spread) = &line("iteration_duration").points[9].1 else { panic!() };
    assert_eq!((spread.count, spread.max), (100, 100_000_000));
    let p90 = spread.quantile(0.9).unwrap();
    assert!((90e6..90e6 * 1.017).contains(&p90.value) && !p90.at_least, "{p90:?}");
    assert_eq!(spread.quantile(1.0).unwrap().value, 100e6);
    assert_eq!(spread.mean(), Some(50.5e6));
}

#[test]
fn what_is_kept_by_its_intended_start_stands_there() {
    let metric = Builtin::IterationResponseTime.id();
    let mut course = Course::new(vec![Windowed { metric, selector: Selector::default() }]);
    let due = course.now();
    course.pass(5 * SECOND);
    course.recorder.trend(metric, TagSet::default(), due, 5 * SECOND);
    course.recorder.trend(metric, TagSet::default(), course.now(), 1);
    course.pass(SECOND);
    let steps: Vec<_> = course.timeline.lines[0].points.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [0, 5]);
}

#[test]
fn only_the_load_is_in_it_and_stages_are_one_line() {
    let mut course = Course::new(Vec::new());
    let names = course.recorder.names().clone();
    let metric = Builtin::BusRequestDuration.id();
    let tags = |phase, stage: &str, outcome| TagSet {
        phase,
        outcome,
        stage: names.intern(stage),
        op: names.intern("get"),
        ..TagSet::default()
    };
    for (phase, stage, outcome) in [
        (Phase::Main, "up", Outcome::Ok),
        (Phase::Main, "down", Outcome::Ok),
        (Phase::Main, "down", Outcome::Error),
        (Phase::Setup, "", Outcome::Ok),
        (Phase::Warmup, "up", Outcome::Ok),
        (Phase::Teardown, "", Outcome::Ok),
    ] {
        course.recorder.trend(metric, tags(phase, stage, outcome), course.now(), 5);
    }
    course.pass(SECOND);
    let counts: Vec<_> = course.timeline.lines.iter().map(counted).collect();
    assert_eq!(counts.iter().sum::<f64>(), 3.0);
    assert_eq!(course.timeline.lines.len(), 2, "by outcome: {:?}", course.timeline.lines);
    assert!(course.timeline.lines.iter().all(|line| !line.tags.contains_key("stage")));
}

#[test]
fn censored_samples_make_lower_bounds_only_where_they_matter() {
    let mut course = Course::new(Vec::new());
    let (metric, tags) = (Builtin::EffectDuration.id(), TagSet::default());
    (1..=95).for_each(|value| course.recorder.trend(metric, tags, course.now(), value));
    (0..5).for_each(|_| course.recorder.censored(metric, tags, course.now(), 500));
    course.pass(SECOND);
    let Point::Trend(spread) = &course.timeline.lines[0].points[0].1 else { panic!() };
    assert_eq!(spread.quantile(0.5), Some(Quantile { value: 50.0, at_least: false }));
    assert_eq!(spread.quantile(0.95), Some(Quantile { value: 95.0, at_least: false }));
    let p99 = spread.quantile(0.99).unwrap();
    assert!(p99.at_least && (500.0..508.0).contains(&p99.value), "{p99:?}");
    assert_eq!(Spread::default().quantile(0.5), None);
}

#[test]
fn a_day_takes_bounded_memory_and_loses_no_count() {
    let mut course = Course::new(Vec::new());
    let names = course.recorder.names().clone();
    let day = 24 * 3_600;
    for second in 0..day {
        for op in 0..4_u64 {
            let tags = TagSet { op: names.intern(&format!("op{op}")), ..TagSet::default() };
            let value = 1_000 + (second * 7_919 + op * 104_729) % 1_000_000;
            course.recorder.trend(Builtin::BusRequestDuration.id(), tags, course.now(), value);
        }
        course.recorder.add(Builtin::Iterations.id(), TagSet::default(), course.now(), 4.0);
        course.pass(SECOND);
    }
    let timeline = &course.timeline;
    assert!(timeline.steps() <= MOST_STEPS && timeline.width_s >= 85, "{}", timeline.width_s);
    assert_eq!(timeline.of("bus_request_duration").map(counted).sum::<f64>(), 4.0 * day as f64);
    assert_eq!(timeline.of("iterations").map(counted).sum::<f64>(), 4.0 * day as f64);
    let buckets: usize = timeline
        .lines
        .iter()
        .flat_map(|line| line.points.iter().map(|(_, point)| point.buckets()))
        .sum();
    assert!(buckets <= MOST_BUCKETS && timeline.weight.1 == buckets, "{buckets}");
    let merged = timeline.within(100);
    assert!(merged.steps() <= 100);
    assert_eq!(merged.of("iterations").map(counted).sum::<f64>(), 4.0 * day as f64);
}

#[test]
fn many_series_are_folded_and_counted() {
    let mut course = Course::new(Vec::new());
    let names = course.recorder.names().clone();
    for index in 0..2_000 {
        let tags = TagSet { op: names.intern(&format!("op{index}")), ..TagSet::default() };
        course.recorder.add(Builtin::BusRequests.id(), tags, course.now(), 1.0);
    }
    course.pass(SECOND);
    assert_eq!(course.timeline.lines.len(), MOST_LINES + 1);
    assert_eq!(course.timeline.lines.iter().map(counted).sum::<f64>(), 2_000.0);
    assert_eq!(course.timeline.folded, 2_000 - MOST_LINES as u64);
}

#[test]
fn it_is_read_back_as_it_was_written() {
    let mut course = Course::new(Vec::new());
    course.recorder.trend(Builtin::DbQueryDuration.id(), TagSet::default(), course.now(), 12_345);
    course.recorder.gauge(Builtin::Vus.id(), TagSet::default(), course.now(), 2.5);
    course.pass(SECOND);
    let text = serde_json::to_string(&course.timeline).unwrap();
    let read: Timeline = serde_json::from_str(&text).unwrap();
    assert_eq!(read.lines, course.timeline.lines);
}

proptest! {
    #[test]
    fn a_bucket_holds_its_values(value in any::<u64>()) {
        let place = bucket(value);
        prop_assert!(highest(place) >= value);
        prop_assert!(place == 0 || highest(place - 1) < value);
        // At most one in 64 above it.
        prop_assert!(highest(place) - value <= value / 64);
    }

    #[test]
    fn merged_percentiles_are_those_of_all_samples(
        values in prop::collection::vec(1_u64..10_000_000, 1..300),
        at in 0.0_f64..1.0,
    ) {
        let mut sum = Spread::default();
        for chunk in values.chunks(7) {
            let mut trend = Trend::<u32>::default();
            for value in chunk {
                trend.record(*value);
            }
            sum.merge(&Spread::of(&trend));
        }
        let mut sorted = values.clone();
        sorted.sort_unstable();
        let rank = ((at * values.len() as f64).ceil() as usize).max(1);
        let exact = sorted[rank - 1] as f64;
        let told = sum.quantile(at).unwrap().value;
        // The recorder's own histogram is exact to a thousandth.
        prop_assert!((exact..=exact * 1.018 + 1.0).contains(&told), "{told} of {exact}");
    }
}
