//! L2: a table, which outlives the process.

use ledger::{Ledger, number, sql};
use wavetank_sdk::{
    Measured, Result,
    database::{Rows, Value},
};

use crate::tracker::Quote;

const SCHEMA: &[&str] = &["CREATE TABLE IF NOT EXISTS warming_l2 (
    pair TEXT PRIMARY KEY,
    price DOUBLE PRECISION NOT NULL,
    time DOUBLE PRECISION NOT NULL,
    updates BIGINT NOT NULL,
    stored BIGINT NOT NULL)"];

/// Makes the table unless it is there.
pub(crate) fn open() -> Result {
    Ledger::open("warming", SCHEMA)?;
    Ok(())
}

pub(crate) fn get(pair: &str) -> Measured<Option<Quote>> {
    let rows =
        sql("SELECT price, time, updates FROM warming_l2 WHERE pair = ?").value(pair).query()?;
    Ok(rows.map(|rows| quote(&rows, 0)))
}

pub(crate) fn size() -> Measured<i64> {
    Ok(sql("SELECT count(*) AS pairs FROM warming_l2").query()?.map(|rows| number(&rows)))
}

/// Those of these quotes that are not in L2 as they are.
pub(crate) fn stale(quotes: &[(String, Quote)]) -> Measured<Vec<(String, Quote)>> {
    if quotes.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let places = vec!["?"; quotes.len()].join(", ");
    let text =
        format!("SELECT pair, price, time, updates FROM warming_l2 WHERE pair IN ({places})");
    let asking = quotes.iter().fold(sql(&text), |asking, (pair, _)| asking.value(pair.as_str()));
    let rows = match asking.query()? {
        Ok(rows) => rows,
        Err(failure) => return Ok(Err(failure)),
    };
    let held = |name: &str| {
        (0..rows.rows.len())
            .find(|index| rows.get(*index, "pair").and_then(Value::as_text) == Some(name))
            .and_then(|index| quote(&rows, index))
    };
    let stale = quotes.iter().filter(|(name, quote)| held(name) != Some(*quote));
    Ok(Ok(stale.cloned().collect()))
}

/// Stores quotes, in one statement.
pub(crate) fn store(quotes: &[(String, Quote)]) -> Measured<()> {
    if quotes.is_empty() {
        return Ok(Ok(()));
    }
    let places = vec!["(?, ?, ?, ?, {now})"; quotes.len()].join(", ");
    let text = format!(
        "INSERT INTO warming_l2 (pair, price, time, updates, stored) VALUES {places}
         ON CONFLICT (pair) DO UPDATE SET
             price = excluded.price, time = excluded.time,
             updates = excluded.updates, stored = excluded.stored"
    );
    let storing = quotes.iter().fold(sql(&text), |storing, (pair, quote)| {
        storing.value(pair.as_str()).value(quote.price).value(quote.time).value(quote.updates)
    });
    Ok(storing.execute()?.map(|_| ()))
}

fn quote(rows: &Rows, index: usize) -> Option<Quote> {
    let float = |column: &str| match rows.get(index, column) {
        Some(Value::Float(value)) => Some(*value),
        other => other.and_then(Value::as_integer).map(|value| value as f64),
    };
    Some(Quote {
        price: float("price")?,
        time: float("time")?,
        updates: rows.get(index, "updates")?.as_integer()?,
    })
}
