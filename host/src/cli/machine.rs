//! What machine this is: for the summary's environment and for `doctor`.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::PathBuf};

/// Facts of the machine that change figures, by name.
pub fn facts() -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut fact = |name: &str, value: Option<String>| {
        facts.insert(name.to_owned(), value.unwrap_or_else(|| "unknown".to_owned()));
    };
    fact("os", os_name());
    fact("kernel", line("/proc/sys/kernel/osrelease"));
    fact("architecture", Some(std::env::consts::ARCH.to_owned()));
    fact("cpu", field("/proc/cpuinfo", "model name"));
    fact("cores", Some(cores().to_string()));
    fact("ram_bytes", field("/proc/meminfo", "MemTotal").and_then(|text| kib(&text)));
    fact("clock_source", line("/sys/devices/system/clocksource/clocksource0/current_clocksource"));
    fact("max_map_count", line("/proc/sys/vm/max_map_count"));
    facts
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// This program, to be started once more. Its file may have been replaced since it was started, by an
/// update or a build: then it is what the kernel still holds, for another version is another program.
pub fn this_program() -> PathBuf {
    let held = PathBuf::from("/proc/self/exe");
    let identity = |path: &PathBuf| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    let named = std::env::current_exe().ok();
    named.filter(|path| identity(path) == identity(&held)).unwrap_or(held)
}

fn os_name() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches('"').to_owned())
}

fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kib(text: &str) -> Option<String> {
    let count: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some((count * 1024).to_string())
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}
