//! Whether runs differ, and whether that is for the worse. SEMANTICS §8.
//!
//! The unit of analysis is the run: a run's figure is one observation, however many requests it was made of.
//! Pairs of an `ab` by the signed-rank test on log-ratios, sets by Mann-Whitney, one run against five or more
//! by their prediction interval; one file a method. One run against fewer says nothing of how runs differ, so
//! that it is a warning at most.
//!
//! Figures above zero are compared by their logarithms, so that a change is a ratio; others by their
//! differences, in parts of the base's median where that is not zero.
//!
//! A metric's interval is its own, of 95 %. A change is *declared* where the interval excludes none and
//! Holm's correction over all primary metrics agrees, so that a comparison of the same with the same declares
//! one in at most a twentieth of all cases, however many metrics it looks at.

mod bootstrap;
mod direction;
mod divisive;
mod geometric;
mod hodges_lehmann;
mod holm;
mod mann_whitney;
mod prediction;
mod ranks;
mod signed_rank;

use serde::{Deserialize, Serialize};
use statrs::distribution::Normal;

pub use bootstrap::interval as within_run;
pub use direction::better;
pub use divisive::{ChangePoint, P as CHANGE_POINT_P, WINDOW, change_points};
use hodges_lehmann::Estimate;

/// A change beyond this is a regression, unless another tolerance is set.
pub const TOLERANCE: f64 = 0.1;
/// Pairs that are enough for Holm's correction over six metrics.
pub const PAIRS: usize = 8;
/// Metrics that are compared at the most, where none are named.
pub const PRIMARY: usize = 6;

/// The chance of a false alarm.
const LEVEL: f64 = 0.05;
/// On each side.
const TAIL: f64 = LEVEL / 2.0;

/// Which way is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Times, errors, CPU, memory.
    Lower,
    /// Rates of completed work.
    Higher,
    /// Nobody said: it can change, and is never a regression.
    Unknown,
}

/// How runs are set against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Design {
    /// Run by run, of an interleaved comparison.
    Pairs,
    /// One set against another.
    Sets,
}

/// What a finding rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Wilcoxon's signed-rank test and the Hodges-Lehmann shift of pairs.
    SignedRank,
    /// Mann-Whitney's U and the Hodges-Lehmann shift of sets.
    MannWhitney,
    /// The prediction interval of one further run.
    Prediction,
    /// Medians alone: too few runs for anything else.
    None,
}

/// What became of a comparison, the worst first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It got worse, by more than the tolerance.
    Regression,
    /// The runs are too few to tell.
    Inconclusive,
    /// It looks worse by more than the tolerance, in too few runs to declare it.
    Warning,
    /// It changed, for the better or within the tolerance.
    Change,
    /// The interval excludes none, but among so many metrics that happens by chance.
    Seen,
    /// The interval holds none, and is narrow.
    NoChange,
    /// One run against one: nothing is declared.
    NotJudged,
}

/// The figures of one metric in the runs of both sides, pairs in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// As it is written: `bus_request_duration.p(99){op:stats}`.
    pub name: String,
    /// Unit of the figures.
    pub unit: String,
    /// Which way is the good one.
    pub better: Better,
    /// Of the runs that are compared with; `None` where it was not measured.
    pub base: Vec<Option<f64>>,
    /// Of the runs that are judged.
    pub new: Vec<Option<f64>>,
}

/// What was found of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Finding {
    /// As it is written.
    pub name: String,
    /// Unit of the figures.
    pub unit: String,
    /// Which way is the good one.
    pub better: Better,
    /// The figures of the base.
    pub base: Vec<f64>,
    /// The figures of what is judged.
    pub new: Vec<f64>,
    /// Median of the base.
    pub base_median: Option<f64>,
    /// Median of what is judged.
    pub new_median: Option<f64>,
    /// What it rests on.
    pub method: Method,
    /// By how much: 0.07 is 7 % more. In the figures' own unit where `absolute`.
    pub change: Option<f64>,
    /// Where the true change is, with at least 95 %; null where the runs are too few for an interval.
    pub interval: Option<[f64; 2]>,
    /// Whether `change` and `interval` are differences: the base is zero, and nothing is a part of it.
    pub absolute: bool,
    /// How probable such a difference is if nothing changed.
    pub p_value: Option<f64>,
    /// The same, with all metrics of the comparison taken into account (Holm).
    pub p_adjusted: Option<f64>,
    /// What became of it.
    pub outcome: Outcome,
    /// What the reader should know.
    pub reason: Option<String>,
    /// How many more runs (of each side, or pairs) it takes to tell, as far as these let one say.
    pub more_runs: Option<u32>,
}

impl Finding {
    /// Whether it got worse; `None` where it did not change or nobody said which way is the good one.
    pub fn is_worse(&self) -> Option<bool> {
        let change = self.change.filter(|change| *change != 0.0)?;
        match self.better {
            Better::Lower => Some(change > 0.0),
            Better::Higher => Some(change < 0.0),
            Better::Unknown => None,
        }
    }
}

/// Compares the metrics of runs; `tolerance` is a part: 0.1 is 10 %.
pub fn compare(subjects: Vec<Subject>, design: Design, tolerance: f64) -> Vec<Finding> {
    let drafts: Vec<Draft> = subjects.into_iter().map(|it| Draft::new(it, design)).collect();
    let tested: Vec<f64> = drafts.iter().filter_map(|it| it.shift.as_ref()?.p_value).collect();
    let mut adjusted = holm::adjusted(&tested).into_iter();
    let family = tested.len();
    let findings = drafts.into_iter().map(|draft| {
        let tested = draft.shift.as_ref().is_some_and(|shift| shift.p_value.is_some());
        let adjusted = if tested { adjusted.next() } else { None };
        draft.decide(adjusted, family, tolerance)
    });
    findings.collect()
}

/// Ratios of new to base as one, their geometric mean; of the findings that a ratio can be told of.
pub fn together(findings: &[Finding]) -> Option<f64> {
    let ratio = |finding: &Finding| match finding.change {
        Some(change) if !finding.absolute => Some(1.0 + change),
        _ => None,
    };
    let ratios: Vec<f64> = findings.iter().filter_map(ratio).collect();
    (ratios.len() > 1).then(|| geometric::mean(&ratios)).flatten()
}

/// The worst of the outcomes; `NotJudged` where there are none.
pub fn worst(findings: &[Finding]) -> Outcome {
    findings.iter().map(|finding| finding.outcome).min().unwrap_or(Outcome::NotJudged)
}

/// The normal distribution of mean 0 and variance 1.
fn normal() -> Normal {
    Normal::standard()
}

/// In which terms figures are set against each other.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    /// Logarithms: all figures are above zero.
    Ratio,
    /// Differences, in parts of that.
    Part(f64),
    /// Differences.
    Absolute,
}

impl Scale {
    fn of(base: &[f64], new: &[f64]) -> Self {
        if base.iter().chain(new).all(|figure| *figure > 0.0) {
            return Self::Ratio;
        }
        match median(base) {
            Some(centre) if centre != 0.0 => Self::Part(centre.abs()),
            _ => Self::Absolute,
        }
    }

    fn terms(self, figures: &[f64]) -> Vec<f64> {
        match self {
            Self::Ratio => figures.iter().map(|figure| figure.ln()).collect(),
            Self::Part(_) | Self::Absolute => figures.to_vec(),
        }
    }

    /// A shift of terms as a change.
    fn change(self, shift: f64) -> f64 {
        match self {
            Self::Ratio => shift.exp_m1(),
            Self::Part(centre) => shift / centre,
            Self::Absolute => shift,
        }
    }
}

/// What a method says.
struct Shift {
    method: Method,
    estimate: Estimate,
    p_value: Option<f64>,
    /// The smallest p-value that so many runs can have.
    least_p: f64,
}

/// A metric, measured and not yet judged.
struct Draft {
    name: String,
    unit: String,
    better: Better,
    base: Vec<f64>,
    new: Vec<f64>,
    scale: Scale,
    design: Design,
    shift: Option<Shift>,
    /// Runs, or pairs, in which it was not measured.
    missing: usize,
}

impl Draft {
    fn new(subject: Subject, design: Design) -> Self {
        let Subject { name, unit, better, base, new } = subject;
        let all = base.len() + new.len();
        let (base, new): (Vec<f64>, Vec<f64>) = match design {
            Design::Pairs => base.into_iter().zip(new).filter_map(|(a, b)| Some((a?, b?))).unzip(),
            Design::Sets => {
                (base.into_iter().flatten().collect(), new.into_iter().flatten().collect())
            }
        };
        let scale = Scale::of(&base, &new);
        let shift = shift(&scale.terms(&base), &scale.terms(&new), design);
        let missing = all - base.len() - new.len();
        Self { name, unit, better, base, new, scale, design, shift, missing }
    }

    fn decide(self, adjusted: Option<f64>, family: usize, tolerance: f64) -> Finding {
        let change = |value: f64| Some(self.scale.change(value)).filter(|it| it.is_finite());
        let estimate = self.shift.as_ref().map(|shift| shift.estimate);
        let interval = estimate.and_then(|it| it.interval);
        let interval = interval.and_then(|[low, high]| Some([change(low)?, change(high)?]));
        let mut finding = Finding {
            base_median: median(&self.base),
            new_median: median(&self.new),
            method: self.shift.as_ref().map_or(Method::None, |shift| shift.method),
            change: estimate.and_then(|it| change(it.value)),
            interval,
            absolute: self.scale == Scale::Absolute,
            p_value: self.shift.as_ref().and_then(|shift| shift.p_value),
            p_adjusted: adjusted,
            outcome: Outcome::NotJudged,
            reason: None,
            more_runs: None,
            name: self.name.clone(),
            unit: self.unit.clone(),
            better: self.better,
            base: self.base.clone(),
            new: self.new.clone(),
        };
        let (outcome, reason, more) = self.judge(&finding, family, tolerance);
        (finding.outcome, finding.more_runs) = (outcome, more);
        let missing = (self.missing > 0 && self.shift.is_some()).then(|| {
            let what = if self.design == Design::Pairs { "figures without a pair" } else { "runs" };
            format!("not measured, and left out, in {} {what}", self.missing)
        });
        let reasons: Vec<String> = reason.into_iter().chain(missing).collect();
        finding.reason = (!reasons.is_empty()).then(|| reasons.join("; "));
        finding
    }

    /// The outcome, why, and how many more runs it takes.
    fn judge(
        &self,
        finding: &Finding,
        family: usize,
        tolerance: f64,
    ) -> (Outcome, Option<String>, Option<u32>) {
        let Some(shift) = &self.shift else {
            let side = match (self.design, self.base.is_empty(), self.new.is_empty()) {
                (Design::Pairs, ..) => "both runs of any pair",
                (_, true, true) => "any run",
                (_, true, false) => "the base",
                _ => "the new runs",
            };
            return (Outcome::Inconclusive, Some(format!("it was not measured in {side}")), None);
        };
        // A change from zero is beyond any tolerance.
        let tolerance = if finding.absolute { 0.0 } else { tolerance };
        let worse = |change: f64| match self.better {
            Better::Lower => change > tolerance,
            Better::Higher => -change > tolerance,
            Better::Unknown => false,
        };
        let beyond = finding.change.is_some_and(worse);
        if shift.method == Method::None {
            let why = format!("{}: nothing is declared", self.sizes());
            let outcome = if beyond { Outcome::Warning } else { Outcome::NotJudged };
            return (outcome, Some(why), None);
        }
        let Some([low, high]) = finding.interval else {
            let why = format!("{} have no interval of 95 %", self.sizes());
            return (Outcome::Inconclusive, Some(why), Some(self.more(0.0, family, tolerance)));
        };
        let seen = low > 0.0 || high < 0.0;
        if seen && finding.p_adjusted.is_some_and(|p| p <= LEVEL * (1.0 + 1e-9)) {
            return (if beyond { Outcome::Regression } else { Outcome::Change }, None, None);
        }
        let width = high - low;
        if width > 2.0 * tolerance && !(finding.absolute && width == 0.0) {
            let more = self.more(width, family, tolerance);
            return (
                Outcome::Inconclusive,
                Some("the interval is too wide".to_owned()),
                Some(more),
            );
        }
        if !seen {
            return (Outcome::NoChange, None, None);
        }
        let why = format!(
            "its own interval excludes none, but among {family} metrics chance does that{}",
            if shift.least_p * family as f64 > LEVEL {
                format!(": {} cannot declare anything among so many", self.sizes())
            } else {
                String::new()
            }
        );
        if worse(low) || worse(high) {
            let more = self.more(width, family, tolerance);
            return (Outcome::Inconclusive, Some(why), Some(more));
        }
        (Outcome::Seen, Some(why), None)
    }

    fn sizes(&self) -> String {
        match (self.design, self.base.len(), self.new.len()) {
            (Design::Pairs, 1, _) => "1 pair".to_owned(),
            (Design::Pairs, n, _) => format!("{n} pairs"),
            (Design::Sets, 1, 1) => "one run against one".to_owned(),
            (Design::Sets, base, new) => format!("{new} against {base} runs"),
        }
    }

    /// How many more runs, or pairs, make the interval as narrow as twice the tolerance (its width falls with
    /// the root of their number), and can be declared at all among so many metrics.
    fn more(&self, width: f64, family: usize, tolerance: f64) -> u32 {
        let n = self.base.len().min(self.new.len()).max(1);
        let wanted = if tolerance > 0.0 && width.is_finite() {
            (n as f64 * (width / (2.0 * tolerance)).powi(2)).ceil().min(1e6) as usize
        } else {
            n
        };
        let declares = |n: usize| {
            let least = match self.design {
                Design::Pairs => signed_rank::least_p(n),
                Design::Sets => mann_whitney::least_p(n, n),
            };
            least * family.max(1) as f64 <= LEVEL
        };
        let enough = (2..=64).find(|n| declares(*n)).unwrap_or(64);
        wanted.max(enough).saturating_sub(n).max(1) as u32
    }
}

/// The shift of `new` against `base` by the method that so many runs allow; `None` where a side is empty.
fn shift(base: &[f64], new: &[f64], design: Design) -> Option<Shift> {
    let least = prediction::FEWEST;
    match (design, base.len(), new.len()) {
        (_, 0, _) | (_, _, 0) => None,
        (Design::Pairs, 2.., _) => {
            let differences: Vec<f64> =
                new.iter().zip(base).map(|(new, base)| new - base).collect();
            Some(Shift {
                method: Method::SignedRank,
                estimate: hodges_lehmann::pairs(&differences, TAIL)?,
                p_value: Some(signed_rank::p_value(&differences)),
                least_p: signed_rank::least_p(differences.len()),
            })
        }
        (Design::Sets, n, 1) if n >= least => {
            let (estimate, p_value) = prediction::of(base, new[0], TAIL)?;
            Some(predicted(estimate, p_value))
        }
        (Design::Sets, 1, n) if n >= least => {
            let (estimate, p_value) = prediction::of(new, base[0], TAIL)?;
            let turned = Estimate {
                value: -estimate.value,
                interval: estimate.interval.map(|[low, high]| [-high, -low]),
            };
            Some(predicted(turned, p_value))
        }
        (Design::Sets, 2.., 2..) => Some(Shift {
            method: Method::MannWhitney,
            estimate: hodges_lehmann::sets(base, new, TAIL)?,
            p_value: Some(mann_whitney::p_value(base, new)),
            least_p: mann_whitney::least_p(base.len(), new.len()),
        }),
        _ => {
            let value = median(new)? - median(base)?;
            Some(Shift {
                method: Method::None,
                estimate: Estimate { value, interval: None },
                p_value: None,
                least_p: 1.0,
            })
        }
    }
}

const fn predicted(estimate: Estimate, p_value: f64) -> Shift {
    Shift { method: Method::Prediction, estimate, p_value: Some(p_value), least_p: 0.0 }
}

/// The median of what runs have; `None` of none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| hodges_lehmann::median(&sorted))
}

#[cfg(test)]
mod tests;
