//! What a file is known by: `sha256:` and 64 hexadecimal digits, in locks, on command lines, in registries.

use std::fmt::Write;

use sha2::{Digest as _, Sha256};

const SHA256: &str = "sha256:";

/// The digest of bytes.
pub fn digest(bytes: &[u8]) -> String {
    let mut whole = Digest::default();
    whole.update(bytes);
    whole.finish()
}

/// A digest of what comes in parts.
#[derive(Clone, Debug, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// Takes the next part.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The digest of all parts.
    pub fn finish(self) -> String {
        self.0.finalize().iter().fold(SHA256.to_owned(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Whether a text is a digest: with small letters, so that each has one spelling.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix(SHA256).is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_parts_together_and_has_one_spelling() {
        // FIPS 180-2, appendix B.1.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(b"abc"), abc);
        let mut parts = Digest::default();
        parts.update(b"a");
        parts.update(b"bc");
        assert_eq!(parts.finish(), abc);
        assert!(is_digest(abc));
        for wrong in [&abc[7..], &abc[..70], &abc.to_uppercase(), "sha512:00"] {
            assert!(!is_digest(wrong), "{wrong}");
        }
    }
}
