//! From a journal back to what the run came to.
//!
//! A judge and a diary are fed with the journal's records in their order; the judge is asked for its verdict,
//! the diary for what happened when, and both come to what the run's own came to. Of a run that has
//! no end, what is shown is what was known when its last facts were told: intervals behind them are left
//! out, for figures of different instants do not belong in one summary. So nothing that is shown is ever
//! more than what was measured, and of what was measured at most the last second is missing.

use std::{path::Path, sync::Arc};

use super::{
    content::{End, Start, fingerprint},
    history,
    journal::{Damage, JOURNAL, Kind, Record, RecordError, Records},
};
use crate::{
    clock::Instant,
    metric::{Names, Snapshot},
    plan::Plan,
    run::{
        Chapter, Diary, Happening,
        comparison::AgainstBaseline,
        summary::{Part, RunInfo, SummaryInput},
    },
    verdict::{Cause, ErrorFacts, Facts, Judge},
};

/// A run, as its journal tells it.
#[derive(Debug)]
pub struct Replay {
    /// What it was to do.
    pub start: Start,
    /// How it ended; `None` if it was cut off.
    pub end: Option<End>,
    /// Where its journal stops to be whole, if it does.
    pub damage: Option<Damage>,
    /// Whether its journal was being written when it was read.
    pub is_written: bool,
    plan: Arc<Plan>,
    names: Names,
    judge: Judge,
    diary: Diary,
    baseline: Option<AgainstBaseline>,
    facts: Facts,
    begun: Option<Instant>,
    /// Until when its intervals tell.
    until: Instant,
}

/// Reads the journal of a run's folder.
pub fn replay(folder: &Path) -> Result<Replay, RecordError> {
    // Asked first: one that ends while it is read has an end, or goes on for all that is known.
    let is_written = history::is_written(folder);
    let last = last_facts(folder)?;
    let mut records = Records::open(folder)?;
    let mut replay = Replay::begin(folder, &mut records)?;
    while let Some(record) = records.next() {
        if record.end > last.end {
            break;
        }
        if let Err(what) = replay.take(&record) {
            // Its checksum is right, so nobody's accident: what comes after it is not believed.
            records.doubt(what);
            break;
        }
    }
    replay.damage = records.damage.or(last.damage);
    replay.is_written = is_written;
    Ok(replay)
}

/// How far a journal is believed.
struct Last {
    /// The end of the last record that is shown.
    end: u64,
    damage: Option<Damage>,
}

/// Looks for the last facts, or the end.
fn last_facts(folder: &Path) -> Result<Last, RecordError> {
    let mut records = Records::open(folder)?;
    let mut end = 0;
    while let Some(record) = records.next() {
        match record.kind {
            Kind::Facts => end = record.end,
            Kind::End => {
                end = record.end;
                if let Some(behind) = records.next() {
                    if behind.kind == Kind::Baseline {
                        end = behind.end;
                    }
                    if behind.kind != Kind::Baseline || records.next().is_some() {
                        records.doubt("something follows the run's end");
                    }
                }
                break;
            }
            _ => {}
        }
    }
    Ok(Last { end, damage: records.damage })
}

impl Replay {
    fn begin(folder: &Path, records: &mut Records) -> Result<Self, RecordError> {
        let path = folder.join(JOURNAL);
        let first = records.next().filter(|record| record.kind == Kind::Start);
        let Some(start) = first.and_then(|record| record.json::<Start>()) else {
            let what = match &records.damage {
                Some(damage) => damage.to_string(),
                None => "it does not begin with a run".to_owned(),
            };
            return Err(RecordError::TooLittle { path, what });
        };
        let version = &start.run.version;
        let plan = match start.recipe.build() {
            Ok(plan) if fingerprint(&plan) == start.plan => Arc::new(plan),
            Ok(_) => {
                let what = format!(
                    "it was recorded by wavetank {version}, which made another plan of the same \
                     workload than this one ({}) does; use that version",
                    env!("CARGO_PKG_VERSION")
                );
                return Err(RecordError::Plan { path, what });
            }
            Err(error) => {
                let what = format!("recorded by wavetank {version}: {}", error.message);
                return Err(RecordError::Plan { path, what });
            }
        };
        let names = Names::default();
        Ok(Self {
            judge: Judge::new(Arc::clone(&plan), names.clone(), plan.shards),
            diary: Diary::new(&plan),
            baseline: None,
            start,
            end: None,
            damage: None,
            is_written: false,
            plan,
            names,
            facts: Facts::default(),
            begun: None,
            until: Instant::ZERO,
        })
    }

    fn take(&mut self, record: &Record) -> Result<(), &'static str> {
        const UNREADABLE: &str = "a record cannot be read";
        match record.kind {
            Kind::Names => {
                let names: Vec<String> = record.json().ok_or(UNREADABLE)?;
                for name in names {
                    let known = self.names.len();
                    self.names.intern(&name);
                    if self.names.len() != known + 1 {
                        return Err("a name is told twice");
                    }
                }
            }
            Kind::Begun => {
                let start = Instant::from_nanos(record.json().ok_or(UNREADABLE)?);
                self.begun = Some(start);
                self.judge.begin(start);
                self.diary.begin(start);
            }
            Kind::Interval => {
                let bytes = record.payload().ok_or(UNREADABLE)?;
                let read = Snapshot::decode(&bytes, &self.plan.registry, &self.names);
                let snapshot = read.map_err(|_| "an interval cannot be read")?;
                self.until = self.until.max(snapshot.to);
                self.judge.observe(&snapshot);
                self.diary.observe(&snapshot, &self.plan.registry, &self.names);
            }
            Kind::Facts => {
                let facts: Facts = record.json().ok_or(UNREADABLE)?;
                let errors = std::mem::take(&mut self.facts.errors);
                self.facts = Facts { errors, ..facts };
            }
            Kind::Errors => {
                let errors: Vec<ErrorFacts> = record.json().ok_or(UNREADABLE)?;
                self.facts.errors = errors;
            }
            Kind::End => self.end = Some(record.json().ok_or(UNREADABLE)?),
            Kind::Baseline => self.baseline = Some(record.json().ok_or(UNREADABLE)?),
            Kind::Event => {
                let happening: Happening = record.json().ok_or(UNREADABLE)?;
                self.diary.take(&happening);
            }
            Kind::Start | Kind::Suite | Kind::SuiteEnd => return Err("a run begins inside a run"),
        }
        Ok(())
    }

    /// The run's summary, as it was printed, and what happened when; or of as much as there is, which it says.
    pub fn told(mut self) -> (Part, Chapter) {
        let going_on = self.is_written && self.end.is_none();
        if self.end.is_none() {
            self.tell_unfinished(going_on);
        }
        // What is half written is no damage while somebody writes.
        if let Some(damage) = self.damage.as_ref().filter(|it| !(going_on && it.is_cut())) {
            self.facts.remarks.push(format!("{damage}: what came after is missing here"));
        }
        let told = self.end.as_ref().map(|end| Instant::from_nanos(end.start));
        let start = told.or(self.begun).unwrap_or(self.until);
        let judgement = self.judge.finish(start, &self.facts);
        let complete = self.end.as_ref().is_some_and(|end| end.complete);
        let mut part = Part::new(SummaryInput {
            plan: &self.plan,
            names: &self.names,
            totals: self.judge.totals(),
            judgement: &judgement,
            fail_on_warn: self.start.fail_on_warn,
            facts: &self.facts,
            run: &RunInfo { complete, going_on, ..self.start.run.clone() },
            environment: &self.start.environment,
            backend: self.start.backend,
        });
        let is_due = self.end.is_some_and(|end| end.baseline);
        match self.baseline {
            Some(found) => part.summary.set_against(found, self.start.fail_on_warn),
            None if is_due => {
                let text = "the run was cut off before it was set against its baseline";
                part.summary.remarks.push(text.to_owned());
            }
            None => {}
        }
        let chronicle = self.diary.finish(&self.plan, &self.names, start, self.facts.duration);
        let thresholds = part.summary.thresholds.len();
        let chapter = Chapter::of(&self.plan, thresholds, chronicle, self.start.source);
        (part, chapter)
    }

    /// A run without an end did not do what it was to do, whatever its figures say until then; of one that
    /// goes on it is not shown yet what it comes to.
    fn tell_unfinished(&mut self, going_on: bool) {
        let after = self.begun.map(|begun| self.until.since(begun).as_secs_f64());
        let (cause, text) = match (going_on, after) {
            (true, Some(seconds)) => {
                (Cause::NotShown, format!("the run goes on, {seconds:.1} s after its load began"))
            }
            (true, None) => (Cause::NotShown, "the run goes on; its load has not begun".to_owned()),
            (false, Some(seconds)) => (
                Cause::Interrupted,
                format!("the run was cut off {seconds:.1} s after its load had begun"),
            ),
            (false, None) => {
                (Cause::Interrupted, "the run was cut off before its load began".to_owned())
            }
        };
        // A live run adds what its plan says only at its end.
        self.facts.remarks.extend(self.plan.notes.iter().cloned());
        self.facts.causes.push((cause, text));
        self.facts.causes.sort_by_key(|(cause, _)| *cause);
    }
}
