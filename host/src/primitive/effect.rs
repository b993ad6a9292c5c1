//! "Publish, then see it stored": the time from publishing to the effect being visible.
//!
//! The host polls the probe. What it knows is a bracket: not seen at the start of the last failed
//! probe, seen at the end of the first successful one. The duration recorded is to first-seen (never
//! better than the truth); the bracket's width is recorded beside it as the error of the time.
//!
//! Probes are the instrument, not the workload: they are measured apart, under `phase:probe`, which no
//! selector matches that does not name it. Only the publication is the workload's, and it is the
//! start: the effect's time runs from right before the message is handed to the bus. A probe that
//! fails (no responders, a table that is not there yet) has not seen the effect; the last such
//! failure is told when the time is up. An effect that is not seen in time is a censored sample.

use std::time::Duration;

use super::{
    Failure, Measured, Misuse, Primitives,
    bus::Outgoing,
    database::{Statement, Value},
};
use crate::{
    clock::{Instant, Span},
    metric::{Builtin, Name, Phase, TagSet},
};

/// Pause before the second look.
const FIRST_PAUSE: Duration = Duration::from_micros(200);

/// Pause between two looks at the most.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

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
        let name = self.scope.op(op)?;
        self.check(&probe)?;
        self.bus.check_probe(&message)?;
        let clock = self.scope.clock();
        let timeout = timeout.unwrap_or(self.scope.limits().operation_timeout);
        let start = clock.now();
        let mut watch = Watch { primitives: self, name, start, seen: false };
        if let Err(failure) = self.bus.publish(message).await? {
            watch.publication_failed();
            return Ok(Err(failure));
        }
        self.scope.about_to_wait();
        let deadline = start + timeout;
        let (mut last_unseen, mut pause, mut probes) = (start, FIRST_PAUSE, 0);
        let mut fault = None;
        loop {
            let looked = clock.now();
            let left = deadline.since(looked);
            if left.is_zero() {
                return Ok(Err(watch.given_up(timeout, probes, fault)));
            }
            probes += 1;
            match self.look(&probe, left).await {
                Ok(Ok(true)) => break,
                Ok(Ok(false)) => fault = None,
                Ok(Err(failure)) => fault = Some(failure),
                Err(misuse) => {
                    watch.seen = true;
                    return Err(misuse);
                }
            }
            last_unseen = looked;
            self.pause(pause.min(deadline.since(clock.now()))).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        Ok(Ok(watch.seen(last_unseen, clock.now(), probes)))
    }

    /// Refuses at once what no look could ever see.
    fn check(&self, probe: &Probe) -> Result<(), Misuse> {
        match probe {
            Probe::Query { .. } => Ok(()),
            Probe::Request { message, pointer, .. } => {
                if !pointer.is_empty() && !pointer.starts_with('/') {
                    return Err(Misuse::new(format!(
                        "`{}` is no JSON pointer: it begins with `/`, as in `/user/stored`",
                        pointer.escape_debug()
                    )));
                }
                self.bus.check_probe(message)
            }
        }
    }

    /// Looks once.
    async fn look(&self, probe: &Probe, left: Duration) -> Measured<bool> {
        let _apart = self.scope.apart(Phase::Probe);
        match probe {
            Probe::Query { sql, values } => {
                let statement = Statement {
                    sql: sql.clone(),
                    values: values.clone(),
                    op: None,
                    timeout: Some(left),
                };
                let rows = self.database.query(statement).await?;
                Ok(rows
                    .map(|rows| rows.rows.first().and_then(|row| row.first()).is_some_and(holds)))
            }
            Probe::Request { message, pointer, equals } => {
                let reply = self.bus.request(message.clone(), Some(left)).await?;
                Ok(reply.map(|reply| {
                    let json = serde_json::from_slice::<serde_json::Value>(&reply.payload);
                    let found = json.as_ref().ok().and_then(|json| json.pointer(pointer));
                    match equals {
                        Some(wanted) => found == Some(wanted),
                        None => found.is_some_and(json_holds),
                    }
                }))
            }
        }
    }

    /// Waits a little. The runtime's timers are no finer than a millisecond; a shorter pause gives
    /// the shard to others once and looks again.
    async fn pause(&self, pause: Duration) {
        if pause < Duration::from_millis(1) {
            tokio::task::yield_now().await;
        } else {
            let clock = self.scope.clock();
            clock.sleep_until(clock.now() + pause).await;
        }
    }
}

/// An effect that is looked for. Dropped before it is seen or given up, it is a censored sample.
struct Watch<'a> {
    primitives: &'a Primitives,
    name: Name,
    start: Instant,
    seen: bool,
}

impl Watch<'_> {
    fn tags(&self) -> TagSet {
        TagSet { op: self.name, ..self.primitives.scope.tags() }
    }

    fn seen(mut self, last_unseen: Instant, first_seen: Instant, probes: u32) -> Effect {
        self.seen = true;
        let scope = &self.primitives.scope;
        let (recorder, tags, at) = (scope.recorder(), self.tags(), scope.origin());
        let duration = Span::between(self.start, first_seen);
        let bracket = Span::between(last_unseen, first_seen);
        recorder.trend(Builtin::EffectDuration.id(), tags, at, duration.nanos());
        recorder.trend(Builtin::EffectError.id(), tags, at, bracket.nanos());
        recorder.rate(Builtin::EffectFailed.id(), tags, at, false);
        Effect {
            first_seen: duration.duration(),
            last_unseen: last_unseen.since(self.start),
            probes,
        }
    }

    fn given_up(self, timeout: Duration, probes: u32, fault: Option<Failure>) -> Failure {
        self.failed();
        let why = match fault {
            Some(failure) => format!("; the last probe failed: {failure}"),
            None => String::new(),
        };
        // Dropping this records the censored duration.
        Failure::new("timeout", format!("not seen within {timeout:?} by {probes} probes{why}"))
    }

    /// Nothing was sent, so there is no time to be known; the publication has its own sample.
    fn publication_failed(&mut self) {
        self.failed();
        self.seen = true;
    }

    fn failed(&self) {
        let scope = &self.primitives.scope;
        let at = scope.origin();
        scope.recorder().rate(Builtin::EffectFailed.id(), self.tags(), at, true);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.seen {
            let scope = &self.primitives.scope;
            let waited = Span::between(self.start, scope.clock().now()).nanos();
            let (tags, at) = (self.tags(), scope.origin());
            scope.recorder().censored(Builtin::EffectDuration.id(), tags, at, waited);
        }
    }
}

fn holds(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Integer(0) => false,
        Value::Float(number) => *number != 0.0,
        Value::Json(json) => json_holds(json),
        _ => true,
    }
}

fn json_holds(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null | serde_json::Value::Bool(false) => false,
        serde_json::Value::Number(number) => number.as_f64() != Some(0.0),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        clock::Clock,
        plan::Limits,
        primitive::{
            bus::{
                Source,
                tests::{Vu, to},
            },
            database,
        },
    };

    async fn primitives(vu: &Vu) -> Primitives {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits::default();
        let database = database::Source::open("embedded", None, directory.path(), "run", &limits)
            .await
            .unwrap();
        Primitives {
            scope: vu.scope.clone(),
            bus: vu.bus.clone(),
            database: database::Database::new(vu.scope.clone(), database.pool(0).await.unwrap()),
        }
    }

    fn probe(pointer: &str) -> Probe {
        Probe::Request { message: to("look", ""), pointer: pointer.to_owned(), equals: None }
    }

    /// Stores what is published 20 ms later, and answers whether it is stored.
    async fn store(source: &Source, clock: Clock) {
        let connection = source.connect("store").await.unwrap();
        let published = connection.subscribe_raw("put", None, 10).await.unwrap();
        let looks = connection.subscribe_raw("look", None, 10).await.unwrap();
        let mut stored_at = None;
        loop {
            tokio::select! {
                message = published.next() => {
                    message.unwrap();
                    stored_at = Some(clock.now() + Duration::from_millis(20));
                }
                look = looks.next() => {
                    let stored = stored_at.is_some_and(|at| clock.now() >= at);
                    let reply = json!({ "stored": stored }).to_string();
                    let to = look.unwrap().reply_to.unwrap();
                    connection.publish_raw(&to, reply.into(), Vec::new(), None).await.unwrap();
                }
            }
        }
    }

    #[tokio::test]
    async fn an_effect_is_bracketed_and_its_probes_are_not_the_workloads() {
        let source = Source::open("embedded", "run").await.unwrap();
        let clock = Clock::real();
        let mut vu = Vu::new(&source, clock, Limits::default()).await;
        let primitives = primitives(&vu).await;
        let looking = async {
            tokio::task::yield_now().await;
            primitives.effect(to("put", "x"), probe("/stored"), Some("known"), None).await
        };
        let effect = tokio::select! {
            () = store(&source, clock) => unreachable!(),
            effect = looking => effect.unwrap().unwrap(),
        };
        let truth = Duration::from_millis(20);
        assert!(effect.first_seen >= truth && effect.last_unseen < effect.first_seen);
        assert!(effect.probes > 1);
        assert_eq!(vu.sum(Builtin::BusRequests), 0.0);
        let crate::metric::Cell::Counter(apart) =
            vu.cell(Builtin::BusRequests, &[("phase", "probe")])
        else {
            panic!("a counter")
        };
        assert_eq!(apart, f64::from(effect.probes));
        assert_eq!(vu.sum(Builtin::BusPublished), 1.0);
        assert_eq!(vu.sum(Builtin::EffectDuration), 1.0);
        assert_eq!(vu.sum(Builtin::EffectError), 1.0);
        assert_eq!(vu.sum(Builtin::EffectFailed), 0.0);
    }

    #[tokio::test]
    async fn an_effect_that_does_not_come_is_censored() {
        let source = Source::open("embedded", "run").await.unwrap();
        let mut vu = Vu::new(&source, Clock::real(), Limits::default()).await;
        let primitives = primitives(&vu).await;
        let timeout = Some(Duration::from_millis(20));
        let effect = primitives.effect(to("put", "x"), probe("/stored"), None, timeout).await;
        let failure = effect.unwrap().unwrap_err();
        assert_eq!(failure.kind, "timeout");
        assert!(failure.message.contains("no_responders"), "{failure}");
        let crate::metric::Cell::Trend(trend) = vu.cell(Builtin::EffectDuration, &[]) else {
            panic!("a trend")
        };
        assert_eq!((trend.values.len(), trend.censored.len()), (0, 1));
        assert!(!trend.censored.is_empty());
        assert_eq!(vu.sum(Builtin::EffectFailed), 1.0);
        for (message, probe) in [(to("a b", ""), probe("")), (to("a", ""), probe("no"))] {
            primitives.effect(message, probe, None, timeout).await.unwrap_err();
        }
        assert_eq!(vu.sum(Builtin::BusPublished), 1.0);
    }
}
