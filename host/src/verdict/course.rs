//! The course of a metric: its samples second by second, for what is judged by how it moves.
//!
//! Bounded: a run longer than [`MOST`] seconds has its neighbours merged, two by two, and goes on with
//! seconds of twice the length.

use std::collections::BTreeMap;

use super::{routes::Routes, samples::Samples};
use crate::{
    clock::Instant,
    metric::{Kind, MetricId, Names, Registry, Selector, Snapshot},
    plan::threshold::Aggregate,
};

/// Steps that a course keeps.
const MOST: usize = 4_096;

/// The courses that a plan's derived metrics are made of.
#[derive(Debug, Default)]
pub(super) struct Courses {
    courses: Vec<Course>,
    routes: Routes,
}

/// Samples of a metric, by the time of their intended start.
#[derive(Debug)]
pub(super) struct Course {
    metric: MetricId,
    selector: Selector,
    kind: Kind,
    /// Length of a step, in seconds.
    width: u32,
    steps: BTreeMap<u32, Samples>,
}

impl Courses {
    /// Room for the courses of these metrics.
    pub(super) fn new(
        needs: impl IntoIterator<Item = (MetricId, Selector)>,
        registry: &Registry,
    ) -> Self {
        let mut all = Self::default();
        for (metric, selector) in needs {
            if all.of(metric, &selector).is_none() {
                let kind = registry.get(metric).kind;
                all.courses.push(Course {
                    metric,
                    selector,
                    kind,
                    width: 1,
                    steps: BTreeMap::new(),
                });
            }
        }
        all
    }

    /// What must be kept per second.
    pub(super) fn needs(&self) -> impl Iterator<Item = (MetricId, &Selector)> {
        self.courses.iter().map(|course| (course.metric, &course.selector))
    }

    /// The course of a metric, if it was asked for.
    pub(super) fn of(&self, metric: MetricId, selector: &Selector) -> Option<&Course> {
        self.courses.iter().find(|it| it.metric == metric && it.selector == *selector)
    }

    /// Takes the per-second cells of a snapshot. `start` is when the first scenario started.
    pub(super) fn observe(
        &mut self,
        start: Instant,
        snapshot: &Snapshot,
        registry: &Registry,
        names: &Names,
    ) {
        if self.courses.is_empty() {
            return;
        }
        for (key, second, cell) in &snapshot.cells {
            let Some(second) = second else { continue };
            let kind = registry.get(key.metric).kind;
            let watched = self.courses.iter().map(|it| (it.metric, &it.selector));
            let places = self.routes.find(key, kind, watched, names);
            let at = snapshot.origin + std::time::Duration::from_secs(u64::from(*second));
            let second = u32::try_from(at.since(start).as_secs()).unwrap_or(u32::MAX);
            for index in places {
                let Some(course) = self.courses.get_mut(*index) else { continue };
                course
                    .steps
                    .entry(second / course.width)
                    .or_insert_with(|| Samples::empty(course.kind))
                    .merge(cell);
                course.bound(MOST);
            }
        }
    }
}

impl Course {
    /// Merges neighbours until there are few enough.
    fn bound(&mut self, most: usize) {
        while self.steps.len() > most {
            self.width = self.width.saturating_mul(2);
            for (step, samples) in std::mem::take(&mut self.steps) {
                let kind = self.kind;
                self.steps.entry(step / 2).or_insert_with(|| Samples::empty(kind)).add(&samples);
            }
        }
    }

    /// The figure of each whole step of a run that lasted `end` seconds, with the seconds at which it
    /// begins and ends. Of a counter, a step without samples is a step of none.
    pub(super) fn figures(
        &self,
        aggregate: Aggregate,
        unit: f64,
        end: f64,
    ) -> Vec<(f64, f64, f64)> {
        let width = f64::from(self.width);
        let steps = (end / width).floor().max(0.0) as u32;
        let none = Samples::empty(self.kind);
        let figure = |step: u32| {
            let samples = match self.steps.get(&step) {
                Some(samples) => samples,
                None if self.kind == Kind::Counter => &none,
                None => return None,
            };
            let figure = samples.figure(aggregate, unit, width)?;
            let from = f64::from(step) * width;
            // What censored samples leave open is no figure.
            (figure.low == figure.high).then_some((from, from + width, figure.low))
        };
        (0..steps.min(self.steps.keys().next_back().map_or(0, |last| last + 1)))
            .filter_map(figure)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Cell;

    #[test]
    fn a_long_course_is_kept_coarser_and_loses_nothing() {
        let mut course = Course {
            metric: MetricId(0),
            selector: Selector::default(),
            kind: Kind::Counter,
            width: 1,
            steps: BTreeMap::new(),
        };
        for second in 0..1_000_u32 {
            let none = || Samples::empty(Kind::Counter);
            let step = second / course.width;
            course.steps.entry(step).or_insert_with(none).merge(&Cell::<u32>::Counter(3.0));
            course.bound(64);
        }
        assert!(course.steps.len() <= 64 && course.width == 16, "{}", course.width);
        let figures = course.figures(Aggregate::Rate, 1.0, 1_000.0);
        assert_eq!(figures.len(), 62, "whole steps only");
        assert!(figures.iter().all(|(from, to, rate)| to - from == 16.0 && *rate == 3.0));
        let counted: f64 =
            course.figures(Aggregate::Count, 1.0, 1_008.0).iter().map(|it| it.2).sum();
        assert_eq!(counted, 3_000.0);
    }
}
