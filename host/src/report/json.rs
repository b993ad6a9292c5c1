//! The summary as JSON, for `--summary-export`: one object, indented, a line break at the end.
//!
//! Texts are as they were, hostile or not; what would act on a terminal that shows the file is written as an
//! escape of JSON's, which reads back as the same text.

use super::printable::acts;
use crate::run::summary::Summary;

/// The summary as JSON text.
pub fn render(summary: &Summary) -> String {
    // A summary holds nothing that JSON has no word for: maps have text as keys, numbers are finite.
    let plain = serde_json::to_string_pretty(summary).unwrap_or_else(|_| "null".to_owned());
    let mut text = String::with_capacity(plain.len() + 1);
    for character in plain.chars() {
        // Outside of strings there is no such character but the line break.
        if character == '\n' || !acts(character) {
            text.push(character);
        } else {
            let units = character.encode_utf16(&mut [0; 2]).to_vec();
            text.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text.push('\n');
    text
}
