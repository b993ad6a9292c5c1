//! The bus as NATS servers: core NATS through async-nats, the only file that names it.
//!
//! Requests share one subscription of their connection and find their slot by number
//! ([`super::replies`]); async-nats' own multiplexer keeps an entry for ever for each request that is
//! given up, which a load test does a million times. Each subscription has a small task that moves
//! messages to its queue as they come, stamps them, and counts what does not fit; so the arrival
//! is the bus's time even when the VU is busy.
//!
//! Nothing here waits for ever: while the connection is down an operation fails with `disconnected`,
//! and its caller bounds every wait.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, HeaderName, HeaderValue,
    PublishErrorKind, ReconnectToServer, StatusCode, Subject, Subscriber,
    client::{PublishError, traits::Publisher},
    connection::State,
    message::OutboundMessage,
};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;

use super::{
    Message,
    address::{Address, Files, Login},
    connection::{BusError, Ended, Sending, Tracking},
    delivery::{Arrival, Ledger, SETTLE, Sender, Sent, Stamp, Tracked},
    held::{Held, Place as HeldPlace, Watch},
    inbox::{Inbox, Put, Received},
    prefix::Prefix,
    replies::{Place, Replies, Reply, Ticket},
    subject::{SEQUENCE_HEADER, shown},
    table::{Reader, Table},
};
use crate::primitive::Failure;

/// How long a server may take to answer the first connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a round trip may take before it is believed that the server does not permit it.
const ROUND_TRIP: Duration = Duration::from_secs(2);

/// Messages that async-nats may hold for one subscription before its task takes them.
const CLIENT_QUEUE: usize = 65_536;

/// The servers of a run, and what its connections know together.
pub struct Servers {
    address: Address,
    files: Files,
    run: String,
    /// Kind and version of the server, as it said on the first connection.
    version: String,
    /// Subscriptions whose delivery is measured.
    tracked: Arc<Table<Arc<Tracked>>>,
    events: Arc<Events>,
    /// JetStream streams that the run has created.
    streams: Mutex<Vec<String>>,
}

/// What happened to connections since it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionEvents {
    /// Connections established again (`bus_reconnects`).
    pub reconnects: u64,
    /// Connections lost.
    pub disconnects: u64,
    /// Messages that the client library had no room for (`bus_slow_consumer_drops`); the host's own
    /// queues count theirs with their VU.
    pub slow_consumer_drops: u64,
    /// What servers complained of, each once.
    pub notes: Vec<String>,
}

/// Counters that connections' tasks write and the run reads.
#[derive(Debug, Default)]
pub struct Events {
    reconnects: AtomicU64,
    disconnects: AtomicU64,
    slow: AtomicU64,
    denied: AtomicBool,
    notes: Mutex<Vec<String>>,
}

impl Events {
    /// At most this many different complaints are kept between two askings.
    const NOTES: usize = 32;

    fn take(&self) -> ConnectionEvents {
        ConnectionEvents {
            reconnects: self.reconnects.swap(0, Ordering::Relaxed),
            disconnects: self.disconnects.swap(0, Ordering::Relaxed),
            slow_consumer_drops: self.slow.swap(0, Ordering::Relaxed),
            notes: std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// A connection has ended for good.
    fn ended(&self) {
        self.disconnects.fetch_add(1, Ordering::Relaxed);
        self.keep("a connection to the bus ended for good: something on it cannot be read".into());
    }

    fn keep(&self, note: String) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < Self::NOTES && !notes.contains(&note) {
            notes.push(note);
        }
    }

    fn note(&self, first: &AtomicBool, event: &Event) {
        match event {
            Event::Connected if !first.swap(false, Ordering::Relaxed) => {
                self.reconnects.fetch_add(1, Ordering::Relaxed);
            }
            Event::Disconnected => drop(self.disconnects.fetch_add(1, Ordering::Relaxed)),
            Event::SlowConsumer(_) => drop(self.slow.fetch_add(1, Ordering::Relaxed)),
            Event::ServerError(error) => {
                let text = shown(&error.to_string());
                if text.to_lowercase().contains("permissions violation") {
                    self.denied.store(true, Ordering::Relaxed);
                }
                self.keep(format!("the bus says: {text}"));
            }
            _ => {}
        }
    }
}

impl Servers {
    /// Connects once, to learn that the bus is there and what it is.
    pub async fn open(address: Address, files: Files, run: String) -> Result<Self, BusError> {
        let mut servers = Self {
            address,
            files,
            run,
            version: String::new(),
            tracked: Arc::default(),
            events: Arc::default(),
            streams: Mutex::default(),
        };
        let client = servers.client("wavetank", |_| {}).await?;
        let info = client.server_info();
        servers.version = format!("nats-server {}", shown(&info.version));
        servers.events.take();
        Ok(servers)
    }

    /// Kind, version and place.
    pub fn describe(&self) -> String {
        format!("{} at {}", self.version, self.address.shown())
    }

    /// What happened to connections since the last call.
    pub fn take_events(&self) -> ConnectionEvents {
        self.events.take()
    }

    /// The run's id.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// What all subjects begin with.
    pub const fn prefix(&self) -> &Prefix {
        &self.address.prefix
    }

    fn streams(&self) -> MutexGuard<'_, Vec<String>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the run has created this stream.
    pub fn has_stream(&self, name: &str) -> bool {
        self.streams().iter().any(|stream| stream == name)
    }

    /// The run creates this stream.
    pub fn note_stream(&self, name: &str) {
        self.streams().push(name.to_owned());
    }

    /// The run could not create this stream.
    pub fn forget_stream(&self, name: &str) {
        self.streams().retain(|stream| stream != name);
    }

    /// The streams that the run has created, for their removal.
    pub fn take_streams(&self) -> Vec<String> {
        let mut streams = std::mem::take(&mut *self.streams());
        streams.sort_unstable();
        streams.dedup();
        streams
    }

    /// Connects; `watch` is told what happens to the connection from then on.
    async fn client(
        &self,
        name: &str,
        watch: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Client, NotConnected> {
        let (events, first) = (self.events.clone(), Arc::new(AtomicBool::new(true)));
        let never_yet = first.clone();
        let mut options = ConnectOptions::new()
            .name(shown(name))
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(None)
            .subscription_capacity(CLIENT_QUEUE)
            .ping_interval(Duration::from_secs(10))
            .max_reconnects(None)
            .require_tls(self.address.tls)
            // The library would wait before its first attempt, too: time that is not the bus's. What it
            // waits for no time at all still costs a tick of its timer, unless it is told where to go.
            .reconnect_to_server_callback(|servers, _| {
                let only = match &servers[..] {
                    [only] if !only.did_connect => Some(only.addr.clone()),
                    _ => None,
                };
                let at_once = Some(Duration::ZERO);
                std::future::ready(only.map(|addr| ReconnectToServer { addr, delay: at_once }))
            })
            .reconnect_delay_callback(move |attempts| {
                if never_yet.load(Ordering::Relaxed) {
                    return Duration::ZERO;
                }
                let exponent = u32::try_from(attempts.min(7)).unwrap_or(7);
                Duration::from_millis(10 << exponent).min(Duration::from_secs(1))
            })
            .event_callback(move |event| {
                watch(&event);
                events.note(&first, &event);
                std::future::ready(())
            });
        options = match &self.address.login {
            Login::None => options,
            Login::Password(user, password) => {
                options.user_and_password(user.clone(), password.clone())
            }
            Login::Token(token) => options.token(token.clone()),
        };
        if let Some(path) = &self.files.credentials {
            let unreadable = |error| {
                let path = path.display();
                let text = format!("the credentials file `{path}` cannot be used: {error}");
                NotConnected { kind: ConnectErrorKind::Authentication, error: BusError(text) }
            };
            options = options.credentials_file(path).await.map_err(unreadable)?;
        }
        if let Some(path) = &self.files.authority {
            options = options.add_root_certificates(path.clone());
        }
        if let (Some(certificate), Some(key)) = (&self.files.certificate, &self.files.key) {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let scheme = if self.address.tls { "tls" } else { "nats" };
        let urls: Vec<_> =
            self.address.servers.iter().map(|server| format!("{scheme}://{server}")).collect();
        let connecting = tokio::time::timeout(2 * CONNECT_TIMEOUT, options.connect(urls));
        match connecting.await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(self.unreachable(error.kind(), &chain(&error))),
            Err(_) => Err(self.unreachable(ConnectErrorKind::TimedOut, "no answer")),
        }
    }

    fn unreachable(&self, kind: ConnectErrorKind, why: &str) -> NotConnected {
        let place = self.address.shown();
        let next = match kind {
            _ if why.contains("connections exceeded") => {
                "the server takes no more: raise its max_connections, or open fewer"
            }
            _ if why.contains("os error 24") => {
                "this process has no more open files: raise its limit (ulimit -n)"
            }
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                "give user and password in the URL (nats://user:password@host:port) or a credentials \
                 file (?creds=FILE)"
            }
            // A certificate that is not trusted comes as an I/O error.
            kind if kind == ConnectErrorKind::Tls || why.contains("certificate") => {
                "use tls://, and name the authority of its certificate with ?ca=FILE"
            }
            _ => {
                "is a server running there? `--bus nats-server` starts one, `--bus embedded` needs none"
            }
        };
        let text = format!("cannot connect to the bus at {place}: {}: {next}", shown(why));
        NotConnected { kind, error: BusError(text) }
    }

    /// A connection over which nothing is sent, to be held.
    pub async fn hold(&self, name: &str, place: HeldPlace) -> Result<Held, Failure> {
        let watch = Held::watch(&place);
        let told = Arc::clone(&watch);
        let client = self.client(name, move |event| told.note(event)).await;
        match client {
            Ok(client) => Ok(Held::new(Line { _client: client }, watch, place)),
            Err(NotConnected { kind: ConnectErrorKind::TimedOut, error }) => {
                Err(Failure::new("timeout", error.0))
            }
            Err(NotConnected { error, .. }) => Err(Failure::new("refused", error.0)),
        }
    }

    /// A connection of the calling thread, on its runtime.
    pub async fn connect(
        self: &Arc<Self>,
        name: &str,
        number: u32,
        ledger: &Ledger,
    ) -> Result<Nats, BusError> {
        let client = self.client(name, |_| {}).await?;
        let inbox = client.new_inbox();
        let subscriber = client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| BusError(format!("the bus refused a subscription: {error}")))?;
        let replies = Arc::new(Replies::default());
        let events = self.events.clone();
        tokio::spawn(answer(subscriber, inbox.len() + 1, Arc::downgrade(&replies), events));
        Ok(Nats {
            servers: self.clone(),
            client,
            inbox,
            replies,
            number,
            reader: Reader::new(self.tracked.clone()),
            sender: ledger.sender(number),
            round_trips: Cell::new(true),
        })
    }
}

impl Watch {
    fn note(&self, event: &Event) {
        match event {
            Event::Connected => self.rose(),
            Event::Disconnected => self.fell(),
            Event::Closed => self.closed(),
            _ => {}
        }
    }
}

/// Why there is no connection.
struct NotConnected {
    kind: ConnectErrorKind,
    error: BusError,
}

impl From<NotConnected> for BusError {
    fn from(not: NotConnected) -> Self {
        not.error
    }
}

/// A connection over which nothing is sent; closed when it is dropped.
pub struct Line {
    _client: Client,
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Gives replies to the requests that wait for them, until the connection is gone.
async fn answer(
    mut subscriber: Subscriber,
    prefix: usize,
    replies: Weak<Replies>,
    events: Arc<Events>,
) {
    while let Some(message) = subscriber.next().await {
        let Some(replies) = replies.upgrade() else { return };
        let Some(place) = message.subject.get(prefix..).and_then(Place::read) else { continue };
        let reply = if message.status == Some(StatusCode::NO_RESPONDERS) {
            Reply::NoResponders
        } else {
            Reply::Message(received(message).0)
        };
        if let Some(waker) = replies.deliver_to(place, reply) {
            waker.wake();
        }
    }
    if replies.strong_count() > 0 {
        // The client library ended with the connection still wanted: it met something in the
        // stream that it cannot read, such as a header with a bare carriage return.
        events.ended();
    }
}

/// A connection to the servers; stays on its thread.
pub struct Nats {
    servers: Arc<Servers>,
    client: Client,
    /// What the subjects of this connection's replies begin with.
    inbox: String,
    replies: Arc<Replies>,
    number: u32,
    reader: Reader<Arc<Tracked>>,
    sender: Arc<Sender>,
    /// The server lets this connection publish to its own inbox.
    round_trips: Cell<bool>,
}

/// Where a tracked subscription is listed: the table, its pattern, its number there.
type Listed = (Arc<Table<Arc<Tracked>>>, String, u64);

/// A live subscription; its task ends when this is dropped, after what is on its way has come.
#[derive(Debug)]
pub struct Interest {
    ending: Arc<Notify>,
    tracked: Option<Listed>,
}

impl Drop for Interest {
    fn drop(&mut self) {
        if let Some((table, pattern, id)) = self.tracked.take() {
            table.remove(&pattern, id);
        }
        self.ending.notify_one();
    }
}

/// What measures a subscription's deliveries, with its number in the run.
pub type Measuring = (Tracking, Arc<Tracked>, u64, Ended);

/// A message that can be handed to the connection, with what it promises.
pub struct Prepared {
    outbound: OutboundMessage,
    promised: Promised,
}

/// Deliveries that a publication promises; taken back unless the message was handed over.
struct Promised(Vec<(Arc<Tracked>, Sent)>);

impl Drop for Promised {
    fn drop(&mut self) {
        self.0.iter().for_each(|(tracked, sent)| tracked.expect_no_more(sent));
    }
}

impl Nats {
    /// The servers and what their connections know together.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// A subject that nobody else has.
    pub fn new_inbox(&self) -> String {
        self.client.new_inbox()
    }

    fn connected(&self) -> Result<(), Failure> {
        if self.client.connection_state() == State::Connected {
            return Ok(());
        }
        Err(Failure::new("disconnected", "the connection to the bus is down"))
    }

    /// Publishes; returns when the connection has taken the message.
    pub async fn publish(
        &self,
        message: Message,
        sending: Option<&Sending<'_>>,
    ) -> Result<(), Failure> {
        let prepared = self.prepare(message, sending)?;
        self.hand_over(prepared).await
    }

    /// Makes a message ready to be handed to the connection.
    pub fn prepare(
        &self,
        message: Message,
        sending: Option<&Sending<'_>>,
    ) -> Result<Prepared, Failure> {
        self.connected()?;
        let mut headers = headers(message.headers)?;
        let mut promised = Promised(Vec::new());
        if let Some(sending) = sending
            && !self.reader.table().is_empty()
        {
            self.number(&message.subject, &mut headers, sending, &mut promised)?;
        }
        let outbound = OutboundMessage {
            subject: Subject::from(self.servers.prefix().put(message.subject)),
            reply: message.reply_to.map(Subject::from),
            payload: message.payload,
            headers,
        };
        Ok(Prepared { outbound, promised })
    }

    /// Hands a message over; returns when the connection has taken it.
    pub fn hand_over(
        &self,
        prepared: Prepared,
    ) -> impl Future<Output = Result<(), Failure>> + use<'_> {
        let Prepared { outbound, mut promised } = prepared;
        self.client.publish_message(outbound).map(move |published| {
            published.map_err(|error| refused(&error))?;
            promised.0.clear();
            Ok(())
        })
    }

    /// Numbers a message that subscriptions of this run will receive.
    fn number(
        &self,
        subject: &str,
        headers: &mut Option<HeaderMap>,
        sending: &Sending<'_>,
        promised: &mut Promised,
    ) -> Result<(), Failure> {
        let route = self.reader.route(subject);
        if route.is_empty() {
            return Ok(());
        }
        let sent = sending.sent();
        for tracked in &route.all {
            tracked.expect(&sent);
            promised.0.push((tracked.clone(), sent));
        }
        let sequence = self.sender.number(subject, sent);
        let value = format!("{},{},{sequence}", self.servers.run, self.number);
        let value = value
            .parse::<HeaderValue>()
            .map_err(|_| Failure::new("refused", "the run's id cannot stand in a header"))?;
        headers.get_or_insert_default().insert(SEQUENCE_HEADER, value);
        Ok(())
    }

    /// Makes a request ready to be handed over; the ticket is the future of its reply.
    pub fn prepare_request(
        &self,
        mut message: Message,
        sending: Option<&Sending<'_>>,
    ) -> Result<(Prepared, Ticket), Failure> {
        let ticket = self.replies.open();
        message.reply_to = Some(ticket.reply_to(&self.inbox));
        Ok((self.prepare(message, sending)?, ticket))
    }

    /// Sends a request; the ticket is the future of its reply.
    pub async fn request(
        &self,
        message: Message,
        sending: Option<&Sending<'_>>,
    ) -> Result<Ticket, Failure> {
        let (prepared, ticket) = self.prepare_request(message, sending)?;
        self.hand_over(prepared).await?;
        Ok(ticket)
    }

    /// Subscribes; the server has the subscription when this returns.
    pub async fn subscribe(
        &self,
        pattern: &str,
        queue: Option<&str>,
        inbox: Arc<Inbox>,
        tracking: Option<Measuring>,
    ) -> Result<Interest, Failure> {
        self.connected()?;
        let subject = self.servers.prefix().put(pattern.to_owned());
        let made = match queue {
            Some(queue) => self.client.queue_subscribe(subject, queue.to_owned()).await,
            None => self.client.subscribe(subject).await,
        };
        let subscriber = made.map_err(|error| Failure::new("refused", chain(&error)))?;
        self.round_trip().await?;
        let ending = Arc::new(Notify::new());
        let mut task = Intake {
            subscriber,
            inbox,
            ending: ending.clone(),
            tracking: None,
            servers: self.servers.clone(),
        };
        let mut interest = Interest { ending, tracked: None };
        if let Some((tracking, tracked, id, ended)) = tracking {
            let table = self.reader.table().clone();
            table.insert(pattern, queue, id, tracked.clone());
            interest.tracked = Some((table, pattern.to_owned(), id));
            task.tracking = Some((tracking, tracked, ended));
        }
        tokio::spawn(task.run());
        Ok(interest)
    }

    /// Waits until the server has handled everything that this connection sent.
    pub async fn round_trip(&self) -> Result<(), Failure> {
        self.connected()?;
        if !self.round_trips.get() {
            return self.written().await;
        }
        let ticket = self.replies.open();
        let subject = ticket.reply_to(&self.inbox);
        self.publish(Message { subject, ..Message::default() }, None).await?;
        match tokio::time::timeout(ROUND_TRIP, ticket).await {
            Ok(_) => Ok(()),
            Err(_) if self.servers.events.denied.load(Ordering::Relaxed) => {
                self.round_trips.set(false);
                self.written().await
            }
            Err(_) => Err(Failure::new("timeout", format!("no answer within {ROUND_TRIP:?}"))),
        }
    }

    /// The next best thing where the server does not permit a round trip.
    async fn written(&self) -> Result<(), Failure> {
        self.client.flush().await.map_err(|error| Failure::new("disconnected", chain(&error)))
    }
}

/// The task of a subscription.
struct Intake {
    subscriber: Subscriber,
    inbox: Arc<Inbox>,
    ending: Arc<Notify>,
    tracking: Option<(Tracking, Arc<Tracked>, Ended)>,
    servers: Arc<Servers>,
}

impl Intake {
    async fn run(mut self) {
        loop {
            let message = tokio::select! {
                biased;
                () = self.ending.notified() => break,
                message = self.subscriber.next() => message,
            };
            let Some(message) = message else {
                if let Some(waker) = self.inbox.close() {
                    waker.wake();
                }
                return;
            };
            if let Put::Kept(Some(waker)) = self.inbox.put(self.note(message)) {
                waker.wake();
            }
        }
        self.settle().await;
    }

    /// Counts what was on its way when the subscription ended.
    async fn settle(&mut self) {
        let settling = async {
            while self.tracking.as_ref().is_some_and(|(_, tracked, _)| tracked.outstanding() > 0) {
                let Some(message) = self.subscriber.next().await else { return };
                self.note(message);
            }
        };
        let _ = tokio::time::timeout(SETTLE, settling).await;
    }

    /// Takes the host's header out and notes the delivery.
    fn note(&self, message: async_nats::Message) -> Received {
        let (mut message, sequence) = received(message);
        message.subject = self.servers.prefix().take(message.subject);
        let Some((tracking, tracked, ended)) = &self.tracking else {
            return Received::plain(message);
        };
        let arrival =
            sequence.and_then(|sequence| self.arrival(&message, &sequence, tracked, ended));
        Received { at: arrival.map(|_| tracking.clock.now()), arrival, ..Received::plain(message) }
    }

    fn arrival(
        &self,
        message: &Message,
        sequence: &str,
        tracked: &Tracked,
        ended: &Ended,
    ) -> Option<Arrival> {
        let numbers = sequence.strip_prefix(self.servers.run())?.strip_prefix(',')?;
        let (sender, sequence) = numbers.split_once(',')?;
        let stamp = Stamp { sender: sender.parse().ok()?, sequence: sequence.parse().ok()? };
        let departure = ended.ledger().find(&message.subject, stamp)?;
        Some(tracked.arrive(stamp, departure))
    }
}

/// A message as the house knows it, and the host's own header apart.
fn received(message: async_nats::Message) -> (Message, Option<String>) {
    let mut sequence = None;
    let mut headers = Vec::new();
    if let Some(status) = message.status {
        headers.push(("Status".to_owned(), status.as_u16().to_string()));
    }
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        for value in values {
            if AsRef::<str>::as_ref(name).eq_ignore_ascii_case(SEQUENCE_HEADER) {
                sequence = Some(value.as_str().to_owned());
            } else {
                headers.push((name.to_string(), value.as_str().to_owned()));
            }
        }
    }
    let message = Message {
        subject: message.subject.into_string(),
        payload: message.payload,
        headers,
        reply_to: message.reply.map(Subject::into_string),
        acknowledge: None,
    };
    (message, sequence)
}

fn headers(headers: super::Headers) -> Result<Option<HeaderMap>, Failure> {
    if headers.is_empty() {
        return Ok(None);
    }
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        // Both were checked before; what the library still refuses must not panic.
        let name: HeaderName = name.parse().map_err(|_| refused_header(&name))?;
        let value: HeaderValue = value.parse().map_err(|_| refused_header(&value))?;
        map.append(name, value);
    }
    Ok(Some(map))
}

fn refused(error: &PublishError) -> Failure {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => {
            let text = format!("the server refuses it: {}", chain(error));
            Failure::new("payload_too_large", text)
        }
        PublishErrorKind::InvalidSubject => {
            Failure::new("refused", "the client library refuses the subject")
        }
        PublishErrorKind::Send => {
            Failure::new("disconnected", "the connection to the bus has ended")
        }
    }
}

fn refused_header(text: &str) -> Failure {
    Failure::new("refused", format!("the client library refuses the header text `{}`", shown(text)))
}
