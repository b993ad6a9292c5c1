//! What became of the rows of a catalogue, from what became of their thresholds.

use super::{Row, SummaryInput};
use crate::{
    plan::{self, Backend, Severity, threshold::OnMissing},
    verdict::{Status, ThresholdResult},
};

/// The rows that a run covered. A row that nothing judges has shown nothing; one whose run did not do what
/// it was to do has failed, whatever its thresholds say.
pub(super) fn judged(input: &SummaryInput<'_>) -> Vec<Row> {
    let Some(backend) = input.backend else { return Vec::new() };
    let thresholds = &input.judgement.thresholds;
    let only = input.plan.rows.len() == 1;
    let row = |row: &plan::Row| {
        // What names no row is the whole workload's: errors of its iterations, for instance.
        let own = |result: &ThresholdResult| match &result.row {
            Some(name) => *name == row.name,
            None => only || row.not_applicable.is_none(),
        };
        let own: Vec<_> = (0..thresholds.len()).filter(|index| own(&thresholds[*index])).collect();
        let (status, reason) = match (&row.not_applicable, input.facts.causes.first()) {
            (Some(reason), _) => (Status::NotApplicable, Some(reason.clone())),
            (None, Some((_, cause))) => (Status::Fail, Some(cause.clone())),
            (None, None) => status(own.iter().map(|index| &thresholds[*index]), row),
        };
        Row {
            row: row.name.clone(),
            workload: input.plan.name.clone(),
            backend: backend.name().to_owned(),
            priority: row.priority.name().to_owned(),
            status,
            thresholds: own,
            reason,
        }
    };
    input.plan.rows.iter().map(row).collect()
}

/// A row whose workload was not run at all: it does not apply here, or nobody came to it.
pub fn not_run(row: &plan::Row, workload: &str, backend: Backend) -> Row {
    let (status, reason) = match &row.not_applicable {
        Some(reason) => (Status::NotApplicable, reason.clone()),
        None => (Status::NoData, "its workload was not run".to_owned()),
    };
    Row {
        row: row.name.clone(),
        workload: workload.to_owned(),
        backend: backend.name().to_owned(),
        priority: row.priority.name().to_owned(),
        status,
        thresholds: Vec::new(),
        reason: Some(reason),
    }
}

/// The worst of its thresholds that are more than shown.
fn status<'a>(
    own: impl Iterator<Item = &'a ThresholdResult> + Clone,
    row: &plan::Row,
) -> (Status, Option<String>) {
    let judged = own.clone().any(|result| result.row.as_ref() == Some(&row.name));
    if !judged {
        return (Status::NoData, Some("no threshold judges this row".to_owned()));
    }
    // What is shown only says nothing against a row, unless the row itself is.
    let counts = |result: &&ThresholdResult| result.severity != Severity::Info;
    let worst = own.clone().filter(counts).max_by_key(|it| gravity(it));
    let worst = match worst {
        Some(worst) if row.priority.severity() != Severity::Info => Some(worst),
        _ => own.max_by_key(|it| gravity(it)),
    };
    let reason = match worst.map(|result| result.status) {
        Some(Status::KnownFailing) => row.known_failing.clone(),
        Some(Status::NoData | Status::Insufficient | Status::Invalid) => {
            worst.and_then(|result| result.reason.clone())
        }
        _ => None,
    };
    let passed = worst.is_some_and(|result| result.status == Status::Pass);
    if passed && row.known_failing.is_some() {
        return (Status::Fail, Some("it is known to fail, and passed".to_owned()));
    }
    (worst.map_or(Status::NoData, |result| result.status), reason)
}

/// How much a threshold says against a row. One that may go unmeasured says nothing if it does, and that
/// there is nothing is said only where it was all there was.
fn gravity(result: &ThresholdResult) -> u8 {
    match (result.status, result.on_missing) {
        (Status::NotApplicable, _) => 0,
        (_, Some(OnMissing::Pass)) => 1,
        (Status::Pass, _) => 2,
        (Status::Warn, _) | (_, Some(OnMissing::Warn)) => 3,
        (Status::KnownFailing, _) => 4,
        (Status::Insufficient, _) => 5,
        (Status::NoData, _) => 6,
        (Status::Fail, _) => 7,
        (Status::Invalid, _) => 8,
    }
}
