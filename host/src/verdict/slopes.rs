//! The series that intervals of slopes in thresholds are taken from: one mean a second, in bounded memory.

use std::collections::BTreeMap;

use super::{routes::Routes, slope::SlopeSeries};
use crate::{
    clock::Instant,
    metric::{Cell, Gauge, Kind, MetricId, Names, Selector, Snapshot},
    plan::{Plan, threshold::Aggregate},
};

/// Seconds that may still be told of, by whoever is late.
const RECENT: usize = 10;

/// What thresholds on slopes are about.
#[derive(Debug, Default)]
pub(super) struct Slopes {
    watched: Vec<Watched>,
    routes: Routes,
}

#[derive(Debug)]
struct Watched {
    metric: MetricId,
    selector: Selector,
    recent: BTreeMap<u64, Gauge>,
    series: SlopeSeries,
}

impl Slopes {
    pub(super) fn new(plan: &Plan) -> Self {
        let watched = plan.thresholds.iter().filter_map(|threshold| {
            let mut assertions = threshold.expression.0.iter().flatten();
            let slope =
                assertions.any(|it| it.aggregate == Aggregate::Slope && it.window.is_none());
            let metric = plan.registry.find(&threshold.metric).filter(|_| slope)?;
            Some(Watched {
                metric,
                selector: threshold.selector.clone(),
                recent: BTreeMap::new(),
                series: SlopeSeries::default(),
            })
        });
        Self { watched: watched.collect(), routes: Routes::default() }
    }

    /// What must be kept per second.
    pub(super) fn needs(&self) -> impl Iterator<Item = (MetricId, &Selector)> {
        self.watched.iter().map(|watched| (watched.metric, &watched.selector))
    }

    /// Takes the per-second cells of a snapshot.
    pub(super) fn observe(&mut self, snapshot: &Snapshot, names: &Names) {
        if self.watched.is_empty() {
            return;
        }
        for (key, second, cell) in &snapshot.cells {
            let (Some(second), Cell::Gauge(gauge)) = (second, cell) else { continue };
            let watched = self.watched.iter().map(|it| (it.metric, &it.selector));
            let places = self.routes.find(key, Kind::Gauge, watched, names);
            let at = snapshot.origin.since(Instant::ZERO).as_secs() + u64::from(*second);
            for index in places {
                if let Some(watched) = self.watched.get_mut(*index) {
                    watched.recent.entry(at).or_default().merge(gauge);
                    while watched.recent.len() > RECENT {
                        watched.pass_on();
                    }
                }
            }
        }
    }

    /// The 95 % interval of a slope; `None` where there is too little of it.
    pub(super) fn interval(
        &self,
        metric: MetricId,
        selector: &Selector,
        slope: f64,
    ) -> Option<[f64; 2]> {
        let watched = self
            .watched
            .iter()
            .find(|watched| watched.metric == metric && watched.selector == *selector)?;
        let mut all = Watched {
            selector: Selector::default(),
            recent: watched.recent.clone(),
            series: watched.series.clone(),
            ..*watched
        };
        while !all.recent.is_empty() {
            all.pass_on();
        }
        // Around the slope of all samples, which that of the means is near.
        let [low, high] = all.series.slope()?.interval?;
        Some([slope - (high - low) / 2.0, slope + (high - low) / 2.0])
    }
}

impl Watched {
    fn pass_on(&mut self) {
        if let Some((second, gauge)) = self.recent.pop_first()
            && let Some(average) = gauge.avg()
        {
            self.series.push(second as f64, average);
        }
    }
}
