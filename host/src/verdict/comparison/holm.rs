//! Holm's correction: what a p-value is worth among others. S. Holm, "A simple sequentially rejective
//! multiple test procedure" (1979). Of a whole family of comparisons, the chance that any is declared though
//! nothing changed stays below the level, however they depend on one another.

/// The adjusted p-values, in the order given.
pub(super) fn adjusted(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut floor = 0.0_f64;
    for (place, index) in order.into_iter().enumerate() {
        let left = (p_values.len() - place) as f64;
        floor = floor.max(p_values[index] * left).min(1.0);
        adjusted[index] = floor;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_example() {
        // Four hypotheses, of which Holm rejects the first and the fourth at 0.05.
        let found = adjusted(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert_eq!(adjusted(&[]), [0.0; 0]);
        assert_eq!(adjusted(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
