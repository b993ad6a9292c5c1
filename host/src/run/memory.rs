//! How much memory is left for virtual users: what the kernel has, and what control groups grant.
//!
//! A control group that limits this process is counted with all its parents, in both versions; pages
//! of files that it has not used lately count as free, because the kernel takes them first.

use std::path::Path;

/// Where control groups are found, and the words of their version: the limit, what is used, and the key
/// of its statistics for pages of files.
const GROUPS: [(&str, &str, [&str; 3]); 2] = [
    ("", "/sys/fs/cgroup", ["memory.max", "memory.current", "inactive_file"]),
    (
        "memory",
        "/sys/fs/cgroup/memory",
        ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"],
    ),
];

/// Of what is left, the share that virtual users may take: the samples need room too.
const SHARE: f64 = 0.8;

/// Fewer virtual users tell nothing: what the process takes besides would be taken for theirs.
const FEWEST: u64 = 10;

/// What virtual users of a run take, as measured when the first were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footprint {
    /// Resident bytes of one.
    pub(super) bytes: u64,
    /// How many such fit into the memory of this machine, those that exist included.
    pub(super) room: u64,
}

impl Footprint {
    /// Of `made` VUs that have grown the process by `grown` bytes, with `left` bytes available.
    pub(super) fn of(made: u64, grown: u64, left: u64) -> Option<Self> {
        let bytes = grown.checked_div(made).filter(|bytes| *bytes > 0 && made >= FEWEST)?;
        Some(Self { bytes, room: made + (left as f64 * SHARE) as u64 / bytes })
    }
}

/// Resident bytes of this process that no file stands behind; 0 where the kernel does not tell.
pub(super) fn own() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").ok();
    status.and_then(|text| figure(&text, "RssAnon:")).map_or(0, |kib| kib * 1024)
}

/// Bytes that this process may still take; `None` where the kernel does not tell.
pub(super) fn available() -> Option<u64> {
    let system = std::fs::read_to_string("/proc/meminfo").ok();
    let system = system.and_then(|text| figure(&text, "MemAvailable:")).map(|kib| kib * 1024);
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let granted = groups.lines().filter_map(|line| granted(line, Path::new("/")));
    system.into_iter().chain(granted).min()
}

/// What the control group of a line of `/proc/self/cgroup`, and those above it, leave.
fn granted(line: &str, root: &Path) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
    let (_, mount, words) = GROUPS.iter().find(|(name, ..)| controllers == *name)?;
    let mount = root.join(mount.trim_start_matches('/'));
    let folders = Path::new(path).ancestors().map(|folder| mount.join(folder));
    folders.filter_map(|folder| left(&folder, words)).min()
}

fn left(folder: &Path, [limit, used, idle]: &[&str; 3]) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let limit: u64 = read(limit)?.trim().parse().ok()?;
    let used: u64 = read(used)?.trim().parse().ok()?;
    let idle = read("memory.stat").and_then(|text| figure(&text, idle)).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(idle)))
}

/// The first number behind a word at the beginning of a line.
fn figure(text: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut line| (line.next() == Some(word)).then(|| line.next()?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_control_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("sys/fs/cgroup/a/memory.max", "1000\n");
        write("sys/fs/cgroup/a/memory.current", "700\n");
        write("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 200\n");
        write("sys/fs/cgroup/a/b/memory.max", "max\n");
        write("sys/fs/cgroup/a/b/memory.current", "600\n");
        write("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "5000\n");
        write("sys/fs/cgroup/memory/c/memory.usage_in_bytes", "6000\n");
        assert_eq!(granted("0::/a/b", root.path()), Some(500));
        assert_eq!(granted("4:memory:/c", root.path()), Some(0));
        assert_eq!(granted("4:cpu:/c", root.path()), None);
        assert_eq!(granted("nonsense", root.path()), None);
    }

    #[test]
    fn memory_holds_what_was_measured() {
        assert_eq!(Footprint::of(0, 10, 10), None);
        assert_eq!(Footprint::of(9, 9_000_000, 10), None, "too few to tell");
        assert_eq!(Footprint::of(10, 0, 1_000), None);
        let footprint = Footprint::of(10, 1_000, 1_000).unwrap();
        assert_eq!(footprint, Footprint { bytes: 100, room: 18 });
    }

    #[test]
    fn this_machine_has_memory_left() {
        assert!(!cfg!(target_os = "linux") || available().is_some_and(|left| left > 1 << 20));
        assert!(!cfg!(target_os = "linux") || own() > 1 << 10);
    }
}
