//! The summary as JSON, for `--summary-export`: one object, indented, a line break at the end.

use crate::run::summary::Summary;

/// The summary as JSON text.
pub fn render(summary: &Summary) -> String {
    // A summary holds nothing that JSON has no word for: maps have text as keys, numbers are finite.
    let mut text = serde_json::to_string_pretty(summary).unwrap_or_else(|_| "null".to_owned());
    text.push('\n');
    text
}
