//! R2: statistics asked of the chat bot's database service, `user_stats` and `channel_stats` at
//! random. Its twin is `scripts/rosey/r2-stats-queries.rhai`: the same operations for the same seed.
//!
//! Draws of an iteration, in order: `boolean(user_share)`; then, for a user, `integer(0, players - 1)`.

use std::time::Duration;

use wavetank_sdk::{
    Context, Description, Failure, Iteration, Json, Result, Workload,
    bus::{self, Message},
    check, json, random,
};

struct StatsQueries {
    players: i64,
    user_share: f64,
}

impl Workload for StatsQueries {
    fn describe() -> Description {
        Description::new("stats-queries", env!("CARGO_PKG_VERSION"))
            .options(json!({
                "scenarios": {
                    "steady": {
                        "executor": "constant-arrival-rate",
                        "rate": 200,
                        "duration": "10s",
                    },
                },
                "ops": ["user_joined", "user_stats", "channel_stats"],
                "thresholds": {
                    "bus_request_duration{op:user_stats}": ["p(95) < 10ms", "mean < 5ms"],
                    "bus_request_duration{op:channel_stats}": ["p(95) < 10ms", "mean < 5ms"],
                    "checks": ["rate == 1"],
                },
            }))
            .parameter("players", 500, "how many users exist")
            .parameter("user_share", 0.5, "share of the questions that are about one user")
            .parameter("prepare", true, "let setup make the users join first")
    }

    /// Makes the users join, and waits until the service knows all of them: it stores many at a time,
    /// and not in order.
    fn setup(context: &Context) -> Result<Json> {
        if !context.parameter::<bool>("prepare")? {
            return Ok(Json::Null);
        }
        let players: i64 = context.parameter("players")?;
        let joins = (0..players)
            .map(|player| bus::to("rosey.db.user.joined").op("user_joined").json(&user(player)))
            .collect::<Result<Vec<_>, _>>()?;
        for chunk in joins.chunks(500) {
            for published in bus::publish_all(chunk)? {
                published?;
            }
        }
        for _ in 0..200 {
            let last = ask_user(players - 1)?.is_ok_and(|reply| reply.json()["found"] == true);
            let channel = ask_channel()?.map(|reply| reply.json()).unwrap_or_default();
            if last && channel["total_users_seen"].as_i64() >= Some(players) {
                return Ok(Json::Null);
            }
            wavetank_sdk::time::sleep(Duration::from_millis(50));
        }
        Err("the service did not store the users within 10 s: is it running on this bus?".into())
    }

    fn init(context: &Context) -> Result<Self> {
        Ok(Self {
            players: context.parameter("players")?,
            user_share: context.parameter("user_share")?,
        })
    }

    fn iterate(&mut self, _: &Iteration) -> Result {
        if random::boolean(self.user_share) {
            let player = random::integer(0, self.players - 1);
            let reply = ask_user(player)?;
            let answer = reply.map(|reply| reply.json()).unwrap_or_default();
            check("user answered", answer["success"] == true)?;
            check("user found", answer["found"] == true)?;
        } else {
            let answer = ask_channel()?.map(|reply| reply.json()).unwrap_or_default();
            check("channel answered", answer["success"] == true)?;
            check("channel has users", answer["total_users_seen"].as_i64() > Some(0))?;
        }
        Ok(())
    }
}

fn user(player: i64) -> Json {
    json!({ "username": format!("user{player}") })
}

fn ask_user(player: i64) -> Result<Result<Message, Failure>> {
    Ok(bus::to("rosey.db.query.user_stats")
        .op("user_stats")
        .timeout(Duration::from_secs(1))
        .json(&user(player))?
        .request()?)
}

fn ask_channel() -> Result<Result<Message, Failure>> {
    Ok(bus::to("rosey.db.query.channel_stats")
        .op("channel_stats")
        .timeout(Duration::from_secs(1))
        .json(&json!({}))?
        .request()?)
}

wavetank_sdk::workload!(StatsQueries);
