//! One VU and one of its iterations: the one place where an iteration's durations are taken.

use std::{pin::pin, rc::Rc, time::Duration};

use futures_util::future::select;

use super::{
    dispatch::Arrival,
    ground::Notice,
    handle::{Cut, Handle},
    lane::Lane,
};
use crate::{
    clock::{Clock, Instant, Span},
    metric::{Builtin, Name, Outcome, Phase, TagSet},
    primitive::{LogLevel, Primitives, Random, timing::rest_until},
    verdict::Cause,
    workload::{GuestError, GuestErrorKind, Iteration, VirtualUser},
};

/// A start is late by the runner's fault when its own parts of the delay exceed this.
const SHORT: Duration = Duration::from_secs(1);

/// A VU whose iterations never wait runs them one after the other for this long, then the others of
/// its shard have their turn. Going round after each would find every VU's memory cold: at 10 000 VUs
/// that costs several times the iteration itself.
const TURN: Duration = Duration::from_micros(10);

/// A virtual user of a lane. Boxed from the start: each function that is handed it by value would keep room
/// for a whole one in the VU's task.
pub(super) struct Vu {
    pub(super) lane: Rc<Lane>,
    pub(super) handle: Rc<Handle>,
    /// Scenario-wide number, from 0.
    pub(super) in_scenario: u32,
    /// Made after the scenario's start, and not yet used.
    pub(super) cold: bool,
    pub(super) primitives: Primitives,
    user: Box<dyn VirtualUser>,
    used: bool,
    /// It is among the VUs that had to rest.
    rested: bool,
    /// Iterations that it has begun.
    pub(super) iterations: u64,
    /// When it last became free, if nothing has happened since.
    free_since: Option<Instant>,
    /// When its turn began; `None` if the next iteration begins one.
    turn: Option<Instant>,
}

/// What is known of an iteration before it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    /// Scenario-wide number.
    pub(super) number: u64,
    /// What seeds its random numbers.
    pub(super) stream: u64,
    /// When it was due.
    pub(super) due: Instant,
    /// Stage it was due in.
    pub(super) stage: usize,
    /// Open model: when it was released, and when a VU was free for it.
    pub(super) dispatched: Option<(Instant, Instant)>,
}

/// How an iteration ended.
enum Ended {
    Completed(Result<(), GuestError>),
    Interrupted(Option<GuestError>),
}

impl Vu {
    /// Makes a VU and runs its `init`. What goes wrong ends the run; then `None`.
    pub(super) async fn make(
        lane: Rc<Lane>,
        handle: Rc<Handle>,
        in_scenario: u32,
    ) -> Option<Box<Self>> {
        let ground = Rc::clone(&lane.ground);
        let number = lane.shared.first_vu + in_scenario;
        let primitives = match ground.primitives(number, lane.scenario().connection).await {
            Ok(primitives) => primitives,
            Err(error) => {
                let text = format!("VU {number} could not connect to the bus: {error}");
                (ground.notify)(Notice::Failed(Cause::Unreachable, text));
                return None;
            }
        };
        let now = ground.clock.now();
        let tags = TagSet { phase: Phase::Setup, ..lane.tags_at(now, 0) };
        let random = Random::new(ground.plan.seed, "init", u64::from(number));
        primitives.scope.begin(tags, now, random);
        let made = match ground.virtual_user(&primitives) {
            Ok(mut user) => user.init().await.map(|()| user),
            Err(error) => Err(error),
        };
        ground.pass_on(&primitives.scope);
        match made {
            Ok(user) => {
                end_call(&primitives).await;
                lane.counts.borrow_mut().vus += 1;
                Some(Box::new(Self {
                    lane,
                    handle,
                    in_scenario,
                    cold: false,
                    primitives,
                    user,
                    used: false,
                    rested: false,
                    iterations: 0,
                    free_since: None,
                    turn: None,
                }))
            }
            Err(error) => {
                ground.error("init", number, &error);
                let text = format!("init of VU {number}: {error}");
                (ground.notify)(Notice::Failed(Cause::WorkloadError, text));
                None
            }
        }
    }

    /// Now, without reading the clock twice between adjacent events of the host.
    pub(super) fn now(&mut self) -> Instant {
        self.free_since.take().unwrap_or_else(|| self.lane.ground.clock.now())
    }

    /// Runs one iteration to its end, its failure or its interruption, and records it.
    pub(super) async fn iterate(&mut self, beginning: &Beginning) {
        let lane = Rc::clone(&self.lane);
        let tags = lane.tags_at(beginning.due, beginning.stage);
        let scenario = lane.scenario();
        let iteration = Iteration {
            exec: Rc::clone(&lane.exec),
            scenario: Rc::clone(&lane.name),
            stage: Rc::clone(lane.stage_name(beginning.stage)),
            number: beginning.number,
            due: beginning.due,
            cpu_timeout: scenario.cpu_timeout,
            env: Rc::clone(&lane.env),
            stream: beginning.stream,
        };
        let begun = beginning.dispatched.map_or(beginning.due, |(_, free)| free);
        self.count_start(&lane, begun, beginning.dispatched.is_none());
        let random = iteration.random(lane.ground.plan.seed);
        self.primitives.scope.begin(tags, beginning.due, random);
        self.handle.begin(begun);
        let (result, waited) = self.handle.until_cut(self.user.iterate(&iteration)).await;
        // The guest's end and the iteration's are adjacent events of the host: one reading serves.
        let ended = self.primitives.scope.take_left();
        let ended = ended.unwrap_or_else(|| lane.ground.clock.now());
        self.handle.end();
        let ended_as = self.judge(result);
        self.record(beginning, tags, begun, ended, &ended_as);
        if self.primitives.scope.has_rested() && !std::mem::replace(&mut self.rested, true) {
            lane.counts.borrow_mut().rested_vus += 1;
        }
        lane.ground.pass_on(&self.primitives.scope);
        let waits = end_call(&self.primitives).await;
        if let Some(pause) = self.primitives.scope.take_owed_rest() {
            Box::pin(rest(&self.handle, lane.ground.clock, pause)).await;
            self.waited();
            return;
        }
        if waits {
            self.waited();
            return;
        }
        self.free_since = Some(ended);
        if waited {
            self.turn = None;
        } else if ended.since(*self.turn.get_or_insert(begun)) >= TURN {
            lane.ground.turn(ended).await;
            self.waited();
        }
    }

    /// The next start reads the clock: something has happened since the VU became free.
    pub(super) fn waited(&mut self) {
        self.free_since = None;
        self.turn = None;
    }

    /// In the closed model what is planned is what was started; arrivals were counted when due.
    fn count_start(&mut self, lane: &Lane, begun: Instant, closed: bool) {
        lane.spent.set(lane.spent.get().wrapping_sub(begun.as_nanos()));
        let mut counts = lane.counts.borrow_mut();
        counts.planned += u64::from(closed);
        counts.started += 1;
        counts.running += 1;
        counts.vus_used += u32::from(!std::mem::replace(&mut self.used, true));
        self.iterations += 1;
    }

    fn judge(&self, result: Result<Result<(), GuestError>, Cut>) -> Ended {
        match result {
            Ok(Err(error))
                if matches!(error.kind, GuestErrorKind::CpuTimeout | GuestErrorKind::Limit) =>
            {
                self.lane.ground.error(&self.lane.name, self.primitives.scope.vu(), &error);
                Ended::Interrupted(Some(error))
            }
            Ok(result) => {
                if let Err(error) = &result {
                    self.lane.ground.error(&self.lane.name, self.primitives.scope.vu(), error);
                }
                Ended::Completed(result)
            }
            Err(Cut::Stop) => Ended::Interrupted(None),
            Err(Cut::Timeout) => {
                let limit = self.lane.scenario().iteration_timeout;
                let message = format!(
                    "an iteration took longer than iteration_timeout ({limit:?}): raise \
                     `iteration_timeout` in the scenario's options"
                );
                let mut errors = self.lane.ground.errors.borrow_mut();
                if errors.insert(&self.lane.name, "iteration_timeout", &message, None) {
                    self.primitives.scope.log(LogLevel::Error, message.clone());
                }
                let kind = GuestErrorKind::Limit;
                Ended::Interrupted(Some(GuestError { kind, message, place: None }))
            }
        }
    }

    /// Records an iteration: counts, durations, the parts of its delay.
    fn record(
        &self,
        beginning: &Beginning,
        tags: TagSet,
        begun: Instant,
        ended: Instant,
        ended_as: &Ended,
    ) {
        let recorder = &self.lane.ground.recorder;
        let at = beginning.due;
        let started = self.primitives.scope.started().unwrap_or(begun);
        let duration = Span::between(started, ended).nanos();
        let response = Span::between(at, ended).nanos();
        let open = beginning.dispatched.is_some();
        let spent = &self.lane.spent;
        spent.set(spent.get().wrapping_add(ended.as_nanos()));
        let mut counts = self.lane.counts.borrow_mut();
        counts.running -= 1;
        counts.runner_short += u64::from(self.record_delay(beginning, tags, started));
        match ended_as {
            Ended::Completed(result) => {
                counts.completed += 1;
                counts.errors += u64::from(result.is_err());
                let (outcome, error) = match result {
                    Ok(()) => (Outcome::Ok, Name::NONE),
                    Err(error) => (Outcome::Error, recorder.names().intern(error.kind.name())),
                };
                let ended_tags = TagSet { outcome, error, ..tags };
                recorder.add(Builtin::Iterations.id(), ended_tags, at, 1.0);
                recorder.rate(Builtin::IterationErrors.id(), tags, at, result.is_err());
                recorder.trend(Builtin::IterationDuration.id(), ended_tags, at, duration);
                if open {
                    recorder.trend(Builtin::IterationResponseTime.id(), ended_tags, at, response);
                }
            }
            Ended::Interrupted(error) => {
                counts.interrupted += 1;
                counts.errors += u64::from(error.is_some());
                recorder.add(Builtin::InterruptedIterations.id(), tags, at, 1.0);
                if error.is_some() {
                    recorder.rate(Builtin::IterationErrors.id(), tags, at, true);
                }
                recorder.censored(Builtin::IterationDuration.id(), tags, at, duration);
                if open {
                    recorder.censored(Builtin::IterationResponseTime.id(), tags, at, response);
                }
            }
        }
        if self.lane.scenario().driver.is_some() {
            self.record_end(ended, Span::between(at, ended), ended_as);
        }
        let host_calls = self.primitives.scope.host_calls();
        if host_calls > 0 {
            recorder.add(Builtin::GuestHostCalls.id(), tags, at, host_calls as f64);
        }
    }

    /// What a driver sees of an iteration: that it ended, when it ended, and how long it was there.
    fn record_end(&self, ended: Instant, response: Span, ended_as: &Ended) {
        let (lane, recorder) = (&self.lane, &self.lane.ground.recorder);
        let tags = lane.tags_of_end(ended);
        lane.count_inside(-1);
        let seconds = response.duration().as_secs_f64();
        recorder.add(Builtin::IterationsEndedSeconds.id(), tags, ended, seconds);
        if matches!(ended_as, Ended::Completed(Ok(()))) {
            recorder.add(Builtin::IterationsEnded.id(), tags, ended, 1.0);
        }
    }

    /// The three parts of a late start, and their sum. True if the runner was late by a second.
    fn record_delay(&self, beginning: &Beginning, tags: TagSet, started: Instant) -> bool {
        let Some((released, free)) = beginning.dispatched else { return false };
        let recorder = &self.lane.ground.recorder;
        let at = beginning.due;
        let release = Span::between(at, released);
        let queue = Span::between(released, free);
        let start = Span::between(free, started);
        for (metric, part) in [
            (Builtin::DispatchRelease, release.nanos()),
            (Builtin::DispatchQueue, queue.nanos()),
            (Builtin::DispatchStart, start.nanos()),
            (Builtin::DispatchDelay, release.nanos() + queue.nanos() + start.nanos()),
        ] {
            recorder.trend(metric.id(), tags, at, part);
        }
        release.duration() + start.duration() > SHORT
    }
}

impl Lane {
    /// Records an arrival for which there was no room.
    pub(super) fn drop_arrival(&self, arrival: &Arrival, now: Instant) {
        let short = arrival.released.since(arrival.due) > SHORT;
        self.counts.borrow_mut().dropped += 1;
        self.give_up(Builtin::DroppedIterations, arrival, now, short);
    }

    /// Records an arrival that was due and never started; `by_runner` if it was never released.
    pub(super) fn never_start(&self, arrival: &Arrival, now: Instant, by_runner: bool) {
        self.counts.borrow_mut().never_started += 1;
        self.give_up(Builtin::NeverStartedIterations, arrival, now, by_runner);
    }

    fn give_up(&self, count: Builtin, arrival: &Arrival, now: Instant, by_runner: bool) {
        self.counts.borrow_mut().runner_short += u64::from(by_runner);
        self.count_inside(-1);
        let tags = self.tags_at(arrival.due, arrival.stage);
        let recorder = &self.ground.recorder;
        let waited = Span::between(arrival.due, now).nanos();
        recorder.add(count.id(), tags, arrival.due, 1.0);
        for metric in [Builtin::IterationResponseTime, Builtin::DispatchDelay] {
            recorder.censored(metric.id(), tags, arrival.due, waited);
        }
    }
}

/// Rests, while the VU may start iterations at all.
async fn rest(handle: &Handle, clock: Clock, pause: Duration) {
    let rest = pin!(rest_until(clock, clock.now() + pause));
    select(rest, pin!(handle.closed())).await;
}

/// Ends what a call left open, and gives back what a VU holds only while it works. True if it had to wait.
async fn end_call(primitives: &Primitives) -> bool {
    let open = !primitives.database.is_settled();
    if open {
        Box::pin(settle(primitives)).await;
    }
    primitives.scope.about_to_wait();
    open
}

/// Ends what an iteration left open: a transaction, a call in its middle.
async fn settle(primitives: &Primitives) {
    let limit = primitives.scope.limits().operation_timeout;
    match tokio::time::timeout(limit, primitives.database.reset()).await {
        Ok(Ok(())) => {}
        Ok(Err(misuse)) => primitives.scope.log(LogLevel::Warn, misuse.to_string()),
        Err(_) => {
            let text = format!("the database took longer than {limit:?} to end a transaction");
            primitives.scope.log(LogLevel::Warn, text);
        }
    }
}
