//! The bus of a run, and connections to it.

use std::{
    ffi::OsString,
    fmt,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Headers, Message,
    address::{Address, Files},
    delivery::{DeliveryReport, Ledger, SETTLE, Sent, Tracked},
    embedded::{self, Embedded, Router},
    held::Holding,
    inbox::{Inbox, Received},
    nats::{self, ConnectionEvents, Nats, Servers},
    prefix::Prefix,
    replies::Ticket,
    server::ServerChild,
    subject::{validate_headers, validate_pattern, validate_queue, validate_subject},
};
use crate::{
    clock::{Clock, Instant},
    metric::TagSet,
    primitive::Failure,
};

/// The bus could not be reached or used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BusError(pub String);

/// What a bus is opened with.
#[derive(Clone, Default)]
pub struct OpenInput {
    /// `embedded`, `nats://…`, `tls://…` or `nats-server`.
    pub address: String,
    /// The run's id: delivery headers, prefix of streams.
    pub run: String,
    /// Where `nats-server` is looked for: the environment's `PATH`.
    pub search_path: Option<OsString>,
    /// What all subjects begin with on a server that others may use, unless its address says so itself:
    /// not on a bus that is the run's own.
    pub prefix: Option<String>,
}

/// The bus of a run. Made once, shared by all shards; what it started ends when it is dropped.
#[derive(Clone)]
pub struct Source(Arc<Shared>);

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Source({})", self.describe())
    }
}

struct Shared {
    kind: Kind,
    connections: AtomicU32,
    subscriptions: AtomicU64,
    ledger: Arc<Ledger>,
    holding: Arc<Holding>,
}

enum Kind {
    Embedded { router: Arc<Router>, run: String, serves: AtomicBool },
    Nats { servers: Arc<Servers>, url: String, child: Option<ServerChild> },
}

/// A connection of a shard or a VU. Stays on its thread; clones share it.
#[derive(Clone)]
pub struct Connection(Rc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    backend: Backend,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connection")
    }
}

enum Backend {
    Embedded(Embedded),
    Nats(Nats),
}

/// As part of what a message is sent, for the measurement of its delivery.
pub(super) struct Sending<'a> {
    pub(super) clock: Clock,
    pub(super) origin: Instant,
    pub(super) tags: &'a TagSet,
}

impl Sending<'_> {
    /// The message is sent now.
    pub(super) fn sent(&self) -> Sent {
        Sent { at: self.clock.now(), origin: self.origin, tags: *self.tags }
    }
}

/// A message on its way to a server; nothing if the embedded bus has it already.
pub(super) struct Prepared(Option<nats::Prepared>);

/// How a subscription is measured: with the run's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tracking {
    pub(super) clock: Clock,
}

/// Closes a subscription's account when its last message has come.
pub(super) struct Ended {
    ledger: Arc<Ledger>,
    id: u64,
}

impl Ended {
    /// The run's account.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.ledger.end(self.id);
    }
}

/// A live subscription; ends when it is dropped.
pub struct Subscription {
    pub(super) inbox: Arc<Inbox>,
    _interest: Interest,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Subscription")
    }
}

enum Interest {
    Embedded { _interest: embedded::Interest, _ended: Option<Ended> },
    Nats { _interest: nats::Interest },
}

impl Subscription {
    /// The next message; `None` when the connection has ended. Cancelling it loses nothing.
    pub async fn next(&self) -> Option<Message> {
        self.take().await.map(|received| received.message)
    }

    /// Messages that found the queue full since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.inbox.take_dropped()
    }

    pub(super) async fn take(&self) -> Option<Received> {
        self.inbox.take().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // What comes while the subscription ends is counted as received, and kept for nobody.
        drop(self.inbox.drain());
    }
}

impl Source {
    /// Opens `embedded`, `nats://…`, `tls://…` or `nats-server`. `run` is the run's id (delivery
    /// headers, stream prefix).
    pub async fn open(address: &str, run: &str) -> Result<Self, BusError> {
        let (address, run) = (address.to_owned(), run.to_owned());
        Self::open_with(OpenInput { address, run, ..OpenInput::default() }).await
    }

    /// Opens a bus with everything that can be said about it.
    pub async fn open_with(input: OpenInput) -> Result<Self, BusError> {
        Self::open_with_files(input, Files::default()).await
    }

    /// The same, with credentials and certificates (`NATS_CREDS`, `NATS_CA`, `NATS_CERT`, `NATS_KEY`);
    /// what the URL names goes before.
    pub async fn open_with_files(input: OpenInput, files: Files) -> Result<Self, BusError> {
        let kind = match input.address.as_str() {
            "embedded" => Kind::Embedded {
                router: Arc::default(),
                run: input.run,
                serves: AtomicBool::new(false),
            },
            "nats-server" => {
                let child = ServerChild::start(input.search_path.as_deref()).await?;
                let url = child.url().to_owned();
                let servers = open_servers(&url, input.run, files).await?;
                Kind::Nats { servers: Arc::new(servers), url, child: Some(child) }
            }
            url => {
                let url = with_prefix(url, input.prefix.as_deref())?;
                let servers = open_servers(&url, input.run, files).await?;
                Kind::Nats { servers: Arc::new(servers), url, child: None }
            }
        };
        Ok(Self(Arc::new(Shared {
            kind,
            connections: AtomicU32::new(0),
            subscriptions: AtomicU64::new(0),
            ledger: Arc::default(),
            holding: Arc::default(),
        })))
    }

    /// A URL for other processes (targets, services); `None` for the embedded bus. It may hold a
    /// password: hand it on, never print it.
    pub fn url(&self) -> Option<String> {
        match &self.0.kind {
            Kind::Embedded { .. } => None,
            Kind::Nats { url, .. } => Some(url.clone()),
        }
    }

    /// The run's id; `None` for an embedded bus without services, on which there is nobody to ask.
    pub fn run(&self) -> Option<&str> {
        match &self.0.kind {
            Kind::Embedded { run, serves, .. } => {
                serves.load(Ordering::Relaxed).then_some(run.as_str())
            }
            Kind::Nats { servers, .. } => Some(servers.run()),
        }
    }

    /// Says that services are on this bus whose figures a run may ask for, be it embedded.
    pub fn has_services(&self) {
        if let Kind::Embedded { serves, .. } = &self.0.kind {
            serves.store(true, Ordering::Relaxed);
        }
    }

    /// Whose the subjects of the bus are: nobody else's on a bus that is the run's own, those under a
    /// prefix, or everybody's.
    pub fn subjects(&self) -> String {
        match &self.0.kind {
            Kind::Embedded { .. } | Kind::Nats { child: Some(_), .. } => "own".to_owned(),
            Kind::Nats { servers, .. } => match servers.prefix().tokens() {
                Some(tokens) => format!("own, under `{tokens}`"),
                None => "shared".to_owned(),
            },
        }
    }

    /// What the summary says of it: kind and version, never a password.
    pub fn describe(&self) -> String {
        match &self.0.kind {
            Kind::Embedded { .. } => "embedded".to_owned(),
            Kind::Nats { servers, .. } => servers.describe(),
        }
    }

    /// A connection for a shard (or a VU), on the calling thread's runtime.
    pub async fn connect(&self, name: &str) -> Result<Connection, BusError> {
        let number = self.0.connections.fetch_add(1, Ordering::Relaxed);
        let backend = match &self.0.kind {
            Kind::Embedded { router, .. } => Backend::Embedded(Embedded::connect(router, number)),
            Kind::Nats { servers, .. } => {
                Backend::Nats(servers.connect(name, number, &self.0.ledger).await?)
            }
        };
        Ok(Connection(Rc::new(Inner { shared: self.0.clone(), backend })))
    }

    /// What happened to connections since the last call: the run asks each second.
    pub fn take_events(&self) -> ConnectionEvents {
        match &self.0.kind {
            Kind::Embedded { .. } => ConnectionEvents::default(),
            Kind::Nats { servers, .. } => servers.take_events(),
        }
    }

    /// How many connections VUs hold beside their own; `None` if none ever asked for one.
    pub fn held(&self) -> Option<u32> {
        self.0.holding.up()
    }

    /// What is to be said of connections that VUs asked for and could not have.
    pub fn refusals(&self) -> Option<String> {
        self.0.holding.remark()
    }

    /// What of delivery is known only at the end of the run. Call it when no VU sends any more, while
    /// the shards' runtimes still run and before [`Source::close`]: it waits up to [`SETTLE`] for
    /// what is on its way and for connections that are being closed, and takes subscriptions that
    /// still live as ended.
    pub async fn delivery_report(&self) -> DeliveryReport {
        let ledger = &self.0.ledger;
        let settling = async {
            while ledger.outstanding() > 0 || self.0.holding.is_closing() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(SETTLE, settling).await;
        ledger.report()
    }

    /// Removes what the run created on the bus (streams). A child stops when the last clone of this
    /// is dropped, and with it every connection.
    pub async fn close(&self) {
        let Kind::Nats { servers, .. } = &self.0.kind else { return };
        let streams = servers.take_streams();
        if streams.is_empty() {
            return;
        }
        let removing = async {
            let connection = servers.connect("wavetank close", u32::MAX, &self.0.ledger).await?;
            for stream in streams {
                // A server that is gone or has lost the stream has nothing to remove.
                let _ = connection.delete_stream(&stream).await;
            }
            Ok::<_, BusError>(())
        };
        let _ = tokio::time::timeout(Duration::from_secs(10), removing).await;
    }
}

/// The address with a prefix for all subjects, unless it has one.
fn with_prefix(url: &str, prefix: Option<&str>) -> Result<String, BusError> {
    let given = Address::parse(url)?.prefix;
    match prefix.filter(|_| given == Prefix::default()) {
        None => Ok(url.to_owned()),
        Some(prefix) => {
            Prefix::read(prefix)?;
            let joint = if url.contains('?') { '&' } else { '?' };
            Ok(format!("{url}{joint}prefix={prefix}"))
        }
    }
}

async fn open_servers(url: &str, run: String, more: Files) -> Result<Servers, BusError> {
    let address = Address::parse(url)?;
    let files = Files {
        credentials: address.files.credentials.clone().or(more.credentials),
        authority: address.files.authority.clone().or(more.authority),
        certificate: address.files.certificate.clone().or(more.certificate),
        key: address.files.key.clone().or(more.key),
    };
    Servers::open(address, files, run).await
}

impl Connection {
    /// Publishes without measuring: for services in the runner and `wavetank serve`.
    pub async fn publish_raw(
        &self,
        subject: &str,
        payload: bytes::Bytes,
        headers: Headers,
        reply_to: Option<&str>,
    ) -> Result<(), Failure> {
        let refused = |misuse: crate::primitive::Misuse| Failure::new("refused", misuse.0);
        validate_subject(subject).map_err(refused)?;
        validate_headers(&headers).map_err(refused)?;
        if let Some(reply_to) = reply_to {
            validate_subject(reply_to).map_err(refused)?;
        }
        let message = Message {
            subject: subject.to_owned(),
            payload,
            headers,
            reply_to: reply_to.map(str::to_owned),
            acknowledge: None,
        };
        let prepared = self.prepare(message, None)?;
        self.hand_over(prepared).await
    }

    /// Subscribes without measuring: for services in the runner and `wavetank serve`. `capacity` is
    /// the number of messages that may wait.
    pub async fn subscribe_raw(
        &self,
        pattern: &str,
        queue: Option<&str>,
        capacity: usize,
    ) -> Result<Subscription, Failure> {
        let refused = |misuse: crate::primitive::Misuse| Failure::new("refused", misuse.0);
        validate_pattern(pattern).map_err(refused)?;
        queue.map_or(Ok(()), validate_queue).map_err(refused)?;
        self.subscribe(pattern, queue, capacity, None).await
    }

    /// Sends a message that has been checked, on the embedded bus; to a server it is only made ready,
    /// for [`Connection::hand_over`].
    pub(super) fn prepare(
        &self,
        message: Message,
        sending: Option<&Sending<'_>>,
    ) -> Result<Prepared, Failure> {
        match &self.0.backend {
            Backend::Embedded(embedded) => {
                embedded.publish(message, sending).map(|_| Prepared(None))
            }
            Backend::Nats(nats) => nats.prepare(message, sending).map(|it| Prepared(Some(it))),
        }
    }

    /// The same, of a request; the ticket is the future of its reply.
    pub(super) fn prepare_request(
        &self,
        message: Message,
        sending: Option<&Sending<'_>>,
    ) -> Result<(Prepared, Ticket), Failure> {
        match &self.0.backend {
            Backend::Embedded(embedded) => {
                embedded.request(message, sending).map(|ticket| (Prepared(None), ticket))
            }
            Backend::Nats(nats) => {
                let (prepared, ticket) = nats.prepare_request(message, sending)?;
                Ok((Prepared(Some(prepared)), ticket))
            }
        }
    }

    /// Hands a message to the connection; at once on the embedded bus.
    pub(super) async fn hand_over(&self, prepared: Prepared) -> Result<(), Failure> {
        match (&self.0.backend, prepared.0) {
            (Backend::Nats(nats), Some(prepared)) => nats.hand_over(prepared).await,
            _ => Ok(()),
        }
    }

    /// Subscribes with a pattern that has been checked; live when it returns.
    pub(super) async fn subscribe(
        &self,
        pattern: &str,
        queue: Option<&str>,
        capacity: usize,
        tracking: Option<Tracking>,
    ) -> Result<Subscription, Failure> {
        let shared = &self.0.shared;
        let id = shared.subscriptions.fetch_add(1, Ordering::Relaxed);
        let inbox = Arc::new(Inbox::new(capacity));
        let tracked = tracking.map(|tracking| {
            let tracked = Tracked::new(tracking.clock, queue.is_some());
            shared.ledger.begin(id, tracked.clone());
            (tracking, tracked, id, Ended { ledger: shared.ledger.clone(), id })
        });
        let interest = match &self.0.backend {
            Backend::Embedded(embedded) => {
                let (tracked, ended) =
                    tracked.map(|(_, tracked, _, ended)| (tracked, ended)).unzip();
                let interest = embedded.subscribe(pattern, queue, inbox.clone(), tracked);
                Interest::Embedded { _interest: interest, _ended: ended }
            }
            Backend::Nats(nats) => {
                let interest = nats.subscribe(pattern, queue, inbox.clone(), tracked).await?;
                Interest::Nats { _interest: interest }
            }
        };
        Ok(Subscription { inbox, _interest: interest })
    }

    /// Waits until the bus has everything that was published.
    pub(super) async fn flush(&self) -> Result<(), Failure> {
        match &self.0.backend {
            Backend::Embedded(_) => Ok(()),
            Backend::Nats(nats) => nats.round_trip().await,
        }
    }

    /// The connections that the VUs of the run hold beside their own.
    pub(super) fn holding(&self) -> &Arc<Holding> {
        &self.0.shared.holding
    }

    /// The backend that has JetStream.
    pub(super) fn nats(&self) -> Option<&Nats> {
        match &self.0.backend {
            Backend::Embedded(_) => None,
            Backend::Nats(nats) => Some(nats),
        }
    }
}
