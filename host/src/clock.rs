//! The only clock, and [`Span`], the only way to take a duration.
//!
//! Why one clock: a run has one timeline. Arrivals, operations, stages, samples of the runner and of
//! the target are instants on it, so that any two of them can be subtracted. Nothing else in the
//! house calls `Instant::now`; a lint says so.
//!
//! Why two sources: a run measures on the machine's monotonic clock; a test of schedules runs on
//! tokio's paused time, where an hour passes in a millisecond and every instant is exact. The
//! source is chosen once, at the start of a run.

use std::{ops::Add, time::Duration};

use serde::{Deserialize, Serialize};

/// An instant on the run's timeline: nanoseconds since the clock's origin.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the timeline.
    pub const ZERO: Self = Self(0);

    /// The instant `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the origin.
    pub const fn second(self) -> u32 {
        (self.0 / 1_000_000_000) as u32
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A start and an end: the only way to take a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: Instant,
    end: Instant,
}

impl Span {
    /// The span from `start` to `end`; an end before the start counts as the start.
    pub fn between(start: Instant, end: Instant) -> Self {
        Self { start, end: end.max(start) }
    }

    /// Where the span begins.
    pub const fn start(self) -> Instant {
        self.start
    }

    /// Where the span ends.
    pub const fn end(self) -> Instant {
        self.end
    }

    /// How long it is.
    pub const fn duration(self) -> Duration {
        self.end.since(self.start)
    }

    /// How long it is, in nanoseconds.
    pub const fn nanos(self) -> u64 {
        self.end.as_nanos() - self.start.as_nanos()
    }
}

/// The clock of one run. Copies share the origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Source);

#[derive(Clone, Copy, Debug)]
enum Source {
    Real(std::time::Instant),
    Virtual(tokio::time::Instant),
}

impl Clock {
    /// A clock on the machine's monotonic time, its origin now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn real() -> Self {
        Self(Source::Real(std::time::Instant::now()))
    }

    /// A clock on tokio's time, its origin now: for runtimes that were started paused.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn paused() -> Self {
        Self(Source::Virtual(tokio::time::Instant::now()))
    }

    /// Whether this clock follows tokio's (paused) time.
    pub const fn is_virtual(self) -> bool {
        matches!(self.0, Source::Virtual(_))
    }

    /// The instant that it is now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(self) -> Instant {
        let since_origin = match self.0 {
            Source::Real(origin) => std::time::Instant::now().saturating_duration_since(origin),
            Source::Virtual(origin) => {
                tokio::time::Instant::now().saturating_duration_since(origin)
            }
        };
        Instant(u64::try_from(since_origin.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same instant on tokio's timeline: what a timer of the runtime is given.
    pub fn to_tokio(self, instant: Instant) -> tokio::time::Instant {
        let after = Duration::from_nanos(instant.as_nanos());
        match self.0 {
            Source::Real(origin) => tokio::time::Instant::from_std(origin + after),
            Source::Virtual(origin) => origin + after,
        }
    }

    /// Suspends until `instant`, by the runtime's timers (resolution: a millisecond).
    pub async fn sleep_until(self, instant: Instant) {
        tokio::time::sleep_until(self.to_tokio(instant)).await;
    }
}
