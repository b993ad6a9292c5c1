//! From what was typed to a valid plan.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Derived, Limits, Options, Overrides, Scenario, Segment, Threshold};
use crate::{
    diagnostic::Diagnostic,
    metric::{Kind, MetricId, Registry, Selector, Unit, Windowed},
};

/// What a plan is built from.
#[derive(Clone, Debug, Default)]
pub struct PlanInput {
    /// Name of the run: the workload's file name without its ending, unless given.
    pub name: String,
    /// The workload's options.
    pub options: Options,
    /// Names of the functions that an iteration may call.
    pub functions: Vec<String>,
    /// What replaces the options.
    pub overrides: Overrides,
    /// Cores that VUs may run on.
    pub cores: usize,
    /// Where a value of the options stands, by its path (`["scenarios", "steady", "rate"]`): the
    /// loader knows. Used for carets.
    pub places: BTreeMap<Vec<String>, crate::diagnostic::Place>,
}

/// A run, valid.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the run.
    pub name: String,
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// All metrics, built-in, declared, derived.
    pub registry: Arc<Registry>,
    /// The metrics that the workload declared.
    pub declared_metrics: Vec<MetricDeclaration>,
    /// The operation names that the workload declared.
    pub ops: Vec<String>,
    /// The thresholds, the defaults among them.
    pub thresholds: Vec<Threshold>,
    /// Metrics computed at the end.
    pub derived: Vec<Derived>,
    /// Subjects that the workload answers while it runs, with the functions that do it.
    pub services: BTreeMap<String, String>,
    /// Seed of all randomness.
    pub seed: u64,
    /// 1, or less with `--quick`.
    pub scale: f64,
    /// Threads that run VUs.
    pub shards: usize,
    /// The share of the plan that this process runs.
    pub segment: Segment,
    /// Limit on `setup`.
    pub setup_timeout: Duration,
    /// Limit on `teardown`.
    pub teardown_timeout: Duration,
    /// The run is stopped from outside after that.
    pub timeout: Option<Duration>,
    /// Tags of every sample.
    pub tags: BTreeMap<String, String>,
    /// What the workload may use.
    pub limits: Limits,
}

/// A metric that a workload declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricDeclaration {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// Its id in the plan's registry.
    pub id: MetricId,
}

/// Where bus and database are. URLs may hold passwords: never print them as they are.
#[derive(Clone, Debug)]
pub struct Backends {
    /// `--bus`
    pub bus: String,
    /// `--db`
    pub database: String,
    /// `--db-schema`
    pub database_schema: Option<String>,
}

impl Plan {
    /// Checks everything that can be checked without running.
    pub fn build(input: PlanInput) -> Result<Self, Diagnostic> {
        let _ = input;
        Err(Diagnostic::new("plans are not built yet"))
    }

    /// The series that windowed thresholds and derived metrics need per second.
    pub fn windowed(&self) -> Vec<Windowed> {
        let _ = Selector::default();
        Vec::new()
    }
}
