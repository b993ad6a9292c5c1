//! TLS to PostgreSQL through the command: what connects, what is refused and why, and that cancelling
//! a statement is not the one thing that goes in the clear.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

use wavetank_tests::{
    certificates,
    command::{Ran, Workplace},
    postgres::Postgres,
    wait,
};

use crate::WAVETANK;

/// What a client says first when it wants TLS: length 8, code 80877103.
const TLS_WANTED: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

const ONE: &str = r#"
export const options = #{ scenarios: #{ one: #{ executor: "shared-iterations", vus: 1, iterations: 1 } } };
fn iteration(ctx) { check("one", db::query("SELECT 1 AS n").rows[0].n == 1); }
"#;

const STUCK: &str = r#"
export const options = #{
    scenarios: #{ one: #{ executor: "shared-iterations", vus: 1, iterations: 1 } },
    thresholds: #{ db_query_failed: ["count == 1"] },
};
fn iteration(ctx) {
    let stuck = db::query("SELECT pg_sleep(600)", [], #{ timeout: "500ms" });
    check("timed out", stuck.error == "timeout");
    // The server would find out by itself that the client is gone, but not before five seconds.
    sleep("2s");
    let left = db::query("SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' \
        AND query LIKE 'SELECT pg_sleep%'");
    check("cancelled on the server", left.rows[0].n == 0);
}
"#;

fn run(script: &str, database: &str) -> Ran {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("tls.rhai", script);
    workplace.run_workload(&["--db", database, &file])
}

fn assert_refused(database: &str, words: &[&str]) {
    let ran = run(ONE, database);
    assert_eq!(ran.code, 116, "{ran:#?}");
    for word in words {
        assert!(ran.stderr.contains(word), "no `{word}` in:\n{}", ran.stderr);
    }
}

fn with_authority(url: &str, mode: &str, file: &Path) -> String {
    format!("{url}?sslmode={mode}&sslrootcert={}", file.display())
}

/// The place that the summary names.
fn place(ran: &Ran) -> String {
    assert_eq!(ran.code, 0, "{ran:#?}");
    ran.summary.as_ref().unwrap()["environment"]["database"].as_str().unwrap().to_owned()
}

#[test]
fn a_known_authority_and_the_right_name_connect() {
    let cluster = Postgres::with_tls("IP:127.0.0.1");
    let url = wait(cluster.database());
    let authority = cluster.file("ca.pem");
    for mode in ["verify-full", "verify-ca", "require"] {
        let ran = run(ONE, &with_authority(&url, mode, &authority));
        assert!(place(&ran).contains(" over TLS,"), "{mode}: {}", place(&ran));
    }
    // As libpq: nobody is verified, and `prefer` is the default.
    for unverified in
        [format!("{url}?sslmode=require"), format!("{url}?sslmode=prefer"), url.clone()]
    {
        assert!(place(&run(ONE, &unverified)).contains(" over TLS,"), "{unverified}");
    }
    let plain = place(&run(ONE, &format!("{url}?sslmode=disable")));
    assert!(plain.contains("127.0.0.1") && !plain.contains("TLS"), "{plain}");
}

#[test]
fn a_foreign_authority_or_a_wrong_name_is_refused() {
    let cluster = Postgres::with_tls("DNS:elsewhere.example");
    let url = wait(cluster.database());
    let folder = tempfile::tempdir().unwrap();
    let foreign = certificates::authority(folder.path(), "foreign");
    for mode in ["verify-full", "verify-ca", "require"] {
        assert_refused(
            &with_authority(&url, mode, &foreign),
            &["127.0.0.1", "not trusted", "sslrootcert=", "foreign.pem"],
        );
    }
    let known = cluster.file("ca.pem");
    assert_refused(
        &with_authority(&url, "verify-full", &known),
        &["not for the name", "elsewhere.example", "sslmode=verify-ca"],
    );
    let ran = run(ONE, &with_authority(&url, "verify-ca", &known));
    assert!(place(&ran).contains(" over TLS,"), "{ran:#?}");
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let cluster = Postgres::shared();
    let url = wait(cluster.database());
    assert_refused(
        &format!("{url}?sslmode=require"),
        &["does not speak TLS", "sslmode=require", "ssl = on", "sslmode=disable"],
    );
    let plain = place(&run(ONE, &format!("{url}?sslmode=prefer")));
    assert!(!plain.contains("TLS"), "{plain}");
}

#[test]
fn wrong_words_and_missing_files_are_named_with_the_next_step() {
    let url = "postgres://user:hush@127.0.0.1:1/db";
    let case = |query: &str, words: &[&str]| {
        let ran = run(ONE, &format!("{url}?{query}"));
        assert_eq!(ran.code, 116, "{ran:#?}");
        assert!(words.iter().all(|word| ran.stderr.contains(word)), "{query}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hush"), "{}", ran.stderr);
    };
    case("sslmode=yes", &["sslmode=yes", "verify-full"]);
    case("sslmode=verify-full", &["sslmode=verify-full", "sslrootcert=FILE"]);
    case(
        "sslmode=verify-full&sslrootcert=nowhere.pem",
        &["sslrootcert=nowhere.pem", "No such file"],
    );
    case("sslmode=verify-full&sslrootcert=tls.rhai", &["sslrootcert=tls.rhai", "no certificate"]);
}

#[test]
fn a_client_certificate_is_shown_to_a_server_that_asks_for_it() {
    let cluster = Postgres::with_tls("IP:127.0.0.1");
    let url = wait(cluster.database());
    let (folder, authority) = (cluster.file(""), cluster.file("ca.pem"));
    certificates::signed(&folder, "ca", "load", "DNS:load");
    cluster.ask_for_client_certificates();
    let asked = with_authority(&url, "verify-full", &authority);
    assert_refused(&asked, &["127.0.0.1", "certificate"]);
    let (certificate, key) = (cluster.file("load.pem"), cluster.file("load.key"));
    let shown = format!("{asked}&sslcert={}&sslkey={}", certificate.display(), key.display());
    assert!(place(&run(ONE, &shown)).contains(" over TLS,"));
    let crossed =
        format!("{asked}&sslcert={}&sslkey={}", certificate.display(), authority.display());
    assert_refused(&crossed, &["sslkey=", "ca.pem"]);
}

#[test]
fn a_timed_out_statement_is_cancelled_over_tls() {
    let cluster = Postgres::with_tls("IP:127.0.0.1");
    let url = wait(cluster.database());
    let (front, greetings) = greeted(cluster.port());
    let url = url.replace(&format!(":{}/", cluster.port()), &format!(":{front}/"));
    let ran = run(STUCK, &with_authority(&url, "verify-full", &cluster.file("ca.pem")));
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(ran.metric("checks", &[])["passes"], 2, "{ran:#?}");
    let greetings = greetings.lock().unwrap();
    assert!(
        greetings.len() >= 3,
        "a first connection, a VU's, and the cancel request: {greetings:?}"
    );
    assert!(greetings.iter().all(|first| *first == TLS_WANTED), "{greetings:?}");
}

/// A front for a server, and the first eight bytes of every connection through it.
fn greeted(server: u16) -> (u16, Arc<Mutex<Vec<[u8; 8]>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let greetings = Arc::<Mutex<Vec<[u8; 8]>>>::default();
    let seen = Arc::clone(&greetings);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let mut first = [0; 8];
            if client.read_exact(&mut first).is_err() {
                continue;
            }
            seen.lock().unwrap().push(first);
            let Ok(mut upstream) = TcpStream::connect(("127.0.0.1", server)) else { continue };
            upstream.write_all(&first).unwrap();
            let back = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
            for (from, to) in [(client, upstream), back] {
                std::thread::spawn(move || relay(from, to));
            }
        }
    });
    (port, greetings)
}

fn relay(mut from: TcpStream, mut to: TcpStream) {
    // Either side may go away at any time; the other is told.
    drop(std::io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
}
