//! What was typed: a workload's options, and what flags, environment and suites put over them.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Arrival, Executor, OnLate, Pacing, Row, VuStage,
    quantity::LONGEST,
    scenario::read::{HIGHEST_RATE, MAX_BACKLOG, pre_allocated, vu_stages},
    section::{Item, Section},
};
use crate::diagnostic::Diagnostic;

/// A workload's options as it wrote them: the value of `options` in a script, `options` of a
/// component's description. Checked by [`super::Plan::build`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Options(pub serde_json::Map<String, Value>);

/// What replaces or adds to the options, from flags and environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    /// What the run is called, where a suite has a name for it.
    pub name: Option<String>,
    /// Shortcuts; they replace all scenarios.
    pub shortcuts: Shortcuts,
    /// Only this scenario.
    pub scenario: Option<String>,
    /// Tags of every sample.
    pub tags: BTreeMap<String, String>,
    /// Seed of all randomness.
    pub seed: Option<u64>,
    /// Of durations and counts, never below what thresholds need: 0.1 with `--quick`, a suite's `scale`.
    pub scale: Option<f64>,
    /// The whole run may take no longer: a stop from outside after that.
    pub timeout: Option<Duration>,
    /// Threads that run VUs.
    pub shards: Option<usize>,
    /// `--limit NAME=VALUE`
    pub limits: BTreeMap<String, String>,
    /// A suite's thresholds: they replace those under the same key, or are added.
    pub thresholds: serde_json::Map<String, Value>,
    /// The rows that a suite says the workload covers.
    pub rows: Vec<Row>,
}

/// k6's short forms of one scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shortcuts {
    /// `--vus`
    pub vus: Option<u32>,
    /// `--iterations`
    pub iterations: Option<u64>,
    /// `--duration`
    pub duration: Option<Duration>,
    /// `--rate`, per second
    pub rate: Option<f64>,
    /// `--stage D:TARGET`
    pub stages: Vec<(Duration, u32)>,
}

/// The keys of a workload's options:
///
/// ```text
/// scenarios: #{ NAME: #{ executor: "…", … } }         SEMANTICS §1
/// vus iterations duration stages rate                 shortcuts, instead of `scenarios`
/// thresholds: #{ "METRIC{TAG:VALUE}": THRESHOLD }     a string, the long form, or an array of them
/// metrics: #{ NAME: "trend" }                         or #{ type: "trend", unit: "ms", time: true }
/// ops: ["user_stats"]
/// derived: #{ NAME: "a.count / b.count" }             or #{ kind: "recovery_time", … },
///     #{ kind: "growth", metric: "runner_rss_bytes", aggregate: "avg", per: "1h" }: also per "stage" (of
///     `scenario:`), per "1000 bus_requests{op:x}"; `relative: true` in percent of the beginning.
///     #{ kind: "scaling", scenario: "mix", value: "knee" }: of a scenario with `levels`; also peak sigma
///     kappa lambda headroom elasticity.
///     #{ kind: "search", value: "max_rate" }, or "headroom": of the scenario with a `search`.
///     In thresholds `value` is the estimate, `min` and `max` are the ends of its 95 % interval.
/// services: #{ "subject": "function" }               or #{ handler: "function", stream: "S", consumer: "c" }
/// tags: #{ KEY: "value" }
/// seed: 7, setup_timeout: "60s", teardown_timeout: "60s"
/// ```
pub(super) const KEYS: &[&str] = &[
    "scenarios",
    "thresholds",
    "metrics",
    "ops",
    "derived",
    "services",
    "setup_timeout",
    "teardown_timeout",
    "tags",
    "seed",
    "vus",
    "iterations",
    "duration",
    "stages",
    "rate",
];

/// Where shortcuts come from, for errors.
#[derive(Clone, Copy, Debug)]
pub(super) enum Level<'a> {
    /// The workload's options.
    Options(&'a Item<'a>),
    /// Flags, environment, suite.
    Flags,
}

impl Level<'_> {
    /// A shortcut as it is written on this level.
    fn name(self, key: &str) -> String {
        match self {
            Self::Options(_) => format!("`{key}`"),
            Self::Flags => format!("`--{}`", if key == "stages" { "stage" } else { key }),
        }
    }

    fn error(self, message: String) -> Diagnostic {
        match self {
            Self::Options(item) => item.error(message),
            Self::Flags => Diagnostic::new(message),
        }
    }
}

impl Shortcuts {
    /// The shortcuts among a workload's options, and the names of their stages.
    pub(super) fn read(section: &Section<'_>) -> Result<(Self, Vec<VuStage>), Diagnostic> {
        let stages = section.get("stages").map(|item| vu_stages(&item)).transpose()?;
        let stages = stages.unwrap_or_default();
        let shortcuts = Self {
            vus: section.whole_u32("vus")?,
            iterations: section.whole_u64("iterations")?,
            duration: section.duration("duration")?,
            rate: section.number("rate")?,
            stages: stages.iter().map(|stage| (stage.duration, stage.target)).collect(),
        };
        Ok((shortcuts, stages))
    }

    /// Whether there is none at all.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether they say more than the number of VUs.
    pub(super) fn replace_scenarios(&self) -> bool {
        !Self { vus: None, ..self.clone() }.is_empty()
    }

    /// The executor that they stand for, and whether its `max_vus` is still to be chosen; `None` if
    /// there is no shortcut.
    pub(super) fn executor(
        &self,
        level: Level<'_>,
    ) -> Result<Option<(Executor, bool)>, Diagnostic> {
        if self.is_empty() {
            return Ok(None);
        }
        self.check(level)?;
        let vus = self.vus.unwrap_or(1);
        let executor = if let Some(iterations) = self.iterations {
            let max_duration = self.duration.unwrap_or(Duration::from_secs(600));
            Executor::SharedIterations { vus, iterations, max_duration }
        } else if let (Some(rate), Some(duration)) = (self.rate, self.duration) {
            let pre_allocated_vus = self.vus.unwrap_or_else(|| pre_allocated(rate));
            let arrival = Arrival {
                pre_allocated_vus,
                max_vus: pre_allocated_vus,
                max_vus_open: self.vus.is_none(),
                pacing: Pacing::Uniform,
                on_late: OnLate::Queue,
                max_backlog: MAX_BACKLOG,
                spin: false,
            };
            let time_unit = Duration::from_secs(1);
            let executor = Executor::ConstantArrivalRate { rate, time_unit, duration, arrival };
            return Ok(Some((executor, self.vus.is_none())));
        } else if let Some(duration) = self.duration {
            Executor::ConstantVus { vus, duration, pace: None }
        } else {
            let stages = self.stages.iter().enumerate();
            let stages = stages.map(|(index, (duration, target))| VuStage {
                duration: *duration,
                target: *target,
                name: index.to_string(),
            });
            Executor::RampingVus {
                start_vus: vus,
                stages: stages.collect(),
                graceful_ramp_down: Duration::from_secs(30),
                pace: None,
            }
        };
        Ok(Some((executor, false)))
    }

    /// Refuses mixtures and values that no executor takes.
    fn check(&self, level: Level<'_>) -> Result<(), Diagnostic> {
        let given = [
            ("iterations", self.iterations.is_some()),
            ("rate", self.rate.is_some()),
            ("stages", !self.stages.is_empty()),
        ];
        let given: Vec<_> = given.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        if let [one, other, ..] = given[..] {
            return Err(level
                .error(format!("{} and {} exclude each other", level.name(one), level.name(other)))
                .help("each stands for a scenario of its own: keep one, or write `scenarios`"));
        }
        let lengths = self.stages.iter().map(|(length, _)| *length);
        let total = lengths.into_iter().try_fold(Duration::ZERO, Duration::checked_add);
        let (duration, rate, stages) =
            (level.name("duration"), level.name("rate"), level.name("stages"));
        let (message, help) = match (self.iterations, self.rate, self.duration) {
            (_, _, Some(_)) if !self.stages.is_empty() => {
                (format!("{stages} and {duration} exclude each other"), "stages have durations")
            }
            (None, Some(_), None) => {
                (format!("{rate} says not how long"), "add a duration, as in \"30s\"")
            }
            (_, Some(value), _) if !(value > 0.0 && value <= HIGHEST_RATE) => (
                format!("{rate} is {value}"),
                "it has to be above 0 and at most 10 000 000 per second",
            ),
            (_, _, Some(length)) if length.is_zero() || length > LONGEST => {
                (format!("{duration} is {length:?}"), "it has to be above 0 and at most 366 days")
            }
            (Some(iterations), ..) if iterations < u64::from(self.vus.unwrap_or(1)) => (
                format!("{iterations} iterations are fewer than {} VUs", self.vus.unwrap_or(1)),
                "each VU needs at least one: more iterations or fewer VUs",
            ),
            _ if self.vus == Some(0) && self.stages.iter().all(|(_, target)| *target == 0) => {
                (format!("{} is 0", level.name("vus")), "1 is the least")
            }
            (None, None, None) if self.stages.is_empty() => (
                format!("{} says neither how often nor how long", level.name("vus")),
                "add iterations, a duration or stages",
            ),
            (None, None, None) if total.is_none_or(|total| total.is_zero() || total > LONGEST) => {
                (format!("{stages} take no time, or too much"), "0s to 366 days, all together")
            }
            _ => return Ok(()),
        };
        Err(level.error(message).help(help))
    }
}
