//! A `nats-server` of the run's own: a child on a free port of this machine, JetStream on, its files
//! in a temporary folder, gone with the run however the run ends.
//!
//! A thread keeps the child. On Linux the kernel kills a child whose parent *thread* ends, so the
//! thread that starts it must live as long as it is wanted, which no thread of a runtime promises.
//! The child has a process group of its own: Ctrl-C in a terminal stops the run, and the run stops
//! the server when it no longer needs it.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use super::{connection::BusError, subject::shown};

/// How long the server may take to listen.
const START: Duration = Duration::from_secs(20);

/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(5);

/// A running server; stopped when it is dropped.
#[derive(Debug)]
pub struct ServerChild {
    url: String,
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl ServerChild {
    /// Starts the `nats-server` that `search_path` has.
    pub async fn start(search_path: Option<&OsStr>) -> Result<Self, BusError> {
        let program = find(search_path)?;
        let (started, starting) = tokio::sync::oneshot::channel();
        let (stop, stopped) = channel();
        let keeper = std::thread::Builder::new()
            .name("nats-server".to_owned())
            .spawn(move || keep(&program, started, &stopped))
            .map_err(|error| BusError(format!("no thread for nats-server: {error}")))?;
        let mut server = Self { url: String::new(), stop: Some(stop), keeper: Some(keeper) };
        let answer = starting.await;
        server.url = answer.unwrap_or_else(|_| Err(BusError("nats-server was given up".into())))?;
        Ok(server)
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for ServerChild {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// The first executable `nats-server` on a search path.
fn find(search_path: Option<&OsStr>) -> Result<PathBuf, BusError> {
    search_path
        .into_iter()
        .flat_map(std::env::split_paths)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("nats-server"))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            BusError(
                "`nats-server` is not on PATH: install it (https://nats.io; `tests/run` puts one into \
                 `.tools/bin`), or use `--bus embedded` or `--bus nats://host:port`"
                    .to_owned(),
            )
        })
}

/// Starts the child, says where it listens, and stops it when nobody wants it any more.
fn keep(
    program: &Path,
    started: tokio::sync::oneshot::Sender<Result<String, BusError>>,
    stopped: &Receiver<()>,
) {
    let fault = |what: &str, error: io::Error| {
        BusError(format!("`{}` cannot be started: {what}: {error}", program.display()))
    };
    let folder = match tempfile::Builder::new().prefix("wavetank-nats-").tempdir() {
        Ok(folder) => folder,
        Err(error) => return drop(started.send(Err(fault("no temporary folder", error)))),
    };
    let mut child = match spawn(program, folder.path()) {
        Ok(child) => child,
        Err(error) => return drop(started.send(Err(fault("it does not run", error)))),
    };
    let url = wait_for_ports(&mut child, folder.path(), stopped);
    let wanted = url.is_ok();
    if started.send(url).is_ok() && wanted {
        // Nothing is ever sent: this waits until the other end is dropped.
        let _ = stopped.recv();
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn spawn(program: &Path, folder: &Path) -> io::Result<Child> {
    let log = std::fs::File::create(folder.join("log"))?;
    let mut command = Command::new(program);
    command
        .args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--store_dir"])
        .arg(folder.join("store"))
        .arg("--ports_file_dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log));
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(target_os = "linux")]
    die_with_parent(&mut command);
    command.spawn()
}

/// Has the kernel kill the child when this thread ends, so that not even SIGKILL leaves an orphan.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "code between fork and exec can only be given unsafely")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; this closure makes one
    // system call, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            Ok(())
        });
    }
}

/// Waits for the file in which the server says where it listens.
fn wait_for_ports(
    child: &mut Child,
    folder: &Path,
    stopped: &Receiver<()>,
) -> Result<String, BusError> {
    let file = folder.join(format!("nats-server_{}.ports", child.id()));
    for _ in 0..START.as_millis() / LOOK.as_millis() {
        if let Some(url) = read_ports(&file) {
            return Ok(url);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(BusError(format!(
                "nats-server ended at once ({status}); it said:\n{}",
                log_tail(folder)
            )));
        }
        // The wait for a stop is also the pause between two looks.
        if stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected) {
            return Err(BusError("nats-server was given up".to_owned()));
        }
    }
    Err(BusError(format!(
        "nats-server does not listen after {START:?}; it said:\n{}",
        log_tail(folder)
    )))
}

fn read_ports(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    ports["nats"][0].as_str().map(str::to_owned)
}

/// The last lines of what the server wrote.
fn log_tail(folder: &Path) -> String {
    let log = std::fs::read(folder.join("log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log[log.len().saturating_sub(4_096)..]).into_owned();
    let lines: Vec<_> = log.lines().rev().take(10).map(shown).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_not_there_names_the_next_step() {
        let empty = tempfile::tempdir().unwrap();
        for path in [None, Some(OsStr::new("")), Some(empty.path().as_os_str())] {
            let BusError(message) = ServerChild::start(path).await.unwrap_err();
            assert!(message.contains("--bus embedded"), "{message}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_server_that_ends_at_once_shows_its_last_words() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nats-server");
        std::fs::write(&program, "#!/bin/sh\necho no more disk >&2\nexit 3\n").unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let started = ServerChild::start(Some(folder.path().as_os_str())).await;
        let BusError(message) = started.unwrap_err();
        assert!(message.contains("no more disk") && message.contains('3'), "{message}");
    }
}
