//! What one VU holds of the database: its transaction, its lease, and what it is doing just now.
//!
//! What is held is taken out while a statement runs and put back after it, so that no borrow lives
//! across an await, and so that a future that is dropped in the middle drops what it holds: a
//! transaction on SQLite rolls itself back, a connection of PostgreSQL cancels its statement and is
//! replaced. That a transaction was open is remembered apart, for [`Session::reset`] to say so.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    time::Duration,
};

use super::{
    Dialect, Misuse, Ready,
    answer::{Answer, Outcome, Patience},
    pool::{Backend, Pool},
    postgres, sqlite,
};
use crate::{
    clock::{Clock, Instant, Span},
    metric::{Builtin, Name, TagSet},
    primitive::{Failure, Lease, LogLevel, Measured, Operation, Scope, Stamped},
};

/// What a statement feeds.
const QUERY: Operation = Operation {
    count: Builtin::DbQueries,
    duration: Builtin::DbQueryDuration,
    failed: Builtin::DbQueryFailed,
};

/// What one VU holds of the database.
#[derive(Debug)]
pub(super) struct Session {
    pool: Pool,
    vu: u32,
    busy: Cell<bool>,
    in_transaction: Cell<bool>,
    sqlite: RefCell<Option<sqlite::Transaction>>,
    postgres: RefCell<Option<postgres::Held>>,
}

/// A call is under way.
pub(super) struct Busy<'a>(&'a Cell<bool>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Lease for Session {
    fn release(&self) {
        if !self.in_transaction.get() {
            self.give_back();
        }
    }
}

impl Session {
    pub(super) fn new(pool: Pool, vu: u32) -> Self {
        Self {
            pool,
            vu,
            busy: Cell::new(false),
            in_transaction: Cell::new(false),
            sqlite: RefCell::default(),
            postgres: RefCell::default(),
        }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.pool.dialect()
    }

    pub(super) fn in_transaction(&self) -> bool {
        self.in_transaction.get()
    }

    pub(super) fn is_settled(&self) -> bool {
        !self.busy.get() && !self.in_transaction.get()
    }

    /// Begins a call; a VU makes one at a time.
    pub(super) fn enter(&self) -> Result<Busy<'_>, Misuse> {
        if self.busy.replace(true) {
            return Err(Misuse::new(format!(
                "VU {} has a database call under way: it makes one at a time",
                self.vu
            )));
        }
        Ok(Busy(&self.busy))
    }

    /// Runs a statement and records it.
    pub(super) async fn run(&self, scope: &Scope, ready: Ready) -> Measured<Answer> {
        let op = ready.op;
        let result = match self.pool.backend() {
            Backend::Sqlite(shard) => self.run_sqlite(scope, shard, ready).await,
            Backend::Postgres(leases) => self.run_postgres(scope, leases, ready).await?,
        };
        if let Ok(answer) = &result {
            let tags = TagSet { op, ..scope.tags() };
            let touched = answer.touched() as f64;
            scope.recorder().add(Builtin::DbRows.id(), tags, scope.origin(), touched);
        }
        Ok(result)
    }

    async fn run_sqlite(
        &self,
        scope: &Scope,
        shard: &sqlite::Shard,
        ready: Ready,
    ) -> Result<Answer, Failure> {
        let Ready { parsed, values, op, patience, caps } = ready;
        let held = self.sqlite.take();
        if held.is_none() && self.in_transaction.get() {
            return lost(scope, op);
        }
        let result = {
            let work = pin!(async {
                let clock = scope.clock();
                let outcome = match &held {
                    None => shard.run(clock, &parsed, values, caps, patience).await,
                    held => {
                        let running =
                            shard.file.run(clock, &parsed, values, caps, patience, held.as_ref());
                        Box::pin(running).await
                    }
                };
                waited(scope, op, &outcome);
                Stamped { result: outcome.result, span: outcome.span }
            });
            scope.measure(QUERY, op, work).await
        };
        self.sqlite.replace(held);
        result
    }

    async fn run_postgres(
        &self,
        scope: &Scope,
        leases: &postgres::Leases,
        ready: Ready,
    ) -> Measured<Answer> {
        let Ready { parsed, values, op, patience, caps } = ready;
        let clock = scope.clock();
        let held = self.postgres.take();
        if held.is_none() && self.in_transaction.get() {
            return Ok(lost(scope, op));
        }
        // Waiting for a connection, and for the statement to be prepared there the first time.
        let waiting = Waiting::new(scope, op);
        let mut waits = true;
        let prepared = async {
            let held = match held {
                Some(held) => {
                    waits = !held.knows(&parsed);
                    held
                }
                None => leases.lease(self.vu, clock, patience).await?,
            };
            let prepared = held.prepare(&parsed, patience).await;
            Ok((held, prepared))
        };
        let prepared = prepared.await;
        let waited = waiting.end(waits, prepared.is_ok());
        let (held, prepared) = match prepared {
            Ok((held, Ok(prepared))) => (held, prepared),
            Ok((held, Err(failure))) => {
                self.keep(held);
                return Ok(failed(scope, op, waited, failure));
            }
            Err(failure) => return Ok(failed(scope, op, waited, failure)),
        };
        let bound = match postgres::Bound::new(prepared, &values) {
            Ok(bound) => bound,
            Err(misuse) => {
                self.keep(held);
                return Err(misuse);
            }
        };
        let result = {
            let work = pin!(async {
                let outcome = held.run(clock, &parsed, bound, &caps, patience).await;
                Stamped { result: outcome.result, span: outcome.span }
            });
            scope.measure(QUERY, op, work).await
        };
        self.keep(held);
        Ok(result)
    }

    /// Keeps a connection for the next statement, unless the last one broke it.
    fn keep(&self, held: postgres::Held) {
        if held.is_usable() {
            self.postgres.replace(Some(held));
        }
    }

    async fn begin_postgres(
        &self,
        scope: &Scope,
        leases: &postgres::Leases,
    ) -> Result<Answer, Failure> {
        let patience = patience(scope);
        let held = match self.postgres.take() {
            Some(held) => held,
            None => leases.lease(self.vu, scope.clock(), patience).await?,
        };
        held.begin(patience).await?;
        self.keep(held);
        Ok(Answer::default())
    }

    async fn end_postgres(&self, clock: Clock, commit: bool, patience: Patience) -> Outcome {
        let Some(held) = self.postgres.take() else { return Outcome::failed(gone()) };
        let start = clock.now();
        let result = held.end(commit, patience).await;
        let span = Some(Span::between(start, clock.now()));
        self.keep(held);
        Outcome { result: result.map(|()| Answer::default()), span, waited: None }
    }

    /// Begins a transaction. What it takes is waiting for the right to write; only a failure counts
    /// as a statement.
    pub(super) async fn begin(&self, scope: &Scope) -> Result<(), Failure> {
        let waiting = Waiting::new(scope, Name::NONE);
        let result = match self.pool.backend() {
            Backend::Postgres(leases) => self.begin_postgres(scope, leases).await,
            Backend::Sqlite(shard) => {
                let (outcome, transaction) = shard.file.begin(scope.clock(), patience(scope)).await;
                self.sqlite.replace(transaction);
                outcome.result
            }
        };
        let span = waiting.end(true, result.is_ok());
        match result {
            Ok(_) => {
                self.in_transaction.set(true);
                Ok(())
            }
            Err(failure) => {
                scope.record(QUERY, Name::NONE, span, Some(&failure));
                Err(failure)
            }
        }
    }

    /// Commits, measured as a statement. Whatever comes of it, the transaction is over.
    pub(super) async fn commit(&self, scope: &Scope) -> Result<(), Failure> {
        let work = pin!(async {
            let outcome = self.end(scope.clock(), true, patience(scope)).await;
            Stamped { result: outcome.result, span: outcome.span }
        });
        let result = scope.measure(QUERY, Name::NONE, work).await;
        self.in_transaction.set(false);
        self.give_back();
        result.map(drop)
    }

    /// Rolls back; a failure is counted, and the transaction is over all the same.
    pub(super) async fn roll_back(&self, scope: &Scope) {
        if !self.holds_transaction() {
            // It went with its connection, which the server has rolled back.
            self.in_transaction.set(false);
            return;
        }
        let start = scope.clock().now();
        let outcome = self.end(scope.clock(), false, patience(scope)).await;
        self.in_transaction.set(false);
        if let Err(failure) = &outcome.result {
            let span = Span::between(start, scope.clock().now());
            scope.record(QUERY, Name::NONE, span, Some(failure));
        }
        self.give_back();
    }

    async fn end(&self, clock: Clock, commit: bool, patience: Patience) -> Outcome {
        match self.pool.backend() {
            Backend::Sqlite(shard) => match self.sqlite.take() {
                Some(transaction) => shard.file.end(clock, transaction, commit, patience).await,
                None => Outcome::failed(gone()),
            },
            Backend::Postgres(_) => self.end_postgres(clock, commit, patience).await,
        }
    }

    /// Ends what an iteration left open.
    pub(super) async fn reset(&self, scope: &Scope) {
        self.busy.set(false);
        if self.in_transaction.get() {
            // Without anything held, a dropped future has rolled it back already.
            if self.holds_transaction() {
                drop(self.end(scope.clock(), false, patience(scope)).await);
            }
            self.in_transaction.set(false);
            scope.log(
                LogLevel::Warn,
                "an iteration ended with an open transaction: it was rolled back".to_owned(),
            );
        }
        self.give_back();
    }

    fn holds_transaction(&self) -> bool {
        self.sqlite.borrow().is_some() || self.postgres.borrow().is_some()
    }

    /// Gives the lease back.
    fn give_back(&self) {
        drop(self.sqlite.take());
        drop(self.postgres.take());
    }
}

/// A wait under way; dropped in the middle, it is a censored sample.
struct Waiting<'a> {
    scope: &'a Scope,
    op: Name,
    start: Instant,
    over: bool,
}

impl<'a> Waiting<'a> {
    fn new(scope: &'a Scope, op: Name) -> Self {
        Self { scope, op, start: scope.clock().now(), over: false }
    }

    /// Ends it; recorded if anything was waited for.
    fn end(mut self, waited: bool, well: bool) -> Span {
        self.over = true;
        let span = Span::between(self.start, self.scope.clock().now());
        if waited {
            record_wait(self.scope, self.op, span.duration(), well);
        }
        span
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            let waited = self.scope.clock().now().since(self.start);
            record_wait(self.scope, self.op, waited, false);
        }
    }
}

/// A statement that failed before it could be sent.
fn failed(scope: &Scope, op: Name, span: Span, failure: Failure) -> Result<Answer, Failure> {
    scope.record(QUERY, op, span, Some(&failure));
    Err(failure)
}

/// A statement in a transaction that is gone.
fn lost(scope: &Scope, op: Name) -> Result<Answer, Failure> {
    let now = scope.clock().now();
    failed(scope, op, Span::between(now, now), gone())
}

fn gone() -> Failure {
    Failure::new("database", "the transaction was lost with its connection")
}

fn patience(scope: &Scope) -> Patience {
    let timeout = scope.limits().operation_timeout;
    Patience { wait: timeout, run: timeout }
}

/// Records how long a statement waited for a thread.
fn waited(scope: &Scope, op: Name, outcome: &Outcome) {
    if let Some(waited) = outcome.waited {
        record_wait(scope, op, waited, outcome.span.is_some());
    }
}

/// Records a wait; one that ended in vain is known only to be at least that long.
fn record_wait(scope: &Scope, op: Name, waited: Duration, ended_well: bool) {
    let tags = TagSet { op, ..scope.tags() };
    let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
    let metric = Builtin::DbWaitDuration.id();
    if ended_well {
        scope.recorder().trend(metric, tags, scope.origin(), nanos);
    } else {
        scope.recorder().censored(metric, tags, scope.origin(), nanos);
    }
}
