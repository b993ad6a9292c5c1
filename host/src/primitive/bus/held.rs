//! Connections that VUs open beside their own and hold: how many of them a bus takes, and what it says
//! when it takes no more.
//!
//! Nothing is sent over them. They are counted where their sockets are: one is up from the server's
//! welcome until its socket is closed, whoever closed it, and one that was lost and came back, as any
//! connection does, is up again. So "all are closed" is what the sockets say, not what was asked for.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::nats::Line;
use crate::primitive::{Failure, Misuse};

/// How long the end of a connection is waited for.
const CLOSING: Duration = Duration::from_secs(1);

/// The held connections of a run.
#[derive(Debug, Default)]
pub struct Holding {
    /// Those that are wanted: being opened, or held by a VU.
    wanted: AtomicU32,
    /// Those that are up.
    up: AtomicU32,
    asked: AtomicBool,
    refusals: Mutex<Option<Refusals>>,
}

/// Connections that could not be had.
#[derive(Debug)]
struct Refusals {
    count: u64,
    /// How many were up at the first one, and why it was refused.
    first: (u32, Failure),
}

impl Holding {
    /// A place for one more, if that does not make more than `limit`.
    pub fn place(self: &Arc<Self>, limit: u32) -> Result<Place, Misuse> {
        self.asked.store(true, Ordering::Relaxed);
        let one_more = |wanted: u32| (wanted < limit).then_some(wanted + 1);
        match self.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Place(Arc::clone(self))),
            Err(_) => Err(Misuse::new(format!(
                "the VUs of this run hold {limit} connections beside their own, which is the limit: \
                 close some, or raise it (--limit bus_connections=N)"
            ))),
        }
    }

    /// How many are up; `None` if nobody ever asked for one.
    pub fn up(&self) -> Option<u32> {
        self.asked.load(Ordering::Relaxed).then(|| self.up.load(Ordering::Relaxed))
    }

    /// Whether more are up than somebody holds: they are being closed.
    pub fn is_closing(&self) -> bool {
        self.up.load(Ordering::Relaxed) > self.wanted.load(Ordering::Relaxed)
    }

    /// Notes that one could not be had.
    pub fn refused(&self, failure: &Failure) {
        let up = self.up.load(Ordering::Relaxed);
        let mut refusals = self.refusals();
        let first = || Refusals { count: 0, first: (up, failure.clone()) };
        refusals.get_or_insert_with(first).count += 1;
    }

    /// What is to be said of connections that could not be had.
    pub fn remark(&self) -> Option<String> {
        let refusals = self.refusals();
        let Refusals { count, first: (up, failure) } = refusals.as_ref()?;
        Some(format!(
            "{count} further connections to the bus could not be had, the first when {up} were held: \
             {failure}"
        ))
    }

    fn refusals(&self) -> MutexGuard<'_, Option<Refusals>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the connections that a run may hold; free again when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Holding>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether one held connection is up, as its socket's task tells.
#[derive(Debug)]
pub struct Watch {
    holding: Arc<Holding>,
    up: AtomicBool,
    closed: Notify,
}

impl Watch {
    /// It is up, for the first time or again.
    pub fn rose(&self) {
        if !self.up.swap(true, Ordering::Relaxed) {
            self.holding.up.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It is down; it may come back.
    pub fn fell(&self) {
        if self.up.swap(false, Ordering::Relaxed) {
            self.holding.up.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Its socket is closed for good.
    pub fn closed(&self) {
        self.fell();
        self.closed.notify_one();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A runtime that ends takes the socket's task with it, which then tells nobody.
        self.fell();
    }
}

/// A connection that a VU holds; closed when it is dropped.
pub struct Held {
    line: Line,
    watch: Arc<Watch>,
    _place: Place,
}

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Held")
    }
}

impl Held {
    /// What watches a connection that is being opened.
    pub fn watch(place: &Place) -> Arc<Watch> {
        let holding = Arc::clone(&place.0);
        Arc::new(Watch { holding, up: AtomicBool::new(false), closed: Notify::new() })
    }

    /// A connection that has just been opened.
    pub fn new(line: Line, watch: Arc<Watch>, place: Place) -> Self {
        // In the step in which the connection was made: nothing can have ended it yet.
        watch.rose();
        Self { line, watch, _place: place }
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.watch.up.load(Ordering::Relaxed)
    }

    /// Closes it and waits until its socket is closed. One that is down has none, and is given up.
    pub async fn close(self) {
        let Self { line, watch, _place } = self;
        let up = watch.up.load(Ordering::Relaxed);
        drop(line);
        if up {
            let _ = tokio::time::timeout(CLOSING, watch.closed.notified()).await;
        }
    }
}
