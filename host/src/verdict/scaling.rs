//! How a scenario with levels scales: its throughput and concurrency at each of them, the Universal
//! Scalability Law through them, and what limits it, as far as it was measured.
//!
//! Concurrency is not asked of anybody: by Little's law it is the throughput times the mean response time,
//! both taken each second of what ended in it. The first second of a level is left out, it is its ramp.
//! Nothing is claimed beyond twice what was measured, and no operation or resource without its figures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    course::Courses,
    derived::DerivedValue,
    evaluate::Scene,
    growth::seed,
    line::Line,
    samples::Samples,
    usl::{Blocks, Usl, drawn, interval, mean},
};
use crate::{
    metric::{Builtin, Cell, Kind, MetricId, Selector, Unit},
    plan::{LevelTime, Plan, ScalingValue, Scenario, threshold::Aggregate},
};

/// Of what was asked, what counts as achieved.
const ACHIEVED: f64 = 0.95;
/// A law that is further from a level than this does not describe it.
const MISFIT: f64 = 0.2;
/// Samples of an operation at a level below which its mean is not compared.
const LEAST_SAMPLES: u64 = 20;
/// The gauge of a process under test.
const TARGET_CPU: &str = "target_cpu_percent";

/// An estimate and what it is of each law that was drawn.
type OfLaw<'a> = dyn Fn(f64, &dyn Fn(&Usl) -> f64) -> Estimate + 'a;
/// A figure of the levels' means.
type OfLevels<'a> = dyn Fn(&[(f64, f64)]) -> f64 + 'a;

/// How a scenario scales.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Scaling {
    /// The scenario.
    pub scenario: String,
    /// Whether its levels are rates (per second), or numbers of VUs.
    pub open: bool,
    /// What was measured at each level.
    pub levels: Vec<LevelFacts>,
    /// linear, less than linear, more than linear or retrograde.
    pub class: Option<String>,
    /// Throughput per second of one in the system (λ).
    pub lambda: Option<Estimate>,
    /// Contention (σ).
    pub sigma: Option<Estimate>,
    /// Coherence (κ).
    pub kappa: Option<Estimate>,
    /// How many in the system get the most done (N*), where that is within twice what was measured.
    pub peak_concurrency: Option<Estimate>,
    /// The most that gets done, per second (X*), likewise; where the law claims none and the highest rate was
    /// not achieved, the most that was measured.
    pub peak_throughput: Option<Estimate>,
    /// The highest level up to which 95 % of what was asked was achieved; of VUs, the number from which on
    /// more of them bring less than they should. Missing where it is beyond what was measured.
    pub knee: Option<f64>,
    /// What is expected of the system.
    pub expected: Option<f64>,
    /// Knee (or the highest level, where no knee was reached) divided by what is expected.
    pub headroom: Option<f64>,
    /// d log(mean response time) / d log(load): 0 where it stays, 1 where it grows like the load.
    pub elasticity: Option<f64>,
    /// The operation whose time grows most with the load.
    pub operation: Option<Growing>,
    /// The resource that was used up at the highest level.
    pub resource: Option<String>,
    /// What the reader should know.
    pub remarks: Vec<String>,
}

/// What was measured at a level.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LevelFacts {
    /// As it was written; the tag `level`.
    pub level: String,
    /// Iterations per second, or VUs.
    pub asked: f64,
    /// Iterations that ended without an error, per second.
    pub throughput: Option<f64>,
    /// Throughput divided by what was asked; rates only.
    pub achieved: Option<f64>,
    /// How many were in the system, by Little's law.
    pub concurrency: Option<f64>,
    /// Mean response time of the iterations of this level, nanoseconds.
    pub response_mean_ns: Option<f64>,
    /// Its 95th percentile.
    pub response_p95_ns: Option<f64>,
    /// Whether iterations that were cut off make these two lower bounds.
    pub at_least: bool,
    /// Share of the iterations that threw.
    pub errors: Option<f64>,
    /// What was used of the resources that were measured: percent of one core, or nanoseconds.
    pub resources: BTreeMap<String, f64>,
}

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Where the truth is with 95 %, by block bootstrap over the seconds.
    pub interval: Option<[f64; 2]>,
}

/// An operation whose time grows with the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Growing {
    /// The operation.
    pub op: String,
    /// The metric that shows it.
    pub metric: String,
    /// d log(mean) / d log(concurrency).
    pub elasticity: f64,
    /// Its mean at the highest level divided by that at the lowest.
    pub factor: f64,
}

fn of_level(scenario: &str, level: &str) -> Selector {
    let pairs = [("scenario", scenario), ("level", level)];
    Selector(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
}

/// The courses that the scalings of a plan are found in.
pub(super) fn needs(plan: &Plan) -> Vec<(MetricId, Selector)> {
    let mut needs = Vec::new();
    for scenario in &plan.scenarios {
        for LevelTime { level, .. } in scenario.level_times() {
            let selector = of_level(&scenario.name, &level.name);
            for metric in [Builtin::IterationsEnded, Builtin::IterationsEndedSeconds] {
                needs.push((metric.id(), selector.clone()));
            }
        }
    }
    if !needs.is_empty() {
        needs.push((Builtin::RunnerCpuPercent.id(), Selector::default()));
        needs.extend(plan.registry.find(TARGET_CPU).map(|id| (id, Selector::default())));
    }
    needs
}

/// How each scenario with levels scales.
pub(super) fn all(scene: &Scene<'_>, courses: &Courses) -> Vec<Scaling> {
    let driven = scene.plan.scenarios.iter().filter(|scenario| scenario.levels().is_some());
    driven.map(|scenario| of_scenario(scene, courses, scenario)).collect()
}

/// A figure of it, as a derived metric.
pub(super) fn value(
    scalings: &[Scaling],
    name: &str,
    scenario: &str,
    value: ScalingValue,
) -> DerivedValue {
    let missing = |why: &str| DerivedValue::missing(name, why.to_owned());
    let Some(scaling) = scalings.iter().find(|scaling| scaling.scenario == scenario) else {
        return missing("the scenario has no levels");
    };
    let plain = |value: Option<f64>| value.map(|value| Estimate { value, interval: None });
    let found = match value {
        ScalingValue::Knee => plain(scaling.knee),
        ScalingValue::Peak => scaling.peak_throughput,
        ScalingValue::Sigma => scaling.sigma,
        ScalingValue::Kappa => scaling.kappa,
        ScalingValue::Lambda => scaling.lambda,
        ScalingValue::Headroom => plain(scaling.headroom),
        ScalingValue::Elasticity => plain(scaling.elasticity),
    };
    match found {
        Some(Estimate { value, interval }) => {
            DerivedValue::estimate(name, value, interval, scaling.levels.len() as u64)
        }
        None if scaling.remarks.is_empty() => missing("too little was measured"),
        None => missing(&scaling.remarks.join("; ")),
    }
}

fn of_scenario(scene: &Scene<'_>, courses: &Courses, scenario: &Scenario) -> Scaling {
    let open = scenario.executor.is_open();
    let times = scenario.level_times();
    let blocks: Vec<Blocks> =
        times.iter().map(|time| blocks(scene, courses, scenario, time)).collect();
    let levels: Vec<_> = times
        .iter()
        .zip(&blocks)
        .map(|(time, blocks)| level(scene, courses, scenario, time, blocks))
        .collect();
    let mut scaling = Scaling {
        scenario: scenario.name.clone(),
        open,
        levels,
        class: None,
        lambda: None,
        sigma: None,
        kappa: None,
        peak_concurrency: None,
        peak_throughput: None,
        knee: None,
        expected: scenario.levels().and_then(|levels| levels.expected),
        headroom: None,
        elasticity: None,
        operation: None,
        resource: None,
        remarks: Vec::new(),
    };
    scaling.elasticity =
        elasticity(scaling.levels.iter().filter_map(|level| {
            (!level.at_least).then_some((level.asked, level.response_mean_ns?))
        }));
    scaling.law(blocks, seed(scene.plan.seed, &scenario.name));
    scaling.find_knee();
    scaling.operation = operation(scene, scenario, &scaling.levels);
    scaling.find_resource(scene);
    scaling
}

/// The whole seconds of a level, without its first.
fn blocks(
    scene: &Scene<'_>,
    courses: &Courses,
    scenario: &Scenario,
    time: &LevelTime<'_>,
) -> Blocks {
    let selector = of_level(&scenario.name, &time.level.name);
    let (from, to) = (time.from.as_secs_f64() + 1.0, time.to.as_secs_f64());
    let end = scene.end.as_secs_f64().max(scene.elapsed.as_secs_f64());
    let course = |metric: Builtin| -> BTreeMap<u64, f64> {
        let course = courses.of(metric.id(), &selector);
        let figures = course.map(|course| course.figures(Aggregate::Rate, 1.0, end));
        let inside = figures.into_iter().flatten().filter(|it| it.0 >= from && it.1 <= to);
        inside.map(|(from, _, value)| (from as u64, value)).collect()
    };
    let ended = course(Builtin::IterationsEnded);
    let seconds = course(Builtin::IterationsEndedSeconds);
    seconds.iter().map(|(at, n)| (*n, ended.get(at).copied().unwrap_or(0.0))).collect()
}

fn level(
    scene: &Scene<'_>,
    courses: &Courses,
    scenario: &Scenario,
    time: &LevelTime<'_>,
    blocks: &Blocks,
) -> LevelFacts {
    let selector = of_level(&scenario.name, &time.level.name);
    let open = scenario.executor.is_open();
    let metric = if open { Builtin::IterationResponseTime } else { Builtin::IterationDuration };
    let samples = Samples::of(&scene.cell(metric.id(), &selector));
    let figure = |aggregate| samples.figure(aggregate, metric.unit().step(), 0.0);
    let (mean_time, p95) = (figure(Aggregate::Mean), figure(Aggregate::Percentile(95.0)));
    let errors = match scene.cell(Builtin::IterationErrors.id(), &selector) {
        Cell::Rate(rate) => rate.share(),
        _ => None,
    };
    let measured = (!blocks.is_empty()).then(|| mean(blocks));
    let throughput = measured.map(|(_, x)| x);
    let mut resources = BTreeMap::new();
    for name in [Builtin::RunnerCpuPercent.name(), TARGET_CPU] {
        resources.extend(busy(scene, courses, name, time).map(|it| (name.to_owned(), it)));
    }
    let wait = Builtin::DbWaitDuration;
    let wait = Samples::of(&scene.cell(wait.id(), &selector)).figure(Aggregate::Mean, 1.0, 0.0);
    resources.extend(wait.map(|wait| (Builtin::DbWaitDuration.name().to_owned(), wait.low)));
    LevelFacts {
        level: time.level.name.clone(),
        asked: time.level.asked,
        throughput,
        achieved: throughput.filter(|_| open).map(|x| x / time.level.asked),
        concurrency: measured.map(|(n, _)| n),
        response_mean_ns: mean_time.map(|figure| figure.low),
        response_p95_ns: p95.map(|figure| figure.low),
        at_least: mean_time.is_some_and(|figure| figure.high > figure.low),
        errors,
        resources,
    }
}

/// The mean of a gauge while a level was under way; of processes under test, where there is one.
fn busy(scene: &Scene<'_>, courses: &Courses, name: &str, time: &LevelTime<'_>) -> Option<f64> {
    let registry = &scene.plan.registry;
    let id = registry.find(name).filter(|id| registry.get(*id).kind == Kind::Gauge)?;
    let mut targets: Vec<_> = scene
        .totals
        .series()
        .iter()
        .filter(|it| it.0.metric == id)
        .map(|it| it.0.tags.target)
        .collect();
    targets.sort_unstable();
    targets.dedup();
    if targets.len() > 1 {
        return None;
    }
    let figures = courses.of(id, &Selector::default())?.figures(
        Aggregate::Mean,
        1.0,
        scene.elapsed.as_secs_f64(),
    );
    let (from, to) = (time.from.as_secs_f64() + 1.0, time.to.as_secs_f64());
    let inside: Vec<_> =
        figures.iter().filter(|it| it.0 >= from && it.1 <= to).map(|it| it.2).collect();
    (!inside.is_empty()).then(|| inside.iter().sum::<f64>() / inside.len() as f64)
}

/// The slope of log y over log x; `None` with fewer than three points.
fn elasticity(points: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let logs: Vec<_> =
        points.filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    Line::fit(&logs).filter(|_| logs.len() >= 3).map(|line| line.slope)
}

/// The operation whose mean time grows most with what is in the system, if one grows by a fifth.
fn operation(scene: &Scene<'_>, scenario: &Scenario, levels: &[LevelFacts]) -> Option<Growing> {
    let times = [
        Builtin::BusRequestDuration,
        Builtin::BusPublishDuration,
        Builtin::DbQueryDuration,
        Builtin::EffectDuration,
    ];
    let pairs = scene.plan.ops.iter().flat_map(|op| times.map(|metric| (op, metric)));
    let growing = pairs.filter_map(|(op, metric)| {
        let points = levels.iter().filter_map(|level| {
            let mut selector = of_level(&scenario.name, &level.level);
            selector.0.insert("op".to_owned(), op.clone());
            let samples = Samples::of(&scene.cell(metric.id(), &selector));
            let mean = samples.figure(Aggregate::Mean, Unit::Nanoseconds.step(), 0.0)?;
            (mean.samples >= LEAST_SAMPLES).then_some((level.concurrency?, mean.low))
        });
        let points: Vec<_> = points.collect();
        let factor = points.last()?.1 / points.first()?.1;
        let elasticity = elasticity(points.iter().copied())?;
        let (op, metric) = (op.clone(), metric.name().to_owned());
        (factor >= 1.2 && elasticity > 0.0).then_some(Growing { op, metric, elasticity, factor })
    });
    growing.max_by(|a, b| a.elasticity.total_cmp(&b.elasticity))
}

impl Scaling {
    /// Fits the law and finds its class.
    fn law(&mut self, mut blocks: Vec<Blocks>, seed: u64) {
        blocks.retain(|blocks| {
            let (n, x) = mean(blocks);
            n > 0.0 && x > 0.0
        });
        let points: Vec<_> = blocks.iter().map(mean).collect();
        let missing = self.levels.len() - points.len();
        if missing > 0 {
            self.remarks
                .push(format!("{missing} of {} levels have no throughput", self.levels.len()));
        }
        let Some(law) = Usl::fit(&points) else {
            self.remarks.push(format!("{} levels have figures; the law takes 3", points.len()));
            return;
        };
        let least = blocks.iter().map(Vec::len).min().unwrap_or(0);
        let drawn = drawn(&blocks, seed);
        let laws: Vec<_> = drawn.iter().filter_map(|points| Usl::fit(points)).collect();
        let estimate = |value: f64, of: &dyn Fn(&Usl) -> f64| Estimate {
            value,
            interval: interval(value, laws.iter().map(of).collect(), least),
        };
        self.lambda = Some(estimate(law.lambda, &|it| it.lambda));
        self.sigma = Some(estimate(law.sigma, &|it| it.sigma));
        self.kappa = Some(estimate(law.kappa, &|it| it.kappa));
        self.find_peak(&law, &points, &estimate);
        if self.peak_throughput.is_none() && self.is_saturated() {
            let highest = |points: &[(f64, f64)]| points.iter().map(|it| it.1).fold(0.0, f64::max);
            let value = highest(&points);
            let again = drawn.iter().map(|points| highest(points)).collect();
            self.peak_throughput =
                Some(Estimate { value, interval: interval(value, again, least) });
        }
        self.class = Some(class(&points, &drawn, least).to_owned());
    }

    /// The peak of a law that fits what was measured, where that is not far beyond it.
    fn find_peak(&mut self, law: &Usl, points: &[(f64, f64)], estimate: &OfLaw<'_>) {
        let miss = |(n, x): &(f64, f64)| (law.throughput(*n) / x - 1.0).abs();
        let misfit = points.iter().map(miss).fold(0.0, f64::max);
        if misfit > MISFIT {
            self.remarks.push(format!(
                "the law misses what was measured by up to {:.0} %: its coefficients say little here",
                misfit * 100.0
            ));
            return;
        }
        let most = points.iter().map(|(n, _)| *n).fold(0.0, f64::max);
        match (law.peak(), law.ceiling()) {
            (Some((n, x)), _) if n <= 2.0 * most => {
                let of = |part: fn((f64, f64)) -> f64| {
                    move |law: &Usl| law.peak().map_or(f64::NAN, part)
                };
                self.peak_concurrency = Some(estimate(n, &of(|peak| peak.0)));
                self.peak_throughput = Some(estimate(x, &of(|peak| peak.1)));
            }
            (None, Some(ceiling)) if law.throughput(2.0 * most) >= 0.9 * ceiling => {
                let of =
                    |law: &Usl| law.ceiling().or(law.peak().map(|it| it.1)).unwrap_or(f64::NAN);
                self.peak_throughput = Some(estimate(ceiling, &of));
            }
            _ => self.remarks.push(format!(
                "the highest throughput is beyond what was measured ({most:.1} in the system)"
            )),
        }
    }

    /// Whether more was asked at the end than was done.
    fn is_saturated(&self) -> bool {
        let last = self.levels.last().and_then(|level| level.achieved);
        last.is_some_and(|achieved| achieved < ACHIEVED)
    }

    fn find_knee(&mut self) {
        let highest = self.levels.last().map(|level| level.asked);
        let beyond = "the knee is beyond what was measured";
        if self.open {
            let good = |level: &LevelFacts| level.achieved.is_some_and(|share| share >= ACHIEVED);
            let reached = self.levels.iter().take_while(|level| good(level)).count();
            if reached == self.levels.len() {
                self.remarks.push(format!("every level was achieved: {beyond}"));
            } else if let Some(last) = reached.checked_sub(1).and_then(|last| self.levels.get(last))
            {
                self.knee = Some(last.asked);
            } else {
                self.remarks.push("the lowest level was not achieved".to_owned());
                return;
            }
        } else if let (Some(peak), Some(lambda)) = (self.peak_throughput, self.lambda) {
            let knee = peak.value / lambda.value;
            self.knee =
                Some(knee).filter(|knee| highest.is_some_and(|highest| *knee <= 2.0 * highest));
        }
        let usable = self.knee.or(highest);
        self.headroom = self.expected.zip(usable).map(|(expected, usable)| usable / expected);
    }

    /// What was used up at the highest level.
    fn find_resource(&mut self, scene: &Scene<'_>) {
        let Some(last) = self.levels.last() else { return };
        let at = |name: &str| last.resources.get(name).copied();
        let cores = scene.facts.map_or(0, |facts| facts.runner.cores);
        if at(TARGET_CPU).is_some() || !scene.plan.services.is_empty() {
            self.remarks.push(
                "the runner shares its cores with what it drives: it takes from what it measures"
                    .to_owned(),
            );
        }
        let runner = at(Builtin::RunnerCpuPercent.name());
        let busy = runner.filter(|used| cores > 0 && *used >= 90.0 * f64::from(cores));
        let target = at(TARGET_CPU).filter(|used| *used >= 90.0);
        let wait = at(Builtin::DbWaitDuration.name()).zip(last.response_mean_ns);
        self.resource = if let Some(used) = busy {
            self.remarks.push("the runner was the limit: the system may do more".to_owned());
            Some(format!("runner CPU ({used:.0} % of {cores} cores)"))
        } else if let Some(used) = target {
            Some(format!("target CPU ({used:.0} % of one core)"))
        } else {
            wait.filter(|(wait, response)| *wait >= response / 2.0).map(|(wait, _)| {
                format!("database connections ({:.1} ms waited for one)", wait / 1e6)
            })
        };
    }
}

/// How throughput follows what is in the system, in words; what chance could have done is linear.
fn class(points: &[(f64, f64)], drawn: &[Vec<(f64, f64)>], blocks: usize) -> &'static str {
    let last = points.len() - 1;
    let best = (0..points.len()).max_by(|a, b| points[*a].1.total_cmp(&points[*b].1)).unwrap_or(0);
    let bounds = |of: &OfLevels<'_>| {
        let value = of(points);
        (value, interval(value, drawn.iter().map(|points| of(points)).collect(), blocks))
    };
    let (fallen, ends) = bounds(&|points| points[last].1 / points[best].1);
    if fallen < 0.95 && ends.is_some_and(|[_, high]| high < 1.0) {
        return "retrograde";
    }
    // Throughput per one in the system, at the end compared with the beginning.
    let (efficiency, ends) =
        bounds(&|points| points[last].1 / points[last].0 / (points[0].1 / points[0].0));
    let [low, high] = ends.unwrap_or([0.0, f64::INFINITY]);
    match efficiency {
        _ if efficiency < 0.9 && high < 1.0 => "less than linear",
        _ if efficiency > 1.1 && low > 1.0 => "more than linear",
        _ => "linear",
    }
}
