//! The measured handle on the embedded bus: what is recorded, and what is refused. The same battery
//! on both backends is in `tests/suites/bus.rs`; here is what needs no server.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::*;
use crate::{
    clock::{Clock, Instant},
    metric::{Builtin, Cell, Names, Recorder, RecorderConfig, Selector, TagSet, Totals},
    plan::Limits,
    primitive::{LogLine, LogSink, Ops, Random, Scope, ScopeConfig},
};

#[derive(Debug)]
struct Quiet;

impl LogSink for Quiet {
    fn line(&self, _: LogLine) {}
}

/// A VU on a shard of its own, with what it has recorded.
pub(crate) struct Vu {
    pub bus: Bus,
    pub scope: Rc<Scope>,
    recorder: Rc<Recorder>,
    totals: Totals,
}

impl Vu {
    pub async fn new(source: &Source, clock: Clock, limits: Limits) -> Self {
        let config = RecorderConfig {
            registry: Arc::default(),
            names: Names::default(),
            windowed: Vec::new(),
            max_series: 1_000,
        };
        let recorder = Rc::new(Recorder::new(config, 0, Instant::ZERO));
        let scope = Rc::new(Scope::new(
            ScopeConfig {
                clock,
                recorder: recorder.clone(),
                limits: Arc::new(limits),
                ops: Ops::new(&["known"], recorder.names()),
                metrics: Arc::default(),
                log: Rc::new(Quiet),
                trace: false,
                seed: 0,
            },
            1,
        ));
        scope.begin(TagSet::default(), Instant::ZERO, Random::new(0, "test", 0));
        let bus = Bus::new(scope.clone(), source.connect("test").await.unwrap());
        Self { bus, scope, recorder, totals: Totals::default() }
    }

    pub fn cell(&mut self, metric: Builtin, selector: &[(&str, &str)]) -> Cell<u64> {
        self.totals.merge(&self.recorder.take(Instant::ZERO));
        let selector = Selector(
            selector.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        );
        self.totals.select(self.recorder.registry(), self.recorder.names(), metric.id(), &selector)
    }

    pub fn sum(&mut self, metric: Builtin) -> f64 {
        match self.cell(metric, &[]) {
            Cell::Counter(sum) => sum,
            Cell::Rate(rate) => rate.hits as f64,
            cell => cell.samples() as f64,
        }
    }

    fn trend(&mut self, metric: Builtin, selector: &[(&str, &str)]) -> (u64, u64) {
        match self.cell(metric, selector) {
            Cell::Trend(trend) => (trend.values.len(), trend.censored.len()),
            _ => panic!("{} is not a trend", metric.name()),
        }
    }
}

pub(crate) fn to(subject: &str, payload: &str) -> Outgoing {
    Outgoing {
        subject: subject.to_owned(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        ..Outgoing::default()
    }
}

async fn two() -> (Source, Vu, Vu) {
    let source = Source::open("embedded", "run").await.unwrap();
    let clock = Clock::real();
    let one = Vu::new(&source, clock, Limits::default()).await;
    let other = Vu::new(&source, clock, Limits::default()).await;
    (source, one, other)
}

/// Answers each request on a subject with its own payload.
async fn echo(connection: Connection, subject: &'static str) {
    let requests = connection.subscribe_raw(subject, None, 1_000).await.unwrap();
    while let Some(message) = requests.next().await {
        let reply_to = message.reply_to.unwrap();
        connection.publish_raw(&reply_to, message.payload, message.headers, None).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_is_answered_and_measured() {
    let (source, mut vu, _other) = two().await;
    let service = echo(source.connect("service").await.unwrap(), "echo");
    let asking = async {
        tokio::task::yield_now().await;
        let request = Outgoing { op: Some("known".to_owned()), ..to("echo", "hello") };
        let reply = vu.bus.request(request, None).await.unwrap().unwrap();
        assert_eq!(&reply.payload[..], b"hello");
    };
    tokio::select! { () = service => panic!("the service ended"), () = asking => {} }
    let op = [("op", "known"), ("outcome", "ok")];
    assert_eq!(vu.trend(Builtin::BusRequestDuration, &op), (1, 0));
    assert_eq!(vu.sum(Builtin::BusRequests), 1.0);
    assert_eq!(vu.sum(Builtin::BusRequestFailed), 0.0);
    assert_eq!((vu.sum(Builtin::DataSent), vu.sum(Builtin::DataReceived)), (5.0, 5.0));
}

#[tokio::test]
async fn failures_are_data_with_their_kind_and_misuse_leaves_no_sample() {
    let (_source, mut vu, other) = two().await;
    let failure = vu.bus.request(to("nobody", ""), None).await.unwrap().unwrap_err();
    assert_eq!(failure.kind, "no_responders");
    other.bus.subscribe("silent", None).await.unwrap().unwrap();
    let timeout = Some(Duration::from_millis(5));
    let failure = vu.bus.request(to("silent", ""), timeout).await.unwrap().unwrap_err();
    assert_eq!(failure.kind, "timeout");
    assert_eq!(vu.trend(Builtin::BusRequestDuration, &[]), (0, 0));
    assert_eq!(vu.trend(Builtin::BusRequestDuration, &[("error", "timeout")]), (1, 0));
    assert_eq!(vu.sum(Builtin::BusRequestFailed), 2.0);

    let large = Outgoing { payload: Bytes::from(vec![0; (1 << 20) + 1]), ..to("a", "") };
    let unknown = Outgoing { op: Some("unknown".to_owned()), ..to("a", "") };
    let header = Outgoing { headers: vec![("a".into(), "b\r\nc".into())], ..to("a", "") };
    for message in [to("a b", ""), to("a\r\nb", ""), to("foo..bar", ""), large, unknown, header] {
        vu.bus.publish(message.clone()).await.unwrap_err();
        vu.bus.request(message, None).await.unwrap_err();
    }
    vu.bus.next(SubscriptionId(77), None).await.unwrap_err();
    vu.bus.unsubscribe(SubscriptionId(77)).await.unwrap_err();
    assert_eq!((vu.sum(Builtin::BusPublished), vu.sum(Builtin::BusRequests)), (0.0, 2.0));
}

#[tokio::test]
async fn a_request_that_is_given_up_is_censored_and_leaves_nothing_behind() {
    let (_source, mut vu, other) = two().await;
    let silent = other.bus.subscribe("silent", None).await.unwrap().unwrap();
    for _ in 0..100 {
        let request = vu.bus.request(to("silent", "x"), None);
        assert!(tokio::time::timeout(Duration::ZERO, request).await.is_err());
    }
    assert_eq!(vu.trend(Builtin::BusRequestDuration, &[]), (0, 100));
    // A reply to a request that was given up reaches nobody, least of all the next one.
    let late = other.bus.next(silent, None).await.unwrap().unwrap().unwrap();
    let reply_to = late.reply_to.unwrap();
    let asking = vu.bus.request(to("silent", "y"), Some(Duration::from_millis(20)));
    let answering = other.bus.publish(to(&reply_to, "late"));
    let (reply, answered) = tokio::join!(asking, answering);
    answered.unwrap().unwrap();
    assert_eq!(reply.unwrap().unwrap_err().kind, "timeout");
}

#[tokio::test]
async fn what_was_not_handed_over_was_not_sent() {
    let source = Source::open("embedded", "run").await.unwrap();
    let limits = Limits { payload_bytes: 4 << 20, ..Limits::default() };
    let mut vu = Vu::new(&source, Clock::real(), limits).await;
    vu.bus.subscribe("silent", None).await.unwrap().unwrap();
    let large = Outgoing { payload: Bytes::from(vec![0; 2 << 20]), ..to("silent", "") };
    let refused = vu.bus.request(large, None).await.unwrap().unwrap_err();
    assert_eq!(refused.kind, "payload_too_large");
    assert_eq!((vu.sum(Builtin::DataSent), vu.sum(Builtin::BusRequestFailed)), (0.0, 1.0));
    // A request that nobody answers was sent all the same, be it given up in its middle.
    let timeout = Some(Duration::from_millis(5));
    let failure = vu.bus.request(to("silent", "12345"), timeout).await.unwrap().unwrap_err();
    assert_eq!(failure.kind, "timeout");
    let cut = vu.bus.request(to("silent", "123"), None);
    assert!(tokio::time::timeout(Duration::ZERO, cut).await.is_err());
    assert_eq!(vu.sum(Builtin::DataSent), 8.0);
}

#[tokio::test]
async fn delivery_is_measured_only_where_the_run_subscribes() {
    let (source, mut sender, mut receiver) = two().await;
    let id = receiver.bus.subscribe("seen.*", None).await.unwrap().unwrap();
    for index in 0..10 {
        sender.bus.publish(to(&format!("seen.{index}"), "x")).await.unwrap().unwrap();
        sender.bus.publish(to(&format!("unseen.{index}"), "x")).await.unwrap().unwrap();
    }
    for index in 0..9 {
        let message = receiver.bus.next(id, None).await.unwrap().unwrap().unwrap();
        assert_eq!(message.subject, format!("seen.{index}"));
        assert_eq!(message.headers, []);
    }
    // The tenth is received but never taken: that is no loss.
    receiver.bus.unsubscribe(id).await.unwrap();
    assert_eq!(receiver.trend(Builtin::BusDeliveryDuration, &[]), (10, 0));
    assert_eq!(receiver.sum(Builtin::BusReceived), 9.0);
    assert_eq!(sender.sum(Builtin::BusPublished), 20.0);
    let report = source.delivery_report().await;
    assert_eq!((report.expected, report.received, report.lost), (10, 10, Vec::new()));
}

#[tokio::test]
async fn a_slow_consumer_loses_what_does_not_fit_and_it_is_counted() {
    let source = Source::open("embedded", "run").await.unwrap();
    let limits = Limits { subscription_queue: 3, ..Limits::default() };
    let mut vu = Vu::new(&source, Clock::real(), limits).await;
    let id = vu.bus.subscribe("a", None).await.unwrap().unwrap();
    let messages = (0..10).map(|index| to("a", &index.to_string())).collect();
    vu.bus.publish_all(messages).await.unwrap();
    for index in 0..3 {
        let message = vu.bus.next(id, None).await.unwrap().unwrap().unwrap();
        assert_eq!(message.payload, index.to_string());
    }
    let none = vu.bus.next(id, Some(Duration::from_millis(1))).await.unwrap().unwrap();
    assert!(none.is_none());
    assert_eq!(vu.sum(Builtin::BusSlowConsumerDrops), 7.0);
    assert_eq!(source.delivery_report().await.lost, []);
}

#[tokio::test]
async fn handles_are_limited_and_end_with_a_reset() {
    let source = Source::open("embedded", "run").await.unwrap();
    let limits = Limits { handles: 2, ..Limits::default() };
    let vu = Vu::new(&source, Clock::real(), limits).await;
    let first = vu.bus.subscribe("a", None).await.unwrap().unwrap();
    vu.bus.subscribe("b", None).await.unwrap().unwrap();
    assert!(vu.bus.subscribe("c", None).await.unwrap_err().0.contains("--limit handles"));
    vu.bus.reset();
    vu.bus.next(first, None).await.unwrap_err();
    vu.bus.subscribe("c", None).await.unwrap().unwrap();
    let nobody = vu.bus.request(to("a", ""), None).await.unwrap().unwrap_err();
    assert_eq!(nobody.kind, "no_responders");
}

/// Two threads, each with its runtime and its connection, as shards are.
#[test]
fn shards_meet_across_threads() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let source = runtime().block_on(Source::open("embedded", "run")).unwrap();
    let ready = Arc::new(std::sync::Barrier::new(2));
    let service = std::thread::spawn({
        let (source, ready) = (source.clone(), ready.clone());
        move || {
            runtime().block_on(async {
                let connection = source.connect("service").await.unwrap();
                let requests = connection.subscribe_raw("echo", None, 1_000).await.unwrap();
                ready.wait();
                for _ in 0..2_000 {
                    let message = requests.next().await.unwrap();
                    let reply_to = message.reply_to.unwrap();
                    connection
                        .publish_raw(&reply_to, message.payload, Vec::new(), None)
                        .await
                        .unwrap();
                }
            });
        }
    });
    runtime().block_on(async {
        let vu = Vu::new(&source, Clock::real(), Limits::default()).await;
        ready.wait();
        for batch in 0..20 {
            let requests = (0..100).map(|index| to("echo", &format!("{batch}.{index}"))).collect();
            let replies = vu.bus.request_all(requests, None).await.unwrap();
            for (index, reply) in replies.into_iter().enumerate() {
                assert_eq!(reply.unwrap().payload, format!("{batch}.{index}"));
            }
        }
    });
    service.join().unwrap();
}
