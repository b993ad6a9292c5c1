//! The bus of a run, and connections to it.

use crate::metric::Names;

/// The bus could not be reached or used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BusError(pub String);

/// The bus of a run. Made once, shared by all shards; what it started ends when it is dropped.
#[derive(Clone, Debug)]
pub struct Source;

/// A connection of a shard or a VU. Stays on its thread; clones share it.
#[derive(Clone, Debug)]
pub struct Connection;

impl Source {
    /// Opens `embedded`, `nats://…`, `tls://…` or `nats-server`. `run` is the run's id (delivery
    /// headers, stream prefix).
    pub async fn open(address: &str, run: &str) -> Result<Self, BusError> {
        let _ = (address, run, Names::default());
        Ok(Self)
    }

    /// A URL for other processes (targets, services); `None` for the embedded bus.
    pub fn url(&self) -> Option<String> {
        None
    }

    /// What the summary says of it: kind and version, never a password.
    pub fn describe(&self) -> String {
        "embedded".to_owned()
    }

    /// A connection for a shard (or a VU), on the calling thread's runtime.
    pub async fn connect(&self, name: &str) -> Result<Connection, BusError> {
        let _ = name;
        Ok(Connection)
    }

    /// Removes what the run created on the bus (streams) and stops a child.
    pub async fn close(&self) {}
}
