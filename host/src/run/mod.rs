//! One run: setup, executors, teardown, summary.
//!
//! The run and everyone who watches it meet in [`event`]: the engine never prints, and an observer
//! that is too slow loses events, never time.

pub mod event;
pub mod summary;
