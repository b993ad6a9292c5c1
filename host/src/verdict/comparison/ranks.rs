//! Ranks of values, tied ones sharing the mean of theirs: what both rank tests begin with.
//!
//! Ranks are doubled, so that a mean of two is a whole number and the exact distribution of their sums can be
//! counted (the shift algorithm of Streitberg and Röhmel, 1986), ties and all.

/// Values up to which distributions are counted; there are at most 2^50 arrangements, which a float counts
/// exactly.
pub(super) const EXACT: usize = 50;

/// Doubled mean ranks.
pub(super) struct Ranks {
    /// By value, in the order given.
    pub(super) doubled: Vec<u64>,
    /// Σ (t³ − t) over the groups of tied values.
    pub(super) ties: f64,
}

/// The ranks of values; equal ones share theirs.
pub(super) fn of(values: &[f64]) -> Ranks {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = Ranks { doubled: vec![0; values.len()], ties: 0.0 };
    let mut first = 0;
    while first < order.len() {
        let value = values[order[first]];
        let tied = order[first..].iter().take_while(|index| values[**index] == value).count();
        // Ranks first + 1 … first + tied, whose mean is half of the sum of the ends.
        let doubled = (2 * first + tied + 1) as u64;
        order[first..first + tied].iter().for_each(|index| ranks.doubled[*index] = doubled);
        let t = tied as f64;
        ranks.ties += t * t * t - t;
        first += tied;
    }
    ranks
}

/// In how many ways a sum comes about, by the sum: of any of the ranks, or of exactly `size` of them.
pub(super) fn sums(ranks: &[u64], size: Option<usize>) -> Vec<f64> {
    let most = ranks.iter().sum::<u64>() as usize;
    let Some(size) = size else {
        let mut ways = vec![0.0; most + 1];
        ways[0] = 1.0;
        for rank in ranks {
            for sum in (*rank as usize..=most).rev() {
                ways[sum] += ways[sum - *rank as usize];
            }
        }
        return ways;
    };
    let mut ways = vec![vec![0.0; most + 1]; size + 1];
    ways[0][0] = 1.0;
    for rank in ranks {
        for taken in (1..=size).rev() {
            let (fewer, more) = ways.split_at_mut(taken);
            let (fewer, more) = (&fewer[taken - 1], &mut more[0]);
            for sum in *rank as usize..=most {
                more[sum] += fewer[sum - *rank as usize];
            }
        }
    }
    ways.swap_remove(size)
}

/// How probable a sum as far out as this is, on either side: twice the smaller tail.
pub(super) fn two_sided(ways: &[f64], sum: u64) -> f64 {
    let (all, sum) = (ways.iter().sum::<f64>(), sum as usize);
    let below: f64 = ways.iter().take(sum + 1).sum();
    let above: f64 = ways.iter().skip(sum).sum();
    (2.0 * below.min(above) / all).min(1.0)
}

/// The largest k with P(sum ≤ k − 1) ≤ `tail`, of a distribution that is given by ways.
pub(super) fn order(ways: &[f64], tail: f64) -> usize {
    let all: f64 = ways.iter().sum();
    let mut below = 0.0;
    // A probability that misses the tail by floating-point error only is that of the tail.
    let fits = |ways: &&f64| {
        below += **ways;
        below / all <= tail * (1.0 + 1e-12)
    };
    ways.iter().take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tied_values_share_the_mean_of_their_ranks() {
        let ranks = of(&[3.0, 1.0, 3.0, 2.0, 3.0]);
        assert_eq!(ranks.doubled, [8, 2, 8, 4, 8]);
        assert_eq!(ranks.ties, 24.0);
        assert_eq!(of(&[]).doubled, [0; 0]);
    }

    #[test]
    fn sums_are_counted() {
        // Of {1, 2, 3}: the subsets, and those of two.
        assert_eq!(sums(&[1, 2, 3], None), [1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0]);
        assert_eq!(sums(&[1, 2, 3], Some(2)), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!(two_sided(&[1.0, 1.0, 2.0], 0), 0.5);
    }
}
