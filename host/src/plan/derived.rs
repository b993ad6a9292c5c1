//! Metrics that the host computes from others at the end of a run. SEMANTICS §2.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use winnow::error::ErrMode;

use super::{
    Scenario, declare,
    quantity::{number, parse_duration, shown},
    section::{Item, Section, listed, suggestion},
    threshold::{
        Aggregate, Fault, Input, Parsed, Universe, figure, in_text, number_text, opt_literal, rest,
        spaces,
    },
};
use crate::{
    diagnostic::Diagnostic,
    metric::{Kind, MetricId, Selector, Unit},
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
    /// How much a metric grows.
    Growth(Growth),
    /// How a scenario with levels scales.
    Scaling {
        /// The scenario.
        scenario: String,
        /// Which figure of it.
        value: ScalingValue,
    },
    /// What a search found.
    Search {
        /// Which figure of it.
        value: SearchValue,
    },
}

/// A figure of what a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchValue {
    /// The highest rate that passed, per second; as an interval, up to the lowest that did not.
    MaxRate,
    /// The same divided by what is expected.
    Headroom,
}

/// A figure of how a scenario scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScalingValue {
    /// The highest level up to which 95 % of what was asked was achieved; closed model: the number of
    /// VUs from which more of them bring less than they should.
    Knee,
    /// The highest throughput, per second.
    Peak,
    /// Contention: the coefficient σ of the Universal Scalability Law.
    Sigma,
    /// Coherence: its coefficient κ.
    Kappa,
    /// Throughput per second of one in the system.
    Lambda,
    /// The knee, or the highest level if none was reached, divided by what is expected.
    Headroom,
    /// How much more slowly the response time grows than the load: the elasticity of its mean.
    Elasticity,
}

/// As they are written.
const SCALING: &[(&str, ScalingValue)] = &[
    ("knee", ScalingValue::Knee),
    ("peak", ScalingValue::Peak),
    ("sigma", ScalingValue::Sigma),
    ("kappa", ScalingValue::Kappa),
    ("lambda", ScalingValue::Lambda),
    ("headroom", ScalingValue::Headroom),
    ("elasticity", ScalingValue::Elasticity),
];

/// How much a figure of a metric, taken each second, grows per something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// The metric.
    pub metric: String,
    /// Of which samples.
    pub selector: Selector,
    /// Which figure of each second.
    pub aggregate: Aggregate,
    /// Per what.
    pub per: Per,
    /// In percent of what it was at the beginning.
    pub relative: bool,
}

/// What a growth is counted against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Per {
    /// So much time.
    Time(Duration),
    /// One stage of this scenario.
    Stage(String),
    /// So many of what a counter counts.
    Count {
        /// How many.
        number: f64,
        /// The counter.
        metric: String,
        /// Of which samples.
        selector: Selector,
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
/// Forms: a formula as a string, or a map with `kind`: `formula` (with `formula`), `recovery_time`
/// (with `metric`, a name with an optional selector, `aggregate`, `stage`, `reference`, `factor`) or
/// `growth` (with `metric`, `aggregate`, `per`, `relative`, `scenario`).
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
    let read_formula = |item: &Item<'_>| {
        let source = item.string()?;
        let (formula, unit) = formula(source, universe)
            .map_err(|fault| in_text(item, source, fault, &format!("the derived `{name}`")))?;
        Ok((source.to_owned(), DerivedKind::Formula(formula), unit))
    };
    if !item.value.is_object() {
        return read_formula(item);
    }
    let kinds: Vec<_> = KINDS.iter().map(|(kind, _)| *kind).collect();
    let Some(kind) = item.map()?.get("kind").filter(|kind| !kind.is_null()) else {
        return Err(item
            .error("`kind` is missing")
            .help(format!("add `kind:` with one of {}", listed(&kinds))));
    };
    let kind = item.child("kind", kind);
    let written = kind.string()?;
    let Some((name, keys)) = KINDS.iter().find(|(known, _)| *known == written) else {
        return Err(kind
            .error(format!("`{}` is not a kind of derived metric", shown(written)))
            .help(suggestion(written, &kinds)));
    };
    let section = item.section(&format!("the derived kind `{name}`"), keys)?;
    match *name {
        "formula" => read_formula(&section.require("formula", "\"a.count / b.count\"")?),
        "recovery_time" => recovery_time(&section, universe),
        "scaling" => scaling(&section, universe),
        "search" => search(&section, universe),
        _ => growth(&section, universe),
    }
}

/// The kinds, and what is written for each.
const KINDS: &[(&str, &[&str])] = &[
    ("formula", &["kind", "formula"]),
    ("recovery_time", &["kind", "metric", "aggregate", "stage", "reference", "factor"]),
    ("growth", &["kind", "metric", "aggregate", "per", "relative", "scenario"]),
    ("scaling", &["kind", "scenario", "value"]),
    ("search", &["kind", "value"]),
];

/// What is written in two keys and read as one figure, `metric.aggregate{selector}`; also as text.
fn watched(
    section: &Section<'_>,
    universe: &Universe<'_>,
    example: (&str, &str),
    what: &str,
) -> Result<(MetricId, Selector, Aggregate, String), Diagnostic> {
    let item = section.require("metric", &format!("\"{}\"", example.0))?;
    let aggregate = section.require("aggregate", &format!("\"{}\"", example.1))?;
    figure_of(&item, aggregate.string()?, universe, what)
}

/// A figure whose aggregate stands apart from its metric and selector.
fn figure_of(
    item: &Item<'_>,
    aggregate: &str,
    universe: &Universe<'_>,
    what: &str,
) -> Result<(MetricId, Selector, Aggregate, String), Diagnostic> {
    let metric = item.string()?;
    let brace = metric.find('{').unwrap_or(metric.len());
    let (name, selector) = (metric[..brace].trim(), &metric[brace..]);
    let text = format!("{name}.{}{selector}", aggregate.trim());
    let (id, figure) = complete(&text, |input| figure(input))
        .and_then(|figure| universe.check_figure(&figure, None).map(|id| (id, figure)))
        .map_err(|fault| in_text(item, &text, fault, what))?;
    let selector = figure.selector.map(|selector| selector.value).unwrap_or_default();
    Ok((id, selector, figure.aggregate.value, text))
}

fn search(
    section: &Section<'_>,
    universe: &Universe<'_>,
) -> Result<(String, DerivedKind, Unit), Diagnostic> {
    let item = section.require("value", "\"max_rate\"")?;
    let value =
        item.choice(&[("max_rate", SearchValue::MaxRate), ("headroom", SearchValue::Headroom)])?;
    let Some(search) = universe.scenarios.iter().find_map(Scenario::search) else {
        return Err(section
            .whole()
            .error("no scenario has a `search`")
            .help("add `search: #{ from: 100, to: 100000, probe: \"5s\" }` to one"));
    };
    if value == SearchValue::Headroom && search.expected.is_none() {
        return Err(item
            .error("the search does not say what is expected")
            .help("add `expected: 250` to it"));
    }
    Ok((format!("{} of the search", item.string()?), DerivedKind::Search { value }, Unit::Count))
}

fn scaling(
    section: &Section<'_>,
    universe: &Universe<'_>,
) -> Result<(String, DerivedKind, Unit), Diagnostic> {
    let driven = universe.scenarios.iter().filter(|scenario| scenario.levels().is_some());
    let names: Vec<_> = driven.clone().map(|scenario| scenario.name.as_str()).collect();
    let item = section.require("value", "\"knee\"")?;
    let value = item.choice(SCALING)?;
    let scenario = match (section.get("scenario"), names.as_slice()) {
        (None, [only]) => (*only).to_owned(),
        (None, _) => {
            return Err(section
                .whole()
                .error(format!("{} scenarios have `levels`", names.len()))
                .help("say which one is meant: `scenario: \"NAME\"`"));
        }
        (Some(written), _) => {
            let name = written.string()?;
            if !names.contains(&name) {
                return Err(written
                    .error(format!("there is no scenario `{}` with `levels`", shown(name)))
                    .help(suggestion(name, &names)));
            }
            name.to_owned()
        }
    };
    let expects = |it: &Scenario| it.levels().is_some_and(|levels| levels.expected.is_some());
    if value == ScalingValue::Headroom
        && !driven.clone().any(|it| it.name == scenario && expects(it))
    {
        return Err(item
            .error(format!("the scenario `{scenario}` does not say what is expected"))
            .help("add `expected: 250` beside its `levels`"));
    }
    let source = format!("{} of the scaling of {scenario}", item.string()?);
    Ok((source, DerivedKind::Scaling { scenario, value }, Unit::Count))
}

fn growth(
    section: &Section<'_>,
    universe: &Universe<'_>,
) -> Result<(String, DerivedKind, Unit), Diagnostic> {
    let (id, selector, aggregate, text) =
        watched(section, universe, ("runner_rss_bytes", "avg"), "the metric that grows")?;
    let per = section.require("per", "\"1h\"")?;
    let written = per.string()?.to_owned();
    let per = read_per(section, &per, universe, &selector)?;
    let relative = section.boolean("relative")?.unwrap_or(false);
    if let Some(scenario) = section.get("scenario").filter(|_| !matches!(per, Per::Stage(_))) {
        return Err(scenario
            .error("it says whose stages are counted, and `per` counts no stages")
            .help("leave it out, or write `per: \"stage\"`"));
    }
    let unit = if relative { Unit::Percent } else { universe.unit_of(id, aggregate) };
    let metric = universe.registry.get(id).name.clone();
    let growth = Growth { metric, selector, aggregate, per, relative };
    Ok((format!("growth of {text} per {written}"), DerivedKind::Growth(growth), unit))
}

/// `1h`, `stage`, or `1000 bus_requests{op:store}`.
fn read_per(
    section: &Section<'_>,
    item: &Item<'_>,
    universe: &Universe<'_>,
    selector: &Selector,
) -> Result<Per, Diagnostic> {
    let text = item.string()?.trim();
    if text == "stage" {
        return staged(section, item, universe, selector).map(Per::Stage);
    }
    if let Ok(time) = parse_duration(text) {
        if time.is_zero() {
            return Err(item.error("growth per no time").help("as in \"1h\""));
        }
        return Ok(Per::Time(time));
    }
    let wrong = |message: String| {
        let help = "a time (\"1h\"), \"stage\", or a number of what a counter counts (\"1000 iterations\")";
        item.error(message).help(help)
    };
    let Some((digits, counter)) = text.split_once(' ') else {
        return Err(wrong(format!("`{}` is nothing to count against", shown(text))));
    };
    let number = number(digits).filter(|number| *number > 0.0 && number.is_finite());
    let Some(number) = number else {
        return Err(wrong(format!("`{}` is no number above 0", shown(digits))));
    };
    let counter = serde_json::Value::String(counter.trim().to_owned());
    let inside = Item { value: &counter, path: item.path.clone(), places: item.places };
    let (id, selector, ..) =
        figure_of(&inside, "count", universe, "what growth is counted against")?;
    let metric = universe.registry.get(id);
    if metric.kind != Kind::Counter {
        return Err(wrong(format!("`{}` is not a counter", metric.name)));
    }
    Ok(Per::Count { number, metric: metric.name.clone(), selector })
}

/// The scenario whose stages are meant.
fn staged(
    section: &Section<'_>,
    item: &Item<'_>,
    universe: &Universe<'_>,
    selector: &Selector,
) -> Result<String, Diagnostic> {
    let written = section.string("scenario")?.or(selector.0.get("scenario").map(String::as_str));
    let staged = universe.scenarios.iter().filter(|scenario| !scenario.stage_times().is_empty());
    let names: Vec<_> = staged.map(|scenario| scenario.name.as_str()).collect();
    match (written, names.as_slice()) {
        (Some(only), names) if names.contains(&only) => Ok(only.to_owned()),
        (None, [only]) => Ok((*only).to_owned()),
        (Some(written), _) => Err(item
            .error(format!(
                "the scenario `{}` has no stages at a time that the plan knows",
                shown(written)
            ))
            .help("give it `stages` and a `start_time`, or count against time")),
        (None, []) => Err(item
            .error("no scenario has stages at a time that the plan knows")
            .help("give one `stages` and a `start_time`, or count against time")),
        (None, _) => Err(item
            .error(format!("{} have stages", listed(&names)))
            .help("say whose are meant: `scenario: \"NAME\"`")),
    }
}

fn recovery_time(
    section: &Section<'_>,
    universe: &Universe<'_>,
) -> Result<(String, DerivedKind, Unit), Diagnostic> {
    let example = ("iteration_response_time", "p(95)");
    let (id, selector, aggregate, text) =
        watched(section, universe, example, "the metric that recovers")?;
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
        metric: universe.registry.get(id).name.clone(),
        selector,
        aggregate,
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
