//! Change points over the history: E-divisive, as Apache Otava (once Hunter) uses it.
//!
//! D. S. Matteson and N. A. James, "A nonparametric approach for multiple change point analysis of
//! multivariate data" (2014): a series is split where the energy distance between both sides is largest. M.
//! Fleming et al., "Hunter: using change point detection to hunt for performance regressions" (2023), take a
//! Student t-test in place of the permutations, so that the answer is always the same; look through a window,
//! so that a new point never moves an old one; and drop the weakest points, one by one, until each that
//! remains is below the p-value asked for.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// Runs that are looked at together.
pub const WINDOW: usize = 50;
/// Chance at which a change point is believed.
pub const P: f64 = 0.001;
/// How much weaker a candidate may be before its neighbours are known.
const FIRST_PASS: f64 = 10.0;

/// Where a series changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChangePoint {
    /// The first value after the change, from 0.
    pub index: usize,
    /// Mean from the change before until this one.
    pub before: f64,
    /// Mean from this one to the next.
    pub after: f64,
    /// How probable the two sides are if nothing changed.
    pub p_value: f64,
}

/// The change points of a series of finite values, in the order of time.
pub fn change_points(series: &[f64], window: usize, p_value: f64) -> Vec<ChangePoint> {
    let window = window.max(2);
    let mut places: Vec<usize> = Vec::new();
    let mut start = 0;
    while start < series.len() {
        let end = (start + window).min(series.len());
        let found = divide(&series[start..end], p_value * FIRST_PASS);
        let found: Vec<usize> = found.into_iter().map(|place| place + start).collect();
        start = found.iter().copied().max().unwrap_or(0).max(start + window / 2);
        places.extend(found);
    }
    places.sort_unstable();
    places.dedup();
    loop {
        let points = describe(series, &places);
        let weakest = points.iter().max_by(|a, b| a.p_value.total_cmp(&b.p_value));
        match weakest {
            Some(weakest) if weakest.p_value >= p_value => {
                places.retain(|place| *place != weakest.index);
            }
            _ => return points,
        }
    }
}

/// The places where a window is divided, best first, until one is no longer significant.
fn divide(series: &[f64], p_value: f64) -> Vec<usize> {
    let mut places: Vec<usize> = Vec::new();
    loop {
        let mut ends = places.clone();
        ends.extend([0, series.len()]);
        ends.sort_unstable();
        let candidates = ends.windows(2).filter_map(|pair| {
            let (place, gain) = split(&series[pair[0]..pair[1]])?;
            Some((gain, pair[0], pair[0] + place, pair[1]))
        });
        let best = candidates.max_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            Some((_, from, place, to))
                if difference(&series[from..place], &series[place..to]) < p_value =>
            {
                places.push(place);
            }
            _ => return places,
        }
    }
}

/// The best place to split a segment at, and its scaled energy distance; both sides have at least two values.
fn split(segment: &[f64]) -> Option<(usize, f64)> {
    let n = segment.len();
    if n < 4 {
        return None;
    }
    let distances = |one: usize, others: &[f64]| -> f64 {
        others.iter().map(|other| (segment[one] - other).abs()).sum()
    };
    let (mut left, mut right, mut between) = (0.0, 0.0, 0.0);
    right += (0..n).map(|index| distances(index, &segment[index + 1..])).sum::<f64>();
    let mut best: Option<(usize, f64)> = None;
    for place in 1..n - 1 {
        // The value before `place` goes from the right side to the left one.
        let moved = place - 1;
        let (to_left, to_right) =
            (distances(moved, &segment[..moved]), distances(moved, &segment[place..]));
        left += to_left;
        right -= to_right;
        between += to_right - to_left;
        if place < 2 {
            continue;
        }
        let (m, k) = (place as f64, (n - place) as f64);
        let energy =
            2.0 * between / (m * k) - 2.0 * left / (m * (m - 1.0)) - 2.0 * right / (k * (k - 1.0));
        let gain = m * k / (m + k) * energy;
        if best.is_none_or(|(_, most)| gain > most) {
            best = Some((place, gain));
        }
    }
    best
}

fn describe(series: &[f64], places: &[usize]) -> Vec<ChangePoint> {
    let end = |index: usize| places.get(index).copied().unwrap_or(series.len());
    let point = |(index, place): (usize, &usize)| {
        let from = index.checked_sub(1).map_or(0, |before| places[before]);
        let (before, after) = (&series[from..*place], &series[*place..end(index + 1)]);
        ChangePoint {
            index: *place,
            before: mean(before),
            after: mean(after),
            p_value: difference(before, after),
        }
    };
    places.iter().enumerate().map(point).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Student's t-test of two means; two-sided.
fn difference(one: &[f64], other: &[f64]) -> f64 {
    let (n, m) = (one.len() as f64, other.len() as f64);
    if one.is_empty() || other.is_empty() || n + m < 3.0 {
        return 1.0;
    }
    let squares = |values: &[f64]| {
        let mean = mean(values);
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
    };
    let distance = (mean(one) - mean(other)).abs();
    let variance = (squares(one) + squares(other)) / (n + m - 2.0);
    let error = (variance * (1.0 / n + 1.0 / m)).sqrt();
    if error <= distance * 1e-12 {
        return if distance > 0.0 { 0.0 } else { 1.0 };
    }
    StudentsT::new(0.0, 1.0, n + m - 2.0).map_or(1.0, |t| 2.0 * t.sf(distance / error))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_distr::{Distribution as _, StandardNormal};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    /// Yearly flow of the Nile at Aswan, 1871 to 1970 (G. W. Cobb, "The problem of the Nile", 1978).
    const NILE: [f64; 100] = [
        1120., 1160., 963., 1210., 1160., 1160., 813., 1230., 1370., 1140., 995., 935., 1110.,
        994., 1020., 960., 1180., 799., 958., 1140., 1100., 1210., 1150., 1250., 1260., 1220.,
        1030., 1100., 774., 840., 874., 694., 940., 833., 701., 916., 692., 1020., 1050., 969.,
        831., 726., 456., 824., 702., 1120., 1100., 832., 764., 821., 768., 845., 864., 862., 698.,
        845., 744., 796., 1040., 759., 781., 865., 845., 944., 984., 897., 822., 1010., 771., 676.,
        649., 846., 812., 742., 801., 1040., 860., 874., 848., 890., 744., 749., 838., 1050., 918.,
        986., 797., 923., 975., 815., 1020., 906., 901., 1170., 912., 746., 919., 718., 714., 740.,
    ];

    fn noise(n: usize, seed: u64) -> Vec<f64> {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        (0..n)
            .map(|_| {
                let normal: f64 = StandardNormal.sample(&mut random);
                100.0 + 3.0 * normal
            })
            .collect()
    }

    #[test]
    fn the_nile_changed_with_the_dam_of_1899() {
        // Cobb and everyone since: 1898 is the last year of the higher flow.
        let found = change_points(&NILE, WINDOW, P);
        assert_eq!(found.iter().map(|it| 1871 + it.index).collect::<Vec<_>>(), [1899], "{found:?}");
        assert!((found[0].before - 1_097.75).abs() < 1e-9, "{found:?}");
        assert!((found[0].after - 849.97).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn steps_are_found_where_they_are_and_noise_has_none() {
        let mut series = noise(120, 1);
        series[40..].iter_mut().for_each(|value| *value += 10.0);
        series[90..].iter_mut().for_each(|value| *value -= 15.0);
        let places: Vec<_> =
            change_points(&series, WINDOW, P).iter().map(|point| point.index).collect();
        assert_eq!(places.len(), 2, "{places:?}");
        assert!(places[0].abs_diff(40) <= 1 && places[1].abs_diff(90) <= 1, "{places:?}");
        let false_alarms =
            (0..1_000).filter(|seed| !change_points(&noise(50, *seed), WINDOW, P).is_empty());
        let share = false_alarms.count() as f64 / 1_000.0;
        assert!(share <= 0.05, "{share} of quiet histories were found to change");
    }

    #[test]
    fn short_and_flat_histories_are_quiet() {
        for series in [&[][..], &[1.0], &[1.0, 2.0, 3.0], &[5.0; 30]] {
            assert_eq!(change_points(series, WINDOW, P), [], "{series:?}");
        }
        let mut step = vec![1.0; 10];
        step.extend([2.0; 10]);
        let found = change_points(&step, WINDOW, P);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].index, found[0].p_value), (10, 0.0));
    }
}
