//! Where messages wait for whoever takes them: one bounded queue per subscription.
//!
//! Any thread may put, one task takes. The lock is held for the push of one message; the waker that
//! a push returns is for the caller to wake, because only the caller knows whether it is on the
//! taker's thread. What does not fit is dropped and counted, as NATS does with a slow consumer:
//! nothing that a bus sends can make the runner's memory grow without bound.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use super::{Message, delivery::Arrival, subject::header_bytes};
use crate::clock::Instant;

/// Bytes of payload and headers that one inbox may hold, whatever their number.
const MAX_BYTES: usize = 64 << 20;

/// A message in an inbox, with what the host knows of its way.
#[derive(Debug)]
pub struct Received {
    /// The message.
    pub message: Message,
    /// When it reached the inbox.
    pub at: Option<Instant>,
    /// Its taker was waiting for it already: then taking it is what ends its delivery.
    pub awaited: bool,
    /// What is known of its delivery, if this run sent it.
    pub arrival: Option<Arrival>,
}

impl Received {
    /// A message whose delivery is not measured.
    pub fn plain(message: Message) -> Self {
        Self { message, at: None, awaited: false, arrival: None }
    }

    fn bytes(&self) -> usize {
        self.message.payload.len() + header_bytes(&self.message.headers)
    }
}

/// A bounded queue with one taker.
#[derive(Debug)]
pub struct Inbox {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Received>,
    bytes: usize,
    dropped: u64,
    closed: bool,
    taker: Option<Waker>,
}

/// What became of a message that was put.
#[derive(Debug)]
pub enum Put {
    /// It waits; wake this, if there is one.
    Kept(Option<Waker>),
    /// There was no room, or nobody will take it.
    Dropped,
}

impl Inbox {
    /// An inbox for at most `capacity` messages.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message, or drops and counts it.
    pub fn put(&self, mut received: Received) -> Put {
        let mut state = self.state();
        if state.closed {
            return Put::Dropped;
        }
        let bytes = received.bytes();
        if state.queue.len() >= self.capacity || state.bytes + bytes > MAX_BYTES {
            state.dropped += 1;
            return Put::Dropped;
        }
        received.awaited = state.taker.is_some() && state.queue.is_empty();
        state.bytes += bytes;
        state.queue.push_back(received);
        Put::Kept(state.taker.take())
    }

    /// The next message; `None` once closed and empty. Cancelling it loses nothing.
    pub async fn take(&self) -> Option<Received> {
        let waiting = Waiting(self);
        poll_fn(|context| {
            let mut state = waiting.0.state();
            if let Some(received) = state.queue.pop_front() {
                state.bytes = state.bytes.saturating_sub(received.bytes());
                return Poll::Ready(Some(received));
            }
            if state.closed {
                return Poll::Ready(None);
            }
            match &mut state.taker {
                Some(taker) => taker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }

    /// Messages dropped since the last call.
    pub fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.state().dropped)
    }

    /// No more messages; what waits can still be taken. Returns whom to wake.
    pub fn close(&self) -> Option<Waker> {
        let mut state = self.state();
        state.closed = true;
        state.taker.take()
    }

    /// Closes it and moves out what was not taken.
    pub fn drain(&self) -> VecDeque<Received> {
        let mut state = self.state();
        state.closed = true;
        state.bytes = 0;
        std::mem::take(&mut state.queue)
    }
}

/// Takes the waker out again when a taker gives up waiting: a message that comes later was not
/// awaited.
struct Waiting<'a>(&'a Inbox);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().taker = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;

    fn message(size: usize) -> Received {
        Received::plain(Message {
            subject: "a".to_owned(),
            payload: Bytes::from(vec![0; size]),
            headers: Vec::new(),
            reply_to: None,
            acknowledge: None,
        })
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let inbox = Inbox::new(3);
        (0..5).for_each(|_| drop(inbox.put(message(1))));
        assert_eq!(inbox.take_dropped(), 2);
        assert_eq!(inbox.take_dropped(), 0);
        let large = Inbox::new(1_000);
        (0..100).for_each(|_| drop(large.put(message(1 << 20))));
        assert_eq!(large.take_dropped(), 36);
        assert_eq!(large.drain().len(), 64);
    }

    #[tokio::test]
    async fn a_taker_is_woken_and_a_closed_inbox_ends() {
        let inbox = Arc::new(Inbox::new(10));
        let taker = tokio::spawn({
            let inbox = inbox.clone();
            async move { (inbox.take().await, inbox.take().await) }
        });
        tokio::task::yield_now().await;
        let Put::Kept(Some(waker)) = inbox.put(message(1)) else { panic!("nobody waits") };
        waker.wake();
        while !taker.is_finished() {
            if let Some(waker) = inbox.close() {
                waker.wake();
            }
            tokio::task::yield_now().await;
        }
        let (first, second) = taker.await.unwrap();
        assert!(first.unwrap().awaited);
        assert!(second.is_none());
        assert!(matches!(inbox.put(message(1)), Put::Dropped));
    }
}
