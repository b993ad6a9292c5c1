//! What the arrival-rate executors have in common: a pacer on each shard, and VUs that wait.
//!
//! Each shard releases its own share of the schedule (the shares interleave, so that shards are out
//! of phase), and gives every arrival to the scenario's [`super::dispatch::Dispatch`].

use std::{rc::Rc, time::Duration};

use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    crew::{Crew, Stop},
    dispatch::{Arrival, Binding, Dispatch, Release},
    iteration::{Beginning, Vu},
    lane::{Lane, arrival as arrival_options},
    pacer::Pacer,
    probes,
    timer::Timer,
};
use crate::clock::Instant;

/// Arrivals released before the VUs that they were given to have a turn.
const BATCH: usize = 1024;
/// An arrival due before the end may still be released this long after it: a timer is never exact.
/// A shard that is later than this was stalled, and its arrivals never started.
const LAST_RELEASE: Duration = Duration::from_millis(10);
/// How often a shard tells what its VUs were busy with.
const LOOK: Duration = Duration::from_secs(1);

/// What a shard has told so far of its iterations.
#[derive(Clone, Copy, Debug)]
struct Told {
    next: Instant,
    busy_ns: u64,
    begun: u64,
}

impl Told {
    /// Tells what has happened since, if it is time.
    fn tell(&mut self, lane: &Lane, now: Instant) {
        let Some(dispatch) = lane.shared.dispatch.as_ref().filter(|_| now >= self.next) else {
            return;
        };
        let (busy_ns, begun) = (lane.busy_ns(now), lane.counts().started);
        dispatch.saw(lane.ground.shard, busy_ns.wrapping_sub(self.busy_ns), begun - self.begun);
        *self = Self { next: now + LOOK, busy_ns, begun };
    }
}

/// Takes arrivals until the scenario is over, the oldest that waits first.
pub(super) async fn live(mut vu: Box<Vu>) {
    let (lane, handle) = (Rc::clone(&vu.lane), Rc::clone(&vu.handle));
    let Some(dispatch) = &lane.shared.dispatch else { return };
    while !handle.is_over() {
        let (arrival, free) = match dispatch.freed(lane.ground.shard) {
            // It waited for this VU: the system's part of the delay, unless the VU had to be made.
            Some(arrival) if vu.cold => (arrival, arrival.released),
            Some(arrival) => (arrival, vu.now().max(arrival.released)),
            None => {
                vu.waited();
                lane.idle.borrow_mut().push(Rc::clone(&handle));
                let Some(arrival) = handle.arrival().await else { return };
                (arrival, arrival.released)
            }
        };
        vu.cold = false;
        vu.iterate(&Beginning {
            number: arrival.number,
            stream: arrival.number,
            due: arrival.due,
            stage: arrival.stage,
            dispatched: Some((arrival.released, free)),
        })
        .await;
    }
}

/// Releases the shard's share of the arrivals from `start` until the scenario's end.
pub(super) async fn run(crew: &mut Crew, start: Instant, stop: &mut Stop) {
    let lane = Rc::clone(&crew.lane);
    let (ground, executor) = (&lane.ground, &lane.scenario().executor);
    let Some(dispatch) = &lane.shared.dispatch else { return };
    let Some(mut inbox) = dispatch.receiver(ground.shard) else { return };
    let schedule = lane.scenario().arrivals(lane.segment, ground.plan.seed);
    let begun = crew.begin(start, stop).await;
    if begun && lane.shared.probes.is_some() {
        probes::run(crew, dispatch, &mut inbox, stop).await;
    } else if begun && let Some(schedule) = schedule {
        let mut pacer = Pacer::new(schedule, start);
        let spin = arrival_options(executor).is_some_and(|arrival| arrival.spin);
        let mut timer = Timer::new(ground.clock, spin);
        pace(crew, &mut pacer, &mut timer, &mut inbox, stop).await;
        release_rest(&lane, &mut pacer, stop);
    }
    leave(&lane, dispatch, &mut inbox, stop);
    crew.finish(stop).await;
}

/// What was due before the end and was not released any more: it never started.
pub(super) fn release_rest(lane: &Lane, pacer: &mut Pacer, stop: &Stop) {
    let now = lane.ground.clock.now();
    let until = now.min(lane.end.get());
    while let Some(arrival) = pacer.due(until) {
        lane.plan_arrival();
        lane.never_start(&arrival, now, !stop.is_asked());
    }
}

/// The pacing loop: release what is due, wait for what is next.
pub(super) async fn pace(
    crew: &mut Crew,
    pacer: &mut Pacer,
    timer: &mut Timer,
    inbox: &mut UnboundedReceiver<Arrival>,
    stop: &mut Stop,
) {
    let lane = Rc::clone(&crew.lane);
    let (clock, end) = (lane.ground.clock, lane.end.get());
    let mut told = Told { next: lane.start.get() + LOOK, busy_ns: 0, begun: 0 };
    loop {
        let now = clock.now();
        told.tell(&lane, now);
        if now.since(end) > LAST_RELEASE {
            return;
        }
        let mut room = BATCH;
        while room > 0
            && let Some(arrival) = pacer.due(now.min(end))
        {
            release(crew, &lane, Arrival { released: now, ..arrival });
            room -= 1;
        }
        if room == 0 {
            lane.ground.turn(now).await;
            if !stop.is_asked() {
                continue;
            }
        }
        if now >= end || stop.is_asked() {
            return;
        }
        let wake = pacer.next_due().map_or(end, |due| due.min(end));
        tokio::select! {
            biased;
            () = stop.asked() => return,
            Some(arrival) = inbox.recv() => offer(&lane, &arrival),
            Some(left) = crew.tasks.join_next() => crew.left(left),
            () = timer.wait_until(wake) => {}
        }
    }
}

fn release(crew: &mut Crew, lane: &Lane, arrival: Arrival) {
    let Some(dispatch) = &lane.shared.dispatch else { return };
    lane.plan_arrival();
    let Release { binding, make } = dispatch.release(lane.ground.shard, arrival);
    match binding {
        Binding::Here => offer(lane, &arrival),
        Binding::Elsewhere | Binding::Waiting => {}
        Binding::Cold => lane.counts.borrow_mut().cold_vus += 1,
        Binding::Dropped => lane.drop_arrival(&arrival, lane.ground.clock.now()),
    }
    if let Some(order) = make {
        let segment = lane.ground.plan.segment;
        crew.add(segment.index + order * segment.count, true);
    }
}

/// Hands an arrival to an idle VU of this shard, the one that was idle last: its memory is warm.
pub(super) fn offer(lane: &Lane, arrival: &Arrival) {
    let idle = lane.idle.borrow_mut().pop();
    debug_assert!(idle.is_some(), "an arrival is bound only to a shard with a free VU");
    match idle {
        Some(handle) => handle.offer(*arrival),
        None => lane.never_start(arrival, lane.ground.clock.now(), true),
    }
}

/// The end of the lane's part: what other shards bound to its VUs still starts, unless the run is
/// being stopped; what waits when the last shard leaves never started.
fn leave(lane: &Lane, dispatch: &Dispatch, inbox: &mut UnboundedReceiver<Arrival>, stop: &Stop) {
    let waiting = dispatch.leave(lane.ground.shard);
    let now = lane.ground.clock.now();
    while let Ok(arrival) = inbox.try_recv() {
        offer(lane, &arrival);
    }
    if stop.is_asked() {
        for handle in lane.handles.borrow().iter() {
            if let Some(arrival) = handle.take_offer() {
                lane.never_start(&arrival, now, false);
            }
        }
    }
    for arrival in waiting {
        lane.never_start(&arrival, now, false);
    }
}
