//! What a workload may use: every limit that one can run into, with its name, its value and its
//! meaning in one table, from which the command, its errors and `wavetank inspect` read them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    quantity::{format_duration, number, parse_bytes, parse_duration, shown},
    section::suggestion,
};
use crate::diagnostic::Diagnostic;

/// The limits as one table: name, type, default, how it is written, what it means.
macro_rules! limits {
    ($($name:ident: $type:ty = $default:expr, $slot:ident, $doc:literal;)*) => {
        /// The limits of a run; each can be set with `--limit NAME=VALUE`, NAME being the field's.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Limits { $(#[doc = $doc] pub $name: $type,)* }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// All names, as `--limit` takes them.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// Each limit's name, its value as `--limit` takes it, and what it means.
            pub fn list(&self) -> Vec<(&'static str, String, &'static str)> {
                let mut copy = self.clone();
                vec![$((stringify!($name), written(&Slot::$slot(&mut copy.$name)), $doc),)*]
            }

            fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
                match name {
                    $(stringify!($name) => Some(Slot::$slot(&mut self.$name)),)*
                    _ => None,
                }
            }
        }
    };
}

limits! {
    source_bytes: u64 = 1 << 20, Bytes, "Bytes of a script and of each file that it imports.";
    parse_time: Duration = Duration::from_secs(2), Time, "Time to parse a script with its imports.";
    script_operations: u64 = 0, Number, "Rhai operations of one iteration (0: no limit, the CPU timeout holds).";
    script_call_levels: u32 = 64, Small, "Nested calls of script functions.";
    script_collection: u64 = 1_000_000, Number, "Elements of one array or map of a script.";
    script_string: u64 = 16 << 20, Bytes, "Bytes of one string or blob of a script.";
    script_memory: u64 = 1 << 30, Bytes, "Bytes by which the process may grow while one call of a script runs.";
    component_bytes: u64 = 64 << 20, Bytes, "Bytes of a component.";
    compile_time: Duration = Duration::from_secs(60), Time, "Time to compile a component.";
    guest_memory: u64 = 64 << 20, Bytes, "Bytes of linear memory of one instance.";
    guest_table: u64 = 20_000, Number, "Elements of one table of an instance.";
    guest_stack: u64 = 512 << 10, Bytes, "Bytes of a guest's native stack.";
    hostcall_bytes: u64 = 16 << 20, Bytes, "Bytes that one host call may copy from a guest.";
    handles: u32 = 64, Small, "Handles (subscriptions, transactions) that one VU may hold.";
    bus_connections: u32 = 10_000, Small, "Connections to the bus that the VUs of a run may hold beside their own (`bus::connect`).";
    subscription_queue: usize = 65_536, NumberHere, "Messages that one subscription of a workload may have waiting.";
    payload_bytes: usize = 1 << 20, BytesHere, "Bytes of one payload that a workload may send or be given.";
    label_bytes: usize = 256, BytesHere, "Bytes of one value given to `log`, `check`, `group` or a tag.";
    log_lines: u64 = 10_000, Number, "Lines that the workloads of a run may log; the rest is counted.";
    series: usize = 2_000, NumberHere, "Series of one shard; those of checks and groups may be three quarters of them.";
    query_rows: usize = 100_000, NumberHere, "Rows that one query may return.";
    batch: usize = 10_000, NumberHere, "Requests or messages of one batch call.";
    operation_timeout: Duration = Duration::from_secs(5), Time, "Default timeout of a request, a statement, a wait for a message.";
    database_connections: u32 = 16, Small, "Database connections of the VUs, all shards together; a run's own services have as many again.";
    vus: u32 = 10_000, Small, "VUs of a run.";
    data_file_bytes: u64 = 64 << 20, Bytes, "Bytes of a data file.";
    lifecycle_cpu: Duration = Duration::from_secs(60), Time, "CPU time of one call of `setup`, `init` or `teardown`.";
    handler_cpu: Duration = Duration::from_secs(5), Time, "CPU time of a service's handler for one message.";
    handler_timeout: Duration = Duration::from_secs(60), Time, "Time of a service's handler for one message.";
    service_workers: u32 = 64, Small, "Messages that a run's own services handle at the same time.";
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

/// A limit's value as it is set.
fn written(slot: &Slot<'_>) -> String {
    match slot {
        Slot::Bytes(bytes) => format_bytes(**bytes),
        Slot::BytesHere(bytes) => format_bytes(**bytes as u64),
        Slot::Time(time) => format_duration(**time),
        Slot::Number(number) => number.to_string(),
        Slot::NumberHere(number) => number.to_string(),
        Slot::Small(number) => number.to_string(),
    }
}

/// Bytes as [`parse_bytes`] reads them, in the largest unit of which they are a multiple.
fn format_bytes(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = units.iter().find(|(bits, _)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    fits.map_or_else(|| bytes.to_string(), |(bits, unit)| format!("{}{unit}", bytes >> bits))
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
    fn what_is_listed_can_be_set() {
        let changed = Limits { guest_memory: 1_000, vus: 7, ..Limits::default() };
        let mut again = Limits::default();
        let listed = changed.list();
        assert_eq!(listed.iter().map(|(name, ..)| *name).collect::<Vec<_>>(), Limits::NAMES);
        for (name, value, meaning) in listed.iter().filter(|it| it.0 != "script_operations") {
            again.set(name, value).unwrap_or_else(|error| panic!("{name}={value}: {error}"));
            assert!(meaning.ends_with('.'), "{name}: {meaning}");
        }
        assert_eq!(again, changed);
        let value = |name: &str| listed.iter().find(|it| it.0 == name).unwrap().1.clone();
        assert_eq!(value("guest_memory"), "1000");
        assert_eq!((value("component_bytes"), value("parse_time")), ("64MiB".into(), "2s".into()));
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
