//! `constant-arrival-rate`: iterations start at a fixed rate, whatever the system does.

use super::{
    arrivals,
    crew::{Crew, Stop},
};
use crate::clock::Instant;

/// Releases the shard's share of the arrivals.
pub(super) async fn run(crew: &mut Crew, start: Instant, stop: &mut Stop) {
    arrivals::run(crew, start, stop).await;
}
