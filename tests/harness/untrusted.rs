//! What is done with bytes that nobody vouches for: one function for each kind of them.
//!
//! A function takes any bytes at all and returns; what it must not do is panic, hang or take memory
//! without bound. Here and not in the fuzzer's own crate, because each of its inputs that found something
//! is run again by the suites (`fuzzed`), on the compiler that everything else is built with.

mod calls;
pub mod recorded;

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::json;
use wavetank::{
    plan::{Limits, Options, Plan, PlanInput, lock::Lock, suite::Suite},
    primitive::bus,
    workload::{LoadInput, Program},
};

/// A kind of untrusted bytes: its name, and what is done with them.
pub type Target = (&'static str, fn(&[u8]));

/// Every kind, by the name that its corpus has.
pub const TARGETS: [Target; 7] = [
    ("plugin", plugin),
    ("script", script),
    ("threshold", threshold),
    ("suite", suite),
    ("journal", recorded::journal),
    ("subject", subject),
    ("calls", calls::calls),
];

/// Does with the bytes what is done with those of a kind.
///
/// # Panics
/// If the bytes found something, or there is no such kind.
pub fn feed(kind: &str, bytes: &[u8]) {
    let (_, take) = TARGETS.iter().find(|(name, _)| *name == kind).expect("a kind");
    take(bytes);
}

/// Limits with which no single input keeps anyone waiting.
fn limits() -> Arc<Limits> {
    Arc::new(Limits {
        source_bytes: 64 << 10,
        script_operations: 20_000,
        script_memory: 256 << 20,
        script_collection: 10_000,
        script_string: 1 << 20,
        component_bytes: 1 << 20,
        compile_time: Duration::from_secs(10),
        guest_memory: 4 << 20,
        vus: 2,
        payload_bytes: 64 << 10,
        query_rows: 1_000,
        operation_timeout: Duration::from_millis(50),
        database_connections: 2,
        ..Limits::default()
    })
}

/// Loads bytes as a file with this ending.
fn load(name: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("a file");
    let input = LoadInput { limits: limits(), ..LoadInput::default() };
    let Ok(program) = Program::load(&path, &input) else { return };
    for finding in program.findings() {
        assert!(!finding.message.is_empty());
    }
    plan(program.describe().options.clone());
    // A thread of a run evaluates it once more.
    let _ = program.on_shard();
}

/// A plugin's bytes, up to what it says of itself.
fn plugin(bytes: &[u8]) {
    load("plugin.wasm", bytes);
}

/// A script's text, up to its options.
fn script(bytes: &[u8]) {
    load("script.rhai", bytes);
}

fn plan(options: Options) {
    let functions = ["iteration", "setup"].map(str::to_owned).to_vec();
    let input = PlanInput {
        name: "untrusted".to_owned(),
        options,
        functions,
        cores: 2,
        ..PlanInput::default()
    };
    let Ok(plan) = Plan::build(input.clone()) else { return };
    // The recipe that travels in a journal makes the same plan.
    let again = plan.recipe.build().expect("a plan that was built can be built again");
    assert_eq!(plan.thresholds, again.thresholds);
    let _ = plan.forecast();
}

/// A threshold on the metric of its first line, and the formula of a derived metric behind it.
fn threshold(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (metric, rest) = text.split_once('\n').unwrap_or(("", &text));
    let (expression, formula) = rest.split_once('\n').unwrap_or((rest, "checks.rate"));
    let scenario = json!({ "executor": "constant-vus", "vus": 1, "duration": "10s" });
    let options = json!({
        "scenarios": { "main": scenario, "other": scenario },
        "ops": ["ask", "tell"],
        "metrics": { "mine": "trend", "sum": "counter", "level": "gauge" },
        "derived": { "ratio": formula },
        "thresholds": { metric: [expression], "ratio": ["value < 1"] },
    });
    let serde_json::Value::Object(options) = options else { return };
    plan(Options(options));
}

/// A suite file, and a lock.
fn suite(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(suite) = Suite::read(&text, "suite.toml") {
        for entry in &suite.workloads {
            let _ = suite.resolve(Path::new("/nowhere"), &entry.workload);
        }
    }
    if let Ok(lock) = Lock::read(&text, "suite.lock") {
        let again = Lock::read(&lock.render(), "suite.lock").expect("what was rendered is a lock");
        assert_eq!(again.render(), lock.render());
        for plugin in &lock.plugins {
            assert!(lock.pin(&plugin.file.source, "anew").is_some());
        }
    }
}

/// A subject, two patterns and a header, one to a line.
fn subject(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (subject, outer, inner, queue) = (line(), line(), line(), line());
    let headers = vec![(line().to_owned(), line().to_owned())];
    let _ = (bus::validate_queue(queue), bus::validate_headers(&headers));
    let valid = bus::validate_subject(subject).is_ok();
    if valid {
        assert!(bus::validate_pattern(subject).is_ok(), "each subject is a pattern: {subject:?}");
        assert!(bus::matches(">", subject) && bus::matches(subject, subject), "{subject:?}");
    }
    let patterns = [outer, inner].iter().all(|pattern| bus::validate_pattern(pattern).is_ok());
    if valid && patterns && bus::contains(outer, inner) && bus::matches(inner, subject) {
        assert!(
            bus::matches(outer, subject),
            "{outer:?} contains {inner:?} and misses {subject:?}"
        );
    }
    if bus::is_reserved(subject) {
        assert!(bus::is_reserved(&format!("{subject}.more")), "{subject:?}");
    }
}
