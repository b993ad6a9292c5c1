//! A scenario: which function is called by how many VUs, and when. SEMANTICS §1.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

pub(super) mod driver;
pub(super) mod read;

pub use driver::{Driver, Level, LevelTime, Levels, MOST_PROBES, Search};

use super::{ArrivalSchedule, Segment, VuSchedule};

/// One scenario, valid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// `^[0-9a-zA-Z_-]+$`
    pub name: String,
    /// When iterations start.
    pub executor: Executor,
    /// When the scenario starts.
    pub start: Start,
    /// How long running iterations may go on after the last one may start.
    pub graceful_stop: Duration,
    /// The function that an iteration calls.
    pub exec: String,
    /// Values that the workload can read as parameters, for this scenario only.
    pub env: BTreeMap<String, String>,
    /// Tags of every sample of this scenario.
    pub tags: BTreeMap<String, String>,
    /// The first part, kept out of metrics and thresholds.
    pub warmup: Duration,
    /// Wall time after which an iteration is interrupted.
    pub iteration_timeout: Duration,
    /// Guest CPU time after which an iteration is interrupted.
    pub cpu_timeout: Duration,
    /// Whose bus connection a VU uses.
    pub connection: ConnectionSharing,
    /// What a run means whose generator was the bottleneck (SEMANTICS §5).
    pub generator_limited: GeneratorLimited,
    /// What drives it beside its executor.
    pub driver: Option<Driver>,
}

/// When a scenario starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// This long after the run's start.
    At(Duration),
    /// When the named scenario has ended.
    After(String),
}

/// Whose bus connection a VU uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionSharing {
    /// The one of its shard.
    #[default]
    Shard,
    /// Its own.
    Vu,
}

/// What becomes of a threshold that the runner may have spoilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GeneratorLimited {
    /// It is invalid.
    #[default]
    Invalid,
    /// It is judged, with a remark.
    Report,
}

/// When iterations start. One variant per executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "executor", rename_all = "kebab-case")]
pub enum Executor {
    /// A number of iterations, shared by all VUs.
    SharedIterations {
        /// VUs.
        vus: u32,
        /// Iterations in all.
        iterations: u64,
        /// No iteration starts later.
        max_duration: Duration,
    },
    /// A number of iterations for each VU.
    PerVuIterations {
        /// VUs.
        vus: u32,
        /// Iterations per VU.
        iterations: u64,
        /// No iteration starts later.
        max_duration: Duration,
        /// Iterations of one VU start at least this far apart.
        pace: Option<Duration>,
    },
    /// A fixed number of VUs, each iterating as fast as it can.
    ConstantVus {
        /// VUs.
        vus: u32,
        /// No iteration starts later.
        duration: Duration,
        /// Iterations of one VU start at least this far apart.
        pace: Option<Duration>,
    },
    /// A number of VUs that follows stages.
    RampingVus {
        /// VUs at the start.
        start_vus: u32,
        /// Where the number goes.
        stages: Vec<VuStage>,
        /// How long a VU that is removed may finish its iteration.
        graceful_ramp_down: Duration,
        /// Iterations of one VU start at least this far apart.
        pace: Option<Duration>,
    },
    /// Iterations start at a fixed rate, whatever the system does.
    ConstantArrivalRate {
        /// Iterations per `time_unit`.
        rate: f64,
        /// The unit of `rate`.
        time_unit: Duration,
        /// No iteration is due later.
        duration: Duration,
        /// VUs and what happens without a free one.
        arrival: Arrival,
    },
    /// Iterations start at a rate that follows stages.
    RampingArrivalRate {
        /// Iterations per `time_unit` at the start.
        start_rate: f64,
        /// The unit of the rates.
        time_unit: Duration,
        /// Where the rate goes.
        stages: Vec<RateStage>,
        /// VUs and what happens without a free one.
        arrival: Arrival,
    },
}

/// A stage of `ramping-vus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VuStage {
    /// How long it takes; zero jumps.
    pub duration: Duration,
    /// The number of VUs at its end.
    pub target: u32,
    /// The value of the tag `stage`; the index (from 0) if not given.
    pub name: String,
}

/// A stage of `ramping-arrival-rate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateStage {
    /// How long it takes; zero jumps.
    pub duration: Duration,
    /// The rate at its end, per the executor's `time_unit`.
    pub target: f64,
    /// The value of the tag `stage`; the index (from 0) if not given.
    pub name: String,
}

/// What the arrival-rate executors have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// VUs made before the start.
    pub pre_allocated_vus: u32,
    /// VUs at the most.
    pub max_vus: u32,
    /// Whether `max_vus` was not given: then it is what the machine allows.
    pub max_vus_open: bool,
    /// How arrivals are spaced.
    pub pacing: Pacing,
    /// What happens to an arrival for which no VU is free.
    pub on_late: OnLate,
    /// Arrivals that may wait; beyond it they are dropped.
    pub max_backlog: u64,
    /// Whether the pacer spins before each release (DESIGN §3).
    pub spin: bool,
}

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pacing {
    /// The n-th is due at the instant at which the integral of the rate reaches n.
    #[default]
    Uniform,
    /// A seeded Poisson process of the same rate.
    Poisson,
}

/// What happens to an arrival for which no VU is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLate {
    /// It waits, and its wait is part of its response time.
    #[default]
    Queue,
    /// It is dropped, as in k6.
    Drop,
}

impl Executor {
    /// As it is written in options.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SharedIterations { .. } => "shared-iterations",
            Self::PerVuIterations { .. } => "per-vu-iterations",
            Self::ConstantVus { .. } => "constant-vus",
            Self::RampingVus { .. } => "ramping-vus",
            Self::ConstantArrivalRate { .. } => "constant-arrival-rate",
            Self::RampingArrivalRate { .. } => "ramping-arrival-rate",
        }
    }

    /// Whether iterations start whatever the system does.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::ConstantArrivalRate { .. } | Self::RampingArrivalRate { .. })
    }

    /// From the scenario's start until no further iteration may start.
    pub fn duration(&self) -> Duration {
        match self {
            Self::SharedIterations { max_duration, .. }
            | Self::PerVuIterations { max_duration, .. } => *max_duration,
            Self::ConstantVus { duration, .. } | Self::ConstantArrivalRate { duration, .. } => {
                *duration
            }
            Self::RampingVus { stages, .. } => stages.iter().map(|stage| stage.duration).sum(),
            Self::RampingArrivalRate { stages, .. } => {
                stages.iter().map(|stage| stage.duration).sum()
            }
        }
    }

    /// How long each stage takes; empty for executors without stages.
    pub fn stage_lengths(&self) -> Vec<Duration> {
        match self {
            Self::RampingVus { stages, .. } => stages.iter().map(|stage| stage.duration).collect(),
            Self::RampingArrivalRate { stages, .. } => {
                stages.iter().map(|stage| stage.duration).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The most VUs that it uses.
    pub fn max_vus(&self) -> u32 {
        match self {
            Self::SharedIterations { vus, .. }
            | Self::PerVuIterations { vus, .. }
            | Self::ConstantVus { vus, .. } => *vus,
            Self::RampingVus { start_vus, stages, .. } => {
                stages.iter().map(|stage| stage.target).fold(*start_vus, u32::max)
            }
            Self::ConstantArrivalRate { arrival, .. }
            | Self::RampingArrivalRate { arrival, .. } => arrival.max_vus,
        }
    }
}

impl Scenario {
    /// When iterations are due, for the arrival-rate executors. `seed` is the run's; Poisson arrivals
    /// of two scenarios of a run are different sequences. `None` for a search too: its probes are told
    /// while it runs.
    pub fn arrivals(&self, segment: Segment, seed: u64) -> Option<ArrivalSchedule> {
        if self.search().is_some() {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(self.name.as_bytes());
        let mut mixed = [0; 8];
        mixed.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        ArrivalSchedule::new(&self.executor, segment, u64::from_le_bytes(mixed))
    }

    /// How many VUs there are, for the closed-model executors.
    pub fn vus(&self, segment: Segment) -> Option<VuSchedule> {
        VuSchedule::new(&self.executor, segment)
    }

    /// When each stage begins and ends, from the start of the first scenario; empty without stages, and
    /// for a scenario that waits for another.
    pub fn stage_times(&self) -> Vec<(Duration, Duration)> {
        let Start::At(start) = self.start else { return Vec::new() };
        let mut at = start;
        let lengths = self.executor.stage_lengths().into_iter();
        lengths
            .map(|length| {
                let from = at;
                at += length;
                (from, at)
            })
            .collect()
    }

    /// Names of the executor's stages, by index; empty for executors without stages.
    pub fn stage_names(&self) -> Vec<&str> {
        match &self.executor {
            Executor::RampingVus { stages, .. } => {
                stages.iter().map(|stage| stage.name.as_str()).collect()
            }
            Executor::RampingArrivalRate { stages, .. } => {
                stages.iter().map(|stage| stage.name.as_str()).collect()
            }
            _ => Vec::new(),
        }
    }
}
