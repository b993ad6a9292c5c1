//! What can be done with JSON that came from outside: read it, walk over it, compare it, copy it.

use rhai::{Array, Dynamic, Engine, ImmutableString, Map};

use super::word;
use crate::workload::script::{
    convert::{self, JsonView},
    fault::{misuse, misused},
    session::Called,
};

pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<JsonView>("Json");
    engine.register_indexer_get(|it: &mut JsonView, name: ImmutableString| it.field(&name));
    engine.register_indexer_get(|it: &mut JsonView, index: i64| -> Called<Dynamic> {
        it.element(index).ok_or_else(|| {
            misused(format!("index {index} is out of bounds: there are {} elements", it.len()))
        })
    });
    engine.register_get("len", |it: &mut JsonView| it.len() as i64);
    engine.register_iterator::<JsonView>();
    walking(engine);
    comparing(engine);
}

fn walking(engine: &mut Engine) {
    word(engine, "len(json: Json) -> int", "Elements or fields.", |it: &mut JsonView| {
        it.len() as i64
    });
    word(engine, "is_empty(json: Json) -> bool", "Whether it has none.", |it: &mut JsonView| {
        it.len() == 0
    });
    word(
        engine,
        "keys(json: Json) -> array",
        "Names of an object's fields.",
        |it: &mut JsonView| match it {
            JsonView::List(_) => Array::new(),
            JsonView::Object(fields) => fields.keys().map(|name| name.clone().into()).collect(),
        },
    );
    word(engine, "values(json: Json) -> array", "Elements, or values of the fields.", values);
    word(
        engine,
        "contains(json: Json, name: string) -> bool",
        "Whether an object has this field; also `name in json`.",
        |it: &mut JsonView, name: &str| match it {
            JsonView::List(_) => false,
            JsonView::Object(fields) => fields.contains_key(name),
        },
    );
    word(
        engine,
        "copy(json: Json) -> ?",
        "A map or array of the script's own, which can be changed.",
        |it: &mut JsonView| convert::copy(&Dynamic::from(it.clone())),
    );
}

fn values(it: &mut JsonView) -> Array {
    match it {
        JsonView::List(items) => items.to_vec(),
        JsonView::Object(fields) => fields.values().cloned().collect(),
    }
}

fn comparing(engine: &mut Engine) {
    for name in ["to_string", "to_debug", "to_json"] {
        let signature = format!("{name}(json: Json) -> string");
        word(engine, &signature, "Its text as JSON.", |it: &mut JsonView| -> Called<String> {
            let json = convert::to_json(&Dynamic::from(it.clone()));
            json.map(|json| json.to_string()).map_err(|error| misuse(&error))
        });
    }
    let equal = |a: Dynamic, b: Dynamic| -> Called<bool> {
        let (a, b) = (convert::to_json(&a), convert::to_json(&b));
        Ok(matches!((a, b), (Ok(a), Ok(b)) if a == b))
    };
    engine.register_fn("==", move |a: JsonView, b: JsonView| {
        equal(Dynamic::from(a), Dynamic::from(b))
    });
    engine.register_fn("==", move |a: JsonView, b: Map| equal(Dynamic::from(a), b.into()));
    engine.register_fn("==", move |a: Map, b: JsonView| equal(a.into(), Dynamic::from(b)));
    engine.register_fn("==", move |a: JsonView, b: Array| equal(Dynamic::from(a), b.into()));
    engine.register_fn("==", move |a: Array, b: JsonView| equal(a.into(), Dynamic::from(b)));
}

/// What a `for` loop walks over: elements, or the values of the fields.
pub struct Elements {
    view: JsonView,
    next: usize,
}

impl IntoIterator for JsonView {
    type Item = Dynamic;
    type IntoIter = Elements;

    fn into_iter(self) -> Elements {
        let view = match self {
            Self::List(_) => self,
            Self::Object(fields) => Self::List(fields.values().cloned().collect()),
        };
        Elements { view, next: 0 }
    }
}

impl Iterator for Elements {
    type Item = Dynamic;

    fn next(&mut self) -> Option<Dynamic> {
        let index = self.next;
        self.next += 1;
        match &self.view {
            JsonView::List(items) => items.get(index).cloned(),
            JsonView::Object(_) => None,
        }
    }
}
