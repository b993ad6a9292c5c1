//! A diagnostic on the screen: message, place with a caret, next step.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::{diagnostic::Diagnostic, report::printable::printable};

/// Characters of one name or message.
const TEXT: usize = 2_000;

/// The diagnostic as text. Everything in it may come from a hostile workload: control characters are
/// shown, not sent to the terminal.
pub fn render(diagnostic: &Diagnostic, color: bool) -> String {
    let message = printable(&diagnostic.message, TEXT);
    let mut groups = Vec::new();
    let mut primary = Level::ERROR.primary_title(message.as_str());
    let place = diagnostic.place.as_ref().map(|place| {
        let origin = printable(&place.origin, TEXT);
        // Tabs and newlines keep their meaning; the rest of the text is made harmless byte by byte,
        // so that the range still fits.
        let text: String = place.text.chars().map(harmless).collect();
        let start = place.range.start.min(text.len());
        let end = place.range.end.clamp(start, text.len());
        (origin, text, start..end)
    });
    if let Some((origin, text, range)) = &place {
        if text.is_empty() {
            primary = primary.id(origin.as_str());
            groups.push(Group::with_title(primary));
        } else {
            let snippet = Snippet::source(text.as_str())
                .path(origin.as_str())
                .annotation(AnnotationKind::Primary.span(range.clone()));
            groups.push(primary.element(snippet));
        }
    } else {
        groups.push(Group::with_title(primary));
    }
    let help = diagnostic.help.as_deref().map(|help| printable(help, TEXT));
    if let Some(help) = &help {
        groups.push(Group::with_title(Level::HELP.secondary_title(help.as_str())));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&groups)
}

/// A character that a terminal shows, of the same length in bytes.
fn harmless(character: char) -> char {
    match character {
        '\n' | '\t' => character,
        _ if character.is_control() && character.len_utf8() == 1 => '?',
        // C1 controls take two bytes; so does this.
        _ if character.is_control() => '·',
        _ => character,
    }
}
