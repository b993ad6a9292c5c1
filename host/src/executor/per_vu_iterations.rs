//! `per-vu-iterations`: a number of iterations for each VU.

use std::time::Duration;

use super::{closed, iteration::Vu};

/// Runs the VU's iterations.
pub(super) async fn live(vu: Box<Vu>, iterations: u64, pace: Option<Duration>) {
    closed::live(vu, pace, |vu| (vu.iterations < iterations).then(|| closed::of_vu(vu))).await;
}
