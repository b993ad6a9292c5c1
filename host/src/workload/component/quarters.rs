//! Where the instances of a component live: an engine with its pools, and the component linked for it.
//!
//! Pools cost as much as they hold (each stack has a guard that the kernel is told of), and how many a run
//! needs is known only when the component has said what it is. So it is loaded into small quarters, which
//! are enough for a few virtual users, and moves its code into larger ones when a run asks for them.

use wasmtime::component::Component;

use super::{
    Pre, cache,
    contract::World,
    engine::{self, Capacity, Ticking},
    link,
};
use crate::plan::Limits;

/// Instances for which a component need not move.
pub(super) const FEW: Capacity = Capacity(16);

pub(super) struct Quarters {
    pub(super) ticking: Ticking,
    pub(super) pre: Pre,
    pub(super) capacity: Capacity,
}

impl Quarters {
    /// Larger quarters for the same component. Its code is copied, not compiled again.
    pub(super) fn move_to(
        component: &Component,
        world: World,
        limits: &Limits,
        capacity: Capacity,
    ) -> Result<Self, String> {
        let said = |error: wasmtime::Error| format!("{error:#}");
        let ticking = engine::start(limits, capacity)?;
        let component = cache::copy(ticking.engine(), component).map_err(said)?;
        let pre = link(ticking.engine(), &component, world).map_err(said)?;
        Ok(Self { ticking, pre, capacity })
    }
}
