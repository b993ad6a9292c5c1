//! One shard: a thread with a single-threaded runtime, on which its share of the VUs lives.
//!
//! The body is one async function, so that the thread around it is thin and a test in virtual time
//! runs the same body on its own runtime. What a shard measures leaves it once a second through a
//! bounded channel; when that is full the recorder simply goes on and the interval becomes longer:
//! resolution is lost, no count is.

use std::{panic::AssertUnwindSafe, rc::Rc, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use serde_json::Value as Json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    Shared, health,
    log::ShardLog,
    services::{self, Services},
};
use crate::{
    clock::Instant,
    executor::{Counts, Crew, ErrorTally, Ground, Lane, Notice},
    metric::{Phase, Recorder, RecorderConfig, Snapshot, TagSet},
    plan::ConnectionSharing,
    primitive::{Ops, Random, ScopeConfig},
    verdict::Cause,
    workload::LoadError,
};

/// How often a shard hands over what it measured.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the run tells a shard.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// Run `setup` here.
    Setup,
    /// Make the VUs, with what `setup` returned.
    Prepare(Arc<Json>),
    /// The load begins: windows are counted from here.
    Begin(Instant),
    /// The load has ended.
    End(Instant),
    /// Run the shard's lane of a scenario.
    Start { scenario: usize, at: Instant },
    /// No new iterations; interrupt the running ones.
    Stop,
    /// Hand over what was measured so far.
    Tell,
    /// Run `teardown` here.
    Teardown,
    /// Hand over the rest and end.
    Finish,
}

/// What a shard tells the run.
#[derive(Debug)]
pub(super) enum Report {
    /// Connected, program prepared.
    Ready,
    /// `setup` ended; `None` if it was interrupted.
    Setup(Option<Result<Json, (Cause, String)>>),
    /// The VUs are made.
    Prepared,
    /// The lane of a scenario has ended.
    Ended { scenario: usize, at: Instant },
    /// `teardown` ended.
    Teardown(Result<(), (Cause, String)>),
    /// A VU ends or marks the run.
    Notice(Notice),
    /// The rest; the shard ends.
    Finished { interval: Interval },
    /// The shard ended by itself: it could not start, or it panicked.
    Lost(Cause, String),
}

/// What a shard measured since its last interval, and how its lanes stand.
#[derive(Debug)]
pub(super) struct Interval {
    pub(super) snapshot: Snapshot,
    /// By scenario.
    pub(super) counts: Vec<Counts>,
    /// All errors so far, if there are more than the interval before told.
    pub(super) errors: Option<ErrorTally>,
}

/// A shard's ends of its channels.
#[derive(Debug)]
pub(super) struct Wires {
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) reports: mpsc::UnboundedSender<(usize, Report)>,
    pub(super) intervals: mpsc::Sender<(usize, Interval)>,
}

/// The name of a shard's thread; behind the last one is that of the workload's own services.
fn thread_name(index: usize, shards: usize) -> String {
    if index < shards { format!("shard-{index}") } else { format!("{}workload", health::SERVICE) }
}

/// Starts a shard on a thread of its own.
pub(super) fn spawn(shared: Arc<Shared>, index: usize, wires: Wires) -> std::io::Result<()> {
    let reports = wires.reports.clone();
    std::thread::Builder::new().name(thread_name(index, shared.shards)).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                let local = tokio::task::LocalSet::new();
                runtime.block_on(local.run_until(guarded(shared, index, wires)));
            }
            Err(error) => {
                let text = format!("shard {index} could not make its runtime: {error}");
                let _ = reports.send((index, Report::Lost(Cause::Internal, text)));
            }
        }
    })?;
    Ok(())
}

/// The shard's body; a panic in it is told, so that nobody waits for a shard that is gone.
pub(super) async fn guarded(shared: Arc<Shared>, index: usize, wires: Wires) {
    let reports = wires.reports.clone();
    let result = AssertUnwindSafe(live(shared, index, wires)).catch_unwind().await;
    let lost = match result {
        Ok(Ok(())) => return,
        Ok(Err((cause, text))) => Report::Lost(cause, text),
        Err(panic) => {
            let what = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic".to_owned());
            Report::Lost(Cause::Internal, format!("shard {index} panicked: {what}"))
        }
    };
    let _ = reports.send((index, lost));
}

/// Everything of a shard that is under way.
struct Shard {
    index: usize,
    shared: Arc<Shared>,
    ground: Rc<Ground>,
    /// By scenario; `None` where the scenario does not use this shard.
    lanes: Vec<Option<Rc<Lane>>>,
    crews: Vec<Option<Crew>>,
    /// On the thread that has no VUs.
    services: Option<Services>,
    /// Each ends with what is to be reported.
    tasks: JoinSet<Report>,
    stop: watch::Sender<bool>,
    /// Errors that were told.
    errors: u64,
}

async fn live(shared: Arc<Shared>, index: usize, wires: Wires) -> Result<(), (Cause, String)> {
    let Wires { mut commands, reports, intervals } = wires;
    let ground = Rc::new(ground(&shared, index, reports.clone()).await?);
    let mut state = Shard::new(shared, index, ground).await?;
    let clock = state.shared.clock;
    let serves = state.services.is_some();
    let mut background = JoinSet::new();
    if !clock.is_virtual() && !serves {
        let (ground, shared) = (Rc::clone(&state.ground), Arc::clone(&state.shared));
        background.spawn_local(health::heartbeat(ground, shared));
    }
    let _ = reports.send((index, Report::Ready));
    let mut next = clock.now() + INTERVAL;
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Finish) | None => break,
                Some(Command::End(end)) if serves => {
                    services::sample_cpu(&state.shared, &state.ground, before(end));
                }
                Some(Command::Begin(start)) => {
                    if serves {
                        services::sample_cpu(&state.shared, &state.ground, before(start));
                    }
                    // What was sampled before has its seconds counted from another origin.
                    if let Ok(place) = intervals.reserve().await {
                        place.send((index, state.interval()));
                    }
                    state.ground.recorder.start_at(start);
                    // An interval is a second of the load, not the end of one and the rest of another.
                    next = start + INTERVAL;
                }
                Some(Command::Tell) => {
                    if let Ok(place) = intervals.reserve().await {
                        place.send((index, state.interval()));
                    }
                }
                Some(command) => state.obey(command),
            },
            Some(ended) = state.tasks.join_next() => {
                let report = ended.unwrap_or_else(|error| {
                    let text = format!("shard {index}: a task panicked: {error}");
                    Report::Notice(Notice::Failed(Cause::Internal, text))
                });
                let _ = reports.send((index, report));
            }
            () = clock.sleep_until(next) => {
                if serves {
                    services::sample_cpu(&state.shared, &state.ground, clock.now());
                }
                if let Ok(place) = intervals.try_reserve() {
                    place.send((index, state.interval()));
                }
                next = next + INTERVAL;
                if next < clock.now() {
                    next = clock.now() + INTERVAL;
                }
            }
        }
    }
    background.abort_all();
    drop(state.services.take());
    let interval = state.interval();
    let _ = reports.send((index, Report::Finished { interval }));
    Ok(())
}

/// The last instant of what ends at an instant.
const fn before(end: Instant) -> Instant {
    Instant::from_nanos(end.as_nanos().saturating_sub(1))
}

impl Shard {
    async fn new(
        shared: Arc<Shared>,
        index: usize,
        ground: Rc<Ground>,
    ) -> Result<Self, (Cause, String)> {
        let scenarios = shared.plan.scenarios.len();
        let services = if index == shared.shards {
            Some(services::start(&ground, &shared).await?)
        } else {
            None
        };
        Ok(Self {
            index,
            ground,
            lanes: vec![None; scenarios],
            crews: (0..scenarios).map(|_| None).collect(),
            services,
            tasks: JoinSet::new(),
            stop: watch::channel(false).0,
            errors: 0,
            shared,
        })
    }

    fn obey(&mut self, command: Command) {
        let ground = Rc::clone(&self.ground);
        let mut stop = self.stop.subscribe();
        match command {
            Command::Setup => {
                self.tasks.spawn_local(async move {
                    Report::Setup(tokio::select! {
                        biased;
                        _ = stop.wait_for(|stop| *stop) => None,
                        result = setup(ground) => Some(result),
                    })
                });
            }
            Command::Prepare(data) => {
                ground.data.replace(data);
                self.prepare();
            }
            Command::Start { scenario, at } => self.start(scenario, at),
            Command::Stop => {
                self.stop.send_replace(true);
            }
            Command::Teardown => {
                self.tasks.spawn_local(async move { Report::Teardown(teardown(ground).await) });
            }
            Command::Begin(_) | Command::End(_) | Command::Tell | Command::Finish => {}
        }
    }

    fn prepare(&mut self) {
        let mut ready = Vec::new();
        for (index, scenario) in self.shared.scenarios.iter().enumerate() {
            let Some(lane) = Lane::new(&self.ground, scenario) else { continue };
            let crew = Crew::hire(Rc::clone(&lane));
            ready.push(crew.ready());
            self.lanes[index] = Some(lane);
            self.crews[index] = Some(crew);
        }
        let services = self.services.as_ref().map(Services::prepare);
        self.tasks.spawn_local(async move {
            futures_util::future::join_all(ready).await;
            if let Some(preparing) = services
                && let Err((cause, text)) = preparing.await
            {
                return Report::Notice(Notice::Failed(cause, text));
            }
            Report::Prepared
        });
    }

    fn start(&mut self, scenario: usize, at: Instant) {
        let Some(mut crew) = self.crews.get_mut(scenario).and_then(Option::take) else { return };
        let stop = self.stop.subscribe();
        let clock = self.shared.clock;
        self.tasks.spawn_local(async move {
            crew.run(at, stop).await;
            Report::Ended { scenario, at: clock.now() }
        });
    }

    fn interval(&mut self) -> Interval {
        let counts =
            self.lanes.iter().map(|lane| lane.as_ref().map_or(Counts::default(), |l| l.counts()));
        let snapshot = self.ground.recorder.take(self.shared.clock.now());
        debug_assert_eq!(snapshot.shard, self.index);
        let errors = self.ground.errors.borrow();
        let told = std::mem::replace(&mut self.errors, errors.all());
        let errors = (errors.all() > told).then(|| errors.clone());
        Interval { snapshot, counts: counts.collect(), errors }
    }
}

/// Connects a shard and prepares the workload for it.
pub(super) async fn ground(
    shared: &Arc<Shared>,
    index: usize,
    reports: mpsc::UnboundedSender<(usize, Report)>,
) -> Result<Ground, (Cause, String)> {
    let plan = Arc::clone(&shared.plan);
    let unreachable = |what: &str, error: &dyn std::error::Error| {
        (Cause::Unreachable, format!("{what} could not be reached: {error}"))
    };
    let connection = shared
        .bus
        .connect(&format!("{}-{index}", plan.name))
        .await
        .map_err(|error| unreachable("the bus", &error))?;
    let pool = if index == shared.shards {
        // A service must not wait for the VUs that it serves.
        shared.database.service_pool(plan.limits.database_connections as usize).await
    } else {
        shared.database.pool(index).await
    };
    let pool = pool.map_err(|error| unreachable("the database", &error))?;
    let source = shared.workload.on_shard().map_err(|error| match error {
        LoadError::Invalid(_) => (Cause::Configuration, error.to_string()),
        LoadError::Refused(_) => (Cause::PluginRefused, error.to_string()),
    })?;
    let recorder = Rc::new(Recorder::new(shared.recorder_config(), index, shared.clock.now()));
    let scope = ScopeConfig {
        clock: shared.clock,
        recorder: Rc::clone(&recorder),
        limits: Arc::new(plan.limits.clone()),
        ops: Ops::new(&plan.ops, recorder.names()),
        metrics: Arc::new(
            plan.declared_metrics
                .iter()
                .map(|metric| (metric.name.clone(), (metric.id, metric.kind)))
                .collect(),
        ),
        log: Rc::new(ShardLog(Arc::clone(&shared.log))),
        trace: shared.trace,
        seed: plan.seed,
    };
    Ok(Ground {
        plan,
        shard: index,
        clock: shared.clock,
        recorder,
        source,
        scope: Rc::new(scope),
        bus: shared.bus.clone(),
        connection,
        pool,
        targets: shared.targets.clone(),
        outages: shared.targets.is_some().then(|| Arc::clone(&shared.outages)),
        data: std::cell::RefCell::default(),
        errors: std::cell::RefCell::default(),
        notify: Box::new(move |notice| {
            let _ = reports.send((index, Report::Notice(notice)));
        }),
        marked: std::cell::Cell::default(),
        looked: std::cell::Cell::new(shared.clock.now()),
    })
}

/// What a shard's recorder is made of.
impl Shared {
    pub(super) fn recorder_config(&self) -> RecorderConfig {
        RecorderConfig {
            registry: Arc::clone(&self.plan.registry),
            names: self.names.clone(),
            windowed: crate::verdict::windowed(&self.plan),
            max_series: self.plan.limits.series,
        }
    }
}

/// Runs `setup` with VU 0.
pub(super) async fn setup(ground: Rc<Ground>) -> Result<Json, (Cause, String)> {
    let limit = ground.plan.setup_timeout;
    let (primitives, made) = once(&ground, "setup", Phase::Setup).await?;
    let result = match made {
        Ok(mut user) => tokio::time::timeout(limit, user.setup()).await,
        Err(error) => Ok(Err(error)),
    };
    ended(&ground, &primitives).await;
    match result {
        Ok(Ok(data)) => Ok(data),
        Ok(Err(error)) => {
            ground.error("setup", 0, &error);
            Err((Cause::WorkloadError, format!("setup: {error}")))
        }
        Err(_) => Err((
            Cause::SetupTimeout,
            format!(
                "setup took longer than setup_timeout ({limit:?}): raise `setup_timeout` in the \
                 workload's options"
            ),
        )),
    }
}

/// Runs `teardown` with VU 0.
pub(super) async fn teardown(ground: Rc<Ground>) -> Result<(), (Cause, String)> {
    let limit = ground.plan.teardown_timeout;
    let (primitives, made) = once(&ground, "teardown", Phase::Teardown).await?;
    let result = match made {
        Ok(mut user) => tokio::time::timeout(limit, user.teardown()).await,
        Err(error) => Ok(Err(error)),
    };
    ended(&ground, &primitives).await;
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            ground.error("teardown", 0, &error);
            Err((Cause::WorkloadError, format!("teardown: {error}")))
        }
        Err(_) => Err((
            Cause::TeardownTimeout,
            format!(
                "teardown took longer than teardown_timeout ({limit:?}): raise `teardown_timeout` in \
                 the workload's options"
            ),
        )),
    }
}

type Made = Result<Box<dyn crate::workload::VirtualUser>, crate::workload::GuestError>;

/// VU 0 for one call outside the iterations.
async fn once(
    ground: &Ground,
    name: &str,
    phase: Phase,
) -> Result<(crate::primitive::Primitives, Made), (Cause, String)> {
    let primitives = ground
        .primitives(0, ConnectionSharing::Shard)
        .await
        .map_err(|error| (Cause::Unreachable, format!("{name}: {error}")))?;
    let workload = ground.recorder.names().intern(&ground.plan.name);
    let tags = TagSet { phase, workload, ..TagSet::default() };
    let random = Random::new(ground.plan.seed, name, 0);
    primitives.scope.begin(tags, ground.clock.now(), random);
    let made = ground.virtual_user(&primitives);
    Ok((primitives, made))
}

async fn ended(ground: &Ground, primitives: &crate::primitive::Primitives) {
    let limit = ground.plan.limits.operation_timeout;
    let _ = tokio::time::timeout(limit, primitives.database.reset()).await;
    primitives.bus.reset();
    primitives.scope.about_to_wait();
    ground.pass_on(&primitives.scope);
}
