//! `wavetank report`: what a run came to, from its record; also of one that was cut off.

use std::{path::Path, process::ExitCode};

use super::{
    Failed,
    args::{ColorMode, ReportArgs},
    load,
    print::{page, paint, say},
    reports::Format,
};
use crate::{
    diagnostic::Diagnostic,
    record::{self, Found, History, RecordError, Told},
    report::{printable::printable, story::Story, terminal},
    run::summary::Summary,
    verdict::Cause,
};

/// Runs the subcommand. That a run failed is no failure of its report.
pub fn report(args: &ReportArgs) -> Result<ExitCode, Failed> {
    args.files.check()?;
    let found = find(&args.runs, &args.run)?;
    let Told { summary, chapters } = record::report(&found.folder).map_err(unreadable)?;
    let story = Story { summary, chapters };
    if story.summary.run.going_on {
        say("wavetank: this run goes on; shown is what it came to until now");
    }
    match args.format {
        // Files were asked for, and nothing else.
        None if !args.files.reports.is_empty() => {}
        None | Some(Format::Terminal) => show(&story.summary, args.color),
        Some(format) => page(&args.files.printed(format, &story)),
    }
    args.files.write(&story)?;
    Ok(ExitCode::SUCCESS)
}

/// The run that a user means.
pub fn find(runs: &Path, name: &str) -> Result<Found, Failed> {
    History::of(runs).find(name).ok_or_else(|| {
        let shown = printable(name, 128);
        load::configuration(
            Diagnostic::new(format!("there is no run `{shown}`, here or in `{}`", runs.display()))
                .help("name the folder of a run, or one that `wavetank runs list` shows"),
        )
    })
}

/// A record that cannot be read.
pub fn unreadable(error: RecordError) -> Failed {
    let help = match &error {
        RecordError::Disk { .. } => "see to it that its files can be read",
        RecordError::Version { .. } | RecordError::Plan { .. } => {
            "its summary.json, if it has one, says what it came to"
        }
        RecordError::NoJournal(_) | RecordError::TooLittle { .. } => {
            "name the folder of a run that was recorded by `wavetank run`"
        }
    };
    load::configuration(Diagnostic::new(error.to_string()).help(help))
}

/// A record that cannot be written.
pub fn not_written(error: RecordError) -> Failed {
    let help = match &error {
        RecordError::Disk { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
            "a run is never written over another: name another folder with --out DIR"
        }
        _ => "free some space, or name another folder with --out DIR",
    };
    Failed::new(Cause::NotWritten, Diagnostic::new(error.to_string()).help(help))
}

/// The page on standard output.
pub fn show(summary: &Summary, color: ColorMode) {
    let color = match color {
        ColorMode::Always => true,
        ColorMode::Never => false,
        ColorMode::Auto => std::io::IsTerminal::is_terminal(&std::io::stdout()),
    };
    paint(&terminal::render(summary, terminal::Options { color, long: false }), color);
}
