//! The chat bot's database service of catalogue R, in the subjects that the statistics need.
//!
//! It speaks what the real one speaks: events are not answered, and a bad one is ignored and counted
//! (table `bad_events`). Its SQL is the part that SQLite and PostgreSQL share, with `INSERT … ON
//! CONFLICT`. A guest has no clock of the world: times are nanoseconds of its host's timeline, except
//! that of a PM command, which is what the event says.
//!
//! Many instances, in many processes, share a database: nothing is kept in memory, every change is one
//! statement or one transaction, and whoever starts first makes the tables.

use std::time::Duration;

use wavetank_sdk::{
    Context, Description, Json, Measured, Result, Service,
    bus::Message,
    database::{self, Rows, Value},
    json, serde_json, time,
};

struct Rosey;

const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS user_stats (
        username TEXT PRIMARY KEY,
        first_seen BIGINT NOT NULL,
        last_seen BIGINT NOT NULL,
        total_chat_lines BIGINT NOT NULL DEFAULT 0,
        total_time_connected BIGINT NOT NULL DEFAULT 0,
        current_session_start BIGINT)",
    "CREATE TABLE IF NOT EXISTS recent_chat (
        stamped BIGINT NOT NULL,
        username TEXT NOT NULL,
        message TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS user_actions (
        stamped TEXT NOT NULL,
        username TEXT NOT NULL,
        action_type TEXT NOT NULL,
        details TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS current_status (
        id BIGINT PRIMARY KEY,
        status TEXT NOT NULL,
        last_updated BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS user_counts (
        stamped BIGINT NOT NULL,
        chat_users BIGINT NOT NULL,
        connected_users BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS high_water (
        name TEXT PRIMARY KEY,
        users BIGINT NOT NULL,
        stamped BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS user_stats_lines ON user_stats (total_chat_lines)",
    // The last one: where it is, the others are, too.
    "CREATE TABLE IF NOT EXISTS bad_events (
        stamped BIGINT NOT NULL,
        handler TEXT NOT NULL)",
];

/// How often an instance tries again to make the tables while another one makes them: even with `IF
/// NOT EXISTS`, PostgreSQL lets one of two fail.
const ATTEMPTS: u32 = 20;

impl Service for Rosey {
    fn describe() -> Description {
        Description::new("rosey-database", env!("CARGO_PKG_VERSION")).options(json!({
            "services": {
                "rosey.db.user.joined": "joined",
                "rosey.db.user.left": "left",
                "rosey.db.message.log": "message",
                "rosey.db.status.update": "status",
                "rosey.db.stats.user_count": "user_count",
                "rosey.db.stats.high_water": "high_water",
                "rosey.db.action.pm_command": "pm_command",
                "rosey.db.query.user_stats": "user_stats",
                "rosey.db.query.channel_stats": "channel_stats",
                "rosey.db.stats.recent_chat.get": "recent_chat",
            },
        }))
    }

    fn start(_: &Context) -> Result<Self> {
        let mut attempt = 1;
        while database::sql("SELECT count(*) FROM bad_events").query()?.is_err() {
            match make_tables()? {
                Ok(()) => {}
                Err(failure) if attempt >= ATTEMPTS => return Err(failure.into()),
                Err(_) => time::sleep(Duration::from_millis(50)),
            }
            attempt += 1;
        }
        Ok(Self)
    }

    fn handle(&mut self, handler: &str, message: &Message) -> Result<Option<Vec<u8>>> {
        let asked: Option<Json> = serde_json::from_slice(&message.payload).ok();
        let answer = match handler {
            "user_stats" => user_stats(asked.as_ref())?,
            "channel_stats" => channel_stats()?,
            "recent_chat" => recent_chat(asked.as_ref())?,
            event => {
                let stored = match &asked {
                    Some(asked) => store(event, asked)?,
                    None => false,
                };
                if !stored {
                    bad_event(event)?;
                }
                return Ok(None);
            }
        };
        Ok(Some(answer.to_string().into_bytes()))
    }
}

fn make_tables() -> Measured<()> {
    for statement in SCHEMA {
        if let Err(failure) = database::sql(statement).execute()? {
            return Ok(Err(failure));
        }
    }
    Ok(Ok(()))
}

fn bad_event(handler: &str) -> Result {
    database::sql("INSERT INTO bad_events (stamped, handler) VALUES (?, ?)")
        .value(now())
        .value(handler)
        .execute()??;
    Ok(())
}

/// Stores an event; false if it is a bad one.
fn store(event: &str, asked: &Json) -> Result<bool> {
    match event {
        "status" => status(asked),
        "user_count" => user_count(asked),
        "high_water" => high_water(asked),
        _ => {
            let Some(username) = asked["username"].as_str().filter(|name| !name.is_empty()) else {
                return Ok(false);
            };
            match event {
                "joined" => joined(username),
                "left" => left(username),
                "message" => message(username, asked),
                _ => pm_command(username, asked),
            }
        }
    }
}

fn now() -> i64 {
    i64::try_from(time::now()).unwrap_or(i64::MAX)
}

fn joined(username: &str) -> Result<bool> {
    let now = now();
    database::sql(
        "INSERT INTO user_stats (username, first_seen, last_seen, current_session_start)
         VALUES (?, ?, ?, ?)
         ON CONFLICT (username) DO UPDATE SET
             last_seen = excluded.last_seen,
             current_session_start = excluded.current_session_start",
    )
    .value(username)
    .value(now)
    .value(now)
    .value(now)
    .execute()??;
    Ok(true)
}

fn left(username: &str) -> Result<bool> {
    let now = now();
    database::sql(
        "UPDATE user_stats SET
             last_seen = ?,
             total_time_connected = total_time_connected + (? - current_session_start),
             current_session_start = NULL
         WHERE username = ? AND current_session_start IS NOT NULL",
    )
    .value(now)
    .value(now)
    .value(username)
    .execute()??;
    Ok(true)
}

fn message(username: &str, asked: &Json) -> Result<bool> {
    let Some(text) = asked["message"].as_str() else { return Ok(false) };
    let now = now();
    let chat =
        database::sql("INSERT INTO recent_chat (stamped, username, message) VALUES (?, ?, ?)")
            .value(now)
            .value(username)
            .value(text);
    let lines = database::sql(
        "INSERT INTO user_stats (username, first_seen, last_seen, total_chat_lines)
         VALUES (?, ?, ?, 1)
         ON CONFLICT (username) DO UPDATE SET
             last_seen = excluded.last_seen,
             total_chat_lines = user_stats.total_chat_lines + 1",
    )
    .value(username)
    .value(now)
    .value(now);
    database::batch(&[chat, lines])??;
    Ok(true)
}

fn pm_command(username: &str, asked: &Json) -> Result<bool> {
    let part = |name: &str| asked[name].as_str().filter(|text| !text.is_empty());
    let details: Vec<_> =
        [("cmd=", "command"), ("args: ", "args"), ("result: ", "result"), ("error: ", "error")]
            .iter()
            .filter_map(|(label, name)| part(name).map(|text| format!("{label}{text}")))
            .collect();
    let stamped = match &asked["timestamp"] {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        _ => now().to_string(),
    };
    database::sql(
        "INSERT INTO user_actions (stamped, username, action_type, details) VALUES (?, ?, ?, ?)",
    )
    .value(stamped)
    .value(username)
    .value("pm_command")
    .value(details.join(", "))
    .execute()??;
    Ok(true)
}

fn status(asked: &Json) -> Result<bool> {
    let Some(data) = asked.get("status_data").filter(|data| data.is_object()) else {
        return Ok(false);
    };
    database::sql(
        "INSERT INTO current_status (id, status, last_updated) VALUES (1, ?, ?)
         ON CONFLICT (id) DO UPDATE SET status = excluded.status, last_updated = excluded.last_updated",
    )
    .value(data.to_string())
    .value(now())
    .execute()??;
    Ok(true)
}

fn user_count(asked: &Json) -> Result<bool> {
    let count = |name: &str| asked[name].as_i64();
    let (Some(chat), Some(connected)) = (count("chat_count"), count("connected_count")) else {
        return Ok(false);
    };
    database::sql(
        "INSERT INTO user_counts (stamped, chat_users, connected_users) VALUES (?, ?, ?)",
    )
    .value(now())
    .value(chat)
    .value(connected)
    .execute()??;
    Ok(true)
}

fn high_water(asked: &Json) -> Result<bool> {
    let mut stored = false;
    for (name, field) in [("mark", "chat_count"), ("connected", "connected_count")] {
        let Some(users) = asked[field].as_i64() else { continue };
        database::sql(
            "INSERT INTO high_water (name, users, stamped) VALUES (?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET users = excluded.users, stamped = excluded.stamped
             WHERE excluded.users > high_water.users",
        )
        .value(name)
        .value(users)
        .value(now())
        .execute()??;
        stored = true;
    }
    Ok(stored)
}

fn user_stats(asked: Option<&Json>) -> Result<Json> {
    let Some(asked) = asked else {
        return Ok(json!({"success": false, "error": "Invalid request format"}));
    };
    let Some(username) = asked["username"].as_str().filter(|name| !name.is_empty()) else {
        return Ok(json!({"success": false, "error": "username is required"}));
    };
    let rows = database::sql(
        "SELECT username, first_seen, last_seen, total_chat_lines, total_time_connected,
                current_session_start
         FROM user_stats WHERE username = ?",
    )
    .value(username)
    .query()??;
    if rows.rows.is_empty() {
        let message = format!("User {username} not found");
        return Ok(json!({
            "username": username, "success": true, "found": false, "message": message,
        }));
    }
    let mut answer = row(&rows, 0);
    answer["success"] = json!(true);
    answer["found"] = json!(true);
    Ok(answer)
}

fn recent_chat(asked: Option<&Json>) -> Result<Json> {
    let Some(asked) = asked else { return Ok(json!([])) };
    let rows = database::sql(
        "SELECT stamped AS timestamp, username, message FROM recent_chat ORDER BY stamped DESC LIMIT ?",
    )
    .value(asked["limit"].as_i64().unwrap_or(50).clamp(0, 1_000))
    .query()??;
    Ok((0..rows.rows.len()).map(|index| row(&rows, index)).collect())
}

fn row(rows: &Rows, index: usize) -> Json {
    let fields = rows.columns.iter().map(|column| {
        let value = match rows.get(index, column) {
            Some(Value::Integer(value)) => json!(value),
            Some(Value::Text(value)) => json!(value),
            _ => Json::Null,
        };
        (column.clone(), value)
    });
    Json::Object(fields.collect())
}

fn channel_stats() -> Result<Json> {
    let top = database::sql(
        "SELECT username, total_chat_lines AS chat_lines FROM user_stats
         ORDER BY total_chat_lines DESC, username LIMIT 10",
    )
    .query()??;
    let seen = database::sql("SELECT count(*) AS seen FROM user_stats").query()??;
    let water = database::sql("SELECT name, users, stamped FROM high_water").query()??;
    let mark = |name: &str| {
        let found = (0..water.rows.len())
            .find(|index| water.get(*index, "name").and_then(Value::as_text) == Some(name));
        let number = |column: &str| {
            found.and_then(|index| water.get(index, column)).and_then(Value::as_integer)
        };
        json!({"users": number("users").unwrap_or(0), "timestamp": number("stamped")})
    };
    let chatters: Vec<_> = (0..top.rows.len()).map(|index| row(&top, index)).collect();
    Ok(json!({
        "success": true,
        "high_water_mark": mark("mark"),
        "high_water_connected": mark("connected"),
        "top_chatters": chatters,
        "total_users_seen": seen.get(0, "seen").and_then(Value::as_integer).unwrap_or(0),
    }))
}

wavetank_sdk::service!(Rosey);
