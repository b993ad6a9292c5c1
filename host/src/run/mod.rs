//! One run: setup, executors, teardown, summary.
//!
//! ```text
//!   run ── Command ──► shard 0 … shard n      one thread each, see `shard`
//!    ▲                     │
//!    ├── Report ◄──────────┤   ends, notices, the rest: never dropped
//!    └── Interval ◄────────┘   each second: Snapshot, Counts: bounded, merged when the run lags
//!    │
//!    └──► Judge · Event
//! ```
//!
//! The run and everyone who watches it meet in [`event`]: the engine never prints, and an observer
//! that is too slow loses events, never time. Under a virtual clock the one shard runs on the
//! caller's runtime; everywhere else it has a thread of its own.

pub mod chronicle;
mod collect;
pub mod comparison;
mod conduct;
pub mod event;
mod facts;
mod health;
mod hosted;
mod load;
mod log;
mod memory;
mod search;
mod serve;
mod services;
mod shard;
mod stop;
pub mod summary;
pub mod tape;
mod targets;
#[cfg(test)]
mod tests;
pub mod trend;

use std::sync::{Arc, atomic::AtomicU64};

use tokio::{sync::mpsc, task::LocalSet};

pub use chronicle::{Asked, Chapter, Chronicle, Diary, Happening, Marker, MarkerKind, What};
pub use health::{OwnCost, noise_floor};
pub use hosted::Hosted;
pub use serve::{ServeInput, serve};
pub use stop::{StopLevel, StopSignal};
pub use targets::BusProbe;

use crate::{
    clock::{Clock, Instant},
    executor::{ScenarioShared, Workload},
    metric::Names,
    plan::Plan,
    primitive::{bus, database, outage::Outages},
    target,
    verdict::{Facts, Judge},
};

/// What a run is made of.
#[derive(Debug)]
pub struct RunInput {
    /// What to run.
    pub plan: Arc<Plan>,
    /// Where virtual users come from.
    pub workload: Arc<dyn Workload>,
    /// The bus. The caller opened it and closes it.
    pub bus: bus::Source,
    /// The database. The caller opened it and closes it.
    pub database: database::Source,
    /// The system under test as processes. The caller opened it and closes it.
    pub targets: Option<target::Source>,
    /// The run's timeline: real, or paused for tests.
    pub clock: Clock,
    /// Who watches. Never waited for.
    pub events: mpsc::Sender<event::Event>,
    /// Stops the run.
    pub stop: StopSignal,
    /// Whether each host call is logged.
    pub trace: bool,
    /// What is secret, and must not get into any text that the run makes.
    pub hidden: Vec<String>,
    /// Who keeps the run.
    pub tape: Option<Box<dyn tape::Tape>>,
}

/// What came of a run; the verdict is `judge.finish(start, &facts)`.
#[derive(Debug)]
pub struct RunOutcome {
    /// What was measured, and how it stands against the thresholds.
    pub judge: Judge,
    /// What a verdict needs to know beside the samples.
    pub facts: Facts,
    /// When the first scenario started; when the run began, if none did.
    pub start: Instant,
    /// The names that tags are made of.
    pub names: Names,
    /// Whether it came to its end: not stopped, aborted or timed out, by a threshold or by a fault.
    pub complete: bool,
    /// What happened when.
    pub chronicle: Chronicle,
}

/// What all shards of a run share.
#[derive(Debug)]
struct Shared {
    plan: Arc<Plan>,
    workload: Arc<dyn Workload>,
    bus: bus::Source,
    database: database::Source,
    targets: Option<target::Source>,
    /// What operations met while a target was away.
    outages: Arc<Outages>,
    clock: Clock,
    names: Names,
    scenarios: Vec<Arc<ScenarioShared>>,
    /// Shards that run VUs; with services there is one more, that runs those.
    shards: usize,
    load: load::Load,
    /// CPU time of services, as last told; for a thread of services in a run, of that thread.
    service_cpu_ns: AtomicU64,
    /// Of it since then, what handlers' operations have accounted for.
    handled_cpu_ns: AtomicU64,
    log: Arc<log::Outlet>,
    trace: bool,
}

/// Runs a plan. The future stays on its thread; a runtime with timers must drive it.
pub async fn run(input: RunInput) -> RunOutcome {
    let shards = if input.clock.is_virtual() { 1 } else { input.plan.shards.max(1) };
    let names = Names::hiding(input.hidden);
    let shared = Arc::new(Shared {
        scenarios: ScenarioShared::of(&input.plan, shards),
        shards,
        load: load::Load::default(),
        service_cpu_ns: AtomicU64::new(0),
        handled_cpu_ns: AtomicU64::new(0),
        log: Arc::new(log::Outlet::new(
            input.events,
            input.plan.limits.log_lines,
            names.clone(),
            input.clock,
            input.tape.is_some(),
        )),
        plan: input.plan,
        workload: input.workload,
        bus: input.bus,
        database: input.database,
        targets: input.targets,
        outages: Arc::default(),
        clock: input.clock,
        names,
        trace: input.trace,
    });
    let served = !shared.plan.services.is_empty();
    shared.workload.reserve((shared.plan.vus() as u32).saturating_add(shared.plan.workers()));
    let threads = shards + usize::from(served);
    let (conductor, wires) =
        conduct::Conductor::new(Arc::clone(&shared), threads, input.stop, input.tape);
    if !shared.clock.is_virtual() {
        let mut conductor = conductor;
        for (index, wires) in wires.into_iter().enumerate() {
            if let Err(error) = shard::spawn(Arc::clone(&shared), index, wires) {
                conductor.lose(index, format!("shard {index} could not start: {error}"));
            }
        }
        return conductor.run().await;
    }
    let local = LocalSet::new();
    for (index, wires) in wires.into_iter().enumerate() {
        local.spawn_local(shard::guarded(Arc::clone(&shared), index, wires));
    }
    local.run_until(conductor.run()).await
}
