//! How the figure that a threshold is about moved, and when it first was beyond the limit.
//!
//! The figure of each step by itself, within the stage or the window that is judged; of `each`, of each window.
//! The threshold judges all of that together, so a step beyond the limit is where to look and no verdict. What
//! has no figure of a step (counts, slopes, comparisons with another figure, more than one assertion, tags that
//! a timeline does not keep) has no course.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    metric::{Line, Point, Selector, Timeline},
    plan::threshold::{Aggregate, Comparison, FigureName, Window, only},
    run::Chronicle,
    verdict::ThresholdResult,
};

/// How much of a step has to be within a stage or a window: they begin a moment after the second.
const WITHIN: f64 = 0.9;

/// The course of a threshold's figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// The middle of each step in seconds, and the figure, in the threshold's unit.
    pub points: Vec<(f64, f64)>,
    /// Length of a step, in seconds.
    pub step_s: f64,
    /// What it was compared with.
    pub limit: f64,
    /// Whether it is missed below the limit.
    pub least: bool,
    /// When the first step beyond the limit began, in seconds.
    pub breach_s: Option<f64>,
    /// Steps beyond the limit.
    pub beyond: usize,
    /// From when to when it is judged; empty for the whole run.
    pub spans: Vec<(f64, f64)>,
}

/// A stretch of the run, and the scenario whose it is; `None`: of all.
type Stretch = (Option<String>, f64, f64);

/// The samples of a step: its number, what they are, and what one of their units stands for.
type Step = (u32, Point, f64);

/// The course of a threshold, where it has one.
pub fn course(threshold: &ThresholdResult, chronicle: &Chronicle) -> Option<Course> {
    let (aggregate, window, comparison) = only(&threshold.expression)?;
    let limit = threshold.limit?;
    let end = chronicle.duration_s;
    let selector = FigureName::parse(&format!("m{}", threshold.selector)).ok()?.selector;
    let stretches = stretches(selector.clone(), window, chronicle)?;
    let timeline = &chronicle.timeline;
    let steps = steps(timeline, &threshold.metric, selector, &stretches, end)?;
    let (steps, each_s) = match window {
        Some(Window::Each(length)) => windows(&steps, timeline.width_s, length, end)?,
        _ => (steps, f64::from(timeline.width_s)),
    };
    let spans = stretches.iter().map(|(_, from, to)| (*from, *to));
    let whole = |(from, to): &(f64, f64)| *from <= 0.0 && *to >= end;
    let spans: Vec<_> = spans.filter(|it| !whole(it)).collect();
    let least = matches!(comparison, Comparison::Greater | Comparison::AtLeast);
    let mut course = Course {
        points: Vec::new(),
        step_s: each_s,
        limit,
        least,
        breach_s: None,
        beyond: 0,
        spans,
    };
    for (step, point, unit) in steps {
        let from = f64::from(step) * each_s;
        let length = each_s.min(end - from);
        // The last step of a run is seldom whole, and a rate of a sliver is none.
        if length < each_s / 2.0 && aggregate == Aggregate::Rate {
            continue;
        }
        let Some(value) = figure_of(aggregate, &point, unit, length) else { continue };
        if !comparison.holds(value, limit) {
            course.beyond += 1;
            course.breach_s.get_or_insert(from);
        }
        course.points.push((from + length.clamp(0.0, each_s) / 2.0, value));
    }
    (course.points.len() > 1).then_some(course)
}

/// Where the threshold looks: its stage as it was planned, its window, or where both are.
fn stretches(
    mut selector: Selector,
    window: Option<Window>,
    chronicle: &Chronicle,
) -> Option<Vec<Stretch>> {
    let end = chronicle.duration_s;
    let (first, last) = match window {
        Some(Window::First(length)) => (0.0, whole_seconds(length)),
        Some(Window::Last(length)) => (end.ceil() - whole_seconds(length), end),
        Some(Window::After(length)) => (whole_seconds(length), end),
        Some(Window::Each(_)) | None => (0.0, end),
    };
    let Some(stage) = selector.0.remove("stage") else {
        return Some(vec![(None, first, last)]);
    };
    let scenario = selector.0.remove("scenario");
    let own = chronicle.asked.iter().filter(|it| {
        it.stage == stage && scenario.as_ref().is_none_or(|scenario| *scenario == it.scenario)
    });
    let stretch = |from: f64, to: f64| (from.max(first), to.min(last));
    let own = own.map(|it| (Some(it.scenario.clone()), stretch(it.from_s, it.to_s)));
    let own: Vec<Stretch> = own
        .filter(|(_, (from, to))| from < to)
        .map(|(scenario, (from, to))| (scenario, from, to))
        .collect();
    (!own.is_empty()).then_some(own)
}

/// The samples that a selector matches, step by step, as far as they are within the stretches.
fn steps(
    timeline: &Timeline,
    metric: &str,
    mut selector: Selector,
    stretches: &[Stretch],
    end: f64,
) -> Option<Vec<Step>> {
    selector.0.remove("stage");
    if selector.0.contains_key("phase") || selector.0.contains_key("level") {
        return None;
    }
    let width = f64::from(timeline.width_s);
    let within = |line: &Line, step: u32| {
        let from = f64::from(step) * width;
        let to = (from + width).min(end);
        stretches.iter().any(|(scenario, first, last)| {
            let own = line.tags.get("scenario");
            let fits = scenario.is_none() || own.is_none() || own == scenario.as_ref();
            let inside = to.min(*last) - from.max(*first) >= (to - from) * WITHIN;
            // What stands a little behind the end belongs to what lasts until then.
            fits && if from < end { inside } else { *last >= end }
        })
    };
    let lines = timeline.of(metric).filter(|it| selector.matches_written(it.kind, &it.tags));
    Some(summed(lines.flat_map(|line| {
        let own = line.points.iter().filter(move |(step, _)| within(line, *step));
        own.map(move |(step, point)| (*step, point, line.unit.step()))
    })))
}

/// The samples of each whole window of such a length, and that length.
fn windows(steps: &[Step], width_s: u32, length: Duration, end: f64) -> Option<(Vec<Step>, f64)> {
    let length = whole_seconds(length);
    let per_window = length / f64::from(width_s);
    // Of steps that are longer than a window, or end within one, no window can be made.
    if per_window < 1.0 || per_window.fract() > 0.0 {
        return None;
    }
    // The load of a run that should last N windows may end a moment early.
    let full = ((end + 0.05) / length).floor() as u32;
    let steps = steps.iter().map(|(step, point, unit)| (step / per_window as u32, point, *unit));
    Some((summed(steps.filter(|(index, ..)| *index < full)), length))
}

/// A length in whole seconds, at least one: windows are made of them.
fn whole_seconds(length: Duration) -> f64 {
    length.as_secs_f64().ceil().max(1.0)
}

fn figure_of(aggregate: Aggregate, point: &Point, unit: f64, length: f64) -> Option<f64> {
    let value = match (aggregate, point) {
        (Aggregate::Percentile(percent), Point::Trend(spread)) => {
            spread.quantile(percent / 100.0)?.value * unit
        }
        (Aggregate::Median, Point::Trend(spread)) => spread.quantile(0.5)?.value * unit,
        (Aggregate::Mean, Point::Trend(spread)) => spread.mean()? * unit,
        (Aggregate::Max, Point::Trend(spread)) => spread.max as f64 * unit,
        (Aggregate::Rate, Point::Rate(hits, total)) if *total > 0 => *hits as f64 / *total as f64,
        (Aggregate::Rate, Point::Counter(sum)) => sum / length,
        (Aggregate::Value, Point::Gauge(level)) => level.last,
        (Aggregate::Mean, Point::Gauge(level)) if level.count > 0 => level.sum / level.count as f64,
        (Aggregate::Max, Point::Gauge(level)) => level.max,
        (Aggregate::Min, Point::Gauge(level)) => level.min,
        _ => return None,
    };
    value.is_finite().then_some(value)
}

/// Lines of one metric, step by step, as one.
pub(super) fn sum<'a>(lines: impl Iterator<Item = &'a Line>) -> Vec<Step> {
    summed(lines.flat_map(|line| {
        line.points.iter().map(move |(step, point)| (*step, point, line.unit.step()))
    }))
}

fn summed<'a>(points: impl Iterator<Item = (u32, &'a Point, f64)>) -> Vec<Step> {
    let mut sums: BTreeMap<u32, (Point, f64)> = BTreeMap::new();
    for (step, point, unit) in points {
        match sums.get_mut(&step) {
            Some((into, _)) => into.merge(point),
            None => drop(sums.insert(step, (point.clone(), unit))),
        }
    }
    sums.into_iter().map(|(step, (point, unit))| (step, point, unit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metric::{Kind, Spread, Unit},
        plan::Severity,
        run::Asked,
        verdict::Status,
    };

    /// One sample each second, of so many nanoseconds.
    fn line(scenario: &str, values: &[u64]) -> Line {
        let point = |value: u64| {
            let buckets = vec![(value as u16, 1)];
            Point::Trend(Spread {
                count: 1,
                sum: value as f64,
                max: value,
                buckets,
                ..Spread::default()
            })
        };
        Line {
            metric: "took".to_owned(),
            kind: Kind::Trend,
            unit: Unit::Nanoseconds,
            tags: [("scenario".to_owned(), scenario.to_owned())].into(),
            points: (0..).zip(values.iter().map(|value| point(*value))).collect(),
        }
    }

    /// A run of 6.2 s with a stage of one scenario from 2 to 4 s, and of another from 0 to 1 s.
    fn chronicle() -> Chronicle {
        let stage = |scenario: &str, stage: &str, from_s: f64, to_s: f64| Asked {
            scenario: scenario.to_owned(),
            stage: stage.to_owned(),
            open: true,
            from_s,
            to_s,
            from: 1.0,
            to: 1.0,
        };
        let mut timeline = Timeline::default();
        timeline.lines = vec![line("a", &[5, 6, 20, 50, 8, 9, 7]), line("b", &[90])];
        Chronicle {
            timeline,
            duration_s: 6.2,
            asked: vec![
                stage("a", "up", 0.004, 2.004),
                stage("a", "peak", 2.004, 4.004),
                stage("b", "peak", 0.004, 1.004),
            ],
            ..Chronicle::default()
        }
    }

    fn of(selector: &str, expression: &str) -> Option<Course> {
        let threshold = ThresholdResult {
            metric: "took".to_owned(),
            selector: selector.to_owned(),
            expression: expression.to_owned(),
            severity: Severity::Critical,
            row: None,
            status: Status::Fail,
            observed: None,
            interval: None,
            limit: Some(10.0),
            unit: "ns".to_owned(),
            samples: 8,
            censored: 0,
            on_missing: None,
            reason: None,
        };
        course(&threshold, &chronicle())
    }

    /// When the steps are and what they have; the first breach and their number.
    fn told(selector: &str, expression: &str) -> (Vec<(f64, f64)>, Option<f64>, usize) {
        let course = of(selector, expression).expect(expression);
        (course.points, course.breach_s, course.beyond)
    }

    #[test]
    fn a_plain_limit_has_the_course_of_the_run() {
        let (points, breach, beyond) = told("{scenario:a}", "max < 10ns");
        assert_eq!((points.len(), breach, beyond), (7, Some(2.0), 2));
        assert_eq!((points[0], points[3]), ((0.5, 5.0), (3.5, 50.0)));
        assert!(of("{scenario:a}", "max < 10ns").unwrap().spans.is_empty());
        assert_eq!(told("{scenario:a}", "p(50) > 10ns").1, Some(0.0));
        assert_eq!(told("{scenario:a}", "mean < 1.1 * baseline").2, 2);
    }

    #[test]
    fn a_window_has_the_course_of_its_own_steps() {
        let (points, breach, beyond) = told("{scenario:a}", "max over first 3s < 10ns");
        assert_eq!(
            (points, breach, beyond),
            (vec![(0.5, 5.0), (1.5, 6.0), (2.5, 20.0)], Some(2.0), 1)
        );
        assert_eq!(of("{scenario:a}", "max over first 3s < 10ns").unwrap().spans, [(0.0, 3.0)]);
        let (points, breach, _) = told("{scenario:a}", "max after 4s < 10ns");
        assert_eq!((points[0], points[1], breach), ((4.5, 8.0), (5.5, 9.0), None));
        let (points, breach, _) = told("{scenario:a}", "max over last 4s < 10ns");
        assert_eq!((points[0], breach), ((3.5, 50.0), Some(3.0)));
        // Each window that is whole: 0 to 2, 2 to 4, 4 to 6.
        let (points, breach, beyond) = told("{scenario:a}", "max each 2s < 10ns");
        assert_eq!(points, [(1.0, 6.0), (3.0, 50.0), (5.0, 9.0)]);
        assert_eq!((breach, beyond), (Some(2.0), 1));
    }

    #[test]
    fn a_stage_has_the_course_of_its_scenario_while_it_lasted() {
        let (points, breach, _) = told("{scenario:a,stage:peak}", "max < 10ns");
        assert_eq!((points, breach), (vec![(2.5, 20.0), (3.5, 50.0)], Some(2.0)));
        let (points, breach, _) = told("{stage:peak}", "max < 10ns");
        assert_eq!(points, [(0.5, 90.0), (2.5, 20.0), (3.5, 50.0)]);
        assert_eq!(breach, Some(0.0));
        let up = told("{stage:up}", "max < 10ns");
        assert_eq!((up.0, up.1), (vec![(0.5, 5.0), (1.5, 6.0)], None));
        let both = of("{scenario:a,stage:peak}", "max after 3s < 10ns");
        assert_eq!(both, None, "one step is no course");
    }

    #[test]
    fn what_has_no_figure_of_a_step_has_no_course() {
        for none in [
            "p(95) < 10ns and mean < 5ns",
            "p(95) < 10ns or mean < 5ns",
            "mean < 2 * mean{stage:up}",
            "mean < other.mean",
            "count > 5",
            "p(x) < 3",
            "slope < 1",
            "max each 10s < 10ns",
            "",
        ] {
            assert_eq!(of("{scenario:a}", none), None, "{none}");
        }
        for selector in ["{stage:nothing}", "{level:10}", "{phase:setup}", "{scenario:c}", "{"] {
            assert_eq!(of(selector, "max < 10ns"), None, "{selector}");
        }
    }
}
