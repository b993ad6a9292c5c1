//! The chat bot's database service, and it lies: of the events it drops some and stores some twice, and
//! it can answer `kv.set` before it has stored. The rows that should catch it must.
//!
//! It is made of the honest service's own files. What it dropped or doubled it counts in a table
//! (`liar_counters`), so that a test can say how many there were to be found.
//!
//! Answering early takes a message to itself, for a handler cannot go on after its reply: it needs
//! `publish = ["rosey.db.liar.store"]` among its grants, or `--allow bus=rosey.>`.

#[path = "../../../../plugins/rosey-database/src/kv.rs"]
mod kv;
#[path = "../../../../plugins/rosey-database/src/rosey.rs"]
mod rosey;

use std::time::Duration;

use ledger::Ledger;
use wavetank_sdk::{Context, Description, Result, Service, bus, json, random, time};

use rosey::Rosey;

/// Where it tells itself what to store later.
const LATER: &str = "rosey.db.liar.store";
/// How much later.
const DELAY: Duration = Duration::from_millis(50);

struct Liar {
    honest: Rosey,
    ledger: Ledger,
    drop: f64,
    twice: f64,
    early: bool,
}

impl Service for Liar {
    fn describe() -> Description {
        let mut services = rosey::services();
        services[LATER] = json!("later");
        Description::new("lying-database", env!("CARGO_PKG_VERSION"))
            .options(json!({ "services": services }))
            .parameter("drop", 0.03, "share of the events that are lost")
            .parameter("twice", 0.01, "share of the events that are stored twice")
            .parameter("early", false, "kv.set is answered first and stored 50 ms later")
    }

    fn start(context: &Context) -> Result<Self> {
        Ok(Self {
            honest: Rosey::start(context)?,
            ledger: Ledger::open("liar", &[])?,
            drop: context.parameter("drop")?,
            twice: context.parameter("twice")?,
            early: context.parameter("early")?,
        })
    }

    fn handle(&mut self, handler: &str, message: &bus::Message) -> Result<Option<Vec<u8>>> {
        if handler == "later" {
            time::sleep(DELAY);
            self.honest.handle("kv_set", message)?;
            return Ok(None);
        }
        if handler == "kv_set" && self.early {
            bus::to(LATER).bytes(message.payload.clone()).publish()??;
            return Ok(Some(json!({"success": true, "data": {}}).to_string().into_bytes()));
        }
        if rosey::EVENTS.contains(&handler) {
            let drawn = random::float();
            if drawn < self.drop {
                self.ledger.store("dropped", Vec::new())??;
                return Ok(None);
            }
            if drawn < self.drop + self.twice {
                self.honest.handle(handler, message)?;
                self.ledger.store("doubled", Vec::new())??;
            }
        }
        self.honest.handle(handler, message)
    }

    fn stop(&mut self) -> Result {
        self.honest.stop()
    }
}

wavetank_sdk::service!(Liar);
