//! Metrics that the host computes from others at the end of a run. SEMANTICS §2.

use serde::{Deserialize, Serialize};

use winnow::error::ErrMode;

use super::{
    declare,
    quantity::{number, shown},
    section::{Item, Section, suggestion},
    threshold::{
        Aggregate, Fault, Input, Parsed, Universe, figure, in_text, number_text, opt_literal, rest,
        spaces,
    },
};
use crate::{
    diagnostic::Diagnostic,
    metric::{Selector, Unit},
};

/// A derived metric: a gauge in thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Derived {
    /// Its name.
    pub name: String,
    /// As it was written.
    pub source: String,
    /// How it is computed.
    pub kind: DerivedKind,
}

/// How a derived metric is computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DerivedKind {
    /// Arithmetic on figures of other metrics.
    Formula(Formula),
    /// From the end of `stage` until a rolling aggregate of `metric` is back within `factor` of what
    /// it was in `reference`; in nanoseconds.
    RecoveryTime {
        /// The metric whose aggregate is watched.
        metric: String,
        /// Of which samples.
        selector: Selector,
        /// Which figure.
        aggregate: Aggregate,
        /// The stage at whose end the clock starts.
        stage: String,
        /// The stage whose figure is normal.
        reference: String,
        /// Back means: at most this times normal.
        factor: f64,
    },
}

/// Arithmetic on figures: `rows_stored.count / bus_published.count`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Formula {
    /// A number.
    Number(f64),
    /// A figure of a metric.
    Figure {
        /// The metric.
        metric: String,
        /// The figure.
        aggregate: Aggregate,
        /// Of which samples.
        selector: Selector,
    },
    /// Two formulas and `+ - * /`.
    Binary(Box<Formula>, char, Box<Formula>),
    /// `-a`
    Negative(Box<Formula>),
}

/// Bytes of a formula.
const LONGEST: usize = 4_096;
/// Nested parentheses of a formula.
const DEEPEST: usize = 64;

/// Reads `derived`. The metrics are not yet in the registry, so that none can use another.
///
/// Forms: a formula as a string, or a map with `kind`: `formula` (with `formula`) or `recovery_time`
/// (with `metric`, a name with an optional selector, `aggregate`, `stage`, `reference`, `factor`).
pub(super) fn read(
    item: &Item<'_>,
    universe: &Universe<'_>,
) -> Result<Vec<(Derived, Unit)>, Diagnostic> {
    let mut all = Vec::new();
    for (name, item) in item.entries()? {
        declare::metric_name(name, &item)?;
        let (source, kind, unit) = one(name, &item, universe)?;
        all.push((Derived { name: name.to_owned(), source, kind }, unit));
    }
    Ok(all)
}

fn one(
    name: &str,
    item: &Item<'_>,
    universe: &Universe<'_>,
) -> Result<(String, DerivedKind, Unit), Diagnostic> {
    const KEYS: &[&str] =
        &["kind", "formula", "metric", "aggregate", "stage", "reference", "factor"];
    let read_formula = |item: &Item<'_>| {
        let source = item.string()?;
        let (formula, unit) = formula(source, universe)
            .map_err(|fault| in_text(item, source, fault, &format!("the derived `{name}`")))?;
        Ok((source.to_owned(), DerivedKind::Formula(formula), unit))
    };
    if !item.value.is_object() {
        return read_formula(item);
    }
    let section = item.section("a derived metric", KEYS)?;
    let kind = section.require("kind", "\"recovery_time\"")?;
    match kind.string()? {
        "formula" => read_formula(&section.require("formula", "\"a.count / b.count\"")?),
        "recovery_time" => recovery_time(&section, universe),
        "growth" | "scaling" => Err(kind
            .error("this kind is not available yet")
            .help("`formula` and `recovery_time` are")),
        other => Err(kind
            .error(format!("`{}` is not a kind of derived metric", shown(other)))
            .help(suggestion(other, &["formula", "recovery_time"]))),
    }
}

fn recovery_time(
    section: &Section<'_>,
    universe: &Universe<'_>,
) -> Result<(String, DerivedKind, Unit), Diagnostic> {
    let metric_item = section.require("metric", "\"iteration_response_time\"")?;
    let aggregate_item = section.require("aggregate", "\"p(95)\"")?;
    let (metric, aggregate) = (metric_item.string()?, aggregate_item.string()?);
    // Written in two keys, read as one figure: `metric.aggregate{selector}`.
    let brace = metric.find('{').unwrap_or(metric.len());
    let (name, selector) = (metric[..brace].trim(), &metric[brace..]);
    let text = format!("{name}.{}{selector}", aggregate.trim());
    let figure = complete(&text, |input| figure(input))
        .and_then(|figure| universe.check_figure(&figure, None).map(|_| figure))
        .map_err(|fault| in_text(&metric_item, &text, fault, "the metric that recovers"))?;
    let stages: Vec<_> = universe.scenarios.iter().flat_map(|it| it.stage_names()).collect();
    let stage = |key: &str| -> Result<String, Diagnostic> {
        let item = section.require(key, "\"a stage's name\"")?;
        let name = item.string()?;
        if stages.contains(&name) {
            return Ok(name.to_owned());
        }
        Err(item
            .error(format!("there is no stage `{}`", shown(name)))
            .help(suggestion(name, &stages)))
    };
    let (stage, reference) = (stage("stage")?, stage("reference")?);
    let factor = section.number("factor")?.unwrap_or(1.1);
    if factor <= 0.0 {
        let item = section.get("factor").unwrap_or_else(|| section.whole());
        return Err(item.error("the factor is 0").help("1.1 is back within 10 % of normal"));
    }
    let kind = DerivedKind::RecoveryTime {
        metric: name.to_owned(),
        selector: figure.selector.map(|selector| selector.value).unwrap_or_default(),
        aggregate: figure.aggregate.value,
        stage,
        reference,
        factor,
    };
    Ok((format!("recovery_time of {text}"), kind, Unit::Nanoseconds))
}

/// Runs a parser over all of a text.
fn complete<'a, T>(
    text: &'a str,
    mut parser: impl FnMut(&mut Input<'a>) -> Parsed<T>,
) -> Result<T, Fault> {
    if text.len() > LONGEST {
        let message = format!("{} bytes are too long", text.len());
        return Err(Fault::new(0..0, message, format!("{LONGEST} are the most")));
    }
    let mut input = Input::new(text);
    let result = parser(&mut input).map_err(|error| match error {
        ErrMode::Backtrack(fault) | ErrMode::Cut(fault) => fault,
        ErrMode::Incomplete(_) => Fault::new(0..text.len(), "it is cut off", "finish it"),
    })?;
    if input.trim().is_empty() {
        return Ok(result);
    }
    let message = format!("`{}` does not belong here", shown(input.trim()));
    Err(Fault::new(rest(&input), message, "one of `+`, `-`, `*`, `/`, or the end"))
}

/// Parses and checks a formula; also the unit of its value.
///
/// ```text
/// formula -> product (("+" | "-") product)*
/// product -> factor (("*" | "/") factor)*
/// factor  -> "-"* (number | "(" formula ")" | metric "." aggregate selector?)
/// ```
fn formula(text: &str, universe: &Universe<'_>) -> Result<(Formula, Unit), Fault> {
    complete(text, |input| sum(input, universe, 0))
}

fn sum(input: &mut Input<'_>, universe: &Universe<'_>, depth: usize) -> Parsed<(Formula, Unit)> {
    let (mut left, mut unit) = product(input, universe, depth)?;
    while let Some(sign) = operator(input, &["+", "-"])? {
        let (right, other) = product(input, universe, depth)?;
        unit = if unit == other { unit } else { Unit::Count };
        left = Formula::Binary(Box::new(left), sign, Box::new(right));
    }
    Ok((left, unit))
}

fn product(
    input: &mut Input<'_>,
    universe: &Universe<'_>,
    depth: usize,
) -> Parsed<(Formula, Unit)> {
    let (mut left, mut unit) = factor(input, universe, depth)?;
    while let Some(sign) = operator(input, &["*", "/"])? {
        let (right, other) = factor(input, universe, depth)?;
        unit = match (unit, sign, other) {
            (unit, _, Unit::Count) | (Unit::Count, '*', unit) => unit,
            _ => Unit::Count,
        };
        left = Formula::Binary(Box::new(left), sign, Box::new(right));
    }
    Ok((left, unit))
}

fn factor(input: &mut Input<'_>, universe: &Universe<'_>, depth: usize) -> Parsed<(Formula, Unit)> {
    spaces(input)?;
    let start = rest(input).start;
    if depth > DEEPEST {
        let message = "too many nested parentheses";
        return Err(ErrMode::Cut(Fault::new(start..start, message, format!("{DEEPEST} at most"))));
    }
    if opt_literal(input, "(")?.is_some() {
        let inside = sum(input, universe, depth + 1)?;
        spaces(input)?;
        if opt_literal(input, ")")?.is_none() {
            let range = start..rest(input).start;
            return Err(ErrMode::Cut(Fault::new(range, "`(` without `)`", "close it")));
        }
        return Ok(inside);
    }
    let digits = number_text(input)?;
    if digits.is_empty() && opt_literal(input, "-")?.is_some() {
        let (inside, unit) = factor(input, universe, depth + 1)?;
        return Ok((Formula::Negative(Box::new(inside)), unit));
    }
    if !digits.is_empty() {
        let negative = digits.starts_with('-');
        let value = number(digits.trim_start_matches('-')).ok_or_else(|| {
            let message = format!("`{}` is not a number", shown(digits));
            ErrMode::Cut(Fault::new(start..start + digits.len(), message, "as in `0.95` or `1e6`"))
        })?;
        return Ok((Formula::Number(if negative { -value } else { value }), Unit::Count));
    }
    let figure = figure(input)?;
    let metric = universe.check_figure(&figure, None).map_err(ErrMode::Cut)?;
    let unit = universe.unit_of(metric, figure.aggregate.value);
    let name = universe.registry.get(metric).name.clone();
    let selector = figure.selector.map(|selector| selector.value).unwrap_or_default();
    Ok((Formula::Figure { metric: name, aggregate: figure.aggregate.value, selector }, unit))
}

fn operator(input: &mut Input<'_>, signs: &[&'static str]) -> Parsed<Option<char>> {
    spaces(input)?;
    for sign in signs {
        if opt_literal(input, sign)?.is_some() {
            return Ok(sign.chars().next());
        }
    }
    Ok(None)
}

impl Formula {
    /// The metrics that it uses, with their selectors.
    pub fn figures(&self) -> Vec<(&str, &Selector)> {
        match self {
            Self::Number(_) => Vec::new(),
            Self::Figure { metric, selector, .. } => vec![(metric, selector)],
            Self::Negative(inside) => inside.figures(),
            Self::Binary(left, _, right) => {
                let mut all = left.figures();
                all.extend(right.figures());
                all
            }
        }
    }
}
