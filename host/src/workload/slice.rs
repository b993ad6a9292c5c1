//! The slice: how long a guest may keep its shard from the others, and what happens to one that uses
//! it whole again and again.
//!
//! Scripts and components alike give way after [`SLICE`]. One hog among them would still own its
//! shard, because whenever the others are done it is its turn again; so a call that has used
//! [`BEFORE_REST`] and goes on using whole slices rests after each, for so long that it has a
//! twentieth of the shard.

use std::time::Duration;

/// Guests give way at the latest after this.
pub(super) const SLICE: Duration = Duration::from_millis(1);

/// What a call may use before it has to rest.
const BEFORE_REST: Duration = Duration::from_millis(50);

/// A hog runs one part of its time and rests this many.
const REST_RATIO: u32 = 19;

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
    fn only_who_keeps_using_whole_slices_rests_and_then_has_a_twentieth() {
        let long = Duration::from_secs(1);
        assert_eq!(rest(BEFORE_REST / 2, SLICE), None);
        assert_eq!(rest(long, SLICE / 4), None);
        let slice = rest(long, SLICE).unwrap();
        assert_eq!(SLICE.as_secs_f64() / (SLICE + slice).as_secs_f64(), 0.05);
        assert_eq!(rest(long, long), Some(SLICE * 76));
    }
}
