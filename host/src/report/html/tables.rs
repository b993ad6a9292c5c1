//! The tables of the page: what was judged, what was measured, where, and by what.

use std::fmt::Write as _;

use super::{Page, chip, escape, text};
use crate::{
    metric::Unit,
    plan::Severity,
    report::{
        cost,
        course::{self, Course},
        first,
        printable::printable,
        quantity::{digits, known, per_second, quantity, share, time},
        terminal::{bound, is_share, is_shown, observation, percent, seconds},
    },
    run::summary::{MetricSummary, Summary, TrendValues, Values},
    verdict::{Estimate, LevelFacts, ProbeVerdict, Scaling, TargetFacts},
};

/// Rows of one table; the rest is in the raw data.
const MOST: usize = 300;

/// A head: its words, and whether its column is one of numbers.
pub(super) fn heads(words: &[(&str, bool)], sorts: bool) -> String {
    let head = |(words, number): &(&str, bool)| {
        let class = if *number { " class=\"n\"" } else { "" };
        let words = if sorts {
            format!("<button type=\"button\">{words}</button>")
        } else {
            (*words).to_owned()
        };
        format!("<th scope=\"col\"{class}>{words}</th>")
    };
    format!("<thead><tr>{}</tr></thead>", words.iter().map(head).collect::<String>())
}

/// A moment of the run: seconds from its beginning.
pub(super) fn when(at_s: f64) -> String {
    format!("{} s", digits((at_s * 1e3).round() / 1e3))
}

/// A number as it is read, and as it is sorted by.
pub(super) fn number(words: &str, value: Option<f64>) -> String {
    let value = value.filter(|it| it.is_finite()).map_or_else(String::new, |it| it.to_string());
    format!("<td class=\"n\" data-v=\"{value}\">{}</td>", escape(words))
}

impl Page<'_> {
    pub(super) fn table(
        &mut self,
        id: &str,
        title: &str,
        heads: &str,
        rows: &[String],
        sorts: bool,
    ) {
        if rows.is_empty() {
            return;
        }
        let class = if sorts { " class=\"sortable\"" } else { "" };
        let heading =
            if title.is_empty() { String::new() } else { format!("<h2 id=\"{id}\">{title}</h2>") };
        let shown = rows.iter().take(MOST).cloned().collect::<String>();
        self.push(&format!(
            "{heading}<div class=\"card scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{title}\"><table{class}>{heads}<tbody>{shown}</tbody></table></div>"
        ));
        if rows.len() > MOST {
            self.push(&format!(
                "<p class=\"hint\">… and {} more, in the raw data.</p>",
                rows.len() - MOST
            ));
        }
    }

    pub(super) fn rows(&mut self, summary: &Summary) {
        let head = heads(
            &[
                ("row", false),
                ("status", false),
                ("priority", false),
                ("backend", false),
                ("thresholds held", true),
                ("workload", false),
            ],
            true,
        );
        let row = |row: &crate::run::summary::Row| {
            let own = row.thresholds.iter().filter_map(|index| summary.thresholds.get(*index));
            let passed = own.clone().filter(|it| it.status == crate::verdict::Status::Pass).count();
            let all = own.count();
            let reason = row
                .reason
                .as_ref()
                .map_or_else(String::new, |it| format!("<span class=\"why\">{}</span>", text(it)));
            format!(
                "<tr><td><b>{}</b></td><td>{}</td><td>{}</td><td>{}</td>{}<td class=\"name\">{}{reason}</td></tr>",
                text(&row.row),
                chip(row.status),
                text(&row.priority),
                text(&row.backend),
                number(&format!("{passed} of {all}"), Some(passed as f64)),
                text(&row.workload)
            )
        };
        let rows: Vec<_> = summary.rows.iter().map(row).collect();
        self.table("rows", "Rows", &head, &rows, true);
    }

    pub(super) fn thresholds(&mut self) {
        let summary = &self.story.summary;
        let head = heads(
            &[
                ("status", false),
                ("threshold", false),
                ("observed", true),
                ("limit", true),
                ("over time", false),
                ("first beyond", true),
            ],
            true,
        );
        let mut rows = Vec::new();
        for (index, threshold) in summary.thresholds.iter().enumerate() {
            let chronicle = self.story.chapter_of(index).map(|it| &it.chronicle);
            let course = chronicle.and_then(|it| course::course(threshold, it));
            let shares = is_share(summary, threshold);
            let unit = printable(&threshold.unit, 24);
            let show = |value: f64| if shares { share(value) } else { quantity(value, &unit) };
            let severity = match threshold.severity {
                Severity::Critical => "",
                Severity::Warning => " (warning)",
                Severity::Info => " (info)",
            };
            let reason = threshold
                .reason
                .as_ref()
                .map_or_else(String::new, |it| format!("<span class=\"why\">{}</span>", text(it)));
            let breach = course.as_ref().and_then(|it| it.breach_s);
            let beyond = match (&course, breach) {
                (Some(course), Some(at)) => {
                    format!("{} ({} of {})", when(at), course.beyond, course.points.len())
                }
                (Some(_), None) => "never".to_owned(),
                (None, _) => "–".to_owned(),
            };
            let spark = course.as_ref().map_or_else(
                || "–".to_owned(),
                |it| spark(it, chronicle.map_or(0.0, |it| it.duration_s)),
            );
            rows.push(format!(
                "<tr><td>{}</td><td class=\"name\">{}{severity}<span class=\"why\">{}</span>{reason}</td>{}{}<td>{spark}</td>{}</tr>",
                chip(threshold.status),
                escape(&first::subject(threshold)),
                escape(&observation(threshold, shares).replace('\u{a0}', " ")),
                number(&first::observed(summary, threshold), threshold.observed),
                number(&threshold.limit.map_or_else(|| "–".to_owned(), show), threshold.limit),
                number(&beyond, breach.or(Some(f64::MAX)))
            ));
        }
        self.table("thresholds", "Thresholds", &head, &rows, true);
        if !summary.thresholds.is_empty() {
            self.push("<p class=\"hint\">Over time: the figure of each step by itself (of <code>each</code>: of each window), the limit dashed; where only a stage or a part of the run is judged, that is shaded. A threshold judges all of it together: a step beyond the limit is where to look, and no verdict.</p>");
        }
    }

    pub(super) fn operations(&mut self, summary: &Summary) {
        let head = heads(
            &[
                ("operation", false),
                ("count", true),
                ("rate", true),
                ("mean", true),
                ("min", true),
                ("p50", true),
                ("p90", true),
                ("p95", true),
                ("p99", true),
                ("p99.9", true),
                ("max", true),
                ("stddev", true),
            ],
            true,
        );
        let rows: Vec<_> = summary
            .metrics
            .iter()
            .filter(|metric| is_shown(summary, metric, false))
            .filter_map(|metric| match &metric.values {
                Values::Trend(values) => Some(operation(summary, metric, values)),
                _ => None,
            })
            .collect();
        self.table("operations", "Operations", &head, &rows, true);
        if rows.is_empty() {
            self.push("<h2 id=\"operations\">Operations</h2><p class=\"card\">No operation took a time that is shown.</p>");
        }
    }

    pub(super) fn checks(&mut self, summary: &Summary) {
        let head = heads(
            &[("", false), ("check", false), ("held", true), ("passes", true), ("fails", true)],
            true,
        );
        let row = |check: &crate::run::summary::CheckSummary| {
            let total = check.passes + check.fails;
            let part = check.passes as f64 / total.max(1) as f64;
            let (class, sign) =
                if check.fails == 0 { ("pass", "held") } else { ("fail", "missed") };
            let group = if check.group.is_empty() {
                String::new()
            } else {
                format!("{} › ", text(&check.group))
            };
            format!(
                "<tr><td><span class=\"chip {class}\">{sign}</span></td><td class=\"name\">{group}{}</td>{}{}{}</tr>",
                text(&check.name),
                number(&share(part), Some(part)),
                number(&check.passes.to_string(), Some(check.passes as f64)),
                number(&check.fails.to_string(), Some(check.fails as f64))
            )
        };
        let rows: Vec<_> = summary.checks.iter().map(row).collect();
        self.table("checks", "Checks", &head, &rows, true);
    }

    pub(super) fn errors(&mut self, summary: &Summary) {
        let head = heads(
            &[("count", true), ("kind", false), ("scenario", false), ("first message", false)],
            true,
        );
        let row = |error: &crate::verdict::ErrorFacts| {
            let place = error.place.as_ref().map_or_else(String::new, |it| {
                format!("<span class=\"why\">at {}</span>", text(it))
            });
            format!(
                "<tr>{}<td>{}</td><td>{}</td><td class=\"name\">{}{place}</td></tr>",
                number(&error.count.to_string(), Some(error.count as f64)),
                text(&error.kind),
                text(&error.scenario),
                text(&error.message)
            )
        };
        let rows: Vec<_> = summary.errors.iter().map(row).collect();
        self.table("errors", "Errors", &head, &rows, true);
    }

    pub(super) fn targets(&mut self, summary: &Summary) {
        let head = heads(
            &[
                ("target", false),
                ("CPU", true),
                ("most", true),
                ("user", true),
                ("system", true),
                ("memory", true),
                ("most", true),
                ("read", true),
                ("written", true),
                ("threads", true),
                ("starts", true),
            ],
            true,
        );
        let rows: Vec<_> = summary.targets.iter().map(target).collect();
        self.table("targets", "Targets", &head, &rows, true);
    }

    pub(super) fn load(&mut self, summary: &Summary) {
        let head = heads(
            &[
                ("scenario", false),
                ("asked", true),
                ("achieved", true),
                ("over", true),
                ("planned", true),
                ("started", true),
                ("completed", true),
                ("interrupted", true),
                ("dropped", true),
                ("never started", true),
                ("errors", true),
                ("VUs", true),
            ],
            true,
        );
        let count = |value: u64| number(&value.to_string(), Some(value as f64));
        let row = |it: &crate::verdict::ScenarioFacts| {
            let model = if it.open {
                ""
            } else {
                ", closed model: cannot see what waits while the system stalls"
            };
            let short = if it.runner_short > 0 {
                format!(
                    "<span class=\"why\">{} arrivals late or missing by the runner's fault</span>",
                    it.runner_short
                )
            } else {
                String::new()
            };
            format!(
                "<tr><td class=\"name\">{}<span class=\"why\">{}{model}</span>{short}</td>{}{}{}{}{}{}{}{}{}{}{}</tr>",
                text(&it.name),
                text(&it.executor),
                number(&known(it.asked_rate, "/s"), it.asked_rate),
                number(&quantity(it.achieved_rate, "/s"), Some(it.achieved_rate)),
                number(&quantity(it.duration_s, "s"), Some(it.duration_s)),
                count(it.planned),
                count(it.started),
                count(it.completed),
                count(it.interrupted),
                count(it.dropped),
                count(it.never_started),
                count(it.errors),
                number(&format!("{} of {}", it.vus, it.vus_max), Some(f64::from(it.vus)))
            )
        };
        let rows: Vec<_> = summary.scenarios.iter().map(row).collect();
        self.table("load", "Load", &head, &rows, true);
    }

    pub(super) fn derived(&mut self, summary: &Summary) {
        let head =
            heads(&[("derived metric", false), ("value", true), ("95 % interval", true)], false);
        let row = |it: &crate::run::summary::DerivedSummary| {
            let unit = it.unit.symbol();
            let interval = it.interval.map_or_else(
                || "–".to_owned(),
                |[low, high]| format!("{} to {}", quantity(low, unit), quantity(high, unit)),
            );
            let why = it.why.as_ref().map_or_else(String::new, |why| {
                format!("<span class=\"why\">{}</span>", text(why))
            });
            format!(
                "<tr><td class=\"name\">{}<span class=\"why\">{}</span>{why}</td>{}{}</tr>",
                text(&it.name),
                text(&it.source),
                number(&known(it.value, unit), it.value),
                number(&interval, None)
            )
        };
        let rows: Vec<_> = summary.derived.iter().map(row).collect();
        self.table("derived", "Derived metrics", &head, &rows, false);
    }

    pub(super) fn scaling(&mut self, summary: &Summary) {
        for (index, scaling) in summary.scaling.iter().enumerate() {
            let id = if index == 0 { " id=\"scaling\"" } else { "" };
            let class = scaling.class.as_deref().unwrap_or("not fitted");
            self.push(&format!(
                "<h2{id}>Scaling of {}: {}</h2><section class=\"card\"><p class=\"hint\">Load against what was done and how long it took; the knee is dashed.</p><div class=\"plot\" id=\"knee-{index}\" aria-label=\"Load against throughput and response time\"></div></section>",
                text(&scaling.scenario),
                text(class)
            ));
            let head = heads(
                &[
                    ("asked", true),
                    ("done", true),
                    ("achieved", true),
                    ("in system", true),
                    ("mean", true),
                    ("p95", true),
                    ("errors", true),
                ],
                false,
            );
            let rows: Vec<_> = scaling.levels.iter().map(|it| level(scaling, it)).collect();
            self.table("", "", &head, &rows, false);
            self.law(scaling);
        }
    }

    fn law(&mut self, scaling: &Scaling) {
        let unit = if scaling.open { "/s" } else { "" };
        let estimate = |it: Estimate, unit: &str| {
            let interval = it.interval.map_or_else(String::new, |[low, high]| {
                format!(" (95 % in {} to {})", quantity(low, unit), quantity(high, unit))
            });
            format!("{}{interval}", quantity(it.value, unit))
        };
        let mut facts = Vec::new();
        for (words, figure, unit) in [
            ("λ, one in the system", scaling.lambda, "/s"),
            ("σ, contention", scaling.sigma, ""),
            ("κ, coherence", scaling.kappa, ""),
            ("most in the system", scaling.peak_concurrency, ""),
            ("highest throughput", scaling.peak_throughput, "/s"),
        ] {
            facts.extend(figure.map(|figure| (words, estimate(figure, unit))));
        }
        facts.extend(scaling.knee.map(|knee| ("knee", quantity(knee, unit))));
        if let (Some(headroom), Some(expected)) = (scaling.headroom, scaling.expected) {
            facts.push((
                "headroom",
                format!("{} × the expected {}", digits(headroom), quantity(expected, unit)),
            ));
        }
        facts.extend(scaling.operation.iter().map(|it| {
            ("operation that grows most", format!("{}, {} ×", text(&it.op), digits(it.factor)))
        }));
        facts.extend(scaling.resource.iter().map(|it| ("resource used up", text(it))));
        facts.extend(scaling.remarks.iter().map(|it| ("remark", text(it))));
        self.facts(&facts);
    }

    /// Facts whose values have been escaped.
    fn facts(&mut self, facts: &[(&str, String)]) {
        let pair = |(words, value): &(&str, String)| format!("<dt>{words}</dt><dd>{value}</dd>");
        let pairs: String = facts.iter().map(pair).collect();
        self.push(&format!("<div class=\"card\"><dl class=\"kv\">{pairs}</dl></div>"));
    }

    pub(super) fn searches(&mut self, summary: &Summary) {
        for (index, search) in summary.searches.iter().enumerate() {
            let id = if index == 0 { " id=\"search\"" } else { "" };
            let found = match (search.max_rate, search.failed) {
                (Some(rate), Some(failed)) if !search.runner_limited => {
                    format!("{} held, {} did not", quantity(rate, "/s"), quantity(failed, "/s"))
                }
                (Some(rate), _) => format!("at least {}", quantity(rate, "/s")),
                (None, _) => "none was found".to_owned(),
            };
            self.push(&format!("<h2{id}>Highest rate of {}: {found}</h2>", text(&search.scenario)));
            let head = heads(
                &[
                    ("probe", false),
                    ("asked", true),
                    ("done", true),
                    ("left", true),
                    ("empty in", true),
                    ("why", false),
                ],
                false,
            );
            let row = |it: &crate::verdict::ProbeFacts| {
                let (class, words) = match it.verdict {
                    ProbeVerdict::Passed => ("pass", "passed"),
                    ProbeVerdict::Failed => ("fail", "failed"),
                    ProbeVerdict::Runner => ("unsure", "runner"),
                };
                format!(
                    "<tr><td><span class=\"chip {class}\">{words}</span></td>{}{}{}{}<td class=\"name\">{}</td></tr>",
                    number(&quantity(it.asked, "/s"), Some(it.asked)),
                    number(&quantity(it.achieved, "/s"), Some(it.achieved)),
                    number(&it.left.to_string(), Some(it.left as f64)),
                    number(&known(it.drained_s, "s"), it.drained_s),
                    text(it.reason.as_deref().unwrap_or_default())
                )
            };
            let rows: Vec<_> = search.probes.iter().map(row).collect();
            self.table("", "", &head, &rows, false);
            let mut facts: Vec<_> =
                search.limited_by.iter().map(|it| ("limited by", text(it))).collect();
            facts.extend(search.remarks.iter().map(|it| ("remark", text(it))));
            if !facts.is_empty() {
                self.facts(&facts);
            }
        }
    }

    pub(super) fn machine(&mut self, summary: &Summary) {
        let runner = &summary.runner;
        self.push("<h2 id=\"machine\">Runner and environment</h2><div class=\"two\">");
        let mut facts = vec![
            (
                "CPU",
                format!(
                    "{} of {}, at most {} in a second",
                    percent(runner.cpu_percent),
                    percent(f64::from(runner.cores) * 100.0),
                    percent(runner.cpu_percent_max)
                ),
            ),
            (
                "memory",
                format!(
                    "{}, at most {}",
                    quantity(runner.rss_bytes as f64, "B"),
                    quantity(runner.peak_rss_bytes as f64, "B")
                ),
            ),
            ("an empty operation", time(runner.empty_operation_ns)),
            ("a clock read", time(runner.clock_read_ns)),
        ];
        for (words, name) in [
            ("loop lag", "runner_loop_lag"),
            ("late start: due → released (runner)", "dispatch_delay_release"),
            ("late start: released → VU free (system)", "dispatch_delay_queue"),
            ("late start: VU free → started (runner)", "dispatch_delay_start"),
        ] {
            if let Some(trend) = summary.trend(name) {
                let show =
                    |name: &str, value| escape(&bound(trend, name, value, Unit::Nanoseconds));
                facts.push((
                    words,
                    format!(
                        "p50 {}, p99 {}, max {}",
                        show("p(50)", trend.p50),
                        show("p(99)", trend.p99),
                        show("max", trend.max)
                    ),
                ));
            }
        }
        facts.extend(cost::costs(summary).into_iter().map(|cost| {
            let name = cost.workload.map_or_else(String::new, |name| format!("{}: ", text(name)));
            ("a workload itself", format!("{name}{}", cost.words()))
        }));
        for (count, words) in [
            (runner.cold_vus, "VUs made while an arrival waited"),
            (runner.rested_vus, "VUs that rested"),
            (runner.events_dropped, "events dropped"),
            (runner.log_lines_dropped, "log lines dropped"),
        ] {
            if count > 0 {
                facts.push((words, count.to_string()));
            }
        }
        facts.extend(
            runner.limits.iter().map(|(name, words)| ("limit", text(&format!("{name}: {words}")))),
        );
        facts.extend(summary.remarks.iter().take(40).map(|it| ("remark", text(it))));
        self.facts(&facts);
        self.environment(summary);
        self.push("</div>");
    }

    fn environment(&mut self, summary: &Summary) {
        let it = &summary.environment;
        let mut facts = vec![
            ("system", text(&format!("{} {}", it.os, it.kernel))),
            ("processor", text(&format!("{}, {} cores", it.cpu, it.cores))),
            ("memory", quantity(it.ram_bytes as f64, "B")),
            ("clock source", text(&it.clock_source)),
            ("bus", text(&it.bus)),
            ("database", text(&it.database)),
            ("command", format!("<code>{}</code>", text(&summary.run.command))),
        ];
        for workload in summary.run.workloads.iter().take(40) {
            facts.push((
                "workload",
                format!(
                    "{} <span class=\"why\">{}</span>",
                    text(&workload.path),
                    text(&workload.digest)
                ),
            ));
        }
        self.facts(&facts);
    }
}

fn operation(summary: &Summary, metric: &MetricSummary, values: &TrendValues) -> String {
    let tags: Vec<_> = metric.tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    let tags = if tags.is_empty() { String::new() } else { format!("{{{}}}", tags.join(",")) };
    let cut = if values.censored > 0 {
        format!("<span class=\"why\">{} cut off</span>", values.censored)
    } else {
        String::new()
    };
    let rate = per_second(values.count, seconds(summary, metric));
    let show =
        |name: &str, value: Option<f64>| number(&bound(values, name, value, metric.unit), value);
    format!(
        "<tr><td class=\"name\">{}{cut}</td>{}{}{}{}{}{}{}{}{}{}{}</tr>",
        text(&format!("{}{tags}", metric.name)),
        number(&values.count.to_string(), Some(values.count as f64)),
        number(&known(rate, "/s"), rate),
        show("mean", values.mean),
        show("min", values.min),
        show("p(50)", values.p50),
        show("p(90)", values.p90),
        show("p(95)", values.p95),
        show("p(99)", values.p99),
        show("p(99.9)", values.p999),
        show("max", values.max),
        show("stddev", values.stddev)
    )
}

fn level(scaling: &Scaling, level: &LevelFacts) -> String {
    let asked = if scaling.open {
        quantity(level.asked, "/s")
    } else {
        format!("{} VUs", digits(level.asked))
    };
    let or_none = |words: Option<String>| words.unwrap_or_else(|| "–".to_owned());
    let bound =
        |nanos: f64| if level.at_least { format!("≥ {}", time(nanos)) } else { time(nanos) };
    let cells = [
        (asked, Some(level.asked)),
        (known(level.throughput, "/s"), level.throughput),
        (or_none(level.achieved.map(share)), level.achieved),
        (or_none(level.concurrency.map(digits)), level.concurrency),
        (or_none(level.response_mean_ns.map(bound)), level.response_mean_ns),
        (or_none(level.response_p95_ns.map(bound)), level.response_p95_ns),
        (or_none(level.errors.map(share)), level.errors),
    ];
    format!(
        "<tr>{}</tr>",
        cells.iter().map(|(words, value)| number(words, *value)).collect::<String>()
    )
}

fn target(target: &TargetFacts) -> String {
    let bytes = |bytes: Option<u64>| {
        number(
            &bytes.map_or_else(|| "–".to_owned(), |it| quantity(it as f64, "B")),
            bytes.map(|it| it as f64),
        )
    };
    let part = |part: Option<f64>| number(&part.map_or_else(|| "–".to_owned(), percent), part);
    let state = if target.running { "" } else { " (does not run)" };
    let mut why = String::new();
    if target.unplanned_deaths > 0 {
        let died = target.unplanned_deaths;
        let _ = write!(why, "<span class=\"why\">died {died} times unplanned</span>");
    }
    for line in target.last_lines.iter().take(8) {
        let _ = write!(why, "<span class=\"why\"><code>{}</code></span>", text(line));
    }
    format!(
        "<tr><td class=\"name\">{}{state}{why}</td>{}{}{}{}{}{}{}{}{}{}</tr>",
        text(&target.name),
        part(target.cpu_percent),
        part(target.cpu_percent_max),
        number(&quantity(target.cpu_user_s, "s"), Some(target.cpu_user_s)),
        number(&quantity(target.cpu_system_s, "s"), Some(target.cpu_system_s)),
        bytes(target.rss_end_bytes),
        bytes(target.rss_max_bytes),
        bytes(Some(target.read_bytes)),
        bytes(Some(target.written_bytes)),
        number(
            &target.threads_max.map_or_else(|| "–".to_owned(), |it| it.to_string()),
            target.threads_max.map(|it| it as f64)
        ),
        number(&target.starts.to_string(), Some(f64::from(target.starts)))
    )
}

/// A small line of the course, with its limit and where it was first beyond it.
fn spark(course: &Course, end_s: f64) -> String {
    const WIDTH: f64 = 168.0;
    const HEIGHT: f64 = 34.0;
    const MOST_POINTS: usize = 84;
    const MOST_SPANS: usize = 24;
    let per_point = course.points.len().div_ceil(MOST_POINTS);
    // Of neighbours that share a point the worst is shown.
    let (low, high) =
        course.points.iter().fold((course.limit, course.limit), |(low, high), (_, value)| {
            (low.min(*value), high.max(*value))
        });
    let room = if high > low { high - low } else { 1.0 };
    let x = |at: f64| if end_s > 0.0 { (at / end_s * WIDTH).clamp(0.0, WIDTH) } else { 0.0 };
    let y = |value: f64| HEIGHT - 3.0 - (value - low) / room * (HEIGHT - 6.0);
    let worst = |points: &[(f64, f64)]| {
        let by_value = |one: &(f64, f64), other: &(f64, f64)| one.1.total_cmp(&other.1);
        let points = points.iter().copied();
        if course.least { points.min_by(by_value) } else { points.max_by(by_value) }
    };
    let points: Vec<_> = course.points.chunks(per_point).filter_map(worst).collect();
    // Where nothing was measured, or judged, there is no line.
    let apart = course.step_s * (2 * per_point) as f64;
    let joined = |one: Option<&(f64, f64)>, other: Option<&(f64, f64)>| {
        one.zip(other).is_some_and(|(one, other)| other.0 - one.0 < apart)
    };
    let mut line = String::new();
    for (index, (at, value)) in points.iter().enumerate() {
        let here = points.get(index);
        let before = index.checked_sub(1).and_then(|index| points.get(index));
        let (x, y) = (x(*at), y(*value));
        let _ = match (joined(before, here), joined(here, points.get(index + 1))) {
            (true, _) => write!(line, "L{x:.1},{y:.1}"),
            (false, true) => write!(line, "M{x:.1},{y:.1}"),
            // One by itself is a dash, or nothing would be seen of it.
            (false, false) => write!(line, "M{:.1},{y:.1}h3", x - 1.5),
        };
    }
    let mut judged = String::new();
    for (from, to) in course.spans.iter().take(MOST_SPANS) {
        let (from, to) = (x(*from), x(*to));
        let _ = write!(
            judged,
            "<rect class=\"judged\" x=\"{from:.1}\" width=\"{:.1}\" y=\"0\" height=\"{HEIGHT}\"/>",
            (to - from).max(0.5)
        );
    }
    let limit = y(course.limit);
    let beyond = course.breach_s.map_or_else(String::new, |at| {
        format!(
            "<line class=\"beyond\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"0\" y2=\"{HEIGHT}\"/>",
            x(at)
        )
    });
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"course of the figure and its limit\">{judged}\
         <line class=\"limit\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{limit:.1}\" y2=\"{limit:.1}\"/>{beyond}<path d=\"{line}\"/></svg>"
    )
}
