//! What the records of a journal say that are JSON.

use serde::{Deserialize, Serialize};

use crate::{
    metric::Names,
    plan::{Backend, Plan, Recipe},
    run::{
        comparison::AgainstBaseline,
        summary::{Environment, Row, RunInfo},
    },
    verdict::Cause,
};

/// Which run, and what it was to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// Which run, as far as that is known at its start.
    pub run: RunInfo,
    /// Where it runs.
    pub environment: Environment,
    /// Of which backend its rows are; `None` outside a suite.
    pub backend: Option<Backend>,
    /// `--fail-on warn`
    pub fail_on_warn: bool,
    /// What its plan was built from.
    pub recipe: Recipe,
    /// BLAKE3 of the plan's shape: one that is built again has to have the same.
    pub plan: String,
    /// The text of the workload, if it is a script.
    #[serde(default)]
    pub source: Option<String>,
}

impl Start {
    /// The start of a run of a plan, none of whose texts `hidden` is in.
    pub fn new(
        plan: &Plan,
        run: RunInfo,
        environment: Environment,
        fail_on_warn: bool,
        source: Option<&str>,
        hidden: &[String],
    ) -> Self {
        let names = Names::hiding(hidden.iter().cloned());
        let covered = plan.recipe.covered(&|text| names.cover(text).into_owned());
        // A plan that holds a secret is kept as the one that it is without.
        let kept = covered.as_ref().and_then(|recipe| recipe.build().ok());
        Self {
            run,
            environment,
            backend: None,
            fail_on_warn,
            plan: fingerprint(kept.as_ref().unwrap_or(plan)),
            recipe: covered.unwrap_or_else(|| Recipe::clone(&plan.recipe)),
            source: source.map(|text| names.cover(text).into_owned()),
        }
    }
}

/// What tells two plans apart.
pub(super) fn fingerprint(plan: &Plan) -> String {
    blake3::hash(plan.shape().as_bytes()).to_hex().to_string()
}

/// How a run came to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// Whether it did what it was to do, and was not stopped before.
    pub complete: bool,
    /// When the first scenario started, nanoseconds on the run's clock.
    pub start: u64,
    /// Whether how it stands against its baseline is to follow.
    #[serde(default)]
    pub baseline: bool,
}

/// Which suite, and what it was to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuiteStart {
    /// Which run, as far as that is known at its start.
    pub run: RunInfo,
    /// Rows whose workloads are not run.
    pub skipped: Vec<Row>,
    /// Names of the rows, in the suite's order.
    pub order: Vec<String>,
    /// The workloads that are to run, in their order.
    pub jobs: Vec<SuiteJob>,
    /// What the reader should know.
    pub notes: Vec<String>,
    /// `--fail-on warn`
    pub fail_on_warn: bool,
}

/// A workload of a suite.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuiteJob {
    /// Its folder.
    pub folder: String,
    /// Its rows, as they are told if it is never run.
    pub rows: Vec<Row>,
}

/// How a suite came to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuiteEnd {
    /// Why it ended before its last workload, if it did.
    pub cut: Option<(Cause, String)>,
    /// How it stands against its baseline, if it was given one.
    #[serde(default)]
    pub baseline: Option<AgainstBaseline>,
}
