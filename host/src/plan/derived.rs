//! Metrics that the host computes from others at the end of a run. SEMANTICS §2.

use serde::{Deserialize, Serialize};

use super::threshold::Aggregate;
use crate::metric::Selector;

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
