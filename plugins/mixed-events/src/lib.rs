//! R10: chat, media, user and PM-command events together, fifty in flight; each is seen stored. Its twin
//! is `scripts/rosey/r10-mixed.rhai`: the same operations for the same seed.
//!
//! Fifty virtual users start together and keep one pace. The first one changes the media, which is one
//! value that the next change replaces; each other one draws what it sends: `integer(0, 2)`.

use std::time::Duration;

use wavetank_sdk::{
    Context, Description, Iteration, Json, Result, Workload,
    bus::{self, Outgoing, Probe},
    check,
    database::Value,
    json, random,
};

struct MixedEvents {
    lines: u64,
}

impl Workload for MixedEvents {
    fn describe() -> Description {
        Description::new("mixed-events", env!("CARGO_PKG_VERSION")).options(json!({
            "scenarios": {
                "mixed": {
                    "executor": "per-vu-iterations",
                    "vus": 50,
                    "iterations": 20,
                    "pace": "500ms",
                },
            },
            "ops": ["chat", "media", "user", "pm_command"],
            "thresholds": {
                "effect_duration{op:chat}": "p(95) < 10ms",
                // One user sends them: too few for a percentile, so all of them.
                "effect_duration{op:media}": { "threshold": "max < 10ms", "min_samples": 1 },
                "effect_duration{op:user}": "p(95) < 10ms",
                "effect_duration{op:pm_command}": "p(95) < 10ms",
                "effect_failed": "rate == 0",
            },
        }))
    }

    fn init(_: &Context) -> Result<Self> {
        Ok(Self { lines: 0 })
    }

    fn iterate(&mut self, iteration: &Iteration) -> Result {
        let (vu, number) = (iteration.vu, iteration.number);
        let (message, seen) = if vu == 1 {
            media(number)?
        } else {
            match random::integer(0, 2) {
                0 => {
                    self.lines += 1;
                    chat(&format!("mixed-{vu}"), number, self.lines)?
                }
                1 => user(&format!("mixed-{vu}-{number}"))?,
                _ => pm_command(&format!("mixed-{vu}"), number)?,
            }
        };
        let seen = message.timeout(Duration::from_secs(5)).effect(seen)?;
        check("stored", seen.is_ok())?;
        Ok(())
    }
}

/// An event, and how it is seen.
type Sent = Result<(Outgoing, Probe)>;

/// Looks into what is known of a user.
fn of_user(name: &str, pointer: &str, equals: Json) -> Result<Probe> {
    let asked = bus::to("rosey.db.query.user_stats").json(&json!({ "username": name }))?;
    Ok(Probe::request(asked, pointer, Some(equals)))
}

fn media(number: u64) -> Sent {
    let title = format!("title {number}");
    let status = json!({
        "status_data": { "current_media_title": title, "current_media_duration": 60 },
    });
    let sql = "SELECT count(*) FROM current_status WHERE current_media_title = ?";
    let seen = Probe::query(sql, vec![Value::Text(title)]);
    Ok((bus::to("rosey.db.status.update").op("media").json(&status)?, seen))
}

fn chat(name: &str, number: u64, lines: u64) -> Sent {
    let line = json!({ "username": name, "message": format!("message {number}") });
    let seen = of_user(name, "/total_chat_lines", lines.into())?;
    Ok((bus::to("rosey.db.message.log").op("chat").json(&line)?, seen))
}

fn user(name: &str) -> Sent {
    let joined = bus::to("rosey.db.user.joined").op("user").json(&json!({ "username": name }))?;
    Ok((joined, of_user(name, "/found", true.into())?))
}

fn pm_command(name: &str, number: u64) -> Sent {
    let args = format!("item {number}");
    let sql = "SELECT count(*) FROM user_actions WHERE username = ? AND details = ?";
    let details = format!("cmd=add, args: {args}, result: success");
    let seen = Probe::query(sql, vec![Value::Text(name.to_owned()), Value::Text(details)]);
    let command = json!({
        "timestamp": "2026-01-02T03:04:05Z", "username": name, "command": "add", "args": args,
        "result": "success", "error": "",
    });
    Ok((bus::to("rosey.db.action.pm_command").op("pm_command").json(&command)?, seen))
}

wavetank_sdk::workload!(MixedEvents);
