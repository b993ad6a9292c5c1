//! The system under test as processes: start, ready, stop, kill, restart, sample.
//!
//! ```text
//!  Source ──Order──► actor (one per target, on the thread `targets`) ──► process group
//!    │                  │ line by line: output     │ exit                    ▲
//!    │                  └──────── Event ◄──────────┘                         │ when the runner is gone
//!    │                              ▲                                      guard
//!    └─subscribe─► Subscription ◄───┴── sampler (a thread: ten looks a second)
//! ```
//!
//! A [`Source`] is made and closed by `cli`, and may outlive a run: a suite runs several against the
//! same targets. A run subscribes, and is told samples and what happened on its own timeline.
//!
//! A target whose process ends is `down` if someone asked for it, and otherwise has died: that is told
//! once, with the last lines that it wrote. What was started ends with the source: by its stop signal, a
//! grace and SIGKILL when it is closed, and by the guard if the runner is gone before. Nothing else is
//! ever killed; what was attached to is not stopped without a grant.

mod actor;
mod guard;
mod output;
mod process;
mod procfs;
mod ready;
mod sampler;
mod tree;

use std::{
    collections::VecDeque,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread::JoinHandle,
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use tokio::sync::{mpsc, oneshot};

pub use guard::{COMMAND as GUARD_COMMAND, Guard, watch as guard};
pub use sampler::{INTERVAL, Sample};

use crate::{
    clock::{Clock, Instant},
    plan::TargetPlan,
};

/// Orders that may wait for one target.
const ORDERS: usize = 256;
/// Events that a run may be late by: minutes of samples.
const EVENTS: usize = 16 << 10;

/// What targets are opened with.
#[derive(Debug)]
pub struct Opening {
    /// The targets.
    pub plans: Vec<TargetPlan>,
    /// `WAVETANK_BUS`, `{bus}`: where other processes reach the bus, if they do.
    pub bus: Option<String>,
    /// `WAVETANK_DB`, `{db}`: where other processes reach the database, if they do.
    pub database: Option<String>,
    /// `WAVETANK_RUN`, `{run}`
    pub run: String,
    /// `{dir}`: the run's folder.
    pub directory: PathBuf,
    /// The program that is the guard when it is called with [`GUARD_COMMAND`]. Without one, what was
    /// started outlives a runner that is killed.
    pub guard: Option<PathBuf>,
    /// Asks the bus whether a target answers.
    pub probe: Option<Arc<dyn Probe>>,
}

/// A way to ask the bus, which this room does not know.
pub trait Probe: fmt::Debug + Send + Sync {
    /// Asks again and again until there is an answer; an error if it cannot be asked at all.
    fn answered(&self, subject: &str, payload: &str)
    -> LocalBoxFuture<'static, Result<(), String>>;
}

/// A target could not be made ready, with what it wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TargetError {
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// The declaration is wrong, not the target.
    pub declared_wrongly: bool,
}

/// What can be asked of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start it and wait until it is ready.
    Start,
    /// Stop it: its signal, its grace, SIGKILL.
    Stop,
    /// SIGKILL.
    Kill,
    /// Stop and start.
    Restart,
    /// SIGSTOP
    Pause,
    /// SIGCONT
    Resume,
}

impl Order {
    /// As scripts and components call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It may not be given.
    Misuse(String),
    /// The target failed: data.
    Failed {
        /// One of a closed set: `not_running`, `running`, `not_started`, `not_ready`, `not_stopped`.
        kind: &'static str,
        /// In words.
        message: String,
    },
}

/// Something that happened to a target.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It was looked at.
    Sample(Sample),
    /// It was asked to go away: what fails from now on is planned.
    Down {
        /// Which target.
        target: usize,
    },
    /// It is ready again, after it was asked to at that instant.
    Up {
        /// Which target.
        target: usize,
        /// When it was asked to come back.
        asked: Instant,
        /// Whether it is a restart or a start; a pause that ends is none.
        started: bool,
    },
    /// It did not start, or ended and nobody had asked for it: in words, with its last lines.
    Died {
        /// Which target.
        target: usize,
        /// In words.
        text: String,
    },
}

/// How a target stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its process; the last one, if it does not run.
    pub pid: Option<i32>,
    /// Whether it runs.
    pub running: bool,
    /// How often it was started.
    pub starts: u32,
    /// How often it was asked to stop, or killed.
    pub planned_stops: u32,
    /// How often it ended and nobody had asked for it, or did not start.
    pub unplanned_deaths: u32,
    /// What it wrote before it died.
    pub last_lines: Vec<String>,
    /// The words of its last death.
    pub death: Option<String>,
}

/// The targets of a run or a suite. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Source(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    inner: Arc<Inner>,
    orders: Vec<mpsc::Sender<actor::Ask>>,
    sampler: std::sync::mpsc::Sender<sampler::Ask>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads share.
#[derive(Debug)]
struct Inner {
    plans: Vec<TargetPlan>,
    clock: Clock,
    standings: Mutex<Vec<Standing>>,
    queues: Mutex<Vec<Weak<Queue>>>,
}

/// What a run has not been told yet.
#[derive(Debug)]
struct Queue {
    /// What the run's clock shows when that of the targets shows nothing.
    ahead_ns: i128,
    events: Mutex<VecDeque<(Instant, Event)>>,
    listener: Listener,
}

/// Hears of an event when it happens, on the thread where it does.
#[derive(Clone)]
pub struct Listener(Arc<Hears>);

type Hears = dyn Fn(Instant, &Event) + Send + Sync;

impl Listener {
    /// Calls this.
    pub fn new(listener: impl Fn(Instant, &Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Listener")
    }
}

/// A run's way to hear of its targets.
#[derive(Debug)]
pub struct Subscription(Arc<Queue>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Tells all runs that listen.
    fn publish(&self, at: Instant, event: Event) {
        let mut queues = lock(&self.queues);
        queues.retain(|queue| {
            let Some(queue) = queue.upgrade() else { return false };
            let mut events = lock(&queue.events);
            if events.len() >= EVENTS {
                // Samples are sums: a later one says what this one said.
                let oldest = events.iter().position(|(_, event)| matches!(event, Event::Sample(_)));
                events.remove(oldest.unwrap_or(0));
            }
            let at = queue.shifted(at);
            (queue.listener.0)(at, &event);
            let event = queue.shift_within(event.clone());
            events.push_back((at, event));
            true
        });
    }
}

impl Queue {
    fn shifted(&self, at: Instant) -> Instant {
        let nanos = i128::from(at.as_nanos()) + self.ahead_ns;
        Instant::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }

    /// The same for an instant that an event holds.
    fn shift_within(&self, event: Event) -> Event {
        match event {
            Event::Up { target, asked, started } => {
                Event::Up { target, asked: self.shifted(asked), started }
            }
            event => event,
        }
    }
}

impl Source {
    /// Starts or attaches to all targets, one after the other, and waits until each is ready. If one is
    /// not, those before it are stopped.
    pub async fn open(opening: Opening) -> Result<Self, TargetError> {
        let inner = Arc::new(Inner {
            plans: opening.plans.clone(),
            clock: Clock::real(),
            standings: Mutex::new(vec![Standing::default(); opening.plans.len()]),
            queues: Mutex::default(),
        });
        let (ask_sampler, asked_sampler) = std::sync::mpsc::channel();
        let sampling = spawn("target-sampler", {
            let inner = Arc::clone(&inner);
            move || sampler::run(&inner, &asked_sampler)
        })?;
        let (orders, ordered): (Vec<_>, Vec<_>) =
            opening.plans.iter().map(|_| mpsc::channel(ORDERS)).unzip();
        let (opened, opening_done) = oneshot::channel();
        let acting = spawn("targets", {
            let (inner, sampler) = (Arc::clone(&inner), ask_sampler.clone());
            move || actor::run(&inner, opening, sampler, ordered, opened)
        })?;
        let source = Self(Arc::new(Handle {
            inner,
            orders,
            sampler: ask_sampler,
            threads: Mutex::new(vec![acting, sampling]),
        }));
        match opening_done.await {
            Ok(Ok(())) => Ok(source),
            Ok(Err(error)) => {
                source.close().await;
                Err(error)
            }
            Err(_) => Err(broken("the thread of the targets ended")),
        }
    }

    /// Stops what was started, and waits until it is gone.
    pub async fn close(&self) {
        let closing = self.0.orders.iter().map(|orders| {
            let (answer, answered) = oneshot::channel();
            async move {
                if orders.send(actor::Ask::Close(answer)).await.is_ok() {
                    let _ = answered.await;
                }
            }
        });
        futures_util::future::join_all(closing).await;
    }

    /// The names of the targets, in the order in which they were declared.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.inner.plans.iter().map(|plan| plan.name.as_str())
    }

    /// The declarations.
    pub fn plans(&self) -> &[TargetPlan] {
        &self.0.inner.plans
    }

    /// The target of that name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names().position(|known| known == name)
    }

    /// How each target stands.
    pub fn standings(&self) -> Vec<Standing> {
        lock(&self.0.inner.standings).clone()
    }

    /// Gives an order and waits until it is carried out; how long that took. Dropped, the order is
    /// carried out all the same.
    pub async fn order(&self, target: usize, order: Order) -> Result<Duration, Refused> {
        let (answer, answered) = oneshot::channel();
        let gone = || Refused::Misuse("the targets of this run are closed".to_owned());
        let orders = self.0.orders.get(target).ok_or_else(gone)?;
        orders.send(actor::Ask::Order { order, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Tells from now on what happens to the targets, on the timeline of this clock, and first how they
    /// are now. `listener` hears of each event when it happens, and must not wait.
    pub fn subscribe(&self, clock: Clock, listener: Listener) -> Subscription {
        let inner = &self.0.inner;
        let ahead_ns =
            i128::from(clock.now().as_nanos()) - i128::from(inner.clock.now().as_nanos());
        let queue = Arc::new(Queue { ahead_ns, events: Mutex::default(), listener });
        lock(&inner.queues).push(Arc::downgrade(&queue));
        let _ = self.0.sampler.send(sampler::Ask::Now(None));
        Subscription(queue)
    }

    /// Looks at all targets now, and returns when that was done.
    pub async fn look(&self) {
        let (done, looked) = oneshot::channel();
        if self.0.sampler.send(sampler::Ask::Now(Some(done))).is_ok() {
            let _ = looked.await;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.orders.clear();
        let (closed, _) = std::sync::mpsc::channel();
        self.sampler = closed;
        for thread in lock(&self.threads).drain(..) {
            let _ = thread.join();
        }
    }
}

impl Subscription {
    /// What has happened since the last call, in order.
    pub fn take(&self) -> Vec<(Instant, Event)> {
        lock(&self.0.events).drain(..).collect()
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, TargetError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map_err(|error| broken(&format!("no thread for targets: {error}")))
}

fn broken(message: &str) -> TargetError {
    TargetError {
        message: message.to_owned(),
        help: "this machine has too little left, or it is a bug".to_owned(),
        declared_wrongly: false,
    }
}
