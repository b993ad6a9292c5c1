//! What the kernel says of a process: the few files of /proc that are read, and no more of them.
//!
//! Read by hand and not through a crate: a target of a hundred processes is read ten times a second,
//! and each needs five numbers. A process is known by its number and the instant it started, because
//! numbers are used again.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Kernel clock ticks per second in /proc, fixed by the ABI.
const TICKS_PER_S: u64 = 100;
/// Nanoseconds of one.
pub(super) const TICK_NS: u64 = 1_000_000_000 / TICKS_PER_S;
/// Bytes of one file that are looked at.
const MOST_BYTES: u64 = 1 << 20;

/// A process: its number, and when it started, in ticks since the machine did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Identity {
    pub(super) pid: i32,
    pub(super) started: u64,
}

/// `/proc/PID/stat`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) state: u8,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// CPU time of the process, threads that have ended included, in nanoseconds that are whole ticks.
    pub(super) user_ns: u64,
    pub(super) system_ns: u64,
    /// The same of its children that have ended and that it has waited for, and of theirs.
    pub(super) children_user_ns: u64,
    pub(super) children_system_ns: u64,
    pub(super) threads: u64,
    pub(super) started: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_bytes: u64,
}

impl Stat {
    /// Ended, and nobody has waited for it yet.
    pub(super) const fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    fn parse(text: &str) -> Option<Self> {
        // The name stands in parentheses and may hold anything, parentheses included.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let signed = |field: usize| fields.get(field - 3)?.parse::<i32>().ok();
        let ticks = |field: usize| Some(number(field)? * TICK_NS);
        Some(Self {
            state: *fields.first()?.as_bytes().first()?,
            parent: signed(4)?,
            group: signed(5)?,
            user_ns: ticks(14)?,
            system_ns: ticks(15)?,
            children_user_ns: ticks(16)?,
            children_system_ns: ticks(17)?,
            threads: number(20)?,
            started: number(22)?,
            virtual_bytes: number(23)?,
            resident_bytes: number(24)? * page_size(),
        })
    }
}

/// `/proc/PID/io`: bytes that the kernel moved from and to storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Io {
    pub(super) read: u64,
    pub(super) written: u64,
}

fn folder(pid: i32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn text(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&read(path)?).into_owned())
}

/// The state of a process; `None` if there is none of that number.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    Stat::parse(&text(&folder(pid).join("stat"))?)
}

/// The process of that number, now.
pub(super) fn identity(pid: i32) -> Option<Identity> {
    Some(Identity { pid, started: stat(pid)?.started })
}

/// Children of a process, those that it started from any of its threads.
pub(super) fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(folder(pid).join("task")).into_iter().flatten().flatten();
    let of_task = |task: fs::DirEntry| text(&task.path().join("children")).unwrap_or_default();
    tasks
        .map(of_task)
        .flat_map(|line| {
            line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()
        })
        .collect()
}

/// All processes.
pub(super) fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Processes of a group that run.
pub(super) fn group(group: i32) -> Vec<Identity> {
    let member = |pid: i32| {
        let stat = stat(pid)?;
        (stat.group == group && !stat.is_zombie())
            .then_some(Identity { pid, started: stat.started })
    };
    all().filter_map(member).collect()
}

/// Bytes from and to storage, those of its children that it has waited for included.
pub(super) fn io(pid: i32) -> Option<Io> {
    let text = text(&folder(pid).join("io"))?;
    let field =
        |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    Some(Io { read: field("read_bytes:")?, written: field("write_bytes:")? })
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(rest.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// The most resident memory that a process ever had.
pub(super) fn peak_resident_bytes(pid: i32) -> Option<u64> {
    kilobytes(&text(&folder(pid).join("status"))?, "VmHWM:")
}

/// Resident memory, shared pages divided by those who share them.
pub(super) fn proportional_bytes(pid: i32) -> Option<u64> {
    kilobytes(&text(&folder(pid).join("smaps_rollup"))?, "Pss:")
}

/// Open descriptors.
pub(super) fn descriptors(pid: i32) -> Option<u64> {
    let path = folder(pid).join("fd");
    // Newer kernels give their number as the folder's size; counting thousands takes its time.
    match fs::metadata(&path).ok()?.len() {
        0 => Some(fs::read_dir(path).ok()?.count() as u64),
        size => Some(size),
    }
}

/// Bytes that the network namespace of a process has received and sent, if that is not the runner's own:
/// Linux counts no network bytes of a process.
pub(super) fn network_bytes(pid: i32) -> Option<u64> {
    let namespace = |folder: &Path| fs::read_link(folder.join("ns/net")).ok();
    let (own, its) = (namespace(Path::new("/proc/self"))?, namespace(&folder(pid))?);
    if own == its {
        return None;
    }
    let table = text(&folder(pid).join("net/dev"))?;
    let mut sum = 0;
    for line in table.lines().skip(2) {
        let (name, counts) = line.split_once(':')?;
        if name.trim() == "lo" {
            continue;
        }
        let counts: Vec<u64> =
            counts.split_whitespace().filter_map(|count| count.parse().ok()).collect();
        sum += counts.first()? + counts.get(8)?;
    }
    Some(sum)
}

/// Whether the environment that a process was started with has this variable with this value.
pub(super) fn has_variable(pid: i32, variable: &str, value: &str) -> bool {
    let wanted = format!("{variable}={value}");
    let environment = read(&folder(pid).join("environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
}

/// The process that listens on a TCP port of this machine.
pub(super) fn listener(port: u16) -> Option<i32> {
    let suffix = format!(":{port:04X}");
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).ok());
    let inodes: Vec<String> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines())
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A";
            listens.then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
        })
        .collect();
    all().find(|pid| {
        let links = fs::read_dir(folder(*pid).join("fd")).into_iter().flatten().flatten();
        links
            .filter_map(|link| fs::read_link(link.path()).ok())
            .any(|link| inodes.iter().any(|inode| link.as_os_str() == std::ffi::OsStr::new(inode)))
    })
}

/// CPU time of a process in nanoseconds, all of its threads and those that have ended, by the clock that
/// the kernel keeps for it; `None` if it has ended.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "rustix does not name the CPU clocks of other processes")]
pub(super) fn cpu_ns(pid: i32) -> Option<u64> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write to the variable that is passed, which lives and has the type they want;
    // what a number that is no process means is their return value.
    let done = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    done.then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Bytes of a page.
#[expect(unsafe_code, reason = "rustix tells it only with a feature that nothing else needs")]
fn page_size() -> u64 {
    // SAFETY: it takes a number and returns one.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4_096)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn cpu_ns(_: i32) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line =
            "42 (a) S (b) R 7 40 40 0 -1 4194304 1 2 3 4 150 25 300 50 20 0 3 0 1234 8192 2 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.group), (b'R', 7, 40));
        assert_eq!((stat.user_ns, stat.system_ns), (150 * TICK_NS, 25 * TICK_NS));
        assert_eq!((stat.children_user_ns, stat.children_system_ns), (300 * TICK_NS, 50 * TICK_NS));
        assert_eq!((stat.threads, stat.started, stat.virtual_bytes), (3, 1_234, 8_192));
        assert!(Stat::parse("42 (a").is_none());
    }

    #[test]
    fn this_process_is_read() {
        let own = std::process::id() as i32;
        let stat = stat(own).unwrap();
        assert!(stat.resident_bytes > 100_000 && stat.threads >= 1, "{stat:?}");
        assert_eq!(identity(own).unwrap(), Identity { pid: own, started: stat.started });
        assert!(cpu_ns(own).unwrap() > 0);
        assert!(peak_resident_bytes(own).unwrap() >= stat.resident_bytes / 2);
        assert!(descriptors(own).unwrap() >= 3);
        assert_eq!(network_bytes(own), None);
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listener(listening.local_addr().unwrap().port()), Some(own));
    }
}
