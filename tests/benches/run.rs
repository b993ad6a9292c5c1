//! The product's own binary, run with a script or a component, and what it cost.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Instant,
};

use serde_json::Value;

use crate::Bench;

/// What a run left.
#[derive(Debug)]
pub struct Ran {
    /// Its summary.
    pub summary: Value,
    /// CPU seconds, user and system, of the whole process.
    pub cpu_s: f64,
    /// Peak resident bytes of the process: a page that instances share counts once for each.
    pub peak_rss: f64,
    /// Largest proportional set size that was seen, in bytes: a shared page counts once. Only of
    /// [`watched`].
    pub peak_pss: f64,
    /// Wall time of the process.
    pub wall_s: f64,
}

impl Ran {
    /// A value of a metric without tags.
    pub fn value(&self, metric: &str, key: &str) -> f64 {
        self.summary["metrics"]
            .as_array()
            .and_then(|metrics| {
                metrics.iter().find(|one| {
                    one["name"] == metric
                        && one["tags"].as_object().is_some_and(serde_json::Map::is_empty)
                })
            })
            .and_then(|one| one["values"][key].as_f64())
            .unwrap_or(f64::NAN)
    }
}

/// Runs a script.
///
/// # Panics
/// If it does not run.
pub fn script(bench: &Bench, source: &str, arguments: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench.rhai");
    std::fs::write(&path, source).expect("a script");
    workload(bench, &path, arguments)
}

/// Runs a script or a component.
///
/// # Panics
/// If it does not run.
pub fn workload(bench: &Bench, workload: &Path, arguments: &[&str]) -> Ran {
    start(bench, workload, arguments, |child| (child.wait_with_output(), f64::NAN))
}

/// The same, looking at its memory now and then.
#[expect(clippy::disallowed_methods, reason = "a bench has a thread of its own")]
pub fn watched(bench: &Bench, workload: &Path, arguments: &[&str]) -> Ran {
    start(bench, workload, arguments, |mut child| {
        let rollup = format!("/proc/{}/smaps_rollup", child.id());
        let mut peak = 0.0_f64;
        while child.try_wait().is_ok_and(|ended| ended.is_none()) {
            peak = peak.max(proportional(&rollup).unwrap_or(0.0));
            std::thread::sleep(std::time::Duration::from_millis(250));
        }
        (child.wait_with_output(), peak)
    })
}

fn proportional(rollup: &str) -> Option<f64> {
    let text = std::fs::read_to_string(rollup).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0)
}

#[expect(clippy::disallowed_methods, reason = "a bench has a clock of its own")]
fn start(
    bench: &Bench,
    workload: &Path,
    arguments: &[&str],
    wait: impl FnOnce(Child) -> (std::io::Result<Output>, f64),
) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let summary = folder.path().join("summary.json");
    let before = children();
    let start = Instant::now();
    let child = Command::new(&bench.wavetank)
        .current_dir(folder.path())
        .args(["run", "--progress", "none", "--summary-export"])
        .arg(&summary)
        .args(arguments)
        .arg(workload)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("wavetank runs");
    let (output, proportional) = wait(child);
    let output = output.expect("its output");
    let wall_s = start.elapsed().as_secs_f64();
    let after = children();
    let text = std::fs::read_to_string(&summary).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    let summary: Value = serde_json::from_str(&text).expect("a summary");
    let peak_rss = summary["runner"]["peak_rss_bytes"].as_f64().unwrap_or(f64::NAN);
    Ran { summary, cpu_s: after - before, peak_rss, peak_pss: proportional, wall_s }
}

/// CPU seconds of all children that ended, in the kernel's ticks of 10 ms.
fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold spaces; the 14th and 15th fields after it are the children's.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields
        .split_whitespace()
        .skip(13)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}
