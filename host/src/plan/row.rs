//! Rows of a catalogue: what a workload is there to show, how much it matters, where it does not apply.

use serde::{Deserialize, Serialize};

use super::Severity;

/// How much a row matters, and so how a miss of its thresholds is taken unless they say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// Must: a miss is critical.
    #[default]
    P0,
    /// Should: a miss is a warning.
    P1,
    /// Nice: a miss is shown.
    P2,
}

impl Priority {
    /// How a miss is taken.
    pub const fn severity(self) -> Severity {
        match self {
            Self::P0 => Severity::Critical,
            Self::P1 => Severity::Warning,
            Self::P2 => Severity::Info,
        }
    }

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
        }
    }
}

/// What a run has for bus and database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Backend {
    /// The embedded bus, services inside the runner.
    E,
    /// NATS and SQLite, services in processes of their own.
    S,
    /// NATS and PostgreSQL, services in processes of their own.
    P,
}

impl Backend {
    /// All of them, with their names.
    pub const ALL: &'static [(&'static str, Self)] =
        &[("E", Self::E), ("S", Self::S), ("P", Self::P)];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::E => "E",
            Self::S => "S",
            Self::P => "P",
        }
    }
}

/// A row as one run covers it, on one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its name, `R2`.
    pub name: String,
    /// How much it matters.
    pub priority: Priority,
    /// Why it does not apply on this backend: its thresholds are not judged.
    pub not_applicable: Option<String>,
    /// Why it cannot pass here: it does not fail the run, unless it passes.
    pub known_failing: Option<String>,
    /// Samples that its thresholds on trends and rates need, where they do not say themselves.
    pub min_samples: Option<u64>,
}
