//! argv, environment, files → plan; verdict → exit code. One file per subcommand.
//!
//! The only room that reads argv or the environment, that prints, and that chooses an exit code.
//! Standard output carries what was asked for (the summary, a schema); everything else goes to
//! standard error.

mod ab;
mod allow;
mod args;
mod backends;
mod baseline;
mod check;
mod compare;
mod diagnose;
mod doctor;
mod fence;
mod folder;
mod forecast;
mod history;
mod inspect;
mod load;
mod lock;
mod machine;
mod plugin;
mod print;
mod progress;
mod registry;
mod report;
mod reports;
mod run;
mod runs;
mod script;
mod serve;
mod signals;
mod suite;
mod target;
mod trust;

use std::{io::IsTerminal, process::ExitCode};

use clap::{CommandFactory, Parser};

use crate::{diagnostic::Diagnostic, verdict::Cause};
use args::{Action, Command, SchemaFormat};
use fence::Fence;
use print::{out, say};

/// Why a command ends without having done what it was asked.
#[derive(Debug)]
pub struct Failed {
    /// The exit code's reason.
    cause: Cause,
    /// What to print.
    diagnostic: Diagnostic,
}

impl Failed {
    fn new(cause: Cause, diagnostic: Diagnostic) -> Self {
        Self { cause, diagnostic }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    let mut command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) if error.use_stderr() => {
            say(&error.render().ansi().to_string());
            return ExitCode::from(Cause::Configuration.code());
        }
        Err(help) => {
            out(&help.render().ansi().to_string());
            return ExitCode::SUCCESS;
        }
    };
    // It stands until the last word is said.
    let _fence = Fence::around(&mut command);
    match dispatch(command) {
        Ok(code) => code,
        Err(failed) => {
            let color = std::io::stderr().is_terminal();
            say(&diagnose::render(&failed.diagnostic, color));
            say(&format!("exit code {}: {}", failed.cause.code(), failed.cause.meaning()));
            ExitCode::from(failed.cause.code())
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Failed> {
    match command.action {
        Action::Run(args) => run::run(*args),
        Action::Check(args) => Ok(check::check(&args)),
        Action::Inspect(args) => inspect::inspect(&args),
        Action::Serve(args) => serve::serve(args),
        Action::Report(args) => report::report(&args),
        Action::Runs { runs: folder, action } => runs::runs(&folder, &action),
        Action::Compare(args) => compare::compare(&args),
        Action::Ab(args) => ab::ab(&args),
        Action::Script(action) => script::script(&action),
        Action::Plugin(action) => plugin::plugin(&action),
        Action::Schema { format: SchemaFormat::Summary } => {
            out(&format!("{:#}", schemars::schema_for!(crate::run::summary::Summary).to_value()));
            Ok(ExitCode::SUCCESS)
        }
        Action::Schema { format: SchemaFormat::Suite } => {
            out(&format!("{:#}", crate::plan::suite::Suite::schema()));
            Ok(ExitCode::SUCCESS)
        }
        Action::Doctor(args) => doctor::doctor(&args),
        Action::Guard => Ok(target::guard()),
        Action::ExitCodes => {
            for cause in Cause::ALL {
                out(&format!("{:>4}  {}", cause.code(), cause.meaning()));
            }
            out("   0  pass, or warn");
            Ok(ExitCode::SUCCESS)
        }
        Action::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Command::command(), "wavetank", &mut text);
            out(&String::from_utf8_lossy(&text));
            Ok(ExitCode::SUCCESS)
        }
        Action::Man => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Command::command()).render(&mut text).map_err(|error| {
                Failed::new(Cause::Internal, Diagnostic::new(format!("manual page: {error}")))
            })?;
            out(&String::from_utf8_lossy(&text));
            Ok(ExitCode::SUCCESS)
        }
    }
}
