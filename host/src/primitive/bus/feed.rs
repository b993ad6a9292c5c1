//! What a service gets from a stream: pulled, handled, acknowledged.
//!
//! On a bus without streams (the embedded one) there is none, and a service subscribes plainly: what is
//! published to a stream's subjects reaches subscribers all the same, without being kept.

use std::time::Duration;

use super::{
    Connection, Headers, Message, StreamSpec, Subscription,
    jetstream::{prefixed, status, validate_name},
    subject::validate_pattern,
};
use crate::primitive::{Failure, Misuse};

/// Messages that are pulled at once.
const BATCH: usize = 256;
/// How long a pull waits at the server for them.
const EXPIRES: Duration = Duration::from_secs(20);
/// How long the end of a pull is waited for beyond that, before there is another.
const SLACK: Duration = Duration::from_secs(2);

/// Which messages of which stream.
#[derive(Clone, Copy, Debug)]
pub struct Consumption<'a> {
    /// The stream, as its maker called it.
    pub stream: &'a str,
    /// The run whose streams are looked for first.
    pub run: Option<&'a str>,
    /// The durable consumer: who shares it shares the messages.
    pub consumer: &'a str,
    /// Which subjects.
    pub filter: &'a str,
}

/// Messages of a stream, for one service.
#[derive(Debug)]
pub struct Feed {
    connection: Connection,
    stream: String,
    consumer: String,
    inbox: String,
    messages: Subscription,
    /// Number of the latest pull, and how many of its messages are still to come.
    pull: u64,
    left: usize,
}

impl Connection {
    /// Makes sure that a stream exists, without measuring: for suites. Nothing on a bus without streams.
    pub async fn ensure_stream_raw(&self, spec: &StreamSpec) -> Result<(), Failure> {
        let refused = |misuse: Misuse| Failure::new("refused", misuse.0);
        validate_name("stream", &spec.name).map_err(refused)?;
        spec.subjects.iter().try_for_each(|it| validate_pattern(it)).map_err(refused)?;
        match self.nats() {
            Some(nats) => nats.ensure_stream(spec).await,
            None => Ok(()),
        }
    }

    /// Consumes a stream, without measuring; `None` on a bus without streams. Consumer and stream are made
    /// unless they are there already.
    pub async fn consume_raw(&self, what: Consumption<'_>) -> Result<Option<Feed>, Failure> {
        let Some(nats) = self.nats() else { return Ok(None) };
        let refused = |misuse: Misuse| Failure::new("refused", misuse.0);
        validate_name("stream", what.stream).map_err(refused)?;
        validate_name("consumer", what.consumer).map_err(refused)?;
        validate_pattern(what.filter).map_err(refused)?;
        let inbox = nats.new_inbox();
        let messages = self.subscribe(&format!("{inbox}.*"), None, 2 * BATCH, None).await?;
        // A run's own stream has its prefix; one that the system made has none.
        let mut names = vec![nats.stream_name(what.stream)];
        if nats.servers().prefix().tokens().is_none() {
            names.extend(what.run.map(|run| prefixed(run, what.stream)));
            names.rotate_right(1);
        }
        let mut made = Err(Failure::new("jetstream", "stream not found"));
        for stream in names {
            made = nats
                .create_consumer(&stream, what.consumer, true, Some(what.filter))
                .await
                .map(|()| stream);
            match &made {
                Err(failure) if failure.message.contains("stream not found") => {}
                _ => break,
            }
        }
        if matches!(&made, Err(failure) if failure.message.contains("stream not found")) {
            made = self.make_and_consume(what).await;
        }
        let stream = made.map_err(|failure| {
            let message = format!("stream `{}`: {}", what.stream, failure.message);
            Failure::new("jetstream", message)
        })?;
        Ok(Some(Feed {
            connection: self.clone(),
            stream,
            consumer: what.consumer.to_owned(),
            inbox,
            messages,
            pull: 0,
            left: 0,
        }))
    }
}

impl Connection {
    /// Nobody has made the stream: it holds what is consumed from it, and ends with this process. It bears no
    /// run's name, for a service is the system and not the run: who publishes finds it by its own.
    async fn make_and_consume(&self, what: Consumption<'_>) -> Result<String, Failure> {
        let Some(nats) = self.nats() else { return Err(Failure::new("jetstream", "no streams")) };
        let (name, subjects) = (what.stream.to_owned(), vec![what.filter.to_owned()]);
        let spec = StreamSpec { name, subjects, ..StreamSpec::default() };
        let name = nats.stream_name(what.stream);
        nats.create_stream(&name, &spec).await?;
        nats.create_consumer(&name, what.consumer, true, Some(what.filter)).await?;
        Ok(name)
    }
}

impl Feed {
    /// The next message, and the subject that acknowledges it; `None` when the connection or the consumer
    /// has ended. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<(Message, String)> {
        loop {
            if self.left == 0 {
                self.pull += 1;
                let (nats, inbox) =
                    (self.connection.nats()?, format!("{}.{}", self.inbox, self.pull));
                // A bus that is away comes back, or ends the subscription.
                if nats.pull(&self.stream, &self.consumer, inbox, BATCH, EXPIRES).await.is_err() {
                    tokio::time::sleep(SLACK).await;
                    continue;
                }
                self.left = BATCH;
            }
            let waiting = tokio::time::timeout(EXPIRES + SLACK, self.messages.next());
            let Ok(message) = waiting.await else {
                // The server forgot the pull: it went down meanwhile.
                self.left = 0;
                continue;
            };
            let mut message = message?;
            let own = message.subject == format!("{}.{}", self.inbox, self.pull);
            match status(&message) {
                Some("100") => {}
                Some("503") => return None,
                Some(_) if own => self.left = 0,
                Some(_) => {}
                None => {
                    self.left = self.left.saturating_sub(1);
                    if let Some(acknowledge) = message.reply_to.take() {
                        return Some((message, acknowledge));
                    }
                }
            }
        }
    }
}

impl Connection {
    /// Acknowledges a message of a feed, without waiting for the server to know.
    pub async fn acknowledge_raw(&self, subject: &str) -> Result<(), Failure> {
        let payload = bytes::Bytes::from_static(b"+ACK");
        self.publish_raw(subject, payload, Headers::new(), None).await
    }
}
