//! Every row of the catalogue, really measured: each system's suite on each backend, and a table of row,
//! backend, target, observed, status. Ends with the number of suites that did not exit with 0.

#![allow(clippy::panic, clippy::print_stdout, reason = "it prints, and fails by panicking")]

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use serde_json::Value;
use wavetank_tests::{command::repository, postgres::Postgres};

const SYSTEMS: [&str; 4] = ["rosey", "arrakis", "aegis", "warming"];
const BACKENDS: [&str; 3] = ["E", "S", "P"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |all: &[&'static str]| -> Vec<&'static str> {
        let named: Vec<_> =
            all.iter().filter(|name| arguments.iter().any(|it| it == *name)).copied().collect();
        if named.is_empty() { all.to_vec() } else { named }
    };
    let known =
        |word: &&String| SYSTEMS.contains(&word.as_str()) || BACKENDS.contains(&word.as_str());
    let flags: Vec<_> = arguments.iter().filter(|word| !known(word)).collect();
    let own = std::env::current_exe().unwrap_or_else(|error| panic!("no program: {error}"));
    let runtime = tokio::runtime::Runtime::new().unwrap_or_else(|error| panic!("{error}"));
    let (systems, backends) = (chosen(&SYSTEMS), chosen(&BACKENDS));
    let cluster = backends.contains(&"P").then(Postgres::shared);
    let mut failed = 0;
    for system in systems {
        for backend in &backends {
            let mut command = Command::new(own.with_file_name("wavetank"));
            let suite = repository().join("scripts").join(system).join("suite.toml");
            command.arg("run").arg(suite).args(["--progress", "none", "--quiet"]).args(&flags);
            if *backend != "E" {
                command.args(["--bus", "nats-server"]);
            }
            if let (Some(cluster), "P") = (&cluster, *backend) {
                command.arg("--db").arg(runtime.block_on(cluster.database()));
            }
            let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
            let summary = folder.path().join("summary.json");
            command.arg("--summary-export").arg(&summary).arg("--out").arg(folder.path());
            let status = command.status().unwrap_or_else(|error| panic!("wavetank: {error}"));
            failed += u8::from(!status.success());
            println!("\n{system} on {backend}: {status}");
            print(&summary);
        }
    }
    ExitCode::from(failed)
}

/// One line for each threshold of each row.
fn print(summary: &Path) {
    let Some(summary) =
        std::fs::read(summary).ok().and_then(|it| serde_json::from_slice::<Value>(&it).ok())
    else {
        println!("  no summary was written");
        return;
    };
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
