//! Registries: Debian's, for real, on a free port, killed when it is dropped; and one that says what it is told to
//! say, as no honest one would.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::nats::search_path;

/// The user whom a registry with a login lets in, with their password.
pub const LOGIN: (&str, &str) = ("ann", "water tank");
/// That password, as bcrypt has it.
const HASH: &str = "$2y$05$abcdefghijklmnopqrstuu5khYGlmi59rOXEzYe29hKZKkB9Biz6i";

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub host: String,
    _folder: tempfile::TempDir,
}

fn program() -> PathBuf {
    std::env::split_paths(&search_path())
        .map(|folder| folder.join("docker-registry"))
        .find(|file| file.is_file())
        .expect("no docker-registry in .tools/bin or on PATH: run `tests/run` once, it fetches it")
}

impl Registry {
    /// One for everybody.
    pub fn start() -> Self {
        Self::with("")
    }

    /// One for those who log in.
    pub fn with_login() -> Self {
        Self::with("auth: { htpasswd: { realm: tank, path: \"{dir}/users\" } }\n")
    }

    fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display().to_string();
        let config = format!(
            "version: 0.1\nlog: {{ level: info, formatter: json }}\n\
             storage: {{ filesystem: {{ rootdirectory: \"{dir}/data\" }} }}\n\
             http: {{ addr: \"127.0.0.1:0\" }}\n{}",
            more.replace("{dir}", &dir)
        );
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        std::fs::write(folder.path().join("users"), format!("{}:{HASH}\n", LOGIN.0)).unwrap();
        let mut child = Command::new(program())
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = "listening on ";
        let host = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let from = line.find(said)? + said.len();
            Some(line[from..].split('"').next()?.to_owned())
        });
        // Whoever writes into a pipe that nobody reads waits.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, host: host.expect("the registry listens"), _folder: folder }
    }

    /// What it answers to a question without a login: its body.
    pub fn get(&self, path: &str, accept: &str) -> String {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let host = &self.host;
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A registry that answers what it is asked (the request's line and headers) as it is told, bytes as they stand. It ends with the process.
pub fn canned(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut asked = String::new();
            while reader.read_line(&mut asked).is_ok_and(|read| read > 2) {}
            // It may be done with us before it has heard all.
            let _ = stream.write_all(&answer(&asked));
        }
    });
    host
}
