//! A journal, as the folder of a run may hold it: read, and told in every format.
//!
//! Each checksum of a journal stands on all that came before, which no fuzzer guesses. So bytes are taken in
//! one of two ways, by the first of them: as the file itself, or as records (`kind, length, payload`) of
//! which a journal is made whose checksums are right.

use std::{fmt::Write as _, path::Path};

use wavetank::{
    record,
    report::{csv, github, html, json, junit, markdown, story::Story, terminal},
};

/// What a journal begins with.
const HEADER: &[u8] = b"wavetank.journal/1\n";

/// Reads bytes as a journal.
pub fn journal(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    let file = if how.is_multiple_of(2) { rest.to_vec() } else { made(rest) };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(record::JOURNAL), file).expect("a file");
    tell(folder.path());
}

/// Tells the run of a folder in every way that there is.
fn tell(folder: &Path) {
    let _ = record::payloads(folder);
    let _ = record::export(folder, &mut std::io::sink());
    let _ = record::History::of(folder).list();
    let Ok(told) = record::report(folder) else { return };
    let story = Story { summary: told.summary, chapters: told.chapters };
    let mut pages = terminal::render(&story.summary, terminal::Options::default());
    for page in [
        html::render(&story),
        markdown::render(&story),
        markdown::brief(&story),
        csv::render(&story),
        junit::render(&story),
        github::summary(&story),
        github::annotations(&story),
        json::render(&story.summary),
    ] {
        let _ = write!(pages, "{page}");
    }
    let bad = pages.chars().find(|it| it.is_control() && !"\n\t\r".contains(*it));
    assert_eq!(bad, None, "a page holds what could command a terminal");
}

/// A journal of the records that the bytes name.
fn made(mut rest: &[u8]) -> Vec<u8> {
    let mut file = HEADER.to_vec();
    let mut chain = blake3::hash(HEADER);
    while let [kind, low, high, behind @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (payload, after) = behind.split_at(length);
        let payload = stored(payload);
        let length = (payload.len() as u32).to_le_bytes();
        let mut hasher = blake3::Hasher::new();
        hasher.update(chain.as_bytes()).update(&[*kind]).update(&length).update(&payload);
        chain = hasher.finalize();
        file.push(*kind);
        file.extend_from_slice(&length);
        file.extend_from_slice(&chain.as_bytes()[..8]);
        file.extend_from_slice(&payload);
        rest = after;
    }
    file
}

/// Bytes in the way of zlib, not made smaller (RFC 1950 and 1951); at most 65 535 of them.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u16;
    let (mut one, mut two) = (1_u32, 0_u32);
    for byte in bytes {
        one = (one + u32::from(*byte)) % 65_521;
        two = (two + one) % 65_521;
    }
    let mut stored = vec![0x78, 0x01, 0x01];
    stored.extend_from_slice(&length.to_le_bytes());
    stored.extend_from_slice(&(!length).to_le_bytes());
    stored.extend_from_slice(bytes);
    stored.extend_from_slice(&((two << 16) | one).to_be_bytes());
    stored
}

/// The seed that a real journal makes: its records, as [`journal`] takes them.
///
/// # Panics
/// If there is no journal in the folder.
pub fn seed(folder: &Path) -> Vec<u8> {
    let mut seed = vec![1];
    for (kind, payload) in record::payloads(folder).expect("a journal") {
        let Ok(length) = u16::try_from(payload.len()) else { continue };
        seed.push(kind as u8);
        seed.extend_from_slice(&length.to_le_bytes());
        seed.extend_from_slice(&payload);
    }
    seed
}
