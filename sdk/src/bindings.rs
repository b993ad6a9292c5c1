//! What `wit-bindgen` makes of `wit/`: the only place where generated names are seen.
//!
//! Both worlds share the types of the first. Each world's exports are described only where its macro
//! is used, so that a plugin is one or the other.
#![allow(
    unsafe_code,
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    reason = "generated: the canonical ABI is raw memory"
)]

pub mod workload {
    wit_bindgen::generate!({
        world: "workload",
        path: "wit",
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "wavetank_sdk::bindings::workload",
        generate_all,
        additional_derives: [PartialEq],
        additional_derives_ignore: ["message", "subscription", "consumer"],
    });
}

pub mod service {
    wit_bindgen::generate!({
        world: "service",
        path: "wit",
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "wavetank_sdk::bindings::service",
        with: {
            "wavetank:workload/types@0.1.0": crate::bindings::workload::wavetank::workload::types,
            "wavetank:workload/bus@0.1.0": crate::bindings::workload::wavetank::workload::bus,
            "wavetank:workload/database@0.1.0": crate::bindings::workload::wavetank::workload::database,
            "wavetank:workload/timing@0.1.0": crate::bindings::workload::wavetank::workload::timing,
            "wavetank:workload/target@0.1.0": crate::bindings::workload::wavetank::workload::target,
            "wavetank:workload/metrics@0.1.0": crate::bindings::workload::wavetank::workload::metrics,
            "wavetank:workload/random@0.1.0": crate::bindings::workload::wavetank::workload::random,
            "wavetank:workload/log@0.1.0": crate::bindings::workload::wavetank::workload::log,
        },
    });
}
