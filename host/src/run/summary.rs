//! The summary of a run: the contract of DESIGN §5, `wavetank.summary/1`.
//!
//! Everything that a report shows is in here, so that a report of a finished run needs nothing else,
//! and a summary read back from a file prints the same page. Times in trends and thresholds are in
//! nanoseconds. There is never a NaN: a value that is missing is null. Texts of workloads are kept as
//! they were, hostile until a report escapes them.

mod figure;
mod joined;
mod rows;

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use super::comparison::Comparison;
use crate::{
    metric::{Builtin, Cell, Kind, Names, Phase, Selector, TagSet, Totals, Trend, Unit},
    plan::{Backend, Plan, threshold::Aggregate},
    verdict::{
        Cause, DerivedValue, ErrorFacts, Facts, Figure, Judgement, RunnerFacts, Samples, Scaling,
        ScenarioFacts, SearchFacts, Status, TargetFacts, ThresholdResult,
    },
};

pub use joined::{Part, Suite};
pub use rows::not_run;

/// The version of this format; a change that breaks a reader counts it up.
pub const SCHEMA: &str = "wavetank.summary/1";

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// `wavetank.summary/1`
    pub schema: String,
    /// Which run.
    pub run: RunInfo,
    /// What became of it.
    pub verdict: VerdictInfo,
    /// Rows of the catalogue that it covered.
    pub rows: Vec<Row>,
    /// Each threshold, judged.
    pub thresholds: Vec<ThresholdResult>,
    /// One entry for each metric, without tags, and one for each of its series.
    pub metrics: Vec<MetricSummary>,
    /// Each derived metric, with its interval where it has one.
    #[serde(default)]
    pub derived: Vec<DerivedSummary>,
    /// How scenarios with levels scale.
    #[serde(default)]
    pub scaling: Vec<Scaling>,
    /// What searches found, with all of their probes.
    #[serde(default)]
    pub searches: Vec<SearchFacts>,
    /// Each check.
    pub checks: Vec<CheckSummary>,
    /// How each scenario went.
    pub scenarios: Vec<ScenarioFacts>,
    /// Iteration errors by scenario, kind and message.
    pub errors: Vec<ErrorFacts>,
    /// How it compares with the baseline that it was started with.
    #[serde(default)]
    pub baseline: Option<Comparison>,
    /// What the reader should know.
    pub remarks: Vec<String>,
    /// Processes under test.
    pub targets: Vec<TargetFacts>,
    /// The runner itself.
    pub runner: RunnerFacts,
    /// Where it ran.
    pub environment: Environment,
}

/// Which run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunInfo {
    /// Identifies it in the history.
    pub id: String,
    /// Name of the plan.
    pub name: String,
    /// When it started, RFC 3339.
    pub started: String,
    /// From the first scenario's start to the last one's end.
    pub duration_s: f64,
    /// Seed of all randomness.
    pub seed: u64,
    /// 1, or less with `--quick`.
    pub scale: f64,
    /// Threads that ran VUs.
    pub shards: usize,
    /// How it was called, without passwords.
    pub command: String,
    /// What it ran.
    pub workloads: Vec<WorkloadInfo>,
    /// Version of this tool.
    pub version: String,
    /// Whether it came to its end; false for one that was cut off.
    pub complete: bool,
    /// The git revision of the working directory; null where there is none.
    #[serde(default)]
    pub revision: Option<String>,
    /// What a suite is made of besides its workloads.
    #[serde(default)]
    pub files: Vec<FileInfo>,
    /// Whether it went on when this was told; absent where it did not. What it came to until then is not
    /// what it comes to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub going_on: bool,
}

impl RunInfo {
    /// What a page says of a run that has not come to its end.
    pub const fn unfinished(&self) -> Option<&'static str> {
        match (self.complete, self.going_on) {
            (_, true) => Some("This run goes on; the figures are those until now."),
            (false, false) => Some("This run was cut off; the figures are those until then."),
            (true, false) => None,
        }
    }
}

/// A file of a suite that is no workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FileInfo {
    /// Where it was read from.
    pub path: String,
    /// sha256 of what was read.
    pub digest: String,
    /// `suite` or `service`.
    pub kind: String,
}

/// A workload of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WorkloadInfo {
    /// Where it was read from.
    pub path: String,
    /// sha256 of what was loaded.
    pub digest: String,
    /// What it calls itself.
    pub name: String,
    /// Its version; empty for scripts.
    pub version: String,
    /// `script` or `component`.
    pub kind: String,
    /// The rows that it covered, in a suite.
    pub rows: Vec<String>,
    /// From its first scenario's start to its last one's end, in a suite.
    pub duration_s: f64,
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct VerdictInfo {
    /// pass, warn, fail or invalid.
    pub status: Status,
    /// Exit code of the process.
    pub exit_code: u8,
    /// The causes, most telling first.
    pub causes: Vec<Cause>,
    /// The causes in words.
    pub reasons: Vec<String>,
}

/// A row of the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Row {
    /// Its name.
    pub row: String,
    /// What covered it.
    pub workload: String,
    /// On which backend.
    pub backend: String,
    /// How much it matters.
    pub priority: String,
    /// What became of it.
    pub status: Status,
    /// Its thresholds, as indices.
    pub thresholds: Vec<usize>,
    /// Why it is neither pass nor fail.
    pub reason: Option<String>,
}

/// A metric, or a series of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MetricSummary {
    /// As it is written in thresholds.
    pub name: String,
    /// Which values it has.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Unit of its values.
    pub unit: Unit,
    /// Empty for all samples that an empty selector matches.
    pub tags: BTreeMap<String, String>,
    /// What was measured.
    pub values: Values,
}

/// What was measured of a metric; which one it is says its type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Values {
    /// Of a trend.
    Trend(Box<TrendValues>),
    /// Of a rate.
    Rate {
        /// The share of samples that were not zero.
        rate: Option<f64>,
        /// Samples that were not zero.
        passes: u64,
        /// All samples.
        total: u64,
    },
    /// Of a counter.
    Counter {
        /// The sum.
        count: f64,
        /// The sum divided by the duration of the run.
        per_second: Option<f64>,
    },
    /// Of a gauge.
    Gauge {
        /// The last sample.
        value: Option<f64>,
        /// The smallest.
        min: Option<f64>,
        /// The largest.
        max: Option<f64>,
        /// The average.
        avg: Option<f64>,
    },
}

/// What was measured of a trend. Percentiles are the highest equivalent value at rank ⌈q·n⌉.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TrendValues {
    /// Samples whose value is known.
    pub count: u64,
    /// Samples of which only a lower bound is known; they count in every figure below.
    pub censored: u64,
    /// Names of the values that are lower bounds, because of censored samples.
    pub at_least: Vec<String>,
    /// Average.
    pub mean: Option<f64>,
    /// Standard deviation of the known samples.
    pub stddev: Option<f64>,
    /// Smallest.
    pub min: Option<f64>,
    /// Median.
    pub med: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Median.
    #[serde(rename = "p(50)")]
    pub p50: Option<f64>,
    /// 90th percentile.
    #[serde(rename = "p(90)")]
    pub p90: Option<f64>,
    /// 95th percentile.
    #[serde(rename = "p(95)")]
    pub p95: Option<f64>,
    /// 99th percentile.
    #[serde(rename = "p(99)")]
    pub p99: Option<f64>,
    /// 99.9th percentile.
    #[serde(rename = "p(99.9)")]
    pub p999: Option<f64>,
    /// The known samples: HdrHistogram V2, deflated, base64; in steps of the unit (a thousandth for
    /// trends that are neither times nor bytes).
    pub histogram: String,
}

/// A metric that the host computed from others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DerivedSummary {
    /// Its name, as it is written in thresholds.
    pub name: String,
    /// What it is, as it was declared.
    pub source: String,
    /// Unit of its values.
    pub unit: Unit,
    /// The estimate.
    pub value: Option<f64>,
    /// Where the truth is with 95 %.
    pub interval: Option<[f64; 2]>,
    /// Why there is no estimate.
    pub why: Option<String>,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CheckSummary {
    /// Its name.
    pub name: String,
    /// The group that it was made in; empty for none.
    pub group: String,
    /// How often it held.
    pub passes: u64,
    /// How often it did not.
    pub fails: u64,
}

/// Where a run ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Environment {
    /// Operating system.
    pub os: String,
    /// Its kernel.
    pub kernel: String,
    /// Model of the processor.
    pub cpu: String,
    /// Its cores.
    pub cores: u32,
    /// Memory of the machine.
    pub ram_bytes: u64,
    /// What the kernel takes time from.
    pub clock_source: String,
    /// The bus, without password.
    pub bus: String,
    /// Whose its subjects are: `own` (on a server that others use, under the prefix that is named), or
    /// `shared` with whoever uses the server.
    #[serde(default)]
    pub subjects: String,
    /// The database, without password.
    pub database: String,
    /// Version of this tool.
    pub version: String,
}

/// What a summary is made of.
#[derive(Clone, Copy, Debug)]
pub struct SummaryInput<'a> {
    /// What was to run.
    pub plan: &'a Plan,
    /// Names of the tags.
    pub names: &'a Names,
    /// What was measured.
    pub totals: &'a Totals,
    /// The verdict.
    pub judgement: &'a Judgement,
    /// `--fail-on warn`
    pub fail_on_warn: bool,
    /// What the engine knows.
    pub facts: &'a Facts,
    /// Which run; name, duration, seed, scale and shards are taken from plan and facts.
    pub run: &'a RunInfo,
    /// Where it ran.
    pub environment: &'a Environment,
    /// Of which backend its rows are; `None` outside a suite.
    pub backend: Option<Backend>,
}

impl Summary {
    /// Makes the summary of a run.
    pub fn build(input: SummaryInput<'_>) -> Self {
        let SummaryInput { plan, judgement, .. } = input;
        let mut facts = input.facts.clone();
        tidy_facts(&mut facts);
        let run = RunInfo {
            name: plan.name.clone(),
            duration_s: facts.duration.as_secs_f64(),
            seed: plan.seed,
            scale: finite(plan.scale),
            shards: plan.shards,
            ..input.run.clone()
        };
        Self {
            schema: SCHEMA.to_owned(),
            run,
            verdict: VerdictInfo {
                status: judgement.status,
                exit_code: judgement.exit_code(input.fail_on_warn),
                causes: judgement.causes.clone(),
                reasons: judgement.reasons.clone(),
            },
            rows: rows::judged(&input),
            thresholds: judgement.thresholds.iter().cloned().map(tidy_threshold).collect(),
            metrics: metrics(&input),
            derived: judgement.derived.iter().filter_map(|it| derived(plan, it)).collect(),
            scaling: judgement.scaling.clone(),
            searches: facts.search.into_iter().collect(),
            checks: checks(&input),
            scenarios: facts.scenarios,
            errors: facts.errors,
            baseline: None,
            remarks: facts.remarks,
            targets: facts.targets,
            runner: facts.runner,
            environment: input.environment.clone(),
        }
    }

    /// The entry of a metric without tags.
    pub fn metric(&self, name: &str) -> Option<&MetricSummary> {
        self.metrics.iter().find(|metric| metric.name == name && metric.tags.is_empty())
    }

    /// The values of a trend without tags.
    pub fn trend(&self, name: &str) -> Option<&TrendValues> {
        match &self.metric(name)?.values {
            Values::Trend(values) => Some(values),
            _ => None,
        }
    }
}

impl TrendValues {
    /// Whether a value, by its name in the summary, is only a lower bound.
    pub fn is_at_least(&self, value: &str) -> bool {
        self.at_least.iter().any(|name| name == value)
    }
}

/// The number, or 0 for one that JSON has no word for.
fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
}

/// Replaces numbers that JSON has no word for.
pub(crate) fn tidy_facts(facts: &mut Facts) {
    facts.scenarios.iter_mut().for_each(tidy_scenario);
    tidy_runner(&mut facts.runner);
}

fn tidy_threshold(mut threshold: ThresholdResult) -> ThresholdResult {
    threshold.observed = threshold.observed.filter(|value| value.is_finite());
    threshold.limit = threshold.limit.filter(|value| value.is_finite());
    threshold.interval =
        threshold.interval.filter(|interval| interval.iter().all(|value| value.is_finite()));
    threshold
}

fn tidy_scenario(scenario: &mut ScenarioFacts) {
    scenario.asked_rate = scenario.asked_rate.filter(|rate| rate.is_finite());
    scenario.achieved_rate = finite(scenario.achieved_rate);
    scenario.duration_s = finite(scenario.duration_s);
}

fn tidy_runner(runner: &mut RunnerFacts) {
    for number in [
        &mut runner.cpu_percent,
        &mut runner.cpu_percent_max,
        &mut runner.cpu_user_s,
        &mut runner.cpu_system_s,
        &mut runner.empty_operation_ns,
        &mut runner.clock_read_ns,
    ] {
        *number = finite(*number);
    }
}

/// Counters that every summary has, be they zero: the identity of SEMANTICS §1.
const ALWAYS: [Builtin; 4] = [
    Builtin::Iterations,
    Builtin::DroppedIterations,
    Builtin::NeverStartedIterations,
    Builtin::InterruptedIterations,
];

/// One entry for each metric that was measured or declared, then one for each of its series.
fn metrics(input: &SummaryInput<'_>) -> Vec<MetricSummary> {
    let registry = &input.plan.registry;
    let series = input.totals.series();
    let mut entries = Vec::new();
    for (id, metric) in registry.iter() {
        let mut entry = |tags, values| {
            let MetricHead { name, kind, unit } = head(metric);
            entries.push(MetricSummary { name, kind, unit, tags, values });
        };
        if let Some(derived) = input.judgement.derived.iter().find(|it| it.name == metric.name) {
            entry(BTreeMap::new(), gauge_of(derived));
            continue;
        }
        let own: Vec<_> = series.iter().filter(|(key, _)| key.metric == id).collect();
        let declared = input.plan.declared_metrics.iter().any(|declared| declared.id == id);
        if own.is_empty() && !declared && !ALWAYS.iter().any(|builtin| builtin.id() == id) {
            continue;
        }
        let all = input.totals.select(registry, input.names, id, &Selector::default());
        let seconds = input.facts.duration.as_secs_f64();
        entry(BTreeMap::new(), values_of(&all, metric.unit, seconds));
        for (key, cell) in own {
            if key.tags != TagSet::default() {
                entry(key.tags.resolve(input.names), values_of(cell, metric.unit, seconds));
            }
        }
    }
    entries
}

fn derived(plan: &Plan, derived: &DerivedValue) -> Option<DerivedSummary> {
    let declared = plan.derived.iter().find(|it| it.name == derived.name)?;
    let unit = plan.registry.get(plan.registry.find(&derived.name)?).unit;
    let ends = |ends: &[f64; 2]| ends.iter().all(|end| end.is_finite());
    Some(DerivedSummary {
        name: derived.name.clone(),
        source: declared.source.clone(),
        unit,
        value: derived.value.filter(|value| value.is_finite()),
        interval: derived.interval.filter(ends),
        why: derived.why.clone(),
    })
}

/// A derived metric: its estimate, and the ends of its interval as minimum and maximum.
fn gauge_of(derived: &DerivedValue) -> Values {
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    let value = finite(derived.value);
    let [min, max] = derived.interval.map_or([value; 2], |ends| ends.map(|end| finite(Some(end))));
    Values::Gauge { value, min, max, avg: value }
}

/// Which metric.
#[derive(Clone, Debug)]
struct MetricHead {
    name: String,
    kind: Kind,
    unit: Unit,
}

fn head(metric: &crate::metric::Metric) -> MetricHead {
    MetricHead { name: metric.name.clone(), kind: metric.kind, unit: metric.unit }
}

/// What was measured in so many seconds.
pub(in crate::run) fn values_of(cell: &Cell<u64>, unit: Unit, seconds: f64) -> Values {
    match cell {
        Cell::Counter(count) => Values::Counter {
            count: finite(*count),
            per_second: Some(count / seconds).filter(|rate| rate.is_finite()),
        },
        Cell::Rate(rate) => {
            Values::Rate { rate: rate.share(), passes: rate.hits, total: rate.total }
        }
        Cell::Gauge(gauge) => {
            let some =
                |value: f64| Some(value).filter(|value| gauge.count > 0 && value.is_finite());
            Values::Gauge {
                value: some(gauge.last),
                min: some(gauge.min),
                max: some(gauge.max),
                avg: gauge.avg().filter(|value| value.is_finite()),
            }
        }
        Cell::Trend(trend) => {
            Values::Trend(Box::new(trend_values(trend, &Samples::of(cell), unit.step())))
        }
    }
}

fn trend_values(trend: &Trend<u64>, samples: &Samples, step: f64) -> TrendValues {
    let mut at_least = Vec::new();
    let mut value = |name: &str, aggregate| {
        let Figure { low, high, .. } = samples.figure(aggregate, step, 0.0)?;
        if high.is_infinite() {
            at_least.push(name.to_owned());
        }
        let value = if high.is_finite() { high } else { low };
        Some(value).filter(|value| value.is_finite())
    };
    let med = value("med", Aggregate::Median);
    let values = TrendValues {
        count: trend.values.len(),
        censored: trend.censored.len(),
        at_least: Vec::new(),
        mean: value("mean", Aggregate::Mean),
        stddev: trend.stddev().map(|stddev| stddev * step).filter(|value| value.is_finite()),
        min: value("min", Aggregate::Min),
        med,
        max: value("max", Aggregate::Max),
        p50: value("p(50)", Aggregate::Percentile(50.0)),
        p90: value("p(90)", Aggregate::Percentile(90.0)),
        p95: value("p(95)", Aggregate::Percentile(95.0)),
        p99: value("p(99)", Aggregate::Percentile(99.0)),
        p999: value("p(99.9)", Aggregate::Percentile(99.9)),
        histogram: encode(trend),
    };
    TrendValues { at_least, ..values }
}

/// The known samples of a trend, or nothing if they cannot be encoded (counts beyond 2^63).
fn encode(trend: &Trend<u64>) -> String {
    let mut bytes = Vec::new();
    match V2DeflateSerializer::new().serialize(&trend.values, &mut bytes) {
        Ok(_) => STANDARD.encode(bytes),
        Err(_) => String::new(),
    }
}

/// The checks of the iterations, by group and name.
fn checks(input: &SummaryInput<'_>) -> Vec<CheckSummary> {
    let mut checks: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for (key, cell) in input.totals.series() {
        let Cell::Rate(rate) = cell else { continue };
        if key.metric != Builtin::Checks.id() || key.tags.phase != Phase::Main {
            continue;
        }
        let text = |name| input.names.resolve(name).to_string();
        let counts = checks.entry((text(key.tags.group), text(key.tags.check))).or_default();
        counts.0 += rate.hits;
        counts.1 += rate.total - rate.hits.min(rate.total);
    }
    let check = |((group, name), (passes, fails))| CheckSummary { name, group, passes, fails };
    checks.into_iter().map(check).collect()
}

#[cfg(test)]
mod tests;
