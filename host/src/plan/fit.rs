//! A plan and the machine: how many instances of its workload it may need at once.

use super::Plan;

impl Plan {
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
