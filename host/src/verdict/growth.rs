//! How much a metric grows: the slope of its figure, second by second, over time, over the number of
//! stages, or over what a counter has counted. SEMANTICS §2.
//!
//! The figure of each whole second of the load is one point. Its place is the middle of the second: in
//! time; by the number of its stage, where growth is per stage (a second that two stages share has no
//! place); or by what the counter had counted until then.

use super::{
    course::Courses,
    derived::DerivedValue,
    evaluate::Scene,
    line::{LEAST_POINTS, slope},
};
use crate::{
    metric::{MetricId, Selector},
    plan::{Derived, DerivedKind, Growth, Per, Plan, threshold::Aggregate},
};

/// Stages below which nothing can be said of growth from one to the next.
const LEAST_STAGES: usize = 3;

/// The courses that the growths of a plan are found in.
pub(super) fn needs(plan: &Plan) -> Vec<(MetricId, Selector)> {
    let growths = plan.derived.iter().filter_map(|derived| match &derived.kind {
        DerivedKind::Growth(growth) => Some(growth),
        _ => None,
    });
    let needs = growths.flat_map(|growth| {
        let counter = match &growth.per {
            Per::Count { metric, selector, .. } => Some((metric, selector)),
            Per::Time(_) | Per::Stage(_) => None,
        };
        [Some((&growth.metric, &growth.selector)), counter].into_iter().flatten()
    });
    needs
        .filter_map(|(metric, selector)| Some((plan.registry.find(metric)?, selector.clone())))
        .collect()
}

/// What a growth came to.
pub(super) fn value(
    scene: &Scene<'_>,
    courses: &Courses,
    derived: &Derived,
    growth: &Growth,
) -> DerivedValue {
    let missing = |why: String| DerivedValue::missing(&derived.name, why);
    let Some(points) = points(scene, courses, growth) else {
        return missing(
            "samples of it were folded into `other`, beyond the limit on series".to_owned(),
        );
    };
    if points.len() < LEAST_POINTS {
        return missing(format!(
            "{} seconds have a figure; it takes {LEAST_POINTS} for a slope with an interval",
            points.len()
        ));
    }
    if let Per::Stage(_) = growth.per {
        let mut stages: Vec<_> = points.iter().map(|(stage, _)| *stage as usize).collect();
        stages.dedup();
        if stages.len() < LEAST_STAGES {
            return missing(format!(
                "{} stages have figures; it takes {LEAST_STAGES} for a growth per stage",
                stages.len()
            ));
        }
    }
    match slope(&points, growth.relative, seed(scene.plan.seed, &derived.name)) {
        Some(found) => {
            let scale = if growth.relative { 100.0 } else { 1.0 };
            let interval = Some(found.interval.map(|end| end * scale));
            let samples = points.len() as u64;
            DerivedValue::estimate(&derived.name, found.value * scale, interval, samples)
        }
        None => missing("nothing changed that it could be counted against".to_owned()),
    }
}

/// One seed for each derived metric of a run.
pub(super) fn seed(run: u64, name: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&run.to_le_bytes());
    hasher.update(name.as_bytes());
    let mut mixed = [0; 8];
    mixed.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(mixed)
}

/// The figure of each second and its place; `None` where samples have lost their tags.
fn points(scene: &Scene<'_>, courses: &Courses, growth: &Growth) -> Option<Vec<(f64, f64)>> {
    let registry = &scene.plan.registry;
    let end = scene.end.as_secs_f64();
    let figures = |metric: &str, selector: &Selector, aggregate| {
        let id = registry.find(metric)?;
        if scene.is_folded(id, selector) {
            return None;
        }
        let course = courses.of(id, selector)?;
        Some(course.figures(aggregate, registry.get(id).unit.step(), end))
    };
    let figures_of_it = figures(&growth.metric, &growth.selector, growth.aggregate)?;
    let place: Box<dyn Fn(f64, f64) -> Option<f64>> = match &growth.per {
        Per::Time(unit) => {
            let unit = unit.as_secs_f64();
            Box::new(move |from, to| Some(f64::midpoint(from, to) / unit))
        }
        Per::Stage(scenario) => {
            let stages = stages(scene.plan, scenario);
            Box::new(move |from, to| {
                let whole = |(begin, end): &(f64, f64)| *begin <= from && to <= *end;
                stages.iter().position(whole).map(|stage| stage as f64)
            })
        }
        Per::Count { number, metric, selector } => {
            let mut sum = 0.0;
            let counted: Vec<_> = figures(metric, selector, Aggregate::Count)?
                .into_iter()
                .map(|(from, to, count)| {
                    let before = sum;
                    sum += count;
                    (from, to, before, sum)
                })
                .collect();
            let number = *number;
            Box::new(move |from, to| {
                let at = f64::midpoint(from, to);
                let index = counted.partition_point(|(_, end, ..)| *end <= at);
                let (from, to, before, after) = counted.get(index)?;
                let share = (at - from) / (to - from);
                Some((after - before).mul_add(share, *before) / number)
            })
        }
    };
    Some(
        figures_of_it.into_iter().filter_map(|(from, to, y)| Some((place(from, to)?, y))).collect(),
    )
}

/// When the stages of a scenario begin and end, in seconds from the start of the first scenario; those
/// that take no time are none.
fn stages(plan: &Plan, scenario: &str) -> Vec<(f64, f64)> {
    let Some(scenario) = plan.scenarios.iter().find(|it| it.name == scenario) else {
        return Vec::new();
    };
    scenario
        .stage_times()
        .into_iter()
        .map(|(from, to)| (from.as_secs_f64(), to.as_secs_f64()))
        .filter(|(from, to)| to > from)
        .collect()
}
