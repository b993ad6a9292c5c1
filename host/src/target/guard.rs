//! The guard: what the runner started never outlives it, its SIGKILL included.
//!
//! A process of its own, the runner's binary once more, in a process group of its own, so that what
//! ends the runner does not end it. It reads a pipe whose other end only the runner holds:
//!
//! ```text
//! mark VALUE          processes that bear WAVETANK_GUARD=VALUE in their environment are the runner's
//! + GROUP STARTED     a process group, and when its leader started
//! - GROUP             the group is gone
//! ```
//!
//! When the pipe closes, it kills what is left: groups whose leader still is what it was, then every
//! process that bears the mark, whatever group or session it went to, until there is none. A process
//! is opened, looked at again and only then killed, so a number that was used again harms nobody. What
//! escapes: a process that left its group *and* cleared its environment.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::procfs::{self, Identity};

/// The hidden subcommand that is the guard.
pub const COMMAND: &str = "guard";

/// What marks everything that descends from a target.
pub(super) const MARK: &str = "WAVETANK_GUARD";

/// Looks for marked processes, at the most: one that forks while it is looked for is found by the next.
const ROUNDS: u32 = 50;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// The runner's end.
#[derive(Debug)]
pub struct Guard {
    child: Mutex<Option<(Child, ChildStdin)>>,
}

impl Guard {
    /// Starts a guard for what bears `marks`. It is the program at `path`, which has to run [`watch`].
    pub fn start(path: &Path, marks: &[String]) -> io::Result<Self> {
        let mut child = Command::new(path)
            .arg(COMMAND)
            .env_remove(MARK)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let guard = Self { child: Mutex::new(Some((child, pipe))) };
        for mark in marks {
            guard.tell(&format!("mark {mark}"))?;
        }
        Ok(guard)
    }

    /// A process that leads its group is to be killed with the runner, and its group with it. One that has
    /// ended by then is let be, whoever has its number.
    pub fn keep_leader(&self, pid: u32) -> io::Result<()> {
        let leader = i32::try_from(pid).ok().and_then(procfs::identity);
        leader.map_or(Ok(()), |leader| self.keep(leader))
    }

    /// A process group is to be killed with the runner.
    pub(super) fn keep(&self, leader: Identity) -> io::Result<()> {
        self.tell(&format!("+ {} {}", leader.pid, leader.started))
    }

    /// A process group is gone.
    pub(super) fn release(&self, leader: Identity) {
        // A guard that is gone has nothing to be told.
        let _ = self.tell(&format!("- {}", leader.pid));
    }

    fn tell(&self, line: &str) -> io::Result<()> {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some((_, pipe)) = child.as_mut() else { return Ok(()) };
        pipe.write_all(format!("{line}\n").as_bytes())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some((mut child, pipe)) = child {
            drop(pipe);
            let _ = child.wait();
        }
    }
}

/// Is the guard: reads until the runner is gone, then kills what it left behind.
pub fn watch(input: impl BufRead) {
    let (mut marks, mut groups) = (Vec::new(), BTreeMap::new());
    for line in input.lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["mark", mark] => marks.push((*mark).to_owned()),
            ["+", pid, started] => {
                if let (Ok(pid), Ok(started)) = (pid.parse(), started.parse()) {
                    groups.insert(pid, Identity { pid, started });
                }
            }
            ["-", pid] => {
                pid.parse::<i32>().ok().and_then(|pid| groups.remove(&pid));
            }
            _ => {}
        }
    }
    for leader in groups.into_values() {
        kill_group(leader);
    }
    for mark in marks {
        sweep(&mark);
    }
}

/// Kills a process group whose leader is still there, be it as a zombie: until someone has waited for it
/// its number is not used again.
pub(super) fn kill_group(leader: Identity) {
    if procfs::identity(leader.pid) == Some(leader)
        && let Some(pid) = Pid::from_raw(leader.pid)
    {
        // Of a group that has just ended there is nothing left to be killed.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Kills every process that bears the mark, until there is none.
pub(super) fn sweep(mark: &str) {
    let own = std::process::id() as i32;
    for _ in 0..ROUNDS {
        let marked: Vec<i32> = procfs::all()
            .filter(|pid| *pid != own && procfs::has_variable(*pid, MARK, mark))
            .filter(|pid| procfs::stat(*pid).is_some_and(|stat| !stat.is_zombie()))
            .collect();
        if marked.is_empty() {
            return;
        }
        for pid in marked {
            kill_marked(pid, mark);
        }
        pause(PAUSE);
    }
}

fn kill_marked(pid: i32, mark: &str) {
    let Some(number) = Pid::from_raw(pid) else { return };
    let Ok(process) = pidfd_open(number, PidfdFlags::empty()) else { return };
    if procfs::has_variable(pid, MARK, mark) {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

#[expect(clippy::disallowed_methods, reason = "no shard runs on a thread that sweeps")]
fn pause(length: Duration) {
    std::thread::sleep(length);
}
