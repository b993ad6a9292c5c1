//! W3: price updates and warmings at 1 000/s, through a spike of 10 000/s, and back at 1 000/s. Its twin
//! is `scripts/warming/w3-spike.rhai`: the same operations for the same seed.
//!
//! Draws of an iteration, in order: `integer(0, pairs - 1)` (which pair); `boolean(warm_share)` (whether it
//! is warmed); if it is not, `integer(1, 1_000_000)` (its price, in cents).

use std::time::Duration;

use wavetank_sdk::{Context, Description, Iteration, Result, Workload, bus, check, json, random};

struct Spike {
    pairs: i64,
    warm_share: f64,
}

impl Workload for Spike {
    fn describe() -> Description {
        Description::new("spike", env!("CARGO_PKG_VERSION"))
            .options(json!({
                "scenarios": {
                    "spike": {
                        "executor": "ramping-arrival-rate",
                        "start_rate": 1000,
                        "stages": [
                            {"duration": "5s", "target": 1000, "name": "normal"},
                            {"duration": "0s", "target": 10000, "name": "up"},
                            {"duration": "5s", "target": 10000, "name": "spike"},
                            {"duration": "0s", "target": 1000, "name": "down"},
                            {"duration": "5s", "target": 1000, "name": "after"},
                        ],
                    },
                },
                "ops": ["price", "warm"],
                "derived": {
                    "recovery": {
                        "kind": "recovery_time", "metric": "bus_request_duration{op:warm}",
                        "aggregate": "mean", "stage": "spike", "reference": "normal", "factor": 1.5,
                    },
                },
                "thresholds": {
                    "bus_request_failed{stage:spike}": "rate < 0.05",
                    "bus_request_failed{stage:after}": "rate < 0.01",
                    "bus_publish_failed{stage:spike}": "rate < 0.05",
                    "bus_publish_failed{stage:after}": "rate < 0.01",
                    "iteration_response_time{stage:spike}":
                        "mean < 3 * iteration_response_time.mean{stage:normal}",
                    "recovery": "value <= 1s",
                },
            }))
            .parameter("pairs", 200, "how many pairs there are")
            .parameter("warm_share", 0.1, "share of the operations that warm a pair")
    }

    fn init(context: &Context) -> Result<Self> {
        Ok(Self {
            pairs: context.parameter("pairs")?,
            warm_share: context.parameter("warm_share")?,
        })
    }

    fn iterate(&mut self, iteration: &Iteration) -> Result {
        let pair = format!("pair{}", random::integer(0, self.pairs - 1));
        if random::boolean(self.warm_share) {
            let reply = bus::to("warming.warm")
                .op("warm")
                .timeout(Duration::from_secs(1))
                .json(&json!({"pair": pair}))?
                .request()?;
            check("warmed", reply.is_ok())?;
        } else {
            let cents = random::integer(1, 1_000_000);
            let published = bus::to("warming.price.update")
                .op("price")
                .json(&json!({"pair": pair, "price": cents, "time": iteration.number}))?
                .publish()?;
            check("published", published.is_ok())?;
        }
        Ok(())
    }
}

wavetank_sdk::workload!(Spike);
