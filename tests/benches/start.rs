//! How long it takes to begin.

use crate::{Bench, line, median, run};

/// Process start to the end of the first iteration; starting 10 000 VUs.
pub fn row(bench: &Bench) {
    let wall = |vus: u32| {
        let source = format!(
            r#"
export const options = #{{ scenarios: #{{ load: #{{ executor: "per-vu-iterations", vus: {vus}, iterations: 1 }} }} }};
fn iteration(ctx) {{ }}
"#
        );
        median((0..5).map(|_| run::script(bench, &source, &[]).wall_s).collect())
    };
    let (one, many) = (wall(1), wall(10_000));
    line(
        "process start to end, one empty iteration, script",
        &format!("{:.0} ms (whole process)", one * 1e3),
        "first iteration <= 20 ms",
    );
    line("starting and running 10 000 VUs once", &format!("{:.2} s", many - one), "<= 0.5 s");
    let guest = bench.guests.join("bench_guest.wasm");
    if guest.exists() {
        let one = median(
            (0..5)
                .map(|_| run::workload(bench, &guest, &["--vus", "1", "--iterations", "1"]).wall_s)
                .collect(),
        );
        line(
            "process start to end, one empty iteration, cached component",
            &format!("{:.0} ms (whole process)", one * 1e3),
            "first iteration <= 30 ms",
        );
    }
}
