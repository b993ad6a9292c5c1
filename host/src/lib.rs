//! Wavetank: a scenario runner for event-driven systems whose numbers can be trusted.
//!
//! This page is the architecture document: the picture, the map, the invariants.
//!
//! ```text
//!  script.rhai ─┐                       flags · environment · suite.toml
//!  plugin.wasm ─┴► workload::load ─options─►  cli  ──►  Plan (valid)
//!                       │                                 │
//!                       ▼                                 ▼
//!                VirtualUser ◄─ iterate(n, due) ─ executor + pacer        one shard per core
//!                       │ bus · database · timing · metric · check
//!    ═══ sandbox wall ══╪═════════════════════════════════════════════
//!                       ▼
//!                   primitive ── Scope::measure ──► Recorder (per shard, unlocked)
//!                                                        │ each second
//!                                                        ▼
//!                         Event ◄── run ◄── Snapshot ──► Judge ──► Summary ──► report
//!                           │        │                     ▲└────► Verdict ──► exit code
//!                        terminal   Tape ──► journal ──► replay
//! ```
//!
//! # The map
//!
//! A room names only the rooms above it; a test (`tidy`) keeps it so.
//!
//! | room | what it holds |
//! |---|---|
//! | [`clock`] | the only clock, and `Span`, the only way to take a duration |
//! | [`digest`] | what a file is known by |
//! | [`diagnostic`] | one error in what a user wrote: message, place, next step |
//! | [`metric`] | what was measured: tags, recorder, cells, snapshots (pure) |
//! | [`plan`] | what to run: scenarios, schedules, thresholds, limits; valid once built (pure) |
//! | [`verdict`] | thresholds and validity as a fold over snapshots; runs against runs (pure) |
//! | [`primitive`] | what a workload may do to the world; the one place an operation is timed |
//! | [`target`] | the system under test as processes: start, ready, stop, kill, restart, sample |
//! | [`workload`] | where virtual users come from: scripts and components |
//! | [`executor`] | when iterations start |
//! | [`run`] | one run: setup, executors, the search that drives one, teardown, summary |
//! | [`record`] | the run on disk: journal, replay, history |
//! | [`report`] | summary and chronicle → terminal, HTML, Markdown, CSV, JSON, JUnit, GitHub (pure) |
//! | [`cli`] | argv, environment, files → plan; verdict → exit code |
//!
//! # Invariants
//!
//! - Every duration is a [`clock::Span`]. An operation's is taken in one function
//!   ([`primitive::Scope::measure`]), an iteration's in one other. A clock read is never shared across
//!   guest code, or the guest's time would be billed to the system.
//! - Observers cannot slow the engine: events are dropped, never awaited; what waits for the journal is
//!   merged, and no count is lost.
//! - Memory does not grow with the length of a run.
//! - Every queue, pool and wait has a limit. The plan states those that a workload can run into
//!   ([`plan::Limits`], and the options of its scenarios); what protects only the host itself (bytes of
//!   an inbox, messages not yet acknowledged, the patience with a shard) is a constant beside its use.
//! - A `Plan` that exists is valid.
//! - Only `cli` reads argv or the environment, prints, or chooses an exit code.
//! - A local run is segment 0 of 1; a share of a run has no second code path.
//! - Failure of the system under test is data; only misuse is thrown.

pub mod cli;
pub mod clock;
pub mod diagnostic;
pub mod digest;
pub mod executor;
pub mod metric;
pub mod plan;
pub mod primitive;
pub mod record;
pub mod report;
pub mod run;
pub mod target;
pub mod verdict;
pub mod workload;
