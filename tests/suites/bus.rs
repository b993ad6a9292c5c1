//! The bus: one battery on both backends, and what only a real server can show.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wavetank::{
    clock::{Clock, Instant},
    metric::{Builtin, Cell, Names, Recorder, RecorderConfig, Selector, TagSet, Totals},
    plan::Limits,
    primitive::{
        Failure, LogLine, LogSink, Ops, Random, Scope, ScopeConfig,
        bus::{
            Bus, ConnectionEvents, Message, OpenInput, Outgoing, Source, StreamSpec, SubscriptionId,
        },
    },
};
use wavetank_tests::{
    certificates,
    nats::{Fate, NatsServer, proxy, search_path},
};

#[derive(Debug)]
struct Quiet;

impl LogSink for Quiet {
    fn line(&self, _: LogLine) {}
}

/// A VU with a connection and a recorder of its own.
struct Vu {
    bus: Bus,
    recorder: Rc<Recorder>,
    totals: Totals,
}

impl Vu {
    async fn new(source: &Source, limits: Limits) -> Self {
        let config = RecorderConfig {
            registry: Arc::default(),
            names: Names::default(),
            windowed: Vec::new(),
            max_series: 1_000,
        };
        let recorder = Rc::new(Recorder::new(config, 0, Instant::ZERO));
        let scope = Rc::new(Scope::new(
            ScopeConfig {
                clock: Clock::real(),
                recorder: recorder.clone(),
                limits: Arc::new(limits),
                ops: Ops::new::<&str>(&[], recorder.names()),
                metrics: Arc::default(),
                log: Rc::new(Quiet),
                trace: false,
                seed: 0,
            },
            1,
        ));
        scope.begin(TagSet::default(), Instant::ZERO, Random::new(0, "test", 0));
        let bus = Bus::new(scope, source.connect("vu").await.unwrap());
        Self { bus, recorder, totals: Totals::default() }
    }

    async fn on(source: &Source) -> Self {
        Self::new(source, Limits::default()).await
    }

    fn sum(&mut self, metric: Builtin) -> f64 {
        self.totals.merge(&self.recorder.take(Instant::ZERO));
        let (registry, names) = (self.recorder.registry(), self.recorder.names());
        match self.totals.select(registry, names, metric.id(), &Selector::default()) {
            Cell::Counter(sum) => sum,
            Cell::Rate(rate) => rate.hits as f64,
            cell => cell.samples() as f64,
        }
    }

    async fn publish(&self, subject: &str, payload: &str) {
        self.bus.publish(to(subject, payload)).await.unwrap().unwrap();
    }

    async fn subscribe(&self, pattern: &str, queue: Option<&str>) -> SubscriptionId {
        self.bus.subscribe(pattern, queue).await.unwrap().unwrap()
    }

    async fn next(&self, id: SubscriptionId) -> Message {
        self.bus.next(id, None).await.unwrap().unwrap().expect("a message")
    }

    /// What comes within a moment that is long enough for what was sent before.
    async fn rest(&self, id: SubscriptionId) -> Vec<Message> {
        self.bus.flush().await.unwrap().unwrap();
        let mut messages = Vec::new();
        let moment = Some(Duration::from_millis(200));
        while let Some(message) = self.bus.next(id, moment).await.unwrap().unwrap() {
            messages.push(message);
        }
        messages
    }

    async fn ask(&self, subject: &str, timeout: Duration) -> Result<Message, Failure> {
        self.bus.request(to(subject, ""), Some(timeout)).await.unwrap()
    }
}

fn to(subject: &str, payload: &str) -> Outgoing {
    Outgoing {
        subject: subject.to_owned(),
        payload: payload.to_owned().into(),
        ..Outgoing::default()
    }
}

async fn open(address: &str) -> Source {
    Source::open(address, "run1").await.unwrap()
}

macro_rules! on_both {
    ($($name:ident)*) => {
        mod embedded {
            $(#[tokio::test] async fn $name() { super::$name(&super::open("embedded").await).await })*
        }
        mod nats {
            $(#[tokio::test] async fn $name() {
                let server = super::NatsServer::start().await;
                super::$name(&super::open(&server.url()).await).await;
            })*
        }
        mod nats_under_a_prefix {
            $(#[tokio::test] async fn $name() {
                let server = super::NatsServer::start().await;
                let url = format!("{}?prefix=wt_here.too", server.url());
                super::$name(&super::open(&url).await).await;
            })*
        }
    };
}

on_both! {
    wildcards_deliver_what_they_match
    a_queue_group_shares_its_messages
    requests_are_answered_each_with_its_own_reply
    a_request_without_a_subscriber_says_so_at_once
    headers_arrive_as_they_were_sent
    messages_of_one_sender_keep_their_order
    a_slow_consumer_drops_and_counts
    requests_given_up_leave_the_others_alone
    what_would_break_the_protocol_is_refused
    deliveries_are_measured
    a_subscription_that_ends_gets_nothing_more
}

async fn wildcards_deliver_what_they_match(source: &Source) {
    let (one, other) = (Vu::on(source).await, Vu::on(source).await);
    let star = one.subscribe("a.*.c", None).await;
    let tail = one.subscribe("a.>", None).await;
    let all = one.subscribe(">", None).await;
    for subject in ["a.b.c", "a.x.c", "a.b", "a.b.c.d", "b"] {
        other.publish(subject, "x").await;
    }
    other.bus.flush().await.unwrap().unwrap();
    let subjects = async |id| {
        let messages: Vec<Message> = one.rest(id).await;
        let subjects = messages.into_iter().map(|message| message.subject);
        subjects.filter(|subject| !subject.starts_with("_INBOX")).collect::<Vec<_>>()
    };
    assert_eq!(subjects(star).await, ["a.b.c", "a.x.c"]);
    assert_eq!(subjects(tail).await, ["a.b.c", "a.x.c", "a.b", "a.b.c.d"]);
    assert_eq!(subjects(all).await, ["a.b.c", "a.x.c", "a.b", "a.b.c.d", "b"]);
}

async fn a_queue_group_shares_its_messages(source: &Source) {
    let (one, other) = (Vu::on(source).await, Vu::on(source).await);
    let members =
        [one.subscribe("work", Some("group")).await, one.subscribe("work", Some("group")).await];
    let watcher = one.subscribe("work", None).await;
    let messages = (0..400).map(|index| to("work", &index.to_string())).collect();
    for result in other.bus.publish_all(messages).await.unwrap() {
        result.unwrap();
    }
    other.bus.flush().await.unwrap().unwrap();
    let shares = [one.rest(members[0]).await.len(), one.rest(members[1]).await.len()];
    assert_eq!(shares.iter().sum::<usize>(), 400);
    // At random, a member gets fewer than 100 of 400 once in 10^24 runs.
    assert!(shares.iter().all(|share| *share > 100), "{shares:?}");
    assert_eq!(one.rest(watcher).await.len(), 400);
}

async fn serve(vu: &Vu, id: SubscriptionId, count: usize) {
    for _ in 0..count {
        let request = vu.next(id).await;
        let reply_to = request.reply_to.unwrap();
        let reply = Outgoing { payload: request.payload, ..to(&reply_to, "") };
        vu.bus.publish(reply).await.unwrap().unwrap();
    }
}

async fn requests_are_answered_each_with_its_own_reply(source: &Source) {
    let (mut asker, server) = (Vu::on(source).await, Vu::on(source).await);
    let id = server.subscribe("echo", None).await;
    let requests = (0..500).map(|index| to("echo", &index.to_string())).collect();
    let asking = asker.bus.request_all(requests, None);
    let (replies, ()) = tokio::join!(asking, serve(&server, id, 500));
    for (index, reply) in replies.unwrap().into_iter().enumerate() {
        assert_eq!(reply.unwrap().payload, index.to_string());
    }
    assert_eq!(asker.sum(Builtin::BusRequestDuration), 500.0);
    assert_eq!(asker.sum(Builtin::BusRequestFailed), 0.0);
}

async fn a_request_without_a_subscriber_says_so_at_once(source: &Source) {
    let vu = Vu::on(source).await;
    let failure = vu.ask("nobody", Duration::from_secs(30)).await.unwrap_err();
    assert_eq!(failure.kind, "no_responders");
}

async fn headers_arrive_as_they_were_sent(source: &Source) {
    let (one, other) = (Vu::on(source).await, Vu::on(source).await);
    let id = one.subscribe("h", None).await;
    let headers = |values: [(&str, &str); 3]| -> Vec<(String, String)> {
        values.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    };
    // White space around a value is not part of it.
    let sent = headers([("A-b", "1"), ("A-b", "  π ≈ 3, or so\t"), ("Status", " ")]);
    let message = Outgoing { headers: sent, reply_to: Some("back".to_owned()), ..to("h", "x") };
    other.bus.publish(message).await.unwrap().unwrap();
    let received = one.next(id).await;
    let mut sorted = received.headers;
    sorted.sort();
    assert_eq!(sorted, headers([("A-b", "1"), ("A-b", "π ≈ 3, or so"), ("Status", "")]));
    assert_eq!(received.reply_to.as_deref(), Some("back"));
}

async fn messages_of_one_sender_keep_their_order(source: &Source) {
    let (mut one, other) = (Vu::on(source).await, Vu::on(source).await);
    let id = one.subscribe("o.>", None).await;
    for index in 0..2_000 {
        other.publish(&format!("o.{}", index % 7), &index.to_string()).await;
    }
    for index in 0..2_000 {
        assert_eq!(one.next(id).await.payload, index.to_string());
    }
    assert_eq!(one.sum(Builtin::BusReordered) + one.sum(Builtin::BusDuplicated), 0.0);
}

async fn a_slow_consumer_drops_and_counts(source: &Source) {
    let limits = Limits { subscription_queue: 10, ..Limits::default() };
    let (mut one, other) = (Vu::new(source, limits).await, Vu::on(source).await);
    let id = one.subscribe("s", None).await;
    for index in 0..100 {
        other.publish("s", &index.to_string()).await;
    }
    other.bus.flush().await.unwrap().unwrap();
    // The queue is full before anything is taken from it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let kept: Vec<_> = one.rest(id).await.into_iter().map(|message| message.payload).collect();
    assert_eq!(kept, (0..10).map(|index| index.to_string()).collect::<Vec<_>>());
    assert_eq!(one.sum(Builtin::BusSlowConsumerDrops), 90.0);
    assert_eq!(source.delivery_report().await.lost, []);
}

async fn requests_given_up_leave_the_others_alone(source: &Source) {
    let (mut asker, server) = (Vu::on(source).await, Vu::on(source).await);
    let id = server.subscribe("echo", None).await;
    for _ in 0..20 {
        let request = asker.bus.request(to("echo", "given up"), None);
        assert!(tokio::time::timeout(Duration::from_millis(5), request).await.is_err());
    }
    let asking = asker.bus.request(to("echo", "kept"), None);
    let (reply, ()) = tokio::join!(asking, serve(&server, id, 21));
    assert_eq!(reply.unwrap().unwrap().payload, "kept");
    assert_eq!(asker.sum(Builtin::BusRequests), 21.0);
}

async fn what_would_break_the_protocol_is_refused(source: &Source) {
    let (mut one, other) = (Vu::on(source).await, Vu::on(source).await);
    let all = other.subscribe(">", None).await;
    let header = |name: &str, value: &str| Outgoing {
        headers: vec![(name.to_owned(), value.to_owned())],
        ..to("a", "")
    };
    for message in [
        to("a b", ""),
        to("a\r\nPUB evil 0\r\n\r\n", ""),
        to("foo..bar", ""),
        to("foo.*", ""),
        to("a\0b", ""),
        to("", ""),
        header("a", "b\r\nEvil: c"),
        header("a b", "c"),
        header("a\r\n", "c"),
        Outgoing { reply_to: Some("a b".to_owned()), ..to("a", "") },
        Outgoing { payload: vec![0; (1 << 20) + 1].into(), ..to("a", "") },
    ] {
        one.bus.publish(message.clone()).await.unwrap_err();
        one.bus.request(message, None).await.unwrap_err();
    }
    for pattern in ["a b", "a\r\nb", "a..b", "a.>.b", ""] {
        one.bus.subscribe(pattern, None).await.unwrap_err();
        one.bus.subscribe("a", Some(pattern)).await.err().filter(|_| pattern != "a.>.b");
    }
    one.bus.flush().await.unwrap().unwrap();
    let seen = other.rest(all).await;
    assert!(seen.iter().all(|message| message.subject.starts_with("_INBOX")), "{seen:?}");
    assert_eq!(one.sum(Builtin::BusPublished) + one.sum(Builtin::BusRequests), 0.0);
}

async fn deliveries_are_measured(source: &Source) {
    let (mut one, mut other) = (Vu::on(source).await, Vu::on(source).await);
    let id = one.subscribe("d.*", None).await;
    for index in 0..100 {
        other.publish(&format!("d.{index}"), "x").await;
        other.publish(&format!("e.{index}"), "x").await;
    }
    for _ in 0..100 {
        assert_eq!(one.next(id).await.headers, []);
    }
    assert_eq!(one.sum(Builtin::BusDeliveryDuration), 100.0);
    assert_eq!(one.sum(Builtin::BusReceived), 100.0);
    assert_eq!(other.sum(Builtin::BusPublished), 200.0);
    let report = source.delivery_report().await;
    assert_eq!((report.expected, report.received, report.lost), (100, 100, Vec::new()));
}

async fn a_subscription_that_ends_gets_nothing_more(source: &Source) {
    let (one, other) = (Vu::on(source).await, Vu::on(source).await);
    let id = one.subscribe("u", None).await;
    one.bus.unsubscribe(id).await.unwrap();
    one.bus.next(id, None).await.unwrap_err();
    one.bus.unsubscribe(id).await.unwrap_err();
    one.bus.flush().await.unwrap().unwrap();
    assert_eq!(other.ask("u", Duration::from_secs(30)).await.unwrap_err().kind, "no_responders");
}

#[tokio::test]
async fn a_server_that_dies_and_returns_is_used_again() {
    let mut server = NatsServer::start().await;
    let source = open(&server.url()).await;
    let (vu, other) = (Vu::on(&source).await, Vu::on(&source).await);
    let id = vu.subscribe("a", None).await;
    other.publish("a", "before").await;
    assert_eq!(vu.next(id).await.payload, "before");
    assert_eq!(source.take_events(), ConnectionEvents::default());

    server.kill();
    // Until the connection has noticed, an operation may time out; none hangs.
    let kinds: Vec<_> = until_disconnected(&other).await;
    assert!(kinds.iter().all(|kind| ["timeout", "disconnected"].contains(kind)), "{kinds:?}");
    let failure = other.bus.publish(to("a", "x")).await.unwrap().unwrap_err();
    assert_eq!(failure.kind, "disconnected");
    assert_eq!(vu.bus.subscribe("b", None).await.unwrap().unwrap_err().kind, "disconnected");

    server.restart().await;
    for _ in 0..500 {
        if other.bus.flush().await.unwrap().is_ok() && vu.bus.flush().await.unwrap().is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    other.publish("a", "after").await;
    loop {
        let message = vu.next(id).await;
        if message.payload == "after" {
            break;
        }
    }
    let events = source.take_events();
    assert_eq!((events.reconnects, events.disconnects), (2, 2));
}

#[tokio::test]
async fn a_held_connection_counts_while_its_socket_is_there() {
    let mut server = NatsServer::start().await;
    let source = open(&server.url()).await;
    let mut vu = Vu::on(&source).await;
    assert_eq!(source.held(), None);
    let held = vu.bus.connect(None, None).await.unwrap().unwrap();
    assert_eq!((vu.bus.is_held(held), source.held()), (true, Some(1)));
    server.kill();
    until(|| !vu.bus.is_held(held)).await;
    assert_eq!(source.held(), Some(0));
    let failure = vu.bus.connect(None, None).await.unwrap().unwrap_err();
    assert_eq!(failure.kind, "refused", "{failure}");
    server.restart().await;
    until(|| vu.bus.is_held(held)).await;
    assert_eq!(source.held(), Some(1));
    vu.bus.disconnect(held).await;
    assert_eq!((vu.bus.is_held(held), source.held()), (false, Some(0)));
    assert_eq!((vu.sum(Builtin::BusConnects), vu.sum(Builtin::BusConnectFailed)), (2.0, 1.0));
    let remark = source.refusals().unwrap();
    assert!(remark.starts_with("1 further connections"), "{remark}");
    assert!(remark.contains("when 0 were held: refused: cannot connect"), "{remark}");
}

/// Waits until something is so.
async fn until(so: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be so");
}

async fn until_disconnected(vu: &Vu) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    while kinds.last() != Some(&"disconnected") {
        kinds.push(vu.ask("a", Duration::from_millis(50)).await.unwrap_err().kind);
    }
    kinds
}

#[tokio::test]
async fn an_unreachable_bus_is_said_quickly_and_without_the_password() {
    let mut server = NatsServer::start().await;
    server.kill();
    let url = format!("nats://user:hunter2@127.0.0.1:{}", server.port());
    let message = Source::open(&url, "run").await.unwrap_err().to_string();
    assert!(message.contains(&format!("nats://127.0.0.1:{}", server.port())), "{message}");
    assert!(message.contains("--bus nats-server") && !message.contains("hunter2"), "{message}");
    let message = Source::open("http://u:hunter2@h", "run").await.unwrap_err().to_string();
    assert!(message.contains("nats://host:port") && !message.contains("hunter2"), "{message}");
}

#[tokio::test]
async fn credentials_in_the_url_are_used_and_never_shown() {
    let config = "authorization { user: \"us@er\", password: \"hunter2/x\" }";
    let server = NatsServer::with_config(config).await;
    let port = server.port();
    let source = open(&format!("nats://us%40er:hunter2%2Fx@127.0.0.1:{port}")).await;
    let vu = Vu::on(&source).await;
    vu.publish("a", "x").await;
    vu.bus.flush().await.unwrap().unwrap();
    assert!(!format!("{source:?} {}", source.describe()).contains("hunter2"));
    assert!(source.describe().starts_with("nats-server 2."), "{}", source.describe());
    for login in ["", "us%40er:wrongword@"] {
        let refused = Source::open(&format!("nats://{login}127.0.0.1:{port}"), "run").await;
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("user and password"), "{message}");
        assert!(!message.contains("wrongword"), "{message}");
    }
}

#[tokio::test]
async fn a_reply_larger_than_the_limit_is_a_failure() {
    let server = NatsServer::with_config("max_payload: 16777216").await;
    let source = open(&server.url()).await;
    let vu = Vu::on(&source).await;
    let connection = source.connect("service").await.unwrap();
    let requests = connection.subscribe_raw("big", None, 10).await.unwrap();
    let answering = async {
        let reply_to = requests.next().await.unwrap().reply_to.unwrap();
        let payload = vec![b'x'; 8 << 20].into();
        connection.publish_raw(&reply_to, payload, Vec::new(), None).await.unwrap();
    };
    let (reply, ()) = tokio::join!(vu.ask("big", Duration::from_secs(30)), answering);
    let failure = reply.unwrap_err();
    assert_eq!(failure.kind, "payload_too_large");
    assert!(failure.message.contains("8388608"), "{failure}");
}

#[tokio::test]
async fn a_restricted_user_can_still_subscribe() {
    let config = "authorization { users = [ { user: u, password: p, permissions: \
                  { publish: [\"a\"], subscribe: [\"a\", \"_INBOX.>\"] } } ] }";
    let server = NatsServer::with_config(config).await;
    let source = open(&format!("nats://u:p@127.0.0.1:{}", server.port())).await;
    let vu = Vu::on(&source).await;
    let id = vu.subscribe("a", None).await;
    vu.publish("a", "x").await;
    assert_eq!(vu.next(id).await.payload, "x");
    let notes = source.take_events().notes.join(" ").to_lowercase();
    assert!(notes.contains("permissions violation"), "{notes}");
}

#[tokio::test]
async fn losses_duplicates_and_reorderings_are_what_was_done_to_the_messages() {
    let server = NatsServer::start().await;
    let port = proxy(server.port(), |subject, number| match number % 100 {
        _ if subject != "d" => Fate::Pass,
        3 | 50 | 99 => Fate::Drop,
        10 | 60 => Fate::Twice,
        20 | 40 | 70 | 80 => Fate::Late,
        _ => Fate::Pass,
    })
    .await;
    let source = open(&format!("nats://127.0.0.1:{port}")).await;
    let (mut one, other) = (Vu::on(&source).await, Vu::on(&source).await);
    let id = one.subscribe("d", None).await;
    for index in 0..1_000 {
        other.publish("d", &index.to_string()).await;
    }
    // Each hundred loses three, has two twice, and gets four after their successors.
    let mut received = 0;
    while received < 990 {
        one.next(id).await;
        received += 1;
    }
    let report = source.delivery_report().await;
    let mut recorder = Vu::on(&source).await;
    report.record(&recorder.recorder);
    assert_eq!(one.sum(Builtin::BusReceived), 990.0);
    assert_eq!(one.sum(Builtin::BusDuplicated), 20.0);
    assert_eq!(one.sum(Builtin::BusReordered), 40.0);
    assert_eq!(one.sum(Builtin::BusDeliveryDuration), 970.0);
    assert_eq!((report.expected, report.received), (1_000, 970));
    assert_eq!(recorder.sum(Builtin::BusLost), 30.0);
    assert_eq!(recorder.sum(Builtin::BusDeliveryDuration), 30.0);
}

/// A peer that speaks the protocol by hand.
async fn raw(server: &NatsServer, bytes: &[u8]) {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    stream.write_all(b"CONNECT {\"headers\":true,\"verbose\":false}\r\n").await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.write_all(b"PING\r\n").await.unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
    while !answer.windows(4).any(|window| window == b"PONG") {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the server hung up");
        answer.extend_from_slice(&buffer[..read]);
    }
}

#[tokio::test]
async fn a_peer_with_headers_that_cannot_be_read_hangs_nobody() {
    let server = NatsServer::start().await;
    let source = open(&server.url()).await;
    let vu = Vu::on(&source).await;
    let id = vu.subscribe("a", None).await;
    // Numbers of other runs, of no sender, and none at all are no deliveries of ours.
    for value in ["other,0,1", "run1,99,1", "run1,0,99999999999999999999", "run1", "", "run1,,"] {
        let headers = format!("NATS/1.0\r\nWavetank-Seq: {value}\r\n\r\n");
        let length = headers.len();
        let publish = format!("HPUB a {length} {length}\r\n{headers}\r\n");
        raw(&server, publish.as_bytes()).await;
        assert_eq!(vu.next(id).await.headers, []);
    }
    raw(&server, b"HPUB a 20 20\r\nNATS/1.0\r\nA: b\rc\r\n\r\n\r\n").await;
    let ended = vu.bus.next(id, Some(Duration::from_secs(10))).await.unwrap();
    assert_eq!(ended.unwrap_err().kind, "disconnected");
    let failure = vu.ask("a", Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(failure.kind, "disconnected");
    let notes = source.take_events().notes.join(" ");
    assert!(notes.contains("cannot be read"), "{notes}");
}

fn stream(name: &str, subject: &str) -> StreamSpec {
    StreamSpec {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        memory: true,
        max_messages: None,
    }
}

#[tokio::test]
async fn jetstream_stores_deduplicates_and_delivers_until_acknowledged() {
    let server = NatsServer::start().await;
    let source = open(&server.url()).await;
    let mut vu = Vu::on(&source).await;
    vu.bus.ensure_stream(stream("orders", "orders.>")).await.unwrap().unwrap();
    vu.bus.ensure_stream(stream("orders", "orders.>")).await.unwrap().unwrap();
    let publish = async |payload: &str, id: Option<&str>| {
        // A header that looks like what the server says of a pull is a message's all the same.
        let headers = vec![("Status".to_owned(), "404".to_owned())];
        let message = Outgoing { headers, ..to("orders.new", payload) };
        vu.bus.publish_acknowledged(message, id, None).await.unwrap().unwrap()
    };
    let first = publish("1", Some("id-1")).await;
    assert_eq!((first.stream.as_str(), first.sequence), ("wavetank_run1_orders", 1));
    assert!(!first.duplicate && publish("1", Some("id-1")).await.duplicate);
    assert_eq!(publish("2", None).await.sequence, 2);
    let sent = vu.sum(Builtin::DataSent);
    let none = vu.bus.publish_acknowledged(to("unstored", "12345"), None, None).await.unwrap();
    assert_eq!(none.unwrap_err().kind, "jetstream");
    assert_eq!(vu.sum(Builtin::DataSent), sent + 5.0, "it was sent, and not acknowledged");

    let consumer = vu.bus.consumer("orders", Some("worker"), None).await.unwrap().unwrap();
    let moment = Some(Duration::from_secs(1));
    let messages = vu.bus.fetch(consumer, 10, moment).await.unwrap().unwrap();
    let payloads: Vec<_> = messages.iter().map(|message| message.payload.clone()).collect();
    assert_eq!(payloads, ["1", "2"]);
    let tokens: Vec<_> = messages.iter().map(|message| message.acknowledge.unwrap()).collect();
    vu.bus.acknowledge(tokens[0]).await.unwrap().unwrap();
    vu.bus.acknowledge(tokens[0]).await.unwrap_err();
    let filtered = vu.bus.consumer("orders", None, Some("orders.other")).await.unwrap().unwrap();
    let nothing = Some(Duration::from_millis(50));
    assert_eq!(vu.bus.fetch(filtered, 1, nothing).await.unwrap().unwrap().len(), 0);
    let missing = vu.bus.consumer("missing", None, None).await.unwrap();
    assert_eq!(missing.unwrap_err().kind, "jetstream");
    assert_eq!(vu.sum(Builtin::BusReceived), 2.0);
    assert_eq!(vu.sum(Builtin::BusPublishDuration), 3.0);

    source.close().await;
    let gone = vu.bus.consumer("orders", None, None).await.unwrap();
    assert_eq!(gone.unwrap_err().kind, "jetstream");
}

#[tokio::test]
async fn what_was_fetched_before_a_failure_is_returned_and_the_failure_after_it() {
    let server = NatsServer::start().await;
    let source = open(&server.url()).await;
    let vu = Vu::new(&source, Limits { payload_bytes: 1_000, ..Limits::default() }).await;
    vu.bus.ensure_stream(stream("orders", "orders")).await.unwrap().unwrap();
    let foreign = source.connect("foreign").await.unwrap();
    for size in [1, 2, 2_000, 3] {
        let payload = vec![b'x'; size].into();
        foreign.publish_raw("orders", payload, Vec::new(), None).await.unwrap();
        // The stream has it before the next one is sent.
        vu.bus.flush().await.unwrap().unwrap();
    }
    let consumer = vu.bus.consumer("orders", None, None).await.unwrap().unwrap();
    let fetch = async || vu.bus.fetch(consumer, 10, Some(Duration::from_secs(1))).await.unwrap();
    let sizes = |messages: Vec<Message>| -> Vec<usize> {
        messages.iter().map(|message| message.payload.len()).collect()
    };
    assert_eq!(sizes(fetch().await.unwrap()), [1, 2]);
    assert_eq!(fetch().await.unwrap_err().kind, "payload_too_large");
    assert_eq!(sizes(fetch().await.unwrap()), [3]);
}

#[tokio::test]
async fn a_stream_that_exists_is_used_and_left_alone() {
    let server = NatsServer::start().await;
    let (mine, theirs) = (open(&server.url()).await, open(&server.url()).await);
    let vu = Vu::on(&mine).await;
    vu.bus.ensure_stream(stream("a", "a")).await.unwrap().unwrap();
    let other = Vu::on(&theirs).await;
    other.bus.ensure_stream(stream("wavetank_run1_a", "a")).await.unwrap().unwrap();
    theirs.close().await;
    let stored = vu.bus.publish_acknowledged(to("a", ""), None, None).await.unwrap().unwrap();
    assert_eq!(stored.stream, "wavetank_run1_a");
}

#[tokio::test]
async fn what_has_a_prefix_of_its_own_is_heard_by_nobody_else() {
    let server = NatsServer::start().await;
    let under = |prefix: &'static str| {
        let (address, prefix) = (server.url(), Some(prefix.to_owned()));
        OpenInput { address, run: "run1".to_owned(), prefix, ..OpenInput::default() }
    };
    let one = Source::open_with(under("wt_one")).await.unwrap();
    let other = Source::open_with(under("wt_other")).await.unwrap();
    let everybody = open(&server.url()).await;
    assert_eq!(one.url().unwrap(), format!("{}?prefix=wt_one", server.url()));
    let subjects = [&one, &other, &everybody].map(Source::subjects);
    assert_eq!(subjects, ["own, under `wt_one`", "own, under `wt_other`", "shared"]);
    let (mut here, there, outside) =
        (Vu::on(&one).await, Vu::on(&other).await, Vu::on(&everybody).await);
    let (all, others, seen) = (
        here.subscribe(">", None).await,
        there.subscribe("jobs.>", None).await,
        outside.subscribe("*.jobs.>", None).await,
    );
    here.publish("jobs.a", "1").await;
    assert_eq!(here.next(all).await.subject, "jobs.a");
    assert_eq!(outside.next(seen).await.subject, "wt_one.jobs.a");
    // A reply goes to a subject that somebody named, and finds them under their prefix.
    let replies = here.subscribe("replies.1", None).await;
    let asked = Outgoing { reply_to: Some("replies.1".to_owned()), ..to("jobs.b", "") };
    here.bus.publish(asked).await.unwrap().unwrap();
    let question = here.next(all).await;
    assert_eq!(question.reply_to.as_deref(), Some("replies.1"));
    here.publish(&question.reply_to.unwrap(), "2").await;
    assert_eq!(here.next(replies).await.subject, "replies.1");
    assert!(there.rest(others).await.is_empty(), "the other run heard it");
    assert_eq!(one.delivery_report().await.lost, []);
    assert_eq!(here.sum(Builtin::BusDeliveryDuration), 3.0, "what was taken");
    // Each has a stream of that name, with what it published itself.
    for vu in [&here, &there] {
        vu.bus.ensure_stream(stream("JOBS", "jobs.>")).await.unwrap().unwrap();
        vu.bus.publish_acknowledged(to("jobs.c", "3"), None, None).await.unwrap().unwrap();
        let consumer = vu.bus.consumer("JOBS", None, Some("jobs.*")).await.unwrap().unwrap();
        let moment = Some(Duration::from_millis(300));
        let stored = vu.bus.fetch(consumer, 10, moment).await.unwrap().unwrap();
        let subjects: Vec<_> = stored.iter().map(|message| message.subject.as_str()).collect();
        assert_eq!(subjects, ["jobs.c"]);
        vu.bus.acknowledge(stored[0].acknowledge.unwrap()).await.unwrap().unwrap();
    }
    one.close().await;
    // Its own stream is removed: only its own subscription to everything hears this.
    let moment = Some(Duration::from_millis(300));
    let gone = here.bus.publish_acknowledged(to("jobs.d", ""), None, moment).await.unwrap();
    assert_eq!(gone.unwrap_err().kind, "timeout");
    there.bus.publish_acknowledged(to("jobs.d", ""), None, None).await.unwrap().unwrap();
    let named = OpenInput { address: format!("{}?prefix=mine", server.url()), ..under("wt_one") };
    let named = Source::open_with(named).await.unwrap();
    assert_eq!(named.subjects(), "own, under `mine`", "the address goes before");
}

#[tokio::test]
async fn jetstream_on_the_embedded_bus_names_the_remedy() {
    let source = open("embedded").await;
    let vu = Vu::on(&source).await;
    let misuse = vu.bus.ensure_stream(stream("a", "a")).await.unwrap_err();
    assert!(misuse.0.contains("--bus nats-server"), "{misuse}");
    vu.bus.publish_acknowledged(to("a", ""), None, None).await.unwrap_err();
    vu.bus.consumer("a", None, None).await.unwrap_err();
}

#[tokio::test]
async fn a_server_of_the_run_is_started_and_stopped_with_it() {
    let input = OpenInput {
        address: "nats-server".to_owned(),
        run: "run".to_owned(),
        search_path: Some(search_path()),
        ..OpenInput::default()
    };
    let source = Source::open_with(input).await.unwrap();
    let url = source.url().unwrap();
    let vu = Vu::on(&source).await;
    vu.bus.ensure_stream(stream("a", "a")).await.unwrap().unwrap();
    assert!(Source::open(&url, "other").await.is_ok());
    drop((vu, source));
    assert!(Source::open(&url, "other").await.is_err());
}

#[tokio::test]
async fn tls_is_spoken_and_an_unknown_authority_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    certificates::authority(folder.path(), "ca");
    certificates::signed(folder.path(), "ca", "server", "IP:127.0.0.1");
    let config = "tls { cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\" }";
    let server = NatsServer::in_folder(folder, config).await;
    let authority = server.file("ca.pem");
    let url = format!("tls://127.0.0.1:{}", server.port());
    let source = open(&format!("{url}?ca={}", authority.display())).await;
    let vu = Vu::on(&source).await;
    let id = vu.subscribe("a", None).await;
    vu.publish("a", "x").await;
    assert_eq!(vu.next(id).await.payload, "x");
    let message = Source::open(&url, "run").await.unwrap_err().to_string();
    assert!(message.contains("?ca=FILE"), "{message}");
}
