//! The database of a run, and a shard's way to its connections.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    rc::Rc,
};

use rustc_hash::FxHashMap;

use super::{
    Dialect, postgres,
    sql::{self, Parsed},
    sqlite,
};
use crate::{plan::Limits, primitive::Misuse};

/// Statement texts of which a shard remembers what it read.
const TEXTS: usize = 1_024;

/// The database could not be reached or used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct DatabaseError(pub String);

/// The database of a run. Made once, shared by all shards.
#[derive(Clone, Debug)]
pub struct Source {
    kind: Kind,
    connections: usize,
    shards: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    Sqlite(sqlite::File),
    Postgres(postgres::Server),
}

/// What the user of a PostgreSQL URL may do beyond its tables. Guests run SQL as that user, so both
/// are refused for them unless that is allowed by name (DESIGN §7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// It may do everything.
    pub superuser: bool,
    /// It may run programs or touch files on the server (`pg_execute_server_program`,
    /// `pg_read_server_files`, `pg_write_server_files`).
    pub reaches_server: bool,
}

impl Privileges {
    /// Why guests should not have this user, and the next step; `None` if they may.
    pub fn objection(self) -> Option<String> {
        let may = match (self.superuser, self.reaches_server) {
            (true, _) => "is a superuser",
            (false, true) => "may run programs or touch files on the server",
            (false, false) => return None,
        };
        Some(format!(
            "the database user {may}, and a workload's SQL runs as that user: give --db a user of its \
             own (CREATE ROLE load LOGIN; GRANT CREATE ON DATABASE … TO load), or add --allow superuser"
        ))
    }
}

/// What [`Source::open_with`] needs to know.
#[derive(Clone, Debug)]
pub struct Opening {
    /// `embedded`, `sqlite:PATH` or `postgres://…`.
    pub address: String,
    /// PostgreSQL: a schema that exists already, instead of the run's own.
    pub schema: Option<String>,
    /// PostgreSQL: that schema may hold tables (`--allow existing-data`).
    pub allow_existing: bool,
    /// PostgreSQL: the run's own schema is not dropped at the end.
    pub keep_schema: bool,
    /// The run's folder, where the embedded database lives.
    pub directory: PathBuf,
    /// The run's id.
    pub run: String,
    /// Over how many shards `database_connections` are shared out.
    pub shards: usize,
    /// The run's limits.
    pub limits: Limits,
}

/// Whether the database at an address has connections that the shards of a run share out.
pub fn has_connections(address: &str) -> bool {
    address.starts_with("postgres://") || address.starts_with("postgresql://")
}

/// A shard's way to connections. Stays on its thread; clones share it.
#[derive(Clone, Debug)]
pub struct Pool(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Backend,
    texts: RefCell<FxHashMap<Box<str>, Rc<Parsed>>>,
}

/// The database behind a pool.
#[derive(Debug)]
pub(super) enum Backend {
    Sqlite(sqlite::Shard),
    Postgres(postgres::Leases),
}

impl Source {
    /// Opens `embedded` (a file in `directory`), `sqlite:PATH` or `postgres://…`; on PostgreSQL makes
    /// the run's own schema `wavetank_<run>` unless `schema` names one that exists.
    pub async fn open(
        address: &str,
        schema: Option<&str>,
        directory: &Path,
        run: &str,
        limits: &Limits,
    ) -> Result<Self, DatabaseError> {
        Self::open_with(Opening {
            address: address.to_owned(),
            schema: schema.map(str::to_owned),
            allow_existing: false,
            keep_schema: false,
            directory: directory.to_owned(),
            run: run.to_owned(),
            shards: 1,
            limits: limits.clone(),
        })
        .await
    }

    /// Opens a database.
    pub async fn open_with(opening: Opening) -> Result<Self, DatabaseError> {
        let connections = opening.limits.database_connections as usize;
        if has_connections(&opening.address) && connections < opening.shards {
            return Err(DatabaseError(format!(
                "{connections} connections are fewer than {} shards: raise database_connections",
                opening.shards
            )));
        }
        let kind = Kind::open(&opening).await?;
        Ok(Self { kind, connections, shards: opening.shards.max(1) })
    }

    /// A URL for other processes (targets, services), with the run's schema. It holds the password:
    /// it is never shown.
    pub fn url(&self) -> Option<String> {
        match &self.kind {
            Kind::Sqlite(file) => Some(format!("sqlite:{}", file.path().display())),
            Kind::Postgres(server) => Some(server.url()),
        }
    }

    /// What the summary says of it: kind and version, never a password.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Sqlite(_) => sqlite::describe(),
            Kind::Postgres(server) => server.describe(),
        }
    }

    /// The schema of the run, where there are schemas.
    pub fn schema(&self) -> Option<&str> {
        match &self.kind {
            Kind::Sqlite(_) => None,
            Kind::Postgres(server) => Some(server.schema()),
        }
    }

    /// What its user may do beyond its tables; nothing on SQLite, whose guests have an authorizer.
    pub fn privileges(&self) -> Privileges {
        match &self.kind {
            Kind::Sqlite(_) => Privileges::default(),
            Kind::Postgres(server) => server.privileges(),
        }
    }

    /// A shard's pool, on the calling thread's runtime: its share of `database_connections`, of which
    /// there are as many as shards ([`crate::plan::Plan::share_connections`]).
    pub async fn pool(&self, shard: usize) -> Result<Pool, DatabaseError> {
        let more = usize::from(shard < self.connections % self.shards);
        self.pool_of(self.connections / self.shards + more).await
    }

    /// A pool of its own for a service inside the runner, with so many connections: a service must
    /// not wait for the VUs that it serves.
    pub async fn service_pool(&self, connections: usize) -> Result<Pool, DatabaseError> {
        self.pool_of(connections).await
    }

    async fn pool_of(&self, connections: usize) -> Result<Pool, DatabaseError> {
        let backend = match &self.kind {
            Kind::Sqlite(file) => Backend::Sqlite(sqlite::Shard::new(file.clone())?),
            Kind::Postgres(server) => {
                let leases = postgres::Leases::new(server.clone(), connections);
                leases.warm().await.map_err(|failure| {
                    DatabaseError(format!("a connection to the database: {}", failure.message))
                })?;
                Backend::Postgres(leases)
            }
        };
        Ok(Pool(Rc::new(Inner { backend, texts: RefCell::default() })))
    }

    /// Drops the run's schema, ends the database threads; the error names what is left behind.
    pub async fn close(&self) -> Result<(), DatabaseError> {
        match &self.kind {
            Kind::Sqlite(file) => {
                file.close().await;
                Ok(())
            }
            Kind::Postgres(server) => server.close().await,
        }
    }
}

impl Kind {
    async fn open(opening: &Opening) -> Result<Self, DatabaseError> {
        let address = opening.address.as_str();
        if has_connections(address) {
            return Ok(Self::Postgres(postgres::Server::open(opening).await?));
        }
        let path = match address.strip_prefix("sqlite:") {
            Some("") => {
                return Err(DatabaseError("sqlite: names no file; write sqlite:PATH".into()));
            }
            Some(path) => PathBuf::from(path),
            None if address == "embedded" => opening.directory.join("database.sqlite"),
            None => return Err(unknown(address)),
        };
        if opening.schema.is_some() {
            return Err(DatabaseError(
                "--db-schema needs PostgreSQL: SQLite has no schemas; leave it out".into(),
            ));
        }
        Ok(Self::Sqlite(sqlite::File::open(&path, &opening.limits)?))
    }
}

fn unknown(address: &str) -> DatabaseError {
    let scheme = address.split([':', '/']).next().unwrap_or_default();
    DatabaseError(format!(
        "the database address begins with {scheme:?}: write `embedded`, `sqlite:PATH` or \
         `postgres://user@host/database`"
    ))
}

impl Pool {
    pub(super) fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// Which SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        match self.0.backend {
            Backend::Sqlite(_) => Dialect::Sqlite,
            Backend::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Reads a statement's text, once.
    pub(super) fn parse(&self, text: &str) -> Result<Rc<Parsed>, Misuse> {
        if let Some(parsed) = self.0.texts.borrow().get(text) {
            return Ok(parsed.clone());
        }
        let parsed = Rc::new(sql::parse(text, self.dialect())?);
        if !parsed.is_kept() {
            return Ok(parsed);
        }
        let mut texts = self.0.texts.borrow_mut();
        // A workload that puts values into its texts must not fill the memory.
        if texts.len() >= TEXTS {
            texts.clear();
        }
        texts.insert(text.into(), parsed.clone());
        Ok(parsed)
    }
}
