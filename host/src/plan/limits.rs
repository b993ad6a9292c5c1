//! What a workload may use. Every queue, pool and wait of a run has its limit here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    quantity::{number, parse_bytes, parse_duration, shown},
    section::suggestion,
};
use crate::diagnostic::Diagnostic;

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
    /// Bytes by which the process may grow while one call of a script runs: what closures and nested
    /// values hold is counted by nothing else.
    pub script_memory: u64,
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
            script_memory: 1 << 30,
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

/// How a limit is written.
enum Slot<'a> {
    Bytes(&'a mut u64),
    BytesHere(&'a mut usize),
    Time(&'a mut Duration),
    Number(&'a mut u64),
    NumberHere(&'a mut usize),
    Small(&'a mut u32),
}

impl Limits {
    /// All names, as `--limit` takes them.
    pub const NAMES: &'static [&'static str] = &[
        "source_bytes",
        "parse_time",
        "script_operations",
        "script_call_levels",
        "script_collection",
        "script_string",
        "script_memory",
        "component_bytes",
        "compile_time",
        "guest_memory",
        "guest_table",
        "guest_stack",
        "hostcall_bytes",
        "handles",
        "subscription_queue",
        "payload_bytes",
        "label_bytes",
        "log_lines",
        "series",
        "query_rows",
        "batch",
        "operation_timeout",
        "database_connections",
        "vus",
        "data_file_bytes",
    ];

    /// The defaults with these changes (`--limit NAME=VALUE`): durations as `"2s"`, sizes as
    /// `"64MiB"`, numbers as they are.
    pub fn with<'a>(
        changes: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Self, Diagnostic> {
        let mut limits = Self::default();
        for (name, value) in changes {
            limits.set(name, value)?;
        }
        Ok(limits)
    }

    /// Sets one limit by its name.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Diagnostic> {
        let Some(slot) = self.slot(name) else {
            return Err(Diagnostic::new(format!("there is no limit `{}`", shown(name)))
                .help(suggestion(name, Self::NAMES)));
        };
        let wrong = |why: &str| {
            Diagnostic::new(format!("limit `{name}`: `{}` {why}", shown(value)))
                .help(format!("as in {name}={}", slot.example()))
        };
        let read = match &slot {
            Slot::Time(_) => {
                let time = parse_duration(value).map_err(|error| wrong_with(error, name))?;
                time.as_nanos() as u64
            }
            Slot::Bytes(_) | Slot::BytesHere(_) => {
                parse_bytes(value).map_err(|error| wrong_with(error, name))?
            }
            Slot::Number(_) | Slot::NumberHere(_) | Slot::Small(_) => {
                let whole = number(value.trim()).filter(|n| n.fract() == 0.0 && *n <= 9e15);
                whole.ok_or_else(|| wrong("is not a whole number"))? as u64
            }
        };
        if read == 0 && name != "script_operations" {
            return Err(wrong("is nothing at all"));
        }
        match slot {
            Slot::Bytes(slot) | Slot::Number(slot) => *slot = read,
            Slot::BytesHere(slot) | Slot::NumberHere(slot) => *slot = read as usize,
            Slot::Time(slot) => *slot = Duration::from_nanos(read),
            Slot::Small(slot) => {
                let Ok(small) = u32::try_from(read) else {
                    return Err(Diagnostic::new(format!("limit `{name}`: {read} is too large"))
                        .help("it has to be below 4 294 967 296"));
                };
                *slot = small;
            }
        }
        Ok(())
    }

    fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        Some(match name {
            "source_bytes" => Slot::Bytes(&mut self.source_bytes),
            "parse_time" => Slot::Time(&mut self.parse_time),
            "script_operations" => Slot::Number(&mut self.script_operations),
            "script_call_levels" => Slot::Small(&mut self.script_call_levels),
            "script_collection" => Slot::Number(&mut self.script_collection),
            "script_string" => Slot::Bytes(&mut self.script_string),
            "script_memory" => Slot::Bytes(&mut self.script_memory),
            "component_bytes" => Slot::Bytes(&mut self.component_bytes),
            "compile_time" => Slot::Time(&mut self.compile_time),
            "guest_memory" => Slot::Bytes(&mut self.guest_memory),
            "guest_table" => Slot::Number(&mut self.guest_table),
            "guest_stack" => Slot::Bytes(&mut self.guest_stack),
            "hostcall_bytes" => Slot::Bytes(&mut self.hostcall_bytes),
            "handles" => Slot::Small(&mut self.handles),
            "subscription_queue" => Slot::NumberHere(&mut self.subscription_queue),
            "payload_bytes" => Slot::BytesHere(&mut self.payload_bytes),
            "label_bytes" => Slot::BytesHere(&mut self.label_bytes),
            "log_lines" => Slot::Number(&mut self.log_lines),
            "series" => Slot::NumberHere(&mut self.series),
            "query_rows" => Slot::NumberHere(&mut self.query_rows),
            "batch" => Slot::NumberHere(&mut self.batch),
            "operation_timeout" => Slot::Time(&mut self.operation_timeout),
            "database_connections" => Slot::Small(&mut self.database_connections),
            "vus" => Slot::Small(&mut self.vus),
            "data_file_bytes" => Slot::Bytes(&mut self.data_file_bytes),
            _ => return None,
        })
    }
}

impl Slot<'_> {
    const fn example(&self) -> &'static str {
        match self {
            Self::Bytes(_) | Self::BytesHere(_) => "64MiB",
            Self::Time(_) => "2s",
            Self::Number(_) | Self::NumberHere(_) | Self::Small(_) => "1000",
        }
    }
}

fn wrong_with(mut error: Diagnostic, name: &str) -> Diagnostic {
    error.message = format!("limit `{name}`: {}", error.message);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_can_be_set_by_its_name_and_no_other_name_exists() {
        let fields = serde_json::to_value(Limits::default()).unwrap();
        let mut fields: Vec<_> = fields.as_object().unwrap().keys().cloned().collect();
        let mut names: Vec<_> = Limits::NAMES.iter().map(ToString::to_string).collect();
        assert_eq!(names, fields, "the list is in the order of the fields");
        fields.sort();
        names.sort();
        for name in &names {
            let mut limits = Limits::default();
            let example = limits.slot(name).unwrap().example();
            limits.set(name, if example == "2s" { "7s" } else { "77" }).unwrap();
            assert_ne!(limits, Limits::default(), "{name}");
        }
    }

    #[test]
    fn a_limit_that_cannot_be_is_refused_with_its_name() {
        for (name, value, part) in [
            ("vu", "5", "no limit `vu`"),
            ("vus", "5s", "not a whole number"),
            ("vus", "0", "nothing at all"),
            ("vus", "5000000000", "too large"),
            ("guest_memory", "many", "`many` is not a size"),
            ("operation_timeout", "5", "no unit"),
        ] {
            let error = Limits::default().set(name, value).unwrap_err();
            assert!(error.message.contains(part), "{name}={value}: {}", error.message);
            assert!(error.help.is_some());
        }
        let error = Limits::default().set("vu", "5").unwrap_err();
        assert_eq!(error.help.as_deref(), Some("did you mean `vus`?"));
    }
}
