//! What the suites stand on: the command under test, real servers, known-truth systems.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

pub mod certificates;
pub mod command;
pub mod component_text;
pub mod guests;
pub mod hog;
pub mod nats;
pub mod postgres;
pub mod registry;
pub mod truth;
pub mod untrusted;

/// Drives a future of the harness from a test that is no async function.
///
/// # Panics
/// If there is no runtime to be had.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}
