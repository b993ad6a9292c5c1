//! Write Wavetank workloads and services as WebAssembly components.
//!
//! A workload is one type, one trait and one macro. The host makes one of it for each virtual user
//! (VU), keeps it between iterations, and measures everything that it does; a workload never measures
//! the system itself. Build with `cargo build --release --target wasm32-wasip2`.
//!
//! ```
//! use wavetank_sdk::{bus, check, json, random, Context, Description, Iteration, Result, Workload};
//!
//! struct Greeter {
//!     people: i64,
//! }
//!
//! impl Workload for Greeter {
//!     fn describe() -> Description {
//!         Description::new("greeter", "0.1.0")
//!             .options(json!({"vus": 10, "duration": "10s", "ops": ["greet"]}))
//!             .parameter("people", 500, "how many people there are")
//!     }
//!
//!     fn init(context: &Context) -> Result<Self> {
//!         Ok(Self { people: context.parameter("people")? })
//!     }
//!
//!     fn iterate(&mut self, _: &Iteration) -> Result {
//!         let name = format!("user{}", random::integer(0, self.people));
//!         let reply = bus::to("greet").json(&json!({"name": name}))?.op("greet").request()?;
//!         check("greeted", reply.is_ok_and(|reply| reply.json()["ok"] == true))?;
//!         Ok(())
//!     }
//! }
//!
//! wavetank_sdk::workload!(Greeter);
//! # fn main() {}
//! ```
//!
//! From nothing to a plugin that CI runs: [`guide`].
//!
//! **Failure and misuse.** What the system under test does wrong is data: calls return it inside
//! `Ok(Err(failure))`, and the host has counted it. Only misuse (a subject with a space, an op that
//! was not declared) is thrown with `?`; it becomes the iteration's error. See [`Measured`].
//!
//! **State.** After a panic the instance is gone: the next iteration finds a fresh one whose `init`
//! has run. Memory that a workload keeps is its VU's own.
//!
//! **What is at hand.** Ordinary Rust without files, sockets and environment: those read as empty or
//! fail. `println!` and `eprintln!` go to the run's log. Time and hashing seeds are the run's.

#[doc(hidden)]
pub mod bindings;
pub mod bus;
pub mod database;
mod guest;
pub mod guide;
pub mod random;
pub mod target;
pub mod time;

pub use guest::{Context, Description, Iteration, Service, Workload};
pub use serde_json::{self, Value as Json, json};

pub use bindings::workload::wavetank::workload::types::Failure;
use bindings::workload::wavetank::workload::{log as raw_log, metrics, types};

/// What a lifecycle function returns; any error ends the iteration and is shown.
pub type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// What a measured call returns: misuse outside, the system's failure inside.
///
/// ```no_run
/// # use wavetank_sdk::{bus, check, Result};
/// # fn iterate() -> Result {
/// match bus::to("orders").text("one").request()? {
///     Ok(reply) => { check("answered", reply.text() == "done")?; }
///     Err(failure) => eprintln!("{}: {}", failure.kind, failure.message),
/// }
/// # Ok(()) }
/// ```
pub type Measured<T> = std::result::Result<std::result::Result<T, Failure>, Misuse>;

/// The host was used wrongly; it did nothing and measured nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misuse(pub String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Failure {}

fn measured<T>(result: std::result::Result<T, types::Error>) -> Measured<T> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(types::Error::Failure(failure)) => Ok(Err(failure)),
        Err(types::Error::Misuse(message)) => Err(Misuse(message)),
    }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Records a check and returns what it was given. It never ends the iteration and never changes the
/// exit code by itself; thresholds on `checks` do.
///
/// ```no_run
/// # use wavetank_sdk::{check, Result};
/// # fn f(found: bool) -> Result {
/// if !check("found", found)? { return Ok(()); }
/// # Ok(()) }
/// ```
pub fn check(name: &str, passed: bool) -> std::result::Result<bool, Misuse> {
    metrics::check(name, passed).map_err(Misuse)
}

/// Runs `work` in a group: what is measured in it bears the tag `group`.
///
/// ```no_run
/// # use wavetank_sdk::{bus, group, Result};
/// # fn f() -> Result {
/// group("checkout", || Ok(bus::to("cart.pay").request()?))?;
/// # Ok(()) }
/// ```
pub fn group<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    metrics::enter_group(name).map_err(Misuse)?;
    let result = work();
    metrics::leave_group();
    result
}

/// Adds a sample to a metric that `options.metrics` declares.
///
/// ```no_run
/// # use wavetank_sdk::{metric, Result};
/// # fn f() -> Result {
/// metric("rows_seen", 12.0)?;
/// # Ok(()) }
/// ```
pub fn metric(name: &str, value: f64) -> std::result::Result<(), Misuse> {
    metrics::add(name, value).map_err(Misuse)
}

/// Ends the run with exit code 108.
///
/// ```no_run
/// wavetank_sdk::abort("the system lost its data");
/// ```
pub fn abort(reason: &str) {
    metrics::abort(reason);
}

/// Lets the run go on, and fail with exit code 110.
///
/// ```no_run
/// wavetank_sdk::mark_failed("a balance was negative");
/// ```
pub fn mark_failed(reason: &str) {
    metrics::mark_failed(reason);
}

/// Writes a line to the run's log. `println!` does the same.
///
/// ```no_run
/// wavetank_sdk::log("warmed up");
/// ```
pub fn log(text: &str) {
    raw_log::line(raw_log::Level::Info, text);
}

/// Writes a warning to the run's log.
///
/// ```no_run
/// wavetank_sdk::warn("the cache was empty");
/// ```
pub fn warn(text: &str) {
    raw_log::line(raw_log::Level::Warn, text);
}
