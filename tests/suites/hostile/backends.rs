//! One bad virtual user beside nine on a real server and a real database: what it leaves open is ended, what
//! it may not do is refused, and when the run is over neither of them holds anything of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use wavetank_tests::{nats::NatsServer, postgres::Postgres, wait};

use super::ground::{Seen, pause, watch, workplace};

/// Connections that the virtual users of a run may have: the limit's default.
const CONNECTIONS: i64 = 16;

/// What may not be done on PostgreSQL by a user who is nobody there.
const REFUSED: &[&str] = &[
    "COMMIT",
    "/* x */ commit",
    "-- x\\rROLLBACK",
    "START TRANSACTION",
    "SAVEPOINT a",
    "PREPARE TRANSACTION 'a'",
    "COMMIT PREPARED 'a'",
    "SET TRANSACTION READ WRITE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SELECT 1; COMMIT",
    "DO $$ BEGIN COMMIT; END $$",
    "COPY t TO PROGRAM 'id'",
    "COPY t TO '/tmp/wavetank-hostile'",
    "PREPARE p AS SELECT 1",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "ALTER SYSTEM SET fsync = off",
    "LOAD 'nothing'",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "ALTER ROLE load SUPERUSER",
    "CREATE ROLE other",
    "DROP DATABASE postgres",
    "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'system'",
    "SELECT pg_sleep(1000)",
];

/// What its bad one does, each in an iteration of its own.
fn script() -> String {
    let refused: Vec<_> = REFUSED.iter().map(|sql| format!("\"{sql}\"")).collect();
    format!(
        r#"
const REFUSED = [{}];
export const options = #{{
    scenarios: #{{
        good: #{{ executor: "constant-vus", vus: 9, duration: "3s", exec: "good", graceful_stop: "30s" }},
        bad: #{{ executor: "constant-vus", vus: 1, duration: "3s", exec: "bad", cpu_timeout: "100ms", graceful_stop: "0s" }},
    }},
    services: #{{ "ask": "answer" }},
}};
fn setup(ctx) {{ db::execute("CREATE TABLE t (n BIGINT)"); }}
fn answer(message) {{ #{{ n: message.json.n }} }}
fn good(ctx) {{
    let reply = bus::request("ask", #{{ n: ctx.iteration }});
    check("answered", reply.ok && reply.json.n == ctx.iteration);
    check("stored", db::execute("INSERT INTO t VALUES (?)", [ctx.iteration]).ok);
    sleep("5ms");
}}
fn bad(ctx) {{
    switch ctx.iteration % 6 {{
        0 => db::transaction(|| {{ db::execute("INSERT INTO t VALUES (-1)"); throw "mid-transaction" }}),
        1 => db::transaction(|| {{ db::execute("INSERT INTO t VALUES (-1)"); loop {{}} }}),
        2 => {{ bus::subscribe("held.>"); bus::connect(); bus::request("ask", "x", #{{ timeout: "1us" }}); throw "mid-request" }},
        3 => db::transaction(|| {{
            db::execute("INSERT INTO t VALUES (-1)");
            let wait = bus::request("nobody", "", #{{ timeout: "50ms" }});
            throw "waited in a transaction"
        }}),
        _ => {{
            let sql = global::REFUSED[(ctx.iteration / 6) % global::REFUSED.len()];
            let ok = false;
            db::transaction(|| {{
                db::execute("INSERT INTO t VALUES (-1)");
                try {{ ok = db::execute(sql, [], #{{ timeout: "100ms" }}).ok; }} catch {{ }}
                check(`refused: ${{sql}}`, !ok);
                throw "refused"
            }})
        }},
    }}
}}
fn teardown(ctx) {{ print(`bad rows ${{db::query("SELECT count(*) AS n FROM t WHERE n < 0").rows[0].n}}`); }}
"#,
        refused.join(", ")
    )
}

/// What PostgreSQL had of a run at its most.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    connections: i64,
    /// Seconds that a transaction stood open without doing anything.
    idle: f64,
}

/// Looks at a database until it is told to stop.
async fn look(cluster: &Postgres, database: &str, over: &AtomicBool) -> Held {
    let admin = cluster.admin("postgres").await;
    let sql = "SELECT count(*), coalesce(extract(epoch FROM max(now() - state_change) FILTER
               (WHERE state LIKE 'idle in transaction%')), 0)::float8
               FROM pg_stat_activity WHERE datname = $1";
    let mut held = Held::default();
    while !over.load(Ordering::Relaxed) {
        let row = admin.query_one(sql, &[&database]).await.unwrap();
        held.connections = held.connections.max(row.get(0));
        held.idle = held.idle.max(row.get(1));
        pause(20);
    }
    held
}

fn total(seen: &Seen, name: &str) -> f64 {
    let checks = seen.ran.summary.as_ref().unwrap()["checks"].as_array().unwrap();
    let of = checks.iter().filter(|it| it["name"].as_str().unwrap().starts_with("refused"));
    of.map(|it| it[name].as_f64().unwrap()).sum()
}

#[test]
fn one_bad_one_beside_nine_leaves_nothing_on_a_server_and_a_database() {
    let server = wait(NatsServer::with_config("http: \"127.0.0.1:-1\""));
    let cluster = Postgres::shared();
    let url = wait(cluster.database());
    let name = url.rsplit('/').next().unwrap().to_owned();
    let over = Arc::new(AtomicBool::new(false));
    let looking = thread::spawn({
        let (cluster, name, over) = (Arc::clone(&cluster), name.clone(), Arc::clone(&over));
        move || wait(look(&cluster, &name, &over))
    });
    let workplace = workplace();
    let file = workplace.file("hostile.rhai", script());
    let seen = watch(&workplace, &[&file, "--bus", &server.url(), "--db", &url]);
    over.store(true, Ordering::Relaxed);
    let held = looking.join().unwrap();
    seen.assert_the_nine_go_on("backends");
    assert_eq!(seen.ran.code, 99, "{:#?}", seen.ran);
    assert!(seen.ran.stderr.contains("bad rows 0"), "{:#?}", seen.ran);
    assert_eq!(total(&seen, "fails"), 0.0, "{:#?}", seen.ran);
    assert!(total(&seen, "passes") > 0.0, "{:#?}", seen.ran);
    // Those of the virtual users, as many of the services, and the run's own.
    assert!(held.connections <= 2 * CONNECTIONS + 2, "{held:?}");
    // A transaction that is left open is ended when its iteration is, however that ends. A second is a
    // machine that is busy, not one that forgot.
    assert!(held.idle < 5.0, "{held:?}");
    let left = wait(async {
        let admin = cluster.admin(&name).await;
        let sql = "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid())
                   + (SELECT count(*) FROM pg_prepared_xacts)
                   + (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'wavetank_%')";
        // What a client closed, a server may take a moment to let go.
        for _ in 0..200 {
            let left: i64 = admin.query_one(sql, &[&name]).await.unwrap().get(0);
            if left == 0 {
                return 0;
            }
            pause(50);
        }
        1
    });
    assert_eq!(left, 0, "connections, transactions or schemas are left");
    let mut connections = server.connections();
    for _ in 0..200 {
        if connections == 0 {
            break;
        }
        pause(50);
        connections = server.connections();
    }
    assert_eq!(connections, 0);
    assert_eq!(server.monitor("/subsz")["num_subscriptions"].as_u64().unwrap_or(0), own(&server));
}

/// Subscriptions that a server has by itself.
fn own(server: &NatsServer) -> u64 {
    let fresh = wait(NatsServer::with_config("http: \"127.0.0.1:-1\""));
    let _ = server;
    fresh.monitor("/subsz")["num_subscriptions"].as_u64().unwrap_or(0)
}
