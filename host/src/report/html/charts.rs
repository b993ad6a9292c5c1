//! The figures of the charts, as one JSON object that the page's script reads.
//!
//! Numbers have four digits that matter and times of a step are its middle. Every text in it has passed
//! [`printable`]; markup in it is not acted upon, for the script writes text and never markup, and the
//! object is escaped as a whole where it is embedded.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    metric::{Kind, Line, Point, Spread, Timeline, Unit, highest},
    report::{
        course::sum,
        first::TIMES,
        printable::printable,
        story::{Chapter, Story},
    },
    run::{Asked, MarkerKind, comparison::BaseTime},
    verdict::Scaling,
};

/// Characters of one name.
const TEXT: usize = 120;
/// Kinds of errors, and targets, that have a line each.
const MOST_LINES: usize = 8;
/// Times of the runner and the guest, which say nothing of the system.
const OWN: [&str; 5] = ["dispatch_delay", "runner_", "guest_", "target_", "iterations_ended"];
/// A chart's place on the page.
pub(super) struct Place {
    /// Its id.
    pub host: String,
    /// What it shows.
    pub title: String,
    /// What the reader should know.
    pub hint: &'static str,
}

/// The charts of a chapter: their places, their figures, the choices of a time.
pub(super) struct Charts {
    pub places: Vec<Place>,
    pub subjects: Vec<String>,
    /// Whether a time has figures of the baseline under it.
    pub based: bool,
    pub data: Value,
}

/// The charts of a chapter, with at most so many steps and times, and what the baseline has of them.
pub(super) fn charts(
    chapter: &Chapter,
    id: &str,
    (steps, times): (u32, usize),
    base: &[&BaseTime],
) -> Charts {
    let timeline = chapter.chronicle.timeline.within(steps);
    let axis = Axis::new(chapter, &timeline);
    let mut places = Vec::new();
    let mut drawn = Vec::new();
    for (name, title, hint, unit, lines) in axis.all(&timeline, &chapter.chronicle.asked) {
        let host = format!("{id}-{name}");
        drawn.push(json!({ "host": host, "unit": unit, "series": lines }));
        places.push(Place { host, title: title.to_owned(), hint });
    }
    let subjects: Vec<_> = subjects(&timeline, times)
        .into_iter()
        .filter_map(|subject| Some((subject.name.clone(), axis.subject(&subject, base)?)))
        .collect();
    let based = subjects.iter().any(|(_, data)| !data["base"].is_null());
    let names = subjects.iter().map(|(name, _)| name.clone()).collect();
    let subjects: Vec<_> = subjects.into_iter().map(|(_, data)| data).collect();
    let data = json!({
        "id": id,
        "width": axis.width,
        "end": short(axis.end),
        "x": axis.x.iter().map(|at| short(*at)).collect::<Vec<_>>(),
        "charts": drawn,
        "subjects": subjects,
        "stages": stages(&chapter.chronicle.asked),
        "markers": markers(chapter),
    });
    Charts { places, subjects: names, based, data }
}

/// How load and times went together where a scenario had levels.
pub(super) fn knees(story: &Story) -> Vec<Value> {
    story.summary.scaling.iter().enumerate().map(|(index, it)| knee(it, index)).collect()
}

fn knee(scaling: &Scaling, index: usize) -> Value {
    let mut levels: Vec<_> = scaling.levels.iter().collect();
    levels.sort_by(|one, other| one.asked.total_cmp(&other.asked));
    let of = |value: fn(&crate::verdict::LevelFacts) -> Option<f64>| -> Vec<Value> {
        levels.iter().map(|level| value(level).map_or(Value::Null, short)).collect()
    };
    json!({
        "host": format!("knee-{index}"),
        "unit": if scaling.open { "/s" } else { "VUs" },
        "x": of(|level| Some(level.asked)),
        "done": of(|level| level.throughput),
        "mean": of(|level| level.response_mean_ns),
        "p95": of(|level| level.response_p95_ns),
        "at": scaling.knee.map_or(Value::Null, short),
    })
}

/// Names of the charts of one time, which the reader chooses.
pub(super) fn subject_places(id: &str, based: bool) -> [Place; 3] {
    let place = |name: &str, title: &str, hint| Place {
        host: format!("{id}-{name}"),
        title: title.to_owned(),
        hint,
    };
    [
        place(
            "latency",
            "Time taken",
            if based {
                "Of each step by itself; logarithmic. ≥: samples that were cut off count as at least what they had \
                 waited. Level and dashed: the baseline's, of its whole run."
            } else {
                "Of each step by itself; logarithmic. ≥: samples that were cut off count as at least what they had waited."
            },
        ),
        place(
            "heat",
            "Where the samples are",
            "The darker, the more samples (logarithmic); four bands an octave.",
        ),
        place(
            "curve",
            "Percentiles of the whole run",
            "Each nine is as wide as the one before; steps of at most 1.6 %.",
        ),
    ]
}

/// One line of a chart, ready for the script.
type Drawn = Vec<Value>;
/// Name, title, hint, unit and lines of a chart.
type Chart = (&'static str, &'static str, &'static str, &'static str, Drawn);

/// The steps of a chapter.
struct Axis {
    width: f64,
    end: f64,
    x: Vec<f64>,
    steps: usize,
}

impl Axis {
    fn new(chapter: &Chapter, timeline: &Timeline) -> Self {
        let width = f64::from(timeline.width_s);
        let duration = chapter.chronicle.duration_s;
        let mut steps = timeline.steps() as usize;
        // What is recorded as the load ends may stand a little behind it.
        let whole = (duration / width).ceil().max(1.0) as usize;
        steps = steps.min(whole).max(1);
        let middle = |step: usize| {
            let from = step as f64 * width;
            f64::midpoint(from, (from + width).min(duration.max(from)))
        };
        let x = (0..steps).map(middle).collect();
        Self { width, end: duration.max(width / 10.0), x, steps }
    }

    /// How long a step was.
    fn length(&self, step: usize) -> f64 {
        self.width.min(self.end - step as f64 * self.width).max(0.0)
    }

    fn all(&self, timeline: &Timeline, asked: &[Asked]) -> Vec<Chart> {
        let charts = [
            (
                "load",
                "Load",
                "Iterations asked for, and completed, per second.",
                "/s",
                self.load(timeline, asked),
            ),
            (
                "vus",
                "Virtual users",
                "Running an iteration, and made, at the end of each step.",
                "",
                self.vus(timeline, asked),
            ),
            ("errors", "Errors", "By kind, per second.", "/s", self.errors(timeline)),
            ("cpu", "CPU", "Percent of one core; the runner's is dashed.", "%", self.cpu(timeline)),
            ("memory", "Memory", "The most resident in each step.", "B", self.memory(timeline)),
            ("io", "Storage and network", "Bytes per second.", "B/s", self.io(timeline)),
        ];
        charts.into_iter().filter(|chart| !chart.4.is_empty()).collect()
    }

    /// Values by step, as the script wants them.
    fn values(
        &self,
        points: &[(u32, Point, f64)],
        value: impl Fn(&Point, f64) -> Option<f64>,
    ) -> Vec<Value> {
        let mut values = vec![Value::Null; self.steps];
        for (step, point, _) in points {
            // What stands behind the end belongs to its last step.
            let step = (*step as usize).min(self.steps - 1);
            if let Some(value) = value(point, self.length(step)) {
                values[step] = short(value);
            }
        }
        values
    }

    /// Sums per second; none where there was nothing. The last step is left out if it is a sliver.
    fn rates(&self, points: &[(u32, Point, f64)]) -> Vec<Value> {
        let mut sums = vec![0.0; self.steps];
        for (step, point, _) in points {
            let amount = match point {
                Point::Counter(sum) => *sum,
                Point::Rate(hits, _) => *hits as f64,
                Point::Trend(spread) => (spread.count + spread.censored) as f64,
                Point::Gauge(_) => 0.0,
            };
            sums[(*step as usize).min(self.steps - 1)] += amount;
        }
        let rate = |(step, sum): (usize, &f64)| {
            let length = self.length(step);
            let sliver = self.steps > 1 && length < self.width / 2.0;
            if sliver || length <= 0.0 { Value::Null } else { short(sum / length) }
        };
        sums.iter().enumerate().map(rate).collect()
    }

    fn load(&self, timeline: &Timeline, asked: &[Asked]) -> Drawn {
        let mut lines = Vec::new();
        if asked.iter().any(|stretch| stretch.open) {
            lines
                .push(json!({ "label": "asked", "values": self.asked(asked, true), "dash": true }));
        }
        for (metric, label) in [
            ("iterations", "completed"),
            ("dropped_iterations", "dropped"),
            ("never_started_iterations", "never started"),
            ("interrupted_iterations", "interrupted"),
        ] {
            let points = sum(timeline.of(metric));
            if !points.is_empty() {
                let fill = metric == "iterations";
                lines.push(json!({ "label": label, "values": self.rates(&points), "fill": fill }));
            }
        }
        lines
    }

    /// What is asked for in the middle of each step, by all scenarios together.
    fn asked(&self, asked: &[Asked], open: bool) -> Vec<Value> {
        let at = |at: &f64| {
            let covers = |it: &&Asked| it.open == open && it.from_s <= *at && *at < it.to_s;
            let mut sum = None;
            for stretch in asked.iter().filter(covers) {
                let share = (at - stretch.from_s) / (stretch.to_s - stretch.from_s);
                let value = (stretch.to - stretch.from).mul_add(share, stretch.from);
                *sum.get_or_insert(0.0) += value;
            }
            sum.map_or(Value::Null, short)
        };
        self.x.iter().map(at).collect()
    }

    fn vus(&self, timeline: &Timeline, asked: &[Asked]) -> Drawn {
        let mut lines = Vec::new();
        if asked.iter().any(|stretch| !stretch.open) {
            lines.push(
                json!({ "label": "asked", "values": self.asked(asked, false), "dash": true }),
            );
        }
        for (metric, label) in [("vus", "running"), ("vus_max", "made")] {
            let points = sum(timeline.of(metric));
            if !points.is_empty() {
                lines.push(json!({ "label": label, "values": self.values(&points, last) }));
            }
        }
        lines
    }

    /// Failures by kind: what operations and iterations failed by, and what is counted as lost. A failure
    /// stands once: the share of failed requests is of the same requests as their kinds.
    fn errors(&self, timeline: &Timeline) -> Drawn {
        let mut kinds: BTreeMap<String, Vec<&Line>> = BTreeMap::new();
        for line in &timeline.lines {
            let failed =
                |(_, point): &(u32, Point)| matches!(point, Point::Rate(hits, _) if *hits > 0);
            let name = match (line.kind, line.metric.as_str(), line.tags.get("error")) {
                (Kind::Trend, "iteration_response_time", _) => continue,
                (Kind::Trend, "iteration_duration", Some(error)) => format!("iteration {error}"),
                (Kind::Trend, metric, Some(error)) => {
                    format!("{} {error}", metric.trim_end_matches("_duration"))
                }
                (
                    Kind::Rate,
                    metric @ ("iteration_errors" | "bus_request_failed" | "db_query_failed"),
                    _,
                ) if line.points.iter().any(failed) && !told_by_kind(timeline, metric) => {
                    metric.to_owned()
                }
                (Kind::Counter, metric @ ("bus_lost" | "guest_traps"), _) => metric.to_owned(),
                _ => continue,
            };
            kinds.entry(name).or_default().push(line);
        }
        let kinds = kinds.into_iter().map(|(name, lines)| (name, sum(lines.into_iter())));
        let mut kinds: Vec<_> = kinds.collect();
        kinds.sort_by_key(|(_, points)| std::cmp::Reverse(amount(points)));
        let kinds = kinds.iter().take(MOST_LINES);
        let line = |(name, points): &(String, Vec<(u32, Point, f64)>)| json!({ "label": printable(name, TEXT), "values": self.rates(points) });
        kinds.map(line).collect()
    }

    fn cpu(&self, timeline: &Timeline) -> Drawn {
        let mut lines = self.by_target(timeline, "target_cpu_percent", "", |axis, points| {
            axis.values(points, average)
        });
        let runner = sum(timeline.of("runner_cpu_percent"));
        if !runner.is_empty() {
            lines.push(
                json!({ "label": "runner", "values": self.values(&runner, average), "dash": true }),
            );
        }
        lines
    }

    fn memory(&self, timeline: &Timeline) -> Drawn {
        let most = |point: &Point, _| match point {
            Point::Gauge(level) => Some(level.max),
            _ => None,
        };
        let mut lines = self
            .by_target(timeline, "target_rss_bytes", "", |axis, points| axis.values(points, most));
        let runner = sum(timeline.of("runner_rss_bytes"));
        if !runner.is_empty() {
            lines.push(
                json!({ "label": "runner", "values": self.values(&runner, most), "dash": true }),
            );
        }
        lines
    }

    fn io(&self, timeline: &Timeline) -> Drawn {
        let kinds = [
            ("target_read_bytes", " read"),
            ("target_written_bytes", " written"),
            ("target_network_bytes", " network"),
        ];
        let mut lines: Drawn = kinds
            .iter()
            .flat_map(|(metric, words)| self.by_target(timeline, metric, words, Self::rates))
            .collect();
        lines.truncate(MOST_LINES);
        lines
    }

    fn by_target(
        &self,
        timeline: &Timeline,
        metric: &str,
        words: &str,
        values: impl Fn(&Self, &[(u32, Point, f64)]) -> Vec<Value>,
    ) -> Drawn {
        let mut targets: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
        for line in timeline.lines.iter().filter(|line| line.metric == metric) {
            let name = line.tags.get("target").map_or("", String::as_str);
            targets.entry(name).or_default().push(line);
        }
        let targets = targets.into_iter().take(MOST_LINES);
        targets
            .map(|(name, lines)| {
                let points = sum(lines.into_iter());
                json!({ "label": format!("{}{words}", printable(name, TEXT)), "values": values(self, &points) })
            })
            .collect()
    }

    /// A time: its percentiles by step, its heat map, its curve.
    fn subject(&self, subject: &Subject<'_>, base: &[&BaseTime]) -> Option<Value> {
        let points = sum(subject.lines.iter().copied());
        let (mut all, mut by_step) = (Spread::default(), vec![Spread::default(); self.steps]);
        for (step, point, _) in &points {
            if let Point::Trend(spread) = point {
                by_step[(*step as usize).min(self.steps - 1)].merge(spread);
                all.merge(spread);
            }
        }
        if all.count + all.censored == 0 {
            return None;
        }
        let unit = subject.unit.step();
        let (mut values, mut least) = (BTreeMap::new(), BTreeMap::new());
        for (name, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
            let quantiles: Vec<_> = by_step.iter().map(|spread| spread.quantile(q)).collect();
            let bounds = quantiles.iter().enumerate();
            let bounds = bounds.filter(|(_, it)| it.is_some_and(|it| it.at_least));
            least.insert(name, bounds.map(|(step, _)| step).collect::<Vec<_>>());
            // A logarithmic axis has no place for nothing.
            let value = |it: &crate::metric::Quantile| short((it.value * unit).max(unit));
            let shown = quantiles.iter().map(|it| it.as_ref().map_or(Value::Null, value));
            values.insert(name, shown.collect::<Vec<_>>());
        }
        let (bounds, heat) = heat(&all, &by_step, unit);
        let own = |it: &&&BaseTime| it.metric == subject.metric && it.op.as_deref() == subject.op;
        let level = |value: Option<f64>| value.map_or(Value::Null, |it| short(it.max(unit)));
        let base = base.iter().find(own);
        Some(json!({
            "base": base.map(|it| json!({ "p50": level(it.p50), "p99": level(it.p99) })),
            "unit": subject.unit.symbol(),
            "p50": values["p50"], "p90": values["p90"], "p99": values["p99"], "max": values["max"],
            "least": least,
            "bounds": bounds,
            "heat": heat,
            "curve": curve(&all, unit),
            "base_curve": base.map(|it| base_curve(it, unit)),
        }))
    }
}

/// Whether the failures of which this is the share bear their kinds.
fn told_by_kind(timeline: &Timeline, share: &str) -> bool {
    let metric = match share {
        "iteration_errors" => "iteration_duration",
        "bus_request_failed" => "bus_request_duration",
        _ => "db_query_duration",
    };
    timeline.of(metric).any(|line| line.tags.contains_key("error"))
}

/// How many samples, for what fails.
fn amount(points: &[(u32, Point, f64)]) -> u64 {
    let of = |point: &Point| match point {
        Point::Counter(sum) => *sum as u64,
        Point::Rate(hits, _) => *hits,
        Point::Trend(spread) => spread.count + spread.censored,
        Point::Gauge(_) => 0,
    };
    points.iter().map(|(_, point, _)| of(point)).sum()
}

fn last(point: &Point, _: f64) -> Option<f64> {
    match point {
        Point::Gauge(level) => Some(level.last),
        _ => None,
    }
}

fn average(point: &Point, _: f64) -> Option<f64> {
    match point {
        Point::Gauge(level) if level.count > 0 => Some(level.sum / level.count as f64),
        _ => None,
    }
}

/// A time that the reader can choose.
struct Subject<'a> {
    name: String,
    metric: &'a str,
    op: Option<&'a str>,
    unit: Unit,
    lines: Vec<&'a Line>,
}

/// The times of the system, the most telling first: of each metric all that succeeded, then each operation.
fn subjects(timeline: &Timeline, most: usize) -> Vec<Subject<'_>> {
    let mut metrics: Vec<&str> = Vec::new();
    let fits = |line: &&Line| {
        line.kind == Kind::Trend
            && line.tags.get("outcome").is_none_or(|it| it != "error")
            && !OWN.iter().any(|own| line.metric.starts_with(own))
    };
    for line in timeline.lines.iter().filter(fits) {
        if !metrics.contains(&line.metric.as_str()) {
            metrics.push(&line.metric);
        }
    }
    metrics.sort_by_key(|name| TIMES.iter().position(|it| it == name).unwrap_or(TIMES.len()));
    let mut subjects = Vec::new();
    let mut single = Vec::new();
    for metric in metrics {
        let lines: Vec<_> = timeline.of(metric).filter(fits).collect();
        let mut operations: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
        for line in &lines {
            if let Some(op) = line.tags.get("op") {
                operations.entry(op).or_default().push(line);
            }
        }
        let unit = lines.first().map_or(Unit::Count, |line| line.unit);
        if operations.len() > 1 {
            for (op, lines) in operations {
                let name = printable(&format!("{metric}{{op:{op}}}"), TEXT);
                single.push(Subject { name, metric, op: Some(op), unit, lines });
            }
        }
        let name = printable(metric, TEXT);
        subjects.push(Subject { name, metric, op: None, unit, lines });
    }
    subjects.extend(single);
    subjects.truncate(most);
    subjects
}

/// The bounds of the bands, and of each step which bands have how many samples.
fn heat(all: &Spread, by_step: &[Spread], unit: f64) -> (Vec<Value>, Vec<Vec<u64>>) {
    // Four bands an octave, of sixteen buckets each.
    let band = |bucket: u16| bucket >> 4;
    let bands = || all.buckets.iter().chain(&all.cut).map(|(bucket, _)| band(*bucket));
    let (first, last) = (bands().min().unwrap_or(0), bands().max().unwrap_or(0));
    let floor = |band: u16| if band == 0 { 0 } else { highest((band << 4) - 1) };
    let bounds = (first..=last + 1).map(|it| short((floor(it) as f64 * unit).max(unit))).collect();
    let column = |spread: &Spread| {
        let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
        for (bucket, count) in spread.buckets.iter().chain(&spread.cut) {
            *counts.entry(band(*bucket) - first).or_default() += count;
        }
        counts.into_iter().flat_map(|(band, count)| [u64::from(band), count]).collect()
    };
    (bounds, by_step.iter().map(column).collect())
}

/// Percentiles on the axis of nines, −log₁₀(1 − q), as far as there are samples for them.
fn curve(all: &Spread, unit: f64) -> [Vec<Value>; 2] {
    let samples = (all.count + all.censored) as f64;
    let end = samples.log10().max(1.0);
    let points = 160;
    let mut curve = [Vec::new(), Vec::new()];
    for index in 0..=points {
        let at = end * f64::from(index) / f64::from(points);
        let q = 1.0 - 10_f64.powf(-at);
        // Of the last nine that the samples can show, the largest of them.
        let q = if index == points { 1.0 } else { q };
        if let Some(quantile) = all.quantile(q) {
            curve[0].push(short(at));
            curve[1].push(short((quantile.value * unit).max(unit)));
        }
    }
    curve
}

/// What is known of the baseline's, on the same axis.
fn base_curve(base: &BaseTime, unit: f64) -> [Vec<Value>; 2] {
    let nines = |percent: f64| short(-(1.0 - percent / 100.0).log10());
    let points = base.percentiles();
    points.map(|(percent, time)| (nines(percent), short(time.max(unit)))).unzip().into()
}

fn stages(asked: &[Asked]) -> Vec<Value> {
    let named = asked.iter().filter(|stretch| !stretch.stage.is_empty());
    let stage = |it: &Asked| json!({ "from": short(it.from_s), "to": short(it.to_s), "name": printable(&it.stage, 40) });
    named.map(stage).collect()
}

fn markers(chapter: &Chapter) -> Vec<Value> {
    let shown = chapter.chronicle.markers.iter().filter(|it| it.kind != MarkerKind::Scenario);
    shown
        .map(|it| {
            let kind = if it.kind == MarkerKind::Restart { "restart" } else { "fault" };
            json!({ "from": short(it.at_s), "to": it.until_s.map(short), "kind": kind, "words": it.kind.words() })
        })
        .collect()
}

/// A number with four digits that matter.
fn short(value: f64) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    if rounded.fract() == 0.0 && rounded.abs() < 9e15 {
        return Value::from(rounded as i64);
    }
    Value::from(rounded)
}
