//! `ramping-arrival-rate`: iterations start at a rate that follows stages. The stages are all in
//! the schedule (`plan::ArrivalSchedule`); once released, an arrival is like any other.

use super::{
    arrivals,
    crew::{Crew, Stop},
};
use crate::clock::Instant;

/// Releases the shard's share of the arrivals.
pub(super) async fn run(crew: &mut Crew, start: Instant, stop: &mut Stop) {
    arrivals::run(crew, start, stop).await;
}
