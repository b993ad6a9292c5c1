//! Nine good virtual users with a bad one beside them and without, by turns: what it takes from them.

use serde_json::Value;
use wavetank_tests::component_text::{Text, component_with};

use crate::{Bench, line, median, run};

/// Runs of each.
const ROUNDS: usize = 3;

/// What the bad one does.
const KINDS: [(&str, &str); 6] = [
    ("endless loop", "(loop $l (br $l))"),
    (
        "call flood",
        "(loop $l (call $check (i32.const 160) (i32.const 8) (i32.const 1) (i32.const 256)) (br $l))",
    ),
    ("log flood", "(loop $l (call $line (i32.const 0) (i32.const 160) (i32.const 8)) (br $l))"),
    (
        "memory bomb",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
    ),
    (
        "memory bomb, every page touched",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
         (memory.fill (i32.const 524288) (i32.const 1) (i32.const 66060288)) unreachable",
    ),
    ("traps", "unreachable"),
];

const GOOD: &str =
    r#""good": { "executor": "constant-vus", "vus": 9, "duration": "5s", "exec": "good" }"#;
const BAD: &str = r#""bad": { "executor": "constant-vus", "vus": 1, "duration": "5s", "exec": "bad",
    "cpu_timeout": "100ms", "graceful_stop": "0s" }"#;
const JUDGED: &str = r#""iteration_duration{scenario:good}": ["p(99) < 1h"], "iteration_errors{scenario:good}": ["rate == 0"]"#;

/// The row.
///
/// # Panics
/// If a run has no summary.
pub fn row(bench: &Bench) {
    for (kind, bad) in KINDS {
        let (mut rates, mut later) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let beside = format!("{GOOD}, {BAD}");
            let ((rate, p99), (own_rate, own_p99)) = if round % 2 == 0 {
                let alone = nine(bench, bad, GOOD);
                (nine(bench, bad, &beside), alone)
            } else {
                let with = nine(bench, bad, &beside);
                (with, nine(bench, bad, GOOD))
            };
            rates.push(rate / own_rate);
            // Five in a hundred, or a millisecond.
            later.push((p99 / own_p99, (p99 - own_p99) / 1e6));
        }
        let (ratio, more): (Vec<_>, Vec<_>) = later.into_iter().unzip();
        line(
            &format!("nine beside one bad ({kind})"),
            &format!(
                "{:.1} % of the rate, p99 x {:.2}, {:+.2} ms",
                100.0 * median(rates),
                median(ratio),
                median(more)
            ),
            ">= 95 %, p99 within 5 % or 1 ms",
        );
    }
}

/// Rate and p99 (ns) of the nine in one run.
fn nine(bench: &Bench, bad: &str, scenarios: &str) -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hostile.wasm");
    let bytes = component_with(Text { bad, ..Text::armed() }, scenarios, JUDGED);
    std::fs::write(&path, bytes).expect("a component");
    let ran = run::workload(bench, &path, &[]);
    let of = |list: &str, key: &str, name: &str| -> Value {
        let items = ran.summary[list].as_array().expect("a list");
        items.iter().find(|it| it[key] == name).expect(name).clone()
    };
    let rate = of("scenarios", "name", "good")["achieved_rate"].as_f64().expect("a rate");
    let p99 = of("thresholds", "metric", "iteration_duration")["observed"].as_f64().expect("a p99");
    (rate, p99)
}
