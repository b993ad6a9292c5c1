//! All suites in one binary: one link, one shared set of servers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod beside;
mod bus;
mod check;
mod compare;
mod component;
mod connections;
mod contract;
mod database;
mod drivers;
mod flags;
mod fuzzed;
mod guide;
mod hostile;
mod input;
mod languages;
mod liar;
mod lifecycle;
mod lock;
mod outage;
mod plugin;
mod readme;
mod real;
mod record;
mod registry;
mod reports;
mod services;
mod suite;
mod target;
mod tidy;
mod tls;
mod truth;
mod workflow;

/// The command under test.
const WAVETANK: &str = env!("CARGO_BIN_EXE_wavetank-under-test");
