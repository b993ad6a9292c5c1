//! From nothing to a plugin that CI runs pinned, in ten minutes. Every command here is run by a test.
//!
//! # Begin
//!
//! Rust compiles to components by itself, once it has the target:
//!
//! ```sh
//! rustup target add wasm32-wasip2
//! wavetank plugin new first-visit
//! ```
//!
//! The folder has the plugin in `src/lib.rs`, and this SDK beside it: beyond crates, nothing is fetched. What is
//! in there is one type, the trait [`Workload`](crate::Workload) and one macro. Its `describe` says what is run,
//! measured and judged; `init` is called once for each virtual user, `iterate` for each iteration. With
//! `--kind service` it is a [`Service`](crate::Service), which answers messages.
//!
//! # Build, and look at what it does
//!
//! ```sh
//! wavetank plugin build first-visit
//! wavetank plugin test first-visit/first_visit.wasm
//! wavetank plugin check first-visit/first_visit.wasm
//! ```
//!
//! `build` makes `first_visit.wasm`, the same bytes wherever the folder lies. `test` goes through its lifecycle
//! once, on a bus and a database of its own, from a fixed seed and under a virtual clock, and shows every call to
//! the host; while you write, `wavetank plugin test first-visit --watch` builds and tests it whenever a file
//! changes. `check` says what it asks for and what is wrong with it.
//!
//! # Run and judge it
//!
//! ```sh
//! wavetank run first-visit/first_visit.wasm --quick
//! ```
//!
//! Run by hand, it may use the embedded bus and database; `--bus` and `--db` name others, which `--allow` lets it
//! use. The summary ends with the verdict, and the exit code is the gate: 0, or 99 if a threshold was missed;
//! `wavetank exit-codes` lists the others.
//!
//! # Write down what it may do
//!
//! A suite says what is run together, and grants a component what it may use: nothing by default.
//!
//! ```toml
//! name = "shop"
//!
//! [[workloads]]
//! workload = "first-visit/first_visit.wasm"
//! grants = { database = "write" }
//! ```
//!
//! Call it `shop.toml`, and see whether it grants what the plugin asks for:
//!
//! ```sh
//! wavetank plugin check first-visit/first_visit.wasm --suite shop.toml
//! ```
//!
//! # Pin it
//!
//! ```sh
//! wavetank plugin lock shop.toml
//! wavetank run shop.toml --locked --quick --report junit=junit.xml
//! ```
//!
//! `shop.lock` names the suite and everything that it is made of by digest, with what each imports: commit it.
//! Under `--locked` nothing else is run, byte for byte; a file that changed is refused with exit code 114 before
//! anything starts. CI runs the last of these commands, keeps `junit.xml`, and needs neither Rust nor the source.
