//! Text of anyone's inside Markdown as GitHub reads it: shown as it is written, and nothing more.
//!
//! GitHub acts on text twice. First Markdown itself: what it, its tables, its raw HTML, formulas and bare
//! links would act upon stands as an entity. Then, on the page that came of it, mentions and numbers of
//! issues are looked for, and there an entity is what it stands for; a space of no width behind the sign
//! keeps them apart. In [`code`] neither is looked for, so that what is copied from there is what was
//! written.

use super::printable::printable;

/// Keeps a sign and what follows it from being a mention or a number of an issue.
const APART: &str = "&#8203;";

/// Text on one line, at most `limit` characters of it.
pub(super) fn markdown(words: &str, limit: usize) -> String {
    let shown = printable(words, limit);
    let shown = shown.trim_start();
    let mut out = String::with_capacity(shown.len() + shown.len() / 8);
    for (at, character) in shown.char_indices() {
        let (before, after) = (&shown[..at], &shown[at + character.len_utf8()..]);
        if begins(before, character, after) {
            out.push_str(&entity(character));
            continue;
        }
        put(&mut out, before, character, after);
        if joins(before, character, after) {
            out.push_str(APART);
        }
    }
    out
}

/// The same as code.
pub(super) fn code(words: &str, limit: usize) -> String {
    let shown = printable(words, limit);
    let mut out = String::from("<code>");
    for (at, character) in shown.char_indices() {
        put(&mut out, &shown[..at], character, &shown[at + character.len_utf8()..]);
    }
    out.push_str("</code>");
    out
}

/// A character as what it is.
fn put(out: &mut String, before: &str, character: char, after: &str) {
    let inside = |text: Option<char>| text.is_some_and(|it| it.is_ascii_alphanumeric());
    match character {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        // Within a word it emphasises nothing, and names are full of it.
        '_' if inside(before.chars().next_back()) && inside(after.chars().next()) => out.push('_'),
        '"' | '\'' | '`' | '*' | '_' | '~' | '[' | ']' | '|' | '\\' | '#' | '!' | '@' | '$' => {
            out.push_str(&entity(character));
        }
        ':' if after.starts_with("//") => out.push_str(&entity(character)),
        '.' if ends(before, "www") => out.push_str(&entity(character)),
        other => out.push(other),
    }
}

/// What begins a list or underlines a heading, which it does at the beginning of a line only; a number's
/// sign and its point do not.
fn begins(before: &str, character: char, after: &str) -> bool {
    match character {
        '-' | '+' | '=' => {
            before.is_empty() && !after.starts_with(|it: char| it.is_ascii_alphanumeric())
        }
        '.' | ')' => {
            let alone = after.is_empty() || after.starts_with(' ');
            alone && !before.is_empty() && before.chars().all(|it| it.is_ascii_digit())
        }
        _ => false,
    }
}

/// `@name`, `#1`, `GH-1`
fn joins(before: &str, character: char, after: &str) -> bool {
    match character {
        '@' => true,
        '#' => after.starts_with(|it: char| it.is_ascii_digit()),
        '-' => ends(before, "gh") && after.starts_with(|it: char| it.is_ascii_digit()),
        _ => false,
    }
}

fn ends(text: &str, word: &str) -> bool {
    text.len() >= word.len()
        && text.as_bytes()[text.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes())
}

fn entity(character: char) -> String {
    format!("&#{};", u32::from(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 400;

    #[test]
    fn names_stay_readable() {
        for plain in [
            "bus_request_duration.p(99){op:user_stats}",
            "p50 of price: 4.82 ms, 98.00 %",
            "a-b + c",
            "-4.21 ms",
            "9.55 ms",
        ] {
            assert_eq!(markdown(plain, MOST), plain);
            assert_eq!(code(plain, MOST), format!("<code>{plain}</code>"));
        }
        assert_eq!(markdown("rate >= 0.9 && x < 3", MOST), "rate &gt;= 0.9 &amp;&amp; x &lt; 3");
    }

    #[test]
    fn nothing_of_what_github_acts_upon_is_left() {
        let nasty = [
            ("@everyone", "&#64;&#8203;everyone"),
            ("see #12, gh-7", "see &#35;&#8203;12, gh-&#8203;7"),
            ("_a_ *b* ~~c~~ `d`", "&#95;a&#95; &#42;b&#42; &#126;&#126;c&#126;&#126; &#96;d&#96;"),
            ("[x](https://e.invalid)", "&#91;x&#93;(https&#58;//e.invalid)"),
            ("WWW.e.invalid", "WWW&#46;e.invalid"),
            ("<b>|</b>", "&lt;b&gt;&#124;&lt;/b&gt;"),
            ("- a", "&#45; a"),
            ("12. a", "12&#46; a"),
            ("---", "&#45;--"),
            ("=== a", "&#61;== a"),
            ("    four", "four"),
            ("$x$ \\(y\\)", "&#36;x&#36; &#92;(y&#92;)"),
            ("\u{202e}a\u{1b}[0m", "&#92;u{202e}a&#92;u{1b}&#91;0m"),
        ];
        for (words, expected) in nasty {
            assert_eq!(markdown(words, MOST), expected);
        }
        assert_eq!(code("a@b `c`", MOST), "<code>a&#64;b &#96;c&#96;</code>");
        assert_eq!(markdown("abcdef", 3), "abc…");
    }
}
