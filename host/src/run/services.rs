//! Services: what answers messages, inside a run (`services:` in a workload's options) or as a
//! process of its own (`wavetank serve`, see [`super::serve`]).
//!
//! Inside a run they live on a thread of their own, built like a shard but without scenarios: what
//! they use is not the runner's CPU, and what they do cannot hold up a VU. Messages of all subjects
//! are handled by one bounded pool of virtual users; what waits for one waits in its subscription, in
//! order. A handler's time is taken here, around the handler, and tagged `target:<service>`.
//!
//! What a handler does with bus and database is the system's work and not the load: it is measured under
//! `phase:service`, which no selector matches that does not name it. `service_*` are the figures of the
//! service itself; those of messages that came before the load or after it are setup's and teardown's.
//!
//! A handler's CPU is what its thread used while it was polled. What the process used besides
//! (`wavetank serve`: its bus connection and database threads) is nobody's operation and bears no `op`.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::Shared;
use crate::{
    clock::{Instant, Span},
    executor::Ground,
    metric::{Builtin, Name, Outcome, Phase, TagSet},
    plan::{ConnectionSharing, Consumer},
    primitive::{Failure, LogLevel, Primitives, Random, bus},
    verdict::Cause,
    workload::{GuestError, GuestErrorKind, VirtualUser},
};

/// How services are offered.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    /// The tag `target` of what is measured.
    pub(super) target: String,
    /// Processes with the same queue share the messages.
    pub(super) queue: Option<String>,
    /// The run whose streams are consumed first.
    pub(super) run: Option<String>,
    /// Messages that are handled at the same time.
    pub(super) workers: usize,
    /// All workers are made, and their `init` (`start`) has run, before the first message is taken.
    /// Not inside a run: its services answer while `setup` makes what `init` needs, and are prepared
    /// after it.
    pub(super) prepared: bool,
}

/// Services that are live; they end with this.
pub(super) struct Services {
    pool: Rc<Pool>,
    /// One per subject; one that ends by itself has lost its subscription.
    pub(super) tasks: JoinSet<()>,
}

/// A virtual user that handles messages.
struct Worker {
    primitives: Primitives,
    user: Box<dyn VirtualUser>,
    /// Its `init` has run; not while `setup` does.
    initialised: bool,
}

/// What the handlers of all subjects share.
struct Pool {
    shared: Arc<Shared>,
    ground: Rc<Ground>,
    offer: Offer,
    idle: RefCell<Vec<Worker>>,
    room: Arc<Semaphore>,
    /// Workers made so far.
    hired: Cell<u32>,
    /// Whether a worker's `init` may run: what `setup` returned is known.
    initialises: Cell<bool>,
    /// Workers whose `init` has run.
    ready: Cell<usize>,
    /// Messages that were taken and are not finished.
    busy: Rc<Cell<usize>>,
    stop: watch::Sender<bool>,
}

/// A message that is being handled, or waits for a worker.
struct Busy(Rc<Cell<usize>>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Subscribes the services of a run to all subjects; live when this returns.
pub(super) async fn start(
    ground: &Rc<Ground>,
    shared: &Arc<Shared>,
) -> Result<Services, (Cause, String)> {
    let workers = ground.plan.limits.service_workers as usize;
    let offer =
        Offer { target: "service".to_owned(), queue: None, run: None, workers, prepared: false };
    offered(ground, shared, offer).await
}

/// Subscribes to all subjects of the plan; live when this returns.
pub(super) async fn offered(
    ground: &Rc<Ground>,
    shared: &Arc<Shared>,
    offer: Offer,
) -> Result<Services, (Cause, String)> {
    let workers = offer.workers.max(1);
    let pool = Rc::new(Pool {
        shared: Arc::clone(shared),
        ground: Rc::clone(ground),
        idle: RefCell::default(),
        room: Arc::new(Semaphore::new(workers)),
        hired: Cell::new(0),
        initialises: Cell::new(false),
        ready: Cell::new(0),
        busy: Rc::default(),
        stop: watch::channel(false).0,
        offer: Offer { workers, ..offer },
    });
    if pool.offer.prepared {
        pool.prepare().await.map_err(|(cause, text)| (cause, format!("start{text}")))?;
    }
    let mut tasks = JoinSet::new();
    for (subject, handler) in &ground.plan.services {
        let capacity = ground.plan.limits.subscription_queue;
        let queue = pool.offer.queue.as_deref();
        let unreachable = |failure: Failure| {
            (Cause::Unreachable, format!("service `{subject}` could not subscribe: {failure}"))
        };
        let handler: Rc<str> = handler.as_str().into();
        let feed = match ground.plan.consumers.get(subject) {
            Some(Consumer { stream, consumer }) => {
                let run = pool.offer.run.as_deref();
                let what = bus::Consumption { stream, run, consumer, filter: subject };
                ground.connection.consume_raw(what).await.map_err(unreachable)?
            }
            None => None,
        };
        if let Some(feed) = feed {
            tasks.spawn_local(consume(Rc::clone(&pool), feed, handler));
            continue;
        }
        let subscribed = ground.connection.subscribe_raw(subject, queue, capacity).await;
        let subscription = subscribed.map_err(unreachable)?;
        tasks.spawn_local(serve(Rc::clone(&pool), subscription, handler));
    }
    Ok(Services { pool, tasks })
}

impl Services {
    /// Makes all workers and runs their `init`, once `setup` has returned. Those that answered `setup`
    /// go: they know nothing of what it returned.
    pub(super) fn prepare(&self) -> impl Future<Output = Result<(), (Cause, String)>> + use<> {
        let pool = Rc::clone(&self.pool);
        async move {
            let prepared = pool.prepare().await;
            prepared
                .map_err(|(cause, text)| (cause, format!("init of the services' workers{text}")))
        }
    }

    /// Whether no message is being handled or waits for a worker.
    pub(super) fn is_idle(&self) -> impl Fn() -> bool + use<> {
        let busy = Rc::clone(&self.pool.busy);
        move || busy.get() == 0
    }

    /// Takes no new messages and finishes those that have come; false if `limit` did not suffice.
    pub(super) async fn drain(&mut self, limit: Duration) -> bool {
        self.pool.stop.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        let drained = tokio::time::timeout(limit, ended).await.is_ok();
        self.tasks.abort_all();
        drained
    }

    /// Runs `stop` of every instance of a component; the first error is told.
    pub(super) async fn stop(self) -> Result<(), (Cause, String)> {
        let ground = Rc::clone(&self.pool.ground);
        let tags = TagSet { phase: Phase::Teardown, ..self.pool.tags("stop") };
        let workers = self.pool.idle.take();
        let limit = ground.plan.teardown_timeout;
        let stopping = futures_util::future::join_all(workers.into_iter().map(|mut worker| {
            let ground = &ground;
            async move {
                let random = Random::new(ground.plan.seed, "stop", 0);
                worker.primitives.scope.begin(tags, ground.clock.now(), random);
                let result = worker.user.teardown().await;
                worker.primitives.scope.about_to_wait();
                result
            }
        }));
        match tokio::time::timeout(limit, stopping).await {
            Err(_) => {
                let text = format!(
                    "stop took longer than teardown_timeout ({limit:?}): raise `teardown_timeout` in \
                     the workload's options"
                );
                Err((Cause::TeardownTimeout, text))
            }
            Ok(results) => match results.into_iter().find_map(Result::err) {
                Some(error) => Err((Cause::WorkloadError, format!("stop: {error}"))),
                None => Ok(()),
            },
        }
    }
}

/// Hands each message of a subscription to a free worker, until the pool stops.
async fn serve(pool: Rc<Pool>, subscription: bus::Subscription, handler: Rc<str>) {
    let mut stop = pool.stop.subscribe();
    let mut handling = JoinSet::new();
    loop {
        let message = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = handling.join_next() => {
                pool.note_panic(ended.err(), &handler);
                continue;
            }
            message = subscription.next() => message,
        };
        let Some(message) = message else { return };
        let dropped = subscription.take_dropped();
        if dropped > 0 {
            let metric = Builtin::BusSlowConsumerDrops.id();
            let ground = &pool.ground;
            let tags = TagSet { phase: Phase::Service, ..pool.tags(&handler) };
            ground.recorder.add(metric, tags, ground.clock.now(), dropped as f64);
        }
        pool.begin(&mut handling, &handler, message, None).await;
    }
    // What had come before the stop is still handled.
    while let Some(Some(message)) = subscription.next().now_or_never() {
        pool.begin(&mut handling, &handler, message, None).await;
    }
    drop(subscription);
    while let Some(ended) = handling.join_next().await {
        pool.note_panic(ended.err(), &handler);
    }
}

/// The same, of what a stream has: a message is acknowledged when its handler has ended well. One whose handler
/// failed comes again after the consumer's own patience.
async fn consume(pool: Rc<Pool>, mut feed: bus::Feed, handler: Rc<str>) {
    let mut stop = pool.stop.subscribe();
    let mut handling = JoinSet::new();
    loop {
        let next = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = handling.join_next() => {
                pool.note_panic(ended.err(), &handler);
                continue;
            }
            next = feed.next() => next,
        };
        let Some((message, acknowledge)) = next else { return };
        pool.begin(&mut handling, &handler, message, Some(acknowledge)).await;
    }
    while let Some(ended) = handling.join_next().await {
        pool.note_panic(ended.err(), &handler);
    }
}

async fn handle(pool: &Pool, handler: &str, message: bus::Message, acknowledge: Option<String>) {
    let ground = &pool.ground;
    let recorder = &ground.recorder;
    let reply_to = message.reply_to.clone();
    let mut worker = match pool.worker().await {
        Ok(worker) => worker,
        Err(error) => {
            let now = ground.clock.now();
            recorder.rate(Builtin::ServiceFailed.id(), pool.tags_at(handler, now), now, true);
            return ground.error("service", 0, &error);
        }
    };
    let scope = Rc::clone(&worker.primitives.scope);
    let due = ground.clock.now();
    let tags = pool.tags_at(handler, due);
    let own = TagSet { phase: Phase::Service, ..tags };
    scope.begin(own, due, Random::new(ground.plan.seed, "service", due.as_nanos()));
    let handling = pool.metered(tags, due, worker.user.handle(handler, message));
    let limit = ground.plan.limits.handler_timeout;
    let result = tokio::time::timeout(limit, handling).await.unwrap_or_else(|_| {
        Err(GuestError {
            kind: GuestErrorKind::Limit,
            message: format!(
                "a handler took longer than handler_timeout ({limit:?}): raise it with --limit \
                 handler_timeout=DURATION"
            ),
            place: None,
        })
    });
    let span = Span::between(scope.started().unwrap_or(due), ground.clock.now());
    let (outcome, error) = match &result {
        Ok(_) => (Outcome::Ok, Name::NONE),
        Err(error) => (Outcome::Error, recorder.names().intern(error.kind.name())),
    };
    let ended = TagSet { outcome, error, ..tags };
    recorder.add(Builtin::ServiceHandled.id(), ended, due, 1.0);
    recorder.rate(Builtin::ServiceFailed.id(), tags, due, result.is_err());
    recorder.trend(Builtin::ServiceHandleDuration.id(), ended, due, span.nanos());
    if let (Ok(_), Some(subject)) = (&result, acknowledge)
        && let Err(failure) = ground.connection.acknowledge_raw(&subject).await
    {
        scope.log(LogLevel::Warn, format!("acknowledgement of {handler}: {failure}"));
    }
    match (result, reply_to) {
        (Ok(Some(reply)), Some(to)) => {
            if let Err(failure) =
                ground.connection.publish_raw(&to, reply, bus::Headers::new(), None).await
            {
                scope.log(LogLevel::Warn, format!("reply of {handler}: {failure}"));
            }
        }
        (Ok(_), _) => {}
        (Err(error), _) => ground.error("service", scope.vu(), &error),
    }
    pool.release(worker).await;
}

impl Pool {
    /// Waits for a free worker's place and handles a message there.
    async fn begin(
        self: &Rc<Self>,
        handling: &mut JoinSet<()>,
        handler: &Rc<str>,
        message: bus::Message,
        acknowledge: Option<String>,
    ) {
        self.busy.set(self.busy.get() + 1);
        let busy = Busy(Rc::clone(&self.busy));
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else { return };
        let (pool, handler) = (Rc::clone(self), Rc::clone(handler));
        handling.spawn_local(async move {
            handle(&pool, &handler, message, acknowledge).await;
            drop((permit, busy));
        });
    }

    /// A worker that is idle, or a new one: the semaphore bounds how many there are.
    async fn worker(&self) -> Result<Worker, GuestError> {
        let idle = self.idle.borrow_mut().pop();
        match idle {
            Some(worker) => Ok(worker),
            None => self.hire().await,
        }
    }

    /// A new worker; it holds nothing of what its `init` used.
    async fn hire(&self) -> Result<Worker, GuestError> {
        let limit =
            |message: String| GuestError { kind: GuestErrorKind::Limit, message, place: None };
        // VUs and workers have no number in common: `init` may use it as a key.
        let number = self.hired.get() + 1;
        self.hired.set(number);
        let number = number + if self.offer.prepared { 0 } else { self.ground.plan.limits.vus };
        let primitives = self.ground.primitives(number, ConnectionSharing::Shard).await;
        let primitives = primitives.map_err(|error| limit(error.to_string()))?;
        let user = self.ground.virtual_user(&primitives)?;
        let mut worker = Worker { primitives, user, initialised: self.initialises.get() };
        if worker.initialised {
            let ground = &self.ground;
            let tags = TagSet { phase: Phase::Setup, ..self.tags("init") };
            let random = Random::new(ground.plan.seed, "init", u64::from(number));
            worker.primitives.scope.begin(tags, ground.clock.now(), random);
            worker.user.init().await?;
            self.give_back(&worker).await;
            self.ready.set(self.ready.get() + 1);
        }
        Ok(worker)
    }

    /// Makes all workers, one after the other: what the first makes in the database, the others find.
    /// An error says what comes behind the name of what failed.
    async fn prepare(&self) -> Result<(), (Cause, String)> {
        let limit = self.ground.plan.setup_timeout;
        self.initialises.set(true);
        self.idle.take();
        let preparing = async {
            // A message that comes meanwhile may have made some.
            while self.ready.get() < self.offer.workers {
                let worker = self.hire().await?;
                self.idle.borrow_mut().push(worker);
            }
            Ok(())
        };
        match tokio::time::timeout(limit, preparing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let GuestError { message, place, .. } = error;
                let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
                Err((Cause::WorkloadError, format!(": {message}{place}")))
            }
            Err(_) => Err((
                Cause::SetupTimeout,
                format!(
                    ": all of them took longer than setup_timeout ({limit:?}): raise `setup_timeout` \
                     in the workload's options, or have fewer workers"
                ),
            )),
        }
    }

    /// Ends what a worker left open, and lets the next message have it.
    async fn release(&self, worker: Worker) {
        self.give_back(&worker).await;
        if worker.initialised == self.initialises.get() {
            self.idle.borrow_mut().push(worker);
        }
    }

    async fn give_back(&self, worker: &Worker) {
        let limit = self.ground.plan.limits.operation_timeout;
        let _ = tokio::time::timeout(limit, worker.primitives.database.reset()).await;
        worker.primitives.scope.about_to_wait();
        self.ground.pass_on(&worker.primitives.scope);
    }

    fn note_panic(&self, error: Option<tokio::task::JoinError>, handler: &str) {
        if let Some(error) = error.filter(tokio::task::JoinError::is_panic) {
            let text = format!("service handler `{handler}` panicked: {error}");
            (self.ground.notify)(crate::executor::Notice::Failed(Cause::Internal, text));
        }
    }

    /// Drives a handler and records the CPU that this thread used meanwhile.
    async fn metered<T>(&self, tags: TagSet, due: Instant, handling: impl Future<Output = T>) -> T {
        let mut handling = pin!(handling);
        if self.shared.clock.is_virtual() {
            return handling.await;
        }
        let thread = || cpu_nanos(rustix::time::ClockId::ThreadCPUTime);
        poll_fn(|context| {
            let before = thread();
            let polled = handling.as_mut().poll(context);
            let used = thread().saturating_sub(before);
            self.shared.handled_cpu_ns.fetch_add(used, Ordering::Relaxed);
            let seconds = used as f64 / 1e9;
            self.ground.recorder.add(Builtin::ServiceCpuSeconds.id(), tags, due, seconds);
            polled
        })
        .await
    }

    /// The tags of what a handler is measured by itself, for a message that came then.
    fn tags_at(&self, handler: &str, at: Instant) -> TagSet {
        TagSet { phase: phase(&self.shared, at), ..self.tags(handler) }
    }

    fn tags(&self, handler: &str) -> TagSet {
        let names = self.ground.recorder.names();
        TagSet {
            workload: names.intern(&self.ground.plan.name),
            op: names.intern(handler),
            target: names.intern(&self.offer.target),
            ..TagSet::default()
        }
    }
}

/// Each second, and where the load begins and ends: the CPU time of the services' thread until then,
/// kept apart from the runner's.
pub(super) fn sample_cpu(shared: &Shared, ground: &Ground, at: Instant) {
    if shared.clock.is_virtual() {
        return;
    }
    let clock = rustix::time::ClockId::ThreadCPUTime;
    record_cpu(shared, ground, "service", clock, at);
}

/// The CPU time that was used since the last call, until `at`, and that no handler has accounted for.
pub(super) fn record_cpu(
    shared: &Shared,
    ground: &Ground,
    target: &str,
    clock: rustix::time::ClockId,
    at: Instant,
) {
    let nanos = cpu_nanos(clock);
    let before = shared.service_cpu_ns.swap(nanos, Ordering::Relaxed);
    let handled = shared.handled_cpu_ns.swap(0, Ordering::Relaxed);
    let target = ground.recorder.names().intern(target);
    let tags = TagSet { phase: phase(shared, at), target, ..TagSet::default() };
    let used = nanos.saturating_sub(before).saturating_sub(handled) as f64 / 1e9;
    ground.recorder.add(Builtin::ServiceCpuSeconds.id(), tags, at, used);
}

fn cpu_nanos(clock: rustix::time::ClockId) -> u64 {
    let cpu = rustix::time::clock_gettime(clock);
    cpu.tv_sec as u64 * 1_000_000_000 + cpu.tv_nsec as u64
}

/// The part of the run that a service's own figures at an instant belong to. A process that serves knows
/// no load: which run asks decides what is of it.
fn phase(shared: &Shared, at: Instant) -> Phase {
    if shared.shards == 0 { Phase::Main } else { shared.load.phase(at) }
}
