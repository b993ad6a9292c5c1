//! The slope of a course and how sure it is: least squares, and a 95 % interval by block bootstrap.
//!
//! What is measured each second depends on the second before (memory, queues, caches), so that the usual
//! interval of a regression would be far too narrow. Here whole blocks of residuals are drawn anew (the
//! circular block bootstrap of Politis and Romano), as long as the residuals remember: the length is that
//! which Andrews' rule gives for their lag-1 autocorrelation, corrected for the bias that fitting a line
//! gives it. The spread of the slopes is widened by the Student quantile of as many blocks as there are,
//! because few blocks tell little of their own spread. Seeded, so that one run has one interval.

use rand::SeedableRng as _;
use rand_pcg::Pcg64Mcg;
use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::blocks;

/// Points below which no slope is claimed.
pub(super) const LEAST_POINTS: usize = crate::plan::GROWTH_SECONDS;
/// Draws of the bootstrap.
const DRAWS: usize = 1_000;

/// A slope.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slope {
    /// Per unit of x; as a share of the fitted first value, where that was asked for.
    pub(super) value: f64,
    /// 95 %
    pub(super) interval: [f64; 2],
}

/// The slope of points in the order of time, at least [`LEAST_POINTS`] of them at more than one x.
/// `relative`: divided by the fitted value at the first point, which must not be 0.
pub(super) fn slope(points: &[(f64, f64)], relative: bool, seed: u64) -> Option<Slope> {
    let line = Line::fit(points).filter(|_| points.len() >= LEAST_POINTS)?;
    let value = line.value(0.0, 0.0, relative)?;
    let residuals: Vec<f64> = points.iter().map(|(x, y)| y - line.at(*x)).collect();
    // Residuals of a line look less alike than the noise was, by about (2 + 4ρ)/n.
    let (n, length) = (points.len(), blocks::length(&residuals, [2.0, 4.0]));
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut drawn = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        let (mut tilt, mut shift) = (0.0, 0.0);
        blocks::draw(&mut random, n, length, |place, index| {
            tilt += (points[place].0 - line.centre) * residuals[index];
            shift += residuals[index];
        });
        drawn.extend(line.value(tilt / line.spread, shift / n as f64, relative));
    }
    let blocks = n as f64 / length as f64;
    // A line takes two of the points' freedoms; of their blocks, as many.
    let freedom = (blocks - 2.0).max(1.0);
    let lost = (n as f64 / (n as f64 - 2.0)).sqrt();
    let half =
        StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(0.975) * lost * deviation(&drawn)?;
    Some(Slope { value, interval: [value - half, value + half] })
}

/// The line of least squares through points.
pub(crate) struct Line {
    pub(crate) slope: f64,
    /// Mean of x.
    pub(super) centre: f64,
    /// Mean of y.
    level: f64,
    /// Sum of the squared distances from the centre.
    pub(super) spread: f64,
    /// x of the first point.
    first: f64,
}

impl Line {
    /// `None` where all x are the same, there are none, or one is no number.
    pub(crate) fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let n = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (centre, level) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|(x, _)| (x - centre).powi(2)).sum();
        let tilt: f64 = points.iter().map(|(x, y)| (x - centre) * (y - level)).sum();
        let slope = tilt / spread;
        let first = points.first()?.0;
        (spread > 0.0 && slope.is_finite()).then_some(Self { slope, centre, level, spread, first })
    }

    pub(super) fn at(&self, x: f64) -> f64 {
        self.slope.mul_add(x - self.centre, self.level)
    }

    /// What the slope would be with this much added to it, and this much to the level.
    fn value(&self, tilt: f64, shift: f64, relative: bool) -> Option<f64> {
        let slope = self.slope + tilt;
        let value = if relative {
            slope / slope.mul_add(self.first - self.centre, self.level + shift)
        } else {
            slope
        };
        value.is_finite().then_some(value)
    }
}

fn deviation(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    if values.len() < DRAWS / 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    Some((values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution as _, StandardNormal};

    use super::*;

    /// A line with noise that remembers: e(t) = memory × e(t−1) + normal.
    fn noisy(slope: f64, memory: f64, n: usize, seed: u64) -> Vec<(f64, f64)> {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut normal = || -> f64 { StandardNormal.sample(&mut random) };
        let mut noise = normal() / (1.0 - memory * memory).sqrt();
        let point = |index: usize| {
            noise = memory.mul_add(noise, normal());
            (index as f64, slope.mul_add(index as f64, 100.0 + noise))
        };
        (0..n).map(point).collect()
    }

    #[test]
    fn the_interval_holds_the_true_slope_in_more_than_nine_of_ten_runs() {
        for (memory, n) in [(0.0, 30), (0.0, 120), (0.5, 60), (0.8, 120), (0.8, 600)] {
            for slope in [0.0, 0.3] {
                let runs = 300;
                let holds = (0..runs).filter(|seed| {
                    let found =
                        super::slope(&noisy(slope, memory, n, *seed), false, *seed).unwrap();
                    (found.interval[0]..=found.interval[1]).contains(&slope)
                });
                let share = holds.count() as f64 / runs as f64;
                assert!(share >= 0.90, "memory {memory}, {n} points, slope {slope}: {share}");
            }
        }
    }

    #[test]
    fn the_interval_is_no_wider_than_it_has_to_be() {
        // White noise: the interval of a textbook is ± 1.96 / √Σ(x − x̄)².
        let n = 300;
        let spread: f64 = (0..n).map(|x| (f64::from(x) - 149.5).powi(2)).sum();
        let widths = (0..50).map(|seed| {
            let [low, high] =
                slope(&noisy(0.1, 0.0, n as usize, seed), false, seed).unwrap().interval;
            (high - low) / 2.0
        });
        let mean = widths.sum::<f64>() / 50.0;
        let textbook = 1.96 / spread.sqrt();
        assert!((0.9..1.4).contains(&(mean / textbook)), "{mean} {textbook}");
    }

    #[test]
    fn a_line_without_noise_is_found_exactly_and_twice_the_same() {
        let line: Vec<_> =
            (0..20).map(|x| (f64::from(x), f64::from(x).mul_add(2.0, 50.0))).collect();
        let found = slope(&line, false, 1).unwrap();
        assert!((found.value - 2.0).abs() < 1e-12, "{found:?}");
        assert!(found.interval.iter().all(|end| (end - 2.0).abs() < 1e-9), "{found:?}");
        assert!((slope(&line, true, 1).unwrap().value - 0.04).abs() < 1e-12);
        let noisy = noisy(0.3, 0.5, 100, 7);
        assert_eq!(slope(&noisy, false, 3), slope(&noisy, false, 3));
    }

    #[test]
    fn too_little_is_no_slope() {
        let few: Vec<_> = (0..9).map(|x| (f64::from(x), 1.0)).collect();
        assert_eq!(slope(&few, false, 0), None);
        assert_eq!(slope(&[(1.0, 2.0); 30], false, 0), None, "all at one x");
        let zero: Vec<_> = (0..30).map(|x| (f64::from(x), 0.0)).collect();
        assert_eq!(slope(&zero, true, 0), None, "a share of nothing");
        let broken = vec![(0.0, f64::NAN); 30];
        assert_eq!(slope(&broken, false, 0), None);
    }
}
