//! How sure a figure of one run is, within that run: block bootstrap over the steps of its timeline.
//!
//! The steps (seconds, as long as the run is no longer than a timeline keeps apart) are drawn anew in blocks ([`blocks`]) and the figure taken of what was drawn, 1 000 times; the
//! middle 95 % are the interval (Efron's percentiles). It takes 30 blocks. It speaks of this run only: two
//! runs of the same differ by more than that, so it never declares a change by itself.

use rand::SeedableRng as _;
use rand_pcg::Pcg64Mcg;

use crate::{
    metric::{Point, Unit},
    plan::threshold::Aggregate,
    verdict::{
        blocks,
        samples::{Samples, rank},
    },
};

const DRAWS: usize = 1_000;
/// Blocks without which nothing is said.
const FEWEST_BLOCKS: usize = 30;

/// 95 % interval of a figure of the samples of steps, in the order of time and in the metric's unit; rates
/// of counters are per step. `None` with fewer than 30 blocks, or where censored samples leave the figure open.
pub fn interval(steps: &[Point], aggregate: Aggregate, unit: Unit, seed: u64) -> Option<[f64; 2]> {
    let (step, seconds) = (unit.step(), steps.iter().map(Samples::of_point).collect::<Vec<_>>());
    let known: Vec<f64> =
        seconds.iter().filter_map(|second| single(second, aggregate, step)).collect();
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let residuals: Vec<f64> = known.iter().map(|it| it - mean).collect();
    // Of residuals of a mean: (1 + 3ρ)/n (Kendall).
    let length = blocks::length(&residuals, [1.0, 3.0]);
    if seconds.len() / length < FEWEST_BLOCKS {
        return None;
    }
    let table = Table::new(&seconds, aggregate)?;
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut drawn = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        let mut times = vec![0_u64; seconds.len()];
        blocks::draw(&mut random, seconds.len(), length, |_, index| times[index] += 1);
        drawn.push(table.figure(&times)? * table.scale(step));
    }
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| drawn[((DRAWS as f64 * share) as usize).min(DRAWS - 1)];
    let ends = [at(0.025), at(0.975)];
    ends.iter().all(|end| end.is_finite()).then_some(ends)
}

/// The figure of one second.
fn single(second: &Samples, aggregate: Aggregate, step: f64) -> Option<f64> {
    let figure = second.figure(aggregate, step, 1.0)?;
    (figure.low == figure.high).then_some(figure.low)
}

/// What each second has, so that a draw is a sum.
enum Table {
    /// Values in rising order, and by second how often each was there; the last one stands for what is open.
    Percentile { values: Vec<f64>, counts: Vec<Vec<(usize, u64)>>, q: f64 },
    /// What is divided by what.
    Ratio(Vec<(f64, f64)>),
    /// What is divided by what, in the steps of a trend.
    Mean(Vec<(f64, f64)>),
}

impl Table {
    fn new(seconds: &[Samples], aggregate: Aggregate) -> Option<Self> {
        let q = match aggregate {
            Aggregate::Percentile(percent) => Some(percent / 100.0),
            Aggregate::Median => Some(0.5),
            _ => None,
        };
        if let Some(q) = q {
            let spread: Option<Vec<_>> = seconds.iter().map(Samples::spread).collect();
            let spread = spread?;
            let mut values: Vec<f64> = spread.iter().flatten().map(|(value, _)| *value).collect();
            values.sort_by(f64::total_cmp);
            values.dedup();
            let place = |value: &f64| values.partition_point(|it| it < value);
            let counts = spread
                .iter()
                .map(|second| second.iter().map(|(value, count)| (place(value), *count)).collect());
            let counts = counts.collect();
            return Some(Self::Percentile { values, counts, q });
        }
        let parts = |second: &Samples| second.parts(aggregate);
        let parts: Option<Vec<_>> = seconds.iter().map(parts).collect();
        let trend = matches!(seconds.first(), Some(Samples::Trend(_)));
        parts.map(if trend { Self::Mean } else { Self::Ratio })
    }

    fn scale(&self, step: f64) -> f64 {
        if matches!(self, Self::Ratio(_)) { 1.0 } else { step }
    }

    /// The figure of a draw that has each second so many times.
    fn figure(&self, times: &[u64]) -> Option<f64> {
        let (values, counts, q) = match self {
            Self::Percentile { values, counts, q } => (values, counts, *q),
            Self::Ratio(parts) | Self::Mean(parts) => {
                let add = |sum: (f64, f64), (part, times): (&(f64, f64), &u64)| {
                    let times = *times as f64;
                    (times.mul_add(part.0, sum.0), times.mul_add(part.1, sum.1))
                };
                let (above, below) = parts.iter().zip(times).fold((0.0, 0.0), add);
                return (below > 0.0).then(|| above / below);
            }
        };
        let mut all = vec![0_u64; values.len()];
        for (second, times) in counts.iter().zip(times) {
            for (place, count) in second {
                all[*place] += count * times;
            }
        }
        let rank = rank(q, all.iter().sum());
        let mut below = 0;
        let reached = |count: &u64| {
            below += count;
            below >= rank
        };
        values.get(all.iter().position(reached)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution as _, StandardNormal};

    use super::*;
    use crate::metric::{Cell, Trend};

    const NS: Unit = Unit::Nanoseconds;
    /// Of noise, much wider than the buckets of a timeline.
    const SPREAD: f64 = 20_000.0;

    fn second(values: &[f64]) -> Point {
        let mut trend = Trend::<u32>::default();
        for value in values {
            trend.record(value.max(0.0) as u64);
        }
        Point::of(&Cell::Trend(Box::new(trend)))
    }

    /// A run whose seconds remember: the level of each is `memory` × that of the one before, plus noise.
    fn run(memory: f64, seconds: usize, seed: u64) -> Vec<Point> {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut normal = || -> f64 { StandardNormal.sample(&mut random) };
        let mut level = normal() / (1.0 - memory * memory).sqrt();
        (0..seconds)
            .map(|_| {
                level = memory.mul_add(level, normal());
                let values: Vec<f64> =
                    (0..20).map(|_| 100_000.0 + SPREAD * (level + normal())).collect();
                second(&values)
            })
            .collect()
    }

    #[test]
    fn the_interval_holds_the_true_median_in_most_runs() {
        for (memory, seconds) in [(0.0, 60), (0.4, 300)] {
            let intervals: Vec<_> = (0..80)
                .filter_map(|seed| {
                    interval(&run(memory, seconds, seed), Aggregate::Median, NS, seed)
                })
                .collect();
            // Where a run looks as if it remembered more, its blocks are too few, and nothing is said.
            assert!(intervals.len() >= 60, "memory {memory}: {} intervals", intervals.len());
            // A bucket is 1024 wide here, and a percentile the upper end of one.
            let holds = |[low, high]: &&[f64; 2]| (low - 1_024.0..=*high).contains(&100_000.0);
            let share = intervals.iter().filter(holds).count() as f64 / intervals.len() as f64;
            assert!(share >= 0.87, "memory {memory}: {share}");
        }
    }

    #[test]
    fn too_few_blocks_say_nothing() {
        assert_eq!(interval(&run(0.0, 29, 1), Aggregate::Median, NS, 1), None);
        assert_eq!(interval(&run(0.95, 60, 1), Aggregate::Median, NS, 1), None, "long blocks");
        assert_eq!(interval(&[], Aggregate::Median, NS, 1), None);
        let counted = vec![Point::Counter(200.0); 60];
        let found = interval(&counted, Aggregate::Rate, Unit::Count, 1);
        assert_eq!(found, Some([200.0, 200.0]));
        let mut trend = Trend::<u32>::default();
        trend.record_censored(5);
        let open = vec![Point::of(&Cell::Trend(Box::new(trend))); 60];
        assert_eq!(interval(&open, Aggregate::Median, NS, 1), None);
    }

    #[test]
    fn a_mean_has_the_interval_of_a_textbook_where_nothing_is_remembered() {
        let runs: Vec<f64> = (0..30)
            .map(|seed| {
                let [low, high] =
                    interval(&run(0.0, 120, seed), Aggregate::Mean, NS, seed).unwrap();
                high - low
            })
            .collect();
        let mean = runs.iter().sum::<f64>() / runs.len() as f64;
        // Level and noise of 20 values: a second's mean has a standard deviation of SPREAD × √(1 + 1/20).
        let textbook = 2.0 * 1.96 * SPREAD * (1.0_f64 + 1.0 / 20.0).sqrt() / 120.0_f64.sqrt();
        assert!((0.85..1.25).contains(&(mean / textbook)), "{mean} {textbook}");
    }
}
