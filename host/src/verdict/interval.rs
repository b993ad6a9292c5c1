//! How sure a figure is: 95 % intervals, and how many samples a percentile takes.
//!
//! Percentiles by order statistics (binomial, no assumption on the distribution), means by the normal
//! approximation, shares by Wilson's score. They speak of sampling error within one run only; runs
//! differ by more than that (SEMANTICS §8).

use statrs::distribution::{Binomial, DiscreteCDF};

use crate::plan::threshold::Comparison;

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Up to this many samples the binomial is computed exactly, beyond it is normal to four digits.
const EXACT_BELOW: u64 = 100_000;

/// Ranks (from 1) of the order statistics between which the `q` quantile lies with 95 %; `None` where
/// the samples reach no such rank.
pub(super) fn percentile_ranks(n: u64, q: f64) -> Option<(u64, u64)> {
    if n == 0 || q <= 0.0 || q >= 1.0 {
        return None;
    }
    let (low, high) = if n <= EXACT_BELOW {
        let binomial = Binomial::new(q, n).ok()?;
        (binomial.inverse_cdf(0.025), binomial.inverse_cdf(0.975) + 1)
    } else {
        let (mean, spread) = (n as f64 * q, Z * (n as f64 * q * (1.0 - q)).sqrt());
        ((mean - spread).floor().max(0.0) as u64, (mean + spread).ceil() as u64 + 1)
    };
    (low >= 1 && high <= n).then_some((low, high))
}

/// 95 % interval of a mean.
pub(super) fn mean(n: u64, mean: f64, stddev: f64) -> Option<[f64; 2]> {
    if n < 2 {
        return None;
    }
    let n = n as f64;
    // `stddev` is of the population; the sample's is larger by √(n/(n−1)).
    let half = Z * stddev / (n - 1.0).sqrt();
    Some([mean - half, mean + half])
}

/// 95 % interval of a share (Wilson's score).
pub(super) fn share(hits: u64, total: u64) -> Option<[f64; 2]> {
    if total == 0 {
        return None;
    }
    let (n, p) = (total as f64, hits as f64 / total as f64);
    let scale = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At none and at all the interval ends there exactly; arithmetic alone leaves 1e-19 beside it.
    let low = if hits == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if hits >= total { 1.0 } else { (centre + half).min(1.0) };
    Some([low, high])
}

/// Samples without which a percentile cannot be shown at 95 %: even if all of them lay on the right
/// side of the limit, chance alone would do that more often than one time in twenty.
///
/// An upper limit on p(q) is shown by samples below it: q^n ≤ 0.05. A lower limit by samples above
/// it: (1−q)^n ≤ 0.05, so that `p(5) > L` takes as many as `p(95) < L`. `p(0)` and `p(100)` are the
/// minimum and the maximum of what was seen, and claim nothing about what was not.
pub(super) fn minimum_samples(percent: f64, comparison: Comparison) -> u64 {
    let q = percent / 100.0;
    if q <= 0.0 || q >= 1.0 {
        return 1;
    }
    let below = samples_for(q);
    let above = samples_for(1.0 - q);
    match comparison {
        Comparison::Less | Comparison::AtMost => below,
        Comparison::Greater | Comparison::AtLeast => above,
        Comparison::Equal | Comparison::NotEqual => below.max(above),
    }
}

fn samples_for(q: f64) -> u64 {
    // 1 − 0.95 is a little more than 0.05: what misses a whole number by that is the number.
    (0.05_f64.ln() / q.ln() - 1e-9).ceil().max(1.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_takes_as_many_samples_as_the_semantics_say() {
        let upper =
            [50.0, 95.0, 99.0, 99.9].map(|percent| minimum_samples(percent, Comparison::Less));
        assert_eq!(upper, [5, 59, 299, 2_995]);
        assert_eq!(minimum_samples(5.0, Comparison::Greater), 59);
        assert_eq!(minimum_samples(5.0, Comparison::Less), 1);
        assert_eq!(minimum_samples(95.0, Comparison::Greater), 1);
        assert_eq!(minimum_samples(100.0, Comparison::Less), 1);
    }

    #[test]
    fn order_statistics_cover_the_quantile_in_ninety_five_of_a_hundred() {
        // The table of Conover for n = 100, p50: ranks 40 and 61.
        assert_eq!(percentile_ranks(100, 0.5), Some((40, 61)));
        assert_eq!(percentile_ranks(20, 0.95), None);
        for n in [200_u64, 5_000, 90_000] {
            for q in [0.5, 0.9, 0.95] {
                let (low, high) = percentile_ranks(n, q).unwrap();
                let binomial = Binomial::new(q, n).unwrap();
                // P(low ≤ number of samples below the quantile < high)
                let covered = binomial.cdf(high - 1) - binomial.cdf(low - 1);
                assert!((0.95..0.99).contains(&covered), "{n} {q}: {covered}");
            }
        }
        let (exact, normal) =
            (percentile_ranks(100_000, 0.9).unwrap(), percentile_ranks(100_001, 0.9).unwrap());
        assert!(exact.0.abs_diff(normal.0) <= 2 && exact.1.abs_diff(normal.1) <= 2);
    }

    #[test]
    fn wilson_and_the_normal_mean_agree_with_worked_examples() {
        let [low, high] = share(0, 10).unwrap();
        assert!(low == 0.0 && (high - 0.2775).abs() < 5e-4, "{low} {high}");
        for n in 1..2_000 {
            assert_eq!(share(0, n).unwrap()[0], 0.0, "none of {n}");
            assert_eq!(share(n, n).unwrap()[1], 1.0, "all of {n}");
        }
        let [low, high] = share(50, 100).unwrap();
        assert!((low - 0.4038).abs() < 5e-4 && (high - 0.5962).abs() < 5e-4);
        let [low, high] = mean(101, 10.0, 5.0).unwrap();
        assert!((low - 9.02).abs() < 1e-2 && (high - 10.98).abs() < 1e-2);
        assert_eq!(mean(1, 1.0, 0.0), None);
    }
}
