//! Where a component lies in a registry: `HOST[:PORT]/NAME[:TAG][@sha256:…]`, after `oci://` where a path
//! could stand instead. The host is always said: nothing is fetched from where nobody named.
//!
//! ```text
//! reference -> ["oci://"] host "/" part ("/" part)* [":" tag] ["@sha256:" 64 hexadecimal digits]
//! host      -> name with a dot, or "localhost", or any name, or "[" IPv6 "]"; with ":" port
//! part      -> lower-case letters and digits, with single "." "_" "-" or "__" or "-"s in between
//! tag       -> a letter, digit or "_", then at most 127 of those and "." "-"
//! ```

use std::{fmt, net::IpAddr, path::Path};

use crate::{diagnostic::Diagnostic, digest::is_digest, report::printable::printable};

/// What comes before a reference where a path could stand.
const SCHEME: &str = "oci://";
/// Characters of a host or of a name; the specification's limit for both together.
const LENGTH: usize = 255;

/// A place in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The registry, with its port.
    pub host: String,
    /// The name in it.
    pub name: String,
    /// Which of that name, by its changing name.
    pub tag: Option<String>,
    /// Which of that name, for ever: of its manifest.
    pub digest: Option<String>,
}

impl Reference {
    /// Whether a workload's path is one.
    pub fn is_one(path: &Path) -> bool {
        path.to_str().is_some_and(|path| path.starts_with(SCHEME))
    }

    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, Diagnostic> {
        let wrong = |why: &str| {
            Diagnostic::new(format!("`{}` is no place in a registry: {why}", printable(text, 300)))
                .help("write HOST[:PORT]/NAME:TAG or HOST[:PORT]/NAME@sha256:DIGEST")
        };
        let rest = text.strip_prefix(SCHEME).unwrap_or(text);
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (rest, None),
        };
        let (host, name) = rest.split_once('/').ok_or_else(|| wrong("it names no host"))?;
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (name, None),
        };
        if !is_host(host) {
            return Err(wrong("its host is none: a name with a dot, or with a port"));
        }
        if name.len() > LENGTH || !name.split('/').all(is_part) {
            return Err(wrong("a name is of small letters, digits, and single `.`, `_`, `-`"));
        }
        if !tag.is_none_or(is_tag) {
            return Err(wrong("its tag is none"));
        }
        if !digest.is_none_or(is_digest) {
            return Err(wrong("a digest is `sha256:` and 64 hexadecimal digits"));
        }
        if tag.is_none() && digest.is_none() {
            return Err(wrong("it says neither a tag nor a digest"));
        }
        let owned = str::to_owned;
        Ok(Self {
            host: owned(host),
            name: owned(name),
            tag: tag.map(owned),
            digest: digest.map(owned),
        })
    }

    /// What the registry is asked for: the digest before the tag, which may have moved.
    pub fn wanted(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or_default()
    }

    /// The last part of the name.
    pub fn last(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// Whether what is said to it leaves this machine: without TLS it would be read on the way.
    pub fn is_loopback(&self) -> bool {
        let host = self.host.rsplit_once(':').map_or(self.host.as_str(), |(host, _)| host);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.host, self.name)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(formatter, "@{digest}"))
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|it| it.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|it| it > 0)
    };
    if !port.is_none_or(is_port) || text.len() > LENGTH {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && (host.contains('.') || host == "localhost" || port.is_some())
}

fn is_part(text: &str) -> bool {
    let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last()).is_some_and(|(one, two)| plain(*one) && plain(*two));
    let between = |run: &str| run.len() == 1 || run == "__" || run.bytes().all(|it| it == b'-');
    let known = bytes.iter().all(|it| plain(*it) || matches!(it, b'.' | b'_' | b'-'));
    let mut runs = text.split(|it: char| it.is_ascii_lowercase() || it.is_ascii_digit());
    ends && known && runs.all(|run| run.is_empty() || between(run))
}

fn is_tag(text: &str) -> bool {
    let word = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|it| word(it) || matches!(it, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, host, tag, loopback) in [
            ("localhost:5000/plugins/spike:0.1.0", "localhost:5000", Some("0.1.0"), true),
            ("example.org/spike:latest", "example.org", Some("latest"), false),
            ("127.0.0.2:80/a__b/c-d:x_1", "127.0.0.2:80", Some("x_1"), true),
            ("[::1]:5000/spike:1", "[::1]:5000", Some("1"), true),
            ("registry:5000/spike:1", "registry:5000", Some("1"), false),
            (&format!("example.org/spike@{digest}"), "example.org", None, false),
        ] {
            let read = Reference::parse(&format!("oci://{text}")).unwrap();
            assert_eq!(read.to_string(), text);
            assert_eq!((read.host.as_str(), read.tag.as_deref()), (host, tag));
            assert_eq!(read.is_loopback(), loopback, "{text}");
            assert_eq!(Reference::parse(text).unwrap(), read);
        }
        let both = Reference::parse(&format!("example.org/spike:1@{digest}")).unwrap();
        assert_eq!(both.wanted(), digest, "a tag moves");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "spike",
            "spike:1",
            "example.org/",
            "example.org/spike",
            "/spike:1",
            "a/spike:1",
            "user@example.org/spike:1",
            "example.org/Spike:1",
            "example.org/../spike:1",
            "example.org/a//b:1",
            "example.org/spike:",
            "example.org/spike:a b",
            "example.org/spike@sha256:12",
            "example.org:0/spike:1",
            "example.org:99999/spike:1",
            "exa mple.org/spike:1",
            "example.org/a?b:1",
            "example.org/a#b:1",
            "[::1/spike:1",
            "example.org\r\nX: y/spike:1",
            "example.org:+80/spike:1",
            "-a.org/spike:1",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
