//! The chat bot's database service of catalogue R.
//!
//! It speaks what the real one speaks: events are not answered, and a bad one is ignored and counted
//! (table `bad_events`). A request that cannot be understood is told so in its reply. Its SQL is the part
//! that SQLite and PostgreSQL share, with `INSERT … ON CONFLICT`; times are seconds since 1970, by the
//! database's clock.
//!
//! Many instances, in many processes, share a database: nothing is kept in memory, every change is one
//! transaction that also counts itself, and whoever starts first makes the tables.
//!
//! `rosey.db.service.stats` tells what was stored (exact at any time), what was bad, and what was answered
//! (complete once the instances have stopped, see `ledger`).
//!
//! Messages for the channel are rows of `outbound_messages`; whoever wants one sent inserts it there.

use ledger::{Ledger, number, objects, row, sql, storable};
use wavetank_sdk::{
    Context, Description, Failure, Json, Result, Service,
    bus::Message,
    database::{Rows, Statement, Value},
    json, serde_json,
};

use crate::kv;

/// The service; one per instance.
#[derive(Debug)]
pub struct Rosey {
    ledger: Ledger,
}

const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS user_stats (
        username TEXT PRIMARY KEY,
        first_seen BIGINT NOT NULL,
        last_seen BIGINT NOT NULL,
        total_chat_lines BIGINT NOT NULL DEFAULT 0,
        total_time_connected BIGINT NOT NULL DEFAULT 0,
        current_session_start BIGINT)",
    "CREATE TABLE IF NOT EXISTS recent_chat (
        id {id},
        timestamp BIGINT NOT NULL,
        username TEXT NOT NULL,
        message TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS user_actions (
        id {id},
        timestamp BIGINT NOT NULL,
        username TEXT NOT NULL,
        action_type TEXT NOT NULL,
        details TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS current_status (
        id BIGINT PRIMARY KEY,
        status TEXT NOT NULL,
        current_media_title TEXT,
        current_media_duration BIGINT,
        last_updated BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS media_changes (
        id {id},
        timestamp BIGINT NOT NULL,
        title TEXT NOT NULL,
        duration BIGINT)",
    "CREATE TABLE IF NOT EXISTS user_count_history (
        id {id},
        timestamp BIGINT NOT NULL,
        chat_users BIGINT NOT NULL,
        connected_users BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS high_water (
        name TEXT PRIMARY KEY,
        users BIGINT NOT NULL,
        timestamp BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS outbound_messages (
        id {id},
        timestamp BIGINT NOT NULL,
        message TEXT NOT NULL,
        sent BIGINT NOT NULL DEFAULT 0,
        sent_timestamp BIGINT,
        retry_count BIGINT NOT NULL DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS plugin_kv (
        plugin_name TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        expires_ms BIGINT,
        updated_at BIGINT NOT NULL,
        PRIMARY KEY (plugin_name, key))",
    "CREATE TABLE IF NOT EXISTS bad_events (
        id {id},
        timestamp BIGINT NOT NULL,
        handler TEXT NOT NULL)",
    // What a row is looked for by, and the order of a list.
    "CREATE INDEX IF NOT EXISTS user_stats_lines ON user_stats (total_chat_lines)",
    "CREATE INDEX IF NOT EXISTS user_actions_username ON user_actions (username)",
    "CREATE INDEX IF NOT EXISTS recent_chat_username ON recent_chat (username)",
    "CREATE INDEX IF NOT EXISTS outbound_unsent ON outbound_messages (sent, id)",
    "CREATE INDEX IF NOT EXISTS plugin_kv_expires ON plugin_kv (expires_ms)",
];

/// Rows of a list at most.
const ROWS: i64 = 1_000;

/// Handlers of events: they answer nothing.
pub const EVENTS: [&str; 8] =
    ["joined", "left", "message", "status", "user_count", "high_water", "pm_command", "mark_sent"];

/// Subjects and their handlers.
pub fn services() -> Json {
    json!({
        "rosey.db.user.joined": "joined",
        "rosey.db.user.left": "left",
        "rosey.db.message.log": "message",
        "rosey.db.status.update": "status",
        "rosey.db.stats.user_count": "user_count",
        "rosey.db.stats.high_water": "high_water",
        "rosey.db.action.pm_command": "pm_command",
        "rosey.db.messages.outbound.get": "outbound",
        "rosey.db.messages.outbound.mark_sent": "mark_sent",
        "rosey.db.query.user_stats": "user_stats",
        "rosey.db.query.channel_stats": "channel_stats",
        "rosey.db.stats.recent_chat.get": "recent_chat",
        "rosey.db.kv.set": "kv_set",
        "rosey.db.kv.get": "kv_get",
        "rosey.db.kv.delete": "kv_delete",
        "rosey.db.kv.list": "kv_list",
        "rosey.db.service.stats": "service_stats",
    })
}

impl Service for Rosey {
    fn describe() -> Description {
        Description::new("rosey-database", env!("CARGO_PKG_VERSION"))
            .options(json!({"services": services()}))
    }

    fn start(_: &Context) -> Result<Self> {
        Ok(Self { ledger: Ledger::open("rosey", SCHEMA)? })
    }

    fn handle(&mut self, handler: &str, message: &Message) -> Result<Option<Vec<u8>>> {
        let asked: Option<Json> = serde_json::from_slice(&message.payload).ok();
        let answer = match handler {
            "user_stats" => user_stats(asked.as_ref())?,
            "channel_stats" => channel_stats()?,
            "recent_chat" => recent_chat(asked.as_ref())?,
            "outbound" => outbound(asked.as_ref())?,
            "service_stats" => self.stats()?,
            "kv_set" | "kv_get" | "kv_delete" | "kv_list" => {
                kv::answer(&self.ledger, handler, &message.payload)?
            }
            event if EVENTS.contains(&event) => {
                self.event(event, asked.as_ref())?;
                return Ok(None);
            }
            other => return Err(format!("there is no handler `{other}`").into()),
        };
        self.ledger.note(&format!("answered.{handler}"))?;
        Ok(Some(answer.to_string().into_bytes()))
    }

    fn stop(&mut self) -> Result {
        self.ledger.write()
    }
}

impl Rosey {
    /// Stores an event with its count, or counts it as a bad one.
    fn event(&self, event: &str, asked: Option<&Json>) -> Result {
        match asked.and_then(|asked| statements(event, asked)) {
            Some(statements) => self.ledger.store(&format!("stored.{event}"), statements)??,
            None => {
                let bad = sql("INSERT INTO bad_events (timestamp, handler) VALUES ({now}, ?)")
                    .value(event);
                self.ledger.store(&format!("bad.{event}"), vec![bad])??
            }
        };
        Ok(())
    }

    fn stats(&mut self) -> Result<Json> {
        let counters = self.ledger.totals()?;
        let mut rows = serde_json::Map::new();
        for table in ["user_stats", "recent_chat", "user_actions", "media_changes", "plugin_kv"] {
            let counted = sql(&format!("SELECT count(*) AS seen FROM {table}")).query()??;
            rows.insert(table.to_owned(), number(&counted).into());
        }
        Ok(json!({"success": true, "counters": counters, "rows": rows}))
    }
}

/// What an event changes; none if it is a bad one.
fn statements(event: &str, asked: &Json) -> Option<Vec<Statement>> {
    match event {
        "status" => return status(asked),
        "user_count" => return user_count(asked),
        "high_water" => return high_water(asked),
        "mark_sent" => return mark_sent(asked),
        _ => {}
    }
    let username = asked["username"].as_str().filter(|name| !name.is_empty() && storable(name))?;
    match event {
        "joined" => Some(joined(username)),
        "left" => Some(left(username)),
        "message" => message(username, asked),
        _ => pm_command(username, asked),
    }
}

fn joined(username: &str) -> Vec<Statement> {
    vec![
        sql("INSERT INTO user_stats (username, first_seen, last_seen, current_session_start)
             VALUES (?, {now}, {now}, {now})
             ON CONFLICT (username) DO UPDATE SET
                 last_seen = excluded.last_seen,
                 current_session_start = excluded.current_session_start")
        .value(username),
    ]
}

fn left(username: &str) -> Vec<Statement> {
    vec![
        sql("UPDATE user_stats SET
                 last_seen = {now},
                 total_time_connected = total_time_connected + ({now} - current_session_start),
                 current_session_start = NULL
             WHERE username = ? AND current_session_start IS NOT NULL")
        .value(username),
    ]
}

fn message(username: &str, asked: &Json) -> Option<Vec<Statement>> {
    let text = asked["message"].as_str().filter(|text| storable(text))?;
    let chat = sql("INSERT INTO recent_chat (timestamp, username, message) VALUES ({now}, ?, ?)")
        .value(username)
        .value(text);
    let lines = sql("INSERT INTO user_stats (username, first_seen, last_seen, total_chat_lines)
                     VALUES (?, {now}, {now}, 1)
                     ON CONFLICT (username) DO UPDATE SET
                         last_seen = excluded.last_seen,
                         total_chat_lines = user_stats.total_chat_lines + 1")
    .value(username);
    Some(vec![chat, lines])
}

fn pm_command(username: &str, asked: &Json) -> Option<Vec<Statement>> {
    let part = |name: &str| asked[name].as_str().filter(|text| !text.is_empty());
    let details: Vec<_> =
        [("cmd=", "command"), ("args: ", "args"), ("result: ", "result"), ("error: ", "error")]
            .iter()
            .filter_map(|(label, name)| part(name).map(|text| format!("{label}{text}")))
            .collect();
    let details = details.join(", ");
    if !storable(&details) {
        return None;
    }
    let action = sql("INSERT INTO user_actions (timestamp, username, action_type, details)
                      VALUES ({now}, ?, 'pm_command', ?)")
    .value(username)
    .value(details);
    Some(vec![action])
}

/// The whole status, and a media change if it tells of a title.
fn status(asked: &Json) -> Option<Vec<Statement>> {
    let data = asked.get("status_data").filter(|data| data.is_object())?;
    let title = data["current_media_title"].as_str().filter(|title| storable(title));
    let duration = data["current_media_duration"].as_f64().map(|seconds| seconds as i64);
    let mut statements = vec![
        sql("INSERT INTO current_status
                 (id, status, current_media_title, current_media_duration, last_updated)
             VALUES (1, ?, ?, ?, {now})
             ON CONFLICT (id) DO UPDATE SET
                 status = excluded.status,
                 current_media_title =
                     COALESCE(excluded.current_media_title, current_status.current_media_title),
                 current_media_duration = COALESCE(
                     excluded.current_media_duration, current_status.current_media_duration),
                 last_updated = excluded.last_updated")
        .value(data.to_string())
        .value(title)
        .value(duration),
    ];
    if let Some(title) = title {
        let change =
            sql("INSERT INTO media_changes (timestamp, title, duration) VALUES ({now}, ?, ?)");
        statements.push(change.value(title).value(duration));
    }
    Some(statements)
}

fn user_count(asked: &Json) -> Option<Vec<Statement>> {
    let count = |name: &str| asked[name].as_i64();
    let (chat, connected) = (count("chat_count")?, count("connected_count")?);
    let counts = sql("INSERT INTO user_count_history (timestamp, chat_users, connected_users)
                      VALUES ({now}, ?, ?)");
    Some(vec![counts.value(chat).value(connected)])
}

fn high_water(asked: &Json) -> Option<Vec<Statement>> {
    let marks = [("mark", "chat_count"), ("connected", "connected_count")];
    let statements: Vec<_> = marks
        .iter()
        .filter_map(|(name, field)| {
            let mark = sql("INSERT INTO high_water (name, users, timestamp) VALUES (?, ?, {now})
                            ON CONFLICT (name) DO UPDATE SET
                                users = excluded.users, timestamp = excluded.timestamp
                            WHERE excluded.users > high_water.users");
            Some(mark.value(*name).value(asked[*field].as_i64()?))
        })
        .collect();
    Some(statements).filter(|statements| !statements.is_empty())
}

/// Of a message that nobody knows, or that was sent, nothing changes.
fn mark_sent(asked: &Json) -> Option<Vec<Statement>> {
    let sent = sql("UPDATE outbound_messages SET sent = 1, sent_timestamp = {now}
                    WHERE id = ? AND sent = 0");
    Some(vec![sent.value(asked["message_id"].as_i64()?)])
}

fn user_stats(asked: Option<&Json>) -> Result<Json> {
    let Some(asked) = asked else {
        return Ok(json!({"success": false, "error": "Invalid request format"}));
    };
    let Some(username) = asked["username"].as_str().filter(|name| !name.is_empty()) else {
        return Ok(json!({"success": false, "error": "username is required"}));
    };
    let unknown = || {
        let message = format!("User {username} not found");
        json!({"username": username, "success": true, "found": false, "message": message})
    };
    if !storable(username) {
        return Ok(unknown());
    }
    let rows =
        sql("SELECT username, first_seen, last_seen, total_chat_lines, total_time_connected,
                           current_session_start
                    FROM user_stats WHERE username = ?")
        .value(username)
        .query()?;
    let rows = match rows {
        Ok(rows) => rows,
        Err(failure) => return Ok(failed(&failure)),
    };
    if rows.rows.is_empty() {
        return Ok(unknown());
    }
    let mut answer = row(&rows, 0);
    answer["success"] = json!(true);
    answer["found"] = json!(true);
    Ok(answer)
}

fn failed(failure: &Failure) -> Json {
    json!({"success": false, "error": failure.to_string()})
}

fn limit(asked: &Json, otherwise: i64) -> i64 {
    asked["limit"].as_i64().unwrap_or(otherwise).clamp(0, ROWS)
}

/// The newest lines, oldest first. A database that fails is no empty chat: then there is no answer.
fn recent_chat(asked: Option<&Json>) -> Result<Json> {
    let Some(asked) = asked else { return Ok(json!([])) };
    let rows = sql("SELECT timestamp, username, message FROM (
                        SELECT id, timestamp, username, message FROM recent_chat
                        ORDER BY id DESC LIMIT ?) AS newest
                    ORDER BY id")
    .value(limit(asked, 50))
    .query()??;
    Ok(objects(&rows))
}

fn outbound(asked: Option<&Json>) -> Result<Json> {
    let Some(asked) = asked else { return Ok(json!([])) };
    let rows = sql("SELECT id, timestamp, message, retry_count FROM outbound_messages
                    WHERE sent = 0 AND retry_count < ? ORDER BY id LIMIT ?")
    .value(asked["max_retries"].as_i64().unwrap_or(3))
    .value(limit(asked, 50))
    .query()??;
    Ok(objects(&rows))
}

fn channel_stats() -> Result<Json> {
    let asked = [
        "SELECT username, total_chat_lines AS chat_lines FROM user_stats
         WHERE total_chat_lines > 0 ORDER BY total_chat_lines DESC, username LIMIT 10",
        "SELECT count(*) AS seen FROM user_stats",
        "SELECT name, users, timestamp FROM high_water",
    ];
    let mut found = Vec::new();
    for text in asked {
        match sql(text).query()? {
            Ok(rows) => found.push(rows),
            Err(failure) => return Ok(failed(&failure)),
        }
    }
    Ok(json!({
        "success": true,
        "high_water_mark": mark(&found[2], "mark"),
        "high_water_connected": mark(&found[2], "connected"),
        "top_chatters": objects(&found[0]),
        "total_users_seen": number(&found[1]),
    }))
}

fn mark(water: &Rows, name: &str) -> Json {
    let found = (0..water.rows.len())
        .find(|index| water.get(*index, "name").and_then(Value::as_text) == Some(name));
    let number =
        |column: &str| found.and_then(|index| water.get(index, column)).and_then(Value::as_integer);
    json!({"users": number("users").unwrap_or(0), "timestamp": number("timestamp")})
}
