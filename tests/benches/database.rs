//! Point selects: against `pgbench -M prepared`, and against bare rusqlite.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use wavetank_tests::postgres::{Postgres, program};

use crate::{Bench, line, median, ratio, run};

const ROWS: i64 = 10_000;
const ROUNDS: usize = 5;

fn script(vus: u32, setup: &str) -> String {
    format!(
        r#"
export const options = #{{
    scenarios: #{{ load: #{{ executor: "constant-vus", vus: {vus}, duration: "3s" }} }},
    ops: ["select"],
}};
fn setup(ctx) {{
    {setup}
}}
fn iteration(ctx) {{
    db::query("SELECT value FROM bench_rows WHERE id = ?", [ctx.random.int(1, {ROWS})], #{{ op: "select" }});
}}
"#
    )
}

/// PostgreSQL.
pub fn postgres(bench: &Bench) {
    let server = Postgres::start();
    let url = wavetank_tests::wait(server.database());
    let rows = format!(
        "CREATE SCHEMA bench; CREATE TABLE bench.bench_rows (id int PRIMARY KEY, value text); \
         INSERT INTO bench.bench_rows SELECT n, 'value ' || n FROM generate_series(1, {ROWS}) n; \
         ANALYZE bench.bench_rows;"
    );
    let filled = Command::new(program("psql")).args(["-q", "-d", &url, "-c", &rows]).status();
    assert!(filled.is_ok_and(|status| status.success()), "psql fills the table");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("select.sql");
    std::fs::write(
        &file,
        format!("\\set id random(1, {ROWS})\nSELECT value FROM bench.bench_rows WHERE id = :id;\n"),
    )
    .expect("a script");
    let clients = 8_u32;
    let (of_bare, bare_rate, rate) = ratio(
        ROUNDS,
        || {
            let output = Command::new(program("pgbench"))
                .args(["-n", "-M", "prepared", "-T", "3", "-j", "2", "-c"])
                .arg(clients.to_string())
                .arg("-f")
                .arg(&file)
                .arg(&url)
                .output()
                .expect("pgbench runs");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines()
                .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
                .unwrap_or_else(|| panic!("pgbench: {output:?}"))
        },
        || {
            let arguments = [
                "--db",
                &url,
                "--db-schema",
                "bench",
                "--allow",
                "existing-data",
                "--allow",
                "superuser",
                "--limit",
                "database_connections=8",
            ];
            run::script(bench, &script(clients, ""), &arguments).value("db_queries", "per_second")
        },
    );
    line(
        &format!("PostgreSQL point select, {clients} clients"),
        &format!("{of_bare:.2} x ({rate:.0}/s, pgbench {bare_rate:.0}/s)"),
        ">= 0.85 x",
    );
}

/// SQLite.
pub fn sqlite(bench: &Bench) {
    let setup = format!(
        "db::execute(\"CREATE TABLE bench_rows (id INTEGER PRIMARY KEY, value TEXT)\"); \
         db::execute(\"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
         INSERT INTO bench_rows SELECT i, 'value ' || i FROM n\");"
    );
    for (vus, wanted) in [(1, ">= 0.7 x in place, 0.35 x on threads"), (16, "")] {
        let in_database = std::cell::RefCell::new(Vec::new());
        let (of_bare, bare_rate, rate) = ratio(ROUNDS, bare, || {
            let ran = run::script(bench, &script(vus, &setup), &[]);
            in_database.borrow_mut().push(1e9 / ran.value("db_query_duration", "mean"));
            ran.value("db_queries", "per_second")
        });
        line(
            &format!("SQLite point select, {vus} VUs, against one bare loop"),
            &format!("{of_bare:.2} x ({rate:.0}/s, bare {bare_rate:.0}/s)"),
            wanted,
        );
        // What the script around it costs is in the row above; this is the statement alone.
        let alone = median(in_database.into_inner());
        line(
            &format!("SQLite point select, {vus} VUs, the statement alone"),
            &format!("{:.2} x (1 / mean of db_query_duration)", alone / bare_rate),
            wanted,
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench has a clock of its own")]
fn bare() -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let connection = rusqlite::Connection::open(folder.path().join("bare.db")).expect("a database");
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; CREATE TABLE bench_rows (id INTEGER PRIMARY KEY, value TEXT); \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
             INSERT INTO bench_rows SELECT i, 'value ' || i FROM n;"
        ))
        .expect("rows");
    let mut select =
        connection.prepare("SELECT value FROM bench_rows WHERE id = ?").expect("a statement");
    let start = Instant::now();
    let (mut count, mut id) = (0_u64, 1_i64);
    while start.elapsed() < Duration::from_secs(2) {
        for _ in 0..1_000 {
            id = (id * 1_103_515_245 + 12_345).rem_euclid(ROWS) + 1;
            let value: String = select.query_row([id], |row| row.get(0)).expect("a row");
            count += u64::from(!value.is_empty());
        }
    }
    count as f64 / start.elapsed().as_secs_f64()
}
