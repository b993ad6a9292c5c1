//! Figures out of a summary that was read back: what a baseline and a comparison look at.
//!
//! They are made as a run's own are, of the samples: percentiles of several series are those of their merged
//! histograms, never a mean of percentiles. Of censored samples a summary keeps how many there are and not
//! what they had waited, so that a figure which they could move is known within bounds.
//!
//! A file may have been written by anyone: what is no histogram has no figures.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::Histogram;

use super::{MetricSummary, Summary, TrendValues, Values};
use crate::{
    metric::{Cell, Gauge, Kind, Rate, Selector, Trend, Unit, histogram},
    plan::threshold::{Aggregate, Stored},
    verdict::Samples,
};

/// Samples of a series that a file is believed to have.
const MOST: u64 = 1 << 53;

impl Summary {
    /// A figure of the samples of a metric that a selector matches; `None` where the summary has none, or
    /// does not keep that figure (a slope; the last value or the average of several gauges).
    pub fn figure(
        &self,
        metric: &str,
        selector: &Selector,
        aggregate: Aggregate,
    ) -> Option<Stored> {
        let entries = self.entries(metric, selector);
        let first = entries.first()?;
        let (kind, unit) = (first.kind, first.unit);
        let several = entries.len() > 1;
        let kept = match (kind, aggregate) {
            (_, Aggregate::Slope) => false,
            (Kind::Gauge, Aggregate::Value | Aggregate::Mean) => !several,
            _ => true,
        };
        if !kept || entries.iter().any(|entry| (entry.kind, entry.unit) != (kind, unit)) {
            return None;
        }
        if (kind, aggregate) == (Kind::Counter, Aggregate::Rate) {
            return per_second(&entries);
        }
        let mut all = Cell::<u64>::empty(kind);
        for entry in &entries {
            all.merge(&cell(&entry.values, unit)?);
        }
        let figure = Samples::of(&all).figure(aggregate, unit.step(), 0.0)?;
        Some(Stored {
            low: Some(figure.low).filter(|low| low.is_finite())?,
            high: Some(figure.high).filter(|high| high.is_finite()),
            samples: figure.samples,
            censored: figure.censored,
        })
    }

    /// Kind and unit of a metric.
    pub fn kind_of(&self, metric: &str) -> Option<(Kind, Unit)> {
        let entry = self.metrics.iter().find(|entry| entry.name == metric)?;
        Some((entry.kind, entry.unit))
    }

    /// The entries that together hold the samples that a selector matches, each sample once.
    fn entries(&self, metric: &str, selector: &Selector) -> Vec<&MetricSummary> {
        let own = self.metrics.iter().filter(|entry| entry.name == metric);
        if selector.0.is_empty() {
            return own.filter(|entry| entry.tags.is_empty()).collect();
        }
        let parts = self.is_joined();
        // A suite has an entry for all of a part, which says nothing but which part it is.
        let says_part = |key: &String| key == "row" || key == "workload";
        let is_part = |tags: &BTreeMap<String, String>| {
            parts && !tags.is_empty() && tags.keys().all(says_part)
        };
        if selector.0.keys().all(says_part) {
            let matches = |it: &&MetricSummary| selector.matches_written(it.kind, &it.tags);
            let whole: Vec<_> =
                own.clone().filter(|it| is_part(&it.tags)).filter(matches).collect();
            if !whole.is_empty() {
                return whole;
            }
        }
        own.filter(|entry| {
            !entry.tags.is_empty()
                && !is_part(&entry.tags)
                && selector.matches_written(entry.kind, &entry.tags)
        })
        .collect()
    }

    /// Whether it is of a suite: only there workloads have durations of their own.
    pub fn is_joined(&self) -> bool {
        self.run.workloads.iter().any(|workload| workload.duration_s > 0.0)
    }
}

/// The samples of an entry; of a gauge, as if it had one for its average.
fn cell(values: &Values, unit: Unit) -> Option<Cell<u64>> {
    Some(match values {
        Values::Counter { count, .. } => Cell::Counter(*count),
        Values::Rate { passes, total, .. } => {
            Cell::Rate(Rate { hits: (*passes).min(*total), total: *total })
        }
        Values::Gauge { value, min, max, avg } => {
            let (min, max) = ((*min)?, (*max)?);
            let gauge =
                Gauge { last: (*value)?, min, max, sum: (*avg)?, count: 1, ..Gauge::default() };
            Cell::Gauge(gauge)
        }
        Values::Trend(values) => Cell::Trend(Box::new(trend(values, unit.step())?)),
    })
}

fn trend(stored: &TrendValues, step: f64) -> Option<Trend<u64>> {
    let bytes = STANDARD.decode(&stored.histogram).ok()?;
    let values: Histogram<u64> = histogram::read(&bytes).ok()?;
    let mut trend = Trend::<u64>::default();
    if values.len() != stored.count || stored.count.max(stored.censored) > MOST {
        return None;
    }
    let (known, unknown) = (values.len() as f64, stored.censored);
    // The mean that is stored has the censored samples at what they had waited.
    let mean = stored.mean.unwrap_or(0.0) / step;
    trend.sum = mean * (known + unknown as f64);
    let spread = stored.stddev.unwrap_or(0.0) / step;
    trend.sum_squares = known * spread.mul_add(spread, mean * mean);
    if !values.is_empty() {
        let exact = |value: Option<f64>, bucket: u64| match value {
            // With censored samples the extremes may be theirs.
            Some(value) if unknown == 0 => (value / step).round() as u64,
            _ => bucket,
        };
        trend.min = exact(stored.min, values.min());
        trend.max = exact(stored.max, values.max());
    }
    trend.values = values;
    if unknown > 0 {
        trend.censored.record_n(0, unknown).ok()?;
    }
    Some(trend)
}

/// Of counters: what each has per second; they were counted over the same time.
fn per_second(entries: &[&MetricSummary]) -> Option<Stored> {
    let mut sum = (0.0, 0.0);
    for entry in entries {
        let Values::Counter { count, per_second } = &entry.values else { return None };
        sum = (sum.0 + (*per_second)?, sum.1 + count);
    }
    let finite = sum.0.is_finite().then_some(sum.0)?;
    Some(Stored { low: finite, high: Some(finite), samples: sum.1.max(0.0) as u64, censored: 0 })
}
