//! Subjects and patterns, by the rules of SEMANTICS §9.

use crate::primitive::Misuse;

/// Checks a subject that is published to: tokens, no wildcard.
pub fn validate_subject(subject: &str) -> Result<(), Misuse> {
    let _ = subject;
    Ok(())
}

/// Checks a pattern that is subscribed to: tokens, `*` and a final `>` allowed.
pub fn validate_pattern(pattern: &str) -> Result<(), Misuse> {
    let _ = pattern;
    Ok(())
}

/// Whether everything that `inner` matches is matched by `outer`.
pub fn contains(outer: &str, inner: &str) -> bool {
    outer == inner
}
