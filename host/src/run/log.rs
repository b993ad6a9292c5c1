//! Log lines of the workloads on their way to the observers, and to the run's record: bounded in number and
//! in bytes, never awaited.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use super::{
    chronicle::{Happening, What},
    event::Event,
};
use crate::{
    clock::Clock,
    metric::Names,
    primitive::{LogLine, LogSink},
};

/// Bytes of lines that a run's record keeps: a flood must fill neither the memory nor the disk.
const MOST_KEPT: usize = 4 << 20;
/// Bytes that a line takes beside its text, at the most.
const BESIDE: usize = 64;

/// The run's way to its observers.
#[derive(Debug)]
pub(super) struct Outlet {
    events: mpsc::Sender<Event>,
    max_lines: u64,
    lines: AtomicU64,
    events_dropped: AtomicU64,
    clock: Clock,
    /// Where no record is, none are kept for it.
    kept: Option<Mutex<Kept>>,
    /// Knows what is secret.
    names: Names,
}

/// Lines for the record.
#[derive(Debug, Default)]
struct Kept {
    waiting: Vec<Happening>,
    /// Of all lines so far.
    bytes: usize,
    left_out: u64,
}

impl Outlet {
    pub(super) fn new(
        events: mpsc::Sender<Event>,
        max_lines: u64,
        names: Names,
        clock: Clock,
        is_kept: bool,
    ) -> Self {
        let (lines, events_dropped) = (AtomicU64::new(0), AtomicU64::new(0));
        let kept = is_kept.then(Mutex::default);
        Self { events, max_lines, lines, events_dropped, clock, kept, names }
    }

    /// Tells the observers, unless they are too slow.
    pub(super) fn tell(&self, event: Event) {
        let cover = |text: String| self.names.cover(&text).into_owned();
        let event = match event {
            Event::Note(text) => Event::Note(cover(text)),
            Event::Log(line) => Event::Log(LogLine { text: cover(line.text), ..line }),
            event => event,
        };
        if self.events.try_send(event).is_err() {
            self.events_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn events_dropped(&self) -> u64 {
        self.events_dropped.load(Ordering::Relaxed)
    }

    /// Lines beyond the limit.
    pub(super) fn lines_dropped(&self) -> u64 {
        self.lines.load(Ordering::Relaxed).saturating_sub(self.max_lines)
    }

    /// Keeps a line for the record, if there is room.
    fn keep(&self, line: &LogLine) {
        let Some(mut kept) = self.kept() else { return };
        let bytes = line.text.len() + BESIDE;
        if kept.bytes + bytes > MOST_KEPT {
            kept.left_out += 1;
            return;
        }
        kept.bytes += bytes;
        let what = What::Log { level: line.level, vu: line.vu, text: line.text.clone() };
        kept.waiting.push(Happening { at: self.clock.now(), what });
    }

    /// The lines for the record since this was last asked.
    pub(super) fn take_lines(&self) -> Vec<Happening> {
        self.kept().map_or_else(Vec::new, |mut kept| std::mem::take(&mut kept.waiting))
    }

    /// Lines that were shown and for which the record has no room.
    pub(super) fn left_out(&self) -> u64 {
        self.kept().map_or(0, |kept| kept.left_out)
    }

    fn kept(&self) -> Option<MutexGuard<'_, Kept>> {
        Some(self.kept.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A shard's way to the outlet.
#[derive(Debug)]
pub(super) struct ShardLog(pub(super) Arc<Outlet>);

impl LogSink for ShardLog {
    fn line(&self, line: LogLine) {
        if self.0.lines.fetch_add(1, Ordering::Relaxed) < self.0.max_lines {
            self.0.keep(&line);
            self.0.tell(Event::Log(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitive::LogLevel;

    fn outlet(max_lines: u64) -> (ShardLog, mpsc::Receiver<Event>) {
        let (events, received) = mpsc::channel(10);
        let names = Names::hiding(["open sesame".to_owned()]);
        let outlet = Outlet::new(events, max_lines, names, Clock::real(), true);
        (ShardLog(Arc::new(outlet)), received)
    }

    fn line(text: String) -> LogLine {
        LogLine { level: LogLevel::Info, text, vu: 7 }
    }

    #[test]
    fn a_flood_of_lines_has_a_bound_and_is_counted() {
        let (log, _received) = outlet(10_000);
        for _ in 0..20_000 {
            log.line(line("x".repeat(4_000)));
        }
        let kept = log.0.take_lines();
        let bytes: usize = (kept.iter())
            .map(|it| match &it.what {
                What::Log { text, vu: 7, level: LogLevel::Info } => text.len(),
                other => panic!("{other:?}"),
            })
            .sum();
        assert!(bytes <= MOST_KEPT && bytes > MOST_KEPT / 2, "{bytes}");
        assert_eq!(kept.len() as u64 + log.0.left_out(), 10_000, "what was shown");
        assert_eq!(log.0.lines_dropped(), 10_000, "what was not");
        assert!(log.0.take_lines().is_empty(), "each once");
    }
}
