//! What was measured: metrics, tags, series, and the cells that hold their samples.
//!
//! Pure: no clock, no file, no task. A [`Recorder`] belongs to one shard and is never locked; each
//! second its cells are moved out as a [`Snapshot`] and merged into the run's [`Totals`].
//!
//! Memory does not grow with the length of a run: a cell is a counter or an HdrHistogram, and the
//! number of series is bounded ([`Recorder`] folds what is beyond into `other` and counts it).

mod builtin;
mod bytes;
mod cell;
pub mod histogram;
mod recorder;
mod registry;
mod snapshot;
mod tag;
mod timeline;
mod wire;

pub use builtin::Builtin;
pub use bytes::{BytesError, SnapshotEncoder};
pub use cell::{Cell, Gauge, Rate, Trend, stddev};
pub use recorder::{Recorder, RecorderConfig, Windowed};
pub use registry::{Kind, Metric, MetricId, Registry, Unit};
pub use snapshot::{Snapshot, Totals};
pub use tag::{Name, Names, Outcome, Phase, Selector, SeriesKey, TagSet};
pub use timeline::{Level, Line, Point, Quantile, Spread, Timeline, highest};
pub use wire::{Report, WireError};
