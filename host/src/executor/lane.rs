//! A scenario on a shard: its tags, its window of time, its counts, its share of the VUs.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use super::{
    dispatch::Dispatch,
    ground::{Ground, extra_tags},
    handle::Handle,
    probes::{Held, Order, Probes},
    tally::Counts,
};
use crate::{
    clock::Instant,
    metric::{Name, Phase, TagSet},
    plan::{Arrival, Executor, Plan, Scenario, Segment},
};

/// What all shards of a run share about one scenario.
#[derive(Debug)]
pub struct ScenarioShared {
    /// Its place in the plan.
    pub index: usize,
    /// Number of its first VU.
    pub first_vu: u32,
    /// VUs that are made before it starts, of this share of the plan.
    pub first_vus: u32,
    /// Shards that take part: a small `max_vus` uses fewer.
    pub shards: usize,
    /// `shared-iterations`: the next iteration of this share of the plan.
    pub(super) next_iteration: AtomicU64,
    /// Arrival-rate executors.
    pub(super) dispatch: Option<Dispatch>,
    /// A search.
    pub(super) probes: Option<Probes>,
}

impl ScenarioShared {
    /// The scenarios of a plan, on this many shards.
    pub fn of(plan: &Plan, shards: usize) -> Vec<Arc<Self>> {
        let mut first_vu = 1;
        let mut all = Vec::new();
        for (index, scenario) in plan.scenarios.iter().enumerate() {
            let max_vus = plan.segment.share(u64::from(scenario.executor.max_vus()));
            let used = shards.min(usize::try_from(max_vus).unwrap_or(shards)).max(1);
            let share = |vus| plan.segment.share(u64::from(vus)) as u32;
            let first = share(first_vus(&scenario.executor));
            let dispatch = arrival(&scenario.executor).map(|arrival| {
                let max = share(arrival.max_vus);
                let peak = scenario.executor.peak_rate() / f64::from(plan.segment.count);
                Dispatch::new(used, peak, (first, max), arrival.on_late, arrival.max_backlog)
            });
            all.push(Arc::new(Self {
                probes: scenario.search().map(|_| Probes::new(used)),
                index,
                first_vu,
                first_vus: first,
                shards: used,
                next_iteration: AtomicU64::new(0),
                dispatch,
            }));
            first_vu = first_vu.saturating_add(scenario.executor.max_vus());
        }
        all
    }

    /// Lowers the number of VUs that may exist, of this share of the plan.
    pub fn bound(&self, max_vus: u32) {
        if let Some(dispatch) = &self.dispatch {
            dispatch.bound(max_vus);
        }
    }

    /// Arrivals that wait for a VU.
    pub fn waiting(&self) -> usize {
        self.dispatch.as_ref().map_or(0, Dispatch::waiting)
    }

    /// Tells the lanes of a search what to do next.
    pub fn tell(&self, order: &Order) {
        if let Some(probes) = &self.probes {
            probes.tell(order);
        }
    }

    /// Arrivals of a search that are in the system: due, and neither ended nor given up.
    pub fn inside(&self) -> u64 {
        self.probes.as_ref().map_or(0, Probes::inside)
    }
}

/// VUs of a scenario that are made before it starts.
fn first_vus(executor: &Executor) -> u32 {
    arrival(executor)
        .map_or(executor.max_vus(), |arrival| arrival.pre_allocated_vus.min(arrival.max_vus))
}

/// What the arrival-rate executors have in common.
pub(super) fn arrival(executor: &Executor) -> Option<&Arrival> {
    match executor {
        Executor::ConstantArrivalRate { arrival, .. }
        | Executor::RampingArrivalRate { arrival, .. } => Some(arrival),
        _ => None,
    }
}

/// A scenario on a shard.
#[derive(Debug)]
pub struct Lane {
    pub(super) ground: Rc<Ground>,
    /// What it shares with its lanes on other shards.
    pub shared: Arc<ScenarioShared>,
    /// The shard's share of the plan.
    pub(super) segment: Segment,
    pub(super) exec: Rc<str>,
    pub(super) name: Rc<str>,
    pub(super) env: Rc<BTreeMap<String, String>>,
    /// Names of the stages and their ends, from the scenario's start; empty without stages.
    stages: Vec<(Rc<str>, Duration)>,
    no_stage: Rc<str>,
    /// Tags by stage; one element without stages.
    tags: Vec<TagSet>,
    pub(super) start: Cell<Instant>,
    pub(super) end: Cell<Instant>,
    pub(super) counts: RefCell<Counts>,
    /// The sum of when iterations ended minus that of when they began, wrapping: with what still runs
    /// it gives the time that VUs spent in iterations.
    pub(super) spent: Cell<u64>,
    /// The VUs, by their order on this shard.
    pub(super) handles: RefCell<Vec<Rc<Handle>>>,
    /// Of a search: the probes so far.
    probes: RefCell<Vec<Held>>,
    /// Arrival-rate: VUs that wait for an arrival, the latest last.
    pub(super) idle: RefCell<Vec<Rc<Handle>>>,
}

impl Lane {
    /// A scenario's lane on a shard; `None` if the scenario does not use that shard.
    pub fn new(ground: &Rc<Ground>, shared: &Arc<ScenarioShared>) -> Option<Rc<Self>> {
        let scenario = ground.plan.scenarios.get(shared.index)?;
        if ground.shard >= shared.shards {
            return None;
        }
        let stages = stages(&scenario.executor);
        Some(Rc::new(Self {
            segment: ground.plan.segment.nested(ground.shard as u32, shared.shards as u32),
            exec: scenario.exec.as_str().into(),
            name: scenario.name.as_str().into(),
            env: Rc::new(scenario.env.clone()),
            tags: tags(ground, scenario, &stages),
            stages,
            no_stage: "".into(),
            start: Cell::default(),
            end: Cell::default(),
            counts: RefCell::default(),
            spent: Cell::default(),
            handles: RefCell::default(),
            idle: RefCell::default(),
            probes: RefCell::default(),
            ground: Rc::clone(ground),
            shared: Arc::clone(shared),
        }))
    }

    /// The scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.ground.plan.scenarios[self.shared.index]
    }

    /// How it stands.
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// VUs of the whole scenario that are made before it starts, of this lane.
    pub(super) fn first_vus(&self) -> u32 {
        self.segment.share(u64::from(first_vus(&self.scenario().executor))) as u32
    }

    /// Scenario-wide number, from 0, of the lane's VU of that order.
    pub(super) fn vu_in_scenario(&self, order: u32) -> u32 {
        self.segment.index + order * self.segment.count
    }

    /// The stage at an instant of the run.
    pub(super) fn stage_at(&self, at: Instant) -> usize {
        let probes = self.probes.borrow();
        if !probes.is_empty() {
            return probes.partition_point(|probe| probe.from <= at).saturating_sub(1);
        }
        let elapsed = at.since(self.start.get());
        let last = self.stages.len().saturating_sub(1);
        self.stages.iter().position(|(_, end)| elapsed < *end).unwrap_or(last)
    }

    /// The name of a stage; empty without stages.
    pub(super) fn stage_name(&self, stage: usize) -> &Rc<str> {
        self.stages.get(stage).map_or(&self.no_stage, |(name, _)| name)
    }

    /// The tags of an iteration that was due then.
    pub(super) fn tags_at(&self, due: Instant, stage: usize) -> TagSet {
        if let Some(probe) = self.probes.borrow().get(stage) {
            return probe.tags;
        }
        let tags = self.tags.get(stage).or(self.tags.first()).copied().unwrap_or_default();
        if due.since(self.start.get()) < self.scenario().warmup {
            return TagSet { phase: Phase::Warmup, ..tags };
        }
        tags
    }

    /// Nanoseconds that VUs have spent in iterations so far, those that still run included; wrapping.
    pub(super) fn busy_ns(&self, now: Instant) -> u64 {
        let running = u64::from(self.counts.borrow().running);
        self.spent.get().wrapping_add(running.wrapping_mul(now.as_nanos()))
    }

    /// The tags of what ended then: of the level that was under way.
    pub(super) fn tags_of_end(&self, at: Instant) -> TagSet {
        let stage = self.stage_at(at);
        let tags = self.tags_at(at, stage);
        let over = self.probes.borrow().get(stage).is_some_and(|probe| at >= probe.to);
        if over { TagSet { level: Name::NONE, ..tags } } else { tags }
    }

    /// A probe of a search begins.
    pub(super) fn begin_probe(&self, level: Name, from: Instant, to: Instant) {
        let tags = self.tags.first().copied().unwrap_or_default();
        self.probes.borrow_mut().push(Held { tags: TagSet { level, ..tags }, from, to });
        self.end.set(to);
    }

    /// An arrival is due.
    pub(super) fn plan_arrival(&self) {
        self.counts.borrow_mut().planned += 1;
        self.count_inside(1);
    }

    /// Arrivals that came (or, below 0, left): a search watches how many are there.
    pub(super) fn count_inside(&self, change: i64) {
        if let Some(probes) = &self.shared.probes {
            probes.count(change);
        }
    }

    /// The scenario begins.
    pub(super) fn open(&self, start: Instant) {
        self.start.set(start);
        self.end.set(start + self.scenario().executor.duration());
    }
}

/// Names and ends of an executor's stages.
fn stages(executor: &Executor) -> Vec<(Rc<str>, Duration)> {
    let named: Vec<(&str, Duration)> = match executor {
        Executor::RampingVus { stages, .. } => {
            stages.iter().map(|stage| (stage.name.as_str(), stage.duration)).collect()
        }
        Executor::RampingArrivalRate { stages, .. } => {
            stages.iter().map(|stage| (stage.name.as_str(), stage.duration)).collect()
        }
        _ => Vec::new(),
    };
    let mut end = Duration::ZERO;
    named
        .into_iter()
        .map(|(name, duration)| {
            end += duration;
            (name.into(), end)
        })
        .collect()
}

fn tags(ground: &Ground, scenario: &Scenario, stages: &[(Rc<str>, Duration)]) -> Vec<TagSet> {
    let names = ground.recorder.names();
    let tags = TagSet {
        workload: names.intern(&ground.plan.name),
        scenario: names.intern(&scenario.name),
        extra: extra_tags(&ground.recorder, ground.plan.tags.iter().chain(&scenario.tags)),
        ..TagSet::default()
    };
    if stages.is_empty() {
        return vec![tags];
    }
    let of_stage = |(index, (name, _)): (usize, &(Rc<str>, Duration))| {
        let level = scenario.level_of(index).map_or(Name::NONE, |level| names.intern(&level.name));
        TagSet { stage: names.intern(name), level, ..tags }
    };
    stages.iter().enumerate().map(of_stage).collect()
}
