//! Compiled components, kept between runs.
//!
//! Compiled code is believed without a check by whoever deserialises it, so an entry is believed only
//! if this installation made it: the folder is private (0700) and opened without following links, the
//! key lies in it (0600), an entry is read once, and its keyed hash (BLAKE3, over name and bytes) must
//! fit; those very bytes are then deserialised. On Linux they lie in a file in memory that was sealed
//! before, so that they are mapped and not copied: an interpreter's are tens of megabytes. Anything odd
//! means: compile again. The cache never makes a run fail.
//!
//! Entry: 32 bytes of hash, then what wasmtime serialised. Name: sha256 of the component, and the hash
//! of what wasmtime's output depends on. Of more than [`CACHE_BYTES`] those go that were not used for longest.

use std::{
    fs::File,
    hash::{Hash, Hasher},
    io::{Read, Write},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use wasmtime::{Engine, component::Component};

/// Most bytes of an entry: compiled code is larger than its source, but not without bound.
const ENTRY_BYTES: u64 = 1 << 30;

/// Bytes of all entries: some fifty interpreters, some thousand plugins of a few functions.
const CACHE_BYTES: u64 = 2 << 30;

const KEY_NAME: &str = "key";
const HASH_BYTES: usize = 32;

/// The cache of one folder.
#[derive(Debug)]
pub(super) struct Cache {
    folder: OwnedFd,
    key: [u8; HASH_BYTES],
}

impl Cache {
    /// Opens, or makes, a private folder and its key. `None` if it is not private or cannot be used.
    pub(super) fn open(path: &Path) -> Option<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).ok()?;
        }
        // That it exists already is as good; what it is, is checked on the opened folder.
        let _ = rustix::fs::mkdir(path, Mode::RWXU);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let folder = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        is_private(&folder)?;
        let key = read_key(&folder).or_else(|| make_key(&folder))?;
        Some(Self { folder, key })
    }

    /// The compiled component, if there is an entry that this installation made.
    pub(super) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let name = name(engine, digest);
        let mut entry = open(&self.folder, &name)?;
        let mut hash = [0; HASH_BYTES];
        entry.read_exact(&mut hash).ok()?;
        let mut hasher = self.hasher(&name);
        let compiled = Compiled::read((&entry).take(ENTRY_BYTES), &mut hasher)?;
        // `blake3::Hash` compares in constant time.
        if blake3::Hash::from_bytes(hash) != hasher.finalize() {
            return None;
        }
        used(&entry);
        compiled.deserialise(engine)
    }

    /// Keeps a compiled component; a failure is nobody's concern.
    pub(super) fn store(&self, engine: &Engine, digest: &str, component: &Component) -> Option<()> {
        let compiled = component.serialize().ok()?;
        let name = name(engine, digest);
        let hash = self.hasher(&name).update(&compiled).finalize();
        write(&self.folder, &name, &[hash.as_bytes(), &compiled])?;
        self.prune(CACHE_BYTES)
    }

    /// Takes away entries until the others have no more than `most` bytes: what was not used for longest
    /// first, and what a process left half written like any other.
    fn prune(&self, most: u64) -> Option<()> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.folder).ok()?.flatten() {
            let name = entry.file_name().to_owned();
            if !is_entry(name.to_bytes()) {
                continue;
            }
            let status = rustix::fs::statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW);
            let Ok(status) = status else { continue };
            entries.push(((status.st_mtime, status.st_mtime_nsec), status.st_size as u64, name));
        }
        entries.sort();
        let mut kept = 0;
        for (_, bytes, name) in entries.iter().rev() {
            if kept + bytes > most {
                let _ = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty());
            } else {
                kept += bytes;
            }
        }
        Some(())
    }

    /// Of what comes after the name.
    fn hasher(&self, name: &str) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher
    }
}

/// Compiled code as it was read: it does not change any more.
#[cfg(target_os = "linux")]
struct Compiled(File);

#[cfg(target_os = "linux")]
impl Compiled {
    /// Reads it into a file in memory; what is hashed is what is written there.
    fn read(mut from: impl Read, hasher: &mut blake3::Hasher) -> Option<Self> {
        use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create("wavetank-compiled", flags).ok()?);
        let mut chunk = vec![0; 256 << 10];
        loop {
            let read = from.read(&mut chunk).ok()?;
            if read == 0 {
                break;
            }
            hasher.update(&chunk[..read]);
            file.write_all(&chunk[..read]).ok()?;
        }
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&file, seals).ok()?;
        Some(Self(file))
    }

    #[expect(
        unsafe_code,
        reason = "compiled code can only be believed, and it was checked whose it is"
    )]
    fn deserialise(self, engine: &Engine) -> Option<Component> {
        use std::os::fd::AsRawFd;

        let place = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        // SAFETY: the bytes bear a keyed hash under a key that only this user can read, so they are what
        // `Component::serialize` returned to this installation; wasmtime itself refuses another version
        // or configuration. The file is sealed, and cannot change under its hands.
        unsafe { Component::deserialize_file(engine, place) }.ok()
    }
}

/// Compiled code as it was read.
#[cfg(not(target_os = "linux"))]
struct Compiled(Vec<u8>);

#[cfg(not(target_os = "linux"))]
impl Compiled {
    fn read(mut from: impl Read, hasher: &mut blake3::Hasher) -> Option<Self> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).ok()?;
        hasher.update(&bytes);
        Some(Self(bytes))
    }

    #[expect(
        unsafe_code,
        reason = "compiled code can only be believed, and it was checked whose it is"
    )]
    fn deserialise(self, engine: &Engine) -> Option<Component> {
        // SAFETY: as on Linux; they are in memory of ours.
        unsafe { Component::deserialize(engine, &self.0) }.ok()
    }
}

/// A compiled component for another engine of the same configuration.
#[expect(unsafe_code, reason = "compiled code can only be believed, and it is our own")]
pub(super) fn copy(engine: &Engine, component: &Component) -> wasmtime::Result<Component> {
    let compiled = component.serialize()?;
    // SAFETY: the bytes are what `Component::serialize` has just returned, in memory of ours.
    unsafe { Component::deserialize(engine, compiled) }
}

fn name(engine: &Engine, digest: &str) -> String {
    let mut hasher = Stable(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{digest}-{}", &hasher.0.finalize().to_hex()[..16])
}

/// Whether a file of the folder is an entry, or one half written: other things lie there, too.
fn is_entry(name: &[u8]) -> bool {
    name.get(64) == Some(&b'-') && name[..64].iter().all(u8::is_ascii_hexdigit)
}

/// It is the one that was used last.
fn used(entry: &File) {
    let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps { last_access: at(UTIME_OMIT), last_modification: at(UTIME_NOW) };
    // Whoever cannot say so loses the entry sooner, and no more.
    let _ = rustix::fs::futimens(entry, &times);
}

/// A hasher that gives the same result in every process.
struct Stable(blake3::Hasher);

impl Hasher for Stable {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

/// Ours, and nobody else's to read or write.
fn is_private(file: &OwnedFd) -> Option<()> {
    let status = rustix::fs::fstat(file).ok()?;
    let ours = status.st_uid == rustix::process::geteuid().as_raw();
    let others = Mode::from_raw_mode(status.st_mode).intersects(Mode::RWXG | Mode::RWXO);
    (ours && !others).then_some(())
}

/// A file of the folder, if it is one, and private.
fn open(folder: &OwnedFd, name: &str) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::openat(folder, name, flags, Mode::empty()).ok()?;
    is_private(&opened)?;
    let file = File::from(opened);
    file.metadata().ok()?.is_file().then_some(file)
}

/// Writes a file beside its name, then moves it there: a reader sees all of it or nothing.
fn write(folder: &OwnedFd, name: &str, parts: &[&[u8]]) -> Option<()> {
    let mut salt = [0; 8];
    File::open("/dev/urandom").ok()?.read_exact(&mut salt).ok()?;
    let beside = format!("{name}.{:016x}", u64::from_le_bytes(salt));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        rustix::fs::openat(folder, beside.as_str(), flags, Mode::RUSR | Mode::WUSR).ok()?;
    let mut file = File::from(opened);
    let written = parts.iter().try_for_each(|part| file.write_all(part)).is_ok();
    let moved = written && rustix::fs::renameat(folder, beside.as_str(), folder, name).is_ok();
    if !moved {
        let _ = rustix::fs::unlinkat(folder, beside.as_str(), AtFlags::empty());
    }
    moved.then_some(())
}

fn read_key(folder: &OwnedFd) -> Option<[u8; HASH_BYTES]> {
    let mut key = Vec::new();
    open(folder, KEY_NAME)?.take(HASH_BYTES as u64 + 1).read_to_end(&mut key).ok()?;
    key.try_into().ok()
}

fn make_key(folder: &OwnedFd) -> Option<[u8; HASH_BYTES]> {
    let mut key = [0; HASH_BYTES];
    File::open("/dev/urandom").ok()?.read_exact(&mut key).ok()?;
    write(folder, KEY_NAME, &[&key])?;
    // Another process may have made one at the same moment: the one that lies there counts.
    read_key(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn entry(folder: &Path) -> std::path::PathBuf {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.file_name().unwrap() != KEY_NAME)
            .unwrap()
    }

    #[test]
    fn an_entry_is_believed_only_untouched_and_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let engine = Engine::default();
        let component = Component::new(&engine, COMPONENT).unwrap();
        let cache = Cache::open(&path).unwrap();
        assert!(cache.load(&engine, "aa").is_none());
        cache.store(&engine, "aa", &component).unwrap();
        assert!(cache.load(&engine, "aa").is_some());
        // The same installation, opened again.
        assert!(Cache::open(&path).unwrap().load(&engine, "aa").is_some());
        // An entry under another component's name.
        let real = entry(&path);
        let other = path.join(real.file_name().unwrap().to_str().unwrap().replacen("aa", "bb", 1));
        std::fs::copy(&real, &other).unwrap();
        assert!(cache.load(&engine, "bb").is_none());
        std::fs::remove_file(other).unwrap();
        // One bit of the code.
        let mut bytes = std::fs::read(&real).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&real, &bytes).unwrap();
        assert!(cache.load(&engine, "aa").is_none());
        bytes[last] ^= 1;
        std::fs::write(&real, &bytes).unwrap();
        assert!(cache.load(&engine, "aa").is_some());
        // Another installation's key.
        std::fs::write(path.join(KEY_NAME), [7; HASH_BYTES]).unwrap();
        assert!(Cache::open(&path).unwrap().load(&engine, "aa").is_none());
    }

    #[test]
    fn of_too_many_entries_those_go_that_were_not_used_for_longest() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("cache");
        let engine = Engine::default();
        let component = Component::new(&engine, COMPONENT).unwrap();
        let cache = Cache::open(&folder).unwrap();
        let digests: Vec<_> = ["a", "b", "c", "d"].map(|it| it.repeat(64)).into();
        let mut bytes = 0;
        for (age, digest) in [40, 30, 20, 10].into_iter().zip(&digests) {
            cache.store(&engine, digest, &component).unwrap();
            let path = folder.join(name(&engine, digest));
            let file = File::options().write(true).open(&path).unwrap();
            let time = file.metadata().unwrap().modified().unwrap();
            file.set_modified(time - std::time::Duration::from_secs(age)).unwrap();
            bytes = file.metadata().unwrap().len();
        }
        let other = folder.join("pulled");
        std::fs::write(&other, [0; 9_000]).unwrap();
        cache.prune(4 * bytes).unwrap();
        let left = || {
            digests
                .iter()
                .map(|it| open(&cache.folder, &name(&engine, it)).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(left(), [true; 4]);
        // The first is used again.
        assert!(cache.load(&engine, &digests[0]).is_some());
        cache.prune(2 * bytes + bytes / 2).unwrap();
        assert_eq!(left(), [true, false, false, true]);
        assert!(other.exists() && read_key(&cache.folder).is_some());
    }

    #[test]
    fn a_folder_that_others_can_write_and_links_are_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Cache::open(&open).is_none());
        let real = directory.path().join("real");
        assert!(Cache::open(&real).is_some());
        let link = directory.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(Cache::open(&link).is_none());
        // An entry that is a link to a file elsewhere.
        let engine = Engine::default();
        let component = Component::new(&engine, COMPONENT).unwrap();
        let cache = Cache::open(&real).unwrap();
        cache.store(&engine, "aa", &component).unwrap();
        let entry = entry(&real);
        let moved = directory.path().join("moved");
        std::fs::rename(&entry, &moved).unwrap();
        symlink(&moved, &entry).unwrap();
        assert!(cache.load(&engine, "aa").is_none());
    }
}
