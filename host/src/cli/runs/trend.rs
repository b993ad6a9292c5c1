//! `wavetank runs trend`: how a figure went over the history, and where it changed.

use std::path::Path;

use crate::{
    cli::{
        Failed,
        args::{ComparisonFormat, TrendArgs},
        compare::refused,
        diagnose, history,
        print::{out, say},
    },
    record::Found,
    report::{printable::printable, trend as page},
    run::{summary::Summary, trend},
};

/// Characters of a name.
const TEXT: usize = 160;

/// Runs the subcommand.
pub fn trend(runs: &Path, args: &TrendArgs) -> Result<(), Failed> {
    let (runs, faults) = history::all(runs)?;
    for fault in faults {
        say(&diagnose::render(&fault.diagnostic, false));
    }
    let fits = |found: &Found, run: &Summary| {
        args.name.as_ref().is_none_or(|name| *name == run.run.name)
            && args.tag.as_ref().is_none_or(|tag| found.has_tag(tag))
    };
    let mut runs: Vec<&Summary> =
        runs.iter().filter(|(found, run)| fits(found, run)).map(|(_, run)| run).collect();
    let all = runs.len();
    // Figures of different workloads are not one history.
    let name = runs.last().map(|run| run.run.name.clone()).unwrap_or_default();
    runs.retain(|run| run.run.name == name);
    let mut found = trend::trend(&runs, &args.metric).map_err(|it| refused(*it))?;
    if runs.len() < all {
        let name = printable(&name, TEXT);
        let left = all - runs.len();
        found.remarks.push(format!(
            "{left} runs of other names than `{name}`, the newest one's, were left out: --name chooses"
        ));
    }
    match args.format {
        ComparisonFormat::Terminal => out(&page::terminal(&found)),
        ComparisonFormat::Markdown => out(&page::markdown(&found)),
        ComparisonFormat::Json => out(&page::json(&found)),
    }
    Ok(())
}
