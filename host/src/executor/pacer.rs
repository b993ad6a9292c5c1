//! Which arrivals are due: a schedule with a place to stand in it.
//!
//! Pure: it is told what time it is and says what is due; who waits, and how, is
//! [`super::timer::Timer`]'s part. So the same releases are tested in virtual time and made in real
//! time.

use super::dispatch::Arrival;
use crate::{clock::Instant, plan::ArrivalSchedule};

/// Releases the arrivals of one shard's share of a schedule.
#[derive(Debug)]
pub(super) struct Pacer {
    schedule: ArrivalSchedule,
    start: Instant,
    next: Option<(u64, Instant, usize)>,
    /// What is added to the schedule's numbers and stages.
    before: (u64, usize),
}

impl Pacer {
    /// A pacer whose schedule begins at `start`.
    pub(super) fn new(mut schedule: ArrivalSchedule, start: Instant) -> Self {
        let next = schedule.next();
        Self { schedule, start, next, before: (0, 0) }
    }

    /// The same for a schedule that is a later part of its scenario.
    pub(super) fn numbered(self, first: u64, stage: usize) -> Self {
        Self { before: (first, stage), ..self }
    }

    /// The next arrival that is due at `now`, released at `now`.
    pub(super) fn due(&mut self, now: Instant) -> Option<Arrival> {
        let due = self.next_due().filter(|due| *due <= now)?;
        let (number, _, stage) = std::mem::replace(&mut self.next, self.schedule.next())?;
        let (first, before) = self.before;
        Some(Arrival { number: first + number, due, released: now, stage: before + stage })
    }

    /// When the next arrival is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.next.map(|(_, at, _)| self.start + at.since(Instant::ZERO))
    }
}
