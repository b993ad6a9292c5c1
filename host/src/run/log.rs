//! Log lines of the workloads on their way to the observers: bounded in number, never awaited.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use super::event::Event;
use crate::{
    metric::Names,
    primitive::{LogLine, LogSink},
};

/// The run's way to its observers.
#[derive(Debug)]
pub(super) struct Outlet {
    events: mpsc::Sender<Event>,
    max_lines: u64,
    lines: AtomicU64,
    events_dropped: AtomicU64,
    /// Knows what is secret.
    names: Names,
}

impl Outlet {
    pub(super) fn new(events: mpsc::Sender<Event>, max_lines: u64, names: Names) -> Self {
        let (lines, events_dropped) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { events, max_lines, lines, events_dropped, names }
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
}

/// A shard's way to the outlet.
#[derive(Debug)]
pub(super) struct ShardLog(pub(super) Arc<Outlet>);

impl LogSink for ShardLog {
    fn line(&self, line: LogLine) {
        if self.0.lines.fetch_add(1, Ordering::Relaxed) < self.0.max_lines {
            self.0.tell(Event::Log(line));
        }
    }
}
