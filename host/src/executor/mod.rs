//! When iterations start: one file per executor, the pacer, the VU pool. SEMANTICS §1.
//!
//! ```text
//!   Scenarios ──► Lane (a scenario on a shard) ──► Crew: its VUs, one task each
//!   (all shards)    │ tags, counts                   │ told by Handle: open, over, interrupt
//!                   └ pacer ─► Dispatch ─► free VU ◄─┘   arrival-rate executors only
//! ```
//!
//! A closed executor lets VU i iterate on shard i modulo shards. An arrival-rate executor releases
//! each shard's share of the schedule there; an arrival is bound to a VU only when it is released, by
//! the scenario's [`dispatch::Dispatch`], to one that is free, on whichever shard it is.
//!
//! A scenario with levels is an executor with stages like any other; one that searches is told its probes
//! while it runs ([`probes`]).
//!
//! What is kept exact: planned = started + dropped + never started; started = completed +
//! interrupted ([`tally::Counts`]). There are no timers per VU: a VU that waits costs one task, and
//! everything that ends it (the stop, a ramp-down, `iteration_timeout`) goes through its handle.

mod arrivals;
mod closed;
mod constant_arrival_rate;
mod constant_vus;
mod crew;
mod dispatch;
mod ground;
mod growth;
mod handle;
mod iteration;
mod lane;
mod pacer;
mod per_vu_iterations;
mod probes;
mod ramping_arrival_rate;
mod ramping_vus;
mod shared_iterations;
mod tally;
mod timer;

pub use crew::Crew;
pub use ground::{Ground, Notice, VuSource, Workload};
pub use lane::{Lane, ScenarioShared};
pub use probes::{Order, Probe};
pub use tally::{Counts, ErrorTally};
pub use timer::Timer;
