//! What happened when: the timeline of a run, what was asked of the system, and what befell it.
//!
//! It is beside the summary, which is of the run as a whole: charts are made of it, verdicts are not.
//! Everything in it is bounded.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Instant,
    metric::Timeline,
    plan::{Executor, Plan, Scenario},
};

/// Events that are kept; a target that is restarted each second of a day has more.
const MOST_MARKERS: usize = 400;

/// What happened when. Times are in seconds from the load's beginning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chronicle {
    /// What was measured, step by step.
    pub timeline: Timeline,
    /// From the load's beginning to its end.
    pub duration_s: f64,
    /// What was asked for, as planned.
    pub asked: Vec<Asked>,
    /// What happened, in order.
    pub markers: Vec<Marker>,
    /// Events beyond the limit.
    pub markers_dropped: u64,
}

/// A stretch of a scenario in which what is asked for is one straight line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The scenario.
    pub scenario: String,
    /// The stage's name; empty without stages.
    pub stage: String,
    /// Whether `from` and `to` are arrivals per second, or VUs.
    pub open: bool,
    /// When it begins.
    pub from_s: f64,
    /// When it ends.
    pub to_s: f64,
    /// What is asked for at its beginning.
    pub from: f64,
    /// What is asked for at its end.
    pub to: f64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// What it was.
    pub kind: MarkerKind,
    /// When it was, or began.
    pub at_s: f64,
    /// When it was over, for what takes its time.
    pub until_s: Option<f64>,
    /// To whom: the scenario's or target's name, or the operation.
    pub what: String,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkerKind {
    /// A scenario ran.
    Scenario,
    /// A target was asked to go.
    Down,
    /// A target was ready again: from when it was asked to come back.
    Restart,
    /// A target ended and nobody had asked for it.
    Died,
    /// Operations failed while a target was away.
    Outage,
    /// The run was told to stop before its time.
    Stop,
}

impl MarkerKind {
    /// In words, for a report.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Scenario => "scenario",
            Self::Down => "asked to go",
            Self::Restart => "restart",
            Self::Died => "died",
            Self::Outage => "outage",
            Self::Stop => "stopped",
        }
    }
}

/// Something that happened, on the run's own timeline.
#[derive(Clone, Debug)]
pub(super) struct Happening {
    pub(super) kind: MarkerKind,
    pub(super) at: Instant,
    pub(super) until: Option<Instant>,
    pub(super) what: String,
}

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Happenings {
    all: Vec<Happening>,
    dropped: u64,
}

impl Happenings {
    pub(super) fn push(&mut self, happening: Happening) {
        if self.all.len() < MOST_MARKERS {
            self.all.push(happening);
        } else {
            self.dropped += 1;
        }
    }

    pub(super) fn append(&mut self, others: Vec<Happening>) {
        for other in others {
            self.push(other);
        }
    }
}

/// When a scenario began and ended.
pub(super) type Ran = (Option<Instant>, Option<Instant>);

/// The chronicle of a run, at its end. `ran` is of each scenario in the plan's order.
pub(super) fn finish(
    timeline: Timeline,
    plan: &Plan,
    ran: &[Ran],
    happened: Happenings,
    start: Instant,
    duration: Duration,
) -> Chronicle {
    let seconds = |at: Instant| at.since(start).as_secs_f64();
    let duration_s = duration.as_secs_f64();
    let mut asked = Vec::new();
    let mut markers: Vec<_> = (happened.all.into_iter())
        .map(|Happening { kind, at, until, what }| Marker {
            kind,
            at_s: seconds(at),
            until_s: until.map(seconds),
            what,
        })
        .collect();
    for (scenario, (began, ended)) in plan.scenarios.iter().zip(ran) {
        let Some(began) = began else { continue };
        let at_s = seconds(*began);
        let until_s = Some(ended.map_or(duration_s, seconds));
        let what = scenario.name.clone();
        markers.push(Marker { kind: MarkerKind::Scenario, at_s, until_s, what });
        if scenario.search().is_none() {
            asked.extend(asks(scenario, at_s));
        }
    }
    markers.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
    Chronicle { timeline, duration_s, asked, markers, markers_dropped: happened.dropped }
}

/// What a scenario that began then asks for, stage by stage.
fn asks(scenario: &Scenario, began_s: f64) -> Vec<Asked> {
    let open = scenario.executor.is_open();
    let flat = |value: f64, length: Duration| (vec![(length, value, String::new())], value);
    let (stages, mut from) = match &scenario.executor {
        Executor::ConstantArrivalRate { rate, time_unit, duration, .. } => {
            flat(rate / time_unit.as_secs_f64(), *duration)
        }
        Executor::RampingArrivalRate { start_rate, time_unit, stages, .. } => {
            let unit = time_unit.as_secs_f64();
            let stages = stages.iter();
            let stages = stages.map(|it| (it.duration, it.target / unit, it.name.clone()));
            (stages.collect(), start_rate / unit)
        }
        Executor::RampingVus { start_vus, stages, .. } => {
            let stages = stages.iter();
            let stages = stages.map(|it| (it.duration, f64::from(it.target), it.name.clone()));
            (stages.collect(), f64::from(*start_vus))
        }
        Executor::ConstantVus { vus, duration, .. } => flat(f64::from(*vus), *duration),
        // They end when their work is done.
        Executor::SharedIterations { .. } | Executor::PerVuIterations { .. } => return Vec::new(),
    };
    let mut at = began_s;
    let mut asked = Vec::new();
    for (length, to, stage) in stages {
        let to_s = at + length.as_secs_f64();
        if !length.is_zero() {
            let scenario = scenario.name.clone();
            asked.push(Asked { scenario, stage, open, from_s: at, to_s, from, to });
        }
        (at, from) = (to_s, to);
    }
    asked
}
