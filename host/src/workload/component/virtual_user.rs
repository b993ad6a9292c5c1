//! One virtual user, or one instance of a service: a store with an instance in it, reused.
//!
//! | what happens | the instance |
//! |---|---|
//! | a call returns, with or without an error | stays |
//! | a call traps, exceeds a limit or its CPU time | is dropped |
//! | a call's future is dropped (stop, wall timeout) | is dropped with it |
//! | the next iteration or message finds none | a fresh one is made and `init` (`start`) runs again |
//!
//! A call takes the instance out of the VU and puts it back when all is well: whatever ends it
//! otherwise, nothing half-dead is left behind.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    marker::PhantomData,
    pin::pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde_json::Value as Json;
use wasmtime::Store;

use super::{
    Pre, ShardProgram, bindings,
    bindings::workload::wavetank::workload::types,
    engine, fault,
    host::{self, Ceiling, GuestState, World},
    meter::{Budget, Metered, metered},
    stay::Stay,
    store, table,
    wasi::{self, Output},
};
use crate::{
    metric::{Builtin, Phase, TagSet},
    primitive::{Random, Scope, bus::Message, timing::rest_until},
    workload::{
        GuestError, GuestErrorKind, Iteration, Targets, VirtualUser, VirtualUserInput,
        slice::{Account, Allowance},
    },
};

/// A virtual user.
pub(super) struct Guest {
    shard: Rc<ShardProgram>,
    world: Rc<World>,
    seed: u64,
    data: Rc<str>,
    /// The iteration as the guest is told of it.
    asked: Asked,
    live: Option<Live>,
    account: Rc<Account>,
    /// An instance is made while others run.
    beside: bool,
    /// A store stays on its thread: see `stay.rs`.
    _here: PhantomData<*const ()>,
}

struct Live {
    store: Store<GuestState>,
    exports: Exports,
    /// `init` or `start` has run.
    ready: bool,
    /// Memory that was last recorded.
    recorded: usize,
}

enum Exports {
    Workload(bindings::workload::Workload),
    Service(bindings::service::Service),
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.shard.program.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Guest {
    pub(super) fn new(
        shard: Rc<ShardProgram>,
        input: VirtualUserInput,
    ) -> Result<Self, GuestError> {
        let capacity = shard.capacity;
        let data = shard.data(&input.data);
        let world = Rc::new(World {
            primitives: input.primitives,
            grants: Arc::clone(&shard.program.grants),
            targets: Targets::new(input.targets, Arc::clone(&shard.program.grants)),
            groups: RefCell::default(),
            misuse: RefCell::default(),
            told: RefCell::default(),
            handles: Cell::default(),
            subscriptions: RefCell::default(),
        });
        let before = shard.program.live.fetch_add(1, Ordering::Relaxed);
        let guest = Self {
            shard,
            world,
            seed: input.seed,
            data,
            asked: Asked::new(input.vu),
            live: None,
            account: Rc::default(),
            beside: false,
            _here: PhantomData,
        };
        if before >= capacity.0 {
            return Err(fault::limit(engine::no_room(capacity, "too many virtual users")));
        }
        Ok(guest)
    }

    fn scope(&self) -> &Rc<Scope> {
        &self.world.primitives.scope
    }

    /// CPU time of `setup`, `init`, `teardown`, and of making an instance.
    fn lifecycle(&self) -> Allowance {
        Allowance::Lifecycle(self.shard.program.limits.lifecycle_cpu)
    }

    /// The instance, or a fresh one.
    async fn take(&mut self) -> Result<Live, GuestError> {
        match self.live.take() {
            Some(live) => Ok(live),
            None => self.fresh().await,
        }
    }

    /// Makes an instance. What a dead one still held is given back first.
    async fn fresh(&mut self) -> Result<Live, GuestError> {
        let left: Vec<_> = self.world.subscriptions.borrow_mut().drain(..).collect();
        for subscription in left {
            // Its owner is gone; there is nobody to be told of a failure.
            let _ = self.world.primitives.bus.unsubscribe(subscription).await;
        }
        self.world.handles.set(0);
        let program = &self.shard.program;
        let (scope, output) = (self.scope(), Output::default());
        let state = GuestState {
            table: table(&program.limits),
            wasi: wasi::context(&output, scope.clock(), self.seed, scope.vu()),
            ceiling: Ceiling::new(&program.limits),
            output,
            world: Some(Stay::new(Rc::clone(&self.world))),
        };
        let mut store = store(self.shard.quarters.ticking.engine(), &program.limits, state);
        let clock = scope.clock();
        let (allowance, account) = (self.lifecycle(), Rc::clone(&self.account));
        let budget = Budget { limit: allowance.time(), rests: self.beside.then_some(&account) };
        let making = async {
            Ok(match &self.shard.quarters.pre {
                Pre::Workload(pre) => Exports::Workload(pre.instantiate_async(&mut store).await?),
                Pre::Service(pre) => Exports::Service(pre.instantiate_async(&mut store).await?),
            })
        };
        let metered = metered(clock, None, budget, Box::pin(making).as_mut()).await;
        match metered.result {
            Some(Ok(exports)) => Ok(Live { store, exports, ready: false, recorded: 0 }),
            Some(Err(error)) => Err(self.not_made(&error, &mut store)),
            None => Err(fault::out_of_time(allowance)),
        }
    }

    fn not_made(&self, error: &wasmtime::Error, store: &mut Store<GuestState>) -> GuestError {
        if error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>().is_some() {
            let capacity = self.shard.capacity;
            return fault::limit(engine::no_room(capacity, &error.to_string()));
        }
        let wrote = store.data().output.flush(self.scope());
        fault::trapped(error, store.data_mut(), &wrote)
    }

    fn context(&self) -> types::Context {
        types::Context {
            vu: self.scope().vu(),
            seed: self.seed,
            parameters: self.shard.program.parameters.clone(),
            data: self.data.to_string(),
            secrets: self.shard.program.secrets.clone(),
        }
    }

    /// Before guest code runs.
    fn enter(&self, live: &mut Live) {
        self.world.groups.borrow_mut().clear();
        self.world.misuse.replace(None);
        live.store.data_mut().ceiling.refused = None;
        live.store.set_epoch_deadline(1);
    }

    /// After guest code ran: the instance goes back if it is well.
    fn leave<T>(
        &mut self,
        mut live: Live,
        allowance: Allowance,
        metered: Metered<wasmtime::Result<Result<T, String>>>,
    ) -> Result<T, GuestError> {
        let scope = self.scope();
        let wrote = live.store.data().output.flush(scope);
        let (tags, at) = (scope.tags(), scope.origin());
        let used = live.store.data().ceiling.used;
        if used != live.recorded {
            live.recorded = used;
            scope.recorder().gauge(Builtin::GuestMemoryBytes.id(), tags, at, used as f64);
        }
        let result = match metered.result {
            Some(Ok(Ok(value))) => Ok((live, value)),
            Some(Ok(Err(message))) => {
                let error = fault::returned(message, Some(&self.world));
                self.live = Some(live);
                return Err(error);
            }
            Some(Err(error)) => Err(fault::trapped(&error, live.store.data_mut(), &wrote)),
            None => Err(fault::out_of_time(allowance)),
        };
        match result {
            Ok((live, value)) => {
                self.live = Some(live);
                Ok(value)
            }
            Err(error) => {
                scope.recorder().add(Builtin::GuestTraps.id(), tags, at, 1.0);
                Err(error)
            }
        }
    }

    /// The same where others share the shard; and for how long the guest has to rest, if it wastes that.
    /// What it took to be rid of the instance is the guest's too.
    fn leave_beside<T>(
        &mut self,
        live: Live,
        allowance: Allowance,
        metered: Metered<wasmtime::Result<Result<T, String>>>,
    ) -> (Result<T, GuestError>, Option<Duration>) {
        let clock = self.scope().clock();
        let Metered { used, slice, .. } = metered;
        let failed = !matches!(metered.result, Some(Ok(_)));
        let start = failed.then(|| clock.now());
        let result = self.leave(live, allowance, metered);
        let gone = start.map_or(Duration::ZERO, |start| clock.now().since(start));
        (result, self.account.ended(failed, used + gone, slice + gone))
    }

    fn wrong_world<T>(&mut self, live: Live, asked: &str) -> Result<T, GuestError> {
        self.live = Some(live);
        let world = self.shard.program.contract.world.name();
        Err(GuestError {
            kind: GuestErrorKind::Misuse,
            message: format!("a {world} component has no `{asked}`"),
            place: None,
        })
    }

    /// Runs `init` or `start` on an instance that has not had it.
    async fn make_ready(&mut self) -> Result<(), GuestError> {
        if self.live.as_ref().is_some_and(|live| live.ready) {
            return Ok(());
        }
        let mut live = self.take().await?;
        let context = self.context();
        let (allowance, account) = (self.lifecycle(), Rc::clone(&self.account));
        let budget = Budget { limit: allowance.time(), rests: self.beside.then_some(&account) };
        self.enter(&mut live);
        let scope = Rc::clone(self.scope());
        let clock = scope.clock();
        let Live { store, exports, .. } = &mut live;
        let metered = match exports {
            Exports::Workload(guest) => {
                metered(clock, Some(&scope), budget, pin!(guest.call_init(store, &context))).await
            }
            Exports::Service(guest) => {
                metered(clock, Some(&scope), budget, pin!(guest.call_start(store, &context))).await
            }
        };
        self.leave(live, allowance, metered)?;
        if let Some(live) = &mut self.live {
            live.ready = true;
        }
        Ok(())
    }

    /// `init` on a fresh instance inside an iteration: its operations are not the iteration's.
    async fn replace(&mut self, random: Random) -> Result<(), GuestError> {
        if self.live.as_ref().is_some_and(|live| live.ready) {
            return Ok(());
        }
        let scope = Rc::clone(self.scope());
        let (tags, due) = (scope.tags(), scope.origin());
        let init = Random::new(self.seed, "init", u64::from(scope.vu()));
        scope.begin(TagSet { phase: Phase::Setup, ..tags }, due, init);
        self.beside = true;
        let ready = self.make_ready().await;
        self.beside = false;
        scope.begin(tags, due, random);
        ready
    }

    async fn run_setup(&mut self) -> Result<Json, GuestError> {
        let mut live = self.take().await?;
        let context = types::Context { data: "null".to_owned(), ..self.context() };
        let allowance = self.lifecycle();
        let budget = Budget { limit: allowance.time(), rests: None };
        self.enter(&mut live);
        let scope = Rc::clone(self.scope());
        let clock = scope.clock();
        let Live { store, exports, .. } = &mut live;
        let metered = match exports {
            Exports::Workload(guest) => {
                metered(clock, Some(&scope), budget, pin!(guest.call_setup(store, &context))).await
            }
            Exports::Service(_) => {
                self.live = Some(live);
                return Ok(Json::Null);
            }
        };
        let data = self.leave(live, allowance, metered)?;
        serde_json::from_str(&data).map_err(|error| GuestError {
            kind: GuestErrorKind::Threw,
            message: format!("`setup` returned what is not JSON: {error}"),
            place: None,
        })
    }

    async fn run_iteration(&mut self, iteration: &Iteration) -> Result<(), GuestError> {
        let mut live = match self.live.take() {
            Some(live) if live.ready => live,
            other => {
                self.live = other;
                Box::pin(self.replace(iteration.random(self.seed))).await?;
                Box::pin(self.take()).await?
            }
        };
        self.asked.renew(iteration);
        let allowance = Allowance::Iteration(iteration.cpu_timeout);
        let account = Rc::clone(&self.account);
        let budget = Budget { limit: allowance.time(), rests: Some(&account) };
        let scope = Rc::clone(self.scope());
        let clock = scope.clock();
        self.enter(&mut live);
        let Live { store, exports, .. } = &mut live;
        let metered = match exports {
            Exports::Workload(guest) => {
                metered(
                    clock,
                    Some(&scope),
                    budget,
                    pin!(guest.call_iterate(store, &self.asked.asked)),
                )
                .await
            }
            Exports::Service(_) => return self.wrong_world(live, "iterate"),
        };
        self.record_time(metered.used);
        let (result, rest) = self.leave_beside(live, allowance, metered);
        if let Some(pause) = rest {
            scope.owe_rest(pause);
        }
        result
    }

    async fn run_teardown(&mut self) -> Result<(), GuestError> {
        let service = matches!(self.shard.quarters.pre, Pre::Service(_));
        if service && !self.live.as_ref().is_some_and(|live| live.ready) {
            return Ok(());
        }
        let mut live = self.take().await?;
        let context = self.context();
        let allowance = self.lifecycle();
        let budget = Budget { limit: allowance.time(), rests: None };
        let scope = Rc::clone(self.scope());
        let clock = scope.clock();
        self.enter(&mut live);
        let Live { store, exports, .. } = &mut live;
        let metered = match exports {
            Exports::Workload(guest) => {
                metered(clock, Some(&scope), budget, pin!(guest.call_teardown(store, &context)))
                    .await
            }
            Exports::Service(guest) => {
                metered(clock, Some(&scope), budget, pin!(guest.call_stop(store, &context))).await
            }
        };
        self.leave(live, allowance, metered)
    }

    async fn run_handler(
        &mut self,
        handler: &str,
        message: Message,
    ) -> Result<Option<Bytes>, GuestError> {
        let random = Random::new(self.seed, handler, u64::from(self.scope().vu()));
        self.replace(random).await?;
        let mut live = self.take().await?;
        let message = host::received(message);
        let allowance = Allowance::Handler(self.shard.program.limits.handler_cpu);
        let account = Rc::clone(&self.account);
        let budget = Budget { limit: allowance.time(), rests: Some(&account) };
        let scope = Rc::clone(self.scope());
        let clock = scope.clock();
        self.enter(&mut live);
        let Live { store, exports, .. } = &mut live;
        let metered = match exports {
            Exports::Service(guest) => {
                metered(
                    clock,
                    Some(&scope),
                    budget,
                    pin!(guest.call_handle(store, handler, &message)),
                )
                .await
            }
            Exports::Workload(_) => return self.wrong_world(live, "handle"),
        };
        self.record_time(metered.used);
        let (reply, rest) = self.leave_beside(live, allowance, metered);
        if let Some(pause) = rest {
            scope.rest();
            rest_until(clock, clock.now() + pause).await;
        }
        reply.map(|reply| reply.map(Bytes::from))
    }

    fn record_time(&self, used: Duration) {
        let scope = self.scope();
        let nanos = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        scope.recorder().trend(Builtin::GuestCpuTime.id(), scope.tags(), scope.origin(), nanos);
    }
}

/// What a guest is told of its iteration: kept, because little of it differs from one to the next.
struct Asked {
    asked: types::Iteration,
    env: Option<Rc<BTreeMap<String, String>>>,
}

impl Asked {
    const fn new(vu: u32) -> Self {
        let asked = types::Iteration {
            vu,
            number: 0,
            scenario: String::new(),
            stage: String::new(),
            exec: String::new(),
            due: 0,
            env: Vec::new(),
        };
        Self { asked, env: None }
    }

    fn renew(&mut self, iteration: &Iteration) {
        let asked = &mut self.asked;
        asked.number = iteration.number;
        asked.due = iteration.due.as_nanos();
        for (text, now) in [
            (&mut asked.scenario, &iteration.scenario),
            (&mut asked.stage, &iteration.stage),
            (&mut asked.exec, &iteration.exec),
        ] {
            if **text != **now {
                now.as_ref().clone_into(text);
            }
        }
        if !self.env.as_ref().is_some_and(|env| Rc::ptr_eq(env, &iteration.env)) {
            asked.env.clear();
            asked.env.extend(iteration.env.iter().map(|(key, value)| (key.clone(), value.clone())));
            self.env = Some(Rc::clone(&iteration.env));
        }
    }
}

impl ShardProgram {
    /// `setup`'s data as text.
    fn data(&self, data: &Arc<Json>) -> Rc<str> {
        let mut kept = self.data.borrow_mut();
        if let Some((known, text)) = &*kept
            && Arc::ptr_eq(known, data)
        {
            return Rc::clone(text);
        }
        let text: Rc<str> = data.to_string().into();
        *kept = Some((Arc::clone(data), Rc::clone(&text)));
        text
    }
}

impl VirtualUser for Guest {
    fn setup(&mut self) -> LocalBoxFuture<'_, Result<Json, GuestError>> {
        Box::pin(self.run_setup())
    }

    fn init(&mut self) -> LocalBoxFuture<'_, Result<(), GuestError>> {
        Box::pin(self.make_ready())
    }

    fn iterate<'a>(
        &'a mut self,
        iteration: &'a Iteration,
    ) -> LocalBoxFuture<'a, Result<(), GuestError>> {
        Box::pin(self.run_iteration(iteration))
    }

    fn teardown(&mut self) -> LocalBoxFuture<'_, Result<(), GuestError>> {
        Box::pin(self.run_teardown())
    }

    fn handle<'a>(
        &'a mut self,
        handler: &'a str,
        message: Message,
    ) -> LocalBoxFuture<'a, Result<Option<Bytes>, GuestError>> {
        Box::pin(self.run_handler(handler, message))
    }
}
