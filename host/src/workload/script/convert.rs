//! Between Rhai's values, JSON and bytes.
//!
//! Maps and arrays travel as JSON, strings and blobs as they are. What comes from outside (a reply,
//! `ctx.data`, a data file) is shown to scripts as [`JsonView`]s: immutable, shared, so that reading
//! one field of a large document copies that field only.
//!
//! A script can build values that contain themselves or that are deeper than any stack: every walk
//! over a script's value is bounded in depth and in nodes, and says so.

use std::{collections::BTreeMap, fmt::Write, rc::Rc, time::Duration};

use bytes::Bytes;
use rhai::{Array, Blob, Dynamic, FnPtr, ImmutableString, Map};
use serde_json::{Number, Value as Json};

use crate::primitive::{Misuse, timing::Deadline};

/// Levels of nesting that a value may have when it leaves a script.
pub const MAX_DEPTH: usize = 64;

/// Values within values that one value may have when it leaves a script.
const MAX_NODES: usize = 4_000_000;

/// A JSON array or object that scripts read and cannot change.
#[derive(Clone, Debug)]
pub enum JsonView {
    /// An array; its containers are views.
    List(Rc<[Dynamic]>),
    /// An object; its containers are views.
    Object(Rc<BTreeMap<ImmutableString, Dynamic>>),
}

impl JsonView {
    /// A field of an object; unit if there is none, as in Rhai's own maps.
    pub fn field(&self, name: &str) -> Dynamic {
        match self {
            Self::Object(fields) => fields.get(name).cloned().unwrap_or_default(),
            Self::List(_) => Dynamic::UNIT,
        }
    }

    /// An element; negative counts from the end.
    pub fn element(&self, index: i64) -> Option<Dynamic> {
        let Self::List(items) = self else { return None };
        let index = if index < 0 { index.checked_add_unsigned(items.len() as u64)? } else { index };
        items.get(usize::try_from(index).ok()?).cloned()
    }

    /// Elements or fields.
    pub fn len(&self) -> usize {
        match self {
            Self::List(items) => items.len(),
            Self::Object(fields) => fields.len(),
        }
    }
}

/// A JSON document as a script reads it.
pub fn view(json: Json) -> Dynamic {
    match json {
        Json::Null => Dynamic::UNIT,
        Json::Bool(value) => value.into(),
        Json::Number(number) => from_number(&number),
        Json::String(text) => text.into(),
        Json::Array(items) => {
            Dynamic::from(JsonView::List(items.into_iter().map(view).collect::<Vec<_>>().into()))
        }
        Json::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name.into(), view(value)));
            Dynamic::from(JsonView::Object(Rc::new(fields.collect())))
        }
    }
}

/// A view as a value of the script's own, all the way down.
pub fn copy(value: &Dynamic) -> Dynamic {
    let Some(view) = value.read_lock::<JsonView>() else { return value.clone() };
    match &*view {
        JsonView::List(items) => items.iter().map(copy).collect::<Array>().into(),
        JsonView::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.as_str().into(), copy(value)));
            Dynamic::from_map(fields.collect::<Map>())
        }
    }
}

/// JSON as values of the script's own.
pub fn own(json: Json) -> Dynamic {
    match json {
        Json::Array(items) => items.into_iter().map(own).collect::<Array>().into(),
        Json::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name.into(), own(value)));
            Dynamic::from_map(fields.collect::<Map>())
        }
        scalar => view(scalar),
    }
}

/// A script's value as JSON.
pub fn to_json(value: &Dynamic) -> Result<Json, Misuse> {
    Walk { nodes: MAX_NODES }.json(value, MAX_DEPTH)
}

struct Walk {
    nodes: usize,
}

impl Walk {
    fn json(&mut self, value: &Dynamic, depth: usize) -> Result<Json, Misuse> {
        self.nodes = self.nodes.checked_sub(1).ok_or_else(|| {
            Misuse::new(format!("a value of more than {MAX_NODES} parts cannot leave the script"))
        })?;
        if depth == 0 {
            return Err(Misuse::new(format!(
                "a value nested more than {MAX_DEPTH} levels deep (or containing itself) cannot \
                 leave the script"
            )));
        }
        if value.is_unit() {
            return Ok(Json::Null);
        }
        if let Ok(text) = value.as_immutable_string_ref() {
            return Ok(Json::String(text.to_string()));
        }
        if let Ok(number) = value.as_int() {
            return Ok(number.into());
        }
        if let Ok(truth) = value.as_bool() {
            return Ok(truth.into());
        }
        if let Ok(number) = value.as_float() {
            return Number::from_f64(number).map(Json::Number).ok_or_else(|| {
                Misuse::new(format!("{number} has no JSON form: it cannot leave the script"))
            });
        }
        self.container(value, depth)
    }

    fn container(&mut self, value: &Dynamic, depth: usize) -> Result<Json, Misuse> {
        if let Ok(fields) = value.as_map_ref() {
            let fields = fields
                .iter()
                .map(|(name, value)| Ok((name.to_string(), self.json(value, depth - 1)?)));
            return Ok(Json::Object(fields.collect::<Result<_, Misuse>>()?));
        }
        if let Ok(items) = value.as_array_ref() {
            let items = items.iter().map(|value| self.json(value, depth - 1));
            return Ok(Json::Array(items.collect::<Result<_, _>>()?));
        }
        if let Ok(bytes) = value.as_blob_ref() {
            return Ok(Json::Array(bytes.iter().map(|byte| Json::from(*byte)).collect()));
        }
        if let Ok(letter) = value.as_char() {
            return Ok(letter.to_string().into());
        }
        if let Some(view) = value.read_lock::<JsonView>() {
            return self.view(&view, depth);
        }
        if let Some(duration) = value.read_lock::<Duration>() {
            return Ok(duration_text(*duration).into());
        }
        if value.is_fnptr() {
            let name = value.read_lock::<FnPtr>().map(|f| f.fn_name().to_owned());
            return Err(Misuse::new(format!(
                "a function ({}) has no JSON form: it cannot leave the script",
                name.unwrap_or_default()
            )));
        }
        Err(Misuse::new(format!(
            "a value of type {} has no JSON form: it cannot leave the script",
            value.type_name()
        )))
    }

    fn view(&mut self, view: &JsonView, depth: usize) -> Result<Json, Misuse> {
        match view {
            JsonView::List(items) => {
                let items = items.iter().map(|value| self.json(value, depth - 1));
                Ok(Json::Array(items.collect::<Result<_, _>>()?))
            }
            JsonView::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, value)| Ok((name.to_string(), self.json(value, depth - 1)?)));
                Ok(Json::Object(fields.collect::<Result<_, Misuse>>()?))
            }
        }
    }
}

/// A script's value as what goes over the bus: strings and blobs as they are, unit as nothing, all
/// else as JSON.
pub fn payload(value: &Dynamic, limit: usize) -> Result<Bytes, Misuse> {
    let bytes = if let Ok(text) = value.as_immutable_string_ref() {
        check_size(text.len(), limit)?;
        Bytes::copy_from_slice(text.as_bytes())
    } else if let Ok(blob) = value.as_blob_ref() {
        check_size(blob.len(), limit)?;
        Bytes::copy_from_slice(&blob)
    } else if value.is_unit() {
        Bytes::new()
    } else {
        let json = to_json(value)?;
        let text = serde_json::to_vec(&json)
            .map_err(|error| Misuse::new(format!("this payload has no JSON form: {error}")))?;
        check_size(text.len(), limit)?;
        text.into()
    };
    Ok(bytes)
}

fn check_size(size: usize, limit: usize) -> Result<(), Misuse> {
    if size <= limit {
        return Ok(());
    }
    Err(Misuse::new(format!(
        "a payload of {size} bytes is over the limit of {limit} (--limit payload_bytes=N)"
    )))
}

/// Bytes as a blob.
pub fn blob(bytes: &[u8]) -> Blob {
    bytes.to_vec()
}

fn from_number(number: &Number) -> Dynamic {
    match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => whole.into(),
        (None, Some(number)) => number.into(),
        (None, None) => Dynamic::UNIT,
    }
}

/// `"500ms"`, `"1m30s"`, a duration such as `500.ms`, or what is left of a deadline.
pub fn duration(value: &Dynamic, what: &str) -> Result<Duration, Misuse> {
    if let Some(duration) = value.read_lock::<Duration>() {
        return Ok(*duration);
    }
    if let Some(deadline) = value.read_lock::<Deadline>() {
        return Ok(deadline.left());
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return parse_duration(&text).ok_or_else(|| {
            Misuse::new(format!("{what}: `{}` is not a duration such as \"500ms\"", &*text))
        });
    }
    let shown = to_json(value).map_or_else(|_| value.type_name().to_owned(), |it| it.to_string());
    Err(Misuse::new(format!(
        "{what}: `{shown}` is not a duration: write \"500ms\" or 500.ms (units: ns us ms s m h)"
    )))
}

/// Numbers with units, one after the other.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        total = total.checked_add(seconds(number * unit)?)?;
        rest = &rest[letters..];
    }
    Some(total)
}

/// A number of seconds, rounded to the nanosecond; `None` if it is negative or too large.
pub fn seconds(seconds: f64) -> Option<Duration> {
    let nanos = (seconds * 1e9).round();
    (0.0..9.2e18).contains(&nanos).then(|| Duration::from_nanos(nanos as u64))
}

/// A duration as it is written in options: whole, in the largest unit that it is a multiple of.
pub fn duration_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    for (unit, name) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")] {
        if nanos.is_multiple_of(unit) {
            return format!("{}{name}", nanos / unit);
        }
    }
    format!("{nanos}ns")
}

/// Levels that are printed of a value within values.
const SHOWN_DEPTH: usize = 16;

/// Bytes that are printed of one value.
const SHOWN_BYTES: usize = 64 << 10;

/// A value as text, as Rhai writes it, cut where it is too deep or too long: Rhai's own printing
/// walks for ever through a map that holds a closure over itself.
pub fn show(value: &Dynamic) -> String {
    let mut text = String::new();
    show_into(&mut text, value, SHOWN_DEPTH);
    text
}

fn show_into(text: &mut String, value: &Dynamic, depth: usize) {
    if depth == 0 || text.len() > SHOWN_BYTES {
        text.push('…');
        return;
    }
    if let Ok(fields) = value.as_map_ref() {
        let fields = fields.iter().map(|(name, value)| (Some(name.as_str()), value));
        show_all(text, ("#{", "}"), fields, depth - 1);
    } else if let Ok(items) = value.as_array_ref() {
        show_all(text, ("[", "]"), items.iter().map(|value| (None, value)), depth - 1);
    } else if let Ok(string) = value.as_immutable_string_ref() {
        let most = string.len().min(SHOWN_BYTES);
        let cut = (0..=most).rev().find(|at| string.is_char_boundary(*at)).unwrap_or(0);
        let _ = write!(text, "{:?}", &string[..cut]);
    } else if value.is_fnptr() {
        let name = value.read_lock::<FnPtr>().map(|function| function.fn_name().to_owned());
        let _ = write!(text, "Fn({})", name.unwrap_or_default());
    } else if value.is::<JsonView>() || value.is::<Duration>() || value.is_blob() {
        match to_json(value) {
            Ok(json) => text.push_str(&json.to_string()),
            Err(_) => text.push('…'),
        }
    } else {
        text.push_str(&value.to_string());
    }
}

fn show_all<'a>(
    text: &mut String,
    (open, close): (&str, &str),
    items: impl Iterator<Item = (Option<&'a str>, &'a Dynamic)>,
    depth: usize,
) {
    text.push_str(open);
    for (index, (name, value)) in items.enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        if text.len() > SHOWN_BYTES {
            text.push('…');
            break;
        }
        if let Some(name) = name {
            let _ = write!(text, "{name:?}: ");
        }
        show_into(text, value, depth);
    }
    text.push_str(close);
}
