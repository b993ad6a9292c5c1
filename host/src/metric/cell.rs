//! What a series holds: a sum, a gauge, a share, or a distribution with its censored samples.

use hdrhistogram::{Counter as Width, Histogram};

use super::Kind;

/// Significant digits of every histogram: the error of a percentile is at most 0.1 %.
const DIGITS: u8 = 3;

/// The largest value that is told apart (146 years in nanoseconds); a bucket beyond it would reach
/// past the end of `u64`.
pub(super) const LARGEST: u64 = u64::MAX >> 2;

/// The samples of one series.
#[derive(Clone, Debug)]
pub enum Cell<W: Width> {
    /// The sum.
    Counter(f64),
    /// Last, extremes and average.
    Gauge(Gauge),
    /// Non-zero samples among all.
    Rate(Rate),
    /// A distribution.
    Trend(Box<Trend<W>>),
}

/// The samples of a gauge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauge {
    /// The latest sample.
    pub last: f64,
    /// When it was taken, nanoseconds on the run's timeline.
    pub last_at: u64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The sum, for the average.
    pub sum: f64,
    /// How many.
    pub count: u64,
    /// Sums for the least-squares slope over time in seconds: Σt, Σt², Σtv.
    pub slope_sums: [f64; 3],
}

/// The samples of a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Samples that were not zero.
    pub hits: u64,
    /// All samples.
    pub total: u64,
}

/// The samples of a trend, in the steps of its metric's unit.
#[derive(Clone, Debug)]
pub struct Trend<W: Width> {
    /// Samples whose value is known.
    pub values: Histogram<W>,
    /// Censored samples: what each had waited when it was given up. Its true value is at least that.
    pub censored: Histogram<W>,
    /// Exact sum of the known values.
    pub sum: f64,
    /// Exact sum of their squares.
    pub sum_squares: f64,
    /// Exact smallest known value; `u64::MAX` if there is none.
    pub min: u64,
    /// Exact largest known value.
    pub max: u64,
}

impl Gauge {
    /// Adds a sample taken at `at` nanoseconds on the run's timeline.
    pub fn sample(&mut self, at: u64, value: f64) {
        let seconds = at as f64 / 1e9;
        let [t, tt, tv] = self.slope_sums;
        let slope_sums = [t + seconds, seconds.mul_add(seconds, tt), seconds.mul_add(value, tv)];
        self.merge(&Self {
            last: value,
            last_at: at,
            min: value,
            max: value,
            sum: value,
            count: 1,
            slope_sums: [0.0; 3],
        });
        self.slope_sums = slope_sums;
    }

    /// Adds the samples of another.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        if other.last_at >= self.last_at {
            (self.last, self.last_at) = (other.last, other.last_at);
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count += other.count;
        for (mine, theirs) in self.slope_sums.iter_mut().zip(other.slope_sums) {
            *mine += theirs;
        }
    }

    /// The average; `None` without samples.
    pub fn avg(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// Least-squares slope per second; `None` with fewer than two instants.
    pub fn slope(&self) -> Option<f64> {
        let n = self.count as f64;
        let [t, tt, tv] = self.slope_sums;
        let spread = n.mul_add(tt, -(t * t));
        (self.count > 1 && spread > 0.0).then(|| n.mul_add(tv, -(t * self.sum)) / spread)
    }
}

impl Rate {
    /// The share; `None` without samples.
    pub fn share(&self) -> Option<f64> {
        (self.total > 0).then(|| self.hits as f64 / self.total as f64)
    }
}

impl<W: Width> Default for Trend<W> {
    fn default() -> Self {
        Self {
            values: histogram(),
            censored: histogram(),
            sum: 0.0,
            sum_squares: 0.0,
            min: u64::MAX,
            max: 0,
        }
    }
}

fn histogram<W: Width>() -> Histogram<W> {
    // Three digits and automatic range are always valid, so the fallback is never reached.
    Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("three digits are valid"))
}

impl<W: Width> Trend<W> {
    /// Adds a sample whose value is known.
    pub fn record(&mut self, value: u64) {
        let value = value.min(LARGEST);
        put(&mut self.values, value, W::one());
        let exact = value as f64;
        self.sum += exact;
        self.sum_squares = exact.mul_add(exact, self.sum_squares);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds a sample of which is known only that it is at least `value`.
    pub fn record_censored(&mut self, value: u64) {
        put(&mut self.censored, value.min(LARGEST), W::one());
    }

    /// Adds the samples of another, whatever the width of its counts.
    pub fn merge<V: Width>(&mut self, other: &Trend<V>) {
        add(&mut self.values, &other.values);
        add(&mut self.censored, &other.censored);
        self.sum += other.sum;
        self.sum_squares += other.sum_squares;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Known and censored samples together.
    pub fn count(&self) -> u64 {
        self.values.len() + self.censored.len()
    }

    /// Mean of the known values.
    pub fn mean(&self) -> Option<f64> {
        (!self.values.is_empty()).then(|| self.sum / self.values.len() as f64)
    }

    /// Standard deviation of the known values (of the population).
    pub fn stddev(&self) -> Option<f64> {
        let n = self.values.len();
        (n > 0).then(|| stddev(n, self.sum, self.sum_squares))
    }
}

/// Standard deviation (of the population) of `n` samples, at least one, from their sum and the sum of
/// their squares.
pub fn stddev(n: u64, sum: f64, sum_squares: f64) -> f64 {
    let n = n as f64;
    let mean = sum / n;
    mean.mul_add(-mean, sum_squares / n).max(0.0).sqrt()
}

/// Counts a value, growing the histogram to it. (`saturating_record` never grows one: it would clamp
/// every value to the two microseconds that an empty histogram starts with.)
pub(super) fn put<W: Width>(into: &mut Histogram<W>, value: u64, count: W) {
    if into.record_n(value, count).is_err() {
        // Only where the memory of a histogram cannot be addressed: kept at the end of its range.
        into.saturating_record_n(value, count);
    }
}

fn add<W: Width, V: Width>(into: &mut Histogram<W>, from: &Histogram<V>) {
    for step in from.iter_recorded() {
        let count = step.count_since_last_iteration();
        let value = step.value_iterated_to();
        // Counts only ever widen, from a shard's to the run's; the fallback loses nothing there.
        let count = W::from_u64(count).unwrap_or_else(W::one);
        put(into, value, count);
    }
}

impl<W: Width> Cell<W> {
    /// An empty cell for a metric of this kind.
    pub fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(0.0),
            Kind::Gauge => Self::Gauge(Gauge::default()),
            Kind::Rate => Self::Rate(Rate::default()),
            Kind::Trend => Self::Trend(Box::default()),
        }
    }

    /// Adds the samples of another cell of the same kind.
    pub fn merge<V: Width>(&mut self, other: &Cell<V>) {
        match (self, other) {
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

    /// How many samples it holds; a counter's sum counts as one.
    pub fn samples(&self) -> u64 {
        match self {
            Self::Counter(_) => 1,
            Self::Gauge(gauge) => gauge.count,
            Self::Rate(rate) => rate.total,
            Self::Trend(trend) => trend.count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_knows_its_slope() {
        let mut gauge = Gauge::default();
        for second in 0..10_u32 {
            gauge.sample(u64::from(second) * 1_000_000_000, f64::from(second).mul_add(3.0, 7.0));
        }
        assert!((gauge.slope().unwrap() - 3.0).abs() < 1e-9);
        assert!((gauge.avg().unwrap() - 20.5).abs() < 1e-9);
        assert_eq!((gauge.min, gauge.max, gauge.last), (7.0, 34.0, 34.0));
    }

    #[test]
    fn a_histogram_grows_to_any_value_and_merging_keeps_it() {
        let mut total = Trend::<u64>::default();
        for value in [1, 5_000, 10_000_000, 3_600_000_000_000, u64::MAX] {
            let mut part = Trend::<u32>::default();
            part.record(value);
            part.record_censored(value);
            total.merge(&part);
            let value = value.min(LARGEST);
            for histogram in [&total.values, &total.censored] {
                assert!(histogram.max() >= value, "{value} became {}", histogram.max());
                assert!(histogram.max() as f64 <= value as f64 * 1.001);
            }
            assert_eq!(total.max, value);
        }
        assert_eq!(total.count(), 10);
    }

    #[test]
    fn merged_trends_hold_every_sample_and_keep_censored_ones_apart() {
        let mut total = Trend::<u64>::default();
        for base in [0_u64, 1_000] {
            let mut part = Trend::<u32>::default();
            (1..=1_000).for_each(|value| part.record(base + value));
            part.record_censored(5_000_000);
            total.merge(&part);
        }
        assert_eq!((total.values.len(), total.censored.len(), total.count()), (2_000, 2, 2_002));
        assert_eq!((total.min, total.max), (1, 2_000));
        assert!((total.mean().unwrap() - 1_000.5).abs() < 1e-9);
        // Of the numbers from 1 to n: √((n² − 1) / 12).
        assert!((total.stddev().unwrap() - (3_999_999.0_f64 / 12.0).sqrt()).abs() < 1e-6);
        assert_eq!(Trend::<u64>::default().stddev(), None);
        assert_eq!(total.values.value_at_quantile(0.5), 1_000);
    }
}
