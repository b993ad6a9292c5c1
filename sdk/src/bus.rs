//! The message bus. Every call is timed by the host and feeds `bus_*` metrics.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value as Json;

use crate::{
    Failure, Measured, Misuse,
    bindings::workload::wavetank::workload::bus::{self as raw},
    database, measured, nanos,
};

pub use raw::{Acknowledgement, Message, StreamSpec};

/// A message that is being put together; ended by [`Outgoing::publish`], [`Outgoing::request`] or
/// [`Outgoing::publish_acknowledged`].
#[derive(Clone, Debug)]
pub struct Outgoing {
    raw: raw::Outgoing,
    timeout: Option<Duration>,
    message_id: Option<String>,
}

/// Begins a message to a subject.
///
/// ```no_run
/// # use wavetank_sdk::{bus, json, Result};
/// # fn f() -> Result {
/// bus::to("user.joined").json(&json!({"username": "ann"}))?.publish()?;
/// # Ok(()) }
/// ```
pub fn to(subject: &str) -> Outgoing {
    Outgoing {
        raw: raw::Outgoing {
            subject: subject.to_owned(),
            payload: Vec::new(),
            headers: Vec::new(),
            op: None,
            reply_to: None,
        },
        timeout: None,
        message_id: None,
    }
}

impl Outgoing {
    /// Its payload: a value as JSON.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Self, serde_json::Error> {
        self.raw.payload = serde_json::to_vec(value)?;
        Ok(self)
    }

    /// Its payload: bytes.
    #[must_use]
    pub fn bytes(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.raw.payload = payload.into();
        self
    }

    /// Its payload: text.
    #[must_use]
    pub fn text(self, payload: &str) -> Self {
        self.bytes(payload)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.raw.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The operation that it is measured as; must be among `options.ops`.
    #[must_use]
    pub fn op(mut self, op: &str) -> Self {
        self.raw.op = Some(op.to_owned());
        self
    }

    /// How long to wait for a reply or an acknowledgement; else the run's `operation_timeout`.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Where replies are wanted, for a publication that asks for one by hand.
    #[must_use]
    pub fn reply_to(mut self, subject: &str) -> Self {
        self.raw.reply_to = Some(subject.to_owned());
        self
    }

    /// The id by which JetStream knows duplicates.
    #[must_use]
    pub fn message_id(mut self, id: &str) -> Self {
        self.message_id = Some(id.to_owned());
        self
    }

    /// Publishes it.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{bus, check, Result};
    /// # fn f() -> Result {
    /// let sent = bus::to("user.left").text("ann").header("trace", "17").op("left").publish()?;
    /// check("sent", sent.is_ok())?;
    /// # Ok(()) }
    /// ```
    pub fn publish(&self) -> Measured<()> {
        measured(raw::publish(&self.raw))
    }

    /// Sends it as a request and waits for the reply.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{bus, check, json, Result};
    /// # fn f() -> Result {
    /// let reply = bus::to("stats").json(&json!({"username": "ann"}))?.op("stats").request()?;
    /// check("answered", reply.is_ok())?;
    /// # Ok(()) }
    /// ```
    pub fn request(&self) -> Measured<Message> {
        measured(raw::request(&self.raw, self.timeout.map(nanos)))
    }

    /// JetStream: publishes it and waits for the server's acknowledgement.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{bus, check, Result};
    /// # fn f() -> Result {
    /// let stored = bus::to("events.paid").text("17").message_id("paid-17").publish_acknowledged()?;
    /// check("stored once", stored.is_ok_and(|it| !it.duplicate))?;
    /// # Ok(()) }
    /// ```
    pub fn publish_acknowledged(&self) -> Measured<Acknowledgement> {
        let id = self.message_id.as_deref();
        measured(raw::publish_acknowledged(&self.raw, id, self.timeout.map(nanos)))
    }

    /// Publishes it, then looks for its effect; `effect_duration` is the time until it was seen.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{bus, database::Value, Result};
    /// # fn f() -> Result {
    /// let stored = bus::Probe::query("SELECT 1 FROM users WHERE name = ?", vec![Value::Text("ann".into())]);
    /// bus::to("user.joined").text("ann").effect(stored)?;
    /// # Ok(()) }
    /// ```
    pub fn effect(&self, probe: Probe) -> Measured<Effect> {
        let op = self.raw.op.as_deref();
        let effect = raw::observe(&self.raw, &probe.0, op, self.timeout.map(nanos));
        Ok(measured(effect)?.map(|effect| Effect {
            first_seen: Duration::from_nanos(effect.first_seen),
            last_unseen: Duration::from_nanos(effect.last_unseen),
            probes: effect.probes,
        }))
    }
}

/// How an effect is looked for.
#[derive(Clone, Debug)]
pub struct Probe(raw::Probe);

impl Probe {
    /// Seen when the first value of the first row is neither null, zero nor false.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{bus, Result};
    /// # fn f() -> Result {
    /// let stored = bus::Probe::query("SELECT 1 FROM users WHERE name = ?", vec!["ann".into()]);
    /// bus::to("user.joined").text("ann").op("join").effect(stored)?.ok();
    /// # Ok(()) }
    /// ```
    pub fn query(sql: &str, values: Vec<database::Value>) -> Self {
        Self(raw::Probe::Query(raw::QueryProbe { sql: sql.to_owned(), values }))
    }

    /// Seen when the reply's JSON holds `equals` at `pointer` (RFC 6901), or, without `equals`,
    /// anything but absent, null, zero or false.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{bus, json, Result};
    /// # fn f() -> Result {
    /// let paid = bus::Probe::request(bus::to("orders.17"), "/state", Some(json!("paid")));
    /// if let Ok(effect) = bus::to("orders.pay").text("17").effect(paid)? {
    ///     wavetank_sdk::log(&format!("seen after {:?}", effect.first_seen));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn request(message: Outgoing, pointer: &str, equals: Option<Json>) -> Self {
        Self(raw::Probe::Request(raw::RequestProbe {
            message: message.raw,
            pointer: pointer.to_owned(),
            equals: equals.map(|value| value.to_string()),
        }))
    }
}

/// When an effect was seen: its true time lies between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// From publishing to first seen.
    pub first_seen: Duration,
    /// From publishing to last looked for in vain.
    pub last_unseen: Duration,
    /// How often it was looked for.
    pub probes: u32,
}

impl Message {
    /// The payload as JSON; null if it is none.
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }

    /// The payload as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.payload)
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// JetStream: acknowledges it.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{bus, Result};
    /// # fn f() -> Result {
    /// if let Ok(events) = bus::consume("EVENTS", Some("billing"), None)? {
    ///     for event in events.fetch(10, None)?.unwrap_or_default() {
    ///         event.acknowledge()?.ok();
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn acknowledge(&self) -> Measured<()> {
        match self.acknowledge {
            Some(token) => measured(raw::acknowledge(token)),
            None => Err(Misuse(format!(
                "the message on `{}` did not come from a JetStream consumer",
                self.subject
            ))),
        }
    }
}

/// Publishes many messages at once; one result each, in order.
///
/// ```no_run
/// # use wavetank_sdk::{bus, Result};
/// # fn f() -> Result {
/// let burst: Vec<_> = (0..100).map(|n| bus::to("burst").text(&n.to_string())).collect();
/// let failed = bus::publish_all(&burst)?.iter().filter(|sent| sent.is_err()).count();
/// # Ok(()) }
/// ```
pub fn publish_all(messages: &[Outgoing]) -> Result<Vec<Result<(), Failure>>, Misuse> {
    let raw: Vec<_> = messages.iter().map(|message| message.raw.clone()).collect();
    raw::publish_all(&raw).map_err(Misuse)
}

/// Sends many requests at once; one result each, in order.
///
/// ```no_run
/// # use wavetank_sdk::{bus, Result};
/// # fn f() -> Result {
/// let replies = bus::request_all(&[bus::to("a"), bus::to("b")], None)?;
/// # Ok(()) }
/// ```
pub fn request_all(
    messages: &[Outgoing],
    timeout: Option<Duration>,
) -> Result<Vec<Result<Message, Failure>>, Misuse> {
    let raw: Vec<_> = messages.iter().map(|message| message.raw.clone()).collect();
    raw::request_all(&raw, timeout.map(nanos)).map_err(Misuse)
}

/// A subscription; ends when it is dropped.
#[derive(Debug)]
pub struct Subscription(raw::Subscription);

/// Subscribes to a pattern (`*` one token, a final `>` the rest); live when this returns.
///
/// ```no_run
/// # use wavetank_sdk::{bus, Result};
/// # fn f() -> Result {
/// if let Ok(events) = bus::subscribe("events.>", None)? {
///     let next = events.next(Some(std::time::Duration::from_secs(1)))?;
/// }
/// # Ok(()) }
/// ```
pub fn subscribe(pattern: &str, queue: Option<&str>) -> Measured<Subscription> {
    Ok(measured(raw::subscribe(pattern, queue))?.map(Subscription))
}

impl Subscription {
    /// The next message; `None` when none came in time.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{bus, check, Result};
    /// # fn f() -> Result {
    /// if let Ok(events) = bus::subscribe("events.>", None)? {
    ///     let next = events.next(Some(std::time::Duration::from_secs(1)))?;
    ///     check("an event came", next.is_ok_and(|it| it.is_some()))?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn next(&self, timeout: Option<Duration>) -> Measured<Option<Message>> {
        measured(self.0.next(timeout.map(nanos)))
    }
}

/// A JetStream pull consumer.
#[derive(Debug)]
pub struct Consumer(raw::Consumer);

/// JetStream: a pull consumer on a stream; durable if named.
///
/// ```no_run
/// # use wavetank_sdk::{bus, Result};
/// # fn f() -> Result {
/// let paid = bus::consume("EVENTS", Some("billing"), Some("events.paid"))?;
/// # Ok(()) }
/// ```
pub fn consume(stream: &str, durable: Option<&str>, filter: Option<&str>) -> Measured<Consumer> {
    Ok(measured(raw::consume(stream, durable, filter))?.map(Consumer))
}

impl Consumer {
    /// Up to `max` messages.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{bus, metric, Result};
    /// # fn f() -> Result {
    /// if let Ok(events) = bus::consume("EVENTS", None, None)? {
    ///     let some = events.fetch(100, Some(std::time::Duration::from_secs(1)))?;
    ///     metric("fetched", some.map_or(0.0, |it| it.len() as f64))?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn fetch(&self, max: u32, timeout: Option<Duration>) -> Measured<Vec<Message>> {
        measured(self.0.fetch(max, timeout.map(nanos)))
    }
}

/// JetStream: makes sure that a stream exists.
///
/// ```no_run
/// # use wavetank_sdk::{bus::{self, StreamSpec}, Result};
/// # fn f() -> Result {
/// bus::ensure_stream(&StreamSpec {
///     name: "EVENTS".into(), subjects: vec!["events.>".into()], memory: false, max_messages: None,
/// })?;
/// # Ok(()) }
/// ```
pub fn ensure_stream(stream: &StreamSpec) -> Measured<()> {
    measured(raw::ensure_stream(stream))
}

/// Waits until the server has everything that was published.
///
/// ```no_run
/// # use wavetank_sdk::{bus, Result};
/// # fn f() -> Result {
/// bus::to("user.left").text("ann").publish()?.ok();
/// bus::flush()?.ok();
/// # Ok(()) }
/// ```
pub fn flush() -> Measured<()> {
    measured(raw::flush())
}

/// A connection that the VU holds beside its own; closed when it is dropped.
#[derive(Debug)]
pub struct Connection(raw::Connection);

/// Opens a connection beside the VU's own and holds it; nothing is sent over it. The host measures it
/// (`bus_connect_duration`, `bus_connect_failed`, `bus_connections`). A server that takes no more is a
/// [`Failure`]; the embedded bus has no connections, and asking it for one is misuse.
///
/// ```no_run
/// # use wavetank_sdk::{bus, Result};
/// # fn f() -> Result {
/// let mut held = Vec::new();
/// while held.len() < 1000 {
///     match bus::connect(None, None)? {
///         Ok(connection) => held.push(connection),
///         Err(refused) => {
///             wavetank_sdk::warn(&refused.message);
///             break;
///         }
///     }
/// }
/// # Ok(()) }
/// ```
pub fn connect(op: Option<&str>, timeout: Option<Duration>) -> Measured<Connection> {
    Ok(measured(raw::connect(op, timeout.map(nanos)))?.map(Connection))
}

impl Connection {
    /// Whether it is up: one that was lost comes back as any other does.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{bus, check, Result};
    /// # fn f() -> Result {
    /// if let Ok(connection) = bus::connect(None, None)? {
    ///     check("still up", connection.is_held())?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn is_held(&self) -> bool {
        self.0.held()
    }
}
