//! The database of a run, and a shard's way to its connections.

use std::path::Path;

use crate::plan::Limits;

/// The database could not be reached or used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct DatabaseError(pub String);

/// The database of a run. Made once, shared by all shards.
#[derive(Clone, Debug)]
pub struct Source;

/// A shard's way to connections. Stays on its thread; clones share it.
#[derive(Clone, Debug)]
pub struct Pool;

impl Source {
    /// Opens `embedded` (a file in `directory`), `sqlite:PATH` or `postgres://…`; on PostgreSQL makes
    /// the run's own schema `wavetank_<run>` unless `schema` names one that exists.
    pub async fn open(
        address: &str,
        schema: Option<&str>,
        directory: &Path,
        run: &str,
        limits: &Limits,
    ) -> Result<Self, DatabaseError> {
        let _ = (address, schema, directory, run, limits);
        Ok(Self)
    }

    /// A URL for other processes (targets, services), with the run's schema.
    pub fn url(&self) -> Option<String> {
        None
    }

    /// What the summary says of it: kind and version, never a password.
    pub fn describe(&self) -> String {
        "sqlite".to_owned()
    }

    /// A shard's pool, on the calling thread's runtime.
    pub async fn pool(&self, shard: usize) -> Result<Pool, DatabaseError> {
        let _ = shard;
        Ok(Pool)
    }

    /// Drops the run's schema, ends the database threads.
    pub async fn close(&self) {}
}
