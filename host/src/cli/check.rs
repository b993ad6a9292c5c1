//! `wavetank check`: everything that can be said of a workload without running it.

use std::{ffi::OsStr, process::ExitCode};

use clap::Parser as _;
use serde_json::json;

use super::{
    Failed,
    args::{Action, CheckArgs, CheckFormat, Command},
    diagnose, load,
    print::{out, say},
    suite,
};
use crate::{
    diagnostic::{Diagnostic, line_and_column},
    report::printable::printable,
    verdict::Cause,
};

/// Characters of one name or message.
const TEXT: usize = 2_000;

/// Runs the subcommand: 0 if nothing was found, 104 otherwise (114 for a refused component).
pub fn check(args: &CheckArgs) -> ExitCode {
    let (cause, findings) = match findings(args) {
        Ok(findings) => (Cause::Configuration, findings),
        Err(failed) => (failed.cause, vec![failed.diagnostic]),
    };
    match args.format {
        CheckFormat::Text => text(args, &findings),
        CheckFormat::Json => out(&format!("{:#}", json(&findings))),
        CheckFormat::Github => findings.iter().for_each(|finding| out(&github(finding))),
    }
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(cause.code()) }
}

fn findings(args: &CheckArgs) -> Result<Vec<Diagnostic>, Failed> {
    if suite::is_one(&args.workload.workload) {
        return of_suite(args);
    }
    let program = load::program(&args.workload, &load::Reach::default())?;
    let mut findings = program.findings().to_vec();
    if let Err(failed) = load::plan(&program, &args.workload, &args.scenario, None) {
        findings.push(failed.diagnostic);
    }
    Ok(findings)
}

/// A suite is checked as it would be run, with all of its workloads.
fn of_suite(args: &CheckArgs) -> Result<Vec<Diagnostic>, Failed> {
    let path = args.workload.workload.as_os_str();
    let words = [OsStr::new("wavetank"), OsStr::new("run"), path, OsStr::new("--long")];
    let command = Command::try_parse_from(words)
        .map_err(|error| load::configuration(Diagnostic::new(error.to_string())))?;
    let Action::Run(run) = command.action else { return Ok(Vec::new()) };
    let mut found = suite::findings(&run);
    // What a component is refused for is the graver cause, and the only one then.
    if let Some(index) = found.iter().position(|failed| failed.cause == Cause::PluginRefused) {
        return Err(found.swap_remove(index));
    }
    Ok(found.into_iter().map(|failed| failed.diagnostic).collect())
}

fn text(args: &CheckArgs, findings: &[Diagnostic]) {
    for finding in findings {
        say(&diagnose::render(finding, false));
        say("");
    }
    let workload = printable(&args.workload.workload.display().to_string(), TEXT);
    match findings.len() {
        0 => out(&format!("{workload}: nothing to object to")),
        1 => out(&format!("{workload}: 1 error")),
        count => out(&format!("{workload}: {count} errors")),
    }
}

fn json(findings: &[Diagnostic]) -> serde_json::Value {
    findings
        .iter()
        .map(|finding| {
            let place = finding.place.as_ref().map(|place| {
                let (line, column) = line_and_column(&place.text, place.range.start);
                json!({ "file": place.origin, "line": line, "column": column })
            });
            json!({ "message": finding.message, "help": finding.help, "place": place })
        })
        .collect()
}

/// A workflow command; its own escapes keep a hostile message from ending it early.
fn github(finding: &Diagnostic) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| escape(text).replace(':', "%3A").replace(',', "%2C");
    let place = finding.place.as_ref().map_or_else(String::new, |place| {
        let (line, column) = line_and_column(&place.text, place.range.start);
        format!(" file={},line={line},col={column}", property(&place.origin))
    });
    let help = finding.help.as_deref().map_or_else(String::new, |help| format!("\nhelp: {help}"));
    format!("::error{place}::{}", escape(&format!("{}{help}", finding.message)))
}
