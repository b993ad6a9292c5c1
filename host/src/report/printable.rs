//! Text of workloads and systems under test, made fit for a terminal.
//!
//! A check's name, an error message or a subject may hold escape sequences that move the cursor,
//! rewrite the title or paint a red line green, and invisible characters that turn the direction of
//! the text. All of them are shown as what they are. It does not judge content: letters stay letters.

/// The text on one line, at most `limit` characters of it, without anything that acts on a terminal.
pub fn printable(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit.saturating_mul(4)));
    let mut shown = 0;
    for character in text.chars() {
        let before = out.len();
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            character if acts(character) => out.extend(character.escape_unicode()),
            character => out.push(character),
        }
        let width = out[before..].chars().count();
        if shown + width > limit {
            out.truncate(before);
            out.push('…');
            return out;
        }
        shown += width;
    }
    out
}

/// Whether a character does something instead of being seen.
pub(super) fn acts(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{00ad}'
                | '\u{034f}'
                | '\u{061c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{fffe}'..='\u{ffff}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_shown_and_do_nothing() {
        let nasty = [
            ("\u{1b}[2J\u{1b}[31mred", r"\u{1b}[2J\u{1b}[31mred"),
            ("\u{1b}]0;title\u{7}", r"\u{1b}]0;title\u{7}"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("a\r✓ passed", r"a\r✓ passed"),
            ("two\nlines\tand a tab", r"two\nlines\tand a tab"),
            ("\u{202e}gnp.exe", r"\u{202e}gnp.exe"),
            ("zero\u{200b}width\u{feff}", r"zero\u{200b}width\u{feff}"),
            ("back\u{8}space\u{7f}", r"back\u{8}space\u{7f}"),
            ("nul\0", r"nul\u{0}"),
            ("naïve — 日本語 🌊", "naïve — 日本語 🌊"),
        ];
        for (text, expected) in nasty {
            assert_eq!(printable(text, 200), expected);
        }
    }

    #[test]
    fn long_text_is_cut_and_an_escape_is_never_cut_in_half() {
        assert_eq!(printable("abcdef", 6), "abcdef");
        assert_eq!(printable("abcdefg", 6), "abcdef…");
        assert_eq!(printable("abcd\u{1b}x", 6), "abcd…");
        assert_eq!(printable(&"x".repeat(1 << 20), 3), "xxx…");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_ever_left(text in any::<String>(), limit in 0_usize..100) {
            let shown = printable(&text, limit);
            prop_assert!(!shown.chars().any(acts));
            prop_assert!(shown.chars().count() <= limit + 1);
        }
    }
}
