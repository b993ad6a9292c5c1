//! Bad input, hostile input, and interruptions: each with the message and the exit code.

use std::{
    io::Read,
    process::Child,
    time::{Duration, Instant},
};

use wavetank_tests::command::{Ran, Workplace};

use crate::WAVETANK;

/// Runs a script; none of these may take longer than this, whatever they are.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(script: &str) -> Ran {
    run_with(script, &[])
}

fn run_with(script: &str, arguments: &[&str]) -> Ran {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("bad.rhai", script);
    let mut all = arguments.to_vec();
    all.push(&file);
    within_patience(|| workplace.run_workload(&all))
}

#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
pub fn in_time(run: impl FnOnce() -> Ran) -> Ran {
    let start = Instant::now();
    let ran = run();
    assert!(start.elapsed() < PATIENCE, "took {:?}: {ran:#?}", start.elapsed());
    ran
}

fn within_patience(run: impl FnOnce() -> Ran) -> Ran {
    let ran = in_time(run);
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
    ran
}

fn assert_refused(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{ran:#?}");
    for word in words {
        assert!(ran.stderr.contains(word), "no `{word}` in:\n{}", ran.stderr);
    }
    assert!(ran.summary.is_none(), "nothing ran, so there is no summary");
}

/// A script whose single iteration is `body`.
fn once(body: &str) -> String {
    format!(
        r#"
export const options = #{{
    scenarios: #{{ one: #{{ executor: "shared-iterations", vus: 1, iterations: 1, cpu_timeout: "300ms" }} }},
    ops: ["op"],
}};
fn iteration(ctx) {{
{body}
}}
"#
    )
}

/// Runs `body` once and expects an iteration error that says `words`.
fn assert_iteration_error(body: &str, words: &[&str]) {
    let ran = run(&once(body));
    assert_eq!(ran.code, 99, "{ran:#?}");
    let shown = format!("{}{}", ran.stdout, ran.stderr);
    for word in words {
        assert!(shown.contains(word), "no `{word}` in:\n{shown}");
    }
    assert_eq!(ran.metric("iteration_errors", &[])["rate"], 1.0);
}

#[test]
fn a_syntax_error_has_a_line_and_a_caret() {
    let ran = run("fn iteration(ctx) {\n    let x = ;\n}\n");
    assert_refused(&ran, 104, &["bad.rhai:2:13", "let x = ;", "^"]);
}

#[test]
fn a_missing_file_is_named() {
    let ran = Workplace::new(WAVETANK).run(&["run", "nowhere.rhai"]);
    assert_refused(&ran, 104, &["nowhere.rhai"]);
}

#[test]
fn options_of_a_wrong_type_or_name_are_shown_where_they_stand() {
    let options =
        |text: &str| format!("export const options = #{{ {text} }};\nfn iteration(ctx) {{}}\n");
    let case = |text: &str, words: &[&str]| assert_refused(&run(&options(text)), 104, words);
    case(r#"vus: "many", duration: "1s""#, &["vus", "many", "^"]);
    case(
        r#"scenarios: #{ a: #{ executor: "constant-vu", duration: "1s" } }"#,
        &["constant-vu", "constant-vus", "^"],
    );
    case(
        r#"scenarios: #{ a: #{ executor: "constant-vus", duraton: "1s" } }"#,
        &["duraton", "duration", "^"],
    );
    case(r#"scenarios: #{ a: #{ executor: "constant-vus", duration: "soon" } }"#, &["soon", "^"]);
    case(
        r#"thresholds: #{ bus_request_duraton: ["p(95) < 1s"] }"#,
        &["bus_request_duraton", "bus_request_duration"],
    );
    case(r#"thresholds: #{ bus_request_duration: ["p(101) < 1s"] }"#, &["p(101)", "^"]);
    case(r#"thresholds: #{ bus_requests: ["p(95) < 1s"] }"#, &["bus_requests", "p(95)"]);
    case(r#"thresholds: #{ "bus_request_duration{op:none}": ["p(95) < 1s"] }"#, &["op:none"]);
}

#[test]
fn an_unreachable_bus_or_database_is_named_without_its_password() {
    // Port 1 of loopback: nothing listens there.
    let bus = run_with(&once(""), &["--bus", "nats://user:hush@127.0.0.1:1"]);
    assert_refused(&bus, 116, &["127.0.0.1:1"]);
    let database = run_with(&once(""), &["--db", "postgres://user:hush@127.0.0.1:1/db"]);
    assert_refused(&database, 116, &["127.0.0.1:1"]);
    for ran in [bus, database] {
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("hush"), "{ran:#?}");
    }
}

#[test]
fn bytes_that_are_no_component_are_refused() {
    let workplace = Workplace::new(WAVETANK);
    let module = b"\0asm\x01\0\0\0";
    let component = b"\0asm\x0d\0\x01\0";
    let files: [(&str, &[u8]); 4] = [
        ("random.wasm", b"these are not the bytes of a component"),
        ("empty.wasm", b""),
        ("module.wasm", module),
        ("nothing.wasm", component),
    ];
    for (name, bytes) in files {
        let file = workplace.file(name, bytes);
        let ran = within_patience(|| workplace.run(&["run", &file]));
        assert!(matches!(ran.code, 104 | 114), "{name}: {ran:#?}");
        assert!(ran.stderr.contains(name), "{name}: {ran:#?}");
    }
}

#[test]
fn a_script_that_loops_is_cut_at_its_cpu_timeout() {
    assert_iteration_error("loop { }", &["cpu_timeout"]);
    assert_iteration_error("let n = 0; while true { n += 1; }", &["cpu_timeout"]);
}

#[test]
fn a_script_that_hogs_its_shard_rests_and_is_counted() {
    let ran = run(&once("loop { }"));
    let summary = ran.summary.as_ref().unwrap();
    assert_eq!(summary["runner"]["rested_vus"], 1, "{summary:#}");
    // 50 ms of its 300 are free, of the rest it has a twentieth.
    let took = summary["run"]["duration_s"].as_f64().unwrap();
    assert!(took > 0.25 * 10.0, "it kept its shard: cut off after {took} s");
    assert!(ran.stderr.contains("had to rest"), "{}", ran.stderr);
}

#[test]
fn a_script_that_recurses_or_allocates_gets_an_error() {
    let deep = once("again(0)") + "fn again(n) { again(n + 1) }";
    let ran = run(&deep);
    assert_eq!(ran.code, 99, "{ran:#?}");
    let deep = once("let f = |f, n| f.call(f, n + 1); f.call(f, 0)");
    assert_eq!(run(&deep).code, 99);
    assert_iteration_error(r#"let s = "x"; loop { s += s; }"#, &[]);
    assert_iteration_error("let a = []; loop { a.push(a); }", &[]);
    assert_iteration_error(r#"let s = ""; s.pad(9999999999, "x");"#, &[]);
    assert_iteration_error("let b = blob(9999999999);", &[]);
}

#[test]
fn a_script_that_takes_seconds_to_parse_is_refused() {
    let lets: Vec<_> = (0..200_000).map(|n| format!("let x{n} = {n};")).collect();
    let lets = lets.join("\n");
    assert_refused(&run(&format!("{lets}fn iteration(ctx) {{}}")), 104, &["bad.rhai"]);
    let nested =
        format!("fn iteration(ctx) {{ let x = {}1{}; }}", "(".repeat(100_000), ")".repeat(100_000));
    assert_refused(&run(&nested), 104, &["bad.rhai"]);
}

#[test]
fn an_import_stays_in_the_scripts_folder() {
    for path in ["../secret", "/etc/passwd", "a/../../b"] {
        let script = format!("import \"{path}\" as m;\nfn iteration(ctx) {{}}\n");
        assert_refused(&run(&script), 104, &["import"]);
    }
}

#[test]
fn subjects_and_headers_that_would_inject_are_misuse() {
    for subject in ["a b", "a\\r\\nPUB b 0", "a..b", "a.*", "", "a\\tb", ".a", "a."] {
        assert_iteration_error(
            &format!("bus::publish(\"{subject}\", \"x\");"),
            &["misuse", "subject"],
        );
    }
    assert_iteration_error(
        "bus::publish(\"a\", \"x\", #{ headers: #{ h: \"v\\r\\nPUB b 0\" } });",
        &["misuse", "header"],
    );
}

#[test]
fn a_reply_of_eight_megabytes_is_a_failure_not_a_crash() {
    let ran = run(r#"
export const options = #{
    scenarios: #{ one: #{ executor: "shared-iterations", vus: 1, iterations: 1 } },
    services: #{ "big": "big" },
};
fn big(message) { let s = "x"; for n in 0..23 { s += s; } s }
fn iteration(ctx) {
    let reply = bus::request("big", "", #{ timeout: "2s" });
    check("refused", !reply.ok);
}
"#);
    assert_eq!(ran.metric("bus_request_failed", &[])["rate"], 1.0, "{ran:#?}");
    assert_eq!(ran.code, 99, "{ran:#?}");
}

#[test]
fn a_parameter_is_a_value_and_never_sql() {
    let script = r#"
const NAME = param("name", "anna", "whose row");
export const options = #{ scenarios: #{ one: #{ executor: "shared-iterations", vus: 1, iterations: 1 } } };
fn setup(ctx) {
    db::execute("CREATE TABLE users (name TEXT)");
    db::execute("INSERT INTO users VALUES (?)", ["anna"]);
}
fn iteration(ctx) {
    let hit = db::query("SELECT count(*) AS n FROM users WHERE name = ?", [global::NAME]);
    check("no row", hit.rows[0].n == 0);
    let all = db::query("SELECT count(*) AS n FROM users");
    check("table lives", all.rows[0].n == 1);
}
"#;
    let ran = run_with(script, &["-p", "name=x'; DROP TABLE users; --"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(ran.metric("checks", &[])["rate"], 1.0);
}

#[test]
fn sql_that_leaves_the_database_is_refused() {
    for sql in [
        "ATTACH 'other.db' AS other",
        "VACUUM INTO 'copy.db'",
        "PRAGMA writable_schema = 1",
        "SELECT load_extension('x')",
        "DETACH main",
    ] {
        let body = format!("let r = db::execute(\"{sql}\"); check(\"refused\", !r.ok);");
        let ran = run(&once(&body));
        let refused = ran.metric("checks", &[])["rate"] == 1.0 || ran.stdout.contains("misuse");
        assert!(refused, "{sql}: {ran:#?}");
        assert_eq!(ran.code, 99, "{sql}: {ran:#?}");
    }
    for sql in ["BEGIN", "COMMIT", "/* x */ ROLLBACK", "SAVEPOINT a", "SELECT 1; SELECT 2"] {
        assert_iteration_error(&format!("db::execute(\"{sql}\");"), &["misuse"]);
    }
}

#[test]
fn an_undeclared_op_or_metric_is_misuse() {
    assert_iteration_error("bus::publish(\"a\", \"x\", #{ op: \"other\" });", &["other", "ops"]);
    assert_iteration_error("metric::add(\"mine\", 1.0);", &["mine", "metrics"]);
}

const LONG: &str = r#"
export const options = #{
    scenarios: #{ load: #{ executor: "constant-vus", vus: 2, duration: "60s", graceful_stop: "30s" } },
};
fn iteration(ctx) { sleep("20s"); }
fn teardown(ctx) { print("torn down"); }
"#;

fn signal(child: &Child, signal: &str) {
    let status = std::process::Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
fn interrupted(signals: &[&str]) -> Ran {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("long.rhai", LONG);
    let child =
        workplace.start(&["run", "--summary-export", "summary.json", "--progress", "plain", &file]);
    std::thread::sleep(Duration::from_secs(2));
    for name in signals {
        signal(&child, name);
        std::thread::sleep(Duration::from_millis(300));
    }
    within_patience(|| workplace.finish(child.wait_with_output().unwrap()))
}

#[test]
fn one_interrupt_ends_the_iterations_and_still_reports() {
    for name in ["-INT", "-TERM"] {
        let ran = interrupted(&[name]);
        assert_eq!(ran.code, 105, "{ran:#?}");
        assert!(ran.stderr.contains("torn down"), "{ran:#?}");
        let scenario = &ran.summary.as_ref().unwrap()["scenarios"][0];
        assert_eq!((&scenario["started"], &scenario["interrupted"]), (&2.into(), &2.into()));
    }
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let slow = LONG.replace("print(\"torn down\")", "sleep(\"30s\")");
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("long.rhai", &slow);
    let mut child = workplace.start(&["run", "--progress", "none", &file]);
    pause(2_000);
    signal(&child, "-INT");
    pause(500);
    signal(&child, "-INT");
    pause(1_000);
    let status = child.try_wait().unwrap().expect("it ended at once");
    assert_eq!(status.code(), Some(105));
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(!text.contains("panicked"), "{text}");
}

#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}
