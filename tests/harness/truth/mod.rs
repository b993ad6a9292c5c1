//! Systems of known truth: they stamp what they really did, so that a report can be held against
//! their own record and against arithmetic.
//!
//! Nothing of Wavetank is used here: a system that shared its clock or its bus code would share its
//! faults.

mod responder;

pub use responder::{Answered, Behaviour, Responder};
