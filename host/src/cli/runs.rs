//! `wavetank runs`: the runs that were kept; plain files, and this only reads, marks and removes them.

mod trend;

use std::{fs::File, io::BufWriter, path::Path, process::ExitCode};

use super::{
    Failed,
    args::{PruneArgs, RunsAction},
    load,
    print::{out, say},
    report::{find, not_written, unreadable},
};
use crate::{
    diagnostic::Diagnostic,
    record::{self, Found, History, Standing},
    report::printable::printable,
    run::What,
    verdict::Cause,
};

/// Letters of a revision that are shown.
const REVISION: usize = 10;
/// Of a text that came from a file.
const TEXT: usize = 200;
/// Of a line that a workload logged.
const LINE: usize = 4_096;

/// Runs the subcommand.
pub fn runs(runs: &Path, action: &RunsAction) -> Result<ExitCode, Failed> {
    match action {
        RunsAction::List => list(runs)?,
        RunsAction::Trend(args) => trend::trend(runs, args)?,
        RunsAction::Show { run } => show(&find(runs, run)?)?,
        RunsAction::Log { run } => log(&find(runs, run)?)?,
        RunsAction::Tag { run, words, remove } => tag(find(runs, run)?, words, *remove)?,
        RunsAction::Prune(args) => prune(runs, args)?,
        RunsAction::Export { run, to } => export(&find(runs, run)?, to.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(runs: &Path) -> Result<(), Failed> {
    let found = History::of(runs).list().map_err(unreadable)?;
    if found.is_empty() {
        say(&format!("there are no runs in `{}`", runs.display()));
        return Ok(());
    }
    let mut rows =
        vec![["RUN", "STARTED", "VERDICT", "SIZE", "REVISION", "TAGS"].map(str::to_owned)];
    rows.extend(found.iter().map(|found| {
        [
            folder_name(found),
            started(found),
            standing(found),
            size(found.bytes),
            revision(found),
            found.tags.join(" "),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    Ok(())
}

fn show(found: &Found) -> Result<(), Failed> {
    let summary = record::report(&found.folder).map_err(unreadable)?.summary;
    let run = &summary.run;
    let text = |text: &str| printable(text, TEXT);
    let mut lines = vec![
        ("run", text(&run.id)),
        ("name", text(&run.name)),
        ("folder", found.folder.display().to_string()),
        ("started", started(found)),
        ("took", format!("{:.1} s", run.duration_s)),
        ("verdict", standing(found)),
        ("seed", run.seed.to_string()),
        ("command", text(&run.command)),
        ("version", text(&run.version)),
        ("revision", run.revision.as_deref().map_or_else(|| "-".to_owned(), text)),
        ("bus", text(&summary.environment.bus)),
        ("database", text(&summary.environment.database)),
        ("machine", text(&summary.environment.cpu)),
        ("size", size(found.bytes)),
        ("tags", found.tags.join(" ")),
    ];
    for workload in &run.workloads {
        lines.push(("workload", format!("{} {}", text(&workload.path), text(&workload.digest))));
    }
    lines.extend(summary.verdict.reasons.iter().map(|reason| ("reason", text(reason))));
    for (name, value) in lines {
        out(&format!("{name:<9} {value}"));
    }
    Ok(())
}

/// What happened, each with the seconds since the run began.
fn log(found: &Found) -> Result<(), Failed> {
    let damage = record::happenings(&found.folder, |happening| {
        let text = |text: &str| printable(text, LINE);
        let words = match &happening.what {
            What::Phase { text: name } => format!("phase {}", text(name)),
            What::Note { text: note } => text(note),
            What::Log { level, vu, text: line } => {
                format!("[{}] vu {vu}: {}", level.name(), text(line))
            }
            What::Marked { marker, text: what, .. } => format!("{} {}", text(what), marker.words()),
            What::Beyond { markers } => format!("{markers} markers were left out"),
            What::Began { .. } | What::Ended { .. } => return,
        };
        out(&format!("{:10.3} {words}", happening.at.as_nanos() as f64 / 1e9));
    });
    if let Some(damage) = damage.map_err(unreadable)? {
        say(&format!("{damage}: what came after is missing here"));
    }
    Ok(())
}

fn tag(mut found: Found, words: &[String], remove: bool) -> Result<(), Failed> {
    if let Some(word) = words.iter().find(|word| !Found::can_tag(word)) {
        return Err(load::configuration(
            Diagnostic::new(format!("`{}` cannot be a tag", printable(word, 80)))
                .help("a tag is letters, digits, `.`, `_` and `-`, at most 64"),
        ));
    }
    for word in words {
        let changed = if remove { found.untag(word) } else { found.tag(word) };
        if !changed.map_err(not_written)? {
            let has = if remove { "has not" } else { "has" };
            say(&format!("{} {has} the tag `{word}`", folder_name(&found)));
        }
    }
    Ok(())
}

/// Removes what the limits leave no room for, the oldest first; never what is tagged or goes on.
fn prune(runs: &Path, args: &PruneArgs) -> Result<(), Failed> {
    let now = jiff::Timestamp::now();
    let found = History::of(runs).list().map_err(unreadable)?;
    let (mut kept, mut bytes, mut removed, mut freed) = (0, 0_u64, 0, 0_u64);
    for found in &found {
        let age = found.run.started.parse().ok().map(|started| now.duration_since(started));
        let limit =
            args.older_than.map(|age| jiff::SignedDuration::try_from(age).unwrap_or_default());
        // A run that does not say when it began is not known to be old.
        let is_old = age.zip(limit).is_some_and(|(age, limit)| age > limit);
        let is_beyond = args.keep.is_some_and(|keep| kept >= keep);
        let is_large = args.max_size.is_some_and(|most| bytes + found.bytes > most);
        let is_marked = match &args.tag {
            // The runs with that tag alone are what is pruned; the limits are theirs.
            Some(word) if !found.has_tag(word) => continue,
            Some(_) => found.tags.len() > 1,
            None => !found.tags.is_empty(),
        };
        let stays = is_marked || found.standing == Standing::Running;
        if stays || !(is_old || is_beyond || is_large) {
            kept += 1;
            bytes += found.bytes;
            continue;
        }
        if args.dry_run {
            out(&format!("would remove {} ({})", folder_name(found), size(found.bytes)));
        } else if found.remove().map_err(not_removed)? {
            out(&format!("removed {} ({})", folder_name(found), size(found.bytes)));
        } else {
            continue;
        }
        removed += 1;
        freed += found.bytes;
    }
    let what = if args.dry_run { "would be removed" } else { "removed" };
    say(&format!("{removed} {what}, {}; {kept} kept, {}", size(freed), size(bytes)));
    Ok(())
}

fn not_removed(error: record::RecordError) -> Failed {
    Failed::new(
        Cause::NotWritten,
        Diagnostic::new(error.to_string()).help("see to it that you may remove it"),
    )
}

fn export(found: &Found, to: Option<&Path>) -> Result<(), Failed> {
    let Some(path) = to else {
        record::export(&found.folder, &mut std::io::stdout().lock()).map_err(unreadable)?;
        return Ok(());
    };
    let failed = |error: std::io::Error| {
        Failed::new(
            Cause::NotWritten,
            Diagnostic::new(format!("`{}` could not be written: {error}", path.display()))
                .help("free some space, or name another place"),
        )
    };
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    let count = record::export(&found.folder, &mut file).map_err(unreadable)?;
    file.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
    say(&format!("{count} intervals in {}", path.display()));
    Ok(())
}

fn folder_name(found: &Found) -> String {
    let name = found.folder.file_name().unwrap_or(found.folder.as_os_str());
    printable(&name.to_string_lossy(), TEXT)
}

fn started(found: &Found) -> String {
    let started: Option<jiff::Timestamp> = found.run.started.parse().ok();
    started.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

fn standing(found: &Found) -> String {
    match found.standing {
        Standing::Running => "running".to_owned(),
        Standing::CutOff => "cut off".to_owned(),
        Standing::Ended { status, complete: true } => status.words().to_owned(),
        Standing::Ended { status, complete: false } => format!("{}, stopped", status.words()),
    }
}

fn revision(found: &Found) -> String {
    let revision = found.run.revision.as_deref().unwrap_or("-");
    printable(revision, REVISION)
}

fn size(bytes: u64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "KB")];
    let fits = units.iter().find(|(unit, _)| bytes as f64 >= *unit);
    fits.map_or_else(
        || format!("{bytes} B"),
        |(unit, name)| format!("{:.1} {name}", bytes as f64 / unit),
    )
}
