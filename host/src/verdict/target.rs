//! What became of a target, as the summary tells it.

use serde::{Deserialize, Serialize};

use super::Slope;

/// A process under test, with all that descends from it. Figures are those of the load, from its
/// beginning to its end, but the starts and ends, which are all since the target was declared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TargetFacts {
    /// Its name.
    pub name: String,
    /// Its command, or what it was attached by.
    pub source: String,
    /// Its process; the last one, if it was started more than once.
    pub pid: Option<i32>,
    /// Whether it ran at the end.
    pub running: bool,
    /// How often it was started or attached to.
    pub starts: u32,
    /// How often a workload stopped or killed it.
    pub planned_stops: u32,
    /// How often it ended and nobody had asked for it, or did not start.
    pub unplanned_deaths: u32,
    /// CPU seconds in user mode.
    pub cpu_user_s: f64,
    /// CPU seconds in the kernel, to a hundredth.
    pub cpu_system_s: f64,
    /// CPU over the load, in percent of one core.
    pub cpu_percent: Option<f64>,
    /// The most in a tenth of a second.
    pub cpu_percent_max: Option<f64>,
    /// Resident memory at the first sample of the load.
    pub rss_start_bytes: Option<u64>,
    /// Resident memory at the last sample of the load.
    pub rss_end_bytes: Option<u64>,
    /// The most resident memory of all samples of the load.
    pub rss_max_bytes: Option<u64>,
    /// The most resident memory since it was first looked at: of all samples, and of any one of its
    /// processes at any time.
    pub peak_rss_bytes: Option<u64>,
    /// The last proportional memory; null for a single process, which shares with nobody of its own.
    pub pss_bytes: Option<u64>,
    /// Address space at the last sample.
    pub vms_bytes: Option<u64>,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes written to storage.
    pub written_bytes: u64,
    /// Bytes over the network; null where the target shares its network namespace with the runner: the
    /// kernel counts none of a process then.
    pub network_bytes: Option<u64>,
    /// The most threads.
    pub threads_max: Option<u64>,
    /// The most open descriptors.
    pub fds_max: Option<u64>,
    /// How its memory, threads and descriptors grew.
    pub slopes: Vec<TargetSlope>,
    /// What it wrote before it died; empty if it did not.
    pub last_lines: Vec<String>,
}

/// How a figure of a target grew over the load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TargetSlope {
    /// The metric.
    pub metric: String,
    /// Growth per second, in the metric's unit.
    pub per_second: f64,
    /// 95 % interval that allows for autocorrelation; null with too few samples for one.
    pub interval: Option<[f64; 2]>,
}

impl TargetSlope {
    /// The slope of a metric.
    pub fn new(metric: &str, slope: Slope) -> Self {
        Self { metric: metric.to_owned(), per_second: slope.per_second, interval: slope.interval }
    }
}
