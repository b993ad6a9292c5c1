//! The circular block bootstrap of Politis and Romano (1992): how a series that remembers is drawn anew.
//!
//! What is measured each second depends on the second before, so single seconds drawn anew would look less
//! alike than they are, and every interval would be too narrow. Whole blocks keep what they remember.

use rand::RngExt as _;
use rand_pcg::Pcg64Mcg;

/// Blocks at the least: longer ones would leave nothing to draw from.
const LEAST_BLOCKS: usize = 5;

/// How long blocks have to be for residuals that remember: by Andrews' rule for their lag-1
/// autocorrelation. What was fitted to them makes residuals look less alike than they are, by about
/// (`bias[0]` + `bias[1]` × ρ)/n.
pub(super) fn length(residuals: &[f64], bias: [f64; 2]) -> usize {
    let n = residuals.len() as f64;
    let squares: f64 = residuals.iter().map(|one| one * one).sum();
    let products: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let measured = if squares > 0.0 { products / squares } else { 0.0 };
    let memory = (measured + bias[1].mul_add(measured, bias[0]) / n).clamp(0.0, 0.97);
    let factor = 4.0 * memory.powi(2) / (1.0 - memory.powi(2)).powi(2);
    let wanted = (1.5 * factor * n).cbrt().ceil().max(1.0) as usize;
    wanted.min(residuals.len() / LEAST_BLOCKS).max(1)
}

/// Draws a series of `n` anew, block by block: calls `put` with each place and the index that comes there.
pub(super) fn draw(
    random: &mut Pcg64Mcg,
    n: usize,
    length: usize,
    mut put: impl FnMut(usize, usize),
) {
    let mut place = 0;
    while place < n {
        let first = random.random_range(0..n);
        for step in 0..length.min(n - place) {
            put(place, (first + step) % n);
            place += 1;
        }
    }
}
