//! Scripts run as virtual users do: real primitives, a current-thread runtime, the real engine.

use std::{cell::RefCell, collections::BTreeMap, path::PathBuf};

use rustc_hash::FxHashMap;
use tempfile::TempDir;

use super::*;
use crate::{
    clock::{Clock, Instant},
    metric::{Kind, Metric, Names, Phase, Recorder, RecorderConfig, Registry, TagSet, Unit},
    primitive::{LogLine, LogSink, Ops, Primitives, Scope as Measure, ScopeConfig, bus, database},
    workload::{GuestErrorKind, Iteration},
};

/// Collects log lines.
#[derive(Debug, Default)]
pub struct Lines(RefCell<Vec<String>>);

impl LogSink for Lines {
    fn line(&self, line: LogLine) {
        self.0.borrow_mut().push(line.text);
    }
}

/// A script in a folder of its own.
pub struct Bench {
    pub folder: TempDir,
    pub input: LoadInput,
    pub log: Rc<Lines>,
    pub recorder: Rc<Recorder>,
    clock: Clock,
}

impl Bench {
    pub fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("script.rhai"), script).unwrap();
        let clock = Clock::real();
        let mut registry = Registry::default();
        registry.insert(Metric { name: "mine".into(), kind: Kind::Counter, unit: Unit::Count });
        let config = RecorderConfig {
            registry: Arc::new(registry),
            names: Names::default(),
            windowed: Vec::new(),
            max_series: 100,
        };
        let recorder = Rc::new(Recorder::new(config, 0, clock.now()));
        Self { folder, input: LoadInput::default(), log: Rc::default(), recorder, clock }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("script.rhai")
    }

    pub fn load(&self) -> Result<Program, LoadError> {
        Program::load(&self.path(), &self.input)
    }

    pub fn refused(&self) -> Diagnostic {
        match self.load() {
            Err(LoadError::Invalid(diagnostic) | LoadError::Refused(diagnostic)) => diagnostic,
            Ok(_) => panic!("this script must not load"),
        }
    }

    pub fn shard(&self) -> Rc<ShardProgram> {
        Rc::new(self.load().unwrap().on_shard().unwrap())
    }

    pub async fn primitives(&self, vu: u32) -> Primitives {
        let limits = self.input.limits.clone();
        let id = self.recorder.registry().find("mine").unwrap();
        let scope = Rc::new(Measure::new(
            ScopeConfig {
                clock: self.clock,
                recorder: self.recorder.clone(),
                limits: limits.clone(),
                ops: Ops::new(&["stats"], self.recorder.names()),
                metrics: Arc::new(FxHashMap::from_iter([("mine".to_owned(), (id, Kind::Counter))])),
                log: self.log.clone(),
                trace: false,
                seed: 7,
            },
            vu,
        ));
        let bus = bus::Source::open("embedded", "test").await.unwrap();
        let connection = bus.connect("test").await.unwrap();
        let folder = self.folder.path();
        let source = database::Source::open("embedded", None, folder, "test", &limits).await;
        let pool = source.unwrap().pool(0).await.unwrap();
        Primitives {
            scope: scope.clone(),
            bus: bus::Bus::new(scope.clone(), connection),
            database: database::Database::new(scope, pool),
        }
    }

    pub async fn user(&self, data: Json) -> (Box<dyn VirtualUser>, Rc<Measure>) {
        self.user_on(&self.shard(), 1, data).await
    }

    pub async fn user_on(
        &self,
        shard: &Rc<ShardProgram>,
        vu: u32,
        data: Json,
    ) -> (Box<dyn VirtualUser>, Rc<Measure>) {
        let primitives = self.primitives(vu).await;
        let scope = primitives.scope.clone();
        let input =
            VirtualUserInput { primitives, vu, data: Arc::new(data), seed: 7, targets: None };
        (shard.virtual_user(input).unwrap(), scope)
    }

    pub fn lines(&self) -> Vec<String> {
        self.log.0.borrow().clone()
    }
}

pub fn iteration(exec: &str, number: u64) -> Iteration {
    Iteration {
        exec: exec.into(),
        scenario: "steady".into(),
        stage: "plateau".into(),
        number,
        due: Instant::ZERO,
        cpu_timeout: Duration::from_millis(300),
        env: Rc::new(BTreeMap::from([("REGION".to_owned(), "eu".to_owned())])),
        stream: number,
    }
}

/// Begins an iteration on the scope, as the executor does, and runs it.
pub async fn run(
    user: &mut Box<dyn VirtualUser>,
    scope: &Measure,
    iteration: &Iteration,
) -> Result<(), GuestError> {
    let tags = TagSet { phase: Phase::Main, ..TagSet::default() };
    scope.begin(tags, iteration.due, iteration.random(7));
    user.iterate(iteration).await
}

/// Runs a future on a runtime as a shard has it.
pub fn on_shard<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

/// Loads a script, runs one iteration of `iteration` and returns its result and the log.
pub fn run_once(script: &str) -> (Result<(), GuestError>, Vec<String>) {
    let bench = Bench::new(script);
    let result = on_shard(async {
        let (mut user, scope) = bench.user(Json::Null).await;
        run(&mut user, &scope, &iteration("iteration", 0)).await
    });
    (result, bench.lines())
}

#[test]
fn options_constants_and_functions_are_described() {
    let mut bench = Bench::new(
        r#"
        const RATE = param("rate", 50, "arrivals per second");
        export const options = #{
            scenarios: #{ steady: #{ executor: "constant-arrival-rate", rate: RATE, duration: 10.s } },
            thresholds: #{ checks: ["rate > 0.99"] },
        };
        fn iteration(ctx) {}
        fn other() {}
        fn setup(ctx) {}
        private fn hidden(ctx) {}
        "#,
    );
    bench.input.parameters.insert("rate".to_owned(), "75".to_owned());
    let program = bench.load().unwrap();
    let description = program.describe();
    let options = serde_json::to_value(&description.options.0).unwrap();
    assert_eq!(options["scenarios"]["steady"]["rate"], 75);
    assert_eq!(options["scenarios"]["steady"]["duration"], "10s");
    assert_eq!(description.functions, ["iteration", "other"]);
    assert_eq!(description.name, "script");
    assert_eq!(description.parameters[0].doc, "arrivals per second");
    assert_eq!(description.parameters[0].default, 50);
    assert!(crate::digest::is_digest(&description.digest));
    let path = ["scenarios", "steady", "executor"].map(str::to_owned).to_vec();
    let place = &description.places[&path];
    assert_eq!(&place.text[place.range.clone()], "executor: \"constant-arrival-rate\"");
}

#[test]
fn constants_state_and_context_are_visible_in_iterations() {
    let bench = Bench::new(
        r#"
        const GREETING = "hello";
        fn helper(n) { `${global::GREETING} ${n}` }
        fn init(ctx) { this.count = 0; }
        fn iteration(ctx) {
            this.count += 1;
            log(helper(this.count));
            log([ctx.vu, ctx.iteration, ctx.scenario, ctx.stage, ctx.seed, ctx.env.REGION, ctx.data.users[1]]);
            check("counted", this.count > 0);
            metric::add("mine", 2);
        }
        "#,
    );
    on_shard(async {
        let data = serde_json::json!({ "users": ["a", "b"] });
        let (mut user, scope) = bench.user(data).await;
        user.init().await.unwrap();
        for number in [5, 6] {
            run(&mut user, &scope, &iteration("iteration", number)).await.unwrap();
            assert!(scope.started().is_some());
        }
    });
    assert_eq!(
        bench.lines(),
        [
            "hello 1",
            r#"[1,5,"steady","plateau",7,"eu","b"]"#,
            "hello 2",
            r#"[1,6,"steady","plateau",7,"eu","b"]"#,
        ]
    );
}

#[test]
fn sleeping_suspends_the_virtual_user_and_not_the_shard() {
    let bench = Bench::new(
        "fn iteration(ctx) {
            log(`start ${ctx.vu}`);
            if ctx.vu == 1 { sleep(20.ms) } else { sleep(0.02) }
            log(`end ${ctx.vu}`);
        }",
    );
    on_shard(async {
        let shard = bench.shard();
        let (mut one, first) = bench.user_on(&shard, 1, Json::Null).await;
        let (mut two, second) = bench.user_on(&shard, 2, Json::Null).await;
        let (a, b) = (iteration("iteration", 0), iteration("iteration", 1));
        let (a, b) = tokio::join!(run(&mut one, &first, &a), run(&mut two, &second, &b));
        a.unwrap();
        b.unwrap();
    });
    let lines = bench.lines();
    assert_eq!(lines[..2], ["start 1", "start 2"]);
    // Whole seconds as well: a sleep that blocked its thread would not be cut off.
    let bench = Bench::new("fn iteration(ctx) { sleep(60); }");
    let cut = on_shard(async {
        let (mut user, scope) = bench.user(Json::Null).await;
        let asked = iteration("iteration", 0);
        let sleeping = run(&mut user, &scope, &asked);
        tokio::time::timeout(Duration::from_millis(20), sleeping).await.is_err()
    });
    assert!(cut);
}

#[test]
fn a_deadline_is_what_is_left_of_it() {
    let (result, lines) = run_once(
        "fn iteration(ctx) {
            let deadline = time::deadline(\"40ms\");
            log(deadline.left > 0.ms && deadline.left <= 40.ms && !deadline.passed);
            let inbox = bus::subscribe(\"quiet\");
            log(inbox.next(deadline) == ());
            log(deadline.passed && deadline.left == 0.ms);
            let before = time::now();
            let reply = bus::request(\"quiet\", \"\", #{ timeout: deadline.left });
            log(`${reply.ok} ${reply.error}`);
            db::query(\"SELECT 1\", [], #{ timeout: time::deadline(2.s) });
            sleep(deadline);
            log(time::now() - before < 1.s);
            log(`${deadline}`);
        }",
    );
    result.unwrap();
    assert_eq!(lines, ["true", "true", "true", "false timeout", "true", "0s left"]);
    let (result, _) = run_once("fn iteration(ctx) { time::deadline(5); }");
    let error = result.unwrap_err();
    assert_eq!(error.kind, GuestErrorKind::Misuse);
    assert!(error.message.contains("time::deadline: `5` is not a duration"), "{error}");
    let definitions = definitions();
    assert!(definitions.contains("fn deadline(duration: Duration) -> Deadline;"), "{definitions}");
}

#[test]
fn errors_say_kind_message_and_place() {
    let (result, _) = run_once("fn iteration(ctx) {\n    let a = 1;\n    fail(\"no luck\");\n}");
    let error = result.unwrap_err();
    assert_eq!(error.kind, GuestErrorKind::Threw);
    assert_eq!(error.message, "no luck");
    assert!(error.place.unwrap().ends_with("script.rhai:3:5"));
    let (result, _) = run_once("fn iteration(ctx) { metric::add(\"unknown\", 1); }");
    let error = result.unwrap_err();
    assert_eq!(error.kind, GuestErrorKind::Misuse);
    assert!(error.message.contains("`unknown` is not declared"), "{error:?}");
}
