//! A TOML text as the same tree that a workload's options are, with the place of each value: so that one
//! set of readers ([`super::section`]) checks both and an error in either has its line and caret.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::section::Places;
use crate::diagnostic::{Diagnostic, Place};

/// Bytes of a text.
const LONGEST: usize = 1 << 20;

/// Reads a text. `origin` is what errors call it: its file.
pub(super) fn read(text: &str, origin: &str) -> Result<(Value, Places), Diagnostic> {
    if text.len() > LONGEST {
        return Err(Diagnostic::new(format!("{} bytes are too long for a suite", text.len()))
            .help(format!("{LONGEST} are the most"))
            .in_file(origin));
    }
    let table = DeTable::parse(text).map_err(|error| {
        let range = error.span().unwrap_or(0..0);
        Diagnostic::new(format!("it is not TOML: {}", error.message()))
            .help("see toml.io for how a file of this kind is written")
            .at(origin, text, range)
    })?;
    let mut reader = Reader { text, origin, places: BTreeMap::new() };
    let value = reader.table(table.get_ref(), &mut Vec::new())?;
    Ok((value, reader.places))
}

/// A TOML text as a tree of values: the manifest of a plugin.
pub fn toml_tree(text: &str, origin: &str) -> Result<Value, Diagnostic> {
    read(text, origin).map(|(tree, _)| tree)
}

struct Reader<'a> {
    text: &'a str,
    origin: &'a str,
    places: Places,
}

impl Reader<'_> {
    fn place(&self, range: std::ops::Range<usize>) -> Place {
        Place { origin: self.origin.to_owned(), text: self.text.to_owned(), range }
    }

    fn table(&mut self, table: &DeTable<'_>, path: &mut Vec<String>) -> Result<Value, Diagnostic> {
        // In the order of the file: what is listed first is what a report names first.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut map = Map::new();
        for (key, value) in entries {
            path.push(key.get_ref().to_string());
            let read = self.value(value, path)?;
            if matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_)) {
                // What holds others may be spread over the file; its name is where it begins.
                self.places.insert(path.clone(), self.place(key.span()));
            }
            path.pop();
            map.insert(key.get_ref().to_string(), read);
        }
        Ok(Value::Object(map))
    }

    fn value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        path: &mut Vec<String>,
    ) -> Result<Value, Diagnostic> {
        self.places.insert(path.clone(), self.place(value.span()));
        let wrong = |what: &str| {
            Diagnostic::new(format!("{what} cannot be used here"))
                .help("write a string, a number, true or false, an array or a table")
                .at(self.origin, self.text, value.span())
        };
        match value.get_ref() {
            DeValue::String(text) => Ok(Value::String(text.to_string())),
            DeValue::Boolean(value) => Ok(Value::Bool(*value)),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map(|number| Value::Number(number.into()))
                .map_err(|_| wrong("a number of this size")),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .ok()
                .and_then(Number::from_f64)
                .map(Value::Number)
                .ok_or_else(|| wrong("a number that is not finite")),
            DeValue::Datetime(_) => Err(wrong("a date")),
            DeValue::Array(array) => {
                let mut values = Vec::new();
                for (index, value) in array.iter().enumerate() {
                    path.push(index.to_string());
                    values.push(self.value(value, path)?);
                    path.pop();
                }
                Ok(Value::Array(values))
            }
            DeValue::Table(table) => self.table(table, path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::line_and_column;

    #[test]
    fn values_have_their_places() {
        let text = "b = 1_000\n[a.c]\nd = [0.5, \"x\"]\n[[e]]\nf = true\n";
        let (value, places) = read(text, "suite.toml").unwrap();
        assert_eq!(
            value,
            serde_json::json!({ "b": 1000, "a": { "c": { "d": [0.5, "x"] } }, "e": [{ "f": true }] })
        );
        let at = |path: &[&str]| {
            let path: Vec<_> = path.iter().map(|part| (*part).to_owned()).collect();
            line_and_column(text, places[&path].range.start)
        };
        assert_eq!(at(&["b"]), (1, 5));
        assert_eq!(at(&["a", "c", "d", "1"]), (3, 11));
        assert_eq!(at(&["e", "0", "f"]), (5, 5));
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_place() {
        let error = read("a = \n", "suite.toml").unwrap_err();
        assert!(error.message.contains("not TOML") && error.place.is_some(), "{error:?}");
        for wrong in ["a = nan", "a = 1979-05-27", "a = 99999999999999999999"] {
            assert!(read(wrong, "suite.toml").unwrap_err().place.is_some(), "{wrong}");
        }
    }
}
