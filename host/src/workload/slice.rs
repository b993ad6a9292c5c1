//! The slice: how long a guest may keep its shard from the others, and what happens to one that uses
//! it whole again and again.
//!
//! Scripts and components alike give way after [`SLICE`]. One hog among them would still own its
//! shard, because whenever the others are done it is its turn again; so a call that has used
//! [`BEFORE_REST`] and goes on using whole slices rests after each, for so long that it has a
//! twentieth of the shard. And [`Allowance`]: what a call may use in all.

use std::time::Duration;

/// Guests give way at the latest after this.
pub(super) const SLICE: Duration = Duration::from_millis(1);

/// What a call may use before it has to rest.
const BEFORE_REST: Duration = Duration::from_millis(50);

/// A hog runs one part of its time and rests this many.
const REST_RATIO: u32 = 19;

/// The CPU time that a call may use in all, by what sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// The scenario's `cpu_timeout`.
    Iteration(Duration),
    /// The limit `lifecycle_cpu`.
    Lifecycle(Duration),
    /// The limit `handler_cpu`.
    Handler(Duration),
}

impl Allowance {
    /// How much it is.
    pub(super) const fn time(self) -> Duration {
        match self {
            Self::Iteration(time) | Self::Lifecycle(time) | Self::Handler(time) => time,
        }
    }

    /// What a call that went beyond it is told, with the next step.
    pub(super) fn exceeded(self) -> String {
        let (name, raise) = match self {
            Self::Iteration(_) => ("cpu_timeout", "raise `cpu_timeout` in the scenario's options"),
            Self::Lifecycle(_) => ("lifecycle_cpu", "raise it with --limit lifecycle_cpu=DURATION"),
            Self::Handler(_) => ("handler_cpu", "raise it with --limit handler_cpu=DURATION"),
        };
        format!("it ran for longer than its {name} of {:?}: do less, or {raise}", self.time())
    }
}

/// For how long a call rests that has used `used`, `slice` of it just now; `None` if it need not.
pub(super) fn rest(used: Duration, slice: Duration) -> Option<Duration> {
    let hogs = used >= BEFORE_REST && slice >= SLICE / 2;
    // A slice that was far longer was the machine's doing, or a host call's.
    hogs.then(|| slice.min(SLICE * 4) * REST_RATIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_beyond_its_allowance_is_told_what_raises_it() {
        let time = Duration::from_millis(300);
        for (allowance, words) in [
            (Allowance::Iteration(time), ["cpu_timeout of 300ms", "in the scenario's options"]),
            (Allowance::Lifecycle(time), ["lifecycle_cpu of 300ms", "--limit lifecycle_cpu="]),
            (Allowance::Handler(time), ["handler_cpu of 300ms", "--limit handler_cpu="]),
        ] {
            let told = allowance.exceeded();
            assert!(words.iter().all(|word| told.contains(word)), "{told}");
        }
    }

    #[test]
    fn only_who_keeps_using_whole_slices_rests_and_then_has_a_twentieth() {
        let long = Duration::from_secs(1);
        assert_eq!(rest(BEFORE_REST / 2, SLICE), None);
        assert_eq!(rest(long, SLICE / 4), None);
        let slice = rest(long, SLICE).unwrap();
        assert_eq!(SLICE.as_secs_f64() / (SLICE + slice).as_secs_f64(), 0.05);
        assert_eq!(rest(long, long), Some(SLICE * 76));
    }
}
