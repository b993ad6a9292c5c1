//! The bounded queue in front of a set of database threads.
//!
//! A transaction changes who is served: while one is open, the writer takes only the statements of
//! its holder, and everyone else's wait, which is what `db_wait_duration` shows.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::work::Job;

/// Statements on their way to a set of threads.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Of everybody.
    open: VecDeque<Job>,
    /// Of who holds the transaction.
    held: VecDeque<Job>,
    /// The transaction that is open.
    transaction: Option<u64>,
    /// How many there have been.
    transactions: u64,
    closed: bool,
}

/// Why a statement was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// As many wait as may.
    Full,
    /// The database is closed.
    Closed,
    /// The transaction that it belongs to is over.
    Over,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), capacity }
    }

    /// Adds a statement. One that belongs to the open transaction is always taken, for its holder
    /// sends one at a time; one that belongs to an earlier transaction never is, or it would act on
    /// someone else's.
    pub(super) fn push(&self, job: Job, transaction: Option<u64>) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if transaction.is_some() {
            if state.transaction != transaction {
                return Err(Refused::Over);
            }
            state.held.push_back(job);
        } else if state.open.len() < self.capacity {
            state.open.push_back(job);
        } else {
            return Err(Refused::Full);
        }
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// The next statement, waited for; `None` when closed.
    pub(super) fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let held = state.transaction.is_some();
            let line = if held { &mut state.held } else { &mut state.open };
            if let Some(job) = line.pop_front() {
                return Some(job);
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A transaction begins: from now on only its statements are served.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.transactions += 1;
        state.transaction = Some(state.transactions);
        state.transactions
    }

    /// The transaction is over.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.transaction = None;
        let left = std::mem::take(&mut state.held);
        drop(state);
        drop(left);
    }

    /// Ends the threads; what still waits is dropped, which its callers see.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left = (std::mem::take(&mut state.open), std::mem::take(&mut state.held));
        drop(state);
        drop(left);
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
