//! Percent-encoding, as the addresses of buses and databases write what stands for something else.

/// The text that is meant; `None` if a `%` is not followed by two hexadecimal digits, or if what they
/// say is no text.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        // Looked at first: a number may be written with a sign, an octet may not.
        let digits = part.get(..2).filter(|it| it.bytes().all(|digit| digit.is_ascii_hexdigit()));
        bytes.push(u8::from_str_radix(digits?, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_text_is_refused() {
        assert_eq!(decoded("a%20b%C3%A9%25"), Some("a bé%".to_owned()));
        assert_eq!(decoded(""), Some(String::new()));
        for wrong in ["%", "%4", "a%4g", "%+1", "%é1", "%ff"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }
}
