//! Gunther's Universal Scalability Law: X(N) = λN / (1 + σ(N − 1) + κN(N − 1)).
//!
//! λ is the throughput of one in the system, σ what they wait for each other (contention), κ what it costs
//! them to agree (coherence). Neither is ever negative. The law speaks of N ≥ 1; below it, where an open
//! system is empty most of the time, nobody meets anybody: there X = λN.
//!
//! N/X is linear in 1/λ, σ/λ and κ/λ, so the fit is a least-squares one with coefficients of at least 0, of
//! relative errors. With three coefficients the sets that may be 0 are few enough to try them all.

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// Draws of the bootstrap.
const DRAWS: usize = 1_000;

/// The law of a system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usl {
    pub(super) lambda: f64,
    pub(super) sigma: f64,
    pub(super) kappa: f64,
}

/// The one-second blocks of a level: how many were in the system, and how many left it per second.
pub(super) type Blocks = Vec<(f64, f64)>;

impl Usl {
    /// Fitted to levels (N, X), all above 0, at least three of them.
    pub(super) fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let positive = |(n, x): &(f64, f64)| *n > 0.0 && *x > 0.0 && n.is_finite() && x.is_finite();
        if points.len() < 3 || !points.iter().all(positive) {
            return None;
        }
        // Each row says that N/X, as the law has it, is 1 in units of what was measured.
        let row = |(n, x): &(f64, f64)| {
            let (others, weight) = ((n - 1.0).max(0.0), x / n);
            [weight, weight * others, weight * n * others]
        };
        let rows: Vec<[f64; 3]> = points.iter().map(row).collect();
        let sets: [&[usize]; 4] = [&[0], &[0, 1], &[0, 2], &[0, 1, 2]];
        let fits = sets.iter().filter_map(|set| {
            let solved = least_squares(&rows, set)?;
            let inside = solved[0] > 0.0 && solved.iter().all(|one| *one >= 0.0 && one.is_finite());
            let miss = |row: &[f64; 3]| {
                let sum: f64 = row.iter().zip(solved).map(|(a, b)| a * b).sum();
                (sum - 1.0).powi(2)
            };
            inside.then(|| (rows.iter().map(miss).sum::<f64>(), solved))
        });
        let (_, [a, b, c]) = fits.min_by(|one, other| one.0.total_cmp(&other.0))?;
        Some(Self { lambda: 1.0 / a, sigma: b / a, kappa: c / a })
    }

    /// X(N)
    pub(super) fn throughput(&self, n: f64) -> f64 {
        let others = (n - 1.0).max(0.0);
        self.lambda * n / (self.kappa * n).mul_add(others, self.sigma.mul_add(others, 1.0))
    }

    /// N* and X*, beyond which more in the system get less done; `None` where there is no such point.
    pub(super) fn peak(&self) -> Option<(f64, f64)> {
        if self.kappa <= 0.0 {
            return None;
        }
        let n = ((1.0 - self.sigma).max(0.0) / self.kappa).sqrt().max(1.0);
        Some((n, self.throughput(n)))
    }

    /// What throughput comes near to and never exceeds, without a peak.
    pub(super) fn ceiling(&self) -> Option<f64> {
        (self.kappa <= 0.0 && self.sigma > 0.0).then(|| self.lambda / self.sigma)
    }
}

/// The coefficients of some columns that bring their sum nearest to 1; 0 for the others.
fn least_squares(rows: &[[f64; 3]], set: &[usize]) -> Option<[f64; 3]> {
    // Columns differ by orders of magnitude: each is brought to length 1 first.
    let length = |column: usize| rows.iter().map(|row| row[column].powi(2)).sum::<f64>().sqrt();
    let lengths = [length(0), length(1), length(2)];
    if set.iter().any(|column| lengths[*column] <= 0.0) {
        return None;
    }
    let at = |row: &[f64; 3], column: usize| row[column] / lengths[column];
    let mut system = [[0.0; 4]; 3];
    for (line, one) in set.iter().enumerate() {
        for (place, other) in set.iter().enumerate() {
            system[line][place] = rows.iter().map(|row| at(row, *one) * at(row, *other)).sum();
        }
        system[line][3] = rows.iter().map(|row| at(row, *one)).sum();
    }
    let size = set.len();
    for pivot in 0..size {
        let best = (pivot..size)
            .max_by(|a, b| system[*a][pivot].abs().total_cmp(&system[*b][pivot].abs()))?;
        system.swap(pivot, best);
        if system[pivot][pivot].abs() < 1e-12 {
            return None;
        }
        let pivotal = system[pivot];
        for (line, other) in system.iter_mut().enumerate().take(size) {
            if line != pivot {
                let factor = other[pivot] / pivotal[pivot];
                for (mine, its) in other.iter_mut().zip(pivotal) {
                    *mine -= factor * its;
                }
            }
        }
    }
    let mut solved = [0.0; 3];
    for (line, column) in set.iter().enumerate() {
        solved[*column] = system[line][3] / system[line][line] / lengths[*column];
    }
    Some(solved)
}

/// The mean of a level's blocks.
pub(super) fn mean(blocks: &Blocks) -> (f64, f64) {
    let count = blocks.len().max(1) as f64;
    let sum = blocks.iter().fold((0.0, 0.0), |sum, block| (sum.0 + block.0, sum.1 + block.1));
    (sum.0 / count, sum.1 / count)
}

/// The means of the levels, with blocks drawn anew from each.
pub(super) fn drawn(levels: &[Blocks], seed: u64) -> Vec<Vec<(f64, f64)>> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut draw = |blocks: &Blocks| {
        let again = (0..blocks.len()).map(|_| blocks[random.random_range(0..blocks.len())]);
        mean(&again.collect())
    };
    (0..DRAWS).map(|_| levels.iter().map(&mut draw).collect()).collect()
}

/// 95 % of what was drawn, spread about the estimate as widely as so few blocks ask for (Hesterberg's
/// expanded percentile interval).
pub(super) fn interval(estimate: f64, mut values: Vec<f64>, blocks: usize) -> Option<[f64; 2]> {
    values.retain(|value| value.is_finite());
    if values.len() < DRAWS / 2 || blocks < 2 {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    let n = blocks as f64;
    let student = StudentsT::new(0.0, 1.0, n - 1.0).ok()?.inverse_cdf(0.975);
    let wider = student / 1.959_964 * (n / (n - 1.0)).sqrt();
    let end = |value: f64| (value - estimate).mul_add(wider, estimate);
    Some([end(at(0.025)).min(estimate).max(0.0), end(at(0.975)).max(estimate)])
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution as _, Normal};

    use super::*;

    fn levels(law: Usl, ns: &[f64], blocks: usize, noise: f64, seed: u64) -> Vec<Blocks> {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let normal = Normal::new(1.0, noise).unwrap();
        let level = |n: &f64| {
            let mut block = || (*n, law.throughput(*n) * normal.sample(&mut random).max(0.01));
            (0..blocks).map(|_| block()).collect()
        };
        ns.iter().map(level).collect()
    }

    #[test]
    fn a_law_without_noise_is_found_exactly() {
        for (lambda, sigma, kappa) in [
            (100.0, 0.0, 0.0),
            (500.0, 1.0, 0.0),
            (20.0, 0.05, 1e-4),
            (7.0, 0.0, 2e-3),
            (1.0, 0.2, 0.0),
        ] {
            let law = Usl { lambda, sigma, kappa };
            let points: Vec<_> =
                [0.2, 0.7, 1.0, 3.0, 10.0, 40.0, 200.0].map(|n| (n, law.throughput(n))).into();
            let found = Usl::fit(&points).unwrap();
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * b.max(1e-3);
            assert!(near(found.lambda, lambda), "{found:?} {law:?}");
            assert!(near(found.sigma, sigma) && near(found.kappa, kappa), "{found:?} {law:?}");
        }
        assert_eq!(Usl::fit(&[(1.0, 1.0), (2.0, 2.0)]), None);
        assert_eq!(Usl::fit(&[(1.0, 1.0), (2.0, 0.0), (3.0, 1.0)]), None);
    }

    /// SPEC SDM91 on a SPARCcenter 2000, the example of Gunther's "Guerrilla Capacity Planning" and of the R
    /// package `usl`, whose summary gives σ 0.0277 ± 0.0091, κ 1.044e-4 ± 0.199e-4 (standard errors) and a
    /// peak of 1 884 at 96.5. It fits absolute errors, this one relative ones: within two standard errors.
    #[test]
    fn a_published_example_has_its_published_law() {
        let points = [
            (1.0, 64.9),
            (18.0, 995.9),
            (36.0, 1_652.4),
            (72.0, 1_853.2),
            (108.0, 1_828.9),
            (144.0, 1_775.0),
            (216.0, 1_702.2),
        ];
        let found = Usl::fit(&points).unwrap();
        assert!((found.sigma - 0.027_73).abs() < 2.0 * 0.009_12, "{found:?}");
        assert!((found.kappa - 1.044e-4).abs() < 2.0 * 0.199e-4, "{found:?}");
        let (n, x) = found.peak().unwrap();
        assert!((n / 96.52 - 1.0).abs() < 0.05 && (x / 1_884.0 - 1.0).abs() < 0.05, "{n} {x}");
    }

    #[test]
    fn the_intervals_hold_the_truth_in_more_than_nine_of_ten_runs() {
        let ns = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
        for law in [
            Usl { lambda: 100.0, sigma: 0.05, kappa: 5e-4 },
            Usl { lambda: 1_000.0, sigma: 0.02, kappa: 2e-3 },
        ] {
            let (mut sigma, mut kappa, runs) = (0, 0, 200);
            for seed in 0..runs {
                let blocks = levels(law, &ns, 10, 0.05, seed);
                let points: Vec<_> = blocks.iter().map(mean).collect();
                let found = Usl::fit(&points).unwrap();
                let again: Vec<_> =
                    drawn(&blocks, seed).iter().filter_map(|it| Usl::fit(it)).collect();
                let of = |value: fn(&Usl) -> f64| {
                    interval(value(&found), again.iter().map(value).collect(), 10).unwrap()
                };
                let holds = |[low, high]: [f64; 2], truth: f64| low <= truth && truth <= high;
                sigma += u32::from(holds(of(|it| it.sigma), law.sigma));
                kappa += u32::from(holds(of(|it| it.kappa), law.kappa));
            }
            let least = (runs as f64 * 0.9) as u32;
            assert!(sigma >= least && kappa >= least, "{law:?}: {sigma} {kappa} of {runs}");
        }
    }
}
