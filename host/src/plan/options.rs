//! What was typed: a workload's options, and what flags, environment and suites put over them.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

/// A workload's options as it wrote them: the value of `options` in a script, `options` of a
/// component's description. Checked by [`super::Plan::build`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options(pub serde_json::Map<String, Value>);

/// What replaces or adds to the options, from flags and environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Shortcuts; they replace all scenarios.
    pub shortcuts: Shortcuts,
    /// Only this scenario.
    pub scenario: Option<String>,
    /// Tags of every sample.
    pub tags: BTreeMap<String, String>,
    /// Seed of all randomness.
    pub seed: Option<u64>,
    /// `--quick`: durations and counts at most a tenth, never below what thresholds need.
    pub quick: bool,
    /// The whole run may take no longer: a stop from outside after that.
    pub timeout: Option<Duration>,
    /// Threads that run VUs.
    pub shards: Option<usize>,
    /// `--limit NAME=VALUE`
    pub limits: BTreeMap<String, String>,
}

/// k6's short forms of one scenario.
#[derive(Clone, Debug, Default, PartialEq)]
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
