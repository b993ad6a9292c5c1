//! How fast a series grows, and how sure that is when its neighbours are alike.
//!
//! Memory of a process wanders: a sample is near the one before it, so the textbook interval of a
//! regression, which takes samples for independent, is too narrow by far and finds a leak in every walk.
//!
//! The slope is by least squares. Its variance is that of Andrews and Monahan (1992): residuals are
//! whitened by an autoregression of first order, whose coefficient is corrected for its bias in short
//! series, the long-run variance of what remains is by Bartlett's kernel with Andrews' (1991) bandwidth,
//! and is coloured again. The critical value is that of Kiefer and Vogelsang (2005) for that bandwidth,
//! and no less than Student's for as many independent samples as the series is worth. In simulated
//! autoregressions with coefficients from 0 to 0.9 the 95 % interval covers the truth in 90 to 97 of 100;
//! of short series that wander a great deal, in 83.

use super::line::Line;

/// Samples without which there is no interval.
const FEWEST: usize = 20;
/// Points of a series, at the most; a longer one keeps the means of so many stretches.
const MOST: usize = 1_024;
/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A slope.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Growth per second.
    pub per_second: f64,
    /// 95 % interval; `None` with too few samples for one.
    pub interval: Option<[f64; 2]>,
}

/// A series of evenly spaced samples in bounded memory: when it is full, neighbours become their mean.
#[derive(Clone, Debug)]
pub struct SlopeSeries {
    points: Vec<(f64, f64)>,
    /// Samples of a point.
    stretch: u32,
    /// Sums of the samples of the point that is not full, and how many there are.
    open: (f64, f64, u32),
}

impl Default for SlopeSeries {
    fn default() -> Self {
        Self { points: Vec::new(), stretch: 1, open: (0.0, 0.0, 0) }
    }
}

impl SlopeSeries {
    /// Adds a sample; `at` is in seconds.
    pub fn push(&mut self, at: f64, value: f64) {
        let (times, values, count) = self.open;
        self.open = (times + at, values + value, count + 1);
        if self.open.2 < self.stretch {
            return;
        }
        let (times, values, count) = std::mem::take(&mut self.open);
        self.points.push((times / f64::from(count), values / f64::from(count)));
        if self.points.len() >= MOST {
            let halved = self.points.chunks_exact(2).map(|pair| match pair {
                [a, b] => (f64::midpoint(a.0, b.0), f64::midpoint(a.1, b.1)),
                _ => (0.0, 0.0),
            });
            self.points = halved.collect();
            self.stretch *= 2;
        }
    }

    /// Its slope; `None` with fewer than two instants.
    pub fn slope(&self) -> Option<Slope> {
        slope(&self.points)
    }
}

/// The slope of a series of instants, in seconds, and values.
fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    let line = Line::fit(points)?;
    let times: Vec<f64> = points.iter().map(|point| point.0 - line.centre).collect();
    let residuals: Vec<f64> = points.iter().map(|(time, value)| value - line.at(*time)).collect();
    let (per_second, spread) = (line.slope, line.spread);
    let interval = (points.len() >= FEWEST).then(|| {
        let half = half_width(&times, &residuals, spread);
        [per_second - half, per_second + half]
    });
    Some(Slope { per_second, interval })
}

fn half_width(times: &[f64], residuals: &[f64], spread: f64) -> f64 {
    let n = times.len() as f64;
    let plain = correlation(residuals);
    let rho = (plain + (1.0 + 4.0 * plain) / n).clamp(-0.9, 0.97);
    let whitened = residuals.windows(2).zip(&times[1..]).map(|(pair, time)| match pair {
        [before, now] => time * rho.mul_add(-before, *now),
        _ => 0.0,
    });
    let scores: Vec<f64> = whitened.collect();
    let m = scores.len() as f64;
    let phi = correlation(&scores).clamp(-0.9, 0.9);
    let alpha = 4.0 * phi * phi / ((1.0 - phi).powi(2) * (1.0 + phi).powi(2));
    let bandwidth = (1.1447 * (alpha * m).cbrt()).min(m / 4.0).floor();
    let mut variance = covariance(&scores, 0);
    for lag in 1..=bandwidth as usize {
        variance += 2.0 * (1.0 - lag as f64 / (bandwidth + 1.0)) * covariance(&scores, lag);
    }
    let coloured = variance.max(0.0) * n / (n - 2.0) / (1.0 - rho).powi(2);
    let b = (bandwidth + 1.0) / m;
    let fixed_b = Z + 2.9694 * b + 0.4160 * b * b - 0.5324 * b.powi(3);
    let worth = (n * (1.0 - rho) / (1.0 + rho) - 2.0).max(1.0);
    let student = Z * (1.0 + (Z * Z + 1.0) / (4.0 * worth));
    coloured.sqrt() / spread * fixed_b.max(student)
}

/// Of neighbours.
fn correlation(values: &[f64]) -> f64 {
    let Some((_, before)) = values.split_last() else { return 0.0 };
    let spread: f64 = before.iter().map(|value| value * value).sum();
    if spread > 0.0 { covariance(values, 1) / spread } else { 0.0 }
}

fn covariance(values: &[f64], lag: usize) -> f64 {
    values.iter().zip(&values[lag.min(values.len())..]).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    /// How many of a hundred intervals cover the truth, for an autoregression around a line.
    fn covered(rho: f64, n: usize) -> f64 {
        const RUNS: u32 = 500;
        let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(7);
        let mut normal = || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let truth = 0.01;
        let mut hits = 0;
        for _ in 0..RUNS {
            let mut value = normal() / (1.0 - rho * rho).sqrt();
            let points: Vec<_> = (0..n)
                .map(|index| {
                    value = rho * value + normal();
                    (index as f64, value + truth * index as f64)
                })
                .collect();
            let [low, high] = slope(&points).unwrap().interval.unwrap();
            hits += u32::from(low <= truth && truth <= high);
        }
        f64::from(hits) / f64::from(RUNS) * 100.0
    }

    #[test]
    fn the_interval_covers_the_truth_however_alike_neighbours_are() {
        for rho in [0.0, 0.5, 0.9] {
            for n in [60, 300] {
                let covered = covered(rho, n);
                assert!((88.0..=99.0).contains(&covered), "{rho} {n}: {covered} of 100");
            }
        }
    }

    #[test]
    fn a_line_is_found_exactly_and_a_short_one_without_an_interval() {
        let line: Vec<_> =
            (0..100).map(|index| (f64::from(index), 3.0 * f64::from(index))).collect();
        let found = slope(&line).unwrap();
        assert!((found.per_second - 3.0).abs() < 1e-9, "{found:?}");
        let [low, high] = found.interval.unwrap();
        assert!(high - low < 1e-6, "{found:?}");
        assert_eq!(slope(&line[..10]).unwrap().interval, None);
        assert_eq!(slope(&line[..1]), None);
        assert_eq!(slope(&[(1.0, 2.0), (1.0, 3.0)]), None);
    }

    #[test]
    fn a_long_series_keeps_its_slope_in_bounded_memory() {
        let mut series = SlopeSeries::default();
        for index in 0..100_000 {
            series.push(f64::from(index) / 10.0, f64::from(index));
        }
        assert!(series.points.len() < MOST);
        assert!((series.slope().unwrap().per_second - 10.0).abs() < 1e-6);
    }
}
