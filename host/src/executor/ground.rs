//! What the VUs of a shard stand on: its connections, its recorder, its program.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use serde_json::Value as Json;

use super::{handle::yield_turn, tally::ErrorTally};
use crate::{
    clock::{Clock, Instant},
    metric::{Name, Recorder},
    plan::{ConnectionSharing, Plan},
    primitive::{
        LogLevel, LogLine, Primitives, Scope, ScopeConfig,
        bus::{self, Bus, BusError},
        database::{self, Database},
        outage::Outages,
        timing::after_events,
    },
    target,
    verdict::Cause,
    workload::{GuestError, LoadError, Program, ShardProgram, VirtualUser, VirtualUserInput},
};

/// How long a shard that is never idle goes without looking for events.
const LOOK: Duration = Duration::from_micros(200);

/// A loaded workload, whatever its kind: scripts, components, and the native ones of tests.
pub trait Workload: fmt::Debug + Send + Sync {
    /// Prepares it for the calling thread.
    fn on_shard(&self) -> Result<Rc<dyn VuSource>, LoadError>;

    /// Says how many VUs a run may have, before it is prepared for a thread.
    fn reserve(&self, _vus: u32) {}

    /// How many VUs of it fit into this process, where the machine bounds that.
    fn room(&self) -> Option<u32> {
        None
    }
}

/// A workload on a shard's thread.
pub trait VuSource: fmt::Debug {
    /// A new virtual user.
    fn virtual_user(&self, input: VirtualUserInput) -> Result<Box<dyn VirtualUser>, GuestError>;
}

impl Workload for Program {
    fn on_shard(&self) -> Result<Rc<dyn VuSource>, LoadError> {
        Ok(Rc::new(Self::on_shard(self)?))
    }

    fn reserve(&self, vus: u32) {
        Self::reserve(self, vus);
    }

    fn room(&self) -> Option<u32> {
        Self::room(self)
    }
}

impl VuSource for ShardProgram {
    fn virtual_user(&self, input: VirtualUserInput) -> Result<Box<dyn VirtualUser>, GuestError> {
        Self::virtual_user(self, input)
    }
}

/// Something that ends or marks the run, told by a VU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `run::abort`
    Aborted(String),
    /// `run::mark_failed`
    MarkedFailed(String),
    /// The run cannot go on: `init` failed, a connection could not be made, a task panicked.
    Failed(Cause, String),
}

/// What the VUs of a shard stand on.
pub struct Ground {
    /// The plan of the run.
    pub plan: Arc<Plan>,
    /// This shard, from 0.
    pub shard: usize,
    /// The run's clock.
    pub clock: Clock,
    /// The shard's recorder.
    pub recorder: Rc<Recorder>,
    /// The workload on this thread.
    pub source: Rc<dyn VuSource>,
    /// What scopes are made of.
    pub scope: Rc<ScopeConfig>,
    /// The bus of the run, for VUs with a connection of their own.
    pub bus: bus::Source,
    /// The shard's connection.
    pub connection: bus::Connection,
    /// The shard's database pool.
    pub pool: database::Pool,
    /// The run's targets.
    pub targets: Option<target::Source>,
    /// What watches the operations while a target is away.
    pub outages: Option<Arc<Outages>>,
    /// What `setup` returned.
    pub data: RefCell<Arc<Json>>,
    /// Errors of iterations and of `init`.
    pub errors: RefCell<ErrorTally>,
    /// Whom to tell what ends or marks the run.
    pub notify: Box<dyn Fn(Notice)>,
    /// Whether `mark_failed` was passed on already: the first is enough.
    pub marked: Cell<bool>,
    /// When the shard has last been seen to look for events.
    pub looked: Cell<Instant>,
}

impl fmt::Debug for Ground {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ground").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl Ground {
    /// Lets the others of the shard have their turn; and, if nobody has for a while, looks for events first:
    /// what waits for a timer or a message is not in the queue yet.
    pub(super) async fn turn(&self, now: Instant) {
        if now.since(self.looked.get()) < LOOK {
            return yield_turn().await;
        }
        after_events().await;
        self.looked.set(self.clock.now());
    }

    /// The handles of a new VU; with a connection of its own if the scenario wants that.
    pub async fn primitives(
        &self,
        vu: u32,
        sharing: ConnectionSharing,
    ) -> Result<Primitives, BusError> {
        let connection = match sharing {
            ConnectionSharing::Shard => self.connection.clone(),
            ConnectionSharing::Vu => {
                self.bus.connect(&format!("{}-vu{vu}", self.plan.name)).await?
            }
        };
        let scope = Rc::new(Scope::new(Rc::clone(&self.scope), vu));
        if let Some(outages) = &self.outages {
            scope.set_outages(Arc::clone(outages));
        }
        Ok(Primitives {
            bus: Bus::new(Rc::clone(&scope), connection),
            database: Database::new(Rc::clone(&scope), self.pool.clone()),
            scope,
        })
    }

    /// A guest on these handles.
    pub fn virtual_user(
        &self,
        primitives: &Primitives,
    ) -> Result<Box<dyn VirtualUser>, GuestError> {
        self.source.virtual_user(VirtualUserInput {
            primitives: primitives.clone(),
            vu: primitives.scope.vu(),
            data: Arc::clone(&self.data.borrow()),
            seed: self.plan.seed,
            targets: self.targets.clone(),
        })
    }

    /// Counts an error and logs it if it is the first of its message.
    pub fn error(&self, scenario: &str, vu: u32, error: &GuestError) {
        if self.errors.borrow_mut().count(scenario, error) {
            let place = error.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
            let text = format!("{scenario}: {}: {}{place}", error.kind.name(), error.message);
            self.scope.log.line(LogLine { level: LogLevel::Error, text, vu });
        }
    }

    /// Passes on what a workload said with `abort` and `mark_failed`.
    pub fn pass_on(&self, scope: &Scope) {
        if let Some(reason) = scope.take_aborted() {
            (self.notify)(Notice::Aborted(reason));
        }
        if let Some(reason) = scope.take_marked_failed()
            && !self.marked.replace(true)
        {
            (self.notify)(Notice::MarkedFailed(reason));
        }
    }
}

/// The tag `workload`, the plan's tags and a scenario's: what all samples of a scenario bear.
pub(super) fn extra_tags<'a>(
    recorder: &Recorder,
    tags: impl Iterator<Item = (&'a String, &'a String)>,
) -> Name {
    let sorted: std::collections::BTreeMap<_, _> = tags.collect();
    if sorted.is_empty() {
        return Name::NONE;
    }
    let pairs: Vec<_> = sorted.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    recorder.names().intern(&pairs.join(","))
}
