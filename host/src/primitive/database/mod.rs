//! The database as a VU sees it: one measured handle over SQLite and PostgreSQL. SEMANTICS §10.
//!
//! [`Source`] is the database of a run, made once; [`Pool`] is a shard's way to its connections;
//! [`Database`] is a VU's measured handle with its lease.

mod pool;
mod value;

use std::{rc::Rc, time::Duration};

pub use pool::{DatabaseError, Pool, Source};
pub use value::{Dialect, Rows, Value};

use super::{Failure, Measured, Misuse, Scope};

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
    pool: Pool,
}

impl Database {
    /// A VU's handle on its shard's pool.
    pub fn new(scope: Rc<Scope>, pool: Pool) -> Self {
        Self { scope, pool }
    }

    /// Which SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        let _ = &self.pool;
        Dialect::Sqlite
    }

    /// Runs a statement that returns rows.
    pub async fn query(&self, statement: Statement) -> Measured<Rows> {
        let _ = (statement, &self.scope);
        unsupported()
    }

    /// Runs a statement that changes rows; returns how many.
    pub async fn execute(&self, statement: Statement) -> Measured<u64> {
        let _ = statement;
        unsupported()
    }

    /// Runs statements one after the other in one transaction; rows changed by each.
    pub async fn batch(&self, statements: Vec<Statement>) -> Measured<Vec<u64>> {
        let _ = statements;
        unsupported()
    }

    /// Begins a transaction; the lease is held until it ends. One at a time per VU.
    pub async fn begin(&self) -> Measured<()> {
        unsupported()
    }

    /// Commits the open transaction.
    pub async fn commit(&self) -> Measured<()> {
        unsupported()
    }

    /// Rolls the open transaction back. Also done by the host when an iteration ends with one open.
    pub async fn rollback(&self) -> Measured<()> {
        unsupported()
    }

    /// Ends what an iteration left open: called by the host after each iteration, however it ended.
    pub async fn reset(&self) -> Result<(), Misuse> {
        Ok(())
    }
}

fn unsupported<T>() -> Measured<T> {
    Ok(Err(Failure::new("unsupported", "the database is not built yet")))
}
