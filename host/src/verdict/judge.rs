//! The fold over snapshots, and the verdict at its end.
//!
//! The judge sees every sample of a run once, as merged histograms, and keeps totals and what windows
//! still need. It asks no clock: the engine says when the run started and what time it is.

use std::{sync::Arc, time::Duration};

use super::{
    Cause, Facts, Judgement, SearchFacts, Status, ThresholdResult,
    course::Courses,
    derived::{self, DerivedValue, Recoveries},
    evaluate::{self, Evaluated, Outcome, Scene, Told},
    growth, scaling,
    slopes::Slopes,
    validity,
    window::{Need, Windows},
};
use crate::{
    clock::Instant,
    metric::{Names, Selector, Snapshot, Totals, Windowed},
    plan::{
        Plan, Row, Severity, Threshold,
        threshold::{Aggregate, Assertion, OnMissing, Operand, Window},
    },
};

/// Judges a run while it goes on.
#[derive(Debug)]
pub struct Judge {
    plan: Arc<Plan>,
    names: Names,
    totals: Totals,
    windows: Windows,
    recoveries: Recoveries,
    slopes: Slopes,
    courses: Courses,
    start: Option<Instant>,
    /// By shard: until when its snapshots tell.
    told: Vec<Instant>,
}

/// What a judged threshold does to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    None,
    Warn,
    NotShown,
    Fail,
    Invalid,
}

impl Judge {
    /// A judge of a plan's thresholds, in a run on this many shards.
    pub fn new(plan: Arc<Plan>, names: Names, shards: usize) -> Self {
        Self {
            windows: Windows::new(needs(&plan), &plan.registry),
            recoveries: Recoveries::new(&plan),
            slopes: Slopes::new(&plan),
            courses: courses(&plan),
            plan,
            names,
            totals: Totals::default(),
            start: None,
            told: vec![Instant::ZERO; shards],
        }
    }

    /// Says when the first scenario started: from then on windows count.
    pub fn begin(&mut self, start: Instant) {
        if self.start.is_none() {
            self.start = Some(start);
            self.windows.begin(start, &self.plan.registry);
        }
    }

    /// Takes what a shard measured in an interval.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        if let Some(told) = self.told.get_mut(snapshot.shard) {
            *told = snapshot.to.max(*told);
        }
        self.totals.merge(snapshot);
        self.windows.observe(snapshot, &self.plan.registry, &self.names);
        let start = self.start.unwrap_or(snapshot.origin);
        self.recoveries.observe(start, snapshot, &self.plan.registry, &self.names);
        self.slopes.observe(snapshot, &self.names);
        self.courses.observe(start, snapshot, &self.plan.registry, &self.names);
    }

    /// Everything measured so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Each second: the first threshold with `abort_on_fail` that fails, in words. `start` is when the
    /// first scenario started.
    ///
    /// Shards tell once a second, and not all at once: a rate is known within the bounds that this leaves,
    /// a window is judged when all have told it, and what only the run's end defines is not.
    pub fn abort(&mut self, start: Instant, now: Instant) -> Option<String> {
        self.begin(start);
        let elapsed = now.since(start);
        let due = |threshold: &&Threshold| {
            threshold.abort_on_fail
                && !self.plan.is_criterion(threshold)
                && threshold.severity == Severity::Critical
                && elapsed >= threshold.delay_abort_eval
        };
        if !self.plan.thresholds.iter().any(|threshold| due(&threshold)) {
            return None;
        }
        let covered =
            |told: Option<&Instant>| told.map_or(Duration::ZERO, |told| told.since(start));
        let told = Told {
            by_all: covered(self.told.iter().min()),
            by_any: covered(self.told.iter().max()),
        };
        let scene = self.scene(told.by_all, None, &[], Some(told));
        self.plan.thresholds.iter().filter(due).find_map(|threshold| {
            let evaluated = evaluate::threshold(&scene, threshold);
            let failed = evaluated.outcome == Outcome::Missed && !within(threshold, &evaluated);
            failed.then(|| {
                format!(
                    "threshold on `{}{}` failed and stops the run: {}",
                    threshold.metric,
                    threshold.selector.text(),
                    threshold.source
                )
            })
        })
    }

    /// The verdict. `start` is when the first scenario started.
    pub fn finish(&mut self, start: Instant, facts: &Facts) -> Judgement {
        self.begin(start);
        let scene = self.scene(facts.duration, Some(facts), &[], None);
        let scaling = scaling::all(&scene, &self.courses);
        let derived = derived::values(&scene, &self.recoveries, &self.courses, &scaling);
        let scene = self.scene(facts.duration, Some(facts), &derived, None);
        let rows = Rows(&self.plan.rows);
        let mut results = Vec::new();
        let mut effects = Vec::new();
        let best = facts.search.as_ref().and_then(SearchFacts::best);
        for result in best.into_iter().flat_map(|probe| &probe.thresholds) {
            let result = self.of_run(result);
            let row = rows.get(result.row.as_deref());
            let (status, effect) = Rows::status(row, (result.status, of_probe(&result)));
            let at = best.map_or_else(String::new, |probe| format!(" at {}/s", probe.asked));
            let words = format!(
                "{}: {}{} {}{at}",
                status.words(),
                result.metric,
                result.selector,
                result.expression
            );
            effects.push((effect, words));
            let reason = Rows::reason(row, status).or_else(|| result.reason.clone());
            results.push(ThresholdResult { status, reason, ..result });
        }
        for threshold in &self.plan.thresholds {
            // Probe by probe: a rate beyond the maximum misses it, and that is the answer.
            if best.is_some() && self.plan.is_criterion(threshold) {
                continue;
            }
            let evaluated = evaluate::threshold(&scene, threshold);
            let row = rows.get(threshold.row.as_deref());
            if threshold.is_default && matches!(evaluated.outcome, Outcome::NoData(_)) {
                continue;
            }
            let (status, effect) = Rows::status(row, status(threshold, &evaluated));
            effects.push((effect, words(threshold, status, &evaluated)));
            let mut result = result(threshold, status, evaluated);
            result.reason = Rows::reason(row, status).or(result.reason);
            results.push(result);
        }
        effects.extend(rows.surprises(&results));
        let (status, causes, reasons) = verdict(&effects, facts);
        Judgement { status, causes, reasons, thresholds: results, derived, scaling }
    }

    /// A criterion as it stood in a probe, taken as the run takes it: in a probe each is critical, unless it
    /// says itself what it is.
    fn of_run(&self, result: &ThresholdResult) -> ThresholdResult {
        let same = |threshold: &&Threshold| {
            threshold.metric == result.metric
                && threshold.source == result.expression
                && threshold.selector.text() == result.selector
        };
        let own = self.plan.thresholds.iter().find(same);
        let severity = own.map_or(result.severity, |threshold| threshold.severity);
        let status = match (result.status, severity) {
            (Status::Fail, Severity::Warning) => Status::Warn,
            (status, _) => status,
        };
        ThresholdResult { severity, status, ..result.clone() }
    }

    fn scene<'a>(
        &'a self,
        elapsed: Duration,
        facts: Option<&'a Facts>,
        derived: &'a [DerivedValue],
        told: Option<Told>,
    ) -> Scene<'a> {
        Scene {
            plan: &self.plan,
            recoveries: &self.recoveries,
            slopes: &self.slopes,
            told,
            names: &self.names,
            totals: &self.totals,
            windows: &self.windows,
            elapsed,
            end: derived::load_end(&self.plan, elapsed),
            facts,
            derived,
        }
    }
}

/// The courses that a plan's derived metrics are made of.
fn courses(plan: &Plan) -> Courses {
    let needs = growth::needs(plan).into_iter().chain(scaling::needs(plan));
    Courses::new(needs, &plan.registry)
}

/// What recorders must keep per second for the judge of a plan: what windows of thresholds, recovery
/// times and slopes are about, and the runner's own lateness beside it.
pub fn windowed(plan: &Plan) -> Vec<Windowed> {
    let (recoveries, courses) = (Recoveries::new(plan), courses(plan));
    let needs = needs(plan).into_iter().map(|need| (need.metric, need.selector));
    let watched = recoveries.needs().chain(courses.needs());
    let watched = watched.map(|(metric, selector)| (metric, selector.clone()));
    let mut windowed: Vec<Windowed> = Vec::new();
    let slopes = Slopes::new(plan);
    let slopes = slopes.needs().map(|(metric, selector)| (metric, selector.clone()));
    for (metric, selector) in needs.chain(watched).chain(slopes) {
        let family = Windowed { metric, selector };
        if !windowed.contains(&family) {
            windowed.push(family);
        }
    }
    windowed
}

/// The windowed figures that a plan's thresholds ask for, and the runner's beside them.
fn needs(plan: &Plan) -> Vec<Need> {
    let mut needs = validity::beside_recoveries(plan);
    for threshold in &plan.thresholds {
        for assertion in threshold.expression.0.iter().flatten() {
            needs.extend(own_needs(plan, threshold, assertion).into_iter().flatten());
            needs.extend(operand_need(plan, threshold, assertion));
        }
    }
    needs
}

fn own_needs(plan: &Plan, threshold: &Threshold, assertion: &Assertion) -> Option<Vec<Need>> {
    let (metric, window) = (plan.registry.find(&threshold.metric)?, assertion.window?);
    let selector = threshold.selector.clone();
    let beside = validity::beside(plan, metric, &selector);
    let mut needs = vec![Need { metric, selector, window, aggregate: assertion.aggregate }];
    needs.extend(beside.into_iter().map(|(metric, selector)| Need {
        metric,
        selector,
        window,
        aggregate: Aggregate::Percentile(99.0),
    }));
    Some(needs)
}

fn operand_need(plan: &Plan, threshold: &Threshold, assertion: &Assertion) -> Option<Need> {
    let Operand::Figure { metric, aggregate, selector, window, .. } = &assertion.operand else {
        return None;
    };
    let name = metric.as_ref().unwrap_or(&threshold.metric);
    let inherited =
        if *name == threshold.metric { threshold.selector.clone() } else { Selector::default() };
    Some(Need {
        metric: plan.registry.find(name)?,
        selector: selector.clone().unwrap_or(inherited),
        window: (*window)?,
        aggregate: *aggregate,
    })
}

fn within(threshold: &Threshold, evaluated: &Evaluated) -> bool {
    // A miss by a whole `warn_within` is within it, whatever floating point makes of the difference.
    threshold.warn_within.is_some_and(|margin| evaluated.miss <= margin * (1.0 + 1e-9))
}

/// The status of a threshold, and what it does to the run.
fn status(threshold: &Threshold, evaluated: &Evaluated) -> (Status, Effect) {
    let missing = |on_missing| match on_missing {
        OnMissing::Fail => Effect::NotShown,
        OnMissing::Warn => Effect::Warn,
        OnMissing::Pass => Effect::None,
    };
    let (status, effect) = match &evaluated.outcome {
        Outcome::Holds => (Status::Pass, Effect::None),
        Outcome::Missed if within(threshold, evaluated) => (Status::Warn, Effect::Warn),
        Outcome::Missed if threshold.severity == Severity::Warning => (Status::Warn, Effect::Warn),
        Outcome::Missed => (Status::Fail, Effect::Fail),
        Outcome::NoData(_) => (Status::NoData, missing(threshold.no_data)),
        Outcome::Insufficient(_) => (Status::Insufficient, missing(threshold.insufficient)),
        Outcome::Excused(_) => (Status::Insufficient, Effect::None),
        Outcome::Invalid(_) => (Status::Invalid, Effect::Invalid),
    };
    match threshold.severity {
        Severity::Critical => (status, effect),
        Severity::Warning => (status, effect.min(Effect::Warn)),
        Severity::Info => (status, Effect::None),
    }
}

/// What the rows of a catalogue make of their thresholds.
struct Rows<'a>(&'a [Row]);

impl<'a> Rows<'a> {
    fn get(&self, name: Option<&str>) -> Option<&'a Row> {
        self.0.iter().find(|row| Some(row.name.as_str()) == name)
    }

    /// A threshold of a row that does not apply here is not judged; a miss of one that is known to fail is
    /// no news. No data is news always: a row that measured nothing does not fail as it is known to.
    fn status(row: Option<&Row>, (status, effect): (Status, Effect)) -> (Status, Effect) {
        let Some(row) = row else { return (status, effect) };
        if row.not_applicable.is_some() {
            return (Status::NotApplicable, Effect::None);
        }
        match status {
            Status::Fail | Status::Warn | Status::Insufficient | Status::Invalid
                if row.known_failing.is_some() =>
            {
                (Status::KnownFailing, Effect::None)
            }
            _ => (status, effect),
        }
    }

    /// Why a row's threshold has this status, where the row itself says so.
    fn reason(row: Option<&Row>, status: Status) -> Option<String> {
        match status {
            Status::NotApplicable => row?.not_applicable.clone(),
            Status::KnownFailing => row?.known_failing.clone(),
            _ => None,
        }
    }

    /// Rows that are known to fail, and passed.
    fn surprises(&self, results: &[ThresholdResult]) -> Vec<(Effect, String)> {
        let surprising = |row: &&Row| {
            let mut own = results.iter().filter(|it| it.row.as_ref() == Some(&row.name)).peekable();
            row.known_failing.is_some()
                && row.not_applicable.is_none()
                && own.peek().is_some()
                && own.all(|result| result.status == Status::Pass)
        };
        let words = |row: &Row| {
            let name = &row.name;
            format!(
                "{name} is known to fail, and passed: take its `known_failing` out of the suite"
            )
        };
        self.0.iter().filter(surprising).map(|row| (Effect::Fail, words(row))).collect()
    }
}

/// What a threshold does to the run that was judged on a probe of a search: the best one, or the lowest
/// where none passed.
const fn of_probe(result: &ThresholdResult) -> Effect {
    match (result.severity, result.status) {
        (Severity::Info, _) => Effect::None,
        (_, Status::Warn) | (Severity::Warning, Status::Fail | Status::Invalid) => Effect::Warn,
        (_, Status::Fail) => Effect::Fail,
        (_, Status::Invalid) => Effect::Invalid,
        _ => Effect::None,
    }
}

fn words(threshold: &Threshold, status: Status, evaluated: &Evaluated) -> String {
    let why = match &evaluated.outcome {
        Outcome::NoData(why)
        | Outcome::Insufficient(why)
        | Outcome::Excused(why)
        | Outcome::Invalid(why) => format!(": {why}"),
        Outcome::Holds | Outcome::Missed => String::new(),
    };
    format!(
        "{}: {}{} {}{why}",
        status.words(),
        threshold.metric,
        threshold.selector.text(),
        threshold.source
    )
}

fn result(threshold: &Threshold, status: Status, evaluated: Evaluated) -> ThresholdResult {
    let on_missing = match (status, &evaluated.outcome) {
        (Status::NoData, _) => Some(threshold.no_data),
        (Status::Insufficient, Outcome::Excused(_)) => Some(OnMissing::Pass),
        (Status::Insufficient, _) => Some(threshold.insufficient),
        _ => None,
    };
    let mut reasons = Vec::new();
    match evaluated.outcome {
        Outcome::NoData(why)
        | Outcome::Insufficient(why)
        | Outcome::Excused(why)
        | Outcome::Invalid(why) => reasons.push(why),
        Outcome::Holds | Outcome::Missed => {}
    }
    reasons.extend(evaluated.remarks);
    for assertion in threshold.expression.0.iter().flatten() {
        if let Some(
            Window::First(length)
            | Window::Last(length)
            | Window::Each(length)
            | Window::After(length),
        ) = assertion.window
            && !derived::is_whole(length)
        {
            reasons
                .push(format!("windows are whole seconds: {length:?} was taken as the next one"));
        }
    }
    ThresholdResult {
        metric: threshold.metric.clone(),
        selector: threshold.selector.text(),
        expression: threshold.source.clone(),
        severity: threshold.severity,
        row: threshold.row.clone(),
        status,
        observed: evaluated.observed,
        interval: evaluated.interval,
        limit: evaluated.limit,
        unit: evaluated.unit,
        samples: evaluated.samples,
        censored: evaluated.censored,
        on_missing,
        reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
    }
}

/// Status, causes and reasons of the run.
fn verdict(effects: &[(Effect, String)], facts: &Facts) -> (Status, Vec<Cause>, Vec<String>) {
    let cause = |effect| match effect {
        Effect::Invalid => Some(Cause::Invalid),
        Effect::Fail => Some(Cause::ThresholdsFailed),
        Effect::NotShown => Some(Cause::NotShown),
        Effect::None | Effect::Warn => None,
    };
    let judged = effects.iter().filter_map(|(effect, why)| Some((cause(*effect)?, why.clone())));
    let mut all: Vec<(Cause, String)> = facts.causes.iter().cloned().chain(judged).collect();
    // A stable sort: of one cause, what the engine said comes first, then the plan's order.
    all.sort_by_key(|(cause, _)| *cause);
    let mut causes: Vec<_> = all.iter().map(|(cause, _)| *cause).collect();
    Cause::settle(&mut causes);
    let warned = effects.iter().any(|(effect, _)| *effect == Effect::Warn);
    let status = match causes.as_slice() {
        [] if warned => Status::Warn,
        [] => Status::Pass,
        causes if causes.contains(&Cause::Invalid) => Status::Invalid,
        _ => Status::Fail,
    };
    let mut reasons: Vec<_> = all.into_iter().map(|(_, why)| why).collect();
    if status == Status::Warn {
        let warnings = effects.iter().filter(|(effect, _)| *effect == Effect::Warn);
        reasons.extend(warnings.map(|(_, why)| why.clone()));
    }
    (status, causes, reasons)
}

#[cfg(test)]
mod tests;
