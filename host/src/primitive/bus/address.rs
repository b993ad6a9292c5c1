//! `nats://user:password@host:port,host2:port?creds=FILE&ca=FILE&cert=FILE&key=FILE&prefix=TOKENS`,
//! taken apart.
//!
//! The parts that may be shown and the parts that may not are separate from here on: nothing that is
//! printed is made from the text that the user typed.

use std::path::PathBuf;

use super::{connection::BusError, prefix::Prefix};
use crate::primitive::percent;

/// How to prove who one is.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Login {
    /// Not asked.
    #[default]
    None,
    /// User and password.
    Password(String, String),
    /// A token: a user without a password.
    Token(String),
}

/// Files for credentials and TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// A `.creds` file: JWT and seed.
    pub credentials: Option<PathBuf>,
    /// Certificates of authorities that are trusted, instead of the system's.
    pub authority: Option<PathBuf>,
    /// The client's certificate.
    pub certificate: Option<PathBuf>,
    /// The key of the client's certificate.
    pub key: Option<PathBuf>,
}

/// Where servers are and how to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// `tls://`
    pub tls: bool,
    /// `host:port` of each server.
    pub servers: Vec<String>,
    /// From the URL.
    pub login: Login,
    /// From the URL's query.
    pub files: Files,
    /// What all subjects begin with; from the URL's query.
    pub prefix: Prefix,
}

impl Address {
    /// Takes a URL apart.
    pub fn parse(url: &str) -> Result<Self, BusError> {
        let (tls, rest) = match url.split_once("://") {
            Some(("nats", rest)) => (false, rest),
            Some(("tls", rest)) => (true, rest),
            _ => {
                return Err(BusError(format!(
                    "`{}` is no bus: use `embedded`, `nats-server`, `nats://host:port` or \
                     `tls://host:port`",
                    without_login(url)
                )));
            }
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (parse_login(login)?, hosts),
            None => (Login::None, rest),
        };
        let servers = hosts
            .trim_end_matches('/')
            .split(',')
            .map(parse_server)
            .collect::<Result<Vec<_>, _>>()?;
        let (files, prefix) = parse_query(query)?;
        Ok(Self { tls, servers, login, files, prefix })
    }

    /// As it may be shown.
    pub fn shown(&self) -> String {
        format!("{}://{}", if self.tls { "tls" } else { "nats" }, self.servers.join(","))
    }
}

fn parse_login(login: &str) -> Result<Login, BusError> {
    Ok(match login.split_once(':') {
        Some((user, password)) => Login::Password(decode(user)?, decode(password)?),
        None => Login::Token(decode(login)?),
    })
}

fn parse_server(server: &str) -> Result<String, BusError> {
    let host_ends = server.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match server[host_ends..].rsplit_once(':') {
        Some((host, port)) => (&server[..host_ends + host.len()], port),
        None => (server, "4222"),
    };
    let valid_host = !host.is_empty()
        && host.starts_with('[') == host.ends_with(']')
        && host.chars().all(|char| char.is_alphanumeric() || "-._[]:".contains(char));
    if !valid_host || port.parse::<u16>().is_err() {
        return Err(BusError(format!(
            "`{}` is no server of a bus: write `host:port`",
            server.escape_debug()
        )));
    }
    Ok(format!("{host}:{port}"))
}

fn parse_query(query: &str) -> Result<(Files, Prefix), BusError> {
    let (mut files, mut prefix) = (Files::default(), Prefix::default());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value)?;
        let file = Some(PathBuf::from(&value));
        match key {
            "prefix" => prefix = Prefix::read(&value)?,
            "creds" => files.credentials = file,
            "ca" => files.authority = file,
            "cert" => files.certificate = file,
            "key" => files.key = file,
            _ => {
                return Err(BusError(format!(
                    "`{}` is not known in the URL of a bus: use creds, ca, cert, key or prefix",
                    key.escape_debug()
                )));
            }
        }
    }
    Ok((files, prefix))
}

/// Undoes `%40`.
fn decode(text: &str) -> Result<String, BusError> {
    percent::decoded(text).ok_or_else(|| {
        BusError(
            "the login or the query in the URL of the bus is not valid: after `%` write two \
             hexadecimal digits (`%25` for `%`)"
                .to_owned(),
        )
    })
}

/// A URL of unknown kind without what stands before its `@`.
fn without_login(url: &str) -> String {
    let shown = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        _ => url.to_owned(),
    };
    super::subject::shown(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let address =
            Address::parse("tls://us%40er:p:w%2F@a.b:1,[::1]:2,c?ca=/x/y&creds=z").unwrap();
        assert_eq!(address.servers, ["a.b:1", "[::1]:2", "c:4222"]);
        assert!(address.login == Login::Password("us@er".into(), "p:w/".into()));
        assert_eq!(address.files.authority, Some("/x/y".into()));
        assert_eq!(address.shown(), "tls://a.b:1,[::1]:2,c:4222");
        assert_eq!(address.prefix.tokens(), None);
        let address = Address::parse("nats://h?prefix=wt_a.b&ca=c").unwrap();
        assert_eq!(address.prefix.tokens(), Some("wt_a.b"));
        assert_eq!(address.shown(), "nats://h:4222");
        assert!(Address::parse("nats://secret@h").unwrap().login == Login::Token("secret".into()));
    }

    #[test]
    fn no_message_shows_a_password() {
        for url in [
            "http://u:hunter2@h:1",
            "u:hunter2@h",
            "nats://u:hunter2@h:port",
            "nats://u:hunter2@",
            "nats://u:hunter2%@h",
            "nats://u:hunter2@h:1\r\n",
            "nats://u:hunter2@h?x=y",
            "nats://u:hunter2@h?prefix=a b",
            "nats://u:hunter2@[h:1",
        ] {
            let Err(BusError(message)) = Address::parse(url) else { panic!("{url} was accepted") };
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
