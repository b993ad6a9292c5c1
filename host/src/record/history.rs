//! The runs that were kept: folders below one folder, each with what its run left there, in plain files.
//!
//! A run is a folder with a journal, or with a summary of ours; nothing else is one, and nothing else is
//! ever removed. Tags are words in the file `tags` of the run's folder, a line each.

use std::{
    fs::{self, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::{
    content::{Start, SuiteStart},
    journal::{JOURNAL, Kind, RecordError, Records},
};
use crate::{
    run::summary::{RunInfo, SCHEMA, Summary},
    verdict::Status,
};

const TAGS: &str = "tags";
/// The file of a run's summary, in its folder.
pub const SUMMARY: &str = "summary.json";
/// Bytes of a tag.
const MOST_TAG: usize = 64;

/// The folder of the runs.
#[derive(Clone, Debug)]
pub struct History(PathBuf);

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its process writes its journal.
    Running,
    /// It was cut off: it has no summary, and nobody writes one.
    CutOff,
    /// It has ended.
    Ended {
        /// What became of it.
        status: Status,
        /// Whether it did what it was to do, and was not stopped before.
        complete: bool,
    },
}

/// A run that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is.
    pub folder: PathBuf,
    /// Which it is.
    pub run: RunInfo,
    /// How it stands.
    pub standing: Standing,
    /// Its tags.
    pub tags: Vec<String>,
    /// Bytes of its files.
    pub bytes: u64,
}

impl History {
    /// The runs of a folder.
    pub fn of(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// All runs, the newest first.
    pub fn list(&self) -> Result<Vec<Found>, RecordError> {
        let disk = |error| RecordError::disk(&self.0, "read", error);
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(disk(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(disk)?.path();
            found.extend(look(&path));
        }
        found.sort_by(|one, other| {
            (&other.run.started, &other.folder).cmp(&(&one.run.started, &one.folder))
        });
        Ok(found)
    }

    /// The run that is meant: a folder, or the name of one below this.
    pub fn find(&self, name: &str) -> Option<Found> {
        let is_name = !name.is_empty() && !name.contains(['/', '\\']) && name != "..";
        look(Path::new(name)).or_else(|| is_name.then(|| look(&self.0.join(name)))?)
    }
}

impl Found {
    /// Whether it has a tag.
    pub fn has_tag(&self, word: &str) -> bool {
        self.tags.iter().any(|tag| tag == word)
    }

    /// Adds a tag; false if it has it.
    pub fn tag(&mut self, word: &str) -> Result<bool, RecordError> {
        if self.has_tag(word) {
            return Ok(false);
        }
        self.tags.push(word.to_owned());
        self.write_tags().map(|()| true)
    }

    /// Takes a tag away; false if it has it not.
    pub fn untag(&mut self, word: &str) -> Result<bool, RecordError> {
        let before = self.tags.len();
        self.tags.retain(|tag| tag != word);
        if self.tags.len() == before {
            return Ok(false);
        }
        self.write_tags().map(|()| true)
    }

    /// Whether a word can be a tag: letters, digits, `.`, `_` and `-`.
    pub fn can_tag(word: &str) -> bool {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        (1..=MOST_TAG).contains(&word.len()) && word.chars().all(fits)
    }

    fn write_tags(&self) -> Result<(), RecordError> {
        let path = self.folder.join(TAGS);
        let beside = self.folder.join("tags.partial");
        let mut text = self.tags.join("\n");
        text.push_str(if self.tags.is_empty() { "" } else { "\n" });
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|error| RecordError::disk(&path, "written", error))
    }

    /// Removes the run, with its folder. One that is running is left alone: false.
    pub fn remove(&self) -> Result<bool, RecordError> {
        // Looked at again: what was a run a moment ago may be something else by now.
        match look(&self.folder) {
            Some(found) if found.standing != Standing::Running => {}
            _ => return Ok(false),
        }
        let removed = fs::remove_dir_all(&self.folder);
        removed.map(|()| true).map_err(|error| RecordError::disk(&self.folder, "removed", error))
    }
}

/// The run in a folder, if it is one.
fn look(folder: &Path) -> Option<Found> {
    // A link is nobody's run: what it leads to may be anything.
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|it| it.is_dir());
    if !is_folder {
        return None;
    }
    let started = begins(folder);
    let summary = fs::read(folder.join(SUMMARY)).ok();
    let summary: Option<Summary> = summary.and_then(|text| serde_json::from_slice(&text).ok());
    let summary = summary.filter(|summary| summary.schema == SCHEMA);
    let standing = match &summary {
        _ if is_written(folder) => Standing::Running,
        Some(summary) => {
            Standing::Ended { status: summary.verdict.status, complete: summary.run.complete }
        }
        None => Standing::CutOff,
    };
    let run = summary.map(|summary| summary.run).or(started)?;
    let tags = fs::read_to_string(folder.join(TAGS)).unwrap_or_default();
    let tags = tags.lines().filter(|tag| Found::can_tag(tag)).map(str::to_owned).collect();
    Some(Found { folder: folder.to_owned(), run, standing, tags, bytes: bytes(folder) })
}

/// Which run a journal says that it is of.
fn begins(folder: &Path) -> Option<RunInfo> {
    let mut records = Records::open(folder).ok()?;
    let Some(record) = records.next() else {
        // Cut off in its first moment: it is a run all the same.
        let id = folder.file_name()?.to_string_lossy().into_owned();
        return Some(RunInfo { name: id.clone(), id, ..RunInfo::default() });
    };
    match record.kind {
        Kind::Start => record.json::<Start>().map(|start| start.run),
        Kind::Suite => record.json::<SuiteStart>().map(|start| start.run),
        _ => None,
    }
}

/// Whether a process has the journal open to write.
pub(super) fn is_written(folder: &Path) -> bool {
    let Ok(file) = crate::workload::open(&folder.join(JOURNAL)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Bytes of all files below a folder.
fn bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |it| it.len()),
        _ => 0,
    });
    sizes.sum()
}
