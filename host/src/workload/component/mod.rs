//! The component kind of workload: WebAssembly in a sandbox, its contract `sdk/wit`.
//!
//! ```text
//!  bytes ─ anatomy ─► cache │ compile ─ contract ─► describe ─► Program (one engine, InstancePre once)
//!                                                                  │ shared by the shards
//!                                                                  ▼
//!                                        Guest: one store, one instance, reused (virtual_user.rs)
//! ```
//!
//! What a component gets is what `host.rs` links: primitives behind grants, and the inert part of WASI
//! (`wasi.rs`). Everything that it takes from the host (memory, tables, stack, time, bytes, handles) has
//! a limit. After a trap, a timeout or a dropped call the instance is dead; the next iteration finds a
//! fresh one whose `init` has run. wasmtime is named only in this folder.

mod anatomy;
mod bindings;
mod cache;
mod checker;
mod contract;
mod encode;
mod engine;
mod fault;
mod grants;
mod host;
mod meter;
mod quarters;
mod sections;
mod stay;
mod template;
mod virtual_user;
mod wasi;

use std::{
    path::Path,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use serde_json::Value as Json;
use wasmtime::{
    Engine, Store,
    component::{Component, HasSelf, Linker, ResourceTable, ResourceType, types::ComponentItem},
};

pub use contract::{Contract, World};
pub use encode::encode;
pub use sections::{Provenance, exchange_exports};
pub use template::{File, Language, WIT, plugin};

use self::{
    bindings::workload::wavetank::workload::types,
    engine::Capacity,
    host::{Ceiling, GuestState},
    meter::{Budget, metered},
    quarters::{FEW, Quarters},
    wasi::Output,
};
use super::{
    Description, GuestError, LoadError, LoadInput, Parameter, VirtualUser, VirtualUserInput,
};
use crate::{
    clock::Clock,
    diagnostic::{Diagnostic, nearest},
    digest::digest,
    plan::{Grants, Limits, Options},
};

/// CPU time in which a component describes itself.
const DESCRIBE_TIME: Duration = Duration::from_secs(2);

/// Handles that the guest's standard streams and pollables may take, beside its own.
const WASI_HANDLES: usize = 64;

/// A loaded component; shared by all shards.
pub struct Program {
    description: Description,
    findings: Vec<Diagnostic>,
    contract: Contract,
    provenance: Provenance,
    component: Component,
    /// Where it was loaded.
    home: Arc<Quarters>,
    /// There, or where its run is.
    quarters: Mutex<Arc<Quarters>>,
    /// Virtual users and workers that a run may have.
    reserved: AtomicU32,
    /// Virtual users that exist.
    live: Arc<AtomicU32>,
    limits: Arc<Limits>,
    grants: Arc<Grants>,
    /// The object of parameters, as the guest is given it.
    parameters: String,
    secrets: Vec<(String, String)>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Program")
            .field("description", &self.description)
            .field("contract", &self.contract)
            .finish_non_exhaustive()
    }
}

/// A component prepared for one shard's thread.
pub struct ShardProgram {
    program: Arc<Program>,
    quarters: Arc<Quarters>,
    /// As many may exist; the quarters may be larger.
    capacity: Capacity,
    /// `setup`'s data as text, kept because every VU of the shard is given the same.
    data: std::cell::RefCell<Option<(Arc<Json>, Rc<str>)>>,
}

impl std::fmt::Debug for ShardProgram {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ShardProgram")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// Linked and type-checked once; instantiated for each VU.
enum Pre {
    Workload(bindings::workload::WorkloadPre<GuestState>),
    Service(bindings::service::ServicePre<GuestState>),
}

impl Program {
    /// Reads, checks, compiles and describes it.
    pub fn load(path: &Path, input: &LoadInput) -> Result<Self, LoadError> {
        let placed = |diagnostic: Diagnostic| diagnostic.in_file(path);
        let bytes = read(path, input.limits.component_bytes)?;
        anatomy::check(&bytes).map_err(|error| LoadError::Refused(placed(error)))?;
        let digest = digest(&bytes);
        // Before a byte of it is compiled or run.
        input.check(&digest).map_err(|error| LoadError::Refused(placed(error)))?;
        let provenance = Provenance::read(&bytes);
        let ticking = engine::start(&input.limits, FEW).map_err(|error| no_engine(&error))?;
        let engine = ticking.engine();
        let component = compile(engine, &digest, bytes, input)
            .map_err(|error| LoadError::Refused(placed(error)))?;
        let contract = contract::read(engine, &component)
            .map_err(|error| LoadError::Refused(placed(error)))?;
        let pre = link(engine, &component, contract.world)
            .map_err(|error| LoadError::Refused(placed(contract::explain(&error))))?;
        let told = describe(engine, &component, contract.world, &input.limits)
            .map_err(|error| LoadError::Invalid(placed(error)))?;
        let (description, parameters) =
            understood(told, digest, input).map_err(|error| LoadError::Invalid(placed(error)))?;
        let findings = checker::findings(&contract, &description.options);
        let home = Arc::new(Quarters { ticking, pre, capacity: FEW });
        Ok(Self {
            findings: findings.into_iter().map(placed).collect(),
            description,
            contract,
            provenance,
            component,
            quarters: Mutex::new(Arc::clone(&home)),
            home,
            reserved: AtomicU32::new(input.limits.vus),
            live: Arc::default(),
            limits: Arc::clone(&input.limits),
            grants: Arc::clone(&input.grants),
            parameters,
            secrets: granted_secrets(input),
        })
    }

    /// How many virtual users fit into this process.
    pub fn room(&self) -> u32 {
        engine::room()
    }

    /// Says how many virtual users a run may have, before it is prepared for a thread; else it is as many
    /// as the limit allows.
    pub fn reserve(&self, vus: u32) {
        self.reserved.store(vus, Ordering::Relaxed);
    }

    /// Gives back what a run has taken: the pools of many instances take address space and maps of the
    /// process, and the next workload needs its own. What still lives in them keeps them until it ends.
    pub fn leave(&self) {
        *self.quarters.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&self.home);
    }

    /// Where so many instances live.
    fn quarters(&self, wanted: Capacity) -> Result<Arc<Quarters>, Diagnostic> {
        let mut quarters = self.quarters.lock().unwrap_or_else(PoisonError::into_inner);
        if quarters.capacity.0 < wanted.0 {
            let (world, limits) = (self.contract.world, &self.limits);
            let larger = Quarters::move_to(&self.component, world, limits, wanted)
                .map_err(|error| no_engine(&error))?;
            *quarters = Arc::new(larger);
        }
        Ok(Arc::clone(&quarters))
    }

    /// What it says of itself.
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// What is wrong with it, found without running it: thresholds and declarations that what it
    /// imports cannot fill.
    pub fn findings(&self) -> &[Diagnostic] {
        &self.findings
    }

    /// What its author says of it.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Its world, version and imports: for `inspect`.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Prepares it for the calling thread.
    pub fn on_shard(self: &Arc<Self>) -> Result<ShardProgram, LoadError> {
        let capacity = engine::capacity(self.reserved.load(Ordering::Relaxed));
        Ok(ShardProgram {
            quarters: self.quarters(capacity)?,
            capacity,
            program: Arc::clone(self),
            data: std::cell::RefCell::default(),
        })
    }
}

impl ShardProgram {
    /// A new virtual user.
    pub fn virtual_user(
        self: &Rc<Self>,
        input: VirtualUserInput,
    ) -> Result<Box<dyn VirtualUser>, GuestError> {
        Ok(Box::new(virtual_user::Guest::new(Rc::clone(self), input)?))
    }
}

/// The secrets that a component is told, and no others: it cannot pass on what it does not know.
fn granted_secrets(input: &LoadInput) -> Vec<(String, String)> {
    let granted = input.secrets.iter().filter(|(name, _)| input.grants.tell(name));
    granted.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn no_engine(error: &str) -> Diagnostic {
    Diagnostic::new(format!("no engine for components: {error}"))
        .help("lower `--limit vus=N` or `--limit guest_memory=BYTES`")
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let failed = |error: std::io::Error| {
        Diagnostic::new(format!("cannot read the component: {error}"))
            .help("give the path of a `.wasm` file")
            .in_file(path)
    };
    let file = super::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    if len <= limit {
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
        // A file that grows meanwhile is cut, and then refused for being cut.
        std::io::Read::read_to_end(&mut std::io::Read::take(file, limit), &mut bytes)
            .map_err(failed)?;
        return Ok(bytes);
    }
    Err(LoadError::Refused(
        Diagnostic::new(format!(
            "the component has {len} bytes; the limit is {limit} (component_bytes)"
        ))
        .help("build it with `--release` and `strip = true`, or raise `--limit component_bytes=N`")
        .in_file(path),
    ))
}

/// From the cache, or compiled in a thread of its own, which is left behind if it takes too long.
fn compile(
    engine: &Engine,
    digest: &str,
    bytes: Vec<u8>,
    input: &LoadInput,
) -> Result<Component, Diagnostic> {
    let cache = input.cache.as_deref().and_then(cache::Cache::open);
    if let Some(component) = cache.as_ref().and_then(|cache| cache.load(engine, digest)) {
        return Ok(component);
    }
    let limit = input.limits.compile_time;
    let (done, compiled) = mpsc::sync_channel(1);
    let compiling = engine.clone();
    std::thread::Builder::new()
        .name("wavetank-compile".to_owned())
        .spawn(move || {
            // Nobody may be waiting any more.
            let _ = done.send(Component::new(&compiling, &bytes));
        })
        .map_err(|error| Diagnostic::new(format!("no thread to compile in: {error}")))?;
    let component = match compiled.recv_timeout(limit) {
        Ok(compiled) => compiled.map_err(|error| contract::explain(&error))?,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            return Err(Diagnostic::new(format!(
                "compiling the component took longer than {limit:?} (compile_time)"
            ))
            .help("make it smaller, or raise `--limit compile_time=DURATION`"));
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            return Err(Diagnostic::new("the compiler failed on this component")
                .help("build it again with a current toolchain"));
        }
    };
    if let Some(cache) = &cache {
        let _ = cache.store(engine, digest, &component);
    }
    Ok(component)
}

fn link(engine: &Engine, component: &Component, world: World) -> wasmtime::Result<Pre> {
    let mut linker = Linker::new(engine);
    wasi::link(&mut linker)?;
    bindings::workload::Workload::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| {
        state
    })?;
    let pre = linker.instantiate_pre(component)?;
    Ok(match world {
        World::Workload => Pre::Workload(bindings::workload::WorkloadPre::new(pre)?),
        World::Service => Pre::Service(bindings::service::ServicePre::new(pre)?),
    })
}

/// A store with all its limits.
fn store(engine: &Engine, limits: &Limits, state: GuestState) -> Store<GuestState> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.ceiling);
    store.set_hostcall_fuel(usize::try_from(limits.hostcall_bytes).unwrap_or(usize::MAX));
    store.set_max_component_handles(resources(limits));
    store.epoch_deadline_async_yield_and_update(1);
    store.set_epoch_deadline(1);
    store
}

fn table(limits: &Limits) -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(resources(limits));
    table
}

/// Resources that an instance may have; what is below that, each kind's own limit says.
fn resources(limits: &Limits) -> usize {
    limits.handles as usize + limits.bus_connections as usize + WASI_HANDLES
}

/// Asks a component what it is, in a thread of its own, with nothing of the world linked.
fn describe(
    engine: &Engine,
    component: &Component,
    world: World,
    limits: &Limits,
) -> Result<types::Description, Diagnostic> {
    let asked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .map_err(|error| format!("no runtime to describe it in: {error}"))?;
                runtime.block_on(async {
                    // Wall time as well: a guest that waits on a clock uses no time of the CPU.
                    let work = ask(engine, component, world, limits);
                    match tokio::time::timeout(DESCRIBE_TIME * 5, work).await {
                        Ok(told) => told,
                        Err(_) => Err(format!("it took longer than {:?}", DESCRIBE_TIME * 5)),
                    }
                })
            })
            .join()
            .unwrap_or_else(|_| Err("the host failed while it described it".to_owned()))
    });
    asked.map_err(|why| {
        Diagnostic::new(format!("the component could not describe itself: {why}")).help(
            "`describe` returns constants: it has no bus, no database, no clock and no random numbers",
        )
    })
}

async fn ask(
    engine: &Engine,
    component: &Component,
    world: World,
    limits: &Limits,
) -> Result<types::Description, String> {
    let said = |error: wasmtime::Error| format!("{error:#}");
    let mut linker = Linker::new(engine);
    wasi::link(&mut linker).map_err(said)?;
    withhold(&mut linker, engine, component).map_err(said)?;
    let output = Output::default();
    let clock = Clock::real();
    let state = GuestState {
        table: table(limits),
        wasi: wasi::context(&output, clock, 0, 0),
        ceiling: Ceiling::new(limits),
        output: output.clone(),
        world: None,
    };
    let mut store = store(engine, limits, state);
    let work = async {
        let instance = linker.instantiate_async(&mut store, component).await?;
        match world {
            World::Workload => {
                let guest = bindings::workload::Workload::new(&mut store, &instance)?;
                guest.call_describe(&mut store).await
            }
            World::Service => {
                let guest = bindings::service::Service::new(&mut store, &instance)?;
                guest.call_describe(&mut store).await
            }
        }
    };
    let budget = Budget { limit: DESCRIBE_TIME, rests: None };
    let metered = metered(clock, None, budget, Box::pin(work).as_mut()).await;
    match metered.result {
        Some(Ok(description)) => Ok(description),
        Some(Err(error)) => {
            let wrote = output.take_error();
            let GuestError { message, place, .. } =
                fault::trapped(&error, store.data_mut(), &wrote);
            Err(place.map_or_else(|| message.clone(), |place| format!("{message} ({place})")))
        }
        None => Err(format!("it was cut off after {DESCRIBE_TIME:?} of CPU time")),
    }
}

/// Links every import of ours as a trap that says why. Only ours: a trap for one of WASI would go before
/// the inert one, whose version may be another, and a guest that panics reads its environment.
fn withhold(
    linker: &mut Linker<GuestState>,
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<()> {
    for (name, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = import.ty else { continue };
        let Some(short) = contract::interface(name) else { continue };
        let mut instance = linker.instance(name)?;
        for (export, item) in interface.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let asked = format!("{short}.{export}");
                    instance.func_new(export, move |_, _, _, _| {
                        Err(wasmtime::format_err!("`{asked}` is not at hand in `describe`"))
                    })?;
                }
                ComponentItem::Resource(_) => {
                    let nothing = ResourceType::host::<()>();
                    instance.resource(export, nothing, |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What the component said, checked, with the parameters of this run.
fn understood(
    told: types::Description,
    digest: String,
    input: &LoadInput,
) -> Result<(Description, String), Diagnostic> {
    let limit = input.limits.source_bytes;
    if told.options.len() as u64 > limit || told.parameters.len() > 1_000 {
        return Err(Diagnostic::new(format!(
            "the component's description is too long: options of {} bytes (limit {limit}), {} \
             parameters (limit 1000)",
            told.options.len(),
            told.parameters.len()
        ))
        .help("describe the workload in less, or raise `--limit source_bytes=N`"));
    }
    let mut options = match serde_json::from_str(&told.options) {
        Ok(Json::Object(options)) => options,
        Ok(other) => {
            return Err(Diagnostic::new(format!("`options` of the description is {other}"))
                .help("it is a JSON object, the same that a script exports as `options`"));
        }
        Err(error) => {
            return Err(Diagnostic::new(format!(
                "`options` of the description is not JSON: {error}"
            ))
            .help("return it with `serde_json`"));
        }
    };
    let parameters = parameters(&told.parameters, input)?;
    let given: serde_json::Map<_, _> = parameters
        .iter()
        .map(|parameter| (parameter.name.clone(), parameter.value.clone()))
        .collect();
    let functions = match options.remove("functions") {
        Some(listed) => serde_json::from_value(listed).map_err(|error| {
            Diagnostic::new(format!("`functions` of the description: {error}"))
                .help("list the names that `exec` and `services` may have: [\"first\", \"second\"]")
        })?,
        None => functions(&options),
    };
    let description = Description {
        name: told.name,
        version: told.version,
        options: Options(options),
        functions,
        parameters,
        places: std::collections::BTreeMap::new(),
        unmeasured: &[],
        digest,
    };
    Ok((description, Json::Object(given).to_string()))
}

/// A component that does not list its functions answers to any name; those that its own options use are
/// the ones it means.
fn functions(options: &serde_json::Map<String, Json>) -> Vec<String> {
    let scenarios = options.get("scenarios").and_then(Json::as_object);
    let named = scenarios.into_iter().flat_map(|scenarios| scenarios.values());
    let handlers = options.get("services").and_then(Json::as_object).into_iter();
    let mut functions: Vec<_> = named
        .filter_map(|scenario| scenario.get("exec").and_then(Json::as_str))
        .chain(handlers.flat_map(|handlers| handlers.values()).filter_map(|handler| {
            // One that consumes a stream is an object that names its function.
            handler.as_str().or_else(|| handler.get("handler")?.as_str())
        }))
        .chain(options.get("exec").and_then(Json::as_str))
        .chain(["iteration"])
        .map(str::to_owned)
        .collect();
    functions.sort_unstable();
    functions.dedup();
    functions
}

fn parameters(
    declared: &[types::Parameter],
    input: &LoadInput,
) -> Result<Vec<Parameter>, Diagnostic> {
    for name in input.parameters.keys() {
        if !declared.iter().any(|parameter| parameter.name == *name) {
            let known = declared.iter().map(|parameter| parameter.name.as_str());
            let help = nearest(name, known.clone()).map_or_else(
                || format!("its parameters: {}", known.collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(
                Diagnostic::new(format!("the component has no parameter `{name}`")).help(help)
            );
        }
    }
    declared.iter().map(|parameter| self::parameter(parameter, input)).collect()
}

fn parameter(declared: &types::Parameter, input: &LoadInput) -> Result<Parameter, Diagnostic> {
    let name = declared.name.clone();
    let default: Json = serde_json::from_str(&declared.default).map_err(|error| {
        Diagnostic::new(format!("the default of parameter `{name}` is not JSON: {error}"))
            .help("return it with `serde_json`")
    })?;
    let value = match input.parameters.get(&name) {
        None => default.clone(),
        Some(given) => typed(given, &default).ok_or_else(|| {
            Diagnostic::new(format!("`-p {name}={given}`: the value is not {}", kind(&default)))
                .help(format!("its default is {default}"))
        })?,
    };
    Ok(Parameter { name, default, value, doc: declared.doc.clone() })
}

/// What was typed, as the type of the default.
fn typed(given: &str, default: &Json) -> Option<Json> {
    match default {
        Json::String(_) => Some(Json::String(given.to_owned())),
        Json::Bool(_) => given.parse().ok().map(Json::Bool),
        Json::Number(number) if number.is_f64() => {
            given.parse().ok().and_then(serde_json::Number::from_f64).map(Json::Number)
        }
        Json::Number(_) => given.parse::<i64>().ok().map(Json::from),
        Json::Null => Some(serde_json::from_str(given).unwrap_or_else(|_| Json::from(given))),
        Json::Array(_) => serde_json::from_str(given).ok().filter(Json::is_array),
        Json::Object(_) => serde_json::from_str(given).ok().filter(Json::is_object),
    }
}

fn kind(default: &Json) -> &'static str {
    match default {
        Json::Null => "JSON",
        Json::Bool(_) => "true or false",
        Json::Number(number) if number.is_f64() => "a number",
        Json::Number(_) => "a whole number",
        Json::String(_) => "text",
        Json::Array(_) => "a JSON array",
        Json::Object(_) => "a JSON object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_take_the_type_of_their_default() {
        let typed = |given, default: &str| typed(given, &serde_json::from_str(default).unwrap());
        assert_eq!(typed("7", "500"), Some(Json::from(7)));
        assert_eq!(typed("7.5", "500"), None);
        assert_eq!(typed("7", "0.5"), Some(Json::from(7.0)));
        assert_eq!(typed("NaN", "0.5"), None);
        assert_eq!(typed("7", "\"x\""), Some(Json::from("7")));
        assert_eq!(typed("true", "false"), Some(Json::from(true)));
        assert_eq!(typed("yes", "false"), None);
        assert_eq!(typed("[1]", "[]"), Some(serde_json::json!([1])));
        assert_eq!(typed("{}", "[]"), None);
        assert_eq!(typed("x'; DROP TABLE users; --", "\"\"").unwrap(), "x'; DROP TABLE users; --");
    }

    #[test]
    fn an_unknown_parameter_names_the_nearest() {
        let declared = [types::Parameter {
            name: "players".to_owned(),
            default: "500".to_owned(),
            doc: String::new(),
        }];
        let mut input = LoadInput::default();
        input.parameters.insert("player".to_owned(), "1".to_owned());
        let error = parameters(&declared, &input).unwrap_err();
        assert_eq!(error.help.unwrap(), "did you mean `players`?");
    }
}
