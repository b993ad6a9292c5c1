//! What the benches run as a component: an iteration that does nothing, sleeps, or asks an echo.

use std::time::Duration;

use wavetank_sdk::{Context, Description, Iteration, Result, Workload, bus, json, time};

enum Mode {
    Empty,
    Echo,
    Sleep,
}

struct BenchGuest(Mode);

impl Workload for BenchGuest {
    fn describe() -> Description {
        Description::new("bench-guest", env!("CARGO_PKG_VERSION"))
            .options(json!({ "ops": ["echo"] }))
            .parameter("mode", "empty", "what an iteration does: `empty`, `echo` or `sleep`")
    }

    fn init(context: &Context) -> Result<Self> {
        let mode: String = context.parameter("mode")?;
        Ok(Self(match mode.as_str() {
            "echo" => Mode::Echo,
            "sleep" => Mode::Sleep,
            _ => Mode::Empty,
        }))
    }

    fn iterate(&mut self, _: &Iteration) -> Result {
        match self.0 {
            Mode::Empty => {}
            Mode::Echo => {
                bus::to("bench.echo").op("echo").text("0123456789abcdef").request()??;
            }
            Mode::Sleep => time::sleep(Duration::from_secs(3)),
        }
        Ok(())
    }
}

wavetank_sdk::workload!(BenchGuest);
