//! What the subjects of a run begin with on a server that others use, too: `wt_<run>.`, put before what
//! goes out and taken from what comes in, so that two runs of the same workload do not hear one another.
//!
//! Who publishes and who subscribes never sees it. Inboxes, `$…` and `_wavetank.…` are the server's and
//! the host's, and are one connection's or one run's already: they stay as they are, and so does a
//! subject that somebody names as the place of a reply; whoever replies to it puts its own prefix
//! before it. Streams are named after it, too: their subjects must not overlap.

use super::{connection::BusError, subject::is_reserved};

/// The longest, in bytes: a subject with it must fit into a line of the protocol.
const LONGEST: usize = 128;

/// Tokens that come before every subject, each with its dot; or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// Reads `a`, or `a.b`.
    pub fn read(text: &str) -> Result<Self, BusError> {
        let fits = |token: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            !token.is_empty() && token.bytes().all(plain)
        };
        if text.split('.').all(fits) && text.len() <= LONGEST && !is_reserved(text) {
            return Ok(Self(format!("{text}.")));
        }
        Err(BusError(format!(
            "`{}` cannot be the prefix of subjects: use up to {LONGEST} letters, digits, `-` and `_`, in \
             tokens joined by `.`, and no name that begins like an inbox",
            text.escape_debug()
        )))
    }

    /// The tokens; `None` if there are none.
    pub fn tokens(&self) -> Option<&str> {
        self.0.strip_suffix('.')
    }

    /// A subject or pattern as the server knows it.
    pub fn put(&self, subject: String) -> String {
        if self.0.is_empty() || is_reserved(&subject) {
            return subject;
        }
        [self.0.as_str(), &subject].concat()
    }

    /// A subject of the server's as the run knows it.
    pub fn take(&self, subject: String) -> String {
        if self.0.is_empty() {
            return subject;
        }
        match subject.strip_prefix(self.0.as_str()) {
            Some(own) => own.to_owned(),
            None => subject,
        }
    }

    /// The server's name of a stream that belongs to whoever has this prefix; `None` without one.
    pub fn stream(&self, name: &str) -> Option<String> {
        self.tokens().map(|tokens| format!("{}_{name}", tokens.replace('.', "_")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_out_gets_it_and_what_comes_in_loses_it() {
        let prefix = Prefix::read("wt_run.x").unwrap();
        for (own, on_the_server) in [
            ("a.b", "wt_run.x.a.b"),
            (">", "wt_run.x.>"),
            ("*.b", "wt_run.x.*.b"),
            ("wt_run.x.a", "wt_run.x.wt_run.x.a"),
            ("_INBOX.a.>", "_INBOX.a.>"),
            ("$JS.API.INFO", "$JS.API.INFO"),
            ("_wavetank.run.collect", "_wavetank.run.collect"),
        ] {
            assert_eq!(prefix.put(own.to_owned()), on_the_server);
            assert_eq!(prefix.take(on_the_server.to_owned()), own);
        }
        assert_eq!(prefix.stream("JOBS").as_deref(), Some("wt_run_x_JOBS"));
        let none = Prefix::default();
        assert_eq!((none.put("a".to_owned()), none.take("a".to_owned())), ("a".into(), "a".into()));
        assert_eq!((none.tokens(), none.stream("JOBS")), (None, None));
    }

    #[test]
    fn what_would_not_be_a_subject_is_refused_with_its_value() {
        let long = "a".repeat(LONGEST + 1);
        for text in ["", ".", "a.", "a..b", "a b", "a.*", ">", "$SYS", "_INBOX", "a\r\nb", &long] {
            let BusError(message) = Prefix::read(text).unwrap_err();
            assert!(!message.contains(['\r', '\n']), "{message:?}");
        }
    }
}
