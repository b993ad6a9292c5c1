//! What was measured as a table for other programs: long format, one row for each metric, set of tags and
//! interval, in the metric's own unit (times: nanoseconds).
//!
//! Without a timeline there is one interval, the run. Texts are made harmless for spreadsheets, which run a
//! cell that begins with `=` as a formula: those begin with an apostrophe. Numbers stay numbers.

use std::collections::BTreeMap;

use super::{
    printable::printable,
    story::{Chapter, Story},
};
use crate::{
    metric::{Kind, Line, Point},
    run::summary::{Summary, Values},
};

/// Characters of one name.
const TEXT: usize = 500;

/// The columns.
pub const COLUMNS: [&str; 20] = [
    "workload",
    "metric",
    "type",
    "unit",
    "tags",
    "from_s",
    "to_s",
    "count",
    "censored",
    "sum",
    "per_second",
    "share",
    "last",
    "min",
    "max",
    "mean",
    "p50",
    "p90",
    "p99",
    "lower_bounds",
];

/// A row, its texts and its numbers.
#[derive(Default)]
struct Row {
    workload: String,
    metric: String,
    kind: &'static str,
    unit: &'static str,
    tags: String,
    from_s: f64,
    to_s: f64,
    count: Option<f64>,
    censored: Option<f64>,
    sum: Option<f64>,
    per_second: Option<f64>,
    share: Option<f64>,
    last: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    lower_bounds: String,
}

/// The table.
pub fn render(story: &Story) -> String {
    let mut rows = Vec::new();
    for chapter in &story.chapters {
        for line in &chapter.chronicle.timeline.lines {
            rows.extend(intervals(chapter, line));
        }
    }
    if story.chapters.is_empty() {
        rows = whole(&story.summary);
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing into memory does not fail.
    let _ = writer.write_record(COLUMNS);
    for row in rows {
        let _ = writer.write_record(row.cells());
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// Text that no spreadsheet takes for a formula.
fn text(words: &str) -> String {
    let words = printable(words, TEXT);
    let first = words.trim_start().chars().next();
    let acts =
        matches!(first, Some('=' | '+' | '-' | '@' | '|' | '%' | '\'' | '＝' | '＋' | '－' | '＠'));
    if acts { format!("'{words}") } else { words }
}

fn tags(tags: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(";")
}

impl Row {
    fn cells(self) -> [String; COLUMNS.len()] {
        let number = |value: Option<f64>| {
            value
                .filter(|value| value.is_finite())
                .map_or_else(String::new, |value| value.to_string())
        };
        [
            text(&self.workload),
            text(&self.metric),
            self.kind.to_owned(),
            self.unit.to_owned(),
            text(&self.tags),
            number(Some(self.from_s)),
            number(Some(self.to_s)),
            number(self.count),
            number(self.censored),
            number(self.sum),
            number(self.per_second),
            number(self.share),
            number(self.last),
            number(self.min),
            number(self.max),
            number(self.mean),
            number(self.p50),
            number(self.p90),
            number(self.p99),
            self.lower_bounds,
        ]
    }
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Rate => "rate",
        Kind::Trend => "trend",
    }
}

/// The rows of a series.
fn intervals<'a>(chapter: &'a Chapter, line: &'a Line) -> impl Iterator<Item = Row> + 'a {
    let width = f64::from(chapter.chronicle.timeline.width_s);
    let tags = tags(&line.tags);
    line.points.iter().map(move |(step, point)| {
        let from_s = f64::from(*step) * width;
        let row = Row {
            workload: chapter.name.clone(),
            metric: line.metric.clone(),
            kind: kind(line.kind),
            unit: line.unit.symbol(),
            tags: tags.clone(),
            from_s,
            to_s: from_s + width,
            ..Row::default()
        };
        filled(row, point, line.unit.step(), width)
    })
}

fn filled(row: Row, point: &Point, unit: f64, width: f64) -> Row {
    match point {
        Point::Counter(sum) => Row { sum: Some(*sum), per_second: Some(sum / width), ..row },
        Point::Rate(hits, total) => Row {
            count: Some(*total as f64),
            sum: Some(*hits as f64),
            share: (*total > 0).then(|| *hits as f64 / *total as f64),
            ..row
        },
        Point::Gauge(level) => Row {
            count: Some(level.count as f64),
            last: Some(level.last),
            min: Some(level.min),
            max: Some(level.max),
            mean: (level.count > 0).then(|| level.sum / level.count as f64),
            ..row
        },
        Point::Trend(spread) => {
            let mut lower = Vec::new();
            let mut quantile = |name: &'static str, q| {
                let it = spread.quantile(q)?;
                if it.at_least {
                    lower.push(name);
                }
                Some(it.value * unit)
            };
            let (p50, p90, p99) =
                (quantile("p50", 0.5), quantile("p90", 0.9), quantile("p99", 0.99));
            let max = quantile("max", 1.0);
            Row {
                count: Some(spread.count as f64),
                censored: Some(spread.censored as f64),
                sum: Some(spread.sum * unit),
                per_second: Some((spread.count + spread.censored) as f64 / width),
                max,
                mean: spread.mean().map(|mean| mean * unit),
                p50,
                p90,
                p99,
                lower_bounds: lower.join(" "),
                ..row
            }
        }
    }
}

/// One row for each series of the summary.
fn whole(summary: &Summary) -> Vec<Row> {
    let row = |metric: &crate::run::summary::MetricSummary| {
        let row = Row {
            workload: summary.run.name.clone(),
            metric: metric.name.clone(),
            kind: kind(metric.kind),
            unit: metric.unit.symbol(),
            tags: tags(&metric.tags),
            to_s: summary.run.duration_s,
            ..Row::default()
        };
        match &metric.values {
            Values::Counter { count, per_second } => {
                Row { sum: Some(*count), per_second: *per_second, ..row }
            }
            Values::Rate { rate, passes, total } => {
                Row { count: Some(*total as f64), sum: Some(*passes as f64), share: *rate, ..row }
            }
            Values::Gauge { value, min, max, avg } => {
                Row { last: *value, min: *min, max: *max, mean: *avg, ..row }
            }
            Values::Trend(trend) => Row {
                count: Some(trend.count as f64),
                censored: Some(trend.censored as f64),
                min: trend.min,
                max: trend.max,
                mean: trend.mean,
                p50: trend.p50,
                p90: trend.p90,
                p99: trend.p99,
                lower_bounds: trend
                    .at_least
                    .iter()
                    .map(|it| text(it))
                    .collect::<Vec<_>>()
                    .join(" "),
                ..row
            },
        }
    };
    summary.metrics.iter().map(row).collect()
}
