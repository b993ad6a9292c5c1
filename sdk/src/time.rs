//! Time on the run's timeline.

use std::time::Duration;

use crate::{bindings::workload::wavetank::workload::timing as raw, nanos};

/// Nanoseconds since the run's origin.
pub fn now() -> u64 {
    raw::now()
}

/// When the running iteration was due, in nanoseconds since the run's origin.
pub fn due() -> u64 {
    raw::due()
}

/// Suspends the VU.
///
/// ```no_run
/// wavetank_sdk::time::sleep(std::time::Duration::from_millis(250));
/// ```
pub fn sleep(duration: Duration) {
    raw::sleep(nanos(duration));
}
