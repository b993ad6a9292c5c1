//! Random numbers of the iteration: the same for the same seed, scenario and iteration, and the same
//! that a script gets. Draws count: two workloads with the same draws in the same order are twins.

use crate::bindings::workload::wavetank::workload::random as raw;

pub use raw::{bits, boolean, exponential, float, integer, normal, zipf};

/// One of these; `None` if there are none.
///
/// ```no_run
/// let colour = wavetank_sdk::random::choice(&["red", "green"]);
/// ```
pub fn choice<T>(items: &[T]) -> Option<&T> {
    let len = u32::try_from(items.len()).unwrap_or(u32::MAX);
    raw::choice(len).and_then(|index| items.get(index as usize))
}

/// Puts these into a random order.
pub fn shuffle<T: Clone>(items: &mut Vec<T>) {
    let len = u32::try_from(items.len()).unwrap_or(u32::MAX);
    *items =
        raw::shuffle(len).iter().filter_map(|index| items.get(*index as usize).cloned()).collect();
}

/// Letters and digits.
pub fn text(len: u32) -> String {
    raw::text(len)
}
