//! The audit log: a chain in which each entry's hash covers the one before.
//!
//! `hash = hex(sha256(previous ‖ entry))`, where `previous` is the hash of the entry before, as 64 digits
//! (zeros for the first), and `entry` is the text in the table: the entry's JSON with sorted keys and no
//! blanks. Sequence numbers begin at 1 and have no gap. So a reader verifies table `audit_log` alone, from
//! any language, and what was changed, left out or moved shows.
//!
//! Appending takes the one row of `audit_head` first: SQLite has one writer anyway, on PostgreSQL the
//! others wait for it. So the chain is one line however many append.

use ledger::{Ledger, sql};
use sha2::{Digest, Sha256};
use wavetank_sdk::{
    Json, Result,
    database::{Rows, Value, transaction},
    json,
};

use crate::{Answer, Refusal, granted, settled};

pub(crate) const SCHEMA: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS audit_log (
        sequence BIGINT PRIMARY KEY,
        timestamp BIGINT NOT NULL,
        previous TEXT NOT NULL,
        entry TEXT NOT NULL,
        hash TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS audit_head (
        id BIGINT PRIMARY KEY,
        sequence BIGINT NOT NULL,
        hash TEXT NOT NULL)",
    "INSERT INTO audit_head (id, sequence, hash)
     VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000')
     ON CONFLICT (id) DO NOTHING",
];

/// Entries that are read at a time.
const PAGE: i64 = 1_000;
/// Bytes of an entry.
const ENTRY_BYTES: usize = 64 << 10;

pub(crate) fn append(ledger: &Ledger, mut entry: Json) -> Answer {
    entry.sort_all_objects();
    let entry = entry.to_string();
    if entry.len() > ENTRY_BYTES {
        let message = format!("the entry has {} bytes, more than {ENTRY_BYTES}", entry.len());
        return Ok(Err(Refusal::Bad(message)));
    }
    let appended = transaction(|| {
        let head = sql("UPDATE audit_head SET sequence = sequence + 1 WHERE id = 1
                        RETURNING sequence, hash")
        .query()??;
        let (sequence, previous) = (integer(&head, 0, "sequence")?, text(&head, 0, "hash")?);
        let hash = hash(previous, &entry);
        sql("INSERT INTO audit_log (sequence, timestamp, previous, entry, hash)
             VALUES (?, {now}, ?, ?, ?)")
        .value(sequence)
        .value(previous)
        .value(entry.as_str())
        .value(hash.as_str())
        .execute()??;
        sql("UPDATE audit_head SET hash = ? WHERE id = 1").value(hash.as_str()).execute()??;
        ledger.entry("stored.audit").execute()??;
        Ok(json!({"sequence": sequence, "hash": hash}))
    });
    settled(appended)
}

/// Reads the chain as far as it went when this began.
pub(crate) fn verify() -> Answer {
    let head = granted!(sql("SELECT sequence, hash FROM audit_head WHERE id = 1").query()?);
    let last = integer(&head, 0, "sequence")?;
    let mut previous = "0".repeat(64);
    let mut verified = 0;
    while verified < last {
        let rows = granted!(
            sql("SELECT sequence, previous, entry, hash FROM audit_log
                 WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?")
            .value(verified)
            .value(last)
            .value(PAGE)
            .query()?
        );
        for index in 0..rows.rows.len() {
            let hash = hash(&previous, text(&rows, index, "entry")?);
            let holds = integer(&rows, index, "sequence")? == verified + 1
                && text(&rows, index, "previous")? == previous
                && text(&rows, index, "hash")? == hash;
            if !holds {
                return Ok(Ok(broken(verified, last)));
            }
            previous = hash;
            verified += 1;
        }
        if rows.rows.is_empty() {
            return Ok(Ok(broken(verified, last)));
        }
    }
    if previous != text(&head, 0, "hash")? {
        return Ok(Ok(broken(verified, last)));
    }
    Ok(Ok(json!({"valid": true, "entries": verified, "head": previous})))
}

fn broken(verified: i64, last: i64) -> Json {
    json!({"valid": false, "entries": verified, "expected": last, "broken_at": verified + 1})
}

fn hash(previous: &str, entry: &str) -> String {
    let digest = Sha256::new().chain_update(previous).chain_update(entry).finalize();
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn text<'a>(rows: &'a Rows, index: usize, column: &str) -> Result<&'a str> {
    let value = rows.get(index, column).and_then(Value::as_text);
    value.ok_or_else(|| format!("the audit log has no {column}").into())
}

fn integer(rows: &Rows, index: usize, column: &str) -> Result<i64> {
    let value = rows.get(index, column).and_then(Value::as_integer);
    value.ok_or_else(|| format!("the audit log has no {column}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_what_another_tool_says() {
        // printf '%064d{"a":1}' 0 | sha256sum
        let known = "fc6cee09194dd2578bd7664604fcb72a539066fd34544cea0009c43eb6cdc289";
        assert_eq!(hash(&"0".repeat(64), "{\"a\":1}"), known);
    }
}
