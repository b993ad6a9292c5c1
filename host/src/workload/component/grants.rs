//! What a component asks for, held against what it was given, in the host functions and before a primitive is
//! called.
//!
//! Run by hand, a component gets the embedded bus and database freely; any other, and every suite,
//! gives out patterns. A requested subject must be *contained* in a granted pattern, so that a
//! wildcard cannot reach further than its grant. Inboxes, `$…` (the server's own subjects) and
//! `_wavetank.…` (over which services hand in what they measured) are never raw: replies are handed back by the host, JetStream goes through its typed calls.

use crate::{
    plan::{DatabaseGrant, Grants},
    primitive::{Misuse, bus},
};

impl Grants {
    pub(super) fn publish(&self, subject: &str) -> Result<(), Misuse> {
        subject_granted(&self.publish, "publish to", subject)
    }

    /// Whoever answers publishes where the reply is wanted: what a component may not send to itself it
    /// must not have sent by another.
    pub(super) fn publish_with_reply(
        &self,
        subject: &str,
        reply_to: Option<&str>,
    ) -> Result<(), Misuse> {
        self.publish(subject)?;
        reply_to
            .map_or(Ok(()), |subject| subject_granted(&self.publish, "want replies at", subject))
    }

    pub(super) fn request(&self, subject: &str) -> Result<(), Misuse> {
        subject_granted(&self.request, "send requests to", subject)
    }

    pub(super) fn subscribe(&self, pattern: &str) -> Result<(), Misuse> {
        subject_granted(&self.subscribe, "subscribe to", pattern)
    }

    /// A connection reaches the bus and no subject: any grant of the bus allows it.
    pub(super) fn connect(&self) -> Result<(), Misuse> {
        let granted = [&self.publish, &self.request, &self.subscribe];
        if granted.iter().any(|patterns| !patterns.is_empty()) {
            return Ok(());
        }
        Err(Misuse::new(
            "this component has no bus to connect to: grant it with `--allow bus=PATTERN` or in the suite",
        ))
    }

    pub(super) fn database(&self, wanted: DatabaseGrant) -> Result<(), Misuse> {
        if self.database >= wanted {
            return Ok(());
        }
        Err(Misuse::new(match (self.database, wanted) {
            (DatabaseGrant::Read, _) => {
                "this component may only read the database: grant `--allow db` to let it write"
            }
            _ => "this component has no database: grant it with `--allow db` or `--allow db=read`",
        }))
    }
}

fn subject_granted(granted: &[String], what: &str, subject: &str) -> Result<(), Misuse> {
    if bus::is_reserved(subject) {
        return Err(Misuse::new(format!(
            "a component may not {what} `{}`: inboxes and `$…` subjects are the server's, `_wavetank.…` \
             is the host's; replies and JetStream have calls of their own",
            subject.escape_debug()
        )));
    }
    if granted.iter().any(|pattern| pattern == ">" || bus::contains(pattern, subject)) {
        return Ok(());
    }
    Err(Misuse::new(format!(
        "this component may not {what} `{}`: grant it with `--allow bus={}` or in the suite",
        subject.escape_debug(),
        subject.escape_debug()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_subjects_are_never_raw() {
        let all = Grants::default();
        for subject in ["_INBOX.a.b", "_INBOX", "$JS.API.INFO", "$SYS.>", "_wavetank.any.collect"] {
            assert!(all.publish(subject).is_err(), "{subject}");
            assert!(all.request(subject).is_err(), "{subject}");
            assert!(all.subscribe(subject).is_err(), "{subject}");
        }
        assert_eq!(all.publish("orders.new"), Ok(()));
        assert_eq!(all.publish_with_reply("orders.new", Some("replies.1")), Ok(()));
        let some = Grants { publish: vec!["orders.>".to_owned()], ..Grants::default() };
        for reserved in ["$JS.API.STREAM.DELETE.orders", "_INBOX.a", "_wavetank.any.collect"] {
            let error = all.publish_with_reply("orders.new", Some(reserved)).unwrap_err();
            assert!(error.0.contains("may not want replies at"), "{error}");
        }
        assert!(some.publish_with_reply("orders.new", Some("prices.eur")).is_err());
        assert_eq!(all.database(DatabaseGrant::Write), Ok(()));
    }

    #[test]
    fn what_is_not_granted_is_refused_by_name() {
        let some = Grants { database: DatabaseGrant::Read, ..Grants::NONE };
        assert!(some.connect().unwrap_err().0.contains("--allow bus=PATTERN"));
        assert_eq!(Grants { request: vec!["a".to_owned()], ..Grants::NONE }.connect(), Ok(()));
        let error = some.publish("orders.new").unwrap_err();
        assert!(error.0.contains("--allow bus=orders.new"), "{error}");
        assert_eq!(some.database(DatabaseGrant::Read), Ok(()));
        assert!(some.database(DatabaseGrant::Write).unwrap_err().0.contains("only read"));
    }
}
