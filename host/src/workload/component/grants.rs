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
        self.subject(&self.publish, ("publish", "publish to"), subject)
    }

    /// Whoever answers publishes where the reply is wanted: what a component may not send to itself it
    /// must not have sent by another.
    pub(super) fn publish_with_reply(
        &self,
        subject: &str,
        reply_to: Option<&str>,
    ) -> Result<(), Misuse> {
        self.publish(subject)?;
        reply_to.map_or(Ok(()), |subject| {
            self.subject(&self.publish, ("publish", "want replies at"), subject)
        })
    }

    pub(super) fn request(&self, subject: &str) -> Result<(), Misuse> {
        self.subject(&self.request, ("request", "send requests to"), subject)
    }

    pub(super) fn subscribe(&self, pattern: &str) -> Result<(), Misuse> {
        self.subject(&self.subscribe, ("subscribe", "subscribe to"), pattern)
    }

    /// A connection reaches the bus and no subject: any grant of the bus allows it.
    pub(super) fn connect(&self) -> Result<(), Misuse> {
        let granted = [&self.publish, &self.request, &self.subscribe];
        if granted.iter().any(|patterns| !patterns.is_empty()) {
            return Ok(());
        }
        Err(Misuse::new(format!(
            "this component has no bus to connect to: {}",
            self.line_to_add("bus=PATTERN", "bus", "[\"PATTERN\"]")
        )))
    }

    pub(super) fn database(&self, wanted: DatabaseGrant) -> Result<(), Misuse> {
        if self.database >= wanted {
            return Ok(());
        }
        let what = match self.database {
            DatabaseGrant::None => "this component has no database",
            DatabaseGrant::Read | DatabaseGrant::Write => {
                "this component may only read the database"
            }
        };
        let access = if wanted == DatabaseGrant::Read { "\"read\"" } else { "\"write\"" };
        Err(Misuse::new(format!("{what}: {}", self.line_to_add("db", "database", access))))
    }

    fn subject(
        &self,
        granted: &[String],
        (key, what): (&str, &str),
        subject: &str,
    ) -> Result<(), Misuse> {
        let shown = subject.escape_debug();
        if bus::is_reserved(subject) {
            return Err(Misuse::new(format!(
                "a component may not {what} `{shown}`: inboxes and `$…` subjects are the server's, \
                 `_wavetank.…` is the host's; replies and JetStream have calls of their own",
            )));
        }
        if granted.iter().any(|pattern| pattern == ">" || bus::contains(pattern, subject)) {
            return Ok(());
        }
        Err(Misuse::new(format!(
            "this component may not {what} `{shown}`: {}",
            self.line_to_add(&format!("bus={shown}"), key, &format!("[\"{shown}\"]"))
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Giver;

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
    fn what_is_not_granted_is_refused_with_the_line_to_add() {
        let suite = Grants { database: DatabaseGrant::Read, ..Grants::NONE };
        let hand = Grants { giver: Giver::Hand, ..suite.clone() };
        for (grants, connect, publish, write) in [
            (
                &suite,
                "`bus = [\"PATTERN\"]`",
                "`publish = [\"orders.new\"]`",
                "`database = \"write\"`",
            ),
            (&hand, "`--allow bus=PATTERN`", "`--allow bus=orders.new`", "`--allow db`"),
        ] {
            assert!(grants.connect().unwrap_err().0.contains(connect));
            assert!(grants.publish("orders.new").unwrap_err().0.contains(publish));
            assert_eq!(grants.database(DatabaseGrant::Read), Ok(()));
            let refused = grants.database(DatabaseGrant::Write).unwrap_err().0;
            assert!(refused.contains("only read") && refused.contains(write), "{refused}");
        }
        let none = Grants::NONE.database(DatabaseGrant::Read).unwrap_err().0;
        assert!(none.contains("no database: add `database = \"read\"`"), "{none}");
        assert_eq!(Grants { request: vec!["a".to_owned()], ..Grants::NONE }.connect(), Ok(()));
    }
}
