//! When the load of a run began and ended. What was due before is setup's, what was due after it
//! teardown's; only what was due in between is judged as the load.
//!
//! Set by the run before the shards are told, so that whoever asks about an instant that has passed gets
//! the answer that holds.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{clock::Instant, metric::Phase};

/// When the load began and ended; not at all, in the beginning.
#[derive(Debug)]
pub(super) struct Load {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Default for Load {
    fn default() -> Self {
        Self { begun: AtomicU64::new(u64::MAX), ended: AtomicU64::new(u64::MAX) }
    }
}

impl Load {
    /// The load begins.
    pub(super) fn begin(&self, at: Instant) {
        self.begun.store(at.as_nanos(), Ordering::Release);
    }

    /// The load has ended: no iteration runs any more.
    pub(super) fn end(&self, at: Instant) {
        self.ended.store(at.as_nanos(), Ordering::Release);
    }

    /// The part of the run that an instant belongs to.
    pub(super) fn phase(&self, at: Instant) -> Phase {
        if at.as_nanos() < self.begun.load(Ordering::Acquire) {
            Phase::Setup
        } else if at.as_nanos() < self.ended.load(Ordering::Acquire) {
            Phase::Main
        } else {
            Phase::Teardown
        }
    }
}
