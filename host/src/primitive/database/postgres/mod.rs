//! PostgreSQL: the server of a run, its schema, and who we are there.
//!
//! Why a schema of the run's own: two runs on one server do not see each other, and nothing is left
//! behind. It is the only schema on the search path, set as a start-up option, so that a `RESET ALL`
//! between two virtual users brings it back.
//!
//! What it refuses: a schema with something in it unless that is allowed, and to show a password in
//! any message. Who the server is, and whether it is asked to prove it, is said in `tls.rs`.

mod codec;
mod connection;
mod lease;
mod tls;

use std::{sync::Arc, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

pub(super) use self::lease::{Bound, Held, Leases};
use self::{connection::Connection, tls::Tls};
use super::pool::{DatabaseError, Opening, Privileges};
use crate::primitive::percent;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(4);
/// How long an abandoned statement or a dropped schema may keep the server.
const ENDING: Duration = Duration::from_secs(5);

/// The server of a run. Made once, shared by all shards.
#[derive(Clone)]
pub(super) struct Server(Arc<Inner>);

impl std::fmt::Debug for Server {
    /// Its address holds the password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.describe())
    }
}

struct Inner {
    config: Config,
    tls: Tls,
    address: String,
    shown: String,
    version: String,
    /// It costs time, so the reader of a summary must know.
    encrypted: bool,
    schema: String,
    drop_schema: bool,
    privileges: Privileges,
}

impl Server {
    /// Connects, looks around, and makes the run's schema.
    pub(super) async fn open(opening: &Opening) -> Result<Self, DatabaseError> {
        let (mut config, tls) = configure(&opening.address)?;
        let shown = shown(&config);
        let name = format!("wavetank_{}", sanitized(&opening.run));
        let schema = match &opening.schema {
            Some(schema) => valid_schema(schema)?.to_owned(),
            None => name.chars().take(63).collect(),
        };
        config.application_name(name.chars().take(63).collect::<String>());
        let given = config.get_options().unwrap_or_default().to_owned();
        let options =
            format!("{given} -c search_path=\"{schema}\" -c standard_conforming_strings=on");
        config.options(options.trim_start());
        let first = connect_first(&config, &tls, &shown).await?;
        let asked = ask(&first, &schema).await;
        let Seen { version, encrypted, privileges, content } =
            asked.map_err(|error| broken(&shown, &error))?;
        if version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0) >= 14 {
            // A runner that is killed must not leave an endless statement behind.
            config.options(format!(
                "{} -c client_connection_check_interval=5s",
                options.trim_start()
            ));
        }
        match (&opening.schema, content) {
            (None, None) => first
                .client()
                .batch_execute(&format!("CREATE SCHEMA \"{schema}\""))
                .await
                .map_err(|error| broken(&shown, &error))?,
            (None, Some(_)) => {
                return Err(DatabaseError(format!(
                    "the schema {schema} exists on {shown}, left by a run of the same name: drop it, \
                     or name it with --db-schema"
                )));
            }
            (Some(_), None) => {
                return Err(DatabaseError(format!(
                    "--db-schema {schema}: no such schema on {shown}; make it, or leave the flag out"
                )));
            }
            (Some(_), Some(things)) if things > 0 && !opening.allow_existing => {
                return Err(DatabaseError(format!(
                    "--db-schema {schema} on {shown} holds {things} tables or functions, which a run \
                     may change: name an empty one, or add --allow existing-data"
                )));
            }
            (Some(_), Some(_)) => {}
        }
        let drop_schema = opening.schema.is_none() && !opening.keep_schema;
        let address = opening.address.clone();
        let inner = Inner {
            config,
            tls,
            address,
            shown,
            version,
            encrypted,
            schema,
            drop_schema,
            privileges,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// What its user may do to the server.
    pub(super) fn privileges(&self) -> Privileges {
        self.0.privileges
    }

    /// Kind, version and place; never a password.
    pub(super) fn describe(&self) -> String {
        let Inner { version, shown, schema, .. } = &*self.0;
        let way = if self.0.encrypted { " over TLS" } else { "" };
        format!("PostgreSQL {version} at {shown}{way}, schema {schema}")
    }

    /// The schema of the run.
    pub(super) fn schema(&self) -> &str {
        &self.0.schema
    }

    /// A URL with the schema on its search path, for other processes. It holds the password.
    pub(super) fn url(&self) -> String {
        let (plain, query) = split_query(&self.0.address);
        let kept =
            query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("options="));
        let options = self.0.config.get_options().unwrap_or_default();
        let options = format!("options={}", percent_encoded(options));
        let pairs: Vec<_> = kept.chain([options.as_str()]).collect();
        format!("{plain}?{}", pairs.join("&"))
    }

    async fn connect(&self) -> Result<Connection, tokio_postgres::Error> {
        Connection::open(&self.0.config, &self.0.tls).await
    }

    /// Ends every connection of the run, and with it what still runs there, then drops the schema.
    pub(super) async fn close(&self) -> Result<(), DatabaseError> {
        let work = async {
            let connection = self.connect().await?;
            let client = connection.client();
            client
                .execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = \
                     current_user AND datname = current_database() AND pid <> pg_backend_pid() AND \
                     application_name = current_setting('application_name')",
                    &[],
                )
                .await?;
            if self.0.drop_schema {
                let schema = &self.0.schema;
                client
                    .batch_execute(&format!(
                        "SET lock_timeout = '4s'; SET client_min_messages = error; \
                         DROP SCHEMA IF EXISTS \"{schema}\" CASCADE"
                    ))
                    .await?;
            }
            Ok::<(), tokio_postgres::Error>(())
        };
        let left = || {
            let (schema, shown) = (&self.0.schema, &self.0.shown);
            format!("the schema {schema} may be left on {shown}: drop it by hand")
        };
        match tokio::time::timeout(CONNECT + ENDING, work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(DatabaseError(format!("{}; {}", codec::message(&error), left()))),
            Err(_) => Err(DatabaseError(format!("the server does not answer; {}", left()))),
        }
    }
}

/// The first connection, whose failure is the user's to mend.
async fn connect_first(
    config: &Config,
    tls: &Tls,
    shown: &str,
) -> Result<Connection, DatabaseError> {
    Connection::open(config, tls).await.map_err(|error| {
        let why = tls.explain(&error).unwrap_or_else(|| {
            format!(
                "{}; see that it runs and that the address, user and password in --db are right",
                codec::message(&error)
            )
        });
        DatabaseError(format!("PostgreSQL at {shown} cannot be used: {why}"))
    })
}

/// What the first look shows.
struct Seen {
    version: String,
    encrypted: bool,
    privileges: Privileges,
    /// How many things the schema holds; `None`: there is no such schema.
    content: Option<i64>,
}

async fn ask(connection: &Connection, schema: &str) -> Result<Seen, tokio_postgres::Error> {
    let client = connection.client();
    let row = client
        .query_one(
            "SELECT current_setting('server_version'), rolsuper, \
             pg_has_role(current_user, 'pg_execute_server_program', 'MEMBER') OR \
             pg_has_role(current_user, 'pg_read_server_files', 'MEMBER') OR \
             pg_has_role(current_user, 'pg_write_server_files', 'MEMBER'), \
             (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) \
             FROM pg_roles WHERE rolname = current_user",
            &[],
        )
        .await?;
    let version: String = row.try_get(0)?;
    let version = version.split(' ').next().unwrap_or_default().to_owned();
    let privileges = Privileges { superuser: row.try_get(1)?, reaches_server: row.try_get(2)? };
    let encrypted = row.try_get::<_, Option<bool>>(3)?.unwrap_or(false);
    let row = client
        .query_opt(
            "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid) + \
             (SELECT count(*) FROM pg_proc WHERE pronamespace = n.oid) \
             FROM pg_namespace n WHERE nspname = $1",
            &[&schema],
        )
        .await?;
    let content = row.map(|row| row.try_get(0)).transpose()?;
    Ok(Seen { version, encrypted, privileges, content })
}

fn configure(address: &str) -> Result<(Config, Tls), DatabaseError> {
    let (address, asked) = tls::take(address)?;
    let mut config: Config = address.parse().map_err(|error: tokio_postgres::Error| {
        DatabaseError(format!(
            "the PostgreSQL address cannot be read: {}; write \
             postgres://user:password@host:port/database",
            codec::message(&error)
        ))
    })?;
    let tls = Tls::new(asked)?;
    let local = |host: &Host| !matches!(host, Host::Tcp(_));
    // The driver would ask for it on a Unix socket too, and be refused.
    let local = !config.get_hosts().is_empty() && config.get_hosts().iter().all(local);
    config.ssl_mode(if local { SslMode::Disable } else { tls.driver_mode() });
    if config.get_connect_timeout().is_none_or(|timeout| *timeout > CONNECT) {
        config.connect_timeout(CONNECT);
    }
    Ok((config, tls))
}

/// An address without its query, and the query. A password may hold a `?`, so the query is looked for
/// behind the login.
fn split_query(address: &str) -> (&str, &str) {
    let behind_login = address.find('@').unwrap_or(0);
    let mark = address[behind_login..].find('?').map(|at| behind_login + at);
    match mark.or_else(|| address.find('?')) {
        Some(mark) => (&address[..mark], &address[mark + 1..]),
        None => (address, ""),
    }
}

/// Host and port, as messages show them.
fn shown(config: &Config) -> String {
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let ports = config.get_ports();
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            #[cfg(unix)]
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    hosts.collect::<Vec<_>>().join(",")
}

fn broken(shown: &str, error: &tokio_postgres::Error) -> DatabaseError {
    DatabaseError(format!(
        "PostgreSQL at {shown} refuses what a run needs: {}; give the user the right to create \
         schemas in that database (GRANT CREATE ON DATABASE …), or name a schema with --db-schema",
        codec::message(error)
    ))
}

/// A run's id as a part of a name.
fn sanitized(run: &str) -> String {
    let plain = |letter: char| match letter {
        'a'..='z' | '0'..='9' => letter,
        'A'..='Z' => letter.to_ascii_lowercase(),
        _ => '_',
    };
    run.chars().map(plain).collect()
}

fn valid_schema(schema: &str) -> Result<&str, DatabaseError> {
    let fits = schema.len() <= 63
        && schema.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && schema.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if fits {
        return Ok(schema);
    }
    Err(DatabaseError(format!(
        "--db-schema {schema:?} is no plain name: letters, digits and _, at most 63, no digit first"
    )))
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend(
                [byte >> 4, byte & 15]
                    .map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
            );
        }
    }
    encoded
}

/// Undoes it, for the value of a word in the address.
fn percent_decoded(word: &str, value: &str) -> Result<String, DatabaseError> {
    percent::decoded(value).ok_or_else(|| {
        DatabaseError(format!(
            "{word}={value} in the PostgreSQL address: after % write two hexadecimal digits (%25 for \
             %)"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_plain() {
        assert_eq!(sanitized("2026-08-01T12:00 \"x\""), "2026_08_01t12_00__x_");
        for wrong in ["", "1a", "a\"b", "a b", "é", &"x".repeat(64)] {
            assert!(valid_schema(wrong).is_err(), "{wrong}");
        }
        assert!(valid_schema("load_test_1").is_ok());
    }

    #[test]
    fn a_unix_socket_has_no_tls_whatever_is_asked() {
        let mode = |address: &str| configure(address).unwrap().0.get_ssl_mode();
        assert_eq!(mode("postgres://me@%2Frun%2Fpostgresql/d?sslmode=require"), SslMode::Disable);
        assert_eq!(mode("postgres://me@h/d?sslmode=require"), SslMode::Require);
        assert_eq!(mode("postgres://me@h/d"), SslMode::Prefer);
    }

    #[test]
    fn a_query_begins_behind_the_login() {
        assert_eq!(
            split_query("postgres://a:b?c@h/d?x=1&y=2"),
            ("postgres://a:b?c@h/d", "x=1&y=2")
        );
        assert_eq!(split_query("postgres://h/d?file=a@b"), ("postgres://h/d", "file=a@b"));
        assert_eq!(split_query("postgres://a@h/d"), ("postgres://a@h/d", ""));
        for text in ["a b/c", "ü%", "-._"] {
            assert_eq!(percent_decoded("word", &percent_encoded(text)).unwrap(), text);
        }
        for wrong in ["%", "%4", "%+f", "%zz", "%ff"] {
            assert!(percent_decoded("word", wrong).unwrap_err().0.contains("word="), "{wrong}");
        }
    }

    #[test]
    fn messages_show_the_place_and_no_password() {
        let (config, _) = configure("postgres://me:hunter2@db.example:6543/shop").unwrap();
        assert_eq!(shown(&config), "db.example:6543");
        assert!(!format!("{config:?}").contains("hunter2"));
        let wrong = configure("postgres://me:hunter2@db:port/x").unwrap_err().0;
        assert!(wrong.contains("postgres://user") && !wrong.contains("hunter2"), "{wrong}");
    }
}
