//! `--locked`: only what a lock names is run, byte for byte. The lock lies beside what it locks.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Failed, args::RunArgs, load::configuration};
use crate::{
    diagnostic::Diagnostic,
    plan::lock::{Lock, Pin},
    report::printable::printable,
    verdict::Cause,
    workload::read_text,
};

/// Bytes of a lock.
const MOST_BYTES: u64 = 16 << 20;
/// Characters of a name.
const TEXT: usize = 160;

/// A lock, and where it was read.
#[derive(Clone, Debug)]
pub struct Pins(Arc<Read>);

#[derive(Debug)]
struct Read {
    lock: Lock,
    place: PathBuf,
    /// The command that writes it anew.
    anew: String,
}

impl Pins {
    /// Those of `--locked`, if it was given.
    pub fn of(args: &RunArgs) -> Result<Option<Self>, Failed> {
        if !args.pins.locked {
            return Ok(None);
        }
        if !args.targets.is_empty() {
            return Err(refused(
                "--target runs a command, and --locked only those of a locked suite".to_owned(),
                "write the target into a suite, and lock that".to_owned(),
            ));
        }
        let path = &args.workload.workload;
        let place = place(path);
        let anew = format!("`wavetank plugin lock {}`", path.display());
        let text = read_text(&place, MOST_BYTES).map_err(|error| {
            configuration(
                Diagnostic::new(format!("the lock `{}` cannot be read: {error}", place.display()))
                    .help(format!("write it with {anew}")),
            )
        })?;
        let lock = Lock::read(&text, &place.display().to_string()).map_err(configuration)?;
        Ok(Some(Self(Arc::new(Read { lock, place, anew }))))
    }

    /// What a workload or service must be.
    pub fn pin(&self, source: &str) -> Result<Pin, Failed> {
        let Read { lock, place, anew } = &*self.0;
        let pin = lock.pin(source, anew);
        // A lock is anyone's text.
        let pin = pin.map(|pin| Pin { what: printable(&pin.what, TEXT), ..pin });
        pin.ok_or_else(|| {
            refused(
                format!(
                    "the lock `{}` does not name `{}`",
                    place.display(),
                    printable(source, TEXT)
                ),
                format!("if it is to be run, lock it with {anew}"),
            )
        })
    }

    /// Refuses another suite than was locked: it says which commands are run, with what grants.
    pub fn check_suite(&self, path: &Path, found: &str) -> Result<(), Failed> {
        let Read { lock, place, anew } = &*self.0;
        let locked = lock.suite.as_ref().map(|suite| suite.digest.as_str());
        if locked == Some(found) {
            return Ok(());
        }
        Err(refused(
            format!("the suite `{}` is not what was locked: it has {found}", path.display()),
            format!(
                "`{}` names {}: run what was locked, or lock it anew with {anew}",
                place.display(),
                locked.unwrap_or("no suite"),
            ),
        ))
    }
}

/// Where the lock of a suite or workload is.
pub fn place(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// What a file is called in its lock: its name, for the lock lies beside it.
pub fn source(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn refused(message: String, help: String) -> Failed {
    Failed::new(Cause::PluginRefused, Diagnostic::new(message).help(help))
}
