//! What wasmtime makes of `sdk/wit`: generated names never leave the room.
//!
//! Host functions that wait are `async`; those that never do are plain calls, which cost a third. The
//! second world shares the types of the first.
#![allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

pub(super) mod workload {
    wasmtime::component::bindgen!({
        path: "../sdk/wit",
        world: "workload",
        imports: {
            "wavetank:workload/bus": async | trappable,
            "wavetank:workload/database.query": async,
            "wavetank:workload/database.execute": async,
            "wavetank:workload/database.batch": async,
            "wavetank:workload/database.begin": async,
            "wavetank:workload/database.commit": async,
            "wavetank:workload/database.rollback": async,
            "wavetank:workload/timing.sleep": async,
            "wavetank:workload/target": async,
        },
        exports: { default: async },
        require_store_data_send: true,
        with: {
            "wavetank:workload/bus.subscription": crate::workload::component::host::Subscription,
            "wavetank:workload/bus.connection": crate::workload::component::host::Connection,
            "wavetank:workload/bus.consumer": crate::workload::component::host::Consumer,
        },
    });
}

pub(super) mod service {
    wasmtime::component::bindgen!({
        path: "../sdk/wit",
        world: "service",
        exports: { default: async },
        require_store_data_send: true,
        with: {
            "wavetank:workload": crate::workload::component::bindings::workload::wavetank::workload,
        },
    });
}
