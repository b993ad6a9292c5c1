//! Waiting for a change of a plugin's files.
//!
//! By looking at them twice a second: editors replace files as often as they write to them, and a folder on
//! a network or in a container tells nobody of its changes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(500);
/// What languages' tools make and fetch.
const MADE: [&str; 6] = ["target", "build", "node_modules", "dist", "__pycache__", "venv"];
/// Files that are watched.
const MOST: usize = 10_000;

/// When files were written, and how long they are.
type Seen = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// The files of a plugin as they were last seen.
pub struct Watch {
    place: PathBuf,
    seen: Seen,
}

impl Watch {
    /// Those of a folder, or a file alone.
    pub fn of(place: &Path) -> Self {
        Self { place: place.to_owned(), seen: seen(place) }
    }

    /// Returns when they are others than when this last returned.
    #[expect(clippy::disallowed_methods, reason = "a person's time, and no measurement's")]
    pub fn changed(&mut self) {
        loop {
            let now = seen(&self.place);
            if now != self.seen {
                self.seen = now;
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn seen(place: &Path) -> Seen {
    let (mut seen, mut waiting) = (Seen::new(), vec![place.to_owned()]);
    while let Some(path) = waiting.pop() {
        let Ok(facts) = fs::symlink_metadata(&path) else { continue };
        if facts.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(entries.map(|entry| entry.path()).filter(|path| is_source(path)));
        } else if facts.is_file() && seen.len() < MOST {
            seen.insert(path, (facts.modified().ok(), facts.len()));
        }
    }
    seen
}

/// Whether it is somebody's work, and neither made of that nor fetched.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let made = MADE.contains(&name.as_ref()) || name.ends_with(".wasm") || name.ends_with(".lock");
    !(made || name.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_seen_and_what_is_made_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("src/lib.rs", "a");
        let first = seen(folder.path());
        assert_eq!(first.len(), 1);
        write("target/release/lib.rs", "made");
        write("build/entry.js", "made");
        write("plugin.wasm", "made");
        write(".git/index", "hidden");
        assert_eq!(seen(folder.path()), first);
        write("src/lib.rs", "ab");
        assert_ne!(seen(folder.path()), first);
        let changed = seen(folder.path());
        write("plugin.toml", "new");
        assert_ne!(seen(folder.path()), changed);
        // A file alone, whatever it is called.
        assert_eq!(seen(&folder.path().join("plugin.wasm")).len(), 1);
    }
}
