//! Which VU gets which arrival: the only thing that the shards of an arrival-rate scenario share.
//!
//! An arrival is bound when it is released: to a VU that is free on its own shard, else to one that
//! is free on another, else it waits in one queue, oldest first, or is dropped. A VU that becomes free
//! takes the oldest that waits before anything else. So no arrival ever waits while any VU of the
//! scenario is free. With a release may go the order to make one more VU: ahead of need
//! ([`super::growth`]), and where need was not foreseen, one for each arrival that waits.
//!
//! One short lock per arrival and per freed VU; nothing is awaited under it.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::growth::Growth;
use crate::{clock::Instant, plan::OnLate};

/// An arrival that was released. Ordered by its number, which is the order in which it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrival {
    /// Scenario-wide number.
    pub(super) number: u64,
    /// When it was due.
    pub(super) due: Instant,
    /// When it was released.
    pub(super) released: Instant,
    /// Stage that it was due in.
    pub(super) stage: usize,
}

/// What became of a released arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// A VU of this shard is reserved: offer it.
    Here,
    /// It was sent to another shard.
    Elsewhere,
    /// It waits for a VU that is being made: one that should have been there.
    Cold,
    /// It waits.
    Waiting,
    /// There was no room.
    Dropped,
}

/// What a release leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Release {
    /// What became of the arrival.
    pub(super) binding: Binding,
    /// A VU of this order (from 0, over all shards) is to be made on this shard.
    pub(super) make: Option<u32>,
}

/// The VUs and the waiting arrivals of a scenario, all shards together.
#[derive(Debug)]
pub(super) struct Dispatch {
    state: Mutex<State>,
    receivers: Mutex<Vec<Option<UnboundedReceiver<Arrival>>>>,
    on_late: OnLate,
    max_backlog: usize,
}

#[derive(Debug)]
struct State {
    /// Free VUs of each shard that no arrival is bound to.
    free: Vec<u32>,
    /// Arrivals that wait.
    waiting: BinaryHeap<Reverse<Arrival>>,
    /// VUs that exist or are being made.
    vus: u32,
    /// As many may exist.
    max_vus: u32,
    /// Of them, those that are being made since the scenario's start.
    making: u32,
    growth: Growth,
    /// Shards that still take arrivals.
    present: Vec<bool>,
    senders: Vec<UnboundedSender<Arrival>>,
}

impl Dispatch {
    /// For a scenario on this many shards, with `peak` arrivals per second at the most; `vus` are made
    /// before it starts.
    pub(super) fn new(
        shards: usize,
        peak: f64,
        (vus, max_vus): (u32, u32),
        on_late: OnLate,
        max_backlog: u64,
    ) -> Self {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| unbounded_channel()).unzip();
        Self {
            state: Mutex::new(State {
                free: vec![0; shards],
                waiting: BinaryHeap::new(),
                vus,
                max_vus,
                making: 0,
                growth: Growth::new(shards, peak),
                present: vec![true; shards],
                senders,
            }),
            receivers: Mutex::new(receivers.into_iter().map(Some).collect()),
            on_late,
            max_backlog: usize::try_from(max_backlog).unwrap_or(usize::MAX),
        }
    }

    /// What other shards bind to VUs of this one; given out once.
    pub(super) fn receiver(&self, shard: usize) -> Option<UnboundedReceiver<Arrival>> {
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        receivers.get_mut(shard).and_then(Option::take)
    }

    /// Binds an arrival released on `shard`.
    pub(super) fn release(&self, shard: usize, arrival: Arrival) -> Release {
        let mut state = self.lock();
        let binding = self.bind(&mut state, shard, arrival);
        let make = state.lacks().then(|| {
            state.vus += 1;
            state.making += 1;
            state.vus - 1
        });
        Release { binding, make }
    }

    fn bind(&self, state: &mut State, shard: usize, arrival: Arrival) -> Binding {
        if state.free[shard] > 0 {
            state.free[shard] -= 1;
            return Binding::Here;
        }
        let most_free = (0..state.free.len()).max_by_key(|shard| state.free[*shard]);
        if let Some(other) = most_free.filter(|other| state.free[*other] > 0)
            && state.senders[other].send(arrival).is_ok()
        {
            state.free[other] -= 1;
            return Binding::Elsewhere;
        }
        if state.vus < state.max_vus || state.making as usize > state.waiting.len() {
            state.waiting.push(Reverse(arrival));
            return Binding::Cold;
        }
        if self.on_late == OnLate::Drop || state.waiting.len() >= self.max_backlog {
            return Binding::Dropped;
        }
        state.waiting.push(Reverse(arrival));
        Binding::Waiting
    }

    /// Lowers the number of VUs that may exist; those that do stay.
    pub(super) fn bound(&self, max_vus: u32) {
        let mut state = self.lock();
        state.max_vus = state.max_vus.min(max_vus);
    }

    /// A VU was made, in so many nanoseconds; `late` if after the scenario's start.
    pub(super) fn made(&self, nanos: u64, late: bool) {
        let mut state = self.lock();
        state.growth.made(nanos);
        state.making -= u32::from(late);
    }

    /// What a shard saw in its last second: nanoseconds that its VUs spent in iterations, and how many
    /// began.
    pub(super) fn saw(&self, shard: usize, busy_ns: u64, begun: u64) {
        self.lock().growth.saw(shard, busy_ns, begun);
    }

    /// A VU of `shard` is free: the oldest arrival that waits, or it is counted as free.
    pub(super) fn freed(&self, shard: usize) -> Option<Arrival> {
        let mut state = self.lock();
        if !state.present[shard] {
            return None;
        }
        if let Some(Reverse(arrival)) = state.waiting.pop() {
            return Some(arrival);
        }
        state.free[shard] += 1;
        None
    }

    /// `shard` takes no more arrivals. The last shard to leave is given what still waits.
    pub(super) fn leave(&self, shard: usize) -> Vec<Arrival> {
        let mut state = self.lock();
        state.present[shard] = false;
        state.free[shard] = 0;
        if state.present.iter().any(|present| *present) {
            return Vec::new();
        }
        std::mem::take(&mut state.waiting).into_iter().map(|Reverse(arrival)| arrival).collect()
    }

    /// Takes all that waits: it is given up.
    pub(super) fn take_waiting(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.lock().waiting)
            .into_iter()
            .map(|Reverse(arrival)| arrival)
            .collect()
    }

    /// Arrivals that wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether one more VU is to be made: for an arrival that waits and has none, or ahead of need.
    fn lacks(&self) -> bool {
        let (waiting, free) = (self.waiting.len() as u32, self.free.iter().sum::<u32>());
        let busy = (self.vus + waiting).saturating_sub(self.making + free);
        self.vus < self.max_vus && (waiting > self.making || self.vus < self.growth.wanted(busy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dispatch(shards: usize, vus: (u32, u32), on_late: OnLate, max_backlog: u64) -> Dispatch {
        Dispatch::new(shards, 0.0, vus, on_late, max_backlog)
    }

    const fn released(binding: Binding, make: Option<u32>) -> Release {
        Release { binding, make }
    }

    fn arrival(number: u64) -> Arrival {
        let due = Instant::from_nanos(number);
        Arrival { number, due, released: due, stage: 0 }
    }

    #[test]
    fn a_free_vu_is_found_wherever_it_is_and_the_oldest_waits_least() {
        let dispatch = dispatch(2, (2, 2), OnLate::Queue, 3);
        let mut second = dispatch.receiver(1).unwrap();
        assert_eq!(dispatch.freed(0), None);
        assert_eq!(dispatch.freed(1), None);
        assert_eq!(dispatch.release(0, arrival(0)), released(Binding::Here, None));
        assert_eq!(dispatch.release(0, arrival(1)), released(Binding::Elsewhere, None));
        assert_eq!(second.try_recv().unwrap(), arrival(1));
        for number in [4, 3, 2] {
            assert_eq!(dispatch.release(0, arrival(number)), released(Binding::Waiting, None));
        }
        assert_eq!(dispatch.release(1, arrival(5)), released(Binding::Dropped, None));
        assert_eq!(dispatch.freed(1), Some(arrival(2)));
        assert_eq!(dispatch.freed(0), Some(arrival(3)));
        assert_eq!(dispatch.leave(0), []);
        assert_eq!(dispatch.freed(0), None, "a shard that left takes nothing");
        assert_eq!(dispatch.leave(1), [arrival(4)]);
    }

    #[test]
    fn vus_grow_to_their_limit_before_anything_is_dropped() {
        let dispatch = dispatch(1, (0, 2), OnLate::Drop, 10);
        assert_eq!(dispatch.release(0, arrival(0)), released(Binding::Cold, Some(0)));
        assert_eq!(dispatch.release(0, arrival(1)), released(Binding::Cold, Some(1)));
        assert_eq!(dispatch.release(0, arrival(2)), released(Binding::Dropped, None));
        dispatch.made(1, true);
        assert_eq!(dispatch.freed(0), Some(arrival(0)));
        assert_eq!(dispatch.waiting(), 1);
    }

    #[test]
    fn a_vu_is_made_before_the_last_free_one_is_taken() {
        let dispatch = dispatch(1, (2, 10), OnLate::Queue, 10);
        assert_eq!((dispatch.freed(0), dispatch.freed(0)), (None, None));
        assert_eq!(dispatch.release(0, arrival(0)), released(Binding::Here, None));
        assert_eq!(dispatch.release(0, arrival(1)), released(Binding::Here, Some(2)));
        // Not made in time: the arrival waits for that one, and the next VU is for the next arrival.
        assert_eq!(dispatch.release(0, arrival(2)), released(Binding::Cold, Some(3)));
        dispatch.made(1, true);
        assert_eq!(dispatch.freed(0), Some(arrival(2)));
    }
}
