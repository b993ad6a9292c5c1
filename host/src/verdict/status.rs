//! What becomes of a threshold and of a run. SEMANTICS §4.

use serde::{Deserialize, Serialize};

use super::{Cause, DerivedValue, Scaling};
use crate::plan::{Severity, threshold::OnMissing};

/// What became of a threshold, or of a run. SEMANTICS §4.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It holds.
    Pass,
    /// It is missed by little, or its severity is `warning`.
    Warn,
    /// It does not hold.
    Fail,
    /// Nothing was measured.
    NoData,
    /// Too little was measured.
    Insufficient,
    /// The runner, not the system, was the limit.
    Invalid,
    /// It does not apply on this backend.
    NotApplicable,
    /// It fails as expected.
    KnownFailing,
}

impl Status {
    /// In words, for a report.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::NoData => "no data",
            Self::Insufficient => "insufficient",
            Self::Invalid => "invalid",
            Self::NotApplicable => "not applicable",
            Self::KnownFailing => "known failing",
        }
    }
}

/// A threshold, judged. DESIGN §5, `thresholds`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ThresholdResult {
    /// The metric's name.
    pub metric: String,
    /// `{tag:value}` or empty.
    pub selector: String,
    /// As it was written.
    pub expression: String,
    /// How a miss is taken.
    pub severity: Severity,
    /// The row it belongs to.
    pub row: Option<String>,
    /// What became of it.
    pub status: Status,
    /// What was measured, in the unit given.
    pub observed: Option<f64>,
    /// 95 % interval of `observed`.
    pub interval: Option<[f64; 2]>,
    /// What it was compared with.
    pub limit: Option<f64>,
    /// The unit of the three above.
    pub unit: String,
    /// Known samples.
    pub samples: u64,
    /// Censored samples.
    pub censored: u64,
    /// What it does to the run that nothing, or too little, was measured; null where enough was.
    #[serde(default)]
    pub on_missing: Option<OnMissing>,
    /// Why it is neither pass nor fail, or what the reader should know.
    pub reason: Option<String>,
}

/// The verdict of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// pass, warn, fail or invalid.
    pub status: Status,
    /// The causes, most telling first; empty for pass and warn.
    pub causes: Vec<Cause>,
    /// The causes in words.
    pub reasons: Vec<String>,
    /// Each threshold, in the plan's order; defaults on metrics that nothing touched are left out.
    pub thresholds: Vec<ThresholdResult>,
    /// The derived metrics' values.
    pub derived: Vec<DerivedValue>,
    /// How scenarios with levels scale.
    pub scaling: Vec<Scaling>,
}

impl Judgement {
    /// The exit code: the first cause's, else 0; with `fail_on_warn`, 99 for a warning.
    pub fn exit_code(&self, fail_on_warn: bool) -> u8 {
        Cause::exit_code(&self.causes, self.status, fail_on_warn)
    }
}
