//! What is wrong with something that a user wrote: one message, one place, one next step.
//!
//! Every room that reads a user's text (script, options, threshold, suite, flag) reports with this
//! type; only `cli` prints it. It refuses to hold more than one error, because the first one is
//! what the reader mends first.

use std::{ops::Range, path::PathBuf};

/// One error in what a user wrote.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Diagnostic {
    /// What is wrong, with the value that is wrong.
    pub message: String,
    /// Where, when the text is at hand.
    pub place: Option<Place>,
    /// What to do about it.
    pub help: Option<String>,
}

/// A stretch of a text, for the line, the column and the caret.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file, or a name such as `--stage` for a text without one.
    pub origin: String,
    /// The whole text.
    pub text: String,
    /// Byte range within `text`.
    pub range: Range<usize>,
}

impl Diagnostic {
    /// An error without a place yet.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, help: None }
    }

    /// Adds the next step.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the place.
    #[must_use]
    pub fn at(
        mut self,
        origin: impl Into<String>,
        text: impl Into<String>,
        range: Range<usize>,
    ) -> Self {
        self.place = Some(Place { origin: origin.into(), text: text.into(), range });
        self
    }

    /// Adds a file as the place, without a line.
    #[must_use]
    pub fn in_file(self, path: impl Into<PathBuf>) -> Self {
        let origin = path.into().display().to_string();
        self.at(origin, "", 0..0)
    }
}

/// The candidate nearest to `word`, if it is near enough to have been meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Byte offset of a line and column (both from 1, columns in characters) within `text`.
pub fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = &text[start.min(text.len())..];
    start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(index, _)| index)
}
