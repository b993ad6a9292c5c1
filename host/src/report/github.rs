//! For a workflow of GitHub: annotations, which are lines on standard output, and the summary of the job.
//!
//! An annotation is a command to the machine that runs the workflow; what comes from workloads is escaped
//! so that it can neither end its own command nor begin another. That machine looks for commands in every
//! line of the log, so that all others stand between [`stopped`] and [`resumed`]: what a workload said there
//! (a check's name, a message, a log line) is read and not obeyed.

use super::{
    first, markdown,
    printable::printable,
    story::Story,
    terminal::{is_share, observation},
};
use crate::{
    plan::Severity,
    run::summary::Summary,
    verdict::{Status, ThresholdResult},
};

/// Annotations of one kind that are shown of a step; the rest would be dropped.
const MOST: usize = 10;
/// Characters of a message.
const TEXT: usize = 600;

/// The annotations, one a line.
pub fn annotations(story: &Story) -> String {
    let summary = &story.summary;
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for cause in &summary.verdict.causes {
        // Of thresholds each has its own.
        if !matches!(cause.code(), 99 | 117) {
            let reasons = summary.verdict.reasons.join("; ");
            let title = format!("wavetank: exit code {}", cause.code());
            errors.push(command("error", &title, &format!("{}: {reasons}", cause.meaning())));
        }
    }
    for threshold in &summary.thresholds {
        match severity(threshold) {
            Some("error") => errors.push(missed("error", summary, threshold)),
            Some(_) => warnings.push(missed("warning", summary, threshold)),
            None => {}
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for (level, mut all) in [("error", errors), ("warning", warnings)] {
        if all.len() > MOST {
            let more = all.len() - MOST + 1;
            all.truncate(MOST - 1);
            all.push(command(
                level,
                "wavetank",
                &format!("… and {more} more; see the job's summary"),
            ));
        }
        lines.extend(all);
    }
    if lines.is_empty() {
        let words = first::first(summary).first().cloned().unwrap_or_default();
        lines.push(command(
            "notice",
            &format!("wavetank: {}", summary.verdict.status.words()),
            &words,
        ));
    }
    lines.join("\n") + "\n"
}

/// From this line on no command is obeyed; `token` must be one that no workload can know.
pub fn stopped(token: &str) -> String {
    format!("::stop-commands::{token}")
}

/// Until this one.
pub fn resumed(token: &str) -> String {
    format!("::{token}::")
}

/// The summary of the job, in Markdown.
pub fn summary(story: &Story) -> String {
    markdown::brief(story)
}

fn severity(threshold: &ThresholdResult) -> Option<&'static str> {
    let counts = threshold.severity == Severity::Critical;
    match threshold.status {
        Status::Pass | Status::NotApplicable | Status::KnownFailing => None,
        Status::Warn => Some("warning"),
        _ if threshold.severity == Severity::Info => None,
        _ if counts => Some("error"),
        _ => Some("warning"),
    }
}

fn missed(level: &str, summary: &Summary, threshold: &ThresholdResult) -> String {
    let observation = observation(threshold, is_share(summary, threshold)).replace('\u{a0}', " ");
    let reason = threshold.reason.as_ref().map_or_else(String::new, |it| format!(" ({it})"));
    let title = format!("{}: {}", threshold.status.words(), first::subject(threshold));
    command(level, &title, &format!("{observation}{reason}"))
}

fn command(level: &str, title: &str, message: &str) -> String {
    format!(
        "::{level} title={}::{}",
        property(&printable(title, TEXT)),
        data(&printable(message, TEXT))
    )
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
