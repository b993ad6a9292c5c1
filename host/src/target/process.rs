//! A process of a target: started by the runner with a group of its own, or attached to.
//!
//! One that was started is waited for twice: first by a thread that only looks whether it has ended and
//! leaves it a zombie, so that its number stays taken while its group is killed and its last figures are
//! read; then it is buried.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
};

use super::{
    Opening,
    guard::{self, Guard},
    output::Output,
    procfs::{self, Identity},
};
use crate::plan::{Ready, TargetPlan, TargetSignal, TargetSource};

/// A process that runs, or has not been buried yet.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) identity: Identity,
    pub(super) output: Output,
    /// How it ended, once it has.
    pub(super) exit: watch::Receiver<Option<String>>,
    hold: Hold,
}

/// How it is got hold of.
#[derive(Debug)]
enum Hold {
    /// The leader of its process group.
    Child(Box<Child>),
    /// Someone else's.
    Attached(Arc<OwnedFd>),
}

/// What commands of targets are given.
#[derive(Debug)]
pub(super) struct Surroundings {
    bus: Option<String>,
    database: Option<String>,
    run: String,
    directory: String,
}

impl Surroundings {
    pub(super) fn of(opening: &Opening) -> Self {
        Self {
            bus: opening.bus.clone(),
            database: opening.database.clone(),
            run: opening.run.clone(),
            directory: opening.directory.display().to_string(),
        }
    }

    /// What a target asks for and cannot have: other processes do not reach what is embedded.
    pub(super) fn missing(&self, plan: &TargetPlan) -> Option<(&'static str, &'static str)> {
        let TargetSource::Command { words, env, .. } = &plan.source else { return None };
        let asks = |placeholder: &str| {
            words.iter().chain(env.values()).any(|text| text.contains(placeholder))
        };
        if self.bus.is_none() && asks("{bus}") {
            return Some(("{bus}", "--bus nats-server or --bus nats://host:port"));
        }
        (self.database.is_none() && asks("{db}"))
            .then_some(("{db}", "--db sqlite:PATH or --db postgres://…"))
    }

    /// A text with its placeholders replaced.
    fn fill(&self, text: &str) -> String {
        text.replace("{bus}", self.bus.as_deref().unwrap_or("{bus}"))
            .replace("{db}", self.database.as_deref().unwrap_or("{db}"))
            .replace("{run}", &self.run)
            .replace("{dir}", &self.directory)
    }

    /// The same for a command.
    pub(super) fn command(&self, words: &[String]) -> Command {
        let mut words = words.iter().map(|word| self.fill(word));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdin(Stdio::null()).env("WAVETANK_RUN", &self.run);
        for (name, value) in [("WAVETANK_BUS", &self.bus), ("WAVETANK_DB", &self.database)] {
            match value {
                Some(value) => command.env(name, value),
                // What the runner was given is not where the run is.
                None => command.env_remove(name),
            };
        }
        command
    }
}

/// Starts the process of a target that has a command.
pub(super) fn start(
    plan: &TargetPlan,
    surroundings: &Surroundings,
    guard: Option<&Guard>,
    mark: &str,
) -> io::Result<Process> {
    let TargetSource::Command { words, env, directory } = &plan.source else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let mut command = surroundings.command(words);
    command
        .envs(env.iter().map(|(name, value)| (name, surroundings.fill(value))))
        .env(guard::MARK, mark)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    let mut child = command.spawn()?;
    let pid = child.id() as i32;
    // Until it is waited for it is there, be it as a zombie.
    let identity = procfs::identity(pid).unwrap_or(Identity { pid, started: 0 });
    if let Some(Err(error)) = guard.map(|guard| guard.keep(identity)) {
        guard::kill_group(identity);
        let _ = child.wait();
        return Err(io::Error::other(format!("the guard is gone: {error}")));
    }
    let wanted = plan.ready.iter().filter_map(|ready| match ready {
        Ready::Line(line) => Some(line.clone()),
        _ => None,
    });
    let output = Output::new(wanted.collect());
    let threads = [
        child.stdout.take().map(|stream| pump(&output, stream)),
        child.stderr.take().map(|stream| pump(&output, stream)),
    ];
    let (told, exit) = watch::channel(None);
    let watching = std::thread::Builder::new().name("target-exit".to_owned()).spawn(move || {
        told.send_replace(Some(wait(pid)));
    });
    let failed = threads.into_iter().flatten().find_map(Result::err).or(watching.err());
    if let Some(error) = failed {
        guard::kill_group(identity);
        let _ = child.wait();
        return Err(error);
    }
    Ok(Process { identity, output, exit, hold: Hold::Child(Box::new(child)) })
}

fn pump(output: &Output, stream: impl io::Read + Send + 'static) -> io::Result<()> {
    let output = output.clone();
    std::thread::Builder::new()
        .name("target-output".to_owned())
        .spawn(move || output.pump(stream))
        .map(drop)
}

/// Waits until a child has ended, and leaves it to be buried.
fn wait(pid: i32) -> String {
    let Some(number) = Pid::from_raw(pid) else { return "it never was".to_owned() };
    loop {
        match waitid(WaitId::Pid(number), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => format!("exit status {code}"),
                    (_, Some(signal)) => signal_name(signal),
                    _ => "an end of no known kind".to_owned(),
                };
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return format!("an end that could not be seen: {error}"),
        }
    }
}

fn signal_name(number: i32) -> String {
    let known = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::TERM, "SIGTERM"),
    ];
    let name = known.iter().find(|(signal, _)| signal.as_raw() == number);
    name.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

/// Finds the process of a target that runs already.
pub(super) fn attach(plan: &TargetPlan) -> Result<Process, String> {
    let pid = match &plan.source {
        TargetSource::Command { .. } => return Err("it has a command".to_owned()),
        TargetSource::Pid(pid) => *pid,
        TargetSource::PidFile(path) => from_file(path)?,
        TargetSource::Port(port) => procfs::listener(*port).ok_or_else(|| {
            format!("no process that this user may look at listens on port {port}")
        })?,
    };
    let gone = |error: &dyn std::fmt::Display| format!("there is no process {pid}: {error}");
    let number = Pid::from_raw(pid).ok_or_else(|| gone(&"not a number of one"))?;
    let process = pidfd_open(number, PidfdFlags::empty()).map_err(|error| gone(&error))?;
    let identity = procfs::identity(pid).ok_or_else(|| gone(&"it has just ended"))?;
    let process = Arc::new(process);
    let (told, exit) = watch::channel(None);
    #[expect(unsafe_code, reason = "tokio asks for I/O safety to be promised by hand")]
    // SAFETY: the `OwnedFd` names the same open descriptor until its last owner is gone, and `AsyncFd`, one
    // of them, deregisters it before that.
    let ended =
        unsafe { AsyncFd::register_with_interest(Arc::clone(&process), Interest::READABLE) };
    let ended = ended.map_err(|_| format!("process {pid} cannot be watched"))?;
    tokio::task::spawn_local(async move {
        let _ = ended.readable().await;
        told.send_replace(Some("an end that only its parent knows of".to_owned()));
    });
    Ok(Process { identity, output: Output::new(Vec::new()), exit, hold: Hold::Attached(process) })
}

fn from_file(path: &Path) -> Result<i32, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the pid file {}: {error}", path.display()))?;
    text.trim()
        .parse()
        .ok()
        .filter(|pid| *pid > 0)
        .ok_or_else(|| format!("the pid file {} holds no number of a process", path.display()))
}

impl Process {
    /// Whether the runner did not start it.
    pub(super) const fn is_attached(&self) -> bool {
        matches!(self.hold, Hold::Attached(_))
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<String> {
        self.exit.borrow().clone()
    }

    /// Sends a signal: to the group of one that was started, to one that was attached to alone.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match &self.hold {
            Hold::Child(_) => match Pid::from_raw(self.identity.pid) {
                // Nobody else has waited for it, so the number is still its own.
                Some(pid) => Ok(kill_process_group(pid, signal)?),
                None => Err(io::ErrorKind::NotFound.into()),
            },
            Hold::Attached(process) => Ok(pidfd_send_signal(&**process, signal)?),
        }
    }

    /// Processes of its group that have not ended.
    pub(super) fn has_members(&self) -> bool {
        !self.is_attached() && !procfs::group(self.identity.pid).is_empty()
    }

    /// The last of it: it has ended, its group is killed, then it is waited for.
    pub(super) fn bury(self) -> Option<ExitStatus> {
        match self.hold {
            Hold::Child(mut child) => {
                guard::kill_group(self.identity);
                child.wait().ok()
            }
            Hold::Attached(_) => None,
        }
    }
}

/// The signal that a plan names.
pub(super) const fn signal_of(signal: TargetSignal) -> Signal {
    match signal {
        TargetSignal::Term => Signal::TERM,
        TargetSignal::Int => Signal::INT,
        TargetSignal::Quit => Signal::QUIT,
        TargetSignal::Hup => Signal::HUP,
        TargetSignal::Usr1 => Signal::USR1,
        TargetSignal::Usr2 => Signal::USR2,
        TargetSignal::Kill => Signal::KILL,
    }
}
