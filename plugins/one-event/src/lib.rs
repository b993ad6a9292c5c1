//! R1: one event at a time: a chat message is published, then seen in the recent chat. Its twin is
//! `scripts/rosey/r1-one-event.rhai`: the same operations for the same seed.
//!
//! Draws of an iteration, in order: `text(12)` (what is said).

use std::time::Duration;

use wavetank_sdk::{
    Context, Description, Iteration, Result, Workload,
    bus::{self, Probe},
    check, json, random,
};

struct OneEvent;

impl Workload for OneEvent {
    fn describe() -> Description {
        Description::new("one-event", env!("CARGO_PKG_VERSION")).options(json!({
            "scenarios": {
                "one": { "executor": "shared-iterations", "vus": 1, "iterations": 100 },
            },
            "ops": ["message"],
            "thresholds": {
                "effect_duration{op:message}": ["mean < 5ms", "p(95) < 10ms"],
                "effect_failed": ["rate == 0"],
            },
        }))
    }

    fn init(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn iterate(&mut self, iteration: &Iteration) -> Result {
        let said = format!("{} {}", random::text(12), iteration.number);
        let recent = bus::to("rosey.db.stats.recent_chat.get").json(&json!({ "limit": 1 }))?;
        let seen = bus::to("rosey.db.message.log")
            .op("message")
            .timeout(Duration::from_secs(2))
            .json(&json!({ "username": "one", "message": said }))?
            .effect(Probe::request(recent, "/0/message", Some(said.into())))?;
        check("stored", seen.is_ok())?;
        Ok(())
    }
}

wavetank_sdk::workload!(OneEvent);
