//! Guest time: what a call used of its shard, and the end of a call that uses too much.
//!
//! A call is a future. Each poll is a slice in which the guest, or the host on its behalf, ran; what
//! lies between polls is waiting, for which nobody is charged. The epoch makes the guest yield within
//! [`crate::workload::slice::SLICE`], so the sum is looked at that often, and a call that goes beyond its
//! budget is dropped where it stands. A guest that keeps using whole slices rests between them
//! ([`Account`]); one that was made to yield goes on after the shard has looked for events.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use crate::{
    clock::Clock,
    primitive::{
        Scope,
        timing::{after_events, rest_until},
    },
    workload::slice::{Account, SLICE},
};

/// What came of a metered call.
#[derive(Debug)]
pub(super) struct Metered<T> {
    /// `None` if the budget was used up.
    pub(super) result: Option<T>,
    /// Time in running slices.
    pub(super) used: Duration,
    /// The last of them.
    pub(super) slice: Duration,
}

/// How a call is held back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget<'a> {
    /// Running time after which it is cut off.
    pub(super) limit: Duration,
    /// By whose account a hog has to rest: where others share the shard.
    pub(super) rests: Option<&'a Account>,
}

/// Runs a call within its budget. If it is a call of a VU's guest, `scope` is told when the guest was
/// entered and left, by the readings of the clock that the metering takes anyway.
pub(super) async fn metered<T>(
    clock: Clock,
    scope: Option<&Scope>,
    budget: Budget<'_>,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Metered<T> {
    if let Some(account) = budget.rests {
        account.begin();
    }
    let (mut used, mut last) = (None, Duration::ZERO);
    let mut rest: Option<Pin<Box<dyn Future<Output = ()>>>> = None;
    let result = poll_fn(|context| {
        if let Some(resting) = &mut rest {
            if resting.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            rest = None;
        }
        let start = clock.now();
        if used.is_none()
            && let Some(scope) = scope
        {
            scope.enter_guest(Some(start));
        }
        let poll = work.as_mut().poll(context);
        let end = clock.now();
        let slice = end.since(start);
        last = slice;
        let sum = used.unwrap_or_default() + slice;
        used = Some(sum);
        if let Some(scope) = scope
            && (poll.is_ready() || sum >= budget.limit)
        {
            scope.leave_guest(end);
        }
        match poll {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if sum >= budget.limit => Poll::Ready(None),
            Poll::Pending => {
                let pause = budget.rests.and_then(|it| it.rest(sum, slice));
                let mut resting: Pin<Box<dyn Future<Output = ()>>> = match pause {
                    Some(pause) => {
                        if let Some(scope) = scope {
                            scope.rest();
                        }
                        Box::pin(rest_until(clock, end + pause))
                    }
                    None if slice >= SLICE / 2 => Box::pin(after_events()),
                    None => return Poll::Pending,
                };
                // Polled once, so that its end wakes this task.
                if resting.as_mut().poll(context).is_pending() {
                    rest = Some(resting);
                }
                Poll::Pending
            }
        }
    })
    .await;
    Metered { result, used: used.unwrap_or_default(), slice: last }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    /// Runs for about a slice, then yields, for ever.
    async fn hog(clock: Clock) {
        loop {
            let start = clock.now();
            while clock.now().since(start) < SLICE {}
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_hog_is_cut_off_and_others_run_meanwhile() {
        runtime().block_on(async {
            let clock = Clock::real();
            let account = Account::default();
            let budget = Budget { limit: Duration::from_millis(80), rests: Some(&account) };
            let mut turns = 0_u32;
            let others = async {
                loop {
                    turns += 1;
                    tokio::task::yield_now().await;
                }
            };
            let hog = pin!(hog(clock));
            let metered = tokio::select! {
                metered = metered(clock, None, budget, hog) => metered,
                () = others => unreachable!(),
            };
            assert!(metered.result.is_none());
            assert!(metered.used >= budget.limit);
            assert!(turns > 50, "{turns}");
        });
    }

    #[test]
    fn waiting_is_not_charged() {
        runtime().block_on(async {
            let clock = Clock::real();
            let account = Account::default();
            let budget = Budget { limit: Duration::from_secs(1), rests: Some(&account) };
            let wait = tokio::time::sleep(Duration::from_millis(60));
            let metered = metered(clock, None, budget, pin!(wait)).await;
            assert!(metered.result.is_some());
            assert!(metered.used < Duration::from_millis(50), "{:?}", metered.used);
        });
    }
}
