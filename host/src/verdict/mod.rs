//! Whether a run was good, and whether it may be believed: a fold over snapshots. SEMANTICS §2–§6.
//!
//! Pure: values in, values out. The engine feeds every [`crate::metric::Snapshot`] to a [`Judge`];
//! nothing else of the run is remembered, so a run of a day is judged in the memory of a run of a
//! minute. [`comparison`] sets runs against each other, by their figures.

mod blocks;
pub mod comparison;
mod course;
mod derived;
mod evaluate;
mod exit;
mod facts;
mod growth;
mod interval;
mod judge;
mod line;
mod routes;
mod samples;
mod scaling;
mod search;
mod slope;
mod slopes;
mod status;
mod target;
mod usl;
mod validity;
mod window;

pub use derived::DerivedValue;
pub(crate) use evaluate::unit_of;
pub use exit::Cause;
pub use facts::{ErrorFacts, Facts, RunnerFacts, ScenarioFacts};
pub use judge::{Judge, windowed};
pub(crate) use line::Line;
pub(crate) use samples::{Figure, Samples};
pub use scaling::{Estimate, Growing, LevelFacts, Scaling};
pub use search::{ProbeFacts, ProbeVerdict, SearchFacts};
pub(crate) use search::{answer, next as next_rate};
pub use slope::{Slope, SlopeSeries};
pub use status::{Judgement, Status, ThresholdResult};
pub use target::{TargetFacts, TargetSlope};
