//! The record of a run: what its journal tells is what was printed; what a kill, a cut, a full disk leave of
//! it is true.

use std::{
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use serde_json::{Value, json};
use wavetank_tests::command::{Ran, Workplace};

use crate::{WAVETANK, input::in_time};

/// Every format that a run is told in.
const FORMATS: [&str; 7] = ["html", "markdown", "csv", "junit", "github", "json", "terminal"];

/// Flags for a file of each format, whose names begin like that.
fn files(name: &str) -> Vec<String> {
    let flag = |format: &&str| ["--report".to_owned(), format!("{format}={name}.{format}")];
    FORMATS.iter().flat_map(flag).collect()
}

/// Runs a workload or a suite into the folder `out`, and into a file of each format.
fn tell(workplace: &Workplace, file: &str, flags: &[&str]) -> Ran {
    let files = files("live");
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let all = [&[file, "--out", "out"], flags, &files[..]].concat();
    let ran = in_time(|| workplace.run_workload(&all));
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
    ran
}

/// Runs a script.
fn run(workplace: &Workplace, script: &str, flags: &[&str]) -> Ran {
    let file = workplace.file("recorded.rhai", script);
    tell(workplace, &file, flags)
}

fn report(workplace: &Workplace, flags: &[&str]) -> Ran {
    let ran = workplace.run(&[&["report", "out"], flags].concat());
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
    ran
}

fn summary_of(ran: &Ran) -> Value {
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
    let page = report(workplace, &[]).stdout;
    // Before everything that a run prints stands the fence for its annotations.
    let (fence, told) = ran.stdout.split_once('\n').expect("lines");
    assert!(fence.starts_with("::stop-commands::"), "{fence}");
    assert!(told.starts_with(page.trim_end()), "the same page: {page}\n{told}");
    assert_files_written_again(workplace);
}

/// That the journal alone makes every file that the run has written, to the byte, and prints it.
fn assert_files_written_again(workplace: &Workplace) {
    let files = files("again");
    let again = report(workplace, &files.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(again.code, 0, "{again:#?}");
    for format in FORMATS {
        let read = |name: &str| {
            let file = format!("{name}.{format}");
            std::fs::read_to_string(workplace.path().join(&file)).expect(&file)
        };
        let (live, again) = (read("live"), read("again"));
        if live != again {
            let differ = live.bytes().zip(again.bytes()).take_while(|(one, other)| one == other);
            let from = differ.count().saturating_sub(80);
            let near = |text: &str| {
                String::from_utf8_lossy(&text.as_bytes()[from..])
                    .chars()
                    .take(240)
                    .collect::<String>()
            };
            panic!("{format} is another: {:?}\nand not {:?}", near(&again), near(&live));
        }
        if !matches!(format, "github" | "terminal") {
            let printed = report(workplace, &["--format", format]);
            assert_eq!((printed.code, printed.stdout == live), (0, true), "{format} as printed");
        }
    }
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
fn what_workloads_log_is_kept_and_a_flood_of_it_is_bounded() {
    let script = r#"
export const options = #{ vus: 1, iterations: 1500 };
fn iteration(ctx) {
    let line = "line " + ctx.iteration + " \x1b[31m";
    line.pad(3500, 'x');
    print(line);
}
"#;
    let workplace = Workplace::new(WAVETANK);
    let ran = run(&workplace, script, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_told_again(&workplace, &ran);
    let log = workplace.run(&["runs", "log", "out"]);
    assert_eq!(log.code, 0, "{}", log.stderr);
    assert!(log.stdout.contains(" phase setup\n"), "{}", &log.stdout[..1_000]);
    assert!(!log.stdout.contains('\u{1b}'), "what it says is shown, not obeyed");
    let kept = log.stdout.lines().filter(|line| line.contains("[info] vu 1: line ")).count();
    assert!((1_000..1_500).contains(&kept), "{kept}");
    let words = format!("{} lines of the log are not in the journal", 1_500 - kept);
    let remarks = ran.summary.as_ref().unwrap()["remarks"].to_string();
    assert!(remarks.contains(&words), "{words}: {remarks}");
    let size = std::fs::metadata(workplace.path().join("out/journal")).unwrap().len();
    assert!(size < 6 << 20, "{size}");
}

/// Whether these words are in the page that was made again.
fn page_has(workplace: &Workplace, words: &str) -> bool {
    std::fs::read_to_string(workplace.path().join("again.html")).unwrap().contains(words)
}

#[test]
fn a_target_that_is_restarted_under_load_is_told_again() {
    let script = r#"
export const options = #{
    scenarios: #{
        work: #{ executor: "constant-vus", vus: 2, duration: "4s" },
        breaker: #{ executor: "shared-iterations", iterations: 1, start_time: "1s", exec: "break_it" },
    },
};
fn iteration(ctx) { sleep("10ms"); }
fn break_it(ctx) { if !target::restart("idle").ok { throw "it does not come back"; } }
"#;
    let workplace = Workplace::new(WAVETANK);
    let flags = ["--target", "idle=sleep 300", "--allow", "target=idle"];
    let ran = run(&workplace, script, &flags);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_told_again(&workplace, &ran);
    assert!(page_has(&workplace, "</time> idle restart"), "the marker is in the page");
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
    let summary = summary_of(&ran);
    assert_eq!(summary["run"]["complete"], false, "{ran:#?}");
    assert_eq!(summary["verdict"]["status"], "fail", "a run that was cut off passes nothing");
    assert!(summary["verdict"]["reasons"][0].as_str().unwrap().contains("was cut off"), "{ran:#?}");
    let count = |name: &str| {
        let metrics = summary["metrics"].as_array().unwrap().iter();
        let mut own = metrics.filter(|it| it["name"] == name && it["tags"] == json!({}));
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

const TWO_PARTS: &str = r#"
name = "both"
[[workloads]]
workload = "short.rhai"
row = "A"
[[workloads]]
workload = "long.rhai"
row = "B"
[[workloads]]
workload = "short.rhai"
row = "C"
[rows.A]
[rows.B]
[rows.C]
"#;

fn suite(long: &str) -> Workplace {
    let workplace = Workplace::new(WAVETANK);
    let script = |options: &str| {
        format!(
            "export const options = #{{ {options}, thresholds: #{{ checks: \"rate == 1\" }} }};\n\
             fn iteration(ctx) {{ check(\"done\", true); sleep(\"10ms\"); }}"
        )
    };
    workplace.file("short.rhai", script("vus: 1, iterations: 5"));
    workplace.file("long.rhai", script(&format!("vus: 1, duration: \"{long}\"")));
    workplace.file("suite.toml", TWO_PARTS);
    workplace
}

#[test]
fn a_suite_is_told_again_from_its_parts() {
    let workplace = suite("2s");
    let before = workplace.run_workload(&["suite.toml", "--out", "before"]);
    assert_eq!(before.code, 0, "{before:#?}");
    let ran = tell(&workplace, "suite.toml", &["--baseline", "before"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.summary.as_ref().unwrap()["baseline"]["findings"].is_array(), "{ran:#?}");
    std::fs::remove_dir_all(workplace.path().join("before")).unwrap();
    assert_told_again(&workplace, &ran);
    assert!(page_has(&workplace, "check(&quot;done&quot;, true)"), "the source is in the page");
    let one = workplace.run(&["report", "out/02-long"]);
    assert!(one.code == 0 && one.stdout.contains("checks"), "{one:#?}");
}

/// Starts the suite with more flags, and waits until its second workload has run for some seconds.
#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
fn in_its_second(workplace: &Workplace, flags: &[&str]) -> Child {
    let mut child = workplace.start(&[&["run", "suite.toml", "--out", "out"], flags].concat());
    let second = workplace.path().join("out/02-long/journal");
    while std::fs::metadata(&second).map_or(0, |it| it.len()) < 1_000 {
        std::thread::sleep(Duration::from_millis(50));
        assert!(child.try_wait().unwrap().is_none());
    }
    std::thread::sleep(Duration::from_secs(3));
    child
}

#[test]
fn a_suite_that_is_interrupted_lists_what_it_has_not_run_and_is_told_again() {
    let workplace = suite("1h");
    let files = files("live");
    let mut flags = vec!["--summary-export", "summary.json", "--progress", "none"];
    flags.extend(files.iter().map(String::as_str));
    let child = in_its_second(&workplace, &flags);
    let interrupt = ["-INT", &child.id().to_string()];
    assert!(Command::new("kill").args(interrupt).status().unwrap().success());
    let ran = workplace.finish(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 105, "{ran:#?}");
    let rows = &ran.summary.as_ref().unwrap()["rows"];
    assert_eq!(rows.as_array().unwrap().len(), 3, "{rows:#}");
    assert_eq!((&rows[2]["row"], &rows[2]["status"]), (&json!("C"), &json!("no_data")));
    assert_told_again(&workplace, &ran);
}

#[test]
fn a_suite_that_is_killed_tells_what_ran_and_what_did_not() {
    let workplace = suite("1h");
    let mut child = in_its_second(&workplace, &[]);
    let running = report(&workplace, &[]);
    assert!(running.stderr.contains("this run goes on"), "{running:#?}");
    assert!(running.stdout.contains("This run goes on"), "{running:#?}");
    assert!(!running.stdout.contains("cut off"), "nobody has cut it off: {running:#?}");
    let summary = summary_of(&report(&workplace, &["--format", "json"]));
    assert_eq!(
        (&summary["run"]["complete"], &summary["run"]["going_on"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(summary["verdict"]["status"], "fail", "nothing is passed before its end");
    let reasons = summary["verdict"]["reasons"].to_string();
    assert!(reasons.contains("the suite goes on: 03-short-2 did not run yet"), "{reasons}");
    child.kill().unwrap();
    child.wait().unwrap();
    let summary = summary_of(&report(&workplace, &["--format", "json"]));
    assert_eq!(
        (&summary["run"]["complete"], &summary["run"]["going_on"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(summary["verdict"]["status"], "fail");
    let reasons = summary["verdict"]["reasons"].to_string();
    assert!(reasons.contains("the suite was cut off: 03-short-2 did not run"), "{reasons}");
    assert!(reasons.contains("long: the run was cut off"), "{reasons}");
    let rows: Vec<_> = summary["rows"].as_array().unwrap().iter().map(|it| &it["row"]).collect();
    assert_eq!(rows, ["A", "B", "C"], "what was never reached is not absent");
    assert_eq!(summary["rows"][0]["status"], "pass");
    let unreached = &summary["rows"][2];
    assert_eq!(
        (&unreached["status"], &unreached["workload"]),
        (&json!("no_data"), &json!("short-2"))
    );
    assert_eq!(unreached["reason"], "its workload was not run");
    let page = report(&workplace, &["--format", "html"]);
    assert!(page.code == 0 && page.stdout.contains("This run was cut off"), "{}", page.stderr);
    let table = report(&workplace, &["--format", "csv"]).stdout;
    assert!(
        table.lines().any(|line| line.contains("iterations") && line.contains("long")),
        "{table}"
    );
}

/// A run in a shell that lets no file grow beyond so many blocks.
fn with_small_files(workplace: &Workplace, script: &str, blocks: u32) -> Ran {
    let file = workplace.file("full.rhai", script);
    let program = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let own = workplace.command(&["run", &file, "--out", "out", "--progress", "none"]);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(program).arg(own.get_program()).args(own.get_args());
    shell.current_dir(workplace.path()).env_clear();
    shell.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    workplace.finish(shell.output().unwrap())
}

#[test]
fn a_disk_that_is_full_is_told_and_what_was_there_stays() {
    let workplace = Workplace::new(WAVETANK);
    // Many values of many metrics: a journal that outgrows what the database beside it takes.
    let of = |each: &dyn Fn(u32) -> String| (0..60).map(each).collect::<String>();
    let declared = of(&|n| format!("m{n}: \"trend\", "));
    let added = of(&|n| format!("metric::add(\"m{n}\", ctx.random.int(0, 1000000000)); "));
    let script = format!(
        "export const options = #{{ scenarios: #{{ open: #{{ executor: \"constant-arrival-rate\", \
         rate: 100, duration: \"6s\" }} }}, metrics: #{{ {declared} }} }};\n\
         fn iteration(ctx) {{ {added} }}"
    );
    let ran = in_time(|| with_small_files(&workplace, &script, 80));
    assert_eq!(ran.code, 118, "{ran:#?}");
    let shown = format!("{}{}", ran.stdout, ran.stderr);
    assert!(
        shown.contains("journal` cannot be written") && shown.contains("File too large"),
        "{shown}"
    );
    assert!(ran.stdout.contains("load"), "the figures are shown all the same: {ran:#?}");
    let summary = summary_of(&report(&workplace, &["--format", "json"]));
    assert_eq!(summary["run"]["complete"], false);
    assert!(summary["scenarios"][0]["completed"].as_u64().unwrap() > 0, "{summary:#}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
fn a_folder_that_cannot_be_written_or_is_gone_is_told() {
    let workplace = Workplace::new(WAVETANK);
    let script = "export const options = #{ vus: 1, duration: \"3s\" };\nfn iteration(ctx) { sleep(\"10ms\"); }";
    let file = workplace.file("plain.rhai", script);
    workplace.file("taken", "a file, and no folder");
    let ran = workplace.run_workload(&[&file, "--out", "taken/here"]);
    assert_eq!(ran.code, 118, "{ran:#?}");
    assert!(ran.stderr.contains("taken/here") && ran.stderr.contains("--out DIR"), "{ran:#?}");
    let child = workplace.start(&["run", &file, "--out", "gone", "--progress", "none"]);
    while !workplace.path().join("gone/journal").exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_dir_all(workplace.path().join("gone")).unwrap();
    let ran = workplace.finish(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 118, "{ran:#?}");
    assert!(ran.stderr.contains("summary.json"), "{ran:#?}");
    // A run is never written over another.
    let ran = workplace.run_workload(&[&file, "--out", "out", "--iterations", "1"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let before = std::fs::read(workplace.path().join("out/journal")).unwrap();
    let ran = workplace.run_workload(&[&file, "--out", "out", "--iterations", "1"]);
    assert_eq!(ran.code, 118, "{ran:#?}");
    assert!(ran.stderr.contains("never written over another"), "{ran:#?}");
    assert_eq!(std::fs::read(workplace.path().join("out/journal")).unwrap(), before);
    let ran = workplace.run(&["report", "nowhere"]);
    assert_eq!(ran.code, 104, "{ran:#?}");
    assert!(ran.stderr.contains("there is no run `nowhere`"), "{ran:#?}");
}

#[test]
fn the_history_is_listed_tagged_pruned_and_never_more_than_runs() {
    let workplace = Workplace::new(WAVETANK);
    let script =
        "export const options = #{ vus: 1, iterations: 5 };\nfn iteration(ctx) { sleep(\"1ms\"); }";
    let file = workplace.file("plain.rhai", script);
    workplace.file(".git/HEAD", format!("{}\n", "ab".repeat(20)));
    for _ in 0..3 {
        assert_eq!(workplace.run(&["run", &file, "--progress", "none"]).code, 0);
    }
    workplace.file("wavetank-runs/notes/mine.txt", "no run");
    workplace.file("wavetank-runs/summary.json", "{}");
    std::os::unix::fs::symlink(workplace.path(), workplace.path().join("wavetank-runs/link"))
        .unwrap();
    let runs = |arguments: &[&str]| {
        let ran = workplace.run(&[&["runs"], arguments].concat());
        assert_eq!(ran.code, 0, "{ran:#?}");
        ran.stdout
    };
    let list = runs(&["list"]);
    let names: Vec<_> = list.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names.len(), 3, "{list}");
    assert!(list.contains("pass") && list.contains("abababab"), "{list}");
    assert!(names.is_sorted_by(|one, other| one[..15] >= other[..15]), "the newest first: {list}");
    let oldest = names[2];
    assert!(runs(&["show", oldest]).contains("plain.rhai sha256:"));
    runs(&["tag", oldest, "main", "good"]);
    runs(&["tag", oldest, "good", "--remove"]);
    assert!(runs(&["list"]).lines().last().unwrap().ends_with("main"));
    let bad = workplace.run(&["runs", "tag", oldest, "a b/../c"]);
    assert_eq!(bad.code, 104, "{bad:#?}");
    let log = runs(&["export", oldest]);
    assert!(log.contains("Tag=iteration_duration{outcome:ok;scenario:default"), "{log}");
    assert_eq!(workplace.run(&["runs", "prune"]).code, 104, "it takes a limit");
    assert!(runs(&["prune", "--keep", "1", "--dry-run"]).contains("would remove"));
    assert_eq!(runs(&["list"]).lines().count(), 4);
    let removed = runs(&["prune", "--keep", "1"]);
    assert!(removed.contains(names[1]) && !removed.contains(oldest), "{removed}");
    assert!(runs(&["prune", "--older-than", "1d", "--max-size", "1GB"]).is_empty());
    assert_eq!(runs(&["list"]).lines().count(), 3, "the newest, and the one with a tag");
    assert!(workplace.path().join("wavetank-runs/notes/mine.txt").exists());
    assert!(workplace.path().join("wavetank-runs/link/plain.rhai").exists());
}

const SECRET: &str = "hunter2-Wert\\\"x";

/// Every byte of every file below a folder, the journals inflated beside.
fn everything(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    if let Ok(payloads) = wavetank::record::payloads(folder) {
        into.extend(payloads.into_iter().map(|(kind, bytes)| (format!("{kind:?}"), bytes)));
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            everything(&path, into);
        } else {
            into.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn a_secret_reaches_no_file_and_no_screen() {
    let script = r#"
// It was hunter2-Wert\"x once.
const TOKEN = secret("token");
export const options = #{
    scenarios: #{ all: #{ executor: "shared-iterations", vus: 1, iterations: 4, env: #{ key: secret("token") },
        tags: #{ held: "x" + secret("token") } } },
    thresholds: #{ iteration_errors: "rate <= 1" },
};
fn iteration(ctx) {
    print(`the token is ${global::TOKEN}`);
    check(`with ${global::TOKEN}`, ctx.env.key == global::TOKEN);
    group(`in ${global::TOKEN}`, || { check("inside", true); });
    if ctx.iteration == 2 { run::mark_failed(`because of ${global::TOKEN}`); }
    throw `failed with ${global::TOKEN}`;
}
"#;
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("told.rhai", script);
    let (files, tag) = (files("live"), format!("mine={SECRET}"));
    let mut command = workplace.command(&[
        "run",
        &file,
        "--out",
        "out",
        "--secret-env",
        "token=TOKEN",
        "--progress",
        "plain",
        "--tag",
        &tag,
        "--summary-export",
        "summary.json",
    ]);
    command.args(files);
    let ran = workplace.finish(command.env("TOKEN", SECRET).output().unwrap());
    assert!(matches!(ran.code, 110 | 99), "{ran:#?}");
    assert!(ran.stderr.contains("the token is ***"), "{ran:#?}");
    let mut found = vec![
        ("stdout".to_owned(), ran.stdout.clone().into_bytes()),
        ("stderr".to_owned(), ran.stderr.clone().into_bytes()),
    ];
    everything(&workplace.path().join("out"), &mut found);
    for format in FORMATS {
        let name = format!("live.{format}");
        let bytes = std::fs::read(workplace.path().join(&name)).unwrap();
        found.push((name, bytes));
    }
    found
        .push(("export".to_owned(), std::fs::read(workplace.path().join("summary.json")).unwrap()));
    let again = workplace.run(&["report", "out", "--format", "json"]);
    found.push(("report".to_owned(), again.stdout.into_bytes()));
    assert!(found.iter().any(|(name, _)| name == "Interval"), "the journal is among it");
    for (name, bytes) in &found {
        let text = String::from_utf8_lossy(bytes);
        // Its first part stands for it: JSON and pages write the rest in their own ways.
        assert!(!text.contains("hunter2"), "{name}: {text}");
    }
    assert_told_again(&workplace, &ran);
}
