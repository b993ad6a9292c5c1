//! A script's text, before it is parsed: read within limits, and looked over for what would keep
//! Rhai's parser busy or overflow its stack.
//!
//! Rhai's parser calls no hook, so nothing can stop it once it runs: 20 000 `let` lines keep it for
//! seconds. Size, lines, words and nesting are therefore bounded by a scan that is linear in the
//! text, and the parser then runs on a thread of its own against a timeout (see the parent module).

use std::{io::Read, path::Path};

use super::{fault::token_end, resolver};
use crate::diagnostic::Diagnostic;

/// Lines of one file.
const LINES: usize = 10_000;

/// Words and signs of one file.
const TOKENS: usize = 100_000;

/// Brackets within brackets.
const NESTING: usize = 64;

/// `let` and `const` of one file: each is looked up among all before it.
const VARIABLES: usize = 2_000;

/// Reads a file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<String, Diagnostic> {
    let fail = |why: String| Diagnostic::new(format!("`{}`: {why}", path.display()));
    let file = crate::workload::open(path).map_err(|error| {
        fail(resolver::reason(&error)).help("give the path of a script that exists")
    })?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| fail(resolver::reason(&error)))?;
    if bytes.len() as u64 > limit {
        return Err(fail(format!("larger than the limit of {limit} bytes"))
            .help("split it, or raise --limit source_bytes=N"));
    }
    String::from_utf8(bytes)
        .map_err(|error| fail(format!("not UTF-8 (byte {})", error.utf8_error().valid_up_to())))
}

/// Refuses what would keep the parser busy.
pub fn check(text: &str, origin: &str) -> Result<(), Diagnostic> {
    let fail = |message: String, at: usize| {
        Diagnostic::new(message)
            .help("split the script, or keep data in a file and read it with data::json")
            .at(origin, text, at..token_end(text, at))
    };
    let (mut lines, mut tokens, mut depth, mut variables) = (1, 0, 0_usize, 0);
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let start = at;
        at += 1;
        match byte {
            b'\n' => lines += 1,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'/' if bytes.get(at) == Some(&b'/') => {
                at = end_of(bytes, at, b'\n');
                continue;
            }
            b'"' => at = end_of_string(bytes, at),
            _ if is_word(byte) => {
                at = (at..bytes.len()).find(|end| !is_word(bytes[*end])).unwrap_or(bytes.len());
                variables += usize::from(matches!(&bytes[start..at], b"let" | b"const"));
            }
            _ => {}
        }
        tokens += usize::from(!byte.is_ascii_whitespace());
        if depth > NESTING {
            return Err(fail(format!("brackets are nested more than {NESTING} deep"), start));
        }
        if lines > LINES || tokens > TOKENS || variables > VARIABLES {
            let what = if lines > LINES {
                format!("{LINES} lines")
            } else if tokens > TOKENS {
                format!("{TOKENS} words and signs")
            } else {
                format!("{VARIABLES} variables")
            };
            return Err(fail(
                format!("a script of more than {what} takes too long to parse"),
                start,
            ));
        }
    }
    Ok(())
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn end_of(bytes: &[u8], from: usize, end: u8) -> usize {
    (from..bytes.len()).find(|at| bytes[*at] == end).unwrap_or(bytes.len())
}

fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' | b'\n' => return at + usize::from(bytes[at] == b'"'),
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}
