//! Mann-Whitney U: whether the runs of one set tend to be higher than those of another. H. B. Mann and
//! D. R. Whitney, "On a test of whether one of two random variables is stochastically larger than the other"
//! (1947).
//!
//! Exact, ties included, by counting all arrangements of the ranks, up to [`EXACT`] runs together; beyond it
//! normal, with the variance corrected for ties and for continuity (Lehmann, "Nonparametrics", 1975).

use statrs::distribution::ContinuousCDF as _;

use super::{
    normal,
    ranks::{self, EXACT},
};

/// How probable two sets as different as these are if they are of one distribution; two-sided.
pub(super) fn p_value(base: &[f64], new: &[f64]) -> f64 {
    let (n, m) = (new.len(), base.len());
    if n == 0 || m == 0 {
        return 1.0;
    }
    let all: Vec<f64> = new.iter().chain(base).copied().collect();
    let ranks = ranks::of(&all);
    let sum: u64 = ranks.doubled[..n].iter().sum();
    if all.len() <= EXACT {
        return ranks::two_sided(&ranks::sums(&ranks.doubled, Some(n)), sum);
    }
    let (n, m) = (n as f64, m as f64);
    let both = n + m;
    let distance = (sum as f64 / 2.0 - n * (both + 1.0) / 2.0).abs();
    let variance = n * m / 12.0 * (both + 1.0 - ranks.ties / (both * (both - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (distance - 0.5).max(0.0) / variance.sqrt();
    (2.0 * normal().sf(z)).min(1.0)
}

/// Which of the ordered differences between two sets ends an interval that holds the shift with at least
/// 1 − 2 × `tail`, counted from either end; 0 where the sets are too small for one.
pub(super) fn order(n: usize, m: usize, tail: f64) -> usize {
    if n + m <= EXACT {
        let untied: Vec<u64> = (1..=n + m).map(|rank| rank as u64).collect();
        let ways = ranks::sums(&untied, Some(n));
        // The smallest sum of ranks is n(n+1)/2, where U is 0.
        return ranks::order(&ways[n * (n + 1) / 2..], tail);
    }
    let (n, m) = (n as f64, m as f64);
    let spread = (n * m * (n + m + 1.0) / 12.0).sqrt();
    (n * m / 2.0 - normal().inverse_cdf(1.0 - tail) * spread).floor().max(0.0) as usize
}

/// The smallest p-value that sets of these sizes can have.
pub(super) fn least_p(n: usize, m: usize) -> f64 {
    let (few, all) = (n.min(m), n + m);
    let arrangements = (0..few).fold(1.0, |ways, i| ways * (all - i) as f64 / (i + 1) as f64);
    (2.0 / arrangements).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_values_are_those_of_the_tables() {
        // The largest U that is significant at 0.05, two-sided (Siegel, "Nonparametric Statistics", 1956,
        // and every textbook since).
        let table = [
            (4, 4, 0),
            (3, 5, 0),
            (5, 5, 2),
            (5, 8, 6),
            (6, 6, 5),
            (7, 7, 8),
            (8, 8, 13),
            (5, 10, 8),
            (9, 9, 17),
            (10, 10, 23),
            (20, 20, 127),
        ];
        for (n, m, critical) in table {
            assert_eq!(order(n, m, 0.025), critical + 1, "{n} and {m}");
        }
        assert_eq!(order(3, 3, 0.025), 0, "three against three show nothing at 95 %");
    }

    #[test]
    fn the_permeability_of_membranes() {
        // Hollander and Wolfe, "Nonparametric Statistical Methods" (1973), p. 69: one-sided p 0.1272.
        let term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let early = [1.15, 0.88, 0.90, 0.74, 1.21];
        assert!((p_value(&early, &term) - 2.0 * 0.1272).abs() < 2e-4);
        assert_eq!(p_value(&early, &term), p_value(&term, &early));
    }

    #[test]
    fn ties_are_counted_and_the_normal_law_continues_the_exact_one() {
        // By hand: of the 6 arrangements of {1, 1, 2, 2} into two pairs, 1 is as low as {1, 1}.
        assert!((p_value(&[1.0, 1.0], &[2.0, 2.0]) - 2.0 / 6.0).abs() < 1e-12);
        assert_eq!(p_value(&[5.0; 4], &[5.0; 4]), 1.0);
        assert_eq!(p_value(&[5.0; 40], &[5.0; 40]), 1.0);
        assert_eq!(p_value(&[], &[1.0]), 1.0);
        let run = |count: u32, shift: f64| -> Vec<f64> {
            (0..count).map(|i| f64::from(i * 37 % 101) + shift).collect()
        };
        let (exact, normal) =
            (p_value(&run(25, 0.0), &run(25, 17.0)), p_value(&run(26, 0.0), &run(25, 17.0)));
        assert!((exact - normal).abs() < 0.03, "{exact} {normal}");
        assert!((least_p(5, 5) - 2.0 / 252.0).abs() < 1e-12);
    }
}
