//! Thresholds from what was typed: `thresholds: { "metric{tag:value}": "…" | { threshold: "…", … } | [ … ] }`.

use std::ops::Range;

use super::{
    Expression, OnMissing, Severity, Threshold,
    grammar::{self, At, Fault, Input},
    meaning::{Universe, has_distance},
};
use crate::{
    diagnostic::{Diagnostic, Place},
    metric::{Builtin, Kind, MetricId, Selector},
    plan::{
        Row,
        quantity::{number, shown},
        section::{Item, suggestion},
    },
};

const LONG_FORM: &[&str] = &[
    "threshold",
    "severity",
    "warn_within",
    "no_data",
    "insufficient",
    "min_samples",
    "abort_on_fail",
    "delay_abort_eval",
    "row",
];

const ON_MISSING: &[(&str, OnMissing)] =
    &[("fail", OnMissing::Fail), ("warn", OnMissing::Warn), ("pass", OnMissing::Pass)];

/// Reads `thresholds`. A threshold that names no row is of the only one there is; a row says how a miss is
/// taken, and how many samples it takes, where the threshold does not.
pub(in crate::plan) fn read(
    item: &Item<'_>,
    universe: &Universe<'_>,
    rows: &[Row],
) -> Result<Vec<Threshold>, Diagnostic> {
    let mut thresholds = Vec::new();
    for (key, item) in item.entries()? {
        let (metric, selector) = key_of(key, universe)
            .map_err(|fault| in_text(&item, key, fault, "the threshold's metric"))?;
        let items = if item.value.is_array() { item.array()? } else { vec![item] };
        for item in items {
            let threshold = one(&item, metric, &selector.value, universe, rows)?;
            thresholds.push(threshold);
        }
    }
    Ok(thresholds)
}

/// The thresholds that hold where a workload sets none on that metric.
pub(in crate::plan) fn defaults(set: &[Threshold]) -> Vec<Threshold> {
    use Builtin::{BusConnectFailed, BusRequestFailed, DbQueryFailed, IterationErrors};
    let open = [IterationErrors, BusRequestFailed, BusConnectFailed, DbQueryFailed].into_iter();
    open.filter(|builtin| set.iter().all(|threshold| threshold.metric != builtin.name()))
        .map(|builtin| Threshold {
            metric: builtin.name().to_owned(),
            // A run that asked nothing of the bus has nothing to show for it; but a run without a
            // single finished iteration has not shown that iterations work.
            no_data: if builtin == IterationErrors { OnMissing::Fail } else { OnMissing::Pass },
            // What holds for all samples that there are is all that these say.
            insufficient: OnMissing::Pass,
            is_default: true,
            ..threshold("rate == 0", none_at_all())
        })
        .collect()
}

/// `rate == 0`
fn none_at_all() -> Expression {
    Expression(vec![vec![super::Assertion {
        aggregate: super::Aggregate::Rate,
        window: None,
        comparison: super::Comparison::Equal,
        operand: super::Operand::Number(0.0),
    }]])
}

fn threshold(source: &str, expression: Expression) -> Threshold {
    Threshold {
        metric: String::new(),
        selector: Selector::default(),
        source: source.to_owned(),
        expression,
        severity: Severity::default(),
        warn_within: None,
        no_data: OnMissing::default(),
        insufficient: OnMissing::default(),
        min_samples: None,
        abort_on_fail: false,
        delay_abort_eval: std::time::Duration::ZERO,
        row: None,
        own_severity: false,
        is_default: false,
    }
}

/// `metric` or `metric{tag:value}`.
fn key_of(key: &str, universe: &Universe<'_>) -> Result<(MetricId, At<Selector>), Fault> {
    if key.len() > 1_024 {
        return Err(Fault::new(0..0, "it is longer than 1024 bytes", "shorten it"));
    }
    let brace = key.find('{').unwrap_or(key.len());
    let name = key[..brace].trim_end();
    let metric =
        universe.metric(&At { value: name.to_owned(), range: 0..brace.max(1).min(key.len()) })?;
    if brace == key.len() {
        universe.check_source(metric, &Selector::default(), &(0..brace))?;
        return Ok((metric, At { value: Selector::default(), range: brace..brace }));
    }
    let mut input = Input::new(&key[brace..]);
    let parsed = grammar::selector(&mut input).map_err(winnow::error::ErrMode::into_inner);
    let shift = |range: Range<usize>| range.start + brace..range.end + brace;
    let mut selector = parsed.map_err(|fault| {
        let unknown = Fault::new(0..key.len(), "it is not understood", "see the grammar");
        let fault = fault.unwrap_or(unknown);
        Fault { range: shift(fault.range), ..fault }
    })?;
    selector.range = shift(selector.range);
    if !input.trim().is_empty() {
        let message = format!("`{}` behind the selector", shown(input.trim()));
        return Err(Fault::new(selector.range.end..key.len(), message, "end with `}`"));
    }
    universe.check_selector(metric, &selector)?;
    universe.check_source(metric, &selector.value, &(0..brace))?;
    Ok((metric, selector))
}

fn one(
    item: &Item<'_>,
    metric: MetricId,
    selector: &Selector,
    universe: &Universe<'_>,
    rows: &[Row],
) -> Result<Threshold, Diagnostic> {
    let name = &universe.registry.get(metric).name;
    let expression = |item: &Item<'_>| -> Result<Threshold, Diagnostic> {
        let source = item.string()?;
        let written = grammar::expression(source);
        let expression = written.and_then(|written| universe.expression(metric, written));
        let origin = format!("the threshold on `{name}{}`", selector.text());
        let expression = expression.map_err(|fault| in_text(item, source, fault, &origin))?;
        Ok(Threshold {
            metric: name.clone(),
            selector: selector.clone(),
            ..threshold(source, expression)
        })
    };
    if !item.value.is_object() {
        let mut threshold = expression(item)?;
        let row = row_of(None, rows)?;
        belong(&mut threshold, row, universe, None);
        return Ok(threshold);
    }
    let section = item.section("a threshold", LONG_FORM)?;
    let mut threshold = expression(&section.require("threshold", "\"p(95) < 200ms\"")?)?;
    let severities = [
        ("critical", Severity::Critical),
        ("warning", Severity::Warning),
        ("info", Severity::Info),
    ];
    let severity = section.get("severity").map(|item| item.choice(&severities)).transpose()?;
    if let Some(item) = section.get("warn_within") {
        if !has_distance(&threshold.expression) {
            return Err(item
                .error("`warn_within` does not go with `==` and `!=`: there is no little miss")
                .help("leave it out, or compare with `<=` or `>=`"));
        }
        threshold.warn_within = Some(warn_within(&item)?);
    }
    threshold.no_data = section.choice("no_data", ON_MISSING)?;
    threshold.insufficient = section.choice("insufficient", ON_MISSING)?;
    threshold.min_samples = section.whole_u64("min_samples")?;
    threshold.abort_on_fail = section.boolean("abort_on_fail")?.unwrap_or(false);
    if let Some(derived) = derived_in(&threshold, universe).filter(|_| threshold.abort_on_fail) {
        let item = section.get("abort_on_fail").unwrap_or_else(|| section.whole());
        return Err(item
            .error(format!("`{derived}` is derived: it is known only at the end of the run"))
            .help(
                "leave `abort_on_fail` out, or set it on a metric that the derived one is made of",
            ));
    }
    threshold.delay_abort_eval = section.duration("delay_abort_eval")?.unwrap_or_default();
    let row = row_of(section.get("row"), rows)?;
    threshold.row = section.string("row")?.map(str::to_owned);
    belong(&mut threshold, row, universe, severity);
    Ok(threshold)
}

/// The row that a threshold belongs to: the one it names, else the only one.
fn row_of<'a>(named: Option<Item<'_>>, rows: &'a [Row]) -> Result<Option<&'a Row>, Diagnostic> {
    let Some(item) = named.filter(|_| !rows.is_empty()) else {
        return Ok(match rows {
            [only] => Some(only),
            _ => None,
        });
    };
    let name = item.string()?;
    let known: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    rows.iter().find(|row| row.name == name).map(Some).ok_or_else(|| {
        item.error(format!("the suite does not say that this workload covers `{}`", shown(name)))
            .help(suggestion(name, &known))
    })
}

/// Gives a threshold to its row.
fn belong(
    threshold: &mut Threshold,
    row: Option<&Row>,
    universe: &Universe<'_>,
    severity: Option<Severity>,
) {
    let of_row = row.map(|row| row.priority.severity());
    threshold.severity = severity.or(of_row).unwrap_or_default();
    threshold.own_severity = severity.is_some();
    let Some(row) = row else { return };
    threshold.row = Some(row.name.clone());
    let distribution = universe
        .registry
        .find(&threshold.metric)
        .is_some_and(|id| matches!(universe.registry.get(id).kind, Kind::Trend | Kind::Rate));
    if distribution {
        threshold.min_samples = threshold.min_samples.or(row.min_samples);
    }
}

/// A derived metric that a threshold looks at.
fn derived_in<'a>(threshold: &'a Threshold, universe: &Universe<'_>) -> Option<&'a str> {
    let operands = threshold.expression.0.iter().flatten().filter_map(|it| match &it.operand {
        super::Operand::Figure { metric, .. } => metric.as_deref(),
        _ => None,
    });
    let mut all = std::iter::once(threshold.metric.as_str()).chain(operands);
    all.find(|metric| universe.is_derived(metric))
}

/// `0.1` or `"10%"`.
fn warn_within(item: &Item<'_>) -> Result<f64, Diagnostic> {
    let percent = item.value.as_str().and_then(|text| text.trim().strip_suffix('%'));
    let value = match percent {
        Some(percent) => number(percent.trim()).map(|percent| percent / 100.0),
        None => item.value.as_f64(),
    };
    value.filter(|value| (0.0..=1.0).contains(value)).ok_or_else(|| {
        item.error("`warn_within` is not a share")
            .help("a number from 0 to 1, or a percentage as in \"10%\"")
    })
}

/// An error in a text of the options, with the caret in the file if the text can be found there,
/// else in the text itself.
pub(in crate::plan) fn in_text(
    item: &Item<'_>,
    text: &str,
    fault: Fault,
    origin: &str,
) -> Diagnostic {
    let message = format!("{origin}: {}", fault.message);
    // A caret stands on whole characters, within the text.
    let whole = |at: &usize| text.is_char_boundary(*at);
    let start = (0..=fault.range.start.min(text.len())).rev().find(whole).unwrap_or(0);
    let end = (fault.range.end.max(start)..=text.len()).find(whole).unwrap_or(text.len());
    let range = start..end;
    let place = item.place().and_then(|place| within(place, text, &range));
    let place =
        place.unwrap_or_else(|| Place { origin: origin.to_owned(), text: text.to_owned(), range });
    Diagnostic { message, place: Some(place), help: Some(fault.help) }
}

/// The same range in the file, where the text stands verbatim at the place of its value.
fn within(place: &Place, text: &str, range: &Range<usize>) -> Option<Place> {
    let bounds = if place.range.is_empty() {
        place.range.start..place.text.len()
    } else {
        place.range.clone()
    };
    let start = bounds.start + place.text.get(bounds)?.find(text)?;
    Some(Place { range: start + range.start..start + range.end, ..place.clone() })
}

#[cfg(test)]
mod tests;
