//! Runs against runs: which figures of their summaries are compared, and which runs may be.
//!
//! An invalid run, or one that was cut off, is compared with nothing; runs of different machines are not
//! compared unless somebody says so, and then it is said with the result. What else differs between the
//! sides is remarked on. The statistics are [`crate::verdict::comparison`]'s.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::summary::{Environment, Summary};
use crate::{
    diagnostic::Diagnostic,
    metric::{Builtin, Kind, Selector},
    plan::{
        Severity,
        threshold::{Aggregate, Comparison as Limit, FigureName, asked},
    },
    verdict::{
        Cause, Status,
        comparison::{self, Better, Design, Finding, Outcome, PRIMARY, Subject, better},
        unit_of,
    },
};

/// The version of this format; a change that breaks a reader counts it up.
pub const SCHEMA: &str = "wavetank.comparison/1";

/// A figure that censored samples leave open by less than this part is known.
const OPEN: f64 = 0.01;
/// Times of the base that are kept.
const MOST_TIMES: usize = 100;
/// Times of the runner and the guest, which say nothing of the system.
const OWN: [&str; 3] = ["dispatch_delay", "runner_", "guest_"];

/// What came of comparing runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Comparison {
    /// `wavetank.comparison/1`
    pub schema: String,
    /// The runs that were compared with.
    pub base: Vec<Compared>,
    /// The runs that were judged.
    pub new: Vec<Compared>,
    /// How they were set against each other.
    pub design: Design,
    /// A change for the worse beyond this is a regression: 0.1 is 10 %.
    pub tolerance: f64,
    /// The worst of the findings.
    pub outcome: Outcome,
    /// By metric.
    pub findings: Vec<Finding>,
    /// All times together: the geometric mean of their ratios.
    pub times: Option<f64>,
    /// What the reader should know.
    pub remarks: Vec<String>,
    /// Times of the runs that were compared with, for a chart to lay under those of another run.
    #[serde(default)]
    pub base_times: Vec<BaseTime>,
}

/// A time of the runs that were compared with: medians over the runs of what each has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BaseTime {
    /// The workload, of a suite; empty of a single one.
    pub workload: String,
    /// The metric.
    pub metric: String,
    /// The operation; null for all of the metric.
    pub op: Option<String>,
    /// 50th percentile, in the metric's unit; null where censored samples leave it open.
    pub p50: Option<f64>,
    /// 90th percentile, likewise.
    #[serde(default)]
    pub p90: Option<f64>,
    /// 95th percentile, likewise.
    #[serde(default)]
    pub p95: Option<f64>,
    /// 99th percentile, likewise.
    pub p99: Option<f64>,
    /// 99.9th percentile, likewise.
    #[serde(default)]
    pub p999: Option<f64>,
}

impl BaseTime {
    /// What is known of it, by percentile.
    pub fn percentiles(&self) -> impl Iterator<Item = (f64, f64)> {
        let Self { p50, p90, p95, p99, p999, .. } = *self;
        [(50.0, p50), (90.0, p90), (95.0, p95), (99.0, p99), (99.9, p999)]
            .into_iter()
            .filter_map(|(percent, time)| Some((percent, time?)))
    }
}

/// A run that was compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Compared {
    /// Identifies it in the history.
    pub id: String,
    /// Name of its plan.
    pub name: String,
    /// When it started, RFC 3339.
    pub started: String,
}

/// How to compare.
#[derive(Clone, Debug)]
pub struct Terms {
    /// As pairs, run by run, or as sets.
    pub design: Design,
    /// A change for the worse beyond this is a regression.
    pub tolerance: f64,
    /// The figures; the primary ones if none are named.
    pub metrics: Vec<FigureName>,
    /// Compares runs of different machines, and says so.
    pub other_machine: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            design: Design::Sets,
            tolerance: comparison::TOLERANCE,
            metrics: Vec::new(),
            other_machine: false,
        }
    }
}

/// Why runs were not compared.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{diagnostic}")]
pub struct Refused {
    /// What kind of fault it is.
    pub cause: Cause,
    /// What to tell.
    pub diagnostic: Diagnostic,
}

/// Compares the runs of two sides, as far as they may be.
pub fn compare(
    base: &[Summary],
    new: &[Summary],
    terms: &Terms,
) -> Result<Comparison, Box<Refused>> {
    let mut remarks = Vec::new();
    let (base, new) = usable(base, new, terms.design, &mut remarks)?;
    let both: Vec<&Summary> = base.iter().chain(&new).copied().collect();
    machines(&both, terms.other_machine, &mut remarks)?;
    differences(&base, &new, &mut remarks);
    let wanted = if terms.metrics.is_empty() {
        primary(&new, &base)
    } else {
        terms.metrics.iter().map(|name| Wanted::named(name, &both)).collect::<Result<_, _>>()?
    };
    let subjects = wanted.iter().map(|wanted| wanted.subject(&base, &new)).collect();
    let findings = comparison::compare(subjects, terms.design, terms.tolerance);
    let of_time = |it: &&Finding| it.unit == "ns" && it.better == Better::Lower;
    let times: Vec<Finding> = findings.iter().filter(of_time).cloned().collect();
    Ok(Comparison {
        schema: SCHEMA.to_owned(),
        base: base.iter().map(|run| Compared::of(run)).collect(),
        new: new.iter().map(|run| Compared::of(run)).collect(),
        design: terms.design,
        tolerance: terms.tolerance,
        outcome: comparison::worst(&findings),
        times: comparison::together(&times),
        findings,
        remarks,
        base_times: base_times(&base),
    })
}

/// The times that the runs of the base have, of each workload: all of a metric, and each of its operations.
fn base_times(base: &[&Summary]) -> Vec<BaseTime> {
    let mut times = Vec::new();
    for (workload, metric, op) in base.first().map_or_else(Vec::new, |run| timed(run)) {
        let tags = [("workload", workload.as_deref()), ("op", op.as_deref())];
        let tags = tags.into_iter().filter_map(|(key, it)| Some((key.to_owned(), it?.to_owned())));
        let selector = Selector(tags.collect());
        let percentile = |percent| {
            let wanted = Wanted::new(&metric, selector.clone(), Aggregate::Percentile(percent));
            let figures: Vec<f64> = base.iter().filter_map(|run| wanted.figure(run)).collect();
            comparison::median(&figures)
        };
        let [p50, p90, p95, p99, p999] = [50.0, 90.0, 95.0, 99.0, 99.9].map(percentile);
        let workload = workload.unwrap_or_default();
        let time = BaseTime { workload, metric, op, p50, p90, p95, p99, p999 };
        if time.percentiles().next().is_some() {
            times.push(time);
        }
        if times.len() == MOST_TIMES {
            break;
        }
    }
    times
}

/// Workload (of a suite), metric and operation of each time in a summary, in its order.
fn timed(run: &Summary) -> Vec<(Option<String>, String, Option<String>)> {
    let suite = run.is_joined();
    let mut all = Vec::new();
    for metric in &run.metrics {
        let workload = metric.tags.get("workload").cloned().filter(|_| suite);
        let own = OWN.iter().any(|own| metric.name.starts_with(own));
        if metric.kind != Kind::Trend || own || (suite && workload.is_none()) {
            continue;
        }
        for op in [None, metric.tags.get("op").cloned()] {
            let time = (workload.clone(), metric.name.clone(), op);
            if !all.contains(&time) {
                all.push(time);
            }
        }
    }
    all
}

/// Whether a run is one that others may be compared with, and if not, why.
pub fn objection(run: &Summary) -> Option<&'static str> {
    match run.verdict.status {
        Status::Invalid => Some("is invalid: the runner, not the system, was the limit"),
        _ if !run.run.complete => Some("was cut off"),
        _ => None,
    }
}

/// How the machine of one environment is another one than that of another; `None` for the same.
pub fn other_machine(one: &Environment, other: &Environment) -> Option<String> {
    let differs = |what: &str, one: String, other: String| {
        (one != other).then(|| format!("{what} {one} and {other}"))
    };
    // A kernel keeps a little of the memory for itself, and not always the same.
    let memory = one.ram_bytes.abs_diff(other.ram_bytes) as f64 > 0.05 * one.ram_bytes as f64;
    differs("processor", one.cpu.clone(), other.cpu.clone())
        .or_else(|| differs("cores", one.cores.to_string(), other.cores.to_string()))
        .or_else(|| {
            let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
            memory.then(|| {
                let (one, other) = (gigabytes(one.ram_bytes), gigabytes(other.ram_bytes));
                format!("memory {one} and {other}")
            })
        })
}

/// How a run stands against the ones that it was started with as its baseline; its record keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgainstBaseline {
    /// They were compared.
    Compared(Box<Comparison>),
    /// They were not, and why.
    Refused(String),
}

impl Summary {
    /// Compares this run with the ones that it was started with as its baseline.
    pub fn against(&self, baseline: &[Self], terms: &Terms) -> AgainstBaseline {
        let why = if let Some(why) = objection(self) {
            format!("this run {why}")
        } else if let Some(other) = baseline.iter().find(|run| run.run.name != self.run.name) {
            format!("that is a run of `{}`", other.run.name)
        } else {
            match compare(baseline, std::slice::from_ref(self), terms) {
                Ok(found) => return AgainstBaseline::Compared(Box::new(found)),
                Err(refused) => refused.diagnostic.message,
            }
        };
        AgainstBaseline::Refused(why)
    }

    /// Takes what was found against the baseline, and lets the verdict know: one run against fewer than five
    /// is a warning at most.
    pub fn set_against(&mut self, found: AgainstBaseline, fail_on_warn: bool) {
        let found = match found {
            AgainstBaseline::Compared(found) => *found,
            AgainstBaseline::Refused(why) => {
                self.remarks.push(format!("not compared with the baseline: {why}"));
                return;
            }
        };
        let verdict = &mut self.verdict;
        let names = |outcome| {
            let own = found.findings.iter().filter(move |finding| finding.outcome == outcome);
            own.map(|finding| finding.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        match found.outcome {
            Outcome::Regression => {
                verdict.causes.push(Cause::Regression);
                Cause::settle(&mut verdict.causes);
                if verdict.status != Status::Invalid {
                    verdict.status = Status::Fail;
                }
                let names = names(Outcome::Regression);
                verdict.reasons.push(format!("regression against the baseline: {names}"));
            }
            Outcome::Warning => {
                if verdict.status == Status::Pass {
                    verdict.status = Status::Warn;
                }
                let names = names(Outcome::Warning);
                verdict.reasons.push(format!("worse than the baseline: {names}"));
            }
            _ => {}
        }
        verdict.exit_code = Cause::exit_code(&verdict.causes, verdict.status, fail_on_warn);
        self.baseline = Some(found);
    }
}

impl Compared {
    fn of(run: &Summary) -> Self {
        let run = &run.run;
        Self { id: run.id.clone(), name: run.name.clone(), started: run.started.clone() }
    }
}

/// The runs of both sides that may be compared; of pairs only whole ones.
fn usable<'a>(
    base: &'a [Summary],
    new: &'a [Summary],
    design: Design,
    remarks: &mut Vec<String>,
) -> Result<(Vec<&'a Summary>, Vec<&'a Summary>), Box<Refused>> {
    let mut fits = |run: &Summary| match objection(run) {
        Some(why) => {
            remarks.push(format!("{} {why}, and was left out", run.run.id));
            false
        }
        None => true,
    };
    let (base, new): (Vec<_>, Vec<_>) = match design {
        Design::Pairs => {
            // Both are looked at, so that both are remarked on.
            base.iter().zip(new).filter(|(a, b)| fits(a) & fits(b)).unzip()
        }
        Design::Sets => (
            base.iter().filter(|run| fits(run)).collect(),
            new.iter().filter(|run| fits(run)).collect(),
        ),
    };
    if !base.is_empty() && !new.is_empty() {
        return Ok((base, new));
    }
    let why = if remarks.is_empty() { "there is none".to_owned() } else { remarks.join("; ") };
    Err(Box::new(Refused {
        cause: Cause::NotShown,
        diagnostic: Diagnostic::new(format!("a side has no run that can be compared: {why}")).help(
            "an invalid run is compared with nothing: run it again, with less load or more cores",
        ),
    }))
}

/// Refuses runs of different machines, or remarks on them.
fn machines(
    runs: &[&Summary],
    allowed: bool,
    remarks: &mut Vec<String>,
) -> Result<(), Box<Refused>> {
    let Some(first) = runs.first() else { return Ok(()) };
    let other = runs.iter().find_map(|run| {
        let how = other_machine(&first.environment, &run.environment)?;
        Some((&run.run.id, how))
    });
    let Some((id, how)) = other else { return Ok(()) };
    let words = format!("{} and {id} ran on different machines ({how})", first.run.id);
    if allowed {
        remarks.push(format!("{words}: differences may be the machines'"));
        return Ok(());
    }
    Err(Box::new(Refused {
        cause: Cause::Configuration,
        diagnostic: Diagnostic::new(words)
            .help("compare runs of one machine; --allow other-machine compares them all the same"),
    }))
}

/// A name, and what of a run bears it.
type Look<'a> = (&'a str, &'a dyn Fn(&Summary) -> String);

/// Remarks on what else differs between the sides.
fn differences(base: &[&Summary], new: &[&Summary], remarks: &mut Vec<String>) {
    let first = |text: &str| text.split([':', ' ']).next().unwrap_or_default().to_owned();
    let looks: [Look<'_>; 8] = [
        ("workloads", &|run| run.run.name.clone()),
        ("files", &|run| {
            let digests = run.run.workloads.iter().map(|it| it.digest.chars().take(15).collect());
            digests.collect::<Vec<String>>().join(" ")
        }),
        ("buses", &|run| first(&run.environment.bus)),
        ("databases", &|run| first(&run.environment.database)),
        ("kernels", &|run| run.environment.kernel.clone()),
        ("versions of this tool", &|run| run.run.version.clone()),
        ("scales (--quick)", &|run| run.run.scale.to_string()),
        ("numbers of shards", &|run| run.run.shards.to_string()),
    ];
    for (what, look) in looks {
        let set = |runs: &[&Summary]| runs.iter().map(|run| look(run)).collect::<BTreeSet<_>>();
        let (base, new) = (set(base), set(new));
        if base != new {
            let words = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(", ");
            remarks.push(format!("different {what}: {} and {}", words(base), words(new)));
        }
    }
}

/// A figure that is wanted of each run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    name: String,
    metric: String,
    selector: Selector,
    aggregate: Aggregate,
    /// Divided by the count of that, if by anything.
    per: Option<Builtin>,
    /// How a threshold on it compares.
    limit: Option<Limit>,
}

impl Wanted {
    fn new(metric: &str, selector: Selector, aggregate: Aggregate) -> Self {
        let name = format!("{metric}.{}{}", aggregate.text(), selector.text());
        Self { name, metric: metric.to_owned(), selector, aggregate, per: None, limit: None }
    }

    /// What somebody named; the metric must be one of the runs'.
    pub(super) fn named(name: &FigureName, runs: &[&Summary]) -> Result<Self, Box<Refused>> {
        let kind = runs.iter().find_map(|run| run.kind_of(&name.metric)).ok_or_else(|| {
            let names = runs.iter().flat_map(|run| &run.metrics).map(|it| it.name.as_str());
            let near = crate::diagnostic::nearest(&name.metric, names);
            let diagnostic = Diagnostic::new(format!("no run has a metric `{}`", name.metric));
            Box::new(Refused {
                cause: Cause::Configuration,
                diagnostic: diagnostic.help(near.map_or_else(
                    || "see `metrics` in a run's summary.json".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                )),
            })
        })?;
        let aggregate = name.aggregate.unwrap_or(match kind.0 {
            Kind::Trend => Aggregate::Percentile(99.0),
            Kind::Counter | Kind::Rate => Aggregate::Rate,
            Kind::Gauge => Aggregate::Value,
        });
        let mut wanted = Self::new(&name.metric, name.selector.clone(), aggregate);
        wanted.limit = runs
            .iter()
            .flat_map(|run| limits(run))
            .find_map(|limit| (limit.name == wanted.name).then_some(limit.limit).flatten());
        Ok(wanted)
    }

    /// Its value in a run; `None` where it was not measured or censored samples leave it open.
    pub(super) fn figure(&self, run: &Summary) -> Option<f64> {
        let stored = run.figure(&self.metric, &self.selector, self.aggregate)?;
        let high = stored.high?;
        if high - stored.low > OPEN * high.abs() {
            return None;
        }
        let value = f64::midpoint(stored.low, high);
        let Some(per) = self.per else { return Some(value) };
        let work = run.figure(per.name(), &Selector::default(), Aggregate::Count)?.low;
        (work > 0.0).then(|| value / work)
    }

    /// Its values in the runs of both sides.
    pub(super) fn subject(&self, base: &[&Summary], new: &[&Summary]) -> Subject {
        let kind = base.iter().chain(new).find_map(|run| run.kind_of(&self.metric));
        let figures = |runs: &[&Summary]| runs.iter().map(|run| self.figure(run)).collect();
        Subject {
            name: self.name.clone(),
            unit: kind.map_or_else(String::new, |(kind, unit)| unit_of(kind, unit, self.aggregate)),
            better: kind.map_or(Better::Unknown, |kind| {
                better(&self.metric, kind, self.aggregate, self.limit)
            }),
            base: figures(base),
            new: figures(new),
        }
    }
}

/// The figures that are compared where none are named: those that thresholds limit, the rate of iterations,
/// p99 of requests, and CPU of the targets per request or iteration; at most six.
fn primary(new: &[&Summary], base: &[&Summary]) -> Vec<Wanted> {
    let all = || new.iter().chain(base);
    let measured = |wanted: &Wanted| all().any(|run| wanted.figure(run).is_some());
    let own = Selector::default;
    let requests = Wanted::new(Builtin::BusRequests.name(), own(), Aggregate::Count);
    let asks = all().any(|run| requests.figure(run).is_some_and(|count| count > 0.0));
    let work = if asks { Builtin::BusRequests } else { Builtin::Iterations };
    let cpu = Wanted::new(Builtin::TargetCpuSeconds.name(), own(), Aggregate::Count);
    let cpu =
        Wanted { name: format!("{} / {}.count", cpu.name, work.name()), per: Some(work), ..cpu };
    let p99 = Aggregate::Percentile(99.0);
    let always = [
        Wanted::new(Builtin::Iterations.name(), own(), Aggregate::Rate),
        Wanted::new(Builtin::BusRequestDuration.name(), own(), p99),
        cpu,
    ];
    let always: Vec<Wanted> = always.into_iter().filter(&measured).collect();
    let mut wanted: Vec<Wanted> = Vec::new();
    for limit in [new.first(), base.first()].into_iter().flatten().flat_map(|run| limits(run)) {
        let known = wanted.iter().chain(&always).any(|it| it.name == limit.name);
        if !known && wanted.len() + always.len() < PRIMARY && measured(&limit) {
            wanted.push(limit);
        }
    }
    wanted.extend(always);
    wanted
}

/// The figures that thresholds of a run limit. What is to be equal to something is either that or not, and
/// its threshold says so.
fn limits(run: &Summary) -> Vec<Wanted> {
    let counts = |status| !matches!(status, Status::NotApplicable | Status::KnownFailing);
    let judged = run.thresholds.iter();
    let judged = judged.filter(|it| it.severity != Severity::Info && counts(it.status));
    let figures = judged.flat_map(|threshold| {
        asked(&threshold.expression).into_iter().filter_map(|(aggregate, limit)| {
            if matches!(limit, Limit::Equal | Limit::NotEqual) {
                return None;
            }
            let name = format!("{}{}", threshold.metric, threshold.selector);
            let mut selector = FigureName::parse(&name).ok()?.selector;
            if let Some(row) = &threshold.row {
                selector.0.insert("row".to_owned(), tag_of_row(run, row)?);
            }
            let wanted = Wanted::new(&threshold.metric, selector, aggregate);
            Some(Wanted { limit: Some(limit), ..wanted })
        })
    });
    figures.collect()
}

/// The tag that the series of a row bear in a suite's summary: a workload may cover several.
fn tag_of_row(run: &Summary, row: &str) -> Option<String> {
    let tags = run.metrics.iter().filter_map(|metric| metric.tags.get("row"));
    tags.into_iter().find(|tag| tag.split('+').any(|name| name == row)).cloned()
}

#[cfg(test)]
mod tests;
