//! Every format against strings that want to be more than text, and against a run of a day.
//!
//! A story with something in every field is walked as JSON and each of its strings, and each key that a
//! workload chooses, replaced by a nasty one. A page of it must have exactly the structure of the same page
//! with harmless strings: whatever markup, cells, lines or commands there are more came out of a string.

mod baseline;
mod log;

use serde_json::{Value, json};

use super::{
    csv, github, html, json as json_report, junit, markdown,
    story::{Chapter, Story},
    terminal,
};
use crate::{
    clock::Instant,
    metric::{Builtin, Names, Outcome, Recorder, RecorderConfig, TagSet, Timeline},
    run::{Asked, Chronicle, Marker, MarkerKind, summary::Summary},
};

/// Strings that something somewhere acts upon.
const NASTY: &[&str] = &[
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title></style></pre><img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)\" x=\"",
    "' onfocus='alert(1)' autofocus='",
    "<!--<script>",
    "--><b>",
    "<![CDATA[ ]]> ]]>",
    "&lt;b&gt; &amp; &#x3c;",
    "javascript:alert(1)",
    "a\u{2028}b\u{2029}c",
    "\u{202e}gnp.exe\u{2066}",
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "\u{9b}31m",
    "nul\0and\u{fffe}\u{ffff}",
    "=cmd|'/C calc'!A0",
    "+1+cmd",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "\r\n=1+1",
    "＝1+1",
    "`rm -rf` ``` ~~~",
    "a | b || c",
    "[text](https://example.invalid) ![x](y) <https://example.invalid>",
    "https://example.invalid www.example.invalid",
    "@everyone #1 GH-1",
    "# head\n\n---\n- list\n> quote\n| a | b |\n|---|---|",
    "::error title=owned::owned",
    "x\n::set-output name=a::b\n%0A::warning::c",
    "%0A%0D%25",
    "{{7*7}} ${7*7} <%= 7*7 %>",
    "🌊 naïve 日本語",
    "",
];

/// Words for what a workload or a system may have said.
fn nasty() -> Vec<String> {
    let mut all: Vec<_> = NASTY.iter().map(|it| (*it).to_owned()).collect();
    all.push("<b>".repeat(100));
    all
}

fn threshold(metric: &str, expression: &str, status: &str, severity: &str) -> Value {
    json!({
        "metric": metric, "selector": "{op:get}", "expression": expression, "severity": severity,
        "row": "R1", "status": status, "observed": 9_550_000.0, "interval": [9.3e6, 9.7e6], "limit": 1e7,
        "unit": "ns", "samples": 1_000, "censored": 5, "reason": "a reason",
    })
}

fn metric(name: &str, kind: &str, unit: &str, tags: Value, values: Value) -> Value {
    json!({ "name": name, "type": kind, "unit": unit, "tags": tags, "values": values })
}

fn trend() -> Value {
    json!({
        "count": 1_000, "censored": 5, "at_least": ["max"], "mean": 5e6, "stddev": 1e6, "min": 1e4, "med": 5e6,
        "max": 1e7, "p(50)": 5e6, "p(90)": 9e6, "p(95)": 9.5e6, "p(99)": 9.9e6, "p(99.9)": 1e7,
        "histogram": "aGlzdG9ncmFt",
    })
}

fn measured() -> Value {
    json!([
        metric("bus_request_duration", "trend", "ns", json!({}), trend()),
        metric("bus_request_duration", "trend", "ns", json!({ "op": "get" }), trend()),
        metric("bus_request_duration", "trend", "ns", json!({ "op": "set" }), trend()),
        metric(
            "bus_request_duration",
            "trend",
            "ns",
            json!({ "op": "get", "outcome": "error" }),
            trend()
        ),
        metric("iteration_response_time", "trend", "ns", json!({}), trend()),
        metric("runner_loop_lag", "trend", "ns", json!({}), trend()),
        metric(
            "checks",
            "rate",
            "",
            json!({}),
            json!({ "rate": 0.98, "passes": 98, "total": 100 })
        ),
        metric("iterations", "counter", "", json!({}), json!({ "count": 50.0, "per_second": 5.0 })),
        metric(
            "vus",
            "gauge",
            "",
            json!({}),
            json!({ "value": 5.0, "min": 3.0, "max": 5.0, "avg": 4.0 })
        ),
    ])
}

fn drivers() -> (Value, Value) {
    let estimate = json!({ "value": 10.0, "interval": [9.0, 11.0] });
    let level = |asked: f64| {
        json!({
            "level": "a level", "asked": asked, "throughput": asked * 0.99, "achieved": 0.99, "concurrency": 2.0,
            "response_mean_ns": 1e6 * asked, "response_p95_ns": 2e6 * asked, "at_least": true, "errors": 0.01,
            "resources": { "cpu": 12.0 },
        })
    };
    let scaling = json!([{
        "scenario": "steps", "open": true, "levels": [level(10.0), level(20.0), level(40.0)], "class": "linear",
        "lambda": estimate, "sigma": estimate, "kappa": estimate, "peak_concurrency": estimate,
        "peak_throughput": estimate, "knee": 30.0, "expected": 5.0, "headroom": 6.0, "elasticity": 0.1,
        "operation": { "op": "get", "metric": "bus_request_duration", "elasticity": 1.0, "factor": 2.0 },
        "resource": "target_cpu", "remarks": ["a remark"],
    }]);
    let searches = json!([{
        "scenario": "hunt", "max_rate": 100.0, "failed": 110.0, "runner_limited": false, "confirmed": true,
        "limited_by": "p99", "expected": 25.0, "headroom": 4.0, "remarks": ["another"],
        "probes": [{
            "level": "100", "asked": 100.0, "achieved": 99.0, "verdict": "passed", "reason": "a reason", "left": 0,
            "drained_s": 0.1, "runner_cpu_percent": 10.0, "thresholds": [threshold("m", "p(95) < 1ms", "pass", "critical")],
        }],
    }]);
    (scaling, searches)
}

/// A summary with something in every field.
fn summary() -> Value {
    let (scaling, searches) = drivers();
    let scenario = |name: &str, open: bool| {
        json!({
            "name": name, "executor": "constant-arrival-rate", "open": open, "planned": 1_000, "started": 990,
            "completed": 988, "interrupted": 2, "dropped": 7, "never_started": 3, "errors": 1, "vus": 12,
            "vus_max": 20, "asked_rate": 100.0, "achieved_rate": 99.0, "runner_short": 3, "duration_s": 10.0,
        })
    };
    let mut all = json!({
        "schema": "wavetank.summary/1",
        "run": {
            "id": "an id", "name": "a name", "started": "2026-08-01T12:00:00.5Z", "duration_s": 10.0, "seed": 42,
            "scale": 0.1, "shards": 2, "command": "wavetank run", "version": "0.1.0", "complete": false,
            "workloads": [{ "path": "a.rhai", "digest": "sha256:0", "name": "a", "version": "1", "kind": "script",
                "rows": ["R1"], "duration_s": 10.0 }],
        },
        "verdict": { "status": "fail", "exit_code": 99, "causes": ["target_died", "thresholds_failed"],
            "reasons": ["one", "two"] },
        "rows": [
            { "row": "R1", "workload": "a", "backend": "E", "priority": "P0", "status": "fail", "thresholds": [0, 1, 2],
                "reason": "why" },
            { "row": "R6", "workload": "b", "backend": "E", "priority": "P1", "status": "not_applicable",
                "thresholds": [], "reason": "why not" },
        ],
        "thresholds": [
            threshold("bus_request_duration", "p(95) < 10ms", "pass", "critical"),
            threshold("bus_request_duration", "p(99) < 10ms", "fail", "critical"),
            threshold("bus_request_duration", "mean < 10ms", "insufficient", "warning"),
            threshold("bus_request_duration", "max < 10ms", "invalid", "critical"),
            threshold("checks", "rate > 0.9", "warn", "info"),
            threshold("checks", "count > 5", "no_data", "info"),
            threshold("checks", "count > 6", "known_failing", "critical"),
        ],
    });
    let more = json!({
        "metrics": measured(),
        "derived": [{ "name": "ratio", "source": "a / b", "unit": "", "value": 0.9, "interval": [0.8, 1.0], "why": "so" }],
        "scaling": scaling,
        "searches": searches,
        "checks": [
            { "name": "found", "group": "stats", "passes": 96, "fails": 4 },
            { "name": "answered", "group": "", "passes": 100, "fails": 0 },
        ],
        "scenarios": [scenario("steady", true), scenario("browse", false)],
        "errors": [{ "scenario": "steady", "kind": "threw", "message": "no such user", "place": "a.rhai:1:1", "count": 3 }],
        "remarks": ["a remark"],
    });
    let rest = json!({
        "targets": [{
            "name": "db", "source": "serve", "pid": 1, "running": false, "starts": 2, "planned_stops": 1,
            "unplanned_deaths": 1, "cpu_user_s": 1.0, "cpu_system_s": 0.5, "cpu_percent": 15.0, "cpu_percent_max": 90.0,
            "rss_start_bytes": 1, "rss_end_bytes": 2, "rss_max_bytes": 3, "peak_rss_bytes": 4, "pss_bytes": 5,
            "vms_bytes": 6, "read_bytes": 7, "written_bytes": 8, "network_bytes": 9, "threads_max": 10, "fds_max": 11,
            "slopes": [{ "metric": "target_rss_bytes", "per_second": 1.0, "interval": [0.0, 2.0] }],
            "last_lines": ["out of memory"],
        }],
        "runner": {
            "cores": 2, "cpu_percent": 30.0, "cpu_percent_max": 80.0, "cpu_user_s": 1.0, "cpu_system_s": 0.5,
            "rss_bytes": 1, "peak_rss_bytes": 2, "empty_operation_ns": 400.0, "clock_read_ns": 100.0, "cold_vus": 1,
            "rested_vus": 1, "events_dropped": 1, "log_lines_dropped": 1, "limits": { "maps": "near" },
        },
        "environment": { "os": "Linux", "kernel": "6", "cpu": "a cpu", "cores": 2, "ram_bytes": 1, "clock_source": "tsc",
            "bus": "embedded", "database": "embedded", "version": "0.1.0" },
    });
    for part in [more, rest] {
        for (key, value) in part.as_object().expect("an object") {
            all[key] = value.clone();
        }
    }
    all
}

/// A timeline of so many intervals of so many seconds, of so many operations.
fn timeline(intervals: u64, each_s: u64, operations: usize) -> Timeline {
    let config = RecorderConfig {
        registry: std::sync::Arc::default(),
        names: Names::default(),
        windowed: Vec::new(),
        max_series: 1_000,
    };
    let names = config.names.clone();
    let recorder = Recorder::new(config, 0, Instant::ZERO);
    let mut timeline = Timeline::default();
    timeline.begin(Instant::ZERO);
    for second in 0..intervals {
        let at = Instant::from_nanos(second * each_s * 1_000_000_000);
        for operation in 0..operations {
            let op = names.intern(if operation == 0 { "get" } else { "set" });
            let op = if operation > 1 { names.intern(&format!("op{operation}")) } else { op };
            let tags = TagSet { op, outcome: Outcome::Ok, ..TagSet::default() };
            for sample in 0..20_u64 {
                let value = 100_000
                    + (second * 7_919 + sample * 1_047_290 + operation as u64 * 31) % 20_000_000;
                recorder.trend(Builtin::BusRequestDuration.id(), tags, at, value);
            }
            let failed = TagSet { outcome: Outcome::Error, error: names.intern("timeout"), ..tags };
            recorder.trend(Builtin::BusRequestDuration.id(), failed, at, 5_000_000);
            recorder.rate(Builtin::BusRequestFailed.id(), tags, at, second % 7 == 0);
        }
        let target = TagSet { target: names.intern("db"), ..TagSet::default() };
        recorder.trend(Builtin::IterationResponseTime.id(), TagSet::default(), at, 1_000 + second);
        recorder.add(Builtin::Iterations.id(), TagSet::default(), at, 20.0);
        recorder.rate(Builtin::IterationErrors.id(), TagSet::default(), at, second % 5 == 0);
        recorder.rate(Builtin::Checks.id(), TagSet::default(), at, second % 5 != 0);
        recorder.gauge(Builtin::Vus.id(), TagSet::default(), at, 5.0);
        recorder.gauge(Builtin::RunnerCpuPercent.id(), TagSet::default(), at, 30.0);
        for metric in [Builtin::TargetCpuPercent, Builtin::TargetRssBytes] {
            recorder.gauge(metric.id(), target, at, 12.0 + second as f64);
        }
        for metric in [Builtin::TargetReadBytes, Builtin::TargetWrittenBytes] {
            recorder.add(metric.id(), target, at, 4_096.0);
        }
        let snapshot = recorder.take(Instant::from_nanos((second + 1) * each_s * 1_000_000_000));
        timeline.observe(&snapshot, recorder.registry(), recorder.names());
    }
    timeline
}

fn chronicle(intervals: u64, each_s: u64, operations: usize) -> Chronicle {
    let kinds = [
        MarkerKind::Scenario,
        MarkerKind::Down,
        MarkerKind::Restart,
        MarkerKind::Died,
        MarkerKind::Outage,
        MarkerKind::Stop,
    ];
    let marker = |(index, kind): (usize, MarkerKind)| Marker {
        kind,
        at_s: index as f64,
        until_s: Some(index as f64 + 1.0),
        what: "db".to_owned(),
    };
    let stage = |index: u32| Asked {
        scenario: "steady".to_owned(),
        stage: "up".to_owned(),
        open: index.is_multiple_of(2),
        from_s: f64::from(index) * 2.0,
        to_s: f64::from(index) * 2.0 + 2.0,
        from: 10.0,
        to: 20.0,
    };
    Chronicle {
        timeline: timeline(intervals, each_s, operations),
        duration_s: (intervals * each_s) as f64,
        asked: (0..4).map(stage).collect(),
        markers: kinds.into_iter().enumerate().map(marker).collect(),
        markers_dropped: 2,
    }
}

pub(super) fn story() -> Story {
    let mut whole = summary();
    whole["baseline"] = baseline::found();
    let summary: Summary = serde_json::from_value(whole).expect("a summary");
    let chapter = Chapter {
        name: "a".to_owned(),
        rows: vec!["R1".to_owned()],
        thresholds: summary.thresholds.len(),
        chronicle: chronicle(10, 1, 2),
        source: Some("fn iteration(ctx) {\n\t1 < 2 && 3 > 2\n}\n".to_owned()),
    };
    Story { summary, chapters: vec![chapter] }
}

/// The value with each of its strings replaced, as far as what it stands for can hold any string.
fn replaced<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T, words: &str) -> T {
    fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
        let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
        match value {
            Value::String(_) => found.push(path.to_owned()),
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(at, it)| leaves(it, &format!("{path}/{at}"), found));
            }
            Value::Object(fields) => {
                fields
                    .iter()
                    .for_each(|(key, it)| leaves(it, &format!("{path}/{}", escaped(key)), found));
            }
            _ => {}
        }
    }
    let whole = serde_json::to_value(value).expect("JSON");
    let mut found = Vec::new();
    leaves(&whole, "", &mut found);
    // What is alike is tried once: the same field of other elements of an array.
    let kind = |path: &str| {
        path.split('/').filter(|it| it.parse::<usize>().is_err()).collect::<Vec<_>>().join("/")
    };
    let mut refused: Vec<String> = Vec::new();
    let mut taken: Vec<String> = Vec::new();
    for path in &found {
        let kind = kind(path);
        if refused.contains(&kind) || taken.contains(&kind) {
            continue;
        }
        let mut changed = whole.clone();
        *changed.pointer_mut(path).expect("a leaf") = Value::from(words);
        let fits = serde_json::from_value::<T>(changed).is_ok();
        if fits { taken.push(kind) } else { refused.push(kind) }
    }
    let mut changed = whole;
    for path in found.iter().filter(|path| taken.contains(&kind(path))) {
        *changed.pointer_mut(path).expect("a leaf") = Value::from(words);
    }
    assert!(taken.len() > 1, "nothing was replaced");
    serde_json::from_value(changed).expect("what fits one by one fits together")
}

/// The story with such words wherever there is place for words; keys of tags and limits too.
fn told_with(words: &str) -> Story {
    let benign = story();
    let mut summary = replaced(&benign.summary, words);
    summary.runner.limits = [(words.to_owned(), words.to_owned())].into();
    for metric in &mut summary.metrics {
        if !metric.tags.is_empty() {
            metric.tags.insert(format!("z{words}"), words.to_owned());
        }
    }
    // An expression says which side of its limit is the better one; at the limit that is the same.
    for threshold in &mut summary.thresholds {
        threshold.observed = threshold.limit;
    }
    // What a page leaves out or puts together by these names is not what is looked at here.
    for (own, given) in summary.metrics.iter_mut().zip(&benign.summary.metrics) {
        own.name = format!("{}{words}", given.name);
    }
    let chapters = benign.chapters.iter().map(|chapter| {
        let mut chronicle = replaced(&chapter.chronicle, words);
        for (own, given) in
            chronicle.timeline.lines.iter_mut().zip(&chapter.chronicle.timeline.lines)
        {
            own.metric.clone_from(&given.metric);
            for (key, value) in &given.tags {
                own.tags.insert(
                    key.clone(),
                    if key == "outcome" { value.clone() } else { format!("{value}{words}") },
                );
            }
        }
        Chapter {
            name: words.to_owned(),
            rows: vec![words.to_owned()],
            source: Some(words.to_owned()),
            thresholds: chapter.thresholds,
            chronicle,
        }
    });
    Story { chapters: chapters.collect(), summary }
}

/// Characters that do something instead of being seen.
fn acts(text: &str) -> Option<char> {
    let invisible = [
        '\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{fffe}',
        '\u{ffff}',
    ];
    text.chars().find(|one| (one.is_control() && *one != '\n') || invisible.contains(one))
}

/// The tags of a document, without what stands between them.
fn markup(text: &str) -> Vec<String> {
    text.split('<')
        .skip(1)
        .filter_map(|part| part.split_once('>').map(|(tag, _)| tag.to_owned()))
        .filter(|tag| {
            tag.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'))
        })
        .collect()
}

/// A page without what its own scripts and style sheets say.
fn without_scripts(page: &str) -> String {
    let mut left = String::new();
    let mut rest = page;
    while let Some(at) = rest.find("<script").into_iter().chain(rest.find("<style")).min() {
        let end = if rest[at..].starts_with("<script") { "</script>" } else { "</style>" };
        let inside = rest[at..].find('>').map_or(rest.len(), |it| at + it + 1);
        left.push_str(&rest[..inside]);
        rest = rest[inside..].find(end).map_or("", |it| &rest[inside + it..]);
    }
    left + rest
}

/// Words that are nothing but words, to compare with.
const PLAIN: &str = "plain words";

#[test]
fn html_is_what_it_is_without_the_nasty_strings() {
    // What a tag says beside its attributes' own words: numbers in `data-v` and points of a line.
    let shape = |story: &Story| markup(&without_scripts(&html::render(story)));
    let expected = shape(&told_with(PLAIN));
    assert!(expected.len() > 500, "{}", expected.len());
    for words in nasty() {
        let told = told_with(&words);
        let page = html::render(&told);
        assert_eq!(acts(&page), None, "{words:.60?}");
        assert_eq!(page.matches("<script").count(), 4, "{words:.60?}");
        assert_eq!(page.matches("</script>").count(), 4, "{words:.60?}");
        let found = markup(&without_scripts(&page));
        // An empty source has fewer lines but no fewer tags; an empty name leaves out what is empty.
        if !words.trim().is_empty() {
            assert_eq!(found.len(), expected.len(), "{words:.60?}");
            let differs = found.iter().zip(&expected).find(|(one, other)| one != other);
            assert_eq!(differs, None, "{words:.60?}");
        }
    }
}

#[test]
fn html_calls_nowhere_and_allows_nothing_else() {
    let page = html::render(&story());
    let policy = page
        .split("Content-Security-Policy\" content=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    for tag in markup(&without_scripts(&page)) {
        for word in [" src=", " style=", "url(", "http:", "https:", "<link", "<iframe"] {
            assert!(!tag.contains(word) || tag.starts_with("meta"), "`{word}` in <{tag}>");
        }
        let handlers = tag.match_indices(" on").filter(|(at, _)| {
            let name = tag[at + 3..].split('=').next().unwrap_or_default();
            tag[at + 3..].contains('=')
                && !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphabetic())
        });
        assert_eq!(handlers.count(), 0, "<{tag}>");
        assert!(!tag.contains("href=") || tag.contains("href=\"#"), "<{tag}>");
    }
}

#[test]
fn html_of_a_day_and_of_a_whole_suite_fits() {
    let mut told = story();
    told.chapters[0].chronicle = chronicle(24 * 60, 60, 12);
    let page = html::render(&told);
    assert!(page.len() <= 2_000_000, "{} bytes", page.len());
    assert!(page.contains("\"p99\""), "no course");
    let one = chronicle(600, 1, 8);
    let chapter = |index: usize| Chapter {
        name: format!("workload {index}"),
        rows: vec![format!("R{index}")],
        thresholds: 0,
        chronicle: one.clone(),
        source: Some("fn iteration(ctx) { }\n".repeat(5_000)),
    };
    told.chapters = (0..20).map(chapter).collect();
    let page = html::render(&told);
    assert!(page.len() <= 2_000_000, "{} bytes", page.len());
    assert!(page.contains("c19-latency"), "a workload was left out");
}

#[test]
fn markdown_is_what_it_is_without_the_nasty_strings() {
    let bars = |page: &str| page.lines().map(|line| line.matches('|').count()).collect::<Vec<_>>();
    for render in [markdown::render, markdown::brief] {
        let expected = bars(&render(&told_with(PLAIN)));
        for words in nasty() {
            let page = render(&told_with(&words));
            assert_eq!(acts(&page), None, "{words:.60?}");
            assert!(!page.contains(['<', '@']), "{words:.60?}");
            let own = page.matches('`').count();
            assert!(own <= 4, "{words:.60?}: {own} backticks");
            for found in ["](", "://", "www.", "![", "\n# head", "\n> "] {
                assert!(!page.contains(found), "`{found}` of {words:.60?}");
            }
            if !words.trim().is_empty() {
                assert_eq!(bars(&page), expected, "{words:.60?}");
            }
        }
    }
}

#[test]
fn the_brief_report_fits_a_comment() {
    let mut told = story();
    let long = "<b>&|@".repeat(200_000);
    told.summary.verdict.reasons = vec![long.clone(); 100];
    told.summary.checks.clear();
    for threshold in &mut told.summary.thresholds {
        threshold.reason = Some(long.clone());
    }
    told.summary.thresholds = vec![told.summary.thresholds[1].clone(); 300];
    assert!(markdown::brief(&story()).contains("\n- a remark\n"));
    told.summary.remarks = vec![long.clone(); 100];
    let page = markdown::brief(&told);
    assert!(page.len() <= markdown::MOST_BYTES, "{}", page.len());
    assert!(page.lines().count() <= markdown::MOST_LINES, "{}", page.lines().count());
    assert!(page.starts_with("### ❌ fail — a name"), "{page:.100}");
}

#[test]
fn the_whole_report_has_its_sections() {
    let page = markdown::render(&story());
    for section in [
        "## Executive summary",
        "## R1 — a",
        "## Analysis",
        "## Operations",
        "## Load",
        "## CPU, memory, I/O",
        "## Checks",
        "## Errors",
        "## Baseline",
        "## Environment",
        "## Appendix: raw data",
    ] {
        assert!(page.contains(section), "no `{section}` in:\n{page}");
    }
    for figure in ["9.55 ms", "98 of 100", "✅ pass", "❌ fail", "the runner"] {
        assert!(page.contains(figure), "no `{figure}` in:\n{page}");
    }
}

/// The figures of the charts.
fn charts_of(page: &str) -> Value {
    let inside = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    serde_json::from_str(inside).unwrap()
}

#[test]
fn csv_cells_are_numbers_or_harmless_text() {
    let width = csv::COLUMNS.len();
    let count = csv::render(&told_with(PLAIN)).lines().count();
    let summary_only = |words: &str| Story { chapters: Vec::new(), ..told_with(words) };
    for words in nasty() {
        for told in [told_with(&words), summary_only(&words)] {
            let table = csv::render(&told);
            assert_eq!(acts(&table), None, "{words:.60?}");
            if !told.chapters.is_empty() {
                assert_eq!(table.lines().count(), count, "{words:.60?}");
            }
            let mut reader = ::csv::Reader::from_reader(table.as_bytes());
            for record in reader.records() {
                let record = record.unwrap();
                assert_eq!(record.len(), width);
                for cell in &record {
                    let acts = cell.trim_start().starts_with(['=', '+', '-', '@', '|', '＝']);
                    assert!(!acts || cell.parse::<f64>().is_ok(), "{cell:.60?} of {words:.60?}");
                }
            }
        }
    }
}

#[test]
fn csv_has_each_interval_and_loses_no_count() {
    let table = csv::render(&story());
    let mut reader = ::csv::Reader::from_reader(table.as_bytes());
    let heads = reader.headers().unwrap().clone();
    let at = |name: &str| heads.iter().position(|head| head == name).unwrap();
    let (mut counted, mut iterations) = (0.0, 0.0);
    for record in reader.records() {
        let record = record.unwrap();
        let number = |name: &str| record[at(name)].parse::<f64>().unwrap();
        if &record[at("metric")] == "iterations" {
            iterations += number("sum");
            assert_eq!(number("to_s") - number("from_s"), 1.0);
        }
        if &record[at("metric")] == "bus_request_duration"
            && record[at("tags")].contains("outcome=ok")
        {
            counted += number("count");
        }
    }
    assert_eq!((iterations, counted), (200.0, 400.0));
}

#[test]
fn junit_is_what_it_is_without_the_nasty_strings() {
    // Names without their attributes' words.
    let shape = |xml: &str| {
        let name = |tag: &String| tag.split([' ', '>']).next().unwrap_or_default().to_owned();
        markup(xml).iter().map(name).collect::<Vec<_>>()
    };
    let expected = shape(&junit::render(&told_with(PLAIN)));
    for words in nasty() {
        let xml = junit::render(&told_with(&words));
        assert_eq!(acts(&xml), None, "{words:.60?}");
        assert!(!xml.contains("]]>") && !xml.contains("<!"), "{words:.60?}");
        assert_eq!(xml.matches('"').count() % 2, 0);
        assert_eq!(shape(&xml), expected, "{words:.60?}");
    }
}

#[test]
fn junit_fails_where_the_run_does_and_nowhere_else() {
    let xml = junit::render(&story());
    let head = xml.lines().nth(1).unwrap();
    // Row R1 and p(99); the cause and the end that was cut off. What is invalid is an error.
    assert!(head.contains("failures=\"4\"") && head.contains("errors=\"1\""), "{xml}");
    for case in ["name=\"found\"", "name=\"R6\"", "name=\"checks{op:get} count &gt; 6\""] {
        let after = xml.split(case).nth(1).unwrap();
        assert!(
            after.trim_start_matches(" time=\"0\">\n").trim_start().starts_with("<skipped"),
            "{case}: {xml}"
        );
    }
}

#[test]
fn annotations_are_one_line_each_and_only_ours() {
    let count = github::annotations(&told_with(PLAIN)).lines().count();
    for words in nasty() {
        let lines = github::annotations(&told_with(&words));
        assert_eq!(acts(&lines), None, "{words:.60?}");
        assert_eq!(lines.lines().count(), count, "{words:.60?}");
        for line in lines.lines() {
            let ours = ["::error title=", "::warning title=", "::notice title="];
            assert!(ours.iter().any(|own| line.starts_with(own)), "{line:.100}");
            let title = line.split("title=").nth(1).unwrap().split("::").next().unwrap();
            assert!(!title.contains([':', ',']), "{title:.100}");
            // Every percent sign is one of an escape.
            for (at, _) in line.match_indices('%') {
                let code = &line[at + 1..(at + 3).min(line.len())];
                assert!(["25", "0D", "0A", "3A", "2C"].contains(&code), "{line:.100}");
            }
        }
    }
    let mut many = story();
    many.summary.thresholds = vec![many.summary.thresholds[1].clone(); 50];
    let lines = github::annotations(&many);
    assert_eq!(lines.lines().count(), 10, "{lines}");
    assert!(lines.contains("more; see the job's summary"), "{lines}");
}

#[test]
fn the_terminal_and_json_hold_nothing_that_acts() {
    for words in nasty() {
        let told = told_with(&words);
        let page = terminal::render(&told.summary, terminal::Options { color: false, long: true });
        assert_eq!(acts(&page), None, "{words:.60?}");
        let text = json_report::render(&told.summary);
        assert_eq!(acts(&text), None, "{words:.60?}");
        let read: Summary = serde_json::from_str(&text).unwrap();
        assert_eq!(read, told.summary, "{words:.60?}");
    }
}

#[test]
fn a_page_shows_what_happened_and_when() {
    let page = html::render(&story());
    for words in [
        "What to look at first",
        "Time taken",
        "Where the samples are",
        "Percentiles of the whole run",
        "Errors",
        "Storage and network",
        "Scaling of steps: linear",
        "Highest rate of hunt",
        "FAIL",
        "svg class=\"spark\"",
        "1 &lt; 2 &amp;&amp; 3 &gt; 2",
        "What happened",
        "restart",
        "outage",
        "died",
    ] {
        assert!(page.contains(words), "no `{words}`");
    }
    // The figure of each second is around 10 ms, and the first one is beyond the limit of 10 ms at p99.
    assert!(page.contains("0 s (10 of 10)"), "no first breach");
}

#[test]
fn the_charts_are_arithmetic() {
    let data = charts_of(&html::render(&story()));
    let chapter = &data["chapters"][0];
    let charts = chapter["charts"].as_array().unwrap();
    let values = |chart: &str, label: &str| -> Vec<Value> {
        let chart = charts.iter().find(|it| it["host"] == format!("c0-{chart}")).unwrap();
        let line = chart["series"].as_array().unwrap().iter().find(|it| it["label"] == label);
        line.unwrap_or_else(|| panic!("no {label} in {chart}"))["values"]
            .as_array()
            .unwrap()
            .clone()
    };
    assert_eq!(chapter["x"][0], json!(0.5));
    assert_eq!(values("load", "completed"), vec![json!(20); 10]);
    // From 10 to 20 within the first two seconds, and again from the fourth to the sixth.
    let (none, low, high) = (Value::Null, json!(12.5), json!(17.5));
    let asked = [&low, &high, &none, &none, &low, &high, &none, &none, &none, &none];
    assert_eq!(values("load", "asked").iter().collect::<Vec<_>>(), asked);
    // Each failure once: two operations, one timeout of each in a second; every fifth second an error.
    assert_eq!(values("errors", "bus_request timeout"), vec![json!(2); 10]);
    let errors = values("errors", "iteration_errors");
    assert_eq!((&errors[0], &errors[1], &errors[5]), (&json!(1), &json!(0), &json!(1)));
    assert_eq!(values("cpu", "db")[3], json!(15));
    assert_eq!(values("io", "db written")[9], json!(4_096));
    let subjects = chapter["subjects"].as_array().unwrap();
    let requests = &subjects[1];
    let counted: u64 = requests["heat"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|column| {
            column.as_array().unwrap().chunks(2).map(|pair| pair[1].as_u64().unwrap())
        })
        .sum();
    assert_eq!(counted, 2 * 20 * 10, "the heat map has each sample that succeeded once");
    let most = requests["max"][0].as_f64().unwrap();
    assert!((19_998_000.0..20_000_100.0).contains(&most), "{most}");
    let curve = requests["curve"].as_array().unwrap();
    assert_eq!(
        curve[1].as_array().unwrap().last().unwrap().as_f64().unwrap(),
        requests_max(requests)
    );
}

/// The largest of all steps.
fn requests_max(subject: &Value) -> f64 {
    let all = subject["max"].as_array().unwrap().iter().filter_map(Value::as_f64);
    all.fold(0.0, f64::max)
}
