//! Values to PostgreSQL and back, by the types that the server names, and what its errors mean.
//!
//! A value is sent as the text of its kind, which the server reads as whatever type the placeholder
//! has: one rule instead of a table of types, and its message when it does not fit is the one that
//! people know. Only bytes go as they are. What cannot be meant (bytes for a number, 1.5 for an
//! integer) is misuse and is not sent.
//!
//! Rows come in the binary format and are read by column type. `numeric` becomes an integer when it
//! has no fraction and fits, text when it does not fit, else the nearest float: cast it to text where
//! every digit counts. `timestamp` without a zone is read as UTC. `date`, `time` and `uuid` are text,
//! arrays are JSON. A type that is not read is a failure that names it.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use jiff::{Timestamp, civil};
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type};

use crate::primitive::{
    Failure, Misuse,
    database::{Value, value::shown},
};

type BoxError = Box<dyn StdError + Sync + Send>;

/// A value on its way to the server.
pub(in crate::primitive::database) enum Parameter {
    Null,
    Text(String),
    Bytes(Vec<u8>),
}

impl std::fmt::Debug for Parameter {
    /// The driver logs parameters; some are secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("…")
    }
}

impl ToSql for Parameter {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Text(text) => out.put_slice(text.as_bytes()),
            Self::Bytes(bytes) => out.put_slice(bytes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, type_: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        self.to_sql(type_, out)
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self {
            Self::Bytes(_) => Format::Binary,
            Self::Null | Self::Text(_) => Format::Text,
        }
    }
}

/// A value as the server will read it for a placeholder of this type.
pub(super) fn encode(value: &Value, type_: &Type, position: usize) -> Result<Parameter, Misuse> {
    let type_ = plain(type_);
    let whole = [Type::INT2, Type::INT4, Type::INT8, Type::OID].contains(type_);
    let number = whole || [Type::FLOAT4, Type::FLOAT8, Type::NUMERIC].contains(type_);
    let text = [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME].contains(type_);
    let json = [Type::JSON, Type::JSONB].contains(type_);
    let bytes = *type_ == Type::BYTEA;
    let clock = [Type::TIMESTAMP, Type::TIMESTAMPTZ, Type::DATE, Type::TIME].contains(type_);
    let sent = match value {
        Value::Null => Some(Parameter::Null),
        Value::Text(text) if bytes => Some(Parameter::Bytes(text.as_bytes().to_vec())),
        Value::Text(text) => Some(Parameter::Text(text.clone())),
        Value::Bytes(value) => bytes.then(|| Parameter::Bytes(value.clone())),
        Value::Bool(value) if number => Some(Parameter::Text(i64::from(*value).to_string())),
        Value::Bool(value) => (!bytes && !clock).then(|| Parameter::Text(value.to_string())),
        Value::Integer(value) if *type_ == Type::BOOL => {
            (0..=1).contains(value).then(|| Parameter::Text(value.to_string()))
        }
        Value::Integer(value) => (!bytes && !clock).then(|| Parameter::Text(value.to_string())),
        Value::Float(value) if whole => whole_text(*value).map(Parameter::Text),
        Value::Float(value) => {
            (number || text || (json && value.is_finite())).then(|| Parameter::Text(float(*value)))
        }
        Value::Json(serde_json::Value::Array(items)) if matches!(type_.kind(), Kind::Array(_)) => {
            Some(Parameter::Text(array(items)))
        }
        Value::Json(value) => (json || text).then(|| Parameter::Text(value.to_string())),
        Value::Timestamp(value) => (clock || text).then(|| Parameter::Text(value.clone())),
    };
    sent.ok_or_else(|| {
        Misuse::new(format!(
            "value {position} is {} {}, and its placeholder has the type {}: pass what fits, or cast \
             the placeholder",
            value.kind(),
            brief(value),
            type_.name()
        ))
    })
}

/// The type under the domains.
fn plain(type_: &Type) -> &Type {
    match type_.kind() {
        Kind::Domain(inner) => plain(inner),
        _ => type_,
    }
}

fn brief(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        other => format!("of {} bytes", other.size()),
    }
}

fn whole_text(value: f64) -> Option<String> {
    let fits = value.fract() == 0.0 && value.abs() < 9.0e18;
    fits.then(|| (value as i64).to_string())
}

fn float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else {
        format!("{value:?}")
    }
}

/// An array as PostgreSQL writes it.
fn array(items: &[serde_json::Value]) -> String {
    let items: Vec<_> = items
        .iter()
        .map(|item| match item {
            serde_json::Value::Null => "NULL".to_owned(),
            serde_json::Value::Array(inner) => array(inner),
            serde_json::Value::String(text) => quoted(text),
            serde_json::Value::Object(_) => quoted(&item.to_string()),
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => item.to_string(),
        })
        .collect();
    format!("{{{}}}", items.join(","))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The bytes of one cell; `None` is NULL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, BoxError> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

type Decode = fn(&[u8]) -> Option<Value>;

/// How a column is read.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    column: String,
    type_: Type,
    decode: Decode,
    is_array: bool,
}

/// How a column of this type is read; a failure if it is not.
pub(super) fn reader(column: &str, type_: &Type) -> Result<Reader, Failure> {
    let bare = plain(type_);
    let (element, is_array) = match bare.kind() {
        Kind::Array(element) => (plain(element), true),
        _ => (bare, false),
    };
    let Some(decode) = decoder(element) else {
        return Err(Failure::new(
            "database",
            format!(
                "column {column:?} has the type {}, which is not read: cast it to text",
                type_.name()
            ),
        ));
    };
    Ok(Reader { column: column.to_owned(), type_: bare.clone(), decode, is_array })
}

impl Reader {
    /// Reads a cell.
    pub(super) fn read(&self, raw: Raw<'_>) -> Result<Value, Failure> {
        let Some(bytes) = raw.0 else { return Ok(Value::Null) };
        let value = if self.is_array { self.read_array(bytes) } else { (self.decode)(bytes) };
        value.ok_or_else(|| {
            Failure::new(
                "database",
                format!(
                    "column {:?} holds a {} that cannot be shown: cast it to text",
                    self.column,
                    self.type_.name()
                ),
            )
        })
    }

    fn read_array(&self, bytes: &[u8]) -> Option<Value> {
        let cells = Vec::<Raw<'_>>::from_sql(&self.type_, bytes).ok()?;
        let items = cells.into_iter().map(|cell| match cell.0 {
            None => Some(serde_json::Value::Null),
            Some(bytes) => (self.decode)(bytes).map(json),
        });
        Some(Value::Json(serde_json::Value::Array(items.collect::<Option<_>>()?)))
    }
}

fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => value.into(),
        Value::Integer(value) => value.into(),
        Value::Float(value) => {
            serde_json::Number::from_f64(value).map_or_else(|| float(value).into(), Into::into)
        }
        Value::Text(text) | Value::Timestamp(text) => text.into(),
        Value::Bytes(bytes) => format!("\\x{}", hex(&bytes)).into(),
        Value::Json(value) => value,
    }
}

fn decoder(type_: &Type) -> Option<Decode> {
    if matches!(type_.kind(), Kind::Enum(_)) {
        return Some(text);
    }
    Some(match *type_ {
        Type::BOOL => |raw| Some(Value::Bool(*raw.first()? != 0)),
        Type::INT2 => |raw| Some(Value::Integer(i16::from_be_bytes(raw.try_into().ok()?).into())),
        Type::INT4 => |raw| Some(Value::Integer(i32::from_be_bytes(raw.try_into().ok()?).into())),
        Type::INT8 => |raw| Some(Value::Integer(i64::from_be_bytes(raw.try_into().ok()?))),
        Type::OID | Type::XID => {
            |raw| Some(Value::Integer(u32::from_be_bytes(raw.try_into().ok()?).into()))
        }
        Type::FLOAT4 => |raw| {
            // By way of its shortest text, or 0.1 would be 0.10000000149011612.
            let value = f32::from_be_bytes(raw.try_into().ok()?);
            Some(Value::Float(value.to_string().parse().ok()?))
        },
        Type::FLOAT8 => |raw| Some(Value::Float(f64::from_be_bytes(raw.try_into().ok()?))),
        Type::NUMERIC => numeric,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::CHAR => text,
        Type::BYTEA => |raw| Some(Value::Bytes(raw.to_vec())),
        Type::JSON => |raw| serde_json::from_slice(raw).ok().map(Value::Json),
        // A version number comes first.
        Type::JSONB => |raw| serde_json::from_slice(raw.get(1..)?).ok().map(Value::Json),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => instant,
        Type::DATE => date,
        Type::TIME => time,
        Type::UUID => uuid,
        Type::VOID => |_| Some(Value::Null),
        _ if type_.name() == "citext" => text,
        _ => return None,
    })
}

fn text(raw: &[u8]) -> Option<Value> {
    Some(Value::Text(std::str::from_utf8(raw).ok()?.to_owned()))
}

/// Microseconds between 1970 and 2000.
const EPOCH: i64 = 946_684_800_000_000;

fn instant(raw: &[u8]) -> Option<Value> {
    match i64::from_be_bytes(raw.try_into().ok()?) {
        i64::MAX => Some(Value::Timestamp("infinity".to_owned())),
        i64::MIN => Some(Value::Timestamp("-infinity".to_owned())),
        micros => Timestamp::from_microsecond(micros.checked_add(EPOCH)?).ok().map(shown),
    }
}

fn date(raw: &[u8]) -> Option<Value> {
    let days = i32::from_be_bytes(raw.try_into().ok()?);
    let span = jiff::Span::new().try_days(days).ok()?;
    let date = civil::date(2000, 1, 1).checked_add(span).ok()?;
    Some(Value::Text(date.to_string()))
}

fn time(raw: &[u8]) -> Option<Value> {
    let micros = i64::from_be_bytes(raw.try_into().ok()?);
    let span = jiff::Span::new().try_microseconds(micros).ok()?;
    let time = civil::time(0, 0, 0, 0).checked_add(span).ok()?;
    Some(Value::Text(time.to_string()))
}

fn uuid(raw: &[u8]) -> Option<Value> {
    let hex = hex(raw);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    let parts: Option<Vec<_>> = parts.into_iter().map(|range| hex.get(range)).collect();
    Some(Value::Text(parts?.join("-")))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Four decimal digits.
fn push_group(text: &mut String, group: u16) {
    for unit in [1_000, 100, 10, 1] {
        text.push(char::from(b'0' + (group / unit % 10) as u8));
    }
}

/// Digits in base 10 000 with the weight of the first, a sign, and how many decimals are shown.
fn numeric(raw: &[u8]) -> Option<Value> {
    let word = |at: usize| Some(u16::from_be_bytes(raw.get(at * 2..at * 2 + 2)?.try_into().ok()?));
    let (count, weight, sign) = (word(0)?, word(1)? as i16, word(2)?);
    let decimals = usize::from(word(3)?);
    match sign {
        0 | 0x4000 => {}
        0xC000 => return Some(Value::Float(f64::NAN)),
        0xD000 => return Some(Value::Float(f64::INFINITY)),
        0xF000 => return Some(Value::Float(f64::NEG_INFINITY)),
        _ => return None,
    }
    let digits: Vec<_> = (0..usize::from(count)).map(|at| word(4 + at)).collect::<Option<_>>()?;
    let digit = |place: i32| {
        let at = usize::try_from(i32::from(weight) - place).ok();
        at.and_then(|at| digits.get(at)).copied().unwrap_or(0)
    };
    let mut text = String::from(if sign == 0 { "" } else { "-" });
    text.push_str(&digit(i32::from(weight.max(0))).to_string());
    for place in (0..i32::from(weight.max(0))).rev() {
        push_group(&mut text, digit(place));
    }
    if decimals == 0 {
        return Some(text.parse().map_or_else(|_| Value::Text(text), Value::Integer));
    }
    let groups = i32::try_from(decimals.div_ceil(4)).ok()?;
    let mut fraction = String::new();
    (1..=groups).for_each(|place| push_group(&mut fraction, digit(-place)));
    text.push('.');
    text.push_str(fraction.get(..decimals)?);
    text.parse().ok().map(Value::Float)
}

/// What the server said, in one line.
pub(super) fn message(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        return format!("{}{detail} ({})", error.message(), error.code().code());
    }
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// What an error means, by its class.
pub(super) fn failure(error: &tokio_postgres::Error) -> Failure {
    let message = message(error);
    let Some(known) = error.as_db_error() else {
        let lost = error.is_closed()
            || error.source().is_some_and(|cause| cause.downcast_ref::<std::io::Error>().is_some());
        let kind = if lost { "disconnected" } else { "database" };
        return Failure::new(kind, message);
    };
    let code = known.code().code();
    let kind = match (code, code.get(..2).unwrap_or_default()) {
        ("57014", _) => "timeout",
        ("42501" | "25006", _) | (_, "28") => "denied",
        ("55P03" | "55006", _) | (_, "40") => "conflict",
        ("57P01" | "57P02" | "57P03" | "57P05", _) | (_, "08") => "disconnected",
        (_, "22" | "23") => "constraint",
        (_, "42" | "3F" | "3D") => "syntax",
        (_, "53" | "54") => "limit",
        _ => "database",
    };
    Failure::new(kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(value: Value, type_: &Type) -> Result<String, String> {
        match encode(&value, type_, 2) {
            Ok(Parameter::Null) => Ok("NULL".to_owned()),
            Ok(Parameter::Text(text)) => Ok(text),
            Ok(Parameter::Bytes(bytes)) => Ok(format!("{bytes:?}")),
            Err(misuse) => Err(misuse.0),
        }
    }

    #[test]
    fn a_value_is_sent_as_what_its_placeholder_is() {
        assert_eq!(sent(Value::Integer(5), &Type::FLOAT8).unwrap(), "5");
        assert_eq!(sent(Value::Float(5.0), &Type::INT4).unwrap(), "5");
        assert_eq!(sent(Value::Bool(true), &Type::INT4).unwrap(), "1");
        assert_eq!(sent(Value::Integer(1), &Type::BOOL).unwrap(), "1");
        assert_eq!(sent(Value::Float(f64::INFINITY), &Type::FLOAT8).unwrap(), "Infinity");
        assert_eq!(sent(Value::Text("a".into()), &Type::BYTEA).unwrap(), "[97]");
        let items = serde_json::json!(["a\"b\\", null, [1, 2.5], true]);
        assert_eq!(
            sent(Value::Json(items), &Type::TEXT_ARRAY).unwrap(),
            r#"{"a\"b\\",NULL,{1,2.5},true}"#
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_place_and_type() {
        for (value, type_) in [
            (Value::Float(1.5), Type::INT4),
            (Value::Float(1e300), Type::INT8),
            (Value::Bytes(vec![1]), Type::INT4),
            (Value::Integer(2), Type::BOOL),
            (Value::Integer(2), Type::TIMESTAMPTZ),
            (Value::Timestamp("2026-08-01T12:00:00Z".into()), Type::INT4),
            (Value::Json(serde_json::json!({})), Type::INT4),
        ] {
            let refused = sent(value, &type_).unwrap_err();
            assert!(refused.contains("value 2") && refused.contains(type_.name()), "{refused}");
        }
    }

    #[test]
    fn numerics_are_read_exactly_or_as_the_nearest_float() {
        let numeric_of = |words: &[u16]| {
            let raw: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            numeric(&raw).unwrap()
        };
        assert_eq!(numeric_of(&[0, 0, 0, 0]), Value::Integer(0));
        assert_eq!(numeric_of(&[2, 1, 0, 0, 1, 2]), Value::Integer(10_002));
        assert_eq!(numeric_of(&[1, 1, 0x4000, 0, 7]), Value::Integer(-70_000));
        assert_eq!(numeric_of(&[2, 0, 0, 2, 12, 3_400]), Value::Float(12.34));
        assert_eq!(numeric_of(&[1, -1_i16 as u16, 0, 3, 50]), Value::Float(0.005));
        let digits = [6, 5, 0, 0, 1, 0, 0, 0, 0, 1];
        assert_eq!(numeric_of(&digits), Value::Text("100000000000000000001".into()));
        assert_eq!(numeric(&[0, 9]), None);
    }
}
