//! `wavetank script`: a script to begin with.

use std::{fs::OpenOptions, io::Write, process::ExitCode};

use super::{
    Failed,
    args::ScriptAction,
    print::{out, say},
};
use crate::{
    diagnostic::Diagnostic,
    verdict::Cause,
    workload::script::{TEMPLATE, definitions},
};

/// Runs the subcommand.
pub fn script(action: &ScriptAction) -> Result<ExitCode, Failed> {
    let path = match action {
        ScriptAction::New { path } => path,
        ScriptAction::Definitions => {
            out(&definitions());
            return Ok(ExitCode::SUCCESS);
        }
    };
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(TEMPLATE.as_bytes()));
    match written {
        Ok(()) => {
            say(&format!("{0} written; run it with `wavetank run {0}`", path.display()));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(Failed::new(
            Cause::Configuration,
            Diagnostic::new(format!("`{}` cannot be written: {error}", path.display()))
                .help("name a file that does not exist, in a folder that does"),
        )),
    }
}
