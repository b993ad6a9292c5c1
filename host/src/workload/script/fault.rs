//! From Rhai's errors to ours: what a guest ended with, and what is wrong with a script.

use std::{any::TypeId, path::Path};

use rhai::{Dynamic, EvalAltResult, ParseError, Position};

use super::session::Ended;
use crate::{
    diagnostic::{self, Diagnostic},
    primitive::Misuse,
    workload::{GuestError, GuestErrorKind},
};

/// Bytes of an error's message that are kept.
const MESSAGE_BYTES: usize = 2_048;

/// What a misuse is thrown as: a script can catch and print it, and the host still knows its kind.
#[derive(Clone, Debug)]
pub struct Misused(pub String);

/// A misuse as a Rhai error; Rhai adds the position.
pub fn misuse(misuse: &Misuse) -> Box<EvalAltResult> {
    let token = Dynamic::from(Misused(misuse.0.clone()));
    Box::new(EvalAltResult::ErrorRuntime(token, Position::NONE))
}

/// A misuse from its message.
pub fn misused(message: impl Into<String>) -> Box<EvalAltResult> {
    misuse(&Misuse::new(message))
}

/// What a script throws with `fail`.
pub fn thrown(message: String) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(message.into(), Position::NONE))
}

/// The error that no script can catch.
pub fn terminated() -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorTerminated(Dynamic::UNIT, Position::NONE))
}

/// What a guest's call ended with.
pub fn guest_error(
    error: &EvalAltResult,
    ended: Option<Ended>,
    file: &str,
    root: &Path,
) -> GuestError {
    let (inner, source) = innermost(error);
    let position = inner.position();
    let position = if position.is_none() { error.position() } else { position };
    let (kind, message) = describe(inner, ended);
    let file = match source {
        Some(source) if !source.is_empty() => shown(source, root),
        _ => file.to_owned(),
    };
    let place = match (position.line(), position.position()) {
        (Some(line), Some(column)) => Some(format!("{file}:{line}:{column}")),
        (Some(line), None) => Some(format!("{file}:{line}")),
        _ => None,
    };
    GuestError { kind, message: cut(message), place }
}

/// The error at the bottom, and the file of the function that raised it.
fn innermost(error: &EvalAltResult) -> (&EvalAltResult, Option<&str>) {
    let (mut error, mut source) = (error, None);
    loop {
        match error {
            EvalAltResult::ErrorInFunctionCall(_, file, inner, _)
            | EvalAltResult::ErrorInModule(file, inner, _) => {
                source = Some(file.as_str());
                error = inner;
            }
            _ => return (error, source),
        }
    }
}

fn describe(error: &EvalAltResult, ended: Option<Ended>) -> (GuestErrorKind, String) {
    use EvalAltResult as E;
    match error {
        E::ErrorTerminated(..) => ended.map_or_else(
            || (GuestErrorKind::Limit, "the script was ended by the host".to_owned()),
            describe_end,
        ),
        E::ErrorRuntime(token, _) if token.type_id() == TypeId::of::<Misused>() => {
            let message = token.clone().try_cast::<Misused>().map(|misused| misused.0);
            (GuestErrorKind::Misuse, message.unwrap_or_default())
        }
        E::ErrorRuntime(token, _) => (GuestErrorKind::Threw, thrown_text(token)),
        E::ErrorStackOverflow(_) => (
            GuestErrorKind::Trapped,
            "functions call each other too deeply (limit: script_call_levels)".to_owned(),
        ),
        E::ErrorTooManyOperations(_) => {
            (GuestErrorKind::Limit, "too many operations (limit: script_operations)".to_owned())
        }
        E::ErrorTooManyVariables(_) => (GuestErrorKind::Limit, "too many variables".to_owned()),
        E::ErrorTooManyModules(_) => (GuestErrorKind::Limit, "too many imports".to_owned()),
        E::ErrorDataTooLarge(what, _) => (
            GuestErrorKind::Limit,
            format!("{what} is over its limit (script_string, script_collection)"),
        ),
        other => (GuestErrorKind::Threw, without_position(other)),
    }
}

fn describe_end(ended: Ended) -> (GuestErrorKind, String) {
    match ended {
        Ended::Cancelled => (GuestErrorKind::Limit, "the iteration was interrupted".to_owned()),
        Ended::CpuTimeout(allowance) => (GuestErrorKind::CpuTimeout, allowance.exceeded()),
        Ended::Memory(limit) => (
            GuestErrorKind::Limit,
            format!(
                "the process grew by more than {limit} bytes while the script ran: raise it with \
                 --limit script_memory=BYTES"
            ),
        ),
        Ended::StackFull => {
            (GuestErrorKind::Trapped, "the script's stack is full: too much recursion".to_owned())
        }
        Ended::LoadTimeout => (
            GuestErrorKind::CpuTimeout,
            "the script's top level did not end in time: a loop outside of functions?".to_owned(),
        ),
    }
}

/// What was thrown, without walking through a value that may be deep or endless.
fn thrown_text(token: &Dynamic) -> String {
    if let Ok(text) = token.as_immutable_string_ref() {
        return text.to_string();
    }
    match super::convert::to_json(token) {
        Ok(json) => json.to_string(),
        Err(_) => format!("a value of type {}", token.type_name()),
    }
}

/// Rhai appends the position to every message; ours has its own place.
fn without_position(error: &EvalAltResult) -> String {
    let text = error.to_string();
    let position = error.position();
    match text.rfind(" (line ") {
        Some(end) if !position.is_none() => text[..end].to_owned(),
        _ => text,
    }
}

/// A source that did not parse.
pub fn parse_diagnostic(error: &ParseError, origin: &str, text: &str) -> Diagnostic {
    let message = error.err_type().to_string();
    place(Diagnostic::new(message), origin, text, error.position())
}

/// A top level that did not evaluate.
pub fn load_diagnostic(
    error: &EvalAltResult,
    ended: Option<Ended>,
    root: &Path,
    origin: &str,
    text: &str,
) -> Diagnostic {
    let (inner, source) = innermost(error);
    let (_, message) = match inner {
        EvalAltResult::ErrorParsing(kind, _) => (GuestErrorKind::Threw, kind.to_string()),
        _ => describe(inner, ended),
    };
    let diagnostic = Diagnostic::new(cut(message));
    let position = if inner.position().is_none() { error.position() } else { inner.position() };
    match source.filter(|source| !source.is_empty() && *source != origin) {
        Some(source) => {
            let imported = std::fs::read_to_string(root.join(source)).unwrap_or_default();
            place(diagnostic, &beside(origin, Path::new(source)), &imported, position)
        }
        None => place(diagnostic, origin, text, position),
    }
}

/// A file of the script's folder as it is reached from where the script was.
pub fn beside(origin: &str, name: &Path) -> String {
    Path::new(origin).with_file_name("").join(name).display().to_string()
}

/// Puts a Rhai position into a diagnostic.
pub fn place(diagnostic: Diagnostic, origin: &str, text: &str, position: Position) -> Diagnostic {
    let start = match position.line() {
        Some(line) => diagnostic::offset(text, line, position.position().unwrap_or(1)),
        None => return diagnostic.at(origin, "", 0..0),
    };
    diagnostic.at(origin, text, start..token_end(text, start))
}

/// Where the word or sign at `start` ends.
pub fn token_end(text: &str, start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let word = rest
        .find(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
        .unwrap_or(rest.len());
    let length = if word == 0 { rest.chars().next().map_or(0, char::len_utf8) } else { word };
    start + length
}

/// A file as it is shown: relative to the script's folder where it lies in it.
fn shown(source: &str, root: &Path) -> String {
    Path::new(source)
        .strip_prefix(root)
        .map_or_else(|_| source.to_owned(), |path| path.display().to_string())
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES).rev().find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or(0));
        message.push('…');
    }
    message
}
