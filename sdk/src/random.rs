//! Random numbers of the iteration: the same for the same seed, scenario and iteration, and the same
//! that a script gets. Draws count: two workloads with the same draws in the same order are twins.
//!
//! ```no_run
//! use wavetank_sdk::random;
//!
//! let player = random::integer(1, 500); // both included
//! let share = random::float(); // from 0, below 1
//! let leaves = random::boolean(0.1); // one in ten
//! let pause_ms = random::exponential(250.0); // with this mean
//! let size = random::normal(1024.0, 64.0); // mean and standard deviation
//! let channel = random::zipf(1000, 1.1); // a rank from 1, the first the most often
//! let key = random::bits();
//! ```

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
///
/// ```no_run
/// let mut order = vec!["read", "write", "leave"];
/// wavetank_sdk::random::shuffle(&mut order);
/// ```
pub fn shuffle<T: Clone>(items: &mut Vec<T>) {
    let len = u32::try_from(items.len()).unwrap_or(u32::MAX);
    *items =
        raw::shuffle(len).iter().filter_map(|index| items.get(*index as usize).cloned()).collect();
}

/// Letters and digits.
///
/// ```no_run
/// let name = wavetank_sdk::random::text(12);
/// ```
pub fn text(len: u32) -> String {
    raw::text(len)
}
