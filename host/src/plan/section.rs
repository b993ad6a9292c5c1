//! One object of the options: typed values out of it, and errors that say where and what to write.
//!
//! A key that nobody reads is an error at once, never ignored: a misspelt `gracefull_stop` would
//! otherwise run with the default and nobody would know. `null` (a script's `()`) means absent.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};

use super::quantity::{parse_duration, shown};
use crate::diagnostic::{Diagnostic, Place, nearest};

/// Entries of one list or map of free keys.
const MOST_ENTRIES: usize = 10_000;

/// Where the values of the options stand in their source.
pub(super) type Places = BTreeMap<Vec<String>, Place>;

/// A value of the options and where it is.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    pub(super) value: &'a Value,
    pub(super) path: Vec<String>,
    pub(super) places: &'a Places,
}

/// An object of the options, all of whose keys are known.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    map: &'a Map<String, Value>,
    path: Vec<String>,
    places: &'a Places,
}

impl<'a> Item<'a> {
    /// An error about this value: the place is that of the longest part of its path that is known.
    pub(super) fn error(&self, message: impl AsRef<str>) -> Diagnostic {
        let path = self.path.join(".");
        let mut error = Diagnostic::new(if path.is_empty() {
            message.as_ref().to_owned()
        } else {
            format!("{}: {}", shown(&path), message.as_ref())
        });
        error.place = self.place().cloned();
        error
    }

    /// Where it stands, or what holds it.
    pub(super) fn place(&self) -> Option<&'a Place> {
        (0..=self.path.len()).rev().find_map(|length| self.places.get(&self.path[..length]))
    }

    fn wrong_kind(&self, wanted: &str) -> Diagnostic {
        let found = match self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Number(value) => format!("the number {value}"),
            Value::String(value) => format!("the string \"{}\"", shown(value)),
            Value::Array(_) => "an array".to_owned(),
            Value::Object(_) => "a map".to_owned(),
        };
        self.error(format!("expected {wanted}, found {found}")).help(format!("write {wanted}"))
    }

    pub(super) fn child(&self, key: impl Into<String>, value: &'a Value) -> Item<'a> {
        let mut path = self.path.clone();
        path.push(key.into());
        Item { value, path, places: self.places }
    }

    pub(super) fn string(&self) -> Result<&'a str, Diagnostic> {
        self.value.as_str().ok_or_else(|| self.wrong_kind("a string"))
    }

    pub(super) fn boolean(&self) -> Result<bool, Diagnostic> {
        self.value.as_bool().ok_or_else(|| self.wrong_kind("true or false"))
    }

    pub(super) fn map(&self) -> Result<&'a Map<String, Value>, Diagnostic> {
        self.value.as_object().ok_or_else(|| self.wrong_kind("a map"))
    }

    pub(super) fn array(&self) -> Result<Vec<Item<'a>>, Diagnostic> {
        let array = self.value.as_array().ok_or_else(|| self.wrong_kind("an array"))?;
        self.bounded(array.len())?;
        Ok(array
            .iter()
            .enumerate()
            .map(|(index, value)| self.child(index.to_string(), value))
            .collect())
    }

    /// The entries of a map of free keys.
    pub(super) fn entries(&self) -> Result<Vec<(&'a str, Item<'a>)>, Diagnostic> {
        self.bounded(self.map()?.len())?;
        let entries = self.map()?.iter().filter(|(_, value)| !value.is_null());
        Ok(entries.map(|(key, value)| (key.as_str(), self.child(key, value))).collect())
    }

    /// A computed list of a million entries is a mistake, or meant to keep the host busy.
    fn bounded(&self, entries: usize) -> Result<(), Diagnostic> {
        if entries <= MOST_ENTRIES {
            return Ok(());
        }
        Err(self
            .error(format!("{entries} entries are too many"))
            .help(format!("{MOST_ENTRIES} at most")))
    }

    /// A whole number; a float without a fraction counts (scripts compute them).
    pub(super) fn whole(&self) -> Result<u64, Diagnostic> {
        let float = || self.value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=9e15).contains(n));
        self.value
            .as_u64()
            .or_else(|| float().map(|n| n as u64))
            .ok_or_else(|| self.wrong_kind("a whole number of at least 0"))
    }

    pub(super) fn whole_u32(&self) -> Result<u32, Diagnostic> {
        let value = self.whole()?;
        u32::try_from(value).map_err(|_| {
            self.error(format!("{value} is too large")).help("it has to be below 4 294 967 296")
        })
    }

    /// A finite number of at least 0.
    pub(super) fn number(&self) -> Result<f64, Diagnostic> {
        let number = self.value.as_f64().filter(|number| number.is_finite() && *number >= 0.0);
        number.ok_or_else(|| self.wrong_kind("a number of at least 0"))
    }

    pub(super) fn duration(&self) -> Result<Duration, Diagnostic> {
        if let Value::Number(number) = self.value {
            return Err(self
                .error(format!("the duration {number} has no unit"))
                .help(format!("write \"{number}s\" or \"{number}ms\", as a string")));
        }
        parse_duration(self.string()?).map_err(|error| {
            let mut mine = self.error(error.message);
            mine.place = mine.place.or(error.place);
            mine.help = error.help;
            mine
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Diagnostic> {
        let word = self.string()?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word) {
            return Ok(*value);
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        Err(self
            .error(format!("`{}` is not one of {}", shown(word), listed(&names)))
            .help(suggestion(word, &names)))
    }

    /// Labels: a map of strings; numbers and booleans are written out.
    pub(super) fn labels(&self) -> Result<BTreeMap<String, String>, Diagnostic> {
        let mut labels = BTreeMap::new();
        for (key, item) in self.entries()? {
            let text = match item.value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(value) => value.to_string(),
                _ => return Err(item.wrong_kind("a string")),
            };
            labels.insert(key.to_owned(), text);
        }
        Ok(labels)
    }

    /// As a section with these keys and no others. `of` is what the error calls it.
    pub(super) fn section(&self, of: &str, known: &[&str]) -> Result<Section<'a>, Diagnostic> {
        let map = self.map()?;
        for (key, value) in map {
            if !known.contains(&key.as_str()) {
                return Err(self
                    .child(key, value)
                    .error(format!("`{}` is not an option of {of}", shown(key)))
                    .help(suggestion(key, known)));
            }
        }
        Ok(Section { map, path: self.path.clone(), places: self.places })
    }
}

impl<'a> Section<'a> {
    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<Item<'a>> {
        let value = self.map.get(key).filter(|value| !value.is_null())?;
        Some(self.at(key, value))
    }

    /// The value of a key that has to be there.
    pub(super) fn require(&self, key: &str, example: &str) -> Result<Item<'a>, Diagnostic> {
        self.get(key).ok_or_else(|| {
            self.whole()
                .error(format!("`{key}` is missing"))
                .help(format!("add `{key}: {example}`"))
        })
    }

    /// The section itself as a value without content: for errors about all of it.
    pub(super) fn whole(&self) -> Item<'a> {
        Item { value: &Value::Null, path: self.path.clone(), places: self.places }
    }

    pub(super) fn duration(&self, key: &str) -> Result<Option<Duration>, Diagnostic> {
        self.get(key).map(|item| item.duration()).transpose()
    }

    pub(super) fn whole_u32(&self, key: &str) -> Result<Option<u32>, Diagnostic> {
        self.get(key).map(|item| item.whole_u32()).transpose()
    }

    pub(super) fn whole_u64(&self, key: &str) -> Result<Option<u64>, Diagnostic> {
        self.get(key).map(|item| item.whole()).transpose()
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, Diagnostic> {
        self.get(key).map(|item| item.number()).transpose()
    }

    pub(super) fn string(&self, key: &str) -> Result<Option<&'a str>, Diagnostic> {
        self.get(key).map(|item| item.string()).transpose()
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, Diagnostic> {
        self.get(key).map(|item| item.boolean()).transpose()
    }

    pub(super) fn choice<T: Copy + Default>(
        &self,
        key: &str,
        choices: &[(&str, T)],
    ) -> Result<T, Diagnostic> {
        self.get(key).map_or_else(|| Ok(T::default()), |item| item.choice(choices))
    }

    fn at(&self, key: &str, value: &'a Value) -> Item<'a> {
        Item { value, path: self.path.clone(), places: self.places }.child(key, value)
    }
}

/// `a`, `b`, `c`
pub(super) fn listed(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The nearest candidate as a question, else all of them.
pub(super) fn suggestion(word: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if candidates.is_empty() => "there is none".to_owned(),
        None => format!("one of {}", listed(candidates)),
    }
}
