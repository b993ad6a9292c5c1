//! A hog: other processes that keep one core busy, beside which a process under test is started.
//!
//! Both are held to one core, so that the hog is felt there however many the machine has, and the other
//! cores stay free for the systems of known truth.

use std::{
    process::{Child, Command, Stdio},
    thread,
};

use rustix::{
    process::setpriority_process,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// Processes that keep a core busy.
const SPINNERS: usize = 2;

/// How nice the work is to them. Of equals, Linux prefers the one that has slept: it may never notice
/// the others. A nicer one has to wait for them, whatever the scheduler and its version.
const NICENESS: i32 = 5;

/// Counts for ever, and ends by itself when the process that started it is gone.
const SPIN: &str = "while kill -0 $PPID 2>/dev/null; do \
                    i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; done";

/// Spinning processes, ended when dropped.
#[derive(Debug)]
struct Hog(Vec<Child>);

impl Hog {
    fn start() -> Self {
        let spinner = || {
            let mut command = Command::new("sh");
            command.args(["-c", SPIN]).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell")
        };
        Self((0..SPINNERS).map(|_| spinner()).collect())
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended by itself is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Does `work` on a thread that has one core, on which a hog spins; what it starts has that core too.
/// An error where a thread cannot be held to a core.
///
/// # Panics
/// If `work` does.
pub fn beside_a_hog<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    let confined = || {
        confine()?;
        let _hog = Hog::start();
        // On Linux, of this thread and of what it starts from now on; the hog has been started.
        setpriority_process(None, NICENESS)?;
        Ok(work())
    };
    thread::scope(|scope| scope.spawn(confined).join()).expect("the work does not panic")
}

/// Holds the calling thread to the first core that it may use.
fn confine() -> std::io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    if let Some(core) = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core)) {
        one.set(core);
    }
    Ok(sched_setaffinity(None, &one)?)
}
