//! What a workload may do to the world, and the one place where an operation is timed.
//!
//! A [`Scope`] is what the host knows of a VU's current iteration: its clock, recorder, tags. Bus and
//! database handles borrow it to measure; the workload, whatever its kind, only says what to do.
//! Failure of the system under test is data ([`Failure`]); only [`Misuse`] is thrown.

pub mod bus;
pub mod database;
mod effect;
pub mod outage;
mod percent;
mod random;
mod scope;
pub mod timing;

pub use effect::{Effect, Probe};
pub use random::Random;
pub use scope::{
    Failure, Lease, LogLevel, LogLine, LogSink, Measured, Misuse, Operation, Ops, Scope,
    ScopeConfig, Stamped,
};

use std::rc::Rc;

/// Everything a VU can do. One per VU; cheap to clone.
#[derive(Clone, Debug)]
pub struct Primitives {
    /// Clock, recorder, tags, checks, metrics, random, log.
    pub scope: Rc<Scope>,
    /// The bus.
    pub bus: bus::Bus,
    /// The database.
    pub database: database::Database,
}
