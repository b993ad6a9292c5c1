//! What depends on the speed of the machine: each figure a ratio against a bare loop measured beside
//! it in the same run, interleaved, the median of several. Prints; judges nothing.

#![allow(clippy::panic, reason = "a bench fails by panicking")]

mod arrivals;
mod database;
mod empty;
mod hostile;
mod languages;
mod request;
mod run;
mod start;

use std::{path::PathBuf, process::ExitCode};

/// A row of the table: its name on the command line, and what runs it.
type Row = (&'static str, fn(&Bench));

const ROWS: &[Row] = &[
    ("request", request::row),
    ("empty", empty::row),
    ("memory", empty::memory),
    ("start", start::row),
    ("arrivals", arrivals::row),
    ("postgres", database::postgres),
    ("sqlite", database::sqlite),
    ("hostile", hostile::row),
    ("languages", languages::row),
    ("long", empty::long),
];

/// Where the release binary and the built guests are.
#[derive(Debug)]
pub struct Bench {
    /// The command that is measured: the product's own binary.
    pub wavetank: PathBuf,
    /// Folder of the built guests.
    pub guests: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, url] = arguments.as_slice()
        && role == "respond"
    {
        request::respond(url);
        return ExitCode::SUCCESS;
    }
    let Ok(own) = std::env::current_exe() else { return ExitCode::FAILURE };
    let Some(folder) = own.parent() else { return ExitCode::FAILURE };
    let bench = Bench {
        wavetank: folder.join("wavetank"),
        guests: folder.join("../guests/wasm32-wasip2/release"),
    };
    let long = ["long"];
    for (name, row) in ROWS {
        let named = arguments.iter().any(|argument| argument == name);
        if named || (arguments.is_empty() && !long.contains(name)) {
            row(&bench);
        }
    }
    ExitCode::SUCCESS
}

/// Prints a line of the table.
#[expect(clippy::print_stdout, reason = "a bench prints")]
pub fn line(what: &str, figure: &str, wanted: &str) {
    println!("{what:<58} {figure:<34} {wanted}");
}

/// The median.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Runs both by turns, `rounds` times, and gives the median of `ours ÷ bare` and both medians.
pub fn ratio(
    rounds: usize,
    mut bare: impl FnMut() -> f64,
    mut ours: impl FnMut() -> f64,
) -> (f64, f64, f64) {
    let (mut ratios, mut bares, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (b, o) = if round % 2 == 0 {
            let b = bare();
            (b, ours())
        } else {
            let o = ours();
            (bare(), o)
        };
        ratios.push(o / b);
        bares.push(b);
        own.push(o);
    }
    (median(ratios), median(bares), median(own))
}
