//! The database as a VU sees it: one measured handle over SQLite and PostgreSQL. SEMANTICS §10.
//!
//! [`Source`] is the database of a run, made once; [`Pool`] is a shard's way to its connections;
//! [`Database`] is a VU's measured handle with its lease.
//!
//! What is measured: a statement's own time in the database is `db_query_duration`; waiting for a
//! thread, a connection or the right to write (`BEGIN`) is `db_wait_duration`. A `COMMIT` is a
//! statement, for it is where the database does the work of a transaction; `BEGIN` and `ROLLBACK` are
//! counted only when they fail, or their short times would flatter every percentile.
//!
//! Failures are of a closed set of kinds: `timeout`, `disconnected`, `constraint`, `syntax`,
//! `conflict` (deadlock, serialization, lock), `denied`, `limit`, `database`.

mod answer;
mod pool;
mod postgres;
mod session;
mod sql;
mod sqlite;
#[cfg(test)]
mod tests;
mod value;

use std::{rc::Rc, time::Duration};

pub use pool::{DatabaseError, Opening, Pool, Privileges, Source, has_connections};
pub use value::{Dialect, Rows, Value};

use self::{
    answer::{Answer, Caps, Patience},
    session::Session,
    sql::Parsed,
};
use super::{Failure, Measured, Misuse, Scope};
use crate::metric::Name;

/// Whether a thread of this process, by its name, is the database and not the runner.
pub fn is_thread(name: &str) -> bool {
    sqlite::is_thread(name)
}

/// A statement with its values.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// SQL with `?` placeholders.
    pub sql: String,
    /// One value per placeholder.
    pub values: Vec<Value>,
    /// The declared operation it is measured as.
    pub op: Option<String>,
    /// After this it is cancelled on the server.
    pub timeout: Option<Duration>,
}

/// A VU's measured handle on the database.
#[derive(Clone, Debug)]
pub struct Database {
    scope: Rc<Scope>,
    session: Rc<Session>,
}

/// A statement that was found fit to be sent.
struct Ready {
    parsed: Rc<Parsed>,
    values: Vec<Value>,
    op: Name,
    patience: Patience,
    caps: Caps,
}

impl Database {
    /// A VU's handle on its shard's pool.
    pub fn new(scope: Rc<Scope>, pool: Pool) -> Self {
        let session = Rc::new(Session::new(pool, scope.vu()));
        scope.set_lease(session.clone());
        Self { scope, session }
    }

    /// Which SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        self.session.dialect()
    }

    /// Runs a statement that returns rows.
    pub async fn query(&self, statement: Statement) -> Measured<Rows> {
        self.trace("query", &statement);
        Ok(self.run(statement).await?.map(Answer::into_rows))
    }

    /// Runs a statement that changes rows; returns how many.
    pub async fn execute(&self, statement: Statement) -> Measured<u64> {
        self.trace("execute", &statement);
        Ok(self.run(statement).await?.map(|answer| answer.changed))
    }

    /// Runs statements one after the other in one transaction (the open one, if there is one); rows
    /// changed by each. At the first failure or misuse the transaction that it began is rolled back.
    pub async fn batch(&self, statements: Vec<Statement>) -> Measured<Vec<u64>> {
        self.scope.host_call(|| format!("db::batch({} statements)", statements.len()));
        let limit = self.scope.limits().batch;
        if statements.len() > limit {
            return Err(Misuse::new(format!(
                "a batch of {} statements is longer than {limit} (batch): split it",
                statements.len()
            )));
        }
        let ready: Vec<_> = statements
            .into_iter()
            .enumerate()
            .map(|(index, statement)| {
                self.ready(statement).map_err(|misuse| {
                    Misuse::new(format!("statement {} of the batch: {}", index + 1, misuse.0))
                })
            })
            .collect::<Result<_, _>>()?;
        let _busy = self.session.enter()?;
        let own = !self.session.in_transaction();
        if own && let Err(failure) = self.session.begin(&self.scope).await {
            return Ok(Err(failure));
        }
        let mut changed = Vec::with_capacity(ready.len());
        for statement in ready {
            let answer = self.session.run(&self.scope, statement).await;
            if own && !matches!(answer, Ok(Ok(_))) {
                self.session.roll_back(&self.scope).await;
            }
            match answer? {
                Ok(answer) => changed.push(answer.changed),
                Err(failure) => {
                    let Failure { kind, message } = failure;
                    let message =
                        format!("statement {} of the batch: {message}", changed.len() + 1);
                    return Ok(Err(Failure { kind, message }));
                }
            }
        }
        if own && let Err(failure) = self.session.commit(&self.scope).await {
            return Ok(Err(failure));
        }
        Ok(Ok(changed))
    }

    /// Begins a transaction; the lease is held until it ends. One at a time per VU.
    pub async fn begin(&self) -> Measured<()> {
        self.scope.host_call(|| "db::begin()".to_owned());
        let _busy = self.session.enter()?;
        if self.session.in_transaction() {
            return Err(Misuse::new(
                "a transaction is open already: end it first; they do not nest",
            ));
        }
        Ok(self.session.begin(&self.scope).await)
    }

    /// Commits the open transaction. Whatever comes of it, the transaction is over.
    pub async fn commit(&self) -> Measured<()> {
        self.scope.host_call(|| "db::commit()".to_owned());
        let _busy = self.session.enter()?;
        self.needs_transaction("commit")?;
        Ok(self.session.commit(&self.scope).await)
    }

    /// Rolls the open transaction back. Also done by the host when an iteration ends with one open.
    pub async fn rollback(&self) -> Measured<()> {
        self.scope.host_call(|| "db::rollback()".to_owned());
        let _busy = self.session.enter()?;
        self.needs_transaction("rollback")?;
        self.session.roll_back(&self.scope).await;
        Ok(Ok(()))
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.session.in_transaction()
    }

    /// Whether there is nothing to end: no transaction is open, no call was left in its middle. What
    /// is leased goes back by [`Scope::about_to_wait`].
    pub fn is_settled(&self) -> bool {
        self.session.is_settled()
    }

    /// Ends what an iteration left open: called by the host after each iteration, however it ended,
    /// also when its future was dropped in the middle of a statement.
    pub async fn reset(&self) -> Result<(), Misuse> {
        self.session.reset(&self.scope).await;
        Ok(())
    }

    fn needs_transaction(&self, call: &str) -> Result<(), Misuse> {
        if self.session.in_transaction() {
            return Ok(());
        }
        Err(Misuse::new(format!("{call} without a transaction: begin one first")))
    }

    async fn run(&self, statement: Statement) -> Measured<Answer> {
        let ready = self.ready(statement)?;
        let _busy = self.session.enter()?;
        self.session.run(&self.scope, ready).await
    }

    /// Everything that can be found wrong with a statement without a database.
    fn ready(&self, statement: Statement) -> Result<Ready, Misuse> {
        let Statement { sql, mut values, op, timeout } = statement;
        let op = self.scope.op(op.as_deref())?;
        let limits = self.scope.limits();
        if sql.len() as u64 > limits.source_bytes {
            return Err(Misuse::new(format!(
                "an SQL text of {} bytes is longer than {} (source_bytes)",
                sql.len(),
                limits.source_bytes
            )));
        }
        let parsed = self.session.pool().parse(&sql)?;
        if parsed.placeholders != values.len() {
            return Err(Misuse::new(format!(
                "the SQL text has {} placeholders and {} values were given: {}",
                parsed.placeholders,
                values.len(),
                excerpt(&sql)
            )));
        }
        for (index, value) in values.iter_mut().enumerate() {
            value.prepare(self.dialect(), index + 1)?;
            if value.size() > limits.payload_bytes {
                return Err(Misuse::new(format!(
                    "value {} has {} bytes, more than {} (payload_bytes)",
                    index + 1,
                    value.size(),
                    limits.payload_bytes
                )));
            }
        }
        let patience = Patience {
            wait: limits.operation_timeout,
            run: timeout.unwrap_or(limits.operation_timeout),
        };
        Ok(Ready { parsed, values, op, patience, caps: Caps::of(limits) })
    }

    /// Values are not shown: some are secrets.
    fn trace(&self, call: &str, statement: &Statement) {
        self.scope.host_call(|| {
            format!("db::{call}({}; {} values)", excerpt(&statement.sql), statement.values.len())
        });
    }
}

/// The beginning of a text, on one line.
fn excerpt(sql: &str) -> String {
    const SHOWN: usize = 120;
    let line: Vec<_> = sql.split_whitespace().collect();
    let line = line.join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
