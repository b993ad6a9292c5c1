//! How the figure that a threshold is about moved, and when it first was beyond the limit.
//!
//! The figure of each step by itself: the threshold judges all of the run, so a step beyond the limit is
//! where to look and no verdict. What has no figure of a step (windows, counts, slopes, comparisons with
//! another figure, tags that a timeline does not keep) has no course.

use crate::{
    metric::{Kind, Line, Point, Timeline},
    verdict::ThresholdResult,
};

/// The course of a threshold's figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// The middle of each step in seconds, and the figure, in the threshold's unit.
    pub points: Vec<(f64, f64)>,
    /// What it was compared with.
    pub limit: f64,
    /// When the first step beyond the limit began, in seconds.
    pub breach_s: Option<f64>,
    /// Steps beyond the limit.
    pub beyond: usize,
}

/// What is taken of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    Quantile(f64),
    Mean,
    Max,
    Rate,
    Value,
}

/// Which side of the limit is beyond it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Beyond {
    Above,
    Below,
    Any,
}

/// The course of a threshold, where it has one.
pub fn course(threshold: &ThresholdResult, timeline: &Timeline, end_s: f64) -> Option<Course> {
    let (figure, side) = parse(&threshold.expression)?;
    let limit = threshold.limit?;
    let points = merged(timeline, &threshold.metric, &threshold.selector)?;
    let width = f64::from(timeline.width_s);
    let mut course = Course { points: Vec::new(), limit, breach_s: None, beyond: 0 };
    for (step, point, unit_step) in points {
        let from = f64::from(step) * width;
        let length = width.min(end_s - from);
        // The last step of a run is seldom whole, and a rate of a sliver is none.
        if length < width / 2.0 && figure == Figure::Rate {
            continue;
        }
        let Some(value) = figure_of(figure, &point, unit_step, length) else { continue };
        let beyond = match side {
            Beyond::Above => value > limit,
            Beyond::Below => value < limit,
            Beyond::Any => value != limit,
        };
        if beyond {
            course.beyond += 1;
            course.breach_s.get_or_insert(from);
        }
        course.points.push((from + length.clamp(0.0, width) / 2.0, value));
    }
    (course.points.len() > 1).then_some(course)
}

/// What an expression looks at, and on which side of its limit it is missed; `None` for more than one
/// assertion and for windows.
fn parse(expression: &str) -> Option<(Figure, Beyond)> {
    let at = expression.find(['<', '>', '='])?;
    let (aggregate, rest) = expression.split_at(at);
    let words = rest.split_whitespace();
    if words.clone().any(|word| matches!(word, "and" | "or" | "over" | "each" | "after")) {
        return None;
    }
    // A comparison with another figure has a limit that moves.
    let operand = rest.trim_start_matches(['<', '>', '=', ' ']);
    if !operand.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))
        || operand.contains('*')
    {
        return None;
    }
    let figure = match aggregate.trim() {
        "avg" | "mean" => Figure::Mean,
        "max" => Figure::Max,
        "med" => Figure::Quantile(0.5),
        "rate" => Figure::Rate,
        "value" => Figure::Value,
        other => {
            let percent = other.strip_prefix("p(")?.strip_suffix(')')?;
            Figure::Quantile(percent.trim().parse::<f64>().ok()? / 100.0)
        }
    };
    let side = match rest.as_bytes().first() {
        Some(b'<') => Beyond::Above,
        Some(b'>') => Beyond::Below,
        _ => Beyond::Any,
    };
    Some((figure, side))
}

fn figure_of(figure: Figure, point: &Point, unit: f64, length: f64) -> Option<f64> {
    let value = match (figure, point) {
        (Figure::Quantile(q), Point::Trend(spread)) => spread.quantile(q)?.value * unit,
        (Figure::Mean, Point::Trend(spread)) => spread.mean()? * unit,
        (Figure::Max, Point::Trend(spread)) => spread.max as f64 * unit,
        (Figure::Rate, Point::Rate(hits, total)) if *total > 0 => *hits as f64 / *total as f64,
        (Figure::Rate, Point::Counter(sum)) => sum / length,
        (Figure::Value, Point::Gauge(level)) => level.last,
        (Figure::Mean, Point::Gauge(level)) if level.count > 0 => level.sum / level.count as f64,
        (Figure::Max, Point::Gauge(level)) => level.max,
        _ => return None,
    };
    value.is_finite().then_some(value)
}

/// The points of all lines that a selector matches, as one; with what one of their steps stands for.
fn merged(timeline: &Timeline, metric: &str, selector: &str) -> Option<Vec<(u32, Point, f64)>> {
    let pairs = selector.trim().trim_start_matches('{').trim_end_matches('}');
    let pairs: Vec<(&str, &str)> = pairs
        .split(',')
        .filter(|it| !it.is_empty())
        .map(|it| it.split_once(':'))
        .collect::<Option<_>>()?;
    let named = |tag: &str| pairs.iter().any(|(key, _)| *key == tag);
    if named("phase") || named("stage") || named("level") {
        return None;
    }
    let failed = |line: &Line| {
        line.kind == Kind::Trend
            && line.tags.get("outcome").is_some_and(|outcome| outcome == "error")
            && !named("outcome")
            && !named("error")
    };
    let matches = |line: &&Line| {
        !failed(line)
            && pairs.iter().all(|(key, value)| line.tags.get(*key).is_some_and(|own| own == value))
    };
    Some(sum(timeline.of(metric).filter(matches)))
}

/// Lines of one metric, step by step, as one.
pub(super) fn sum<'a>(lines: impl Iterator<Item = &'a Line>) -> Vec<(u32, Point, f64)> {
    let mut sums: std::collections::BTreeMap<u32, (Point, f64)> = std::collections::BTreeMap::new();
    for line in lines {
        for (step, point) in &line.points {
            match sums.get_mut(step) {
                Some((into, _)) => into.merge(point),
                None => drop(sums.insert(*step, (point.clone(), line.unit.step()))),
            }
        }
    }
    sums.into_iter().map(|(step, (point, unit))| (step, point, unit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_with_one_plain_limit_has_a_course() {
        assert_eq!(parse("p(95) < 10ms"), Some((Figure::Quantile(0.95), Beyond::Above)));
        assert_eq!(parse("rate>0.99"), Some((Figure::Rate, Beyond::Below)));
        assert_eq!(parse("mean <= 5 ms"), Some((Figure::Mean, Beyond::Above)));
        assert_eq!(parse("value < -3"), Some((Figure::Value, Beyond::Above)));
        assert_eq!(parse("rate == 0"), Some((Figure::Rate, Beyond::Any)));
        for none in [
            "rate != 0",
            "p(95) over first 10s < 10ms",
            "p(95) < 10ms and mean < 5ms",
            "mean < 2 * mean{stage:a}",
            "mean < other.mean",
            "count > 5",
            "p(x) < 3",
            "slope < 1",
            "",
        ] {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
