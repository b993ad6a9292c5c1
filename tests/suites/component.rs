//! Components: real guests, built for the purpose, against the sandbox.

use std::{cell::RefCell, collections::BTreeMap, path::Path, rc::Rc, sync::Arc, time::Duration};

use wavetank::{
    clock::Clock,
    metric::{Builtin, Cell, Names, Recorder, RecorderConfig, Registry, Selector, TagSet, Totals},
    plan::Limits,
    primitive::{
        LogLine, LogSink, Ops, Primitives, Random, Scope, ScopeConfig,
        bus::{self, Bus},
        database::{self, Database},
    },
    workload::{
        GuestError, GuestErrorKind, Iteration, LoadError, LoadInput, Program, ShardProgram,
        VirtualUser, VirtualUserInput,
    },
};
use wavetank_tests::{guests::guest, nats::NatsServer};

/// A shard with what its virtual users need.
struct Shard {
    program: Arc<Program>,
    prepared: ShardProgram,
    config: ScopeConfig,
    log: Rc<Lines>,
    bus: bus::Connection,
    pool: database::Pool,
    _directory: tempfile::TempDir,
}

#[derive(Debug, Default)]
struct Lines(RefCell<Vec<String>>);

impl LogSink for Lines {
    fn line(&self, line: LogLine) {
        self.0.borrow_mut().push(line.text);
    }
}

const SEED: u64 = 42;

impl Shard {
    async fn of(path: &Path, input: LoadInput) -> Self {
        let bus = bus::Source::open("embedded", "test").await.unwrap();
        Self::on(&bus, path, input).await
    }

    async fn on(bus: &bus::Source, path: &Path, input: LoadInput) -> Self {
        let limits = Arc::clone(&input.limits);
        let program = Arc::new(Program::load(path, &input).unwrap());
        let shard = program.on_shard().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let database = database::Source::open("embedded", None, directory.path(), "test", &limits)
            .await
            .unwrap();
        let log = Rc::new(Lines::default());
        let clock = Clock::real();
        let recorder = Rc::new(Recorder::new(
            RecorderConfig {
                registry: Arc::new(Registry::default()),
                names: Names::default(),
                windowed: Vec::new(),
                max_series: limits.series,
            },
            0,
            clock.now(),
        ));
        let config = ScopeConfig {
            clock,
            ops: Ops::new(&["ask"], recorder.names()),
            recorder,
            limits,
            metrics: Arc::default(),
            log: Rc::clone(&log) as Rc<dyn LogSink>,
            trace: false,
            seed: SEED,
        };
        Self {
            program,
            prepared: shard,
            config,
            log,
            bus: bus.connect("test").await.unwrap(),
            pool: database.pool(0).await.unwrap(),
            _directory: directory,
        }
    }

    async fn hostile(limits: Limits) -> Self {
        let input = LoadInput { limits: Arc::new(limits), ..LoadInput::default() };
        Self::of(&guest("hostile-guest"), input).await
    }

    fn try_user(&self, vu: u32, data: Arc<serde_json::Value>) -> Result<User, GuestError> {
        let scope = Rc::new(Scope::new(self.config.clone(), vu));
        let primitives = Primitives {
            scope: Rc::clone(&scope),
            bus: Bus::new(Rc::clone(&scope), self.bus.clone()),
            database: Database::new(Rc::clone(&scope), self.pool.clone()),
        };
        let input = VirtualUserInput { primitives, vu, data, seed: SEED, targets: None };
        Ok(User { guest: self.prepared.virtual_user(input)?, scope, number: 0 })
    }

    fn user(&self, vu: u32) -> User {
        self.try_user(vu, Arc::new(serde_json::Value::Null)).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        self.log.0.take()
    }

    fn measured(&self, metric: Builtin) -> Cell<u64> {
        let recorder = &self.config.recorder;
        let mut totals = Totals::default();
        totals.merge(&recorder.take(self.config.clock.now()));
        totals.select(recorder.registry(), recorder.names(), metric.id(), &Selector::default())
    }
}

struct User {
    guest: Box<dyn VirtualUser>,
    scope: Rc<Scope>,
    number: u64,
}

impl User {
    async fn iterate(&mut self, exec: &str) -> Result<(), GuestError> {
        self.iterate_within(exec, Duration::from_secs(60)).await
    }

    async fn iterate_within(
        &mut self,
        exec: &str,
        cpu_timeout: Duration,
    ) -> Result<(), GuestError> {
        let iteration = Iteration {
            exec: exec.into(),
            scenario: "main".into(),
            stage: "".into(),
            number: self.number,
            due: self.scope.clock().now(),
            cpu_timeout,
            env: Rc::new(BTreeMap::new()),
            stream: self.number,
        };
        self.number += 1;
        self.scope.begin(TagSet::default(), iteration.due, iteration.random(SEED));
        self.guest.iterate(&iteration).await
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Limits small enough to be met soon.
fn small() -> Limits {
    Limits { vus: 16, guest_memory: 16 << 20, ..Limits::default() }
}

#[test]
fn a_component_lives_through_its_lifecycle() {
    run(async {
        let mut input = LoadInput { limits: Arc::new(small()), ..LoadInput::default() };
        input.parameters.insert("greeting".to_owned(), "ahoy".to_owned());
        let shard = Shard::of(&guest("hostile-guest"), input).await;
        let told = shard.program.describe();
        assert_eq!((told.name.as_str(), told.version.as_str()), ("hostile", "0.1.0"));
        assert_eq!(told.functions, ["fine", "sleep"]);
        assert_eq!(told.parameters[0].default, "hello");
        assert_eq!(told.parameters[0].value, "ahoy");
        assert!(wavetank::digest::is_digest(&told.digest));
        assert!(told.options.0.contains_key("scenarios"));

        let mut first = shard.user(0);
        let data = Arc::new(first.guest.setup().await.unwrap());
        assert_eq!(*data, serde_json::json!({"made": "in setup", "seed": SEED}));
        let mut user = shard.try_user(1, Arc::clone(&data)).unwrap();
        user.guest.init().await.unwrap();
        let execs =
            ["first", "second", "data", "greet", "nap", "std-sleep", "clock", "file", "deadline"];
        for exec in execs {
            user.iterate(exec).await.unwrap_or_else(|error| panic!("{exec}: {error}"));
        }
        assert_eq!(shard.lines(), ["ahoy from 1"]);
        let Cell::Rate(checks) = shard.measured(Builtin::Checks) else { panic!() };
        assert_eq!((checks.hits, checks.total), (8, 8));
        first.guest.teardown().await.unwrap();
    });
}

#[test]
fn an_error_leaves_the_instance_and_a_trap_replaces_it() {
    run(async {
        let shard = Shard::hostile(small()).await;
        let mut user = shard.user(1);
        user.guest.init().await.unwrap();
        user.iterate("first").await.unwrap();
        let error = user.iterate("fail").await.unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (GuestErrorKind::Threw, "it did not want to")
        );
        let error = user.iterate("panic").await.unwrap_err();
        assert_eq!(error.kind, GuestErrorKind::Trapped);
        assert_eq!(error.message, "it panicked: boom in iteration 2");
        assert!(error.place.as_deref().unwrap().contains("hostile/src/lib.rs:"), "{error:?}");
        // Fresh, and initialised: the counter of its instance starts anew.
        user.iterate("first").await.unwrap();
        user.iterate("second").await.unwrap();
        let error = user.iterate("exit").await.unwrap_err();
        assert!(error.message.contains("it called exit("), "{error}");
        user.iterate("first").await.unwrap();
        let error = user.iterate("no such function").await.unwrap_err();
        assert_eq!(error.kind, GuestErrorKind::Threw);
        let recorder = &shard.config.recorder;
        let mut totals = Totals::default();
        totals.merge(&recorder.take(shard.config.clock.now()));
        let all = |metric: Builtin| {
            totals.select(recorder.registry(), recorder.names(), metric.id(), &Selector::default())
        };
        let Cell::Rate(checks) = all(Builtin::Checks) else { panic!() };
        assert_eq!((checks.hits, checks.total), (4, 4), "each instance counted from one");
        let Cell::Counter(traps) = all(Builtin::GuestTraps) else { panic!() };
        assert_eq!(traps, 2.0);
    });
}

#[test]
fn an_endless_loop_is_cut_off_while_the_others_of_its_shard_go_on() {
    run(async {
        let shard = Shard::hostile(small()).await;
        let (mut hog, mut other) = (shard.user(1), shard.user(2));
        let mut turns = 0;
        let others = async {
            loop {
                other.iterate("nap").await.unwrap();
                turns += 1;
            }
        };
        let error = tokio::select! {
            ended = hog.iterate_within("loop", Duration::from_millis(150)) => ended.unwrap_err(),
            () = others => unreachable!(),
        };
        assert_eq!(error.kind, GuestErrorKind::CpuTimeout);
        assert!(error.message.contains("150ms"), "{error}");
        assert!(turns >= 10, "the others ran {turns} iterations");
        hog.iterate("first").await.unwrap();
        let told = shard.lines();
        assert_eq!(told.iter().filter(|line| line.contains("rest between slices")).count(), 1);
    });
}

#[test]
fn a_dropped_call_leaves_a_fresh_instance() {
    run(async {
        let shard = Shard::hostile(small()).await;
        let mut user = shard.user(1);
        user.iterate("first").await.unwrap();
        let cut = tokio::time::timeout(Duration::from_millis(30), user.iterate("sleep")).await;
        assert!(cut.is_err());
        user.iterate("first").await.unwrap();
        let Cell::Rate(checks) = shard.measured(Builtin::Checks) else { panic!() };
        assert_eq!((checks.hits, checks.total), (2, 2));
    });
}

#[test]
fn every_bomb_ends_in_an_error_that_names_its_limit() {
    run(async {
        let shard = Shard::hostile(Limits { hostcall_bytes: 1 << 20, ..small() }).await;
        let mut user = shard.user(1);
        for (exec, kind, says) in [
            ("memory", GuestErrorKind::Limit, "guest_memory"),
            ("recurse", GuestErrorKind::Trapped, "guest_stack"),
            ("bytes", GuestErrorKind::Limit, "hostcall_bytes"),
        ] {
            let error = user.iterate(exec).await.unwrap_err();
            assert_eq!(error.kind, kind, "{exec}: {error:?}");
            assert!(error.message.contains(says), "{exec}: {error:?}");
            user.iterate("first").await.unwrap();
        }
    });
}

#[test]
fn handles_are_bounded() {
    run(async {
        let shard = Shard::hostile(small()).await;
        let mut user = shard.user(1);
        let error = user.iterate("handles").await.unwrap_err();
        assert_eq!(error.kind, GuestErrorKind::Misuse, "{error:?}");
        assert!(error.message.contains("(handles)"), "{error}");
        // What a dead or careless guest held is no burden for the next iteration.
        user.iterate("fine").await.unwrap();
    });
}

#[test]
fn an_instance_that_ends_takes_its_connections_with_it() {
    run(async {
        let server = NatsServer::start().await;
        let bus = bus::Source::open(&server.url(), "test").await.unwrap();
        let input = LoadInput { limits: Arc::new(small()), ..LoadInput::default() };
        let shard = Shard::on(&bus, &guest("hostile-guest"), input).await;
        let mut user = shard.user(1);
        user.iterate("hold").await.unwrap();
        // The guest dropped each of them, which waits until it is closed.
        assert_eq!(bus.held(), Some(0));
        let error = user.iterate("hold-panic").await.unwrap_err();
        assert_eq!(error.kind, GuestErrorKind::Trapped, "{error:?}");
        bus.delivery_report().await;
        assert_eq!(bus.held(), Some(0), "the instance died with its connections");
        let Cell::Gauge(held) = shard.measured(Builtin::BusConnections) else { panic!("a gauge") };
        assert_eq!((held.max, held.min), (10.0, 0.0));
    });
}

#[test]
fn misuse_is_told_to_the_guest_and_becomes_the_iterations_error() {
    run(async {
        let shard = Shard::hostile(small()).await;
        let mut user = shard.user(1);
        user.iterate("caught").await.unwrap();
        let error = user.iterate("reserved").await.unwrap_err();
        assert_eq!(error.kind, GuestErrorKind::Misuse);
        assert!(error.message.contains("$SYS.REQ"), "{error}");
        // The instance is well: misuse is no trap.
        user.iterate("caught").await.unwrap();
        let Cell::Rate(checks) = shard.measured(Builtin::Checks) else { panic!() };
        assert_eq!((checks.hits, checks.total), (2, 2));
    });
}

#[test]
fn refused_calls_are_counted_and_told_also_where_the_guest_keeps_them_to_itself() {
    run(async {
        let shard = Shard::hostile(small()).await;
        let mut user = shard.user(1);
        for exec in ["caught", "caught", "reserved", "caught"] {
            drop(user.iterate(exec).await);
        }
        let Cell::Counter(refused) = shard.measured(Builtin::GuestRefused) else { panic!() };
        assert_eq!(refused, 4.0);
        let told = shard.lines().into_iter().filter(|line| line.contains("refused: "));
        assert_eq!(told.count(), 3, "another one than before, each");
    });
}

#[test]
fn output_is_logged_line_by_line_and_bounded() {
    run(async {
        let shard = Shard::hostile(small()).await;
        let mut user = shard.user(1);
        user.iterate("shout").await.unwrap();
        // A slow machine may have made it rest, which the host says in between.
        let own = |line: &String| !line.contains("had to rest");
        let lines: Vec<_> = shard.lines().into_iter().filter(own).collect();
        assert_eq!(lines[0], "line 0 of many");
        assert!(lines.len() < 10_000, "{}", lines.len());
        assert!(lines.iter().any(|line| line.contains("more bytes of output were dropped")));
        user.iterate("log").await.unwrap();
        assert_eq!(shard.lines(), ["a warning of its own"]);
    });
}

#[test]
fn random_numbers_and_hashing_come_from_the_seed() {
    run(async {
        let shard = Shard::hostile(small()).await;
        let mut expected = Random::new(SEED, "main", 0);
        let expected = format!("{} {}", expected.int(0, 1_000_000), expected.float());
        shard.user(1).iterate("draw").await.unwrap();
        assert_eq!(shard.lines(), [expected]);
        shard.user(1).iterate("hash").await.unwrap();
        let once = shard.lines();
        shard.user(1).iterate("hash").await.unwrap();
        assert_eq!(once, shard.lines());
        shard.user(2).iterate("hash").await.unwrap();
        assert_ne!(once, shard.lines(), "a hundred keys in the same order by chance");
    });
}

#[test]
fn a_trap_or_an_error_in_each_lifecycle_function_is_reported() {
    run(async {
        for place in ["setup", "init", "teardown"] {
            for (suffix, kind, says) in [
                ("", GuestErrorKind::Threw, format!("failed in {place}")),
                ("-panic", GuestErrorKind::Trapped, format!("it panicked: boom in {place}")),
            ] {
                let mut input = LoadInput { limits: Arc::new(small()), ..LoadInput::default() };
                input.parameters.insert("fail_in".to_owned(), format!("{place}{suffix}"));
                let shard = Shard::of(&guest("hostile-guest"), input).await;
                let mut user = shard.user(1);
                let ended = match place {
                    "setup" => user.guest.setup().await.map(drop),
                    "init" => user.guest.init().await,
                    _ => user.guest.teardown().await,
                };
                let error = ended.unwrap_err();
                assert_eq!((error.kind, error.message), (kind, says));
            }
        }
    });
}

#[test]
fn there_is_room_for_as_many_as_the_limit_says_and_no_more() {
    run(async {
        let shard = Shard::hostile(Limits { vus: 3, ..small() }).await;
        let mut users: Vec<_> = (1..=5).map(|vu| shard.user(vu)).collect();
        for user in &mut users {
            user.iterate("fine").await.unwrap();
        }
        let error = shard.try_user(6, Arc::default()).err().unwrap();
        assert_eq!(error.kind, GuestErrorKind::Limit);
        assert!(error.message.contains("--limit vus=N"), "{error}");
        users.pop();
        shard.user(6).iterate("fine").await.unwrap();
    });
}

/// What loading bytes says.
fn refusal(bytes: &[u8], limits: Limits) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plugin.wasm");
    std::fs::write(&path, bytes).unwrap();
    let input = LoadInput { limits: Arc::new(limits), ..LoadInput::default() };
    match Program::load(&path, &input).unwrap_err() {
        LoadError::Refused(diagnostic) => {
            (true, format!("{} | {}", diagnostic.message, diagnostic.help.unwrap_or_default()))
        }
        LoadError::Invalid(diagnostic) => {
            (false, format!("{} | {}", diagnostic.message, diagnostic.help.unwrap_or_default()))
        }
    }
}

#[test]
fn what_may_not_run_is_refused_with_its_reason() {
    let real = std::fs::read(guest("hostile-guest")).unwrap();
    let mut flipped = real.clone();
    for (index, byte) in flipped.iter_mut().enumerate().skip(5_000).step_by(97) {
        *byte ^= u8::try_from(index % 251).unwrap();
    }
    let wat = |text: &str| wat::parse_str(text).unwrap();
    let importing = |name: &str| wat(&format!("(component (import \"{name}\" (instance)))"));
    for (bytes, says) in [
        (Vec::new(), "not WebAssembly"),
        (b"#!/bin/sh\n".to_vec(), "not WebAssembly"),
        (real[..real.len() / 2].to_vec(), "cut off"),
        (real[..9].to_vec(), "cut off"),
        (flipped, ""),
        (wat("(module)"), "core WebAssembly module"),
        (wat("(component)"), "exports nothing"),
        (importing("wasi:filesystem/types@0.2.6"), "std::fs"),
        (importing("wasi:sockets/tcp@0.2.0"), "std::net"),
        (importing("wasi:http/outgoing-handler@0.2.0"), "`wasi:http/outgoing-handler@0.2.0`"),
        (importing("wavetank:workload/bus@0.2.0"), "speaks 0.1"),
        (importing("wavetank:workload/bus@1.0.0"), "speaks 0.1"),
        (importing("acme:secret/door@1.2.3"), "`acme:secret/door@1.2.3`"),
        (
            wat("(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
                 (func (export \"wasi:cli/run@0.2.0\") (canon lift (core func $i \"f\"))))"),
            "program",
        ),
        (
            wat("(component (core module $m (func (export \"f\") (result i32) i32.const 0)
                   (func (export \"c\") (param i32 i32 i32) (result i32) i32.const 0))
                 (core instance $i (instantiate $m))
                 (func (export \"describe\") async (canon lift (core func $i \"f\") async
                   (callback (core func $i \"c\")))))"),
            "--sync",
        ),
    ] {
        let (refused, told) = refusal(&bytes, small());
        assert!(refused, "{told}");
        assert!(told.contains(says), "wanted {says:?}, was told: {told}");
    }
    let (_, told) = refusal(&real, Limits { component_bytes: 1_000, ..small() });
    assert!(told.contains("component_bytes"), "{told}");
    let (_, told) = refusal(&real, Limits { compile_time: Duration::ZERO, ..small() });
    assert!(told.contains("compile_time"), "{told}");
}

#[test]
fn a_parameter_of_the_wrong_type_is_refused() {
    for (name, value, says) in
        [("greting", "x", "did you mean `greeting`?"), ("colour", "x", "its parameters: greeting")]
    {
        let mut input = LoadInput { limits: Arc::new(small()), ..LoadInput::default() };
        input.parameters.insert(name.to_owned(), value.to_owned());
        let LoadError::Invalid(error) = Program::load(&guest("hostile-guest"), &input).unwrap_err()
        else {
            panic!()
        };
        assert!(error.help.unwrap().contains(says));
    }
}

#[test]
fn a_compiled_component_is_kept_and_one_that_was_tampered_with_is_not_used() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("compiled");
        let input = || LoadInput {
            limits: Arc::new(small()),
            cache: Some(cache.clone()),
            ..LoadInput::default()
        };
        let path = guest("hostile-guest");
        let entries = || {
            let mut entries: Vec<_> = std::fs::read_dir(&cache)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.file_name().unwrap() != "key")
                .collect();
            entries.sort();
            entries
        };
        drop(Shard::of(&path, input()).await);
        let entry = entries().pop().expect("an entry was made");
        // With no time to compile, only the entry can serve.
        let mut hurried = input();
        hurried.limits = Arc::new(Limits { compile_time: Duration::ZERO, ..small() });
        let shard = Shard::of(&path, hurried.clone()).await;
        shard.user(1).iterate("fine").await.unwrap();
        // A bit of its code changed: it is not believed, and there is no time to compile.
        let mut bytes = std::fs::read(&entry).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&entry, &bytes).unwrap();
        let error = Program::load(&path, &hurried).unwrap_err().to_string();
        assert!(error.contains("compile_time"), "{error}");
        // With time it is compiled, and the entry made good.
        Shard::of(&path, input()).await.user(1).iterate("fine").await.unwrap();
        Shard::of(&path, hurried).await.user(1).iterate("fine").await.unwrap();
        assert_eq!(entries(), [entry]);
    });
}

#[test]
fn the_plugins_load_and_say_what_they_are() {
    use wavetank::workload::component::{Program, World};
    for (plugin, world, words) in [
        ("stats-queries", World::Workload, "sends and receives messages"),
        ("spike", World::Workload, "draws seeded random numbers"),
        ("aegis", World::Service, "uses the database"),
        ("arrakis-worker", World::Service, "sends and receives messages"),
        ("rosey-database", World::Service, "uses the database"),
        ("warming", World::Service, "uses the database"),
    ] {
        let input = LoadInput { limits: Arc::new(small()), ..LoadInput::default() };
        let program = Program::load(&guest(plugin), &input).unwrap();
        assert_eq!(program.describe().name, plugin);
        let contract = program.contract();
        assert_eq!((contract.world, contract.version.as_str()), (world, "0.1.0"));
        assert!(contract.in_words().contains(&words), "{plugin}: {:?}", contract.in_words());
        let key = if world == World::Service { "services" } else { "scenarios" };
        assert!(program.describe().options.0.contains_key(key), "{plugin}");
    }
}
