//! What a run hands over while it goes on, for whoever keeps it.
//!
//! Everything that a summary is made of passes here, in the order in which the judge sees it, so that a
//! judge that is fed from a tape comes to what the run's own came to. Handing over takes no time worth
//! the name: a tape that is behind merges what waits, and never makes the run wait.

use std::fmt::Debug;

use super::chronicle::Happening;
use crate::{
    clock::Instant,
    metric::{Names, Snapshot},
    verdict::{ErrorFacts, Facts},
};

/// Takes what a run hands over.
pub trait Tape: Debug + Send {
    /// The table of the run's names, which grows while it runs. First of all.
    fn names(&mut self, names: &Names);
    /// The first scenario starts: windows are counted from here.
    fn begun(&mut self, start: Instant);
    /// What a shard measured, right after the judge has seen it.
    fn interval(&mut self, snapshot: Snapshot);
    /// What the facts would be if the run ended now, but its errors.
    fn facts(&mut self, facts: Facts);
    /// All kinds of errors so far; only when there are others than before.
    fn errors(&mut self, errors: Vec<ErrorFacts>);
    /// Something that happened.
    fn happened(&mut self, happening: Happening);
    /// Words that there was no room for so far.
    fn left_out(&self) -> u64;
    /// Intervals that were merged with others so far.
    fn merged(&self) -> u64;
    /// Why nothing more is kept, if that is so.
    fn failure(&self) -> Option<String>;
}
