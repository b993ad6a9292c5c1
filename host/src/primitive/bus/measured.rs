//! A VU's handle on the bus: checks what the workload asks for, does it, and records it.
//!
//! Misuse (a subject with a space, a payload over the limit, a handle that is not the VU's) is thrown
//! before anything is sent and leaves no sample; what the bus or the system does badly is a
//! [`Failure`], measured like a success and kept apart by its tag.

mod connections;
mod streams;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use futures_util::future::join_all;
use rustc_hash::FxHashMap;

use streams::Consumer;

use super::{
    AckToken, Message, Outgoing, SubscriptionId,
    connection::{Connection, Sending, Subscription, Tracking},
    delivery::Departure,
    held::Held,
    inbox::Received,
    subject::{
        header_bytes, shown, validate_headers, validate_pattern, validate_queue, validate_subject,
    },
};
use crate::{
    clock::Span,
    metric::{Builtin, Name, TagSet},
    primitive::{Failure, Measured, Misuse, Operation, Scope, Stamped},
};

/// What a publication feeds.
const PUBLISH: Operation = Operation {
    count: Builtin::BusPublished,
    duration: Builtin::BusPublishDuration,
    failed: Builtin::BusPublishFailed,
};

/// What a request feeds.
const REQUEST: Operation = Operation {
    count: Builtin::BusRequests,
    duration: Builtin::BusRequestDuration,
    failed: Builtin::BusRequestFailed,
};

/// Fetched messages of one VU that may still be acknowledged.
const MAX_UNACKNOWLEDGED: usize = 65_536;

/// No wait is longer, whatever a workload asks for.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3_600);

/// A VU's measured handle on the bus.
#[derive(Clone, Debug)]
pub struct Bus {
    scope: Rc<Scope>,
    connection: Connection,
    handles: Rc<Handles>,
}

/// What a VU holds on the bus.
#[derive(Debug, Default)]
struct Handles {
    next: Cell<u32>,
    subscriptions: RefCell<FxHashMap<u32, Rc<Subscription>>>,
    consumers: RefCell<FxHashMap<u32, Rc<Consumer>>>,
    /// Connections beside its own; `limits.bus_connections` bounds those of all VUs together.
    connections: RefCell<FxHashMap<u32, Held>>,
    /// Where the acknowledgement of each fetched message goes, oldest first.
    unacknowledged: RefCell<BTreeMap<u64, String>>,
    tokens: Cell<u64>,
}

impl Handles {
    fn held(&self) -> usize {
        self.subscriptions.borrow().len() + self.consumers.borrow().len()
    }

    /// Notes where a message is to be acknowledged; the oldest of too many is forgotten, and the
    /// server will deliver that one again.
    fn remember(&self, subject: String) -> AckToken {
        self.tokens.set(self.tokens.get() + 1);
        let mut unacknowledged = self.unacknowledged.borrow_mut();
        if unacknowledged.len() >= MAX_UNACKNOWLEDGED {
            unacknowledged.pop_first();
        }
        unacknowledged.insert(self.tokens.get(), subject);
        AckToken(self.tokens.get())
    }

    fn number(&self) -> u32 {
        self.next.set(self.next.get().wrapping_add(1));
        self.next.get()
    }
}

impl Bus {
    /// A VU's handle on a connection.
    pub fn new(scope: Rc<Scope>, connection: Connection) -> Self {
        Self { scope, connection, handles: Rc::default() }
    }

    /// Publishes a message.
    pub fn publish(&self, message: Outgoing) -> impl Future<Output = Measured<()>> + use<'_> {
        self.scope.host_call(|| {
            format!("bus::publish({}, {} bytes)", shown(&message.subject), message.payload.len())
        });
        let checked = self.check(message);
        async move {
            let (op, message) = checked?;
            Ok(self.publish_checked(op, message).await)
        }
    }

    /// Publishes many messages at once; one result each, in order.
    pub async fn publish_all(
        &self,
        messages: Vec<Outgoing>,
    ) -> Result<Vec<Result<(), Failure>>, Misuse> {
        self.scope.host_call(|| format!("bus::publish_all({} messages)", messages.len()));
        let checked = self.check_all(messages)?;
        // One after the other: messages of one sender keep their order, and nothing is waited for
        // but room in the connection's queue.
        let mut results = Vec::with_capacity(checked.len());
        for (op, message) in checked {
            results.push(self.publish_checked(op, message).await);
        }
        Ok(results)
    }

    /// Sends a request and waits for its reply.
    pub fn request(
        &self,
        message: Outgoing,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Measured<Message>> + use<'_> {
        self.scope.host_call(|| {
            format!("bus::request({}, {} bytes)", shown(&message.subject), message.payload.len())
        });
        let checked = self.check(message);
        async move {
            let (op, message) = checked?;
            Ok(self.request_checked(op, message, timeout).await)
        }
    }

    /// Sends many requests at once; one result each, in order.
    pub async fn request_all(
        &self,
        messages: Vec<Outgoing>,
        timeout: Option<Duration>,
    ) -> Result<Vec<Result<Message, Failure>>, Misuse> {
        self.scope.host_call(|| format!("bus::request_all({} requests)", messages.len()));
        let checked = self.check_all(messages)?;
        self.scope.about_to_wait();
        let requests =
            checked.into_iter().map(|(op, message)| self.request_checked(op, message, timeout));
        Ok(join_all(requests).await)
    }

    /// Subscribes; the subscription is live when this returns.
    pub async fn subscribe(&self, pattern: &str, queue: Option<&str>) -> Measured<SubscriptionId> {
        self.scope.host_call(|| format!("bus::subscribe({})", shown(pattern)));
        validate_pattern(pattern)?;
        queue.map_or(Ok(()), validate_queue)?;
        self.room_for_a_handle()?;
        let tracking = Tracking { clock: self.scope.clock() };
        let capacity = self.scope.limits().subscription_queue;
        let subscribing = self.connection.subscribe(pattern, queue, capacity, Some(tracking));
        let subscribing = pin!(subscribing);
        let subscription = match self.within(None, subscribing).await {
            Ok(Ok(subscription)) => subscription,
            Ok(Err(failure)) | Err(failure) => return Ok(Err(failure)),
        };
        let number = self.handles.number();
        self.handles.subscriptions.borrow_mut().insert(number, Rc::new(subscription));
        Ok(Ok(SubscriptionId(number)))
    }

    /// The next message of a subscription; `None` when none came in time.
    pub async fn next(
        &self,
        subscription: SubscriptionId,
        timeout: Option<Duration>,
    ) -> Measured<Option<Message>> {
        self.scope.host_call(|| format!("bus::next({})", subscription.0));
        let subscription = self.subscription(subscription)?;
        let taken = self.within(timeout, pin!(subscription.take())).await;
        self.record_dropped(&subscription);
        match taken {
            Ok(Some(received)) => Ok(self.receive(received).map(Some)),
            Ok(None) => {
                Ok(Err(Failure::new("disconnected", "the connection to the bus has ended")))
            }
            Err(_) => Ok(Ok(None)),
        }
    }

    /// Ends a subscription.
    #[expect(clippy::unused_async, reason = "ending one may come to wait for the server")]
    pub async fn unsubscribe(&self, subscription: SubscriptionId) -> Result<(), Misuse> {
        self.scope.host_call(|| format!("bus::unsubscribe({})", subscription.0));
        let ended = self.subscription(subscription)?;
        self.handles.subscriptions.borrow_mut().remove(&subscription.0);
        self.end(&ended);
        Ok(())
    }

    /// Waits until the server has everything that was published.
    pub async fn flush(&self) -> Measured<()> {
        self.scope.host_call(|| "bus::flush()".to_owned());
        let flushing = pin!(self.connection.flush());
        Ok(self.within(None, flushing).await.and_then(|flushed| flushed))
    }

    /// Ends every handle of the VU: called by the host when the guest that held them is gone.
    pub fn reset(&self) {
        let subscriptions = std::mem::take(&mut *self.handles.subscriptions.borrow_mut());
        for subscription in subscriptions.values() {
            self.end(subscription);
        }
        self.handles.consumers.borrow_mut().clear();
        self.handles.connections.borrow_mut().clear();
        self.handles.unacknowledged.borrow_mut().clear();
    }

    /// Checks the request of a probe.
    pub(in crate::primitive) fn check_probe(&self, message: &Outgoing) -> Result<(), Misuse> {
        self.check(message.clone()).map(drop)
    }

    // These two are no async functions, and neither is what they call: a message that is handed on
    // through those lies in the future of each.
    fn publish_checked(
        &self,
        op: Name,
        message: Message,
    ) -> impl Future<Output = Result<(), Failure>> + use<'_> {
        let bytes = wire_bytes(&message);
        let tags = TagSet { op, ..self.scope.tags() };
        async move {
            let work = pin!(async {
                let sent = self.connection.prepare(message, Some(&self.sending(&tags)));
                let result = match sent {
                    Ok(prepared) => {
                        let publishing = pin!(self.connection.hand_over(prepared));
                        self.within(None, publishing).await.and_then(|published| published)
                    }
                    Err(failure) => Err(failure),
                };
                Stamped { result, span: None }
            });
            let result = self.scope.measure(PUBLISH, op, work).await;
            if result.is_ok() {
                self.scope.recorder().add(Builtin::DataSent.id(), tags, self.scope.origin(), bytes);
            }
            result
        }
    }

    fn request_checked(
        &self,
        op: Name,
        message: Message,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<Message, Failure>> + use<'_> {
        let bytes = wire_bytes(&message);
        let tags = TagSet { op, ..self.scope.tags() };
        async move {
            let (recorder, origin) = (self.scope.recorder(), self.scope.origin());
            let work = pin!(async {
                let sent = self.connection.prepare_request(message, Some(&self.sending(&tags)));
                let result = match sent {
                    Ok((prepared, ticket)) => {
                        let requesting = pin!(async {
                            self.connection.hand_over(prepared).await?;
                            // Handed over: it is sent, whatever becomes of its reply.
                            recorder.add(Builtin::DataSent.id(), tags, origin, bytes);
                            ticket.await.into_message()
                        });
                        self.within(timeout, requesting).await.and_then(|reply| reply)
                    }
                    Err(failure) => Err(failure),
                };
                let result = result.and_then(|reply| self.bounded(reply)).and_then(accepted);
                Stamped { result, span: None }
            });
            let reply = self.scope.measure(REQUEST, op, work).await?;
            let bytes = wire_bytes(&reply);
            recorder.add(Builtin::DataReceived.id(), tags, origin, bytes);
            Ok(reply)
        }
    }

    fn sending<'a>(&self, tags: &'a TagSet) -> Sending<'a> {
        Sending { clock: self.scope.clock(), origin: self.scope.origin(), tags }
    }

    /// Records a message that a subscription received, and its delivery if the run sent it.
    fn receive(&self, received: Received) -> Result<Message, Failure> {
        let (recorder, at, tags) = (self.scope.recorder(), self.scope.origin(), self.scope.tags());
        recorder.add(Builtin::BusReceived.id(), tags, at, 1.0);
        recorder.add(Builtin::DataReceived.id(), tags, at, wire_bytes(&received.message));
        self.record_delivery(&received);
        self.bounded(received.message)
    }

    fn record_delivery(&self, received: &Received) {
        let (Some(arrival), Some(at)) = (received.arrival, received.at) else { return };
        let recorder = self.scope.recorder();
        let (tags, origin) = (self.scope.tags(), self.scope.origin());
        if arrival.duplicate {
            recorder.add(Builtin::BusDuplicated.id(), tags, origin, 1.0);
            return;
        }
        if arrival.reordered {
            recorder.add(Builtin::BusReordered.id(), tags, origin, 1.0);
        }
        let end = if received.awaited { self.scope.clock().now() } else { at };
        let metric = Builtin::BusDeliveryDuration.id();
        match arrival.departure {
            Departure::At(sent) => {
                let nanos = Span::between(sent.at, end).nanos();
                recorder.trend(metric, sent.tags, sent.origin, nanos);
            }
            Departure::Before(later) => {
                let nanos = Span::between(later.at, end).nanos();
                recorder.censored(metric, later.tags, later.origin, nanos);
            }
        }
    }

    fn record_dropped(&self, subscription: &Subscription) {
        let dropped = subscription.take_dropped();
        if dropped > 0 {
            self.scope.recorder().add(
                Builtin::BusSlowConsumerDrops.id(),
                self.scope.tags(),
                self.scope.origin(),
                dropped as f64,
            );
        }
    }

    /// Records what a subscription still held; it ends with its last owner.
    fn end(&self, subscription: &Subscription) {
        for received in subscription.inbox.drain() {
            self.record_delivery(&received);
        }
        self.record_dropped(subscription);
    }

    /// A message that is larger than what a workload may be given is a failure of its sender.
    fn bounded(&self, message: Message) -> Result<Message, Failure> {
        let limit = self.scope.limits().payload_bytes;
        if message.payload.len() <= limit {
            return Ok(message);
        }
        Err(Failure::new(
            "payload_too_large",
            format!(
                "a message of {} bytes came on `{}`, more than the limit of {limit} \
                 (--limit payload_bytes)",
                message.payload.len(),
                shown(&message.subject)
            ),
        ))
    }

    fn subscription(&self, id: SubscriptionId) -> Result<Rc<Subscription>, Misuse> {
        let found = self.handles.subscriptions.borrow().get(&id.0).cloned();
        found.ok_or_else(|| {
            Misuse::new(format!(
                "subscription {} is not one of this VU's: it was ended, or belongs to another VU",
                id.0
            ))
        })
    }

    fn room_for_a_handle(&self) -> Result<(), Misuse> {
        let limit = self.scope.limits().handles;
        if self.handles.held() < limit as usize {
            return Ok(());
        }
        Err(Misuse::new(format!(
            "the VU holds {limit} subscriptions and consumers, which is the limit: end some with \
             `unsubscribe`, or raise it (--limit handles)"
        )))
    }

    /// Checks a message and finds the name that it is measured as.
    fn check(&self, message: Outgoing) -> Result<(Name, Message), Misuse> {
        validate_subject(&message.subject)?;
        validate_headers(&message.headers)?;
        if let Some(reply_to) = &message.reply_to {
            validate_subject(reply_to)?;
        }
        let bytes = message.payload.len() + header_bytes(&message.headers);
        let limit = self.scope.limits().payload_bytes;
        if bytes > limit {
            return Err(Misuse::new(format!(
                "a message of {bytes} bytes for `{}` is larger than the limit of {limit} \
                 (--limit payload_bytes)",
                shown(&message.subject)
            )));
        }
        let op = self.scope.op(message.op.as_deref())?;
        let mut headers = message.headers;
        for (_, value) in &mut headers {
            // What a receiver on NATS would have; the embedded bus is no different.
            if value.trim().len() != value.len() {
                *value = value.trim().to_owned();
            }
        }
        let message = Message {
            subject: message.subject,
            payload: message.payload,
            headers,
            reply_to: message.reply_to,
            acknowledge: None,
        };
        Ok((op, message))
    }

    fn check_all(&self, messages: Vec<Outgoing>) -> Result<Vec<(Name, Message)>, Misuse> {
        let limit = self.scope.limits().batch;
        if messages.len() > limit {
            return Err(Misuse::new(format!(
                "{} messages in one call are more than the limit of {limit} (--limit batch)",
                messages.len()
            )));
        }
        messages.into_iter().map(|message| self.check(message)).collect()
    }

    /// Awaits something of the bus, at the most for a time. What is ready at once costs no timer and
    /// leaves the VU its database lease.
    async fn within<T>(
        &self,
        timeout: Option<Duration>,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Failure> {
        let first = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        if let Poll::Ready(value) = first {
            return Ok(value);
        }
        self.scope.about_to_wait();
        let timeout = timeout.unwrap_or(self.scope.limits().operation_timeout).min(MAX_WAIT);
        let clock = self.scope.clock();
        let deadline = clock.to_tokio(clock.now() + timeout);
        let done = self.scope.deadlines().until(deadline, work).await;
        done.ok_or_else(|| Failure::new("timeout", format!("no answer within {timeout:?}")))
    }
}

/// A reply with the error header of the NATS services protocol is a failure of the service: it must
/// not improve a percentile.
fn accepted(reply: Message) -> Result<Message, Failure> {
    let header = |name: &str| {
        let found = reply.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    match header("Nats-Service-Error-Code") {
        None => Ok(reply),
        Some(code) => {
            let text = header("Nats-Service-Error").unwrap_or("no text");
            Err(Failure::new("service", format!("{code}: {text}")))
        }
    }
}

fn wire_bytes(message: &Message) -> f64 {
    (message.payload.len() + header_bytes(&message.headers)) as f64
}
