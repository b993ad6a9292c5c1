//! What happened when: the timeline of a run, what was asked of the system, and what befell it.
//!
//! It is beside the summary, which is of the run as a whole: charts are made of it, verdicts are not. A run
//! that goes on and the record of one that has ended write the same [`Diary`], of which the chronicle is made:
//! so a page that is made again from a record is the page that the run made. Everything in it is bounded.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Instant,
    metric::{Names, Registry, Snapshot, Timeline},
    plan::{Executor, Plan, Scenario},
    primitive::LogLevel,
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

/// A workload of a run: what a report tells of it beside the summary.
#[derive(Clone, Debug, Default)]
pub struct Chapter {
    /// What the workload is called.
    pub name: String,
    /// The rows that it covers.
    pub rows: Vec<String>,
    /// How many of the summary's thresholds are its own: they stand in the chapters' order.
    pub thresholds: usize,
    /// What happened when.
    pub chronicle: Chronicle,
    /// The text of a script; `None` for a component.
    pub source: Option<String>,
}

impl Chapter {
    /// What a run of a plan has to tell beside its summary.
    pub fn of(
        plan: &Plan,
        thresholds: usize,
        chronicle: Chronicle,
        source: Option<String>,
    ) -> Self {
        Self {
            name: plan.name.clone(),
            rows: plan.rows.iter().map(|row| row.name.clone()).collect(),
            thresholds,
            chronicle,
            source,
        }
    }
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

/// Something that happened, as the run tells it and its record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// When, or from when, on the run's clock.
    pub at: Instant,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// The run came to another phase.
    Phase {
        /// Its name.
        text: String,
    },
    /// Something worth a line.
    Note {
        /// In words.
        text: String,
    },
    /// A workload logged a line, or the host on its behalf.
    Log {
        /// How important.
        level: LogLevel,
        /// VU number, 0 outside VUs.
        vu: u32,
        /// The line.
        text: String,
    },
    /// A scenario began.
    Began {
        /// Its place in the plan.
        scenario: usize,
    },
    /// A scenario ended, or a shard's share of it: the last one counts.
    Ended {
        /// Its place in the plan.
        scenario: usize,
    },
    /// Something for the charts.
    Marked {
        /// What it was.
        marker: MarkerKind,
        /// When it was over, for what takes its time.
        until: Option<Instant>,
        /// To whom.
        text: String,
    },
    /// There was no room for further markers.
    Beyond {
        /// How many that were, so far.
        markers: u64,
    },
}

impl Happening {
    /// Something for the charts.
    pub const fn marked(
        marker: MarkerKind,
        at: Instant,
        until: Option<Instant>,
        text: String,
    ) -> Self {
        Self { at, what: What::Marked { marker, until, text } }
    }

    /// Whether it is words of which nobody bounds the number: these may be left out where there is no room.
    pub const fn is_words(&self) -> bool {
        matches!(self.what, What::Phase { .. } | What::Note { .. })
    }

    /// The same with every secret covered.
    #[must_use]
    pub fn covered(mut self, names: &Names) -> Self {
        match &mut self.what {
            What::Phase { text }
            | What::Note { text }
            | What::Log { text, .. }
            | What::Marked { text, .. } => *text = names.cover(text).into_owned(),
            What::Began { .. } | What::Ended { .. } | What::Beyond { .. } => {}
        }
        self
    }
}

/// What a chronicle is made of, as it comes in: from a run that goes on, or once more from its record.
#[derive(Clone, Debug, Default)]
pub struct Diary {
    timeline: Timeline,
    /// When each scenario began and ended, in the plan's order.
    ran: Vec<(Option<Instant>, Option<Instant>)>,
    marked: Vec<Happening>,
    dropped: u64,
    /// Of these, how many were told.
    told: u64,
}

impl Diary {
    /// The diary of a run of a plan.
    pub fn new(plan: &Plan) -> Self {
        Self { ran: vec![(None, None); plan.scenarios.len()], ..Self::default() }
    }

    /// Says when the load began; nothing that was measured before is taken.
    pub fn begin(&mut self, start: Instant) {
        self.timeline.begin(start);
    }

    /// Takes what a shard measured in an interval.
    pub fn observe(&mut self, snapshot: &Snapshot, registry: &Registry, names: &Names) {
        self.timeline.observe(snapshot, registry, names);
    }

    /// Takes what happened; false for a marker that there is no room for.
    pub fn take(&mut self, happening: &Happening) -> bool {
        let at = happening.at;
        match happening.what {
            What::Phase { .. } | What::Note { .. } | What::Log { .. } => {}
            What::Began { scenario } => {
                if let Some((began, _)) = self.ran.get_mut(scenario) {
                    *began = Some(at);
                }
            }
            What::Ended { scenario } => {
                if let Some((_, ended)) = self.ran.get_mut(scenario) {
                    *ended = Some(ended.map_or(at, |ended| ended.max(at)));
                }
            }
            What::Marked { .. } if self.marked.len() >= MOST_MARKERS => {
                self.dropped += 1;
                return false;
            }
            What::Marked { .. } => self.marked.push(happening.clone()),
            What::Beyond { markers } => self.dropped = markers,
        }
        true
    }

    /// That there was no room for markers, if there are more of them than when this was last asked.
    pub fn beyond(&mut self, now: Instant) -> Option<Happening> {
        if self.dropped == self.told {
            return None;
        }
        self.told = self.dropped;
        Some(Happening { at: now, what: What::Beyond { markers: self.dropped } })
    }

    /// The chronicle of a run whose load began at `start`.
    pub fn finish(
        self,
        plan: &Plan,
        names: &Names,
        start: Instant,
        duration: Duration,
    ) -> Chronicle {
        let seconds = |at: Instant| at.since(start).as_secs_f64();
        let duration_s = duration.as_secs_f64();
        let mut asked = Vec::new();
        let mut markers = Vec::new();
        for Happening { at, what } in self.marked {
            if let What::Marked { marker: kind, until, text: what } = what {
                let until_s = until.map(seconds);
                markers.push(Marker { kind, at_s: seconds(at), until_s, what });
            }
        }
        for (scenario, (began, ended)) in plan.scenarios.iter().zip(self.ran) {
            let Some(began) = began else { continue };
            let at_s = seconds(began);
            let until_s = Some(ended.map_or(duration_s, seconds));
            let what = names.cover(&scenario.name).into_owned();
            if scenario.search().is_none() {
                asked.extend(asks(scenario, at_s, names));
            }
            markers.push(Marker { kind: MarkerKind::Scenario, at_s, until_s, what });
        }
        markers.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
        let (timeline, markers_dropped) = (self.timeline, self.dropped);
        Chronicle { timeline, duration_s, asked, markers, markers_dropped }
    }
}

/// What a scenario that began then asks for, stage by stage.
fn asks(scenario: &Scenario, began_s: f64, names: &Names) -> Vec<Asked> {
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
            let cover = |text: &str| names.cover(text).into_owned();
            let (scenario, stage) = (cover(&scenario.name), cover(&stage));
            asked.push(Asked { scenario, stage, open, from_s: at, to_s, from, to });
        }
        (at, from) = (to_s, to);
    }
    asked
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::{Options, PlanInput};

    fn plan() -> Plan {
        let stages = json!([{ "duration": "2s", "target": 3, "name": "up" }, { "duration": "1s", "target": 0 }]);
        let options =
            json!({ "scenarios": { "ramp": { "executor": "ramping-vus", "stages": stages } } });
        let serde_json::Value::Object(options) = options else { unreachable!() };
        let functions = vec!["iteration".to_owned()];
        let input =
            PlanInput { name: "ramp".to_owned(), functions, cores: 1, ..PlanInput::default() };
        Plan::build(PlanInput { options: Options(options), ..input }).unwrap()
    }

    #[test]
    fn what_is_written_down_makes_the_same_chronicle_also_beyond_the_limit() {
        let at = |second: u64| Instant::from_nanos(second * 1_000_000_000);
        let plan = plan();
        let (mut live, mut again) = (Diary::new(&plan), Diary::new(&plan));
        let mut written = Vec::new();
        let mut happens = |diary: &mut Diary, happening: Happening| {
            if diary.take(&happening) {
                written.push(serde_json::to_string(&happening).unwrap());
            }
        };
        happens(&mut live, Happening { at: at(5), what: What::Began { scenario: 0 } });
        happens(&mut live, Happening { at: at(5), what: What::Note { text: "begun".to_owned() } });
        for n in 0..MOST_MARKERS as u64 + 7 {
            let restart = MarkerKind::Restart;
            let marked = Happening::marked(restart, at(6 + n), Some(at(7 + n)), format!("t{n}"));
            happens(&mut live, marked);
            if let Some(beyond) = live.beyond(at(6 + n)) {
                happens(&mut live, beyond);
            }
        }
        // A shard's share each: the last one counts. There is no scenario 9.
        for (second, scenario) in [(9, 0), (8, 0), (50, 9)] {
            happens(&mut live, Happening { at: at(second), what: What::Ended { scenario } });
        }
        for text in &written {
            again.take(&serde_json::from_str(text).unwrap());
        }
        let names = Names::default();
        let [live, again] =
            [live, again].map(|it| it.finish(&plan, &names, at(5), Duration::from_secs(90)));
        assert_eq!(live, again);
        assert_eq!((live.markers.len(), live.markers_dropped), (MOST_MARKERS + 1, 7));
        let scenario = live.markers.iter().find(|it| it.kind == MarkerKind::Scenario).unwrap();
        assert_eq!((scenario.at_s, scenario.until_s), (0.0, Some(4.0)), "{scenario:?}");
        let stages: Vec<_> = live.asked.iter().map(|it| (it.stage.as_str(), it.to_s)).collect();
        assert_eq!((stages.len(), stages[0]), (2, ("up", 2.0)), "{stages:?}");
    }
}
