//! From a summary to what people and machines read. Pure.
//!
//! A report is a function of a [`story::Story`] alone, the summary and what happened when, so that one read
//! back from a file prints the same page as the run did. What comes from workloads (names, messages, places) is
//! hostile: nothing reaches a terminal but through [`printable`], and
//! nothing another format but through that format's own escape.

pub mod comparison;
mod cost;
mod course;
pub mod csv;
mod escape;
mod first;
pub mod github;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod printable;
pub mod quantity;
pub mod story;
pub mod terminal;
#[cfg(test)]
mod tests;
pub mod trend;
mod within;
