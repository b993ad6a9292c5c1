//! How well a run knows its own main figures: what its own steps say of that ([`within_run`]).
//!
//! Said of one run alone. Another run of the same differs by more, and that is not in here: runs are set
//! against each other by `wavetank compare`. A run whose seconds are too few, or too much alike with their
//! neighbours (a ramp, a stage), says nothing.

use super::{
    course::sum,
    first::TIMES,
    quantity::digits,
    story::{Chapter, Story},
};
use crate::{
    metric::{Kind, Line, Point, Spread, Timeline, Unit},
    plan::threshold::Aggregate,
    verdict::comparison::within_run,
};

/// Steps that are drawn from, at the most.
const STEPS: u32 = 240;
/// A bucket of a timeline, as a part of its value: no percentile of it is known better.
const BUCKET: f64 = 0.016;
/// Times of a workload that is run alone; of a suite each has one.
const MOST: usize = 2;

/// A sentence for each chapter, where there is something to say.
pub fn within(story: &Story) -> Vec<Option<String>> {
    let most = if story.chapters.len() > 1 { 1 } else { MOST };
    let seed = story.summary.run.seed;
    story.chapters.iter().map(|chapter| sentence(chapter, most, seed)).collect()
}

fn sentence(chapter: &Chapter, most: usize, seed: u64) -> Option<String> {
    let timeline = chapter.chronicle.timeline.within(STEPS);
    let rate = rate(&timeline, chapter.chronicle.duration_s, seed);
    let mut figures: Vec<_> =
        rate.into_iter().map(|half| format!("iterations per second {half}")).collect();
    let measured = TIMES.iter().filter(|name| timeline.of(name).any(is_time));
    for name in measured.take(most) {
        for percent in [50.0, 99.0] {
            let half = percentile(&timeline, name, percent, seed);
            figures.extend(half.map(|half| format!("p{percent} of {name} {half}")));
        }
    }
    (!figures.is_empty()).then(|| {
        format!(
            "Within the run (95 %, from its own seconds): {}. How much another run would differ is not in this.",
            figures.join(", ")
        )
    })
}

/// Of a system's operations that succeeded.
fn is_time(line: &Line) -> bool {
    line.kind == Kind::Trend && line.tags.get("outcome").is_none_or(|it| it != "error")
}

/// Completed iterations per second, of the steps that are whole; one without any has none.
fn rate(timeline: &Timeline, end_s: f64, seed: u64) -> Option<String> {
    let width = f64::from(timeline.width_s);
    let mut steps = vec![Point::Counter(0.0); (end_s / width).floor() as usize];
    for (step, point, _) in sum(timeline.of("iterations")) {
        if let (Some(into), Point::Counter(sum)) = (steps.get_mut(step as usize), point) {
            *into = Point::Counter(sum / width);
        }
    }
    let counted = |point: &Point| if let Point::Counter(sum) = point { *sum } else { 0.0 };
    let mean = steps.iter().map(counted).sum::<f64>() / steps.len().max(1) as f64;
    let interval = within_run(&steps, Aggregate::Rate, Unit::Count, seed)?;
    Some(format!("± {} %", digits(half(mean, interval)? * 100.0)))
}

fn percentile(timeline: &Timeline, name: &str, percent: f64, seed: u64) -> Option<String> {
    let steps = sum(timeline.of(name).filter(|line| is_time(line)));
    let unit = timeline.of(name).next()?.unit;
    let mut all = Spread::default();
    for (_, point, _) in &steps {
        if let Point::Trend(spread) = point {
            all.merge(spread);
        }
    }
    let middle = all.quantile(percent / 100.0).filter(|it| !it.at_least)?;
    let steps: Vec<Point> = steps.into_iter().map(|(_, point, _)| point).collect();
    let interval = within_run(&steps, Aggregate::Percentile(percent), unit, seed)?;
    let half = half(middle.value * unit.step(), interval)?;
    let words = |part: f64| format!("{} %", digits(part * 100.0));
    Some(if half < BUCKET {
        format!("less than ± {}", words(BUCKET))
    } else {
        format!("± {}", words(half))
    })
}

/// The longer side of an interval, as a part of what is in it.
fn half(middle: f64, [low, high]: [f64; 2]) -> Option<f64> {
    let half = (middle - low).max(high - middle).max(0.0);
    (middle > 0.0).then(|| half / middle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Chronicle;

    fn line(metric: &str, kind: Kind, point: impl Fn(u32) -> Point, steps: u32) -> Line {
        Line {
            metric: metric.to_owned(),
            kind,
            unit: if kind == Kind::Trend { Unit::Nanoseconds } else { Unit::Count },
            tags: [("outcome".to_owned(), "ok".to_owned())].into(),
            points: (0..steps).map(|step| (step, point(step))).collect(),
        }
    }

    /// So many seconds; in each ten samples, of 10 to 19 ns in one and of 30 to 39 in the next.
    fn chapter(steps: u32) -> Chapter {
        let spread = |step: u32| {
            let base = if step.is_multiple_of(2) { 10 } else { 30 };
            let buckets: Vec<(u16, u64)> = (base..base + 10).map(|value| (value, 1)).collect();
            let sum = buckets.iter().map(|(value, _)| f64::from(*value)).sum();
            Point::Trend(Spread {
                count: 10,
                sum,
                max: u64::from(base) + 9,
                buckets,
                ..Spread::default()
            })
        };
        let mut timeline = Timeline::default();
        timeline.lines = vec![
            line(
                "iterations",
                Kind::Counter,
                |step| Point::Counter(f64::from(90 + step % 2 * 20)),
                steps,
            ),
            line("bus_request_duration", Kind::Trend, spread, steps),
        ];
        let chronicle =
            Chronicle { timeline, duration_s: f64::from(steps) + 0.3, ..Chronicle::default() };
        Chapter { chronicle, ..Chapter::default() }
    }

    #[test]
    fn a_steady_run_knows_its_figures_and_a_short_one_says_nothing() {
        let words = sentence(&chapter(120), MOST, 1).unwrap();
        assert!(
            words.starts_with(
                "Within the run (95 %, from its own seconds): iterations per second ± "
            ),
            "{words}"
        );
        assert!(words.contains("p99 of bus_request_duration "), "{words}");
        assert!(words.ends_with("How much another run would differ is not in this."), "{words}");
        assert_eq!(sentence(&chapter(20), MOST, 1), None);
        assert_eq!(sentence(&Chapter::default(), MOST, 1), None);
    }

    #[test]
    fn the_rate_is_known_as_a_textbook_has_it() {
        // 90 and 110 in turn: each second is 10 from the mean, the mean of 120 of them ± 1.96 × 10 / √120.
        let words = rate(&chapter(120).chronicle.timeline, 120.3, 1).unwrap();
        let percent: f64 =
            words.trim_start_matches("± ").trim_end_matches(" %").parse().expect("a number");
        let textbook = 1.96 * 10.0 / 120.0_f64.sqrt();
        assert!((0.7..1.4).contains(&(percent / textbook)), "{words} {textbook}");
    }

    #[test]
    fn what_is_narrower_than_a_bucket_is_not_said_to_be_known() {
        let mut one = chapter(120);
        let same =
            Spread { count: 10, sum: 100.0, max: 10, buckets: vec![(10, 10)], ..Spread::default() };
        one.chronicle.timeline.lines[1].points =
            (0..120).map(|step| (step, Point::Trend(same.clone()))).collect();
        let words = percentile(&one.chronicle.timeline, "bus_request_duration", 50.0, 1);
        assert_eq!(words.as_deref(), Some("less than ± 1.60 %"));
        let cut = Spread {
            count: 1,
            censored: 9,
            sum: 10.0,
            max: 10,
            buckets: vec![(10, 1)],
            cut: vec![(10, 9)],
        };
        one.chronicle.timeline.lines[1].points =
            (0..120).map(|step| (step, Point::Trend(cut.clone()))).collect();
        let words = percentile(&one.chronicle.timeline, "bus_request_duration", 50.0, 1);
        assert_eq!(words, None, "censored samples leave it open");
    }
}
