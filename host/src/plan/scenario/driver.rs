//! What drives a scenario beside its executor: levels of load one after the other, or a search for the
//! highest rate.
//!
//! Levels are written in place of the rate (or the number of VUs) and become ordinary stages, four for
//! each: a jump to the level, the level, a jump to nothing, and a drain in which the system empties. A
//! search is written in place of rate and duration; its probes are told to the executor while it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Arrival, Executor, RateStage, Start, VuStage,
    read::{arrival, at, at_least_one, pace, peak, positive, required_duration},
};
use crate::{
    diagnostic::Diagnostic,
    plan::{Scenario, section::Section},
};

/// Levels below which no law of scaling is fitted.
const LEAST_LEVELS: usize = 3;
/// Levels of one scenario.
const MOST_LEVELS: usize = 100;
/// The least that a level may take: its figures are of whole seconds, and the first is left out.
pub(in crate::plan) const SHORTEST_LEVEL: Duration = Duration::from_secs(4);
/// Between two levels, unless it is written.
const DRAIN: Duration = Duration::from_secs(2);
/// The least that a probe may take.
const SHORTEST_PROBE: Duration = Duration::from_secs(1);
/// Stages of one level.
const PARTS: usize = 4;

/// What drives a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Levels of load.
    Levels(Levels),
    /// The search for the highest rate.
    Search(Search),
}

/// The search for the highest rate that a system keeps its thresholds at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// The first rate, per second; the lowest that is looked at.
    pub from: f64,
    /// The highest that is looked at, per second.
    pub to: f64,
    /// How long each rate is held.
    pub probe: Duration,
    /// The ends of the answer differ by this share at the most.
    pub precision: f64,
    /// How long the system may take to be empty after a probe that passes.
    pub drain: Duration,
    /// What is expected of the system, per second.
    pub expected: Option<f64>,
}

/// Probes of one search.
pub const MOST_PROBES: u32 = 40;
/// Beyond what a probe may take to drain, what is waited for its rest before it is given up.
const PATIENCE: Duration = Duration::from_secs(5);

impl Search {
    /// How long what a probe left is waited for before it is given up: what doubling a rate that
    /// just passed leaves takes as long again.
    pub fn patience(&self) -> Duration {
        self.probe * 2 + self.drain + PATIENCE
    }

    /// The longest that the search may take.
    fn longest(&self) -> Duration {
        (self.probe + self.patience()) * MOST_PROBES
    }
}

/// Levels of load, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    /// The levels, in order.
    pub levels: Vec<Level>,
    /// What is expected of the system, in the unit of the levels: headroom is counted against it.
    pub expected: Option<f64>,
}

/// A level of load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// The value of the tag `level`, as the level was written.
    pub name: String,
    /// Iterations per second, or VUs.
    pub asked: f64,
}

/// When a level is under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelTime<'a> {
    /// Which one.
    pub level: &'a Level,
    /// From the start of the first scenario.
    pub from: Duration,
    /// From the start of the first scenario.
    pub to: Duration,
}

impl Driver {
    /// Shortens the probes of a search; how long it may take then.
    pub(in crate::plan) fn quicken(&mut self, scale: f64) -> Option<Duration> {
        let Self::Search(search) = self else { return None };
        search.probe = search.probe.mul_f64(scale).max(SHORTEST_PROBE);
        Some(search.longest())
    }

    /// What a stage, by its index, takes at the least in a quick run.
    pub(in crate::plan) fn lengthen(&self, stage: usize, length: &mut Duration) {
        let Self::Levels(_) = self else { return };
        let least = match stage % PARTS {
            1 => SHORTEST_LEVEL,
            3 => Duration::from_secs(1),
            _ => return,
        };
        if !length.is_zero() {
            *length = Duration::from_secs(length.as_secs() + u64::from(length.subsec_nanos() > 0));
            *length = least.max(*length);
        }
    }
}

impl Scenario {
    /// Its levels, if it has any.
    pub fn levels(&self) -> Option<&Levels> {
        match &self.driver {
            Some(Driver::Levels(levels)) => Some(levels),
            _ => None,
        }
    }

    /// Its search, if it is one.
    pub fn search(&self) -> Option<&Search> {
        match &self.driver {
            Some(Driver::Search(search)) => Some(search),
            _ => None,
        }
    }

    /// As it is while one rate is probed.
    #[must_use]
    pub fn probing(&self, search: &Search, rate: f64) -> Self {
        let mut probing = self.clone();
        if let Executor::ConstantArrivalRate { rate: own, duration, .. } = &mut probing.executor {
            (*own, *duration) = (rate, search.probe);
        }
        probing.driver = None;
        probing.start = Start::At(Duration::ZERO);
        probing
    }

    /// The level that a stage, by its index, belongs to; none in a drain.
    pub fn level_of(&self, stage: usize) -> Option<&Level> {
        let level = self.levels()?.levels.get(stage / PARTS);
        level.filter(|_| stage % PARTS < 2)
    }

    /// When its levels are under way.
    pub fn level_times(&self) -> Vec<LevelTime<'_>> {
        let times = self.stage_times();
        let levels = self.levels().map_or(&[][..], |levels| &levels.levels).iter().enumerate();
        let time = |(index, level): (usize, _)| {
            let (from, to) = *times.get(index * PARTS + 1)?;
            Some(LevelTime { level, from, to })
        };
        levels.filter_map(time).collect()
    }
}

/// Reads `levels` in place of `rate` or `vus`, with the executor that they become.
pub(super) fn levels(
    section: &Section<'_>,
    open: bool,
    start: &Start,
) -> Result<(Levels, Shape), Diagnostic> {
    let item = at(section, "levels");
    let instead = if open { "rate" } else { "vus" };
    if let Some(other) = section.get(instead) {
        return Err(other
            .error(format!("`{instead}` and `levels` exclude each other"))
            .help("the levels say how much: leave the other out"));
    }
    if let Start::After(_) = start {
        return Err(item
            .error("levels start at a time of their own, not after another scenario")
            .help("use `start_time`"));
    }
    let time_unit = positive(section, "time_unit")?.unwrap_or(Duration::from_secs(1));
    let mut levels: Vec<Level> = Vec::new();
    for item in item.array()? {
        let written = if open { item.number()? } else { f64::from(item.whole_u32()?) };
        let asked = if open { peak(&item, written, time_unit)? } else { written };
        if levels.last().map_or(0.0, |last| last.asked) >= asked {
            return Err(item
                .error(format!("the level {written} is not above the one before"))
                .help("levels rise, from above 0"));
        }
        levels.push(Level { name: format!("{written}"), asked });
    }
    if !(LEAST_LEVELS..=MOST_LEVELS).contains(&levels.len()) {
        return Err(item
            .error(format!("{} levels", levels.len()))
            .help(format!("how it scales is seen from {LEAST_LEVELS} to {MOST_LEVELS} levels")));
    }
    let length = required_duration(section)?;
    if length < SHORTEST_LEVEL {
        return Err(at(section, "duration")
            .error(format!("a level of {length:?} is too short to tell its throughput"))
            .help("a level takes 4 s or more: its figures are of whole seconds"));
    }
    let shape = Shape { length, drain: section.duration("drain")?.unwrap_or(DRAIN), time_unit };
    let expected = positive_number(section, "expected")?;
    Ok((Levels { levels, expected }, shape))
}

/// How long levels take.
pub(super) struct Shape {
    length: Duration,
    drain: Duration,
    pub(super) time_unit: Duration,
}

impl Levels {
    /// The highest.
    pub(super) fn peak(&self) -> f64 {
        self.levels.last().map_or(0.0, |level| level.asked)
    }

    /// As stages of arrivals.
    pub(super) fn arrivals(&self, shape: &Shape, arrival: Arrival) -> Executor {
        let unit = shape.time_unit.as_secs_f64();
        let stages = self.stages(shape, |duration, level, name| RateStage {
            duration,
            target: level * unit,
            name,
        });
        Executor::RampingArrivalRate {
            start_rate: 0.0,
            time_unit: shape.time_unit,
            stages,
            arrival,
        }
    }

    /// As stages of VUs.
    pub(super) fn vus(&self, section: &Section<'_>, shape: &Shape) -> Result<Executor, Diagnostic> {
        let stages = self.stages(shape, |duration, level, name| VuStage {
            duration,
            target: level as u32,
            name,
        });
        let pace = pace(section)?;
        Ok(Executor::RampingVus { start_vus: 0, stages, graceful_ramp_down: shape.drain, pace })
    }

    fn stages<T>(&self, shape: &Shape, stage: impl Fn(Duration, f64, String) -> T) -> Vec<T> {
        let mut stages = Vec::with_capacity(self.levels.len() * PARTS);
        for level in &self.levels {
            let drain = format!("{} drain", level.name);
            stages.push(stage(Duration::ZERO, level.asked, level.name.clone()));
            stages.push(stage(shape.length, level.asked, level.name.clone()));
            stages.push(stage(Duration::ZERO, 0.0, drain.clone()));
            stages.push(stage(shape.drain, 0.0, drain));
        }
        stages
    }
}

/// Reads `search` in place of rate and duration.
pub(super) fn search(section: &Section<'_>) -> Result<(Search, Executor, bool), Diagnostic> {
    for key in ["rate", "duration", "time_unit", "levels", "drain", "expected", "warmup"] {
        if let Some(item) = section.get(key) {
            return Err(item
                .error(format!("`{key}` and `search` exclude each other"))
                .help("the search says how much and how long: leave the other out"));
        }
    }
    let item = at(section, "search");
    let keys = ["from", "to", "probe", "precision", "drain", "expected"];
    let inside = item.section("a search", &keys)?;
    let rate = |key: &str, example: &str| -> Result<f64, Diagnostic> {
        let item = inside.require(key, example)?;
        match positive_number(&inside, key)? {
            Some(rate) => peak(&item, rate, Duration::from_secs(1)),
            None => Err(item.error("it has to be above 0").help(format!("as in {example}"))),
        }
    };
    let (from, to) = (rate("from", "100")?, rate("to", "100000")?);
    if to < from {
        return Err(at(&inside, "to")
            .error(format!("{to}/s is below {from}/s, where the search begins"))
            .help("raise `to` or lower `from`"));
    }
    let probe = inside.require("probe", "\"5s\"")?.duration()?;
    if probe < SHORTEST_PROBE {
        return Err(at(&inside, "probe")
            .error(format!("a probe of {probe:?} is too short to see a queue grow"))
            .help("a probe takes 1 s or more"));
    }
    let precision = positive_number(&inside, "precision")?.unwrap_or(0.05);
    if !(0.005..=1.0).contains(&precision) {
        return Err(at(&inside, "precision")
            .error(format!("{precision} is not a precision that probes can show"))
            .help("from 0.005 to 1; 0.05 is five percent"));
    }
    let drain = positive(&inside, "drain")?.unwrap_or((probe / 5).max(Duration::from_secs(1)));
    let expected = positive_number(&inside, "expected")?;
    let search = Search { from, to, probe, precision, drain, expected };
    if search.longest() > crate::plan::quantity::LONGEST {
        return Err(item.error("the search may take longer than 366 days").help("shorten `probe`"));
    }
    let (arrival, open) = arrival(section, from)?;
    let (time_unit, duration) = (Duration::from_secs(1), search.longest());
    Ok((search, Executor::ConstantArrivalRate { rate: from, time_unit, duration, arrival }, open))
}

/// A number above 0, if it is written.
pub(super) fn positive_number(section: &Section<'_>, key: &str) -> Result<Option<f64>, Diagnostic> {
    let number = section.number(key)?;
    if number == Some(0.0) {
        return Err(at(section, key).error("it has to be above 0").help("or leave it out"));
    }
    Ok(number)
}

/// VUs of a closed scenario without levels.
pub(super) fn vus(section: &Section<'_>) -> Result<u32, Diagnostic> {
    Ok(at_least_one(section, "vus")?.unwrap_or(1))
}
