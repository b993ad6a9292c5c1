//! Whose components are taken: those that a key has signed, with minisign, in a file of its own beside them.
//!
//! A lock says which bytes; a key says whose. A lock that someone changed names other bytes, and those the key has
//! not signed. What is not signed, by another key, or not well, is refused (114).

use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};

use super::{Failed, load::configuration};
use crate::{
    diagnostic::Diagnostic,
    digest::digest,
    report::printable::printable,
    verdict::Cause,
    workload::{read_bytes, read_text},
};

/// Bytes of a signature's file, and of a key's.
const BYTES: u64 = 4_096;
/// Characters of someone else's words.
const TEXT: usize = 200;

/// Where the signature of a file is.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// A signature's text, which is one.
pub fn signature(path: &Path) -> Result<String, Failed> {
    let text = small(path)?;
    match Signature::decode(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(configuration(
            Diagnostic::new(format!("`{}` is no signature: {error}", path.display()))
                .help("make one with `minisign -S -m FILE.wasm`"),
        )),
    }
}

/// The digest of a file that one of the keys has signed: of what was looked at.
pub fn signed(keys: &[String], path: &Path, limit: u64) -> Result<String, Failed> {
    let bytes = read_bytes(path, limit).map_err(|error| unread(path, &error))?;
    let beside = beside(path);
    let signature = if beside.exists() { Some(small(&beside)?) } else { None };
    check(keys, &bytes, signature.as_deref(), &path.display().to_string())?;
    Ok(digest(&bytes))
}

/// Refuses bytes that none of the keys has signed, if there are any keys.
pub fn check(
    keys: &[String],
    bytes: &[u8],
    signature: Option<&str>,
    what: &str,
) -> Result<(), Failed> {
    if keys.is_empty() {
        return Ok(());
    }
    let keys = keys.iter().map(|it| key(it)).collect::<Result<Vec<_>, _>>()?;
    let refused = |why: String| {
        Failed::new(
            Cause::PluginRefused,
            Diagnostic::new(format!("`{what}` {why}")).help(
                "take one that is signed by whom --trust names; or, if it is yours, sign it: \
                 `minisign -S -m FILE.wasm`",
            ),
        )
    };
    let Some(text) = signature else {
        return Err(refused("is not signed: no signature is beside it".to_owned()));
    };
    let signature = Signature::decode(text)
        .map_err(|error| refused(format!("is not signed: what is beside it is none ({error})")))?;
    let mut why = String::new();
    for key in &keys {
        match key.verify(bytes, &signature, false) {
            Ok(()) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(refused(format!("is not signed by a key that is trusted ({})", printable(&why, TEXT))))
}

/// A public key as it is written, or in its file.
fn key(text: &str) -> Result<PublicKey, Failed> {
    let wrong = |why: &str| {
        configuration(
            Diagnostic::new(format!("--trust `{}` is no public key: {why}", printable(text, TEXT)))
                .help("write the last line of minisign's `.pub` file, or name that file"),
        )
    };
    if let Ok(key) = PublicKey::from_base64(text) {
        return Ok(key);
    }
    let path = Path::new(text);
    if !path.is_file() {
        return Err(wrong("neither a key nor a file"));
    }
    PublicKey::decode(&small(path)?).map_err(|error| wrong(&error.to_string()))
}

fn small(path: &Path) -> Result<String, Failed> {
    read_text(path, BYTES).map_err(|error| unread(path, &error))
}

fn unread(path: &Path, error: &std::io::Error) -> Failed {
    configuration(
        Diagnostic::new(format!("`{}` cannot be read: {error}", path.display()))
            .help("name a file that is there"),
    )
}
