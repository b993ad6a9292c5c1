//! The measured handle on a real SQLite file: what is counted, what is waiting, what is refused. The
//! battery that runs on both databases is in `tests/suites/database.rs`.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::{Database, Opening, Source, Statement, Value, pool::Backend};
use crate::{
    clock::Clock,
    metric::{Builtin, Cell, Names, Recorder, RecorderConfig, Selector, Totals},
    plan::Limits,
    primitive::{LogLine, LogSink, Ops, Scope, ScopeConfig},
};

#[derive(Debug, Default)]
struct Lines(std::cell::RefCell<Vec<LogLine>>);

impl LogSink for Lines {
    fn line(&self, line: LogLine) {
        self.0.borrow_mut().push(line);
    }
}

struct Bench {
    source: Source,
    recorder: Rc<Recorder>,
    lines: Rc<Lines>,
    clock: Clock,
    limits: Limits,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::open("embedded", None, folder.path(), "test", &limits).await.unwrap();
        let clock = Clock::real();
        let config = RecorderConfig {
            registry: Arc::default(),
            names: Names::default(),
            windowed: Vec::new(),
            max_series: 1_000,
        };
        let recorder = Rc::new(Recorder::new(config, 0, clock.now()));
        Self { source, recorder, lines: Rc::default(), clock, limits, folder }
    }

    async fn vu(&self, vu: u32) -> (Rc<Scope>, Database) {
        let config = ScopeConfig {
            clock: self.clock,
            recorder: self.recorder.clone(),
            limits: Arc::new(self.limits.clone()),
            ops: Ops::new(&["op"], self.recorder.names()),
            metrics: Arc::default(),
            log: self.lines.clone(),
            trace: false,
            seed: 0,
        };
        let scope = Rc::new(Scope::new(config, vu));
        let pool = self.source.pool(0).await.unwrap();
        (scope.clone(), Database::new(scope, pool))
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        totals.merge(&self.recorder.take(self.clock.now()));
        totals
    }

    fn cell(&self, totals: &Totals, metric: Builtin, selector: &[(&str, &str)]) -> Cell<u64> {
        let pairs = selector.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let selector = Selector(pairs.collect());
        totals.select(self.recorder.registry(), self.recorder.names(), metric.id(), &selector)
    }
}

fn sql(text: &str, values: impl Into<Vec<Value>>) -> Statement {
    Statement { sql: text.to_owned(), values: values.into(), ..Statement::default() }
}

async fn done(database: &Database, text: &str) -> u64 {
    database.execute(sql(text, [])).await.unwrap().unwrap()
}

/// Never ends by itself.
const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

#[tokio::test]
async fn statements_are_counted_and_their_rows() {
    let bench = Bench::new(Limits::default()).await;
    let (_, database) = bench.vu(1).await;
    done(&database, "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)").await;
    let insert = "INSERT INTO t (name) VALUES (?), (?)";
    let values = [Value::Text("a".into()), Value::Text("b'; DROP TABLE t; --".into())];
    assert_eq!(database.execute(sql(insert, values)).await, Ok(Ok(2)));
    let query = Statement {
        op: Some("op".to_owned()),
        ..sql("SELECT name FROM t WHERE id >= ? ORDER BY id", [Value::Integer(1)])
    };
    let rows = database.query(query).await.unwrap().unwrap();
    assert_eq!(*rows.columns, ["name".to_owned()]);
    assert_eq!(rows.rows[1], [Value::Text("b'; DROP TABLE t; --".into())]);
    assert_eq!(
        database.query(sql("SELECT nothing FROM t", [])).await.unwrap().unwrap_err().kind,
        "syntax"
    );

    let totals = bench.totals();
    let is = |cell, expected: f64| assert!(matches!(cell, Cell::Counter(sum) if sum == expected));
    is(bench.cell(&totals, Builtin::DbQueries, &[]), 4.0);
    is(bench.cell(&totals, Builtin::DbRows, &[]), 4.0);
    is(bench.cell(&totals, Builtin::DbRows, &[("op", "op")]), 2.0);
    assert_eq!(bench.cell(&totals, Builtin::DbQueryDuration, &[("op", "op")]).samples(), 1);
    // The durations of failed statements are apart.
    assert_eq!(bench.cell(&totals, Builtin::DbQueryDuration, &[]).samples(), 3);
    let failed = bench.cell(&totals, Builtin::DbQueryFailed, &[]);
    assert!(matches!(failed, Cell::Rate(rate) if (rate.hits, rate.total) == (1, 4)));
    assert_eq!(bench.cell(&totals, Builtin::DbWaitDuration, &[]).samples(), 4);
}

#[tokio::test]
async fn a_queue_is_waiting_and_not_the_databases_time() {
    let bench = Bench::new(Limits::default()).await;
    let (_, holder) = bench.vu(1).await;
    let (_, other) = bench.vu(2).await;
    done(&holder, "CREATE TABLE t (id INTEGER)").await;
    drop(bench.totals());
    assert_eq!(holder.begin().await, Ok(Ok(())));
    let insert = other.execute(sql("INSERT INTO t VALUES (1)", []));
    let hold = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        holder.commit().await.unwrap().unwrap();
    };
    assert_eq!(tokio::join!(insert, hold).0, Ok(Ok(1)));
    let totals = bench.totals();
    let Cell::Trend(waits) = bench.cell(&totals, Builtin::DbWaitDuration, &[]) else { panic!() };
    assert!(waits.max >= 290_000_000, "waited {}", waits.max);
    let Cell::Trend(times) = bench.cell(&totals, Builtin::DbQueryDuration, &[]) else { panic!() };
    assert!(times.max < 290_000_000, "took {}", times.max);
}

#[tokio::test]
async fn a_statement_that_outlasts_its_timeout_is_interrupted() {
    let bench = Bench::new(Limits::default()).await;
    let (_, database) = bench.vu(1).await;
    let statement = Statement { timeout: Some(Duration::from_millis(50)), ..sql(ENDLESS, []) };
    assert_eq!(database.query(statement).await.unwrap().unwrap_err().kind, "timeout");
    // The thread serves on.
    assert_eq!(database.query(sql("SELECT 1", [])).await.unwrap().unwrap().rows.len(), 1);
    bench.source.close().await.unwrap();
    assert_eq!(
        database.query(sql("SELECT 1", [])).await.unwrap().unwrap_err().kind,
        "disconnected"
    );
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_behind() {
    let bench = Bench::new(Limits::default()).await;
    let (_, database) = bench.vu(1).await;
    let (_, other) = bench.vu(2).await;
    done(&database, "CREATE TABLE t (id INTEGER)").await;
    database.begin().await.unwrap().unwrap();
    done(&database, "INSERT INTO t VALUES (1)").await;
    let endless = database.query(sql(ENDLESS, []));
    assert!(tokio::time::timeout(Duration::from_millis(50), endless).await.is_err());
    assert!(database.in_transaction());
    database.reset().await.unwrap();
    assert!(!database.in_transaction());
    // The writer is free again, and the insert is undone.
    done(&other, "INSERT INTO t VALUES (2)").await;
    let rows = other.query(sql("SELECT id FROM t", [])).await.unwrap().unwrap();
    assert_eq!(rows.rows, [[Value::Integer(2)]]);
    let lines = bench.lines.0.borrow();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].text.contains("rolled back"), "{:?}", lines[0]);
    // What was cut off is censored, not lost.
    let totals = bench.totals();
    let Cell::Trend(times) = bench.cell(&totals, Builtin::DbQueryDuration, &[]) else { panic!() };
    assert_eq!(times.censored.len(), 1);
}

#[tokio::test]
async fn begin_that_is_dropped_in_any_place_does_not_hold_the_writer() {
    let bench = Bench::new(Limits::default()).await;
    let (_, other) = bench.vu(2).await;
    done(&other, "CREATE TABLE t (id INTEGER)").await;
    for polls in 0..50_u64 {
        let (_, database) = bench.vu(1).await;
        let begin = database.begin();
        drop(tokio::time::timeout(Duration::from_micros(polls * 20), begin).await);
        database.reset().await.unwrap();
        done(&other, "INSERT INTO t VALUES (1)").await;
    }
}

#[tokio::test]
async fn the_doors_out_of_the_file_are_closed() {
    let bench = Bench::new(Limits::default()).await;
    let (_, database) = bench.vu(1).await;
    done(&database, "CREATE TABLE t (id INTEGER)").await;
    let outside = bench.folder.path().join("outside.db");
    for text in [
        format!("ATTACH DATABASE '{}' AS other", outside.display()),
        "DETACH DATABASE main".to_owned(),
        format!("VACUUM INTO '{}'", outside.display()),
        "VACUUM".to_owned(),
        "SELECT load_extension('/tmp/x.so')".to_owned(),
        "PRAGMA journal_mode = DELETE".to_owned(),
        "PRAGMA writable_schema = ON".to_owned(),
        "PRAGMA query_only = OFF".to_owned(),
        "PRAGMA temp_store_directory = '/'".to_owned(),
        "EXPLAIN COMMIT".to_owned(),
        "CREATE TEMP TABLE x (id INTEGER)".to_owned(),
        "CREATE VIRTUAL TABLE x USING dbstat".to_owned(),
    ] {
        let failure = database.execute(sql(&text, [])).await.unwrap().unwrap_err();
        assert_eq!(failure.kind, "denied", "{text}: {failure}");
    }
    assert!(!outside.exists());
    let told = database.query(sql("PRAGMA table_info(t)", [])).await.unwrap().unwrap();
    assert_eq!(told.rows.len(), 1);
}

#[tokio::test]
async fn a_with_that_writes_finds_the_writer() {
    let bench = Bench::new(Limits::default()).await;
    let (_, database) = bench.vu(1).await;
    done(&database, "CREATE TABLE t (id INTEGER)").await;
    let text = "WITH x(i) AS (VALUES (?), (?)) INSERT INTO t SELECT i FROM x RETURNING id";
    let values = [Value::Integer(1), Value::Integer(2)];
    let rows = database.query(sql(text, values)).await.unwrap().unwrap();
    assert_eq!(rows.rows.len(), 2);
    assert_eq!(done(&database, "WITH x AS (SELECT 1) DELETE FROM t").await, 2);
}

#[tokio::test]
async fn results_are_bounded() {
    let limits = Limits { query_rows: 10, payload_bytes: 1_000, ..Limits::default() };
    let bench = Bench::new(limits).await;
    let (_, database) = bench.vu(1).await;
    for text in [ENDLESS.replace("count(*)", "i").as_str(), "SELECT zeroblob(2000)"] {
        let failure = database.query(sql(text, [])).await.unwrap().unwrap_err();
        assert_eq!(failure.kind, "limit", "{failure}");
    }
    let long = [Value::Text("x".repeat(2_000))];
    assert!(database.query(sql("SELECT ?", long)).await.unwrap_err().0.contains("payload_bytes"));
}

#[tokio::test]
async fn wrong_use_is_thrown() {
    let bench = Bench::new(Limits::default()).await;
    let (_, database) = bench.vu(1).await;
    let thrown = database.query(sql("SELECT ?, ?", [Value::Null])).await.unwrap_err();
    assert!(thrown.0.contains("2 placeholders and 1 values"), "{thrown}");
    assert!(database.commit().await.unwrap_err().0.contains("begin one first"));
    assert!(database.rollback().await.is_err());
    database.begin().await.unwrap().unwrap();
    assert!(database.begin().await.unwrap_err().0.contains("do not nest"));
    database.rollback().await.unwrap().unwrap();
    let undeclared = Statement { op: Some("other".into()), ..sql("SELECT 1", []) };
    assert!(database.query(undeclared).await.is_err());
    // Nothing of it was sent, so nothing was counted.
    let totals = bench.totals();
    let queries = bench.cell(&totals, Builtin::DbQueries, &[]);
    assert!(matches!(queries, Cell::Counter(0.0)), "{queries:?}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.db");
    std::fs::write(&path, "no database, but long enough to be looked at".repeat(100)).unwrap();
    for (address, part) in [
        (format!("sqlite:{}", path.display()), "text.db"),
        ("sqlite:/nowhere/at/all.db".to_owned(), "/nowhere/at/all.db"),
        ("sqlite:".to_owned(), "sqlite:PATH"),
        ("mysql://root:secret@host/db".to_owned(), "\"mysql\""),
    ] {
        let opening = Opening {
            address,
            schema: None,
            allow_existing: false,
            keep_schema: false,
            directory: folder.path().to_owned(),
            run: "test".to_owned(),
            shards: 1,
            limits: Limits::default(),
        };
        let error = Source::open_with(opening).await.unwrap_err().0;
        assert!(error.contains(part) && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_read_that_proved_short_runs_in_place_and_one_that_turns_long_is_sent_back() {
    let bench = Bench::new(Limits::default()).await;
    let (_, database) = bench.vu(1).await;
    let Backend::Sqlite(shard) = database.session.pool().backend() else { panic!() };
    // One text, whose length its value decides.
    let text = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) \
                SELECT count(*) FROM n";
    let count = async |n: i64| {
        let rows = database.query(sql(text, [Value::Integer(n)])).await.unwrap().unwrap();
        assert_eq!(rows.rows, [[Value::Integer(n)]]);
    };
    // On a busy machine some of them take long; that many in a row do not.
    for _ in 0..2_000 {
        count(3).await;
        if shard.proven() == 1 {
            break;
        }
    }
    assert_eq!(shard.proven(), 1);
    drop(bench.totals());
    count(3).await;
    let totals = bench.totals();
    let Cell::Trend(waits) = bench.cell(&totals, Builtin::DbWaitDuration, &[]) else { panic!() };
    assert_eq!((waits.values.len(), waits.max), (1, 0));
    // Now it takes more than its slice: the answer is right, by way of a thread.
    count(1_000_000).await;
    assert_eq!(shard.proven(), 0);
    let totals = bench.totals();
    let Cell::Trend(waits) = bench.cell(&totals, Builtin::DbWaitDuration, &[]) else { panic!() };
    assert!(waits.values.len() == 1 && waits.max > 0);
    assert_eq!(bench.cell(&totals, Builtin::DbQueryDuration, &[]).samples(), 1);
}

#[tokio::test]
async fn long_texts_and_long_timeouts_do_no_harm() {
    let bench = Bench::new(Limits::default()).await;
    let (_, database) = bench.vu(1).await;
    let long = format!("SELECT 1 -- {}", "x".repeat(100_000));
    let statement = Statement { timeout: Some(Duration::MAX), ..sql(&long, []) };
    for _ in 0..40 {
        assert_eq!(database.query(statement.clone()).await.unwrap().unwrap().rows.len(), 1);
    }
    let Backend::Sqlite(shard) = database.session.pool().backend() else { panic!() };
    // It is not kept, and so never proves itself.
    assert_eq!(shard.proven(), 0);
    let longer = format!("SELECT 1 -- {}", "x".repeat(2 << 20));
    assert!(database.query(sql(&longer, [])).await.unwrap_err().0.contains("source_bytes"));
    database.begin().await.unwrap().unwrap();
    assert_eq!(database.execute(statement).await, Ok(Ok(0)));
    database.commit().await.unwrap().unwrap();
}
