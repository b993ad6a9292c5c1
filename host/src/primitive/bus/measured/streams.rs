//! JetStream as a VU sees it. On the embedded bus every call is misuse that names the remedy: the
//! workload asks for what this bus does not have.

use std::{pin::pin, rc::Rc, time::Duration};

use tokio::time::Instant as Deadline;

use super::{Bus, MAX_WAIT, PUBLISH, wire_bytes};
use crate::{
    metric::{Builtin, TagSet},
    primitive::{
        Failure, Measured, Misuse, Stamped,
        bus::{
            AckToken, Acknowledgement, ConsumerId, Message, Outgoing, StreamSpec,
            connection::Subscription,
            jetstream::{acknowledged, status, validate_name},
            nats::Nats,
            subject::{shown, validate_pattern},
        },
    },
};

/// A pull consumer of a VU.
#[derive(Debug)]
pub struct Consumer {
    stream: String,
    name: String,
    /// What the subjects that messages come to begin with.
    inbox: String,
    messages: Subscription,
    /// Number of the latest pull; what an earlier one says of itself is ignored.
    pulls: std::cell::Cell<u64>,
    /// What ended a fetch that had messages to return: the next one returns it.
    failed: std::cell::RefCell<Option<Failure>>,
}

impl Bus {
    /// JetStream: makes sure that a stream exists.
    pub async fn ensure_stream(&self, stream: StreamSpec) -> Measured<()> {
        self.scope.host_call(|| format!("bus::ensure_stream({})", shown(&stream.name)));
        let nats = self.streams()?;
        validate_name("stream", &stream.name)?;
        if stream.subjects.is_empty() {
            return Err(Misuse::new(format!(
                "stream `{}` has no subjects: name at least one",
                stream.name
            )));
        }
        stream.subjects.iter().try_for_each(|subject| validate_pattern(subject))?;
        let ensuring = pin!(nats.ensure_stream(&stream));
        Ok(self.within(None, ensuring).await.and_then(|ensured| ensured))
    }

    /// JetStream: publishes and waits for the server's acknowledgement.
    pub async fn publish_acknowledged(
        &self,
        mut message: Outgoing,
        message_id: Option<&str>,
        timeout: Option<Duration>,
    ) -> Measured<Acknowledgement> {
        self.scope.host_call(|| {
            let bytes = message.payload.len();
            format!("bus::publish_acknowledged({}, {bytes} bytes)", shown(&message.subject))
        });
        let nats = self.streams()?;
        if let Some(id) = message_id {
            message.headers.push(("Nats-Msg-Id".to_owned(), id.to_owned()));
        }
        let (op, message) = self.check(message)?;
        let bytes = wire_bytes(&message);
        let tags = TagSet { op, ..self.scope.tags() };
        let (recorder, origin) = (self.scope.recorder(), self.scope.origin());
        let work = pin!(async {
            let sending = self.sending(&tags);
            let publishing = pin!(async {
                let ticket = nats.request(message, Some(&sending)).await?;
                // Handed over: it is sent, whatever becomes of its acknowledgement.
                recorder.add(Builtin::DataSent.id(), tags, origin, bytes);
                acknowledged(ticket.await)
            });
            let result = self.within(timeout, publishing).await.and_then(|stored| stored);
            Stamped { result, span: None }
        });
        Ok(self.scope.measure(PUBLISH, op, work).await)
    }

    /// JetStream: a pull consumer on a stream; durable if named.
    pub async fn consumer(
        &self,
        stream: &str,
        durable: Option<&str>,
        filter: Option<&str>,
    ) -> Measured<ConsumerId> {
        self.scope.host_call(|| format!("bus::consumer({})", shown(stream)));
        let nats = self.streams()?;
        validate_name("stream", stream)?;
        durable.map_or(Ok(()), |name| validate_name("consumer", name))?;
        filter.map_or(Ok(()), validate_pattern)?;
        self.room_for_a_handle()?;
        let number = self.handles.number();
        let stream = nats.stream_name(stream);
        let inbox = nats.new_inbox();
        let name = match durable {
            Some(name) => name.to_owned(),
            None => format!("wavetank_{}", inbox.trim_start_matches("_INBOX.")),
        };
        let making = async {
            let capacity = self.scope.limits().subscription_queue;
            let pattern = format!("{inbox}.*");
            let messages = self.connection.subscribe(&pattern, None, capacity, None).await?;
            nats.create_consumer(&stream, &name, durable.is_some(), filter).await?;
            Ok(messages)
        };
        // Rare, and borrows what the consumer is then made of.
        let messages = match self.within(None, Box::pin(making).as_mut()).await {
            Ok(Ok(messages)) => messages,
            Ok(Err(failure)) | Err(failure) => return Ok(Err(failure)),
        };
        let (pulls, failed) = Default::default();
        let consumer = Consumer { stream, name, inbox, messages, pulls, failed };
        self.handles.consumers.borrow_mut().insert(number, Rc::new(consumer));
        Ok(Ok(ConsumerId(number)))
    }

    /// JetStream: up to `max` messages. What goes wrong after some have come is returned by the next
    /// call.
    pub async fn fetch(
        &self,
        consumer: ConsumerId,
        max: usize,
        timeout: Option<Duration>,
    ) -> Measured<Vec<Message>> {
        self.scope.host_call(|| format!("bus::fetch({}, {max})", consumer.0));
        let nats = self.streams()?;
        let limit = self.scope.limits().batch;
        if max == 0 || max > limit {
            return Err(Misuse::new(format!(
                "fetching {max} messages: ask for 1 to {limit} (--limit batch)"
            )));
        }
        let found = self.handles.consumers.borrow().get(&consumer.0).cloned();
        let Some(consumer) = found else {
            return Err(Misuse::new(format!("consumer {} is not one of this VU's", consumer.0)));
        };
        if let Some(failure) = consumer.failed.take() {
            return Ok(Err(failure));
        }
        self.scope.about_to_wait();
        let timeout = timeout.unwrap_or(self.scope.limits().operation_timeout).min(MAX_WAIT);
        let clock = self.scope.clock();
        let deadline = clock.to_tokio(clock.now() + timeout);
        let pull = consumer.pulls.get() + 1;
        consumer.pulls.set(pull);
        let inbox = format!("{}.{pull}", consumer.inbox);
        let asking = nats.pull(&consumer.stream, &consumer.name, inbox.clone(), max, timeout);
        match tokio::time::timeout_at(deadline, asking).await {
            Ok(Ok(())) => Ok(self.collect(&consumer, &inbox, max, deadline).await),
            Ok(Err(failure)) => Ok(Err(failure)),
            Err(_) => Ok(Ok(Vec::new())),
        }
    }

    /// JetStream: acknowledges a message.
    pub async fn acknowledge(&self, token: AckToken) -> Measured<()> {
        self.scope.host_call(|| format!("bus::acknowledge({})", token.0));
        let nats = self.streams()?;
        let subject = self.handles.unacknowledged.borrow_mut().remove(&token.0);
        let Some(subject) = subject else {
            return Err(Misuse::new(format!(
                "message {} cannot be acknowledged: it was already, or is not one of this VU's",
                token.0
            )));
        };
        let acknowledging = pin!(nats.acknowledge(subject));
        Ok(self.within(None, acknowledging).await.and_then(|known| known))
    }

    /// Takes what a pull brings, until it is enough or the server says that this is all.
    async fn collect(
        &self,
        consumer: &Consumer,
        inbox: &str,
        max: usize,
        deadline: Deadline,
    ) -> Result<Vec<Message>, Failure> {
        let mut messages = Vec::new();
        let mut failed = None;
        while messages.len() < max && failed.is_none() {
            let taken = tokio::time::timeout_at(deadline, consumer.messages.take()).await;
            let received = match taken {
                Ok(Some(received)) => received,
                Ok(None) => {
                    let ended = "the connection to the bus has ended";
                    failed = Some(Failure::new("disconnected", ended));
                    break;
                }
                Err(_) => break,
            };
            if let Some(status) = status(&received.message) {
                if received.message.subject != inbox || status == "100" {
                    continue;
                }
                if status == "503" || (status == "409" && messages.is_empty()) {
                    failed = Some(Failure::new("jetstream", "the consumer is gone"));
                }
                break;
            }
            match self.receive(received) {
                Ok(mut message) => {
                    message.acknowledge =
                        message.reply_to.take().map(|to| self.handles.remember(to));
                    messages.push(message);
                }
                Err(failure) => failed = Some(failure),
            }
        }
        self.record_dropped(&consumer.messages);
        match failed {
            Some(failure) if messages.is_empty() => Err(failure),
            failed => {
                consumer.failed.replace(failed);
                Ok(messages)
            }
        }
    }

    fn streams(&self) -> Result<&Nats, Misuse> {
        self.connection.nats().ok_or_else(|| {
            Misuse::new(
                "the embedded bus has no JetStream: use `--bus nats-server`, which starts a server \
                 with it, or `--bus nats://host:port`",
            )
        })
    }
}
