//! What the host keeps of a virtual user whose script runs, and which of them runs at the moment.
//!
//! Host functions are registered once per shard; [`Current`] tells them for whom they are called. It
//! is set while a fibre runs and only then, so a function that is called while a script is loaded
//! finds nobody and says so.
//!
//! The session also meters the guest: the time in which the fibre really ran, summed over its
//! slices. After a slice others run first, and a hog rests.

use std::{
    cell::{Cell, RefCell},
    pin::{Pin, pin},
    rc::Rc,
    time::Duration,
};

use rhai::{Dynamic, EvalAltResult};

use super::{
    fault::{misuse, terminated},
    fibre::{Cancelled, Switch, Turn},
    user::Budget,
};
use crate::{
    clock::{Clock, Instant},
    primitive::{
        Misuse, Primitives,
        timing::{after_events, rest_until},
    },
    workload::{
        Targets,
        slice::{Account, Allowance, SLICE},
    },
};

/// Guest time after which a stack may hold megabytes that nobody will need again.
const LONG: Duration = Duration::from_millis(50);

/// How far apart in time looks at the clock should be.
const LOOK: Duration = Duration::from_micros(100);

/// Guest time between two looks at the memory of the process. The first is taken as what it was before:
/// a call that is over by then has no time to do harm.
const MEMORY_LOOK: Duration = Duration::from_millis(5);

/// The most operations between two looks at the clock.
const STRIDE: u32 = 256;

/// Result of a host function.
pub type Called<T> = Result<T, Box<EvalAltResult>>;

/// Why the host ended a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its future was dropped.
    Cancelled,
    /// It used up its CPU time.
    CpuTimeout(Allowance),
    /// The process has grown by more than this while it ran.
    Memory(u64),
    /// Its native stack is nearly full.
    StackFull,
    /// Its top level took too long.
    LoadTimeout,
}

/// A virtual user as host functions see it.
#[derive(Debug)]
pub struct Session {
    /// What it may do.
    pub primitives: Primitives,
    /// The targets, as far as it was granted them.
    pub targets: Targets,
    /// How it waits.
    pub switch: Rc<Switch>,
    /// Why the host ended it, if it did.
    pub ended: Cell<Option<Ended>>,
    /// The iteration that runs.
    pub iteration: Cell<u64>,
    /// Its scenario and stage.
    pub scenario: RefCell<Rc<str>>,
    /// Its stage.
    pub stage: RefCell<Rc<str>>,
    /// The run's seed.
    pub seed: u64,
    /// What `setup` returned.
    pub data: Dynamic,
    /// `this`; absent while a call is under way, and after a panic.
    pub state: RefCell<Option<Dynamic>>,
    /// The scenario's `env`.
    pub env: RefCell<Rc<std::collections::BTreeMap<String, String>>>,
    current: Rc<Current>,
    /// Wall time: CPU limits hold on a paused run clock, too.
    clock: Clock,
    /// That is the run's clock itself.
    on_run_clock: bool,
    /// Guest time of this call, without the slice that runs.
    ran: Cell<Duration>,
    since: Cell<Instant>,
    until: Cell<Instant>,
    allowance: Cell<Allowance>,
    /// Whether a call that hogs its shard rests: yes where others share it.
    rests: Cell<bool>,
    account: Account,
    /// Guest time of the next look at the memory of the process.
    memory_due: Cell<Duration>,
    /// What that was at the first look of this call.
    memory_before: Cell<Option<u64>>,
}

/// Who runs on this shard at the moment.
#[derive(Debug)]
pub struct Current {
    session: RefCell<Option<Rc<Session>>>,
    /// Operations until the next look at the clock.
    countdown: Cell<u32>,
    stride: Cell<u32>,
    looked: Cell<Instant>,
    /// Wall time, of loading and where the run's clock is paused.
    clock: Clock,
    /// While a script is loaded: when it must be done.
    deadline: Cell<Option<Instant>>,
    /// While a script is loaded: why it was ended.
    load_ended: Cell<Option<Ended>>,
}

impl Current {
    /// Nobody.
    pub fn new() -> Self {
        Self {
            session: RefCell::new(None),
            countdown: Cell::new(STRIDE),
            stride: Cell::new(STRIDE),
            looked: Cell::default(),
            clock: Clock::real(),
            deadline: Cell::new(None),
            load_ended: Cell::new(None),
        }
    }

    /// The virtual user for whom `function` is called.
    pub fn session(&self, function: &str) -> Called<Rc<Session>> {
        self.session.borrow().clone().ok_or_else(|| {
            misuse(&Misuse::new(format!(
                "`{function}` cannot be used while the script is loaded: call it in setup, init, \
                 an iteration, a handler or teardown"
            )))
        })
    }

    /// Bounds the time in which a script's top level is evaluated.
    pub fn load_within(&self, limit: Duration) {
        self.deadline.set(Some(self.clock.now() + limit));
        self.load_ended.set(None);
    }

    /// The top level is done.
    pub fn loaded(&self) -> Option<Ended> {
        self.deadline.set(None);
        self.load_ended.take()
    }

    /// Asked before each operation of a script: whether it must end here.
    pub fn progress(&self) -> Option<Dynamic> {
        let left = self.countdown.get();
        self.countdown.set(left.wrapping_sub(1));
        let session = {
            let session = self.session.borrow();
            match &*session {
                None if left == 0 => None,
                None => return None,
                Some(session) if !session.switch.is_shallow() => {
                    return Some(session.end_guest(Ended::StackFull));
                }
                Some(session) if session.switch.is_cancelled() => {
                    return Some(session.end_guest(Ended::Cancelled));
                }
                Some(_) if left != 0 => return None,
                // Cloned, because the fibre may be suspended in there: no borrow is held then.
                Some(session) => Some(session.clone()),
            }
        };
        match session {
            Some(session) => self.look(&session),
            None => self.look_while_loading(),
        }
    }

    fn look_while_loading(&self) -> Option<Dynamic> {
        self.countdown.set(STRIDE);
        let deadline = self.deadline.get()?;
        if self.clock.now() < deadline {
            return None;
        }
        self.load_ended.set(Some(Ended::LoadTimeout));
        Some(Dynamic::UNIT)
    }

    /// Looks at the clock, and adapts the stride to how long an operation takes here: one that works
    /// through a string of 16 MB takes milliseconds, one that adds takes nanoseconds.
    fn look(&self, session: &Session) -> Option<Dynamic> {
        let now = session.clock.now();
        let slice = now.since(session.since.get());
        let elapsed = now.since(self.looked.get().max(session.since.get()));
        self.looked.set(now);
        let stride = if elapsed > 2 * LOOK {
            (self.stride.get() / 2).max(1)
        } else if elapsed < LOOK {
            (self.stride.get() * 2).min(STRIDE)
        } else {
            self.stride.get()
        };
        self.stride.set(stride);
        self.countdown.set(stride);
        let allowance = session.allowance.get();
        if session.ran.get() + slice > allowance.time() {
            return Some(session.end_guest(Ended::CpuTimeout(allowance)));
        }
        if let Some(limit) = session.outgrown(session.ran.get() + slice) {
            return Some(session.end_guest(Ended::Memory(limit)));
        }
        if slice >= SLICE && session.give_way(slice).is_err() {
            return Some(session.end_guest(Ended::Cancelled));
        }
        None
    }
}

impl Session {
    /// A session of a virtual user on this shard.
    pub fn new(
        primitives: Primitives,
        targets: Targets,
        current: Rc<Current>,
        seed: u64,
        data: Dynamic,
    ) -> Self {
        let run = primitives.scope.clock();
        let on_run_clock = !run.is_virtual();
        Self {
            primitives,
            targets,
            switch: Rc::default(),
            ended: Cell::new(None),
            iteration: Cell::new(0),
            scenario: RefCell::new("".into()),
            stage: RefCell::new("".into()),
            seed,
            data,
            state: RefCell::default(),
            env: RefCell::default(),
            clock: if on_run_clock { run } else { current.clock },
            on_run_clock,
            current,
            ran: Cell::default(),
            since: Cell::default(),
            until: Cell::default(),
            allowance: Cell::new(Allowance::Iteration(Duration::MAX)),
            rests: Cell::new(false),
            account: Account::default(),
            memory_due: Cell::default(),
            memory_before: Cell::default(),
        }
    }

    /// Lets others run first; a hog rests.
    fn give_way(&self, slice: Duration) -> Result<(), Cancelled> {
        let rests = self.rests.get().then_some(&self.account);
        let pause = rests.and_then(|it| it.rest(self.ran.get() + slice, slice));
        let Some(pause) = pause else { return self.switch.block_on(pin!(after_events())) };
        self.primitives.scope.rest();
        let resting = rest_until(self.clock, self.clock.now() + pause);
        self.switch.block_on(pin!(resting))
    }

    /// The limit, if the process has grown beyond it while this call ran for so long. Rhai counts
    /// neither what a closure holds nor what was freed, so the kernel is asked; what other VUs took
    /// meanwhile is counted too, and the limit leaves them room.
    fn outgrown(&self, ran: Duration) -> Option<u64> {
        if ran < self.memory_due.get() {
            return None;
        }
        self.memory_due.set(ran + MEMORY_LOOK);
        let now = resident_bytes()?;
        let Some(before) = self.memory_before.get() else {
            self.memory_before.set(Some(now));
            return None;
        };
        let limit = self.primitives.scope.limits().script_memory;
        (now.saturating_sub(before) > limit).then_some(limit)
    }

    /// Begins a call into the guest.
    pub fn begin_call(&self, budget: Budget) {
        self.ended.set(None);
        self.rests.set(budget.rests);
        self.ran.set(Duration::ZERO);
        self.memory_due.set(MEMORY_LOOK);
        self.memory_before.set(None);
        self.allowance.set(budget.allowance);
    }

    /// Marks the first guest instruction. On the fibre, which has just begun to run: its slice began
    /// with a reading of the clock.
    pub fn enter_guest(&self) {
        self.primitives.scope.enter_guest(self.on_run_clock.then(|| self.since.get()));
    }

    /// Marks the last guest instruction: the fibre has returned, and its last slice ended with a
    /// reading of the clock.
    pub fn leave_guest(&self) {
        if self.on_run_clock {
            self.primitives.scope.leave_guest(self.until.get());
        }
    }

    /// The call has ended; if it `failed`, was cut off or trapped, a hog rests before its next.
    pub async fn settle(&self, failed: bool) {
        let slice = self.until.get().since(self.since.get());
        let pause = self.account.ended(failed, self.ran.get(), slice);
        let Some(pause) = pause.filter(|_| self.rests.get()) else { return };
        let scope = &self.primitives.scope;
        if matches!(self.allowance.get(), Allowance::Iteration(_)) {
            return scope.owe_rest(pause);
        }
        scope.rest();
        rest_until(self.clock, self.clock.now() + pause).await;
    }

    /// Guest time of the call so far, slices that ended.
    pub fn ran(&self) -> Duration {
        self.ran.get()
    }

    /// Waits for a future of the host on behalf of the script.
    pub fn wait<F: Future>(&self, future: Pin<&mut F>) -> Called<F::Output> {
        self.switch.block_on(future).map_err(|_| {
            self.ended.set(Some(Ended::Cancelled));
            terminated()
        })
    }

    fn end_guest(&self, why: Ended) -> Dynamic {
        if self.ended.get().is_none() {
            self.ended.set(Some(why));
        }
        Dynamic::UNIT
    }
}

impl Turn for Rc<Session> {
    fn begin(&self) {
        self.since.set(self.clock.now());
        self.current.session.replace(Some(self.clone()));
    }

    fn end(&self) {
        self.current.session.replace(None);
        let now = self.clock.now();
        self.until.set(now);
        self.ran.set(self.ran.get() + now.since(self.since.get()));
    }

    fn was_long(&self) -> bool {
        self.ran.get() > LONG
    }
}

/// Resident memory of the process; `None` where the kernel does not tell.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}
