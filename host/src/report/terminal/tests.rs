//! The whole page, and what hostile workloads try to do to it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::*;
use crate::{
    clock::Instant,
    metric::{Builtin, Names, Outcome, Recorder, RecorderConfig, Selector, TagSet},
    plan::{
        Limits, Plan, Segment, Threshold,
        threshold::{Aggregate, Assertion, Comparison, Expression, OnMissing, Operand},
    },
    report::json,
    run::summary::{Environment, RunInfo, SummaryInput, WorkloadInfo},
    verdict::{ErrorFacts, Facts, Judge, RunnerFacts, ScenarioFacts, TargetFacts, TargetSlope},
};

const MS: u64 = 1_000_000;

fn threshold(metric: &str, aggregate: Aggregate, limit: f64, source: &str) -> Threshold {
    let comparison = if source.contains('>') { Comparison::Greater } else { Comparison::Less };
    let assertion =
        Assertion { aggregate, window: None, comparison, operand: Operand::Number(limit) };
    Threshold {
        metric: metric.to_owned(),
        selector: Selector::default(),
        source: source.to_owned(),
        expression: Expression(vec![vec![assertion]]),
        severity: Severity::Critical,
        warn_within: None,
        no_data: OnMissing::Fail,
        insufficient: OnMissing::Fail,
        min_samples: None,
        abort_on_fail: false,
        delay_abort_eval: Duration::ZERO,
        row: None,
        own_severity: false,
        is_default: false,
    }
}

fn plan() -> Plan {
    let p = Aggregate::Percentile;
    Plan {
        notes: Vec::new(),
        recipe: Arc::default(),
        name: "stats".to_owned(),
        scenarios: Vec::new(),
        registry: Arc::default(),
        declared_metrics: Vec::new(),
        ops: Vec::new(),
        thresholds: vec![
            threshold("bus_request_duration", p(95.0), 10e6, "p(95) < 10ms"),
            threshold("bus_request_duration", p(99.9), 10e6, "p(99.9) < 10ms"),
            threshold("bus_request_duration", Aggregate::Mean, 5e6, "mean < 5ms"),
            threshold("checks", Aggregate::Rate, 0.99, "rate > 0.99"),
            Threshold {
                severity: Severity::Warning,
                ..threshold("db_query_duration", p(50.0), 1e6, "med < 1ms")
            },
        ],
        derived: Vec::new(),
        services: BTreeMap::new(),
        consumers: BTreeMap::new(),
        seed: 42,
        scale: 1.0,
        shards: 2,
        segment: Segment::default(),
        setup_timeout: Duration::from_secs(60),
        teardown_timeout: Duration::from_secs(60),
        timeout: None,
        tags: BTreeMap::new(),
        rows: Vec::new(),
        limits: Limits::default(),
    }
}

fn scenario() -> ScenarioFacts {
    ScenarioFacts {
        name: "steady".to_owned(),
        executor: "constant-arrival-rate".to_owned(),
        open: true,
        planned: 1_000,
        started: 990,
        completed: 988,
        interrupted: 2,
        dropped: 7,
        never_started: 3,
        errors: 1,
        vus: 12,
        vus_max: 20,
        asked_rate: Some(100.0),
        achieved_rate: 99.0,
        runner_short: 0,
        duration_s: 10.0,
    }
}

fn facts(name: &str, message: &str) -> Facts {
    Facts {
        targets: Vec::new(),
        search: None,
        duration: Duration::from_secs(10),
        scenarios: vec![
            scenario(),
            ScenarioFacts {
                name: name.to_owned(),
                executor: "constant-vus".to_owned(),
                open: false,
                planned: 50,
                started: 50,
                completed: 50,
                asked_rate: None,
                achieved_rate: 5.0,
                dropped: 0,
                never_started: 0,
                interrupted: 0,
                ..scenario()
            },
        ],
        runner: RunnerFacts {
            cores: 2,
            cpu_percent: 34.4,
            cpu_percent_max: 81.0,
            cpu_user_s: 2.9,
            cpu_system_s: 0.54,
            rss_bytes: 34_000_000,
            peak_rss_bytes: 40_200_000,
            empty_operation_ns: 412.0,
            clock_read_ns: 125.0,
            cold_vus: 3,
            ..RunnerFacts::default()
        },
        errors: vec![ErrorFacts {
            scenario: name.to_owned(),
            kind: "threw".to_owned(),
            message: message.to_owned(),
            place: Some("stats.rhai:14:5".to_owned()),
            count: 1,
        }],
        causes: Vec::new(),
        remarks: vec!["3 series were folded into `other`".to_owned()],
    }
}

fn sample(recorder: &Recorder, check: &str) {
    let at = Instant::ZERO;
    let names = recorder.names();
    let op = |op: &str, outcome| TagSet { op: names.intern(op), outcome, ..TagSet::default() };
    for index in 1..=1_000 {
        let value = index * 10_000;
        recorder.trend(Builtin::BusRequestDuration.id(), op("user", Outcome::Ok), at, value);
        recorder.trend(Builtin::DispatchRelease.id(), TagSet::default(), at, 40_000);
        recorder.trend(Builtin::DispatchDelay.id(), TagSet::default(), at, 52_000);
        recorder.trend(Builtin::RunnerLoopLag.id(), TagSet::default(), at, 90_000);
    }
    let error = op("user", Outcome::Error);
    recorder.trend(Builtin::BusRequestDuration.id(), error, at, 5_000 * MS);
    (0..5).for_each(|_| {
        recorder.censored(Builtin::BusRequestDuration.id(), op("user", Outcome::Ok), at, 2 * MS);
    });
    for index in 0..200 {
        let tags = TagSet {
            check: names.intern(if index % 2 == 0 { "answered" } else { check }),
            group: if index % 2 == 0 { names.intern("stats") } else { names.intern("") },
            ..TagSet::default()
        };
        recorder.rate(Builtin::Checks.id(), tags, at, index % 50 != 1);
    }
}

/// A summary of a run of which a workload chose some texts.
fn summary(name: &str, check: &str, message: &str) -> Summary {
    let (plan, names) = (Arc::new(plan()), Names::default());
    let config = RecorderConfig {
        registry: plan.registry.clone(),
        names: names.clone(),
        windowed: Vec::new(),
        max_series: 100,
    };
    let recorder = Recorder::new(config, 0, Instant::ZERO);
    sample(&recorder, check);
    let mut judge = Judge::new(plan.clone(), names.clone(), 1);
    judge.observe(&recorder.take(Instant::from_nanos(1)));
    let facts = facts(name, message);
    let judgement = judge.finish(Instant::ZERO, &facts);
    let run = RunInfo {
        id: "20260801T120000-stats".to_owned(),
        started: "2026-08-01T12:00:00Z".to_owned(),
        command: "wavetank run stats.rhai".to_owned(),
        workloads: vec![WorkloadInfo { path: "stats.rhai".to_owned(), ..WorkloadInfo::default() }],
        complete: true,
        ..RunInfo::default()
    };
    Summary::build(SummaryInput {
        backend: None,
        plan: &plan,
        names: &names,
        totals: judge.totals(),
        judgement: &judgement,
        fail_on_warn: false,
        facts: &facts,
        run: &run,
        environment: &Environment { os: "Linux".to_owned(), ..Environment::default() },
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is one page")]
fn the_page_tells_everything_in_eighty_columns() {
    let summary = summary("browse", "found", "no such user");
    let page = render(&summary, Options::default());
    insta::assert_snapshot!(page, @"
    stats · 10 s · seed 42 · 2 shards

    thresholds
      ✓ bus_request_duration  p(95) < 10ms
          pass · 9.55 ms · 4.48 % below 10 ms · 95 %: 9.36 ms to 9.69 ms · n 1000 ·
          5 censored
      ? bus_request_duration  p(99.9) < 10ms
          insufficient · ≥ 9.99 ms · limit 10 ms · n 1000 · 5 censored
          1005 samples; it takes 2995 to show this percentile at 95 %
      ? bus_request_duration  mean < 5ms
          insufficient · ≥ 4.99 ms · limit 5 ms · n 1000 · 5 censored
          5 censored samples leave it open
      ✗ checks  rate > 0.99
          fail · 98.00 % · 1.00 points below 99.00 % · 95 %: 94.97 % to 99.22 % ·
          n 200
      ? db_query_duration  med < 1ms (warning)
          no data · n 0
          nothing was measured

    checks
      ✗ found  96.00 % (96 of 100)
      ✓ stats › answered  100.00 % (100 of 100)

    latency
              count         rate         mean          min       stddev
                p50          p90          p95          p99        p99.9          max
      bus_request_duration
               1000        100/s     ≥4.99 ms        10 µs      2.89 ms       +5 cut
            5.03 ms      9.05 ms      9.55 ms      9.95 ms     ≥9.99 ms       ≥10 ms
      bus_request_duration{op:user,outcome:error}
                  1      0.100/s          5 s          5 s         0 ns
                5 s          5 s          5 s          5 s          5 s          5 s
      ≥: samples that were cut off count as at least what they had waited

    load
      steady · constant-arrival-rate · asked 100/s, achieved 99/s over 10 s
        planned 1000 = started 990 + dropped 7 + never started 3
        started 990 = completed 988 + interrupted 2
        errors 1 · VUs 12 used, 20 made
      browse · constant-vus · achieved 5/s over 10 s
        planned 50 = started 50 + dropped 0 + never started 0
        started 50 = completed 50 + interrupted 0
        errors 1 · VUs 12 used, 20 made
        closed model: cannot see what waits while the system stalls. Each VU waits
        for its own iteration, so a stall is sampled once per VU, however many
        arrivals it would have held up; an arrival-rate executor sees it.
      late starts                              p50         p99
        due → released (runner)              40 µs       40 µs
        dispatch delay in all                52 µs       52 µs

    errors
      1 × threw in browse
          no such user
          at stats.rhai:14:5

    runner
      CPU 34 % of 200 %, at most 81 % in a second · 2.90 s user, 540 ms system
      memory 34 MB, at most 40.2 MB
      loop lag p99 90 µs, max 90 µs
      an empty operation 412 ns, a clock read 125 ns
      Of a figure above, the runner itself may be 412 ns in every operation, and
      90.4 µs in one of a hundred.
      3 VUs were made while an arrival waited for them

    remarks
      3 series were folded into `other`

    ✗ fail · exit code 99
      99: thresholds failed
        fail: checks rate > 0.99
        insufficient: bus_request_duration p(99.9) < 10ms: 1005 samples; it takes
        2995 to show this percentile at 95 %
        insufficient: bus_request_duration mean < 5ms: 5 censored samples leave it
        open
    ");
    for line in page.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn hostile_texts_reach_no_terminal() {
    let nasty = "\u{1b}[2J\u{1b}]0;owned\u{7}\r✓ pass\u{9b}31m\u{202e}\nexit code 0\0";
    let summary = {
        let mut summary = summary(nasty, nasty, nasty);
        summary.run.name = nasty.to_owned();
        summary.remarks.push(nasty.to_owned());
        summary.verdict.reasons.push(nasty.to_owned());
        summary.runner.limits.insert(nasty.to_owned(), nasty.to_owned());
        for threshold in &mut summary.thresholds {
            threshold.selector = nasty.to_owned();
            threshold.metric = nasty.to_owned();
            threshold.expression = nasty.to_owned();
            threshold.unit = nasty.to_owned();
            threshold.reason = Some(nasty.to_owned());
        }
        for error in &mut summary.errors {
            error.kind = nasty.to_owned();
            error.place = Some(nasty.to_owned());
        }
        for scenario in &mut summary.scenarios {
            scenario.executor = nasty.to_owned();
        }
        for metric in &mut summary.metrics {
            metric.name = format!("{nasty}{}", metric.name);
            metric.tags.insert("op".to_owned(), nasty.to_owned());
        }
        summary
    };
    let acts =
        |text: &str| text.chars().any(|one| (one.is_control() && one != '\n') || one == '\u{202e}');
    let page = render(&summary, Options { color: false, long: true });
    assert!(!acts(&page), "{page:?}");
    assert!(!page.lines().any(|line| line.starts_with("exit code 0")));
    // With colours, what is left after taking away the colours is the same page.
    let colored = render(&summary, Options { color: true, long: true });
    let mut plain = String::new();
    for part in colored.split('\u{1b}') {
        let color = part.strip_prefix('[').and_then(|part| part.split_once('m'));
        match color {
            Some((codes, rest)) if codes.chars().all(|one| one.is_ascii_digit() || one == ';') => {
                plain.push_str(rest);
            }
            _ => plain.push_str(part),
        }
    }
    for (plain, line) in plain.lines().zip(page.lines()) {
        assert_eq!(plain, line);
    }
    assert!(colored.len() > page.len());
}

#[test]
fn a_summary_read_back_prints_the_same_page() {
    let summary = summary("browse", "found", "no such user");
    let text = json::render(&summary);
    let read: Summary = serde_json::from_str(&text).unwrap();
    // A number may differ in its last digit by reading it; nothing else may.
    assert_eq!((&read.run, &read.verdict), (&summary.run, &summary.verdict));
    assert_eq!((&read.scenarios, &read.checks), (&summary.scenarios, &summary.checks));
    assert_eq!(read.metrics.len(), summary.metrics.len());
    let options = Options::default();
    assert_eq!(render(&read, options), render(&summary, options));
}

#[test]
fn long_words_and_names_are_broken_and_nothing_is_lost() {
    assert_eq!(wrap("one two three", 7), ["one two", "three"]);
    assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
    assert_eq!(wrap("ab cdefgh", 4), ["ab", "cdef", "gh"]);
    assert!(wrap("", 10).is_empty());
    let long = "x".repeat(150);
    let page = render(&summary(&long, &long, &long), Options::default());
    let message: String = page
        .lines()
        .skip_while(|line| !line.starts_with("errors"))
        .skip(2)
        .take(3)
        .map(str::trim)
        .collect();
    assert_eq!(message, long);
}

#[test]
fn an_unfinished_run_says_so() {
    let mut summary = summary("browse", "found", "no such user");
    summary.run.complete = false;
    summary.run.scale = 0.1;
    let page = render(&summary, Options::default());
    assert!(page.contains("This run was cut off"));
    assert!(page.contains("quick: 10.00 % of the plan"));
}

#[test]
fn the_page_tells_what_became_of_the_targets() {
    let mut summary = summary("browse", "found", "no such user");
    summary.targets = vec![
        TargetFacts {
            name: "database".to_owned(),
            pid: Some(4_711),
            running: true,
            starts: 1,
            cpu_user_s: 2.5,
            cpu_system_s: 0.5,
            cpu_percent: Some(30.0),
            cpu_percent_max: Some(98.0),
            rss_start_bytes: Some(20_000_000),
            rss_end_bytes: Some(26_000_000),
            rss_max_bytes: Some(27_000_000),
            pss_bytes: Some(18_000_000),
            written_bytes: 4_096,
            threads_max: Some(4),
            fds_max: Some(17),
            slopes: vec![TargetSlope {
                metric: "target_rss_bytes".to_owned(),
                per_second: 10_000.0,
                interval: Some([-5_000.0, 25_000.0]),
            }],
            ..TargetFacts::default()
        },
        TargetFacts {
            name: "worker".to_owned(),
            starts: 2,
            planned_stops: 1,
            unplanned_deaths: 1,
            last_lines: vec!["\u{1b}[2Jout of memory".to_owned()],
            ..TargetFacts::default()
        },
    ];
    let page = render(&summary, Options::default());
    let section = page.split("\ntargets\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for line in [
        "  database · pid 4711",
        "    CPU 30 %, at most 98 % · 2.50 s user, 500 ms system",
        "    memory 20 MB → 26 MB, at most 27 MB",
        "    memory without what it shares 18 MB",
        "    memory grew 600 KB/min, 95 % between −300 KB and 1.50 MB",
        "    at most 4 threads, 17 descriptors",
        "  worker · does not run",
        "    started 2 times, stopped 1, died 1",
    ] {
        assert!(section.contains(line), "no `{line}` in:\n{section}");
    }
    assert!(section.contains("out of memory") && !section.contains('\u{1b}'), "{section}");
    assert!(section.lines().all(|line| line.chars().count() <= 80), "{section}");
}
