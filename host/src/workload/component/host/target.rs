//! Targets as a guest sees them: one order each.

use super::{GuestState, nanos, no_world, stay};
use crate::{
    target::Order,
    workload::component::bindings::workload::wavetank::workload::{target, types::Error},
};

impl GuestState {
    fn order(
        &mut self,
        name: String,
        order: Order,
    ) -> impl Future<Output = Result<u64, Error>> + Send + use<> {
        let world = self.world();
        stay(async move {
            let world = world.map_err(no_world)?;
            let took = world.targets.order(&world.primitives.scope, &name, order).await;
            world.answer(took).map(nanos)
        })
    }
}

impl target::Host for GuestState {
    fn start(&mut self, name: String) -> impl Future<Output = Result<u64, Error>> + Send {
        self.order(name, Order::Start)
    }

    fn stop(&mut self, name: String) -> impl Future<Output = Result<u64, Error>> + Send {
        self.order(name, Order::Stop)
    }

    fn kill(&mut self, name: String) -> impl Future<Output = Result<(), Error>> + Send {
        let killed = self.order(name, Order::Kill);
        async move { killed.await.map(drop) }
    }

    fn restart(&mut self, name: String) -> impl Future<Output = Result<u64, Error>> + Send {
        self.order(name, Order::Restart)
    }

    fn pause(&mut self, name: String) -> impl Future<Output = Result<u64, Error>> + Send {
        self.order(name, Order::Pause)
    }

    fn resume(&mut self, name: String) -> impl Future<Output = Result<u64, Error>> + Send {
        self.order(name, Order::Resume)
    }
}
