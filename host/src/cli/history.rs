//! The summaries of the runs that were kept, for those who compare: what a word on the command line names.

use std::path::{Path, PathBuf};

use super::{Failed, load::configuration, report::unreadable};
use crate::{
    diagnostic::Diagnostic,
    record::{Found, History, SUMMARY},
    report::printable::printable,
    run::{
        comparison::objection,
        summary::{SCHEMA, Summary},
    },
    workload::read_text,
};

/// Where runs are kept, in the working directory.
pub const FOLDER: &str = "wavetank-runs";
/// Bytes of a summary.
const LONGEST: u64 = 256 << 20;
/// Earlier runs of a tag that a new one is compared with.
const MOST: usize = 50;
/// Characters of a name.
const TEXT: usize = 160;

/// The runs that a word names: a run's folder or id, a summary's file, or the newest of `latest:TAG`.
pub fn find(word: &str) -> Result<Summary, Failed> {
    match word.strip_prefix("latest:") {
        Some(tag) => {
            let mut runs = latest(tag, None)?;
            runs.pop().ok_or_else(|| none_tagged(tag, None))
        }
        None => read(&place(word)?),
    }
}

/// Whether a word names something that there is.
pub fn exists(word: &str) -> bool {
    ways(word).iter().any(|way| way.exists())
}

/// The runs with a tag that may be compared with, oldest first; of this name only, if one is given.
pub fn latest(tag: &str, name: Option<&str>) -> Result<Vec<Summary>, Failed> {
    let mut runs = Vec::new();
    for found in History::of(Path::new(FOLDER)).list().map_err(unreadable)? {
        // A run that has no summary was cut off, and is nobody's baseline.
        let file = found.folder.join(SUMMARY);
        if found.has_tag(tag) && file.exists() {
            runs.push(read(&file)?);
        }
    }
    runs.retain(|run| objection(run).is_none() && name.is_none_or(|name| run.run.name == name));
    runs.sort_by_key(started);
    Ok(runs.split_off(runs.len().saturating_sub(MOST)))
}

/// No run has that tag.
pub fn none_tagged(tag: &str, name: Option<&str>) -> Failed {
    let of = name.map_or_else(String::new, |name| format!(" of `{}`", printable(name, TEXT)));
    configuration(
        Diagnostic::new(format!(
            "no run{of} under `{FOLDER}` that is complete and valid has the tag `{}`",
            printable(tag, TEXT)
        ))
        .help("`wavetank runs tag RUN WORD` marks one"),
    )
}

/// Runs with their summaries, and what is wrong with the files of others.
type Told = (Vec<(Found, Summary)>, Vec<Failed>);

/// Every run that has a summary, oldest first; a file that cannot be read is named and left out.
pub fn all(history: &Path) -> Result<Told, Failed> {
    let (mut runs, mut faults) = (Vec::new(), Vec::new());
    for found in History::of(history).list().map_err(unreadable)? {
        let file = found.folder.join(SUMMARY);
        if !file.exists() {
            continue;
        }
        match read(&file) {
            Ok(run) => runs.push((found, run)),
            Err(failed) => faults.push(failed),
        }
    }
    runs.sort_by_key(|(_, run)| started(run));
    Ok((runs, faults))
}

/// When a run started; one whose time cannot be read is the oldest.
fn started(run: &Summary) -> jiff::Timestamp {
    run.run.started.parse().unwrap_or(jiff::Timestamp::MIN)
}

/// Where a word may lead: a path, or the id of a run.
fn ways(word: &str) -> [PathBuf; 2] {
    [Path::new(word).to_owned(), Path::new(FOLDER).join(word)]
}

/// Where the summary of a word is.
fn place(word: &str) -> Result<PathBuf, Failed> {
    let Some(found) = ways(word).into_iter().find(|way| way.exists()) else {
        return Err(configuration(
            Diagnostic::new(format!("there is no run `{}`", printable(word, TEXT))).help(format!(
                "name a run's folder, its id under `{FOLDER}`, a summary's file, or `latest:TAG`"
            )),
        ));
    };
    if !found.is_dir() {
        return Ok(found);
    }
    let file = found.join(SUMMARY);
    if file.exists() {
        return Ok(file);
    }
    Err(configuration(
        Diagnostic::new(format!("`{}` has no summary.json: the run was cut off", found.display()))
            .help("an unfinished run is compared with nothing; name another"),
    ))
}

/// Reads a summary.
fn read(path: &Path) -> Result<Summary, Failed> {
    let wrong = |why: String| {
        configuration(
            Diagnostic::new(format!("`{}` is no summary of a run: {why}", path.display())).help(
                "summaries are written by `wavetank run --summary-export` and into runs' folders",
            ),
        )
    };
    let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > LONGEST {
        return Err(wrong(format!("{size} bytes are too long for one")));
    }
    let text = read_text(path, LONGEST).map_err(|error| wrong(error.to_string()))?;
    let summary: Summary =
        serde_json::from_str(&text).map_err(|error| wrong(printable(&error.to_string(), TEXT)))?;
    if summary.schema != SCHEMA {
        let found = printable(&summary.schema, TEXT);
        return Err(wrong(format!("its format is `{found}`, and not `{SCHEMA}`")));
    }
    Ok(summary)
}
