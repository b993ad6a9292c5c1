//! `constant-vus`: a fixed number of VUs, each iterating as fast as it can or at its pace.

use std::time::Duration;

use super::{closed, iteration::Vu};

/// Iterates until the time is up.
pub(super) async fn live(vu: Box<Vu>, pace: Option<Duration>) {
    closed::live(vu, pace, |vu| Some(closed::of_vu(vu))).await;
}
