//! What was pulled, in a folder, each under its digest.
//!
//! Nothing on it is believed for where it lies: what is taken from it has the digest that was asked for, or it is
//! as if it were not there, and is pulled anew.

use std::{
    fs::{self, DirBuilder, File},
    io::{Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use crate::{
    cli::{Failed, load},
    diagnostic::Diagnostic,
    digest::digest,
    verdict::Cause,
};

/// Bytes of a component that anyone could pull.
const LARGEST: u64 = 1 << 30;

/// The folder.
pub struct Shelf(PathBuf);

impl Shelf {
    /// The one of this user.
    pub fn open() -> Result<Self, Failed> {
        let folder = load::cache().map(|cache| cache.join("pulled"));
        let folder = folder.ok_or_else(|| {
            load::configuration(
                Diagnostic::new(
                    "there is no folder for what is pulled: neither XDG_CACHE_HOME nor HOME is set",
                )
                .help("set one, or pull into a file with `wavetank plugin pull` and name that"),
            )
        })?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| unwritten(&folder, &error))?;
        Ok(Self(folder))
    }

    /// The file with this digest, if it is there and has it.
    pub fn find(&self, wanted: &str) -> Option<PathBuf> {
        self.read(wanted, LARGEST).map(|_| self.place(wanted))
    }

    /// The bytes with this digest, of which there are at most `limit`.
    pub fn read(&self, wanted: &str, limit: u64) -> Option<Vec<u8>> {
        let file = File::open(self.place(wanted)).ok()?;
        let is_file = file.metadata().is_ok_and(|it| it.is_file() && it.len() <= limit);
        let mut bytes = Vec::new();
        file.take(if is_file { limit } else { 0 }).read_to_end(&mut bytes).ok()?;
        (is_file && digest(&bytes) == wanted).then_some(bytes)
    }

    /// Lays bytes there, whole or not at all.
    pub fn lay(&self, own: &str, bytes: &[u8]) -> Result<PathBuf, Failed> {
        let place = self.place(own);
        let written = tempfile::NamedTempFile::new_in(&self.0).and_then(|mut file| {
            file.write_all(bytes)?;
            file.persist(&place).map_err(|error| error.error)
        });
        written.map_err(|error| unwritten(&place, &error))?;
        Ok(place)
    }

    fn place(&self, digest: &str) -> PathBuf {
        self.0.join(digest.replace(':', "-")).with_extension("wasm")
    }
}

/// Writes what was pulled where it is wanted, whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        file.write_all(bytes)?;
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(file.path(), open)?;
        file.persist(path).map_err(|error| error.error)
    });
    written.map(drop).map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failed {
    let message = format!("`{}` cannot be written: {error}", path.display());
    Failed::new(
        Cause::NotWritten,
        Diagnostic::new(message).help("free some space, or name another place"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_there_has_its_digest_or_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf(folder.path().to_owned());
        let own = digest(b"component");
        assert_eq!(shelf.find(&own), None);
        let place = shelf.lay(&own, b"component").unwrap();
        assert_eq!(shelf.find(&own).as_deref(), Some(place.as_path()));
        assert_eq!(shelf.read(&own, 9).as_deref(), Some(&b"component"[..]));
        assert_eq!(shelf.read(&own, 8), None, "more than it may have");
        fs::write(&place, b"componenT").unwrap();
        assert_eq!(shelf.find(&own), None, "changed since");
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        assert_eq!(shelf.find(&own), None, "a folder");
    }
}
