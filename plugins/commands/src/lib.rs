//! A3: the commands profile, position, leaderboard, badges and alerts, first asked by a few users, popular
//! ones more often, whose answers are in the worker's cache; then each by a user who never asked before. Its
//! twin is `scripts/arrakis/a3-commands.rhai`: the same operations for the same seed.
//!
//! Draws of an iteration, in order: for a warm one `zipf(users, 1.2)` (who asks); `choice(commands)`.

use std::time::Duration;

use wavetank_sdk::{
    Context, Description, Iteration, Json, Result, Workload,
    bus::{self, Subscription},
    check, json, metric, random,
    time::Deadline,
};

/// A guild has one leaderboard, which is cold only once.
const COLD: [&str; 4] = ["profile", "position", "badges", "alerts"];
const WARM: [&str; 5] = ["profile", "position", "leaderboard", "badges", "alerts"];

struct Commands {
    run: String,
    users: u64,
    cold: u64,
    replies: String,
    subscription: Subscription,
}

impl Workload for Commands {
    fn describe() -> Description {
        let part = |exec: &str, duration: &str, after: Option<&str>| {
            let mut part = json!({
                "executor": "constant-arrival-rate", "rate": 100, "duration": duration, "exec": exec,
            });
            if let Some(after) = after {
                part["start_after"] = after.into();
            }
            part
        };
        Description::new("commands", env!("CARGO_PKG_VERSION"))
            .options(json!({
                "scenarios": {
                    // Each instance of the worker has a cache of its own to fill.
                    "prime": part("warm", "20s", None),
                    "warm": part("warm", "10s", Some("prime")),
                    "cold": part("cold", "8s", Some("warm")),
                },
                "ops": ["command", "event"],
                "metrics": { "cache_hit": "rate" },
                "thresholds": {
                    "iteration_response_time{scenario:warm}": "p(99) < 500ms",
                    "iteration_response_time{scenario:cold}": "p(99) < 500ms",
                    "cache_hit{scenario:warm}": "rate > 0.9",
                    // Else they were not cold.
                    "cache_hit{scenario:cold}": "rate == 0",
                    "checks": "rate > 0.99",
                },
            }))
            .functions(&["warm", "cold", "iteration"])
            .parameter(
                "run",
                "a3",
                "the guild, and part of the subjects of replies: another for each run on one system",
            )
            .parameter("users", 10, "users of the warm part")
            .parameter("cold", 1000, "users who ask once")
    }

    /// A guild of this run's own, with everyone who will ask.
    fn setup(context: &Context) -> Result<Json> {
        let run: String = context.parameter("run")?;
        let warm = (0..context.parameter("users")?).map(|user| member("warm", "Warm", user));
        let cold = (0..context.parameter("cold")?).map(|user| member("cold", "Cold", user));
        let members: Vec<_> = warm.chain(cold).collect();
        let replies = format!("replies.{run}.setup");
        let subscription = bus::subscribe(&replies, None)??;
        let join = json!({
            "event_id": "join", "event_type": "guild.join", "shard_id": 0, "timestamp": 0,
            "guild_id": run, "channel_id": "c", "user_id": "warm0",
            "data": { "name": "A3", "members": members, "channels": [], "reply": replies },
        });
        bus::to("events.guild.join").op("event").json(&join)?.publish()??;
        let told = subscription.next(Some(Duration::from_secs(20)))??;
        if told.is_some_and(|told| told.json()["success"] == true) {
            return Ok(Json::Null);
        }
        Err("the worker did not handle the join: does it run on this bus?".into())
    }

    fn init(context: &Context) -> Result<Self> {
        let run: String = context.parameter("run")?;
        let replies = format!("replies.{run}.{}", context.vu);
        let subscription = bus::subscribe(&replies, None)??;
        let (users, cold) = (context.parameter("users")?, context.parameter("cold")?);
        Ok(Self { run, users, cold, replies, subscription })
    }

    /// `cold`; `warm`, and what flags put in place of the scenarios.
    fn iterate(&mut self, iteration: &Iteration) -> Result {
        let (user, commands) = if iteration.exec == "cold" {
            (format!("cold{}", iteration.number % self.cold.max(1)), &COLD[..])
        } else {
            (format!("warm{}", random::zipf(self.users, 1.2).saturating_sub(1)), &WARM[..])
        };
        let id = format!("{}-{}", iteration.scenario, iteration.number);
        let interaction = json!({
            "event_id": id, "event_type": "interaction", "shard_id": 0,
            "timestamp": iteration.number, "guild_id": self.run, "channel_id": "c", "user_id": user,
            "data": { "command": random::choice(commands), "reply": self.replies },
        });
        // What could not be published is not answered.
        let _ = bus::to("commands.interaction").op("command").json(&interaction)?.publish()?;
        let deadline = Deadline::after(Duration::from_secs(5));
        let mut answer = None;
        while answer.is_none() && !deadline.has_passed() {
            let reply = self.subscription.next(Some(deadline.left()))?.unwrap_or_default();
            answer =
                reply.map(|reply| reply.json()).filter(|reply| reply["event_id"] == id.as_str());
        }
        let answer = answer.unwrap_or_default();
        if check("answered", answer["success"] == true)? {
            metric("cache_hit", f64::from(u8::from(answer["cache"] == "hit")))?;
        }
        Ok(())
    }
}

fn member(kind: &str, title: &str, user: u64) -> Json {
    json!({ "user_id": format!("{kind}{user}"), "name": format!("{title} {user}") })
}

wavetank_sdk::workload!(Commands);
