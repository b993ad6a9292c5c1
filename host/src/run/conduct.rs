//! The course of a run: what is told to the shards, when, and what is made of their reports.
//!
//! | phase | ends when | goes wrong |
//! |---|---|---|
//! | connect | every shard is ready | a shard is lost: the run ends |
//! | setup | shard 0 has run it | its cause; no VUs, no teardown |
//! | prepare | every shard has made its VUs | `init` failed: no iterations, teardown |
//! | run | every scenario has ended on every shard | a stop: running iterations are interrupted |
//! | teardown | shard 0 has run it | its cause |
//! | finish | every shard has handed over the rest | |
//!
//! A shard that is lost counts as having answered everything; a shard that does not answer a stop
//! is given up after [`PATIENCE`]. So no phase waits for ever.

mod kept;

use std::{sync::Arc, time::Duration};

use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::{
    RunOutcome, Shared,
    chronicle::{Diary, Happening, MarkerKind, What},
    collect::{AskKind, Collector, Notes},
    event::Event,
    facts::Ledger,
    health,
    memory::{self, Footprint},
    search::Hunt,
    shard::{Command, Interval, Report, Wires},
    stop::{StopLevel, StopSignal},
    tape::Tape,
    targets::Targets,
};
use crate::{
    clock::Instant,
    executor::Notice,
    metric::{Builtin, Recorder, TagSet},
    plan::{Plan, Start},
    verdict::{Cause, Judge, TargetFacts},
};

/// How long a shard may take to answer a stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// Intervals of a shard that may wait for the run.
const INTERVALS: usize = 4;
/// How often the run looks at its thresholds and itself.
const TICK: Duration = Duration::from_secs(1);
/// What a tape is given of facts is never older, nor told more often.
const TOLD: Duration = Duration::from_millis(200);

/// Runs a run.
pub(super) struct Conductor {
    shared: Arc<Shared>,
    stop: StopSignal,
    commands: Vec<mpsc::UnboundedSender<Command>>,
    reports: mpsc::UnboundedReceiver<(usize, Report)>,
    intervals: mpsc::Receiver<(usize, Interval)>,
    alive: Vec<bool>,
    judge: Judge,
    /// What was measured step by step, and what happened, for the charts.
    diary: Diary,
    ledger: Ledger,
    recorder: Recorder,
    /// The plan's search, if it has one.
    hunt: Option<Hunt>,
    next_tick: Instant,
    /// When the whole run is stopped from outside.
    deadline: Option<Instant>,
    /// When the shards were told to stop.
    stopped: Option<Instant>,
    /// When the scenarios began.
    begun: Option<Instant>,
    hard: bool,
    /// Where services in other processes hand in what they measured.
    collector: Option<Collector>,
    /// The system under test as processes.
    targets: Option<Targets>,
    /// What the bus complained of.
    notes: Notes,
    /// What the summary says of the run beside its figures.
    remarks: Vec<String>,
    /// Who keeps the run.
    tape: Option<Box<dyn Tape>>,
    /// When the tape is to be told the facts: what it was given since is not in those that it has.
    tell_facts: Option<Instant>,
    told_facts: Instant,
    /// Errors that the tape was told.
    told_errors: u64,
    /// The targets as of the last tick: their slopes are not computed more often.
    target_facts: Vec<TargetFacts>,
}

/// How a scenario stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It waits for another one to end.
    Waiting,
    /// Shards that have not ended it yet are counted.
    Running,
    /// It has ended.
    Ended,
}

impl Conductor {
    /// A conductor and the shards' ends of its wires.
    pub(super) fn new(
        shared: Arc<Shared>,
        shards: usize,
        stop: StopSignal,
        mut tape: Option<Box<dyn Tape>>,
    ) -> (Self, Vec<Wires>) {
        if let Some(tape) = &mut tape {
            tape.names(&shared.names);
        }
        let (report, reports) = mpsc::unbounded_channel();
        let (interval, intervals) = mpsc::channel(INTERVALS * shards);
        let mut commands = Vec::new();
        let mut wires = Vec::new();
        for _ in 0..shards {
            let (command, received) = mpsc::unbounded_channel();
            commands.push(command);
            wires.push(Wires {
                commands: received,
                reports: report.clone(),
                intervals: interval.clone(),
            });
        }
        let now = shared.clock.now();
        let conductor = Self {
            stop,
            commands,
            reports,
            intervals,
            alive: vec![true; shards],
            judge: Judge::new(Arc::clone(&shared.plan), shared.names.clone(), shards),
            diary: Diary::new(&shared.plan),
            ledger: Ledger::new(&shared, shards),
            recorder: Recorder::new(shared.recorder_config(), shards, now),
            hunt: Hunt::of(&shared.plan, shards),
            next_tick: now + TICK,
            deadline: shared.plan.timeout.map(|timeout| now + timeout),
            stopped: None,
            begun: None,
            hard: false,
            collector: None,
            targets: Targets::of(&shared),
            notes: Notes::default(),
            remarks: Vec::new(),
            tape,
            tell_facts: None,
            told_facts: Instant::ZERO,
            told_errors: 0,
            target_facts: Vec::new(),
            shared,
        };
        (conductor, wires)
    }

    /// A shard that never came to be.
    pub(super) fn lose(&mut self, shard: usize, text: String) {
        self.take(shard, Report::Lost(Cause::Internal, text));
    }

    /// From the connections to the end.
    pub(super) async fn run(mut self) -> RunOutcome {
        let cost = health::own_cost(&self.shared).await;
        self.ledger.own_cost = cost;
        // From its first moment on there is something to show.
        self.tell_facts();
        let connected = self.connect().await;
        if connected {
            self.open_collector().await;
        }
        if connected && let Some(data) = self.setup().await {
            let data = Arc::new(data);
            self.phase("prepare");
            let before = memory::own();
            self.tell_all(&Command::Prepare(data));
            let limit = self.shared.plan.setup_timeout;
            if self.prepared(limit).await {
                self.bound(before);
                self.scenarios().await;
            }
            self.teardown().await;
        }
        self.finish().await
    }

    async fn connect(&mut self) -> bool {
        self.gather(|report| matches!(report, Report::Ready), None).await
    }

    async fn setup(&mut self) -> Option<Json> {
        self.phase("setup");
        self.tell(0, &Command::Setup);
        let result = self.answer(|report| match report {
            Report::Setup(result) => Ok(result),
            other => Err(other),
        });
        match result.await?? {
            Ok(data) => (self.stopped.is_none() && self.healthy()).then_some(data),
            Err((cause, text)) => {
                self.ledger.cause(cause, text);
                None
            }
        }
    }

    async fn prepared(&mut self, limit: Duration) -> bool {
        let until = self.shared.clock.now() + limit;
        let ready = self.gather(|report| matches!(report, Report::Prepared), Some(until)).await;
        if !ready && self.stopped.is_none() && self.healthy() {
            let text = format!(
                "init of all VUs took longer than setup_timeout ({limit:?}): raise `setup_timeout` in \
                 the workload's options, or use fewer VUs"
            );
            self.ledger.cause(Cause::SetupTimeout, text);
        }
        ready
    }

    /// Lowers what `max_vus` were left open to what the memory holds, now that there are VUs to measure.
    fn bound(&mut self, before: u64) {
        if self.shared.clock.is_virtual() {
            return;
        }
        let made = self.shared.scenarios.iter().map(|it| u64::from(it.first_vus)).sum();
        let grown = memory::own().saturating_sub(before);
        let left = memory::available();
        let Some(footprint) = left.and_then(|left| Footprint::of(made, grown, left)) else {
            return;
        };
        self.ledger.footprint = Some(footprint);
        let mut plan = Plan::clone(&self.shared.plan);
        let room = u32::try_from(footprint.room).unwrap_or(u32::MAX);
        let why =
            format!("the memory that is left holds no more of {} bytes each", footprint.bytes);
        if !plan.fit(room, &why) {
            return;
        }
        for (scenario, shared) in plan.scenarios.iter().zip(&self.shared.scenarios) {
            shared.bound(plan.segment.share(u64::from(scenario.executor.max_vus())) as u32);
        }
        if let Some(note) = plan.notes.pop() {
            self.note(note.clone());
            self.remarks.push(note);
        }
    }

    /// Starts each scenario when it is its turn, until all have ended everywhere.
    async fn scenarios(&mut self) {
        let clock = self.shared.clock;
        let plan = Arc::clone(&self.shared.plan);
        let start = self.begin_load().await;
        let mut standing = vec![Standing::Waiting; plan.scenarios.len()];
        let mut left: Vec<usize> = vec![0; plan.scenarios.len()];
        let mut ended_by: Vec<Vec<bool>> = vec![vec![false; self.alive.len()]; left.len()];
        loop {
            for (index, scenario) in plan.scenarios.iter().enumerate() {
                if standing[index] != Standing::Waiting {
                    continue;
                }
                let at = match &scenario.start {
                    _ if self.stopped.is_some() => {
                        standing[index] = Standing::Ended;
                        continue;
                    }
                    Start::At(offset) => start + *offset,
                    Start::After(name) => {
                        let ended = plan.scenarios.iter().position(|other| other.name == *name);
                        match ended {
                            Some(other) if standing[other] != Standing::Ended => continue,
                            _ => clock.now(),
                        }
                    }
                };
                standing[index] = Standing::Running;
                left[index] = self.shared.scenarios[index].shards;
                self.ledger.scenario_began(index, at);
                self.happened(Happening { at, what: What::Began { scenario: index } });
                self.tell_all(&Command::Start { scenario: index, at });
            }
            for index in 0..standing.len() {
                let open = (0..left[index])
                    .filter(|shard| self.alive[*shard] && !ended_by[index][*shard])
                    .count();
                if standing[index] == Standing::Running && open == 0 {
                    standing[index] = Standing::Ended;
                    self.scenario_ended(index, clock.now());
                }
            }
            if standing.iter().all(|standing| *standing == Standing::Ended) {
                break;
            }
            if standing.contains(&Standing::Waiting) && !standing.contains(&Standing::Running) {
                continue;
            }
            if self.given_up() {
                break;
            }
            let wake = self.search(&standing);
            if let Some((shard, Report::Ended { scenario, at })) = self.next(wake).await {
                ended_by[scenario][shard] = true;
                self.scenario_ended(scenario, at);
            }
        }
        self.end_load().await;
    }

    /// What was measured until now is setup's; when the load begins.
    async fn begin_load(&mut self) -> Instant {
        self.collect_setup().await;
        self.phase("run");
        self.look_at_targets().await;
        let start = self.shared.clock.now();
        self.begun = Some(start);
        self.shared.load.begin(start);
        self.ledger.begin(start);
        let own = self.recorder.take(start);
        self.keep(own);
        self.judge.begin(start);
        self.diary.begin(start);
        if let Some(tape) = &mut self.tape {
            tape.begun(start);
        }
        self.recorder.start_at(start);
        // Looked at each second of the load, as the shards are.
        self.next_tick = start + TICK;
        self.tell_all(&Command::Begin(start));
        start
    }

    /// What is measured from now on is teardown's.
    async fn end_load(&mut self) {
        let end = self.shared.clock.now();
        self.shared.load.end(end);
        self.tell_all(&Command::End(end));
        self.look_at_targets().await;
        self.ledger.end(&self.recorder, end, &self.shared);
        self.collect_load().await;
    }

    /// Lets a search go on whose scenario is running; when it wants to be asked again.
    fn search(&mut self, standing: &[Standing]) -> Option<Instant> {
        let hunt = self.hunt.as_mut().filter(|_| self.stopped.is_none())?;
        if standing[hunt.scenario] != Standing::Running {
            return None;
        }
        let step = hunt.step(&self.shared, &self.ledger, &self.alive);
        if step.tell {
            self.tell_all(&Command::Tell);
        }
        step.wake
    }

    async fn teardown(&mut self) {
        if self.given_up() || !self.alive[0] {
            return;
        }
        self.phase("teardown");
        self.tell(0, &Command::Teardown);
        let result = self.answer(|report| match report {
            Report::Teardown(result) => Ok(result),
            other => Err(other),
        });
        if let Some(Err((cause, text))) = result.await {
            self.ledger.cause(cause, text);
        }
    }

    /// Collects the rest and makes the facts.
    async fn finish(mut self) -> RunOutcome {
        self.phase("report");
        if !self.hard {
            self.count_lost().await;
            self.collect_last().await;
        }
        self.tell_all(&Command::Finish);
        let mut finished = vec![false; self.alive.len()];
        let until = self.shared.clock.now() + PATIENCE;
        while !self.hard
            && self.shared.clock.now() < until
            && (0..finished.len()).any(|shard| self.alive[shard] && !finished[shard])
        {
            if let Some((shard, Report::Finished { interval })) = self.next(Some(until)).await {
                finished[shard] = true;
                self.observe(shard, interval);
            }
        }
        for (shard, finished) in finished.iter().enumerate() {
            if self.alive[shard] && !finished && !self.hard {
                self.ledger.cause(Cause::Internal, format!("shard {shard} does not answer"));
            }
        }
        while let Ok((_, interval)) = self.intervals.try_recv() {
            self.keep(interval.snapshot);
        }
        self.look_at_targets().await;
        self.ledger.never_began(&self.recorder, self.shared.clock.now(), &self.shared);
        if let Some(targets) = &mut self.targets {
            targets.outages(&self.shared, &self.recorder, &self.ledger, true);
            let happened = targets.happened();
            for happening in happened {
                self.happened(happening);
            }
        }
        self.tick();
        if self.begun.is_some() {
            self.tell_progress();
        }
        let start = self.begun.unwrap_or_else(|| self.shared.clock.now());
        self.remarks.extend(self.folded());
        self.remarks.extend(self.shared.bus.refusals());
        let stopped = self.stopped.is_some();
        let mut facts = self.facts();
        facts.errors = self.errors();
        // What ends a run before its time stops it; a bug, or a load that never began, need not.
        let broken = facts.causes.iter().any(|(cause, _)| *cause == Cause::Internal);
        let complete = self.begun.is_some() && !stopped && !broken;
        let names = self.shared.names.clone();
        let chronicle = self.diary.finish(&self.shared.plan, &names, start, facts.duration);
        RunOutcome { judge: self.judge, facts, start, names, complete, chronicle }
    }

    /// What the bus knows only when nobody sends any more: messages that never came.
    async fn count_lost(&mut self) {
        self.shared.bus.delivery_report().await.record(&self.recorder);
    }

    /// Finds the services in other processes and tells them that the run begins.
    async fn open_collector(&mut self) {
        match Collector::open(&self.shared).await {
            Ok(collector) => self.collector = collector,
            Err(remark) => {
                self.note(remark.clone());
                self.remarks.push(remark);
            }
        }
    }

    /// Each second: what services answered to the last question, and the next question.
    async fn collect(&mut self) {
        let Some(collector) = &mut self.collector else { return };
        collector.take(&self.shared);
        collector.ask(&self.shared, AskKind::Each).await;
        self.observe_services();
    }

    /// Before the load: what services have measured until then is not of it.
    async fn collect_setup(&mut self) {
        let Some(collector) = &mut self.collector else { return };
        collector.load_begins(&self.shared).await;
        self.observe_services();
    }

    /// After the load: what services measure from then on is not of it.
    async fn collect_load(&mut self) {
        let Some(collector) = &mut self.collector else { return };
        let missing = collector.load_ended(&self.shared).await;
        self.remarks.extend(missing.into_iter().map(|service| {
            format!(
                "the service `{service}` did not answer when the load had ended: what it measured in \
                 its last second is taken for teardown's"
            )
        }));
        self.observe_services();
    }

    /// At the end, when nobody sends any more: what services have measured since.
    async fn collect_last(&mut self) {
        let Some(collector) = &mut self.collector else { return };
        let missing = collector.last(&self.shared).await;
        self.remarks.extend(missing.into_iter().map(|service| {
            format!(
                "the service `{service}` did not answer at the end: what it measured in its last \
                 second is missing"
            )
        }));
        self.remarks.extend(collector.remark());
        self.observe_services();
    }

    fn observe_services(&mut self) {
        let (shard, now) = (self.alive.len(), self.shared.clock.now());
        let collected = self.collector.as_mut().and_then(|it| it.snapshot(shard, now));
        if let Some(snapshot) = collected {
            self.keep(snapshot);
        }
    }

    /// Where the load begins and ends: the figures of the targets until now.
    async fn look_at_targets(&mut self) {
        if let Some(targets) = &self.targets {
            targets.look().await;
        }
        self.note_targets();
    }

    /// What happened to the targets; one that died is a cause, and the run goes on: its figures count.
    fn note_targets(&mut self) {
        let Some(targets) = &mut self.targets else { return };
        let deaths = targets.take(&self.shared, &self.recorder, &self.ledger);
        let happened = targets.happened();
        for happening in happened {
            self.happened(happening);
        }
        for text in deaths {
            self.note(text.clone());
            self.ledger.cause(Cause::TargetDied, text);
        }
    }

    /// What happened to the run's connections to the bus.
    fn note_bus(&mut self, now: Instant) {
        let events = self.shared.bus.take_events();
        for (metric, count) in [
            (Builtin::BusReconnects, events.reconnects),
            (Builtin::BusSlowConsumerDrops, events.slow_consumer_drops),
        ] {
            if count > 0 {
                self.recorder.add(metric.id(), TagSet::default(), now, count as f64);
            }
        }
        if let Some(held) = self.shared.bus.held() {
            let metric = Builtin::BusConnections.id();
            self.recorder.gauge(metric, TagSet::default(), now, f64::from(held));
        }
        let lost = (events.disconnects > 0)
            .then(|| format!("{} connections to the bus were lost", events.disconnects));
        let back = (events.reconnects > 0)
            .then(|| format!("{} connections to the bus are back", events.reconnects));
        let complaints = self.notes.fresh(events.notes);
        for note in lost.into_iter().chain(back).chain(complaints) {
            self.note(note);
        }
    }

    /// Waits until every live shard has given a report of a kind; false if the run is to end
    /// before that, or at `until`.
    async fn gather(&mut self, expected: impl Fn(&Report) -> bool, until: Option<Instant>) -> bool {
        let mut answered = vec![false; self.alive.len()];
        loop {
            if self.stopped.is_some() || !self.healthy() {
                return false;
            }
            if answered.iter().zip(&self.alive).all(|(answered, alive)| *answered || !alive) {
                return true;
            }
            if until.is_some_and(|until| self.shared.clock.now() >= until) {
                return false;
            }
            if let Some((shard, report)) = self.next(until).await {
                answered[shard] |= expected(&report);
            }
        }
    }

    /// Waits for one report of shard 0, through stops; `None` if the shard is lost or given up.
    async fn answer<T>(&mut self, expected: impl Fn(Report) -> Result<T, Report>) -> Option<T> {
        while self.alive[0] && !self.given_up() {
            if let Some((_, report)) = self.next(None).await
                && let Ok(answer) = expected(report)
            {
                return Some(answer);
            }
        }
        None
    }

    /// The next report that a phase may wait for. `None` when something else has happened (a stop, a
    /// lost shard, a tick, `until`) and the phase should look at what it waits for again.
    async fn next(&mut self, until: Option<Instant>) -> Option<(usize, Report)> {
        let clock = self.shared.clock;
        let never = Instant::from_nanos(u64::MAX / 4);
        let deadline = self.deadline.filter(|_| self.stopped.is_none()).unwrap_or(never);
        let told = self.tell_facts.unwrap_or(never);
        let wake = until.unwrap_or(never).min(deadline).min(self.next_tick).min(told);
        let level = match self.stop.level() {
            StopLevel::None => StopLevel::Graceful,
            StopLevel::Graceful | StopLevel::Hard => StopLevel::Hard,
        };
        tokio::select! {
            biased;
            () = self.stop.reached(level), if !self.hard => self.obey_stop(),
            Some((shard, interval)) = self.intervals.recv() => self.observe(shard, interval),
            Some((shard, report)) = self.reports.recv() => return self.take(shard, report),
            () = clock.sleep_until(wake) => {
                let now = clock.now();
                if now >= self.next_tick {
                    self.collect().await;
                    self.tick();
                    self.next_tick = (self.next_tick + TICK).max(now + TICK / 2);
                }
                if now >= told {
                    self.tell_facts();
                }
                if now >= deadline {
                    let limit = self.shared.plan.timeout.unwrap_or_default();
                    let text = format!(
                        "the run took longer than its timeout ({limit:?}): raise --timeout, or leave \
                         it out"
                    );
                    self.end(Cause::Interrupted, text);
                }
            }
        }
        None
    }

    fn obey_stop(&mut self) {
        self.hard = self.stop.level() == StopLevel::Hard;
        let text = if self.hard { "stopped at once" } else { "stopped from outside" };
        self.end(Cause::Interrupted, text.to_owned());
    }

    /// Takes a report; gives it on if a phase may wait for it.
    fn take(&mut self, shard: usize, report: Report) -> Option<(usize, Report)> {
        match report {
            Report::Lost(cause, text) => {
                self.alive[shard] = false;
                self.ledger.lost(shard);
                self.end(cause, text);
            }
            Report::Notice(Notice::Aborted(reason)) => {
                self.end(Cause::Aborted, format!("aborted by the workload: {reason}"));
            }
            Report::Notice(Notice::MarkedFailed(reason)) => {
                let text = format!("marked failed by the workload: {reason}");
                self.ledger.cause(Cause::MarkedFailed, text);
            }
            Report::Notice(Notice::Failed(cause, text)) => self.end(cause, text),
            report => return Some((shard, report)),
        }
        None
    }

    /// Ends the run before its time, for this reason. The first reason of a cause is kept.
    fn end(&mut self, cause: Cause, text: String) {
        self.note(text.clone());
        self.ledger.cause(cause, text);
        if self.stopped.is_none() {
            let at = self.shared.clock.now();
            self.stopped = Some(at);
            let what = cause.meaning().to_owned();
            self.happened(Happening::marked(MarkerKind::Stop, at, None, what));
            self.tell_all(&Command::Stop);
        }
    }

    fn observe(&mut self, shard: usize, interval: Interval) {
        if let Some(hunt) = &mut self.hunt {
            hunt.observe(shard, &interval);
        }
        self.ledger.observe(shard, &interval);
        if self.ledger.has_progressed() {
            self.tell_progress();
        }
        self.keep(interval.snapshot);
        if self.tape.is_some() && self.tell_facts.is_none() {
            self.tell_facts = Some(self.shared.clock.now().max(self.told_facts + TOLD));
        }
    }

    /// Once a second: the runner itself, progress, thresholds that stop the run.
    fn tick(&mut self) {
        let now = self.shared.clock.now();
        self.note_bus(now);
        self.note_targets();
        self.ledger.sample(&self.recorder, now, &self.shared);
        let own = self.recorder.take(now);
        self.keep(own);
        self.tell_lines();
        if let Some(beyond) = self.diary.beyond(now) {
            self.happened(beyond);
        }
        self.target_facts = self.targets.as_ref().map(Targets::facts).unwrap_or_default();
        let Some(start) = self.begun else { return };
        if self.stopped.is_none()
            && let Some(reason) = self.judge.abort(start, now)
        {
            self.end(Cause::ThresholdsFailed, format!("stopped by a threshold: {reason}"));
        }
    }

    fn tell_progress(&mut self) {
        self.shared.log.tell(Event::Progress(self.ledger.progress(&self.shared)));
    }

    fn healthy(&self) -> bool {
        self.alive.iter().all(|alive| *alive)
    }

    /// Whether the shards' answers are no longer waited for.
    fn given_up(&self) -> bool {
        let patience = PATIENCE + self.shared.plan.teardown_timeout;
        self.hard || self.stopped.is_some_and(|at| self.shared.clock.now().since(at) > patience)
    }

    fn tell(&self, shard: usize, command: &Command) {
        // A shard that is gone has told so, or will.
        let _ = self.commands[shard].send(command.clone());
    }

    fn tell_all(&self, command: &Command) {
        for shard in 0..self.commands.len() {
            self.tell(shard, command);
        }
    }
}
