//! Thresholds as a fold over snapshots, and the verdict of a run.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Cause, Facts};
use crate::{
    clock::Instant,
    metric::{Names, Snapshot, Totals},
    plan::{Plan, Severity},
};

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
    /// Each threshold, in the plan's order.
    pub thresholds: Vec<ThresholdResult>,
    /// The derived metrics' values: name, value.
    pub derived: Vec<(String, Option<f64>)>,
}

/// Judges a run while it goes on.
#[derive(Debug)]
pub struct Judge {
    plan: Arc<Plan>,
    names: Names,
    totals: Totals,
}

impl Judge {
    /// A judge of a plan's thresholds.
    pub fn new(plan: Arc<Plan>, names: Names) -> Self {
        Self { plan, names, totals: Totals::default() }
    }

    /// Takes what a shard measured in an interval.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        self.totals.merge(snapshot);
    }

    /// Everything measured so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Each second: the first threshold with `abort_on_fail` that fails, in words. `start` is when the
    /// first scenario started.
    pub fn abort(&mut self, start: Instant, now: Instant) -> Option<String> {
        let _ = (start, now, &self.plan, &self.names);
        None
    }

    /// The verdict. `start` is when the first scenario started.
    pub fn finish(&mut self, start: Instant, facts: &Facts) -> Judgement {
        let _ = (start, facts);
        Judgement {
            status: Status::Pass,
            causes: Vec::new(),
            reasons: Vec::new(),
            thresholds: Vec::new(),
            derived: Vec::new(),
        }
    }
}
