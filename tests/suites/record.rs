//! The record of a run: what its journal tells is what was printed; what a kill, a cut, a full disk leave of
//! it is true.

use std::{path::Path, time::Duration};

use serde_json::Value;
use wavetank_tests::command::{Ran, Workplace};

use crate::{WAVETANK, input::in_time};

/// Runs a script into the folder `out`.
fn run(workplace: &Workplace, script: &str, flags: &[&str]) -> Ran {
    let file = workplace.file("recorded.rhai", script);
    let ran = in_time(|| workplace.run_workload(&[&[&file, "--out", "out"], flags].concat()));
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
    ran
}

fn report(workplace: &Workplace, flags: &[&str]) -> Ran {
    let ran = workplace.run(&[&["report", "out"], flags].concat());
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
    ran
}

fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{ran:#?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// That the journal alone says what the run has printed, to the byte.
fn assert_told_again(workplace: &Workplace, ran: &Ran) {
    let written = std::fs::read_to_string(workplace.path().join("out/summary.json")).unwrap();
    std::fs::remove_file(workplace.path().join("out/summary.json")).unwrap();
    let again = report(workplace, &["--format", "json"]);
    assert_eq!(again.code, 0, "{again:#?}");
    if again.stdout.trim() != written.trim() {
        let lines = again.stdout.lines().zip(written.lines()).enumerate();
        let differ: Vec<_> = lines.filter(|(_, (one, other))| one != other).take(10).collect();
        panic!("the journal tells another summary: {differ:#?}");
    }
    assert_eq!(report(workplace, &[]).stdout, ran.stdout, "the same page");
}

fn told_again(script: &str, flags: &[&str], code: i32) {
    let workplace = Workplace::new(WAVETANK);
    let ran = run(&workplace, script, flags);
    assert_eq!(ran.code, code, "{ran:#?}");
    assert_told_again(&workplace, &ran);
}

const WINDOWS: &str = r#"
export const options = #{
    scenarios: #{
        open: #{ executor: "constant-arrival-rate", rate: 150, duration: "5s", exec: "ask", warmup: "1s" },
        closed: #{ executor: "ramping-vus", stages: [
            #{ duration: "3s", target: 3, name: "up" }, #{ duration: "2s", target: 1, name: "down" }
        ], exec: "own" },
    },
    services: #{ "shop.price": "answer" },
    ops: ["price"],
    metrics: #{ size: #{ type: "trend", unit: "B" }, spare: "gauge" },
    derived: #{
        per_request: "data_sent.count / bus_requests.count",
        grown: #{ kind: "growth", metric: "runner_rss_bytes", aggregate: "avg", per: "1h" },
    },
    thresholds: #{
        "bus_request_duration{op:price}": ["p(95) over last 3s < 5s", "med over first 2s < 5s"],
        "iteration_duration{scenario:closed}": "max each 1s < 5s",
        "iteration_response_time": "p(90) after 1s < 5s",
        "bus_requests": "rate > 1",
        "per_request": "value > 0",
        "iteration_errors": "rate < 0.9",
        "checks": "rate > 0.1",
        "size": "med > 3",
    },
};
fn ask(ctx) {
    let reply = bus::request("shop.price", `item ${ctx.iteration}`, #{ op: "price" });
    check("answered", reply.ok);
    check(`of ${ctx.iteration % 3}`, ctx.iteration % 2 == 0);
    metric::add("size", 100 + ctx.random.int(0, 1000));
    if ctx.iteration % 7 == 0 { throw `bad luck ${ctx.iteration % 3}`; }
}
fn own(ctx) { metric::add("spare", 0.1 * ctx.iteration); sleep("20ms"); }
fn answer(message) { #{ price: 1 } }
"#;

#[test]
fn windows_warmups_stages_errors_and_derived_metrics_are_told_again() {
    told_again(WINDOWS, &["--tag", "team=red", "--shards", "2"], 0);
}

#[test]
fn a_run_that_a_threshold_stops_is_told_again() {
    let script = r#"
export const options = #{
    scenarios: #{ open: #{ executor: "constant-arrival-rate", rate: 50, duration: "1h", max_vus: 60 } },
    thresholds: #{ "iteration_duration": #{ threshold: "p(95) < 100ms", abort_on_fail: true, delay_abort_eval: "1s" } },
};
fn iteration(ctx) { sleep("200ms"); }
"#;
    told_again(script, &[], 99);
}

#[test]
fn what_a_workload_ends_is_told_again() {
    let abort =
        "fn iteration(ctx) { if ctx.iteration == 20 { run::abort(\"enough\") } sleep(\"20ms\") }";
    told_again(
        &format!("export const options = #{{ vus: 2, duration: \"1h\" }};\n{abort}"),
        &[],
        108,
    );
    let setup = "fn setup(ctx) { throw \"not today\" }\nfn iteration(ctx) {}";
    told_again(
        &format!("export const options = #{{ rate: 10, duration: \"1s\" }};\n{setup}"),
        &[],
        107,
    );
    told_again(
        "export const options = #{ vus: 1, iterations: 1 };\nfn iteration(ctx) { sleep(\"1h\") }",
        &["--timeout", "2s"],
        105,
    );
}

#[test]
fn scaling_and_a_search_are_told_again() {
    let script = |scenario: &str, derived: &str| {
        format!(
            r#"
export const options = #{{
    scenarios: #{{ load: #{{ executor: "constant-arrival-rate", {scenario}, exec: "ask" }} }},
    services: #{{ "tank.echo": "answer" }},
    ops: ["ask"],
    derived: #{{ {derived} }},
    thresholds: #{{ "iteration_errors": "rate < 0.5" }},
}};
fn ask(ctx) {{ bus::request("tank.echo", "hello", #{{ op: "ask", timeout: "20s" }}); }}
fn answer(message) {{ "hello" }}
"#
        )
    };
    let levels = r#"levels: [20, 50, 100], duration: "4s", drain: "2s""#;
    let knee = r#"knee: #{ kind: "scaling", value: "knee" }"#;
    let workplace = Workplace::new(WAVETANK);
    let ran = run(&workplace, &script(levels, knee), &[]);
    assert!(ran.summary.as_ref().unwrap()["scaling"][0].is_object(), "{ran:#?}");
    assert_told_again(&workplace, &ran);
    let search = r#"search: #{ from: 50, to: 200, probe: "1s", precision: 0.5, expected: 100 }"#;
    let rate = r#"max_rate: #{ kind: "search", value: "max_rate" }"#;
    let workplace = Workplace::new(WAVETANK);
    let ran = run(&workplace, &script(search, rate), &[]);
    assert!(ran.summary.as_ref().unwrap()["searches"][0].is_object(), "{ran:#?}");
    assert_told_again(&workplace, &ran);
}

#[test]
fn a_run_with_a_target_and_a_database_is_told_again() {
    let script = r#"
export const options = #{
    scenarios: #{ work: #{ executor: "constant-vus", vus: 2, duration: "3s" } },
    thresholds: #{ "target_rss_bytes{target:idle}": "max < 10 GB", "db_query_failed": "rate < 1" },
};
fn iteration(ctx) { db::query("SELECT 1 AS one"); sleep("10ms"); }
"#;
    told_again(script, &["--target", "idle=sleep 60"], 0);
}

/// 100 times a second, a row of the database for each iteration that has ended.
const COUNTED: &str = r#"
export const options = #{
    scenarios: #{ open: #{ executor: "constant-arrival-rate", rate: 100, duration: "1h", max_vus: 50 } },
};
fn setup(ctx) { db::execute("CREATE TABLE told (n INTEGER)"); () }
fn iteration(ctx) { db::execute("INSERT INTO told (n) VALUES (?)", [ctx.iteration]); }
"#;
const RATE: f64 = 100.0;

/// What is known of a run that was killed, and of what it had really done.
#[derive(Debug)]
struct Killed {
    after: Duration,
    rows: u64,
    told: u64,
}

impl Killed {
    /// Seconds of work of which the journal knows nothing.
    fn lost(&self) -> f64 {
        self.rows.saturating_sub(self.told) as f64 / RATE
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
fn kill_after(after: Duration) -> Killed {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("counted.rhai", COUNTED);
    let mut child = workplace.start(&["run", &file, "--out", "out", "--db", "sqlite:it.db"]);
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    let rows = rows(&workplace.path().join("it.db"));
    if std::fs::metadata(workplace.path().join("out/journal")).map_or(0, |it| it.len()) < 100 {
        assert_eq!(rows, 0, "killed before it began");
        return Killed { after, rows, told: 0 };
    }
    let ran = report(&workplace, &["--format", "json"]);
    let summary = json(&ran);
    assert_eq!(summary["run"]["complete"], false, "{ran:#?}");
    assert_eq!(summary["verdict"]["status"], "fail", "a run that was cut off passes nothing");
    assert!(summary["verdict"]["reasons"][0].as_str().unwrap().contains("was cut off"), "{ran:#?}");
    let count = |name: &str| {
        let metrics = summary["metrics"].as_array().unwrap().iter();
        let mut own =
            metrics.filter(|it| it["name"] == name && it["tags"] == serde_json::json!({}));
        own.next().map_or(0, |it| it["values"]["count"].as_f64().unwrap() as u64)
    };
    let told = count("iterations");
    assert_eq!(count("iteration_duration"), told, "figures of one instant");
    if let Some(completed) = summary["scenarios"][0]["completed"].as_u64() {
        assert_eq!(completed, told, "figures of one instant");
    }
    assert!(told <= rows, "more than was done: {told} of {rows}");
    let page = report(&workplace, &[]);
    assert!(page.stdout.contains("This run was cut off"), "{page:#?}");
    Killed { after, rows, told }
}

fn rows(path: &Path) -> u64 {
    let Ok(database) = rusqlite::Connection::open(path) else { return 0 };
    let count = database.query_row("SELECT count(*) FROM told", [], |row| row.get::<_, i64>(0));
    count.map_or(0, |count| count as u64)
}

/// `WAVETANK_KILLS=200` does it so often.
#[test]
fn a_run_that_is_killed_at_any_moment_loses_at_most_its_last_second() {
    let kills = std::env::var_os("WAVETANK_KILLS").and_then(|it| it.to_str()?.parse().ok());
    let kills: u64 = kills.unwrap_or(20);
    let seed = u64::from(std::process::id());
    let moment = |n: u64| {
        let random = (seed + n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        Duration::from_millis(50 + random.wrapping_mul(0xbf58_476d_1ce4_e5b9) % 4_000)
    };
    let two = |half: u64| move || (0..kills).filter(|n| n % 2 == half).collect::<Vec<_>>();
    let mut killed: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = [two(0), two(1)]
            .into_iter()
            .map(|own| {
                scope.spawn(move || own().into_iter().map(|n| kill_after(moment(n))).collect())
            })
            .collect();
        threads.into_iter().flat_map(|thread| -> Vec<Killed> { thread.join().unwrap() }).collect()
    });
    killed.sort_by(|one, other| one.lost().total_cmp(&other.lost()));
    for one in &killed {
        println!("killed after {:?}: {:.2} s lost", one.after, one.lost());
        // A second; as much again for a machine on which the thread that writes has to wait its turn.
        assert!(one.lost() <= 2.0, "{one:?}");
    }
    let shown = killed.iter().filter(|one| one.told > 0).count();
    assert!(shown * 2 > killed.len(), "most of them had something to lose: {shown}");
}
