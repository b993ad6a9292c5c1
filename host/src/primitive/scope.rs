//! The state of a VU's current iteration as the host keeps it, and [`Scope::measure`], the one
//! function in which an operation's duration is taken.

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rustc_hash::FxHashMap;

use super::{
    Random,
    outage::{OperationKind, Outages},
    timing::Deadlines,
};
use crate::{
    clock::{Clock, Instant, Span},
    metric::{Builtin, Kind, MetricId, Name, Names, Outcome, Phase, Recorder, TagSet},
    plan::Limits,
};

/// A workload used the host wrongly. It is thrown: an iteration error, never a sample.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

impl Misuse {
    /// A misuse with its message: what was wrong, with the value, and the next step.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// The system under test failed: data, not an exception.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Failure {
    /// One of a closed set: `timeout`, `no_responders`, `disconnected`, … The tag `error`.
    pub kind: &'static str,
    /// What the system said.
    pub message: String,
}

impl Failure {
    /// A failure of a kind.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// What came of a primitive: misuse is thrown, failure is returned.
pub type Measured<T> = Result<Result<T, Failure>, Misuse>;

/// A result with the span in which the system worked on it, when something nearer to the system
/// than the caller took it (a database thread).
#[derive(Debug)]
pub struct Stamped<T> {
    /// The result.
    pub result: Result<T, Failure>,
    /// The span; `None` means from the call to its return.
    pub span: Option<Span>,
}

/// A kind of operation: which metrics it feeds.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Counts operations.
    pub count: Builtin,
    /// Their duration.
    pub duration: Builtin,
    /// The share that failed.
    pub failed: Builtin,
}

/// What a scope is made of.
#[derive(Clone, Debug)]
pub struct ScopeConfig {
    /// The run's clock.
    pub clock: Clock,
    /// The shard's recorder.
    pub recorder: Rc<Recorder>,
    /// The run's limits.
    pub limits: Arc<Limits>,
    /// Declared operation names; any other is misuse.
    pub ops: Ops,
    /// Metrics that the workload declared, by name.
    pub metrics: Arc<FxHashMap<String, (MetricId, Kind)>>,
    /// Where log lines go: bounded, never awaited.
    pub log: Rc<dyn LogSink>,
    /// With `--trace`: where a line per host call goes.
    pub trace: bool,
    /// The seed of the run.
    pub seed: u64,
}

/// The operation names that a workload declared, interned once.
#[derive(Clone, Debug)]
pub struct Ops(Arc<[(String, Name)]>);

impl Ops {
    /// The declared names, in the run's table of names.
    pub fn new<S: AsRef<str>>(declared: &[S], names: &Names) -> Self {
        let interned = |op: &S| (op.as_ref().to_owned(), names.intern(op.as_ref()));
        Self(declared.iter().map(interned).collect())
    }

    /// A few names at the most, so looking at each is quicker than hashing.
    fn find(&self, op: &str) -> Option<Name> {
        self.0.iter().find(|(declared, _)| declared == op).map(|(_, name)| *name)
    }
}

/// Takes log lines; drops and counts what is beyond its limit.
pub trait LogSink: std::fmt::Debug {
    /// Takes a line.
    fn line(&self, line: LogLine);
}

/// A line that a workload logged, or that the host logs on its behalf.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// How important.
    pub level: LogLevel,
    /// The text, hostile until escaped by whoever shows it.
    pub text: String,
    /// VU number, 0 outside VUs.
    pub vu: u32,
}

/// How important a log line is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// `--trace` output: a host call.
    Trace,
    /// `print`, `log`
    Info,
    /// The host's remarks on a workload.
    Warn,
    /// Errors.
    Error,
}

impl LogLevel {
    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// The state of one VU's current iteration. Not shared between VUs.
#[derive(Debug)]
pub struct Scope {
    config: Rc<ScopeConfig>,
    /// VU number, from 1; 0 in setup and teardown.
    vu: u32,
    tags: Cell<TagSet>,
    origin: Cell<Instant>,
    started: Cell<Option<Instant>>,
    left: Cell<Option<Instant>>,
    random: RefCell<Random>,
    host_calls: Cell<u64>,
    aborted: RefCell<Option<Box<str>>>,
    marked_failed: RefCell<Option<Box<str>>>,
    lease: RefCell<Option<Rc<dyn Lease>>>,
    deadlines: Deadlines,
    outages: OnceCell<Arc<Outages>>,
    rested: Cell<bool>,
    owed: Cell<Option<Duration>>,
}

/// What a VU holds only while it does not wait for anything else: a database connection.
pub trait Lease: std::fmt::Debug {
    /// Gives it back unless a transaction is open.
    fn release(&self);
}

impl Scope {
    /// The scope of a VU.
    pub fn new(config: impl Into<Rc<ScopeConfig>>, vu: u32) -> Self {
        let config = config.into();
        let random = Random::new(config.seed, "init", u64::from(vu));
        Self {
            config,
            vu,
            tags: Cell::default(),
            origin: Cell::default(),
            started: Cell::new(None),
            left: Cell::new(None),
            random: RefCell::new(random),
            host_calls: Cell::new(0),
            aborted: RefCell::default(),
            marked_failed: RefCell::default(),
            lease: RefCell::default(),
            deadlines: Deadlines::default(),
            outages: OnceCell::new(),
            rested: Cell::new(false),
            owed: Cell::new(None),
        }
    }

    /// Lets someone watch which operations fail while a target is away.
    pub fn set_outages(&self, outages: Arc<Outages>) {
        // Set once, when the scope is made.
        let _ = self.outages.set(outages);
    }

    /// Registers what [`Scope::about_to_wait`] gives back.
    pub fn set_lease(&self, lease: Rc<dyn Lease>) {
        self.lease.replace(Some(lease));
    }

    /// Called before the VU waits for anything but the database, and after each iteration: a lease
    /// that it holds goes back, so that a sleeping VU starves nobody.
    pub fn about_to_wait(&self) {
        let lease = self.lease.borrow().clone();
        if let Some(lease) = lease {
            lease.release();
        }
    }

    /// Begins an iteration, `setup`, `init` or `teardown`: what is measured from now on bears these
    /// tags and belongs to the instant at which it was due.
    pub fn begin(&self, tags: TagSet, due: Instant, random: Random) {
        self.tags.set(tags);
        self.origin.set(due);
        self.started.set(None);
        self.left.set(None);
        self.host_calls.set(0);
        self.random.replace(random);
    }

    /// Marks the first guest instruction: called by a virtual user right before it enters the guest.
    /// `now` is a reading of the run's clock that nothing but the host came after.
    pub fn enter_guest(&self, now: Option<Instant>) {
        self.left.set(None);
        if self.started.get().is_none() {
            self.started.set(Some(now.unwrap_or_else(|| self.config.clock.now())));
        }
    }

    /// Marks the guest's last instruction so far, with a reading of the run's clock that was taken
    /// right after it.
    pub fn leave_guest(&self, now: Instant) {
        self.left.set(Some(now));
    }

    /// When the guest ended, once; `None` if its end was not marked, or it was entered again.
    pub fn take_left(&self) -> Option<Instant> {
        self.left.take()
    }

    /// When the guest was entered.
    pub fn started(&self) -> Option<Instant> {
        self.started.get()
    }

    /// The VU's guest uses its whole slice again and again: it has to rest between slices, so that the
    /// others of its shard can run. Told once.
    pub fn rest(&self) {
        if !self.rested.replace(true) {
            let text = "this VU used its whole slice again and again: it had to rest between slices, \
                        so that the others of its shard could run";
            self.log(LogLevel::Warn, text.to_owned());
        }
    }

    /// The VU has to rest before its next iteration, and not in this one, which has ended.
    pub fn owe_rest(&self, pause: Duration) {
        self.rest();
        self.owed.set(Some(pause));
    }

    /// For how long it has to rest now; told once.
    pub fn take_owed_rest(&self) -> Option<Duration> {
        self.owed.take()
    }

    /// Whether it ever had to rest.
    pub fn has_rested(&self) -> bool {
        self.rested.get()
    }

    /// The run's clock.
    pub fn clock(&self) -> Clock {
        self.config.clock
    }

    /// The shard's recorder.
    pub fn recorder(&self) -> &Recorder {
        &self.config.recorder
    }

    /// The run's limits.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// VU number, from 1; 0 in setup and teardown.
    pub fn vu(&self) -> u32 {
        self.vu
    }

    /// The deadlines of the VU's operations.
    pub fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    /// The current tags.
    pub fn tags(&self) -> TagSet {
        self.tags.get()
    }

    /// The instant that samples belong to: when the iteration was due.
    pub fn origin(&self) -> Instant {
        self.origin.get()
    }

    /// The iteration's random numbers.
    pub fn random(&self) -> std::cell::RefMut<'_, Random> {
        self.random.borrow_mut()
    }

    /// Host calls of the current iteration.
    pub fn host_calls(&self) -> u64 {
        self.host_calls.get()
    }

    /// Counts a host call; with `--trace`, shows it. `describe` runs only when it is shown.
    pub fn host_call(&self, describe: impl FnOnce() -> String) {
        self.host_calls.set(self.host_calls.get() + 1);
        if self.config.trace {
            self.log(LogLevel::Trace, describe());
        }
    }

    /// Logs a line, cut to the limit.
    pub fn log(&self, level: LogLevel, mut text: String) {
        let limit = 16 * self.config.limits.label_bytes;
        if text.len() > limit {
            let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        self.config.log.line(LogLine { level, text, vu: self.vu });
    }

    /// The interned name of a declared operation; none for `None`.
    pub fn op(&self, op: Option<&str>) -> Result<Name, Misuse> {
        let Some(op) = op else { return Ok(Name::NONE) };
        self.config.ops.find(op).ok_or_else(|| {
            Misuse::new(format!(
                "op `{op}` is not declared: add it to `ops` in the workload's options"
            ))
        })
    }

    /// Records a check. Names are labels: bounded in length and number.
    pub fn check(&self, name: &str, passed: bool) -> Result<bool, Misuse> {
        let check = self.label(name)?;
        let tags = TagSet { check, ..self.tags() };
        self.recorder().rate(Builtin::Checks.id(), tags, self.origin(), passed);
        Ok(passed)
    }

    /// Enters a group; returns the tags to be given back to [`Scope::leave_group`]. Nested groups are
    /// joined by `::` as in k6.
    pub fn enter_group(&self, name: &str) -> Result<Name, Misuse> {
        let outer = self.tags().group;
        let names = self.recorder().names();
        let path = if outer.is_some() {
            format!("{}::{name}", names.resolve(outer))
        } else {
            name.to_owned()
        };
        let group = self.label(&path)?;
        self.tags.set(TagSet { group, ..self.tags() });
        Ok(outer)
    }

    /// Leaves a group.
    pub fn leave_group(&self, outer: Name) {
        self.tags.set(TagSet { group: outer, ..self.tags() });
    }

    /// Adds a sample to a metric that the workload declared.
    pub fn metric(&self, name: &str, value: f64) -> Result<(), Misuse> {
        let Some((id, kind)) = self.config.metrics.get(name).copied() else {
            return Err(Misuse::new(format!(
                "metric `{name}` is not declared: add it to `metrics` in the workload's options"
            )));
        };
        if !value.is_finite() {
            return Err(Misuse::new(format!("metric `{name}`: {value} is not a number")));
        }
        // Declared in milliseconds, held in nanoseconds: the declaration's unit becomes the metric's.
        let value = value * self.recorder().registry().scale(id);
        let (tags, at) = (self.tags(), self.origin());
        match kind {
            Kind::Counter if value < 0.0 => {
                return Err(Misuse::new(format!("metric `{name}`: a counter cannot add {value}")));
            }
            Kind::Counter => self.recorder().add(id, tags, at, value),
            Kind::Gauge => self.recorder().gauge(id, tags, at, value),
            Kind::Rate => self.recorder().rate(id, tags, at, value != 0.0),
            Kind::Trend if value < 0.0 => {
                return Err(Misuse::new(format!("metric `{name}`: a trend cannot hold {value}")));
            }
            Kind::Trend => {
                let steps = value / self.recorder().registry().get(id).unit.step();
                self.recorder().trend(id, tags, at, steps.round() as u64);
            }
        }
        Ok(())
    }

    /// `run::abort`: the run stops, exit code 108.
    pub fn abort(&self, reason: &str) {
        self.aborted.borrow_mut().get_or_insert_with(|| reason.into());
    }

    /// `run::mark_failed`: the run goes on and fails, exit code 110.
    pub fn mark_failed(&self, reason: &str) {
        self.marked_failed.borrow_mut().get_or_insert_with(|| reason.into());
    }

    /// What was said with [`Scope::abort`], once.
    pub fn take_aborted(&self) -> Option<String> {
        self.aborted.borrow_mut().take().map(String::from)
    }

    /// What was said with [`Scope::mark_failed`], once.
    pub fn take_marked_failed(&self) -> Option<String> {
        self.marked_failed.borrow_mut().take().map(String::from)
    }

    /// Does an operation and records it: the one place where its duration is taken.
    ///
    /// Dropped before its end (a stop, a timeout), the operation becomes a censored sample. The work
    /// is pinned by the caller: a future that is handed on by value is kept twice by each function
    /// that it passes, and a waiting VU would hold kilobytes of copies.
    pub async fn measure<T>(
        &self,
        operation: Operation,
        op: Name,
        work: Pin<&mut impl Future<Output = Stamped<T>>>,
    ) -> Result<T, Failure> {
        let pending = Pending {
            scope: self,
            operation,
            tags: TagSet { op, ..self.tags() },
            at: self.origin(),
            start: self.config.clock.now(),
            done: false,
        };
        let stamped = work.await;
        let span =
            stamped.span.unwrap_or_else(|| Span::between(pending.start, self.config.clock.now()));
        pending.finish(span, stamped.result.as_ref().err());
        stamped.result
    }

    /// Records an operation whose span is already known (one of a batch).
    pub fn record(&self, operation: Operation, op: Name, span: Span, failure: Option<&Failure>) {
        let tags = TagSet { op, ..self.tags() };
        self.record_at(operation, tags, self.origin(), span, failure);
    }

    fn record_at(
        &self,
        operation: Operation,
        tags: TagSet,
        at: Instant,
        span: Span,
        failure: Option<&Failure>,
    ) {
        let recorder = self.recorder();
        let outcome = if failure.is_some() { Outcome::Error } else { Outcome::Ok };
        let error = failure.map_or(Name::NONE, |failure| recorder.names().intern(failure.kind));
        let tagged = TagSet { outcome, error, ..tags };
        recorder.add(operation.count.id(), tagged, at, 1.0);
        recorder.trend(operation.duration.id(), tagged, at, span.nanos());
        recorder.rate(operation.failed.id(), tags, at, failure.is_some());
        if let Some(outages) = self.outages.get().filter(|_| tags.phase != Phase::Probe) {
            let TagSet { op, scenario, .. } = tags;
            let kind = OperationKind { count: operation.count, op, scenario };
            outages.note(kind, span, failure.is_some());
        }
    }

    /// A bounded string as a name.
    fn label(&self, text: &str) -> Result<Name, Misuse> {
        let limit = self.config.limits.label_bytes;
        if text.len() > limit {
            return Err(Misuse::new(format!(
                "a name of {} bytes is longer than the limit of {limit} (label_bytes)",
                text.len()
            )));
        }
        Ok(self.config.recorder.names().intern_label(text))
    }

    /// Until what this returns is dropped, samples are kept apart under `phase`, and judged by nobody.
    pub fn apart(&self, phase: Phase) -> Apart<'_> {
        let before = self.tags();
        self.tags.set(TagSet { phase, ..before });
        Apart { scope: self, before }
    }

    /// Whether this is an iteration (and not setup, init, teardown or warm-up).
    pub fn is_main(&self) -> bool {
        self.tags().phase == Phase::Main
    }
}

/// Samples are kept apart while this lives.
#[derive(Debug)]
pub struct Apart<'a> {
    scope: &'a Scope,
    before: TagSet,
}

impl Drop for Apart<'_> {
    fn drop(&mut self) {
        self.scope.tags.set(self.before);
    }
}

/// An operation under way.
struct Pending<'a> {
    scope: &'a Scope,
    operation: Operation,
    tags: TagSet,
    at: Instant,
    start: Instant,
    done: bool,
}

impl Pending<'_> {
    fn finish(mut self, span: Span, failure: Option<&Failure>) {
        self.done = true;
        self.scope.record_at(self.operation, self.tags, self.at, span, failure);
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let recorder = self.scope.recorder();
        let waited = self.scope.config.clock.now().since(self.start);
        recorder.add(self.operation.count.id(), self.tags, self.at, 1.0);
        recorder.censored(
            self.operation.duration.id(),
            self.tags,
            self.at,
            waited.as_nanos() as u64,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Cell as Samples, Metric, RecorderConfig, Registry, Unit};

    #[derive(Debug)]
    struct Quiet;

    impl LogSink for Quiet {
        fn line(&self, _: LogLine) {}
    }

    #[test]
    fn a_metric_declared_in_milliseconds_is_held_in_nanoseconds() {
        let mut registry = Registry::default();
        let lag = Metric { name: "lag".into(), kind: Kind::Trend, unit: Unit::Nanoseconds };
        let id = registry.insert(lag).unwrap();
        registry.set_scale(id, 1e6);
        let config = RecorderConfig {
            registry: Arc::new(registry),
            names: Names::default(),
            windowed: Vec::new(),
            max_series: 10,
        };
        let recorder = Rc::new(Recorder::new(config, 0, Instant::ZERO));
        let config = ScopeConfig {
            clock: Clock::real(),
            recorder: recorder.clone(),
            limits: Arc::default(),
            ops: Ops::new::<&str>(&[], &Names::default()),
            metrics: Arc::new(FxHashMap::from_iter([("lag".to_owned(), (id, Kind::Trend))])),
            log: Rc::new(Quiet),
            trace: false,
            seed: 0,
        };
        Scope::new(config, 1).metric("lag", 2.5).unwrap();
        let snapshot = recorder.take(Instant::from_nanos(1));
        let Samples::Trend(trend) = &snapshot.cells[0].2 else { panic!("no trend") };
        assert_eq!((trend.min, trend.max), (2_500_000, 2_500_000));
    }
}
