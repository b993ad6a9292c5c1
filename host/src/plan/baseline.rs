//! Thresholds that compare with an earlier run: `p(95) < 1.1 * baseline`. SEMANTICS §3.
//!
//! Which run that is says whoever starts this one, so a plan is built without it; the figures are put in
//! before anything runs, and from then on they are limits like any others.

use std::sync::Arc;

use super::{
    Plan, Threshold,
    threshold::{Aggregate, Base, Operand, Stored},
};
use crate::metric::Selector;

impl Plan {
    /// The first threshold that compares with a baseline.
    pub fn asks_for_baseline(&self) -> Option<&Threshold> {
        let asks = |threshold: &&Threshold| {
            let mut assertions = threshold.expression.0.iter().flatten();
            assertions.any(|it| matches!(it.operand, Operand::Baseline { .. }))
        };
        self.thresholds.iter().find(asks)
    }

    /// Puts the figures of a baseline into the thresholds that compare with one: `figure` is asked for that
    /// of a metric's samples. Where it has none, the threshold is not shown, or `excused`: then there is
    /// nothing to compare with yet, and that is no fault.
    pub fn set_baseline(
        &mut self,
        excused: bool,
        figure: impl Fn(&str, &Selector, Aggregate) -> Option<Stored>,
    ) {
        let mut found = Vec::new();
        self.put_baseline(excused, |metric, selector, aggregate| {
            found.push(figure(metric, selector, aggregate));
            found.last().copied().flatten()
        });
        let recipe = Arc::make_mut(&mut self.recipe);
        (recipe.baseline, recipe.excused) = (found, excused);
    }

    /// Puts them in one after the other, in the order of the thresholds.
    pub(super) fn put_baseline(
        &mut self,
        excused: bool,
        mut figure: impl FnMut(&str, &Selector, Aggregate) -> Option<Stored>,
    ) {
        for threshold in &mut self.thresholds {
            for assertion in threshold.expression.0.iter_mut().flatten() {
                if let Operand::Baseline { base, .. } = &mut assertion.operand {
                    *base =
                        match figure(&threshold.metric, &threshold.selector, assertion.aggregate) {
                            Some(stored) => Base::Found(stored),
                            None if excused => Base::Excused,
                            None => Base::Missing,
                        };
                }
            }
        }
    }
}
