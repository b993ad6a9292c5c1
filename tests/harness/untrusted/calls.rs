//! Sequences of host calls, as a guest could make them: any call, in any order, with any values.
//!
//! Two virtual users share a bus and a database. What the bytes say is done by the first; whatever it
//! did, the host then ends what it left open, and the second finds its world whole.

use std::{rc::Rc, sync::Arc, time::Duration};

use wavetank::{
    clock::Clock,
    metric::{Names, Recorder, RecorderConfig, Registry, TagSet},
    primitive::{
        LogLevel, LogLine, LogSink, Ops, Primitives, Probe, Random, Scope, ScopeConfig,
        bus::{
            self, AckToken, Bus, ConnectionId, ConsumerId, Outgoing, StreamSpec, SubscriptionId,
        },
        database::{self, Database, Statement, Value},
    },
};

/// Words that mean something to a bus or a database.
const WORDS: [&str; 40] = [
    "a",
    "a.b",
    "a.*",
    ">",
    "_INBOX.>",
    "$JS.API.>",
    "_wavetank.x",
    "a b",
    "a\r\nPUB b 0",
    "",
    "ask",
    "\0",
    "ü.β",
    "mine",
    "queue",
    "{\"n\":1}",
    "/n",
    "h",
    "h:",
    "NATS/1.0",
    "SELECT 1",
    "SELECT ?",
    "CREATE TABLE IF NOT EXISTS t (n INTEGER, s TEXT)",
    "INSERT INTO t VALUES (?, ?)",
    "SELECT * FROM t",
    "DELETE FROM t",
    "DROP TABLE t",
    "COMMIT",
    "BEGIN",
    "ROLLBACK; SELECT 1",
    "/* */ SAVEPOINT a",
    "ATTACH 'x' AS y",
    "PRAGMA journal_mode = OFF",
    "VACUUM INTO 'x'",
    "SELECT randomblob(99999999)",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c",
    "SELECT load_extension('x')",
    "SELECT '?', \"?\", ?--?",
    "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END",
    "REPLACE INTO t VALUES (?, ?)",
];

/// More calls than that are not made of one input.
const CALLS: usize = 48;

struct Silent;

impl std::fmt::Debug for Silent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Silent")
    }
}

impl LogSink for Silent {
    fn line(&self, line: LogLine) {
        assert!(line.text.len() <= 16 * 256 + 4, "a line is cut");
    }
}

/// Values out of bytes; zeros when there are none left.
struct Draw<'a>(&'a [u8]);

impl Draw<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        match self.byte() % 6 {
            0 => 0,
            1 => u64::MAX,
            2 => i64::MAX as u64,
            3 => u64::from(self.byte()),
            4 => u64::from(self.byte()) << (self.byte() % 64),
            _ => u64::from_le_bytes([(); 8].map(|()| self.byte())),
        }
    }

    fn float(&mut self) -> f64 {
        f64::from_bits(self.number())
    }

    fn text(&mut self) -> String {
        let kind = self.byte();
        match WORDS.get(usize::from(kind)) {
            Some(word) => (*word).to_owned(),
            None if kind == 255 => "x".repeat(usize::from(self.byte()) * 300),
            None => {
                let length = usize::from(self.byte() % 32).min(self.0.len());
                let (text, rest) = self.0.split_at(length);
                self.0 = rest;
                String::from_utf8_lossy(text).into_owned()
            }
        }
    }

    fn some<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (!self.byte().is_multiple_of(3)).then(|| value(self))
    }

    /// At most some milliseconds: what waits for longer is the fuzzer's time.
    fn patience(&mut self) -> Option<Duration> {
        self.some(|draw| Duration::from_micros(u64::from(draw.byte()) * 20))
    }

    fn op(&mut self) -> Option<String> {
        self.some(|draw| if draw.byte().is_multiple_of(2) { "ask".to_owned() } else { draw.text() })
    }

    fn message(&mut self) -> Outgoing {
        let headers = (0..self.byte() % 3).map(|_| (self.text(), self.text())).collect();
        Outgoing {
            subject: self.text(),
            payload: self.text().into(),
            headers,
            op: self.op(),
            reply_to: self.some(Self::text),
        }
    }

    fn value(&mut self) -> Value {
        match self.byte() % 8 {
            0 => Value::Null,
            1 => Value::Bool(self.byte().is_multiple_of(2)),
            2 => Value::Integer(self.number() as i64),
            3 => Value::Float(self.float()),
            4 => Value::Bytes(self.text().into_bytes()),
            5 => Value::Json(serde_json::from_str(&self.text()).unwrap_or_default()),
            6 => Value::Timestamp(self.text()),
            _ => Value::Text(self.text()),
        }
    }

    fn statement(&mut self) -> Statement {
        Statement {
            sql: self.text(),
            values: (0..self.byte() % 4).map(|_| self.value()).collect(),
            op: self.op(),
            timeout: self.patience(),
        }
    }
}

/// Makes the calls that the bytes name.
pub fn calls(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let world = World::new().await;
        let (first, second) = (world.user(1), world.user(2));
        first.scope.begin(TagSet::default(), first.scope.clock().now(), Random::new(0, "main", 0));
        let mut draw = Draw(bytes);
        for _ in 0..CALLS {
            if draw.0.is_empty() {
                break;
            }
            call(&first, &mut draw).await;
        }
        first.scope.about_to_wait();
        first.database.reset().await.expect("a reset");
        first.bus.reset();
        assert!(!first.database.in_transaction() && first.database.is_settled());
        world.is_whole(&second).await;
    });
}

struct World {
    config: Rc<ScopeConfig>,
    bus: bus::Connection,
    pool: database::Pool,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let (clock, limits) = (Clock::real(), super::limits());
        let recorder = Rc::new(Recorder::new(
            RecorderConfig {
                registry: Arc::new(Registry::default()),
                names: Names::default(),
                windowed: Vec::new(),
                max_series: 50,
            },
            0,
            clock.now(),
        ));
        let folder = tempfile::tempdir().expect("a folder");
        let source = bus::Source::open("embedded", "untrusted").await.expect("a bus");
        let database = database::Source::open("embedded", None, folder.path(), "test", &limits)
            .await
            .expect("a database");
        let config = ScopeConfig {
            clock,
            ops: Ops::new(&["ask"], recorder.names()),
            recorder,
            limits,
            metrics: Arc::default(),
            log: Rc::new(Silent),
            trace: true,
            seed: 0,
        };
        Self {
            config: Rc::new(config),
            bus: source.connect("untrusted").await.expect("a connection"),
            pool: database.pool(0).await.expect("a pool"),
            _folder: folder,
        }
    }

    fn user(&self, vu: u32) -> Primitives {
        let scope = Rc::new(Scope::new(Rc::clone(&self.config), vu));
        Primitives {
            bus: Bus::new(Rc::clone(&scope), self.bus.clone()),
            database: Database::new(Rc::clone(&scope), self.pool.clone()),
            scope,
        }
    }

    /// That a virtual user which did nothing finds a bus that delivers and a database that stores.
    async fn is_whole(&self, user: &Primitives) {
        let sql = |sql: &str| Statement {
            sql: sql.to_owned(),
            values: Vec::new(),
            op: None,
            timeout: Some(Duration::from_secs(10)),
        };
        for text in ["CREATE TABLE untouched (n INTEGER)", "INSERT INTO untouched VALUES (7)"] {
            user.database.execute(sql(text)).await.expect("no misuse").expect(text);
        }
        let found = user.database.query(sql("SELECT n FROM untouched")).await;
        assert_eq!(found.expect("no misuse").expect("rows").rows, [[Value::Integer(7)]]);
        let heard = user.bus.subscribe("untouched", None).await.expect("no misuse").expect("heard");
        let told = Outgoing { subject: "untouched".to_owned(), ..Outgoing::default() };
        user.bus.publish(told).await.expect("no misuse").expect("published");
        let next = user.bus.next(heard, Some(Duration::from_secs(10))).await;
        assert!(next.expect("no misuse").expect("a message").is_some());
    }
}

async fn call(user: &Primitives, draw: &mut Draw<'_>) {
    match draw.byte() % 30 {
        kind @ 0..10 => on_the_bus(user, kind, draw).await,
        kind @ 10..17 => on_the_database(user, kind, draw).await,
        kind => in_the_scope(user, kind, draw).await,
    }
}

async fn on_the_bus(user: &Primitives, kind: u8, draw: &mut Draw<'_>) {
    let bus = &user.bus;
    match kind {
        0 => drop(bus.publish(draw.message()).await),
        1 => drop(bus.request(draw.message(), draw.patience()).await),
        2 => drop(bus.subscribe(&draw.text(), draw.some(Draw::text).as_deref()).await),
        3 => {
            let id = SubscriptionId(draw.byte().into());
            drop(bus.next(id, draw.patience()).await);
        }
        4 => drop(bus.unsubscribe(SubscriptionId(draw.byte().into())).await),
        5 => {
            let messages = (0..draw.byte() % 4).map(|_| draw.message()).collect();
            drop(bus.request_all(messages, draw.patience()).await);
        }
        6 => {
            let messages = (0..draw.byte() % 4).map(|_| draw.message()).collect();
            drop(bus.publish_all(messages).await);
        }
        7 => {
            drop(bus.acknowledge(AckToken(draw.number())).await);
            drop(bus.fetch(ConsumerId(draw.byte().into()), 9, draw.patience()).await);
            drop(bus.flush().await);
        }
        8 => {
            if let Ok(Ok(id)) = bus.connect(draw.op().as_deref(), draw.patience()).await {
                bus.abandon(id);
            }
            let forged = ConnectionId(draw.byte().into());
            let _ = bus.is_held(forged);
            bus.disconnect(forged).await;
        }
        _ => {
            let spec = StreamSpec {
                name: draw.text(),
                subjects: vec![draw.text()],
                ..StreamSpec::default()
            };
            drop(bus.ensure_stream(spec).await);
            drop(bus.consumer(&draw.text(), draw.some(Draw::text).as_deref(), None).await);
            drop(bus.publish_acknowledged(draw.message(), None, draw.patience()).await);
        }
    }
}

async fn on_the_database(user: &Primitives, kind: u8, draw: &mut Draw<'_>) {
    let database = &user.database;
    match kind {
        10 => drop(database.query(draw.statement()).await),
        11 => drop(database.execute(draw.statement()).await),
        12 => {
            let statements = (0..draw.byte() % 4).map(|_| draw.statement()).collect();
            drop(database.batch(statements).await);
        }
        13 => drop(database.begin().await),
        14 => drop(database.commit().await),
        15 => drop(database.rollback().await),
        // A call that is given up in its middle.
        _ => drop(
            tokio::time::timeout(Duration::from_micros(50), database.query(draw.statement())).await,
        ),
    }
}

async fn in_the_scope(user: &Primitives, kind: u8, draw: &mut Draw<'_>) {
    let scope = &user.scope;
    match kind {
        17 => drop(scope.check(&draw.text(), draw.byte().is_multiple_of(2))),
        18 => drop(scope.metric(&draw.text(), draw.float())),
        19 => {
            if let Ok(outer) = scope.enter_group(&draw.text()) {
                let _ = scope.check("inside", true);
                if draw.byte().is_multiple_of(2) {
                    scope.leave_group(outer);
                }
            }
        }
        20 => scope.log(LogLevel::Info, draw.text()),
        21 => {
            let (low, high) = (draw.number() as i64, draw.number() as i64);
            let drawn = scope.random().int(low, high);
            assert!(high <= low || (low..=high).contains(&drawn));
        }
        22 => {
            let _ = scope.random().zipf(draw.number(), draw.float());
        }
        23 => {
            let mut random = scope.random();
            let _ = (random.exp(draw.float()), random.normal(draw.float(), draw.float()));
            let _ = (random.bool(draw.float()), random.choice(draw.number() as usize));
        }
        24 => {
            let (len, mut random) = (usize::from(draw.byte()), scope.random());
            assert_eq!((random.shuffle(len).len(), random.string(len).len()), (len, len));
        }
        25 => {
            let deadline = wavetank::primitive::timing::Deadline::after(
                scope,
                Duration::from_nanos(draw.number()),
            );
            let _ = (deadline.left(), deadline.has_passed());
        }
        26 => {
            let asked = Duration::from_nanos(draw.number());
            let asleep = wavetank::primitive::timing::sleep(scope, asked);
            drop(tokio::time::timeout(Duration::from_micros(500), asleep).await);
        }
        27 => scope.abort(&draw.text()),
        28 => scope.mark_failed(&draw.text()),
        _ => {
            let probe = if draw.byte().is_multiple_of(2) {
                Probe::Query { sql: draw.text(), values: vec![draw.value()] }
            } else {
                Probe::Request { message: draw.message(), pointer: draw.text(), equals: None }
            };
            drop(user.effect(draw.message(), probe, draw.op().as_deref(), draw.patience()).await);
        }
    }
}
