//! A plan and the machine: `max_vus` where it was left open, lowered to what fits. SEMANTICS §1.
//!
//! What was asked for is never touched, nor are the VUs made before the start: if those are too many, the
//! run finds out and says so.

use std::sync::Arc;

use super::{Arrival, Executor, Plan};

impl Plan {
    /// Lowers what `max_vus` were left open, so that all VUs together find `room`, and notes it; `why`
    /// says what bounds it. True if anything was lowered.
    pub fn fit(&mut self, room: u32, why: &str) -> bool {
        Arc::make_mut(&mut self.recipe).fits.push((room, why.to_owned()));
        let (segment, most) = (self.segment, self.vus());
        let over = most.saturating_sub(u64::from(room)) * u64::from(segment.count);
        let mut open: Vec<_> =
            self.scenarios.iter_mut().filter_map(|it| open(&mut it.executor)).collect();
        let spares: u64 = open.iter().map(|it| u64::from(it.spare())).sum();
        if over == 0 || spares == 0 {
            return false;
        }
        let left = spares.saturating_sub(over);
        for arrival in &mut open {
            let share = u64::from(arrival.spare()) * left / spares;
            arrival.max_vus = arrival.pre_allocated_vus.max(1) + share as u32;
        }
        self.notes.push(format!(
            "at most {} VUs instead of {most}, because {why}: `max_vus` was left open",
            self.vus()
        ));
        true
    }

    /// Instances of the workload that answer messages beside the VUs.
    pub fn workers(&self) -> u32 {
        if self.services.is_empty() { 0 } else { self.limits.service_workers }
    }

    /// The VUs that may exist, of this share of the plan.
    pub fn vus(&self) -> u64 {
        let vus = self.scenarios.iter().map(|scenario| scenario.executor.max_vus());
        vus.map(|vus| self.segment.share(u64::from(vus))).sum()
    }
}

impl Arrival {
    /// VUs that may be made beyond those that are made before the start.
    fn spare(&self) -> u32 {
        self.max_vus.saturating_sub(self.pre_allocated_vus.max(1))
    }
}

/// The arrivals of a scenario whose `max_vus` was left open.
fn open(executor: &mut Executor) -> Option<&mut Arrival> {
    match executor {
        Executor::ConstantArrivalRate { arrival, .. }
        | Executor::RampingArrivalRate { arrival, .. } => {
            Some(arrival).filter(|arrival| arrival.max_vus_open)
        }
        _ => None,
    }
}
