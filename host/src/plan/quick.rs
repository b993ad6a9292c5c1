//! `--quick`, and a suite's `scale`: the same plan, shorter. Durations and numbers of iterations are a
//! tenth, or that share; rates and VUs stay; but the scale is never below what the thresholds need, because a quick run that cannot show
//! anything is not quick but useless.
//!
//! What a threshold needs: as many samples as its percentile takes at 95 % (SEMANTICS §4), in its
//! window, from the scenarios and stages that it selects. One sample per iteration is assumed; of
//! the executors whose number of iterations is not known beforehand, nothing is. Windows are scaled
//! too, and are never shorter than the second that samples are kept in. A growth takes as many seconds as
//! a slope with an interval.

use std::time::Duration;

use super::{
    DerivedKind, Executor, Growth, Per, Plan, Scenario, Start, Threshold,
    threshold::{Aggregate, Operand, Window},
};
use crate::metric::Selector;

/// Seconds with a figure below which no growth is claimed.
pub const GROWTH_SECONDS: usize = 10;

/// The scale of `--quick`, unless thresholds need more.
pub const QUICK: f64 = 0.1;

/// Seconds that must follow a stage for its recovery to be found: it takes three whole ones (see
/// `verdict::derived`), and the first may begin late.
const RECOVERY: f64 = 5.0;

/// The samples that a percentile needs to be shown at 95 %: ⌈ln 0.05 / ln q⌉. 1 for anything else.
pub fn samples_needed(aggregate: Aggregate) -> u64 {
    let q = match aggregate {
        Aggregate::Percentile(percent) => percent / 100.0,
        Aggregate::Median => 0.5,
        _ => return 1,
    };
    if q <= 0.0 || q >= 1.0 {
        return 1;
    }
    (0.05_f64.ln() / q.ln()).ceil() as u64
}

impl Plan {
    /// Scales the plan down, as far as its thresholds allow.
    pub(super) fn quicken(&mut self, wanted: f64) {
        let needed = self.thresholds.iter().map(|threshold| self.scale_needed(threshold));
        let scale = needed.fold(wanted, f64::max).max(self.scale_of_growth()).min(1.0);
        if scale >= 1.0 {
            self.notes.push("it is not shortened: the thresholds need the whole run".to_owned());
            return;
        }
        for scenario in &mut self.scenarios {
            scenario.quicken(scale);
        }
        for threshold in &mut self.thresholds {
            threshold.quicken(scale);
        }
        self.scale = scale;
    }

    /// The least scale at which every growth can still be told.
    fn scale_of_growth(&self) -> f64 {
        let growths = self.derived.iter().filter_map(|derived| match &derived.kind {
            DerivedKind::Growth(growth) => Some(self.scale_of_one_growth(growth)),
            _ => None,
        });
        growths.fold(0.0, f64::max)
    }

    /// Only whole seconds have a figure, and only those that lie within one stage have a place where it is
    /// counted by stages: of a stage, as of a scenario, one is lost at an end.
    fn scale_of_one_growth(&self, growth: &Growth) -> f64 {
        let lengths = match &growth.per {
            Per::Stage(name) => {
                let of_it = self.scenarios.iter().filter(|it| it.name == *name);
                let stages = of_it.flat_map(|it| it.executor.stage_lengths());
                let mut lengths: Vec<_> = stages.map(|it| it.as_secs_f64()).collect();
                lengths.retain(|length| *length > 0.0);
                lengths
            }
            Per::Time(_) | Per::Count { .. } => vec![self.expected(&growth.selector).1],
        };
        let seconds: f64 = lengths.iter().sum();
        let needed = (GROWTH_SECONDS + lengths.len()) as f64;
        // Of each stage at least one whole second is left.
        let shortest = lengths.iter().copied().fold(f64::INFINITY, f64::min);
        let stages = if lengths.len() > 1 { 2.0 / shortest } else { 0.0 };
        (needed / seconds.max(1e-9)).max(stages)
    }

    /// The least scale at which a threshold can still be shown; 0 if nothing can be said.
    fn scale_needed(&self, threshold: &Threshold) -> f64 {
        let mut needed = self.scale_of_recovery(&threshold.metric);
        let mut look = |selector: &Selector, aggregate, window: Option<Window>| {
            let samples = samples_needed(aggregate).max(threshold.min_samples.unwrap_or(0));
            let (expected, length) = self.expected(selector);
            let waits = matches!(window, Some(Window::After(_)));
            let window = window.map(Window::length);
            if let Some(window) = window {
                needed = needed.max(1.0 / window.as_secs_f64());
            }
            let Some(expected) = expected else { return };
            let share = match window {
                Some(after) if length > 0.0 && waits => {
                    1.0 - (after.as_secs_f64() / length).min(0.99)
                }
                Some(window) if length > 0.0 => (window.as_secs_f64() / length).min(1.0),
                _ => 1.0,
            };
            if samples > 1 {
                needed = needed.max(samples as f64 / (expected * share));
            }
        };
        for assertion in threshold.expression.0.iter().flatten() {
            look(&threshold.selector, assertion.aggregate, assertion.window);
            if let Operand::Figure { metric, aggregate, selector, window, .. } = &assertion.operand
            {
                let (_, selector) = threshold.looks_at(metric.as_deref(), selector);
                look(&selector, *aggregate, *window);
            }
        }
        needed
    }

    /// The least scale at which a recovery of that name can be found; 0 for any other metric.
    fn scale_of_recovery(&self, metric: &str) -> f64 {
        let Some(derived) = self.derived.iter().find(|derived| derived.name == metric) else {
            return 0.0;
        };
        let DerivedKind::RecoveryTime { stage, .. } = &derived.kind else { return 0.0 };
        let after = self.scenarios.iter().map(|scenario| scenario.seconds_after(stage));
        let after = after.fold(0.0, f64::max);
        if after > 0.0 { RECOVERY / after } else { 0.0 }
    }

    /// Iterations that a selector's scenarios and stage have, where all of them are known, and over
    /// how many seconds.
    fn expected(&self, selector: &Selector) -> (Option<f64>, f64) {
        let (mut iterations, mut seconds) = (Some(0.0), 0.0_f64);
        for scenario in &self.scenarios {
            if selector.0.get("scenario").is_some_and(|name| *name != scenario.name) {
                continue;
            }
            let (expected, length) =
                scenario.expected(selector.0.get("stage").or(selector.0.get("level")));
            iterations = iterations.zip(expected).map(|(sum, expected)| sum + expected);
            seconds = seconds.max(length);
        }
        (iterations.filter(|iterations| *iterations > 0.0), seconds)
    }
}

impl Window {
    /// How long it is (of `after`: how long it waits).
    pub fn length(self) -> Duration {
        match self {
            Self::First(length) | Self::Last(length) | Self::Each(length) | Self::After(length) => {
                length
            }
        }
    }

    /// The same window of another length, in whole seconds.
    fn scaled(self, scale: f64) -> Self {
        let seconds = (self.length().as_secs_f64() * scale).round().max(1.0) as u64;
        let length = Duration::from_secs(seconds);
        match self {
            Self::First(_) => Self::First(length),
            Self::Last(_) => Self::Last(length),
            Self::Each(_) => Self::Each(length),
            Self::After(_) => Self::After(length),
        }
    }
}

impl Threshold {
    fn quicken(&mut self, scale: f64) {
        self.delay_abort_eval = self.delay_abort_eval.mul_f64(scale);
        for assertion in self.expression.0.iter_mut().flatten() {
            assertion.window = assertion.window.map(|window| window.scaled(scale));
            if let Operand::Figure { window, .. } = &mut assertion.operand {
                *window = window.map(|window| window.scaled(scale));
            }
        }
    }
}

impl Scenario {
    /// Iterations of a stage, or of all, where they are known; and seconds.
    fn expected(&self, stage: Option<&String>) -> (Option<f64>, f64) {
        if let Some(search) = self.search() {
            let probe = search.probe.as_secs_f64();
            return (Some(search.from * probe), probe);
        }
        let whole = self.executor.duration().as_secs_f64();
        match &self.executor {
            Executor::SharedIterations { iterations, .. } => (Some(*iterations as f64), whole),
            Executor::PerVuIterations { vus, iterations, .. } => {
                (Some(f64::from(*vus) * *iterations as f64), whole)
            }
            Executor::ConstantVus { .. } | Executor::RampingVus { .. } => (None, whole),
            Executor::ConstantArrivalRate { .. } => {
                (Some(self.executor.peak_rate() * whole), whole)
            }
            Executor::RampingArrivalRate { start_rate, time_unit, stages, .. } => {
                let (mut rate, mut sum, mut seconds) = (*start_rate, 0.0, 0.0);
                for it in stages {
                    if stage.is_none_or(|name| *name == it.name) {
                        let length = it.duration.as_secs_f64();
                        sum += f64::midpoint(rate, it.target) / time_unit.as_secs_f64() * length;
                        seconds += length;
                    }
                    rate = it.target;
                }
                (Some(sum), seconds)
            }
        }
    }

    /// How long it goes on after a stage; 0 if it has none of that name.
    fn seconds_after(&self, stage: &str) -> f64 {
        let names = self.stage_names();
        let Some(at) = names.iter().position(|name| *name == stage) else { return 0.0 };
        let seconds = |durations: &mut dyn Iterator<Item = Duration>| {
            durations.skip(at + 1).sum::<Duration>().as_secs_f64()
        };
        match &self.executor {
            Executor::RampingVus { stages, .. } => {
                seconds(&mut stages.iter().map(|stage| stage.duration))
            }
            Executor::RampingArrivalRate { stages, .. } => {
                seconds(&mut stages.iter().map(|stage| stage.duration))
            }
            _ => 0.0,
        }
    }

    fn quicken(&mut self, scale: f64) {
        // What took time still takes some: a stage of no time would be a jump.
        let shorter = |duration: &mut Duration| {
            if !duration.is_zero() {
                *duration = duration.mul_f64(scale).max(Duration::from_millis(1));
            }
        };
        if let Start::At(at) = &mut self.start {
            shorter(at);
        }
        shorter(&mut self.warmup);
        if let Some(driver) = &mut self.driver
            && let Some(longest) = driver.quicken(scale)
            && let Executor::ConstantArrivalRate { duration, .. } = &mut self.executor
        {
            *duration = longest;
            return;
        }
        let fewer = |number: &mut u64| *number = ((*number as f64 * scale).ceil() as u64).max(1);
        match &mut self.executor {
            Executor::SharedIterations { vus, iterations, .. } => {
                fewer(iterations);
                *iterations = (*iterations).max(u64::from(*vus));
            }
            Executor::PerVuIterations { iterations, .. } => fewer(iterations),
            Executor::ConstantVus { duration, .. }
            | Executor::ConstantArrivalRate { duration, .. } => shorter(duration),
            Executor::RampingVus { stages, .. } => {
                for (index, stage) in stages.iter_mut().enumerate() {
                    shorter(&mut stage.duration);
                    self.driver.iter().for_each(|it| it.lengthen(index, &mut stage.duration));
                }
            }
            Executor::RampingArrivalRate { stages, .. } => {
                for (index, stage) in stages.iter_mut().enumerate() {
                    shorter(&mut stage.duration);
                    self.driver.iter().for_each(|it| it.lengthen(index, &mut stage.duration));
                }
            }
        }
    }
}
