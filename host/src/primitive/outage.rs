//! Outages as users see them: from the start of the first operation that failed after something was
//! asked to go, to the end of the first that succeeded again.
//!
//! What went is known by a number; this module does not know what it is. Operations are told apart by
//! kind, `op` and scenario, because others may go on well all the time: each kind has an outage of its
//! own. A success ends it that began after the last failure; while what went is away, a later failure
//! takes it up again (a second server may have answered meanwhile).
//!
//! While nothing is away an operation costs one look at a flag.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustc_hash::FxHashMap;

use crate::{
    clock::{Instant, Span},
    metric::{Builtin, Name},
};

/// How long after something has come back an operation may still be found to have failed by it: one that
/// was under way and waits for its timeout.
const LATE: Duration = Duration::from_secs(60);

/// What operations are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OperationKind {
    /// What counts them.
    pub count: Builtin,
    /// `op`
    pub op: Name,
    /// `scenario`
    pub scenario: Name,
}

/// An outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// What was away.
    pub what: usize,
    /// Which operations noticed.
    pub kind: OperationKind,
    /// The start of the first that failed.
    pub from: Instant,
    /// The end of the first that succeeded again; `None` if none has.
    pub to: Option<Instant>,
}

/// Watches the operations of a run.
#[derive(Debug, Default)]
pub struct Outages {
    armed: AtomicBool,
    absences: Mutex<Vec<Absence>>,
}

/// Something that is away, or was.
#[derive(Debug)]
struct Absence {
    what: usize,
    asked: Instant,
    back: Option<Instant>,
    kinds: FxHashMap<OperationKind, Seen>,
}

/// What operations of a kind have met.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first: Instant,
    last: Instant,
    /// The first success that began after the last failure.
    recovered: Option<Span>,
}

impl Outages {
    fn absences(&self) -> MutexGuard<'_, Vec<Absence>> {
        self.absences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is asked to go.
    pub fn down(&self, what: usize, asked: Instant) {
        let mut absences = self.absences();
        // Stopped again before it was back: the same absence goes on.
        if !absences.iter().any(|absence| absence.what == what && absence.back.is_none()) {
            absences.push(Absence { what, asked, back: None, kinds: FxHashMap::default() });
        }
        self.armed.store(true, Ordering::Release);
    }

    /// It is ready again.
    pub fn up(&self, what: usize, at: Instant) {
        for absence in self.absences().iter_mut().filter(|absence| absence.what == what) {
            absence.back.get_or_insert(at);
        }
    }

    /// An operation has ended. Called on the way of every operation.
    #[inline]
    pub fn note(&self, kind: OperationKind, span: Span, failed: bool) {
        if self.armed.load(Ordering::Acquire) {
            self.take_note(kind, span, failed);
        }
    }

    #[cold]
    fn take_note(&self, kind: OperationKind, span: Span, failed: bool) {
        for absence in self.absences().iter_mut() {
            // One that failed before anything was asked for failed for another reason.
            if span.end() < absence.asked {
                continue;
            }
            let may_be_of_it = absence.back.is_none_or(|back| span.start() <= back);
            match (absence.kinds.get_mut(&kind), failed) {
                (Some(seen), true) if may_be_of_it || seen.recovered.is_none() => seen.fail(span),
                (Some(seen), false) => seen.succeed(span),
                (None, true) if may_be_of_it => {
                    let start = span.start();
                    absence.kinds.insert(kind, Seen { first: start, last: start, recovered: None });
                }
                _ => {}
            }
        }
    }

    /// Outages of what has been back for so long that nothing of it can still be told, each once; with
    /// `all`, every one.
    pub fn take(&self, now: Instant, all: bool) -> Vec<Outage> {
        let mut outages = Vec::new();
        let mut absences = self.absences();
        absences.retain(|absence| {
            let over = all || absence.back.is_some_and(|back| now.since(back) > LATE);
            if over {
                outages.extend(absence.kinds.iter().map(|(kind, seen)| Outage {
                    what: absence.what,
                    kind: *kind,
                    from: seen.first,
                    to: seen.recovered.map(Span::end),
                }));
            }
            !over
        });
        self.armed.store(!absences.is_empty(), Ordering::Release);
        outages
    }
}

impl Seen {
    fn fail(&mut self, span: Span) {
        self.first = self.first.min(span.start());
        self.last = self.last.max(span.start());
        self.recovered = self.recovered.filter(|success| success.start() > self.last);
    }

    fn succeed(&mut self, span: Span) {
        let earlier = self.recovered.is_none_or(|before| span.end() < before.end());
        if span.start() > self.last && earlier {
            self.recovered = Some(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    fn kind(count: Builtin) -> OperationKind {
        OperationKind { count, op: Name::NONE, scenario: Name::NONE }
    }

    fn tell(outages: &Outages, count: Builtin, operations: &[(u64, u64, bool)]) {
        for (start, end, failed) in operations {
            outages.note(kind(count), Span::between(at(*start), at(*end)), *failed);
        }
    }

    fn seen(outages: &Outages) -> Vec<(u64, Option<u64>)> {
        let milliseconds = |at: Instant| at.as_nanos() / 1_000_000;
        let over = outages.take(at(1_000_000), true).into_iter();
        over.map(|outage| (milliseconds(outage.from), outage.to.map(milliseconds))).collect()
    }

    #[test]
    fn from_the_first_failure_to_the_first_success_after_the_last() {
        let outages = Outages::default();
        tell(&outages, Builtin::BusRequests, &[(1, 2, true)]);
        outages.down(0, at(10));
        tell(
            &outages,
            Builtin::BusRequests,
            &[
                (9, 11, false),
                (12, 13, false),
                (15, 25, true),
                (14, 16, true),
                (18, 19, false),
                (20, 30, true),
            ],
        );
        tell(&outages, Builtin::DbQueries, &[(12, 13, false), (20, 21, false)]);
        outages.up(0, at(40));
        tell(&outages, Builtin::BusRequests, &[(41, 42, true), (43, 45, false), (44, 46, false)]);
        // What fails after it was well again is another matter.
        tell(&outages, Builtin::BusRequests, &[(50, 51, true)]);
        assert_eq!(seen(&outages), [(14, Some(45))]);
        assert_eq!(seen(&outages), []);
    }

    #[test]
    fn an_outage_that_nobody_saw_end_is_open() {
        let outages = Outages::default();
        outages.down(3, at(10));
        tell(&outages, Builtin::BusRequests, &[(15, 25, true)]);
        assert_eq!(seen(&outages), [(15, None)]);
        tell(&outages, Builtin::BusRequests, &[(60, 61, true)]);
        assert_eq!(seen(&outages), []);
    }

    #[test]
    fn a_failure_that_is_told_late_belongs_to_its_outage() {
        let outages = Outages::default();
        outages.down(0, at(10));
        outages.up(0, at(20));
        tell(&outages, Builtin::BusRequests, &[(12, 3_012, true), (3_020, 3_021, false)]);
        assert_eq!(outages.take(at(4_000), false), []);
        assert_eq!(seen(&outages), [(12, Some(3_021))]);
    }
}
