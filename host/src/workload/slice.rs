//! The slice: how long a guest may keep its shard from the others, and what happens to one that uses
//! it whole again and again.
//!
//! Scripts and components alike give way after [`SLICE`]. One hog among them would still own its
//! shard, because whenever the others are done it is its turn again; so a call that has used
//! [`BEFORE_REST`] and goes on using whole slices rests after each, for so long that it has a
//! twentieth of the shard. Whoever only ever fails does not begin anew with each call, pays for all of it,
//! and is left a fiftieth: [`Account`]. And [`Allowance`]: what a call may use in all.

use std::{cell::Cell, time::Duration};

/// Guests give way at the latest after this.
pub(super) const SLICE: Duration = Duration::from_millis(1);

/// What a call may use before it has to rest.
const BEFORE_REST: Duration = Duration::from_millis(50);

/// A hog runs one part of its time and rests this many.
const REST_RATIO: u32 = 19;

/// So does one that has wasted [`WASTED`]: of a hundred arrivals of others it meets two, and mostly for less
/// than a slice.
const WASTE_RATIO: u32 = 49;

/// Time of calls that came to nothing, one after the other, after which it is no accident.
const WASTED: Duration = Duration::from_millis(100);

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

/// Longer than a guest can keep its shard by itself: the machine's doing, or one operation that nothing
/// can interrupt.
const LONG: Duration = Duration::from_millis(4);

/// So often it was the machine.
const FORGIVEN: u32 = 2;

/// What a virtual user has had of its shard, beyond the call that runs.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Time of the calls that were cut off or trapped, since the last that was not: a guest that only ever
    /// ends so would begin anew each time.
    wasted: Cell<Duration>,
    /// Time of the call that runs for which it has rested.
    paid: Cell<Duration>,
    /// Slices that were [`LONG`] while it hogged.
    long: Cell<u32>,
}

impl Account {
    /// A call begins. Only one that has not [`ended`](Self::ended) before it has left anything.
    pub(super) fn begin(&self) {
        self.paid.set(Duration::ZERO);
    }

    /// For how long a call rests that has used `used`, `slice` of it just now; `None` if it need not.
    pub(super) fn rest(&self, used: Duration, slice: Duration) -> Option<Duration> {
        if self.wasted.get() + used < BEFORE_REST || slice < SLICE / 2 {
            return None;
        }
        self.paid.set(self.paid.get() + slice);
        Some(slice.saturating_sub(self.forgiven(slice)) * self.ratio())
    }

    fn ratio(&self) -> u32 {
        if self.wasted.get() < WASTED { REST_RATIO } else { WASTE_RATIO }
    }

    /// What of a slice was the machine's doing.
    fn forgiven(&self, slice: Duration) -> Duration {
        if slice <= LONG || self.long.get() >= FORGIVEN {
            return Duration::ZERO;
        }
        self.long.set(self.long.get() + 1);
        slice.saturating_sub(LONG)
    }

    /// A call has ended that used so much. For how long its user rests before the next, if it `failed`: it
    /// was cut off, or trapped; `slice` of it was its last. Many short slices are paid for as a long one is:
    /// a bomb that goes off within one would never use a whole one.
    pub(super) fn ended(&self, failed: bool, used: Duration, slice: Duration) -> Option<Duration> {
        let (before, paid) = (self.wasted.get(), self.paid.take());
        if !failed {
            self.wasted.set(Duration::ZERO);
            return None;
        }
        self.wasted.set(before + used);
        let free = BEFORE_REST.saturating_sub(before);
        let owed = used.saturating_sub(paid + free);
        if owed < SLICE / 2 {
            return None;
        }
        Some(owed.saturating_sub(self.forgiven(slice)) * self.ratio())
    }
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
        let (long, account) = (Duration::from_secs(1), Account::default());
        assert_eq!(account.rest(BEFORE_REST / 2, SLICE), None);
        assert_eq!(account.rest(long, SLICE / 4), None);
        let slice = account.rest(long, SLICE).unwrap();
        assert_eq!(SLICE.as_secs_f64() / (SLICE + slice).as_secs_f64(), 0.05);
        assert_eq!(account.rest(long, long), Some(SLICE * 76));
    }

    #[test]
    fn slices_that_are_long_again_and_again_are_not_the_machines() {
        let (long, account) = (Duration::from_millis(200), Account::default());
        let rests: Vec<_> = (0..4).map(|_| account.rest(long, long).unwrap()).collect();
        assert_eq!(rests, [LONG * 19, LONG * 19, long * 19, long * 19]);
    }

    #[test]
    fn who_only_ever_fails_does_not_begin_anew_with_each_call() {
        let (call, account) = (Duration::from_millis(30), Account::default());
        assert_eq!(account.ended(true, call, SLICE), None);
        // The first 50 ms are free.
        assert_eq!(account.ended(true, call, SLICE), Some(SLICE * 10 * 19));
        assert_eq!(account.rest(Duration::ZERO, SLICE), Some(SLICE * 19));
        assert_eq!(account.ended(false, call, SLICE), None);
        assert_eq!(account.rest(Duration::ZERO, SLICE), None);
    }

    #[test]
    fn who_wastes_time_again_and_again_has_a_fiftieth_however_short_its_slices_are() {
        let (call, account) = (Duration::from_millis(3), Account::default());
        for _ in 0..40 {
            account.ended(true, call, SLICE / 4);
        }
        let rest = account.ended(true, call, SLICE / 4).unwrap();
        assert_eq!(call.as_secs_f64() / (call + rest).as_secs_f64(), 0.02);
        // What it has rested for on the way is not asked for again.
        assert_eq!(account.rest(SLICE, SLICE), Some(SLICE * 49));
        assert_eq!(account.ended(true, call, SLICE / 4), Some(SLICE * 2 * 49));
        // And a trap that costs nothing is nobody's concern.
        assert_eq!(account.ended(true, SLICE / 10, SLICE / 10), None);
    }
}
