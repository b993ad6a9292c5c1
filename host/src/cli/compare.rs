//! `wavetank compare`: runs against runs, from their summaries.

use std::process::ExitCode;

use super::{
    Failed,
    args::{ColorMode, CompareArgs, ComparisonFormat, TermsArgs},
    history,
    load::configuration,
    print::{out, paint},
};
use crate::{
    diagnostic::Diagnostic,
    report::comparison as page,
    run::{
        comparison::{self, Comparison, Refused, Terms},
        summary::Summary,
    },
    verdict::{Cause, comparison::Design},
};

/// Runs the subcommand.
pub fn compare(args: &CompareArgs) -> Result<ExitCode, Failed> {
    let terms = terms(&args.terms, Design::Sets)?;
    let read = |words: &[String]| -> Result<Vec<Summary>, Failed> {
        words.iter().map(|word| history::find(word)).collect()
    };
    let (base, new) = (read(&args.base)?, read(&args.new)?);
    let found = comparison::compare(&base, &new, &terms).map_err(|it| refused(*it))?;
    Ok(print(&found, &args.terms))
}

/// How to compare, from what was typed.
pub fn terms(args: &TermsArgs, design: Design) -> Result<Terms, Failed> {
    for word in &args.allow {
        if word != "other-machine" {
            return Err(configuration(
                Diagnostic::new(format!("--allow {word}: no such capability here"))
                    .help("a comparison knows `other-machine`"),
            ));
        }
    }
    Ok(Terms {
        design,
        tolerance: args.tolerance,
        metrics: args.metrics.clone(),
        other_machine: !args.allow.is_empty(),
    })
}

/// Prints a comparison; the exit code is its worst finding's.
pub fn print(found: &Comparison, args: &TermsArgs) -> ExitCode {
    match args.format {
        ComparisonFormat::Json => out(&page::json(found)),
        ComparisonFormat::Markdown => out(&page::markdown(found)),
        ComparisonFormat::Terminal => {
            let color = match args.color {
                ColorMode::Always => true,
                ColorMode::Never => false,
                ColorMode::Auto => std::io::IsTerminal::is_terminal(&std::io::stdout()),
            };
            paint(&page::terminal(found, color), color);
        }
    }
    ExitCode::from(page::cause(found.outcome).map_or(0, Cause::code))
}

/// Why runs were not compared, as this room tells it.
pub fn refused(refused: Refused) -> Failed {
    Failed::new(refused.cause, refused.diagnostic)
}
