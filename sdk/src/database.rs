//! The database. Every call is timed by the host and feeds `db_*` metrics.
//!
//! Placeholders are `?` on every backend. Transactions are calls, never SQL text.

use std::time::Duration;

use crate::{
    Measured, Result, bindings::workload::wavetank::workload::database as raw, measured, nanos,
};

pub use raw::{Dialect, Value};

/// A statement that is being put together.
#[derive(Clone, Debug)]
pub struct Statement(raw::Statement);

/// Begins a statement.
///
/// ```no_run
/// # use wavetank_sdk::{database, Result};
/// # fn f() -> Result {
/// let rows = database::sql("SELECT name FROM users WHERE id = ?").value(7).op("find").query()?;
/// # Ok(()) }
/// ```
pub fn sql(sql: &str) -> Statement {
    Statement(raw::Statement { sql: sql.to_owned(), values: Vec::new(), op: None, timeout: None })
}

impl Statement {
    /// Adds the value of the next placeholder.
    #[must_use]
    pub fn value(mut self, value: impl Into<Value>) -> Self {
        self.0.values.push(value.into());
        self
    }

    /// The operation that it is measured as; must be among `options.ops`.
    #[must_use]
    pub fn op(mut self, op: &str) -> Self {
        self.0.op = Some(op.to_owned());
        self
    }

    /// After this it is cancelled on the server.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = Some(nanos(timeout));
        self
    }

    /// Runs it for its rows.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{check, database, Result};
    /// # fn f() -> Result {
    /// let found = database::sql("SELECT name, age FROM users WHERE age > ?").value(17).query()?;
    /// check("has a name", found.is_ok_and(|rows| rows.get(0, "name").is_some()))?;
    /// # Ok(()) }
    /// ```
    pub fn query(&self) -> Measured<Rows> {
        Ok(measured(raw::query(&self.0))?
            .map(|rows| Rows { columns: rows.columns, rows: rows.rows }))
    }

    /// Runs it for its changes; how many rows they were.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{check, database, Result};
    /// # fn f() -> Result {
    /// let gone = database::sql("DELETE FROM users WHERE name = ?").value("ann").op("leave").execute()?;
    /// check("one is gone", gone.is_ok_and(|rows| rows == 1))?;
    /// # Ok(()) }
    /// ```
    pub fn execute(&self) -> Measured<u64> {
        measured(raw::execute(&self.0))
    }
}

/// What a query returned.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Column names, in order.
    pub columns: Vec<String>,
    /// One value per column and row.
    pub rows: Vec<Vec<Value>>,
}

impl Rows {
    /// The value of a column in a row; `None` if either does not exist.
    pub fn get(&self, row: usize, column: &str) -> Option<&Value> {
        let column = self.columns.iter().position(|name| name == column)?;
        self.rows.get(row)?.get(column)
    }
}

impl Value {
    /// A whole number, also from a truth value or a decimal text (PostgreSQL's `sum`).
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::Boolean(value) => Some(i64::from(*value)),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Timestamp(text) => Some(text),
            _ => None,
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Which SQL the database speaks.
///
/// ```no_run
/// # use wavetank_sdk::{database::{self, Dialect}, Result};
/// # fn f() -> Result {
/// let now = match database::dialect() {
///     Dialect::Sqlite => "SELECT datetime('now')",
///     Dialect::Postgres => "SELECT now()",
/// };
/// database::sql(now).query()?.ok();
/// # Ok(()) }
/// ```
pub fn dialect() -> Dialect {
    raw::speaks()
}

/// Statements one after the other in one transaction; rows changed by each.
///
/// ```no_run
/// # use wavetank_sdk::{database::{batch, sql}, Result};
/// # fn f() -> Result {
/// let pay = |name: &str, by: i64| {
///     sql("UPDATE account SET balance = balance + ? WHERE name = ?").value(by).value(name)
/// };
/// batch(&[pay("ann", -5), pay("bob", 5)])?.ok();
/// # Ok(()) }
/// ```
pub fn batch(statements: &[Statement]) -> Measured<Vec<u64>> {
    let raw: Vec<_> = statements.iter().map(|statement| statement.0.clone()).collect();
    measured(raw::batch(&raw))
}

/// Runs `work` in a transaction: committed if it returns `Ok`, rolled back if not.
///
/// ```no_run
/// # use wavetank_sdk::{database, Result};
/// # fn f() -> Result {
/// database::transaction(|| {
///     database::sql("UPDATE account SET balance = balance - 1").execute()??;
///     Ok(())
/// })?;
/// # Ok(()) }
/// ```
pub fn transaction<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    measured(raw::begin())??;
    match work() {
        Ok(value) => {
            measured(raw::commit())??;
            Ok(value)
        }
        Err(error) => {
            // The error that made it roll back is the one to be told.
            let _ = raw::rollback();
            Err(error)
        }
    }
}
