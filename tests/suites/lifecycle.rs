//! A script that throws and a component that fails or traps, in each lifecycle function: what the
//! command says, and the code that it exits with.

use serde_json::Value;
use wavetank_tests::{
    command::{Ran, Workplace},
    guests::guest,
};

use crate::{WAVETANK, input::in_time};

/// Iterations that were completed; none without a summary.
fn completed(ran: &Ran) -> u64 {
    let summary = ran.summary.as_ref().unwrap_or(&Value::Null);
    summary["scenarios"][0]["completed"].as_u64().unwrap_or(0)
}

fn script(body: &str) -> Ran {
    let workplace = Workplace::new(WAVETANK);
    let options = "export const options = #{ vus: 1, iterations: 3 };";
    let file = workplace.file("bad.rhai", format!("{options}\n{body}\n"));
    in_time(|| workplace.run_workload(&[&file]))
}

#[test]
fn a_script_that_throws_at_its_top_level_does_not_load() {
    let ran = script("throw \"at the top\";\nfn iteration(ctx) {}");
    ran.assert_says(104, &["at the top", "bad.rhai:2:1", "^"]);
    assert!(ran.summary.is_none(), "nothing ran: {ran:#?}");
}

#[test]
fn a_script_that_throws_outside_iterations_fails_its_run() {
    let throwing = |name: &str| {
        let other = if name == "setup" { "teardown" } else { "setup" };
        script(&format!(
            "fn {name}(ctx) {{ throw \"thrown in {name}\" }}\n\
             fn {other}(ctx) {{ print(\"{other} ran\") }}\nfn iteration(ctx) {{}}"
        ))
    };
    let setup = throwing("setup");
    setup.assert_says(107, &["setup: thrown in setup", "bad.rhai:2:17"]);
    assert!(!setup.stderr.contains("teardown ran"), "{setup:#?}");
    assert_eq!(completed(&setup), 0);
    let init = throwing("init");
    init.assert_says(107, &["init of VU 1: thrown in init", "bad.rhai:2:16", "setup ran"]);
    assert_eq!(completed(&init), 0);
    let teardown = throwing("teardown");
    teardown.assert_says(107, &["teardown: thrown in teardown", "bad.rhai:2:20", "setup ran"]);
    assert_eq!(completed(&teardown), 3);
}

#[test]
fn a_script_that_throws_in_an_iteration_is_judged() {
    let ran = script("fn iteration(ctx) { throw \"in iteration\" }");
    ran.assert_says(99, &["3 × threw", "in iteration", "bad.rhai:2:21", "iteration_errors"]);
    assert_eq!(ran.metric("iteration_errors", &[])["rate"], 1.0);
    assert_eq!(completed(&ran), 3);
}

#[test]
fn a_script_may_end_its_run_or_fail_it() {
    let ran = script("fn iteration(ctx) { run::abort(\"enough\") }");
    ran.assert_says(108, &["enough"]);
    let ran = script("fn iteration(ctx) { run::mark_failed(\"not good\") }");
    ran.assert_says(110, &["not good"]);
    assert_eq!(completed(&ran), 3);
}

/// A script that answers itself: during `setup`, in the `init` of its VUs, and in iterations.
const ANSWERING: &str = r#"
export const options = #{
    scenarios: #{ one: #{ executor: "per-vu-iterations", vus: 4, iterations: 25 } },
    services: #{ "who": "who" },
    ops: ["during_setup"],
};
fn setup(ctx) {
    db::execute("CREATE TABLE inits (number INTEGER PRIMARY KEY)");
    let early = bus::request("who", "", #{ op: "during_setup" });
    if !early.ok || early.json.init != () { throw `setup was answered ${early}`; }
    #{ town: "Bree" }
}
fn init(ctx) {
    this.init = ctx.data.town;
    let kept = db::execute("INSERT INTO inits VALUES (?)", [ctx.vu]);
    if !kept.ok { throw `${kept.message}`; }
}
fn who(message) { #{ init: this.init } }
fn iteration(ctx) {
    let reply = bus::request("who", "");
    check("init has run", reply.ok && reply.json.init == "Bree");
}
fn teardown(ctx) { print(`${db::query("SELECT count(*) AS n FROM inits").rows[0].n} inits`); }
"#;

#[test]
fn init_runs_for_the_workers_of_a_scripts_services() {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("answering.rhai", ANSWERING);
    let ran = in_time(|| workplace.run_workload(&[&file]));
    // 4 VUs and 64 workers, each with a number of its own.
    ran.assert_says(0, &["68 inits"]);
    let checks = ran.metric("checks", &[]);
    assert_eq!((&checks["passes"], &checks["total"]), (&100.into(), &100.into()), "{ran:#?}");
}

#[test]
fn init_that_fails_for_a_worker_only_fails_the_run() {
    let picky =
        ANSWERING.replace("this.init =", "if ctx.vu > 4 { throw \"not for workers\" } this.init =");
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("answering.rhai", picky);
    let ran = in_time(|| workplace.run_workload(&[&file]));
    ran.assert_says(107, &["init of the services' workers: not for workers", "answering.rhai:14"]);
    assert_eq!(completed(&ran), 0);
}

/// Runs the hostile guest, which ends badly in `place`.
fn component(place: &str) -> Ran {
    let path = guest("hostile-guest").display().to_string();
    let fails = format!("fail_in={place}");
    let arguments = [path.as_str(), "-p", &fails, "--vus", "1", "--iterations", "3"];
    in_time(|| Workplace::new(WAVETANK).run_workload(&arguments))
}

#[test]
fn a_component_that_fails_or_traps_outside_iterations_fails_its_run() {
    for (place, who, ran_through) in
        [("setup", "setup", 0), ("init", "init of VU 1", 0), ("teardown", "teardown", 3)]
    {
        let fails = component(place);
        fails.assert_says(107, &[&format!("{who}: failed in {place}")]);
        assert_eq!(completed(&fails), ran_through, "{fails:#?}");
        let traps = component(&format!("{place}-panic"));
        let place_of_it = "tests/guests/hostile/src/lib.rs:";
        let says = format!("{who}: it panicked: boom in {place}");
        traps.assert_says(107, &[&says, place_of_it]);
        assert_eq!(completed(&traps), ran_through, "{traps:#?}");
    }
}

#[test]
fn a_component_that_fails_or_traps_in_an_iteration_is_judged() {
    let fails = component("iterate");
    fails.assert_says(99, &["3 × threw", "failed in iterate", "iteration_errors"]);
    assert_eq!((completed(&fails), &fails.metric("guest_traps", &[])["count"]), (3, &Value::Null));
    // Each trap costs the instance; the VU goes on with a fresh one.
    let traps = component("iterate-panic");
    traps.assert_says(99, &["3 × trapped", "boom in iterate", "iteration_errors"]);
    assert_eq!(completed(&traps), 3);
    assert_eq!(traps.metric("guest_traps", &[])["count"], 3.0);
}

/// The hostile guest with the bytes changed that say how `describe` ends.
pub fn described(how: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(guest("hostile-guest")).unwrap();
    let told = b"describe: fine";
    let at = bytes.windows(told.len()).position(|window| window == told).expect("the guest's word");
    bytes[at + told.len() - how.len()..at + told.len()].copy_from_slice(how.as_bytes());
    bytes
}

#[test]
fn a_component_that_cannot_describe_itself_does_not_load() {
    let could_not = "the component could not describe itself";
    let described = |how: &str| {
        let workplace = Workplace::new(WAVETANK);
        let file = workplace.file("guest.wasm", described(how));
        in_time(|| workplace.run_workload(&[&file]))
    };
    let trap = described("trap");
    trap.assert_says(104, &["guest.wasm", could_not, "it panicked: boom in describe", "lib.rs:"]);
    let endless = described("loop");
    endless.assert_says(104, &["guest.wasm", could_not, "cut off after 2s of CPU time"]);
    let asking = described("rand");
    let withheld = "`random.integer` is not at hand in `describe`";
    asking.assert_says(104, &["guest.wasm", could_not, withheld]);
    let wrong = described("text");
    wrong.assert_says(104, &["guest.wasm", "`options` of the description"]);
    for ran in [trap, endless, asking, wrong] {
        assert!(ran.summary.is_none(), "nothing ran: {ran:#?}");
    }
}
