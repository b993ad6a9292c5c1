//! A2: bursts of small events through JetStream, each of which the worker says that it has handled. Its
//! twin is `scripts/arrakis/a2-burst.rhai`: the same operations for the same seed.
//!
//! Draws of an iteration: none.

use std::{collections::HashSet, time::Duration};

use wavetank_sdk::{
    Context, Description, Iteration, Result, Workload,
    bus::{self, Outgoing, Subscription},
    json, metric,
    time::Deadline,
};

struct EventBurst {
    burst: u32,
    replies: String,
    subscription: Subscription,
}

impl Workload for EventBurst {
    fn describe() -> Description {
        Description::new("event-burst", env!("CARGO_PKG_VERSION"))
            .options(json!({
                "scenarios": {
                    "burst": { "executor": "constant-vus", "vus": 16, "duration": "10s" },
                },
                "ops": ["event"],
                "metrics": { "events_handled": "counter", "burst_whole": "rate" },
                "thresholds": {
                    "events_handled": "rate > 10000",
                    "burst_whole": "rate == 1",
                },
            }))
            .parameter("burst", 100, "events that one user publishes at once")
            .parameter(
                "run",
                "a2",
                "part of the subjects of replies: another for each run on one bus",
            )
    }

    fn init(context: &Context) -> Result<Self> {
        let run: String = context.parameter("run")?;
        let replies = format!("replies.{run}.{}", context.vu);
        let subscription = bus::subscribe(&replies, None)??;
        Ok(Self { burst: context.parameter("burst")?, replies, subscription })
    }

    fn iterate(&mut self, iteration: &Iteration) -> Result {
        let id = |number| format!("{}-{number}", iteration.number);
        let mut awaited: HashSet<_> = (0..self.burst).map(id).collect();
        let events = (0..self.burst).map(|number| self.event(&id(number), number));
        // What could not be published is not handled.
        let _ = bus::publish_all(&events.collect::<Result<Vec<_>>>()?)?;
        let deadline = Deadline::after(Duration::from_secs(10));
        let mut handled = 0;
        while handled < self.burst && !deadline.has_passed() {
            let Ok(Some(reply)) = self.subscription.next(Some(deadline.left()))? else { continue };
            let answer = reply.json();
            let id = answer["event_id"].as_str().unwrap_or_default();
            // What is delivered twice is handled once.
            if answer["success"] == true && awaited.remove(id) {
                handled += 1;
            }
        }
        metric("events_handled", f64::from(handled))?;
        metric("burst_whole", f64::from(u8::from(handled == self.burst)))?;
        Ok(())
    }
}

impl EventBurst {
    fn event(&self, id: &str, number: u32) -> Result<Outgoing> {
        let event = json!({
            "event_id": id, "event_type": "message.create", "shard_id": 0,
            "timestamp": number, "guild_id": "guild1", "channel_id": "channel1",
            "user_id": format!("user{number}"),
            "data": { "reply": self.replies, "content": "hello" },
        });
        Ok(bus::to("events.message.create").op("event").json(&event)?)
    }
}

wavetank_sdk::workload!(EventBurst);
