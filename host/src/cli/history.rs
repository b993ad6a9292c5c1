//! The runs that were made here, as files: `wavetank-runs/<id>/summary.json`, and beside it `tags`, one tag
//! a line.

use std::path::{Path, PathBuf};

use super::{Failed, load::configuration};
use crate::{
    diagnostic::Diagnostic,
    report::printable::printable,
    run::{
        comparison::objection,
        summary::{SCHEMA, Summary},
    },
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

/// The runs with a tag that may be compared with, oldest first; of this name only, if one is given.
pub fn latest(tag: &str, name: Option<&str>) -> Result<Vec<Summary>, Failed> {
    let mut runs = Vec::new();
    for folder in folders(Path::new(FOLDER)) {
        if !has_tag(&folder, tag) {
            continue;
        }
        // A run that has no summary was cut off, and is nobody's baseline.
        let file = folder.join("summary.json");
        if file.exists() {
            runs.push(read(&file)?);
        }
    }
    runs.retain(|run| objection(run).is_none() && name.is_none_or(|name| run.run.name == name));
    Ok(newest(runs))
}

/// Whether a run has a tag.
pub fn has_tag(folder: &Path, tag: &str) -> bool {
    let tags = std::fs::read_to_string(folder.join("tags")).unwrap_or_default();
    tags.lines().any(|line| line.trim() == tag)
}

/// No run has that tag.
pub fn none_tagged(tag: &str, name: Option<&str>) -> Failed {
    let of = name.map_or_else(String::new, |name| format!(" of `{}`", printable(name, TEXT)));
    configuration(
        Diagnostic::new(format!(
            "no run{of} under `{FOLDER}` that is complete and valid has the tag `{}`",
            printable(tag, TEXT)
        ))
        .help("tags are lines of `tags` in a run's folder"),
    )
}

/// Every run that has a summary, oldest first; a file that cannot be read is named and left out.
pub fn all(history: &Path) -> (Vec<(PathBuf, Summary)>, Vec<Failed>) {
    let (mut runs, mut faults) = (Vec::new(), Vec::new());
    for folder in folders(history) {
        let file = folder.join("summary.json");
        if !file.exists() {
            continue;
        }
        match read(&file) {
            Ok(run) => runs.push((folder, run)),
            Err(failed) => faults.push(failed),
        }
    }
    runs.sort_by_key(|(_, run)| started(run));
    (runs, faults)
}

fn newest(mut runs: Vec<Summary>) -> Vec<Summary> {
    runs.sort_by_key(started);
    runs.split_off(runs.len().saturating_sub(MOST))
}

/// When a run started; one whose time cannot be read is the oldest.
fn started(run: &Summary) -> jiff::Timestamp {
    run.run.started.parse().unwrap_or(jiff::Timestamp::MIN)
}

/// The folders of the history, in the order of their names.
fn folders(history: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(history).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Where the summary of a word is.
fn place(word: &str) -> Result<PathBuf, Failed> {
    let path = Path::new(word);
    let ways = [path.to_owned(), Path::new(FOLDER).join(word)];
    let Some(found) = ways.into_iter().find(|way| way.exists()) else {
        return Err(configuration(
            Diagnostic::new(format!("there is no run `{}`", printable(word, TEXT))).help(format!(
                "name a run's folder, its id under `{FOLDER}`, a summary's file, or `latest:TAG`"
            )),
        ));
    };
    if !found.is_dir() {
        return Ok(found);
    }
    let file = found.join("summary.json");
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
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let summary: Summary =
        serde_json::from_str(&text).map_err(|error| wrong(printable(&error.to_string(), TEXT)))?;
    if summary.schema != SCHEMA {
        let found = printable(&summary.schema, TEXT);
        return Err(wrong(format!("its format is `{found}`, and not `{SCHEMA}`")));
    }
    Ok(summary)
}
