//! Several ratios as one: their geometric mean. An arithmetic mean of ratios depends on which side is called
//! the first (P. J. Fleming and J. J. Wallace, "How not to lie with statistics", 1986).

/// The geometric mean of ratios; `None` without any, or if one is not above 0.
pub(super) fn mean(ratios: &[f64]) -> Option<f64> {
    let fine = |ratio: &f64| *ratio > 0.0 && ratio.is_finite();
    if ratios.is_empty() || !ratios.iter().all(fine) {
        return None;
    }
    Some((ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_matter_which_side_is_the_first() {
        let ratios = [2.0, 0.5, 4.0];
        let turned = ratios.map(f64::recip);
        let (one, other) = (mean(&ratios).unwrap(), mean(&turned).unwrap());
        assert!((one - 4.0_f64.cbrt()).abs() < 1e-12 && (one * other - 1.0).abs() < 1e-12);
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[1.0, 0.0]), None);
    }
}
