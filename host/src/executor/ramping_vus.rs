//! `ramping-vus`: a number of VUs that follows stages.
//!
//! | VU | the number | then |
//! |---|---|---|
//! | shut | rises above it | open |
//! | open, idle | falls below it | shut |
//! | open, running | falls below it | shut, and interrupted after `graceful_ramp_down` unless it ends before |
//! | shut, still running | rises above it | open again: the interruption is called off |
//! | any | the stages end | over: running ones have `graceful_stop` |

use std::{collections::VecDeque, rc::Rc, time::Duration};

use super::{
    closed,
    crew::{Crew, Stop},
    handle::{Cut, Gate},
    iteration::Vu,
    lane::Lane,
};
use crate::{
    clock::Instant,
    plan::{Executor, VuSchedule},
};

/// Iterates while it is open.
pub(super) async fn live(vu: Box<Vu>, pace: Option<Duration>) {
    closed::live(vu, pace, |vu| Some(closed::of_vu(vu))).await;
}

/// VUs that were shut while they ran, and when they are interrupted.
struct Ramp {
    open: usize,
    graceful: Duration,
    deadlines: VecDeque<(Instant, usize)>,
    /// The deadline of each VU that has one.
    deadline_of: Vec<Option<Instant>>,
}

impl Ramp {
    /// Opens or shuts VUs until `vus` are open.
    fn set(&mut self, lane: &Lane, vus: usize, now: Instant) {
        let handles = lane.handles.borrow();
        let vus = vus.min(handles.len());
        for order in self.open..vus {
            self.deadline_of[order] = None;
            handles[order].set_gate(Gate::Open);
        }
        for order in (vus..self.open).rev() {
            handles[order].set_gate(Gate::Shut);
            let deadline = now + self.graceful;
            self.deadline_of[order] = Some(deadline);
            self.deadlines.push_back((deadline, order));
        }
        self.open = vus;
    }

    /// Interrupts those whose grace is over.
    fn interrupt(&mut self, lane: &Lane, now: Instant) {
        while let Some((deadline, order)) = self.deadlines.front().copied() {
            if deadline > now {
                return;
            }
            self.deadlines.pop_front();
            if self.deadline_of[order] == Some(deadline) {
                self.deadline_of[order] = None;
                lane.handles.borrow()[order].interrupt(Cut::Stop);
            }
        }
    }
}

/// Follows the stages.
pub(super) async fn run(crew: &mut Crew, start: Instant, stop: &mut Stop) {
    if crew.begin(start, stop).await {
        follow(crew, start, stop).await;
    }
    crew.finish(stop).await;
}

async fn follow(crew: &mut Crew, start: Instant, stop: &mut Stop) {
    let lane = Rc::clone(&crew.lane);
    let executor = &lane.scenario().executor;
    let Executor::RampingVus { graceful_ramp_down, .. } = executor else { return };
    let Some(schedule) = VuSchedule::new(executor, lane.segment) else { return };
    let clock = lane.ground.clock;
    let mut ramp = Ramp {
        open: 0,
        graceful: *graceful_ramp_down,
        deadlines: VecDeque::new(),
        deadline_of: vec![None; lane.handles.borrow().len()],
    };
    ramp.set(&lane, schedule.vus_at(Instant::ZERO) as usize, start);
    let mut change = schedule.next_change(Instant::ZERO);
    loop {
        let change_at = change.map(|(at, _)| start + at.since(Instant::ZERO));
        let deadline = ramp.deadlines.front().map(|(at, _)| *at);
        let wake = [change_at, deadline].into_iter().flatten().fold(lane.end.get(), Instant::min);
        tokio::select! {
            biased;
            () = stop.asked() => return,
            () = crew.finished() => return,
            () = clock.sleep_until(wake) => {}
        }
        let now = clock.now();
        while let Some((at, vus)) = change {
            if start + at.since(Instant::ZERO) > now {
                break;
            }
            ramp.set(&lane, vus as usize, now);
            change = schedule.next_change(at);
        }
        ramp.interrupt(&lane, now);
        if now >= lane.end.get() {
            return;
        }
    }
}
