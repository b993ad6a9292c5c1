//! The run on disk: a journal that grows while it runs, and what can be read from it afterwards.
//!
//! ```text
//!   run ──► Tape ──► queue ──► a thread ──► journal          bounded; what waits is merged, never lost
//!                                              │
//!   report ◄── Summary ◄── Judge ◄── replay ◄──┤            also of a run that was killed
//!          ◄── Chronicle ◄─ Diary ◄────────────┘
//! ```
//!
//! A summary and a chronicle are functions of the journal: [`replay()`] feeds a judge and a diary with what the
//! run's own were fed with, in the same order and to the same bit. So a run that came to its end can be reported again, and one that
//! did not up to where it came. What is in the way of that, damage, another version, is said and never
//! guessed over.

mod content;
mod export;
mod history;
mod journal;
mod queue;
mod replay;
mod revision;
mod suite;
#[cfg(test)]
mod tests;
mod words;

pub use content::{End, Start, SuiteEnd, SuiteJob, SuiteStart};
pub use export::export;
pub use history::{Found, History, SUMMARY, Standing};
pub use journal::{Damage, JOURNAL, Kind, RecordError, payloads};
pub use queue::{Ending, Journal, Sealed};
pub use replay::{Replay, replay};
pub use revision::revision;
pub use suite::{SuiteJournal, Told, report};
pub use words::happenings;
