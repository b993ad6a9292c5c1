//! The report as one HTML file: no request leaves it, and it needs nothing beside it.
//!
//! The words and tables are written here; the charts are drawn by a script of ours on uPlot, both embedded.
//! A content security policy names the hashes of exactly these two scripts and two style sheets, forbids
//! everything else, and so makes sure that no markup of a workload could run or call anywhere, even if one
//! slipped through [`text`]. The page stays within [`MOST_BYTES`] however long the run was: there are fewer
//! steps in its charts the more workloads it has, and fewer yet if it came out too large.

mod baseline;
mod charts;
mod tables;

use std::fmt::Write as _;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    first,
    printable::printable,
    quantity::{quantity, share},
    story::{Chapter, Story},
    terminal::bound,
    within,
};
use crate::{
    metric::Unit,
    run::{MarkerKind, comparison::BaseTime, summary::Summary},
    verdict::Status,
};

/// The largest page.
const MOST_BYTES: usize = 2_000_000;
/// Steps of a chart, and times that a reader can choose: the first pair that fits is taken.
const SIZES: [(u32, usize); 6] = [(360, 10), (240, 6), (120, 4), (60, 3), (30, 2), (15, 1)];
/// Characters of one name or message.
const TEXT: usize = 240;
/// Bytes of a workload's text.
const MOST_SOURCE: usize = 120_000;
/// Bytes of the raw data with the histograms of every series.
const MOST_RAW: usize = 500_000;

const CHARTS: &str = include_str!("../../../assets/uplot/uPlot.iife.min.js");
const CHARTS_STYLE: &str = include_str!("../../../assets/uplot/uPlot.min.css");
const SCRIPT: &str = include_str!("../../../assets/page/page.js");
const STYLE: &str = include_str!("../../../assets/page/page.css");

/// The page.
pub fn render(story: &Story) -> String {
    let mut page = String::new();
    let within = within::within(story);
    for (steps, times) in SIZES {
        page = Page::new(story, &within, (steps, times)).render();
        if page.len() <= MOST_BYTES {
            break;
        }
    }
    page
}

struct Page<'a> {
    story: &'a Story,
    /// What each chapter knows of its own figures.
    within: &'a [Option<String>],
    html: String,
    steps: u32,
    times: usize,
    /// Data of the charts.
    chapters: Vec<Value>,
}

/// Text of anyone's, fit for the inside of an element or of a quoted attribute.
fn text(words: &str) -> String {
    escape(&printable(words, TEXT))
}

fn escape(words: &str) -> String {
    let mut out = String::with_capacity(words.len() + words.len() / 8);
    for character in words.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// JSON that can stand inside a script element: nothing in it ends the element, and it is all ASCII.
fn embedded(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    let mut out = String::with_capacity(json.len());
    for unit in json.encode_utf16() {
        match char::from_u32(u32::from(unit)) {
            Some(c) if c.is_ascii() && !matches!(c, '<' | '>' | '&' | '\u{7f}') => out.push(c),
            _ => drop(write!(out, "\\u{unit:04x}")),
        }
    }
    out
}

/// How a status is painted.
const fn paint(status: Status) -> &'static str {
    match status {
        Status::Pass => "pass",
        Status::Warn => "warn",
        Status::Fail => "fail",
        Status::NoData | Status::Insufficient | Status::Invalid => "unsure",
        Status::NotApplicable | Status::KnownFailing => "idle",
    }
}

fn chip(status: Status) -> String {
    format!("<span class=\"chip {0}\">{1}</span>", paint(status), status.words())
}

fn hash(content: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content.as_bytes())))
}

/// What the page may do: run these two scripts, use these two style sheets, and nothing else.
fn policy() -> String {
    format!(
        "default-src 'none'; script-src {} {}; style-src {} {}; base-uri 'none'; form-action 'none'",
        hash(CHARTS),
        hash(SCRIPT),
        hash(CHARTS_STYLE),
        hash(STYLE)
    )
}

impl<'a> Page<'a> {
    fn new(story: &'a Story, within: &'a [Option<String>], (steps, times): (u32, usize)) -> Self {
        let few = story.chapters.len().max(1) as u32;
        // Of a suite each workload has its share of the room.
        let steps = if few > 3 { (steps / 3).max(15) } else { steps };
        let times = if few > 3 { times.min(4) } else { times };
        Self { story, within, html: String::new(), steps, times, chapters: Vec::new() }
    }

    fn push(&mut self, html: &str) {
        self.html.push_str(html);
        self.html.push('\n');
    }

    fn render(mut self) -> String {
        let summary = &self.story.summary;
        self.head(summary);
        self.push("<main id=\"main\">");
        self.banner(summary);
        self.tiles(summary);
        self.first(summary);
        self.rows(summary);
        self.thresholds();
        self.baseline(summary);
        for (index, chapter) in self.story.chapters.iter().enumerate() {
            self.chapter(index, chapter);
        }
        self.scaling(summary);
        self.searches(summary);
        self.operations(summary);
        self.checks(summary);
        self.errors(summary);
        self.targets(summary);
        self.load(summary);
        self.derived(summary);
        self.machine(summary);
        self.sources();
        self.raw(summary);
        self.push("</main>");
        self.foot(summary);
        self.html
    }

    fn head(&mut self, summary: &Summary) {
        let run = &summary.run;
        let title = text(&run.name);
        self.push("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">");
        let policy = policy();
        self.push(&format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">"));
        self.push("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
        self.push("<meta name=\"referrer\" content=\"no-referrer\">");
        self.push(&format!(
            "<title>{title} · {} · Wavetank</title>",
            summary.verdict.status.words()
        ));
        self.push(&format!("<style>{CHARTS_STYLE}</style>\n<style>{STYLE}</style>"));
        self.push("</head>\n<body>\n<a class=\"skip\" href=\"#main\">To the report</a>");
        let quick = if run.scale < 1.0 {
            format!(" · quick: {} of the plan", share(run.scale))
        } else {
            String::new()
        };
        self.push(&format!(
            "<header><div class=\"top\"><div><h1>{title}</h1><p class=\"facts\">{} · {} · seed {} · {} {}{quick}</p>\
             <p class=\"facts\">{}</p></div><div class=\"tools\"><button id=\"theme\" type=\"button\" \
             aria-label=\"Switch between dark and light\">Dark / light</button></div></div></header>",
            escape(&first::started(summary)),
            quantity(run.duration_s, "s"),
            run.seed,
            run.shards,
            if run.shards == 1 { "shard" } else { "shards" },
            text(&run.id),
        ));
        let links = [
            ("rows", "Rows", !summary.rows.is_empty()),
            ("thresholds", "Thresholds", !summary.thresholds.is_empty()),
            ("baseline", "Baseline", summary.baseline.is_some()),
            ("course", "Over time", !self.story.chapters.is_empty()),
            ("scaling", "Scaling", !summary.scaling.is_empty()),
            ("search", "Highest rate", !summary.searches.is_empty()),
            ("operations", "Operations", true),
            ("checks", "Checks", !summary.checks.is_empty()),
            ("errors", "Errors", !summary.errors.is_empty()),
            ("targets", "Targets", !summary.targets.is_empty()),
            ("load", "Load", !summary.scenarios.is_empty()),
            ("machine", "Runner", true),
            ("source", "Source", self.story.chapters.iter().any(|it| it.source.is_some())),
            ("raw", "Raw data", true),
        ];
        let links = links.iter().filter(|(_, _, there)| *there);
        let link =
            |(id, words, _): &(&str, &str, bool)| format!("<li><a href=\"#{id}\">{words}</a></li>");
        let links: String = links.map(link).collect();
        self.push(&format!("<nav aria-label=\"Sections\"><ul>{links}</ul></nav>"));
    }

    fn banner(&mut self, summary: &Summary) {
        let verdict = &summary.verdict;
        let mut reasons: Vec<_> = verdict
            .causes
            .iter()
            .map(|cause| format!("<li>{}: {}</li>", cause.code(), cause.meaning()))
            .collect();
        reasons.extend(verdict.reasons.iter().take(12).map(|it| format!("<li>{}</li>", text(it))));
        if verdict.reasons.len() > 12 {
            reasons.push(format!("<li>… and {} more, below</li>", verdict.reasons.len() - 12));
        }
        reasons.extend(summary.run.unfinished().map(|words| format!("<li>{words}</li>")));
        let reasons = if reasons.is_empty() {
            String::new()
        } else {
            format!("<ul>{}</ul>", reasons.concat())
        };
        self.push(&format!(
            "<div class=\"banner {0}\" id=\"verdict\" role=\"status\"><strong class=\"{0}\">{1}</strong> · exit code {2}{reasons}</div>",
            paint(verdict.status),
            verdict.status.words().to_uppercase(),
            verdict.exit_code
        ));
    }

    fn tiles(&mut self, summary: &Summary) {
        let mut tiles = Vec::new();
        let held = summary.thresholds.iter().filter(|it| it.status == Status::Pass).count();
        if !summary.thresholds.is_empty() {
            tiles.push((format!("{held} of {}", summary.thresholds.len()), "thresholds held"));
        }
        let sum = |count: fn(&crate::verdict::ScenarioFacts) -> u64| -> u64 {
            summary.scenarios.iter().map(count).sum()
        };
        tiles.push((quantity(sum(|it| it.completed) as f64, ""), "iterations completed"));
        let (asked, open) = (
            summary.scenarios.iter().filter_map(|it| it.asked_rate).sum::<f64>(),
            summary.scenarios.len() == 1,
        );
        if open && asked > 0.0 {
            tiles.push((quantity(summary.scenarios[0].achieved_rate, "/s"), "achieved rate"));
        }
        for (name, words) in [
            ("iteration_response_time", "p99 of the response time"),
            ("bus_request_duration", "p99 of a bus request"),
            ("effect_duration", "p99 until an effect is seen"),
            ("db_query_duration", "p99 of a database query"),
        ] {
            if let Some(trend) = summary.trend(name).filter(|it| it.count + it.censored > 0)
                && summary.run.workloads.len() <= 1
            {
                tiles.push((bound(trend, "p(99)", trend.p99, Unit::Nanoseconds), words));
            }
        }
        let errors = sum(|it| it.errors);
        tiles.push((quantity(errors as f64, ""), "iterations with an error"));
        let tile = |(figure, words): &(String, &str)| {
            format!("<div class=\"tile\"><b>{}</b><span>{words}</span></div>", escape(figure))
        };
        let tiles: String = tiles.iter().map(tile).collect();
        self.push(&format!("<div class=\"tiles\">{tiles}</div>"));
    }

    fn first(&mut self, summary: &Summary) {
        let item = |it: &String| format!("<li>{}</li>", escape(it));
        let sentences: String = first::first(summary).iter().map(item).collect();
        self.push(&format!("<h2 id=\"first\">What to look at first</h2><div class=\"card\"><ul class=\"first\">{sentences}</ul></div>"));
    }

    fn chapter(&mut self, index: usize, chapter: &Chapter) {
        let id = format!("c{index}");
        let base = self.base_times(chapter);
        let charts = charts::charts(chapter, &id, (self.steps, self.times), &base);
        let heading = if index == 0 { "<h2 id=\"course\">Over time</h2>" } else { "" };
        let title = text(&Story::title(chapter));
        let many = self.story.chapters.len() > 1;
        if many {
            let open = if index == 0 { " open" } else { "" };
            self.push(&format!(
                "{heading}<details class=\"card chapter\"{open}><summary>{title}</summary>"
            ));
        } else {
            self.push(heading);
        }
        let width = chapter.chronicle.timeline.within(self.steps).width_s;
        self.push(&format!(
            "<p class=\"hint\">A step is {}. Drag over a chart to look closer, double-click to go back; with the \
             keyboard: arrows move, Escape goes back.</p><div class=\"charts\">",
            quantity(f64::from(width), "s")
        ));
        if !charts.subjects.is_empty() {
            let option = |(index, name): (usize, &String)| {
                format!("<option value=\"{index}\">{}</option>", escape(name))
            };
            let options: String = charts.subjects.iter().enumerate().map(option).collect();
            self.push(&format!(
                "<p class=\"wide hint\"><label>Time shown: <select id=\"{id}-subject\">{options}</select></label></p>"
            ));
            for place in charts::subject_places(&id, charts.based) {
                self.place(&place);
            }
        }
        for place in &charts.places {
            self.place(place);
        }
        self.push("</div>");
        self.marks(chapter);
        if let Some(Some(words)) = self.within.get(index) {
            self.push(&format!("<p class=\"hint\">{}</p>", escape(words)));
        }
        if many {
            self.push("</details>");
        }
        self.chapters.push(charts.data);
    }

    /// The baseline's times of a chapter's workload.
    fn base_times(&self, chapter: &Chapter) -> Vec<&'a BaseTime> {
        let found = self.story.summary.baseline.as_ref();
        let times = found.map_or(&[][..], |found| &found.base_times);
        let alone = self.story.chapters.len() == 1;
        let own = |it: &&BaseTime| {
            if it.workload.is_empty() { alone } else { it.workload == chapter.name }
        };
        times.iter().filter(own).collect()
    }

    fn place(&mut self, place: &charts::Place) {
        let charts::Place { host, title, hint } = place;
        self.push(&format!(
            "<section class=\"card\"><div class=\"chart-head\"><h3>{title}</h3></div><p class=\"hint\">{hint}</p>\
             <div class=\"plot\" id=\"{host}\" aria-label=\"{title}. {hint}\"></div></section>"
        ));
    }

    /// What happened, in words: lines on a chart have none.
    fn marks(&mut self, chapter: &Chapter) {
        let shown: Vec<_> =
            chapter.chronicle.markers.iter().filter(|it| it.kind != MarkerKind::Scenario).collect();
        if shown.is_empty() {
            return;
        }
        let mark = |it: &&&crate::run::Marker| {
            let took = it.until_s.map_or_else(String::new, |until| {
                format!(", {}", quantity((until - it.at_s).max(0.0), "s"))
            });
            let at = tables::when(it.at_s);
            format!("<li><time>{at}</time> {} {}{took}</li>", text(&it.what), it.kind.words())
        };
        let items: String = shown.iter().take(60).map(|it| mark(&it)).collect();
        let more = shown.len().saturating_sub(60) as u64 + chapter.chronicle.markers_dropped;
        let more = if more > 0 { format!("<li>… and {more} more</li>") } else { String::new() };
        self.push(&format!(
            "<section class=\"card\"><h3>What happened</h3><ul class=\"marks\">{items}{more}</ul></section>"
        ));
    }

    fn sources(&mut self) {
        let chapters: Vec<_> =
            self.story.chapters.iter().filter(|chapter| chapter.source.is_some()).collect();
        if chapters.is_empty() {
            return;
        }
        self.push("<h2 id=\"source\">Source</h2>");
        let room = MOST_SOURCE / chapters.len();
        for chapter in chapters {
            let source = chapter.source.as_deref().unwrap_or_default();
            let mut lines = String::new();
            let mut cut = "";
            for line in source.lines() {
                if lines.len() > room {
                    cut = "<p class=\"hint\">The rest is left out.</p>";
                    break;
                }
                lines.push_str(&escape(&printable(&line.replace('\t', "    "), 1_000)));
                lines.push('\n');
            }
            let title = text(&Story::title(chapter));
            self.push(&format!(
                "<details class=\"card\"><summary>{title}</summary><pre tabindex=\"0\"><code>{lines}</code></pre>{cut}</details>"
            ));
        }
    }

    fn raw(&mut self, summary: &Summary) {
        let mut raw = embedded(summary);
        let mut words =
            "All of the summary (<code>wavetank schema summary</code>) is inside this page.";
        if raw.len() > MOST_RAW
            && let Ok(mut value) = serde_json::to_value(summary)
        {
            for metric in value["metrics"].as_array_mut().into_iter().flatten() {
                if let Some(histogram) = metric.pointer_mut("/values/histogram") {
                    *histogram = Value::from("");
                }
            }
            raw = embedded(&value);
            words = "The summary (<code>wavetank schema summary</code>) is inside this page, without its histograms: \
                     they are in the run's folder.";
        }
        let room = MOST_BYTES / 2;
        if raw.len() > room {
            raw = embedded(
                &json!({ "left_out": "larger than this page may be; see summary.json in the run's folder" }),
            );
            words = "The summary is too large for this page; it is in the run's folder.";
        }
        self.push(&format!(
            "<h2 id=\"raw\">Raw data</h2><div class=\"card\"><p class=\"hint\">{words}</p><button id=\"save\" \
             type=\"button\">Save summary.json</button></div>"
        ));
        self.push(&format!("<script type=\"application/json\" id=\"summary\">{raw}</script>"));
    }

    fn foot(&mut self, summary: &Summary) {
        self.push(&format!(
            "<footer><p>Wavetank {} · percentiles of tables are the highest equivalent value at rank ⌈q·n⌉ (0.1 %), those of \
             charts of the samples of each step (1.6 %) · charts by uPlot (MIT)</p>\
             <noscript><p>Charts need JavaScript; every figure in words and tables is here without.</p></noscript></footer>",
            text(&summary.run.version)
        ));
        let knees = charts::knees(self.story);
        let data = json!({ "chapters": self.chapters, "knees": knees });
        self.push(&format!(
            "<script type=\"application/json\" id=\"data\">{}</script>\n<script>{CHARTS}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>",
            embedded(&data)
        ));
    }
}
