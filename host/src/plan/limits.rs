//! What a workload may use. Every queue, pool and wait of a run has its limit here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The limits of a run; each can be set with `--limit NAME=VALUE`, NAME being the field's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a script and of each file that it imports.
    pub source_bytes: u64,
    /// Time to parse a script with its imports.
    pub parse_time: Duration,
    /// Rhai operations of one iteration (0: no limit, the CPU timeout holds).
    pub script_operations: u64,
    /// Nested calls of script functions.
    pub script_call_levels: u32,
    /// Elements of one array or map of a script.
    pub script_collection: u64,
    /// Bytes of one string or blob of a script.
    pub script_string: u64,
    /// Bytes of a component.
    pub component_bytes: u64,
    /// Time to compile a component.
    pub compile_time: Duration,
    /// Bytes of linear memory of one instance.
    pub guest_memory: u64,
    /// Elements of one table of an instance.
    pub guest_table: u64,
    /// Bytes of a guest's native stack.
    pub guest_stack: u64,
    /// Bytes that one host call may copy from a guest.
    pub hostcall_bytes: u64,
    /// Handles (subscriptions, transactions) that one VU may hold.
    pub handles: u32,
    /// Messages that one subscription of a workload may have waiting.
    pub subscription_queue: usize,
    /// Bytes of one payload that a workload may send or be given.
    pub payload_bytes: usize,
    /// Bytes of one value given to `log`, `check`, `group` or a tag.
    pub label_bytes: usize,
    /// Lines that the workloads of a run may log; the rest is counted.
    pub log_lines: u64,
    /// Series of one shard.
    pub series: usize,
    /// Rows that one query may return.
    pub query_rows: usize,
    /// Requests or messages of one batch call.
    pub batch: usize,
    /// Default timeout of a request, a statement, a wait for a message.
    pub operation_timeout: Duration,
    /// Database connections of the VUs, all shards together.
    pub database_connections: u32,
    /// VUs of a run.
    pub vus: u32,
    /// Bytes of a data file.
    pub data_file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            source_bytes: 1 << 20,
            parse_time: Duration::from_secs(2),
            script_operations: 0,
            script_call_levels: 64,
            script_collection: 1_000_000,
            script_string: 16 << 20,
            component_bytes: 64 << 20,
            compile_time: Duration::from_secs(60),
            guest_memory: 64 << 20,
            guest_table: 20_000,
            guest_stack: 512 << 10,
            hostcall_bytes: 16 << 20,
            handles: 64,
            subscription_queue: 65_536,
            payload_bytes: 1 << 20,
            label_bytes: 256,
            log_lines: 10_000,
            series: 2_000,
            query_rows: 100_000,
            batch: 10_000,
            operation_timeout: Duration::from_secs(5),
            database_connections: 16,
            vus: 10_000,
            data_file_bytes: 64 << 20,
        }
    }
}
