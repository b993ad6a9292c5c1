//! What came from the bus: a message, a reply, or the failure that came in its place.

use std::{cell::OnceCell, pin::pin, rc::Rc};

use bytes::Bytes;
use rhai::{Array, Blob, Dynamic, Engine, ImmutableString, Map};

use super::options::thrown;
use super::word;
use crate::{
    primitive::{
        Failure, Misuse,
        bus::{AckToken, Headers, Message},
    },
    workload::script::{
        convert,
        fault::misused,
        session::{Called, Current},
    },
};

/// A message or a failure, as scripts read it. Reading a field copies that field only.
#[derive(Clone, Debug)]
pub struct Received(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    failure: Option<Failure>,
    subject: String,
    payload: Bytes,
    headers: Headers,
    reply_to: Option<String>,
    acknowledge: Option<AckToken>,
    json: OnceCell<Dynamic>,
}

impl Received {
    /// A message.
    pub fn message(message: Message) -> Self {
        Self(Rc::new(Inner {
            failure: None,
            subject: message.subject,
            payload: message.payload,
            headers: message.headers,
            reply_to: message.reply_to,
            acknowledge: message.acknowledge,
            json: OnceCell::new(),
        }))
    }

    /// A message, or why there is none.
    pub fn reply(result: Result<Message, Failure>) -> Self {
        match result {
            Ok(message) => Self::message(message),
            Err(failure) => Self::done(Err(failure)),
        }
    }

    /// Success without a message, or a failure.
    pub fn done(result: Result<(), Failure>) -> Self {
        Self(Rc::new(Inner { failure: result.err(), ..Inner::default() }))
    }

    fn json(&self) -> Dynamic {
        let parse = || serde_json::from_slice(&self.0.payload).map_or(Dynamic::UNIT, convert::view);
        self.0.json.get_or_init(parse).clone()
    }

    fn headers(&self) -> Map {
        let mut headers = Map::new();
        for (name, value) in &self.0.headers {
            let value: Dynamic = value.into();
            match headers.get_mut(name.as_str()) {
                None => drop(headers.insert(name.into(), value)),
                Some(before) => {
                    let first = before.take();
                    *before = match first.try_cast_result::<Array>() {
                        Ok(mut values) => {
                            values.push(value);
                            values.into()
                        }
                        Err(first) => vec![first, value].into(),
                    };
                }
            }
        }
        headers
    }
}

/// The fields that every result has which is a map.
pub fn outcome(failure: Option<&Failure>) -> Map {
    let mut map = Map::new();
    map.insert("ok".into(), failure.is_none().into());
    map.insert("error".into(), failure.map_or(Dynamic::UNIT, |it| it.kind.into()));
    map.insert("message".into(), failure.map_or(Dynamic::UNIT, |it| it.message.clone().into()));
    map
}

pub fn register(engine: &mut Engine, current: &Rc<Current>) {
    engine.register_type_with_name::<Received>("Message");
    engine.register_get("ok", |it: &mut Received| it.0.failure.is_none());
    engine.register_get("error", |it: &mut Received| -> Dynamic {
        it.0.failure.as_ref().map_or(Dynamic::UNIT, |failure| failure.kind.into())
    });
    engine.register_get("message", |it: &mut Received| -> Dynamic {
        it.0.failure.as_ref().map_or(Dynamic::UNIT, |failure| failure.message.clone().into())
    });
    engine.register_get("subject", |it: &mut Received| ImmutableString::from(&it.0.subject));
    engine.register_get("reply_to", |it: &mut Received| -> Dynamic {
        it.0.reply_to.as_ref().map_or(Dynamic::UNIT, |subject| subject.clone().into())
    });
    engine.register_get("text", |it: &mut Received| {
        ImmutableString::from(String::from_utf8_lossy(&it.0.payload).into_owned())
    });
    engine.register_get("bytes", |it: &mut Received| -> Blob { convert::blob(&it.0.payload) });
    engine.register_get("size", |it: &mut Received| it.0.payload.len() as i64);
    engine.register_get("json", |it: &mut Received| it.json());
    engine.register_get("headers", |it: &mut Received| it.headers());
    for name in ["to_string", "to_debug"] {
        engine.register_fn(name, |it: &mut Received| match &it.0.failure {
            Some(failure) => failure.to_string(),
            None => String::from_utf8_lossy(&it.0.payload).into_owned(),
        });
    }
    let host = current.clone();
    word(
        engine,
        "ack(message: Message) -> Message",
        "JetStream: acknowledges a message.",
        move |it: &mut Received| -> Called<Received> {
            let session = host.session("ack")?;
            let Some(token) = it.0.acknowledge else {
                return Err(misused(format!(
                    "this message (subject `{}`) cannot be acknowledged: only those of \
                     consumer.fetch can",
                    it.0.subject
                )));
            };
            let bus = &session.primitives.bus;
            let result: Result<_, Misuse> = session.wait(pin!(bus.acknowledge(token)))?;
            Ok(Received::done(thrown(result)?))
        },
    );
}
