//! Reads that have proved short, run in place on the shard.
//!
//! Why: the hop to a thread costs ten times what a point select takes. Why only proven ones: what
//! runs here keeps everything else on its shard waiting. A statement comes here after [`PROOF`] runs
//! on a thread of which at most one in twenty took longer than [`SHORT`]; here it has [`SLICE`], after
//! which the progress handler interrupts it, it is sent to a thread from the start, and it must prove
//! itself again.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Duration,
};

use rusqlite::Connection;
use rustc_hash::FxHashMap;

use super::{
    File,
    statement::{self, Refusal},
    work::Watch,
};
use crate::{
    clock::{Clock, Span},
    primitive::database::{
        Value,
        answer::{Caps, Outcome, Patience},
        pool::DatabaseError,
        sql::Parsed,
    },
};

/// Runs before a statement is judged.
const PROOF: u32 = 32;
/// What counts as short.
const SHORT: Duration = Duration::from_micros(100);
/// What a statement may take of its shard.
const SLICE: Duration = Duration::from_millis(1);
/// After so much of it the shard's other tasks get their turn.
const STREAK: Duration = Duration::from_micros(500);
/// Statements that are watched.
const STATEMENTS: usize = 1_024;

/// A shard's way to the file: in place for what is short, by a thread for everything else.
#[derive(Debug)]
pub(in crate::primitive::database) struct Shard {
    pub(in crate::primitive::database) file: File,
    connection: Connection,
    watch: Watch,
    records: RefCell<FxHashMap<Arc<str>, Record>>,
    /// Time spent in place since others had their turn.
    streak: Cell<Duration>,
}

/// How a statement has done.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    runs: u32,
    long: u32,
}

impl Record {
    fn is_short(self) -> bool {
        self.runs >= PROOF && self.long.saturating_mul(20) <= self.runs
    }
}

impl Shard {
    pub(in crate::primitive::database) fn new(file: File) -> Result<Self, DatabaseError> {
        let watch = Watch::default();
        let connection = file.reader(&watch)?;
        Ok(Self { file, connection, watch, records: RefCell::default(), streak: Cell::default() })
    }

    /// Runs a statement outside of a transaction.
    pub(in crate::primitive::database) async fn run(
        &self,
        clock: Clock,
        parsed: &Parsed,
        values: Vec<Value>,
        caps: Caps,
        patience: Patience,
    ) -> Outcome {
        // In place nothing but its clock stops a statement, and a virtual one stands still.
        let proven = parsed.reads
            && !clock.is_virtual()
            && !self.file.is_closed()
            && self.records.borrow().get(&parsed.sql).is_some_and(|record| record.is_short());
        let mut lost = Duration::ZERO;
        if proven {
            let done = self.in_place(clock, parsed, &values, &caps, patience);
            if self.streak.get() >= STREAK {
                self.streak.set(Duration::ZERO);
                tokio::task::yield_now().await;
            }
            match done {
                Ok(outcome) => return outcome,
                Err(spent) => lost = spent,
            }
        }
        // A future of its own on the heap: the hop to a thread costs a hundred times that.
        let running = self.file.run(clock, parsed, values, caps, patience, None);
        let mut outcome = Box::pin(running).await;
        outcome.waited = outcome.waited.map(|waited| waited + lost);
        if parsed.reads
            && parsed.is_kept()
            && let Some(span) = outcome.span
        {
            self.record(&parsed.sql, span.duration() > SHORT || outcome.result.is_err());
        }
        outcome
    }

    /// An error: it took too long or cannot be done here; the time that was lost with it.
    fn in_place(
        &self,
        clock: Clock,
        parsed: &Parsed,
        values: &[Value],
        caps: &Caps,
        patience: Patience,
    ) -> Result<Outcome, Duration> {
        let start = clock.now();
        self.watch.arm(clock, start + SLICE.min(patience.run), None);
        let done = statement::run(&self.connection, &parsed.sql, values, caps, true);
        let span = Span::between(start, clock.now());
        self.watch.disarm();
        self.streak.set(self.streak.get() + span.duration());
        let result = match done {
            Ok(answer) => Ok(answer),
            // Busy may pass; a thread can wait for it.
            Err(Refusal::Failure(failure)) if failure.kind != "conflict" => Err(failure),
            Err(_) => {
                self.records.borrow_mut().remove(&parsed.sql);
                return Err(span.duration());
            }
        };
        self.record(&parsed.sql, span.duration() > SHORT);
        Ok(Outcome { result, span: Some(span), waited: Some(Duration::ZERO) })
    }

    fn record(&self, sql: &Arc<str>, long: bool) {
        let mut records = self.records.borrow_mut();
        let record = match records.get_mut(sql) {
            Some(record) => record,
            None => {
                if records.len() >= STATEMENTS {
                    records.clear();
                }
                records.entry(sql.clone()).or_default()
            }
        };
        record.runs += 1;
        record.long += u32::from(long);
        // What it did lately counts.
        if record.runs >= 64 * PROOF {
            record.runs /= 2;
            record.long /= 2;
        }
    }

    /// Statements that run in place now.
    #[cfg(test)]
    pub(in crate::primitive::database) fn proven(&self) -> usize {
        self.records.borrow().values().filter(|record| record.is_short()).count()
    }
}
