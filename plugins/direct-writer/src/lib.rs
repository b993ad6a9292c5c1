//! The same writes as the chat bot's database service makes, without the bus: told once how many chat messages
//! and how many a second, it makes them itself, with that service's own code. Rows R6 to R8 of the catalogue
//! compare the service with it, so that what is left between the two is the bus.
//!
//! `direct.write` `{events, rate}` is answered when all are stored: `{written}`.

#[path = "../../rosey-database/src/kv.rs"]
mod kv;
#[path = "../../rosey-database/src/rosey.rs"]
mod rosey;

use std::time::Duration;

use wavetank_sdk::{
    Context, Description, Json, Result, Service, bus::Message, json, serde_json, time,
};

use rosey::Rosey;

struct Direct(Rosey);

impl Service for Direct {
    fn describe() -> Description {
        Description::new("direct-writer", env!("CARGO_PKG_VERSION"))
            .options(json!({ "services": { "direct.write": "write" } }))
    }

    fn start(context: &Context) -> Result<Self> {
        Ok(Self(Rosey::start(context)?))
    }

    fn handle(&mut self, _: &str, message: &Message) -> Result<Option<Vec<u8>>> {
        let asked: Json = serde_json::from_slice(&message.payload)?;
        let (events, rate) = (asked["events"].as_u64(), asked["rate"].as_u64());
        let (Some(events), Some(rate)) = (events, rate.filter(|rate| *rate > 0)) else {
            return Err("`events` and `rate` are whole numbers, and the rate is above 0".into());
        };
        let mut message = message.clone();
        let start = time::now();
        for number in 0..events {
            // From the beginning, never from the last one: a write that was slow delays none after it.
            let due = start + number * 1_000_000_000 / rate;
            time::sleep(Duration::from_nanos(due.saturating_sub(time::now())));
            let said = json!({ "username": "direct", "message": format!("direct {number}") });
            message.payload = said.to_string().into_bytes();
            self.0.handle("message", &message)?;
        }
        Ok(Some(json!({ "written": events }).to_string().into_bytes()))
    }

    fn stop(&mut self) -> Result {
        self.0.stop()
    }
}

wavetank_sdk::service!(Direct);
