//! The message bus as a VU sees it: one measured handle over three backends.
//!
//! [`Source`] is the bus of a run (the embedded router, a NATS URL, or a `nats-server` child), made
//! once; [`Connection`] is one shard's (or one VU's) connection to it; [`Bus`] is a VU's measured
//! handle. Only [`Bus`] times and records; connections do what they are told.

mod address;
mod connection;
mod delivery;
mod embedded;
mod feed;
mod held;
mod inbox;
mod jetstream;
mod measured;
mod nats;
mod prefix;
mod replies;
mod server;
mod subject;
mod table;

use bytes::Bytes;

pub use address::Files;
pub use connection::{BusError, Connection, OpenInput, Source, Subscription};
pub use delivery::{DeliveryReport, Lost};
pub use feed::{Consumption, Feed};
pub use measured::Bus;
pub use nats::ConnectionEvents;
pub use subject::{
    contains, is_reserved, matches, validate_headers, validate_pattern, validate_queue,
    validate_subject,
};

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
#[derive(Clone, Debug, Default)]
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

/// A connection that a VU holds beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u32);

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

#[cfg(test)]
pub(crate) mod tests;
