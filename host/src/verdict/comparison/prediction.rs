//! One run against several earlier ones: the prediction interval for one further observation of a normal
//! distribution. G. J. Hahn and W. Q. Meeker, "Statistical Intervals" (1991): mean ± t × s ×
//! √(1 + 1/n). It holds what one more run of the same would give, which an interval of the mean does not.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::hodges_lehmann::Estimate;

/// Earlier runs without which none is predicted.
pub(super) const FEWEST: usize = 5;

/// How far a run is from the mean of the earlier ones, and how probable that is for one more of them. `tail`
/// is half of what the confidence lacks.
pub(super) fn of(earlier: &[f64], run: f64, tail: f64) -> Option<(Estimate, f64)> {
    let n = earlier.len() as f64;
    if earlier.len() < 2 {
        return None;
    }
    let mean = earlier.iter().sum::<f64>() / n;
    let squares: f64 = earlier.iter().map(|one| (one - mean).powi(2)).sum();
    let scale = (squares / (n - 1.0)).sqrt() * (1.0 + 1.0 / n).sqrt();
    let distance = run - mean;
    let student = StudentsT::new(0.0, 1.0, n - 1.0).ok()?;
    let half = student.inverse_cdf(1.0 - tail) * scale;
    let p_value = match (scale > 0.0, distance == 0.0) {
        (true, _) => (2.0 * student.sf((distance / scale).abs())).min(1.0),
        // Runs that never differed: any difference is one.
        (false, true) => 1.0,
        (false, false) => 0.0,
    };
    let interval = Some([distance - half, distance + half]);
    distance.is_finite().then_some((Estimate { value: distance, interval }, p_value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factors_are_those_of_the_tables() {
        // Hahn and Meeker's factors for one further observation, two-sided 95 %: 3.04, 2.37, 2.14.
        for (n, factor) in [(5, 3.04), (10, 2.37), (20, 2.14)] {
            // Scaled to a standard deviation of exactly 1.
            let raw: Vec<f64> = (0..n).map(f64::from).collect();
            let mean = raw.iter().sum::<f64>() / f64::from(n);
            let spread =
                (raw.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / f64::from(n - 1)).sqrt();
            let earlier: Vec<f64> = raw.iter().map(|it| it / spread).collect();
            let (found, p_value) = of(&earlier, mean / spread, 0.025).unwrap();
            let [low, high] = found.interval.unwrap();
            assert!((high - factor).abs() < 6e-3 && (low + factor).abs() < 6e-3, "{n}: {found:?}");
            assert!(p_value > 0.999, "{p_value}");
        }
    }

    #[test]
    fn runs_that_never_differed_predict_themselves() {
        assert_eq!(of(&[3.0; 5], 3.0, 0.025).unwrap().1, 1.0);
        let (found, p_value) = of(&[3.0; 5], 4.0, 0.025).unwrap();
        assert_eq!((found.value, found.interval, p_value), (1.0, Some([1.0, 1.0]), 0.0));
        assert_eq!(of(&[3.0], 4.0, 0.025), None);
    }
}
