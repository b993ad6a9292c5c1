//! The shift of Hodges and Lehmann: by how much one set of runs is above another, with the interval that
//! belongs to the rank test. J. L. Hodges and E. L. Lehmann, "Estimates of location based on rank tests"
//! (1963); the intervals are Moses' (sets) and Tukey's (pairs), as in Hollander and Wolfe, "Nonparametric
//! Statistical Methods" (1973).

use super::{mann_whitney, signed_rank};

/// By how much, and where the truth is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    /// The median of all differences.
    pub(super) value: f64,
    /// Holds the truth with at least the confidence asked for; `None` where there are too few runs for one.
    pub(super) interval: Option<[f64; 2]>,
}

/// The shift of `new` against `base`. `tail` is half of what the confidence lacks.
pub(super) fn sets(base: &[f64], new: &[f64], tail: f64) -> Option<Estimate> {
    let differences = new.iter().flat_map(|new| base.iter().map(move |base| new - base));
    estimate(differences.collect(), mann_whitney::order(new.len(), base.len(), tail))
}

/// The shift of pairs, by their differences.
pub(super) fn pairs(differences: &[f64], tail: f64) -> Option<Estimate> {
    let walsh = differences.iter().enumerate().flat_map(|(index, one)| {
        differences[index..].iter().map(move |two| f64::midpoint(*one, *two))
    });
    estimate(walsh.collect(), signed_rank::order(differences.len(), tail))
}

fn estimate(mut all: Vec<f64>, order: usize) -> Option<Estimate> {
    if all.is_empty() || all.iter().any(|one| !one.is_finite()) {
        return None;
    }
    all.sort_by(f64::total_cmp);
    let interval = (order >= 1).then(|| [all[order - 1], all[all.len() - order]]);
    Some(Estimate { value: median(&all), interval })
}

/// The median of sorted values, at least one.
pub(super) fn median(sorted: &[f64]) -> f64 {
    let (upper, lower) = (sorted.len() / 2, (sorted.len() - 1) / 2);
    f64::midpoint(sorted[lower], sorted[upper])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::comparison::signed_rank::tests::{AFTER, BEFORE};

    #[test]
    fn shifts_and_intervals_are_those_of_hollander_and_wolfe() {
        let differences: Vec<f64> = AFTER.iter().zip(&BEFORE).map(|(a, b)| a - b).collect();
        // −0.46, with 96.1 % between −0.786 and −0.010.
        let found = pairs(&differences, 0.025).unwrap();
        assert!((found.value + 0.46).abs() < 1e-9, "{found:?}");
        let [low, high] = found.interval.unwrap();
        assert!((low + 0.786).abs() < 1e-9 && (high + 0.010).abs() < 1e-9, "{found:?}");
        // −0.305, with 96 % between −0.76 and 0.15.
        let term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let early = [1.15, 0.88, 0.90, 0.74, 1.21];
        let found = sets(&term, &early, 0.025).unwrap();
        assert!((found.value + 0.305).abs() < 1e-9, "{found:?}");
        let [low, high] = found.interval.unwrap();
        assert!((low + 0.76).abs() < 1e-9 && (high - 0.15).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn too_few_runs_have_an_estimate_and_no_interval() {
        assert_eq!(
            sets(&[1.0; 3], &[2.0; 3], 0.025).unwrap(),
            Estimate { value: 1.0, interval: None }
        );
        assert_eq!(pairs(&[1.0, 2.0], 0.025).unwrap(), Estimate { value: 1.5, interval: None });
        assert_eq!(pairs(&[], 0.025), None);
        assert_eq!(pairs(&[f64::INFINITY], 0.025), None);
    }
}
