//! W2: 1 000 warmings a second for 10 s, while prices go on moving. Its twin is
//! `scripts/warming/w2-warmings.rhai`: the same operations for the same seed.
//!
//! Pairs are in groups that move together; a first scenario makes them known.
//!
//! Draws of a warming: `integer(0, pairs - 1)` (which pair). Draws of a move: `integer(0, pairs - 1)` (which
//! pair); `integer(1, 1_000_000)` (its price, in cents).

use std::time::Duration;

use wavetank_sdk::{
    Context, Description, Failure, Iteration, Json, Result, Workload, bus, check, json, metric,
    random, time,
};

struct Warmings {
    pairs: i64,
    group: i64,
}

impl Workload for Warmings {
    fn describe() -> Description {
        Description::new("warmings", env!("CARGO_PKG_VERSION"))
            .options(json!({
                "scenarios": {
                    "know": {"executor": "per-vu-iterations", "exec": "make_known"},
                    "warm": {
                        "executor": "constant-arrival-rate", "rate": 1000, "duration": "10s",
                        "start_after": "know",
                    },
                    "move": {
                        "executor": "constant-arrival-rate", "rate": 100, "duration": "10s",
                        "start_after": "know", "exec": "price_moves",
                    },
                },
                "ops": ["known", "price", "warm", "stats"],
                "metrics": {"pairs_fetched": "counter"},
                "derived": {
                    "per_warming": "pairs_fetched.count / bus_requests.count{op:warm}",
                },
                "thresholds": {
                    "iteration_response_time{scenario:warm}": "p(95) < 10ms",
                    "bus_requests{op:warm}": "rate > 100",
                    "bus_request_failed{op:warm}": "rate < 0.05",
                    "checks": "rate > 0.95",
                    "per_warming": "value >= 1",
                },
            }))
            .functions(&["iteration", "make_known", "price_moves"])
            .parameter(
                "pairs",
                1000,
                "how many pairs there are: more than L1 holds, so that warmings fetch",
            )
            .parameter("group", 6, "pairs that move together")
    }

    fn init(context: &Context) -> Result<Self> {
        Ok(Self { pairs: context.parameter("pairs")?, group: context.parameter("group")? })
    }

    fn iterate(&mut self, iteration: &Iteration) -> Result {
        match iteration.exec.as_str() {
            "make_known" => self.make_known(),
            "price_moves" => self.price_moves(iteration.number),
            _ => self.warm(),
        }
    }
}

impl Warmings {
    /// Each group moves up and down as one; the moves of two groups are far apart in time.
    fn make_known(&self) -> Result {
        for step in 0..6 {
            let rise = if step % 2 == 0 { 100 } else { 0 };
            let updates = (0..self.pairs).map(|pair| {
                let time = step * 1_000_000 + pair / self.group * 10_000;
                let update =
                    json!({"pair": format!("pair{pair}"), "price": 1000 + pair + rise, "time": time});
                bus::to("warming.price.update").op("known").json(&update)
            });
            for published in bus::publish_all(&updates.collect::<Result<Vec<_>, _>>()?)? {
                published?;
            }
        }
        // Until the service has them all.
        for _ in 0..200 {
            let last = ask(self.pairs - 1, "stats", Duration::from_secs(5))?;
            if last.is_ok_and(|reply| reply["warmed"].as_array().is_some_and(|it| it.len() >= 3)) {
                return Ok(());
            }
            time::sleep(Duration::from_millis(50));
        }
        Err("the service does not know the pairs: is it running on this bus?".into())
    }

    fn warm(&self) -> Result {
        let reply = ask(random::integer(0, self.pairs - 1), "warm", Duration::from_secs(1))?;
        let reply = reply.unwrap_or_default();
        if check("warmed", reply["success"] == true)? {
            let number = |field: &str| reply[field].as_f64().unwrap_or_default();
            metric("pairs_fetched", number("from_l2") + number("fetched"))?;
        }
        Ok(())
    }

    fn price_moves(&self, number: u64) -> Result {
        let pair = format!("pair{}", random::integer(0, self.pairs - 1));
        let cents = random::integer(1, 1_000_000);
        let time = 100_000_000 + number * 10;
        // A failure is counted by the host.
        let _ = bus::to("warming.price.update")
            .op("price")
            .json(&json!({"pair": pair, "price": cents, "time": time}))?
            .publish()?;
        Ok(())
    }
}

/// Has a pair warmed.
fn ask(pair: i64, op: &str, timeout: Duration) -> Result<Result<Json, Failure>> {
    let reply = bus::to("warming.warm")
        .op(op)
        .timeout(timeout)
        .json(&json!({"pair": format!("pair{pair}")}))?
        .request()?;
    Ok(reply.map(|reply| reply.json()))
}

wavetank_sdk::workload!(Warmings);
