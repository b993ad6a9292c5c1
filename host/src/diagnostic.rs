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

/// The candidate nearest to `word`, if it is near enough to have been meant. Very long words are not
/// compared: a hostile one would take the memory of its length times the candidate's.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 128;
    candidates
        .into_iter()
        .filter(|candidate| word.len().max(candidate.len()) <= LONGEST)
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

/// Line and column (both from 1, columns in characters) of a byte offset within `text`.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = (0..=offset.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .map_or("", |end| &text[..end]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_the_way_there_and_back() {
        let text = "let a = 1;\n  ß = 2;\n";
        for (index, _) in text.char_indices() {
            let (line, column) = line_and_column(text, index);
            assert_eq!(offset(text, line, column), index);
        }
        assert_eq!(line_and_column(text, 10_000), (3, 1));
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        assert_eq!(nearest("durations", ["duration", "rate"]), Some("duration"));
        assert_eq!(nearest("xyzzy", ["duration", "rate"]), None);
    }
}
