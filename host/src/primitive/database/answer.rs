//! What a statement returned, on its way from a database to a VU, and the caps that bound it.
//!
//! Why caps here: a query without a `LIMIT` on a large table must end as a failure of kind `limit`,
//! not as the runner's memory.

use std::{rc::Rc, time::Duration};

use super::{Rows, Value};
use crate::{clock::Span, plan::Limits, primitive::Failure};

/// What a statement may return.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    /// Rows.
    pub rows: usize,
    /// Bytes of one value.
    pub value_bytes: usize,
    /// Bytes of all values.
    pub total_bytes: usize,
}

impl Caps {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            rows: limits.query_rows,
            value_bytes: limits.payload_bytes,
            total_bytes: usize::try_from(limits.hostcall_bytes).unwrap_or(usize::MAX),
        }
    }
}

/// Rows and the number of changed rows. Unlike [`Rows`] it can cross threads.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    pub changed: u64,
    bytes: usize,
}

impl Answer {
    /// No rows yet, with these columns.
    pub(super) fn of(columns: Vec<String>) -> Self {
        Self { columns, ..Self::default() }
    }

    /// Adds a row unless a cap is reached.
    pub(super) fn push(&mut self, row: Vec<Value>, caps: &Caps) -> Result<(), Failure> {
        if self.rows.len() >= caps.rows {
            return Err(Failure::new(
                "limit",
                format!(
                    "the query returns more than {} rows (query_rows): add a LIMIT, or raise it \
                     with --limit",
                    caps.rows
                ),
            ));
        }
        for value in &row {
            let size = value.size();
            if size > caps.value_bytes {
                return Err(Failure::new(
                    "limit",
                    format!(
                        "a value of {size} bytes is longer than {} (payload_bytes)",
                        caps.value_bytes
                    ),
                ));
            }
            self.bytes += size;
        }
        if self.bytes > caps.total_bytes {
            return Err(Failure::new(
                "limit",
                format!(
                    "the rows take more than {} bytes (hostcall_bytes): ask for fewer",
                    caps.total_bytes
                ),
            ));
        }
        self.rows.push(row);
        Ok(())
    }

    /// Rows read and changed.
    pub(super) fn touched(&self) -> u64 {
        self.changed.max(self.rows.len() as u64)
    }

    pub(super) fn into_rows(self) -> Rows {
        Rows { columns: Rc::from(self.columns), rows: self.rows }
    }
}

/// What came of a statement, and where its time went.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The answer.
    pub result: Result<Answer, Failure>,
    /// When the database worked on it; `None` if it never came to that.
    pub span: Option<Span>,
    /// How long it waited for a thread; `None` if it did not have to ask for one.
    pub waited: Option<Duration>,
}

/// How long a statement may wait and take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a connection or a thread.
    pub wait: Duration,
    /// In the database.
    pub run: Duration,
}

impl Outcome {
    pub(super) fn failed(failure: Failure) -> Self {
        Self { result: Err(failure), span: None, waited: None }
    }
}

/// The failure of a statement that outlasted its timeout.
pub(super) fn timed_out(timeout: Duration) -> Failure {
    Failure::new("timeout", format!("the statement was cancelled after {timeout:?}"))
}

/// The failure of a statement that was never begun.
pub(super) fn waited_out(timeout: Duration, what: &str) -> Failure {
    Failure::new("timeout", format!("no {what} became free within {timeout:?}"))
}
