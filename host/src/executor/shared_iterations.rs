//! `shared-iterations`: a number of iterations, taken by whichever VU is free.

use std::sync::atomic::Ordering;

use super::{
    closed::{self, Next},
    iteration::Vu,
};

/// Takes iterations until none is left.
pub(super) async fn live(vu: Box<Vu>, iterations: u64) {
    let segment = vu.lane.ground.plan.segment;
    let share = segment.share(iterations);
    closed::live(vu, None, |vu| {
        let taken = vu.lane.shared.next_iteration.fetch_add(1, Ordering::Relaxed);
        let number = u64::from(segment.index) + taken * u64::from(segment.count);
        (taken < share).then_some(Next { number, stream: number })
    })
    .await;
}
