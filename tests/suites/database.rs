//! The database as a VU sees it: the same battery on SQLite and on a real PostgreSQL, and what only
//! PostgreSQL has: leases, cancelling on the server, schemas, privileges, a server that goes away.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use proptest::{prelude::*, test_runner::TestRunner};
use wavetank::{
    clock::Clock,
    metric::{Builtin, Cell, Names, Recorder, RecorderConfig, Selector, Totals},
    plan::Limits,
    primitive::{
        Failure, LogLine, LogSink, Ops, Scope, ScopeConfig,
        database::{Database, Dialect, Opening, Pool, Rows, Source, Statement, Value},
    },
};
use wavetank_tests::postgres::{PASSWORD, Postgres};

#[derive(Debug, Default)]
struct Lines(RefCell<Vec<LogLine>>);

impl LogSink for Lines {
    fn line(&self, line: LogLine) {
        self.0.borrow_mut().push(line);
    }
}

/// A database with one shard's pool.
struct Bench {
    source: Source,
    pool: Pool,
    recorder: Rc<Recorder>,
    lines: Rc<Lines>,
    limits: Limits,
    clock: Clock,
    folder: tempfile::TempDir,
    cluster: Option<Arc<Postgres>>,
}

fn opening(address: &str, limits: &Limits) -> Opening {
    Opening {
        address: address.to_owned(),
        schema: None,
        allow_existing: false,
        keep_schema: false,
        directory: std::env::temp_dir(),
        run: "Test-1".to_owned(),
        shards: 1,
        limits: limits.clone(),
    }
}

impl Bench {
    async fn sqlite() -> Self {
        Self::on("embedded", Limits::default(), None).await
    }

    async fn postgres(limits: Limits) -> Self {
        let cluster = Postgres::shared();
        let url = cluster.database().await;
        Self::on(&url, limits, Some(cluster)).await
    }

    async fn on(address: &str, limits: Limits, cluster: Option<Arc<Postgres>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let opening = Opening { directory: folder.path().to_owned(), ..opening(address, &limits) };
        let source = Source::open_with(opening).await.unwrap();
        let pool = source.pool(0).await.unwrap();
        let clock = Clock::real();
        let config = RecorderConfig {
            registry: Arc::default(),
            names: Names::default(),
            windowed: Vec::new(),
            max_series: 1_000,
        };
        let recorder = Rc::new(Recorder::new(config, 0, clock.now()));
        Self { source, pool, recorder, lines: Rc::default(), limits, clock, folder, cluster }
    }

    fn vu(&self, vu: u32) -> Vu {
        let config = ScopeConfig {
            clock: self.clock,
            recorder: self.recorder.clone(),
            limits: Arc::new(self.limits.clone()),
            ops: Ops::new::<&str>(&[], self.recorder.names()),
            metrics: Arc::default(),
            log: self.lines.clone(),
            trace: false,
            seed: 0,
        };
        let scope = Rc::new(Scope::new(config, vu));
        let database = Database::new(scope.clone(), self.pool.clone());
        Vu { scope, database }
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        totals.merge(&self.recorder.take(self.clock.now()));
        totals
    }

    fn cell(&self, totals: &Totals, metric: Builtin) -> Cell<u64> {
        let all = Selector::default();
        totals.select(self.recorder.registry(), self.recorder.names(), metric.id(), &all)
    }

    /// What the run's connections are doing on the server.
    async fn activity(&self, state: &str) -> i64 {
        let cluster = self.cluster.as_ref().unwrap();
        let text = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND state LIKE $2 AND \
                    application_name = 'wavetank_test_1'";
        let name = self.database_name();
        cluster.admin("postgres").await.query_one(text, &[&name, &state]).await.unwrap().get(0)
    }

    async fn until_activity(&self, state: &str, count: i64) {
        for _ in 0..200 {
            if self.activity(state).await == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} connections are {state}, not {count}", self.activity(state).await);
    }

    fn database_name(&self) -> String {
        let url = self.source.url().unwrap();
        url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned()
    }
}

/// A virtual user.
struct Vu {
    scope: Rc<Scope>,
    database: Database,
}

fn sql(text: &str, values: impl Into<Vec<Value>>) -> Statement {
    Statement { sql: text.to_owned(), values: values.into(), ..Statement::default() }
}

fn within(millis: u64, statement: Statement) -> Statement {
    Statement { timeout: Some(Duration::from_millis(millis)), ..statement }
}

impl Vu {
    async fn query(&self, text: &str, values: impl Into<Vec<Value>>) -> Result<Rows, Failure> {
        self.database.query(sql(text, values)).await.unwrap()
    }

    async fn rows(&self, text: &str) -> Vec<Vec<Value>> {
        self.query(text, []).await.unwrap().rows
    }

    async fn execute(&self, text: &str, values: impl Into<Vec<Value>>) -> Result<u64, Failure> {
        self.database.execute(sql(text, values)).await.unwrap()
    }

    async fn done(&self, text: &str) -> u64 {
        self.execute(text, []).await.unwrap()
    }

    async fn fails(&self, text: &str) -> Failure {
        self.query(text, []).await.unwrap_err()
    }

    async fn begin(&self) {
        self.database.begin().await.unwrap().unwrap();
    }

    async fn commit(&self) -> Result<(), Failure> {
        self.database.commit().await.unwrap()
    }

    /// A statement that does not end by itself.
    fn endless(&self) -> &'static str {
        match self.database.dialect() {
            Dialect::Postgres => "SELECT pg_sleep(3600)",
            Dialect::Sqlite => {
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                 SELECT count(*) FROM n"
            }
        }
    }
}

/// Runs a test on both databases.
macro_rules! on_both {
    ($($(#[$attribute:meta])* fn $name:ident($bench:ident) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$attribute])*
            async fn battery($bench: &Bench) $body

            #[tokio::test]
            async fn sqlite() {
                let bench = Bench::sqlite().await;
                battery(&bench).await;
                bench.source.close().await.unwrap();
            }

            #[tokio::test]
            async fn postgres() {
                let bench = Bench::postgres(Limits::default()).await;
                battery(&bench).await;
                bench.source.close().await.unwrap();
            }
        }
    )*};
}

on_both! {
    fn placeholders_and_injection(bench) {
        let vu = bench.vu(1);
        vu.done("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL)").await;
        let hostile = ["'); DROP TABLE t; --", "\" OR 1=1", "?", "$1", "\\'", "naïve 🌊"];
        for (id, text) in (0_i64..).zip(hostile) {
            let values = [Value::Integer(id), Value::Text(text.into())];
            let changed = vu.execute("INSERT INTO t VALUES (?, ?) -- why?", values).await;
            assert_eq!(changed, Ok(1));
            let found = vu.query("SELECT id FROM t WHERE name = ?", [Value::Text(text.into())]).await;
            assert_eq!(found.unwrap().rows, [[Value::Integer(id)]]);
        }
        assert_eq!(vu.rows("SELECT count(*) FROM t").await, [[Value::Integer(6)]]);
        assert_eq!(vu.done("UPDATE t SET name = 'x' WHERE id < 4").await, 4);
        assert_eq!(vu.done("SELECT * FROM t").await, 0);
        assert_eq!(vu.rows("DELETE FROM t WHERE id = 1 RETURNING id").await, [[Value::Integer(1)]]);
    }

    fn failures_have_their_kinds(bench) {
        let vu = bench.vu(1);
        vu.done("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL)").await;
        vu.done("INSERT INTO t VALUES (1, 'a')").await;
        for (text, kind) in [
            ("INSERT INTO t VALUES (1, 'b')", "constraint"),
            ("INSERT INTO t VALUES (2, NULL)", "constraint"),
            ("SELECT nothing FROM t", "syntax"),
            ("SELEC 1", "syntax"),
            ("SELECT * FROM nowhere", "syntax"),
        ] {
            let failure = vu.fails(text).await;
            assert_eq!(failure.kind, kind, "{text}: {failure}");
        }
        let totals = bench.totals();
        let Cell::Rate(failed) = bench.cell(&totals, Builtin::DbQueryFailed) else { panic!() };
        assert_eq!((failed.hits, failed.total), (5, 7));
    }

    fn transactions_commit_and_roll_back(bench) {
        let (vu, other) = (bench.vu(1), bench.vu(2));
        vu.done("CREATE TABLE t (id INTEGER)").await;
        vu.begin().await;
        vu.done("INSERT INTO t VALUES (1)").await;
        assert_eq!(vu.rows("SELECT id FROM t").await.len(), 1);
        assert_eq!(other.rows("SELECT id FROM t").await.len(), 0);
        assert_eq!(vu.commit().await, Ok(()));
        assert_eq!(other.rows("SELECT id FROM t").await.len(), 1);
        vu.begin().await;
        vu.done("DELETE FROM t").await;
        vu.database.rollback().await.unwrap().unwrap();
        assert_eq!(other.rows("SELECT id FROM t").await.len(), 1);
        let totals = bench.totals();
        // Three statements before and in it, its commit, a delete, three looks: no BEGIN, no ROLLBACK.
        let Cell::Counter(queries) = bench.cell(&totals, Builtin::DbQueries) else { panic!() };
        assert_eq!(queries, 8.0);
    }

    fn a_batch_is_all_or_nothing(bench) {
        let vu = bench.vu(1);
        vu.done("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
        let insert = |id| sql("INSERT INTO t VALUES (?)", [Value::Integer(id)]);
        let changed = vu.database.batch(vec![insert(1), insert(2), sql("DELETE FROM t", [])]).await;
        assert_eq!(changed, Ok(Ok(vec![1, 1, 2])));
        let failed = vu.database.batch(vec![insert(3), insert(4), insert(3)]).await;
        let failure = failed.unwrap().unwrap_err();
        assert_eq!(failure.kind, "constraint");
        assert!(failure.message.starts_with("statement 3 of the batch"), "{failure}");
        assert_eq!(vu.rows("SELECT id FROM t").await.len(), 0);
    }

    fn what_an_iteration_leaves_open_is_rolled_back(bench) {
        let (vu, other) = (bench.vu(1), bench.vu(2));
        vu.done("CREATE TABLE t (id INTEGER)").await;
        vu.begin().await;
        vu.done("INSERT INTO t VALUES (1)").await;
        vu.database.reset().await.unwrap();
        vu.scope.about_to_wait();
        assert!(bench.lines.0.borrow()[0].text.contains("rolled back"));
        assert_eq!(other.done("INSERT INTO t VALUES (2)").await, 1);
        assert_eq!(other.rows("SELECT id FROM t").await, [[Value::Integer(2)]]);
    }

    fn a_dropped_iteration_leaves_nothing(bench) {
        let (vu, other) = (bench.vu(1), bench.vu(2));
        vu.done("CREATE TABLE t (id INTEGER)").await;
        vu.begin().await;
        vu.done("INSERT INTO t VALUES (1)").await;
        let endless = vu.database.query(sql(vu.endless(), []));
        assert!(tokio::time::timeout(Duration::from_millis(100), endless).await.is_err());
        vu.database.reset().await.unwrap();
        assert_eq!(bench.lines.0.borrow().len(), 1);
        assert_eq!(other.done("INSERT INTO t VALUES (2)").await, 1);
        assert_eq!(vu.rows("SELECT id FROM t").await, [[Value::Integer(2)]]);
        if bench.cluster.is_some() {
            bench.until_activity("active", 0).await;
            bench.until_activity("idle in%", 0).await;
        }
        let totals = bench.totals();
        let Cell::Trend(times) = bench.cell(&totals, Builtin::DbQueryDuration) else { panic!() };
        assert_eq!(times.censored.len(), 1);
    }

    fn a_timeout_in_a_transaction_ends_it(bench) {
        let vu = bench.vu(1);
        vu.done("CREATE TABLE t (id INTEGER)").await;
        vu.begin().await;
        vu.done("INSERT INTO t VALUES (1)").await;
        let endless = within(100, sql(vu.endless(), []));
        assert_eq!(vu.database.query(endless).await.unwrap().unwrap_err().kind, "timeout");
        vu.database.rollback().await.unwrap().unwrap();
        assert_eq!(vu.rows("SELECT id FROM t").await.len(), 0);
        assert_eq!(vu.done("INSERT INTO t VALUES (2)").await, 1);
    }

    fn wrong_use_is_thrown(bench) {
        let vu = bench.vu(1);
        for text in ["COMMIT", "/* x */ begin", "SELECT 1; SELECT 2", "SELECT ?1", "", "SELECT ?"] {
            assert!(vu.database.query(sql(text, [])).await.is_err(), "{text}");
        }
        assert!(vu.database.commit().await.is_err());
        vu.begin().await;
        assert!(vu.database.begin().await.is_err());
        // None of it spoils the transaction.
        assert_eq!(vu.rows("SELECT 1").await, [[Value::Integer(1)]]);
        assert_eq!(vu.commit().await, Ok(()));
    }

    fn cut_off_anywhere_nothing_leaks(bench) {
        let last = bench.vu(99);
        last.done("CREATE TABLE t (id INTEGER)").await;
        last.scope.about_to_wait();
        let vus = (1..=20_u32).map(|number| async move {
            let vu = bench.vu(number);
            for turn in 0..15_u32 {
                let iteration = async {
                    drop(vu.database.begin().await);
                    drop(vu.database.execute(sql("INSERT INTO t VALUES (1)", [])).await);
                    drop(vu.database.query(sql("SELECT count(*) FROM t", [])).await);
                    drop(vu.database.execute(sql("INSERT INTO t VALUES (2)", [])).await);
                    drop(vu.database.commit().await);
                };
                let cut = Duration::from_millis(u64::from((number * 7 + turn * 5) % 40));
                drop(tokio::time::timeout(cut, iteration).await);
                vu.database.reset().await.unwrap();
                assert!(!vu.database.in_transaction());
                vu.scope.about_to_wait();
            }
        });
        futures_util::future::join_all(vus).await;
        assert_eq!(last.done("INSERT INTO t VALUES (3)").await, 1);
        let count = |id: i64| last.query("SELECT count(*) FROM t WHERE id = ?", [Value::Integer(id)]);
        // Each transaction was whole or not at all.
        assert_eq!(count(1).await.unwrap().rows, count(2).await.unwrap().rows);
        if bench.cluster.is_some() {
            last.scope.about_to_wait();
            bench.until_activity("active", 0).await;
            bench.until_activity("idle in%", 0).await;
            assert!(bench.activity("%").await <= i64::from(bench.limits.database_connections));
        }
    }

    fn results_are_bounded(bench) {
        let vu = bench.vu(1);
        let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
        assert_eq!(vu.fails(many).await.kind, "limit");
        assert_eq!(vu.rows("SELECT 1").await.len(), 1);
    }
}

/// A table with one column of each kind, and what is put into it.
fn table(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "CREATE TABLE v (b BOOLEAN, i BIGINT, f DOUBLE PRECISION, t TEXT, y BLOB, j JSONB, \
             m TIMESTAMPTZ)"
        }
        Dialect::Postgres => {
            "CREATE TABLE v (b BOOLEAN, i BIGINT, f DOUBLE PRECISION, t TEXT, y BYTEA, j JSONB, \
             m TIMESTAMPTZ)"
        }
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        // Quarters: serde_json reads a fraction exactly only with `float_roundtrip`.
        any::<i32>().prop_map(|quarters| (f64::from(quarters) / 4.0).into()),
        "[^\\x00]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::Array),
            proptest::collection::vec(("[a-z]{0,4}", inner), 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn timestamp() -> impl Strategy<Value = Value> {
    let parts = (1..=9998_u32, 1..=12_u32, 1..=28_u32, 0..24_u32, 0..60_u32, 0..60_u32);
    (parts, 0..1_000_000_u32).prop_map(|((year, month, day, hour, minute, second), micros)| {
        let fraction = format!(".{micros:06}");
        let fraction = if micros == 0 { "" } else { fraction.trim_end_matches('0') };
        Value::Timestamp(format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"
        ))
    })
}

fn row() -> impl Strategy<Value = Vec<Value>> {
    let or_null = |strategy: BoxedStrategy<Value>| {
        prop_oneof![1 => Just(Value::Null).boxed(), 9 => strategy].boxed()
    };
    let float = prop_oneof![any::<f64>().prop_filter("a number", |float| !float.is_nan())];
    (
        or_null(any::<bool>().prop_map(Value::Bool).boxed()),
        or_null(any::<i64>().prop_map(Value::Integer).boxed()),
        or_null(float.prop_map(Value::Float).boxed()),
        or_null("[^\\x00]{0,40}".prop_map(Value::Text).boxed()),
        or_null(proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes).boxed()),
        // A bare fraction in a JSON column of SQLite is a number to it: 1.0 comes back as 1.
        or_null(
            json().prop_filter("a fraction", |json| !json.is_f64()).prop_map(Value::Json).boxed(),
        ),
        or_null(timestamp().boxed()),
    )
        .prop_map(|(b, i, f, t, y, j, m)| vec![b, i, f, t, y, j, m])
}

/// JSON null and SQL NULL are two things; both come back as what they were.
fn every_value_comes_back(bench: &Bench, runtime: &tokio::runtime::Runtime) {
    let vu = bench.vu(1);
    runtime.block_on(vu.done(table(vu.database.dialect())));
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() };
    TestRunner::new(config)
        .run(&row(), |row| {
            let rows = runtime.block_on(async {
                vu.done("DELETE FROM v").await;
                let insert = "INSERT INTO v VALUES (?, ?, ?, ?, ?, ?, ?)";
                vu.execute(insert, row.clone()).await.unwrap();
                vu.rows("SELECT * FROM v").await
            });
            prop_assert_eq!(rows, vec![row]);
            Ok(())
        })
        .unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn every_value_comes_back_on_sqlite() {
    let runtime = runtime();
    let bench = runtime.block_on(Bench::sqlite());
    every_value_comes_back(&bench, &runtime);
}

#[test]
fn every_value_comes_back_on_postgres() {
    let runtime = runtime();
    let bench = runtime.block_on(Bench::postgres(Limits::default()));
    every_value_comes_back(&bench, &runtime);
}

#[tokio::test]
async fn postgres_types_are_read_as_what_they_mean() {
    let bench = Bench::postgres(Limits::default()).await;
    let vu = bench.vu(1);
    vu.done("CREATE TYPE mood AS ENUM ('calm', 'rough')").await;
    vu.done("CREATE DOMAIN small AS int2 CHECK (VALUE < 10)").await;
    let text = |text: &str| Value::Text(text.to_owned());
    for (expression, expected) in [
        ("7::int2", Value::Integer(7)),
        ("0.1::float4", Value::Float(0.1)),
        ("sum(x) FROM generate_series(1, 4) x", Value::Integer(10)),
        ("12.340::numeric", Value::Float(12.34)),
        ("12345678901234567890::numeric", text("12345678901234567890")),
        ("'a'::char(3)", text("a  ")),
        ("'rough'::mood", text("rough")),
        ("3::small", Value::Integer(3)),
        ("'2026-08-01'::date", text("2026-08-01")),
        ("'12:30:00'::time", text("12:30:00")),
        ("'2026-08-01 12:00'::timestamp", Value::Timestamp("2026-08-01T12:00:00Z".into())),
        (
            "'123e4567-e89b-12d3-a456-426614174000'::uuid",
            text("123e4567-e89b-12d3-a456-426614174000"),
        ),
        ("ARRAY[1, NULL, 3]", Value::Json(serde_json::json!([1, null, 3]))),
        ("'{\"a\": 1}'::jsonb ?? 'a'", Value::Bool(true)),
        ("'infinity'::timestamptz", Value::Timestamp("infinity".into())),
    ] {
        assert_eq!(vu.rows(&format!("SELECT {expression}")).await, [[expected]], "{expression}");
    }
    let failure = vu.fails("SELECT '1 day'::interval AS gap").await;
    assert!(
        failure.message.contains("\"gap\"") && failure.message.contains("interval"),
        "{failure}"
    );
    // Values fit themselves to the type that the server found.
    for (expression, value) in [
        ("?::float8 = 5", Value::Integer(5)),
        ("?::numeric = 5", Value::Float(5.0)),
        ("?::uuid IS NOT NULL", text("123e4567-e89b-12d3-a456-426614174000")),
        ("2 = ANY(?::int[])", Value::Json(serde_json::json!([1, 2]))),
        ("?::mood = 'calm'", text("calm")),
        ("?::bool", Value::Integer(1)),
    ] {
        let rows = vu.query(&format!("SELECT {expression}"), [value]).await.unwrap().rows;
        assert_eq!(rows, [[Value::Bool(true)]], "{expression}");
    }
    let thrown = vu.database.query(sql("SELECT ?::int4", [Value::Float(1.5)])).await.unwrap_err();
    assert!(thrown.0.contains("value 1 is float 1.5") && thrown.0.contains("int4"), "{thrown}");
    let failure = vu.query("SELECT ?::int4", [text("abc")]).await.unwrap_err();
    assert!(failure.kind == "constraint" && failure.message.contains("\"abc\""), "{failure}");
}

#[tokio::test]
async fn a_timeout_cancels_on_the_server() {
    let limits = Limits { database_connections: 1, ..Limits::default() };
    let bench = Bench::postgres(limits).await;
    let vu = bench.vu(1);
    let endless = within(100, sql("SELECT pg_sleep(3600)", []));
    assert_eq!(vu.database.query(endless).await.unwrap().unwrap_err().kind, "timeout");
    // The only connection is replaced once the server has let go of the old one.
    assert_eq!(vu.rows("SELECT 1").await.len(), 1);
    bench.until_activity("active", 0).await;
    vu.scope.about_to_wait();
    bench.until_activity("%", 1).await;
}

#[tokio::test]
async fn a_lease_goes_back_when_its_holder_waits_for_something_else() {
    let limits = Limits {
        database_connections: 1,
        operation_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let bench = Bench::postgres(limits).await;
    let (vu, other) = (bench.vu(1), bench.vu(2));
    vu.rows("SELECT 1").await;
    drop(bench.totals());
    let failure = other.fails("SELECT 1").await;
    assert_eq!(failure.kind, "timeout");
    assert!(failure.message.contains("connection"), "{failure}");
    let totals = bench.totals();
    let Cell::Trend(waits) = bench.cell(&totals, Builtin::DbWaitDuration) else { panic!() };
    assert_eq!((waits.values.len(), waits.censored.len()), (0, 1));
    let Cell::Rate(failed) = bench.cell(&totals, Builtin::DbQueryFailed) else { panic!() };
    assert_eq!((failed.hits, failed.total), (1, 1));

    // The VU sleeps: the other one gets the connection, and it is the same one.
    let pid = "SELECT pg_backend_pid()";
    let first = vu.rows(pid).await;
    vu.scope.about_to_wait();
    assert_eq!(other.rows(pid).await, first);
    other.scope.about_to_wait();
    // An open transaction is not given back.
    vu.begin().await;
    vu.scope.about_to_wait();
    assert_eq!(other.fails("SELECT 1").await.kind, "timeout");
    assert_eq!(vu.commit().await, Ok(()));
    assert_eq!(other.rows("SELECT 1").await.len(), 1);
}

#[tokio::test]
async fn a_session_is_reset_when_it_changes_hands() {
    let limits = Limits { database_connections: 1, ..Limits::default() };
    let bench = Bench::postgres(limits).await;
    let (vu, other) = (bench.vu(1), bench.vu(2));
    let path = other.rows("SHOW search_path").await;
    other.scope.about_to_wait();
    vu.done("SET search_path = public").await;
    vu.done("CREATE TEMPORARY TABLE mine (id INTEGER)").await;
    vu.rows("SELECT pg_advisory_lock(7)").await;
    vu.scope.about_to_wait();
    assert_eq!(other.rows("SHOW search_path").await, path);
    assert_eq!(other.fails("SELECT * FROM mine").await.kind, "syntax");
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(other.rows(locks).await, [[Value::Integer(0)]]);
}

#[tokio::test]
async fn a_statement_survives_a_change_of_its_table() {
    let bench = Bench::postgres(Limits::default()).await;
    let vu = bench.vu(1);
    vu.done("CREATE TABLE t (id INTEGER)").await;
    vu.done("INSERT INTO t VALUES (1)").await;
    assert_eq!(vu.rows("SELECT * FROM t").await[0].len(), 1);
    vu.done("ALTER TABLE t ADD COLUMN name TEXT").await;
    assert_eq!(vu.rows("SELECT * FROM t").await, [[Value::Integer(1), Value::Null]]);
}

#[tokio::test]
async fn a_batch_that_meets_misuse_leaves_no_transaction_open() {
    let bench = Bench::postgres(Limits::default()).await;
    let vu = bench.vu(1);
    vu.done("CREATE TABLE t (id INTEGER)").await;
    let insert = |value| sql("INSERT INTO t VALUES (?)", [value]);
    // Only the server knows that the column takes no fractions.
    let batch = vec![insert(Value::Integer(1)), insert(Value::Float(1.5))];
    vu.database.batch(batch).await.unwrap_err();
    assert!(!vu.database.in_transaction());
    assert_eq!(vu.rows("SELECT id FROM t").await.len(), 0);
}

#[tokio::test]
async fn a_commit_after_a_failed_statement_is_no_success() {
    let bench = Bench::postgres(Limits::default()).await;
    let vu = bench.vu(1);
    vu.done("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    vu.begin().await;
    vu.done("INSERT INTO t VALUES (1)").await;
    assert_eq!(vu.fails("INSERT INTO t VALUES (1)").await.kind, "constraint");
    let failure = vu.commit().await.unwrap_err();
    assert!(failure.message.contains("rolled back"), "{failure}");
    assert_eq!(vu.rows("SELECT * FROM t").await.len(), 0);
}

#[tokio::test]
async fn the_runs_schema_is_made_and_dropped() {
    let bench = Bench::postgres(Limits::default()).await;
    let cluster = bench.cluster.clone().unwrap();
    let admin = cluster.admin(&bench.database_name()).await;
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'wavetank_test_1'";
    let vu = bench.vu(1);
    vu.done("CREATE TABLE t (id INTEGER)").await;
    assert_eq!(bench.source.schema(), Some("wavetank_test_1"));
    assert_eq!(admin.query_one(schemas, &[]).await.unwrap().get::<_, i64>(0), 1);
    // Another process finds the same schema by the URL.
    let url = bench.source.url().unwrap();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.execute("INSERT INTO t VALUES (3)", &[]).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    // A second run of the same name is refused, a transaction left open does not stop the end.
    let again =
        Source::open_with(opening(&cluster.url("load", &bench.database_name()), &bench.limits));
    assert!(again.await.unwrap_err().0.contains("wavetank_test_1 exists"));
    vu.begin().await;
    vu.done("INSERT INTO t VALUES (4)").await;
    bench.source.close().await.unwrap();
    assert_eq!(admin.query_one(schemas, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert_eq!(vu.fails("SELECT 1").await.kind, "disconnected");
}

#[tokio::test]
async fn a_named_schema_must_exist_and_be_empty_and_stays() {
    let cluster = Postgres::shared();
    let url = cluster.database().await;
    let limits = Limits::default();
    let name = url.rsplit('/').next().unwrap();
    let admin = cluster.admin(name).await;
    let named = |allow_existing| Opening {
        schema: Some("mine".to_owned()),
        allow_existing,
        ..opening(&url, &limits)
    };
    let error = Source::open_with(named(false)).await.unwrap_err().0;
    assert!(error.contains("no such schema"), "{error}");
    admin.batch_execute("CREATE SCHEMA mine AUTHORIZATION load").await.unwrap();
    Source::open_with(named(false)).await.unwrap().close().await.unwrap();
    admin.batch_execute("CREATE TABLE mine.t (id INTEGER)").await.unwrap();
    let error = Source::open_with(named(false)).await.unwrap_err().0;
    assert!(error.contains("existing-data"), "{error}");
    Source::open_with(named(true)).await.unwrap().close().await.unwrap();
    assert!(admin.query("SELECT * FROM mine.t", &[]).await.is_ok());
}

#[tokio::test]
async fn privileges_are_told() {
    let cluster = Postgres::shared();
    let url = cluster.database().await;
    let name = url.rsplit('/').next().unwrap();
    let limits = Limits::default();
    let source = Source::open_with(opening(&url, &limits)).await.unwrap();
    assert_eq!(source.privileges().objection(), None);
    source.close().await.unwrap();
    let admin = cluster.admin(name).await;
    admin.batch_execute("DROP ROLE IF EXISTS shady; CREATE ROLE shady LOGIN").await.unwrap();
    admin
        .batch_execute(&format!(
            "GRANT pg_execute_server_program TO shady; GRANT CREATE ON DATABASE {name} TO shady"
        ))
        .await
        .unwrap();
    for (user, word) in [("postgres", "superuser"), ("shady", "programs")] {
        let source = Source::open_with(opening(&cluster.url(user, name), &limits)).await.unwrap();
        let objection = source.privileges().objection().unwrap();
        assert!(objection.contains(word), "{objection}");
        source.close().await.unwrap();
    }
    admin
        .batch_execute(&format!("REVOKE ALL ON DATABASE {name} FROM shady; DROP ROLE shady"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_password_is_used_and_never_shown() {
    let cluster = Postgres::shared();
    let url = cluster.database().await;
    let limits = Limits::default();
    let with = |password: &str| url.replace("load@", &format!("keeper:{password}@"));
    let source = Source::open_with(opening(&with(PASSWORD), &limits)).await.unwrap();
    let told = format!("{} {source:?}", source.describe());
    assert!(told.contains("PostgreSQL") && told.contains("127.0.0.1"), "{told}");
    assert!(!told.contains(PASSWORD), "{told}");
    source.close().await.unwrap();
    let error = Source::open_with(opening(&with("wrong-secret"), &limits)).await.unwrap_err().0;
    assert!(error.contains("keeper") && !error.contains("wrong-secret"), "{error}");
}

#[tokio::test]
async fn an_unreachable_server_is_named_in_time() {
    // A port that nobody has: it was free a moment ago.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("postgres://me:hunter2@127.0.0.1:{port}/x");
    // Listening and silent.
    let silent = tokio::time::timeout(
        Duration::from_secs(30),
        Source::open_with(opening(&url, &Limits::default())),
    );
    let error = silent.await.unwrap().unwrap_err().0;
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    drop(listener);
    let error = Source::open_with(opening(&url, &Limits::default())).await.unwrap_err().0;
    assert!(error.contains(&format!("127.0.0.1:{port}")) && error.contains("--db"), "{error}");
}

#[tokio::test]
async fn a_server_that_dies_and_returns() {
    let cluster = Arc::new(Postgres::start());
    let url = cluster.database().await;
    let bench = Bench::on(&url, Limits::default(), Some(cluster.clone())).await;
    let vu = bench.vu(1);
    vu.done("CREATE TABLE t (id INTEGER)").await;
    vu.begin().await;
    vu.done("INSERT INTO t VALUES (1)").await;
    cluster.stop();
    assert_eq!(vu.fails("SELECT 1").await.kind, "disconnected");
    assert!(vu.commit().await.is_err());
    vu.database.reset().await.unwrap();
    for _ in 0..3 {
        assert_eq!(vu.fails("SELECT 1").await.kind, "disconnected");
    }
    assert!(cluster.serve());
    assert_eq!(vu.rows("SELECT count(*) FROM t").await, [[Value::Integer(0)]]);
    assert!(bench.folder.path().exists());
    bench.source.close().await.unwrap();
}
