//! A NATS service that behaves badly on purpose, and keeps its own record of it.

use std::{
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use async_nats::{Client, HeaderMap, Message};
use futures_util::StreamExt;
use tokio::sync::oneshot;

/// What the service does with a request.
#[derive(Clone, Copy, Debug)]
pub enum Behaviour {
    /// Answers each request after this delay, all of them side by side.
    Delay(Duration),
    /// Answers at once, but does nothing at all between `after` (from the first request) and
    /// `after + lasting`.
    Frozen {
        /// When it freezes.
        after: Duration,
        /// How long.
        lasting: Duration,
    },
    /// Answers one request after the other, each taking this long.
    Serial(Duration),
    /// Answers at once, every n-th with an error of the NATS services protocol.
    FailsEvery(u64),
}

/// One request as the service saw it.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// When it was received.
    pub received: Instant,
    /// When its reply was on the wire.
    pub replied: Instant,
    /// Whether the reply was an error.
    pub failed: bool,
}

/// A running service; stopped when dropped.
#[derive(Debug)]
pub struct Responder {
    record: Arc<Mutex<Vec<Answered>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Answers `subject` on the server at `url`; subscribed when this returns.
    ///
    /// # Panics
    /// If the server cannot be reached.
    pub fn start(url: &str, subject: &str, behaviour: Behaviour) -> Self {
        let record = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let (ready, subscribed) = std::sync::mpsc::channel();
        let (url, subject, shared) = (url.to_owned(), subject.to_owned(), Arc::clone(&record));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime.expect("a runtime"), async move {
                let client = async_nats::connect(url).await.expect("the server");
                let mut requests = client.subscribe(subject).await.expect("a subscription");
                client.flush().await.expect("the server has the subscription");
                ready.send(()).expect("someone waits");
                let serving = async {
                    let mut service =
                        Service { client, behaviour, record: shared, frozen: None, count: 0 };
                    while let Some(request) = requests.next().await {
                        service.answer(request).await;
                    }
                };
                tokio::select! { () = serving => {}, _ = stopped => {} }
            });
        });
        subscribed.recv().expect("the service starts");
        Self { record, stop: Some(stop), thread: Some(thread) }
    }

    /// What the service did so far, in the order of its replies.
    ///
    /// # Panics
    /// If the service panicked.
    pub fn record(&self) -> Vec<Answered> {
        self.record.lock().expect("the service lives").clone()
    }

    /// Median of the service's own time from request to reply.
    ///
    /// # Panics
    /// If it answered nothing.
    pub fn median(&self) -> Duration {
        let mut times: Vec<_> =
            self.record().iter().map(|one| one.replied.duration_since(one.received)).collect();
        times.sort_unstable();
        times[times.len() / 2]
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Service {
    client: Client,
    behaviour: Behaviour,
    record: Arc<Mutex<Vec<Answered>>>,
    frozen: Option<(Instant, Instant)>,
    count: u64,
}

impl Service {
    #[expect(clippy::disallowed_methods, reason = "a system of known truth has a clock of its own")]
    async fn answer(&mut self, request: Message) {
        let received = Instant::now();
        self.count += 1;
        match self.behaviour {
            Behaviour::Delay(delay) => {
                let (client, record) = (self.client.clone(), Arc::clone(&self.record));
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(delay).await;
                    reply(&client, &request, received, false, &record).await;
                });
                return;
            }
            Behaviour::Frozen { after, lasting } => {
                let (start, end) =
                    *self.frozen.get_or_insert((received + after, received + after + lasting));
                if received >= start && received < end {
                    // The whole thread, as a stop-the-world pause would.
                    std::thread::sleep(end - received);
                }
            }
            #[expect(clippy::disallowed_methods, reason = "one thread that is busy is the point")]
            Behaviour::Serial(time) => std::thread::sleep(time),
            Behaviour::FailsEvery(_) => {}
        }
        let failed =
            matches!(self.behaviour, Behaviour::FailsEvery(n) if self.count.is_multiple_of(n));
        reply(&self.client, &request, received, failed, &self.record).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a system of known truth has a clock of its own")]
async fn reply(
    client: &Client,
    request: &Message,
    received: Instant,
    failed: bool,
    record: &Mutex<Vec<Answered>>,
) {
    let Some(subject) = request.reply.clone() else { return };
    let sent = if failed {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Service-Error-Code", "500");
        headers.insert("Nats-Service-Error", "as configured");
        client.publish_with_headers(subject, headers, "".into()).await
    } else {
        client.publish(subject, request.payload.clone()).await
    };
    // A reply is given when it is on the wire, not when the client library has it.
    if sent.is_ok() && client.flush().await.is_ok() {
        let answered = Answered { received, replied: Instant::now(), failed };
        record.lock().expect("no one panics with it").push(answered);
    }
}
