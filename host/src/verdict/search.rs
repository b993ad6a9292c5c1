//! The search for the highest rate: which rate to probe next, and what the answer is.
//!
//! Pure: what has been probed is all there is to know. Doubling finds a rate that fails, bisection (of the
//! logarithm) brings the two ends together, and both ends are then probed again, because one probe of a
//! noisy system proves little: what a rate is, the majority of its probes says. The highest rate that passes
//! is one below which nothing fails.

use serde::{Deserialize, Serialize};

use super::ThresholdResult;
use crate::plan::{Search, SearchValue};

use super::derived::DerivedValue;

/// What a probe showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProbeVerdict {
    /// The system kept its thresholds, and nothing piled up.
    Passed,
    /// It did not.
    Failed,
    /// It did not, and the runner may have been the reason: no evidence against the system.
    Runner,
}

/// A probe: a rate, held for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProbeFacts {
    /// The tag `level` of its samples.
    pub level: String,
    /// Iterations per second that were asked for.
    pub asked: f64,
    /// Iterations that ended without an error while it lasted, per second.
    pub achieved: f64,
    /// What it showed.
    pub verdict: ProbeVerdict,
    /// Why it did not pass.
    pub reason: Option<String>,
    /// Arrivals that were in the system when the probe ended.
    pub left: u64,
    /// How long the system took to be empty afterwards, seconds; missing where it was not waited for.
    pub drained_s: Option<f64>,
    /// CPU of the runner meanwhile, percent of one core.
    pub runner_cpu_percent: f64,
    /// The scenario's thresholds, judged on this probe alone.
    pub thresholds: Vec<ThresholdResult>,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SearchFacts {
    /// The scenario.
    pub scenario: String,
    /// The highest rate that passed, per second.
    pub max_rate: Option<f64>,
    /// The lowest rate above it that did not.
    pub failed: Option<f64>,
    /// Whether the runner was the limit: the system does at least `max_rate`.
    pub runner_limited: bool,
    /// Whether both ends were probed again and stood.
    pub confirmed: bool,
    /// What the system failed at above `max_rate`.
    pub limited_by: Option<String>,
    /// What is expected of the system, per second.
    pub expected: Option<f64>,
    /// `max_rate` divided by what is expected.
    pub headroom: Option<f64>,
    /// All probes, in their order.
    pub probes: Vec<ProbeFacts>,
    /// What the reader should know.
    pub remarks: Vec<String>,
}

/// Probes of one search.
pub(crate) const MOST_PROBES: usize = crate::plan::MOST_PROBES as usize;

/// How a rate stands after its probes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Standing {
    rate: f64,
    passed: u32,
    failed: u32,
    by_runner: u32,
}

impl Standing {
    fn passes(&self) -> bool {
        self.passed > self.failed
    }

    fn is_open(&self) -> bool {
        self.passed == self.failed
    }
}

fn standings(probes: &[(f64, ProbeVerdict)]) -> Vec<Standing> {
    let mut all: Vec<Standing> = Vec::new();
    for (rate, verdict) in probes {
        let index = all.iter().position(|one| one.rate == *rate).unwrap_or_else(|| {
            all.push(Standing { rate: *rate, ..Standing::default() });
            all.len() - 1
        });
        let one = &mut all[index];
        match verdict {
            ProbeVerdict::Passed => one.passed += 1,
            ProbeVerdict::Failed => one.failed += 1,
            ProbeVerdict::Runner => {
                one.failed += 1;
                one.by_runner += 1;
            }
        }
    }
    all.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    all
}

/// The highest rate below which nothing fails, and the lowest that does.
fn ends(all: &[Standing]) -> (Option<Standing>, Option<Standing>) {
    let fails = |one: &&Standing| one.failed > one.passed;
    let failed = all.iter().find(fails).copied();
    let below = |one: &&Standing| failed.is_none_or(|failed| one.rate < failed.rate);
    (all.iter().rev().filter(below).find(|one| one.passes()).copied(), failed)
}

/// The rate to probe next; `None` when the search is over.
pub(crate) fn next(search: &Search, probes: &[(f64, ProbeVerdict)]) -> Option<f64> {
    if probes.len() >= MOST_PROBES {
        return None;
    }
    let all = standings(probes);
    if let Some(open) = all.iter().find(|one| one.is_open()) {
        return Some(open.rate);
    }
    let again = |one: Standing| (one.passed + one.failed < 2).then_some(one.rate);
    match ends(&all) {
        (None, None) => Some(search.from),
        // The very first probe finds everything cold: it fails twice, or not at all.
        (None, Some(failed)) => again(failed),
        (Some(passed), None) if passed.rate >= search.to => again(passed),
        (Some(passed), None) => Some((passed.rate * 2.0).min(search.to)),
        (Some(passed), Some(failed)) => {
            let between = rounded((passed.rate * failed.rate).sqrt());
            let apart = failed.rate > passed.rate * (1.0 + search.precision);
            let inside = passed.rate < between && between < failed.rate;
            if apart && inside { Some(between) } else { again(passed).or(again(failed)) }
        }
    }
}

/// Four digits: a rate that can be said.
fn rounded(rate: f64) -> f64 {
    let step = 10_f64.powf(rate.log10().floor() - 3.0);
    (rate / step).round() * step
}

/// What the probes came to.
pub(crate) fn answer(scenario: &str, search: &Search, probes: Vec<ProbeFacts>) -> SearchFacts {
    let shown: Vec<_> = probes.iter().map(|probe| (probe.asked, probe.verdict)).collect();
    let all = standings(&shown);
    let (passed, failed) = ends(&all);
    let over = next(search, &shown).is_none() && probes.len() < MOST_PROBES;
    let twice = |one: Option<Standing>| one.is_none_or(|one| one.passed + one.failed >= 2);
    let mut facts = SearchFacts {
        scenario: scenario.to_owned(),
        max_rate: passed.map(|one| one.rate),
        failed: failed.map(|one| one.rate),
        runner_limited: failed.is_some_and(|one| 2 * one.by_runner > one.failed),
        confirmed: over && twice(passed) && twice(failed),
        expected: search.expected,
        ..SearchFacts::default()
    };
    let why = failed.and_then(|failed| {
        let of_it = |probe: &&ProbeFacts| probe.asked == failed.rate && probe.reason.is_some();
        probes.iter().rev().find(of_it).and_then(|probe| probe.reason.clone())
    });
    facts.limited_by = why;
    facts.headroom = passed.zip(search.expected).map(|(one, expected)| one.rate / expected);
    let remark = match (passed, failed) {
        (None, Some(failed)) => {
            Some(format!("the lowest rate, {}/s, failed: there is no maximum", failed.rate))
        }
        (Some(passed), None) if over => {
            Some(format!("nothing failed up to {}/s: the maximum is at least that", passed.rate))
        }
        _ => None,
    };
    facts.remarks.extend(remark);
    if facts.runner_limited {
        facts
            .remarks
            .push("the runner was the limit: the system does at least what passed".to_owned());
    }
    if !facts.confirmed {
        facts
            .remarks
            .push(format!("not confirmed: the search ended after {} probes", probes.len()));
    }
    facts.probes = probes;
    facts
}

impl SearchFacts {
    /// The probe that stands for the answer: the last that passed at the highest rate; where none passed,
    /// the last at the lowest.
    pub(super) fn best(&self) -> Option<&ProbeFacts> {
        let at_best = |probe: &&ProbeFacts| match self.max_rate {
            Some(rate) => probe.asked == rate && probe.verdict == ProbeVerdict::Passed,
            None => true,
        };
        self.probes.iter().rev().find(at_best)
    }

    /// A figure of it, as a derived metric: `min` is what passed, `max` what failed.
    pub(super) fn value(&self, name: &str, value: SearchValue) -> DerivedValue {
        let unit = match value {
            SearchValue::MaxRate => Some(1.0),
            SearchValue::Headroom => self.expected,
        };
        let Some((rate, unit)) = self.max_rate.zip(unit) else {
            let why = if self.remarks.is_empty() {
                "nothing was probed".to_owned()
            } else {
                self.remarks.join("; ")
            };
            return DerivedValue::missing(name, why);
        };
        let failed = self.failed.filter(|_| !self.runner_limited);
        let interval = failed.map(|failed| [rate / unit, failed / unit]);
        DerivedValue::estimate(name, rate / unit, interval, self.probes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    fn search() -> Search {
        Search {
            from: 100.0,
            to: 100_000.0,
            probe: Duration::from_secs(5),
            precision: 0.05,
            drain: Duration::from_secs(1),
            expected: Some(250.0),
        }
    }

    fn probe(asked: f64, verdict: ProbeVerdict) -> ProbeFacts {
        ProbeFacts {
            level: asked.to_string(),
            asked,
            achieved: asked,
            verdict,
            reason: (verdict != ProbeVerdict::Passed).then(|| format!("at {asked}")),
            left: 0,
            drained_s: None,
            runner_cpu_percent: 0.0,
            thresholds: Vec::new(),
        }
    }

    fn hunt(search: &Search, mut show: impl FnMut(f64) -> ProbeVerdict) -> SearchFacts {
        let (mut shown, mut probes) = (Vec::new(), Vec::new());
        while let Some(rate) = next(search, &shown) {
            let verdict = show(rate);
            shown.push((rate, verdict));
            probes.push(probe(rate, verdict));
        }
        answer("s", search, probes)
    }

    #[test]
    fn the_answer_holds_the_truth_between_its_ends() {
        for truth in [100.0, 173.0, 500.0, 7_777.0, 99_999.0] {
            let by_truth = |rate: f64| {
                if rate <= truth { ProbeVerdict::Passed } else { ProbeVerdict::Failed }
            };
            let found = hunt(&search(), by_truth);
            let (low, high) = (found.max_rate.unwrap(), found.failed.unwrap());
            assert!(low <= truth && truth < high && high <= low * 1.05, "{truth}: {low} {high}");
            assert!(found.confirmed && found.probes.len() <= 24, "{truth}: {}", found.probes.len());
            assert_eq!(found.limited_by, Some(format!("at {high}")));
            assert_eq!(found.headroom, Some(low / 250.0));
        }
    }

    #[test]
    fn a_system_without_a_limit_here_or_with_none_that_passes_is_said_to_be_so() {
        let found = hunt(&search(), |_| ProbeVerdict::Passed);
        assert_eq!((found.max_rate, found.failed, found.confirmed), (Some(100_000.0), None, true));
        assert!(found.remarks[0].contains("at least"));
        let found = hunt(&search(), |_| ProbeVerdict::Failed);
        assert_eq!((found.max_rate, found.failed), (None, Some(100.0)));
        assert_eq!(found.value("m", SearchValue::MaxRate).value, None);
        let mut cold = true;
        let found = hunt(&search(), |rate| {
            let first = std::mem::replace(&mut cold, false);
            if first || rate > 300.0 { ProbeVerdict::Failed } else { ProbeVerdict::Passed }
        });
        assert!(found.max_rate.unwrap() > 280.0, "a first probe that failed was cold: {found:?}");
    }

    #[test]
    fn the_runner_s_limit_is_no_limit_of_the_system() {
        let found = hunt(&search(), |rate| {
            if rate > 1_000.0 { ProbeVerdict::Runner } else { ProbeVerdict::Passed }
        });
        assert!(found.runner_limited);
        let value = found.value("m", SearchValue::MaxRate);
        assert!(value.value.unwrap() >= 950.0 && value.interval.is_none());
    }

    #[test]
    fn a_noisy_system_is_found_within_its_noise() {
        // Near the truth a probe is a coin: it passes with a chance that falls from 1 to 0 within ± 10 %.
        let near = (0..200).filter(|seed| {
            let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(*seed);
            let found = hunt(&search(), |rate| {
                let chance = (1.1 - rate / 1_000.0) / 0.2;
                let passes = random.random::<f64>() < chance;
                if passes { ProbeVerdict::Passed } else { ProbeVerdict::Failed }
            });
            found.max_rate.is_some_and(|rate| (850.0..1_110.0).contains(&rate))
        });
        assert!(near.count() >= 190);
    }
}
