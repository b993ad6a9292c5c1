//! One statement on one SQLite connection: bind, step, decode, and what its errors mean.

use rusqlite::{
    CachedStatement, Connection, ErrorCode,
    types::{ToSql, ToSqlOutput, ValueRef},
};

use crate::primitive::{
    Failure,
    database::{
        Value,
        answer::{Answer, Caps},
        sql::is_kept,
        value::{parse_instant, shown},
    },
};

/// Why a statement gave no answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It failed.
    Failure(Failure),
    /// It writes, and this connection only reads.
    Writes,
    /// The deadline passed or the caller went away.
    Interrupted,
}

/// What a column was declared as, as far as it changes what its values mean.
#[derive(Clone, Copy)]
enum Declared {
    Plain,
    Bool,
    Timestamp,
    Json,
}

impl Declared {
    fn of(declared: Option<&str>) -> Self {
        let Some(declared) = declared else { return Self::Plain };
        let word = declared.split(['(', ' ']).next().unwrap_or_default();
        let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
        if is(&["BOOL", "BOOLEAN"]) {
            Self::Bool
        } else if is(&["TIMESTAMP", "TIMESTAMPTZ", "DATETIME"]) {
            Self::Timestamp
        } else if is(&["JSON", "JSONB"]) {
            Self::Json
        } else {
            Self::Plain
        }
    }
}

/// Runs a statement. On a connection that `only_reads`, one that writes is sent back.
pub(super) fn run(
    connection: &Connection,
    sql: &str,
    values: &[Value],
    caps: &Caps,
    only_reads: bool,
) -> Result<Answer, Refusal> {
    let mut statement = connection.prepare_cached(sql).map_err(unprepared)?;
    let result = bound(connection, &mut statement, values, caps, only_reads);
    if !is_kept(sql) {
        statement.discard();
    }
    result
}

fn bound(
    connection: &Connection,
    statement: &mut CachedStatement<'_>,
    values: &[Value],
    caps: &Caps,
    only_reads: bool,
) -> Result<Answer, Refusal> {
    let reads = statement.readonly();
    if only_reads && !reads {
        return Err(Refusal::Writes);
    }
    for (index, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, Bound(value)).map_err(refusal)?;
    }
    let before = connection.total_changes();
    let mut answer = step(statement, caps)?;
    // `changes` keeps the number of the last statement that changed rows; DDL changes none.
    if !reads && connection.total_changes() != before {
        answer.changed = connection.changes();
    }
    Ok(answer)
}

fn step(statement: &mut CachedStatement<'_>, caps: &Caps) -> Result<Answer, Refusal> {
    let mut columns = Vec::new();
    let mut declared = Vec::new();
    for column in statement.columns() {
        columns.push(column.name().to_owned());
        declared.push(Declared::of(column.decl_type()));
    }
    let mut answer = Answer::of(columns);
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(refusal)? {
        let mut cells = Vec::with_capacity(declared.len());
        for (index, declared) in declared.iter().enumerate() {
            cells.push(decode(row.get_ref(index).map_err(refusal)?, *declared));
        }
        answer.push(cells, caps).map_err(Refusal::Failure)?;
    }
    Ok(answer)
}

/// A value as SQLite stores it.
struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Bool(value) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*value))),
            Value::Integer(value) => ToSqlOutput::Borrowed(ValueRef::Integer(*value)),
            Value::Float(value) => ToSqlOutput::Borrowed(ValueRef::Real(*value)),
            Value::Text(text) | Value::Timestamp(text) => {
                ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))
            }
            Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Value::Json(value) => ToSqlOutput::from(value.to_string()),
        })
    }
}

fn decode(stored: ValueRef<'_>, declared: Declared) -> Value {
    match (stored, declared) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(value @ (0 | 1)), Declared::Bool) => Value::Bool(value == 1),
        // The affinity of such a column makes numbers of texts that look like one.
        (ValueRef::Integer(value), Declared::Json) => Value::Json(value.into()),
        (ValueRef::Real(value), Declared::Json) => Value::Json(value.into()),
        (ValueRef::Integer(value), _) => Value::Integer(value),
        (ValueRef::Real(value), _) => Value::Float(value),
        (ValueRef::Blob(bytes), _) => Value::Bytes(bytes.to_vec()),
        (ValueRef::Text(bytes), declared) => {
            text(String::from_utf8_lossy(bytes).as_ref(), declared)
        }
    }
}

/// Text that is not what its column was declared as stays text: SQLite does not check.
fn text(text: &str, declared: Declared) -> Value {
    let meant = match declared {
        Declared::Timestamp => parse_instant(text).map(shown),
        Declared::Json => serde_json::from_str(text).ok().map(Value::Json),
        Declared::Plain | Declared::Bool => None,
    };
    meant.unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// What an error of SQLite means when it comes while preparing.
fn unprepared(error: rusqlite::Error) -> Refusal {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } if msg.starts_with("not authorized") => {
            Refusal::Failure(Failure::new("denied", msg))
        }
        rusqlite::Error::SqlInputError { msg, offset, .. } => {
            Refusal::Failure(Failure::new("syntax", format!("{msg} (at byte {offset})")))
        }
        rusqlite::Error::MultipleStatement => {
            Refusal::Failure(Failure::new("syntax", "the SQL text holds several statements"))
        }
        other => match refusal(other) {
            Refusal::Failure(failure) if failure.kind == "database" => {
                Refusal::Failure(Failure { kind: "syntax", ..failure })
            }
            refusal => refusal,
        },
    }
}

/// What an error of SQLite means.
pub(super) fn refusal(error: rusqlite::Error) -> Refusal {
    let message = error.to_string();
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => return Refusal::Interrupted,
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => "constraint",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "conflict",
        Some(
            ErrorCode::AuthorizationForStatementDenied
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly,
        ) => "denied",
        Some(ErrorCode::TooBig | ErrorCode::OutOfMemory | ErrorCode::DiskFull) => "limit",
        _ => "database",
    };
    Refusal::Failure(Failure::new(kind, message))
}
