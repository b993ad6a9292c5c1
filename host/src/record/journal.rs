//! The journal: a file to which records are appended, and the way to read as much of it as is whole.
//!
//! | part | bytes | what |
//! |---|---|---|
//! | header | 19 | `wavetank.journal/1` and a line feed; the digit is the version |
//! | record: kind | 1 | below |
//! | record: length | 4 | of the payload, little endian |
//! | record: checksum | 8 | the beginning of BLAKE3 of the checksum before (all 32 bytes; of the header, in the first record), kind, length and payload |
//! | record: payload | length | deflated (zlib) |
//!
//! | kind | payload, inflated |
//! |---|---|
//! | 1 start | JSON: which run, where, what its plan was built from and what it came to, the text of a script |
//! | 2 names | JSON: the names of tags that are new, in the order of their numbers, from 2 |
//! | 3 begun | JSON: when the first scenario started, nanoseconds on the run's clock |
//! | 4 interval | what a shard measured in a second (`metric/bytes.rs`) |
//! | 5 facts | JSON: what is known beside the samples, as of the records before |
//! | 6 errors | JSON: all kinds of iteration errors so far |
//! | 7 event | JSON: when, what kind, and what there is to say of it (`run/chronicle.rs`) |
//! | 8 end | JSON: whether it came to its end |
//! | 9 suite | JSON: which suite, and which workloads are to run |
//! | 10 suite's end | JSON: why it ended before its last workload, if it did; how it stands against its baseline |
//! | 11 baseline | JSON: how the run stands against its baseline, if it was given one; behind the end |
//!
//! Each checksum stands on all that came before, so a record that was changed, left out, put in twice or
//! taken from another journal ends what is believed; what is before it is whole. Nothing is ever changed in
//! place.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Serialize, de::DeserializeOwned};

/// The journal's name in the folder of a run.
pub const JOURNAL: &str = "journal";
/// What every journal begins with; the digit is the version.
const HEADER: &[u8; 19] = b"wavetank.journal/1\n";
/// Bytes before a payload.
const HEAD: usize = 13;
/// Bytes of a payload, deflated. A longer one is none of ours.
const LONGEST: usize = 64 << 20;
/// Bytes of a payload, inflated.
const LARGEST: u64 = 512 << 20;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Which run.
    Start = 1,
    /// New names.
    Names,
    /// The load begins.
    Begun,
    /// What a shard measured.
    Interval,
    /// What is known beside samples.
    Facts,
    /// Kinds of errors.
    Errors,
    /// Something that happened.
    Event,
    /// The run's end.
    End,
    /// Which suite.
    Suite,
    /// The suite's end.
    SuiteEnd,
    /// How the run stands against its baseline.
    Baseline,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Start,
        Self::Names,
        Self::Begun,
        Self::Interval,
        Self::Facts,
        Self::Errors,
        Self::Event,
        Self::End,
        Self::Suite,
        Self::SuiteEnd,
        Self::Baseline,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Where a journal stops to be whole, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Bytes that are whole.
    pub at: u64,
    /// Bytes of the file.
    pub of: u64,
    /// What is wrong there.
    pub what: &'static str,
}

/// What is wrong with a record that is not whole.
const CUT: &str = "a record is cut off";

impl Damage {
    /// Whether the last record is only not whole, as it is while somebody writes it.
    pub(super) fn is_cut(&self) -> bool {
        self.what.starts_with(CUT)
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { at, of, what } = self;
        write!(formatter, "its journal is whole up to byte {at} of {of}; there {what}")
    }
}

/// Why a record cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The disk says no.
    #[error("`{}` cannot be {what}: {source}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What was to be done.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// Not written by this tool.
    #[error("`{}` is no journal of a run", .0.display())]
    NoJournal(PathBuf),
    /// Of another version.
    #[error("`{}` is a journal of version {version}; this tool reads version 1", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// Nothing of it is whole enough to be shown.
    #[error("`{}` says too little to be shown: {what}", path.display())]
    TooLittle {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// Its plan cannot be had again.
    #[error("the plan of `{}` cannot be built again: {what}", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
}

impl RecordError {
    /// Something that the disk would not do.
    pub(super) fn disk(path: &Path, what: &'static str, source: std::io::Error) -> Self {
        Self::Disk { path: path.to_owned(), what, source }
    }
}

/// Where a journal is written to.
pub(super) trait Disk: Write + Send {
    /// Waits until everything that was written survives this machine.
    fn sync(&mut self) -> std::io::Result<()>;
}

impl Disk for File {
    fn sync(&mut self) -> std::io::Result<()> {
        self.sync_data()
    }
}

/// The file, open to be appended to.
pub(super) struct Appender {
    path: PathBuf,
    file: BufWriter<Box<dyn Disk>>,
    chain: blake3::Hash,
}

impl Appender {
    /// Makes the journal of a run's folder. There must be none.
    ///
    /// As long as it is open, it is locked: whoever clears away old runs sees that this one goes on.
    pub(super) fn create(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(JOURNAL);
        let opened = File::options().read(true).write(true).create_new(true).open(&path);
        let file = opened.map_err(|error| RecordError::disk(&path, "made", error))?;
        // A file system without locks keeps a journal all the same.
        let _ = file.try_lock();
        Self::begin(path, Box::new(file))
    }

    /// Begins a journal on a disk, where nothing is yet.
    pub(super) fn begin(path: PathBuf, disk: Box<dyn Disk>) -> Result<Self, RecordError> {
        let file = BufWriter::with_capacity(1 << 16, disk);
        let mut journal = Self { path, file, chain: blake3::hash(HEADER) };
        journal.write(HEADER)?;
        Ok(journal)
    }

    /// Appends a record.
    pub(super) fn append(&mut self, kind: Kind, payload: &[u8]) -> Result<(), RecordError> {
        let deflated = deflate(payload);
        let Some(length) = u32::try_from(deflated.len()).ok().filter(|it| *it as usize <= LONGEST)
        else {
            let error = std::io::Error::other("a record is larger than records may be");
            return Err(RecordError::disk(&self.path, "written", error));
        };
        self.chain = chained(&self.chain, kind as u8, length, &deflated);
        let mut head = [0; HEAD];
        head[0] = kind as u8;
        head[1..5].copy_from_slice(&length.to_le_bytes());
        head[5..].copy_from_slice(&self.chain.as_bytes()[..8]);
        self.write(&head)?;
        self.write(&deflated)
    }

    /// Appends a record whose payload is JSON.
    pub(super) fn append_json(
        &mut self,
        kind: Kind,
        content: &impl Serialize,
    ) -> Result<(), RecordError> {
        let json = serde_json::to_vec(content).map_err(|error| {
            RecordError::disk(&self.path, "written", std::io::Error::other(error))
        })?;
        self.append(kind, &json)
    }

    /// Gives the kernel what was appended: it survives this process.
    pub(super) fn flush(&mut self) -> Result<(), RecordError> {
        self.file.flush().map_err(|error| RecordError::disk(&self.path, "written", error))
    }

    /// Gives the disk what was appended: it survives this machine.
    pub(super) fn sync(&mut self) -> Result<(), RecordError> {
        self.flush()?;
        let synced = self.file.get_mut().sync();
        synced.map_err(|error| RecordError::disk(&self.path, "synced", error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        self.file.write_all(bytes).map_err(|error| RecordError::disk(&self.path, "written", error))
    }
}

fn chained(before: &blake3::Hash, kind: u8, length: u32, payload: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before.as_bytes()).update(&[kind]).update(&length.to_le_bytes()).update(payload);
    hasher.finalize()
}

fn deflate(payload: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    // A vector takes what it is given.
    let _ = encoder.write_all(payload);
    encoder.finish().unwrap_or_default()
}

fn inflate(deflated: &[u8]) -> Option<Vec<u8>> {
    let mut payload = Vec::new();
    ZlibDecoder::new(deflated).take(LARGEST + 1).read_to_end(&mut payload).ok()?;
    (payload.len() as u64 <= LARGEST).then_some(payload)
}

/// A record that is whole.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) kind: Kind,
    /// Where it ends in the file.
    pub(super) end: u64,
    deflated: Vec<u8>,
}

impl Record {
    /// What was appended; `None` if it cannot be had, which only a file made by hand comes to.
    pub(super) fn payload(&self) -> Option<Vec<u8>> {
        inflate(&self.deflated)
    }

    /// The payload, which is JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.payload()?).ok()
    }
}

/// A journal, read from its beginning.
pub(super) struct Records {
    file: BufReader<File>,
    size: u64,
    at: u64,
    chain: blake3::Hash,
    /// Why there is no further record; `None` while there may be one, and at a whole end.
    pub(super) damage: Option<Damage>,
}

impl Records {
    /// Opens the journal of a run's folder.
    pub(super) fn open(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(JOURNAL);
        let disk = |error| RecordError::disk(&path, "read", error);
        let file = crate::workload::open(&path).map_err(disk)?;
        let size = file.metadata().map_err(disk)?.len();
        let mut file = BufReader::with_capacity(1 << 18, file);
        let mut header = Vec::new();
        (&mut file).take(HEADER.len() as u64).read_to_end(&mut header).map_err(disk)?;
        if header != HEADER {
            let version = header.strip_prefix(b"wavetank.journal/".as_slice());
            let version = version.map(|rest| String::from_utf8_lossy(rest).trim().to_owned());
            return Err(match version {
                Some(version) if header.len() == HEADER.len() => {
                    RecordError::Version { path, version }
                }
                _ => RecordError::NoJournal(path),
            });
        }
        let (at, chain) = (HEADER.len() as u64, blake3::hash(HEADER));
        Ok(Self { file, size, at, chain, damage: None })
    }

    /// The next record, if it is whole.
    pub(super) fn next(&mut self) -> Option<Record> {
        if self.damage.is_some() || self.at >= self.size {
            return None;
        }
        match self.read() {
            Ok(record) => Some(record),
            Err(what) => {
                self.damage = Some(Damage { at: self.at, of: self.size, what });
                None
            }
        }
    }

    /// That what was read last is not believed after all.
    pub(super) fn doubt(&mut self, what: &'static str) {
        self.damage.get_or_insert(Damage { at: self.at, of: self.size, what });
    }

    fn read(&mut self) -> Result<Record, &'static str> {
        let mut head = [0; HEAD];
        self.file.read_exact(&mut head).map_err(|_| CUT)?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        if u64::from(length) > self.size - self.at {
            return Err("a record is cut off, or its length is wrong");
        }
        let kind = Kind::of(head[0]).ok_or("a record is of an unknown kind")?;
        let mut deflated = vec![0; length as usize];
        self.file.read_exact(&mut deflated).map_err(|_| CUT)?;
        let chain = chained(&self.chain, head[0], length, &deflated);
        if chain.as_bytes()[..8] != head[5..] {
            return Err("a record has another checksum than it should have");
        }
        self.chain = chain;
        self.at += (HEAD + deflated.len()) as u64;
        Ok(Record { kind, end: self.at, deflated })
    }
}

/// The kinds and payloads of all whole records of a folder's journal, inflated: for whoever wants to see
/// what is in there.
pub fn payloads(folder: &Path) -> Result<Vec<(Kind, Vec<u8>)>, RecordError> {
    let mut records = Records::open(folder)?;
    let mut payloads = Vec::new();
    while let Some(record) = records.next() {
        payloads.push((record.kind, record.payload().unwrap_or_default()));
    }
    Ok(payloads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> Vec<u8> {
        let mut journal = Appender::create(folder).unwrap();
        for (kind, text) in [(Kind::Start, "{}"), (Kind::Event, "second"), (Kind::End, "third")] {
            journal.append(kind, text.as_bytes()).unwrap();
        }
        journal.sync().unwrap();
        std::fs::read(folder.join(JOURNAL)).unwrap()
    }

    fn read(folder: &Path, bytes: &[u8]) -> (usize, Option<Damage>) {
        std::fs::write(folder.join(JOURNAL), bytes).unwrap();
        let Ok(mut records) = Records::open(folder) else { return (0, None) };
        let mut count = 0;
        while records.next().is_some() {
            count += 1;
        }
        (count, records.damage)
    }

    #[test]
    fn every_truncation_leaves_the_records_before_it_and_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let whole = written(folder.path());
        assert_eq!(read(folder.path(), &whole), (3, None));
        let mut ends = vec![HEADER.len()];
        for length in 0..whole.len() {
            let (count, damage) = read(folder.path(), &whole[..length]);
            if count + 1 > ends.len() {
                ends.push(length);
            }
            let at_end = ends.last() == Some(&length) && length >= HEADER.len();
            assert_eq!(damage.is_some(), length > HEADER.len() && !at_end, "at {length}");
            if let Some(damage) = damage {
                assert_eq!((damage.at, damage.of), (ends[count] as u64, length as u64));
            }
        }
        assert_eq!(ends.len(), 3, "the third is whole only at the end");
    }

    #[test]
    fn every_flipped_bit_is_seen_and_nothing_behind_it_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let whole = written(folder.path());
        let mut ends = Vec::new();
        {
            let mut records = Records::open(folder.path()).unwrap();
            while let Some(record) = records.next() {
                ends.push(record.end as usize);
            }
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (count, damage) = read(folder.path(), &bytes);
            let before = ends.iter().filter(|end| **end <= bit / 8).count();
            assert_eq!(count, before, "bit {bit}");
            assert!(damage.is_some() || bit / 8 < HEADER.len(), "bit {bit}");
        }
    }

    #[test]
    fn records_that_were_moved_about_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let whole = written(folder.path());
        let mut records = Records::open(folder.path()).unwrap();
        let first = records.next().unwrap().end as usize;
        let second = records.next().unwrap().end as usize;
        let left_out = [&whole[..first], &whole[second..]].concat();
        assert_eq!(read(folder.path(), &left_out).0, 1);
        let twice = [&whole[..second], &whole[first..]].concat();
        assert_eq!(read(folder.path(), &twice).0, 2);
    }

    #[test]
    fn what_is_no_journal_or_of_another_version_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let open = |bytes: &[u8]| {
            std::fs::write(folder.path().join(JOURNAL), bytes).unwrap();
            Records::open(folder.path()).err().unwrap().to_string()
        };
        assert!(open(b"").contains("is no journal"));
        assert!(open(b"hello, world, hello, world").contains("is no journal"));
        let newer = open(b"wavetank.journal/7\nwhat comes");
        assert!(newer.contains("version 7") && newer.contains("reads version 1"), "{newer}");
        assert!(
            Appender::create(folder.path()).is_err(),
            "one that is there is never written over"
        );
    }
}
