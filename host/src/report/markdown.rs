//! The performance report as GitHub's Markdown: executive summary, a section for each row, analysis in words,
//! baseline, operations, resources, environment, and the figures of every metric at its end.
//!
//! [`brief`] is the same for a pull request: the verdict, what did not hold, the operations; at most
//! [`MOST_LINES`] lines, and never longer than a comment may be. Text of anyone's passes
//! [`escape`]: it is shown as it is written, mentions nobody, links nowhere and opens no markup.

use super::{
    comparison, cost, escape, first,
    quantity::{digits, known, per_second, quantity, share, time},
    story::Story,
    terminal::{bound, is_share, is_shown, observation, percent, seconds},
    within,
};
use crate::{
    metric::Unit,
    plan::Severity,
    run::summary::{MetricSummary, Row, Summary, TrendValues, Values},
    verdict::{Status, TargetFacts, ThresholdResult},
};

/// Lines of the brief report.
pub const MOST_LINES: usize = 60;
/// Bytes of a comment on a pull request, with room for what is put around it.
pub const MOST_BYTES: usize = 65_000;
/// Characters of one name or message.
const TEXT: usize = 240;
/// Characters of a sentence.
const LONG: usize = 2_000;
/// Figures of a baseline that changed, in the brief report.
const MOST_CHANGES: usize = 10;
/// Remarks of the brief report.
const MOST_REMARKS: usize = 4;
/// Rows of one table of the whole report.
const MOST_ROWS: usize = 400;

/// The whole report.
pub fn render(story: &Story) -> String {
    let summary = &story.summary;
    let mut page = Page { lines: Vec::new() };
    page.line(&format!("# {} — performance report", text(&summary.run.name)));
    page.about(summary);
    page.executive(summary);
    page.rows(summary);
    page.thresholds(summary);
    page.analysis(summary);
    page.operations(summary, usize::MAX);
    page.within(story);
    page.load(summary);
    page.resources(summary);
    page.checks(summary);
    page.errors(summary);
    page.baseline(summary);
    page.environment(summary);
    page.appendix(summary);
    page.text()
}

/// The report of a pull request.
pub fn brief(story: &Story) -> String {
    let summary = &story.summary;
    let mut page = Page { lines: Vec::new() };
    page.line(&format!("### {} — {}", badge(summary.verdict.status), text(&summary.run.name)));
    page.about(summary);
    for reason in summary.verdict.reasons.iter().take(5) {
        page.line(&format!("- {}", text(reason)));
    }
    page.line("");
    // What got worse is told figure by figure.
    let worse = first::worse(summary);
    for sentence in first::first(summary).iter().filter(|it| !worse.contains(it)).take(8) {
        page.line(&format!("- {}", prose(sentence)));
    }
    page.changes(summary);
    page.table_of_rows(summary, 12);
    let missed: Vec<_> = summary.thresholds.iter().filter(|it| it.status != Status::Pass).collect();
    page.table_of_thresholds(summary, &missed, 8);
    page.remarks(summary);
    page.operations(summary, 8);
    page.lines.truncate(MOST_LINES);
    let mut text = page.text();
    while text.len() > MOST_BYTES && page.lines.pop().is_some() {
        text = page.text();
    }
    text
}

struct Page {
    lines: Vec<String>,
}

/// Text of anyone's, on one line.
fn text(words: &str) -> String {
    escape::markdown(words, TEXT)
}

/// A sentence of ours, with names of anyone's in it.
fn prose(words: &str) -> String {
    escape::markdown(words, LONG)
}

/// A status, to be seen at a glance.
pub(super) fn badge(status: Status) -> String {
    let sign = match status {
        Status::Pass => "✅",
        Status::Warn => "⚠️",
        Status::Fail => "❌",
        Status::NoData | Status::Insufficient | Status::Invalid => "❔",
        Status::NotApplicable | Status::KnownFailing => "➖",
    };
    format!("{sign} {}", status.words())
}

impl Page {
    fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }

    /// A line; of empty ones that follow each other only one.
    fn line(&mut self, line: &str) {
        if !line.is_empty() || self.lines.last().is_some_and(|last| !last.is_empty()) {
            self.lines.push(line.to_owned());
        }
    }

    fn title(&mut self, title: &str) {
        self.line("");
        self.line(&format!("## {title}"));
        self.line("");
    }

    /// A table; heads that end in `:` are of numbers.
    fn table(&mut self, heads: &[&str], rows: Vec<Vec<String>>, most: usize) {
        if rows.is_empty() {
            return;
        }
        let plain: Vec<_> = heads.iter().map(|head| head.trim_end_matches(':')).collect();
        let rule: Vec<_> =
            heads.iter().map(|head| if head.ends_with(':') { "---:" } else { "---" }).collect();
        self.line("");
        self.line(&format!("| {} |", plain.join(" | ")));
        self.line(&format!("| {} |", rule.join(" | ")));
        let more = rows.len().saturating_sub(most);
        for row in rows.into_iter().take(most) {
            self.line(&format!("| {} |", row.join(" | ")));
        }
        if more > 0 {
            self.line("");
            self.line(&format!("… and {more} more."));
        }
    }

    fn about(&mut self, summary: &Summary) {
        let run = &summary.run;
        let quick = if run.scale < 1.0 {
            format!(" · quick: {} of the plan", share(run.scale))
        } else {
            String::new()
        };
        self.line("");
        self.line(&format!(
            "{} · {} · seed {} · exit code {}{quick}",
            prose(&first::started(summary)),
            quantity(run.duration_s, "s"),
            run.seed,
            summary.verdict.exit_code
        ));
        if let Some(words) = run.unfinished() {
            self.line("");
            self.line(&format!("**{words}**"));
        }
        self.line("");
    }

    fn executive(&mut self, summary: &Summary) {
        self.title("Executive summary");
        self.line(&format!("**{}**", badge(summary.verdict.status)));
        self.line("");
        for cause in &summary.verdict.causes {
            self.line(&format!("- {}: {}", cause.code(), prose(cause.meaning())));
        }
        for reason in &summary.verdict.reasons {
            self.line(&format!("- {}", text(reason)));
        }
        self.table_of_rows(summary, MOST_ROWS);
    }

    fn table_of_rows(&mut self, summary: &Summary, most: usize) {
        let row = |row: &Row| {
            let own = summary.thresholds.iter().enumerate();
            let own: Vec<_> = own.filter(|(index, _)| row.thresholds.contains(index)).collect();
            let held = own.iter().filter(|(_, it)| it.status == Status::Pass).count();
            let why = row.reason.as_deref().map_or_else(String::new, text);
            vec![
                text(&row.row),
                badge(row.status),
                text(&row.priority),
                text(&row.backend),
                format!("{held} of {}", own.len()),
                why,
            ]
        };
        let rows = summary.rows.iter().map(row).collect();
        self.table(&["row", "status", "priority", "backend", "held:", "why"], rows, most);
    }

    /// A section for each row, its targets and what was observed.
    fn rows(&mut self, summary: &Summary) {
        for row in &summary.rows {
            self.title(&format!("{} — {}", text(&row.row), text(&row.workload)));
            let [status, priority, backend] =
                [badge(row.status), text(&row.priority), text(&row.backend)];
            self.line(&format!("{status} · {priority} · backend {backend}"));
            if let Some(reason) = &row.reason {
                self.lines.extend([String::new(), text(reason)]);
            }
            let own = row.thresholds.iter().filter_map(|index| summary.thresholds.get(*index));
            self.table_of_thresholds(summary, &own.collect::<Vec<_>>(), MOST_ROWS);
        }
    }

    fn thresholds(&mut self, summary: &Summary) {
        let covered = |index: &usize| summary.rows.iter().any(|row| row.thresholds.contains(index));
        let left: Vec<_> = (0..summary.thresholds.len())
            .filter(|index| !covered(index))
            .map(|index| &summary.thresholds[index])
            .collect();
        if !left.is_empty() {
            self.title("Thresholds");
            self.table_of_thresholds(summary, &left, MOST_ROWS);
        }
    }

    fn table_of_thresholds(
        &mut self,
        summary: &Summary,
        thresholds: &[&ThresholdResult],
        most: usize,
    ) {
        let row = |it: &&ThresholdResult| {
            let shares = is_share(summary, it);
            let severity = match it.severity {
                Severity::Critical => "",
                Severity::Warning => " (warning)",
                Severity::Info => " (info)",
            };
            let reason =
                it.reason.as_deref().map_or_else(String::new, |it| format!(" — {}", text(it)));
            let observation = observation(it, shares).replace('\u{a0}', " ");
            vec![
                badge(it.status),
                format!("{}{severity}", prose(&first::subject(it))),
                prose(&first::observed(summary, it)),
                format!("{}{reason}", prose(&observation)),
            ]
        };
        self.table(
            &["status", "target", "observed:", "judged"],
            thresholds.iter().map(row).collect(),
            most,
        );
    }

    fn analysis(&mut self, summary: &Summary) {
        self.title("Analysis: what to look at first");
        for sentence in first::first(summary) {
            self.line(&format!("- {}", prose(&sentence)));
        }
        for scaling in &summary.scaling {
            let row = |it: &crate::verdict::LevelFacts| {
                let or_none = |words: Option<String>| words.unwrap_or_else(|| "–".to_owned());
                vec![
                    digits(it.asked),
                    known(it.throughput, "/s"),
                    or_none(it.achieved.map(share)),
                    or_none(it.concurrency.map(digits)),
                    or_none(it.response_mean_ns.map(time)),
                    or_none(it.response_p95_ns.map(time)),
                    or_none(it.errors.map(share)),
                ]
            };
            self.line("");
            self.line(&format!("Scaling of {}:", text(&scaling.scenario)));
            let rows = scaling.levels.iter().map(row).collect();
            let heads = ["asked:", "done:", "achieved:", "in system:", "mean:", "p95:", "errors:"];
            self.table(&heads, rows, MOST_ROWS);
        }
    }

    fn operations(&mut self, summary: &Summary, most: usize) {
        let shown = summary.metrics.iter().filter(|metric| is_shown(summary, metric, false));
        let rows: Vec<_> = shown
            .filter_map(|metric| match &metric.values {
                Values::Trend(values) => Some(operation(summary, metric, values)),
                _ => None,
            })
            .collect();
        if rows.is_empty() {
            return;
        }
        if most > MOST_ROWS {
            self.title("Operations");
        }
        let heads = [
            "operation",
            "count:",
            "rate:",
            "min:",
            "mean:",
            "p50:",
            "p95:",
            "p99:",
            "max:",
            "stddev:",
        ];
        self.table(&heads, rows, most.min(MOST_ROWS));
    }

    /// How well the run knows its own figures.
    fn within(&mut self, story: &Story) {
        self.line("");
        for (chapter, words) in story.chapters.iter().zip(within::within(story)) {
            let title = match story.chapters.len() {
                1 => String::new(),
                _ => format!("{}: ", text(&Story::title(chapter))),
            };
            if let Some(words) = words {
                self.line(&format!("- {title}{}", prose(&words)));
            }
        }
    }

    fn load(&mut self, summary: &Summary) {
        if summary.scenarios.is_empty() {
            return;
        }
        self.title("Load");
        let row = |it: &crate::verdict::ScenarioFacts| {
            vec![
                text(&it.name),
                text(&it.executor),
                it.asked_rate.map_or_else(|| "–".to_owned(), |rate| quantity(rate, "/s")),
                quantity(it.achieved_rate, "/s"),
                it.planned.to_string(),
                it.completed.to_string(),
                it.interrupted.to_string(),
                it.dropped.to_string(),
                it.never_started.to_string(),
                it.errors.to_string(),
            ]
        };
        let heads = [
            "scenario",
            "executor",
            "asked:",
            "achieved:",
            "planned:",
            "completed:",
            "interrupted:",
            "dropped:",
            "never started:",
            "errors:",
        ];
        self.table(&heads, summary.scenarios.iter().map(row).collect(), MOST_ROWS);
    }

    fn resources(&mut self, summary: &Summary) {
        self.title("CPU, memory, I/O");
        let runner = &summary.runner;
        let mut rows: Vec<_> = summary.targets.iter().map(target).collect();
        rows.push(vec![
            "the runner".to_owned(),
            percent(runner.cpu_percent),
            percent(runner.cpu_percent_max),
            quantity(runner.cpu_user_s, "s"),
            quantity(runner.cpu_system_s, "s"),
            quantity(runner.rss_bytes as f64, "B"),
            quantity(runner.peak_rss_bytes as f64, "B"),
            "–".to_owned(),
            "–".to_owned(),
            "–".to_owned(),
            "–".to_owned(),
        ]);
        let heads = [
            "process", "CPU:", "most:", "user:", "system:", "RSS:", "peak:", "VMS:", "read:",
            "written:", "network:",
        ];
        self.table(&heads, rows, MOST_ROWS);
        self.line("");
        for cost in cost::costs(summary) {
            let name = cost.workload.unwrap_or("the workload");
            self.line(&format!("- {} itself: {}", text(name), cost.words()));
        }
    }

    fn checks(&mut self, summary: &Summary) {
        if summary.checks.is_empty() {
            return;
        }
        self.title("Checks");
        let row = |it: &crate::run::summary::CheckSummary| {
            let total = it.passes + it.fails;
            let group = if it.group.is_empty() {
                String::new()
            } else {
                format!("{} › ", text(&it.group))
            };
            let held = share(it.passes as f64 / total.max(1) as f64);
            vec![
                format!("{group}{}", text(&it.name)),
                held,
                it.passes.to_string(),
                it.fails.to_string(),
            ]
        };
        let rows = summary.checks.iter().map(row).collect();
        self.table(&["check", "held:", "passes:", "fails:"], rows, MOST_ROWS);
    }

    fn errors(&mut self, summary: &Summary) {
        if summary.errors.is_empty() {
            return;
        }
        self.title("Errors");
        let row = |it: &crate::verdict::ErrorFacts| {
            let place = it.place.as_deref().map_or_else(String::new, text);
            vec![it.count.to_string(), text(&it.kind), text(&it.scenario), text(&it.message), place]
        };
        let rows = summary.errors.iter().map(row).collect();
        self.table(&["count:", "kind", "scenario", "first message", "place"], rows, MOST_ROWS);
    }

    /// How the run stands to its baseline, in words and in numbers.
    fn baseline(&mut self, summary: &Summary) {
        let Some(found) = &summary.baseline else { return };
        let told = comparison::told(found, &prose);
        self.title("Baseline");
        self.line(&format!("**{}** · {}", told.verdict, told.sides));
        self.line("");
        for kind in &told.kinds {
            self.line(&format!("- {}", kind.title));
            for (words, notes) in &kind.findings {
                self.line(&format!("  - {words}"));
                for note in notes {
                    self.line(&format!("    - {note}"));
                }
            }
        }
        let row =
            |it: comparison::Row| vec![it.name, it.base, it.new, it.change, it.word.to_owned()];
        let heads = ["metric", "baseline:", "this run:", "change:", "outcome"];
        self.table(&heads, told.rows.into_iter().map(row).collect(), MOST_ROWS);
        self.line("");
        told.remarks.iter().for_each(|remark| self.line(&format!("- {remark}")));
    }

    /// The same in one line for each figure that changed.
    fn changes(&mut self, summary: &Summary) {
        let Some(found) = &summary.baseline else { return };
        let told = comparison::told(found, &prose);
        self.line("");
        self.line(&format!("{}: **{}**", told.sides, told.verdict));
        let changed = told.kinds.iter().filter(|kind| kind.changed);
        let lines = changed.flat_map(|kind| {
            kind.findings.iter().map(|(words, _)| format!("- {}: {words}", kind.title))
        });
        let lines: Vec<_> = lines.collect();
        self.line("");
        lines.iter().take(MOST_CHANGES).for_each(|line| self.line(line));
        if lines.len() > MOST_CHANGES {
            self.line(&format!("- … and {} more", lines.len() - MOST_CHANGES));
        }
        self.line("");
    }

    /// What has to be known of the figures, such as that nothing was there to compare them with.
    fn remarks(&mut self, summary: &Summary) {
        self.line("");
        for remark in summary.remarks.iter().take(MOST_REMARKS) {
            self.line(&format!("- {}", prose(remark)));
        }
        let more = summary.remarks.len().saturating_sub(MOST_REMARKS);
        if more > 0 {
            self.line(&format!("- … and {more} more remarks in the whole report"));
        }
        self.line("");
    }

    fn environment(&mut self, summary: &Summary) {
        self.title("Environment");
        let it = &summary.environment;
        let mut rows = vec![
            ["system", &format!("{} {}", it.os, it.kernel)].map(text).to_vec(),
            ["processor", &format!("{}, {} cores", it.cpu, it.cores)].map(text).to_vec(),
            ["memory", &quantity(it.ram_bytes as f64, "B")].map(text).to_vec(),
            ["clock source", &it.clock_source].map(text).to_vec(),
            ["bus", &it.bus].map(text).to_vec(),
            ["database", &it.database].map(text).to_vec(),
            ["Wavetank", &it.version].map(text).to_vec(),
            ["command", &summary.run.command].map(text).to_vec(),
            ["an empty operation", &time(summary.runner.empty_operation_ns)].map(text).to_vec(),
        ];
        for workload in &summary.run.workloads {
            rows.push(
                ["workload", &format!("{} {}", workload.path, workload.digest)].map(text).to_vec(),
            );
        }
        for (name, words) in &summary.runner.limits {
            rows.push(["limit", &format!("{name}: {words}")].map(text).to_vec());
        }
        for remark in &summary.remarks {
            rows.push(["remark", remark].map(text).to_vec());
        }
        self.table(&["", ""], rows, MOST_ROWS);
    }

    /// Each metric in one line: the raw figures of all of it.
    fn appendix(&mut self, summary: &Summary) {
        self.title("Appendix: raw data");
        self.line("Every series is in `summary.json` of the run's folder; by interval: `--report csv=PATH`.");
        let row = |metric: &MetricSummary| {
            let unit = metric.unit.symbol();
            let show = |value: Option<f64>| {
                value.map_or_else(|| "–".to_owned(), |value| value.to_string())
            };
            let words = match &metric.values {
                Values::Trend(it) => format!(
                    "count {}, censored {}, min {}, mean {}, p50 {}, p90 {}, p95 {}, p99 {}, p99.9 {}, max {}, stddev {}",
                    it.count,
                    it.censored,
                    show(it.min),
                    show(it.mean),
                    show(it.p50),
                    show(it.p90),
                    show(it.p95),
                    show(it.p99),
                    show(it.p999),
                    show(it.max),
                    show(it.stddev)
                ),
                Values::Rate { rate, passes, total } => {
                    format!("share {}, {passes} of {total}", show(*rate))
                }
                Values::Counter { count, per_second } => {
                    format!("sum {count}, per second {}", show(*per_second))
                }
                Values::Gauge { value, min, max, avg } => format!(
                    "last {}, min {}, max {}, average {}",
                    show(*value),
                    show(*min),
                    show(*max),
                    show(*avg)
                ),
            };
            vec![text(&metric.name), unit.to_owned(), words]
        };
        let rows =
            summary.metrics.iter().filter(|metric| metric.tags.is_empty()).map(row).collect();
        self.table(&["metric", "unit", "values"], rows, MOST_ROWS);
    }
}

fn operation(summary: &Summary, metric: &MetricSummary, values: &TrendValues) -> Vec<String> {
    let tags: Vec<_> = metric.tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    let tags = if tags.is_empty() { String::new() } else { format!("{{{}}}", tags.join(",")) };
    let rate = known(per_second(values.count, seconds(summary, metric)), "/s");
    let show = |name: &str, value| bound(values, name, value, metric.unit);
    let cut =
        if values.censored > 0 { format!(" + {} cut", values.censored) } else { String::new() };
    vec![
        text(&format!("{}{tags}", metric.name)),
        format!("{}{cut}", values.count),
        rate,
        show("min", values.min),
        show("mean", values.mean),
        show("p(50)", values.p50),
        show("p(95)", values.p95),
        show("p(99)", values.p99),
        show("max", values.max),
        show("stddev", values.stddev),
    ]
}

fn target(target: &TargetFacts) -> Vec<String> {
    let none = || "–".to_owned();
    let bytes = |bytes: Option<u64>| {
        bytes.map_or_else(none, |it| quantity(it as f64, Unit::Bytes.symbol()))
    };
    vec![
        text(&target.name),
        target.cpu_percent.map_or_else(none, percent),
        target.cpu_percent_max.map_or_else(none, percent),
        quantity(target.cpu_user_s, "s"),
        quantity(target.cpu_system_s, "s"),
        bytes(target.rss_end_bytes),
        bytes(target.peak_rss_bytes),
        bytes(target.vms_bytes),
        bytes(Some(target.read_bytes)),
        bytes(Some(target.written_bytes)),
        bytes(target.network_bytes),
    ]
}
