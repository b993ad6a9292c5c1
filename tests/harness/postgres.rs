//! A real PostgreSQL for tests: its own cluster in a temporary folder, on a free port, gone with the
//! last test that uses it.
//!
//! Why a cluster of our own: tests look into `pg_stat_activity`, restart the server and count its
//! connections, which nobody does to a server that is someone else's. It listens on 127.0.0.1 only,
//! trusts its users (but `keeper`, who has a password) and does not sync.

use std::{
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio_postgres::{Client, NoTls};

use crate::certificates;

/// The password of the role `keeper`.
pub const PASSWORD: &str = "hunter2";

/// A PostgreSQL cluster. Dropped, it is stopped and removed.
#[derive(Debug)]
pub struct Postgres {
    folder: tempfile::TempDir,
    port: u16,
    settings: Vec<String>,
    server: Mutex<Option<Child>>,
    databases: AtomicU32,
}

static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

impl Postgres {
    /// The cluster that the tests of this process share while any of them runs.
    ///
    /// # Panics
    /// When PostgreSQL's programs are missing: tests/run installs them.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    /// A cluster of its own, for a test that restarts it.
    ///
    /// # Panics
    /// When PostgreSQL's programs are missing or do not start.
    pub fn start() -> Self {
        Self::in_folder(tempfile::tempdir().expect("a temporary folder"), Vec::new())
    }

    /// A cluster that offers TLS, with a certificate for a name as `subjectAltName` writes it.
    ///
    /// # Panics
    /// When openssl or PostgreSQL's programs are missing or do not start.
    pub fn with_tls(bears: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        certificates::authority(folder.path(), "ca");
        certificates::signed(folder.path(), "ca", "server", bears);
        let file = |name: &str| folder.path().join(name);
        if let Some((user, group)) = server_user() {
            std::os::unix::fs::chown(file("server.key"), Some(user), Some(group)).expect("chown");
        }
        let settings = vec![
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file("server.pem").display()),
            format!("ssl_key_file={}", file("server.key").display()),
            format!("ssl_ca_file={}", file("ca.pem").display()),
        ];
        Self::in_folder(folder, settings)
    }

    fn in_folder(folder: tempfile::TempDir, settings: Vec<String>) -> Self {
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder for the cluster");
        for path in [folder.path(), &data] {
            let mode = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(path, mode).expect("permissions of the cluster's folder");
            if let Some((user, group)) = server_user() {
                std::os::unix::fs::chown(path, Some(user), Some(group)).expect("chown");
            }
        }
        let made = as_server(program("initdb"))
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .expect("initdb");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let rules = "host all keeper 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n\
                     local all all trust\n";
        std::fs::write(data.join("pg_hba.conf"), rules).expect("pg_hba.conf");
        let mut cluster = Self {
            folder,
            port: 0,
            settings,
            server: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        for _ in 0..10 {
            // Someone else may take the port in between.
            cluster.port = free_port();
            if cluster.serve() {
                cluster.make_roles();
                return cluster;
            }
            cluster.stop();
        }
        panic!("PostgreSQL did not start: {}", cluster.log());
    }

    /// Starts the server on the same port; false if it did not come up.
    pub fn serve(&self) -> bool {
        let data = self.folder.path().join("data");
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a log file");
        let child = as_server(program("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .args(["-c", "max_connections=100"])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .arg("-c")
            .arg(format!("unix_socket_directories={}", self.folder.path().display()))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("postgres");
        *self.lock() = Some(child);
        for _ in 0..600 {
            let port = self.port.to_string();
            let ready = Command::new(program("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port])
                .status()
                .is_ok_and(|status| status.success());
            let ended =
                self.lock().as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ready || ended {
                return ready && !ended;
            }
            pause(Duration::from_millis(50));
        }
        false
    }

    /// Stops the server at once, as a crash would.
    pub fn stop(&self) {
        if let Some(mut child) = self.lock().take() {
            let pid = child.id().to_string();
            drop(Command::new("kill").args(["-QUIT", &pid]).status());
            drop(child.wait());
        }
    }

    /// Lets users in only with a certificate by the cluster's authority, from now on.
    ///
    /// # Panics
    /// When the server cannot be told.
    pub fn ask_for_client_certificates(&self) {
        let rules = "hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n";
        std::fs::write(self.file("data/pg_hba.conf"), rules).expect("pg_hba.conf");
        self.stop();
        assert!(self.serve(), "PostgreSQL did not start: {}", self.log());
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A file of the cluster's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A URL of a user and a database.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// A new database that the role `load`, who is no superuser, owns; its URL.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        let client = self.admin("postgres").await;
        client
            .batch_execute(&format!("CREATE DATABASE {name} OWNER load TEMPLATE template0"))
            .await
            .expect("CREATE DATABASE");
        self.url("load", &name)
    }

    /// A superuser's connection to a database.
    ///
    /// # Panics
    /// When there is no such database.
    pub async fn admin(&self, database: &str) -> Client {
        let url = self.url("postgres", database);
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("connect");
        tokio::spawn(async move { drop(connection.await) });
        client
    }

    fn make_roles(&self) {
        let sql = format!(
            "CREATE ROLE load LOGIN; CREATE ROLE keeper LOGIN SUPERUSER PASSWORD '{PASSWORD}'"
        );
        let port = self.port.to_string();
        let made = Command::new(program("psql"))
            .args(["-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &port, "-c", &sql, "postgres"])
            .output()
            .expect("psql");
        assert!(made.status.success(), "psql: {}", String::from_utf8_lossy(&made.stderr));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// One of PostgreSQL's programs.
pub fn program(name: &str) -> PathBuf {
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    versions.sort();
    versions.pop().unwrap_or_else(|| Path::new(name).to_owned())
}

/// The server refuses to run as root; then it runs as `postgres`.
fn as_server(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command
}

/// User and group of the server, if we are root.
fn server_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"])? != 0 {
        return None;
    }
    Some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?))
}

#[expect(clippy::disallowed_methods, reason = "a test waits for another process, on no shard")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
