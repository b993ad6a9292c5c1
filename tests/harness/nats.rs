//! A real `nats-server` on a free port, killed when it is dropped.

use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// A running server.
#[derive(Debug)]
pub struct NatsServer {
    child: Option<Child>,
    folder: tempfile::TempDir,
    config: String,
    port: u16,
}

/// The folders in which `nats-server` is looked for: the repository's `.tools/bin`, then PATH.
pub fn search_path() -> OsString {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin");
    let tools = tools.canonicalize().unwrap_or(tools);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path))).unwrap()
}

fn program() -> PathBuf {
    std::env::split_paths(&search_path())
        .map(|folder| folder.join("nats-server"))
        .find(|file| file.is_file())
        .expect("no nats-server in .tools/bin or on PATH: run `tests/run` once, it installs it")
}

impl NatsServer {
    /// A server with JetStream.
    pub async fn start() -> Self {
        Self::with_config("").await
    }

    /// A server with lines of configuration added; `{dir}` stands for a folder of its own.
    pub async fn with_config(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::in_folder(folder, config).await
    }

    /// The same, in a folder that holds files which the configuration names.
    pub async fn in_folder(folder: tempfile::TempDir, config: &str) -> Self {
        let config = config.replace("{dir}", &folder.path().display().to_string());
        let mut server = Self { child: None, folder, config, port: 0 };
        server.run().await;
        server
    }

    async fn run(&mut self) {
        let dir = self.folder.path();
        let port = if self.port == 0 { -1 } else { i32::from(self.port) };
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nports_file_dir: \"{dir}\"\n\
             jetstream {{ store_dir: \"{store}\" }}\n{more}\n",
            dir = dir.display(),
            store = dir.join("store").display(),
            more = self.config,
        );
        std::fs::write(dir.join("config"), config).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let child = Command::new(program())
            .arg("--config")
            .arg(dir.join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let file = dir.join(format!("nats-server_{}.ports", child.id()));
        self.child = Some(child);
        for _ in 0..2_000 {
            if let Some(port) = read_port(&file) {
                self.port = port;
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        panic!("nats-server does not listen:\n{log}");
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `nats://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// How many connections the server has, by its own word; see [`NatsServer::monitor`].
    ///
    /// # Panics
    /// If it does not say.
    pub fn connections(&self) -> u64 {
        self.monitor("/varz")["connections"].as_u64().unwrap()
    }

    /// What the server says of itself. It must have been started with `http: "127.0.0.1:-1"`.
    ///
    /// # Panics
    /// If it does not say.
    pub fn monitor(&self, page: &str) -> serde_json::Value {
        let id = self.child.as_ref().map(Child::id).unwrap();
        let ports = std::fs::read(self.file(&format!("nats-server_{id}.ports"))).unwrap();
        let ports: serde_json::Value = serde_json::from_slice(&ports).unwrap();
        let place = ports["monitoring"][0].as_str().unwrap().trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(place).unwrap();
        stream.write_all(format!("GET {page} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// A file of the server's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same port.
    pub async fn restart(&mut self) {
        self.kill();
        self.run().await;
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_port(file: &Path) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    ports["nats"].as_array().or_else(|| ports["tls"].as_array())?[0]
        .as_str()?
        .rsplit_once(':')?
        .1
        .parse()
        .ok()
}

/// What a [`proxy`] does with a message on its way from the server to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Pass,
    /// It is gone.
    Drop,
    /// It comes twice.
    Twice,
    /// It comes after the next one.
    Late,
}

/// A server's front on a port of its own that does with messages what a script says; returns the
/// port. `script` is given the subject and the number of each message that is no reply.
pub async fn proxy(server: u16, script: fn(&str, usize) -> Fate) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = tokio::net::TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            let (mut from_client, to_client) = client.into_split();
            let (from_server, mut to_server) = upstream.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(relay(from_server, to_client, script));
        }
    });
    port
}

/// Hands on what the server sends, message by message.
async fn relay(
    from_server: tokio::net::tcp::OwnedReadHalf,
    mut to_client: tokio::net::tcp::OwnedWriteHalf,
    script: fn(&str, usize) -> Fate,
) {
    let mut stream = BufReader::new(from_server);
    let (mut number, mut late) = (0, Vec::new());
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let mut message = std::mem::take(&mut line);
        let text = String::from_utf8_lossy(&message).into_owned();
        let mut words = text.split_whitespace();
        let mut fate = Fate::Pass;
        if matches!(words.next(), Some("MSG" | "HMSG")) {
            let subject = words.next().unwrap_or_default();
            let length: usize = words.next_back().and_then(|word| word.parse().ok()).unwrap_or(0);
            let start = message.len();
            message.resize(start + length + 2, 0);
            if stream.read_exact(&mut message[start..]).await.is_err() {
                return;
            }
            if !subject.starts_with("_INBOX") {
                fate = script(subject, number);
                number += 1;
            }
        }
        let out = match fate {
            Fate::Drop => continue,
            Fate::Late => {
                late = message;
                continue;
            }
            Fate::Twice => [message.clone(), message, std::mem::take(&mut late)].concat(),
            Fate::Pass => [message, std::mem::take(&mut late)].concat(),
        };
        if to_client.write_all(&out).await.is_err() {
            return;
        }
    }
}
