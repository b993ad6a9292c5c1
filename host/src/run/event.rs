//! What observers of a run are told. Sent without waiting; an observer that lags loses events.

use std::time::Duration;

use crate::primitive::LogLine;

/// Something that happened in a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// The run's phase changed: `setup`, `run`, `teardown`, `report`.
    Phase(&'static str),
    /// A second of the run.
    Progress(Progress),
    /// A line from a workload or about one.
    Log(LogLine),
    /// Something worth a line: a reconnect, a stop that was asked for.
    Note(String),
}

/// How far a run is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// From the first scenario's start until when what is told was counted.
    pub elapsed: Duration,
    /// Until the last iteration may start, from the first scenario's start.
    pub planned: Duration,
    /// Each scenario.
    pub scenarios: Vec<ScenarioProgress>,
    /// Iterations completed in all.
    pub iterations: u64,
    /// Iteration errors in all.
    pub errors: u64,
    /// p95 of the iterations that ended in the last interval: of the response time of open scenarios and
    /// the duration of closed ones.
    pub p95: Option<Duration>,
    /// It is only a lower bound, because of iterations that were cut off.
    pub p95_at_least: bool,
}

/// How far a scenario is.
#[derive(Clone, Debug, Default)]
pub struct ScenarioProgress {
    /// Its name.
    pub name: String,
    /// Its executor.
    pub executor: &'static str,
    /// VUs that are running an iteration, and VUs that exist.
    pub vus: (u32, u32),
    /// Iterations started.
    pub started: u64,
    /// Iterations planned, where a number is known.
    pub planned: Option<u64>,
    /// Share of its duration or its iterations that is done.
    pub share: f64,
    /// Current stage, if it has names.
    pub stage: Option<String>,
    /// Arrivals waiting.
    pub backlog: u64,
}
