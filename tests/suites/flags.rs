//! What flags do, and what the command says of them: `--trace`, `--limit`, timeouts.

use wavetank_tests::command::{Ran, Workplace};

use crate::{WAVETANK, input::in_time};

fn run(script: &str, flags: &[&str]) -> Ran {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("flags.rhai", script);
    in_time(|| workplace.run_workload(&[&[file.as_str()], flags].concat()))
}

const TWO: &str = r#"
export const options = #{
    scenarios: #{
        buy: #{ executor: "constant-vus", vus: 5, duration: "1h", exec: "buy", env: #{ what: "tea" } },
        look: #{ executor: "constant-arrival-rate", rate: 9, duration: "1h", exec: "look" },
    },
    thresholds: #{ "iterations{scenario:look}": "count > 5" },
};
fn buy(ctx) { bus::publish("shop.buy", ctx.env.what); }
fn look(ctx) { bus::publish("shop.look", ""); }
"#;

#[test]
fn a_scenario_is_traced_with_its_function_and_tags() {
    let first = run(TWO, &["--trace"]);
    first.assert_says(0, &["bus::publish(shop.buy, 3 bytes)"]);
    assert!(!first.stderr.contains("shop.look"), "{first:#?}");
    assert_eq!(first.metric("iterations", &[])["count"], 1.0, "{first:#?}");
    let other = run(
        &TWO.replace("count > 5", "count == 1"),
        &["--trace", "--scenario", "look", "--tag", "team=red"],
    );
    other.assert_says(0, &["bus::publish(shop.look, 0 bytes)"]);
    assert!(!other.stderr.contains("shop.buy"), "{other:#?}");
    let metrics = other.summary.as_ref().unwrap()["metrics"].as_array().unwrap();
    assert!(metrics.iter().any(|metric| metric["tags"]["team"] == "red"), "{other:#?}");
    let unknown = run(TWO, &["--trace", "--scenario", "lok"]);
    unknown.assert_says(104, &["there is no scenario `lok`", "did you mean `look`?"]);
}

#[test]
fn inspect_lists_the_limits_with_what_flags_make_of_them() {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("flags.rhai", TWO);
    let ran = workplace.run(&["inspect", &file, "--limit", "guest_memory=8MiB"]);
    let memory = "guest_memory            8MiB  Bytes of linear memory of one instance.";
    ran.assert_says(0, &[memory, "service_workers", "lifecycle_cpu"]);
    let ran = workplace.run(&["inspect", &file, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let limits = json["limits"].as_array().unwrap();
    let memory = limits.iter().find(|limit| limit["name"] == "guest_memory").unwrap();
    assert_eq!(memory["value"], "64MiB");
}

#[test]
fn what_takes_too_long_says_what_to_raise() {
    let once = "export const options = #{ iterations: 1, setup_timeout: \"200ms\", \
                teardown_timeout: \"200ms\" };\n";
    let ends = |body: &str, flags: &[&str]| run(&format!("{once}{body}"), flags);
    let slow = "fn iteration(ctx) { sleep(60); }";
    ends(slow, &["--timeout", "300ms"]).assert_says(105, &["raise --timeout"]);
    let setup = ends("fn setup(ctx) { sleep(60); } fn iteration(ctx) {}", &[]);
    setup.assert_says(100, &["setup_timeout (200ms): raise `setup_timeout`"]);
    let init = ends("fn init(ctx) { sleep(60); } fn iteration(ctx) {}", &[]);
    init.assert_says(100, &["init of all VUs", "setup_timeout (200ms): raise `setup_timeout`"]);
    let teardown = ends("fn teardown(ctx) { sleep(60); } fn iteration(ctx) {}", &[]);
    teardown.assert_says(101, &["teardown_timeout (200ms): raise `teardown_timeout`"]);
    let hog = "fn setup(ctx) { loop { } } fn iteration(ctx) {}";
    let hog = ends(hog, &["--limit", "lifecycle_cpu=100ms"]);
    hog.assert_says(107, &["lifecycle_cpu of 100ms", "--limit lifecycle_cpu="]);
    let options = "export const options = #{ scenarios: #{ one: #{ executor: \"shared-iterations\", \
                   iteration_timeout: \"100ms\" } } };\n";
    let cut = run(&format!("{options}{slow}"), &[]);
    cut.assert_says(99, &["iteration_timeout (100ms): raise `iteration_timeout`"]);
}

const SERVED: &str = r#"
export const options = #{ iterations: 1, services: #{ "slow": "slow", "busy": "busy" } };
fn init(ctx) { print("a worker or a VU"); }
fn slow(message) { sleep(60); }
fn busy(message) { loop { } }
fn iteration(ctx) { bus::request(ctx.env.kind, "", #{ timeout: "4s" }); }
"#;

#[test]
fn workers_and_handlers_have_limits_that_flags_set() {
    let asked = |kind: &str| SERVED.replace("ctx.env.kind", &format!("{kind:?}"));
    let slow =
        run(&asked("slow"), &["--limit", "handler_timeout=100ms", "--limit", "service_workers=2"]);
    slow.assert_says(99, &["handler_timeout (100ms): raise it with --limit handler_timeout="]);
    assert_eq!(slow.stderr.matches("a worker or a VU").count(), 3, "{slow:#?}");
    let busy =
        run(&asked("busy"), &["--limit", "handler_cpu=100ms", "--limit", "service_workers=2"]);
    busy.assert_says(99, &["handler_cpu of 100ms", "--limit handler_cpu="]);
}

#[test]
fn fewer_database_connections_than_shards_are_refused_before_anything_is_reached() {
    let script = "fn iteration(ctx) {}";
    let away = ["--db", "postgres://nobody@127.0.0.1:1/none", "--limit", "database_connections=2"];
    let refused = run(script, &[&away[..], &["--shards", "4"]].concat());
    refused.assert_says(104, &["4 shards are more than the 2", "database_connections=4"]);
    // As many as there are connections may be had: what is missing then is the server.
    run(script, &[&away[..], &["--shards", "2"]].concat()).assert_says(116, &["127.0.0.1:1"]);
    let embedded = ["--limit", "database_connections=2", "--shards", "4"];
    run(script, &embedded).assert_says(0, &[]);
}

#[test]
fn the_probes_of_an_effect_can_be_judged_by_their_phase() {
    let ran = run(
        "export const options = #{ iterations: 1, thresholds: #{\n\
             \"db_queries{phase:probe}\": \"count > 0\", \"db_queries\": \"count == 0\" } };\n\
         fn setup(ctx) { db::execute(\"CREATE TABLE seen AS SELECT 1 AS one\"); }\n\
         fn iteration(ctx) {\n\
             bus::effect(\"a\", \"\", #{ query: \"SELECT one FROM seen\" });\n\
         }",
        &[],
    );
    ran.assert_says(0, &["db_queries{phase:probe}"]);
}
