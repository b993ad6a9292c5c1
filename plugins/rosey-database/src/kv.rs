//! The key-value part of the service: `rosey.db.kv.*`.
//!
//! A reply says `success`; what went wrong has one of five codes. An entry with `ttl_seconds` ends by the
//! database's clock, so that it means the same to every process and outlives a restart. What has ended is
//! not there for any question, and is removed now and then.

use ledger::{Ledger, number, sql, storable};
use wavetank_sdk::{
    Failure, Json, Result,
    database::{Rows, Value},
    json, serde_json,
};

/// Bytes of a value, as JSON.
const VALUE_BYTES: usize = 64 << 10;
/// Bytes of a name or a key.
const NAME_BYTES: usize = 255;
/// Keys of a list, unless asked for fewer.
const KEYS: i64 = 1_000;
/// The longest that an entry may live: a hundred years, so that no sum overflows.
const LONGEST_SECONDS: i64 = 100 * 365 * 24 * 3_600;

/// One of a hundred sets also removes what has ended.
const PURGE_EVERY: i64 = 100;

const LIVES: &str = "(expires_ms IS NULL OR expires_ms > {now_ms})";

/// Why a request was refused.
struct Refusal {
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::new("INTERNAL_ERROR", failure.to_string())
    }
}

/// Data, or a refusal inside; misuse outside.
type Answer<T = Json> = Result<Result<T, Refusal>>;

/// Answers one request.
pub fn answer(ledger: &Ledger, handler: &str, payload: &[u8]) -> Result<Json> {
    let answer = match serde_json::from_slice::<Json>(payload) {
        Err(error) => Err(Refusal::new("INVALID_JSON", error.to_string())),
        Ok(asked) => match handler {
            "kv_set" => set(ledger, &asked)?,
            "kv_get" => get(&asked)?,
            "kv_delete" => delete(ledger, &asked)?,
            _ => list(&asked)?,
        },
    };
    Ok(match answer {
        Ok(data) => json!({"success": true, "data": data}),
        Err(Refusal { code, message }) => {
            json!({"success": false, "error": {"code": code, "message": message}})
        }
    })
}

fn text(asked: &Json, field: &str) -> Result<String, Refusal> {
    match &asked[field] {
        Json::Null => Err(Refusal::new("MISSING_FIELD", format!("{field} is required"))),
        Json::String(text) if text.is_empty() => {
            Err(Refusal::new("MISSING_FIELD", format!("{field} is empty")))
        }
        Json::String(text) if text.len() > NAME_BYTES || !storable(text) => {
            let message = format!("{field} must have at most {NAME_BYTES} bytes and no NUL");
            Err(Refusal::new("VALIDATION_ERROR", message))
        }
        Json::String(text) => Ok(text.clone()),
        _ => Err(Refusal::new("VALIDATION_ERROR", format!("{field} must be text"))),
    }
}

fn positive(asked: &Json, field: &str, most: i64) -> Result<Option<i64>, Refusal> {
    match &asked[field] {
        Json::Null => Ok(None),
        value => match value.as_i64() {
            Some(number) if (1..=most).contains(&number) => Ok(Some(number)),
            _ => {
                let message = format!("{field} must be a whole number from 1 to {most}");
                Err(Refusal::new("VALIDATION_ERROR", message))
            }
        },
    }
}

/// `?` on a refusal, inside a function that may also misuse the host.
macro_rules! granted {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(refusal) => return Ok(Err(refusal.into())),
        }
    };
}

fn set(ledger: &Ledger, asked: &Json) -> Answer {
    let plugin = granted!(text(asked, "plugin_name"));
    let key = granted!(text(asked, "key"));
    let Some(value) = asked.get("value") else {
        return Ok(Err(Refusal::new("MISSING_FIELD", "value is required")));
    };
    let ttl = granted!(positive(asked, "ttl_seconds", LONGEST_SECONDS));
    let value = value.to_string();
    if value.len() > VALUE_BYTES {
        let message = format!("value has {} bytes, more than {VALUE_BYTES}", value.len());
        return Ok(Err(Refusal::new("VALUE_TOO_LARGE", message)));
    }
    let entry = sql("INSERT INTO plugin_kv (plugin_name, key, value, expires_ms, updated_at)
                     VALUES (?, ?, ?, {now_ms} + ?, {now})
                     ON CONFLICT (plugin_name, key) DO UPDATE SET
                         value = excluded.value,
                         expires_ms = excluded.expires_ms,
                         updated_at = excluded.updated_at")
    .value(plugin)
    .value(key)
    .value(value)
    .value(ttl.map(|seconds| seconds * 1_000));
    let mut statements = vec![entry];
    if wavetank_sdk::random::integer(1, PURGE_EVERY) == 1 {
        statements.push(sql("DELETE FROM plugin_kv WHERE expires_ms <= {now_ms}"));
    }
    granted!(ledger.store("stored.kv_set", statements)?);
    Ok(Ok(json!({})))
}

fn get(asked: &Json) -> Answer {
    let plugin = granted!(text(asked, "plugin_name"));
    let key = granted!(text(asked, "key"));
    let rows = granted!(
        sql(&format!("SELECT value FROM plugin_kv WHERE plugin_name = ? AND key = ? AND {LIVES}"))
            .value(plugin)
            .value(key)
            .query()?
    );
    let Some(value) = rows.get(0, "value").and_then(Value::as_text) else {
        return Ok(Ok(json!({"exists": false})));
    };
    let value: Json = serde_json::from_str(value)?;
    Ok(Ok(json!({"exists": true, "value": value})))
}

fn delete(ledger: &Ledger, asked: &Json) -> Answer {
    let plugin = granted!(text(asked, "plugin_name"));
    let key = granted!(text(asked, "key"));
    let delete =
        sql(&format!("DELETE FROM plugin_kv WHERE plugin_name = ? AND key = ? AND {LIVES}"))
            .value(plugin)
            .value(key);
    let changed = granted!(ledger.store("stored.kv_delete", vec![delete])?);
    Ok(Ok(json!({"deleted": changed.first().is_some_and(|deleted| *deleted > 0)})))
}

fn list(asked: &Json) -> Answer {
    let plugin = granted!(text(asked, "plugin_name"));
    let limit = granted!(positive(asked, "limit", KEYS)).unwrap_or(KEYS);
    let prefix = match &asked["prefix"] {
        Json::Null => "",
        Json::String(prefix) if storable(prefix) => prefix,
        _ => return Ok(Err(Refusal::new("VALIDATION_ERROR", "prefix must be text without NUL"))),
    };
    let length = i64::try_from(prefix.chars().count())?;
    let mine = format!("plugin_name = ? AND substr(key, 1, ?) = ? AND {LIVES}");
    let select = |what: &str, order: &str| {
        sql(&format!("SELECT {what} FROM plugin_kv WHERE {mine} {order}"))
            .value(plugin.as_str())
            .value(length)
            .value(prefix)
    };
    let all = number(&granted!(select("count(*) AS keys", "").query()?));
    let rows: Rows = granted!(select("key", "ORDER BY key LIMIT ?").value(limit).query()?);
    let keys: Vec<_> = rows.rows.iter().filter_map(|row| row.first()?.as_text()).collect();
    let count = i64::try_from(keys.len())?;
    Ok(Ok(json!({"keys": keys, "count": count, "truncated": all > count})))
}
