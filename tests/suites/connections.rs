//! Connections that a workload holds beside its own, against a server that counts them itself.

use std::process::Command;

use wavetank_tests::{
    command::{Ran, Workplace},
    nats::NatsServer,
    wait,
};

use crate::WAVETANK;

/// A script whose one iteration does `body`.
fn script(body: &str) -> String {
    format!(
        r#"
export const options = #{{
    scenarios: #{{ hold: #{{ executor: "per-vu-iterations", vus: 1, iterations: 1 }} }},
    metrics: #{{ opened: "counter", held: "counter" }},
}};
fn iteration(ctx) {{ {body} }}
"#
    )
}

/// A server that counts its connections.
fn counting(config: &str) -> NatsServer {
    wait(NatsServer::with_config(&format!("http: \"127.0.0.1:-1\"\n{config}")))
}

fn run(body: &str, more: &[&str]) -> Ran {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("hold.rhai", script(body));
    workplace.run_workload(&[&[file.as_str()], more].concat())
}

/// Waits until the server has so many connections.
#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
fn until(server: &NatsServer, fits: impl Fn(u64) -> bool) {
    for _ in 0..2_000 {
        if fits(server.connections()) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the server has {} connections", server.connections());
}

#[test]
fn a_server_that_takes_no_more_is_shown_with_its_words_and_what_was_held() {
    let server = counting("max_connections: 60");
    let body = r#"
        let all = [];
        while all.len() < 100 {
            let connection = bus::connect();
            if !connection.ok {
                check("refused", connection.error == "refused" && connection.message.contains("maximum connections"));
                break;
            }
            all.push(connection);
            metric::add("opened", 1);
        }
        for connection in all { if connection.held { metric::add("held", 1); } }
        for connection in all { connection.close(); }
    "#;
    let ran = run(body, &["--bus", &server.url()]);
    // Nobody asked for it to be refused: that fails the run.
    assert_eq!(ran.code, 99, "{ran:#?}");
    let opened = ran.metric("opened", &[])["count"].as_f64().unwrap();
    assert!((30.0..60.0).contains(&opened), "{ran:#?}");
    assert_eq!(ran.metric("held", &[])["count"], opened, "{ran:#?}");
    let held = ran.metric("bus_connections", &[]);
    assert_eq!((&held["max"], &held["value"]), (&opened.into(), &0.0.into()), "{ran:#?}");
    assert_eq!(ran.metric("bus_connects", &[])["count"], opened + 1.0);
    assert_eq!(ran.metric("bus_connect_failed", &[])["passes"], 1);
    assert_eq!(ran.metric("checks", &[])["rate"], 1.0, "{ran:#?}");
    // Long lines are broken.
    let shown = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "bus_connect_failed",
        "maximum connections exceeded",
        "raise its max_connections",
        &format!("the first when {opened} were held"),
    ] {
        assert!(shown.contains(words), "no `{words}`: {ran:#?}");
    }
    until(&server, |connections| connections == 0);
}

#[test]
fn what_a_workload_forgets_to_close_is_closed_with_its_virtual_user() {
    let server = counting("");
    let ran = run("for i in 0..20 { bus::connect(); }", &["--bus", &server.url()]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let held = ran.metric("bus_connections", &[]);
    assert_eq!((&held["max"], &held["value"]), (&20.0.into(), &0.0.into()), "{ran:#?}");
    assert_eq!(ran.metric("bus_connect_duration", &[])["count"], 20, "{ran:#?}");
    until(&server, |connections| connections == 0);
}

#[test]
fn a_run_that_is_stopped_leaves_no_connection_behind() {
    let server = counting("");
    let workplace = Workplace::new(WAVETANK);
    let file =
        workplace.file("hold.rhai", script(r#"for i in 0..20 { bus::connect(); } sleep("60s");"#));
    let arguments = [
        "run",
        &file,
        "--bus",
        &server.url(),
        "--summary-export",
        "summary.json",
        "--progress",
        "none",
    ];
    let child = workplace.start(&arguments);
    until(&server, |connections| connections > 20);
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let ran = workplace.finish(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 105, "{ran:#?}");
    let held = ran.metric("bus_connections", &[]);
    assert_eq!((&held["max"], &held["value"]), (&20.0.into(), &0.0.into()), "{ran:#?}");
    until(&server, |connections| connections == 0);
}

#[test]
fn more_than_a_run_may_hold_and_a_bus_without_connections_are_misuse() {
    let server = counting("");
    let body = "for i in 0..6 { bus::connect(); }";
    let ran = run(body, &["--bus", &server.url(), "--limit", "bus_connections=5"]);
    assert_eq!(ran.code, 99, "{ran:#?}");
    assert!(ran.stdout.contains("--limit bus_connections=N"), "{ran:#?}");
    let ran = run(body, &[]);
    assert_eq!(ran.code, 99, "{ran:#?}");
    assert!(ran.stdout.contains("--bus nats-server"), "{ran:#?}");
}
