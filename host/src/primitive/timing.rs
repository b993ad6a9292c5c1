//! Time as guests see it: now, sleep, deadline.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Scope;
use crate::clock::{self, Clock};

/// The deadlines of one VU's operations, kept with one timer.
///
/// A timer that is made, registered and taken back costs more than recording the operation does, and
/// hardly any ever fires. This one stays registered: it is moved only if it would fire too late, and
/// when it fires for an operation that is long over, it is set to the deadline that is next.
#[derive(Debug, Default)]
pub struct Deadlines(RefCell<Option<Pin<Box<Sleep>>>>);

impl Deadlines {
    /// What comes of `work`, or `None` at `deadline`. To be awaited in the VU's own task, as many at
    /// once as it likes.
    pub async fn until<T>(
        &self,
        deadline: Instant,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.passed(deadline, context).map(|()| None),
        })
        .await
    }

    fn passed(&self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.0.borrow_mut();
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// Suspends until the shard's thread has looked at its timers and its connections.
///
/// A task that only wakes itself is polled again at once: the runtime looks for events after 61 such turns,
/// and with turns of a millisecond everybody else's timers would be late by as much. `yield_now` alone is not
/// enough where something else (wasmtime, at the end of a slice) wakes the task before.
pub async fn after_events() {
    let looked: Arc<Looked> = Arc::default();
    let waker = Waker::from(Arc::clone(&looked));
    // Polled once, it leaves its waker with the runtime, which wakes it when it has looked.
    let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
    poll_fn(|context| {
        looked.task.register(context.waker());
        if looked.done.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Suspends until an instant, and then lets everybody go first whose timer was due as well: for who has to
/// rest. Timers are due by whole milliseconds, so that others often wait for the same.
pub async fn rest_until(clock: Clock, instant: clock::Instant) {
    clock.sleep_until(instant).await;
    after_events().await;
}

/// Whether the runtime has looked for events, and who waits for that.
#[derive(Default)]
struct Looked {
    done: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Looked {
    fn wake(self: Arc<Self>) {
        self.done.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// Nanoseconds on the run's timeline.
pub fn now(scope: &Scope) -> u64 {
    scope.host_call(|| "time::now()".to_owned());
    scope.clock().now().as_nanos()
}

/// An instant until which a guest is willing to wait, for several operations in a row: each is given
/// what is left.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    clock: Clock,
    at: clock::Instant,
}

impl Deadline {
    /// So long from now.
    pub fn after(scope: &Scope, duration: Duration) -> Self {
        scope.host_call(|| format!("time::deadline({duration:?})"));
        let clock = scope.clock();
        Self { clock, at: clock.now() + duration }
    }

    /// The time until then; zero once it has passed.
    pub fn left(&self) -> Duration {
        self.at.since(self.clock.now())
    }

    /// Whether nothing is left.
    pub fn has_passed(&self) -> bool {
        self.left().is_zero()
    }
}

/// Suspends the VU. Its database lease is given back first.
pub async fn sleep(scope: &Scope, duration: Duration) {
    scope.host_call(|| format!("sleep({duration:?})"));
    scope.about_to_wait();
    let clock = scope.clock();
    clock.sleep_until(clock.now() + duration).await;
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn who_goes_on_after_events_is_not_hurried_by_other_wakers() {
        // As wasmtime does: awake again at once, each time. A task of its own, for the runtime looks for
        // events between two turns of its first one.
        let hurried = tokio::spawn(async {
            let mut after = pin!(after_events());
            let mut polls = 0_u32;
            poll_fn(|context| {
                polls += 1;
                context.waker().wake_by_ref();
                after.as_mut().poll(context)
            })
            .await;
            polls
        });
        assert!(hurried.await.unwrap() > 2);
        // With nobody else's help, it goes on.
        tokio::spawn(after_events()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn each_of_many_deadlines_is_kept_whichever_was_armed_first() {
        let (clock, deadlines) = (Clock::paused(), Deadlines::default());
        let after = |seconds| clock.to_tokio(clock::Instant::ZERO + Duration::from_secs(seconds));
        let ends = |seconds| {
            let deadlines = &deadlines;
            async move {
                let gone =
                    deadlines.until(after(seconds), pin!(std::future::pending::<()>())).await;
                (gone, clock.now().as_nanos() / 1_000_000_000)
            }
        };
        // The timer of the first, which is over, is still armed when the others begin.
        let soon = async { tokio::time::sleep(Duration::from_millis(1)).await };
        assert_eq!(deadlines.until(after(1), pin!(soon)).await, Some(()));
        let all = tokio::join!(ends(5), ends(2), ends(9), ends(3));
        assert_eq!(all, ((None, 5), (None, 2), (None, 9), (None, 3)));
        let ready = deadlines.until(after(0), pin!(std::future::ready(7))).await;
        assert_eq!(ready, Some(7), "what is done is done, however late");
    }
}
