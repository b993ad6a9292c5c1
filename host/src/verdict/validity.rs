//! Whose fault was it: the system's, or this runner's. SEMANTICS §5.
//!
//! Lag of the runner only makes times longer and rates lower. So a time limit that is kept in spite of
//! it stands, and one that is missed does not; with a lower limit on a time it is the other way round.

use super::{
    Figure, ScenarioFacts,
    derived::{self, Recovery},
    evaluate::{Evaluated, Outcome, Subject, wants_less, wants_more},
    window::{Need, View},
};
use crate::{
    metric::{Builtin, Kind, MetricId, Selector},
    plan::{
        Derived, DerivedKind, GeneratorLimited, Plan,
        threshold::{Aggregate, Operand, Window},
    },
};

/// The runner's own part in delays; its worst p99 counts.
pub(super) const RUNNER: [(Builtin, &str); 3] = [
    (Builtin::DispatchRelease, "late releases"),
    (Builtin::DispatchStart, "late starts"),
    (Builtin::RunnerLoopLag, "loop lag"),
];

/// Times of an operation by itself, blind to the wait for a VU.
pub(super) const SERVICE_TIMES: [Builtin; 7] = [
    Builtin::BusConnectDuration,
    Builtin::BusRequestDuration,
    Builtin::BusPublishDuration,
    Builtin::BusDeliveryDuration,
    Builtin::EffectDuration,
    Builtin::DbQueryDuration,
    Builtin::IterationDuration,
];

/// Times that a service takes itself, that are taken of the guest's CPU, or that are the runner's own
/// part: nothing that the runner does to the load makes them untrue.
const OWN_JUDGE: [Builtin; 5] = [
    Builtin::ServiceHandleDuration,
    Builtin::GuestCpuTime,
    Builtin::RunnerLoopLag,
    Builtin::DispatchRelease,
    Builtin::DispatchStart,
];

/// What was found out about an assertion.
#[derive(Debug, PartialEq)]
pub(super) enum Finding {
    Invalid(String),
    Insufficient(String),
    Remark(String),
}

/// What the runner did to this assertion; `None` if nothing that matters.
pub(super) fn examine(subject: &Subject<'_>, view: View, evaluated: &Evaluated) -> Option<Finding> {
    if !matches!(evaluated.outcome, Outcome::Holds | Outcome::Missed) {
        return None;
    }
    if subject.scene.is_time(subject.metric) && is_value(subject.assertion.aggregate) {
        if OWN_JUDGE.iter().any(|builtin| builtin.id() == subject.metric) {
            return None;
        }
        let part = |metric, selector: &Selector| subject.runner_figure(metric, selector, view);
        return short_schedule(subject)
            .or_else(|| lag(subject, evaluated, evaluated.limit, part))
            .or_else(|| open_service_time(subject, view, evaluated));
    }
    let name = &subject.scene.plan.registry.get(subject.metric).name;
    if let Some(recovery) = subject.scene.recoveries.recovery(subject.scene, name) {
        return recovery_of(subject, evaluated, &recovery);
    }
    found_rate(subject, evaluated, name).or_else(|| throughput(subject, evaluated))
}

/// A rate that was asked for and not found, because the runner could not make it.
fn found_rate(subject: &Subject<'_>, evaluated: &Evaluated, name: &str) -> Option<Finding> {
    let of_search = |derived: &Derived| {
        derived.name == name && matches!(derived.kind, DerivedKind::Search { .. })
    };
    let search = subject.scene.facts?.search.as_ref()?;
    let missed = evaluated.outcome == Outcome::Missed && wants_more(subject.assertion.comparison);
    let concerned = subject.scene.plan.derived.iter().any(of_search);
    (concerned && missed && search.runner_limited).then(|| {
        let rate = search.max_rate.unwrap_or(0.0);
        invalid(subject, format!("the runner was the limit: the system does at least {rate}/s"))
    })
}

/// A recovery is found in times: the runner's lag after the stage delays it by making them longer than
/// normal.
fn recovery_of(
    subject: &Subject<'_>,
    evaluated: &Evaluated,
    recovery: &Recovery,
) -> Option<Finding> {
    let scene = subject.scene;
    if !scene.is_time(recovery.metric) {
        return None;
    }
    let (aggregate, window) = (Aggregate::Percentile(99.0), Window::After(recovery.from));
    let part = |metric: Builtin, selector: &Selector| {
        scene.views(metric.id(), selector, aggregate, Some(window)).0.first()?.figure
    };
    short_schedule(subject).or_else(|| lag(subject, evaluated, Some(recovery.normal), part))
}

/// Whether an aggregate of a time is a time.
const fn is_value(aggregate: Aggregate) -> bool {
    !matches!(aggregate, Aggregate::Count)
}

/// The scenario that a selector names; empty if it names none.
pub(super) fn scenario_of(selector: &Selector) -> Selector {
    let named = selector.0.get_key_value("scenario");
    Selector(named.map(|(key, value)| (key.clone(), value.clone())).into_iter().collect())
}

/// Facts of the scenarios that a threshold is about.
fn scenarios<'a>(subject: &'a Subject<'_>) -> impl Iterator<Item = &'a ScenarioFacts> {
    let named = subject.about.0.get("scenario");
    let all = subject.scene.facts.iter().flat_map(|facts| &facts.scenarios);
    all.filter(move |facts| named.is_none_or(|name| *name == facts.name))
}

/// Whether the plan wants a limited generator reported only: all of the scenarios concerned say so.
fn report_only(subject: &Subject<'_>) -> bool {
    let named = subject.about.0.get("scenario");
    let mut concerned = subject
        .scene
        .plan
        .scenarios
        .iter()
        .filter(|scenario| named.is_none_or(|name| *name == scenario.name))
        .peekable();
    concerned.peek().is_some()
        && concerned.all(|scenario| scenario.generator_limited == GeneratorLimited::Report)
}

fn invalid(subject: &Subject<'_>, why: String) -> Finding {
    if report_only(subject) { Finding::Remark(why) } else { Finding::Invalid(why) }
}

/// More than 1 % of a schedule missing by the runner's fault: the load was not applied.
fn short_schedule(subject: &Subject<'_>) -> Option<Finding> {
    let short = scenarios(subject).filter(|facts| is_short(facts));
    let generator_limited = |facts: &ScenarioFacts| {
        let scenario = subject.scene.plan.scenarios.iter().find(|one| one.name == facts.name);
        scenario.map_or(GeneratorLimited::Invalid, |scenario| scenario.generator_limited)
    };
    let worst = short.min_by_key(|facts| generator_limited(facts) == GeneratorLimited::Report)?;
    let why = format!(
        "the load was not applied: {} of {} arrivals of `{}` were late beyond a second or missing by \
         the runner's fault",
        worst.runner_short, worst.planned, worst.name
    );
    Some(match generator_limited(worst) {
        GeneratorLimited::Invalid => Finding::Invalid(why),
        GeneratorLimited::Report => Finding::Remark(why),
    })
}

fn is_short(facts: &ScenarioFacts) -> bool {
    facts.runner_short.saturating_mul(100) > facts.planned
}

/// The runner's own lateness above a tenth of the limit, where it could have made the outcome. `part` is
/// the figure of one of its parts.
fn lag(
    subject: &Subject<'_>,
    evaluated: &Evaluated,
    limit: Option<f64>,
    part: impl Fn(Builtin, &Selector) -> Option<Figure>,
) -> Option<Finding> {
    let comparison = subject.assertion.comparison;
    let holds = evaluated.outcome == Outcome::Holds;
    let spoilt = match (wants_less(comparison), wants_more(comparison)) {
        (true, _) => !holds,
        (_, true) => holds,
        _ => true,
    };
    let limit = limit?;
    if !spoilt {
        return None;
    }
    let scenario = scenario_of(subject.about);
    let everything = Selector::default();
    let late = RUNNER.iter().filter_map(|(metric, name)| {
        let selector = if *metric == Builtin::RunnerLoopLag { &everything } else { &scenario };
        let p99 = part(*metric, selector)?.low;
        (p99 > limit / 10.0).then_some((p99, name))
    });
    let (p99, name) = late.max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(invalid(
        subject,
        format!(
            "the runner itself was late: p99 of {name} is {}, above a tenth of the limit",
            milliseconds(p99)
        ),
    ))
}

/// A service time under a load that waited for VUs leaves the wait out.
fn open_service_time(subject: &Subject<'_>, view: View, evaluated: &Evaluated) -> Option<Finding> {
    if !SERVICE_TIMES.iter().any(|builtin| builtin.id() == subject.metric) {
        return None;
    }
    let limit = evaluated.limit?;
    let named = subject.threshold.selector.0.get("scenario");
    let open = subject.scene.plan.scenarios.iter().filter(|scenario| {
        scenario.executor.is_open() && named.is_none_or(|name| *name == scenario.name)
    });
    let waited = open.filter_map(|scenario| {
        let mut own = subject.threshold.selector.clone();
        own.0.insert("scenario".to_owned(), scenario.name.clone());
        if subject.scene.cell(subject.metric, &own).samples() == 0 {
            return None;
        }
        let selector = Selector([("scenario".to_owned(), scenario.name.clone())].into());
        let p99 = subject.runner_figure(Builtin::DispatchDelay, &selector, view)?.low;
        (p99 > limit / 10.0).then_some((p99, &scenario.name))
    });
    let (p99, name) = waited.max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(Finding::Insufficient(format!(
        "arrivals of `{name}` waited (p99 of dispatch_delay {}), which this time leaves out: judge \
         iteration_response_time",
        milliseconds(p99)
    )))
}

/// A minimum of throughput that was missed while the runner was the limit.
fn throughput(subject: &Subject<'_>, evaluated: &Evaluated) -> Option<Finding> {
    let assertion = subject.assertion;
    let counter = subject.scene.plan.registry.get(subject.metric).kind == Kind::Counter;
    let number = matches!(assertion.operand, Operand::Number(_));
    let minimum = match assertion.aggregate {
        Aggregate::Rate => counter,
        Aggregate::Count => counter && number,
        _ => false,
    };
    let missed = evaluated.outcome == Outcome::Missed;
    if !minimum || !missed || !wants_more(assertion.comparison) {
        return None;
    }
    let facts = subject.scene.facts?;
    if let Some(short) = scenarios(subject).find(|facts| is_short(facts)) {
        return Some(invalid(
            subject,
            format!(
                "the runner was the limit: {} of {} arrivals of `{}` are short by its fault",
                short.runner_short, short.planned, short.name
            ),
        ));
    }
    let runner = &facts.runner;
    let busy = runner.cores > 0 && runner.cpu_percent >= 90.0 * f64::from(runner.cores);
    busy.then(|| {
        invalid(
            subject,
            format!(
                "the runner was the limit: its threads used {:.0} % of {} cores",
                runner.cpu_percent, runner.cores
            ),
        )
    })
}

/// What validity needs per second beside a windowed figure of `metric`.
pub(super) fn beside(
    plan: &Plan,
    metric: MetricId,
    selector: &Selector,
) -> Vec<(MetricId, Selector)> {
    let scenario = scenario_of(selector);
    let mut needs: Vec<_> = RUNNER
        .iter()
        .map(|(builtin, _)| {
            let lag = *builtin == Builtin::RunnerLoopLag;
            (builtin.id(), if lag { Selector::default() } else { scenario.clone() })
        })
        .collect();
    if SERVICE_TIMES.iter().any(|builtin| builtin.id() == metric) {
        let open = plan.scenarios.iter().filter(|scenario| scenario.executor.is_open());
        needs.extend(open.map(|scenario| {
            let selector = Selector([("scenario".to_owned(), scenario.name.clone())].into());
            (Builtin::DispatchDelay.id(), selector)
        }));
    }
    needs
}

/// What validity needs per second beside the recovery times of a plan: the runner's part after their
/// stage.
pub(super) fn beside_recoveries(plan: &Plan) -> Vec<Need> {
    let recoveries = plan.derived.iter().filter_map(|derived| match &derived.kind {
        DerivedKind::RecoveryTime { metric, selector, stage, .. } => {
            let metric = plan.registry.find(metric)?;
            Some((metric, selector, Window::After(derived::stage_end(plan, stage)?)))
        }
        _ => None,
    });
    let needs = recoveries.flat_map(|(metric, selector, window)| {
        let beside = beside(plan, metric, selector).into_iter();
        let aggregate = Aggregate::Percentile(99.0);
        beside.map(move |(metric, selector)| Need { metric, selector, window, aggregate })
    });
    needs.collect()
}

fn milliseconds(nanos: f64) -> String {
    format!("{:.3} ms", nanos / 1e6)
}
