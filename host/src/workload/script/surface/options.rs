//! The option maps that calls take: `#{ op: "stats", timeout: "1s" }`.
//!
//! A key that the call does not know is misuse that names the nearest one: a `timeuot` that is
//! silently ignored would make a measurement wrong.

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

/// The options of one call.
pub struct CallOptions<'a> {
    function: &'static str,
    map: &'a Map,
}

impl<'a> CallOptions<'a> {
    /// The options, all of whose keys are known.
    pub fn new(function: &'static str, map: &'a Map, known: &[&str]) -> Called<Self> {
        for key in map.keys() {
            if !known.contains(&key.as_str()) {
                let hint = nearest(key, known.iter().copied())
                    .map_or_else(|| known.join(", "), |near| format!("did you mean `{near}`?"));
                return Err(misused(format!("{function}: unknown option `{key}` ({hint})")));
            }
        }
        Ok(Self { function, map })
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
