//! The search for the highest rate, as it goes on: probes that are told to the lanes, watched and judged.
//!
//! | state | ends when |
//! |---|---|
//! | idle | the next rate is known, or there is none |
//! | held | the probe's time is up |
//! | draining | nothing is left in the system; or its patience ends, and the rest is given up |
//! | told | every shard has handed over what it measured of the probe |
//!
//! A probe has a judge of its own, which sees its samples and nothing else. It passes if the scenario's
//! thresholds hold, if the system did not fill up while it lasted, and if it was soon empty again. Where the
//! runner may have been the reason that it does not, it shows nothing of the system.

use std::{sync::Arc, time::Duration};

use super::{Shared, facts::Ledger, health::Usage, shard::Interval};
use crate::{
    clock::Instant,
    executor::{Counts, Order, Probe},
    metric::{Builtin, Cell, Name, Selector, Snapshot},
    plan::{ArrivalSchedule, Plan, Search, Segment},
    verdict::{
        Cause, Facts, Judge, Judgement, Line, ProbeFacts, ProbeVerdict, RunnerFacts, ScenarioFacts,
        SearchFacts, answer, next_rate,
    },
};

/// From telling a probe to its first arrival.
const LEAD: Duration = Duration::from_millis(100);
/// How often the system is looked at while a probe lasts.
const LOOK: Duration = Duration::from_millis(50);
/// How often it is looked at while it drains.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// How long interrupted iterations and the shards' reports are waited for.
const LAST: Duration = Duration::from_secs(5);
/// The first part of a probe in which a queue may fill: what is in the system has to come in first.
const FILLING: f64 = 0.2;
/// A queue that grew by fewer than this did not grow.
const LEAST_GROWTH: f64 = 5.0;

/// A search under way.
pub(super) struct Hunt {
    /// Its place in the plan.
    pub(super) scenario: usize,
    plan: Arc<Plan>,
    search: Search,
    state: State,
    probes: Vec<ProbeFacts>,
    /// Arrivals of the probes so far.
    arrivals: u64,
    /// By shard: until when it has told.
    told: Vec<Instant>,
}

enum State {
    Idle,
    Held(Box<Current>),
    Draining(Box<Current>),
    Told(Box<Current>, Instant),
    Over,
}

/// The probe that is under way.
struct Current {
    rate: f64,
    level: Name,
    name: String,
    from: Instant,
    to: Instant,
    judge: Judge,
    before: Counts,
    usage: Usage,
    cpu_percent: f64,
    /// Seconds since its beginning, and how many were in the system.
    inside: Vec<(f64, f64)>,
    left: u64,
    drained: Option<Duration>,
    given_up: bool,
}

/// What the run is to do.
pub(super) struct Step {
    /// When the search wants to be asked again.
    pub(super) wake: Option<Instant>,
    /// Whether the shards are to hand over what they measured.
    pub(super) tell: bool,
}

impl Hunt {
    /// The search of a plan, if it has one.
    pub(super) fn of(plan: &Arc<Plan>, shards: usize) -> Option<Self> {
        let scenario = plan.scenarios.iter().position(|scenario| scenario.search().is_some())?;
        let search = plan.scenarios[scenario].search()?.clone();
        Some(Self {
            scenario,
            plan: Arc::clone(plan),
            search,
            state: State::Idle,
            probes: Vec::new(),
            arrivals: 0,
            told: vec![Instant::ZERO; shards],
        })
    }

    /// Takes what a shard measured.
    pub(super) fn observe(&mut self, shard: usize, interval: &Interval) {
        let snapshot = &interval.snapshot;
        if let Some(told) = self.told.get_mut(shard) {
            *told = snapshot.to.max(*told);
        }
        let (State::Held(current) | State::Draining(current) | State::Told(current, _)) =
            &mut self.state
        else {
            return;
        };
        // What bears no scenario is the runner's own.
        let is_of_it =
            |tags: &crate::metric::TagSet| tags.level == current.level || !tags.scenario.is_some();
        let cells = snapshot.cells.iter().filter(|(key, ..)| is_of_it(&key.tags)).cloned();
        current.judge.observe(&Snapshot { cells: cells.collect(), ..*snapshot });
    }

    /// Goes on as far as it can now. `alive`: which shards still answer.
    pub(super) fn step(&mut self, shared: &Shared, ledger: &Ledger, alive: &[bool]) -> Step {
        let now = shared.clock.now();
        let lanes = &shared.scenarios[self.scenario];
        match std::mem::replace(&mut self.state, State::Over) {
            State::Over => Step { wake: None, tell: false },
            State::Idle => self.begin(shared, ledger),
            State::Held(mut current) if now < current.to => {
                let at = now.since(current.from).as_secs_f64();
                if now >= current.from {
                    current.inside.push((at, lanes.inside() as f64));
                }
                let wake = (now + LOOK).min(current.to);
                self.state = State::Held(current);
                Step { wake: Some(wake), tell: false }
            }
            State::Held(mut current) => {
                current.left = lanes.inside();
                current.end(shared);
                self.state = State::Draining(current);
                Step { wake: Some(now), tell: false }
            }
            State::Draining(mut current) => {
                let over = current.to + self.search.patience();
                if lanes.inside() == 0 || now >= over + LAST {
                    let is_empty = lanes.inside() == 0 && !current.given_up;
                    current.drained = is_empty.then(|| now.since(current.to));
                    self.state = State::Told(current, now);
                    return Step { wake: Some(now + DRAIN_LOOK), tell: true };
                }
                if now >= over && !current.given_up {
                    current.given_up = true;
                    lanes.tell(&Order::GiveUp);
                }
                self.state = State::Draining(current);
                Step { wake: Some(now + DRAIN_LOOK), tell: false }
            }
            State::Told(current, asked) => {
                let missing =
                    self.told.iter().zip(alive).any(|(told, alive)| *alive && *told < asked);
                if missing && now.since(asked) < LAST {
                    self.state = State::Told(current, asked);
                    return Step { wake: Some(now + DRAIN_LOOK), tell: false };
                }
                let probe = self.conclude(*current, shared, ledger);
                self.probes.push(probe);
                self.state = State::Idle;
                Step { wake: Some(now), tell: false }
            }
        }
    }

    fn shown(&self) -> Vec<(f64, ProbeVerdict)> {
        self.probes.iter().map(|probe| (probe.asked, probe.verdict)).collect()
    }

    /// Begins the next probe, or ends the search.
    fn begin(&mut self, shared: &Shared, ledger: &Ledger) -> Step {
        let lanes = &shared.scenarios[self.scenario];
        let Some(rate) = next_rate(&self.search, &self.shown()) else {
            lanes.tell(&Order::End);
            return Step { wake: None, tell: false };
        };
        let before = self.probes.iter().filter(|probe| probe.asked == rate).count();
        let name = if before == 0 { format!("{rate}") } else { format!("{rate} #{}", before + 1) };
        let level = shared.names.intern(&name);
        let from = shared.clock.now() + LEAD;
        let length = self.search.probe;
        let index = self.probes.len();
        lanes.tell(&Order::Probe(Probe { index, level, rate, from, length, first: self.arrivals }));
        let scenario = &self.plan.scenarios[self.scenario];
        let executor = scenario.probing(&self.search, rate).executor;
        let seed = self.plan.seed.wrapping_add(index as u64);
        let schedule = ArrivalSchedule::new(&executor, Segment::default(), seed);
        self.arrivals += schedule.map_or(0, |schedule| schedule.planned());
        let plan = self.plan.of_probe(scenario, &self.search, rate);
        let shards = self.told.len();
        self.state = State::Held(Box::new(Current {
            rate,
            level,
            name,
            from,
            to: from + length,
            judge: Judge::new(Arc::new(plan), shared.names.clone(), shards),
            before: ledger.of_scenario(self.scenario),
            usage: Usage::now(),
            cpu_percent: 0.0,
            inside: Vec::new(),
            left: 0,
            drained: None,
            given_up: false,
        }));
        Step { wake: Some(from), tell: false }
    }

    fn conclude(&self, mut current: Current, shared: &Shared, ledger: &Ledger) -> ProbeFacts {
        let counts = ledger.of_scenario(self.scenario);
        let length = self.search.probe;
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(shared.shards);
        let scenario = of_probe(&self.plan.scenarios[self.scenario].name, &current.before, &counts);
        let runner = RunnerFacts {
            cores: cores as u32,
            cpu_percent: current.cpu_percent,
            ..RunnerFacts::default()
        };
        let short = scenario.runner_short.saturating_mul(100) > scenario.planned;
        let busy = current.cpu_percent >= 90.0 * cores as f64;
        let facts =
            Facts { duration: length, scenarios: vec![scenario], runner, ..Facts::default() };
        let judgement = current.judge.finish(current.from, &facts);
        let missed = missed(&judgement);
        let by_runner = short || busy || matches!(missed, Some((Cause::Invalid, _)));
        let reason = missed.map(|(_, why)| why).or_else(|| self.filled(&current));
        let verdict = match reason {
            None if !short => ProbeVerdict::Passed,
            _ if by_runner => ProbeVerdict::Runner,
            _ => ProbeVerdict::Failed,
        };
        let busy = busy
            .then(|| format!("the runner used {:.0} % of its {cores} cores", current.cpu_percent));
        let short = short.then(|| "the runner could not make the load".to_owned());
        let reasons: Vec<_> = reason.into_iter().chain(short).chain(busy).collect();
        let reason = (verdict != ProbeVerdict::Passed).then(|| reasons.join("; "));
        let ended = Builtin::IterationsEnded.id();
        let totals = current.judge.totals();
        let ended =
            totals.select(&self.plan.registry, &shared.names, ended, &of_level(&current.name));
        let ended = if let Cell::Counter(ended) = ended { ended } else { 0.0 };
        ProbeFacts {
            level: current.name,
            asked: current.rate,
            achieved: ended / length.as_secs_f64(),
            verdict,
            reason,
            left: current.left,
            drained_s: current.drained.map(|time| time.as_secs_f64()),
            runner_cpu_percent: current.cpu_percent,
            thresholds: judgement.thresholds,
        }
    }

    /// Why the system was not as empty as it should be, if it was not.
    fn filled(&self, current: &Current) -> Option<String> {
        let length = self.search.probe.as_secs_f64();
        let arrivals = current.rate * length;
        let settled: Vec<_> =
            current.inside.iter().filter(|(at, _)| *at >= FILLING * length).copied().collect();
        let growth = Line::fit(&settled).map_or(0.0, |line| line.slope) * length;
        let allowed = (self.search.precision / 4.0 * arrivals).max(LEAST_GROWTH);
        if growth > allowed {
            return Some(format!(
                "backlog: what was in the system grew by {growth:.0} in {arrivals:.0} arrivals"
            ));
        }
        match current.drained {
            None => Some(format!(
                "backlog: the system was not empty {:.0} s after the probe, the rest was given up",
                self.search.patience().as_secs_f64()
            )),
            Some(time) if time > self.search.drain => Some(format!(
                "backlog: the system took {:.1} s to be empty, and {:.1} s are allowed",
                time.as_secs_f64(),
                self.search.drain.as_secs_f64()
            )),
            Some(_) => None,
        }
    }

    /// What it found.
    pub(super) fn facts(&self) -> SearchFacts {
        let (search, name) = (&self.search, &self.plan.scenarios[self.scenario].name);
        let mut facts = answer(name, search, self.probes.clone());
        let arrivals = facts.max_rate.unwrap_or(0.0) * search.probe.as_secs_f64();
        let share = LEAST_GROWTH / arrivals;
        if facts.max_rate.is_some() && share > search.precision {
            facts.remarks.push(format!(
                "a probe has {arrivals:.0} arrivals: a rate that is {:.0} % too high may pass; longer probes \
                 see more",
                share * 100.0
            ));
        }
        facts
    }
}

impl Current {
    /// The probe's time is up: what the runner used in it.
    fn end(&mut self, shared: &Shared) {
        if shared.clock.is_virtual() {
            return;
        }
        let usage = Usage::now();
        let wall = shared.clock.now().since(self.from).as_secs_f64() + LEAD.as_secs_f64();
        self.cpu_percent = (usage.cpu_s - self.usage.cpu_s) / wall * 100.0;
    }
}

/// The first cause of a judgement, the runner's before the system's.
fn missed(judgement: &Judgement) -> Option<(Cause, String)> {
    let cause = judgement.causes.first()?;
    Some((*cause, judgement.reasons.first().cloned().unwrap_or_default()))
}

fn of_level(level: &str) -> Selector {
    Selector([("level".to_owned(), level.to_owned())].into())
}

fn of_probe(name: &str, before: &Counts, after: &Counts) -> ScenarioFacts {
    let since = |of: fn(&Counts) -> u64| of(after).saturating_sub(of(before));
    ScenarioFacts {
        name: name.to_owned(),
        open: true,
        planned: since(|counts| counts.planned),
        started: since(|counts| counts.started),
        completed: since(|counts| counts.completed),
        interrupted: since(|counts| counts.interrupted),
        dropped: since(|counts| counts.dropped),
        never_started: since(|counts| counts.never_started),
        errors: since(|counts| counts.errors),
        runner_short: since(|counts| counts.runner_short),
        ..ScenarioFacts::default()
    }
}
