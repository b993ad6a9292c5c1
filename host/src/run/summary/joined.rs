//! The summary of a suite, from those of its workloads.
//!
//! Everything keeps the name of where it came from: series bear the tags `workload` and, where it covers
//! rows, `row`; scenarios and errors the workload's name. What is one figure of the whole suite, a
//! metric without tags, is made of the samples themselves and not of the parts' figures: percentiles are
//! never averaged.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    MetricHead, MetricSummary, RunInfo, Summary, SummaryInput, VerdictInfo, WorkloadInfo, head,
    values_of,
};
use crate::{
    metric::{Cell, Selector},
    verdict::{Cause, RunnerFacts, Status},
};

/// A workload of a suite, run and judged.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its own summary.
    pub summary: Summary,
    /// All samples of each of its metrics.
    totals: Vec<(MetricHead, Cell<u64>)>,
}

/// What a suite's summary is made of, beside its parts.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Which run; its duration is the sum of the parts'.
    pub run: RunInfo,
    /// Rows whose workloads were not run.
    pub skipped: Vec<super::Row>,
    /// Names of the rows, in the suite's order.
    pub order: Vec<String>,
    /// `--fail-on warn`
    pub fail_on_warn: bool,
    /// Why the suite ended before its last workload.
    pub cut: Option<(Cause, String)>,
}

impl Part {
    /// Makes the summary of a workload, and keeps what a suite's is made of.
    pub fn new(input: SummaryInput<'_>) -> Self {
        let registry = &input.plan.registry;
        let measured: BTreeSet<_> =
            input.totals.series().iter().map(|(key, _)| key.metric).collect();
        let totals = registry.iter().filter(|(id, _)| measured.contains(id)).map(|(id, metric)| {
            (head(metric), input.totals.select(registry, input.names, id, &Selector::default()))
        });
        Self { totals: totals.collect(), summary: Summary::build(input) }
    }

    /// What its figures are told apart by in a suite.
    fn tags(&self) -> BTreeMap<String, String> {
        let rows: Vec<_> = self.summary.rows.iter().map(|row| row.row.as_str()).collect();
        let row = (!rows.is_empty()).then(|| ("row".to_owned(), rows.join("+")));
        let workload = ("workload".to_owned(), self.summary.run.name.clone());
        row.into_iter().chain([workload]).collect()
    }
}

impl Suite {
    /// Joins the parts, in the order in which they ran.
    pub fn join(self, parts: Vec<Part>) -> Summary {
        let mut joined = self.empty(&parts);
        joined.metrics = totals(&parts, joined.run.duration_s);
        for part in parts {
            let tags = part.tags();
            let name = part.summary.run.name.clone();
            let named = |text: String| format!("{name}: {text}");
            let within = |text: &mut String| *text = group(&name, text);
            let offset = joined.thresholds.len();
            let summary = part.summary;
            move_into(&mut joined.rows, summary.rows, |row| {
                row.thresholds.iter_mut().for_each(|index| *index += offset);
            });
            joined.thresholds.extend(summary.thresholds);
            move_into(&mut joined.metrics, summary.metrics, |metric| {
                metric.tags.extend(tags.clone());
            });
            move_into(&mut joined.scaling, summary.scaling, |it| within(&mut it.scenario));
            move_into(&mut joined.searches, summary.searches, |it| within(&mut it.scenario));
            move_into(&mut joined.derived, summary.derived, |it| within(&mut it.name));
            move_into(&mut joined.checks, summary.checks, |it| within(&mut it.group));
            move_into(&mut joined.scenarios, summary.scenarios, |it| within(&mut it.name));
            move_into(&mut joined.errors, summary.errors, |it| within(&mut it.scenario));
            move_into(&mut joined.targets, summary.targets, |it| within(&mut it.name));
            joined.remarks.extend(summary.remarks.into_iter().map(named));
            joined.verdict.causes.extend(summary.verdict.causes);
            joined.verdict.reasons.extend(summary.verdict.reasons.into_iter().map(named));
        }
        joined.rows.extend(self.skipped);
        joined.rows.sort_by_key(|row| self.order.iter().position(|name| *name == row.row));
        let verdict = &mut joined.verdict;
        Cause::settle(&mut verdict.causes);
        verdict.exit_code = Cause::exit_code(&verdict.causes, verdict.status, self.fail_on_warn);
        joined
    }

    /// The joined summary without what comes of each part.
    fn empty(&self, parts: &[Part]) -> Summary {
        let all = || parts.iter().map(|part| &part.summary);
        let run = RunInfo {
            duration_s: all().map(|part| part.run.duration_s).sum(),
            seed: all().map(|part| part.run.seed).next().unwrap_or_default(),
            scale: all().map(|part| part.run.scale).fold(1.0, f64::min),
            shards: all().map(|part| part.run.shards).max().unwrap_or_default(),
            workloads: all().flat_map(workloads).collect(),
            complete: self.cut.is_none() && all().all(|part| part.run.complete),
            ..self.run.clone()
        };
        let mut statuses: Vec<_> = all().map(|part| part.verdict.status).collect();
        statuses.extend(self.cut.as_ref().map(|_| Status::Fail));
        let order = [Status::Invalid, Status::Fail, Status::Warn];
        let status = order.into_iter().find(|status| statuses.contains(status));
        Summary {
            schema: super::SCHEMA.to_owned(),
            run,
            verdict: VerdictInfo {
                status: status.unwrap_or(Status::Pass),
                exit_code: 0,
                causes: self.cut.iter().map(|(cause, _)| *cause).collect(),
                reasons: self.cut.iter().map(|(_, text)| text.clone()).collect(),
            },
            rows: Vec::new(),
            thresholds: Vec::new(),
            metrics: Vec::new(),
            derived: Vec::new(),
            scaling: Vec::new(),
            searches: Vec::new(),
            checks: Vec::new(),
            scenarios: Vec::new(),
            errors: Vec::new(),
            baseline: None,
            remarks: Vec::new(),
            targets: Vec::new(),
            runner: runner(parts),
            environment: all().next().map(|part| part.environment.clone()).unwrap_or_default(),
        }
    }
}

/// The workloads of a part, with how long it took and what it covered.
fn workloads(part: &Summary) -> impl Iterator<Item = WorkloadInfo> {
    let rows: Vec<_> = part.rows.iter().map(|row| row.row.clone()).collect();
    let duration_s = part.run.duration_s;
    let own = part.run.workloads.clone().into_iter();
    own.map(move |workload| WorkloadInfo { rows: rows.clone(), duration_s, ..workload })
}

/// `workload › name`
fn group(workload: &str, name: &str) -> String {
    if name.is_empty() { workload.to_owned() } else { format!("{workload} › {name}") }
}

/// Moves what a part has behind what is there, each changed on its way.
fn move_into<T>(all: &mut Vec<T>, mut own: Vec<T>, change: impl FnMut(&mut T)) {
    own.iter_mut().for_each(change);
    all.append(&mut own);
}

/// One entry for each metric, of the samples of all parts. Two workloads may give one name to different
/// things; those stay apart.
fn totals(parts: &[Part], duration_s: f64) -> Vec<MetricSummary> {
    let mut merged: Vec<(MetricHead, Cell<u64>)> = Vec::new();
    let mut apart = BTreeSet::new();
    for (head, cell) in parts.iter().flat_map(|part| &part.totals) {
        match merged.iter_mut().find(|(known, _)| known.name == head.name) {
            Some((known, _)) if (known.kind, known.unit) != (head.kind, head.unit) => {
                apart.insert(head.name.clone());
            }
            Some((_, all)) => all.merge(cell),
            None => merged.push((head.clone(), cell.clone())),
        }
    }
    merged.retain(|(head, _)| !apart.contains(&head.name));
    merged
        .into_iter()
        .map(|(MetricHead { name, kind, unit }, cell)| MetricSummary {
            values: values_of(&cell, unit, duration_s),
            name,
            kind,
            unit,
            tags: BTreeMap::new(),
        })
        .collect()
}

/// The runner over all parts: sums, and the most.
fn runner(parts: &[Part]) -> RunnerFacts {
    let mut all = RunnerFacts::default();
    let mut seconds = 0.0;
    for Part { summary, .. } in parts {
        let (part, length) = (&summary.runner, summary.run.duration_s);
        seconds += length;
        all.cpu_percent += part.cpu_percent * length;
        all.cores = all.cores.max(part.cores);
        all.cpu_percent_max = all.cpu_percent_max.max(part.cpu_percent_max);
        all.cpu_user_s += part.cpu_user_s;
        all.cpu_system_s += part.cpu_system_s;
        all.rss_bytes = part.rss_bytes;
        all.peak_rss_bytes = all.peak_rss_bytes.max(part.peak_rss_bytes);
        all.empty_operation_ns = all.empty_operation_ns.max(part.empty_operation_ns);
        all.clock_read_ns = all.clock_read_ns.max(part.clock_read_ns);
        all.cold_vus += part.cold_vus;
        all.rested_vus += part.rested_vus;
        all.events_dropped += part.events_dropped;
        all.log_lines_dropped += part.log_lines_dropped;
        all.journal_merged += part.journal_merged;
        all.limits.extend(part.limits.clone());
    }
    if seconds > 0.0 {
        all.cpu_percent /= seconds;
    }
    all
}
