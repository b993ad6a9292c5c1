//! How many VUs an arrival-rate scenario should have, before arrivals need them. SEMANTICS §1.
//!
//! Little's law says how many iterations run at once: the rate times the time that one takes. That time
//! is not known before the run, so a scenario begins with few VUs, each second's iterations tell it, and
//! from then on the scenario has what the law asks at its highest rate. Whatever the law says, there are
//! never fewer than are busy now, a margin of one standard deviation (what is under way is Poisson
//! distributed where arrivals are), and the arrivals that come while one more is being made.
//!
//! VUs are made beside the arrivals, one for one at the most: that is as fast as a system that answers
//! nothing can use them up, and leaves the shard to the load.

/// What has been seen, and what follows from it.
#[derive(Debug)]
pub(super) struct Growth {
    /// Arrivals per second at the most, of this share of the plan.
    peak: f64,
    /// By shard, of its last second: nanoseconds that VUs spent in iterations, and iterations begun.
    seen: Vec<(u64, u64)>,
    /// What Little's law asks.
    asked: f64,
    /// How long making a VU takes, in seconds: what was seen last counts for an eighth.
    making_s: Option<f64>,
}

impl Growth {
    pub(super) fn new(shards: usize, peak: f64) -> Self {
        Self { peak, seen: vec![(0, 0); shards], asked: 0.0, making_s: None }
    }

    /// A VU was made, and `init` has run.
    pub(super) fn made(&mut self, nanos: u64) {
        let seconds = nanos as f64 / 1e9;
        let mean = self.making_s.get_or_insert(seconds);
        *mean += (seconds - *mean) / 8.0;
    }

    /// What a shard saw in its last second.
    pub(super) fn saw(&mut self, shard: usize, busy_ns: u64, begun: u64) {
        self.seen[shard] = (busy_ns, begun);
        let (busy_ns, begun) =
            self.seen.iter().fold((0.0, 0), |sum, seen| (sum.0 + seen.0 as f64, sum.1 + seen.1));
        if begun > 0 {
            self.asked = self.peak * (busy_ns / 1e9) / begun as f64;
        }
    }

    /// How many VUs there should be while so many are busy, or will be as soon as they exist.
    pub(super) fn wanted(&self, busy: u32) -> u32 {
        let busy = f64::from(busy).max(self.asked.ceil());
        (busy + busy.sqrt().ceil() + (self.peak * self.making_s.unwrap_or(0.0)).ceil()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn littles_law_asks_for_the_rate_times_the_time() {
        let mut growth = Growth::new(2, 400.0);
        assert_eq!(growth.wanted(0), 0);
        assert_eq!(growth.wanted(9), 12, "a standard deviation more than are busy");
        // A second at 100/s, of 250 ms each, seen by two shards: 400/s will keep 100 busy.
        growth.saw(0, 50 * 250_000_000, 50);
        growth.saw(1, 50 * 250_000_000, 50);
        assert_eq!(growth.wanted(25), 110);
        assert_eq!(growth.wanted(144), 156, "more are busy than it asked for");
        // A second without a beginning says nothing new.
        growth.saw(0, 0, 0);
        growth.saw(1, 0, 0);
        assert_eq!(growth.wanted(25), 110);
    }

    #[test]
    fn what_arrives_while_a_vu_is_made_is_foreseen() {
        let mut growth = Growth::new(1, 1_000.0);
        growth.made(20_000_000);
        assert_eq!(growth.wanted(1), 1 + 1 + 20);
        for _ in 0..200 {
            growth.made(1_000_000);
        }
        assert_eq!(growth.wanted(1), 1 + 1 + 2, "one slow beginning is forgotten");
    }
}
