//! What the words of a threshold mean: metrics that exist, aggregates that fit them, selectors that
//! something declared can match, numbers in the metric's own unit.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Aggregate, Assertion, Base, Comparison, Expression, Operand, Threshold, Window,
    grammar::{At, Fault, Figure, Written, WrittenOperand},
};
use crate::{
    metric::{Builtin, Kind, MetricId, Registry, Selector, Unit},
    plan::{
        Derived, DerivedKind, Per, Scenario,
        declare::HOST_TAGS,
        quantity::{byte_unit, shown, time_unit},
        section::suggestion,
    },
};

/// What only a scenario has whose iterations are due whatever the system does.
const OF_ARRIVALS: [Builtin; 5] = [
    Builtin::IterationResponseTime,
    Builtin::DispatchDelay,
    Builtin::DispatchRelease,
    Builtin::DispatchQueue,
    Builtin::DispatchStart,
];

/// Everything that a plan declares, and so everything that a sample can bear.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Universe<'a> {
    pub(in crate::plan) registry: &'a Registry,
    pub(in crate::plan) scenarios: &'a [Scenario],
    pub(in crate::plan) ops: &'a [String],
    pub(in crate::plan) tags: &'a BTreeMap<String, String>,
    /// The scenarios that flags make of these, if they are not these.
    pub(in crate::plan) left: &'a [Scenario],
    /// What is never measured of this kind of workload.
    pub(in crate::plan) unmeasured: &'a [Builtin],
    /// Metrics from this id on are derived: one value, without tags.
    pub(in crate::plan) first_derived: MetricId,
}

/// What kind of figure an aggregate is: two can be compared only if they are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dimension {
    quantity: Quantity,
    per_second: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    Time,
    Seconds,
    Bytes,
    Percent,
    Share,
    Number,
}

impl Quantity {
    const fn words(self) -> &'static str {
        match self {
            Self::Time => "a time (ns, us, ms, s, m, h)",
            Self::Seconds => "seconds (ms, s, m, h)",
            Self::Bytes => "a size (B, KB, MB, GB, KiB, MiB, GiB)",
            Self::Percent => "a percentage (%)",
            Self::Share => "a share from 0 to 1 (or %)",
            Self::Number => "a plain number",
        }
    }
}

impl Dimension {
    fn words(self) -> String {
        let per = if self.per_second { ", per unit of time (/s, /m, /h)" } else { "" };
        format!("{}{per}", self.quantity.words())
    }
}

impl Universe<'_> {
    /// The metric of a name.
    pub(in crate::plan) fn metric(&self, name: &At<String>) -> Result<MetricId, Fault> {
        self.registry.find(&name.value).ok_or_else(|| {
            let names: Vec<_> =
                self.registry.iter().map(|(_, metric)| metric.name.as_str()).collect();
            let near = crate::diagnostic::nearest(&name.value, names.iter().copied());
            let help = near.map_or_else(
                || "declare it in `metrics`, or use a built-in one".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            Fault::new(
                name.range.clone(),
                format!("there is no metric `{}`", shown(&name.value)),
                help,
            )
        })
    }

    /// Refuses a metric that nothing here produces.
    pub(in crate::plan) fn check_source(
        &self,
        metric: MetricId,
        selector: &Selector,
        range: &Range<usize>,
    ) -> Result<(), Fault> {
        let is = |builtin: &Builtin| builtin.id() == metric;
        let name = &self.registry.get(metric).name;
        if self.unmeasured.iter().any(is) {
            return Err(Fault::new(
                range.clone(),
                format!("`{name}` is not measured of this kind of workload"),
                "leave it out",
            ));
        }
        let only = selector.0.get("scenario");
        let mut chosen = self.scenarios.iter().chain(self.left);
        let arrivals =
            chosen.any(|it| it.executor.is_open() && only.is_none_or(|only| *only == it.name));
        if !arrivals && OF_ARRIVALS.iter().any(is) {
            let which = only.map_or("no scenario here has any".to_owned(), |only| {
                format!("the scenario `{}` has none", shown(only))
            });
            return Err(Fault::new(
                range.clone(),
                format!("`{name}` is of arrivals, and {which}"),
                "judge `iteration_duration`, or use constant-arrival-rate or ramping-arrival-rate",
            ));
        }
        Ok(())
    }

    /// Refuses a selector that no sample of the metric can match.
    pub(in crate::plan) fn check_selector(
        &self,
        metric: MetricId,
        selector: &At<Selector>,
    ) -> Result<(), Fault> {
        let name = &self.registry.get(metric).name;
        for (key, value) in &selector.value.0 {
            let (message, candidates) = if metric >= self.first_derived {
                (format!("`{name}` is derived: it is one value, without tags"), Vec::new())
            } else {
                match self.fault_of_tag(metric, key, value, &selector.value) {
                    None => continue,
                    Some(fault) => fault,
                }
            };
            let word = if candidates.iter().any(|it| it == key) { key } else { value };
            let candidates: Vec<_> = candidates.iter().map(String::as_str).collect();
            let help = if candidates.is_empty() {
                "leave it out of the selector".to_owned()
            } else {
                suggestion(word, &candidates)
            };
            return Err(Fault::new(selector.range.clone(), message, help));
        }
        Ok(())
    }

    /// Why nothing can bear this tag, and what could be meant.
    fn fault_of_tag(
        &self,
        metric: MetricId,
        key: &str,
        value: &str,
        selector: &Selector,
    ) -> Option<(String, Vec<String>)> {
        let name = &self.registry.get(metric).name;
        let unknown = |what: &str, known: Vec<String>| {
            (!known.iter().any(|known| known == value))
                .then(|| (format!("there is no {what} `{}`", shown(value)), known))
        };
        match key {
            "scenario" => {
                let names = self.scenarios.iter().map(|scenario| scenario.name.clone());
                unknown("scenario", names.collect())
            }
            "stage" => {
                let only = selector.0.get("scenario");
                let chosen = |scenario: &&Scenario| only.is_none_or(|only| *only == scenario.name);
                let scenarios = self.scenarios.iter().filter(chosen);
                let stages = scenarios.flat_map(Scenario::stage_names).map(str::to_owned);
                unknown("stage", stages.collect())
            }
            "level" => {
                let only = selector.0.get("scenario");
                let chosen = |scenario: &&Scenario| only.is_none_or(|only| *only == scenario.name);
                let levels = self.scenarios.iter().filter(chosen).filter_map(Scenario::levels);
                let levels = levels.flat_map(|levels| &levels.levels);
                unknown("level", levels.map(|level| level.name.clone()).collect())
            }
            "op" if !bears_op(self.registry, metric) => Some((
                format!("`{name}` has no tag `op`: it is not about an operation"),
                Vec::new(),
            )),
            // A service declares its own operations, in another process.
            "op" if name.starts_with("service_") => None,
            "op" => unknown("operation", self.ops.to_vec()),
            "outcome" if self.registry.get(metric).kind == Kind::Rate => {
                Some((format!("`{name}` is a share of both outcomes"), Vec::new()))
            }
            "outcome" => unknown("outcome", vec!["ok".into(), "error".into()]),
            "phase" => {
                let phases = ["setup", "warmup", "teardown", "service", "probe"];
                unknown("phase", phases.map(str::to_owned).into())
            }
            "mode" if metric == Builtin::TargetCpuSeconds.id() => {
                unknown("mode", vec!["user".into(), "system".into()])
            }
            "check" if metric != Builtin::Checks.id() => {
                Some((format!("`{name}` has no tag `check`: `checks` has"), Vec::new()))
            }
            _ if HOST_TAGS.contains(&key) => None,
            _ => self.fault_of_own_tag(key, value),
        }
    }

    /// The same for a tag that the plan or a scenario made up.
    fn fault_of_own_tag(&self, key: &str, value: &str) -> Option<(String, Vec<String>)> {
        let sets = self.scenarios.iter().map(|scenario| &scenario.tags).chain([self.tags]);
        let values: Vec<_> = sets.clone().filter_map(|tags| tags.get(key)).cloned().collect();
        if values.iter().any(|known| known == value) {
            return None;
        }
        if values.is_empty() {
            let own = sets.flat_map(BTreeMap::keys).cloned();
            let keys: Vec<_> = HOST_TAGS.iter().map(ToString::to_string).chain(own).collect();
            let near = crate::diagnostic::nearest(key, keys.iter().map(String::as_str));
            let near = near.map_or(keys.clone(), |near| vec![near.to_owned()]);
            return Some((format!("nothing bears the tag `{}`", shown(key)), near));
        }
        Some((format!("nothing has `{}` as its tag `{key}`", shown(value)), values))
    }

    /// A figure of a formula or an operand, checked. `own` is used when no metric is written.
    pub(in crate::plan) fn check_figure(
        &self,
        figure: &Figure,
        own: Option<MetricId>,
    ) -> Result<MetricId, Fault> {
        let metric = match (&figure.metric, own) {
            (Some(name), _) => self.metric(name)?,
            (None, Some(own)) => own,
            (None, None) => {
                return Err(Fault::new(
                    figure.aggregate.range.clone(),
                    "a metric is missing",
                    "write `metric.aggregate`, as in `bus_published.count`",
                ));
            }
        };
        self.dimension(metric, &figure.aggregate)?;
        if let Some(selector) = &figure.selector {
            self.check_selector(metric, selector)?;
        }
        let all = Selector::default();
        let selector = figure.selector.as_ref().map_or(&all, |selector| &selector.value);
        self.check_source(metric, selector, &figure.aggregate.range)?;
        Ok(metric)
    }

    /// Whether something here can still match what a threshold looks at.
    pub(in crate::plan) fn can_judge(&self, threshold: &Threshold, derived: &[&str]) -> bool {
        let operands = threshold.expression.0.iter().flatten().filter_map(|it| match &it.operand {
            Operand::Figure { metric, selector, .. } => {
                Some(threshold.looks_at(metric.as_deref(), selector))
            }
            _ => None,
        });
        let own = (threshold.metric.as_str(), threshold.selector.clone());
        std::iter::once(own).chain(operands).all(|(metric, selector)| {
            self.registry.find(metric).is_some_and(|id| {
                (id < self.first_derived || derived.contains(&metric))
                    && self.check_source(id, &selector, &(0..0)).is_ok()
                    && self.check_selector(id, &At { value: selector, range: 0..0 }).is_ok()
            })
        })
    }

    /// Whether something here can still match what a derived metric looks at.
    pub(in crate::plan) fn still_means(&self, derived: &Derived) -> bool {
        let matches = |metric: &str, selector: &Selector| {
            self.registry.find(metric).is_some_and(|id| {
                self.check_source(id, selector, &(0..0)).is_ok()
                    && self.check_selector(id, &At { value: selector.clone(), range: 0..0 }).is_ok()
            })
        };
        match &derived.kind {
            DerivedKind::Formula(formula) => {
                formula.figures().into_iter().all(|(metric, selector)| matches(metric, selector))
            }
            DerivedKind::Search { .. } => self.scenarios.iter().any(|it| it.search().is_some()),
            DerivedKind::Scaling { scenario, .. } => {
                self.scenarios.iter().any(|it| it.name == *scenario && it.levels().is_some())
            }
            DerivedKind::Growth(growth) => {
                let per = match &growth.per {
                    Per::Time(_) => true,
                    Per::Stage(scenario) => {
                        let mut kept = self.scenarios.iter();
                        kept.any(|it| it.name == *scenario && !it.stage_times().is_empty())
                    }
                    Per::Count { metric, selector, .. } => matches(metric, selector),
                };
                per && matches(&growth.metric, &growth.selector)
            }
            DerivedKind::RecoveryTime { metric, selector, stage, reference, .. } => {
                let stages: Vec<_> =
                    self.scenarios.iter().flat_map(Scenario::stage_names).collect();
                matches(metric, selector)
                    && stages.contains(&stage.as_str())
                    && stages.contains(&reference.as_str())
            }
        }
    }

    /// The unit of a figure, where it is that of its metric.
    pub(in crate::plan) fn unit_of(&self, metric: MetricId, aggregate: Aggregate) -> Unit {
        let metric = self.registry.get(metric);
        match (metric.kind, aggregate) {
            (Kind::Trend, Aggregate::Count) | (Kind::Rate, _) => Unit::Count,
            _ => metric.unit,
        }
    }

    fn dimension(&self, id: MetricId, aggregate: &At<Aggregate>) -> Result<Dimension, Fault> {
        use Aggregate::{Count, Max, Mean, Median, Min, Percentile, Rate, Slope, Stddev, Value};
        let metric = self.registry.get(id);
        let own = match metric.unit {
            Unit::Nanoseconds => Quantity::Time,
            Unit::Seconds => Quantity::Seconds,
            Unit::Bytes => Quantity::Bytes,
            Unit::Percent => Quantity::Percent,
            Unit::Count => Quantity::Number,
        };
        let (quantity, per_second) = match (metric.kind, aggregate.value) {
            (Kind::Trend | Kind::Rate, Count) => (Quantity::Number, false),
            (Kind::Trend, Mean | Min | Max | Median | Stddev | Percentile(_))
            | (Kind::Counter, Count)
            | (Kind::Gauge, Value | Min | Max | Mean) => (own, false),
            (Kind::Counter, Rate) | (Kind::Gauge, Slope) => (own, true),
            (Kind::Rate, Rate) => (Quantity::Share, false),
            (kind, _) => {
                let (kind, has) = match kind {
                    Kind::Trend => ("trend", "mean, min, max, med, stddev, p(N), count"),
                    Kind::Counter => ("counter", "count, rate"),
                    Kind::Rate => ("rate", "rate, count"),
                    Kind::Gauge => ("gauge", "value, min, max, avg, slope"),
                };
                return Err(Fault::new(
                    aggregate.range.clone(),
                    format!("`{}` is a {kind}: it has no such aggregate", metric.name),
                    format!("a {kind} has {has}"),
                ));
            }
        };
        Ok(Dimension { quantity, per_second })
    }

    /// A threshold's expression, checked, its numbers in the metric's own unit.
    pub(super) fn expression(
        &self,
        metric: MetricId,
        written: Vec<Vec<Written>>,
    ) -> Result<Expression, Fault> {
        let conjuncts = written.into_iter().map(|conjunct| {
            conjunct.into_iter().map(|assertion| self.assertion(metric, assertion)).collect()
        });
        Ok(Expression(conjuncts.collect::<Result<_, Fault>>()?))
    }

    /// Whether a metric is derived.
    pub(super) fn is_derived(&self, metric: &str) -> bool {
        self.registry.find(metric).is_some_and(|id| id >= self.first_derived)
    }

    fn check_window(&self, metric: MetricId, window: Option<&At<Window>>) -> Result<(), Fault> {
        match window {
            Some(window) if metric >= self.first_derived => Err(Fault::new(
                window.range.clone(),
                format!("`{}` is derived: it is one value of the whole run", {
                    &self.registry.get(metric).name
                }),
                "leave the window out, or give it to a threshold on a metric that this is made of",
            )),
            _ => Ok(()),
        }
    }

    fn assertion(&self, metric: MetricId, written: Written) -> Result<Assertion, Fault> {
        let dimension = self.dimension(metric, &written.aggregate)?;
        self.check_window(metric, written.window.as_ref())?;
        let range = written.operand.range;
        let operand = match written.operand.value {
            WrittenOperand::Number { value, unit } => {
                Operand::Number(number(value, unit.as_ref(), dimension, &range)?)
            }
            WrittenOperand::Baseline { factor } => {
                let written = (written.aggregate.value, written.window.as_ref());
                check_baseline(written, metric >= self.first_derived, &range)?;
                Operand::Baseline { factor, base: Base::Missing }
            }
            WrittenOperand::Figure { factor, figure, window } => {
                let other = self.check_figure(&figure, Some(metric))?;
                self.check_window(other, window.as_ref())?;
                let theirs = self.dimension(other, &figure.aggregate)?;
                if theirs != dimension {
                    return Err(Fault::new(
                        range,
                        format!("{} cannot be compared with {}", dimension.words(), theirs.words()),
                        "compare figures of one kind",
                    ));
                }
                Operand::Figure {
                    factor,
                    metric: figure.metric.map(|metric| metric.value),
                    aggregate: figure.aggregate.value,
                    selector: figure.selector.map(|selector| selector.value),
                    window: window.map(|window| window.value),
                }
            }
        };
        Ok(Assertion {
            aggregate: written.aggregate.value,
            window: written.window.map(|window| window.value),
            comparison: written.comparison.value,
            operand,
        })
    }
}

/// Refuses what a finished run's summary does not keep.
fn check_baseline(
    (aggregate, window): (Aggregate, Option<&At<Window>>),
    derived: bool,
    range: &Range<usize>,
) -> Result<(), Fault> {
    if let Some(window) = window {
        return Err(Fault::new(
            window.range.clone(),
            "a baseline keeps the figures of whole runs, none of a window",
            "leave the window out, or compare with a figure of this run",
        ));
    }
    if aggregate == Aggregate::Slope && !derived {
        return Err(Fault::new(
            range.clone(),
            "a baseline keeps no slopes",
            "compare with a number, or declare a derived metric of kind `growth` and compare that",
        ));
    }
    Ok(())
}

/// A number with its unit, in the metric's own unit.
fn number(
    value: f64,
    unit: Option<&At<String>>,
    dimension: Dimension,
    range: &Range<usize>,
) -> Result<f64, Fault> {
    let wrong = |unit: &At<String>| {
        let message = format!("the unit `{}` does not fit", shown(&unit.value));
        Fault::new(unit.range.clone(), message, format!("this figure is {}", dimension.words()))
    };
    let text = unit.map_or("", |unit| unit.value.as_str());
    let (size, per) = match text.split_once('/') {
        Some((size, per)) => (size, Some(per)),
        None => (text, None),
    };
    let seconds = match (per, unit) {
        (None, _) if text.is_empty() || !dimension.per_second => 1.0,
        (Some(per), Some(unit)) if dimension.per_second => {
            time_unit(per).ok_or_else(|| wrong(unit))? / 1e9
        }
        (_, Some(unit)) => return Err(wrong(unit)),
        (_, None) => 1.0,
    };
    let factor = match (dimension.quantity, size) {
        // As in k6, a bare number on a time is milliseconds.
        (Quantity::Time, "") => Some(1e6),
        (Quantity::Time, size) => time_unit(size),
        (Quantity::Seconds, "") => Some(1.0),
        (Quantity::Seconds, size) => time_unit(size).map(|nanos| nanos / 1e9),
        (Quantity::Bytes, size) if !size.is_empty() => byte_unit(size),
        (Quantity::Share, "%") => Some(0.01),
        (_, "") | (Quantity::Percent, "%") => Some(1.0),
        _ => None,
    };
    let own = match (factor, unit) {
        // Divided, not multiplied by 0.01: 99 % is to be the number 0.99.
        (Some(_), _) if dimension.quantity == Quantity::Share && size == "%" => value / 100.0,
        (Some(factor), _) => value * factor / seconds,
        (None, Some(unit)) => return Err(wrong(unit)),
        (None, None) => value,
    };
    if dimension.quantity == Quantity::Share && !(0.0..=1.0).contains(&own) {
        return Err(Fault::new(
            range.clone(),
            format!("a share is never {own}"),
            "write it from 0 to 1, or as a percentage: `0.99` or `99%`",
        ));
    }
    Ok(own)
}

/// Whether samples of a metric can bear the tag `op`.
fn bears_op(registry: &Registry, metric: MetricId) -> bool {
    const OPERATIONS: [&str; 6] = ["bus_", "db_", "effect_", "data_", "service_", "target_outage_"];
    let name = &registry.get(metric).name;
    usize::from(metric.0) < Builtin::ALL.len()
        && OPERATIONS.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a miss can be by little.
pub(super) fn has_distance(expression: &Expression) -> bool {
    let exact = |it: &Assertion| matches!(it.comparison, Comparison::Equal | Comparison::NotEqual);
    !expression.0.iter().flatten().any(exact)
}
