//! The option maps that calls take: `#{ op: "stats", timeout: "1s" }`.
//!
//! A key that the call does not know is misuse that names the nearest one: a `timeuot` that is
//! silently ignored would make a measurement wrong. The keys are one table, [`CALLS`], which the calls
//! and the checker read.

use std::time::Duration;

use rhai::{Dynamic, Map};

use crate::{
    diagnostic::nearest,
    primitive::{Misuse, bus::Headers},
    workload::script::{
        convert,
        fault::{misuse, misused},
        session::Called,
    },
};

/// A host call that takes options.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// With its module.
    pub name: &'static str,
    /// Which of its arguments the options are, from 0.
    pub argument: usize,
    /// What the options may hold.
    pub keys: &'static [&'static str],
    /// What each map in its first argument may hold, where that is a batch of messages.
    pub elements: &'static [&'static str],
}

/// A call whose options are its argument number `argument`.
const fn call(name: &'static str, argument: usize, keys: &'static [&'static str]) -> Call {
    Call { name, argument, keys, elements: &[] }
}

/// The same with a batch of messages as its first argument.
const fn batch(name: &'static str, keys: &'static [&'static str]) -> Call {
    Call { elements: &["subject", "payload", "headers", "op", "reply_to"], ..call(name, 1, keys) }
}

pub const PUBLISH: Call = call("bus::publish", 2, &["op", "headers", "reply_to"]);
pub const REQUEST: Call = call("bus::request", 2, &["op", "timeout", "headers"]);
pub const PUBLISH_ALL: Call = batch("bus::publish_all", &["op"]);
pub const REQUEST_ALL: Call = batch("bus::request_all", &["op", "timeout"]);
pub const SUBSCRIBE: Call = call("bus::subscribe", 1, &["queue"]);
pub const CONNECT: Call = call("bus::connect", 0, &["op", "timeout"]);
pub const STREAM: Call = call("bus::stream", 1, &["subjects", "memory", "max_messages"]);
pub const CONSUMER: Call = call("bus::consumer", 1, &["durable", "filter"]);
pub const PUBLISH_ACKNOWLEDGED: Call =
    call("bus::publish_acknowledged", 2, &["op", "headers", "message_id", "timeout"]);
pub const EFFECT: Call = call(
    "bus::effect",
    2,
    &["query", "values", "request", "payload", "pointer", "equals", "op", "headers", "timeout"],
);
pub const QUERY: Call = call("db::query", 2, &["op", "timeout"]);
pub const EXECUTE: Call = call("db::execute", 2, &["op", "timeout"]);
pub const BATCH: Call = call("db::batch", 1, &["op", "timeout"]);

/// Every call that takes options.
pub const CALLS: [Call; 13] = [
    PUBLISH,
    REQUEST,
    PUBLISH_ALL,
    REQUEST_ALL,
    SUBSCRIBE,
    CONNECT,
    STREAM,
    CONSUMER,
    PUBLISH_ACKNOWLEDGED,
    EFFECT,
    QUERY,
    EXECUTE,
    BATCH,
];

/// What could be meant by a key that is not known.
pub fn hint(key: &str, known: &[&str]) -> String {
    nearest(key, known.iter().copied()).map_or_else(
        || format!("it takes {}", known.join(", ")),
        |near| format!("did you mean `{near}`?"),
    )
}

/// The options of one call.
pub struct CallOptions<'a> {
    function: &'static str,
    map: &'a Map,
}

impl<'a> CallOptions<'a> {
    /// The options, all of whose keys are known.
    pub fn new(call: &Call, map: &'a Map) -> Called<Self> {
        Self::known(call.name, map, call.keys)
    }

    /// One message of a batch, all of whose keys are known.
    pub fn element(call: &Call, map: &'a Map) -> Called<Self> {
        Self::known(call.name, map, call.elements)
    }

    fn known(function: &'static str, map: &'a Map, known: &[&str]) -> Called<Self> {
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(Self { function, map }),
            Some(key) => {
                let hint = hint(key, known);
                Err(misused(format!("{function}: unknown option `{key}` ({hint})")))
            }
        }
    }

    pub fn value(&self, key: &str) -> Option<&'a Dynamic> {
        self.map.get(key).filter(|value| !value.is_unit())
    }

    pub fn text(&self, key: &str) -> Called<Option<String>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_immutable_string_ref() {
            Ok(text) => Ok(Some(text.to_string())),
            Err(actual) => Err(self.wrong(key, "text", actual)),
        }
    }

    pub fn duration(&self, key: &str) -> Called<Option<Duration>> {
        self.value(key)
            .map(|value| convert::duration(value, &format!("{}: {key}", self.function)))
            .transpose()
            .map_err(|error| misuse(&error))
    }

    pub fn truth(&self, key: &str) -> Called<bool> {
        let Some(value) = self.value(key) else { return Ok(false) };
        value.as_bool().map_err(|actual| self.wrong(key, "true or false", actual))
    }

    pub fn number(&self, key: &str) -> Called<Option<i64>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_int().map(Some).map_err(|actual| self.wrong(key, "a whole number", actual))
    }

    /// Headers: a map from names to texts, or to arrays of texts for names that repeat.
    pub fn headers(&self, key: &str) -> Called<Headers> {
        let Some(value) = self.value(key) else { return Ok(Headers::new()) };
        let map = value.as_map_ref().map_err(|actual| self.wrong(key, "a map", actual))?;
        let mut headers = Headers::new();
        for (name, value) in map.iter() {
            if let Ok(values) = value.as_array_ref() {
                for value in values.iter() {
                    headers.push((name.to_string(), self.header(name, value)?));
                }
            } else {
                headers.push((name.to_string(), self.header(name, value)?));
            }
        }
        Ok(headers)
    }

    fn header(&self, name: &str, value: &Dynamic) -> Called<String> {
        if let Ok(text) = value.as_immutable_string_ref() {
            return Ok(text.to_string());
        }
        if value.is_int() || value.is_float() || value.is_bool() {
            return Ok(value.to_string());
        }
        Err(misused(format!(
            "{}: header `{name}` is a {}: headers are text",
            self.function,
            value.type_name()
        )))
    }

    fn wrong(&self, key: &str, wanted: &str, actual: &str) -> Box<rhai::EvalAltResult> {
        misused(format!("{}: `{key}` is a {actual}: it must be {wanted}", self.function))
    }
}

/// The misuse as what Rhai throws.
pub fn thrown<T>(result: Result<T, Misuse>) -> Called<T> {
    result.map_err(|error| misuse(&error))
}
