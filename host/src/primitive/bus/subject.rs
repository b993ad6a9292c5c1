//! Subjects, patterns and headers, by the rules of SEMANTICS §9.
//!
//! A subject is tokens joined by `.`; a pattern may hold `*` (one token) and end in `>` (one or more).
//! What a real server would deliver oddly or drop in silence (`foo..bar`, a publication to `foo.*`)
//! is refused here, on every backend, before anything is sent: a load test that loses messages to a
//! typing error must say so.

use std::fmt::Write;

use super::Headers;
use crate::primitive::Misuse;

/// The longest subject or pattern: nats-server closes a connection whose protocol line is longer
/// than 4 096 bytes, reply subject and numbers included.
const MAX_SUBJECT_BYTES: usize = 2_048;

/// The header in which the host numbers messages of the run; a workload may not send it.
pub(super) const SEQUENCE_HEADER: &str = "Wavetank-Seq";

/// Checks a subject that is published to: tokens, no wildcard.
pub fn validate_subject(subject: &str) -> Result<(), Misuse> {
    match fault(subject) {
        Some(fault) => Err(refuse("subject", subject, fault)),
        None if subject.split('.').any(|token| token == "*" || token == ">") => {
            Err(refuse("subject", subject, "a wildcard can be subscribed to, not published to"))
        }
        None => Ok(()),
    }
}

/// Checks a pattern that is subscribed to: tokens, `*` and a final `>` allowed.
pub fn validate_pattern(pattern: &str) -> Result<(), Misuse> {
    if let Some(fault) = fault(pattern) {
        return Err(refuse("pattern", pattern, fault));
    }
    let mut tokens = pattern.split('.').rev();
    tokens.next();
    if tokens.any(|token| token == ">") {
        return Err(refuse("pattern", pattern, "`>` may only be the last token"));
    }
    Ok(())
}

/// Checks the name of a queue group.
pub fn validate_queue(queue: &str) -> Result<(), Misuse> {
    match fault(queue) {
        Some(fault) => Err(refuse("queue group", queue, fault)),
        None => Ok(()),
    }
}

/// Whether everything that `inner` matches is matched by `outer`.
pub fn contains(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
}

/// Whether a pattern matches a subject (which holds no wildcard).
pub fn matches(pattern: &str, subject: &str) -> bool {
    contains(pattern, subject)
}

/// Whether a subject or pattern is the bus's own: inboxes and `$…`. A pattern that begins with a
/// wildcard is not; it must be granted like any other.
pub fn is_reserved(subject: &str) -> bool {
    let first = subject.split('.').next().unwrap_or_default();
    first == "_INBOX" || first == "_wavetank" || first.starts_with('$')
}

/// Checks headers as the NATS protocol has them.
pub fn validate_headers(headers: &Headers) -> Result<(), Misuse> {
    for (name, value) in headers {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            return Err(Misuse::new(format!(
                "header name `{}` is not valid: use visible ASCII characters without `:` or spaces",
                shown(name)
            )));
        }
        if let Some(bad) = value.chars().find(|char| matches!(char, '\r' | '\n' | '\0')) {
            return Err(Misuse::new(format!(
                "header `{name}` has the value `{}` with {} in it: remove it, or send it in the payload",
                shown(value),
                named(bad)
            )));
        }
        if name.eq_ignore_ascii_case(SEQUENCE_HEADER) {
            return Err(Misuse::new(format!(
                "header `{name}` is the host's own: choose another name"
            )));
        }
    }
    Ok(())
}

/// Bytes that headers take on the wire, as the server counts them against the payload limit.
pub fn header_bytes(headers: &Headers) -> usize {
    if headers.is_empty() {
        return 0;
    }
    let pairs: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    "NATS/1.0\r\n\r\n".len() + pairs
}

/// What is wrong with tokens, if anything.
fn fault(subject: &str) -> Option<&'static str> {
    if subject.is_empty() {
        return Some("it is empty");
    }
    if subject.len() > MAX_SUBJECT_BYTES {
        return Some("it is longer than 2048 bytes");
    }
    if let Some(bad) =
        subject.bytes().find(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'\0'))
    {
        return Some(named(char::from(bad)));
    }
    // Other white space is legal on the server but splits the line in some clients, this one's too.
    if subject.chars().any(|char| char.is_whitespace() || char.is_control()) {
        return Some("white space or a control character is not allowed");
    }
    subject
        .split('.')
        .any(str::is_empty)
        .then_some("a token is empty: look for `..` or a `.` at an end")
}

fn named(char: char) -> &'static str {
    match char {
        ' ' => "a space is not allowed",
        '\t' => "a tab is not allowed",
        '\r' => "a carriage return is not allowed",
        '\n' => "a line break is not allowed",
        _ => "a NUL is not allowed",
    }
}

fn refuse(what: &str, value: &str, fault: &str) -> Misuse {
    Misuse::new(format!("{what} `{}` is not valid: {fault}", shown(value)))
}

/// A hostile string, cut and escaped for a message.
pub(super) fn shown(value: &str) -> String {
    const LIMIT: usize = 80;
    let mut text = String::new();
    for (count, char) in value.chars().enumerate() {
        if count == LIMIT {
            text.push('…');
            break;
        }
        if char.is_control() {
            let _ = write!(text, "{}", char.escape_default());
        } else {
            text.push(char);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn subjects_with_a_fault_are_refused_with_the_value_and_the_reason() {
        for (subject, reason) in [
            ("", "empty"),
            ("foo..bar", "a token is empty"),
            (".foo", "a token is empty"),
            ("foo.", "a token is empty"),
            ("foo bar", "a space"),
            ("foo\tbar", "a tab"),
            ("foo\r\nPUB evil 0\r\n", "a carriage return"),
            ("foo\nbar", "a line break"),
            ("foo\0bar", "a NUL"),
            ("foo.*", "a wildcard"),
            (">", "a wildcard"),
            ("foo\u{85}bar", "white space"),
        ] {
            let Err(Misuse(message)) = validate_subject(subject) else {
                panic!("`{}` was accepted", subject.escape_default());
            };
            assert!(message.contains(reason), "{message}");
            assert!(!message.contains(['\r', '\n', '\0']), "{message:?}");
        }
        assert!(validate_subject(&"a".repeat(2_049)).is_err());
        for subject in ["a", "a.b", "a*.b>c", "größe.π", "$x", "_INBOX.a"] {
            assert_eq!(validate_subject(subject), Ok(()), "{subject}");
        }
    }

    #[test]
    fn patterns_may_hold_wildcards_as_whole_tokens() {
        for pattern in ["*", ">", "a.*.c", "a.>", "a.*.>", "a*"] {
            assert_eq!(validate_pattern(pattern), Ok(()), "{pattern}");
        }
        for pattern in ["", "a.>.b", "a..>", ">.a", "a b", "a\0"] {
            assert!(validate_pattern(pattern).is_err(), "{pattern:?}");
        }
    }

    #[test]
    fn containment_is_of_patterns_not_of_text() {
        for (outer, inner) in [
            ("a.>", "a.b"),
            ("a.>", "a.*.>"),
            ("*", "a"),
            ("*.b", "*.b"),
            (">", ">"),
            ("a.*", "a.*"),
        ] {
            assert!(contains(outer, inner), "{outer} {inner}");
        }
        for (outer, inner) in [
            ("a.>", "a"),
            ("*", ">"),
            ("a.*", "a.>"),
            ("a.*", "a.b.c"),
            ("a", "*"),
            ("a.b", "a.bc"),
        ] {
            assert!(!contains(outer, inner), "{outer} {inner}");
        }
    }

    #[test]
    fn headers_that_would_break_the_protocol_are_refused() {
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a:b", "x"),
            ("ä", "x"),
            ("a", "x\r\ny"),
            ("a", "\n"),
            ("a", "\0"),
        ] {
            let Err(Misuse(message)) = validate_headers(&header(name, value)) else {
                panic!("{name:?}: {value:?} was accepted");
            };
            assert!(!message.contains(['\r', '\n', '\0']), "{message:?}");
        }
        assert!(validate_headers(&header("wavetank-seq", "1,2,3")).is_err());
        assert_eq!(
            validate_headers(&header("X-Größe".replace("öß", "oe").as_str(), "π ≈ 3")),
            Ok(())
        );
    }

    fn token() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["a", "b", "c"])
    }

    fn pattern() -> impl Strategy<Value = String> {
        let token = prop::sample::select(vec!["a", "b", "*"]);
        (prop::collection::vec(token, 0..4), any::<bool>()).prop_filter_map(
            "not empty",
            |(mut tokens, tail)| {
                tokens.extend(tail.then_some(">"));
                (!tokens.is_empty()).then(|| tokens.join("."))
            },
        )
    }

    proptest! {
        #[test]
        fn what_a_contained_pattern_matches_is_matched(
            outer in pattern(),
            inner in pattern(),
            subject in prop::collection::vec(token(), 1..5),
        ) {
            let subject = subject.join(".");
            if contains(&outer, &inner) && matches(&inner, &subject) {
                prop_assert!(matches(&outer, &subject), "{outer} ⊇ {inner}, {subject}");
            }
        }

        #[test]
        fn what_is_not_contained_has_a_witness(outer in pattern(), inner in pattern()) {
            // `z` is a token that no pattern names: the most that a wildcard of `inner` can match.
            if !contains(&outer, &inner) {
                let short = inner.replace(['*', '>'], "z");
                let long = inner.replace('*', "z").replace('>', "z.z");
                prop_assert!(!matches(&outer, &short) || !matches(&outer, &long));
            }
        }

        #[test]
        fn no_text_makes_a_check_panic(text in any::<String>()) {
            let _ = (validate_subject(&text), validate_pattern(&text), validate_queue(&text));
            let _ = validate_headers(&vec![(text.clone(), text)]);
        }
    }
}
