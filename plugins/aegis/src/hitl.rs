//! Human in the loop: a request waits in the queue until it was decided, and only then is answered.
//!
//! What is not too risky the auto-approver decides, after its delay; for the rest somebody calls
//! `aegis.hitl.approve`. The queue is a table, so that a request made in one process can be decided in
//! another, and one that nobody waits for any more still says what became of it.

use std::time::Duration;

use ledger::{Ledger, number, objects, sql, storable};
use wavetank_sdk::{
    Json, Result,
    database::{Value, transaction},
    json,
    time::{Deadline, sleep},
};

use crate::{Answer, Refusal, granted, judge, name, settled};

pub(crate) const SCHEMA: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS hitl_queue (
        id {id},
        timestamp BIGINT NOT NULL,
        action TEXT NOT NULL,
        risk DOUBLE PRECISION NOT NULL,
        status TEXT NOT NULL,
        decided_by TEXT)",
    "CREATE INDEX IF NOT EXISTS hitl_queue_status ON hitl_queue (status, id)",
];

/// Whoever waits for a human asks so often at first, and half as often each time.
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(80);
/// Requests of a list.
const LISTED: i64 = 1_000;

/// What the auto-approver does.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) delay_ms: u64,
    pub(crate) risk: f64,
    pub(crate) timeout_ms: u64,
}

pub(crate) fn request(ledger: &Ledger, policy: &Policy, asked: &Json) -> Answer {
    let action = granted!(name(asked, "action"));
    let risk = granted!(judge::share(asked, "risk")).unwrap_or(0.0);
    let patience = asked["timeout_ms"].as_u64().unwrap_or(policy.timeout_ms).min(policy.timeout_ms);
    let queued = transaction(|| {
        let made = sql("INSERT INTO hitl_queue (timestamp, action, risk, status)
                        VALUES ({now}, ?, ?, 'pending') RETURNING id")
        .value(action)
        .value(risk)
        .query()??;
        ledger.entry("stored.hitl").execute()??;
        Ok(number(&made))
    });
    let id = granted!(settled(queued)?);
    if risk <= policy.risk {
        sleep(Duration::from_millis(policy.delay_ms));
        granted!(decide(ledger, id, "approved", "policy")?);
    }
    wait(ledger, id, Duration::from_millis(patience))
}

/// Until the request was decided, or nobody did in time.
fn wait(ledger: &Ledger, id: i64, patience: Duration) -> Answer {
    let deadline = Deadline::after(patience);
    let mut pause = FIRST;
    loop {
        let rows = granted!(
            sql("SELECT status, decided_by FROM hitl_queue WHERE id = ?").value(id).query()?
        );
        let text = |column: &str| rows.get(0, column).and_then(Value::as_text);
        let status = text("status").unwrap_or("gone");
        if status != "pending" {
            let approved = status == "approved";
            let by = text("decided_by");
            return Ok(Ok(json!({"id": id, "approved": approved, "status": status, "by": by})));
        }
        if deadline.has_passed() {
            granted!(decide(ledger, id, "expired", "timeout")?);
            continue;
        }
        sleep(pause.min(deadline.left()));
        pause = (pause * 2).min(LONGEST);
    }
}

/// Decides a request that is pending; whether it was.
fn decide(ledger: &Ledger, id: i64, status: &str, by: &str) -> Result<Result<bool, Refusal>> {
    let decided = transaction(|| {
        let decided = sql("UPDATE hitl_queue SET status = ?, decided_by = ?
                           WHERE id = ? AND status = 'pending'")
        .value(status)
        .value(by)
        .value(id)
        .execute()??;
        if decided > 0 {
            ledger.entry(&format!("decided.{status}")).execute()??;
        }
        Ok(decided > 0)
    });
    settled(decided)
}

pub(crate) fn approve(ledger: &Ledger, asked: &Json) -> Answer {
    let id = granted!(asked["id"].as_i64().ok_or_else(|| "`id` must be a whole number".to_owned()));
    let approved = asked["approved"].as_bool().unwrap_or(true);
    let by = asked["by"].as_str().filter(|by| storable(by)).unwrap_or("somebody");
    let status = if approved { "approved" } else { "rejected" };
    let decided = granted!(decide(ledger, id, status, by)?);
    Ok(Ok(json!({ "decided": decided })))
}

pub(crate) fn list() -> Answer {
    let rows = granted!(
        sql("SELECT id, action, risk FROM hitl_queue WHERE status = 'pending' ORDER BY id LIMIT ?")
            .value(LISTED)
            .query()?
    );
    Ok(Ok(json!({ "pending": objects(&rows) })))
}
