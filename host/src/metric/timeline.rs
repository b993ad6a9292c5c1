//! The run as it went: each series step by step, for charts and tables of what happened when.
//!
//! A fold of snapshots, in bounded memory however long the run: a step is a second to begin with, and when
//! there are too many of them neighbours become one, two by two, in all series at once. Counts, sums and
//! extremes stay exact; of a trend each step keeps a histogram of its own with 64 buckets an octave, so that
//! a percentile is that of the samples of the step (at most 1.6 % above it), whatever was merged, and never
//! an average of percentiles.
//!
//! A sample is in the step of its intended start where the recorder keeps seconds apart (what windows of
//! thresholds look at), and otherwise in the step in which it was recorded. What was measured outside the
//! load (setup, warm-up, teardown) is left out. The tags `stage` and `level` are dropped: when it was says
//! which it was.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Counter as Width;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{
    Cell, Gauge, Kind, Name, Names, Phase, Rate, Registry, SeriesKey, Snapshot, TagSet, Trend, Unit,
};
use crate::clock::Instant;

/// Steps of a run, at the most.
const MOST_STEPS: u32 = 1_024;
/// Points of all series together.
const MOST_POINTS: usize = 64 << 10;
/// Buckets of all trends together: 16 bytes each.
const MOST_BUCKETS: usize = 512 << 10;
/// Series; what is beyond keeps its metric, scenario and outcome only.
const MOST_LINES: usize = 512;
/// Buckets in an octave, as a power of two.
const OCTAVE: u32 = 6;

/// All series of a run over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Length of a step, in seconds.
    pub width_s: u32,
    /// Each series.
    pub lines: Vec<Line>,
    /// Cells whose tags were dropped because of the limit on series.
    pub folded: u64,
    /// When the load began; nothing is taken before.
    #[serde(skip)]
    start: Option<Instant>,
    #[serde(skip)]
    places: FxHashMap<SeriesKey, usize>,
    /// Points and buckets that there are.
    #[serde(skip)]
    weight: (usize, usize),
}

/// A series over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The metric's name.
    pub metric: String,
    /// Which points it has.
    pub kind: Kind,
    /// Unit of its values.
    pub unit: Unit,
    /// Its tags, without `stage` and `level`.
    pub tags: BTreeMap<String, String>,
    /// Each step with samples, in order.
    pub points: Vec<(u32, Point)>,
}

/// The samples of a series in a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Point {
    /// The sum.
    Counter(f64),
    /// Last, extremes and average.
    Gauge(Level),
    /// Samples that were not zero, and all.
    Rate(u64, u64),
    /// A distribution.
    Trend(Spread),
}

/// The samples of a gauge in a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// The latest.
    pub last: f64,
    /// When it was taken, in nanoseconds on the run's timeline.
    pub last_at: u64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The sum, for the average.
    pub sum: f64,
    /// How many.
    pub count: u64,
}

/// The samples of a trend in a step, in the steps of its unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Samples whose value is known.
    pub count: u64,
    /// Samples of which only a lower bound is known.
    pub censored: u64,
    /// Sum of the known values.
    pub sum: f64,
    /// Largest value, known or a lower bound.
    pub max: u64,
    /// Known samples by bucket, in the buckets' order.
    pub buckets: Vec<(u16, u64)>,
    /// Censored samples, likewise, by what they had waited.
    pub cut: Vec<(u16, u64)>,
}

/// A percentile of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// Its value, in the steps of the unit.
    pub value: f64,
    /// Whether censored samples make it a lower bound.
    pub at_least: bool,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            width_s: 1,
            lines: Vec::new(),
            folded: 0,
            start: None,
            places: FxHashMap::default(),
            weight: (0, 0),
        }
    }
}

impl Timeline {
    /// Says when the load began: step 0 begins there.
    pub fn begin(&mut self, start: Instant) {
        self.start = Some(start);
    }

    /// Takes what a shard measured in an interval.
    pub fn observe(&mut self, snapshot: &Snapshot, registry: &Registry, names: &Names) {
        let Some(start) = self.start else { return };
        for (key, second, cell) in &snapshot.cells {
            if key.tags.phase != Phase::Main || cell.samples() == 0 {
                continue;
            }
            let at = match second {
                Some(second) => snapshot.origin + Duration::from_secs(u64::from(*second)),
                None => middle(start, snapshot),
            };
            let second = u32::try_from(at.since(start).as_secs()).unwrap_or(u32::MAX);
            let line = self.place(*key, registry, names);
            let (points, buckets) = self.lines[line].add(second / self.width_s, cell);
            self.weight = (self.weight.0 + points, self.weight.1 + buckets);
            while second / self.width_s >= MOST_STEPS
                || self.weight.0 > MOST_POINTS
                || self.weight.1 > MOST_BUCKETS
            {
                if !self.halve() {
                    break;
                }
            }
        }
    }

    /// The lines of a metric.
    pub fn of<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.metric == metric)
    }

    /// Steps from the load's beginning to the last sample.
    pub fn steps(&self) -> u32 {
        let ends = self.lines.iter().filter_map(|line| line.points.last());
        ends.map(|(step, _)| step + 1).max().unwrap_or(0)
    }

    /// The same with at most so many steps.
    #[must_use]
    pub fn within(&self, most: u32) -> Self {
        let mut coarser = self.clone();
        while coarser.steps() > most.max(1) && coarser.halve() {}
        coarser
    }

    /// Where a series is.
    fn place(&mut self, key: SeriesKey, registry: &Registry, names: &Names) -> usize {
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let timeless = |tags| TagSet { stage: Name::NONE, level: Name::NONE, ..tags };
        let mut own = SeriesKey { metric: key.metric, tags: timeless(key.tags) };
        if self.lines.len() >= MOST_LINES && !self.places.contains_key(&own) {
            let TagSet { outcome, scenario, .. } = key.tags;
            own.tags = TagSet { outcome, scenario, ..TagSet::default() };
            self.folded += 1;
        }
        let place = match self.places.get(&own) {
            Some(place) => *place,
            None => {
                let metric = registry.get(key.metric);
                self.lines.push(Line {
                    metric: metric.name.clone(),
                    kind: metric.kind,
                    unit: metric.unit,
                    tags: own.tags.resolve(names),
                    points: Vec::new(),
                });
                self.places.insert(own, self.lines.len() - 1);
                self.lines.len() - 1
            }
        };
        // The tables of names and series are bounded by the recorders, and so is this one.
        self.places.insert(key, place);
        place
    }

    /// Makes one step of two; false if there is nothing left to merge.
    fn halve(&mut self) -> bool {
        if self.steps() <= 1 && self.width_s > 1 << 20 {
            return false;
        }
        self.width_s = self.width_s.saturating_mul(2);
        self.weight = (0, 0);
        for line in &mut self.lines {
            let mut merged: Vec<(u32, Point)> = Vec::with_capacity(line.points.len() / 2 + 1);
            for (step, point) in std::mem::take(&mut line.points) {
                match merged.last_mut() {
                    Some((last, into)) if *last == step / 2 => into.merge(&point),
                    _ => merged.push((step / 2, point)),
                }
            }
            self.weight.0 += merged.len();
            self.weight.1 += merged.iter().map(|(_, point)| point.buckets()).sum::<usize>();
            line.points = merged;
        }
        true
    }
}

/// The middle of what a snapshot is about; of one that says only when it was taken, half a second before.
fn middle(start: Instant, snapshot: &Snapshot) -> Instant {
    let length = snapshot.to.since(snapshot.from.max(start));
    let back = if length.is_zero() { Duration::from_millis(500) } else { length / 2 };
    let nanos = snapshot.to.as_nanos().saturating_sub(back.as_nanos() as u64);
    Instant::from_nanos(nanos)
}

impl Line {
    /// Adds samples to a step; how many points and buckets that made.
    fn add<W: Width>(&mut self, step: u32, cell: &Cell<W>) -> (usize, usize) {
        let place = match self.points.last() {
            Some((last, _)) if *last == step => Ok(self.points.len() - 1),
            Some((last, _)) if *last < step => Err(self.points.len()),
            _ => self.points.binary_search_by_key(&step, |(step, _)| *step),
        };
        let point = Point::of(cell);
        match place {
            Ok(place) => {
                let before = self.points[place].1.buckets();
                self.points[place].1.merge(&point);
                (0, self.points[place].1.buckets() - before)
            }
            Err(place) => {
                let buckets = point.buckets();
                self.points.insert(place, (step, point));
                (1, buckets)
            }
        }
    }
}

impl Point {
    /// The samples of a cell, as finely as a timeline keeps them.
    pub fn of<W: Width>(cell: &Cell<W>) -> Self {
        match cell {
            Cell::Counter(sum) => Self::Counter(*sum),
            Cell::Gauge(Gauge { last, last_at, min, max, sum, count, .. }) => Self::Gauge(Level {
                last: *last,
                last_at: *last_at,
                min: *min,
                max: *max,
                sum: *sum,
                count: *count,
            }),
            Cell::Rate(Rate { hits, total }) => Self::Rate(*hits, *total),
            Cell::Trend(trend) => Self::Trend(Spread::of(trend)),
        }
    }

    /// Adds the samples of another of the same kind.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Counter(mine), Self::Counter(theirs)) => *mine += theirs,
            (Self::Rate(hits, total), Self::Rate(more, all)) => {
                *hits += more;
                *total += all;
            }
            (Self::Gauge(mine), Self::Gauge(theirs)) => {
                if theirs.last_at >= mine.last_at {
                    (mine.last, mine.last_at) = (theirs.last, theirs.last_at);
                }
                mine.min = mine.min.min(theirs.min);
                mine.max = mine.max.max(theirs.max);
                mine.sum += theirs.sum;
                mine.count += theirs.count;
            }
            (Self::Trend(mine), Self::Trend(theirs)) => mine.merge(theirs),
            _ => debug_assert!(false, "a line has one kind"),
        }
    }

    fn buckets(&self) -> usize {
        match self {
            Self::Trend(spread) => spread.buckets.len() + spread.cut.len(),
            _ => 0,
        }
    }
}

impl Spread {
    fn of<W: Width>(trend: &Trend<W>) -> Self {
        let counted = |histogram: &hdrhistogram::Histogram<W>| {
            let mut buckets: Vec<(u16, u64)> = Vec::new();
            for step in histogram.iter_recorded() {
                let (place, count) =
                    (bucket(step.value_iterated_to()), step.count_since_last_iteration());
                match buckets.last_mut() {
                    Some((last, sum)) if *last == place => *sum += count,
                    _ => buckets.push((place, count)),
                }
            }
            buckets
        };
        let longest = if trend.censored.is_empty() { 0 } else { trend.censored.max() };
        Self {
            count: trend.values.len(),
            censored: trend.censored.len(),
            sum: trend.sum,
            max: trend.max.max(longest),
            buckets: counted(&trend.values),
            cut: counted(&trend.censored),
        }
    }

    /// Adds the samples of another.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.censored += other.censored;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        self.buckets = joined(&self.buckets, &other.buckets);
        self.cut = joined(&self.cut, &other.cut);
    }

    /// Average of the known samples, in the steps of the unit.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// The highest equivalent value at rank ⌈q·n⌉, q between 0 and 1, of all samples; censored ones count
    /// as at least what they had waited.
    pub fn quantile(&self, q: f64) -> Option<Quantile> {
        let all = self.count + self.censored;
        if all == 0 {
            return None;
        }
        let rank = ((q * all as f64).ceil() as u64).clamp(1, all);
        let at = |buckets: &[(u16, u64)]| {
            let mut below = 0;
            buckets.iter().find_map(|(bucket, count)| {
                below += count;
                (below >= rank).then(|| highest(*bucket).min(self.max) as f64)
            })
        };
        // With the censored samples at +∞ the rank is beyond the known ones, or says another value.
        let surely = at(&self.buckets);
        let value =
            if self.censored == 0 { surely? } else { at(&joined(&self.buckets, &self.cut))? };
        Some(Quantile { value, at_least: surely != Some(value) })
    }
}

/// Counts of both, by bucket.
fn joined(one: &[(u16, u64)], other: &[(u16, u64)]) -> Vec<(u16, u64)> {
    let mut sum: Vec<(u16, u64)> = Vec::with_capacity(one.len().max(other.len()));
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    loop {
        let next = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if a.0 <= b.0 => left.next(),
            (_, Some(_)) => right.next(),
            (Some(_), None) => left.next(),
            (None, None) => return sum,
        };
        let Some((bucket, count)) = next else { return sum };
        match sum.last_mut() {
            Some((last, total)) if last == bucket => *total += count,
            _ => sum.push((*bucket, *count)),
        }
    }
}

/// The bucket of a value: 64 in each octave, each value its own below 128.
fn bucket(value: u64) -> u16 {
    let octave = (u64::BITS - 1).saturating_sub(value.leading_zeros()).saturating_sub(OCTAVE);
    ((octave << OCTAVE) + (value >> octave) as u32) as u16
}

/// The largest value of a bucket.
pub fn highest(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let octave = (bucket >> OCTAVE).saturating_sub(1);
    let mantissa = u128::from(bucket - (octave << OCTAVE));
    u64::try_from(((mantissa + 1) << octave) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
