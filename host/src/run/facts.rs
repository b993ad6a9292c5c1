//! What the run knows beside its samples, as it comes in: counts, causes, the runner's own figures.

use std::{sync::Arc, time::Duration};

use super::{
    Shared,
    event::{Progress, ScenarioProgress},
    health::{self, OwnCost, Usage},
    memory::Footprint,
    shard::Interval,
};
use crate::{
    clock::Instant,
    executor::{Counts, ErrorTally},
    metric::{Builtin, Cell, Name, Outcome, Phase, Recorder, TagSet, Trend},
    plan::{Executor, Plan, threshold::Aggregate},
    verdict::{Cause, Facts, RunnerFacts, Samples, ScenarioFacts},
};

/// The books of a run.
#[derive(Debug)]
pub(super) struct Ledger {
    /// By shard and scenario, as last told.
    counts: Vec<Vec<Counts>>,
    scenarios: Vec<Window>,
    /// By shard, as last told.
    errors: Vec<ErrorTally>,
    /// By shard, until when its counts are; of one that is gone, nothing.
    told: Vec<Option<Instant>>,
    /// Until when all of them had told at the last progress.
    progressed: Instant,
    pub(super) own_cost: OwnCost,
    causes: Vec<(Cause, String)>,
    begun: Option<Instant>,
    ended: Option<Instant>,
    first_usage: Usage,
    /// As of the load's end, once it has ended.
    last_usage: Usage,
    last_sample: Instant,
    first_sample: Instant,
    cpu_percent_max: f64,
    /// Scenarios whose iterations wait for nobody: their response time is what users see.
    open: Vec<Name>,
    /// Iterations that ended since the last progress.
    recent: Trend<u64>,
    merged_intervals: u64,
    /// What a VU takes, as far as it was measured.
    pub(super) footprint: Option<Footprint>,
}

/// A shorter time has no percentage of CPU worth the name.
const SHORTEST: f64 = 0.05;

/// Progress is not told of a shorter time.
const SHORTEST_PROGRESS: Duration = Duration::from_millis(500);

/// When a scenario ran.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    start: Option<Instant>,
    end: Option<Instant>,
}

impl Ledger {
    pub(super) fn new(shared: &Arc<Shared>, shards: usize) -> Self {
        let scenarios = shared.plan.scenarios.len();
        let now = shared.clock.now();
        let usage = Usage::now();
        let open = shared.plan.scenarios.iter().filter(|scenario| scenario.executor.is_open());
        Self {
            open: open.map(|scenario| shared.names.intern(&scenario.name)).collect(),
            counts: vec![vec![Counts::default(); scenarios]; shards],
            scenarios: vec![Window::default(); scenarios],
            errors: vec![ErrorTally::default(); shards],
            told: vec![Some(now); shards],
            progressed: now,
            own_cost: OwnCost::default(),
            causes: Vec::new(),
            begun: None,
            ended: None,
            first_usage: usage,
            last_usage: usage,
            last_sample: now,
            first_sample: now,
            cpu_percent_max: 0.0,
            recent: Trend::default(),
            merged_intervals: 0,
            footprint: None,
        }
    }

    /// Notes a cause; the first text of each is kept.
    pub(super) fn cause(&mut self, cause: Cause, text: String) {
        if !self.causes.iter().any(|(known, _)| *known == cause) {
            self.causes.push((cause, text));
        }
    }

    /// What a plan says of arrivals of scenarios that never began: none of them was started. Of the
    /// closed model nothing is planned but what was started.
    pub(super) fn never_began(&mut self, recorder: &Recorder, now: Instant, shared: &Shared) {
        for (index, scenario) in shared.plan.scenarios.iter().enumerate() {
            let open = scenario.executor.is_open() && self.scenarios[index].start.is_none();
            let Some(arrivals) = planned(&shared.plan, index).filter(|_| open) else { continue };
            let counts = &mut self.counts[0][index];
            counts.planned += arrivals;
            counts.never_started += arrivals;
            let tags = TagSet {
                workload: shared.names.intern(&shared.plan.name),
                scenario: shared.names.intern(&scenario.name),
                ..TagSet::default()
            };
            recorder.add(Builtin::NeverStartedIterations.id(), tags, now, arrivals as f64);
        }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.begun = Some(now);
        // What setup used is not the load's.
        let usage = Usage::now();
        (self.first_usage, self.last_usage) = (usage, usage);
        (self.first_sample, self.last_sample) = (now, now);
    }

    /// The load has ended: what teardown and settling use is not the load's, nor does the time that
    /// they take dilute it.
    pub(super) fn end(&mut self, recorder: &Recorder, now: Instant, shared: &Shared) {
        self.sample_runner(recorder, now, shared);
        self.ended = Some(now);
    }

    pub(super) fn scenario_began(&mut self, scenario: usize, at: Instant) {
        self.scenarios[scenario].start = Some(at);
    }

    pub(super) fn scenario_ended(&mut self, scenario: usize, at: Instant) {
        let end = &mut self.scenarios[scenario].end;
        *end = Some(end.map_or(at, |end| end.max(at)));
    }

    /// A shard is gone: what it was running was cut off.
    pub(super) fn lost(&mut self, shard: usize) {
        self.counts[shard].iter_mut().for_each(Counts::settle);
        self.told[shard] = None;
    }

    pub(super) fn observe(&mut self, shard: usize, interval: &Interval) {
        self.counts[shard].clone_from(&interval.counts);
        if let Some(errors) = &interval.errors {
            self.errors[shard].clone_from(errors);
        }
        self.told[shard] = Some(interval.snapshot.to);
        let length = interval.snapshot.to.since(interval.snapshot.from);
        self.merged_intervals += u64::from(length > Duration::from_millis(1_900));
        for (key, _, cell) in &interval.snapshot.cells {
            let open = self.open.contains(&key.tags.scenario);
            let watched = key.metric == Builtin::IterationResponseTime.id()
                || (!open && key.metric == Builtin::IterationDuration.id());
            let counted = key.tags.phase == Phase::Main && key.tags.outcome != Outcome::Error;
            if let Cell::Trend(trend) = cell
                && watched
                && counted
            {
                self.recent.merge(trend);
            }
        }
    }

    /// Samples the runner itself and the number of VUs.
    pub(super) fn sample(&mut self, recorder: &Recorder, now: Instant, shared: &Shared) {
        if self.ended.is_some() {
            return;
        }
        if self.begun.is_some() {
            let (tags, total) = (TagSet::default(), self.total());
            recorder.gauge(Builtin::Vus.id(), tags, now, f64::from(total.running));
            recorder.gauge(Builtin::VusMax.id(), tags, now, f64::from(total.vus));
        }
        self.sample_runner(recorder, now, shared);
    }

    fn sample_runner(&mut self, recorder: &Recorder, now: Instant, shared: &Shared) {
        if shared.clock.is_virtual() {
            return;
        }
        let phase = if self.begun.is_some() { Phase::Main } else { Phase::Setup };
        let tags = TagSet { phase, ..TagSet::default() };
        let usage = Usage::now();
        recorder.gauge(Builtin::RunnerRssBytes.id(), tags, now, usage.rss_bytes as f64);
        let wall = now.since(self.last_sample).as_secs_f64();
        if wall >= SHORTEST {
            let percent = (usage.cpu_s - self.last_usage.cpu_s) / wall * 100.0;
            recorder.gauge(Builtin::RunnerCpuPercent.id(), tags, now, percent);
            self.cpu_percent_max = self.cpu_percent_max.max(percent);
        }
        (self.last_usage, self.last_sample) = (usage, now);
    }

    fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.counts.iter().flatten().for_each(|counts| total += *counts);
        total
    }

    /// How a scenario stands on all shards together, as last told.
    pub(super) fn of_scenario(&self, scenario: usize) -> Counts {
        let mut sum = Counts::default();
        self.counts.iter().for_each(|shard| sum += shard[scenario]);
        sum
    }

    /// How far the run is.
    /// Whether all shards have told of a time of which no progress was made yet.
    pub(super) fn has_progressed(&self) -> bool {
        let told = self.told.iter().flatten().min();
        self.begun.zip(told).is_some_and(|(begun, told)| {
            told.since(self.progressed.max(begun)) >= SHORTEST_PROGRESS
        })
    }

    /// Until when what is told of the load is: what it counts was not counted later, and a rate over a
    /// later time would be none of anything. Shards tell at moments that are a little apart.
    fn told_until(&self) -> Instant {
        let told = || self.told.iter().flatten().map(|told| u128::from(told.as_nanos()));
        let mean = told().sum::<u128>() / (told().count().max(1) as u128);
        let mean = Instant::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX));
        self.ended.map_or(mean, |ended| mean.min(ended))
    }

    pub(super) fn progress(&mut self, shared: &Shared) -> Progress {
        let now = self.told_until();
        self.progressed = self.told.iter().flatten().min().copied().unwrap_or(now);
        let begun = self.begun.unwrap_or(now);
        let total = self.total();
        let recent = Cell::Trend(Box::new(std::mem::take(&mut self.recent)));
        let p95 = Samples::of(&recent).figure(Aggregate::Percentile(95.0), 1.0, 0.0);
        let scenarios = shared.plan.scenarios.iter().enumerate().map(|(index, scenario)| {
            let counts = self.of_scenario(index);
            let window = self.scenarios[index];
            let elapsed = window.start.map_or(Duration::ZERO, |start| now.since(start));
            let planned = planned(&shared.plan, index);
            let share = match (window.end, planned) {
                (Some(_), _) => 1.0,
                (None, Some(planned)) if !scenario.executor.is_open() => {
                    counts.completed as f64 / planned.max(1) as f64
                }
                _ => elapsed.as_secs_f64() / scenario.executor.duration().as_secs_f64().max(1e-9),
            };
            ScenarioProgress {
                name: scenario.name.clone(),
                executor: scenario.executor.name(),
                vus: (counts.running, counts.vus),
                started: counts.started,
                planned,
                share: share.min(1.0),
                stage: stage(scenario, elapsed),
                backlog: shared.scenarios[index].waiting() as u64,
            }
        });
        Progress {
            elapsed: now.since(begun),
            planned: planned_duration(&shared.plan),
            scenarios: scenarios.collect(),
            iterations: total.completed,
            errors: total.errors,
            p95: p95.map(|p95| Duration::from_nanos(p95.low as u64)),
            p95_at_least: p95.is_some_and(|p95| p95.high > p95.low),
        }
    }

    /// Iteration errors so far.
    pub(super) fn errors(&self) -> ErrorTally {
        let mut all = ErrorTally::default();
        self.errors.iter().for_each(|errors| all.merge(errors));
        all
    }

    /// How many iteration errors there are so far.
    pub(super) fn count_errors(&self) -> u64 {
        self.errors.iter().map(ErrorTally::all).sum()
    }

    /// The facts of the run, if it ended now; errors, search and targets are told by others.
    pub(super) fn facts(&self, shared: &Shared) -> Facts {
        let now = shared.clock.now();
        let scenarios =
            (0..self.scenarios.len()).map(|index| self.scenario(shared, index, now)).collect();
        let runner = self.runner(shared);
        let duration =
            self.begun.map_or(Duration::ZERO, |begun| self.ended.unwrap_or(now).since(begun));
        let mut remarks = Vec::new();
        if self.merged_intervals > 0 {
            remarks.push(format!(
                "{} intervals were merged because the runner lagged: per-second figures are coarser \
                 there, none is lost",
                self.merged_intervals
            ));
        }
        let mut causes = self.causes.clone();
        causes.sort_by_key(|(cause, _)| *cause);
        Facts {
            duration,
            scenarios,
            search: None,
            runner,
            errors: Vec::new(),
            causes,
            remarks,
            targets: Vec::new(),
        }
    }

    /// The part of the run that an instant belongs to: its phase, and scenario and stage where one
    /// scenario alone was running.
    pub(super) fn place(&self, shared: &Shared, at: Instant) -> (Phase, Name, Name) {
        let phase = shared.load.phase(at);
        let runs = |window: &Window| {
            let started = window.start.is_some_and(|start| start <= at);
            started && window.end.is_none_or(|end| at < end)
        };
        let mut running = self.scenarios.iter().enumerate().filter(|(_, window)| runs(window));
        let (Some((index, window)), None) = (running.next(), running.next()) else {
            return (phase, Name::NONE, Name::NONE);
        };
        let scenario = &shared.plan.scenarios[index];
        let elapsed = window.start.map_or(Duration::ZERO, |start| at.since(start));
        let warms_up = phase == Phase::Main && elapsed < scenario.warmup;
        let phase = if warms_up { Phase::Warmup } else { phase };
        let stage = stage(scenario, elapsed).map_or(Name::NONE, |name| shared.names.intern(&name));
        (phase, shared.names.intern(&scenario.name), stage)
    }

    fn scenario(&self, shared: &Shared, index: usize, now: Instant) -> ScenarioFacts {
        let scenario = &shared.plan.scenarios[index];
        let counts = self.of_scenario(index);
        let window = self.scenarios[index];
        let duration_s =
            window.start.map_or(0.0, |start| window.end.unwrap_or(now).since(start).as_secs_f64());
        // Iterations that run into graceful_stop do not lower the rate that was achieved.
        let rate_s = duration_s.min(scenario.executor.duration().as_secs_f64());
        let executor_s = scenario.executor.duration().as_secs_f64();
        let asked = scenario.executor.is_open().then(|| planned(&shared.plan, index)).flatten();
        ScenarioFacts {
            name: scenario.name.clone(),
            executor: scenario.executor.name().to_owned(),
            open: scenario.executor.is_open(),
            planned: counts.planned,
            started: counts.started,
            completed: counts.completed,
            interrupted: counts.interrupted,
            dropped: counts.dropped,
            never_started: counts.never_started,
            errors: counts.errors,
            vus: counts.vus_used,
            vus_max: counts.vus,
            asked_rate: asked.filter(|_| executor_s > 0.0).map(|asked| asked as f64 / executor_s),
            achieved_rate: if rate_s > 0.0 { counts.started as f64 / rate_s } else { 0.0 },
            runner_short: counts.runner_short,
            duration_s,
        }
    }

    fn runner(&self, shared: &Shared) -> RunnerFacts {
        let wall = self.last_sample.since(self.first_sample).as_secs_f64();
        let (cpu_user_s, cpu_system_s) = self.last_usage.since(&self.first_usage);
        let cpu = cpu_user_s + cpu_system_s;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        RunnerFacts {
            cores: shared.shards.min(cores) as u32,
            cpu_percent: if wall > 0.0 { cpu / wall * 100.0 } else { 0.0 },
            cpu_percent_max: self.cpu_percent_max,
            cpu_user_s,
            cpu_system_s,
            rss_bytes: self.last_usage.rss_bytes,
            peak_rss_bytes: self.last_usage.peak_rss_bytes,
            empty_operation_ns: self.own_cost.empty_operation_ns,
            clock_read_ns: self.own_cost.clock_read_ns,
            cold_vus: self.total().cold_vus,
            rested_vus: self.total().rested_vus,
            events_dropped: shared.log.events_dropped(),
            log_lines_dropped: shared.log.lines_dropped(),
            journal_merged: 0,
            limits: health::near_limits(
                &shared.plan,
                shared.workload.room(),
                health::descriptors(),
                self.footprint,
            ),
        }
    }
}

/// Iterations that a scenario plans, where a number is known.
fn planned(plan: &Plan, scenario: usize) -> Option<u64> {
    let scenario = &plan.scenarios[scenario];
    match &scenario.executor {
        Executor::SharedIterations { iterations, .. } => Some(plan.segment.share(*iterations)),
        Executor::PerVuIterations { vus, iterations, .. } => {
            Some(plan.segment.share(u64::from(*vus)) * iterations)
        }
        Executor::ConstantVus { .. } | Executor::RampingVus { .. } => None,
        Executor::ConstantArrivalRate { .. } | Executor::RampingArrivalRate { .. } => {
            scenario.arrivals(plan.segment, plan.seed).map(|schedule| schedule.planned())
        }
    }
}

/// From the first scenario's start until the last iteration may start, as far as it is known.
fn planned_duration(plan: &Plan) -> Duration {
    let end = |scenario: &crate::plan::Scenario| match &scenario.start {
        crate::plan::Start::At(at) => *at + scenario.executor.duration(),
        crate::plan::Start::After(_) => scenario.executor.duration(),
    };
    plan.scenarios.iter().map(end).max().unwrap_or_default()
}

fn stage(scenario: &crate::plan::Scenario, elapsed: Duration) -> Option<String> {
    let ends = match &scenario.executor {
        Executor::RampingVus { stages, .. } => {
            stages.iter().map(|stage| stage.duration).collect::<Vec<_>>()
        }
        Executor::RampingArrivalRate { stages, .. } => {
            stages.iter().map(|stage| stage.duration).collect()
        }
        _ => return None,
    };
    let mut end = Duration::ZERO;
    let index = ends.iter().position(|duration| {
        end += *duration;
        elapsed < end
    });
    scenario.stage_names().get(index?).map(|name| (*name).to_owned())
}
