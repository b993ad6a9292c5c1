//! Values and rows.

use std::rc::Rc;

/// Which SQL a database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// A value in a statement or a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL
    Null,
    /// A truth value; 0 or 1 on SQLite.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// JSON; text on SQLite.
    Json(serde_json::Value),
    /// An instant, RFC 3339 in UTC; text on SQLite.
    Timestamp(String),
}

/// The rows of a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Column names, in order.
    pub columns: Rc<[String]>,
    /// One value per column and row.
    pub rows: Vec<Vec<Value>>,
}
