//! The real command, run as a user runs it: in an empty folder, with a clean environment.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::nats::search_path;

/// A folder to run the command in, removed at the end.
#[derive(Debug)]
pub struct Workplace {
    folder: TempDir,
    binary: PathBuf,
}

/// What a run of the command left behind.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// What `--summary-export` wrote, if it was asked for.
    pub summary: Option<Value>,
}

impl Workplace {
    /// An empty folder; `binary` is `env!("CARGO_BIN_EXE_wavetank-under-test")`.
    ///
    /// # Panics
    /// If there is no room for a folder.
    pub fn new(binary: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, binary: binary.into() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder; returns its name.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, content).expect("a file");
        name.to_owned()
    }

    /// The command with these arguments, not started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", search_path())
            .env("HOME", self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.finish(self.command(arguments).output().expect("the command runs"))
    }

    /// Runs a workload with `--summary-export`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run_workload(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["run", "--summary-export", "summary.json", "--progress", "none"];
        all.extend(arguments);
        self.run(&all)
    }

    /// Starts the command and leaves it running, its output piped.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts")
    }

    /// What a started command left behind.
    pub fn finish(&self, output: Output) -> Ran {
        let summary = std::fs::read_to_string(self.path().join("summary.json")).ok();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            summary: summary.and_then(|text| serde_json::from_str(&text).ok()),
        }
    }
}

impl Ran {
    /// Asserts that it ended with this code and showed these words, on either stream, wherever its lines
    /// broke. A guest's own panic may be shown; one of the host's would be a bug.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn assert_says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(!self.stderr.contains("panicked at host"), "{self:#?}");
        let shown = format!("{}{}", self.stdout, self.stderr);
        let unbroken = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(shown.contains(word) || unbroken.contains(word), "no `{word}` in:\n{shown}");
        }
    }

    /// The summary's metric with these tags; null if there is none.
    ///
    /// # Panics
    /// If no summary was written.
    pub fn metric(&self, name: &str, tags: &[(&str, &str)]) -> Value {
        let summary = self.summary.as_ref().unwrap_or_else(|| panic!("no summary: {self:#?}"));
        let wanted: serde_json::Map<String, Value> =
            tags.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
        summary["metrics"]
            .as_array()
            .and_then(|metrics| {
                metrics.iter().find(|metric| {
                    metric["name"] == name && metric["tags"].as_object() == Some(&wanted)
                })
            })
            .map_or(Value::Null, |metric| metric["values"].clone())
    }
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
