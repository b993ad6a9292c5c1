//! The probes of a search: rates that are told while the scenario runs.
//!
//! | told | then |
//! |---|---|
//! | a probe | the lane releases its share of the probe's arrivals, each tagged with the probe's level |
//! | give up | what waits never starts, what runs is interrupted |
//! | end | the scenario ends as if its time were up |
//!
//! VUs stay between probes, so that no probe pays for making them anew. How many arrivals are in the system
//! is counted for all shards together: the driver watches it grow and drain.

use std::{
    rc::Rc,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    arrivals::{offer, pace, release_rest},
    crew::{Crew, Stop},
    dispatch::{Arrival, Dispatch},
    handle::Cut,
    lane::Lane,
    pacer::Pacer,
    timer::Timer,
};
use crate::{
    clock::Instant,
    metric::{Name, TagSet},
    plan::ArrivalSchedule,
};

/// What a search tells the lanes of its scenario.
#[derive(Clone, Debug)]
pub enum Order {
    /// Arrivals at a rate.
    Probe(Probe),
    /// What is left of the last probe is not waited for.
    GiveUp,
    /// The search is over.
    End,
}

/// A rate, and when it is held.
#[derive(Clone, Debug)]
pub struct Probe {
    /// From 0, in their order.
    pub index: usize,
    /// The tag `level` of its samples.
    pub level: Name,
    /// Per second.
    pub rate: f64,
    /// When it begins.
    pub from: Instant,
    /// How long it lasts.
    pub length: Duration,
    /// Scenario-wide number of its first arrival.
    pub first: u64,
}

impl Probe {
    fn end(&self) -> Instant {
        self.from + self.length
    }
}

/// What the lanes of a scenario that searches share.
#[derive(Debug)]
pub(super) struct Probes {
    senders: Vec<UnboundedSender<Order>>,
    receivers: Mutex<Vec<Option<UnboundedReceiver<Order>>>>,
    inside: AtomicI64,
}

impl Probes {
    pub(super) fn new(shards: usize) -> Self {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| unbounded_channel()).unzip();
        let receivers = Mutex::new(receivers.into_iter().map(Some).collect());
        Self { senders, receivers, inside: AtomicI64::new(0) }
    }

    pub(super) fn tell(&self, order: &Order) {
        for sender in &self.senders {
            // A lane that has ended needs no orders.
            let _ = sender.send(order.clone());
        }
    }

    /// Arrivals that came (or, below 0, left).
    pub(super) fn count(&self, change: i64) {
        self.inside.fetch_add(change, Ordering::Relaxed);
    }

    pub(super) fn inside(&self) -> u64 {
        self.inside.load(Ordering::Relaxed).max(0) as u64
    }

    fn receiver(&self, shard: usize) -> Option<UnboundedReceiver<Order>> {
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        receivers.get_mut(shard).and_then(Option::take)
    }
}

/// Obeys orders until the search is over or the run is stopped.
pub(super) async fn run(
    crew: &mut Crew,
    dispatch: &Dispatch,
    inbox: &mut UnboundedReceiver<Arrival>,
    stop: &mut Stop,
) {
    let lane = Rc::clone(&crew.lane);
    let orders = lane.shared.probes.as_ref().and_then(|probes| probes.receiver(lane.ground.shard));
    let Some(mut orders) = orders else { return };
    let mut timer = Timer::new(lane.ground.clock, false);
    loop {
        tokio::select! {
            biased;
            () = stop.asked() => break,
            order = orders.recv() => match order {
                Some(Order::Probe(told)) => {
                    probe(crew, &told, &mut timer, inbox, stop).await;
                }
                Some(Order::GiveUp) => give_up(&lane, dispatch),
                Some(Order::End) | None => break,
            },
            Some(arrival) = inbox.recv() => offer(&lane, &arrival),
            Some(left) = crew.tasks.join_next() => crew.left(left),
        }
    }
    lane.end.set(lane.ground.clock.now());
}

async fn probe(
    crew: &mut Crew,
    told: &Probe,
    timer: &mut Timer,
    inbox: &mut UnboundedReceiver<Arrival>,
    stop: &mut Stop,
) {
    let lane = Rc::clone(&crew.lane);
    let Some(search) = lane.scenario().search() else { return };
    let executor = lane.scenario().probing(search, told.rate).executor;
    let seed = lane.ground.plan.seed.wrapping_add(told.index as u64);
    let Some(schedule) = ArrivalSchedule::new(&executor, lane.segment, seed) else { return };
    lane.begin_probe(told.level, told.from, told.end());
    let mut pacer = Pacer::new(schedule, told.from).numbered(told.first, told.index);
    pace(crew, &mut pacer, timer, inbox, stop).await;
    release_rest(&lane, &mut pacer, stop);
}

fn give_up(lane: &Lane, dispatch: &Dispatch) {
    let now = lane.ground.clock.now();
    for arrival in dispatch.take_waiting() {
        lane.never_start(&arrival, now, false);
    }
    for handle in lane.handles.borrow().iter() {
        handle.interrupt(Cut::Stop);
    }
}

/// A probe as a lane remembers it, for the tags of what was due or ended in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) tags: TagSet,
    pub(super) from: Instant,
    pub(super) to: Instant,
}
