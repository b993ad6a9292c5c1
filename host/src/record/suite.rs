//! A suite on the disk: one journal that says which workloads are to run, and one for each of them in a
//! folder of its own. The suite is joined again from what its workloads' journals tell.

use std::path::Path;

use super::{
    content::{SuiteEnd, SuiteJob, SuiteStart},
    history,
    journal::{Appender, JOURNAL, Kind, RecordError, Records},
    replay::replay,
};
use crate::{
    run::{
        Chapter,
        summary::{Part, Suite, Summary},
    },
    verdict::Cause,
};

/// A workload that has run.
type Ran = (Part, Chapter);

/// The journal of a suite that is running.
pub struct SuiteJournal(Appender);

impl SuiteJournal {
    /// Makes the journal of a suite in its folder.
    pub fn open(folder: &Path, start: &SuiteStart) -> Result<Self, RecordError> {
        let mut file = Appender::create(folder)?;
        file.append_json(Kind::Suite, start)?;
        file.sync()?;
        Ok(Self(file))
    }

    /// Writes the suite's end.
    pub fn finish(mut self, end: &SuiteEnd) -> Result<(), RecordError> {
        self.0.append_json(Kind::SuiteEnd, end)?;
        self.0.sync()
    }
}

/// What the folder of a run tells, or that of a suite with all that ran of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it came to.
    pub summary: Summary,
    /// Each workload, in the order in which they ran.
    pub chapters: Vec<Chapter>,
}

/// Reads the record in a folder.
pub fn report(folder: &Path) -> Result<Told, RecordError> {
    let mut records = Records::open(folder)?;
    match records.next() {
        Some(record) if record.kind == Kind::Suite => {
            let path = folder.join(JOURNAL);
            let unreadable = || RecordError::TooLittle {
                path,
                what: "its first record cannot be read".to_owned(),
            };
            let start = record.json::<SuiteStart>().ok_or_else(unreadable)?;
            joined(folder, start, &mut records)
        }
        _ => {
            let (part, chapter) = replay(folder)?.told();
            Ok(Told { summary: part.summary, chapters: vec![chapter] })
        }
    }
}

fn joined(folder: &Path, start: SuiteStart, records: &mut Records) -> Result<Told, RecordError> {
    let is_written = history::is_written(folder);
    let end = records.next().filter(|record| record.kind == Kind::SuiteEnd);
    let end = end.and_then(|record| record.json::<SuiteEnd>());
    let SuiteStart { mut run, mut skipped, order, jobs, notes, fail_on_warn } = start;
    let (told, missing) = parts(folder, jobs)?;
    let (parts, chapters) = told.into_iter().unzip();
    run.going_on = is_written && end.is_none();
    let (cut, baseline) = match end {
        Some(end) => (end.cut, end.baseline),
        None => (Some(unfinished(run.going_on, &missing)), None),
    };
    skipped.extend(missing.into_iter().flat_map(|job| job.rows));
    let mut summary = Suite { run, skipped, order, fail_on_warn, cut }.join(parts);
    summary.remarks.extend(notes);
    if let Some(found) = baseline {
        summary.set_against(found, fail_on_warn);
    }
    let going_on = summary.run.going_on;
    if let Some(damage) = records.damage.as_ref().filter(|it| !(going_on && it.is_cut())) {
        summary.remarks.push(format!("{damage}: what came after is missing here"));
    }
    Ok(Told { summary, chapters })
}

/// The workloads that have run, and those that have not.
fn parts(folder: &Path, jobs: Vec<SuiteJob>) -> Result<(Vec<Ran>, Vec<SuiteJob>), RecordError> {
    let (mut parts, mut missing) = (Vec::new(), Vec::new());
    for job in jobs {
        // Names come from the file: none may lead out of the suite's folder.
        let name = &job.folder;
        let is_name = !name.is_empty() && !name.contains(['/', '\\']) && name != "..";
        let own = folder.join(name);
        if is_name && own.join(JOURNAL).is_file() {
            match replay(&own) {
                Ok(replay) => parts.push(replay.told()),
                // Killed before its start was whole: it has not run.
                Err(RecordError::NoJournal(_) | RecordError::TooLittle { .. }) => {
                    missing.push(job);
                }
                Err(error) => return Err(error),
            }
        } else {
            missing.push(job);
        }
    }
    Ok((parts, missing))
}

/// Why a suite has no end.
fn unfinished(going_on: bool, missing: &[SuiteJob]) -> (Cause, String) {
    let names: Vec<_> = missing.iter().map(|job| job.folder.as_str()).collect();
    let names = names.join(", ");
    match (going_on, missing) {
        (true, []) => (Cause::NotShown, "the suite goes on, in its last workload".to_owned()),
        (true, _) => (Cause::NotShown, format!("the suite goes on: {names} did not run yet")),
        (false, []) => {
            (Cause::Interrupted, "the suite was cut off in its last workload".to_owned())
        }
        (false, _) => (Cause::Interrupted, format!("the suite was cut off: {names} did not run")),
    }
}
