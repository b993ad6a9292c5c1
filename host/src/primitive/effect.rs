//! "Publish, then see it stored": the time from publishing to the effect being visible.
//!
//! The host polls the probe. What it knows is a bracket: not seen at the start of the last failed
//! probe, seen at the end of the first successful one. The duration recorded is to first-seen (never
//! better than the truth); the bracket's width is recorded beside it as the error of the time.

use std::time::Duration;

use super::{Failure, Measured, Primitives, bus::Outgoing, database::Value};

/// How an effect is looked for.
#[derive(Clone, Debug)]
pub enum Probe {
    /// Seen when the query returns a row whose first value is neither null, zero nor false.
    Query {
        /// The statement.
        sql: String,
        /// Its values.
        values: Vec<Value>,
    },
    /// Seen when the reply is JSON and the value at `pointer` (RFC 6901) equals `equals`, or, without
    /// `equals`, is neither absent, null, zero nor false.
    Request {
        /// The request.
        message: Outgoing,
        /// Where to look in the reply.
        pointer: String,
        /// What to find there.
        equals: Option<serde_json::Value>,
    },
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// From publishing to first seen.
    pub first_seen: Duration,
    /// From publishing to last looked for in vain; zero if the first look found it.
    pub last_unseen: Duration,
    /// How often it was looked for.
    pub probes: u32,
}

impl Primitives {
    /// Publishes `message`, then looks for its effect until `timeout`.
    pub async fn effect(
        &self,
        message: Outgoing,
        probe: Probe,
        op: Option<&str>,
        timeout: Option<Duration>,
    ) -> Measured<Effect> {
        let _ = (message, probe, op, timeout, &self.bus);
        Ok(Err(Failure::new("unsupported", "effects are not built yet")))
    }
}
