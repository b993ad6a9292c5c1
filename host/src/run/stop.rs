//! How a run is stopped from outside. SEMANTICS §1, Stop.

use std::sync::Arc;

use tokio::sync::watch;

/// How urgent a stop is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopLevel {
    /// None was asked for.
    #[default]
    None,
    /// No new iterations, running ones are interrupted; teardown and summary still happen.
    Graceful,
    /// The run is left as it is, without teardown.
    Hard,
}

/// Stops a run; copies stop the same run. The first Ctrl-C is graceful, the second hard.
#[derive(Clone, Debug, Default)]
pub struct StopSignal(Arc<watch::Sender<StopLevel>>);

impl StopSignal {
    /// A signal that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a stop; a higher level than before is one more urgent.
    pub fn stop(&self, level: StopLevel) {
        self.0.send_if_modified(|current| {
            let more = level > *current;
            *current = level.max(*current);
            more
        });
    }

    /// What was asked for so far.
    pub fn level(&self) -> StopLevel {
        *self.0.borrow()
    }

    /// Suspends until at least `level` is asked for.
    pub async fn reached(&self, level: StopLevel) {
        // The sender is held by `self`, so the channel cannot close.
        let _ = self.0.subscribe().wait_for(|current| *current >= level).await;
    }
}
