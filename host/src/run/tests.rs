//! Runs with native virtual users: every executor exactly, in virtual time, and the identity of
//! SEMANTICS §1 whatever happens.

mod closed;
mod drivers;
mod identity;
mod lifecycle;
mod open;
mod real;
mod service;

use std::{
    collections::BTreeMap,
    fmt,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::{RunInput, RunOutcome, StopSignal, event::Event};
use crate::{
    clock::{Clock, Instant},
    executor::{VuSource, Workload},
    metric::{Builtin, Cell, Registry, Selector, Trend},
    plan::{
        Arrival, ConnectionSharing, Executor, GeneratorLimited, Limits, OnLate, Pacing, Plan,
        Scenario, Segment, Start,
    },
    primitive::{Primitives, bus, database},
    verdict::ScenarioFacts,
    workload::{GuestError, GuestErrorKind, Iteration, LoadError, VirtualUser, VirtualUserInput},
};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a native virtual user does in an iteration.
type Body =
    dyn Fn(Primitives, Iteration) -> LocalBoxFuture<'static, Result<(), GuestError>> + Send + Sync;
type Hook = dyn Fn(Primitives) -> LocalBoxFuture<'static, Result<Json, GuestError>> + Send + Sync;

/// A workload in Rust, which keeps a record of its own of what was started when.
#[derive(Clone)]
pub(super) struct Native {
    body: Arc<Body>,
    setup: Option<Arc<Hook>>,
    init: Option<Arc<Hook>>,
    teardown: Option<Arc<Hook>>,
    pub(super) starts: Arc<Mutex<Vec<Started>>>,
}

/// An iteration that a guest saw begin.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Started {
    pub(super) vu: u32,
    pub(super) number: u64,
    pub(super) stage: String,
    pub(super) at: Instant,
    pub(super) due: Instant,
    pub(super) draw: u64,
}

impl fmt::Debug for Native {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Native")
    }
}

impl Native {
    pub(super) fn new(
        body: impl Fn(Primitives, Iteration) -> LocalBoxFuture<'static, Result<(), GuestError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            body: Arc::new(body),
            setup: None,
            init: None,
            teardown: None,
            starts: Arc::default(),
        }
    }

    /// Each iteration takes this long.
    pub(super) fn taking(duration: Duration) -> Self {
        Self::new(move |primitives, _| {
            Box::pin(async move {
                let clock = primitives.scope.clock();
                if !duration.is_zero() {
                    clock.sleep_until(clock.now() + duration).await;
                }
                Ok(())
            })
        })
    }

    pub(super) fn setup(mut self, hook: Arc<Hook>) -> Self {
        self.setup = Some(hook);
        self
    }

    pub(super) fn init(mut self, hook: Arc<Hook>) -> Self {
        self.init = Some(hook);
        self
    }

    pub(super) fn teardown(mut self, hook: Arc<Hook>) -> Self {
        self.teardown = Some(hook);
        self
    }

    pub(super) fn starts(&self) -> Vec<Started> {
        let mut starts = self.starts.lock().unwrap().clone();
        starts.sort_by_key(|start| (start.at, start.number));
        starts
    }
}

/// Keeps the calling thread busy for so much of its CPU time.
pub(super) fn use_cpu(time: Duration) {
    let used = || {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32)
    };
    let until = used() + time;
    while used() < until {
        std::hint::spin_loop();
    }
}

pub(super) fn threw(message: &str) -> GuestError {
    GuestError { kind: GuestErrorKind::Threw, message: message.to_owned(), place: None }
}

impl Workload for Native {
    fn on_shard(&self) -> Result<Rc<dyn VuSource>, LoadError> {
        Ok(Rc::new(self.clone()))
    }
}

impl VuSource for Native {
    fn virtual_user(&self, input: VirtualUserInput) -> Result<Box<dyn VirtualUser>, GuestError> {
        Ok(Box::new(NativeVu { native: self.clone(), primitives: input.primitives }))
    }
}

struct NativeVu {
    native: Native,
    primitives: Primitives,
}

impl NativeVu {
    fn hook(&self, hook: Option<&Arc<Hook>>) -> LocalBoxFuture<'static, Result<Json, GuestError>> {
        self.primitives.scope.enter_guest(None);
        hook.map_or_else(
            || Box::pin(async { Ok(Json::Null) }) as LocalBoxFuture<'static, _>,
            |hook| hook(self.primitives.clone()),
        )
    }
}

impl VirtualUser for NativeVu {
    fn setup(&mut self) -> LocalBoxFuture<'_, Result<Json, GuestError>> {
        self.hook(self.native.setup.as_ref())
    }

    fn init(&mut self) -> LocalBoxFuture<'_, Result<(), GuestError>> {
        let init = self.hook(self.native.init.as_ref());
        Box::pin(async { init.await.map(drop) })
    }

    fn iterate<'a>(
        &'a mut self,
        iteration: &'a Iteration,
    ) -> LocalBoxFuture<'a, Result<(), GuestError>> {
        Box::pin(async move {
            let scope = &self.primitives.scope;
            scope.enter_guest(None);
            let draw = scope.random().bits();
            self.native.starts.lock().unwrap().push(Started {
                vu: scope.vu(),
                number: iteration.number,
                stage: iteration.stage.to_string(),
                at: scope.started().unwrap(),
                due: iteration.due,
                draw,
            });
            (self.native.body)(self.primitives.clone(), iteration.clone()).await
        })
    }

    fn teardown(&mut self) -> LocalBoxFuture<'_, Result<(), GuestError>> {
        let teardown = self.hook(self.native.teardown.as_ref());
        Box::pin(async { teardown.await.map(drop) })
    }

    fn handle<'a>(
        &'a mut self,
        handler: &'a str,
        message: bus::Message,
    ) -> LocalBoxFuture<'a, Result<Option<bytes::Bytes>, GuestError>> {
        Box::pin(async move {
            self.primitives.scope.enter_guest(None);
            match handler {
                "echo" => Ok(Some(message.payload)),
                "busy" => {
                    let message =
                        bus::Outgoing { subject: "svc.log".to_owned(), ..bus::Outgoing::default() };
                    self.primitives.bus.publish(message).await.unwrap().unwrap();
                    self.primitives.scope.check("stored", false).unwrap();
                    use_cpu(ms(2));
                    Ok(Some(bytes::Bytes::new()))
                }
                _ => Err(threw(handler)),
            }
        })
    }
}

pub(super) fn scenario(name: &str, executor: Executor) -> Scenario {
    Scenario {
        name: name.to_owned(),
        executor,
        start: Start::At(Duration::ZERO),
        graceful_stop: Duration::from_secs(30),
        exec: "iteration".to_owned(),
        env: BTreeMap::new(),
        tags: BTreeMap::new(),
        warmup: Duration::ZERO,
        iteration_timeout: Duration::from_secs(600),
        cpu_timeout: Duration::from_secs(5),
        connection: ConnectionSharing::Shard,
        generator_limited: GeneratorLimited::Invalid,
        driver: None,
    }
}

pub(super) fn arrival(vus: u32, max_vus: u32) -> Arrival {
    Arrival {
        pre_allocated_vus: vus,
        max_vus,
        max_vus_open: false,
        pacing: Pacing::Uniform,
        on_late: OnLate::Queue,
        max_backlog: 100_000,
        spin: false,
    }
}

pub(super) fn plan(scenarios: Vec<Scenario>) -> Plan {
    Plan {
        name: "test".to_owned(),
        scenarios,
        registry: Arc::new(Registry::default()),
        declared_metrics: Vec::new(),
        ops: Vec::new(),
        thresholds: Vec::new(),
        derived: Vec::new(),
        services: BTreeMap::new(),
        consumers: BTreeMap::new(),
        seed: 7,
        scale: 1.0,
        shards: 2,
        segment: Segment::default(),
        setup_timeout: Duration::from_secs(60),
        teardown_timeout: Duration::from_secs(60),
        timeout: None,
        notes: Vec::new(),
        recipe: Arc::default(),
        tags: BTreeMap::new(),
        rows: Vec::new(),
        limits: Limits::default(),
    }
}

/// A run that has ended.
pub(super) struct Ran {
    pub(super) outcome: RunOutcome,
    pub(super) starts: Vec<Started>,
    pub(super) events: Vec<Event>,
    registry: Arc<Registry>,
}

impl Ran {
    pub(super) fn scenario(&self, index: usize) -> &ScenarioFacts {
        &self.outcome.facts.scenarios[index]
    }

    pub(super) fn select(&self, metric: Builtin, selector: &[(&str, &str)]) -> Cell<u64> {
        let tags = selector.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let selector = Selector(tags.collect());
        let names = &self.outcome.names;
        self.outcome.judge.totals().select(&self.registry, names, metric.id(), &selector)
    }

    pub(super) fn trend(&self, metric: Builtin, selector: &[(&str, &str)]) -> Trend<u64> {
        match self.select(metric, selector) {
            Cell::Trend(trend) => *trend,
            other => panic!("{metric:?} is no trend: {other:?}"),
        }
    }

    pub(super) fn counter(&self, metric: Builtin) -> u64 {
        match self.select(metric, &[]) {
            Cell::Counter(sum) => sum as u64,
            other => panic!("{metric:?} is no counter: {other:?}"),
        }
    }

    /// When each iteration began, in milliseconds from the run's start.
    pub(super) fn start_times(&self) -> Vec<u64> {
        self.starts.iter().map(|s| s.at.since(self.outcome.start).as_millis() as u64).collect()
    }

    /// SEMANTICS §1, and the same numbers from the guests' own record and from the metrics.
    pub(super) fn check_identity(&self) {
        let mut sum = ScenarioFacts::default();
        for facts in &self.outcome.facts.scenarios {
            assert_eq!(
                facts.planned,
                facts.started + facts.dropped + facts.never_started,
                "{facts:?}"
            );
            assert_eq!(facts.started, facts.completed + facts.interrupted, "{facts:?}");
            sum.started += facts.started;
            sum.completed += facts.completed;
            sum.interrupted += facts.interrupted;
            sum.dropped += facts.dropped;
            sum.never_started += facts.never_started;
        }
        assert_eq!(sum.started, self.starts.len() as u64, "{sum:?}");
        assert_eq!(sum.completed, self.counter(Builtin::Iterations), "{sum:?}");
        assert_eq!(sum.interrupted, self.counter(Builtin::InterruptedIterations), "{sum:?}");
        assert_eq!(sum.dropped, self.counter(Builtin::DroppedIterations), "{sum:?}");
        assert_eq!(sum.never_started, self.counter(Builtin::NeverStartedIterations), "{sum:?}");
    }
}

/// Runs on this clock, stopping as the caller's signal says.
pub(super) async fn run_on(clock: Clock, plan: Plan, native: &Native, stop: StopSignal) -> Ran {
    let (events, mut received) = mpsc::channel(100_000);
    let directory = tempfile::tempdir().unwrap();
    let bus = bus::Source::open("embedded", "test").await.unwrap();
    let database = database::Source::open("embedded", None, directory.path(), "test", &plan.limits)
        .await
        .unwrap();
    let registry = Arc::clone(&plan.registry);
    let outcome = super::run(RunInput {
        plan: Arc::new(plan),
        workload: Arc::new(native.clone()),
        bus: bus.clone(),
        database: database.clone(),
        targets: None,
        clock,
        events,
        stop,
        trace: false,
        tape: None,
        hidden: Vec::new(),
    })
    .await;
    bus.close().await;
    database.close().await.unwrap();
    let mut events = Vec::new();
    while let Ok(event) = received.try_recv() {
        events.push(event);
    }
    Ran { outcome, starts: native.starts(), events, registry }
}

/// Runs in virtual time: the calling test is `start_paused`.
pub(super) async fn run_virtually(plan: Plan, native: &Native) -> Ran {
    run_on(Clock::paused(), plan, native, StopSignal::new()).await
}

/// Runs in virtual time and stops the run from outside after `after`.
pub(super) async fn run_stopped(plan: Plan, native: &Native, after: Duration) -> Ran {
    let clock = Clock::paused();
    let stop = StopSignal::new();
    let signal = stop.clone();
    let stopping = async move {
        clock.sleep_until(clock.now() + after).await;
        signal.stop(super::StopLevel::Graceful);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        ran = run_on(clock, plan, native, stop) => ran,
        () = stopping => unreachable!("it never ends"),
    }
}
