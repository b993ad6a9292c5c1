//! One target: what is asked of it, one order after the other, and what becomes of it by itself.
//!
//! | state | start | stop, kill | restart | pause, resume | its process ends |
//! |---|---|---|---|---|---|
//! | down | → up | not_running | → up | not_running | |
//! | up | running | → down | → up | signal | → down, has died |
//!
//! While an order is carried out, the end of the process is part of it; at any other time it is a death.

use std::{rc::Rc, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
};

use super::{
    Event, Inner, Opening, Order, Probe, Refused, Standing, TargetError, broken, guard,
    guard::Guard,
    lock,
    process::{self, Process, Surroundings, signal_of},
    ready, sampler,
};
use crate::{
    clock::Instant,
    plan::{TargetPlan, TargetSignal},
};

/// Between two looks at a group that is ending.
const LOOK: Duration = Duration::from_millis(10);
/// How long a process may take to be gone after SIGKILL.
const GONE: Duration = Duration::from_secs(10);
/// How long its last words may take to be read: a child of its own may hold the pipe.
const WORDS: Duration = Duration::from_millis(100);

/// Last lines that a death is told with; the summary has more.
const SAID: usize = 4;
/// Characters of each.
const LETTERS: usize = 120;

/// What an actor is asked.
#[derive(Debug)]
pub(super) enum Ask {
    /// Carry out an order.
    Order { order: Order, answer: oneshot::Sender<Result<Duration, Refused>> },
    /// Stop, if the runner started it, and end.
    Close(oneshot::Sender<()>),
}

/// What all actors share.
struct Site {
    inner: Arc<Inner>,
    surroundings: Surroundings,
    sampler: std::sync::mpsc::Sender<sampler::Ask>,
    guard: Option<Guard>,
    probe: Option<Arc<dyn Probe>>,
}

struct Actor {
    index: usize,
    /// What everything that descends from it bears.
    mark: String,
    plan: TargetPlan,
    site: Rc<Site>,
    process: Option<Process>,
    paused: bool,
}

/// The thread of the targets: opens them, then serves them until they are closed.
pub(super) fn run(
    inner: &Arc<Inner>,
    opening: Opening,
    sampler: std::sync::mpsc::Sender<sampler::Ask>,
    asks: Vec<mpsc::Receiver<Ask>>,
    opened: oneshot::Sender<Result<(), TargetError>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = opened.send(Err(broken(&format!("no runtime for targets: {error}"))));
            return;
        }
    };
    LocalSet::new().block_on(&runtime, live(inner, opening, sampler, asks, opened));
}

async fn live(
    inner: &Arc<Inner>,
    opening: Opening,
    sampler: std::sync::mpsc::Sender<sampler::Ask>,
    asks: Vec<mpsc::Receiver<Ask>>,
    opened: oneshot::Sender<Result<(), TargetError>>,
) {
    let mark = format!("{}-{:032x}", opening.run, rand::random::<u128>());
    let marks: Vec<String> =
        (0..opening.plans.len()).map(|index| format!("{mark}.{index}")).collect();
    let guard = match opening.guard.as_deref().map(|path| Guard::start(path, &marks)).transpose() {
        Ok(guard) => guard,
        Err(error) => {
            let _ = opened.send(Err(broken(&format!("the guard of the targets: {error}"))));
            return;
        }
    };
    let site = Rc::new(Site {
        inner: Arc::clone(inner),
        surroundings: Surroundings::of(&opening),
        sampler,
        guard,
        probe: opening.probe,
    });
    let mut actors: Vec<Actor> = (opening.plans.into_iter().zip(marks).enumerate())
        .map(|(index, (plan, mark))| Actor {
            index,
            plan,
            mark,
            site: Rc::clone(&site),
            process: None,
            paused: false,
        })
        .collect();
    let mut result = Ok(());
    for actor in &mut actors {
        result = actor.open().await;
        if result.is_err() {
            break;
        }
    }
    let _ = opened.send(result);
    let acting = actors.into_iter().zip(asks).map(|(actor, asks)| actor.live(asks));
    futures_util::future::join_all(acting).await;
}

impl Actor {
    async fn live(mut self, mut asks: mpsc::Receiver<Ask>) {
        loop {
            let ask = tokio::select! {
                biased;
                how = ended(self.process.as_ref()) => {
                    self.died(&how).await;
                    continue;
                }
                ask = asks.recv() => ask,
            };
            match ask {
                Some(Ask::Order { order, answer }) => {
                    let answered = self.obey(order).await;
                    let _ = answer.send(answered);
                }
                Some(Ask::Close(answer)) => {
                    self.close(self.plan.stop.signal).await;
                    let _ = answer.send(());
                    return;
                }
                None => return self.close(TargetSignal::Kill).await,
            }
        }
    }

    fn now(&self) -> Instant {
        self.site.inner.clock.now()
    }

    fn tell(&self, at: Instant, event: Event) {
        self.site.inner.publish(at, event);
    }

    fn note(&self, change: impl FnOnce(&mut Standing)) {
        if let Some(standing) = lock(&self.site.inner.standings).get_mut(self.index) {
            change(standing);
        }
    }

    /// Starts it or attaches to it, for the first time.
    async fn open(&mut self) -> Result<(), TargetError> {
        let name = &self.plan.name;
        if let Some((placeholder, instead)) = self.site.surroundings.missing(&self.plan) {
            return Err(TargetError {
                message: format!(
                    "target `{name}` asks for {placeholder}, and other processes cannot reach what \
                     is embedded"
                ),
                help: format!("use {instead}"),
                declared_wrongly: true,
            });
        }
        let asked = self.now();
        self.start(asked).await.map(drop).map_err(|refused| {
            let help = match refused {
                _ if self.plan.is_attached() => "name a process of this user that runs",
                Refused::Failed { kind: "not_started", .. } => {
                    "name a program that is on PATH, or its path, and a `directory` that exists"
                }
                _ => "look at what it wrote; `ready_timeout` says how long it may take",
            };
            let (Refused::Misuse(message) | Refused::Failed { message, .. }) = refused;
            TargetError { message, help: help.to_owned(), declared_wrongly: false }
        })
    }

    async fn obey(&mut self, order: Order) -> Result<Duration, Refused> {
        self.check(order)?;
        let asked = self.now();
        match order {
            Order::Start => self.start(asked).await,
            Order::Stop => self.stop(self.plan.stop.signal).await,
            Order::Kill => self.stop(TargetSignal::Kill).await,
            Order::Restart => {
                if self.process.is_some() {
                    self.stop(self.plan.stop.signal).await?;
                }
                self.start(asked).await
            }
            Order::Pause | Order::Resume => self.pause(order == Order::Pause),
        }
    }

    /// Whether it may be asked that, and makes sense.
    fn check(&self, order: Order) -> Result<(), Refused> {
        let (name, order_name) = (&self.plan.name, order.name());
        if self.plan.is_attached() {
            if matches!(order, Order::Start | Order::Restart) {
                return Err(Refused::Misuse(format!(
                    "target::{order_name}: the runner did not start `{name}` and does not know how: \
                     declare it with a `command`"
                )));
            }
            if !self.plan.allow_stop {
                return Err(Refused::Misuse(format!(
                    "target::{order_name}: the runner did not start `{name}`: add `allow_stop = true` \
                     to its declaration if it may be stopped"
                )));
            }
        }
        let (kind, state) = match (order, self.process.is_some()) {
            (Order::Start, true) => ("running", "runs already"),
            (Order::Restart | Order::Start, _) | (_, true) => return Ok(()),
            (_, false) => ("not_running", "does not run"),
        };
        Err(Refused::Failed { kind, message: format!("target `{name}` {state}") })
    }

    /// Starts it and waits until it is ready.
    async fn start(&mut self, asked: Instant) -> Result<Duration, Refused> {
        let process = match self.begin() {
            Ok(process) => process,
            Err(why) => return Err(self.failed("not_started", &why, &[])),
        };
        let Process { identity, exit, output, .. } = &process;
        let (identity, mut exit, output) = (*identity, exit.clone(), output.clone());
        let group = (!process.is_attached()).then_some(identity.pid);
        self.process = Some(process);
        self.paused = false;
        self.note(|standing| {
            standing.pid = Some(identity.pid);
            standing.running = true;
            standing.starts += 1;
        });
        let follow = sampler::Ask::Follow { target: self.index, root: identity, group };
        let _ = self.site.sampler.send(follow);
        let site = Rc::clone(&self.site);
        let waiting = ready::wait(&self.plan, &site.surroundings, site.probe.as_ref(), &output);
        let why = tokio::select! {
            biased;
            waited = tokio::time::timeout(self.plan.ready_timeout, waiting) => match waited {
                Ok(Ok(())) => None,
                Ok(Err(why)) => Some(why),
                Err(_) => Some(format!(
                    "was not ready within {:?}: it was waited for {}",
                    self.plan.ready_timeout,
                    ready::words(&self.plan)
                )),
            },
            ended = exit.wait_for(Option::is_some) => {
                let how = ended.ok().and_then(|how| how.clone()).unwrap_or_default();
                Some(format!("ended before it was ready, with {how}"))
            }
        };
        if let Some(why) = why {
            if !self.plan.is_attached() {
                let _ = self.end(TargetSignal::Kill).await;
            }
            self.forget().await;
            return Err(self.failed("not_ready", &why, &output.last_lines()));
        }
        let up = self.now();
        self.tell(up, Event::Up { target: self.index, asked, started: true });
        Ok(up.since(asked))
    }

    fn begin(&self) -> Result<Process, String> {
        if self.plan.is_attached() {
            return process::attach(&self.plan);
        }
        let site = &self.site;
        process::start(&self.plan, &site.surroundings, site.guard.as_ref(), &self.mark)
            .map_err(|error| format!("could not be started: {error}"))
    }

    /// It did not start: told once, as a death.
    fn failed(&self, kind: &'static str, why: &str, lines: &[String]) -> Refused {
        let message = sentence(&self.plan, why, lines);
        self.note(|standing| {
            standing.unplanned_deaths += 1;
            standing.last_lines = lines.to_vec();
            standing.death = Some(message.clone());
        });
        self.tell(self.now(), Event::Died { target: self.index, text: message.clone() });
        Refused::Failed { kind, message }
    }

    /// Its process has ended, and nobody had asked for it.
    async fn died(&mut self, how: &str) {
        let at = self.now();
        let output = self.process.as_ref().map(|process| process.output.clone());
        tokio::time::sleep(WORDS).await;
        let lines = output.map(|output| output.last_lines()).unwrap_or_default();
        let text = sentence(&self.plan, &format!("died: {how}"), &lines);
        self.note(|standing| {
            standing.unplanned_deaths += 1;
            standing.last_lines = lines;
            standing.death = Some(text.clone());
        });
        self.tell(at, Event::Died { target: self.index, text });
        self.forget().await;
    }

    async fn stop(&mut self, signal: TargetSignal) -> Result<Duration, Refused> {
        let asked = self.now();
        self.note(|standing| standing.planned_stops += 1);
        self.tell(asked, Event::Down { target: self.index });
        let ended = self.end(signal).await;
        if let Err(why) = ended {
            let name = &self.plan.name;
            let message = format!("target `{name}` could not be stopped: {why}");
            return Err(Refused::Failed { kind: "not_stopped", message });
        }
        self.forget().await;
        Ok(self.now().since(asked))
    }

    /// Signal, grace, SIGKILL; returns when it has ended, and its group if it has one.
    async fn end(&mut self, signal: TargetSignal) -> Result<(), String> {
        let Some(process) = &self.process else { return Ok(()) };
        let gone = |limit: Duration| async move {
            let ending = async {
                ended(Some(process)).await;
                while process.has_members() {
                    tokio::time::sleep(LOOK).await;
                }
            };
            tokio::time::timeout(limit, ending).await.is_ok()
        };
        let send = |signal| match process.ended() {
            Some(_) => Ok(()),
            None => process.signal(signal).map_err(|error| error.to_string()),
        };
        if signal != TargetSignal::Kill {
            send(signal_of(signal))?;
            // One that is paused hears nothing.
            send(Signal::CONT)?;
            if gone(self.plan.stop.grace).await {
                return Ok(());
            }
        }
        // Members of the group that are left when the leader has ended are killed with it.
        process.signal(Signal::KILL).map_err(|error| error.to_string())?;
        if gone(GONE).await { Ok(()) } else { Err("it survives SIGKILL".to_owned()) }
    }

    /// Buries a process that has ended, with its last figures.
    async fn forget(&mut self) {
        let Some(process) = self.process.take() else { return };
        self.paused = false;
        let (done, looked) = oneshot::channel();
        let _ = self.site.sampler.send(sampler::Ask::Last { target: self.index, done });
        let _ = looked.await;
        let (identity, attached) = (process.identity, process.is_attached());
        process.bury();
        if !attached {
            let mark = self.mark.clone();
            // Those that left the group are of the same start, and end with it.
            let _ = tokio::task::spawn_blocking(move || guard::sweep(&mark)).await;
            if let Some(guard) = &self.site.guard {
                guard.release(identity);
            }
        }
        self.note(|standing| standing.running = false);
    }

    fn pause(&mut self, pause: bool) -> Result<Duration, Refused> {
        let asked = self.now();
        let Some(process) = &self.process else { return Ok(Duration::ZERO) };
        let signal = if pause { Signal::STOP } else { Signal::CONT };
        if pause {
            self.tell(asked, Event::Down { target: self.index });
        }
        process.signal(signal).map_err(|error| Refused::Failed {
            kind: "not_running",
            message: format!("target `{}`: {error}", self.plan.name),
        })?;
        let done = self.now();
        if !pause && self.paused {
            self.tell(done, Event::Up { target: self.index, asked, started: false });
        }
        self.paused = pause;
        Ok(done.since(asked))
    }

    async fn close(&mut self, signal: TargetSignal) {
        if self.plan.is_attached() {
            // It is not ours to end; a pause of ours is.
            if self.paused {
                let _ = self.pause(false);
            }
            return;
        }
        let _ = self.end(signal).await;
        self.forget().await;
    }
}

/// Waits until a process has ended; for ever, without one.
async fn ended(process: Option<&Process>) -> String {
    let Some(process) = process else { return std::future::pending().await };
    let mut exit = process.exit.clone();
    let how = exit.wait_for(Option::is_some).await;
    how.ok().and_then(|how| how.clone()).unwrap_or_else(|| "an end that nobody saw".to_owned())
}

/// What became of a target, and what it wrote last.
fn sentence(plan: &TargetPlan, why: &str, lines: &[String]) -> String {
    let name = &plan.name;
    if lines.is_empty() {
        return format!("target `{name}` {why}");
    }
    // On one line, and short: who prints it escapes what breaks lines, and cuts what is long.
    let newest = lines.iter().skip(lines.len().saturating_sub(SAID));
    let newest: Vec<String> = newest.map(|line| line.chars().take(LETTERS).collect()).collect();
    format!("target `{name}` {why}; it wrote last: {}", newest.join(" | "))
}
