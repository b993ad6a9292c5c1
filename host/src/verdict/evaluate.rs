//! What a threshold's expression comes to: figures, compared, with what is left open said.
//!
//! An expression has more outcomes than true and false. An assertion that certainly fails decides a
//! conjunction, one that certainly holds decides an alternative; what is undecided (invalid, without
//! data, with too few samples) never becomes either.

use std::time::Duration;

use super::{
    Facts,
    derived::{self, DerivedValue, Recoveries},
    interval::minimum_samples,
    samples::{Figure, Samples},
    slopes::Slopes,
    validity,
    window::{Need, View, Windows, whole_seconds},
};
use crate::{
    metric::{Builtin, Cell, Kind, Metric, MetricId, Name, Names, Selector, Totals, Unit},
    plan::{
        Plan, Threshold,
        threshold::{Aggregate, Assertion, Base, Comparison, Operand, Window},
    },
};

/// All that is known of a run, at one moment of it.
pub(super) struct Scene<'a> {
    pub(super) plan: &'a Plan,
    pub(super) names: &'a Names,
    pub(super) totals: &'a Totals,
    pub(super) windows: &'a Windows,
    /// From the first scenario's start until now.
    pub(super) elapsed: Duration,
    /// From the first scenario's start until the load ends; windows end there.
    pub(super) end: Duration,
    /// What the engine knows; only at the end.
    pub(super) facts: Option<&'a Facts>,
    pub(super) derived: &'a [DerivedValue],
    pub(super) recoveries: &'a Recoveries,
    pub(super) slopes: &'a Slopes,
    /// How much of the run is told, while it goes on.
    pub(super) told: Option<Told>,
}

/// Until when the shards have told what they measured, from the first scenario's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// By each of them.
    pub(super) by_all: Duration,
    /// By at least one of them.
    pub(super) by_any: Duration,
}

/// A sample is told when what it measures has ended, and belongs to its start: how long after its end a
/// window that is judged in mid-run is still waited for. What comes later is missing there, and is not in
/// the verdict.
const LATE: Duration = Duration::from_secs(1);
/// The same for figures of services in other processes, which are asked once a second and answer later,
/// and for those of targets, which the run takes once a second.
const LATE_SERVICE: Duration = Duration::from_secs(3);

const NO_BASELINE: &str = "there is no baseline that has samples of it";

/// What an assertion or an expression came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Holds,
    Missed,
    Insufficient(String),
    /// There is no baseline to compare with yet, and there need not be.
    Excused(String),
    NoData(String),
    Invalid(String),
}

/// An outcome with what it was made of.
#[derive(Clone, Debug)]
pub(super) struct Evaluated {
    pub(super) outcome: Outcome,
    pub(super) observed: Option<f64>,
    pub(super) interval: Option<[f64; 2]>,
    pub(super) limit: Option<f64>,
    pub(super) unit: String,
    pub(super) samples: u64,
    pub(super) censored: u64,
    /// What the reader should know.
    pub(super) remarks: Vec<String>,
    /// By how much it is missed: a fraction of the limit, or points of a share.
    pub(super) miss: f64,
}

impl Outcome {
    /// Where it stands in a conjunction, the most decisive first.
    const fn in_conjunction(&self) -> u8 {
        match self {
            Self::Missed => 0,
            Self::Invalid(_) => 1,
            Self::NoData(_) => 2,
            Self::Insufficient(_) => 3,
            Self::Excused(_) => 4,
            Self::Holds => 5,
        }
    }

    /// Where it stands among alternatives, the most decisive first.
    const fn in_alternatives(&self) -> u8 {
        match self {
            Self::Holds => 0,
            Self::Invalid(_) => 1,
            Self::Insufficient(_) => 2,
            Self::NoData(_) => 3,
            Self::Excused(_) => 4,
            Self::Missed => 5,
        }
    }
}

/// Evaluates a threshold.
pub(super) fn threshold(scene: &Scene<'_>, threshold: &Threshold) -> Evaluated {
    let alternatives = threshold.expression.0.iter().filter_map(|conjunct| {
        let assertions = conjunct.iter().map(|one| assertion(scene, threshold, one));
        assertions.min_by_key(|evaluated| evaluated.outcome.in_conjunction())
    });
    alternatives
        .min_by_key(|evaluated| evaluated.outcome.in_alternatives())
        .unwrap_or_else(|| nothing("the expression is empty", String::new()))
}

fn nothing(why: impl Into<String>, unit: String) -> Evaluated {
    Evaluated {
        outcome: Outcome::NoData(why.into()),
        observed: None,
        interval: None,
        limit: None,
        unit,
        samples: 0,
        censored: 0,
        remarks: Vec::new(),
        miss: 0.0,
    }
}

/// The unit of a figure.
pub(crate) fn unit_of(kind: Kind, unit: Unit, aggregate: Aggregate) -> String {
    match (kind, aggregate) {
        (Kind::Counter, Aggregate::Rate) | (_, Aggregate::Slope) => {
            format!("{}/s", unit.symbol())
        }
        (Kind::Rate, _) | (Kind::Trend, Aggregate::Count) => String::new(),
        _ => unit.symbol().to_owned(),
    }
}

fn assertion(scene: &Scene<'_>, threshold: &Threshold, assertion: &Assertion) -> Evaluated {
    let registry = &scene.plan.registry;
    let Some(id) = registry.find(&threshold.metric) else {
        return nothing(format!("there is no metric `{}`", threshold.metric), String::new());
    };
    let metric = registry.get(id);
    let unit = unit_of(metric.kind, metric.unit, assertion.aggregate);
    let limit = match operand(scene, threshold, assertion, id) {
        Ok(limit) => limit,
        Err(why) => return unlimited(scene, threshold, assertion, why, nothing("", unit)),
    };
    let subject = Subject {
        scene,
        threshold,
        assertion,
        metric: id,
        about: scene.recoveries.about(scene.plan, &metric.name).unwrap_or(&threshold.selector),
        limit,
        unit: &unit,
        windowed: assertion.window.is_some(),
    };
    if let Some(why) = scene.hidden(threshold, assertion, id) {
        return Evaluated { outcome: Outcome::Insufficient(why), ..nothing("", unit) };
    }
    let (views, late) = scene.views(id, &threshold.selector, assertion.aggregate, assertion.window);
    let evaluated = views.iter().map(|view| subject.judge(*view));
    let worst = evaluated.reduce(|worst, next| {
        let rank = |one: &Evaluated| one.outcome.in_conjunction();
        let further = rank(&next) == rank(&worst) && subject.is_further(&next, &worst);
        if rank(&next) < rank(&worst) || further { next } else { worst }
    });
    let Some(mut worst) = worst else {
        return nothing(missing_window(assertion.window), unit);
    };
    if late > 0 && worst.outcome == Outcome::Holds {
        worst.outcome = Outcome::Insufficient(format!(
            "{late} samples arrived after their window had been closed; use longer windows"
        ));
    }
    worst
}

/// What an assertion comes to that has nothing to be compared with. That there is no baseline yet may be
/// excused; that nothing was measured is not.
fn unlimited(
    scene: &Scene<'_>,
    threshold: &Threshold,
    assertion: &Assertion,
    why: String,
    blank: Evaluated,
) -> Evaluated {
    let excused = matches!(assertion.operand, Operand::Baseline { base: Base::Excused, .. });
    let metric = scene.plan.registry.find(&threshold.metric).filter(|_| excused);
    let figure = metric.and_then(|metric| {
        let window = assertion.window;
        let (views, _) = scene.views(metric, &threshold.selector, assertion.aggregate, window);
        views.first().and_then(|view| view.figure)
    });
    let Some(figure) = figure else { return Evaluated { outcome: Outcome::NoData(why), ..blank } };
    let outcome = Outcome::Excused(why);
    let (samples, censored) = (figure.samples, figure.censored);
    let observed = Some(figure.low).filter(|value| value.is_finite());
    Evaluated { outcome, observed, samples, censored, ..blank }
}

fn missing_window(window: Option<Window>) -> String {
    match window {
        Some(Window::Each(length)) => {
            format!("the run was shorter than one window of {} s", whole_seconds(length))
        }
        _ => "nothing was measured".to_owned(),
    }
}

/// What the threshold is compared with.
fn operand(
    scene: &Scene<'_>,
    threshold: &Threshold,
    assertion: &Assertion,
    own: MetricId,
) -> Result<Figure, String> {
    match &assertion.operand {
        Operand::Number(number) => Ok(Figure::exact(*number, 0)),
        Operand::Baseline { factor, base } => {
            let Base::Found(stored) = base else { return Err(NO_BASELINE.to_owned()) };
            let ends = [stored.low * factor, stored.high.map_or(f64::INFINITY, |it| it * factor)];
            Ok(Figure {
                low: ends[0].min(ends[1]),
                high: ends[0].max(ends[1]),
                interval: None,
                samples: stored.samples,
                censored: stored.censored,
            })
        }
        Operand::Figure { factor, metric, aggregate, selector, window } => {
            let id = match metric {
                None => own,
                Some(name) => scene
                    .plan
                    .registry
                    .find(name)
                    .ok_or_else(|| format!("there is no metric `{name}`"))?,
            };
            let empty = Selector::default();
            let inherited = if id == own { &threshold.selector } else { &empty };
            let selector = selector.as_ref().unwrap_or(inherited);
            let name = &scene.plan.registry.get(id).name;
            let (views, _) = scene.views(id, selector, *aggregate, *window);
            let figures = views.iter().filter_map(|view| view.figure);
            // Of several windows the strictest is the limit.
            let strictest = figures.reduce(|a, b| {
                let lower = b.high < a.high;
                if lower == wants_less(assertion.comparison) { b } else { a }
            });
            let figure = strictest
                .ok_or_else(|| format!("`{name}{}`, the limit, has no samples", selector.text()))?;
            let scaled = [figure.low * factor, figure.high * factor];
            Ok(Figure { low: scaled[0].min(scaled[1]), high: scaled[0].max(scaled[1]), ..figure })
        }
    }
}

/// Whether small figures are the good ones.
pub(super) const fn wants_less(comparison: Comparison) -> bool {
    matches!(comparison, Comparison::Less | Comparison::AtMost)
}

/// Whether large figures are the good ones.
pub(super) const fn wants_more(comparison: Comparison) -> bool {
    matches!(comparison, Comparison::Greater | Comparison::AtLeast)
}

/// Whether a comparison holds whatever the figures are within their bounds; `None` if that depends.
fn compare(comparison: Comparison, left: &Figure, right: &Figure) -> Option<bool> {
    let decided = |holds: bool, fails: bool| (holds || fails).then_some(holds);
    let point = left.low == left.high && right.low == right.high;
    let apart = left.high < right.low || right.high < left.low;
    match comparison {
        Comparison::Less => decided(left.high < right.low, left.low >= right.high),
        Comparison::AtMost => decided(left.high <= right.low, left.low > right.high),
        Comparison::Greater => decided(left.low > right.high, left.high <= right.low),
        Comparison::AtLeast => decided(left.low >= right.high, left.high < right.low),
        Comparison::Equal => decided(point && left.low == right.low, apart),
        Comparison::NotEqual => decided(apart, point && left.low == right.low),
    }
}

/// An assertion, about to be judged on one window.
pub(super) struct Subject<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) threshold: &'a Threshold,
    pub(super) assertion: &'a Assertion,
    pub(super) metric: MetricId,
    /// The samples whose scenario's fault it could be: the threshold's, or those that a recovery is
    /// found in.
    pub(super) about: &'a Selector,
    pub(super) limit: Figure,
    unit: &'a str,
    windowed: bool,
}

impl Subject<'_> {
    fn judge(&self, view: View) -> Evaluated {
        let Some(figure) = view.figure else {
            let name = &self.scene.plan.registry.get(self.metric).name;
            let derived = self.scene.derived.iter().find(|derived| derived.name == *name);
            if let Some(why) = derived.and_then(|derived| derived.why.clone()) {
                return nothing(why, self.unit.to_owned());
            }
            let place = self.place(view).map_or_else(String::new, |place| format!(" in {place}"));
            return nothing(format!("nothing was measured{place}"), self.unit.to_owned());
        };
        let compared = compare(self.assertion.comparison, &figure, &self.limit);
        let outcome = match (self.shortage(&figure), compared) {
            (Some(shortage), _) => shortage,
            (None, Some(true)) => Outcome::Holds,
            (None, Some(false)) => Outcome::Missed,
            (None, None) => Outcome::Insufficient(format!(
                "{} censored samples leave it open",
                figure.censored.max(self.limit.censored)
            )),
        };
        let observed = self.observed(&figure, compared);
        let limit = if wants_more(self.assertion.comparison) && self.limit.high.is_finite() {
            self.limit.high
        } else {
            self.limit.low
        };
        let mut evaluated = Evaluated {
            outcome,
            observed: Some(observed).filter(|value| value.is_finite()),
            interval: figure.interval,
            limit: Some(limit).filter(|value| value.is_finite()),
            unit: self.unit.to_owned(),
            samples: figure.samples,
            censored: figure.censored,
            remarks: Vec::new(),
            miss: self.miss(observed, limit),
        };
        if let Some(place) = self.place(view) {
            evaluated.remarks.push(format!("worst window: {place}"));
        }
        match validity::examine(self, view, &evaluated) {
            Some(validity::Finding::Invalid(why)) => evaluated.outcome = Outcome::Invalid(why),
            Some(validity::Finding::Insufficient(why)) => {
                evaluated.outcome = Outcome::Insufficient(why);
            }
            Some(validity::Finding::Remark(why)) => evaluated.remarks.push(why),
            None => {}
        }
        evaluated
    }

    /// The bound that the comparison was decided on.
    fn observed(&self, figure: &Figure, compared: Option<bool>) -> f64 {
        let high = match compared {
            Some(true) => wants_less(self.assertion.comparison),
            Some(false) => wants_more(self.assertion.comparison),
            None => false,
        };
        if high && figure.high.is_finite() { figure.high } else { figure.low }
    }

    fn miss(&self, observed: f64, limit: f64) -> f64 {
        let distance = (observed - limit).abs();
        let registry = &self.scene.plan.registry;
        let share = registry.get(self.metric).kind == Kind::Rate
            && self.assertion.aggregate == Aggregate::Rate;
        if share { distance } else { distance / limit.abs() }
    }

    /// Too few samples, or nothing that could have been counted.
    fn shortage(&self, figure: &Figure) -> Option<Outcome> {
        let n = figure.samples + figure.censored;
        let kind = self.scene.plan.registry.get(self.metric).kind;
        let comparison = self.assertion.comparison;
        if n == 0 && matches!(kind, Kind::Counter | Kind::Trend) {
            let witness = self.scene.missing_witness(self.metric, &self.threshold.selector);
            return witness.map(Outcome::NoData);
        }
        let asked = self.threshold.min_samples.unwrap_or(0);
        if kind != Kind::Counter && n < asked {
            return Some(Outcome::Insufficient(format!("{n} samples, and {asked} were asked for")));
        }
        let needs = |aggregate, comparison| match aggregate {
            Aggregate::Percentile(percent) => minimum_samples(percent, comparison),
            Aggregate::Median => minimum_samples(50.0, comparison),
            _ => 0,
        };
        let needed = needs(self.assertion.aggregate, comparison);
        if n < needed {
            return Some(Outcome::Insufficient(format!(
                "{n} samples; it takes {needed} to show this percentile at 95 %"
            )));
        }
        let of_limit = match &self.assertion.operand {
            Operand::Figure { aggregate, .. } => Some(*aggregate),
            Operand::Baseline { .. } => Some(self.assertion.aggregate),
            Operand::Number(_) => None,
        };
        if let Some(aggregate) = of_limit {
            let (n, needed) =
                (self.limit.samples + self.limit.censored, needs(aggregate, opposite(comparison)));
            if n < needed {
                return Some(Outcome::Insufficient(format!(
                    "the limit rests on {n} samples; it takes {needed} to show that percentile at 95 %"
                )));
            }
        }
        None
    }

    fn place(&self, view: View) -> Option<String> {
        let Some(Window::Each(length)) = self.assertion.window else { return None };
        let (index, length) = (u64::from(view.index?), u64::from(whole_seconds(length)));
        Some(format!("{} s to {} s", index * length, (index + 1) * length))
    }

    /// Whether `one` is further on the wrong side than `other`.
    fn is_further(&self, one: &Evaluated, other: &Evaluated) -> bool {
        match (one.observed, other.observed) {
            (Some(one), Some(other)) if wants_more(self.assertion.comparison) => one < other,
            (Some(one), Some(other)) => one > other,
            _ => false,
        }
    }

    /// A figure of one of the runner's own metrics, in the window that is judged, or of the whole run
    /// where it was not kept per second.
    pub(super) fn runner_figure(
        &self,
        metric: Builtin,
        selector: &Selector,
        view: View,
    ) -> Option<Figure> {
        let p99 = Aggregate::Percentile(99.0);
        let scene = self.scene;
        if self.windowed {
            let (views, _) = scene.views(metric.id(), selector, p99, self.assertion.window);
            let same = views.into_iter().find(|other| other.index == view.index);
            if let Some(figure) = same.and_then(|same| same.figure) {
                return Some(figure);
            }
        }
        scene.views(metric.id(), selector, p99, None).0.first()?.figure
    }
}

const fn opposite(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less | Comparison::AtMost => Comparison::Greater,
        Comparison::Greater | Comparison::AtLeast => Comparison::Less,
        same => same,
    }
}

impl Scene<'_> {
    /// All samples of a metric that a selector matches.
    pub(super) fn cell(&self, metric: MetricId, selector: &Selector) -> Cell<u64> {
        self.totals.select(&self.plan.registry, self.names, metric, selector)
    }

    /// A figure of a metric, per window where there are several; and samples that came too late.
    pub(super) fn views(
        &self,
        id: MetricId,
        selector: &Selector,
        aggregate: Aggregate,
        window: Option<Window>,
    ) -> (Vec<View>, u64) {
        let metric = self.plan.registry.get(id);
        let one = |figure| (vec![View { figure, index: None }], 0);
        if let Some(derived) = self.derived.iter().find(|derived| derived.name == metric.name) {
            return one(derived.figure(aggregate));
        }
        let (mut views, late) = match window {
            None => {
                let samples = Samples::of(&self.cell(id, selector));
                let step = metric.unit.step();
                let figure =
                    |elapsed: Duration| samples.figure(aggregate, step, elapsed.as_secs_f64());
                let figure = self.in_mid_run(metric, aggregate, figure);
                one(figure.map(|figure| match aggregate {
                    Aggregate::Slope => {
                        let interval = self.slopes.interval(id, selector, figure.low);
                        Figure { interval, ..figure }
                    }
                    _ => figure,
                }))
            }
            Some(window) => {
                let need = Need { metric: id, selector: selector.clone(), window, aggregate };
                let views = |end| self.windows.views(&need, end, &self.plan.registry);
                if let (Window::After(_), Some(_)) = (window, self.told) {
                    let views = |at| views(derived::load_end(self.plan, at)).views;
                    let figure = |at| views(at).first().and_then(|view| view.figure);
                    return one(self.in_mid_run(metric, aggregate, figure));
                }
                let Some(end) = self.judged_until(id, window) else { return (Vec::new(), 0) };
                let found = views(end);
                (found.views, found.late)
            }
        };
        // No sample of one kind (failed ones, say) is a count of zero where others were measured.
        if aggregate == Aggregate::Count && metric.kind == Kind::Trend && self.has_samples(id) {
            for view in &mut views {
                view.figure.get_or_insert(Figure::exact(0.0, 0));
            }
        }
        (views, late)
    }

    /// A figure of everything so far, by how much time that is. In mid-run the shards have told different
    /// lengths of time, so a rate per second lies between two, and a count is what it is at least.
    fn in_mid_run(
        &self,
        metric: &Metric,
        aggregate: Aggregate,
        figure: impl Fn(Duration) -> Option<Figure>,
    ) -> Option<Figure> {
        let Some(told) = self.told else { return figure(self.elapsed) };
        let now = figure(told.by_any)?;
        match (metric.kind, aggregate) {
            (Kind::Counter, Aggregate::Rate) => {
                let high = figure(told.by_all).map_or(f64::INFINITY, |figure| figure.high);
                Some(Figure { high, ..now })
            }
            (_, Aggregate::Count) => Some(Figure { high: f64::INFINITY, ..now }),
            _ => Some(now),
        }
    }

    /// Until when windows are judged; in mid-run only those that are over and told by all shards, and none
    /// that is defined by the end.
    fn judged_until(&self, id: MetricId, window: Window) -> Option<Duration> {
        let Some(told) = self.told else { return Some(self.end) };
        let elsewhere = is_of_service(id) || is_of_target(id);
        let late = if elsewhere { LATE_SERVICE } else { LATE };
        let until = told.by_all.saturating_sub(late).min(self.end);
        match window {
            Window::First(length) | Window::Each(length) => {
                (until.as_secs() >= u64::from(whole_seconds(length))).then_some(until)
            }
            Window::Last(_) | Window::After(_) => None,
        }
    }

    /// Why the samples of a figure by tag are not all there: some were folded into `other`.
    fn hidden(
        &self,
        threshold: &Threshold,
        assertion: &Assertion,
        own: MetricId,
    ) -> Option<String> {
        let other = match &assertion.operand {
            Operand::Figure { metric, selector, .. } => {
                let (metric, selector) = threshold.looks_at(metric.as_deref(), selector);
                self.plan.registry.find(metric).map(|id| (id, selector))
            }
            Operand::Number(_) | Operand::Baseline { .. } => None,
        };
        let figures = [Some((own, threshold.selector.clone())), other];
        figures.into_iter().flatten().find_map(|(id, selector)| {
            self.is_folded(id, &selector).then(|| {
                format!(
                    "samples of `{}` were folded into `other`, beyond the limit on series, and those of \
                     {} may be among them: raise it with --limit series=N",
                    self.plan.registry.get(id).name,
                    selector.text()
                )
            })
        })
    }

    /// Whether samples that a selector by tag would match may have lost that tag.
    pub(super) fn is_folded(&self, id: MetricId, selector: &Selector) -> bool {
        let kept = ["phase", "outcome", "scenario"];
        selector.0.keys().any(|tag| !kept.contains(&tag.as_str()))
            && self
                .totals
                .series()
                .iter()
                .any(|(key, _)| key.metric == id && key.tags.extra == Name::OTHER)
    }

    /// Whether a metric has samples of any kind.
    fn has_samples(&self, id: MetricId) -> bool {
        self.totals.series().iter().any(|(key, _)| key.metric == id)
    }

    /// Why a count of zero says nothing: a counter that was never touched is zero only if what it counts
    /// could have happened. Losses are counted among what was received, what services do among messages
    /// that such a service handled, everything else among iterations that were started.
    fn missing_witness(&self, id: MetricId, selector: &Selector) -> Option<String> {
        let metric = self.plan.registry.get(id);
        if metric.kind == Kind::Trend {
            return None;
        }
        let losses = [Builtin::BusLost, Builtin::BusDuplicated, Builtin::BusReordered];
        if losses.iter().any(|loss| loss.id() == id) {
            let seen = self.has_samples(Builtin::BusReceived.id())
                || self.has_samples(Builtin::BusDeliveryDuration.id());
            return (!seen).then(|| {
                format!(
                    "no message reached a subscription of this run, so `{}` says nothing",
                    metric.name
                )
            });
        }
        if is_of_service(id) {
            let seen = self.has_service_samples(selector);
            let of = selector.text();
            return (!seen).then(|| {
                format!("no service{of} told of a message, so `{}` says nothing", metric.name)
            });
        }
        if is_of_target(id) {
            let seen = self.has_target_samples(id, selector);
            let of = selector.text();
            return (!seen).then(|| {
                format!(
                    "no target{of} was looked at in that part of the run (figures bear a scenario and a \
                     stage only while one scenario alone runs), so `{}` says nothing",
                    metric.name
                )
            });
        }
        let scenario = selector.0.get("scenario");
        let facts = self.facts?;
        let started = facts
            .scenarios
            .iter()
            .filter(|facts| scenario.is_none_or(|name| *name == facts.name))
            .any(|facts| facts.started > 0);
        (!started).then(|| "no iteration was started".to_owned())
    }

    /// Whether a service that a selector means has told anything, whatever came of it.
    fn has_service_samples(&self, selector: &Selector) -> bool {
        let mut selector = selector.clone();
        selector.0.remove("outcome");
        selector.0.remove("error");
        self.totals.series().iter().any(|(key, _)| {
            is_of_service(key.metric) && selector.matches(Kind::Counter, &key.tags, self.names)
        })
    }

    /// Whether a target that a selector means was looked at: a counter of its without samples is then
    /// zero. Network bytes are not known of every target, so only their own samples show them.
    pub(super) fn has_target_samples(&self, id: MetricId, selector: &Selector) -> bool {
        let witness =
            if id == Builtin::TargetNetworkBytes.id() { id } else { Builtin::TargetRssBytes.id() };
        let mut selector = selector.clone();
        selector.0.remove("mode");
        self.totals.series().iter().any(|(key, _)| {
            key.metric == witness && selector.matches(Kind::Gauge, &key.tags, self.names)
        })
    }

    /// Whether a metric is a time.
    pub(super) fn is_time(&self, id: MetricId) -> bool {
        let metric = self.plan.registry.get(id);
        metric.kind == Kind::Trend && metric.unit == Unit::Nanoseconds
    }
}

/// Whether a metric is what a target used, by counting.
pub(super) fn is_of_target(id: MetricId) -> bool {
    use Builtin::{TargetCpuSeconds, TargetNetworkBytes, TargetReadBytes, TargetWrittenBytes};
    let all = [TargetCpuSeconds, TargetReadBytes, TargetWrittenBytes, TargetNetworkBytes];
    all.iter().any(|metric| metric.id() == id)
}

/// Whether a metric is taken by the host of a service.
fn is_of_service(id: MetricId) -> bool {
    use Builtin::{ServiceCpuSeconds, ServiceFailed, ServiceHandleDuration, ServiceHandled};
    let all = [ServiceHandleDuration, ServiceCpuSeconds, ServiceHandled, ServiceFailed];
    all.iter().any(|builtin| builtin.id() == id)
}
