//! The open model: how late arrivals start when there is nothing to wait for.

use std::time::{Duration, Instant};

use crate::{Bench, line, run};

/// The row.
pub fn row(bench: &Bench) {
    for rate in [10_000_u32, 30_000] {
        let source = format!(
            r#"
export const options = #{{ scenarios: #{{ load: #{{ executor: "constant-arrival-rate", rate: {rate}, duration: "5s" }} }} }};
fn iteration(ctx) {{ }}
"#
        );
        let (mut ours, mut bares, mut dropped) = (Vec::new(), Vec::new(), 0.0);
        for _ in 0..3 {
            bares.push(bare(rate));
            let ran = run::script(bench, &source, &[]);
            ours.push(ran.value("dispatch_delay", "p(99)") / 1e3);
            dropped += ran.summary["scenarios"][0]["dropped"].as_f64().unwrap_or(f64::NAN);
        }
        line(
            &format!("{rate} empty arrivals/s: dispatch delay p99"),
            &format!(
                "{:.0} us (bare tokio loop {:.0} us), {dropped} dropped",
                crate::median(ours),
                crate::median(bares)
            ),
            "<= 150 us on an idle machine, 0 dropped",
        );
    }
}

/// p99 of the lateness of a bare loop on tokio's timers, microseconds.
#[expect(clippy::disallowed_methods, reason = "a bench has a clock of its own")]
fn bare(rate: u32) -> f64 {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut late: Vec<f64> = runtime.block_on(async {
        let start = Instant::now();
        let gap = Duration::from_secs(1) / rate;
        let mut late = Vec::new();
        for n in 0..rate * 2 {
            let due = start + gap * n;
            if Instant::now() < due {
                tokio::time::sleep_until(due.into()).await;
            }
            late.push(due.elapsed().as_secs_f64() * 1e6);
        }
        late
    });
    late.sort_by(f64::total_cmp);
    late[late.len() * 99 / 100]
}
