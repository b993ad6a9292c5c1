//! Every row of the catalogue, really measured: each system's suite on each backend, and a table of row,
//! backend, target, observed, status; with `--twice` also how far the medians of two runs differ, which is
//! the noise that the figures of one have. Ends with the number of suites that did not exit with 0.

#![allow(clippy::panic, clippy::print_stdout, reason = "it prints, and fails by panicking")]

use std::{
    collections::BTreeSet,
    process::{Command, ExitCode, ExitStatus},
};

use serde_json::Value;
use wavetank_tests::{command::repository, postgres::Postgres};

const SYSTEMS: [&str; 4] = ["rosey", "arrakis", "aegis", "warming"];
const BACKENDS: [&str; 3] = ["E", "S", "P"];
const TWICE: &str = "--twice";
/// How far the medians of two runs of one thing may differ.
const AGREED: f64 = 0.1;
/// Samples below which a median is chance.
const FEWEST: f64 = 100.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |all: &[&'static str]| -> Vec<&'static str> {
        let named: Vec<_> =
            all.iter().filter(|name| arguments.iter().any(|it| it == *name)).copied().collect();
        if named.is_empty() { all.to_vec() } else { named }
    };
    let known = |word: &&String| {
        SYSTEMS.contains(&word.as_str()) || BACKENDS.contains(&word.as_str()) || *word == TWICE
    };
    let times = if arguments.iter().any(|word| word == TWICE) { 2 } else { 1 };
    let flags: Vec<_> = arguments.iter().filter(|word| !known(word)).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap_or_else(|error| panic!("{error}"));
    let (systems, backends) = (chosen(&SYSTEMS), chosen(&BACKENDS));
    let cluster = backends.contains(&"P").then(Postgres::shared);
    let mut failed = 0;
    for system in systems {
        for backend in &backends {
            let mut ran = Vec::new();
            for time in 1..=times {
                let database = cluster
                    .as_ref()
                    .filter(|_| *backend == "P")
                    .map(|it| runtime.block_on(it.database()));
                let (summary, status) = run(system, backend, database, &flags);
                failed += u8::from(!status.success());
                println!("\n{system} on {backend}, {time} of {times}: {status}");
                summary.as_ref().map_or_else(|| println!("  no summary was written"), print);
                ran.extend(summary);
            }
            if let [first, second] = &ran[..] {
                agree(first, second);
            }
        }
    }
    ExitCode::from(failed)
}

/// Runs a suite, and reads what it has written.
fn run(
    system: &str,
    backend: &str,
    database: Option<String>,
    flags: &[&String],
) -> (Option<Value>, ExitStatus) {
    let own = std::env::current_exe().unwrap_or_else(|error| panic!("no program: {error}"));
    let mut command = Command::new(own.with_file_name("wavetank"));
    let suite = repository().join("scripts").join(system).join("suite.toml");
    command.arg("run").arg(suite).args(["--progress", "none", "--quiet"]).args(flags);
    if backend != "E" {
        command.args(["--bus", "nats-server"]);
    }
    if let Some(database) = database {
        command.arg("--db").arg(database);
    }
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
    let summary = folder.path().join("summary.json");
    command.arg("--summary-export").arg(&summary).arg("--out").arg(folder.path());
    let status = command.status().unwrap_or_else(|error| panic!("wavetank: {error}"));
    (std::fs::read(summary).ok().and_then(|it| serde_json::from_slice(&it).ok()), status)
}

/// How far the medians of each row's times differ between two runs of one suite.
fn agree(first: &Value, second: &Value) {
    // Of one thing that no system has a part in: what the machine itself did meanwhile.
    let empty =
        [first, second].map(|it| it["runner"]["empty_operation_ns"].as_f64().unwrap_or(0.0));
    println!("  an empty operation took {:.0} and {:.0} ns", empty[0], empty[1]);
    let (first, second) = (medians(first), medians(second));
    let (mut compared, mut apart) = (0, Vec::new());
    for (what, one) in &first {
        let Some((_, other)) = second.iter().find(|(it, _)| it == what) else { continue };
        let difference = (other / one - 1.0).abs().max((one / other - 1.0).abs());
        compared += 1;
        if difference > AGREED {
            apart.push(format!(
                "  {what}: {:.1} and {:.1} µs, {:.0} % apart: the noise is larger than 10 %",
                one / 1e3,
                other / 1e3,
                difference * 100.0,
            ));
        }
    }
    println!("  {} of {compared} medians agree within 10 %", compared - apart.len());
    for line in apart {
        println!("{line}");
    }
}

/// The medians of the times that thresholds of the set limit, by row.
fn medians(summary: &Value) -> Vec<(String, f64)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let limited: BTreeSet<String> = summary["thresholds"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|threshold| text(&threshold["metric"]))
        .collect();
    let series = summary["metrics"].as_array().into_iter().flatten();
    let whole = series.filter(|it| {
        let tags = it["tags"].as_object();
        let of_a_row = tags.is_some_and(|tags| {
            tags.contains_key("row") && tags.keys().all(|tag| tag == "row" || tag == "workload")
        });
        let known = it["values"]["count"].as_f64() >= Some(FEWEST) && it["unit"] == "ns";
        of_a_row && known && limited.contains(&text(&it["name"]))
    });
    let figures = whole.filter_map(|it| {
        let tags = &it["tags"];
        let what = [&tags["row"], &tags["workload"], &it["name"]].map(text).join(" ");
        Some((what, it["values"]["p(50)"].as_f64()?))
    });
    figures.filter(|(_, median)| *median > 0.0).collect()
}

/// One line for each threshold of each row.
fn print(summary: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for row in summary["rows"].as_array().into_iter().flatten() {
        let name = text(&row["row"]);
        let head = format!("{name:4} {:2}", text(&row["backend"]));
        println!("  {head} {:14} {}", text(&row["status"]), text(&row["reason"]));
        for index in row["thresholds"].as_array().into_iter().flatten() {
            let Some(threshold) =
                index.as_u64().map(|index| &summary["thresholds"][index as usize])
            else {
                continue;
            };
            if threshold["row"] != row["row"] {
                continue;
            }
            println!(
                "       {:14} {}{} {} · {} {}",
                text(&threshold["status"]),
                text(&threshold["metric"]),
                text(&threshold["selector"]),
                text(&threshold["expression"]),
                threshold["observed"],
                text(&threshold["unit"]),
            );
        }
    }
}
