//! Metrics that the host computes from others: arithmetic on figures, and how long a recovery took.
//! SEMANTICS §2.
//!
//! A figure that is not there, that censored samples leave open, or whose samples were folded away, makes
//! the whole metric missing: half a ratio is no number.
//!
//! A recovery is looked for in the whole seconds of the run, from the first one that begins at the stage's
//! end or after it, and has the end of the first one that is back to normal: its time is never less than
//! the truth, and less than two seconds more. Of one that did not come, it is known how long it was waited
//! for.

use std::{collections::BTreeMap, time::Duration};

use super::{
    course::Courses,
    evaluate::{Scene, is_of_target},
    growth,
    routes::Routes,
    samples::{Figure, Samples},
    scaling::{self, Scaling},
    window::whole_seconds,
};
use crate::{
    clock::Instant,
    metric::{MetricId, Names, Registry, Selector, Snapshot},
    plan::{Derived, DerivedKind, Formula, Plan, Start, threshold::Aggregate},
};

/// A recovery is the first stretch of so many seconds whose figure is back to normal: long enough for
/// one calm moment not to pass for it.
const ROLLING: u32 = 3;

/// Seconds after the end of a stage that a recovery is looked for in.
const MAX_RECOVERY: u32 = 3_600;

/// The samples that recovery times are taken from, per second from the first one after their stage.
#[derive(Debug, Default)]
pub(super) struct Recoveries {
    watched: Vec<Watched>,
    routes: Routes,
}

#[derive(Debug)]
struct Watched {
    /// Index among the plan's derived metrics.
    index: usize,
    metric: MetricId,
    selector: Selector,
    /// End of the stage, from the start of the first scenario.
    from: Duration,
    seconds: BTreeMap<u32, Samples>,
}

/// What a derived metric came to: a gauge whose `value` and `avg` are the estimate, and whose `min` and
/// `max` are the ends of its interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DerivedValue {
    /// The metric's name.
    pub name: String,
    /// The estimate; `None` where nothing can be said.
    pub value: Option<f64>,
    /// Where the truth is with 95 %, of estimates that have an interval.
    pub interval: Option<[f64; 2]>,
    /// What it is at least, where no more is known.
    pub at_least: Option<f64>,
    /// What it was made of.
    pub samples: u64,
    /// Why there is no value.
    pub why: Option<String>,
}

impl DerivedValue {
    /// A value that nothing is uncertain about.
    fn exact(name: &str, value: Option<f64>) -> Self {
        Self { value, samples: 1, ..Self::named(name) }
    }

    /// A value, and where it is with 95 %.
    pub(super) fn estimate(
        name: &str,
        value: f64,
        interval: Option<[f64; 2]>,
        samples: u64,
    ) -> Self {
        Self { value: Some(value), interval, samples, ..Self::named(name) }
    }

    /// No value, and why.
    pub(super) fn missing(name: &str, why: String) -> Self {
        Self { why: Some(why), ..Self::named(name) }
    }

    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Only a bound, and why.
    fn at_least(name: &str, bound: f64, why: String) -> Self {
        Self { at_least: Some(bound), ..Self::missing(name, why) }
    }

    /// The figure that a threshold asks for.
    pub(super) fn figure(&self, aggregate: Aggregate) -> Option<Figure> {
        let Some(value) = self.value else {
            let low = self.at_least?;
            return Some(Figure { high: f64::INFINITY, censored: 1, ..Figure::exact(low, 0) });
        };
        let [low, high] = self.interval.unwrap_or([value; 2]);
        let value = match aggregate {
            Aggregate::Min => low,
            Aggregate::Max => high,
            _ => value,
        };
        Some(Figure { interval: self.interval, ..Figure::exact(value, self.samples) })
    }
}

/// What a recovery was found by.
pub(super) struct Recovery {
    /// The metric that recovers.
    pub(super) metric: MetricId,
    /// Its figure was back to normal when at most this.
    pub(super) normal: f64,
    /// When it could be found, from the start of the first scenario.
    pub(super) from: Duration,
}

impl Recoveries {
    pub(super) fn new(plan: &Plan) -> Self {
        let watched = plan.derived.iter().enumerate().filter_map(|(index, derived)| {
            let DerivedKind::RecoveryTime { metric, selector, stage, .. } = &derived.kind else {
                return None;
            };
            Some(Watched {
                index,
                metric: plan.registry.find(metric)?,
                selector: selector.clone(),
                from: stage_end(plan, stage)?,
                seconds: BTreeMap::new(),
            })
        });
        Self { watched: watched.collect(), routes: Routes::default() }
    }

    /// What must be kept per second.
    pub(super) fn needs(&self) -> impl Iterator<Item = (MetricId, &Selector)> {
        self.watched.iter().map(|watched| (watched.metric, &watched.selector))
    }

    /// Takes the per-second cells of a snapshot. `start` is when the first scenario started.
    pub(super) fn observe(
        &mut self,
        start: Instant,
        snapshot: &Snapshot,
        registry: &Registry,
        names: &Names,
    ) {
        if self.watched.is_empty() {
            return;
        }
        for (key, second, cell) in &snapshot.cells {
            let Some(second) = second else { continue };
            let kind = registry.get(key.metric).kind;
            let watched = self.watched.iter().map(|it| (it.metric, &it.selector));
            let places = self.routes.find(key, kind, watched, names);
            let at = (snapshot.origin + Duration::from_secs(u64::from(*second))).since(start);
            for index in places {
                let Some(watched) = self.watched.get_mut(*index) else { continue };
                let Some(after) = at.as_secs().checked_sub(watched.first()) else { continue };
                let after = u32::try_from(after).unwrap_or(u32::MAX);
                if after < MAX_RECOVERY {
                    let empty = || Samples::empty(kind);
                    watched.seconds.entry(after).or_insert_with(empty).merge(cell);
                }
            }
        }
    }

    /// Of which samples a recovery time of that name is.
    pub(super) fn about<'a>(&'a self, plan: &Plan, name: &str) -> Option<&'a Selector> {
        self.named(plan, name).map(|watched| &watched.selector)
    }

    /// What the recovery time of that name was found by.
    pub(super) fn recovery(&self, scene: &Scene<'_>, name: &str) -> Option<Recovery> {
        let watched = self.named(scene.plan, name)?;
        let kind = &scene.plan.derived.get(watched.index)?.kind;
        let normal = watched.normal(scene, kind)?;
        Some(Recovery { metric: watched.metric, normal, from: watched.from })
    }

    fn named(&self, plan: &Plan, name: &str) -> Option<&Watched> {
        let is_it = |derived: &Derived| derived.name == name;
        self.watched.iter().find(|watched| plan.derived.get(watched.index).is_some_and(is_it))
    }

    /// From the end of the stage to the end of the first second of the first stretch that is back to normal.
    fn time(&self, scene: &Scene<'_>, index: usize, kind: &DerivedKind) -> Option<Recovered> {
        let DerivedKind::RecoveryTime { aggregate, .. } = kind else { return None };
        let watched = self.watched.iter().find(|watched| watched.index == index)?;
        let normal = watched.normal(scene, kind)?;
        let metric = scene.plan.registry.get(watched.metric);
        // The first stretch that is not whole.
        let open = (watched.seconds.keys().next_back()? + 1).saturating_sub(ROLLING - 1);
        let back = (0..open).find(|first| {
            let mut sum = Samples::empty(metric.kind);
            let stretch = watched.seconds.range(*first..first + ROLLING);
            stretch.for_each(|(_, samples)| sum.add(samples));
            let figure = sum.figure(*aggregate, metric.unit.step(), f64::from(ROLLING));
            figure.is_some_and(|figure| figure.high <= normal)
        });
        let end = |second: u32| {
            let end = Duration::from_secs(watched.first() + u64::from(second) + 1);
            end.saturating_sub(watched.from)
        };
        Some(back.map_or_else(|| Recovered::NotYet(end(open)), |back| Recovered::After(end(back))))
    }
}

/// What became of a system that was to recover.
enum Recovered {
    After(Duration),
    /// It takes at least this long.
    NotYet(Duration),
}

impl Watched {
    /// The first whole second of the run after the stage.
    fn first(&self) -> u64 {
        self.from.as_secs() + u64::from(self.from.subsec_nanos() > 0)
    }

    /// What a figure that is back to normal is at most.
    fn normal(&self, scene: &Scene<'_>, kind: &DerivedKind) -> Option<f64> {
        let DerivedKind::RecoveryTime { aggregate, selector, reference, factor, .. } = kind else {
            return None;
        };
        let mut normal = selector.clone();
        normal.0.insert("stage".to_owned(), reference.clone());
        Some(factor * figure(scene, self.metric, &normal, *aggregate)?)
    }
}

/// The values of a plan's derived metrics, in its order.
pub(super) fn values(
    scene: &Scene<'_>,
    recoveries: &Recoveries,
    courses: &Courses,
    scalings: &[Scaling],
) -> Vec<DerivedValue> {
    let value = |(index, derived): (usize, &Derived)| {
        let exact = |value: Option<f64>| {
            DerivedValue::exact(&derived.name, value.filter(|value| value.is_finite()))
        };
        match &derived.kind {
            DerivedKind::Formula(formula) => exact(evaluate(scene, formula)),
            kind @ DerivedKind::RecoveryTime { .. } => match recoveries.time(scene, index, kind) {
                Some(Recovered::After(time)) => exact(Some(time.as_nanos() as f64)),
                Some(Recovered::NotYet(time)) => {
                    let why = format!(
                        "it was not back to normal within the run: it takes {} s at least",
                        time.as_secs_f64()
                    );
                    DerivedValue::at_least(&derived.name, time.as_nanos() as f64, why)
                }
                None => exact(None),
            },
            DerivedKind::Growth(growth) => growth::value(scene, courses, derived, growth),
            DerivedKind::Search { value } => {
                match scene.facts.and_then(|facts| facts.search.as_ref()) {
                    Some(found) => found.value(&derived.name, *value),
                    None => DerivedValue::missing(&derived.name, "nothing was probed".to_owned()),
                }
            }
            DerivedKind::Scaling { scenario, value } => {
                scaling::value(scalings, &derived.name, scenario, *value)
            }
        }
    };
    scene.plan.derived.iter().enumerate().map(value).collect()
}

fn evaluate(scene: &Scene<'_>, formula: &Formula) -> Option<f64> {
    match formula {
        Formula::Number(number) => Some(*number),
        Formula::Figure { metric, aggregate, selector } => {
            figure(scene, scene.plan.registry.find(metric)?, selector, *aggregate)
        }
        Formula::Negative(inner) => Some(-evaluate(scene, inner)?),
        Formula::Binary(left, operator, right) => {
            let (left, right) = (evaluate(scene, left)?, evaluate(scene, right)?);
            match operator {
                '+' => Some(left + right),
                '-' => Some(left - right),
                '*' => Some(left * right),
                '/' if right != 0.0 => Some(left / right),
                _ => None,
            }
        }
    }
}

fn figure(
    scene: &Scene<'_>,
    metric: MetricId,
    selector: &Selector,
    aggregate: Aggregate,
) -> Option<f64> {
    // Of a target that nobody looked at nothing is known, not even that it used nothing.
    let unseen = is_of_target(metric) && !scene.has_target_samples(metric, selector);
    if unseen || scene.is_folded(metric, selector) {
        return None;
    }
    let figure = scene.views(metric, selector, aggregate, None).0.first()?.figure?;
    (figure.low == figure.high).then_some(figure.low)
}

/// When the stage of that name ends, from the start of the first scenario; of scenarios that start at a
/// time of their own.
pub(super) fn stage_end(plan: &Plan, stage: &str) -> Option<Duration> {
    plan.scenarios.iter().find_map(|scenario| {
        let index = scenario.stage_names().iter().position(|name| *name == stage)?;
        scenario.stage_times().get(index).map(|(_, end)| *end)
    })
}

/// When the load of a plan ends, from the start of the first scenario, for a run that has lasted
/// `elapsed`: no iteration starts later, though some may still run.
pub(super) fn load_end(plan: &Plan, elapsed: Duration) -> Duration {
    let mut end = Duration::ZERO;
    for scenario in &plan.scenarios {
        let Start::At(start) = scenario.start else { return elapsed };
        end = end.max(start.saturating_add(scenario.executor.duration()));
    }
    if end.is_zero() { elapsed } else { end.min(elapsed).max(Duration::ZERO) }
}

/// Whether a length is a whole number of seconds, as windows are.
pub(super) fn is_whole(length: Duration) -> bool {
    Duration::from_secs(u64::from(whole_seconds(length))) == length
}
