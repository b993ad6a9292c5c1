//! Requests that wait for their replies: numbered slots of one connection.
//!
//! A slot's number and generation are the last token of the reply subject, so a reply finds its
//! request without a search, and one that comes too late finds a newer generation and is ignored. A
//! request that is given up frees its slot: nothing is left behind, however many time out.

use std::{
    fmt::Write,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::Message;
use crate::primitive::Failure;

/// What came back.
#[derive(Debug)]
pub enum Reply {
    /// A message.
    Message(Message),
    /// The bus says that nobody listens.
    NoResponders,
}

impl Reply {
    /// The message, or the failure that stands in its place.
    pub fn into_message(self) -> Result<Message, Failure> {
        match self {
            Self::Message(message) => Ok(message),
            Self::NoResponders => {
                Err(Failure::new("no_responders", "nobody subscribes to the subject"))
            }
        }
    }
}

/// The waiting requests of one connection.
#[derive(Debug, Default)]
pub struct Replies(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    open: bool,
    reply: Option<Reply>,
    waiter: Option<Waker>,
}

/// The request that a token names, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    index: u32,
    generation: u32,
}

impl Place {
    /// Reads the last token of a subject that replies are sent to.
    pub fn read(token: &str) -> Option<Self> {
        let (index, generation) = token.split_once('-')?;
        Some(Self { index: index.parse().ok()?, generation: generation.parse().ok()? })
    }
}

/// A request under way: a future of its reply. Dropped, it frees its slot.
#[derive(Debug)]
pub struct Ticket {
    replies: Arc<Replies>,
    index: u32,
    generation: u32,
}

impl Replies {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a slot.
    pub fn open(self: &Arc<Self>) -> Ticket {
        let mut slots = self.slots();
        let index = slots.free.pop().unwrap_or_else(|| {
            slots.slots.push(Slot::default());
            slots.slots.len() as u32 - 1
        });
        let slot = &mut slots.slots[index as usize];
        slot.open = true;
        let generation = slot.generation;
        drop(slots);
        Ticket { replies: self.clone(), index, generation }
    }

    /// Gives a reply to its request, by the last token of the subject it was sent to; returns whom to
    /// wake. A late, second or made-up one is ignored.
    pub fn deliver(&self, token: &str, reply: Reply) -> Option<Waker> {
        self.deliver_to(Place::read(token)?, reply)
    }

    /// The same, of a token that was read.
    pub fn deliver_to(&self, place: Place, reply: Reply) -> Option<Waker> {
        let Place { index, generation } = place;
        let mut slots = self.slots();
        let slot = slots.slots.get_mut(index as usize)?;
        if !slot.open || slot.generation != generation || slot.reply.is_some() {
            return None;
        }
        slot.reply = Some(reply);
        slot.waiter.take()
    }

    /// Requests under way.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        let slots = self.slots();
        slots.slots.len() - slots.free.len()
    }
}

impl Ticket {
    /// The subject that replies go to: this inbox and a token.
    pub fn reply_to(&self, inbox: &str) -> String {
        let mut subject = String::with_capacity(inbox.len() + 24);
        // Writing to a string cannot fail.
        let _ = write!(subject, "{inbox}.{}-{}", self.index, self.generation);
        subject
    }
}

impl Future for Ticket {
    type Output = Reply;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        let mut slots = self.replies.slots();
        let slot = &mut slots.slots[self.index as usize];
        if let Some(reply) = slot.reply.take() {
            return Poll::Ready(reply);
        }
        match &mut slot.waiter {
            Some(waiter) => waiter.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut slots = self.replies.slots();
        let slot = &mut slots.slots[self.index as usize];
        let generation = slot.generation.wrapping_add(1);
        // What is in the slot is dropped after the lock: a waker may run code of its own.
        let old = std::mem::replace(slot, Slot { generation, ..Slot::default() });
        slots.free.push(self.index);
        drop(slots);
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reply_finds_its_request_and_a_late_one_finds_nobody() {
        let replies = Arc::new(Replies::default());
        let token = |ticket: &Ticket| ticket.reply_to("i").split_off(2);
        let late = token(&replies.open());
        let ticket = replies.open();
        assert_ne!(late, token(&ticket));
        replies.deliver(&late, Reply::NoResponders);
        for junk in ["", "-", "0", "99-0", "0-x", "18446744073709551616-0"] {
            assert!(replies.deliver(junk, Reply::NoResponders).is_none());
        }
        let message = Message { subject: "x".to_owned(), ..Message::default() };
        replies.deliver(&token(&ticket), Reply::Message(message));
        replies.deliver(&token(&ticket), Reply::NoResponders);
        let Reply::Message(message) = ticket.await else { panic!("a made-up reply got through") };
        assert_eq!(message.subject, "x");
        assert_eq!(replies.waiting(), 0);
    }
}
