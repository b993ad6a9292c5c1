//! The host functions: each checks the grant, calls one primitive, and translates what came of it.
//!
//! Misuse goes back to the guest as an error value, never as a trap: the guest may handle it, and if
//! it does not, the iteration fails with that message. Nothing is timed here: primitives do that.

mod database;
mod target;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use wasmtime::{ResourceLimiter, component::Resource};
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

use super::{
    bindings::workload::wavetank::workload::{
        bus as wit_bus, log, metrics, random, timing,
        types::{self, Error, Failure},
    },
    stay::Stay,
    wasi::Output,
};
use crate::{
    metric::{Builtin, Name},
    plan::{DatabaseGrant, Grants, Limits},
    primitive::{
        self, LogLevel, Measured, Misuse, Primitives, Probe,
        bus::{
            AckToken, Bus, ConnectionId, ConsumerId, Message, Outgoing, StreamSpec, SubscriptionId,
        },
    },
    workload::Targets,
};

/// Most elements of a permutation, most letters of a random text.
const RANDOM_LENGTH: u32 = 1 << 20;

/// What a store holds.
pub(super) struct GuestState {
    pub(super) table: ResourceTable,
    pub(super) wasi: WasiCtx,
    pub(super) ceiling: Ceiling,
    pub(super) output: Output,
    /// `None` while a component is asked to describe itself: nothing of the world is linked then.
    pub(super) world: Option<Stay<Rc<World>>>,
}

/// What a guest does things with.
#[derive(Debug)]
pub(super) struct World {
    pub(super) primitives: Primitives,
    pub(super) grants: Arc<Grants>,
    /// The targets, as far as it was granted them.
    pub(super) targets: Targets,
    /// Groups that are open, outermost first.
    pub(super) groups: RefCell<Vec<Name>>,
    /// The last misuse that the guest was told, to recognise it if that is what it ends with.
    pub(super) misuse: RefCell<Option<String>>,
    /// The last refused call that was logged.
    pub(super) told: RefCell<Option<String>>,
    /// Subscriptions and consumers that the guest holds.
    pub(super) handles: Cell<u32>,
    /// Its subscriptions: ended by the host if the instance dies with them.
    pub(super) subscriptions: RefCell<Vec<SubscriptionId>>,
}

/// A subscription as the guest's handle names it.
#[derive(Debug)]
pub struct Subscription(SubscriptionId);

/// A JetStream consumer as the guest's handle names it.
#[derive(Debug)]
pub struct Consumer(ConsumerId);

/// A held connection as the guest's handle names it. An instance that dies takes its table with it, and
/// the table its connections.
#[derive(Debug)]
pub struct Connection(Stay<(Bus, ConnectionId)>);

impl Drop for Connection {
    fn drop(&mut self) {
        let (bus, id) = self.0.get();
        bus.abandon(*id);
    }
}

/// Limits on memory and tables of one instance.
#[derive(Debug)]
pub(super) struct Ceiling {
    memory: usize,
    table: usize,
    /// Bytes of linear memory that the instance has, all its memories together.
    pub(super) used: usize,
    /// What was refused since the call began.
    pub(super) refused: Option<String>,
}

impl Ceiling {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory: usize::try_from(limits.guest_memory).unwrap_or(usize::MAX),
            table: usize::try_from(limits.guest_table).unwrap_or(usize::MAX),
            used: 0,
            refused: None,
        }
    }
}

impl ResourceLimiter for Ceiling {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let whole = self.used.saturating_sub(current).saturating_add(desired);
        if whole > self.memory {
            self.refused = Some(format!(
                "it asked for {whole} bytes of memory; the limit is {} (guest_memory)",
                self.memory
            ));
            return Ok(false);
        }
        self.used = whole;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.table {
            self.refused = Some(format!(
                "it asked for a table of {desired} elements; the limit is {} (guest_table)",
                self.table
            ));
            return Ok(false);
        }
        Ok(true)
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl GuestState {
    /// The world of the running call. While a component describes itself there is none, and nothing
    /// that could ask for it is linked.
    fn world(&self) -> wasmtime::Result<Rc<World>> {
        self.world
            .as_ref()
            .map(|world| Rc::clone(world.get()))
            .ok_or_else(|| wasmtime::format_err!("the world is not at hand in `describe`"))
    }
}

impl World {
    /// Remembers a misuse and hands it to the guest. It is counted, and what is new to this VU is logged:
    /// the guest may keep it to itself.
    fn misused(&self, misuse: Misuse) -> String {
        let scope = &self.primitives.scope;
        let (refused, now) = (Builtin::GuestRefused.id(), scope.clock().now());
        scope.recorder().add(refused, scope.tags(), now, 1.0);
        self.misuse.replace(Some(misuse.0.clone()));
        let told = self.told.replace(Some(misuse.0.clone()));
        if told.as_ref() != Some(&misuse.0) {
            scope.log(LogLevel::Warn, format!("refused: {}", misuse.0));
        }
        misuse.0
    }

    fn answer<T>(&self, result: Measured<T>) -> Result<T, Error> {
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Error::Failure(failed(error))),
            Err(misuse) => Err(Error::Misuse(self.misused(misuse))),
        }
    }

    /// Takes a handle, within the limit.
    fn take_handle(&self) -> Result<(), Misuse> {
        let limit = self.primitives.scope.limits().handles;
        if self.handles.get() >= limit {
            return Err(Misuse::new(format!(
                "this VU holds {limit} subscriptions and consumers, the limit (handles): drop one first"
            )));
        }
        self.handles.set(self.handles.get() + 1);
        Ok(())
    }

    fn give_handle(&self) {
        self.handles.set(self.handles.get().saturating_sub(1));
    }

    /// Whether it may publish this message.
    fn publishes(&self, message: &wit_bus::Outgoing) -> Result<(), Misuse> {
        self.grants.publish_with_reply(&message.subject, message.reply_to.as_deref())
    }

    fn batch(&self, len: usize) -> Result<(), Misuse> {
        let limit = self.primitives.scope.limits().batch;
        if len > limit {
            return Err(Misuse::new(format!(
                "a batch of {len} is larger than the limit of {limit} (batch): send it in parts"
            )));
        }
        Ok(())
    }
}

fn failed(failure: primitive::Failure) -> Failure {
    Failure { kind: failure.kind.to_owned(), message: failure.message }
}

fn outgoing(message: wit_bus::Outgoing) -> Outgoing {
    Outgoing {
        subject: message.subject,
        payload: Bytes::from(message.payload),
        headers: message.headers,
        op: message.op,
        reply_to: message.reply_to,
    }
}

pub(super) fn received(message: Message) -> wit_bus::Message {
    wit_bus::Message {
        subject: message.subject,
        payload: message.payload.into(),
        headers: message.headers,
        reply_to: message.reply_to,
        acknowledge: message.acknowledge.map(|AckToken(token)| token),
    }
}

fn duration(nanos: Option<u64>) -> Option<Duration> {
    nanos.map(Duration::from_nanos)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn stay<F: Future>(work: F) -> Stay<F> {
    Stay::new(work)
}

type Trappable<T> = wasmtime::Result<T>;

impl types::Host for GuestState {}

impl wit_bus::Host for GuestState {
    fn publish(
        &mut self,
        message: wit_bus::Outgoing,
    ) -> impl Future<Output = Trappable<Result<(), Error>>> + Send {
        let world = self.world();
        stay(async move {
            let world = world?;
            if let Err(misuse) = world.publishes(&message) {
                return Ok(world.answer(Err(misuse)));
            }
            Ok(world.answer(world.primitives.bus.publish(outgoing(message)).await))
        })
    }

    fn publish_all(
        &mut self,
        messages: Vec<wit_bus::Outgoing>,
    ) -> impl Future<Output = Trappable<Result<Vec<Result<(), Failure>>, String>>> + Send {
        let world = self.world();
        stay(async move {
            let world = world?;
            let granted = world
                .batch(messages.len())
                .and_then(|()| messages.iter().try_for_each(|message| world.publishes(message)));
            if let Err(misuse) = granted {
                return Ok(Err(world.misused(misuse)));
            }
            let messages = messages.into_iter().map(outgoing).collect();
            let results = world.primitives.bus.publish_all(messages).await;
            Ok(results
                .map(|results| results.into_iter().map(|result| result.map_err(failed)).collect())
                .map_err(|misuse| world.misused(misuse)))
        })
    }

    fn request(
        &mut self,
        message: wit_bus::Outgoing,
        timeout: Option<u64>,
    ) -> impl Future<Output = Trappable<Result<wit_bus::Message, Error>>> + Send {
        let world = self.world();
        stay(async move {
            let world = world?;
            if let Err(misuse) = world.grants.request(&message.subject) {
                return Ok(world.answer(Err(misuse)));
            }
            let reply = world.primitives.bus.request(outgoing(message), duration(timeout)).await;
            Ok(world.answer(reply).map(received))
        })
    }

    fn request_all(
        &mut self,
        messages: Vec<wit_bus::Outgoing>,
        timeout: Option<u64>,
    ) -> impl Future<Output = Trappable<Result<Vec<Result<wit_bus::Message, Failure>>, String>>> + Send
    {
        let world = self.world();
        stay(async move {
            let world = world?;
            let granted = world.batch(messages.len()).and_then(|()| {
                messages.iter().try_for_each(|message| world.grants.request(&message.subject))
            });
            if let Err(misuse) = granted {
                return Ok(Err(world.misused(misuse)));
            }
            let messages = messages.into_iter().map(outgoing).collect();
            let results = world.primitives.bus.request_all(messages, duration(timeout)).await;
            Ok(results
                .map(|results| {
                    results.into_iter().map(|result| result.map(received).map_err(failed)).collect()
                })
                .map_err(|misuse| world.misused(misuse)))
        })
    }

    fn subscribe(
        &mut self,
        pattern: String,
        queue: Option<String>,
    ) -> impl Future<Output = Trappable<Result<Resource<Subscription>, Error>>> + Send {
        let world = self.world();
        let table = &mut self.table;
        stay(async move {
            let world = world?;
            let granted = world.grants.subscribe(&pattern).and_then(|()| world.take_handle());
            if let Err(misuse) = granted {
                return Ok(world.answer(Err(misuse)));
            }
            let subscribed = world.primitives.bus.subscribe(&pattern, queue.as_deref()).await;
            match world.answer(subscribed) {
                Ok(id) => {
                    world.subscriptions.borrow_mut().push(id);
                    Ok(Ok(table.push(Subscription(id))?))
                }
                Err(error) => {
                    world.give_handle();
                    Ok(Err(error))
                }
            }
        })
    }

    fn flush(&mut self) -> impl Future<Output = Trappable<Result<(), Error>>> + Send {
        let world = self.world();
        stay(async move {
            let world = world?;
            Ok(world.answer(world.primitives.bus.flush().await))
        })
    }

    fn connect(
        &mut self,
        op: Option<String>,
        timeout: Option<u64>,
    ) -> impl Future<Output = Trappable<Result<Resource<Connection>, Error>>> + Send {
        let world = self.world();
        let table = &mut self.table;
        stay(async move {
            let world = world?;
            if let Err(misuse) = world.grants.connect() {
                return Ok(world.answer(Err(misuse)));
            }
            let bus = &world.primitives.bus;
            let opened = bus.connect(op.as_deref(), duration(timeout)).await;
            match world.answer(opened) {
                Ok(id) => Ok(Ok(table.push(Connection(Stay::new((bus.clone(), id))))?)),
                Err(error) => Ok(Err(error)),
            }
        })
    }

    fn observe(
        &mut self,
        message: wit_bus::Outgoing,
        probe: wit_bus::Probe,
        op: Option<String>,
        timeout: Option<u64>,
    ) -> impl Future<Output = Trappable<Result<wit_bus::Effect, Error>>> + Send {
        let world = self.world();
        stay(async move {
            let world = world?;
            let granted = world.publishes(&message).and_then(|()| match &probe {
                wit_bus::Probe::Query(_) => world.grants.database(DatabaseGrant::Read),
                wit_bus::Probe::Request(probe) => world.grants.request(&probe.message.subject),
            });
            let probe = granted.and_then(|()| self::probe(probe));
            let probe = match probe {
                Ok(probe) => probe,
                Err(misuse) => return Ok(world.answer(Err(misuse))),
            };
            let effect = world
                .primitives
                .effect(outgoing(message), probe, op.as_deref(), duration(timeout))
                .await;
            Ok(world.answer(effect).map(|effect| wit_bus::Effect {
                first_seen: nanos(effect.first_seen),
                last_unseen: nanos(effect.last_unseen),
                probes: effect.probes,
            }))
        })
    }

    fn ensure_stream(
        &mut self,
        stream: wit_bus::StreamSpec,
    ) -> impl Future<Output = Trappable<Result<(), Error>>> + Send {
        let world = self.world();
        stay(async move {
            let world = world?;
            let granted =
                stream.subjects.iter().try_for_each(|subject| world.grants.subscribe(subject));
            if let Err(misuse) = granted {
                return Ok(world.answer(Err(misuse)));
            }
            let spec = StreamSpec {
                name: stream.name,
                subjects: stream.subjects,
                memory: stream.memory,
                max_messages: stream.max_messages,
            };
            Ok(world.answer(world.primitives.bus.ensure_stream(spec).await))
        })
    }

    fn publish_acknowledged(
        &mut self,
        message: wit_bus::Outgoing,
        message_id: Option<String>,
        timeout: Option<u64>,
    ) -> impl Future<Output = Trappable<Result<wit_bus::Acknowledgement, Error>>> + Send {
        let world = self.world();
        stay(async move {
            let world = world?;
            if let Err(misuse) = world.publishes(&message) {
                return Ok(world.answer(Err(misuse)));
            }
            let acknowledged = world
                .primitives
                .bus
                .publish_acknowledged(outgoing(message), message_id.as_deref(), duration(timeout))
                .await;
            Ok(world.answer(acknowledged).map(|acknowledged| wit_bus::Acknowledgement {
                stream: acknowledged.stream,
                sequence: acknowledged.sequence,
                duplicate: acknowledged.duplicate,
            }))
        })
    }

    fn consume(
        &mut self,
        stream: String,
        durable: Option<String>,
        filter: Option<String>,
    ) -> impl Future<Output = Trappable<Result<Resource<Consumer>, Error>>> + Send {
        let world = self.world();
        let table = &mut self.table;
        stay(async move {
            let world = world?;
            // Without a filter a consumer sees the whole stream, whatever its subjects are.
            let granted = world
                .grants
                .subscribe(filter.as_deref().unwrap_or(">"))
                .and_then(|()| world.take_handle());
            if let Err(misuse) = granted {
                return Ok(world.answer(Err(misuse)));
            }
            let consumer =
                world.primitives.bus.consumer(&stream, durable.as_deref(), filter.as_deref()).await;
            match world.answer(consumer) {
                Ok(id) => Ok(Ok(table.push(Consumer(id))?)),
                Err(error) => {
                    world.give_handle();
                    Ok(Err(error))
                }
            }
        })
    }

    fn acknowledge(
        &mut self,
        token: u64,
    ) -> impl Future<Output = Trappable<Result<(), Error>>> + Send {
        let world = self.world();
        stay(async move {
            let world = world?;
            Ok(world.answer(world.primitives.bus.acknowledge(AckToken(token)).await))
        })
    }
}

fn probe(probe: wit_bus::Probe) -> Result<Probe, Misuse> {
    Ok(match probe {
        wit_bus::Probe::Query(query) => Probe::Query {
            sql: query.sql,
            values: query.values.into_iter().map(database::value).collect::<Result<_, _>>()?,
        },
        wit_bus::Probe::Request(request) => Probe::Request {
            message: outgoing(request.message),
            pointer: request.pointer,
            equals: request.equals.map(|equals| json(&equals)).transpose()?,
        },
    })
}

fn json(text: &str) -> Result<serde_json::Value, Misuse> {
    serde_json::from_str(text)
        .map_err(|error| Misuse::new(format!("a JSON value is not JSON: {error}")))
}

impl wit_bus::HostSubscription for GuestState {
    fn next(
        &mut self,
        subscription: Resource<Subscription>,
        timeout: Option<u64>,
    ) -> impl Future<Output = Trappable<Result<Option<wit_bus::Message>, Error>>> + Send {
        let world = self.world();
        let id = self.table.get(&subscription).map(|subscription| subscription.0);
        stay(async move {
            let world = world?;
            let next = world.primitives.bus.next(id?, duration(timeout)).await;
            Ok(world.answer(next).map(|message| message.map(received)))
        })
    }

    fn drop(
        &mut self,
        subscription: Resource<Subscription>,
    ) -> impl Future<Output = wasmtime::Result<()>> + Send {
        let world = self.world();
        let id = self.table.delete(subscription).map(|subscription| subscription.0);
        stay(async move {
            let world = world?;
            world.give_handle();
            let id = id?;
            world.subscriptions.borrow_mut().retain(|held| *held != id);
            if let Err(misuse) = world.primitives.bus.unsubscribe(id).await {
                world.misused(misuse);
            }
            Ok(())
        })
    }
}

impl wit_bus::HostConsumer for GuestState {
    fn fetch(
        &mut self,
        consumer: Resource<Consumer>,
        max: u32,
        timeout: Option<u64>,
    ) -> impl Future<Output = Trappable<Result<Vec<wit_bus::Message>, Error>>> + Send {
        let world = self.world();
        let id = self.table.get(&consumer).map(|consumer| consumer.0);
        stay(async move {
            let world = world?;
            let id = id?;
            if let Err(misuse) = world.batch(max as usize) {
                return Ok(world.answer(Err(misuse)));
            }
            let fetched = world.primitives.bus.fetch(id, max as usize, duration(timeout)).await;
            Ok(world.answer(fetched).map(|messages| messages.into_iter().map(received).collect()))
        })
    }

    fn drop(
        &mut self,
        consumer: Resource<Consumer>,
    ) -> impl Future<Output = wasmtime::Result<()>> + Send {
        if let Ok(world) = self.world() {
            world.give_handle();
        }
        let deleted = self.table.delete(consumer);
        async move {
            deleted?;
            Ok(())
        }
    }
}

impl wit_bus::HostConnection for GuestState {
    fn held(
        &mut self,
        connection: Resource<Connection>,
    ) -> impl Future<Output = Trappable<bool>> + Send {
        let held = self.table.get(&connection).map(|connection| {
            let (bus, id) = connection.0.get();
            bus.is_held(*id)
        });
        async move { Ok(held?) }
    }

    fn drop(
        &mut self,
        connection: Resource<Connection>,
    ) -> impl Future<Output = wasmtime::Result<()>> + Send {
        let connection = self.table.delete(connection);
        stay(async move {
            let connection = connection?;
            let (bus, id) = connection.0.get();
            bus.disconnect(*id).await;
            Ok(())
        })
    }
}

/// Without a world there is nothing to be told but that.
fn no_world(error: wasmtime::Error) -> Error {
    Error::Misuse(error.to_string())
}

impl timing::Host for GuestState {
    fn now(&mut self) -> u64 {
        self.world().map_or(0, |world| primitive::timing::now(&world.primitives.scope))
    }

    fn due(&mut self) -> u64 {
        self.world().map_or(0, |world| world.primitives.scope.origin().as_nanos())
    }

    fn sleep(&mut self, asked: u64) -> impl Future<Output = ()> + Send {
        let world = self.world();
        stay(async move {
            if let Ok(world) = world {
                primitive::timing::sleep(&world.primitives.scope, Duration::from_nanos(asked))
                    .await;
            }
        })
    }
}

impl metrics::Host for GuestState {
    fn add(&mut self, metric: String, value: f64) -> Result<(), String> {
        let world = self.world().map_err(|error| error.to_string())?;
        let scope = &world.primitives.scope;
        scope.host_call(|| format!("metric::add({metric:?}, {value})"));
        scope.metric(&metric, value).map_err(|misuse| world.misused(misuse))
    }

    fn check(&mut self, name: String, passed: bool) -> Result<bool, String> {
        let world = self.world().map_err(|error| error.to_string())?;
        let scope = &world.primitives.scope;
        scope.host_call(|| format!("check({name:?}, {passed})"));
        scope.check(&name, passed).map_err(|misuse| world.misused(misuse))
    }

    fn enter_group(&mut self, name: String) -> Result<(), String> {
        let world = self.world().map_err(|error| error.to_string())?;
        world.primitives.scope.host_call(|| format!("group({name:?})"));
        if world.groups.borrow().len() >= 16 {
            let misuse = Misuse::new("groups are nested more than 16 deep");
            return Err(world.misused(misuse));
        }
        let outer =
            world.primitives.scope.enter_group(&name).map_err(|misuse| world.misused(misuse))?;
        world.groups.borrow_mut().push(outer);
        Ok(())
    }

    fn leave_group(&mut self) {
        if let Ok(world) = self.world()
            && let Some(outer) = world.groups.borrow_mut().pop()
        {
            world.primitives.scope.leave_group(outer);
        }
    }

    fn abort(&mut self, reason: String) {
        if let Ok(world) = self.world() {
            world.primitives.scope.host_call(|| format!("run::abort({reason:?})"));
            world.primitives.scope.abort(&reason);
        }
    }

    fn mark_failed(&mut self, reason: String) {
        if let Ok(world) = self.world() {
            world.primitives.scope.host_call(|| format!("run::mark_failed({reason:?})"));
            world.primitives.scope.mark_failed(&reason);
        }
    }
}

impl GuestState {
    /// Draws from the iteration's sequence.
    fn draw<T: Default>(&self, draw: impl FnOnce(&mut primitive::Random) -> T) -> T {
        self.world().map_or_else(
            |_| T::default(),
            |world| {
                world.primitives.scope.host_call(|| "random".to_owned());
                draw(&mut world.primitives.scope.random())
            },
        )
    }
}

impl random::Host for GuestState {
    fn integer(&mut self, low: i64, high: i64) -> i64 {
        self.draw(|random| random.int(low, high))
    }

    fn float(&mut self) -> f64 {
        self.draw(primitive::Random::float)
    }

    fn boolean(&mut self, probability: f64) -> bool {
        self.draw(|random| random.bool(probability))
    }

    fn choice(&mut self, len: u32) -> Option<u32> {
        self.draw(|random| random.choice(len as usize).map(|index| index as u32))
    }

    fn shuffle(&mut self, len: u32) -> Vec<u32> {
        let len = len.min(RANDOM_LENGTH) as usize;
        self.draw(|random| random.shuffle(len).into_iter().map(|index| index as u32).collect())
    }

    fn text(&mut self, len: u32) -> String {
        self.draw(|random| random.string(len.min(RANDOM_LENGTH) as usize))
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        self.draw(|random| random.exp(mean))
    }

    fn normal(&mut self, mean: f64, stddev: f64) -> f64 {
        self.draw(|random| random.normal(mean, stddev))
    }

    fn zipf(&mut self, n: u64, exponent: f64) -> u64 {
        self.draw(|random| random.zipf(n, exponent))
    }

    fn bits(&mut self) -> u64 {
        self.draw(primitive::Random::bits)
    }
}

impl log::Host for GuestState {
    fn line(&mut self, level: log::Level, text: String) {
        if let Ok(world) = self.world() {
            let level = match level {
                log::Level::Info => LogLevel::Info,
                log::Level::Warn => LogLevel::Warn,
                log::Level::Error => LogLevel::Error,
            };
            world.primitives.scope.log(level, text);
        }
    }
}
