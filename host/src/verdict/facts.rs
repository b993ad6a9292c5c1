//! What a verdict needs to know of a run beside its samples.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::SearchFacts;

/// What the engine knows at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// From the first scenario's start to the last one's end.
    pub duration: Duration,
    /// Each scenario, in the plan's order.
    pub scenarios: Vec<ScenarioFacts>,
    /// What a search found.
    pub search: Option<SearchFacts>,
    /// The runner itself.
    pub runner: RunnerFacts,
    /// Iteration errors by scenario, kind and message, the most frequent first; bounded.
    pub errors: Vec<ErrorFacts>,
    /// Causes that are already certain (setup failed, interrupted, aborted, …), with what to print.
    pub causes: Vec<(super::Cause, String)>,
    /// What the reader should know (folded series, dropped log lines, reconnects).
    pub remarks: Vec<String>,
    /// Processes under test.
    pub targets: Vec<super::TargetFacts>,
}

/// How a scenario went. Exact: planned = started + dropped + never_started; started = completed +
/// interrupted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ScenarioFacts {
    /// Its name.
    pub name: String,
    /// Its executor's name.
    pub executor: String,
    /// Whether iterations start whatever the system does.
    pub open: bool,
    /// Iterations that were due. Closed model: those that were started.
    pub planned: u64,
    /// Iterations that began.
    pub started: u64,
    /// Iterations that ran to their end, with or without an error.
    pub completed: u64,
    /// Iterations that were cut off.
    pub interrupted: u64,
    /// Arrivals that were dropped.
    pub dropped: u64,
    /// Arrivals that were still waiting at the end.
    pub never_started: u64,
    /// Iterations that threw or trapped.
    pub errors: u64,
    /// VUs that ran at least one iteration.
    pub vus: u32,
    /// VUs that existed.
    pub vus_max: u32,
    /// Arrivals per second that the plan asks for, on average; null in the closed model.
    pub asked_rate: Option<f64>,
    /// Iterations started per second of the scenario's duration.
    pub achieved_rate: f64,
    /// Arrivals that were dropped, late beyond a second or never started by the runner's fault.
    pub runner_short: u64,
    /// How long it ran, in seconds.
    pub duration_s: f64,
}

/// How the runner was, from the load's beginning to its end. Its CPU is that of all threads of its process
/// but two kinds: the workload's own services, and SQLite's threads, which are the database. A read that
/// SQLite does in place, on a shard's thread, counts as the runner's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunnerFacts {
    /// Cores that its shards could use.
    pub cores: u32,
    /// CPU over the load, in percent of one core.
    pub cpu_percent: f64,
    /// The most in one second.
    pub cpu_percent_max: f64,
    /// CPU seconds in user mode: with those in the kernel, what was used to the nanosecond.
    pub cpu_user_s: f64,
    /// CPU seconds in the kernel, a hundredth more or less for each thread.
    pub cpu_system_s: f64,
    /// Resident memory of the whole process at the end of the load.
    pub rss_bytes: u64,
    /// The most resident memory of the whole process until then.
    pub peak_rss_bytes: u64,
    /// What the host adds to an empty operation on this machine: its median, in nanoseconds, taken
    /// before the run with the same clock and recorder.
    pub empty_operation_ns: f64,
    /// Cost of reading the clock once, in nanoseconds.
    pub clock_read_ns: f64,
    /// VUs that were made while an arrival waited for them.
    pub cold_vus: u64,
    /// VUs that rested because they kept using their whole time slice.
    pub rested_vus: u64,
    /// Events that observers were too slow for.
    pub events_dropped: u64,
    /// Log lines beyond the limit.
    pub log_lines_dropped: u64,
    /// Intervals of the journal that were merged with others because its disk was too slow.
    #[serde(default)]
    pub journal_merged: u64,
    /// The limits of this machine that the plan came near (address maps, descriptors), in words.
    pub limits: BTreeMap<String, String>,
}

/// A kind of iteration error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ErrorFacts {
    /// The scenario; `setup`, `init` or `teardown` outside iterations.
    pub scenario: String,
    /// Kind: `threw`, `trapped`, `cpu_timeout`, `limit`, `misuse`, `iteration_timeout`.
    pub kind: String,
    /// The first message.
    pub message: String,
    /// Where it came from.
    pub place: Option<String>,
    /// How often.
    pub count: u64,
}
