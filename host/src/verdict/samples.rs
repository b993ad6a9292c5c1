//! A set of samples in little memory, and the figures of it with what censoring leaves open.
//!
//! A window of a threshold holds its samples here instead of in a histogram: a list of the buckets that
//! were hit takes kilobytes where a histogram takes hundreds, and there may be thousands of windows.
//! The buckets are those of the histograms, so no figure differs.

use std::collections::BTreeMap;

use hdrhistogram::Counter as Width;

use super::interval;
use crate::{
    metric::{self, Cell, Gauge, Kind, Point, Rate, Spread, Trend, highest},
    plan::threshold::Aggregate,
};

/// The samples of one or more series of a metric.
#[derive(Clone, Debug)]
pub(crate) enum Samples {
    Counter(f64),
    Gauge(Gauge),
    Rate(Rate),
    Trend(Distribution),
}

/// The samples of a trend, in the steps of its unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distribution {
    /// Highest value of each bucket that was hit, and how often.
    values: BTreeMap<u64, u64>,
    known: u64,
    /// Lowest value of each bucket of the censored samples, and how often.
    censored: BTreeMap<u64, u64>,
    unknown: u64,
    sum: f64,
    sum_squares: f64,
    min: Option<u64>,
    max: u64,
}

/// A figure: between `low` and `high` whatever the censored samples' true values are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    /// What it is at least.
    pub(crate) low: f64,
    /// What it is at most; infinite where censoring leaves it open.
    pub(crate) high: f64,
    /// 95 % interval.
    pub(crate) interval: Option<[f64; 2]>,
    /// Known samples.
    pub(crate) samples: u64,
    /// Censored samples.
    pub(crate) censored: u64,
}

impl Figure {
    /// A figure that nothing leaves open.
    pub(super) const fn exact(value: f64, samples: u64) -> Self {
        Self { low: value, high: value, interval: None, samples, censored: 0 }
    }
}

impl Samples {
    pub(super) fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(0.0),
            Kind::Gauge => Self::Gauge(Gauge::default()),
            Kind::Rate => Self::Rate(Rate::default()),
            Kind::Trend => Self::Trend(Distribution::default()),
        }
    }

    /// The samples of a cell.
    pub(crate) fn of<W: Width>(cell: &Cell<W>) -> Self {
        let mut samples = match cell {
            Cell::Counter(_) => Self::empty(Kind::Counter),
            Cell::Gauge(_) => Self::empty(Kind::Gauge),
            Cell::Rate(_) => Self::empty(Kind::Rate),
            Cell::Trend(_) => Self::empty(Kind::Trend),
        };
        samples.merge(cell);
        samples
    }

    /// The samples of a step of a timeline, as finely as that keeps them.
    pub(super) fn of_point(point: &Point) -> Self {
        match point {
            Point::Counter(sum) => Self::Counter(*sum),
            Point::Rate(hits, total) => Self::Rate(Rate { hits: *hits, total: *total }),
            Point::Gauge(level) => Self::Gauge(Gauge {
                last: level.last,
                last_at: level.last_at,
                min: level.min,
                max: level.max,
                sum: level.sum,
                count: level.count,
                ..Gauge::default()
            }),
            Point::Trend(spread) => Self::Trend(Distribution::of_spread(spread)),
        }
    }

    /// Adds the samples of a cell of the same kind.
    pub(super) fn merge<W: Width>(&mut self, cell: &Cell<W>) {
        match (self, cell) {
            (Self::Counter(mine), Cell::Counter(theirs)) => *mine += theirs,
            (Self::Gauge(mine), Cell::Gauge(theirs)) => mine.merge(theirs),
            (Self::Rate(mine), Cell::Rate(theirs)) => {
                mine.hits += theirs.hits;
                mine.total += theirs.total;
            }
            (Self::Trend(mine), Cell::Trend(theirs)) => mine.merge(theirs),
            _ => debug_assert!(false, "a metric has one kind"),
        }
    }

    /// Adds other samples of the same kind.
    pub(super) fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Counter(mine), Self::Counter(theirs)) => *mine += theirs,
            (Self::Gauge(mine), Self::Gauge(theirs)) => mine.merge(theirs),
            (Self::Rate(mine), Self::Rate(theirs)) => {
                mine.hits += theirs.hits;
                mine.total += theirs.total;
            }
            (Self::Trend(mine), Self::Trend(theirs)) => mine.add(theirs),
            _ => debug_assert!(false, "a metric has one kind"),
        }
    }

    /// Buckets held: what its memory is proportional to.
    pub(super) fn buckets(&self) -> usize {
        match self {
            Self::Trend(trend) => trend.values.len() + trend.censored.len(),
            _ => 1,
        }
    }

    /// The values of a trend in steps, rising, and how often each was there; censored samples at infinity.
    /// `None` of any other kind.
    pub(super) fn spread(&self) -> Option<Vec<(f64, u64)>> {
        let Self::Trend(trend) = self else { return None };
        let known =
            trend.values.iter().map(|(value, count)| ((*value).min(trend.max) as f64, *count));
        let unknown = (trend.unknown > 0).then_some((f64::INFINITY, trend.unknown));
        Some(known.chain(unknown).collect())
    }

    /// What is divided by what for a mean, a share or a rate per second, of one second; `None` where the
    /// aggregate is none of these, or censored samples leave it open.
    pub(super) fn parts(&self, aggregate: Aggregate) -> Option<(f64, f64)> {
        match (self, aggregate) {
            (Self::Counter(sum), Aggregate::Rate) => Some((*sum, 1.0)),
            (Self::Rate(rate), Aggregate::Rate) => Some((rate.hits as f64, rate.total as f64)),
            (Self::Gauge(gauge), Aggregate::Mean) => Some((gauge.sum, gauge.count as f64)),
            (Self::Trend(trend), Aggregate::Mean) if trend.unknown == 0 => {
                Some((trend.sum, trend.known as f64))
            }
            _ => None,
        }
    }

    /// A figure of these samples, in the metric's unit (`step` is what one step of a trend stands
    /// for); `seconds` is how long they took, for rates per second. `None` without samples; a
    /// counter without samples is 0.
    pub(crate) fn figure(&self, aggregate: Aggregate, step: f64, seconds: f64) -> Option<Figure> {
        match self {
            Self::Counter(sum) => {
                let samples = sum.max(0.0) as u64;
                match aggregate {
                    Aggregate::Rate if seconds > 0.0 => Some(Figure::exact(sum / seconds, samples)),
                    Aggregate::Rate => None,
                    _ => Some(Figure::exact(*sum, samples)),
                }
            }
            Self::Rate(rate) => {
                let share = rate.share()?;
                Some(match aggregate {
                    Aggregate::Count => Figure::exact(rate.hits as f64, rate.total),
                    _ => Figure {
                        interval: interval::share(rate.hits, rate.total),
                        ..Figure::exact(share, rate.total)
                    },
                })
            }
            Self::Gauge(gauge) => {
                let average = gauge.avg()?;
                let value = match aggregate {
                    Aggregate::Min => gauge.min,
                    Aggregate::Max => gauge.max,
                    Aggregate::Mean => average,
                    Aggregate::Slope => gauge.slope()?,
                    _ => gauge.last,
                };
                Some(Figure::exact(value, gauge.count))
            }
            Self::Trend(trend) => trend.figure(aggregate, step),
        }
    }
}

impl Distribution {
    /// Without their squares, which a timeline does not keep: there is no standard deviation of it.
    fn of_spread(spread: &Spread) -> Self {
        let least =
            |bucket: u16| bucket.checked_sub(1).map_or(0, |below| highest(below).saturating_add(1));
        Self {
            values: spread
                .buckets
                .iter()
                .map(|(bucket, count)| (highest(*bucket), *count))
                .collect(),
            known: spread.count,
            censored: spread.cut.iter().map(|(bucket, count)| (least(*bucket), *count)).collect(),
            unknown: spread.censored,
            sum: spread.sum,
            sum_squares: 0.0,
            min: spread.buckets.first().map(|(bucket, _)| least(*bucket)),
            max: spread.max,
        }
    }

    fn merge<W: Width>(&mut self, other: &Trend<W>) {
        for entry in other.values.iter_recorded() {
            let value = other.values.highest_equivalent(entry.value_iterated_to());
            let count = entry.count_since_last_iteration();
            *self.values.entry(value).or_default() += count;
            self.known += count;
        }
        for entry in other.censored.iter_recorded() {
            let value = other.censored.lowest_equivalent(entry.value_iterated_to());
            let count = entry.count_since_last_iteration();
            *self.censored.entry(value).or_default() += count;
            self.unknown += count;
        }
        self.sum += other.sum;
        self.sum_squares += other.sum_squares;
        if !other.values.is_empty() {
            self.min = Some(self.min.unwrap_or(u64::MAX).min(other.min));
            self.max = self.max.max(other.max);
        }
    }

    fn add(&mut self, other: &Self) {
        for (value, count) in &other.values {
            *self.values.entry(*value).or_default() += count;
        }
        for (value, count) in &other.censored {
            *self.censored.entry(*value).or_default() += count;
        }
        self.known += other.known;
        self.unknown += other.unknown;
        self.sum += other.sum;
        self.sum_squares += other.sum_squares;
        self.min = self.min.into_iter().chain(other.min).min();
        self.max = self.max.max(other.max);
    }

    /// The known value at a rank (from 1) with the censored samples at infinity: the highest value of
    /// its bucket, but never above the largest that was seen.
    fn at_rank(&self, rank: u64) -> f64 {
        let mut below = 0;
        for (value, count) in &self.values {
            below += count;
            if below >= rank {
                return (*value).min(self.max) as f64;
            }
        }
        f64::INFINITY
    }

    /// The same with the censored samples at what they had waited.
    fn at_rank_waited(&self, rank: u64) -> f64 {
        let mut below = 0;
        let (mut known, mut waited) =
            (self.values.iter().peekable(), self.censored.iter().peekable());
        loop {
            let next_known = known.peek().map(|(value, _)| (**value).min(self.max));
            let next_waited = waited.peek().map(|(value, _)| **value);
            let (value, count) = match (next_known, next_waited) {
                (None, None) => return f64::INFINITY,
                (Some(value), None) => (value, known.next()),
                (None, Some(value)) => (value, waited.next()),
                (Some(a), Some(b)) if a <= b => (a, known.next()),
                (Some(_), Some(b)) => (b, waited.next()),
            };
            below += count.map_or(0, |(_, count)| *count);
            if below >= rank {
                return value as f64;
            }
        }
    }

    fn percentile(&self, percent: f64, step: f64) -> Figure {
        let n = self.known + self.unknown;
        let q = percent / 100.0;
        let rank = rank(q, n);
        let interval = interval::percentile_ranks(n, q).and_then(|(low, high)| {
            let (low, high) = (self.at_rank_waited(low), self.at_rank(high));
            high.is_finite().then_some([low * step, high * step])
        });
        Figure {
            low: self.at_rank_waited(rank) * step,
            high: self.at_rank(rank) * step,
            interval,
            samples: self.known,
            censored: self.unknown,
        }
    }

    fn figure(&self, aggregate: Aggregate, step: f64) -> Option<Figure> {
        if self.known + self.unknown == 0 {
            return None;
        }
        let open = self.unknown > 0;
        let above = |value: f64| if open { f64::INFINITY } else { value };
        let waited = || self.censored.iter().map(|(value, count)| *value as f64 * *count as f64);
        let n = (self.known + self.unknown) as f64;
        let (low, high) = match aggregate {
            Aggregate::Percentile(percent) => return Some(self.percentile(percent, step)),
            Aggregate::Median => return Some(self.percentile(50.0, step)),
            Aggregate::Min => {
                let waited = self.censored.keys().next().copied();
                let low = self.min.into_iter().chain(waited).min()? as f64;
                (low, self.min.map_or(f64::INFINITY, |min| min as f64))
            }
            Aggregate::Max => {
                let waited = self.censored.keys().next_back().copied().unwrap_or(0);
                (self.max.max(waited) as f64, above(self.max as f64))
            }
            Aggregate::Stddev if open => (0.0, f64::INFINITY),
            Aggregate::Stddev => (self.stddev(), self.stddev()),
            // How many are known: what is in flight has not yet become a time.
            Aggregate::Count => return Some(Figure::exact(self.known as f64, self.known)),
            _ => {
                let low = (self.sum + waited().sum::<f64>()) / n;
                (low, above(low))
            }
        };
        let mean = matches!(aggregate, Aggregate::Mean) && !open;
        let interval = mean.then(|| interval::mean(self.known, low, self.stddev())).flatten();
        Some(Figure {
            low: low * step,
            high: high * step,
            interval: interval.map(|[low, high]| [low * step, high * step]),
            samples: self.known,
            censored: self.unknown,
        })
    }

    fn stddev(&self) -> f64 {
        metric::stddev(self.known.max(1), self.sum, self.sum_squares)
    }
}

/// ⌈q·n⌉, from 1 to n. Products that miss a whole number by floating-point error only are that
/// number, or p(95) of 100 samples would be the 96th.
pub(super) fn rank(q: f64, n: u64) -> u64 {
    let exact = q * n as f64;
    let nearest = exact.round();
    let ceiling =
        if (exact - nearest).abs() < 1e-9 * exact.max(1.0) { nearest } else { exact.ceil() };
    (ceiling as u64).clamp(1, n.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trend(values: &[u64], censored: &[u64]) -> Samples {
        let mut trend = Trend::<u32>::default();
        for value in values {
            trend.record(*value);
        }
        for value in censored {
            trend.record_censored(*value);
        }
        Samples::of(&Cell::Trend(Box::new(trend)))
    }

    fn bounds(samples: &Samples, aggregate: Aggregate) -> (f64, f64) {
        let figure = samples.figure(aggregate, 1.0, 1.0).unwrap();
        (figure.low, figure.high)
    }

    #[test]
    fn percentiles_are_the_value_at_the_rank_rounded_up() {
        let samples = trend(&(1..=100).collect::<Vec<_>>(), &[]);
        for (percent, expected) in [(50.0, 50.0), (95.0, 95.0), (99.0, 99.0), (99.9, 100.0)] {
            assert_eq!(bounds(&samples, Aggregate::Percentile(percent)), (expected, expected));
        }
        assert_eq!(bounds(&samples, Aggregate::Percentile(0.0)), (1.0, 1.0));
        assert_eq!(bounds(&samples, Aggregate::Median), (50.0, 50.0));
        assert_eq!(bounds(&trend(&[7], &[]), Aggregate::Percentile(1.0)), (7.0, 7.0));
    }

    #[test]
    fn a_percentile_is_never_above_the_largest_sample_nor_below_its_own() {
        let samples = trend(&[1_000_001; 100], &[]);
        assert_eq!(bounds(&samples, Aggregate::Percentile(99.0)), (1_000_001.0, 1_000_001.0));
        let samples = trend(&[1_000_001, 5_000_000], &[]);
        let (_, median) = bounds(&samples, Aggregate::Median);
        assert!((1_000_001.0..1_001_002.0).contains(&median), "{median}");
    }

    #[test]
    fn censored_samples_leave_upper_figures_open() {
        let values: Vec<u64> = (1..=90).collect();
        let samples = trend(&values, &[200; 10]);
        assert_eq!(bounds(&samples, Aggregate::Percentile(90.0)), (90.0, 90.0));
        assert_eq!(bounds(&samples, Aggregate::Percentile(91.0)), (200.0, f64::INFINITY));
        assert_eq!(bounds(&samples, Aggregate::Max), (200.0, f64::INFINITY));
        let mean = f64::from((1..=90).sum::<u32>() + 2_000) / 100.0;
        assert_eq!(bounds(&samples, Aggregate::Mean), (mean, f64::INFINITY));
        assert_eq!(bounds(&samples, Aggregate::Min), (1.0, 1.0));
        assert_eq!(bounds(&samples, Aggregate::Count), (90.0, 90.0));
        let early = trend(&[50; 9], &[10]);
        assert_eq!(bounds(&early, Aggregate::Min), (10.0, 50.0));
        assert_eq!(bounds(&early, Aggregate::Percentile(10.0)), (10.0, 50.0));
    }

    #[test]
    fn adding_is_the_same_as_measuring_together() {
        let mut sum = trend(&[1, 2, 3], &[9]);
        sum.add(&trend(&[4, 5], &[8]));
        let together = trend(&[1, 2, 3, 4, 5], &[9, 8]);
        for aggregate in [Aggregate::Mean, Aggregate::Min, Aggregate::Max, Aggregate::Median] {
            assert_eq!(sum.figure(aggregate, 1.0, 1.0), together.figure(aggregate, 1.0, 1.0));
        }
        let mut with_empty = Samples::empty(Kind::Trend);
        with_empty.add(&sum);
        assert_eq!(bounds(&with_empty, Aggregate::Min), (1.0, 1.0));
    }

    #[test]
    fn the_other_kinds_have_their_figures() {
        assert_eq!(bounds(&Samples::Counter(30.0), Aggregate::Count), (30.0, 30.0));
        let per_second = Samples::Counter(30.0).figure(Aggregate::Rate, 1.0, 10.0).unwrap();
        assert_eq!((per_second.low, per_second.samples), (3.0, 30));
        let rate = Samples::Rate(Rate { hits: 1, total: 4 });
        assert_eq!(bounds(&rate, Aggregate::Rate), (0.25, 0.25));
        assert_eq!(bounds(&rate, Aggregate::Count), (1.0, 1.0));
        assert_eq!(Samples::empty(Kind::Rate).figure(Aggregate::Rate, 1.0, 1.0), None);
        assert_eq!(Samples::empty(Kind::Gauge).figure(Aggregate::Value, 1.0, 1.0), None);
        assert_eq!(trend(&[], &[]).figure(Aggregate::Mean, 1.0, 1.0), None);
    }

    proptest! {
        #[test]
        fn percentiles_grow_with_q_and_their_bounds_hold_the_truth(
            samples in prop::collection::vec((1_u64..10_000_000, any::<bool>(), 0.1_f64..1.0), 1..200),
            qs in (0.1_f64..100.0, 0.1_f64..100.0),
        ) {
            // Each sample has a true value; a censored one was given up after a part of it.
            let (mut known, mut waited, mut truth) = (Vec::new(), Vec::new(), Vec::new());
            for (value, censored, part) in &samples {
                truth.push(*value);
                if *censored { waited.push((*value as f64 * part) as u64) } else { known.push(*value) }
            }
            truth.sort_unstable();
            let measured = trend(&known, &waited);
            let (q_low, q_high) = (qs.0.min(qs.1), qs.0.max(qs.1));
            let (low_a, high_a) = bounds(&measured, Aggregate::Percentile(q_low));
            let (low_b, high_b) = bounds(&measured, Aggregate::Percentile(q_high));
            prop_assert!(low_a <= low_b && high_a <= high_b);
            prop_assert!(low_a <= high_a && low_b <= high_b);
            let true_value = truth[rank(q_high / 100.0, truth.len() as u64) as usize - 1] as f64;
            prop_assert!(low_b <= true_value * 1.001 + 1.0, "{low_b} {true_value}");
            prop_assert!(high_b >= true_value, "{high_b} {true_value}");
        }

        #[test]
        fn a_censored_sample_more_never_lowers_a_percentile_s_upper_bound(
            known in prop::collection::vec(1_u64..1_000_000, 1..100),
            waited in prop::collection::vec(1_u64..1_000_000, 0..50),
            q in 0.1_f64..100.0,
        ) {
            let fewer = bounds(&trend(&known, &waited), Aggregate::Percentile(q));
            let mut more = waited.clone();
            more.push(1);
            let more = bounds(&trend(&known, &more), Aggregate::Percentile(q));
            prop_assert!(more.1 >= fewer.1);
            prop_assert!(more.0 <= fewer.0, "one that waited 1 can only lower the lower bound");
        }
    }
}
