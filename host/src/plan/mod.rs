//! What to run: a value that is valid once built, and travels whole to whoever runs a share of it.
//!
//! What was typed ([`Options`], from a workload, and [`Overrides`], from flags, environment and
//! suite files) is one set of types; what it means ([`Plan`]) is another. [`Plan::build`] is the only
//! way from the first to the second, and does no I/O. Schedules are pure functions of the plan and
//! a segment of it; nothing here knows what time it is.

mod baseline;
mod build;
mod declare;
mod derived;
mod document;
mod fit;
mod forecast;
mod grants;
mod limits;
pub mod lock;
mod options;
mod quantity;
mod quick;
mod recipe;
mod row;
mod scenario;
mod schedule;
mod search;
mod section;
mod segment;
pub mod suite;
mod target;
pub mod threshold;

pub use build::{Backends, Consumer, MetricDeclaration, Plan, PlanInput};
pub use derived::{Derived, DerivedKind, Formula, Growth, Per, ScalingValue, SearchValue};
pub use document::toml_tree;
pub use forecast::{Forecast, MeanAndPeak, Point, ScenarioForecast};
pub use grants::{DatabaseGrant, Giver, Grants};
pub use limits::Limits;
pub use options::{Options, Overrides, Shortcuts};
pub use quantity::{format_duration, parse_bytes, parse_duration};
pub use quick::{GROWTH_SECONDS, QUICK, samples_needed};
pub use recipe::Recipe;
pub use row::{Backend, Priority, Row};
pub use scenario::{
    Arrival, ConnectionSharing, Driver, Executor, GeneratorLimited, Level, LevelTime, Levels,
    MOST_PROBES, OnLate, Pacing, RateStage, Scenario, Search, Start, VuStage,
};
pub use schedule::{ArrivalSchedule, VuSchedule};
pub use segment::Segment;
pub use target::{Ready, TargetPlan, TargetSignal, TargetSource, TargetStop};
pub use threshold::{Severity, Threshold};
