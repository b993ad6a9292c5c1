//! What the closed executors have in common: a VU starts its next iteration when its last one has
//! ended. Those that differ only in how many each VU runs need nothing else.

use std::{rc::Rc, time::Duration};

use super::{
    crew::{Crew, Stop},
    handle::Gate,
    iteration::{Beginning, Vu},
};
use crate::clock::Instant;

/// Number of an iteration and what seeds its random numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    pub(super) number: u64,
    pub(super) stream: u64,
}

/// All VUs from the start, until the iterations or the time are used up.
pub(super) async fn run(crew: &mut Crew, start: Instant, stop: &mut Stop) {
    if crew.begin(start, stop).await {
        let lane = Rc::clone(&crew.lane);
        crew.tell(Gate::Open);
        tokio::select! {
            biased;
            () = stop.asked() => {}
            () = crew.finished() => {}
            () = lane.ground.clock.sleep_until(lane.end.get()) => {}
        }
    }
    crew.finish(stop).await;
}

/// Iterates while the gate is open, the time is not up and `next` gives iterations.
pub(super) async fn live(
    mut vu: Box<Vu>,
    pace: Option<Duration>,
    mut next: impl FnMut(&Vu) -> Option<Next>,
) {
    let (lane, handle) = (Rc::clone(&vu.lane), Rc::clone(&vu.handle));
    let clock = lane.ground.clock;
    let mut earliest = Instant::ZERO;
    loop {
        if !handle.is_open() {
            vu.waited();
            if !handle.opened().await {
                return;
            }
        }
        let begun = vu.now();
        if begun >= lane.end.get() {
            return;
        }
        if begun < earliest {
            tokio::select! {
                biased;
                () = handle.closed() => {}
                () = clock.sleep_until(earliest) => {}
            }
            continue;
        }
        let Some(Next { number, stream }) = next(&vu) else { return };
        let stage = lane.stage_at(begun);
        vu.iterate(&Beginning { number, stream, due: begun, stage, dispatched: None }).await;
        earliest = pace.map_or(Instant::ZERO, |pace| begun + pace);
    }
}

/// The iterations of one VU, numbered scenario-wide without asking the others: VU v's i-th is
/// i × VUs + v. Their random numbers are seeded with VU and i.
pub(super) fn of_vu(vu: &Vu) -> Next {
    let vus = u64::from(vu.lane.scenario().executor.max_vus());
    let number = vu.iterations * vus + u64::from(vu.in_scenario);
    let vu_number = u64::from(vu.lane.shared.first_vu + vu.in_scenario);
    Next { number, stream: vu_number << 40 | vu.iterations }
}
