//! The page that a run ends with. SEMANTICS §7: thresholds first, then checks, latency, load, errors,
//! the targets, the runner's health, remarks and the verdict.
//!
//! Fitted to 80 columns: the eleven figures of a latency stand on two lines under the metric's name
//! rather than on one that wraps. A figure that censored samples leave open is shown as `≥`. The page
//! is made of a [`Summary`] alone; what comes from workloads passes [`printable`].

mod drivers;
mod targets;

use anstyle::{AnsiColor, Style};

use super::{
    comparison, cost,
    printable::printable,
    quantity::{digits, known, per_second, quantity, share, time},
};
use crate::{
    metric::{Kind, Unit},
    plan::Severity,
    run::summary::{MetricSummary, Summary, TrendValues, Values},
    verdict::{Status, ThresholdResult},
};

/// Rows of the latency table and of the errors; the rest is in the JSON.
const MAX_ROWS: usize = 40;
/// Characters of one name or message.
const TEXT: usize = 160;

/// How to print.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// With colours.
    pub color: bool,
    /// With every series in the latency table, not only the most telling.
    pub long: bool,
}

/// The page.
pub fn render(summary: &Summary, options: Options) -> String {
    let mut page = Page { text: String::new(), options };
    page.head(summary);
    page.rows(summary);
    page.thresholds(summary);
    page.baseline(summary);
    page.checks(summary);
    page.derived(summary);
    drivers::scaling(&mut page, summary);
    drivers::searches(&mut page, summary);
    page.latency(summary);
    page.load(summary);
    page.errors(summary);
    page.targets(summary);
    page.runner(summary);
    page.remarks(summary);
    page.verdict(summary);
    page.text
}

struct Page {
    text: String,
    options: Options,
}

const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.options.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn title(&mut self, title: &str) {
        self.text.push('\n');
        let title = self.paint(BOLD, title);
        self.line(&title);
    }

    /// Text under a row, wrapped at the words; a no-break space holds what belongs together.
    fn note(&mut self, indent: usize, text: &str) {
        for line in wrap(text, 80 - indent) {
            let line = self.paint(FAINT, line.replace('\u{a0}', " ").trim_end());
            self.line(&format!("{:indent$}{line}", ""));
        }
    }

    fn head(&mut self, summary: &Summary) {
        let run = &summary.run;
        let name = self.paint(BOLD, &printable(&run.name, TEXT));
        let shards = if run.shards == 1 { "shard" } else { "shards" };
        self.line(&format!(
            "{name} · {} · seed {} · {} {shards}",
            quantity(run.duration_s, "s"),
            run.seed,
            run.shards
        ));
        if run.scale < 1.0 {
            self.note(2, &format!("quick: {} of the plan", share(run.scale)));
        }
        if let Some(words) = run.unfinished() {
            self.note(2, words);
        }
    }

    /// The rows of a catalogue, each with the threshold that is nearest to its limit, or beyond it most.
    fn rows(&mut self, summary: &Summary) {
        if summary.rows.is_empty() {
            return;
        }
        self.title("rows");
        for row in &summary.rows {
            let (sign, style) = sign(row.status);
            let sign = self.paint(style, sign);
            let own = row.thresholds.iter().filter_map(|index| summary.thresholds.get(*index));
            let telling =
                own.filter(|it| it.row.as_ref() == Some(&row.row)).max_by(|one, other| {
                    let order = (one.status == row.status).cmp(&(other.status == row.status));
                    order.then(closeness(one).total_cmp(&closeness(other)))
                });
            let words = telling.map_or_else(String::new, |threshold| {
                let shares = is_share(summary, threshold);
                let unit = printable(&threshold.unit, TEXT);
                let show = |value| if shares { share(value) } else { quantity(value, &unit) };
                let observed = threshold.observed.map_or_else(|| "–".to_owned(), show);
                format!(
                    "{}{} {} · {observed}",
                    printable(&threshold.metric, TEXT),
                    printable(&threshold.selector, TEXT),
                    printable(&threshold.expression, TEXT)
                )
            });
            let head = format!(
                "{} {} {}",
                printable(&row.row, TEXT),
                printable(&row.priority, TEXT),
                printable(&row.backend, TEXT)
            );
            self.line(&format!("  {sign} {head:9} {:14} {}", row.status.words(), fit(&words, 50)));
            if let Some(reason) = &row.reason {
                self.note(6, &printable(reason, 2 * TEXT));
            }
        }
    }

    fn thresholds(&mut self, summary: &Summary) {
        if summary.thresholds.is_empty() {
            return;
        }
        self.title("thresholds");
        let mut row = None;
        for threshold in &summary.thresholds {
            if threshold.row != row {
                row.clone_from(&threshold.row);
                if let Some(row) = &row {
                    let row = self.paint(BOLD, &printable(row, TEXT));
                    self.line(&format!("  {row}"));
                }
            }
            let (sign, style) = sign(threshold.status);
            let sign = self.paint(style, sign);
            let severity = match threshold.severity {
                Severity::Critical => "",
                Severity::Warning => " (warning)",
                Severity::Info => " (info)",
            };
            let subject = format!(
                "{}{}",
                printable(&threshold.metric, TEXT),
                printable(&threshold.selector, TEXT)
            );
            let expression = format!("{}{severity}", printable(&threshold.expression, TEXT));
            if subject.chars().count() + expression.chars().count() > 74 {
                self.line(&format!("  {sign} {subject}"));
                self.line(&format!("      {expression}"));
            } else {
                self.line(&format!("  {sign} {subject}  {expression}"));
            }
            let shares = is_share(summary, threshold);
            self.note(6, &observation(threshold, shares));
            if let Some(reason) = &threshold.reason {
                self.note(6, &printable(reason, 4 * TEXT));
            }
        }
    }

    /// How the run stands to those that it was started with as its baseline.
    fn baseline(&mut self, summary: &Summary) {
        let Some(found) = &summary.baseline else { return };
        self.title("baseline");
        for (style, line) in comparison::lines(found) {
            for line in wrap(&line, 78) {
                let line = self.paint(style, &line);
                self.line(&format!("  {line}"));
            }
        }
    }

    fn checks(&mut self, summary: &Summary) {
        if summary.checks.is_empty() {
            return;
        }
        self.title("checks");
        for check in summary.checks.iter().take(MAX_ROWS) {
            let total = check.passes + check.fails;
            let (sign, style) = if check.fails == 0 { ("✓", GREEN) } else { ("✗", RED) };
            let sign = self.paint(style, sign);
            let group = if check.group.is_empty() {
                String::new()
            } else {
                format!("{} › ", printable(&check.group, TEXT))
            };
            let of = share(check.passes as f64 / total.max(1) as f64);
            let name = printable(&check.name, TEXT);
            self.line(&format!("  {sign} {group}{name}  {of} ({} of {total})", check.passes));
        }
        self.more(summary.checks.len(), "checks");
    }

    fn derived(&mut self, summary: &Summary) {
        if summary.derived.is_empty() {
            return;
        }
        self.title("derived");
        for derived in summary.derived.iter().take(MAX_ROWS) {
            let unit = derived.unit.symbol();
            let name = printable(&derived.name, TEXT);
            let figure = derived.value.map_or("no value".to_owned(), |value| quantity(value, unit));
            let interval = derived.interval.map_or_else(String::new, |[low, high]| {
                format!("  in {} to {}", quantity(low, unit), quantity(high, unit))
            });
            self.line(&format!("  {name}  {figure}{interval}"));
            self.note(6, &printable(&derived.source, 4 * TEXT));
            if let Some(why) = &derived.why {
                self.note(6, &printable(why, 4 * TEXT));
            }
        }
        self.more(summary.derived.len(), "derived metrics");
    }

    fn more(&mut self, all: usize, what: &str) {
        if let Some(more) = all.checked_sub(MAX_ROWS).filter(|more| *more > 0) {
            self.note(2, &format!("… and {more} more {what}; --summary-export has all of them"));
        }
    }

    fn latency(&mut self, summary: &Summary) {
        let rows: Vec<_> = summary
            .metrics
            .iter()
            .filter(|metric| is_shown(summary, metric, self.options.long))
            .collect();
        if rows.is_empty() {
            return;
        }
        self.title("latency");
        let heads = [
            ["count", "rate", "mean", "min", "stddev", ""],
            ["p50", "p90", "p95", "p99", "p99.9", "max"],
        ];
        for head in heads {
            let cells = self.paint(FAINT, cells(&head.map(str::to_owned)).trim_end());
            self.line(&cells);
        }
        for metric in rows.iter().take(MAX_ROWS) {
            let Values::Trend(values) = &metric.values else { continue };
            let tags: Vec<_> =
                metric.tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            let tags =
                if tags.is_empty() { String::new() } else { format!("{{{}}}", tags.join(",")) };
            self.line(&format!("  {}", printable(&format!("{}{tags}", metric.name), TEXT)));
            for line in figures(values, metric.unit, seconds(summary, metric)) {
                self.line(&cells(&line));
            }
        }
        self.more(rows.len(), "series");
        if rows
            .iter()
            .any(|metric| matches!(&metric.values, Values::Trend(trend) if trend.censored > 0))
        {
            self.note(2, "≥: samples that were cut off count as at least what they had waited");
        }
    }

    fn load(&mut self, summary: &Summary) {
        if summary.scenarios.is_empty() {
            return;
        }
        self.title("load");
        for scenario in &summary.scenarios {
            let rate = match scenario.asked_rate {
                Some(asked) => format!(
                    "asked {}, achieved {}",
                    quantity(asked, "/s"),
                    quantity(scenario.achieved_rate, "/s")
                ),
                None => format!("achieved {}", quantity(scenario.achieved_rate, "/s")),
            };
            self.line(&format!(
                "  {} · {} · {rate} over {}",
                printable(&scenario.name, TEXT),
                printable(&scenario.executor, TEXT),
                quantity(scenario.duration_s, "s")
            ));
            self.line(&format!(
                "    planned {} = started {} + dropped {} + never started {}",
                scenario.planned, scenario.started, scenario.dropped, scenario.never_started
            ));
            self.line(&format!(
                "    started {} = completed {} + interrupted {}",
                scenario.started, scenario.completed, scenario.interrupted
            ));
            self.line(&format!(
                "    errors {} · VUs {} used, {} made",
                scenario.errors, scenario.vus, scenario.vus_max
            ));
            if scenario.runner_short > 0 {
                let short = scenario.runner_short;
                self.note(4, &format!("{short} arrivals late or missing by the runner's fault"));
            }
            if !scenario.open {
                self.note(
                    4,
                    "closed model: cannot see what waits while the system stalls. Each VU waits for \
                     its own iteration, so a stall is sampled once per VU, however many arrivals it \
                     would have held up; an arrival-rate executor sees it.",
                );
            }
        }
        self.dispatch(summary);
    }

    fn dispatch(&mut self, summary: &Summary) {
        let parts = [
            ("due → released (runner)", "dispatch_delay_release"),
            ("released → VU free (system)", "dispatch_delay_queue"),
            ("VU free → started (runner)", "dispatch_delay_start"),
            ("dispatch delay in all", "dispatch_delay"),
        ];
        let rows: Vec<_> =
            parts.iter().filter_map(|(words, name)| Some((words, summary.trend(name)?))).collect();
        if rows.is_empty() {
            return;
        }
        let head = format!("{:34}{:>12}{:>12}", "  late starts", "p50", "p99");
        let head = self.paint(FAINT, &head);
        self.line(&head);
        for (words, values) in rows {
            let p50 = bound(values, "p(50)", values.p50, Unit::Nanoseconds);
            let p99 = bound(values, "p(99)", values.p99, Unit::Nanoseconds);
            self.line(&format!("    {words:30}{p50:>12}{p99:>12}"));
        }
    }

    fn errors(&mut self, summary: &Summary) {
        if summary.errors.is_empty() {
            return;
        }
        self.title("errors");
        for error in summary.errors.iter().take(MAX_ROWS) {
            let count = self.paint(RED, &format!("{} ×", error.count));
            let (kind, scenario) = (printable(&error.kind, TEXT), printable(&error.scenario, TEXT));
            self.line(&format!("  {count} {kind} in {scenario}"));
            self.note(6, &printable(&error.message, 3 * TEXT));
            if let Some(place) = &error.place {
                self.note(6, &format!("at {}", printable(place, TEXT)));
            }
        }
        self.more(summary.errors.len(), "kinds");
    }

    fn runner(&mut self, summary: &Summary) {
        let runner = &summary.runner;
        self.title("runner");
        self.line(&format!(
            "  CPU {} of {}, at most {} in a second · {} user, {} system",
            percent(runner.cpu_percent),
            percent(f64::from(runner.cores) * 100.0),
            percent(runner.cpu_percent_max),
            quantity(runner.cpu_user_s, "s"),
            quantity(runner.cpu_system_s, "s")
        ));
        self.line(&format!(
            "  memory {}, at most {}",
            quantity(runner.rss_bytes as f64, "B"),
            quantity(runner.peak_rss_bytes as f64, "B")
        ));
        let lag = summary.trend("runner_loop_lag");
        if let Some(lag) = lag {
            self.line(&format!(
                "  loop lag p99 {}, max {}",
                bound(lag, "p(99)", lag.p99, Unit::Nanoseconds),
                bound(lag, "max", lag.max, Unit::Nanoseconds)
            ));
        }
        for cost in cost::costs(summary) {
            let name = cost.workload.unwrap_or("the workload itself");
            self.note(2, &format!("{}: {}", printable(name, TEXT), cost.words()));
        }
        self.line(&format!(
            "  an empty operation {}, a clock read {}",
            time(runner.empty_operation_ns),
            time(runner.clock_read_ns)
        ));
        let own = ["dispatch_delay_release", "dispatch_delay_start", "runner_loop_lag"];
        let late = own.iter().filter_map(|name| summary.trend(name)?.p99).fold(0.0, f64::max);
        self.note(
            2,
            &format!(
                "Of a figure above, the runner itself may be {} in every operation, and {} in one \
                 of a hundred.",
                time(runner.empty_operation_ns),
                time(late + runner.empty_operation_ns)
            ),
        );
        let counts = [
            (runner.cold_vus, "VUs were made while an arrival waited for them"),
            (runner.rested_vus, "VUs rested because they kept using their whole time slice"),
            (runner.events_dropped, "events were dropped because an observer was slow"),
            (runner.log_lines_dropped, "log lines were dropped, being beyond the limit"),
            (
                runner.journal_merged,
                "intervals of the journal were merged, its disk being too slow",
            ),
        ];
        for (count, words) in counts.iter().filter(|(count, _)| *count > 0) {
            self.note(2, &format!("{count} {words}"));
        }
        for (name, words) in &runner.limits {
            self.note(2, &printable(&format!("{name}: {words}"), 3 * TEXT));
        }
    }

    fn remarks(&mut self, summary: &Summary) {
        if summary.remarks.is_empty() {
            return;
        }
        self.title("remarks");
        for remark in &summary.remarks {
            self.note(2, &printable(remark, 4 * TEXT));
        }
    }

    fn verdict(&mut self, summary: &Summary) {
        let verdict = &summary.verdict;
        let (sign, style) = sign(verdict.status);
        let word = self.paint(style.bold(), &format!("{sign} {}", verdict.status.words()));
        self.text.push('\n');
        self.line(&format!("{word} · exit code {}", verdict.exit_code));
        for cause in &verdict.causes {
            self.note(2, &format!("{}: {}", cause.code(), cause.meaning()));
        }
        for reason in &verdict.reasons {
            self.note(4, &printable(reason, 4 * TEXT));
        }
    }
}

const fn sign(status: Status) -> (&'static str, Style) {
    match status {
        Status::Pass => ("✓", GREEN),
        Status::Warn => ("!", YELLOW),
        Status::Fail => ("✗", RED),
        Status::NoData | Status::Insufficient | Status::Invalid => ("?", YELLOW),
        Status::NotApplicable | Status::KnownFailing => ("–", FAINT),
    }
}

/// Times that are not the runner's own; of their series only what is told apart by operation or
/// failure.
pub(super) fn is_shown(summary: &Summary, metric: &MetricSummary, long: bool) -> bool {
    let own = ["dispatch_delay", "runner_", "guest_cpu_time"];
    let Values::Trend(values) = &metric.values else { return false };
    if own.iter().any(|own| metric.name.starts_with(own)) || metric.tags.contains_key("phase") {
        return false;
    }
    if values.count + values.censored == 0 {
        return false;
    }
    // Of a suite, what all its workloads measured together is no one thing's time.
    let of_suite = summary.rows.len() > 1 || summary.run.workloads.len() > 1;
    let own = metric.tags.keys().all(|key| of_suite && (key == "row" || key == "workload"));
    if long || (own && of_suite != metric.tags.is_empty()) {
        return true;
    }
    if own {
        return false;
    }
    if metric.tags.get("outcome").is_some_and(|outcome| outcome == "error") {
        return true;
    }
    let Some(op) = metric.tags.get("op") else { return false };
    summary.metrics.iter().any(|other| {
        other.name == metric.name
            && other.tags.get("row") == metric.tags.get("row")
            && other.tags.get("op").is_some_and(|other| other != op)
    })
}

/// Over how many seconds a metric was measured: of a suite, those of its workload.
pub(super) fn seconds(summary: &Summary, metric: &MetricSummary) -> f64 {
    let own = summary.run.workloads.iter().find(|workload| match metric.tags.get("row") {
        Some(rows) => workload.rows.join("+") == *rows,
        None => {
            workload.duration_s > 0.0
                && metric.tags.get("workload").is_some_and(|name| *name == workload.name)
        }
    });
    own.map_or(summary.run.duration_s, |workload| workload.duration_s)
}

/// How near to its limit what was measured is, or how far beyond it: 1 is at the limit.
pub(super) fn closeness(threshold: &ThresholdResult) -> f64 {
    let (Some(observed), Some(limit)) = (threshold.observed, threshold.limit) else { return 0.0 };
    if threshold.expression.contains("==") || threshold.expression.contains("!=") {
        // It holds or it does not: there is no distance.
        return 0.0;
    }
    let least = threshold.expression.contains('>');
    let (small, large) = if least { (limit, observed) } else { (observed, limit) };
    if large == 0.0 { 0.0 } else { small / large }
}

/// The beginning of a text, as long as its place.
fn fit(text: &str, place: usize) -> String {
    if text.chars().count() <= place {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(place - 1).collect();
    format!("{beginning}…")
}

/// Whether a threshold is about a share, which is shown in percent.
pub(super) fn is_share(summary: &Summary, threshold: &ThresholdResult) -> bool {
    let metric = summary.metrics.iter().find(|metric| metric.name == threshold.metric);
    metric.is_some_and(|metric| metric.kind == Kind::Rate)
        && threshold.expression.trim_start().starts_with("rate")
}

/// What was measured, how far that is from the limit, how sure it is, and of how many samples.
pub(super) fn observation(threshold: &ThresholdResult, shares: bool) -> String {
    let unit = printable(&threshold.unit, TEXT);
    let show = |value: f64| if shares { share(value) } else { quantity(value, &unit) };
    let mut parts = vec![threshold.status.words().to_owned()];
    if let Some(observed) = threshold.observed {
        let open = threshold.censored > 0 && threshold.interval.is_none();
        let at_least = open && threshold.status != Status::Pass;
        let sign = if at_least { "≥ " } else { "" };
        parts.push(format!("{sign}{}", show(observed)));
        match threshold.limit {
            // How far below the limit it is cannot be said of what is only known from below.
            Some(limit) if at_least && observed < limit => {
                parts.push(format!("limit {}", show(limit)));
            }
            Some(limit) => parts.push(distance(observed, limit, shares, &show)),
            None => {}
        }
    }
    if let Some([low, high]) = threshold.interval {
        parts.push(format!("95 %: {} to {}", show(low), show(high)));
    }
    parts.push(format!("n {}", threshold.samples));
    if threshold.censored > 0 {
        parts.push(format!("{} censored", threshold.censored));
    }
    let parts: Vec<_> = parts.iter().map(|part| part.replace(' ', "\u{a0}")).collect();
    parts.join("\u{a0}· ")
}

fn distance(observed: f64, limit: f64, shares: bool, show: &impl Fn(f64) -> String) -> String {
    let side = if observed < limit { "below" } else { "above" };
    if observed == limit {
        return format!("at the limit of {}", show(limit));
    }
    let far = (observed - limit).abs();
    let far = if shares {
        format!("{} points", digits(far * 100.0))
    } else if limit == 0.0 {
        show(far)
    } else {
        format!("{} %", digits(far / limit.abs() * 100.0))
    };
    format!("{far} {side} {}", show(limit))
}

pub(super) fn percent(value: f64) -> String {
    format!("{value:.0} %")
}

/// Six right-aligned columns that fit into 80.
fn cells(texts: &[String; 6]) -> String {
    let mut line = " ".repeat(2);
    for text in texts {
        let pad = 13_usize.saturating_sub(text.chars().count());
        line.push_str(&" ".repeat(pad));
        line.push_str(text);
    }
    line
}

/// A value of a trend, `≥` where it is only a lower bound, `–` where it is missing.
pub(super) fn bound(values: &TrendValues, name: &str, value: Option<f64>, unit: Unit) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if values.is_at_least(name) => format!("≥{}", quantity(value, unit.symbol())),
        Some(value) => quantity(value, unit.symbol()),
    }
}

fn figures(values: &TrendValues, unit: Unit, duration_s: f64) -> [[String; 6]; 2] {
    let show = |name: &str, value| bound(values, name, value, unit);
    let rate = known(per_second(values.count, duration_s), "/s");
    let censored =
        if values.censored > 0 { format!("+{} cut", values.censored) } else { String::new() };
    [
        [
            values.count.to_string(),
            rate,
            show("mean", values.mean),
            show("min", values.min),
            show("stddev", values.stddev),
            censored,
        ],
        [
            show("p(50)", values.p50),
            show("p(90)", values.p90),
            show("p(95)", values.p95),
            show("p(99)", values.p99),
            show("p(99.9)", values.p999),
            show("max", values.max),
        ],
    ]
}

/// Lines of at most `width` characters, broken between words; a longer word is broken anywhere.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(String::new());
            used = 0;
        }
        while word.len() > width {
            let rest = word.split_off(width);
            lines.extend([word.iter().collect(), String::new()]);
            word = rest;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.extend(&word);
            used += word.len();
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[cfg(test)]
mod tests;
