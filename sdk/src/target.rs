//! Targets: processes of the system under test that the run started. A suite or a flag declares them.

use std::time::Duration;

use crate::{Measured, bindings::workload::wavetank::workload::target as raw, measured};

/// Starts a stopped target and waits until it is ready; how long that took.
pub fn start(name: &str) -> Measured<Duration> {
    Ok(measured(raw::start(name))?.map(Duration::from_nanos))
}

/// Asks a target to stop and waits until it has; how long that took.
pub fn stop(name: &str) -> Measured<Duration> {
    Ok(measured(raw::stop(name))?.map(Duration::from_nanos))
}

/// Kills a target.
pub fn kill(name: &str) -> Measured<()> {
    measured(raw::kill(name))
}
