//! From a summary to what people and machines read. Pure.
//!
//! A report is a function of a [`crate::run::summary::Summary`] alone, so that one read back from a
//! file prints the same page as the run did. What comes from workloads (names, messages, places) is
//! hostile: nothing reaches a terminal but through [`printable`].

pub mod comparison;
pub mod json;
pub mod printable;
pub mod quantity;
pub mod terminal;
pub mod trend;
