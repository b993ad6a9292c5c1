//! The message bus as a VU sees it: one measured handle over three backends.
//!
//! [`Source`] is the bus of a run (the embedded router, a NATS URL, or a `nats-server` child), made
//! once; [`Connection`] is one shard's (or one VU's) connection to it; [`Bus`] is a VU's measured
//! handle. Only [`Bus`] times and records; connections do what they are told.

mod connection;
mod subject;

use std::{rc::Rc, time::Duration};

use bytes::Bytes;

pub use connection::{BusError, Connection, Source};
pub use subject::{contains, validate_pattern, validate_subject};

use super::{Failure, Measured, Misuse, Scope};

/// Headers in order; a name may repeat.
pub type Headers = Vec<(String, String)>;

/// A message to be sent.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Where to.
    pub subject: String,
    /// What.
    pub payload: Bytes,
    /// With what headers.
    pub headers: Headers,
    /// The declared operation it is measured as.
    pub op: Option<String>,
    /// Where replies are wanted, for a publication that asks for one by hand.
    pub reply_to: Option<String>,
}

/// A message that was received.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where it was sent.
    pub subject: String,
    /// What.
    pub payload: Bytes,
    /// With what headers (the host's own delivery headers taken out).
    pub headers: Headers,
    /// Where the sender wants a reply.
    pub reply_to: Option<String>,
    /// JetStream: what to acknowledge.
    pub acknowledge: Option<AckToken>,
}

/// What acknowledges a JetStream message; belongs to the VU that received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AckToken(pub u64);

/// A subscription of a VU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionId(pub u32);

/// A JetStream consumer of a VU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerId(pub u32);

/// A JetStream stream to be ensured.
#[derive(Clone, Debug, Default)]
pub struct StreamSpec {
    /// Its name; the run's prefix is put before it unless it exists already.
    pub name: String,
    /// What it stores.
    pub subjects: Vec<String>,
    /// `memory` instead of `file` storage.
    pub memory: bool,
    /// Messages kept at the most.
    pub max_messages: Option<u64>,
}

/// The server's acknowledgement of a JetStream publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The stream that stored it.
    pub stream: String,
    /// Its number there.
    pub sequence: u64,
    /// The server had this message id already.
    pub duplicate: bool,
}

/// A VU's measured handle on the bus.
#[derive(Clone, Debug)]
pub struct Bus {
    scope: Rc<Scope>,
    connection: Connection,
}

impl Bus {
    /// A VU's handle on a connection.
    pub fn new(scope: Rc<Scope>, connection: Connection) -> Self {
        Self { scope, connection }
    }

    /// Publishes a message.
    pub async fn publish(&self, message: Outgoing) -> Measured<()> {
        let _ = (message, &self.scope, &self.connection);
        unsupported()
    }

    /// Publishes many messages at once; one result each, in order.
    pub async fn publish_all(
        &self,
        messages: Vec<Outgoing>,
    ) -> Result<Vec<Result<(), Failure>>, Misuse> {
        let _ = messages;
        Ok(Vec::new())
    }

    /// Sends a request and waits for its reply.
    pub async fn request(&self, message: Outgoing, timeout: Option<Duration>) -> Measured<Message> {
        let _ = (message, timeout);
        unsupported()
    }

    /// Sends many requests at once; one result each, in order.
    pub async fn request_all(
        &self,
        messages: Vec<Outgoing>,
        timeout: Option<Duration>,
    ) -> Result<Vec<Result<Message, Failure>>, Misuse> {
        let _ = (messages, timeout);
        Ok(Vec::new())
    }

    /// Subscribes; the subscription is live when this returns.
    pub async fn subscribe(&self, pattern: &str, queue: Option<&str>) -> Measured<SubscriptionId> {
        let _ = (pattern, queue);
        unsupported()
    }

    /// The next message of a subscription; `None` when none came in time.
    pub async fn next(
        &self,
        subscription: SubscriptionId,
        timeout: Option<Duration>,
    ) -> Measured<Option<Message>> {
        let _ = (subscription, timeout);
        unsupported()
    }

    /// Ends a subscription.
    pub async fn unsubscribe(&self, subscription: SubscriptionId) -> Result<(), Misuse> {
        let _ = subscription;
        Ok(())
    }

    /// Waits until the server has everything that was published.
    pub async fn flush(&self) -> Measured<()> {
        unsupported()
    }

    /// JetStream: makes sure that a stream exists.
    pub async fn ensure_stream(&self, stream: StreamSpec) -> Measured<()> {
        let _ = stream;
        unsupported()
    }

    /// JetStream: publishes and waits for the server's acknowledgement.
    pub async fn publish_acknowledged(
        &self,
        message: Outgoing,
        message_id: Option<&str>,
        timeout: Option<Duration>,
    ) -> Measured<Acknowledgement> {
        let _ = (message, message_id, timeout);
        unsupported()
    }

    /// JetStream: a pull consumer on a stream; durable if named.
    pub async fn consumer(
        &self,
        stream: &str,
        durable: Option<&str>,
        filter: Option<&str>,
    ) -> Measured<ConsumerId> {
        let _ = (stream, durable, filter);
        unsupported()
    }

    /// JetStream: up to `max` messages.
    pub async fn fetch(
        &self,
        consumer: ConsumerId,
        max: usize,
        timeout: Option<Duration>,
    ) -> Measured<Vec<Message>> {
        let _ = (consumer, max, timeout);
        unsupported()
    }

    /// JetStream: acknowledges a message.
    pub async fn acknowledge(&self, token: AckToken) -> Measured<()> {
        let _ = token;
        unsupported()
    }
}

fn unsupported<T>() -> Measured<T> {
    Ok(Err(Failure::new("unsupported", "the bus is not built yet")))
}
