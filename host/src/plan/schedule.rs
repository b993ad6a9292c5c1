//! When iterations are due and how many VUs there are, as pure functions of the plan.

use crate::clock::Instant;

use super::{Executor, Segment};

/// The due times of an arrival-rate executor, relative to its scenario's start.
///
/// The n-th arrival of the whole plan (from 0) is due when the integral of the rate reaches n; a
/// segment owns the n with `n % count == index`. Nothing is accumulated: arrival n is computed from
/// n, so that no error grows with the length of a run.
#[derive(Clone, Debug)]
pub struct ArrivalSchedule {
    segment: Segment,
}

/// The number of VUs over time of a closed-model executor, relative to its scenario's start.
#[derive(Clone, Debug)]
pub struct VuSchedule {
    segment: Segment,
}

impl ArrivalSchedule {
    /// The schedule of an arrival-rate executor; `None` for the others.
    pub fn new(executor: &Executor, segment: Segment, seed: u64) -> Option<Self> {
        let _ = (executor, seed);
        Some(Self { segment })
    }

    /// Number (scenario-wide), due time and stage index of the next arrival of this segment.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would hide the arrival's number"
    )]
    pub fn next(&mut self) -> Option<(u64, Instant, usize)> {
        let _ = self.segment;
        None
    }
}

impl VuSchedule {
    /// The schedule of a closed-model executor; `None` for the others.
    pub fn new(executor: &Executor, segment: Segment) -> Option<Self> {
        let _ = executor;
        Some(Self { segment })
    }

    /// VUs of this segment at an instant.
    pub fn vus_at(&self, at: Instant) -> u32 {
        let _ = (at, self.segment);
        0
    }
}
