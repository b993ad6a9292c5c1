//! W1: 10 000 price updates a second for 10 s, and then a look at how many were handled. Its twin is
//! `scripts/warming/w1-price-updates.rhai`: the same operations for the same seed.
//!
//! Draws of an iteration, in order: `integer(0, pairs - 1)` (which pair); `integer(1, 1_000_000)` (its
//! price, in cents).

use std::time::Duration;

use wavetank_sdk::{
    Context, Description, Iteration, Json, Result, Workload, bus, json, metric, random, time,
};

struct PriceUpdates {
    pairs: i64,
    /// What the service had handled before the run.
    before: i64,
}

impl Workload for PriceUpdates {
    fn describe() -> Description {
        Description::new("price-updates", env!("CARGO_PKG_VERSION"))
            .options(json!({
                "scenarios": {
                    "updates": {
                        "executor": "constant-arrival-rate", "rate": 10000, "duration": "10s",
                    },
                    "count": {
                        "executor": "shared-iterations", "start_after": "updates",
                        "exec": "count_handled",
                    },
                },
                "ops": ["price", "stats"],
                "metrics": {"updates_handled": "counter"},
                "derived": {
                    "handled_share": "updates_handled.count / bus_published.count{op:price}",
                },
                "thresholds": {
                    "service_handle_duration{op:price}": "p(95) < 50us",
                    "handled_share": "value == 1",
                    "bus_publish_failed{op:price}": "rate < 0.01",
                },
            }))
            .functions(&["iteration", "count_handled"])
            .parameter("pairs", 500, "how many pairs there are")
            .parameter("prepare", true, "let setup ask what was handled before")
    }

    fn setup(context: &Context) -> Result<Json> {
        let before = if context.parameter("prepare")? { handled()? } else { 0 };
        Ok(json!({ "before": before }))
    }

    fn init(context: &Context) -> Result<Self> {
        let before = context.data["before"].as_i64().unwrap_or_default();
        Ok(Self { pairs: context.parameter("pairs")?, before })
    }

    fn iterate(&mut self, iteration: &Iteration) -> Result {
        if iteration.exec == "count_handled" {
            return self.count_handled();
        }
        let pair = format!("pair{}", random::integer(0, self.pairs - 1));
        let cents = random::integer(1, 1_000_000);
        // A failure is counted by the host.
        let _ = bus::to("warming.price.update")
            .op("price")
            .json(&json!({"pair": pair, "price": cents, "time": iteration.number}))?
            .publish()?;
        Ok(())
    }
}

impl PriceUpdates {
    /// Once nothing is added any more, it is counted what was.
    fn count_handled(&self) -> Result {
        let mut last = -1;
        let mut now = handled()?;
        while now != last {
            time::sleep(Duration::from_millis(500));
            last = now;
            now = handled()?;
        }
        metric("updates_handled", (now - self.before) as f64)?;
        Ok(())
    }
}

/// How many updates the service says it has handled.
fn handled() -> Result<i64> {
    let stats = bus::to("warming.stats")
        .op("stats")
        .timeout(Duration::from_secs(5))
        .json(&json!({}))?
        .request()??;
    let handled = stats.json()["handled"]["price"].as_i64();
    handled.ok_or_else(|| "warming.stats does not say how many updates were handled".into())
}

wavetank_sdk::workload!(PriceUpdates);
