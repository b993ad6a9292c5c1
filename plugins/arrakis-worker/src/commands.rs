//! `commands.>`: answers through a bounded cache, from the database on a miss.
//!
//! An answer is cached as it was given, for as long as `cache_ttl_ms`. What changes meanwhile is seen when
//! that has passed: other instances, which handle the events, cannot reach this cache.

use std::time::Duration;

use ledger::{number, objects, sql};
use wavetank_sdk::{
    Json, Measured, Result,
    database::{Statement, Value},
    json, time,
};

use crate::{Answer, Event, Worker};

/// Rows of a leaderboard.
const LEADERS: i64 = 10;
/// Points that a badge takes.
const BADGES: [(i64, &str); 4] =
    [(1, "newcomer"), (10, "regular"), (100, "veteran"), (1_000, "legend")];

/// An answer, and until when it may be given.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    result: Json,
    until: u64,
}

impl Worker {
    pub(crate) fn command(&mut self, event: &Event) -> Answer {
        let command = event.data["command"].as_str().unwrap_or_default();
        let user = match command {
            "leaderboard" => "",
            "profile" | "position" | "badges" | "alerts" => match event.user() {
                Ok(user) => user,
                Err(error) => return Ok(Err(error)),
            },
            other => return Ok(Err(format!("`{other}` is no command"))),
        };
        // No id holds a line break that another could be told by: lengths keep keys apart.
        let key = format!("{command}/{}/{}/{user}", event.guild.len(), event.guild);
        let now = time::now();
        let kept = self.cache.touch(&key).filter(|kept| kept.until > now);
        let (result, cache) = match kept {
            Some(kept) => (kept.result, "hit"),
            None => {
                let result = read(command, &event.guild, user)?;
                let ttl = u64::try_from(self.cache_ttl.as_nanos()).unwrap_or(u64::MAX);
                let kept = Kept { result: result.clone(), until: now.saturating_add(ttl) };
                self.cache.put(&key, kept);
                (result, "miss")
            }
        };
        if self.remote_delay > Duration::ZERO {
            time::sleep(self.remote_delay);
        }
        self.ledger.note(&format!("answered.{command}"))?;
        self.ledger.note(&format!("cache.{cache}"))?;
        Ok(Ok(json!({"success": true, "command": command, "cache": cache, "result": result})))
    }
}

/// What the database says.
fn read(command: &str, guild: &str, user: &str) -> Result<Json> {
    let of_user = |text: &str| -> Statement { sql(text).value(guild).value(user) };
    match command {
        "leaderboard" => {
            let rows = sql("SELECT user_id, points FROM members WHERE guild_id = ?
                            ORDER BY points DESC, user_id LIMIT ?")
            .value(guild)
            .value(LEADERS)
            .query()??;
            return Ok(json!({ "leaders": objects(&rows) }));
        }
        "alerts" => {
            let rows = of_user(
                "SELECT content, timestamp FROM alerts WHERE guild_id = ? AND user_id = ?
                 ORDER BY id DESC LIMIT 10",
            )
            .query()??;
            return Ok(json!({ "alerts": objects(&rows) }));
        }
        _ => {}
    }
    let Some(points) = points(guild, user)?? else { return Ok(json!({"found": false})) };
    Ok(match command {
        "position" => {
            let above =
                sql("SELECT count(*) AS above FROM members WHERE guild_id = ? AND points > ?")
                    .value(guild)
                    .value(points)
                    .query()??;
            json!({"found": true, "position": number(&above) + 1, "points": points})
        }
        "badges" => {
            let badges = BADGES.iter().filter(|(least, _)| points >= *least);
            json!({"found": true, "badges": badges.map(|(_, badge)| *badge).collect::<Vec<_>>()})
        }
        _ => {
            let eligible =
                of_user("SELECT eligible FROM eligibility WHERE guild_id = ? AND user_id = ?")
                    .query()??;
            let eligible = eligible.get(0, "eligible").and_then(Value::as_integer);
            let eligible = eligible.map(|eligible| eligible != 0);
            json!({"found": true, "user_id": user, "points": points, "eligible": eligible})
        }
    })
}

fn points(guild: &str, user: &str) -> Measured<Option<i64>> {
    let rows = sql("SELECT points FROM members WHERE guild_id = ? AND user_id = ?")
        .value(guild)
        .value(user)
        .query()?;
    Ok(rows.map(|rows| rows.get(0, "points").and_then(Value::as_integer)))
}
