//! `bus::`: publish, request, subscribe; JetStream; effects.

use std::{pin::pin, rc::Rc, time::Duration};

use rhai::{Array, Dynamic, Map, Module};

use super::{
    connection, def, method,
    options::{
        CONSUMER, Call, CallOptions, EFFECT, PUBLISH, PUBLISH_ACKNOWLEDGED, PUBLISH_ALL, REQUEST,
        REQUEST_ALL, STREAM, SUBSCRIBE, thrown,
    },
    reply::{Received, outcome},
};
use crate::{
    primitive::{
        Failure, Probe,
        bus::{ConsumerId, Outgoing, StreamSpec, SubscriptionId, is_reserved},
    },
    workload::script::{
        convert,
        fault::{misuse, misused},
        session::{Called, Current, Session},
        surface::database,
    },
};

/// A subscription, as scripts hold it.
#[derive(Clone, Copy, Debug)]
pub struct Subscription(SubscriptionId);

/// A JetStream consumer, as scripts hold it.
#[derive(Clone, Copy, Debug)]
pub struct Consumer(ConsumerId);

pub fn module(current: &Rc<Current>) -> Module {
    let mut module = Module::new();
    sending(&mut module, current);
    asking(&mut module, current);
    batches(&mut module, current);
    listening(&mut module, current);
    connection::connecting(&mut module, current);
    streaming(&mut module, current);
    acknowledged(&mut module, current);
    effects(&mut module, current);
    module
}

fn outgoing(
    session: &Session,
    subject: &str,
    payload: &Dynamic,
    options: &CallOptions<'_>,
) -> Called<Outgoing> {
    let limit = session.primitives.scope.limits().payload_bytes;
    let reply_to = options.text("reply_to")?;
    // To an inbox a script may publish: so it answers by hand.
    if !subject.starts_with("_INBOX.") {
        unreserved(subject)?;
    }
    reply_to.as_deref().map_or(Ok(()), unreserved)?;
    Ok(Outgoing {
        subject: subject.to_owned(),
        payload: convert::payload(payload, limit).map_err(|error| misuse(&error))?,
        headers: options.headers("headers")?,
        op: options.text("op")?,
        reply_to,
    })
}

/// Refuses the server's subjects and the host's, in which one script could meddle with all others.
fn unreserved(subject: &str) -> Called<()> {
    if !is_reserved(subject) {
        return Ok(());
    }
    Err(misused(format!(
        "`{}` is not for scripts: inboxes and `$…` subjects are the server's, `_wavetank.…` is the host's; \
         replies and JetStream have calls of their own",
        subject.escape_debug()
    )))
}

fn sending(module: &mut Module, current: &Rc<Current>) {
    let publish = |host: &Current, subject: &str, payload: &Dynamic, map: &Map| {
        let session = host.session("bus::publish")?;
        let options = CallOptions::new(&PUBLISH, map)?;
        let message = outgoing(&session, subject, payload, &options)?;
        let result = session.wait(pin!(session.primitives.bus.publish(message)))?;
        Ok(Received::done(thrown(result)?))
    };
    let host = current.clone();
    def(
        module,
        "publish(subject: string, payload: ?) -> Message",
        "Publishes a message.",
        move |subject: &str, payload: Dynamic| -> Called<Received> {
            publish(&host, subject, &payload, &Map::new())
        },
    );
    let host = current.clone();
    def(
        module,
        "publish(subject: string, payload: ?, options: map) -> Message",
        "Publishes a message; options: op, headers, reply_to.",
        move |subject: &str, payload: Dynamic, options: Map| -> Called<Received> {
            publish(&host, subject, &payload, &options)
        },
    );
    let host = current.clone();
    def(
        module,
        "flush() -> Message",
        "Waits until the server has everything that was published.",
        move || -> Called<Received> {
            let session = host.session("bus::flush")?;
            let result = session.wait(pin!(session.primitives.bus.flush()))?;
            Ok(Received::done(thrown(result)?))
        },
    );
}

fn request(host: &Current, subject: &str, payload: &Dynamic, map: &Map) -> Called<Received> {
    let session = host.session("bus::request")?;
    let options = CallOptions::new(&REQUEST, map)?;
    let message = outgoing(&session, subject, payload, &options)?;
    let timeout = options.duration("timeout")?;
    let result = session.wait(pin!(session.primitives.bus.request(message, timeout)))?;
    Ok(Received::reply(thrown(result)?))
}

fn asking(module: &mut Module, current: &Rc<Current>) {
    let host = current.clone();
    def(
        module,
        "request(subject: string, payload: ?) -> Message",
        "Sends a request and waits for its reply.",
        move |subject: &str, payload: Dynamic| request(&host, subject, &payload, &Map::new()),
    );
    let host = current.clone();
    def(
        module,
        "request(subject: string, payload: ?, options: map) -> Message",
        "Sends a request and waits for its reply; options: op, timeout, headers.",
        move |subject: &str, payload: Dynamic, options: Map| {
            request(&host, subject, &payload, &options)
        },
    );
}

/// Messages of a batch: maps with subject, payload, headers.
fn messages(
    session: &Session,
    call: &Call,
    items: &Array,
    op: Option<&String>,
) -> Called<Vec<Outgoing>> {
    let (function, limit) = (call.name, session.primitives.scope.limits().batch);
    if items.len() > limit {
        return Err(misused(format!(
            "{function}: {} messages at once are over the limit of {limit} (--limit batch=N)",
            items.len()
        )));
    }
    let each = items.iter().enumerate().map(|(index, item)| {
        let map = item.as_map_ref().map_err(|actual| {
            misused(format!(
                "{function}: element {index} is a {actual}, not a map #{{ subject, payload }}"
            ))
        })?;
        let options = CallOptions::element(call, &map)?;
        let subject = options
            .text("subject")?
            .ok_or_else(|| misused(format!("{function}: element {index} has no subject")))?;
        let payload = options.value("payload").cloned().unwrap_or_default();
        let mut message = outgoing(session, &subject, &payload, &options)?;
        message.op = message.op.or_else(|| op.cloned());
        Ok(message)
    });
    each.collect()
}

fn publish_all(host: &Current, items: &Array, map: &Map) -> Called<Array> {
    let session = host.session("bus::publish_all")?;
    let op = CallOptions::new(&PUBLISH_ALL, map)?.text("op")?;
    let messages = messages(&session, &PUBLISH_ALL, items, op.as_ref())?;
    let results = thrown(session.wait(pin!(session.primitives.bus.publish_all(messages)))?)?;
    Ok(results.into_iter().map(|it| Dynamic::from(Received::done(it))).collect())
}

fn request_all(host: &Current, items: &Array, map: &Map) -> Called<Array> {
    let session = host.session("bus::request_all")?;
    let options = CallOptions::new(&REQUEST_ALL, map)?;
    let op = options.text("op")?;
    let messages = messages(&session, &REQUEST_ALL, items, op.as_ref())?;
    let timeout = options.duration("timeout")?;
    let results =
        thrown(session.wait(pin!(session.primitives.bus.request_all(messages, timeout)))?)?;
    Ok(results.into_iter().map(|it| Dynamic::from(Received::reply(it))).collect())
}

fn batches(module: &mut Module, current: &Rc<Current>) {
    let host = current.clone();
    def(
        module,
        "publish_all(messages: array) -> array",
        "Publishes many messages #{ subject, payload, headers } at once; results in order.",
        move |items: Array| publish_all(&host, &items, &Map::new()),
    );
    let host = current.clone();
    def(
        module,
        "publish_all(messages: array, options: map) -> array",
        "Publishes many messages at once; options: op.",
        move |items: Array, options: Map| publish_all(&host, &items, &options),
    );
    let host = current.clone();
    def(
        module,
        "request_all(messages: array) -> array",
        "Sends many requests #{ subject, payload, headers } at once; replies in order.",
        move |items: Array| request_all(&host, &items, &Map::new()),
    );
    let host = current.clone();
    def(
        module,
        "request_all(messages: array, options: map) -> array",
        "Sends many requests at once; options: op, timeout.",
        move |items: Array, options: Map| request_all(&host, &items, &options),
    );
}

fn subscribe(host: &Current, pattern: &str, map: &Map) -> Called<Subscription> {
    let session = host.session("bus::subscribe")?;
    let queue = CallOptions::new(&SUBSCRIBE, map)?.text("queue")?;
    unreserved(pattern)?;
    let bus = &session.primitives.bus;
    match thrown(session.wait(pin!(bus.subscribe(pattern, queue.as_deref())))?)? {
        Ok(id) => Ok(Subscription(id)),
        Err(failure) => Err(failed("bus::subscribe", &failure)),
    }
}

/// A handle that could not be had: there is no value to return in its place, so it is thrown.
fn failed(function: &str, failure: &Failure) -> Box<rhai::EvalAltResult> {
    crate::workload::script::fault::thrown(format!("{function}: {failure}"))
}

fn next(host: &Current, id: SubscriptionId, timeout: Option<Duration>) -> Called<Dynamic> {
    let session = host.session("next")?;
    match thrown(session.wait(pin!(session.primitives.bus.next(id, timeout)))?)? {
        Ok(Some(message)) => Ok(Dynamic::from(Received::message(message))),
        Ok(None) => Ok(Dynamic::UNIT),
        Err(failure) => Ok(Dynamic::from(Received::done(Err(failure)))),
    }
}

fn listening(module: &mut Module, current: &Rc<Current>) {
    module.set_custom_type::<Subscription>("Subscription");
    let host = current.clone();
    def(
        module,
        "subscribe(pattern: string) -> Subscription",
        "Subscribes; it is live when this returns.",
        move |pattern: &str| subscribe(&host, pattern, &Map::new()),
    );
    let host = current.clone();
    def(
        module,
        "subscribe(pattern: string, options: map) -> Subscription",
        "Subscribes; options: queue, the name of a queue group.",
        move |pattern: &str, options: Map| subscribe(&host, pattern, &options),
    );
    let host = current.clone();
    method(
        module,
        "next(subscription: Subscription) -> ?",
        "The next message, or `()` when none came within the default timeout.",
        move |it: &mut Subscription| next(&host, it.0, None),
    );
    let host = current.clone();
    method(
        module,
        "next(subscription: Subscription, timeout: Duration) -> ?",
        "The next message, or `()` when none came in time.",
        move |it: &mut Subscription, timeout: Dynamic| {
            let timeout = thrown(convert::duration(&timeout, "next"))?;
            next(&host, it.0, Some(timeout))
        },
    );
    let host = current.clone();
    method(
        module,
        "unsubscribe(subscription: Subscription)",
        "Ends a subscription.",
        move |it: &mut Subscription| -> Called<()> {
            let session = host.session("unsubscribe")?;
            thrown(session.wait(pin!(session.primitives.bus.unsubscribe(it.0)))?)
        },
    );
}

fn ensure_stream(host: &Current, name: &str, map: &Map) -> Called<Received> {
    let session = host.session("bus::stream")?;
    let options = CallOptions::new(&STREAM, map)?;
    let mut subjects = Vec::new();
    if let Some(value) = options.value("subjects") {
        let array = value.as_array_ref().map_err(|actual| {
            misused(format!("bus::stream: `subjects` is a {actual}, not an array"))
        })?;
        for item in array.iter() {
            let text = item.clone().into_immutable_string();
            subjects.push(
                text.map_err(|actual| {
                    misused(format!("bus::stream: a subject is a {actual}, not text"))
                })?
                .to_string(),
            );
        }
    }
    let max = options.number("max_messages")?;
    let spec = StreamSpec {
        name: name.to_owned(),
        subjects,
        memory: options.truth("memory")?,
        max_messages: max.and_then(|number| u64::try_from(number).ok()),
    };
    let result = session.wait(pin!(session.primitives.bus.ensure_stream(spec)))?;
    Ok(Received::done(thrown(result)?))
}

fn streaming(module: &mut Module, current: &Rc<Current>) {
    module.set_custom_type::<Consumer>("Consumer");
    let host = current.clone();
    def(
        module,
        "stream(name: string, options: map) -> Message",
        "JetStream: makes sure that a stream exists; options: subjects, memory, max_messages.",
        move |name: &str, options: Map| ensure_stream(&host, name, &options),
    );
    let host = current.clone();
    def(
        module,
        "consumer(stream: string, options: map) -> Consumer",
        "JetStream: a consumer; options: durable, filter.",
        move |stream: &str, options: Map| -> Called<Consumer> {
            let session = host.session("bus::consumer")?;
            let options = CallOptions::new(&CONSUMER, &options)?;
            let (durable, filter) = (options.text("durable")?, options.text("filter")?);
            let bus = &session.primitives.bus;
            let made = bus.consumer(stream, durable.as_deref(), filter.as_deref());
            match thrown(session.wait(pin!(made))?)? {
                Ok(id) => Ok(Consumer(id)),
                Err(failure) => Err(failed("bus::consumer", &failure)),
            }
        },
    );
    for (signature, timed) in [
        ("fetch(consumer: Consumer, max: int) -> array", false),
        ("fetch(consumer: Consumer, max: int, timeout: Duration) -> array", true),
    ] {
        let host = current.clone();
        let doc = "JetStream: up to `max` messages; empty when none came in time.";
        if timed {
            method(module, signature, doc, move |it: &mut Consumer, max: i64, timeout: Dynamic| {
                let timeout = thrown(convert::duration(&timeout, "fetch"))?;
                fetch(&host, it.0, max, Some(timeout))
            });
        } else {
            method(module, signature, doc, move |it: &mut Consumer, max: i64| {
                fetch(&host, it.0, max, None)
            });
        }
    }
}

fn fetch(host: &Current, id: ConsumerId, max: i64, timeout: Option<Duration>) -> Called<Array> {
    let session = host.session("fetch")?;
    let limit = session.primitives.scope.limits().batch;
    let max =
        usize::try_from(max).ok().filter(|max| (1..=limit).contains(max)).ok_or_else(|| {
            misused(format!("fetch({max}): the number of messages is not between 1 and {limit}"))
        })?;
    match thrown(session.wait(pin!(session.primitives.bus.fetch(id, max, timeout)))?)? {
        Ok(messages) => {
            Ok(messages.into_iter().map(|it| Dynamic::from(Received::message(it))).collect())
        }
        Err(failure) => Err(failed("fetch", &failure)),
    }
}

fn acknowledged(module: &mut Module, current: &Rc<Current>) {
    let publish = |host: &Current, subject: &str, payload: &Dynamic, map: &Map| -> Called<Map> {
        let session = host.session(PUBLISH_ACKNOWLEDGED.name)?;
        let options = CallOptions::new(&PUBLISH_ACKNOWLEDGED, map)?;
        let message = outgoing(&session, subject, payload, &options)?;
        let (id, timeout) = (options.text("message_id")?, options.duration("timeout")?);
        let bus = &session.primitives.bus;
        let work = bus.publish_acknowledged(message, id.as_deref(), timeout);
        let result = thrown(session.wait(pin!(work))?)?;
        let mut map = outcome(result.as_ref().err());
        if let Ok(acknowledgement) = result {
            map.insert("stream".into(), acknowledgement.stream.into());
            map.insert("sequence".into(), (acknowledgement.sequence as i64).into());
            map.insert("duplicate".into(), acknowledgement.duplicate.into());
        }
        Ok(map)
    };
    let host = current.clone();
    def(
        module,
        "publish_acknowledged(subject: string, payload: ?) -> map",
        "JetStream: publishes and waits for the server's acknowledgement.",
        move |subject: &str, payload: Dynamic| publish(&host, subject, &payload, &Map::new()),
    );
    let host = current.clone();
    def(
        module,
        "publish_acknowledged(subject: string, payload: ?, options: map) -> map",
        "JetStream: as above; options: op, headers, message_id, timeout.",
        move |subject: &str, payload: Dynamic, options: Map| {
            publish(&host, subject, &payload, &options)
        },
    );
}

fn effects(module: &mut Module, current: &Rc<Current>) {
    let host = current.clone();
    def(
        module,
        "effect(subject: string, payload: ?, options: map) -> map",
        "Publishes, then looks until the effect is seen; options: query, values or request, \
         payload, pointer, equals; op, headers, timeout.",
        move |subject: &str, payload: Dynamic, options: Map| {
            effect(&host, subject, &payload, &options)
        },
    );
}

fn effect(host: &Current, subject: &str, payload: &Dynamic, map: &Map) -> Called<Map> {
    let session = host.session("bus::effect")?;
    let options = CallOptions::new(&EFFECT, map)?;
    let message = outgoing(&session, subject, payload, &options)?;
    let probe = match (options.text("query")?, options.text("request")?) {
        (Some(sql), None) => {
            let values = options.value("values").cloned().unwrap_or_default();
            Probe::Query { sql, values: database::values("bus::effect", &values)? }
        }
        (None, Some(subject)) => {
            unreserved(&subject)?;
            let limit = session.primitives.scope.limits().payload_bytes;
            let body = options.value("payload").cloned().unwrap_or_default();
            let payload = thrown(convert::payload(&body, limit))?;
            let equals = options.value("equals").map(convert::to_json).transpose();
            Probe::Request {
                message: Outgoing { subject, payload, ..Outgoing::default() },
                pointer: options.text("pointer")?.unwrap_or_default(),
                equals: equals.map_err(|error| misuse(&error))?,
            }
        }
        _ => {
            return Err(misused(
                "bus::effect: give either `query` (SQL) or `request` (a subject), to look for the \
                 effect with",
            ));
        }
    };
    let (op, timeout) = (options.text("op")?, options.duration("timeout")?);
    let work = session.primitives.effect(message, probe, op.as_deref(), timeout);
    let result = thrown(session.wait(pin!(work))?)?;
    let mut map = outcome(result.as_ref().err());
    if let Ok(effect) = result {
        map.insert("first_seen".into(), Dynamic::from(effect.first_seen));
        map.insert("last_unseen".into(), Dynamic::from(effect.last_unseen));
        map.insert("probes".into(), i64::from(effect.probes).into());
    }
    Ok(map)
}
