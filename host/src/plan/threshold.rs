//! The threshold grammar of SEMANTICS §3, as a tree, and a threshold with its long form.
//!
//! Three steps, one file each: the words (`grammar`), what they mean (`meaning`), and the options
//! around them (`read`). The types here are what is left: numbers in the metric's own unit, metrics
//! that exist, selectors that can match.

mod grammar;
mod meaning;
mod read;

pub(super) use grammar::{Fault, Input, Parsed, figure, number_text, opt_literal, rest, spaces};
pub(super) use meaning::Universe;
pub(super) use read::{defaults, in_text, read};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{diagnostic::Diagnostic, metric::Selector};

/// One threshold of a plan: an expression over one metric, and how a miss is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The metric's name, as written before `{`.
    pub metric: String,
    /// Which of its samples.
    pub selector: Selector,
    /// The expression as it was written.
    pub source: String,
    /// The expression.
    pub expression: Expression,
    /// How a miss is taken.
    pub severity: Severity,
    /// A miss by at most this is a warning: a fraction for times and rates per second, points (0.01
    /// is one percentage point) for shares.
    pub warn_within: Option<f64>,
    /// What a threshold without samples is.
    pub no_data: OnMissing,
    /// What a threshold with too few samples is.
    pub insufficient: OnMissing,
    /// Samples that a verdict needs, beyond what the statistics ask for.
    pub min_samples: Option<u64>,
    /// Whether a miss stops the run.
    pub abort_on_fail: bool,
    /// From the run's start, until when a miss does not stop it.
    pub delay_abort_eval: Duration,
    /// The catalogue row that it belongs to.
    pub row: Option<String>,
    /// Whether it says itself how a miss is taken, and not its row.
    pub own_severity: bool,
    /// Set where the host added it because the workload has none on that metric.
    pub is_default: bool,
}

impl Threshold {
    /// What an operand's figure looks at: its own metric and selector where it names them, else the
    /// threshold's ([`Operand::Figure`]).
    pub fn looks_at<'a>(
        &'a self,
        metric: Option<&'a str>,
        selector: &Option<Selector>,
    ) -> (&'a str, Selector) {
        let own = metric.is_none_or(|metric| metric == self.metric);
        let selector = match selector {
            Some(selector) => selector.clone(),
            None if own => self.selector.clone(),
            None => Selector::default(),
        };
        (metric.unwrap_or(&self.metric), selector)
    }
}

/// Alternatives, each a conjunction: `a and b or c`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expression(pub Vec<Vec<Assertion>>);

/// `p(95) over first 10s < 200 ms`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assertion {
    /// What is looked at.
    pub aggregate: Aggregate,
    /// When.
    pub window: Option<Window>,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub operand: Operand,
}

/// A figure of a metric's samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Aggregate {
    /// `avg`, `mean`
    Mean,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `med`
    Median,
    /// `stddev`
    Stddev,
    /// `p(N)`, N between 0 and 100
    Percentile(f64),
    /// `count`
    Count,
    /// `rate`: per second of a counter, the share of a rate
    Rate,
    /// `value`: the last sample of a gauge
    Value,
    /// `slope`: of a gauge, per second
    Slope,
}

/// Which part of the run an aggregate looks at; times from the run's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Window {
    /// `over first D`
    First(Duration),
    /// `over last D`
    Last(Duration),
    /// `each D`: every window of that length, one after the other; the worst decides
    Each(Duration),
    /// `after D`
    After(Duration),
}

impl Aggregate {
    /// As it is written.
    pub fn text(self) -> String {
        let word = match self {
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Median => "med",
            Self::Stddev => "stddev",
            Self::Percentile(percent) => return format!("p({percent})"),
            Self::Count => "count",
            Self::Rate => "rate",
            Self::Value => "value",
            Self::Slope => "slope",
        };
        word.to_owned()
    }
}

impl Comparison {
    /// Whether a value holds against a limit.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Greater => value > limit,
            Self::AtLeast => value >= limit,
            Self::AtMost => value <= limit,
            Self::Less => value < limit,
            Self::Equal => value == limit,
            Self::NotEqual => value != limit,
        }
    }
}

/// `<`, `==` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `<`
    Less,
    /// `==`, `===`
    Equal,
    /// `!=`
    NotEqual,
}

/// What an aggregate is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Operand {
    /// A number, in the metric's own unit (times: nanoseconds; slopes: per second).
    Number(f64),
    /// `2 * other_metric.mean{stage:normal} over first 10s`; without a metric, the threshold's own.
    Figure {
        /// What it is multiplied with.
        factor: f64,
        /// The metric, if it is another one.
        metric: Option<String>,
        /// The figure.
        aggregate: Aggregate,
        /// Of which samples; if none is written, of the threshold's own selector when the metric is
        /// the threshold's own, else of all samples.
        selector: Option<Selector>,
        /// When.
        window: Option<Window>,
    },
    /// `0.9 * baseline`
    Baseline {
        /// What it is multiplied with.
        factor: f64,
        /// The same figure of the baseline ([`crate::plan::Plan::set_baseline`]).
        base: Base,
    },
}

/// The figure of a baseline that a limit is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Base {
    /// There is none.
    Missing,
    /// There is none, and whoever started the run allowed that there is none yet.
    Excused,
    /// It is this.
    Found(Stored),
}

/// A figure of a finished run, as its summary keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// What it is at least.
    pub low: f64,
    /// What it is at most; `None` where censored samples leave it open.
    pub high: Option<f64>,
    /// Known samples.
    pub samples: u64,
    /// Censored samples.
    pub censored: u64,
}

/// A figure of a metric, as it is written in formulas and operands: `bus_requests.count{op:stats}`.
#[derive(Clone, Debug, PartialEq)]
pub struct FigureName {
    /// The metric.
    pub metric: String,
    /// Which figure; `None` where only the metric was named.
    pub aggregate: Option<Aggregate>,
    /// Of which samples.
    pub selector: Selector,
}

impl FigureName {
    /// Reads `metric.aggregate{tag:value}`, or `metric{tag:value}` for the figure that its kind suggests.
    pub fn parse(text: &str) -> Result<Self, Diagnostic> {
        grammar::named(text).map_err(|fault| {
            Diagnostic::new(fault.message).help(fault.help).at("metric", text, fault.range)
        })
    }
}

/// What an expression asks of the figures of its own metric over the whole run, without what it limits them
/// to; nothing of a text that is no expression.
pub fn asked(expression: &str) -> Vec<(Aggregate, Comparison)> {
    let written = grammar::expression(expression).unwrap_or_default();
    let whole = written.into_iter().flatten().filter(|it| it.window.is_none());
    whole.map(|it| (it.aggregate.value, it.comparison.value)).collect()
}

/// What the only assertion of an expression looks at, when, and how it compares it with its limit; `None` of
/// several assertions, and of one whose limit is another figure of the run.
pub fn only(expression: &str) -> Option<(Aggregate, Option<Window>, Comparison)> {
    let written = grammar::expression(expression).ok()?;
    let [conjunct] = written.as_slice() else { return None };
    let [one] = conjunct.as_slice() else { return None };
    if matches!(one.operand.value, grammar::WrittenOperand::Figure { .. }) {
        return None;
    }
    let window = one.window.as_ref().map(|it| it.value);
    Some((one.aggregate.value, window, one.comparison.value))
}

/// How a miss is taken.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A miss fails the run.
    #[default]
    Critical,
    /// A miss warns.
    Warning,
    /// Shown only.
    Info,
}

/// What a threshold that could not be judged does to the run.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum OnMissing {
    /// It fails it (exit code 117).
    #[default]
    Fail,
    /// It warns.
    Warn,
    /// It passes.
    Pass,
}
