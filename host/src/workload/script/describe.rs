//! Where the values of `options` stand in the source.
//!
//! The options are evaluated like everything else, so they may be computed; what is written as a
//! literal map is found again in the syntax tree, so that an error about it can point at it.

use std::collections::BTreeMap;

use rhai::{AST, Expr, Stmt};

use super::fault::token_end;
use crate::diagnostic::{Place, offset};

/// The places of the literal parts of `options`, by path; elements of arrays by their index.
pub fn places(ast: &AST, origin: &str, text: &str) -> BTreeMap<Vec<String>, Place> {
    let mut found = Found { origin, text, places: BTreeMap::new() };
    for statement in ast.statements() {
        if let Stmt::Var(declared, ..) = statement
            && declared.0.name == "options"
        {
            found.walk(&mut Vec::new(), &declared.1);
        }
    }
    found.places
}

struct Found<'a> {
    origin: &'a str,
    text: &'a str,
    places: BTreeMap<Vec<String>, Place>,
}

impl Found<'_> {
    fn walk(&mut self, path: &mut Vec<String>, expression: &Expr) {
        match expression {
            Expr::Map(map, _) => {
                for (key, value) in &map.0 {
                    path.push(key.name.to_string());
                    self.add(path, Some(key.pos), value);
                    self.walk(path, value);
                    path.pop();
                }
            }
            Expr::Array(items, _) => {
                for (index, value) in items.iter().enumerate() {
                    path.push(index.to_string());
                    self.add(path, None, value);
                    self.walk(path, value);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    /// From the key to the end of its value if that is one word on the same line.
    fn add(&mut self, path: &[String], key: Option<rhai::Position>, value: &Expr) {
        let at = |position: rhai::Position| {
            Some(offset(self.text, position.line()?, position.position().unwrap_or(1)))
        };
        let key = key.and_then(at);
        let value_at = at(value.start_position());
        let (Some(start), Some(last)) = (key.or(value_at), value_at.or(key)) else { return };
        let is_container = matches!(value, Expr::Map(..) | Expr::Array(..));
        let same_line = self.text.get(start..last).is_some_and(|between| !between.contains('\n'));
        let end = if same_line && !is_container {
            literal_end(self.text, last)
        } else {
            literal_end(self.text, start)
        };
        let place = Place {
            origin: self.origin.to_owned(),
            text: self.text.to_owned(),
            range: start..end.max(start),
        };
        self.places.insert(path.to_vec(), place);
    }
}

/// Where the literal at `start` ends.
fn literal_end(text: &str, start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    match rest.chars().next() {
        Some(quote @ ('"' | '`' | '\'')) => {
            let end = rest[1..].find([quote, '\n']).map_or(rest.len(), |at| at + 2);
            start + end.min(rest.len())
        }
        Some('-' | '+') => token_end(text, start + 1),
        _ => token_end(text, start),
    }
}
