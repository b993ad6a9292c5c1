//! The community gateway's worker of catalogue A, as a component.
//!
//! It handles `events.>` (guilds, members, messages), `eligibility.>` and `commands.>`, and keeps guilds
//! in memory. `commands.interaction` asks, in `data.command`, for `profile`, `position`, `leaderboard`,
//! `badges` or `alerts` of `guild_id` and `user_id`; the answer comes through a bounded cache from the
//! database:
//!
//! ```text
//! {event_id, command, success: true, cache: "hit" | "miss", result: {…}}
//! ```
//!
//! It goes to the subject that `data.reply` names (which takes `--allow bus=PATTERN` on a real bus), else to
//! the message's own reply subject. An event is answered, with `{event_id, success, handled: true}`, only if
//! `data.reply` says where to: its own reply subject is where the publisher awaits the stream's
//! acknowledgement. A bad event is ignored and counted, a bad command is told so.
//!
//! **What is where.** Guilds, members with their points, eligibility and alerts are in the database, for
//! all instances. A guild's members and channels are also in the memory of the one instance that handled
//! its join, until it leaves (see `guilds.rs`). Messages are counted and not kept: `arrakis.stats` is
//! exact for what is stored, and complete for messages and commands once the instances have stopped (see
//! `ledger`).

mod commands;
mod events;
mod guilds;

use std::time::Duration;

use ledger::{Ledger, storable};
use lru::Cache;
use wavetank_sdk::{
    Context, Description, Json, Result, Service,
    bus::{self, Message},
    json, serde_json,
};

use guilds::Guilds;

/// Characters of an id.
const ID_BYTES: usize = 64;

const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS guilds (
        guild_id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        members BIGINT NOT NULL,
        channels BIGINT NOT NULL,
        holder BIGINT NOT NULL,
        joined BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS members (
        guild_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        points BIGINT NOT NULL DEFAULT 0,
        PRIMARY KEY (guild_id, user_id))",
    "CREATE TABLE IF NOT EXISTS eligibility (
        guild_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        eligible BIGINT NOT NULL,
        changed BIGINT NOT NULL,
        PRIMARY KEY (guild_id, user_id))",
    "CREATE TABLE IF NOT EXISTS alerts (
        id {id},
        guild_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        content TEXT NOT NULL,
        timestamp BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS members_points ON members (guild_id, points)",
    "CREATE INDEX IF NOT EXISTS alerts_user ON alerts (guild_id, user_id)",
];

struct Worker {
    ledger: Ledger,
    guilds: Guilds,
    cache: Cache<commands::Kept>,
    cache_ttl: Duration,
    remote_delay: Duration,
}

/// The envelope of whatever comes.
struct Event {
    /// Its `event_id`, to be told in the answer.
    id: Json,
    /// What the subject says, or the field.
    kind: String,
    guild: String,
    user: Option<String>,
    data: Json,
}

/// A handler, and the stream that its messages are consumed from.
fn consumed(handler: &str, stream: &str) -> Json {
    json!({ "handler": handler, "stream": stream, "consumer": format!("arrakis-worker-{handler}") })
}

impl Service for Worker {
    fn describe() -> Description {
        Description::new("arrakis-worker", env!("CARGO_PKG_VERSION"))
            .options(json!({
                "services": {
                    "commands.>": consumed("command", "COMMANDS"),
                    "events.>": consumed("event", "EVENTS"),
                    "eligibility.>": consumed("eligibility", "ELIGIBILITY"),
                    "arrakis.stats": "stats",
                },
            }))
            .functions(&["command", "event", "eligibility", "stats"])
            .parameter("cache_size", 1_000, "answers that an instance's cache holds")
            .parameter("cache_ttl_ms", 30_000, "how long an answer in the cache may be given")
            .parameter("remote_delay_ms", 0, "what calling the remote API takes, for each command")
    }

    fn start(context: &Context) -> Result<Self> {
        let millis = |name: &str| context.parameter(name).map(Duration::from_millis);
        Ok(Self {
            ledger: Ledger::open("arrakis", SCHEMA)?,
            guilds: Guilds::default(),
            cache: Cache::new(context.parameter("cache_size")?),
            cache_ttl: millis("cache_ttl_ms")?,
            remote_delay: millis("remote_delay_ms")?,
        })
    }

    fn handle(&mut self, handler: &str, message: &Message) -> Result<Option<Vec<u8>>> {
        if handler == "stats" {
            return Ok(Some(self.stats()?.to_string().into_bytes()));
        }
        let event = Event::read(message);
        let answer = match &event {
            Ok(event) => match handler {
                "command" => self.command(event)?,
                "eligibility" => self.eligibility(event)?,
                _ => self.event(event)?,
            },
            Err(error) => Err(error.clone()),
        };
        if answer.is_err() {
            self.ledger.note(&format!("bad.{handler}"))?;
        }
        self.guilds.sweep(&self.ledger)?;
        let mut answer = answer.unwrap_or_else(|error| json!({"success": false, "error": error}));
        let mut reply = None;
        if let Ok(event) = event {
            answer["event_id"] = event.id;
            reply = event.data["reply"].as_str().map(str::to_owned);
        }
        let answer = answer.to_string().into_bytes();
        if let Some(reply) = reply {
            bus::to(&reply).bytes(answer).publish()??;
            return Ok(None);
        }
        // Whoever publishes to a stream waits on the reply subject for the server, and not for us.
        Ok((handler == "command").then_some(answer))
    }

    fn stop(&mut self) -> Result {
        self.ledger.write()
    }
}

impl Event {
    fn read(message: &Message) -> Result<Self, String> {
        let asked: Json = serde_json::from_slice(&message.payload)
            .map_err(|error| format!("the event is no JSON: {error}"))?;
        let kind = match message.subject.split_once('.') {
            Some((_, kind)) if !kind.is_empty() => kind.to_owned(),
            _ => asked["event_type"].as_str().unwrap_or_default().to_owned(),
        };
        Ok(Self {
            id: asked["event_id"].clone(),
            kind,
            guild: id(&asked["guild_id"]).ok_or("`guild_id` must be an id")?,
            user: id(&asked["user_id"]),
            data: asked["data"].clone(),
        })
    }

    fn user(&self) -> Result<&str, String> {
        self.user.as_deref().ok_or_else(|| "`user_id` must be an id".to_owned())
    }
}

/// An id is a text or a whole number.
fn id(value: &Json) -> Option<String> {
    let id = match value {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.as_u64()?.to_string(),
        _ => return None,
    };
    (!id.is_empty() && id.len() <= ID_BYTES && storable(&id)).then_some(id)
}

/// What is answered, or what was wrong; a database that fails is outside, so that a stream delivers the
/// event again.
type Answer = Result<Result<Json, String>>;

impl Worker {
    fn stats(&mut self) -> Result<Json> {
        Ok(json!({
            "success": true,
            "counters": self.ledger.totals()?,
            "instance": {
                "guilds": self.guilds.len(),
                "members": self.guilds.members(),
                "messages": self.guilds.messages(),
                "content_bytes": self.guilds.content(),
                "cached": self.cache.len(),
                "cache_bound": self.cache.bound(),
                "evictions": self.cache.evictions(),
            },
        }))
    }
}

wavetank_sdk::service!(Worker);
