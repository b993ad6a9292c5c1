//! JetStream by its JSON interface, over the connection's own requests.
//!
//! async-nats has a client for it, which sends through its multiplexer (see [`super::nats`]) and
//! spawns tasks of its own; what a load test needs is five requests, and each of them can be given
//! up at any point without a trace.

use std::{fmt::Write, time::Duration};

use serde_json::{Value as Json, json};

use super::{Acknowledgement, Message, StreamSpec, nats::Nats, replies::Reply, subject::shown};
use crate::primitive::{Failure, Misuse};

/// How long the server keeps a consumer without a name that nobody asks.
const IDLE_CONSUMER: Duration = Duration::from_secs(300);

/// Checks the name of a stream or a durable consumer.
pub fn validate_name(what: &str, name: &str) -> Result<(), Misuse> {
    let valid = !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if valid {
        return Ok(());
    }
    Err(Misuse::new(format!(
        "{what} `{}` is not valid: use up to 128 letters, digits, `-` and `_`",
        shown(name)
    )))
}

/// The name of a stream that the run itself makes.
pub fn prefixed(run: &str, name: &str) -> String {
    let mut prefixed = "wavetank_".to_owned();
    for char in run.chars() {
        let _ = prefixed.write_char(if char.is_ascii_alphanumeric() { char } else { '_' });
    }
    format!("{prefixed}_{name}")
}

/// What a server's answer to a publication acknowledges.
pub fn acknowledged(reply: Reply) -> Result<Acknowledgement, Failure> {
    let Reply::Message(reply) = reply else {
        let text = "no stream stores this subject: make one with `ensure_stream`";
        return Err(Failure::new("jetstream", text));
    };
    let reply = answer(&reply)?;
    let (stream, sequence) = (reply["stream"].as_str(), reply["seq"].as_u64());
    let (Some(stream), Some(sequence)) = (stream, sequence) else {
        return Err(Failure::new("jetstream", "the answer is no acknowledgement"));
    };
    let duplicate = reply["duplicate"].as_bool().unwrap_or(false);
    Ok(Acknowledgement { stream: stream.to_owned(), sequence, duplicate })
}

impl Nats {
    /// Asks the JetStream interface.
    async fn ask(&self, subject: String, question: &Json) -> Result<Json, Failure> {
        let message = Message {
            subject: format!("$JS.API.{subject}"),
            payload: question.to_string().into(),
            ..Message::default()
        };
        match self.request(message, None).await?.await {
            Reply::NoResponders => Err(Failure::new(
                "jetstream",
                "JetStream is not enabled on this server: start it with `-js`",
            )),
            Reply::Message(reply) => answer(&reply),
        }
    }

    /// The server's name of a stream that the workload names.
    pub fn stream_name(&self, name: &str) -> String {
        if let Some(own) = self.servers().prefix().stream(name) {
            return own;
        }
        let prefixed = prefixed(self.servers().run(), name);
        if self.servers().has_stream(&prefixed) { prefixed } else { name.to_owned() }
    }

    /// Makes sure that a stream exists.
    pub async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), Failure> {
        let own = self.servers().prefix().stream(&spec.name);
        // One that is there already is used: the system's, or under a prefix whoever's of it was first.
        let existing = own.clone().unwrap_or_else(|| spec.name.clone());
        let made = own.unwrap_or_else(|| prefixed(self.servers().run(), &spec.name));
        if self.servers().has_stream(&made) {
            return Ok(());
        }
        match self.ask(format!("STREAM.INFO.{existing}"), &json!({})).await {
            Ok(_) => return Ok(()),
            Err(failure) if failure.message.contains("stream not found") => {}
            Err(failure) => return Err(failure),
        }
        self.create_stream(&made, spec).await
    }

    /// Makes a stream of that name on the server, which is removed when this bus is closed.
    pub async fn create_stream(&self, name: &str, spec: &StreamSpec) -> Result<(), Failure> {
        let prefix = self.servers().prefix();
        let subjects: Vec<_> = spec.subjects.iter().map(|it| prefix.put(it.clone())).collect();
        let config = json!({
            "name": name,
            "subjects": subjects,
            "storage": if spec.memory { "memory" } else { "file" },
            "max_msgs": spec.max_messages.map_or(-1, |most| i64::try_from(most).unwrap_or(-1)),
            "retention": "limits",
            "discard": "old",
            "num_replicas": 1,
        });
        // Noted first: a creation that is given up half-way is removed at the end all the same.
        self.servers().note_stream(name);
        let created = self.ask(format!("STREAM.CREATE.{name}"), &config).await;
        if created.is_err() {
            self.servers().forget_stream(name);
        }
        created.map(drop)
    }

    /// Removes a stream.
    pub async fn delete_stream(&self, name: &str) -> Result<(), Failure> {
        self.ask(format!("STREAM.DELETE.{name}"), &json!({})).await.map(drop)
    }

    /// Makes a pull consumer; durable if `durable`.
    pub async fn create_consumer(
        &self,
        stream: &str,
        name: &str,
        durable: bool,
        filter: Option<&str>,
    ) -> Result<(), Failure> {
        let mut config = json!({
            "name": name,
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "replay_policy": "instant",
            "max_ack_pending": -1,
        });
        if durable {
            config["durable_name"] = json!(name);
        } else {
            config["inactive_threshold"] = json!(IDLE_CONSUMER.as_nanos() as u64);
        }
        let mut subject = format!("CONSUMER.CREATE.{stream}.{name}");
        if let Some(filter) = filter {
            let filter = self.servers().prefix().put(filter.to_owned());
            config["filter_subject"] = json!(filter);
            let _ = write!(subject, ".{filter}");
        }
        let question = json!({ "stream_name": stream, "config": config, "action": "" });
        self.ask(subject, &question).await.map(drop)
    }

    /// Asks for messages; they come to `inbox`.
    pub async fn pull(
        &self,
        stream: &str,
        consumer: &str,
        inbox: String,
        max: usize,
        expires: Duration,
    ) -> Result<(), Failure> {
        let nanos = (expires.as_nanos() as u64).max(1_000_000);
        let message = Message {
            subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            payload: json!({ "batch": max, "expires": nanos }).to_string().into(),
            reply_to: Some(inbox),
            ..Message::default()
        };
        self.publish(message, None).await
    }

    /// Acknowledges a message and waits until the server knows.
    pub async fn acknowledge(&self, subject: String) -> Result<(), Failure> {
        let payload = bytes::Bytes::from_static(b"+ACK");
        let message = Message { subject, payload, ..Message::default() };
        match self.request(message, None).await?.await {
            Reply::Message(_) => Ok(()),
            Reply::NoResponders => {
                Err(Failure::new("jetstream", "the consumer of this message is gone"))
            }
        }
    }
}

/// The status that the server sends instead of a message: the end of what was pulled. A message of a
/// stream has a subject for its acknowledgement, whatever headers it has.
pub fn status(message: &Message) -> Option<&str> {
    match message.headers.first() {
        Some((name, status)) if name == "Status" && message.reply_to.is_none() => Some(status),
        _ => None,
    }
}

fn answer(reply: &Message) -> Result<Json, Failure> {
    let Ok(json) = serde_json::from_slice::<Json>(&reply.payload) else {
        return Err(Failure::new("jetstream", "the answer is not JSON"));
    };
    match json.get("error") {
        None | Some(Json::Null) => Ok(json),
        Some(error) => {
            let text = error["description"].as_str().unwrap_or("no reason given");
            Err(Failure::new("jetstream", shown(text)))
        }
    }
}
