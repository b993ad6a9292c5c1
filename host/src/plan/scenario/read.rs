//! A scenario from what was typed: the table of executors of SEMANTICS §1.
//!
//! VUs of the arrival-rate executors, when not given: `pre_allocated_vus` is the peak rate per second
//! rounded up, but no more than 50, to begin with: what Little's law asks is known from the first second
//! on, and the executor makes VUs ahead of it. `max_vus` is decided by [`super::super::Plan::build`],
//! which sees all scenarios, and lowered to what the machine allows by [`super::super::Plan::fit`].

use std::time::Duration;

use super::{
    Arrival, ConnectionSharing, Driver, Executor, GeneratorLimited, OnLate, Pacing, RateStage,
    Scenario, Start, VuStage,
    driver::{self, levels},
};
use crate::{
    diagnostic::Diagnostic,
    plan::{
        quantity::{LONGEST, shown},
        section::{Item, Section, listed, suggestion},
    },
};

/// The highest rate, per second, that a plan may ask for: far beyond what one run can release.
pub(in crate::plan) const HIGHEST_RATE: f64 = 1e7;
/// `pre_allocated_vus` when not given is at most this.
const PRE_ALLOCATED: f64 = 50.0;
pub(in crate::plan) const MAX_BACKLOG: u64 = 100_000;
/// Poisson arrivals of a scenario: they are one sequence, so that to know how many there are is to
/// draw them all, a second or so for this many.
const MOST_POISSON: f64 = 1e8;
const MINUTE: Duration = Duration::from_secs(60);

const COMMON: &[&str] = &[
    "executor",
    "start_time",
    "start_after",
    "graceful_stop",
    "exec",
    "env",
    "tags",
    "warmup",
    "iteration_timeout",
    "cpu_timeout",
    "connection",
    "generator_limited",
];

/// The executors and what each has beyond [`COMMON`].
const EXECUTORS: &[(&str, &[&str])] = &[
    ("shared-iterations", &["vus", "iterations", "max_duration"]),
    ("per-vu-iterations", &["vus", "iterations", "max_duration", "pace"]),
    ("constant-vus", &["vus", "duration", "pace", "levels", "drain", "expected"]),
    ("ramping-vus", &["start_vus", "stages", "graceful_ramp_down", "pace"]),
    (
        "constant-arrival-rate",
        &["rate", "time_unit", "duration", "levels", "drain", "expected", "search", ARRIVAL],
    ),
    ("ramping-arrival-rate", &["start_rate", "time_unit", "stages", ARRIVAL]),
];
/// Stands for [`ARRIVALS`] in the table.
const ARRIVAL: &str = "(arrival)";
const ARRIVALS: &[&str] =
    &["pre_allocated_vus", "max_vus", "arrival", "on_late", "max_backlog", "pacing"];

/// A scenario as far as it can be known without the others.
#[derive(Clone, Debug)]
pub(in crate::plan) struct Draft {
    pub(in crate::plan) scenario: Scenario,
    /// Whether `max_vus` still has to be chosen.
    pub(in crate::plan) max_vus_open: bool,
    /// Whether `pre_allocated_vus` was written, or follows from what was.
    pub(in crate::plan) pre_allocated_given: bool,
    /// Whether `exec` was written.
    pub(in crate::plan) exec_given: bool,
}

/// Reads one entry of `scenarios`.
pub(in crate::plan) fn read(name: &str, item: &Item<'_>) -> Result<Draft, Diagnostic> {
    if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c)) {
        return Err(item
            .error(format!("`{}` cannot be a scenario's name", shown(name)))
            .help("use letters, digits, `_` and `-`"));
    }
    let section = section(item)?;
    let start = start(&section)?;
    let (executor, max_vus_open, driver) = executor(&section, &start)?;
    if let Executor::ConstantArrivalRate { arrival, .. }
    | Executor::RampingArrivalRate { arrival, .. } = &executor
        && arrival.pacing == Pacing::Poisson
        && executor.peak_rate() * executor.duration().as_secs_f64() > MOST_POISSON
    {
        return Err(at(&section, "arrival")
            .error("more than 100 000 000 Poisson arrivals are possible in this scenario")
            .help("shorten it, lower the rate, or use `arrival: \"uniform\"`"));
    }
    let warmup = section.duration("warmup")?.unwrap_or_default();
    if !warmup.is_zero() && warmup >= executor.duration() {
        let item = section.get("warmup").unwrap_or_else(|| section.whole());
        return Err(item
            .error("the warm-up is as long as the scenario: nothing would be measured")
            .help("make the scenario longer or the warm-up shorter"));
    }
    let scenario = Scenario {
        name: name.to_owned(),
        start,
        graceful_stop: section.duration("graceful_stop")?.unwrap_or(MINUTE / 2),
        exec: section.string("exec")?.unwrap_or("iteration").to_owned(),
        env: section.get("env").map(|env| env.labels()).transpose()?.unwrap_or_default(),
        tags: section.get("tags").map(|tags| tags.labels()).transpose()?.unwrap_or_default(),
        warmup,
        iteration_timeout: positive(&section, "iteration_timeout")?.unwrap_or(10 * MINUTE),
        cpu_timeout: positive(&section, "cpu_timeout")?.unwrap_or(Duration::from_secs(5)),
        connection: section.choice(
            "connection",
            &[("shard", ConnectionSharing::Shard), ("vu", ConnectionSharing::Vu)],
        )?,
        generator_limited: section.choice(
            "generator_limited",
            &[("invalid", GeneratorLimited::Invalid), ("report", GeneratorLimited::Report)],
        )?,
        executor,
        driver,
    };
    Ok(Draft {
        scenario,
        max_vus_open,
        pre_allocated_given: section.get("pre_allocated_vus").is_some(),
        exec_given: section.get("exec").is_some(),
    })
}

/// Chooses the executor's set of keys; a key of another executor is told apart from a misspelt one.
fn section<'a>(item: &Item<'a>) -> Result<Section<'a>, Diagnostic> {
    let names: Vec<_> = EXECUTORS.iter().map(|(name, _)| *name).collect();
    let Some(written) = item.map()?.get("executor").filter(|value| !value.is_null()) else {
        return Err(item
            .error("`executor` is missing")
            .help(format!("add `executor:` with one of {}", listed(&names))));
    };
    let written = item.child("executor", written);
    let name = written.string()?;
    let Some((name, _)) = EXECUTORS.iter().find(|(known, _)| *known == name) else {
        return Err(written
            .error(format!("`{}` is not an executor", shown(name)))
            .help(suggestion(name, &names)));
    };
    let known = keys(name);
    for (key, value) in item.map()? {
        let others: Vec<_> =
            names.iter().copied().filter(|other| keys(other).contains(&key.as_str())).collect();
        if !known.contains(&key.as_str()) && !others.is_empty() {
            return Err(item
                .child(key, value)
                .error(format!("`{key}` is not an option of the executor `{name}`"))
                .help(format!("it belongs to {}", listed(&others))));
        }
    }
    item.section(&format!("the executor `{name}`"), &known)
}

fn keys(executor: &str) -> Vec<&'static str> {
    let own = EXECUTORS.iter().find(|(name, _)| *name == executor).map_or(&[][..], |(_, own)| own);
    let arrivals = if own.contains(&ARRIVAL) { ARRIVALS } else { &[] };
    let own = own.iter().filter(|key| **key != ARRIVAL);
    COMMON.iter().chain(own).chain(arrivals).copied().collect()
}

fn start(section: &Section<'_>) -> Result<Start, Diagnostic> {
    match (section.duration("start_time")?, section.get("start_after")) {
        (None, None) => Ok(Start::At(Duration::ZERO)),
        (Some(at), None) => Ok(Start::At(at)),
        (None, Some(after)) => Ok(Start::After(after.string()?.to_owned())),
        (Some(_), Some(after)) => {
            Err(after.error("`start_time` and `start_after` exclude each other").help("keep one"))
        }
    }
}

/// The executor, whether its `max_vus` is still to be chosen, and what drives it beside.
fn executor(
    section: &Section<'_>,
    start: &Start,
) -> Result<(Executor, bool, Option<Driver>), Diagnostic> {
    let name = section.string("executor")?.unwrap_or_default();
    if section.get("search").is_some() {
        let (search, executor, open) = driver::search(section)?;
        return Ok((executor, open, Some(Driver::Search(search))));
    }
    if section.get("levels").is_none() {
        for key in ["drain", "expected"] {
            if let Some(item) = section.get(key) {
                return Err(item
                    .error(format!("`{key}` is of `levels`, and there are none"))
                    .help("add `levels: [10, 20, 50]`, or leave it out"));
            }
        }
        return plain(section, name).map(|(executor, open)| (executor, open, None));
    }
    let is_open = name == "constant-arrival-rate";
    let (levels, shape) = levels(section, is_open, start)?;
    let (executor, open) = if is_open {
        let (arrival, open) = arrival(section, levels.peak())?;
        (levels.arrivals(&shape, arrival), open)
    } else {
        (levels.vus(section, &shape)?, false)
    };
    Ok((executor, open, Some(Driver::Levels(levels))))
}

/// An executor that nothing else drives.
fn plain(section: &Section<'_>, name: &str) -> Result<(Executor, bool), Diagnostic> {
    let vus = || driver::vus(section);
    let max_duration = || -> Result<Duration, Diagnostic> {
        Ok(positive(section, "max_duration")?.unwrap_or(10 * MINUTE))
    };
    let executor = match name {
        "shared-iterations" => {
            let (vus, iterations) = (vus()?, section.whole_u64("iterations")?.unwrap_or(1));
            if iterations < u64::from(vus) {
                return Err(at(section, "iterations")
                    .error(format!("{iterations} iterations are fewer than {vus} VUs"))
                    .help("each VU needs at least one: more `iterations` or fewer `vus`"));
            }
            Executor::SharedIterations { vus, iterations, max_duration: max_duration()? }
        }
        "per-vu-iterations" => Executor::PerVuIterations {
            vus: vus()?,
            iterations: match section.whole_u64("iterations")?.unwrap_or(1) {
                0 => {
                    return Err(at(section, "iterations")
                        .error("it has to be above 0")
                        .help("1 is the least"));
                }
                iterations => iterations,
            },
            max_duration: max_duration()?,
            pace: pace(section)?,
        },
        "constant-vus" => {
            let duration = required_duration(section)?;
            Executor::ConstantVus { vus: vus()?, duration, pace: pace(section)? }
        }
        "ramping-vus" => ramping_vus(section)?,
        "constant-arrival-rate" => return constant_arrival_rate(section),
        _ => return ramping_arrival_rate(section),
    };
    Ok((executor, false))
}

fn ramping_vus(section: &Section<'_>) -> Result<Executor, Diagnostic> {
    let start_vus = section.whole_u32("start_vus")?.unwrap_or(1);
    let example = "[#{ duration: \"30s\", target: 10 }]";
    let item = section.require("stages", example)?;
    let stages = vu_stages(&item)?;
    if start_vus == 0 && stages.iter().all(|stage| stage.target == 0) {
        return Err(item.error("there is never a VU").help("give a stage a `target` above 0"));
    }
    let graceful_ramp_down = section.duration("graceful_ramp_down")?.unwrap_or(MINUTE / 2);
    Ok(Executor::RampingVus { start_vus, stages, graceful_ramp_down, pace: pace(section)? })
}

fn constant_arrival_rate(section: &Section<'_>) -> Result<(Executor, bool), Diagnostic> {
    let item = section.require("rate", "100")?;
    let rate = item.number()?;
    if rate == 0.0 {
        return Err(item.error("the rate is 0").help("a constant rate is above 0"));
    }
    let time_unit = positive(section, "time_unit")?.unwrap_or(Duration::from_secs(1));
    let duration = required_duration(section)?;
    let peak = peak(&item, rate, time_unit)?;
    let (arrival, open) = arrival(section, peak)?;
    Ok((Executor::ConstantArrivalRate { rate, time_unit, duration, arrival }, open))
}

fn ramping_arrival_rate(section: &Section<'_>) -> Result<(Executor, bool), Diagnostic> {
    let start_rate = section.number("start_rate")?.unwrap_or(0.0);
    let time_unit = positive(section, "time_unit")?.unwrap_or(Duration::from_secs(1));
    let item = section.require("stages", "[#{ duration: \"30s\", target: 100 }]")?;
    let stages = stages(&item, Item::number)?
        .into_iter()
        .map(|(duration, target, name)| RateStage { duration, target, name })
        .collect::<Vec<_>>();
    let highest = stages.iter().map(|stage| stage.target).fold(start_rate, f64::max);
    if highest == 0.0 {
        return Err(item.error("the rate is never above 0").help("give a stage a `target`"));
    }
    let peak = peak(&item, highest, time_unit)?;
    let (arrival, open) = arrival(section, peak)?;
    Ok((Executor::RampingArrivalRate { start_rate, time_unit, stages, arrival }, open))
}

/// The highest rate per second, if it is one that can be meant.
pub(super) fn peak(item: &Item<'_>, rate: f64, time_unit: Duration) -> Result<f64, Diagnostic> {
    let peak = rate / time_unit.as_secs_f64();
    if peak > HIGHEST_RATE {
        return Err(item
            .error(format!("a rate of {peak} per second is beyond the limit of {HIGHEST_RATE}"))
            .help("lower the rate, or check `time_unit`"));
    }
    Ok(peak)
}

/// `pre_allocated_vus` where it is not given.
pub(in crate::plan) fn pre_allocated(peak: f64) -> u32 {
    peak.ceil().clamp(1.0, PRE_ALLOCATED) as u32
}

pub(super) fn arrival(section: &Section<'_>, peak: f64) -> Result<(Arrival, bool), Diagnostic> {
    let max_vus = at_least_one(section, "max_vus")?;
    let wanted = pre_allocated(peak);
    let pre_allocated_vus = section
        .whole_u32("pre_allocated_vus")?
        .unwrap_or_else(|| max_vus.map_or(wanted, |max| wanted.min(max)));
    if let Some(max) = max_vus.filter(|max| *max < pre_allocated_vus) {
        return Err(at(section, "max_vus")
            .error(format!(
                "{max} VUs at the most are fewer than {pre_allocated_vus} pre-allocated"
            ))
            .help("raise `max_vus` or lower `pre_allocated_vus`"));
    }
    let spin = section.choice("pacing", &[("timer", false), ("spin", true)])?;
    let arrival = Arrival {
        pre_allocated_vus,
        max_vus: max_vus.unwrap_or(pre_allocated_vus.max(1)),
        max_vus_open: max_vus.is_none(),
        pacing: section
            .choice("arrival", &[("uniform", Pacing::Uniform), ("poisson", Pacing::Poisson)])?,
        on_late: section.choice("on_late", &[("queue", OnLate::Queue), ("drop", OnLate::Drop)])?,
        max_backlog: section.whole_u64("max_backlog")?.unwrap_or(MAX_BACKLOG),
        spin,
    };
    Ok((arrival, max_vus.is_none()))
}

/// The stages of the `stages` shortcut and of `ramping-vus`.
pub(in crate::plan) fn vu_stages(item: &Item<'_>) -> Result<Vec<VuStage>, Diagnostic> {
    let stages = stages(item, Item::whole_u32)?.into_iter();
    Ok(stages.map(|(duration, target, name)| VuStage { duration, target, name }).collect())
}

/// Stages: at least one, of bounded length together.
fn stages<'a, T>(
    item: &Item<'a>,
    target: impl Fn(&Item<'a>) -> Result<T, Diagnostic>,
) -> Result<Vec<(Duration, T, String)>, Diagnostic> {
    let mut stages = Vec::new();
    for (index, stage) in item.array()?.into_iter().enumerate() {
        let section = stage.section("a stage", &["duration", "target", "name"])?;
        let duration = section.require("duration", "\"30s\"")?.duration()?;
        let target = target(&section.require("target", "10")?)?;
        let name = section.string("name")?.map_or_else(|| index.to_string(), str::to_owned);
        if name.is_empty() || name.len() > 128 || name.contains(['{', '}', ',']) {
            return Err(at(&section, "name")
                .error(format!("`{}` cannot be a stage's name", shown(&name)))
                .help("use 1 to 128 characters other than `{`, `}` and `,`"));
        }
        stages.push((duration, target, name));
    }
    let total = stages.iter().try_fold(Duration::ZERO, |sum, stage| sum.checked_add(stage.0));
    match total {
        _ if stages.is_empty() => Err(item
            .error("there is no stage")
            .help("add at least one, as in [#{ duration: \"30s\", target: 10 }]")),
        Some(total) if total.is_zero() => {
            Err(item.error("all stages together take no time").help("give one a `duration`"))
        }
        Some(total) if total <= LONGEST => Ok(stages),
        _ => Err(item.error("all stages together are longer than 366 days").help("shorten them")),
    }
}

pub(super) fn pace(section: &Section<'_>) -> Result<Option<Duration>, Diagnostic> {
    Ok(section.duration("pace")?.filter(|pace| !pace.is_zero()))
}

pub(super) fn required_duration(section: &Section<'_>) -> Result<Duration, Diagnostic> {
    section.require("duration", "\"30s\"")?;
    Ok(positive(section, "duration")?.unwrap_or_default())
}

/// A duration above 0.
pub(in crate::plan) fn positive(
    section: &Section<'_>,
    key: &str,
) -> Result<Option<Duration>, Diagnostic> {
    let duration = section.duration(key)?;
    if duration.is_some_and(|duration| duration.is_zero()) {
        return Err(at(section, key)
            .error("it has to be above 0")
            .help(format!("write a longer duration, or leave `{key}` out where it is optional")));
    }
    Ok(duration)
}

/// A number above 0.
pub(super) fn at_least_one(section: &Section<'_>, key: &str) -> Result<Option<u32>, Diagnostic> {
    let number = section.whole_u32(key)?;
    if number == Some(0) {
        return Err(at(section, key).error("it has to be above 0").help("1 is the least"));
    }
    Ok(number)
}

/// The value of a key, or the section where it is absent: for errors.
pub(super) fn at<'a>(section: &Section<'a>, key: &str) -> Item<'a> {
    section.get(key).unwrap_or_else(|| section.whole())
}
