//! Time on the run's timeline.

use std::time::Duration;

use crate::{bindings::workload::wavetank::workload::timing as raw, nanos};

/// Nanoseconds since the run's origin.
///
/// ```no_run
/// let begun = wavetank_sdk::time::now();
/// // …
/// let took = wavetank_sdk::time::now() - begun;
/// ```
pub fn now() -> u64 {
    raw::now()
}

/// When the running iteration was due, in nanoseconds since the run's origin.
///
/// ```no_run
/// use wavetank_sdk::time;
///
/// let late = time::now().saturating_sub(time::due());
/// ```
pub fn due() -> u64 {
    raw::due()
}

/// An instant until which a workload is willing to wait, for several calls together.
///
/// ```no_run
/// # use wavetank_sdk::{bus, Result};
/// use std::time::Duration;
/// use wavetank_sdk::time::{Deadline, sleep};
///
/// # fn iterate() -> Result {
/// let deadline = Deadline::after(Duration::from_secs(2));
/// while !deadline.has_passed() {
///     let state = bus::to("orders.state").text("17").timeout(deadline.left()).request()?;
///     if state.is_ok_and(|state| state.text() == "done") {
///         break;
///     }
///     sleep(Duration::from_millis(50).min(deadline.left()));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// On the run's timeline, in nanoseconds.
    at: u64,
}

impl Deadline {
    /// So long from now.
    pub fn after(duration: Duration) -> Self {
        Self { at: now().saturating_add(nanos(duration)) }
    }

    /// The time until then; zero once it has passed.
    pub fn left(&self) -> Duration {
        Duration::from_nanos(self.at.saturating_sub(now()))
    }

    /// Whether nothing is left.
    pub fn has_passed(&self) -> bool {
        self.left().is_zero()
    }
}

/// Suspends the VU.
///
/// ```no_run
/// wavetank_sdk::time::sleep(std::time::Duration::from_millis(250));
/// ```
pub fn sleep(duration: Duration) {
    raw::sleep(nanos(duration));
}
