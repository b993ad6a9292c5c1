//! Seeded randomness for workloads. SEMANTICS §1: the sequence depends on the seed, the scenario and
//! the iteration, never on shards or time; a script and a component get the same one.

use std::rc::Rc;

use rand::{Rng, RngExt, SeedableRng};
use rand_distr::Distribution;
use rand_pcg::Pcg64Mcg;

/// The random numbers of one iteration. Most iterations draw none, so the seed is hashed when the
/// first is drawn.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    stream: Rc<str>,
    n: u64,
    drawn: Option<Pcg64Mcg>,
}

impl Random {
    /// The sequence of an iteration: `stream` is the scenario's name, `n` the iteration's number
    /// (or VU and index packed by the caller).
    pub fn new(seed: u64, stream: impl Into<Rc<str>>, n: u64) -> Self {
        Self { seed, stream: stream.into(), n, drawn: None }
    }

    fn numbers(&mut self) -> &mut Pcg64Mcg {
        self.drawn.get_or_insert_with(|| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&self.seed.to_le_bytes());
            hasher.update(&self.n.to_le_bytes());
            hasher.update(self.stream.as_bytes());
            let mut state = [0; 16];
            state.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
            Pcg64Mcg::from_seed(state)
        })
    }

    /// The generator itself, for whoever asks for bytes: it may go to another thread.
    pub fn into_generator(mut self) -> impl Rng + Send + use<> {
        self.numbers();
        self.drawn.unwrap_or_else(|| Pcg64Mcg::new(0))
    }

    /// A whole number between `low` and `high`, both included; `low` if they are the wrong way round.
    pub fn int(&mut self, low: i64, high: i64) -> i64 {
        if high <= low { low } else { self.numbers().random_range(low..=high) }
    }

    /// A number in [0, 1).
    pub fn float(&mut self) -> f64 {
        self.numbers().random()
    }

    /// True with this probability (clamped to [0, 1]).
    pub fn bool(&mut self, probability: f64) -> bool {
        self.float() < probability
    }

    /// An index below `len`; `None` if that is zero.
    pub fn choice(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| self.numbers().random_range(0..len))
    }

    /// A permutation of the indices below `len`.
    pub fn shuffle(&mut self, len: usize) -> Vec<usize> {
        let mut order: Vec<_> = (0..len).collect();
        let numbers = self.numbers();
        for last in (1..len).rev() {
            order.swap(last, numbers.random_range(0..=last));
        }
        order
    }

    /// Letters and digits.
    pub fn string(&mut self, len: usize) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let numbers = self.numbers();
        (0..len).map(|_| char::from(LETTERS[numbers.random_range(0..LETTERS.len())])).collect()
    }

    /// Exponentially distributed with this mean.
    pub fn exp(&mut self, mean: f64) -> f64 {
        let unit: f64 = rand_distr::Exp1.sample(self.numbers());
        unit * mean
    }

    /// Normally distributed.
    pub fn normal(&mut self, mean: f64, stddev: f64) -> f64 {
        let unit: f64 = rand_distr::StandardNormal.sample(self.numbers());
        unit.mul_add(stddev, mean)
    }

    /// Zipf-distributed rank from 1 to `n` with this exponent; 1 if they are not usable.
    pub fn zipf(&mut self, n: u64, exponent: f64) -> u64 {
        rand_distr::Zipf::new(n as f64, exponent)
            .map_or(1, |zipf| zipf.sample(self.numbers()) as u64)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.numbers().next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_depends_on_seed_scenario_and_iteration_only() {
        let draw = |seed, stream: &str, n| Random::new(seed, stream, n).bits();
        assert_eq!(draw(1, "steady", 7), draw(1, "steady", 7));
        assert_ne!(draw(1, "steady", 7), draw(2, "steady", 7));
        assert_ne!(draw(1, "steady", 7), draw(1, "spike", 7));
        assert_ne!(draw(1, "steady", 7), draw(1, "steady", 8));
    }

    #[test]
    fn bounds_hold() {
        let mut random = Random::new(0, "bounds", 0);
        for _ in 0..10_000 {
            assert!((3..=5).contains(&random.int(3, 5)));
            assert!((1..=10).contains(&random.zipf(10, 1.1)));
            assert!(random.choice(4).unwrap() < 4);
        }
        assert_eq!(random.int(9, 2), 9);
        assert_eq!(random.choice(0), None);
        let mut order = random.shuffle(50);
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
        let _: i64 = random.int(i64::MIN, i64::MAX);
    }
}
