//! What an iteration, and a virtual user, cost when they do nothing.

use crate::{Bench, line, median, run};

const ROUNDS: usize = 3;

fn empty(vus: u32, iterations: u64) -> String {
    format!(
        r#"
export const options = #{{ scenarios: #{{ load: #{{ executor: "shared-iterations", vus: {vus}, iterations: {iterations}, max_duration: "5m" }} }} }};
fn iteration(ctx) {{ }}
"#
    )
}

/// CPU per million empty iterations.
pub fn row(bench: &Bench) {
    for vus in [100_u32, 1_000, 10_000] {
        let cost = |source: &dyn Fn(u64) -> run::Ran| {
            // What starting costs is taken off: the same run with one iteration per VU.
            let small = median((0..ROUNDS).map(|_| source(u64::from(vus)).cpu_s).collect());
            let large =
                median((0..ROUNDS).map(|_| source(1_000_000 + u64::from(vus)).cpu_s).collect());
            large - small
        };
        let script = cost(&|iterations| run::script(bench, &empty(vus, iterations), &[]));
        line(
            &format!("CPU per million empty iterations, {vus} VUs, Rhai"),
            &format!("{script:.2} s"),
            "<= 1.0 s",
        );
        let guest = bench.guests.join("bench_guest.wasm");
        if !guest.exists() {
            continue;
        }
        let component = cost(&|iterations| {
            let (vus, iterations) = (vus.to_string(), iterations.to_string());
            run::workload(bench, &guest, &["--vus", &vus, "--iterations", &iterations])
        });
        line(
            &format!("CPU per million empty iterations, {vus} VUs, component"),
            &format!("{component:.2} s"),
            "<= 0.8 s",
        );
    }
}

/// Resident memory per VU.
pub fn memory(bench: &Bench) {
    let script = |vus: u32| {
        let source = format!(
            r#"
export const options = #{{ scenarios: #{{ load: #{{ executor: "per-vu-iterations", vus: {vus}, iterations: 1 }} }} }};
fn iteration(ctx) {{ sleep("4s"); }}
"#
        );
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bench.rhai");
        std::fs::write(&path, &source).expect("a script");
        run::watched(bench, &path, &[])
    };
    per_vu("Rhai", &script(10_000), &script(1), "<= 12 KB");
    let guest = bench.guests.join("bench_guest.wasm");
    if guest.exists() {
        let component = |vus: &str| {
            let arguments = ["--vus", vus, "--iterations", vus, "-p", "mode=sleep"];
            run::watched(bench, &guest, &arguments)
        };
        per_vu("component", &component("10000"), &component("1"), "<= 45 KB");
    }
}

/// Proportional memory first: the guests of a component share the pages of its image, and the
/// resident size counts them once for each.
fn per_vu(kind: &str, many: &run::Ran, one: &run::Ran, wanted: &str) {
    let each = |many: f64, one: f64| (many - one) / 9_999.0 / 1024.0;
    let proportional = each(many.peak_pss, one.peak_pss);
    let resident = each(many.peak_rss, one.peak_rss);
    line(
        &format!("memory per sleeping VU at 10 000, {kind}"),
        &format!("{proportional:.1} KiB (RSS {resident:.1} KiB)"),
        wanted,
    );
}

/// Memory of a long run against a short one.
pub fn long(bench: &Bench) {
    let run = |duration: &str| {
        let source = format!(
            r#"
export const options = #{{ scenarios: #{{ load: #{{ executor: "constant-arrival-rate", rate: 1000, duration: "{duration}" }} }} }};
fn iteration(ctx) {{ bus::publish("bench.nobody", "x"); }}
"#
        );
        run::script(bench, &source, &[]).peak_rss / 1024.0 / 1024.0
    };
    let (short, long) = (run("1m"), run("10m"));
    line(
        "memory of a run of 10 minutes against one of 1 minute",
        &format!("{long:.1} MiB against {short:.1} MiB"),
        "the same",
    );
}
