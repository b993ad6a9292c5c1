//! What a plan will do, computed from it: for `--dry-run`. The text is the report's part.

use std::time::Duration;

use serde::Serialize;

use super::{Executor, MOST_PROBES, Plan, Scenario, Segment, Start};
use crate::clock::Instant;

/// How many points of a scenario's course are shown, beside those where stages meet.
const POINTS: u64 = 8;

/// What a plan will do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// From the first scenario's start until the last may still be stopping; `None` if a scenario
    /// waits for one whose end is not known.
    pub longest: Duration,
    /// Each scenario, in the plan's order.
    pub scenarios: Vec<ScenarioForecast>,
}

/// What a scenario will do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioForecast {
    /// Its name.
    pub name: String,
    /// Its executor.
    pub executor: &'static str,
    /// When it starts at the latest: a scenario that waits for another starts when that one ends,
    /// which may be earlier.
    pub start: Duration,
    /// The scenario that it waits for.
    pub after: Option<String>,
    /// From its start until no further iteration starts; of the executors that end with their
    /// iterations, the most.
    pub duration: Duration,
    /// Iterations, where the plan knows them: arrivals, or a number that was asked for.
    pub planned: Option<u64>,
    /// VUs at the start of an arrival-rate executor.
    pub pre_allocated_vus: Option<u32>,
    /// VUs at the most.
    pub max_vus: u32,
    /// Arrivals per second on average and at the most; `None` in the closed model.
    pub rate: Option<MeanAndPeak>,
    /// Little's law: an iteration may take this long on average before `max_vus` VUs are too few for
    /// the highest rate; `None` in the closed model.
    pub longest_iteration: Option<Duration>,
    /// What drives it beside its executor, in words.
    pub driver: Option<String>,
    /// Its course.
    pub course: Vec<Point>,
}

/// Arrivals per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeanAndPeak {
    /// On average.
    pub mean: f64,
    /// At the most.
    pub peak: f64,
}

/// A point of a scenario's course.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Since the scenario's start.
    pub at: Duration,
    /// The stage that begins or goes on here; empty without stages.
    pub stage: String,
    /// VUs, of the closed model.
    pub vus: Option<u32>,
    /// Arrivals per second, of the open model.
    pub rate: Option<f64>,
}

impl Plan {
    /// What this plan will do, all segments together.
    pub fn forecast(&self) -> Forecast {
        let scenarios: Vec<_> =
            self.scenarios.iter().map(|scenario| self.forecast_of(scenario)).collect();
        let ends = self.scenarios.iter().zip(&scenarios);
        let ends = ends.map(|(plan, it)| it.start + it.duration + plan.graceful_stop);
        Forecast { longest: ends.max().unwrap_or_default(), scenarios }
    }

    fn forecast_of(&self, scenario: &Scenario) -> ScenarioForecast {
        let executor = &scenario.executor;
        let duration = executor.duration();
        let arrivals = scenario.arrivals(Segment::default(), self.seed);
        let planned = match (&arrivals, executor) {
            (Some(arrivals), _) => Some(arrivals.planned()),
            (None, Executor::SharedIterations { iterations, .. }) => Some(*iterations),
            (None, Executor::PerVuIterations { vus, iterations, .. }) => {
                Some(iterations.saturating_mul(u64::from(*vus)))
            }
            _ => None,
        };
        let rate = arrivals.as_ref().map(|_| MeanAndPeak {
            mean: planned.unwrap_or(0) as f64 / duration.as_secs_f64(),
            peak: executor.peak_rate(),
        });
        let max_vus = executor.max_vus();
        let longest_iteration =
            rate.and_then(|rate| Duration::try_from_secs_f64(f64::from(max_vus) / rate.peak).ok());
        ScenarioForecast {
            name: scenario.name.clone(),
            executor: executor.name(),
            start: self.latest_start(scenario, self.scenarios.len()),
            after: match &scenario.start {
                Start::After(name) => Some(name.clone()),
                Start::At(_) => None,
            },
            duration,
            planned,
            pre_allocated_vus: match executor {
                Executor::ConstantArrivalRate { arrival, .. }
                | Executor::RampingArrivalRate { arrival, .. } => Some(arrival.pre_allocated_vus),
                _ => None,
            },
            max_vus,
            rate,
            longest_iteration,
            driver: driver(scenario),
            course: course(scenario),
        }
    }

    /// When a scenario starts at the latest. `chain` bounds the scenarios that wait for each other; a
    /// valid plan has no circle.
    fn latest_start(&self, scenario: &Scenario, chain: usize) -> Duration {
        match &scenario.start {
            Start::At(at) => *at,
            Start::After(name) => {
                let before = self.scenarios.iter().find(|scenario| scenario.name == *name);
                before.filter(|_| chain > 0).map_or(Duration::ZERO, |before| {
                    self.latest_start(before, chain - 1)
                        + before.executor.duration()
                        + before.graceful_stop
                })
            }
        }
    }
}

impl Executor {
    /// The highest rate, in arrivals per second; 0 in the closed model.
    pub fn peak_rate(&self) -> f64 {
        match self {
            Self::ConstantArrivalRate { rate, time_unit, .. } => rate / time_unit.as_secs_f64(),
            Self::RampingArrivalRate { start_rate, time_unit, stages, .. } => {
                // A rate that is left at once, by a jump, is never there.
                let first = stages.first().is_some_and(|stage| stage.duration.is_zero());
                let start = if first { 0.0 } else { *start_rate };
                let highest = stages.iter().map(|stage| stage.target).fold(start, f64::max);
                highest / time_unit.as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

fn driver(scenario: &Scenario) -> Option<String> {
    if let Some(search) = scenario.search() {
        return Some(format!(
            "a search from {}/s to {}/s: probes of {:?}, until what passes and what fails differ by {} % \
             and both stood twice, {MOST_PROBES} probes at the most",
            search.from,
            search.to,
            search.probe,
            search.precision * 100.0
        ));
    }
    let levels = scenario.levels()?;
    let unit = if scenario.executor.is_open() { "/s" } else { " VUs" };
    let length =
        scenario.level_times().first().map_or(Duration::ZERO, |it| it.to.saturating_sub(it.from));
    let names: Vec<_> = levels.levels.iter().map(|level| level.asked.to_string()).collect();
    Some(format!(
        "levels {}{unit}, {length:?} each with a drain behind it; the law of scaling is fitted to them",
        names.join(", ")
    ))
}

fn course(scenario: &Scenario) -> Vec<Point> {
    if scenario.search().is_some() {
        // Each probe follows from what the one before showed.
        return Vec::new();
    }
    let (segment, nanos) = (Segment::default(), scenario.executor.duration().as_nanos() as u64);
    let arrivals = scenario.arrivals(segment, 0);
    let vus = scenario.vus(segment);
    let stages = scenario.stage_names();
    let ends: Vec<Duration> = match &scenario.executor {
        Executor::RampingVus { stages, .. } => stages.iter().map(|it| it.duration).collect(),
        Executor::RampingArrivalRate { stages, .. } => {
            stages.iter().map(|it| it.duration).collect()
        }
        _ => Vec::new(),
    };
    let mut times: Vec<u64> = (0..POINTS).map(|point| nanos / POINTS * point).collect();
    times.extend(ends.iter().scan(0, |at, length| {
        *at += length.as_nanos() as u64;
        Some(*at)
    }));
    times.push(nanos.saturating_sub(1));
    times.retain(|at| *at < nanos);
    times.sort_unstable();
    times.dedup();
    let point = |nanos: u64| {
        let at = Instant::from_nanos(nanos);
        let stage = arrivals.as_ref().map(|it| it.stage_at(at));
        let stage = stage.or_else(|| vus.as_ref().map(|it| it.stage_at(at))).unwrap_or(0);
        Point {
            at: Duration::from_nanos(nanos),
            stage: stages.get(stage).map_or_else(String::new, ToString::to_string),
            vus: vus.as_ref().map(|vus| vus.vus_at(at)),
            rate: arrivals.as_ref().map(|arrivals| arrivals.rate_at(at)),
        }
    };
    times.into_iter().map(point).collect()
}
