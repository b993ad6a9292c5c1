//! The verdict as JUnit's XML, for those who read that: rows, thresholds, checks, scenarios and validity as
//! test cases.
//!
//! A case fails only where the run does: what is shown for information, a warning and a check that was
//! missed are told in a case that is passed or skipped, so that two readers of one run never see two
//! verdicts. What is invalid is an error: it says nothing of the system.

use std::fmt::Write as _;

use super::{
    first,
    printable::printable,
    quantity::{quantity, share},
    story::Story,
    terminal::{is_share, observation},
};
use crate::{
    plan::Severity,
    run::summary::Summary,
    verdict::{Status, ThresholdResult},
};

/// Characters of one name or message.
const TEXT: usize = 600;

/// The document.
pub fn render(story: &Story) -> String {
    let summary = &story.summary;
    let suites = [
        ("rows", rows(summary)),
        ("thresholds", thresholds(summary)),
        ("checks", checks(summary)),
        ("scenarios", scenarios(summary)),
        ("validity", validity(summary)),
    ];
    let suites: Vec<_> = suites.into_iter().filter(|(_, cases)| !cases.is_empty()).collect();
    let count = |of: fn(&Outcome) -> bool| -> usize {
        suites.iter().flat_map(|(_, cases)| cases).filter(|case| of(&case.outcome)).count()
    };
    let tests: usize = suites.iter().map(|(_, cases)| cases.len()).sum();
    let seconds = seconds(summary);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites name=\"{}\" tests=\"{tests}\" failures=\"{}\" errors=\"{}\" time=\"{seconds}\">",
        text(&summary.run.name),
        count(|it| matches!(it, Outcome::Failed { .. })),
        count(|it| matches!(it, Outcome::Unsure { .. })),
    );
    for (index, (name, cases)) in suites.iter().enumerate() {
        xml.push_str(&suite(summary, index, name, cases));
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// A test case.
struct Case {
    class: String,
    name: String,
    outcome: Outcome,
    /// What there is to say beside the outcome.
    told: String,
}

/// What became of a case, in words.
enum Outcome {
    Passed,
    Failed { kind: &'static str, message: String },
    Unsure { kind: &'static str, message: String },
    Skipped { message: String },
}

/// Text of anyone's, fit for an attribute or an element. XML has no place at all for some characters.
fn text(words: &str) -> String {
    let mut out = String::new();
    for character in printable(words, TEXT).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

fn seconds(summary: &Summary) -> String {
    format!("{:.3}", summary.run.duration_s.max(0.0))
}

fn suite(summary: &Summary, index: usize, name: &str, cases: &[Case]) -> String {
    let count = |of: fn(&Outcome) -> bool| cases.iter().filter(|case| of(&case.outcome)).count();
    let mut xml = format!(
        "  <testsuite name=\"{name}\" id=\"{index}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\" timestamp=\"{}\">\n",
        cases.len(),
        count(|it| matches!(it, Outcome::Failed { .. })),
        count(|it| matches!(it, Outcome::Unsure { .. })),
        count(|it| matches!(it, Outcome::Skipped { .. })),
        seconds(summary),
        // The schema's time has no zone and no fraction: it is UTC.
        text(summary.run.started.split(['.', 'Z']).next().unwrap_or_default()),
    );
    for case in cases {
        let (class, name) = (text(&case.class), text(&case.name));
        let _ = write!(xml, "    <testcase classname=\"{class}\" name=\"{name}\" time=\"0\"");
        let inside = match &case.outcome {
            Outcome::Passed => String::new(),
            Outcome::Failed { kind, message } => {
                format!(
                    "      <failure type=\"{kind}\" message=\"{0}\">{0}</failure>\n",
                    text(message)
                )
            }
            Outcome::Unsure { kind, message } => {
                format!("      <error type=\"{kind}\" message=\"{0}\">{0}</error>\n", text(message))
            }
            Outcome::Skipped { message } => {
                format!("      <skipped message=\"{}\"/>\n", text(message))
            }
        };
        let told = match case.told.as_str() {
            "" => String::new(),
            told => format!("      <system-out>{}</system-out>\n", text(told)),
        };
        if inside.is_empty() && told.is_empty() {
            xml.push_str("/>\n");
        } else {
            let _ = write!(xml, ">\n{inside}{told}    </testcase>\n");
        }
    }
    xml.push_str("  </testsuite>\n");
    xml
}

fn outcome(status: Status, counts: bool, message: String) -> Outcome {
    match status {
        Status::Pass | Status::Warn => Outcome::Passed,
        Status::NotApplicable | Status::KnownFailing => Outcome::Skipped { message },
        _ if !counts => Outcome::Skipped { message },
        Status::Fail => Outcome::Failed { kind: "fail", message },
        Status::NoData => Outcome::Failed { kind: "no data", message },
        Status::Insufficient => Outcome::Failed { kind: "insufficient", message },
        Status::Invalid => Outcome::Unsure { kind: "invalid", message },
    }
}

fn rows(summary: &Summary) -> Vec<Case> {
    let case = |row: &crate::run::summary::Row| {
        let reason = row.reason.clone().unwrap_or_default();
        let own = row.thresholds.iter().filter_map(|index| summary.thresholds.get(*index));
        let missed = own.filter(|it| it.status == row.status && it.status != Status::Pass);
        let missed: Vec<_> = missed.map(|it| words(summary, it)).collect();
        let message = format!("{}: {reason} {}", row.status.words(), missed.join("; "));
        let counts = row.priority != "P2";
        Case {
            class: format!("row {}", row.backend),
            name: row.row.clone(),
            outcome: outcome(row.status, counts, message),
            told: format!("{} · {} · {}", row.status.words(), row.priority, row.workload),
        }
    };
    summary.rows.iter().map(case).collect()
}

fn words(summary: &Summary, threshold: &ThresholdResult) -> String {
    let observation = observation(threshold, is_share(summary, threshold)).replace('\u{a0}', " ");
    let reason = threshold.reason.as_ref().map_or_else(String::new, |it| format!(" ({it})"));
    format!("{}: {observation}{reason}", first::subject(threshold))
}

fn thresholds(summary: &Summary) -> Vec<Case> {
    let case = |it: &ThresholdResult| Case {
        class: it
            .row
            .as_ref()
            .map_or_else(|| "threshold".to_owned(), |row| format!("threshold {row}")),
        name: format!("{}{} {}", it.metric, it.selector, it.expression),
        outcome: outcome(it.status, it.severity == Severity::Critical, words(summary, it)),
        told: words(summary, it),
    };
    summary.thresholds.iter().map(case).collect()
}

fn checks(summary: &Summary) -> Vec<Case> {
    let case = |it: &crate::run::summary::CheckSummary| {
        let total = it.passes + it.fails;
        let held = share(it.passes as f64 / total.max(1) as f64);
        let told = format!("{held} held ({} of {total})", it.passes);
        let message = format!("{told}; a check fails no run, a threshold on `checks` does");
        let missed = it.fails > 0;
        Case {
            class: if it.group.is_empty() {
                "check".to_owned()
            } else {
                format!("check {}", it.group)
            },
            name: it.name.clone(),
            outcome: if missed { Outcome::Skipped { message } } else { Outcome::Passed },
            told,
        }
    };
    summary.checks.iter().map(case).collect()
}

fn scenarios(summary: &Summary) -> Vec<Case> {
    let case = |it: &crate::verdict::ScenarioFacts| {
        let asked =
            it.asked_rate.map_or_else(String::new, |rate| format!(" of {}", quantity(rate, "/s")));
        let told = format!(
            "achieved {}{asked}; planned {} = started {} + dropped {} + never started {}; started {} = completed {} \
             + interrupted {}; errors {}",
            quantity(it.achieved_rate, "/s"),
            it.planned,
            it.started,
            it.dropped,
            it.never_started,
            it.started,
            it.completed,
            it.interrupted,
            it.errors
        );
        let none = it.planned > 0 && it.started == 0;
        let message = format!("none of its iterations was started: {told}");
        Case {
            class: format!("scenario {}", it.executor),
            name: it.name.clone(),
            outcome: if none {
                Outcome::Failed { kind: "not run", message }
            } else {
                Outcome::Passed
            },
            told,
        }
    };
    summary.scenarios.iter().map(case).collect()
}

fn validity(summary: &Summary) -> Vec<Case> {
    let case = |name: &str, outcome| Case {
        class: "run".to_owned(),
        name: name.to_owned(),
        outcome,
        told: String::new(),
    };
    let reasons = summary.verdict.reasons.join("; ");
    let invalid = summary.verdict.status == Status::Invalid;
    let mut cases = vec![
        case(
            "the runner was not the limit",
            if invalid {
                Outcome::Unsure { kind: "invalid", message: reasons.clone() }
            } else {
                Outcome::Passed
            },
        ),
        case(
            "the run came to its end",
            match summary.run.unfinished() {
                None => Outcome::Passed,
                Some(_) if summary.run.going_on => Outcome::Unsure {
                    kind: "unfinished",
                    message: format!("it goes on: {reasons}"),
                },
                Some(_) => {
                    let message = format!("cut off: {reasons}");
                    Outcome::Failed { kind: "incomplete", message }
                }
            },
        ),
    ];
    for cause in &summary.verdict.causes {
        // What thresholds and the runner caused has cases of its own.
        if matches!(cause.code(), 99 | 111 | 117) {
            continue;
        }
        let message = format!("exit code {}: {}: {reasons}", cause.code(), cause.meaning());
        cases.push(case(cause.meaning(), Outcome::Failed { kind: "cause", message }));
    }
    cases
}
