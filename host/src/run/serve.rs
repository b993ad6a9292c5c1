//! Services in a process of their own: `wavetank serve`.
//!
//! The course is that of a run without scenarios: `setup`, then every worker's `init` (a component's
//! `start`, once for each of its instances), then the subscriptions, then messages until a stop; then
//! what has come is finished, and `teardown` (a component's `stop`, once for each instance) ends it.
//!
//! What the handlers took is kept as the recorder keeps it and handed to whichever run asks, see
//! [`super::collect`]. Nothing here judges: a handler that fails is a sample and a line in the log.

use std::{rc::Rc, sync::Arc, sync::atomic::AtomicU64, time::Duration};

use tokio::{
    sync::mpsc,
    task::{JoinSet, LocalSet},
};

use super::{
    Shared, StopLevel, StopSignal, collect,
    collect::{Ask, AskKind},
    event::Event,
    load, log,
    services::{self, Offer, Services},
    shard::{self, Report},
};
use crate::{
    clock::Clock,
    executor::{Ground, Notice, Workload},
    metric::{self, Names},
    plan::Plan,
    primitive::{Failure, bus, database},
    verdict::Cause,
};

/// How long messages that have come may take after a stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the answer to a run's last question may wait for handlers to end; below what the run
/// waits for it.
const LAST: Duration = Duration::from_millis(400);
/// Runs that may have asked and not been answered yet.
const ASKS: usize = 64;

/// What a serving process is made of.
#[derive(Debug)]
pub struct ServeInput {
    /// The services, in a plan without scenarios ([`Plan::service`]).
    pub plan: Arc<Plan>,
    /// Where the workers come from.
    pub workload: Arc<dyn Workload>,
    /// The bus. The caller opened it and closes it.
    pub bus: bus::Source,
    /// The database. The caller opened it and closes it.
    pub database: database::Source,
    /// The timeline of what it measures: real, or virtual for a test.
    pub clock: Clock,
    /// Whether each host call is logged.
    pub trace: bool,
    /// Who watches. Never waited for.
    pub events: mpsc::Sender<Event>,
    /// Stops it.
    pub stop: StopSignal,
    /// What is secret, and must not get into any text that the service makes.
    pub hidden: Vec<String>,
    /// The service's name: the tag `target`, and the queue that its processes share.
    pub name: String,
    /// This process, among those of the same name.
    pub instance: String,
    /// The run that may ask what was measured; any, if none is named.
    pub run: Option<String>,
    /// Messages that are handled at the same time.
    pub concurrency: usize,
    /// It is served inside the process of a run, on a thread of its own.
    pub inside: bool,
    /// A component: each instance has its own `stop`. A script has one `teardown`.
    pub instances_stop: bool,
}

/// Serves until stopped. `ready` is told how many subjects are subscribed to, once they are. The future
/// stays on its thread; a runtime with timers must drive it.
pub async fn serve(input: ServeInput, ready: impl FnOnce(usize)) -> Result<(), (Cause, String)> {
    LocalSet::new().run_until(live(input, ready)).await
}

/// What the answers to a run are made of.
struct Books {
    shared: Arc<Shared>,
    ground: Rc<Ground>,
    name: String,
    instance: String,
    /// What it uses: this thread's CPU, or all of the process's.
    cpu: rustix::time::ClockId,
}

async fn live(input: ServeInput, ready: impl FnOnce(usize)) -> Result<(), (Cause, String)> {
    let (names, clock) = (Names::hiding(input.hidden), input.clock);
    let shared = Arc::new(Shared {
        scenarios: Vec::new(),
        // The one thread there is has services and no VUs.
        shards: 0,
        load: load::Load::default(),
        service_cpu_ns: AtomicU64::new(0),
        handled_cpu_ns: AtomicU64::new(0),
        log: Arc::new(log::Outlet::new(
            input.events,
            input.plan.limits.log_lines,
            names.clone(),
            clock,
            false,
        )),
        plan: input.plan,
        workload: input.workload,
        bus: input.bus,
        database: input.database,
        targets: None,
        outages: Arc::default(),
        clock,
        names,
        trace: input.trace,
    });
    shared.workload.reserve(u32::try_from(input.concurrency).unwrap_or(u32::MAX));
    let (reports, mut told) = mpsc::unbounded_channel();
    let ground = Rc::new(shard::ground(&shared, 0, reports).await?);
    let unreachable = |failure: Failure| (Cause::Unreachable, format!("the bus: {failure}"));
    let subject = collect::subject(input.run.as_deref());
    let asks = ground.connection.subscribe_raw(&subject, None, ASKS).await.map_err(unreachable)?;
    let data = shard::setup(Rc::clone(&ground)).await?;
    ground.data.replace(Arc::new(data));
    let offer = Offer {
        target: input.name.clone(),
        queue: Some(input.name.clone()),
        run: input.run.clone(),
        workers: input.concurrency,
        prepared: true,
    };
    let mut services = services::offered(&ground, &shared, offer).await?;
    ready(ground.plan.services.len());
    let books = Rc::new(Books {
        shared: Arc::clone(&shared),
        ground: Rc::clone(&ground),
        name: input.name,
        instance: input.instance,
        cpu: if input.inside {
            rustix::time::ClockId::ThreadCPUTime
        } else {
            rustix::time::ClockId::ProcessCPUTime
        },
    });
    let ended = answer(&books, &mut services, &mut told, &asks, &input.stop).await;
    if !services.drain(DRAIN).await {
        let text = format!("what was still being handled {DRAIN:?} after the stop was cut off");
        shared.log.tell(Event::Note(text));
    }
    let stopped = if input.instances_stop {
        services.stop().await
    } else {
        shard::teardown(Rc::clone(&ground)).await
    };
    ended.and(stopped)
}

/// Until a stop, or until it cannot go on.
async fn answer(
    books: &Rc<Books>,
    services: &mut Services,
    told: &mut mpsc::UnboundedReceiver<(usize, Report)>,
    asks: &bus::Subscription,
    stop: &StopSignal,
) -> Result<(), (Cause, String)> {
    let shared = &books.shared;
    let lost = |what: &str| Err((Cause::Unreachable, format!("{what}: the bus ended it")));
    let idle = Rc::new(services.is_idle());
    let mut answers = JoinSet::new();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut notes = collect::Notes::default();
    loop {
        tokio::select! {
            biased;
            () = stop.reached(StopLevel::Graceful) => return Ok(()),
            Some((_, report)) = told.recv() => match report {
                Report::Notice(Notice::Failed(cause, text)) => return Err((cause, text)),
                Report::Notice(Notice::Aborted(reason)) => {
                    return Err((Cause::Aborted, format!("aborted by the service: {reason}")));
                }
                Report::Notice(Notice::MarkedFailed(reason)) => {
                    shared.log.tell(Event::Note(format!("marked failed by the service: {reason}")));
                }
                _ => {}
            },
            Some(_) = services.tasks.join_next() => return lost("a subscription"),
            Some(_) = answers.join_next() => {}
            ask = asks.next() => {
                let Some(ask) = ask else { return lost("the subscription of runs") };
                if answers.len() < ASKS {
                    answers.spawn_local(reply(Rc::clone(books), Rc::clone(&idle), ask));
                }
            }
            _ = second.tick() => {
                for note in notes.fresh(shared.bus.take_events().notes) {
                    shared.log.tell(Event::Note(note));
                }
            }
        }
    }
}

/// Tells a run what was measured since the last question.
async fn reply(books: Rc<Books>, idle: Rc<impl Fn() -> bool>, message: bus::Message) {
    // Only a host asks: nothing is ever sent where a stranger points.
    let Some(to) = message.reply_to.filter(|to| to.starts_with("_wavetank.")) else { return };
    let Ok(ask) = serde_json::from_slice::<Ask>(&message.payload) else { return };
    let (shared, ground) = (&books.shared, &books.ground);
    if ask.kind == AskKind::Last {
        // What the run published before it asked may still be on its way through its subscription.
        let settling = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            while !idle() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = tokio::time::timeout(LAST, settling).await;
    }
    let now = shared.clock.now();
    services::record_cpu(shared, ground, &books.name, books.cpu, now);
    let mut snapshot = ground.recorder.take(now);
    if ask.kind == AskKind::Begin {
        // It is not of this run.
        snapshot.cells.clear();
    }
    let report = metric::Report::new(&books.name, &books.instance, &snapshot, &shared.names);
    let Ok(payload) = serde_json::to_vec(&report) else { return };
    let sent = ground.connection.publish_raw(&to, payload.into(), bus::Headers::new(), None).await;
    if let Err(failure) = sent {
        let text = format!("what was measured could not be handed to the run: {failure}");
        shared.log.tell(Event::Note(text));
    }
}
