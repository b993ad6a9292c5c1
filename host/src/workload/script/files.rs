//! Files of a script's folder, as it imports them or reads their data: each is read once, whoever asks for it and
//! on whichever shard, so that all shards run the same bytes, and those are what the script's digest is of.
//!
//! A script that must be what was locked gets no file that was not read while it was loaded: nobody has looked
//! at that one.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::resolver;

/// The bytes of a file.
pub type Bytes = Arc<[u8]>;

/// What was read; shared by all shards.
#[derive(Clone, Debug, Default)]
pub struct Files(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The folder, canonical.
    root: PathBuf,
    known: Mutex<Known>,
    sealed: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    /// Which file is meant by what was written, with the ending that it is given. The folder may change.
    asked: BTreeMap<(String, String), PathBuf>,
    read: BTreeMap<PathBuf, Bytes>,
}

impl Files {
    /// Those of a folder, which is canonical.
    pub fn of(root: &Path) -> Self {
        Self(Arc::new(Inner { root: root.to_owned(), ..Inner::default() }))
    }

    /// From now on only what was read already.
    pub fn seal(&self) {
        self.0.sealed.store(true, Ordering::Relaxed);
    }

    /// A file of at most so many bytes, with its place; or why not, in a sentence.
    pub fn get(
        &self,
        path: &str,
        extension: Option<&str>,
        (limit, name): (u64, &str),
    ) -> Result<(PathBuf, Bytes), String> {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = (path.to_owned(), extension.unwrap_or_default().to_owned());
        if let Some(found) = known.asked.get(&asked)
            && let Some(bytes) = known.read.get(found)
        {
            return Ok((found.clone(), Arc::clone(bytes)));
        }
        if self.0.sealed.load(Ordering::Relaxed) {
            return Err(format!(
                "`{path}` was not read when the script was loaded, so it is not what was locked: \
                 read or import it at the top of the script"
            ));
        }
        let file = resolver::inside(&self.0.root, path, extension)?;
        let bytes = match known.read.get(&file) {
            Some(bytes) => Arc::clone(bytes),
            None => read(&file, limit, name).map_err(|why| format!("`{path}`: {why}"))?,
        };
        known.asked.insert(asked, file.clone());
        known.read.insert(file.clone(), Arc::clone(&bytes));
        Ok((file, bytes))
    }

    /// Everything that was read, in the order of their names in the folder.
    pub fn all(&self) -> Vec<(PathBuf, Bytes)> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |path: &PathBuf| path.strip_prefix(&self.0.root).unwrap_or(path).to_owned();
        known.read.iter().map(|(path, bytes)| (name(path), Arc::clone(bytes))).collect()
    }
}

fn read(path: &Path, limit: u64, name: &str) -> Result<Bytes, String> {
    let file = crate::workload::open(path).map_err(|error| resolver::reason(&error))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| resolver::reason(&error))?;
    if bytes.len() as u64 > limit {
        return Err(format!("larger than the limit of {limit} bytes (--limit {name}=N)"));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_what_it_was_when_it_was_read_first() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let limit = (9, "data_file_bytes");
        fs::write(root.join("a.json"), "first").unwrap();
        fs::write(root.join("b.json"), "other").unwrap();
        let files = Files::of(&root);
        let text = |path: &str, extension| {
            let found = files.clone().get(path, extension, limit);
            found.map(|(_, bytes)| String::from_utf8(bytes.to_vec()).unwrap())
        };
        assert_eq!(text("a.json", None).unwrap(), "first");
        fs::write(root.join("a.json"), "second").unwrap();
        assert_eq!(text("a.json", None).unwrap(), "first");
        assert_eq!(text("./a.json", None).unwrap(), "first", "it is the same file");
        assert_eq!(text("a", Some("json")).unwrap(), "first");
        fs::remove_file(root.join("a.json")).unwrap();
        assert_eq!(text("a.json", None).unwrap(), "first");
        let names: Vec<_> = files.all().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [PathBuf::from("a.json")]);

        fs::write(root.join("c.json"), "more than nine").unwrap();
        let why = text("c.json", None).unwrap_err();
        assert!(why.contains("larger than the limit of 9 bytes (--limit data_file_bytes"), "{why}");
        files.seal();
        assert_eq!(text("a.json", None).unwrap(), "first");
        let why = text("b.json", None).unwrap_err();
        assert!(why.contains("`b.json` was not read when the script was loaded"), "{why}");
    }
}
