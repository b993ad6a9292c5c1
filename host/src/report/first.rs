//! What to look at first, in words that are derived from the figures: what failed, which target is closest
//! to its limit, what limits the system, and how far the figures can be believed.
//!
//! Each sentence states a figure of the summary; where there is none, there is no sentence.

use super::{
    comparison,
    printable::printable,
    quantity::{digits, quantity, share, time},
    terminal::{closeness, is_share},
};
use crate::{
    plan::Severity,
    run::summary::Summary,
    verdict::{Status, ThresholdResult},
};

/// Characters of one name.
const TEXT: usize = 160;
/// Times of a system in the order in which they are worth a look.
pub const TIMES: [&str; 8] = [
    "iteration_response_time",
    "bus_request_duration",
    "effect_duration",
    "bus_delivery_duration",
    "bus_publish_duration",
    "db_query_duration",
    "service_handle_duration",
    "iteration_duration",
];
/// Sentences about what failed.
const MOST: usize = 5;

/// The sentences, the most telling first.
pub fn first(summary: &Summary) -> Vec<String> {
    let mut words = Vec::new();
    words.push(counted(summary));
    words.extend(missed(summary));
    words.extend(worse(summary));
    words.extend(closest(summary));
    words.extend(limits(summary));
    words.extend(busiest(summary));
    words.extend(losses(summary));
    words.push(runner(summary));
    words
}

/// How a threshold is written: metric, selector, expression.
pub fn subject(threshold: &ThresholdResult) -> String {
    let (metric, selector) = (&threshold.metric, &threshold.selector);
    let row = threshold.row.as_ref().map_or_else(String::new, |row| format!("{row}: "));
    printable(&format!("{row}{metric}{selector} {}", threshold.expression), 2 * TEXT)
}

/// When the run started, to the second.
pub fn started(summary: &Summary) -> String {
    let text = printable(&summary.run.started, TEXT);
    match text.split_once('.') {
        Some((seconds, rest)) if rest.ends_with('Z') => format!("{seconds}Z"),
        _ => text,
    }
}

/// What was observed, in words.
pub fn observed(summary: &Summary, threshold: &ThresholdResult) -> String {
    let unit = printable(&threshold.unit, TEXT);
    let shares = is_share(summary, threshold);
    threshold.observed.map_or_else(
        || "nothing".to_owned(),
        |value| if shares { share(value) } else { quantity(value, &unit) },
    )
}

fn counted(summary: &Summary) -> String {
    let all = summary.thresholds.len();
    let held = summary.thresholds.iter().filter(|it| it.status == Status::Pass).count();
    let rows = summary.rows.iter().filter(|row| row.status != Status::NotApplicable);
    let passed = rows.clone().filter(|row| row.status == Status::Pass).count();
    let rows = match rows.count() {
        0 => String::new(),
        count => format!("{passed} of {count} rows passed; "),
    };
    format!("{rows}{held} of {all} thresholds held.")
}

fn missed(summary: &Summary) -> Vec<String> {
    let missed = |it: &&ThresholdResult| {
        it.severity != Severity::Info
            && !matches!(it.status, Status::Pass | Status::NotApplicable | Status::KnownFailing)
    };
    let all: Vec<_> = summary.thresholds.iter().filter(missed).collect();
    let mut words: Vec<_> =
        all.iter()
            .take(MOST)
            .map(|it| {
                let reason = it.reason.as_ref().map_or_else(String::new, |reason| {
                    format!(" ({})", printable(reason, 2 * TEXT))
                });
                format!(
                    "{}: {}; observed {}{reason}.",
                    it.status.words(),
                    subject(it),
                    observed(summary, it)
                )
            })
            .collect();
    if all.len() > MOST {
        words.push(format!("{} more thresholds did not hold.", all.len() - MOST));
    }
    words
}

/// What got worse against the baseline, as far as it was declared or looks so.
pub fn worse(summary: &Summary) -> Vec<String> {
    let Some(found) = &summary.baseline else { return Vec::new() };
    let mut words = comparison::worse(found);
    let more = words.len().saturating_sub(MOST);
    words.truncate(MOST);
    let mut words: Vec<_> =
        words.into_iter().map(|it| format!("Worse than the baseline: {it}.")).collect();
    if more > 0 {
        words.push(format!("{more} more figures are worse than the baseline's."));
    }
    words
}

fn closest(summary: &Summary) -> Option<String> {
    let passed = summary.thresholds.iter().filter(|it| it.status == Status::Pass);
    // Of a share that is to be high, what is missing to all of it is what counts: 98 % held of a limit of
    // 90 % is a fifth of the way, and not 92 %.
    let near = |it: &ThresholdResult| match (it.observed, it.limit) {
        (Some(observed), Some(limit)) if is_share(summary, it) && it.expression.contains('>') => {
            if limit < 1.0 {
                (1.0 - observed) / (1.0 - limit)
            } else {
                0.0
            }
        }
        _ => closeness(it),
    };
    let near = passed
        .map(|it| (near(it), it))
        .filter(|(near, _)| *near > 0.0 && *near < 1.0)
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    Some(format!(
        "Closest to its limit: {}, at {} ({} of the way).",
        subject(near.1),
        observed(summary, near.1),
        share(near.0)
    ))
}

fn limits(summary: &Summary) -> Vec<String> {
    let mut words = Vec::new();
    for scaling in &summary.scaling {
        let name = printable(&scaling.scenario, TEXT);
        if let Some(class) = &scaling.class {
            words.push(format!("{name} scales {}.", printable(class, TEXT)));
        }
        if let Some(knee) = scaling.knee {
            let unit = if scaling.open { "/s" } else { "" };
            words.push(format!("{name} has its knee at {}.", quantity(knee, unit)));
        }
        if let Some(resource) = &scaling.resource {
            words.push(format!("{name} is limited by {}.", printable(resource, 2 * TEXT)));
        }
        if let Some(operation) = &scaling.operation {
            words.push(format!(
                "With the load {} grows most: {} × from the lowest level to the highest.",
                printable(&operation.op, TEXT),
                digits(operation.factor)
            ));
        }
    }
    for search in &summary.searches {
        let name = printable(&search.scenario, TEXT);
        if let Some(rate) = search.max_rate {
            words.push(format!("{name}: the highest rate that held is {}.", quantity(rate, "/s")));
        }
        if let Some(limit) = &search.limited_by {
            words.push(format!("{name} is limited by {}.", printable(limit, 2 * TEXT)));
        }
    }
    words
}

fn busiest(summary: &Summary) -> Option<String> {
    let busy = summary.targets.iter().filter_map(|it| Some((it.cpu_percent?, it)));
    let (percent, target) = busy.max_by(|one, other| one.0.total_cmp(&other.0))?;
    let memory = target.rss_max_bytes.map_or_else(String::new, |bytes| {
        format!(" and at most {} of memory", quantity(bytes as f64, "B"))
    });
    Some(format!(
        "The busiest target is {}, with {percent:.0} % of one core{memory}.",
        printable(&target.name, TEXT)
    ))
}

fn losses(summary: &Summary) -> Option<String> {
    let sum = |count: fn(&crate::verdict::ScenarioFacts) -> u64| -> u64 {
        summary.scenarios.iter().map(count).sum()
    };
    let (dropped, never) = (sum(|it| it.dropped), sum(|it| it.never_started));
    let (cut, errors) = (sum(|it| it.interrupted), sum(|it| it.errors));
    let parts: Vec<_> = [
        (dropped, "dropped"),
        (never, "never started"),
        (cut, "interrupted"),
        (errors, "ended in an error"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, words)| format!("{count} {words}"))
    .collect();
    let planned = sum(|it| it.planned);
    (!parts.is_empty()).then(|| format!("Of {planned} iterations {}.", parts.join(", ")))
}

fn runner(summary: &Summary) -> String {
    let runner = &summary.runner;
    let own = ["dispatch_delay_release", "dispatch_delay_start", "runner_loop_lag"];
    let late = own.iter().filter_map(|name| summary.trend(name)?.p99).fold(0.0, f64::max);
    format!(
        "The runner itself used {:.0} % of {:.0} %; it may be {} of one figure in a hundred.",
        runner.cpu_percent,
        f64::from(runner.cores) * 100.0,
        time(late + runner.empty_operation_ns)
    )
}
