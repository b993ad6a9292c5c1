//! The error rates that the statistics promise, by simulation with a between-run effect; and the decisions.
//!
//! A simulated run is slow or fast as a whole (what machines do to runs), each of its metrics has noise of
//! its own, and the machine drifts over the hours. Everything is seeded: a rate is the same each time.

use rand::SeedableRng as _;
use rand_distr::{Distribution as _, StandardNormal};
use rand_pcg::Pcg64Mcg;

use super::*;

const COMPARISONS: u64 = 1_000;
/// Where a share near its limit is looked at, more of them: they know it to ± 0.006.
const MANY: u64 = 5_000;

/// A machine that runs are made on.
struct Machine {
    random: Pcg64Mcg,
    /// Standard deviation of a run's figure, as a part of it.
    noise: f64,
    /// How much slower it gets over 16 runs, as a part.
    drift: f64,
    runs: f64,
}

impl Machine {
    fn new(noise: f64, drift: f64, seed: u64) -> Self {
        Self { random: Pcg64Mcg::seed_from_u64(seed), noise, drift, runs: 0.0 }
    }

    fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.random)
    }

    /// The figures of one run, each true value multiplied with `change`.
    fn run(&mut self, metrics: usize, change: f64) -> Vec<f64> {
        self.runs += 1.0;
        // Half of the variance is the run's own, half the metric's.
        let part = self.noise / 2.0_f64.sqrt();
        let effect = part.mul_add(self.normal(), self.drift * self.runs / 16.0);
        (0..metrics)
            .map(|metric| {
                let truth = 1_000.0 * (metric + 1) as f64 * change;
                truth * part.mul_add(self.normal(), effect).exp()
            })
            .collect()
    }
}

fn subjects(base: &[Vec<f64>], new: &[Vec<f64>]) -> Vec<Subject> {
    let of = |runs: &[Vec<f64>], metric: usize| runs.iter().map(|run| Some(run[metric])).collect();
    (0..base[0].len())
        .map(|metric| Subject {
            name: format!("m{metric}"),
            unit: "ns".to_owned(),
            better: Better::Lower,
            base: of(base, metric),
            new: of(new, metric),
        })
        .collect()
}

/// Pairs in ABBA order.
fn pairs(noise: f64, change: f64, metrics: usize, seed: u64) -> Vec<Finding> {
    let mut machine = Machine::new(noise, 0.02, seed);
    let (mut base, mut new) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        if pair % 2 == 0 {
            base.push(machine.run(metrics, 1.0));
            new.push(machine.run(metrics, change));
        } else {
            new.push(machine.run(metrics, change));
            base.push(machine.run(metrics, 1.0));
        }
    }
    compare(subjects(&base, &new), Design::Pairs, TOLERANCE)
}

fn sets(sizes: [usize; 2], noise: f64, change: f64, metrics: usize, seed: u64) -> Vec<Finding> {
    // Without drift: it is in sets that are made one after the other, and nothing tells it from a change.
    let mut machine = Machine::new(noise, 0.0, seed);
    let mut runs = |count, change| -> Vec<Vec<f64>> {
        (0..count).map(|_| machine.run(metrics, change)).collect()
    };
    let (base, new) = (runs(sizes[0], 1.0), runs(sizes[1], change));
    compare(subjects(&base, &new), Design::Sets, TOLERANCE)
}

/// The share of simulated comparisons of which that is true.
fn share(of: impl Fn(u64) -> bool) -> f64 {
    share_of(COMPARISONS, of)
}

fn share_of(all: u64, of: impl Fn(u64) -> bool) -> f64 {
    (0..all).filter(|seed| of(*seed)).count() as f64 / all as f64
}

fn declares(findings: &[Finding]) -> bool {
    findings.iter().any(|it| matches!(it.outcome, Outcome::Change | Outcome::Regression))
}

fn is_seen(finding: &Finding) -> bool {
    finding.interval.is_some_and(|[low, high]| low > 0.0 || high < 0.0)
}

#[test]
fn the_same_against_the_same_is_declared_changed_in_at_most_a_twentieth() {
    for metrics in [1, PRIMARY] {
        for noise in [0.03, 0.2] {
            let rates = [
                share_of(MANY, |seed| declares(&pairs(noise, 1.0, metrics, seed))),
                share_of(MANY, |seed| declares(&sets([8, 8], noise, 1.0, metrics, seed))),
                share_of(MANY, |seed| declares(&sets([5, 5], noise, 1.0, metrics, seed))),
                share_of(MANY, |seed| declares(&sets([10, 1], noise, 1.0, metrics, seed))),
            ];
            println!("{metrics} metrics, noise {noise}: declared though nothing changed {rates:?}");
            // One metric by itself uses the whole twentieth: the tests are exact.
            let most = if metrics == 1 { 0.056 } else { 0.05 };
            assert!(rates.iter().all(|rate| *rate <= most), "{metrics}, {noise}: {rates:?}");
        }
    }
}

#[test]
fn eight_pairs_with_three_percent_of_noise_see_ten_percent_and_declare_fifteen() {
    for metrics in [1, PRIMARY] {
        let seen = share(|seed| pairs(0.03, 1.1, metrics, seed).iter().all(is_seen));
        println!("{metrics} metrics: 10 % seen in {seen}");
        assert!(seen >= 0.95, "{metrics} metrics: 10 % were seen in {seen}");
        let regressions = share(|seed| {
            let findings = pairs(0.03, 1.15, metrics, seed);
            findings.iter().all(|it| it.outcome == Outcome::Regression)
        });
        println!("{metrics} metrics: 15 % declared a regression in {regressions}");
        assert!(regressions >= 0.95, "{metrics} metrics: 15 % were declared in {regressions}");
    }
}

#[test]
fn a_change_within_the_tolerance_is_no_regression() {
    let regression = |change| {
        share(|seed| {
            let findings = pairs(0.03, change, 1, seed);
            findings.iter().any(|it| it.outcome == Outcome::Regression)
        })
    };
    assert!(regression(1.05) <= 0.01);
    assert_eq!(regression(0.85), 0.0, "better is no regression");
}

#[test]
fn intervals_hold_the_true_change() {
    let holds = |finding: &Finding| {
        let [low, high] = finding.interval.unwrap();
        low <= 0.1 && 0.1 <= high
    };
    let rates = [
        share(|seed| holds(&pairs(0.1, 1.1, 1, seed)[0])),
        share(|seed| holds(&sets([7, 9], 0.1, 1.1, 1, seed)[0])),
        share(|seed| holds(&sets([10, 1], 0.1, 1.1, 1, seed)[0])),
    ];
    assert!(rates.iter().all(|rate| *rate >= 0.94), "{rates:?}");
}

fn one(better: Better, base: &[f64], new: &[f64], design: Design) -> Finding {
    let some = |figures: &[f64]| figures.iter().copied().map(Some).collect();
    let (name, unit) = ("m".to_owned(), String::new());
    let subject = Subject { name, unit, better, base: some(base), new: some(new) };
    compare(vec![subject], design, TOLERANCE).remove(0)
}

#[test]
fn one_against_one_is_a_warning_at_most() {
    let found = one(Better::Lower, &[100.0], &[200.0], Design::Sets);
    assert_eq!((found.outcome, found.interval), (Outcome::Warning, None), "{found:?}");
    assert!((found.change.unwrap() - 1.0).abs() < 1e-12);
    for (base, new) in [(vec![100.0; 4], vec![200.0]), (vec![100.0], vec![200.0; 4])] {
        let found = one(Better::Lower, &base, &new, Design::Sets);
        assert_eq!(found.outcome, Outcome::Warning, "{found:?}");
    }
    assert_eq!(one(Better::Lower, &[100.0], &[105.0], Design::Sets).outcome, Outcome::NotJudged);
    assert_eq!(one(Better::Higher, &[100.0], &[200.0], Design::Sets).outcome, Outcome::NotJudged);
    assert_eq!(one(Better::Higher, &[200.0], &[100.0], Design::Pairs).outcome, Outcome::Warning);
}

#[test]
fn one_against_five_is_judged_by_what_they_predict() {
    let earlier = [100.0, 101.0, 99.0, 102.0, 98.0];
    let far = one(Better::Lower, &earlier, &[140.0], Design::Sets);
    assert_eq!((far.outcome, far.method), (Outcome::Regression, Method::Prediction), "{far:?}");
    let turned = one(Better::Lower, &[140.0], &earlier, Design::Sets);
    assert_eq!(turned.outcome, Outcome::Change, "{turned:?}");
    assert!(turned.change.unwrap() < -0.28 && turned.is_worse() == Some(false), "{turned:?}");
    let near = one(Better::Lower, &earlier, &[103.0], Design::Sets);
    assert_eq!(near.outcome, Outcome::NoChange, "{near:?}");
    let noisy = [100.0, 150.0, 70.0, 120.0, 90.0];
    let lost = one(Better::Lower, &noisy, &[140.0], Design::Sets);
    assert_eq!(lost.outcome, Outcome::Inconclusive, "{lost:?}");
    assert!(lost.more_runs.unwrap() > 5, "{lost:?}");
}

#[test]
fn too_few_runs_say_how_many_more_it_takes() {
    let found = one(Better::Lower, &[1.0, 1.1, 1.2], &[2.0, 2.1, 2.2], Design::Sets);
    assert_eq!((found.outcome, found.more_runs), (Outcome::Inconclusive, Some(1)), "{found:?}");
    let found = one(Better::Lower, &[1.0, 1.1, 1.2], &[2.0, 2.1, 2.2], Design::Pairs);
    assert_eq!((found.outcome, found.more_runs), (Outcome::Inconclusive, Some(3)), "{found:?}");
    // Six metrics and six pairs: no p-value of six pairs survives among six.
    let base: Vec<Vec<f64>> = (0..6).map(|run| vec![100.0 + f64::from(run); PRIMARY]).collect();
    let new: Vec<Vec<f64>> = (0..6).map(|run| vec![120.0 + f64::from(run); PRIMARY]).collect();
    let found = compare(subjects(&base, &new), Design::Pairs, TOLERANCE).remove(0);
    assert_eq!((found.outcome, found.more_runs), (Outcome::Inconclusive, Some(2)), "{found:?}");
    assert!(found.reason.unwrap().contains("6 pairs cannot declare"));
}

#[test]
fn the_direction_is_the_metrics_own() {
    let (low, high) = ([90.0, 91.0, 92.0, 93.0, 94.0], [130.0, 131.0, 132.0, 133.0, 134.0]);
    for (better, base, new, outcome) in [
        (Better::Lower, low, high, Outcome::Regression),
        (Better::Lower, high, low, Outcome::Change),
        (Better::Higher, low, high, Outcome::Change),
        (Better::Higher, high, low, Outcome::Regression),
        (Better::Unknown, low, high, Outcome::Change),
        (Better::Unknown, high, low, Outcome::Change),
    ] {
        assert_eq!(one(better, &base, &new, Design::Sets).outcome, outcome, "{better:?}");
    }
}

#[test]
fn zeroes_have_no_ratio_and_are_compared_all_the_same() {
    let none = one(Better::Lower, &[0.0; 8], &[0.0; 8], Design::Pairs);
    assert_eq!(none.outcome, Outcome::NoChange, "{none:?}");
    assert_eq!((none.change, none.absolute), (Some(0.0), true));
    let errors = [0.01, 0.02, 0.015, 0.01, 0.02, 0.03, 0.01, 0.02];
    let found = one(Better::Lower, &[0.0; 8], &errors, Design::Pairs);
    assert_eq!(found.outcome, Outcome::Regression, "{found:?}");
    assert!(found.absolute && (0.01..0.02).contains(&found.change.unwrap()), "{found:?}");
    // Some runs without errors on a side that has them mostly: parts of its median.
    let some = [0.0, 0.02, 0.015, 0.01, 0.02, 0.03, 0.01, 0.02];
    let found = one(Better::Lower, &some, &[0.2; 8], Design::Pairs);
    assert_eq!((found.outcome, found.absolute), (Outcome::Regression, false), "{found:?}");
}

#[test]
fn what_was_not_measured_is_said() {
    let subject = |base: Vec<Option<f64>>, new: Vec<Option<f64>>| Subject {
        name: "m".to_owned(),
        unit: "ns".to_owned(),
        better: Better::Lower,
        base,
        new,
    };
    let find = |subject, design| compare(vec![subject], design, TOLERANCE).remove(0);
    let found = find(subject(vec![None; 8], vec![Some(1.0); 8]), Design::Sets);
    assert_eq!(found.outcome, Outcome::Inconclusive);
    assert_eq!(found.reason.as_deref(), Some("it was not measured in the base"));
    let mut base = vec![Some(1.0); 8];
    base[3] = None;
    let found = find(subject(base, vec![Some(1.0); 8]), Design::Pairs);
    assert_eq!((found.base.len(), found.new.len()), (7, 7));
    assert_eq!(found.outcome, Outcome::NoChange, "{found:?}");
    assert!(found.reason.unwrap().contains("left out"));
    assert_eq!(worst(&[]), Outcome::NotJudged);
}

#[test]
fn figures_that_are_no_numbers_of_this_world_end_in_no_nonsense() {
    for value in [f64::MAX, f64::MIN_POSITIVE, -1.0, 0.0] {
        for design in [Design::Pairs, Design::Sets] {
            let found = one(Better::Lower, &[value; 8], &[1.0; 8], design);
            let numbers = found.interval.into_iter().flatten().chain(found.change);
            assert!(numbers.into_iter().all(f64::is_finite), "{found:?}");
        }
    }
}
