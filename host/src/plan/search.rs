//! What a search asks of the rest of its plan, and which thresholds it judges.
//!
//! The thresholds on what the search's iterations do are its criteria: each probe is judged by them alone,
//! and at the end they are what they were in the best probe. A rate beyond the maximum fails them, and that
//! is the answer and no failure of the run.

use super::{Plan, Scenario, Search, Threshold, samples_needed};
use crate::{
    diagnostic::Diagnostic,
    metric::Builtin,
    plan::{Severity, threshold::Operand},
};

/// What is of the run and not of its iterations.
const OF_THE_RUN: [Builtin; 16] = [
    Builtin::Vus,
    Builtin::VusMax,
    Builtin::BusLost,
    Builtin::BusDuplicated,
    Builtin::BusReordered,
    Builtin::BusReconnects,
    Builtin::BusConnections,
    Builtin::BusSlowConsumerDrops,
    Builtin::ServiceHandleDuration,
    Builtin::ServiceCpuSeconds,
    Builtin::ServiceHandled,
    Builtin::ServiceFailed,
    Builtin::RunnerCpuPercent,
    Builtin::RunnerRssBytes,
    Builtin::RunnerLoopLag,
    Builtin::SeriesFolded,
];

impl Threshold {
    /// How a miss is taken in a probe. How much a row matters says what its figure does to the run, and
    /// nothing of what is a pass.
    const fn in_probe(&self) -> Severity {
        if self.own_severity { self.severity } else { Severity::Critical }
    }
}

impl Plan {
    /// The scenario that searches, and its search.
    pub fn search(&self) -> Option<(&Scenario, &Search)> {
        self.scenarios.iter().find_map(|scenario| Some((scenario, scenario.search()?)))
    }

    /// Whether a threshold is judged probe by probe.
    pub fn is_criterion(&self, threshold: &Threshold) -> bool {
        let of_the_run = |builtin: &Builtin| builtin.name() == threshold.metric;
        self.search().is_some()
            && !self.derived.iter().any(|derived| derived.name == threshold.metric)
            && !threshold.metric.starts_with("target_")
            && !OF_THE_RUN.iter().any(of_the_run)
    }

    /// The plan of one probe: one rate, judged by the criteria alone.
    #[must_use]
    pub fn of_probe(&self, scenario: &Scenario, search: &Search, rate: f64) -> Self {
        let criteria = self.thresholds.iter().filter(|threshold| self.is_criterion(threshold));
        let taken = |it: &Threshold| Threshold { severity: it.in_probe(), ..it.clone() };
        let thresholds = criteria.map(taken).collect();
        let scenarios = vec![scenario.probing(search, rate)];
        Self { thresholds, scenarios, derived: Vec::new(), ..self.clone() }
    }

    /// Refuses what a search cannot be judged by.
    pub(super) fn check_search(&self) -> Result<(), Diagnostic> {
        let Some((scenario, search)) = self.search() else { return Ok(()) };
        if self.scenarios.len() > 1 {
            return Err(Diagnostic::new(format!(
                "the scenario `{}` searches, and there are others beside it",
                scenario.name
            ))
            .help("other load would move the answer: keep the search alone in its workload"));
        }
        for threshold in self.thresholds.iter().filter(|threshold| self.is_criterion(threshold)) {
            let named = format!("the threshold on `{}` ({})", threshold.metric, threshold.source);
            for assertion in threshold.expression.0.iter().flatten() {
                let windowed =
                    matches!(&assertion.operand, Operand::Figure { window: Some(_), .. });
                if assertion.window.is_some() || windowed {
                    return Err(Diagnostic::new(format!(
                        "{named} has a window, and a probe has none"
                    ))
                    .help("leave the window out: each probe of the search is judged by itself"));
                }
                let expected = search.from * search.probe.as_secs_f64();
                let needed = samples_needed(assertion.aggregate);
                if threshold.in_probe() == Severity::Critical && (needed as f64) > expected {
                    return Err(Diagnostic::new(format!(
                        "{named} takes {needed} samples, and the first probe of the search has {expected:.0}"
                    ))
                    .help("make `probe` longer or raise `from`"));
                }
            }
        }
        Ok(())
    }
}
