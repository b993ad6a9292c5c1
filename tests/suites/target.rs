//! Targets: real processes that are started, waited for, watched, stopped, and never left behind.
//!
//! What a process used is told by the process itself (`getrusage`, `/proc/self`), and compared with what
//! the runner says of it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use wavetank_tests::{
    command::{Ran, Workplace},
    nats::NatsServer,
    wait,
};

use crate::{WAVETANK, input::in_time};

/// A machine that does other things, too, may take so long for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that lasts so many seconds and does nothing.
fn idle(seconds: f64) -> String {
    format!(
        "export const options = #{{ scenarios: #{{ idle: #{{ executor: \"constant-vus\", vus: 1, \
         duration: \"{seconds}s\" }} }} }};\nfn iteration(ctx) {{ sleep(0.05); }}"
    )
}

/// The flag that declares a target.
fn declared(name: &str, target: &Value) -> String {
    format!("--target={name}={target}")
}

fn run(workplace: &Workplace, script: &str, flags: &[&str]) -> Ran {
    let file = workplace.file("target.rhai", script);
    let ran = in_time(|| workplace.run_workload(&[&[file.as_str()], flags].concat()));
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
    ran
}

fn python(program: &str) -> Value {
    json!(["python3", "-u", "-c", program])
}

/// What the summary says of its first target.
fn target(ran: &Ran) -> &Value {
    &ran.summary.as_ref().unwrap_or_else(|| panic!("no summary: {ran:#?}"))["targets"][0]
}

#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// Whether it became true in time.
#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
fn becomes(what: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if what() {
            return true;
        }
        pause(Duration::from_millis(20));
    }
    false
}

/// Runs until a target has written this file and it was looked at since, then stops the run from outside;
/// the number that the file holds. How long the target takes depends on the machine.
fn until_written(workplace: &Workplace, flags: &[&str], file: &str) -> (Ran, f64) {
    let script = workplace.file("long.rhai", idle(300.0));
    let common = ["run", "--summary-export", "summary.json", "--progress", "none", &script];
    let child = workplace.start(&[&common[..], flags].concat());
    let number = number_in(workplace, file).parse().unwrap();
    pause(Duration::from_millis(2_500));
    let stopped = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let ran = workplace.finish(child.wait_with_output().unwrap());
    ran.assert_says(105, &[]);
    (ran, number)
}

/// Whether a process runs: one that nobody has waited for yet does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
    stat.is_ok_and(|stat| {
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim().chars().next());
        !matches!(state, Some('Z' | 'X') | None)
    })
}

fn number_in(workplace: &Workplace, file: &str) -> String {
    let path = workplace.path().join(file);
    assert!(becomes(|| std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))));
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn a_target_is_ready_by_a_line_a_port_and_a_command() {
    let workplace = Workplace::new(WAVETANK);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let program = format!(
        "import socket, time, pathlib\n\
         print('starting', flush=True)\n\
         time.sleep(0.3)\n\
         s = socket.create_server(('127.0.0.1', {port}))\n\
         print('now listening on it', flush=True)\n\
         pathlib.Path('made').touch()\n\
         while True: s.accept()"
    );
    for ready in [
        json!({ "line": "listening" }),
        json!({ "port": port }),
        json!({ "command": ["test", "-e", "made"] }),
        json!([{ "port": port }, { "line": "listening" }, { "command": ["test", "-e", "made"] }]),
    ] {
        let flag = declared("py", &json!({ "command": python(&program), "ready": ready }));
        let ran = run(&workplace, &idle(0.2), &[&flag]);
        ran.assert_says(0, &[]);
        assert_eq!(target(&ran)["starts"], 1, "{ran:#?}");
        assert_eq!(target(&ran)["unplanned_deaths"], 0, "{ran:#?}");
        let _ = std::fs::remove_file(workplace.path().join("made"));
    }
}

/// A service that answers when it is asked for its health.
const HEALTH: &str = "export const options = #{ services: #{ \"health\": \"health\" } };\n\
                      fn health(message) { \"well\" }\nfn iteration(ctx) {}";

#[test]
fn a_target_is_ready_when_it_answers_on_the_bus() {
    let server = wait(NatsServer::start());
    let url = server.url();
    let workplace = Workplace::new(WAVETANK);
    workplace.file("service.rhai", HEALTH);
    let flag = declared(
        "service",
        &json!({
            "command": [WAVETANK, "serve", "service.rhai"],
            "ready": { "request": "health", "payload": { "are you": "well" } },
        }),
    );
    let ask = "export const options = #{ iterations: 1, thresholds: #{ checks: \"rate == 1\" } };\n\
               fn iteration(ctx) { check(\"it answers\", bus::request(\"health\", \"\").ok); }";
    let ran = run(&workplace, ask, &["--bus", &url, &flag]);
    ran.assert_says(0, &[]);
    let pid = target(&ran)["pid"].to_string();
    assert!(!runs(&pid), "{pid} outlived its run");
    // The embedded bus is reached by nobody else: that is said before anything is started.
    let flag = declared("service", &json!({ "command": "serve --bus {bus}" }));
    run(&workplace, ask, &[&flag]).assert_says(104, &["asks for {bus}", "--bus nats-server"]);
}

#[test]
fn placeholders_and_environment_say_where_the_run_is() {
    let workplace = Workplace::new(WAVETANK);
    let server = wait(NatsServer::start());
    let url = server.url();
    let shell =
        "echo $WAVETANK_BUS $WAVETANK_DB $WAVETANK_RUN {run} $DIR \"$OWN\" > told; exec sleep 60";
    let flag = declared(
        "sh",
        &json!({
            "command": ["sh", "-c", shell],
            "env": { "DIR": "{dir}", "OWN": "{bus} {db} {other}" },
            "ready": { "command": "test -s told" },
        }),
    );
    let ran = run(
        &workplace,
        &idle(0.1),
        &["--bus", &url, "--db", "sqlite:it.db", "--out", "out", &flag],
    );
    ran.assert_says(0, &[]);
    let told = std::fs::read_to_string(workplace.path().join("told")).unwrap();
    let words: Vec<&str> = told.split_whitespace().collect();
    let id = ran.summary.as_ref().unwrap()["run"]["id"].as_str().unwrap();
    assert_eq!(words[0], url, "{told}");
    assert!(words[1].starts_with("sqlite:") && words[1].ends_with("it.db"), "{told}");
    assert_eq!(words[2..4], [id, id], "{told}");
    assert!(words[4].ends_with("/out"), "{told}");
    assert_eq!(words[5..], [url.as_str(), words[1], "{other}"], "{told}");
}

#[test]
fn a_target_that_is_not_ready_ends_the_run_before_it_began() {
    let workplace = Workplace::new(WAVETANK);
    let never = json!({
        "command": ["sh", "-c", "echo only this >&2; echo $$ > pid; exec sleep 60"],
        "ready": { "line": "ready" },
        "ready_timeout": "500ms",
    });
    let ran = run(&workplace, &idle(0.1), &[&declared("late", &never)]);
    let words = ["target `late` was not ready within 500ms", "a line with `ready`", "only this"];
    ran.assert_says(113, &words);
    assert!(!runs(&number_in(&workplace, "pid")), "{ran:#?}");
    let dead =
        json!({ "command": ["sh", "-c", "echo cannot bind; exit 3"], "ready": { "line": "x" } });
    let ran = run(&workplace, &idle(0.1), &[&declared("dead", &dead)]);
    ran.assert_says(113, &["ended before it was ready, with exit status 3", "cannot bind"]);
    let ran = run(&workplace, &idle(0.1), &["--target", "none=./no-such-program --x"]);
    ran.assert_says(113, &["target `none` could not be started", "No such file"]);
    // One that was ready goes with one that is not.
    let first = declared(
        "first",
        &json!({ "command": ["sh", "-c", "echo $$ > first; exec sleep 60"],
                                           "ready": { "command": "test -s first" } }),
    );
    let ran = run(&workplace, &idle(0.1), &[&first, "--target", "none=./no-such-program"]);
    ran.assert_says(113, &["`none`"]);
    assert!(!runs(&number_in(&workplace, "first")), "{ran:#?}");
}

#[test]
fn a_target_that_dies_unplanned_fails_the_run_and_its_figures_are_kept() {
    let workplace = Workplace::new(WAVETANK);
    let dies = "echo it works; sleep 2.5; echo 'out of \\033[31mmemory' >&2; exit 9";
    let flag = declared("frail", &json!({ "command": ["sh", "-c", dies] }));
    let ran = run(&workplace, &idle(5.0), &[&flag]);
    ran.assert_says(113, &["target `frail` died: exit status 9", "it works", "out of"]);
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{ran:#?}");
    let facts = target(&ran);
    assert_eq!(facts["unplanned_deaths"], 1, "{facts:#}");
    assert_eq!(facts["running"], false, "{facts:#}");
    assert!(facts["last_lines"][1].as_str().unwrap().starts_with("out of"), "{facts:#}");
    assert!(facts["rss_max_bytes"].as_u64().unwrap() > 0, "{facts:#}");
    let iterations = ran.metric("iterations", &[])["count"].as_f64().unwrap();
    assert!(iterations >= 10.0, "the run went on: {iterations}");
}

#[test]
fn a_target_that_does_not_stop_is_killed_after_its_grace() {
    let workplace = Workplace::new(WAVETANK);
    let deaf = "trap '' TERM; echo $$ > deaf; while :; do sleep 0.05; done";
    let flag = declared(
        "deaf",
        &json!({ "command": ["sh", "-c", deaf], "ready": { "command": "test -s deaf" },
                 "stop": { "grace": "300ms" } }),
    );
    run(&workplace, &idle(0.1), &[&flag]).assert_says(0, &[]);
    assert!(!runs(&number_in(&workplace, "deaf")));
    // No shell: what comes while dash forks, or begins to wait, may be lost to its trap.
    let polite = "import pathlib, signal, sys, time\n\
                  def bye(*_):\n\
                  \ttime.sleep(0.3)\n\
                  \tpathlib.Path('polite').write_text('bye\\n')\n\
                  \tsys.exit()\n\
                  signal.signal(signal.SIGINT, bye)\n\
                  pathlib.Path('up').write_text('1')\n\
                  while True: time.sleep(0.05)\n";
    let flag = declared(
        "polite",
        &json!({ "command": python(polite), "ready": { "command": "test -s up" },
                 "stop": { "signal": "INT", "grace": "30s" } }),
    );
    run(&workplace, &idle(0.1), &[&flag]).assert_says(0, &[]);
    assert_eq!(number_in(&workplace, "polite"), "bye");
}

/// A process that starts a child, one more in a session of its own, and one whose parent is gone.
const FAMILY: &str = "sh -c 'echo $$ > child; exec sleep 300' & \
    setsid sh -c 'echo $$ > session; exec sleep 300' & \
    (setsid sh -c '(echo $$ > inner; exec sleep 300)' &) & \
    echo $$ > leader; wait";

#[test]
fn nothing_outlives_a_runner_that_is_killed() {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("long.rhai", idle(120.0));
    let flag = declared("family", &json!({ "command": ["sh", "-c", FAMILY] }));
    let mut runner = workplace.start(&["run", "--progress", "none", &file, &flag]);
    let family = ["leader", "child", "session", "inner"].map(|name| number_in(&workplace, name));
    assert!(family.iter().all(|pid| runs(pid)), "{family:?}");
    runner.kill().unwrap();
    runner.wait().unwrap();
    assert!(becomes(|| !family.iter().any(|pid| runs(pid))), "{family:?}");
}

#[test]
fn nothing_outlives_a_run() {
    let workplace = Workplace::new(WAVETANK);
    let flag = declared(
        "family",
        &json!({ "command": ["sh", "-c", FAMILY], "ready": { "command": "test -s inner" } }),
    );
    run(&workplace, &idle(0.3), &[&flag]).assert_says(0, &[]);
    for name in ["leader", "child", "session", "inner"] {
        let pid = number_in(&workplace, name);
        assert!(!runs(&pid), "{name}, {pid}, still runs");
    }
}

/// A process of the test's own, ended with it.
struct Own(Child);

impl Own {
    fn start(words: &[&str]) -> Self {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_was_attached_to_lives_on() {
    let workplace = Workplace::new(WAVETANK);
    let own = Own::start(&["sleep", "300"]);
    workplace.file("its.pid", format!("{}\n", own.pid()));
    for flag in [format!("--target=own=pid:{}", own.pid()), "--target=own=pidfile:its.pid".into()] {
        let ran = run(&workplace, &idle(0.3), &[&flag]);
        ran.assert_says(0, &[]);
        assert_eq!(target(&ran)["pid"].to_string(), own.pid());
        assert!(target(&ran)["rss_max_bytes"].as_u64().unwrap() > 0, "{ran:#?}");
        assert!(runs(&own.pid()), "it was ended");
    }
    let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listening.local_addr().unwrap().port();
    let ran = run(&workplace, &idle(0.2), &[&format!("--target=own=port:{port}")]);
    assert_eq!(target(&ran)["pid"].as_u64(), Some(u64::from(std::process::id())), "{ran:#?}");
    let ran = run(&workplace, &idle(0.1), &["--target=own=pid:2147483646"]);
    ran.assert_says(113, &["there is no process 2147483646"]);
}

/// Burns CPU time of so many seconds by its own clock, here and in children, one of which nobody waits
/// for, then writes what it and they used and goes on doing nothing.
const BURNER: &str = r#"
import os, resource, signal, time
def burn(seconds):
    while sum(os.times()[:2]) < seconds:
        for _ in range(10000): pass
time.sleep(4)
child = os.fork()
if child == 0:
    burn(0.6)
    os._exit(0)
os.waitpid(child, 0)
for _ in range(5):
    child = os.fork()
    if child == 0:
        burn(0.04)
        os._exit(0)
    os.waitpid(child, 0)
burn(1.0)
own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
child = os.fork()
if child == 0:
    burn(0.8)
    os._exit(0)
time.sleep(2)
with open("used", "w") as file:
    used = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    file.write(f"{used + 0.8}\n")
time.sleep(300)
"#;

#[test]
fn the_cpu_of_a_known_burner_is_told_children_included() {
    let workplace = Workplace::new(WAVETANK);
    let flag = declared("burner", &json!({ "command": python(BURNER) }));
    let (ran, truth) = until_written(&workplace, &[&flag], "used");
    let told = ran.metric("target_cpu_seconds", &[])["count"].as_f64().unwrap();
    assert!((told / truth - 1.0).abs() < 0.1, "{told} told, {truth} used: {:#}", target(&ran));
    let facts = target(&ran);
    let sum = facts["cpu_user_s"].as_f64().unwrap() + facts["cpu_system_s"].as_f64().unwrap();
    assert!((sum - told).abs() < 1e-6, "{facts:#}");
    let most = facts["cpu_percent_max"].as_f64().unwrap();
    assert!((20.0..250.0).contains(&most), "{facts:#}");
}

#[test]
fn memory_and_written_bytes_of_a_known_process_are_told() {
    const MEGABYTES: u64 = 96;
    let workplace = Workplace::new(WAVETANK);
    let program = format!(
        "import os, time\n\
         time.sleep(4)\n\
         block = bytearray(os.urandom(1 << 20)) * {MEGABYTES}\n\
         with open('file', 'wb') as file:\n\
         \x20   file.write(block[:32 << 20]); file.flush(); os.fsync(file.fileno())\n\
         child = os.fork()\n\
         if child:\n\
         \x20   own = [l for l in open('/proc/self/io') if l.startswith('write_bytes')][0].split()[1]\n\
         \x20   open('written', 'w').write(own + '\\n')\n\
         time.sleep(300)"
    );
    let flag = declared("hog", &json!({ "command": python(&program) }));
    let (ran, written) = until_written(&workplace, &[&flag], "written");
    let facts = target(&ran);
    let bytes = |name: &str| facts[name].as_f64().unwrap();
    let touched = (MEGABYTES << 20) as f64;
    let grown = bytes("rss_max_bytes") / 2.0 - bytes("rss_start_bytes");
    // Two processes share the pages: resident in both, proportionally once.
    assert!((grown / touched - 1.0).abs() < 0.15, "{facts:#}");
    assert!(
        (bytes("pss_bytes") / (touched + bytes("rss_start_bytes")) - 1.0).abs() < 0.2,
        "{facts:#}"
    );
    assert!(bytes("peak_rss_bytes") >= bytes("rss_max_bytes"), "{facts:#}");
    assert!((bytes("written_bytes") - written).abs() <= 0.01 * written + 65_536.0, "{facts:#}");
    assert_eq!(facts["network_bytes"], Value::Null, "{facts:#}");
    let rss =
        facts["slopes"].as_array().unwrap().iter().find(|s| s["metric"] == "target_rss_bytes");
    assert!(rss.unwrap()["per_second"].as_f64().unwrap() > 0.0, "{facts:#}");
    let gauge = ran.metric("target_rss_bytes", &[]);
    assert_eq!(gauge["max"].as_f64(), Some(bytes("rss_max_bytes")), "{gauge:#}");
}

#[test]
fn samples_belong_to_scenario_stage_and_target() {
    let workplace = Workplace::new(WAVETANK);
    let script = r#"
export const options = #{
    scenarios: #{
        calm: #{ executor: "constant-vus", vus: 1, duration: "1s", exec: "wait", graceful_stop: "0s" },
        busy: #{ executor: "ramping-vus", start_after: "calm", exec: "wait", graceful_stop: "0s",
                 stages: [#{ duration: "1s", target: 1, name: "one" }, #{ duration: "1s", target: 1, name: "two" }] },
    },
    derived: #{ cpu_each: "target_cpu_seconds.count{target:burner} / iterations.count" },
    thresholds: #{
        "target_cpu_seconds{target:burner,scenario:busy}": "count > 0.02",
        "target_cpu_seconds{target:burner,scenario:calm}": "count > 0.01",
        "target_cpu_seconds{target:burner,stage:two}": "count > 0.01",
        "target_cpu_seconds{mode:user}": "count > 0.02",
        "target_rss_bytes{target:burner}": "slope < 100 MB/s",
        cpu_each: "value > 0",
    },
};
fn wait(ctx) { sleep(0.02); }
"#;
    let burner = "import time\nwhile True:\n  sum(range(1000))";
    let flag = declared("burner", &json!({ "command": python(burner) }));
    let ran = run(&workplace, script, &[&flag]);
    ran.assert_says(0, &["target_cpu_seconds{mode:user}"]);
    let all = ran.metric("target_cpu_seconds", &[])["count"].as_f64().unwrap();
    assert!(all > 0.03, "{ran:#?}");
    // What was not looked at is not zero.
    for unseen in ["target_cpu_seconds{target:burnr}", "target_written_bytes{target:burnr}"] {
        let script = script.replace(
            "target_cpu_seconds{mode:user}\": \"count >",
            &format!("{unseen}\": \"count <"),
        );
        run(&workplace, &script, &[&flag]).assert_says(117, &["no target{target:burnr}"]);
    }
    let ratio = script.replace("count{target:burner}", "count{target:burnr}");
    run(&workplace, &ratio, &[&flag]).assert_says(117, &["cpu_each"]);
    let wrong = script.replace("mode:user", "mode:usr");
    run(&workplace, &wrong, &[&flag]).assert_says(104, &["there is no mode `usr`"]);
}

#[test]
fn hostile_output_does_no_harm() {
    let workplace = Workplace::new(WAVETANK);
    let program = "import os, sys, time\n\
                   out = sys.stdout.buffer\n\
                   out.write(b'x' * (1 << 20) + b'\\n'); out.write(os.urandom(1 << 20)); out.write(b'\\n')\n\
                   out.write(b'\\x1b]0;evil\\x07\\x1b[2J\\n' * 1000)\n\
                   out.write(b'y' * (64 << 20)); out.write(b'\\nready at last\\n'); out.flush()\n\
                   time.sleep(0.5); sys.exit(1)";
    let flag =
        declared("loud", &json!({ "command": python(program), "ready": { "line": "at last" } }));
    let ran = run(&workplace, &idle(1.5), &[&flag]);
    ran.assert_says(113, &["ready at last"]);
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{ran:#?}");
    assert!(ran.stderr.len() + ran.stdout.len() < 200_000, "{}", ran.stderr.len());
}

#[test]
fn what_is_declared_wrongly_is_said_before_anything_runs() {
    let workplace = Workplace::new(WAVETANK);
    for (flag, words) in [
        ("x", "there is no `=`"),
        ("../x=sleep 1", "is not a name of a target"),
        ("x=pid:none", "expected a whole number"),
        ("x=sh -c 'oh", "ends within quotes"),
        ("x={\"comand\":\"y\"}", "did you mean `command`?"),
    ] {
        let ran = run(&workplace, &idle(0.1), &["--target", flag]);
        ran.assert_says(104, &["--target", words]);
    }
    let ran = run(&workplace, &idle(0.1), &["--target", "x=true", "--target", "x=true"]);
    ran.assert_says(104, &["two targets `x`"]);
}

/// A service behind a shell that stamps when it was told to go and when it was back, and is away for a
/// second and a half at least.
const STAMPED: &str = r#"
stamp() { date +%s%N >> "$1"; }
if [ -e up ]; then sleep 1.5; fi
"$0" serve service.rhai 2> log & child=$!
trap 'stamp down; kill $child; wait $child; exit 0' TERM
until grep -q ready: log; do sleep 0.01; done
stamp up
wait $child
"#;

const BREAKING: &str = r#"
export const options = #{
    scenarios: #{
        load: #{ executor: "constant-arrival-rate", rate: 25, duration: "14s", exec: "ask", pre_allocated_vus: 50 },
        breaker: #{ executor: "shared-iterations", iterations: 1, start_time: "2s", exec: "break_it" },
    },
    ops: ["ask"],
    thresholds: #{
        "bus_request_failed": "rate < 0.9",
        "checks": "rate == 1",
        "target_restart_duration{target:service}": "max < 100s",
        "target_outage_duration{target:service,op:ask}": "max < 100s",
    },
};
fn ask(ctx) { bus::request("health", "", #{ timeout: "400ms", op: "ask" }); }
fn break_it(ctx) {
    let restarted = target::restart("service");
    if !restarted.ok { throw restarted.message; }
    check("it takes its time", restarted.took > 1.s);
}
"#;

fn stamps(workplace: &Workplace, file: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(workplace.path().join(file)).unwrap();
    text.lines().map(|line| line.parse::<f64>().unwrap() / 1e9).collect()
}

#[test]
fn a_restart_under_load_is_seen_as_the_process_itself_stamped_it() {
    let server = wait(NatsServer::start());
    let url = server.url();
    let workplace = Workplace::new(WAVETANK);
    workplace.file("service.rhai", HEALTH);
    let flag = declared(
        "service",
        &json!({ "command": ["sh", "-c", STAMPED, WAVETANK], "ready": { "request": "health" } }),
    );
    let flags = ["--bus", &url, &flag, "--allow", "target=service"];
    let ran = run(&workplace, BREAKING, &flags);
    ran.assert_says(0, &["stopped 1", "an outage, as users saw it: 1 times"]);
    let (down, up) = (stamps(&workplace, "down")[0], stamps(&workplace, "up")[1]);
    let truth = up - down;
    assert!(truth > 1.4, "{truth}");
    let near = |told: f64| (told / 1e9 - truth).abs() < 0.4 + 0.3 * truth;
    let outage = ran.metric("target_outage_duration", &[])["max"].as_f64().unwrap();
    assert!(near(outage), "{outage} ns told, {truth} s stamped");
    let restart = ran.metric("target_restart_duration", &[])["max"].as_f64().unwrap();
    assert!(near(restart), "{restart} ns told, {truth} s stamped");
    let facts = target(&ran);
    assert_eq!((&facts["starts"], &facts["planned_stops"]), (&json!(2), &json!(1)), "{facts:#}");
    assert_eq!(facts["unplanned_deaths"], 0, "{facts:#}");
}

/// A script that does this once and is an error if it throws.
fn once(body: &str) -> String {
    format!("export const options = #{{ iterations: 1 }};\nfn iteration(ctx) {{ {body} }}")
}

#[test]
fn a_workload_starts_stops_and_pauses_what_it_was_granted() {
    let workplace = Workplace::new(WAVETANK);
    let body = r#"
        for order in ["pause", "resume", "kill"] {
            let given = switch order {
                "pause" => target::pause("py"),
                "resume" => target::resume("py"),
                _ => target::kill("py"),
            };
            if !given.ok { throw `${order}: ${given.message}`; }
        }
        let stopped = target::stop("py");
        if stopped.ok || stopped.error != "not_running" { throw `stop: ${stopped}`; }
        if stopped.took != () { throw "it took no time"; }
        let started = target::start("py");
        if !started.ok || started.took <= 0.ms { throw `start: ${started}`; }
        if target::start("py").error != "running" { throw "it runs"; }
        if !target::stop("py").ok { throw "it was stopped"; }
        print("all of it");
    "#;
    let flag = declared(
        "py",
        &json!({ "command": python("print('up')\nimport time\ntime.sleep(300)"), "ready": { "line": "up" } }),
    );
    for grant in ["target=py", "target=*"] {
        let ran = run(&workplace, &once(body), &[&flag, "--allow", grant]);
        ran.assert_says(0, &["all of it"]);
        let facts = target(&ran);
        assert_eq!(
            (&facts["starts"], &facts["planned_stops"]),
            (&json!(2), &json!(2)),
            "{facts:#}"
        );
        assert_eq!(facts["running"], false, "{facts:#}");
    }
    // What it starts again and does not come back has died.
    let breaks = declared(
        "py",
        &json!({ "command": ["sh", "-c", "test -e one || { touch one; sleep 300; }"] }),
    );
    let ran = run(
        &workplace,
        &once("target::restart(\"py\"); sleep(2);"),
        &[&breaks, "--allow", "target=py"],
    );
    ran.assert_says(113, &["target `py` died: exit status 0"]);
}

#[test]
fn what_was_not_granted_or_declared_is_misuse() {
    let workplace = Workplace::new(WAVETANK);
    let flag = "--target=one=sleep 300";
    for (body, flags, words) in [
        ("target::stop(\"one\");", vec![], "this run has no targets"),
        ("target::stop(\"one\");", vec![flag], "add `--allow target=one`"),
        ("target::stop(\"one\");", vec![flag, "--allow", "target=two"], "add `--allow target=one`"),
        ("target::kill(\"a\\nb\");", vec![flag, "--allow", "target=*"], "declared are one"),
    ] {
        let ran = run(&workplace, &once(body), &flags);
        ran.assert_says(99, &[words]);
    }
    let own = Own::start(&["sleep", "300"]);
    let pid: u64 = own.pid().parse().unwrap();
    let attached = declared("own", &json!({ "pid": pid }));
    let allow = ["--allow", "target=own"];
    for (body, words) in [
        ("target::kill(\"own\");", "allow_stop = true"),
        ("target::restart(\"own\");", "does not know how"),
    ] {
        let ran = run(&workplace, &once(body), &[&[attached.as_str()], &allow[..]].concat());
        ran.assert_says(99, &[words]);
        assert!(runs(&own.pid()));
    }
    let attached = declared("own", &json!({ "pid": pid, "allow_stop": true }));
    let stop = once("if !target::stop(\"own\").ok { throw \"it lives\"; }");
    let ran = run(&workplace, &stop, &[&[attached.as_str()], &allow[..]].concat());
    ran.assert_says(0, &[]);
    assert!(!runs(&own.pid()));
    let check = workplace.file("check.rhai", once("target::restrt(\"x\");"));
    let ran = workplace.run(&["check", &check]);
    ran.assert_says(104, &["restrt", "restart"]);
}
