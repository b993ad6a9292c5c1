//! Values and rows, the same on both databases. SEMANTICS §10.
//!
//! Why a closed set: a script and a component see the same eight kinds, whichever database answers.
//! What a database cannot hold is refused here, before it is sent, rather than changed on the way: a
//! NaN would become NULL on SQLite, a timestamp without a zone would mean another instant.

use std::rc::Rc;

use jiff::{Timestamp, civil, tz::TimeZone};

use crate::primitive::Misuse;

/// Which SQL a database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl Dialect {
    /// As scripts see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
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
    /// An instant, RFC 3339 in UTC, to the microsecond; text on SQLite.
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

impl Value {
    /// What kind of value it is, in words.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Integer(_) => "integer",
            Self::Float(_) => "float",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Json(_) => "JSON",
            Self::Timestamp(_) => "timestamp",
        }
    }

    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 1,
            Self::Integer(_) | Self::Float(_) => 8,
            Self::Text(text) | Self::Timestamp(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Json(value) => json_size(value),
        }
    }

    /// Makes it fit for a database, as the `position`-th value of a statement (from 1).
    pub(super) fn prepare(&mut self, dialect: Dialect, position: usize) -> Result<(), Misuse> {
        match self {
            Self::Float(number) if dialect == Dialect::Sqlite && number.is_nan() => {
                Err(Misuse::new(format!(
                    "value {position} is NaN, which SQLite would store as NULL: pass null or a number"
                )))
            }
            Self::Timestamp(text) => {
                let Some(instant) = parse_instant(text) else {
                    return Err(Misuse::new(format!(
                        "value {position}: {text:?} is no timestamp: write RFC 3339 with a zone, as \
                         in 2026-08-01T12:00:00Z"
                    )));
                };
                *text = stored(instant);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether a probe counts it as "seen": neither null, zero nor false.
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Null | Self::Bool(false) | Self::Integer(0) => false,
            Self::Float(number) => *number != 0.0,
            _ => true,
        }
    }
}

fn json_size(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Null | serde_json::Value::Bool(_) => 4,
        serde_json::Value::Number(_) => 8,
        serde_json::Value::String(text) => text.len() + 2,
        serde_json::Value::Array(items) => 2 + items.iter().map(json_size).sum::<usize>(),
        serde_json::Value::Object(fields) => {
            2 + fields.iter().map(|(key, value)| key.len() + 3 + json_size(value)).sum::<usize>()
        }
    }
}

/// An instant as a user or a database writes it; without a zone it is in UTC, as both databases'
/// `CURRENT_TIMESTAMP` is here.
pub(super) fn parse_instant(text: &str) -> Option<Timestamp> {
    let parsed = text.parse::<Timestamp>().ok().or_else(|| {
        let civil: civil::DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(civil).ok()
    })?;
    parsed.round(jiff::Unit::Microsecond).ok()
}

/// As it is stored: always six digits after the point, so that text sorts as time does.
pub(super) fn stored(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// As a row shows it: the same instant, without needless zeroes.
pub(super) fn shown(instant: Timestamp) -> Value {
    Value::Timestamp(instant.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_kept_in_utc_to_the_microsecond_and_sort_as_text() {
        let stored_of = |text: &str| stored(parse_instant(text).unwrap());
        assert_eq!(stored_of("2026-08-01T14:00:00+02:00"), "2026-08-01T12:00:00.000000Z");
        assert_eq!(stored_of("2026-08-01 12:00:00"), "2026-08-01T12:00:00.000000Z");
        assert!(stored_of("2026-08-01T12:00:00Z") < stored_of("2026-08-01T12:00:00.1Z"));
        assert_eq!(parse_instant("yesterday"), None);
        let instant = parse_instant("2026-08-01T12:00:00.1234567Z").unwrap();
        assert_eq!(shown(instant), Value::Timestamp("2026-08-01T12:00:00.123457Z".to_owned()));
    }

    #[test]
    fn what_a_database_would_change_silently_is_refused() {
        let mut nan = Value::Float(f64::NAN);
        assert!(nan.prepare(Dialect::Sqlite, 3).unwrap_err().0.contains("value 3 is NaN"));
        assert!(nan.prepare(Dialect::Postgres, 3).is_ok());
        let mut wrong = Value::Timestamp("12 o'clock".to_owned());
        assert!(wrong.prepare(Dialect::Sqlite, 1).unwrap_err().0.contains("RFC 3339"));
    }
}
