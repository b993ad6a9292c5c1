//! What services in other processes measured, asked for by the run over its bus.
//!
//! ```text
//!  run ── Ask ──► _wavetank.<run>.collect, _wavetank.any.collect      every serving process
//!   ▲                                                                     │
//!   └─────────── _wavetank.<run>.answers.<round>.<n> ◄── wire::Report ────┘
//! ```
//!
//! The run asks at its beginning (what was measured before is not its own, and dropped), when the load
//! begins (what was measured until then is setup's), each second, when the load has ended (what is measured
//! from then on is teardown's) and at its end; at both ends it waits a moment for those that have answered
//! before, and they for what is still being handled. A process started with
//! `--run` answers that run only; one without answers any, so two runs at the same time on one bus
//! would each get a part: give such services their run.
//!
//! Whoever may publish on the bus may answer, so an answer is hostile until decoded: its size, the
//! number of its series and of all series, and of processes, are bounded; what does not fit is counted
//! and told in the summary. What does fit is believed: the bus's own permissions say who may send it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};

use super::Shared;
use crate::{
    clock::Instant,
    metric::{Cell, Phase, Report, SeriesKey, Snapshot, Windowed},
    primitive::bus,
};

/// How long the first and the last answers are waited for.
const WAIT: Duration = Duration::from_millis(500);
/// How long asking may take.
const ASKING: Duration = Duration::from_millis(200);
/// Answers that may wait for the run.
const ANSWERS: usize = 1_024;
/// Bytes of an answer.
const MOST_BYTES: usize = 4 << 20;
/// Serving processes of a run.
const MOST_PROCESSES: usize = 256;
/// Series of all services together; a histogram may take 0.4 MB.
const MOST_SERIES: usize = 512;
/// Different notes that are told.
const MOST_NOTES: usize = 100;

/// What a run asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) kind: AskKind,
}

/// When a run asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AskKind {
    /// Before anything: what was measured until now is of no run.
    Begin,
    /// Each second.
    Each,
    /// When the load has ended, and when nobody sends any more.
    Last,
}

/// Where a run asks: its own subject, or that of services that belong to no run.
pub(super) fn subject(run: Option<&str>) -> String {
    format!("_wavetank.{}.collect", run.map_or_else(|| "any".to_owned(), token))
}

/// A run's id as one token of a subject.
fn token(run: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    run.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// Notes that were not told before.
#[derive(Debug, Default)]
pub(super) struct Notes(BTreeSet<String>);

impl Notes {
    /// Those of `notes` that are new; none any more when there were too many.
    pub(super) fn fresh(&mut self, notes: Vec<String>) -> Vec<String> {
        let told = &mut self.0;
        notes
            .into_iter()
            .filter(|note| told.len() < MOST_NOTES && told.insert(note.clone()))
            .collect()
    }
}

/// The run's side.
pub(super) struct Collector {
    connection: bus::Connection,
    inbox: bus::Subscription,
    /// What the subjects of answers begin with, with a dot at the end.
    answers: String,
    subjects: [String; 2],
    round: u64,
    /// The rounds whose answers are the last of setup's, and of the load's.
    bounds: [Option<u64>; 2],
    /// When the last two questions were asked: what the answers are about was between them.
    asked: [Instant; 2],
    /// Which of the subjects nobody subscribes to, in this round.
    silent: [bool; 2],
    /// By process: its service, and the last round that it answered.
    processes: BTreeMap<String, (String, u64)>,
    series: BTreeSet<(String, String, String)>,
    windowed: Vec<Windowed>,
    cells: Vec<(SeriesKey, Option<u32>, Cell<u32>)>,
    refused: u64,
    /// Why the first one was refused.
    reason: String,
}

impl Collector {
    /// A collector that has said that the run begins; `None` on a bus that nobody else can reach.
    pub(super) async fn open(shared: &Shared) -> Result<Option<Self>, String> {
        let Some(run) = shared.bus.run().map(str::to_owned) else { return Ok(None) };
        let told = |error: &dyn std::fmt::Display| {
            format!("services in other processes cannot be asked what they measured: {error}")
        };
        let connection = shared.bus.connect("wavetank collect").await;
        let connection = connection.map_err(|error| told(&error))?;
        let answers = format!("_wavetank.{}.answers.", token(&run));
        let inbox = connection.subscribe_raw(&format!("{answers}>"), None, ANSWERS).await;
        let inbox = inbox.map_err(|error| told(&error))?;
        let mut collector = Self {
            connection,
            inbox,
            answers,
            subjects: [subject(Some(&run)), subject(None)],
            round: 0,
            bounds: [None; 2],
            asked: [shared.clock.now(); 2],
            silent: [false; 2],
            processes: BTreeMap::new(),
            series: BTreeSet::new(),
            windowed: shared.plan.windowed(),
            cells: Vec::new(),
            refused: 0,
            reason: String::new(),
        };
        collector.ask(shared, AskKind::Begin).await;
        collector.wait(shared, |collector| !collector.silent.contains(&false)).await;
        Ok(Some(collector))
    }

    /// Asks all services; what they answer comes later.
    pub(super) async fn ask(&mut self, shared: &Shared, kind: AskKind) {
        self.round += 1;
        self.asked = [self.asked[1], shared.clock.now()];
        self.silent = [false; 2];
        let Ok(payload) = serde_json::to_vec(&Ask { kind }) else { return };
        for (index, subject) in self.subjects.iter().enumerate() {
            let to = format!("{}{}.{index}", self.answers, self.round);
            let asking = self.connection.publish_raw(
                subject,
                payload.clone().into(),
                bus::Headers::new(),
                Some(&to),
            );
            // A bus that is away is told of elsewhere; the next second asks again.
            let _ = tokio::time::timeout(ASKING, asking).await;
        }
    }

    /// The load begins: what was measured until now is setup's.
    pub(super) async fn load_begins(&mut self, shared: &Shared) {
        self.take(shared);
        self.ask(shared, AskKind::Each).await;
        self.bounds[0] = Some(self.round);
        self.wait_for_known(shared).await;
    }

    /// The load has ended: what is measured from now on is teardown's. Which services did not answer.
    pub(super) async fn load_ended(&mut self, shared: &Shared) -> Vec<String> {
        let missing = self.last(shared).await;
        self.bounds[1] = Some(self.round);
        missing
    }

    /// Takes the answers that have come.
    pub(super) fn take(&mut self, shared: &Shared) {
        for _ in 0..ANSWERS {
            let Some(Some(message)) = self.inbox.next().now_or_never() else { return };
            self.receive(shared, &message);
        }
    }

    /// Asks for the rest and waits for those that have answered before; which of them did not.
    pub(super) async fn last(&mut self, shared: &Shared) -> Vec<String> {
        self.take(shared);
        self.ask(shared, AskKind::Last).await;
        let round = self.round;
        self.wait_for_known(shared).await;
        self.take(shared);
        let missing = self.processes.values().filter(|(_, answered)| *answered != round);
        let services: BTreeSet<_> = missing.map(|(service, _)| service.clone()).collect();
        services.into_iter().take(MOST_NOTES).collect()
    }

    /// What was collected since the last call, as an interval of the run.
    pub(super) fn snapshot(&mut self, shard: usize, now: Instant) -> Option<Snapshot> {
        let cells = std::mem::take(&mut self.cells);
        let origin = Instant::ZERO;
        (!cells.is_empty()).then_some(Snapshot { shard, from: now, to: now, origin, cells })
    }

    /// What the summary says of answers that were refused.
    pub(super) fn remark(&self) -> Option<String> {
        (self.refused > 0).then(|| {
            format!(
                "{} answers on `{}>` were no usable reports of a service and were ignored; the first: {}",
                self.refused, self.answers, self.reason
            )
        })
    }

    /// Waits until all that have answered before have answered this round.
    async fn wait_for_known(&mut self, shared: &Shared) {
        let round = self.round;
        self.wait(shared, |collector| {
            collector.processes.values().all(|(_, answered)| *answered == round)
        })
        .await;
    }

    /// The part of the run that an answer of a round tells of.
    fn phase(&self, round: u64) -> Phase {
        match self.bounds {
            [Some(setup), _] if round <= setup => Phase::Setup,
            [None, _] => Phase::Setup,
            [_, Some(load)] if round > load => Phase::Teardown,
            _ => Phase::Main,
        }
    }

    async fn wait(&mut self, shared: &Shared, done: impl Fn(&Self) -> bool) {
        let until = shared.clock.now() + WAIT;
        while !done(self) {
            tokio::select! {
                biased;
                message = self.inbox.next() => match message {
                    Some(message) => self.receive(shared, &message),
                    None => return,
                },
                () = shared.clock.sleep_until(until) => return,
            }
        }
    }

    fn receive(&mut self, shared: &Shared, message: &bus::Message) {
        let round = message.subject.strip_prefix(&self.answers).and_then(|rest| {
            let (round, index) = rest.split_once('.')?;
            Some((round.parse::<u64>().ok()?, index.parse::<usize>().ok().filter(|it| *it < 2)?))
        });
        let Some((round, index)) = round else { return self.refuse("an unknown subject") };
        if message.payload.is_empty() {
            // The server says that nobody subscribes there.
            self.silent[index] |= round == self.round;
            return;
        }
        if message.payload.len() > MOST_BYTES {
            return self.refuse("too long");
        }
        match Report::parse(&message.payload) {
            Ok(report) => self.believe(shared, &report, round, index),
            Err(error) => self.refuse(&error.to_string()),
        }
    }

    fn believe(&mut self, shared: &Shared, report: &Report, round: u64, index: usize) {
        let known = self.processes.contains_key(&report.instance);
        if !known && self.processes.len() >= MOST_PROCESSES {
            return self.refuse("too many processes");
        }
        for series in &report.series {
            let key = (report.service.clone(), series.metric.clone(), series.op.clone());
            if !self.series.contains(&key) && self.series.len() >= MOST_SERIES {
                return self.refuse("too many series");
            }
            self.series.insert(key);
        }
        let cells = match report.cells(&shared.names) {
            Ok(cells) => cells,
            Err(error) => return self.refuse(&error.to_string()),
        };
        let answered = (report.service.clone(), round);
        self.processes.insert(report.instance.clone(), answered);
        // Whoever answers is there; that one is enough for the run to begin.
        self.silent[index] |= round == self.round;
        let registry = &shared.plan.registry;
        // A service has no clock in common with the run: a window over its times is true to a second.
        let [before, asked] = self.asked;
        let middle = before + asked.since(before) / 2;
        let second = u32::try_from(middle.since(Instant::ZERO).as_secs());
        let phase = self.phase(round);
        for (mut key, cell) in cells {
            key.tags.phase = phase;
            let kind = registry.get(key.metric).kind;
            let windowed = self.windowed.iter().any(|family| {
                family.metric == key.metric
                    && family.selector.matches(kind, &key.tags, &shared.names)
            });
            self.cells.push((key, second.ok().filter(|_| windowed), cell));
        }
    }

    fn refuse(&mut self, reason: &str) {
        self.refused += 1;
        if self.reason.is_empty() {
            reason.clone_into(&mut self.reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitive::bus::{is_reserved, validate_subject};

    #[test]
    fn a_run_is_asked_for_on_a_subject_of_the_host_whatever_its_id() {
        for run in [None, Some("20261121_065837_quick_3fa2"), Some("a.> *\r\nPUB x"), Some("é")] {
            let subject = subject(run);
            assert!(validate_subject(&subject).is_ok(), "{subject}");
            assert!(is_reserved(&subject), "{subject}");
            assert_eq!(subject.split('.').count(), 3, "{subject}");
        }
    }

    #[test]
    fn a_note_is_told_once_and_not_for_ever() {
        let mut notes = Notes::default();
        assert_eq!(notes.fresh(vec!["a".into(), "a".into(), "b".into()]), ["a", "b"]);
        assert!(notes.fresh(vec!["b".into()]).is_empty());
        let many = (0..1_000).map(|number| number.to_string()).collect();
        assert_eq!(notes.fresh(many).len(), MOST_NOTES - 2);
    }
}
