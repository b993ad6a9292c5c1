//! How a VU's task is told things: open, over, an arrival, an interruption.
//!
//! Everything is a cell on the shard's thread and one stored waker per VU: nothing is registered per
//! iteration, so that an interruptible iteration costs no more than another.
//!
//! | gate | told | then |
//! |---|---|---|
//! | shut | open | the VU may start iterations |
//! | open | shut | it starts no further one; a running one goes on until it is interrupted |
//! | shut, open | over | it starts no further one, and its task ends |

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::dispatch::Arrival;
use crate::clock::Instant;

/// Whether a VU may start iterations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gate {
    /// Not now.
    #[default]
    Shut,
    /// Yes.
    Open,
    /// No more: the task ends.
    Over,
}

/// Why an iteration is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The scenario or the run ends, or the VU is ramped down.
    Stop,
    /// It took longer than `iteration_timeout`.
    Timeout,
}

/// What the controller of a scenario holds of a VU.
#[derive(Debug, Default)]
pub(super) struct Handle {
    gate: Cell<Gate>,
    cut: Cell<Option<Cut>>,
    running: Cell<Option<Instant>>,
    offered: Cell<Option<Arrival>>,
    waker: RefCell<Option<Waker>>,
}

impl Handle {
    /// Tells the VU whether it may start iterations.
    pub(super) fn set_gate(&self, gate: Gate) {
        if self.gate.get() != Gate::Over && self.gate.replace(gate) != gate {
            self.wake();
        }
    }

    /// Whether it may start an iteration now.
    pub(super) fn is_open(&self) -> bool {
        self.gate.get() == Gate::Open
    }

    /// Whether its task is to end.
    pub(super) fn is_over(&self) -> bool {
        self.gate.get() == Gate::Over
    }

    /// Cuts off the iteration that is running, if one is.
    pub(super) fn interrupt(&self, cut: Cut) {
        if self.running.get().is_some() {
            self.cut.set(Some(cut));
            self.wake();
        }
    }

    /// Since when it has been running an iteration.
    pub(super) fn running_since(&self) -> Option<Instant> {
        self.running.get()
    }

    /// An iteration begins.
    pub(super) fn begin(&self, now: Instant) {
        self.cut.set(None);
        self.running.set(Some(now));
    }

    /// The iteration has ended.
    pub(super) fn end(&self) {
        self.running.set(None);
        self.cut.set(None);
    }

    /// Hands an idle VU its arrival.
    pub(super) fn offer(&self, arrival: Arrival) {
        debug_assert!(!self.has_offer(), "an idle VU has no arrival");
        self.offered.set(Some(arrival));
        self.wake();
    }

    /// Takes back an arrival that the VU has not begun.
    pub(super) fn take_offer(&self) -> Option<Arrival> {
        self.offered.take()
    }

    fn has_offer(&self) -> bool {
        let offered = self.offered.take();
        let has = offered.is_some();
        self.offered.set(offered);
        has
    }

    /// Waits until the VU may start an iteration: false when it is over.
    pub(super) async fn opened(&self) -> bool {
        poll_fn(|context| match self.gate.get() {
            Gate::Open => Poll::Ready(true),
            Gate::Over => Poll::Ready(false),
            Gate::Shut => self.park(context),
        })
        .await
    }

    /// Waits until the VU may no longer start iterations.
    pub(super) async fn closed(&self) {
        poll_fn(|context| match self.gate.get() {
            Gate::Open => self.park(context),
            Gate::Over | Gate::Shut => Poll::Ready(()),
        })
        .await;
    }

    /// Waits for an arrival: `None` when the VU is over.
    pub(super) async fn arrival(&self) -> Option<Arrival> {
        poll_fn(|context| match self.offered.take() {
            Some(arrival) => Poll::Ready(Some(arrival)),
            None if self.is_over() => Poll::Ready(None),
            None => self.park(context),
        })
        .await
    }

    /// Does `work` unless it is cut off; work that is done is done, even if the cut came with it.
    /// Also says whether it ever waited.
    pub(super) async fn until_cut<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> (Result<T, Cut>, bool) {
        let mut work = pin!(work);
        let mut waited = false;
        let result = poll_fn(|context| {
            if let Poll::Ready(value) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(value));
            }
            waited = true;
            match self.cut.take() {
                Some(cut) => Poll::Ready(Err(cut)),
                None => self.park(context),
            }
        })
        .await;
        (result, waited)
    }

    fn park<T>(&self, context: &Context<'_>) -> Poll<T> {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn wake(&self) {
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Goes to the back of the shard's queue, so that a VU whose iterations never wait leaves the others
/// their turn. This does not ask the operating system for events each time: [`super::ground::Ground::turn`].
pub(super) async fn yield_turn() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
