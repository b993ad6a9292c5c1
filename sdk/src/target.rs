//! Targets: processes of the system under test. A suite or a flag declares them (`--target`) and grants
//! them (`--allow target=NAME`); what a workload was not granted is misuse.

use std::time::Duration;

use crate::{
    Measured, bindings::workload::wavetank::workload::target as raw,
    bindings::workload::wavetank::workload::types, measured,
};

/// Starts a target that does not run and waits until it is ready; how long that took.
///
/// ```no_run
/// # use wavetank_sdk::{log, target, Result};
/// # fn f() -> Result {
/// let ready_after = target::start("database")?;
/// # Ok(()) }
/// ```
pub fn start(name: &str) -> Measured<Duration> {
    took(raw::start(name))
}

/// Asks a target to stop, kills it after its grace, and waits until it is gone; how long that took.
///
/// ```no_run
/// # use wavetank_sdk::{target, Result};
/// # fn f() -> Result {
/// let gone_after = target::stop("database")?;
/// # Ok(()) }
/// ```
pub fn stop(name: &str) -> Measured<Duration> {
    took(raw::stop(name))
}

/// Kills a target and waits until it is gone.
///
/// ```no_run
/// # use wavetank_sdk::{check, target, Result};
/// # fn f() -> Result {
/// check("it died", target::kill("database")?.is_ok())?;
/// # Ok(()) }
/// ```
pub fn kill(name: &str) -> Measured<()> {
    measured(raw::kill(name))
}

/// Stops a target, starts it and waits until it is ready again; how long all of that took.
///
/// ```no_run
/// # use wavetank_sdk::{target, Result};
/// # fn f() -> Result {
/// let away = target::restart("database")?;
/// # Ok(()) }
/// ```
pub fn restart(name: &str) -> Measured<Duration> {
    took(raw::restart(name))
}

/// Stops a target's processes where they are, until [`resume`].
///
/// ```no_run
/// # use std::time::Duration;
/// # use wavetank_sdk::{target, time, Result};
/// # fn f() -> Result {
/// target::pause("database")?.ok();
/// time::sleep(Duration::from_secs(1));
/// target::resume("database")?.ok();
/// # Ok(()) }
/// ```
pub fn pause(name: &str) -> Measured<Duration> {
    took(raw::pause(name))
}

/// Lets a target's processes go on; see [`pause`].
///
/// ```no_run
/// # use wavetank_sdk::{target, Result};
/// # fn f() -> Result {
/// let _ = target::resume("database")?;
/// # Ok(()) }
/// ```
pub fn resume(name: &str) -> Measured<Duration> {
    took(raw::resume(name))
}

fn took(result: Result<u64, types::Error>) -> Measured<Duration> {
    Ok(measured(result)?.map(Duration::from_nanos))
}
