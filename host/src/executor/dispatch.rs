//! Which VU gets which arrival: the only thing that the shards of an arrival-rate scenario share.
//!
//! An arrival is bound when it is released: to a VU that is free on its own shard, else to one that
//! is free on another, else to one that is made for it, else it waits in one queue, oldest first,
//! or is dropped. A VU that becomes free takes the oldest that waits before anything else. So no
//! arrival ever waits while any VU of the scenario is free.
//!
//! One short lock per arrival and per freed VU; nothing is awaited under it.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

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
    /// It waits, and a VU of this order (from 0, over all shards) is to be made on this shard.
    Make(u32),
    /// It waits.
    Waiting,
    /// There was no room.
    Dropped,
}

/// The VUs and the waiting arrivals of a scenario, all shards together.
#[derive(Debug)]
pub(super) struct Dispatch {
    state: Mutex<State>,
    receivers: Mutex<Vec<Option<UnboundedReceiver<Arrival>>>>,
    max_vus: u32,
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
    /// Shards that still take arrivals.
    present: Vec<bool>,
    senders: Vec<UnboundedSender<Arrival>>,
}

impl Dispatch {
    /// For a scenario on this many shards; `vus` are made before it starts.
    pub(super) fn new(
        shards: usize,
        vus: u32,
        max_vus: u32,
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
                present: vec![true; shards],
                senders,
            }),
            receivers: Mutex::new(receivers.into_iter().map(Some).collect()),
            max_vus,
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
    pub(super) fn release(&self, shard: usize, arrival: Arrival) -> Binding {
        let mut state = self.lock();
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
        if state.vus < self.max_vus {
            state.vus += 1;
            state.waiting.push(Reverse(arrival));
            return Binding::Make(state.vus - 1);
        }
        if self.on_late == OnLate::Drop || state.waiting.len() >= self.max_backlog {
            return Binding::Dropped;
        }
        state.waiting.push(Reverse(arrival));
        Binding::Waiting
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

    /// Arrivals that wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(number: u64) -> Arrival {
        let due = Instant::from_nanos(number);
        Arrival { number, due, released: due, stage: 0 }
    }

    #[test]
    fn a_free_vu_is_found_wherever_it_is_and_the_oldest_waits_least() {
        let dispatch = Dispatch::new(2, 2, 2, OnLate::Queue, 3);
        let mut second = dispatch.receiver(1).unwrap();
        assert_eq!(dispatch.freed(0), None);
        assert_eq!(dispatch.freed(1), None);
        assert_eq!(dispatch.release(0, arrival(0)), Binding::Here);
        assert_eq!(dispatch.release(0, arrival(1)), Binding::Elsewhere);
        assert_eq!(second.try_recv().unwrap(), arrival(1));
        for number in [4, 3, 2] {
            assert_eq!(dispatch.release(0, arrival(number)), Binding::Waiting);
        }
        assert_eq!(dispatch.release(1, arrival(5)), Binding::Dropped);
        assert_eq!(dispatch.freed(1), Some(arrival(2)));
        assert_eq!(dispatch.freed(0), Some(arrival(3)));
        assert_eq!(dispatch.leave(0), []);
        assert_eq!(dispatch.freed(0), None, "a shard that left takes nothing");
        assert_eq!(dispatch.leave(1), [arrival(4)]);
    }

    #[test]
    fn vus_grow_to_their_limit_before_anything_is_dropped() {
        let dispatch = Dispatch::new(1, 0, 2, OnLate::Drop, 10);
        assert_eq!(dispatch.release(0, arrival(0)), Binding::Make(0));
        assert_eq!(dispatch.release(0, arrival(1)), Binding::Make(1));
        assert_eq!(dispatch.release(0, arrival(2)), Binding::Dropped);
        assert_eq!(dispatch.freed(0), Some(arrival(0)));
        assert_eq!(dispatch.waiting(), 1);
    }
}
