//! What is said to a registry, and how much of its answer is listened to.
//!
//! A registry is anyone's. Each answer has a limit in bytes and in time. What lies under its own digest may lie
//! elsewhere, for what comes from there is looked at; anything else is followed to no other place. What we are
//! asked for is given to nobody but the registry and, over TLS, the one that it lets grant its tokens, which is
//! asked for this name alone, however much the registry would like.

use std::{sync::Arc, time::Duration};

use rustls::crypto::ring;
use serde_json::Value;
use ureq::{
    Agent, Body, Proxy,
    http::{HeaderMap, Request, Response, Uri, header},
    tls::{Certificate, RootCerts, TlsConfig, TlsProvider},
};

use super::{
    credentials::{Login, login},
    reference::Reference,
};
use crate::{
    cli::{Failed, load::configuration},
    diagnostic::Diagnostic,
    report::printable::printable,
};

/// Bytes of an answer that is only looked at: a token, an error.
const ASIDE: u64 = 64 << 10;
/// Bytes of an answer's headers.
const HEADERS: usize = 32 << 10;
/// How long it takes to connect, and how long nothing may come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long anything takes.
const WHOLE: Duration = Duration::from_secs(600);
/// How often we may be sent on.
const ONWARD: usize = 3;
/// Characters of someone else's words.
const TEXT: usize = 200;

/// What is to be done with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pull,
    Push,
}

/// A registry, and one name in it.
pub struct Registry {
    agent: Agent,
    host: String,
    name: String,
    scope: String,
    plain: bool,
    login: Option<Login>,
    /// What the registry has asked to be told each time.
    authorization: Option<String>,
}

/// A question.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub method: &'static str,
    /// After the host, with its slash.
    pub path: &'a str,
    /// Names and values of headers.
    pub headers: &'a [(&'static str, &'a str)],
    pub body: &'a [u8],
    /// Bytes that the answer may have.
    pub limit: u64,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Registry {
    /// The registry of a reference. Without TLS only on this machine, unless `plain` says that it may.
    pub fn of(reference: &Reference, action: Action, plain: bool) -> Result<Self, Failed> {
        let plain = plain || reference.is_loopback();
        let actions = match action {
            Action::Pull => "pull",
            Action::Push => "pull,push",
        };
        Ok(Self {
            agent: agent(plain)?,
            scope: format!("repository:{}:{actions}", reference.name),
            host: reference.host.clone(),
            name: reference.name.clone(),
            plain,
            login: login(&reference.host)?,
            authorization: None,
        })
    }

    /// Where this name is, after the host.
    pub fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.name)
    }

    /// Asks, and once more when it wants to know who asks.
    pub fn ask(&mut self, question: Question<'_>) -> Result<Answer, Failed> {
        let answer = self.known(question)?;
        self.plainly(answer)
    }

    /// Asks for what lies under its own digest, here or where the registry keeps such things: whoever asks
    /// looks at what came. Nobody but the registry is told who that is.
    pub fn blob(&mut self, digest: &str, limit: u64) -> Result<Answer, Failed> {
        let path = self.path(&format!("blobs/{digest}"));
        let question = Question { method: "GET", path: &path, headers: &[], body: &[], limit };
        let mut answer = self.known(question)?;
        for _ in 0..ONWARD {
            let Some(place) = sent_on(&answer) else { return Ok(answer) };
            answer = match self.own_path(&place) {
                Ok(path) => self.known(Question { path: &path, ..question })?,
                Err(_) => self.away(&place, limit)?,
            };
        }
        self.plainly(answer)
    }

    fn known(&mut self, question: Question<'_>) -> Result<Answer, Failed> {
        let answer = self.once(question)?;
        if answer.status != 401 || self.authorization.is_some() {
            return Ok(answer);
        }
        let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
        self.authorization = Some(self.authorize(&challenge)?);
        self.once(question)
    }

    /// Asks somebody else, in the registry's own scheme: what is asked over TLS is sent on to nobody without.
    fn away(&self, place: &str, limit: u64) -> Result<Answer, Failed> {
        let uri: Uri = place.parse().map_err(|_| self.elsewhere(place))?;
        let host = uri.authority().is_some_and(|it| !it.as_str().contains('@'));
        if uri.scheme_str() != Some(self.scheme()) || !host {
            return Err(self.elsewhere(place));
        }
        let unreachable = |error: &dyn std::fmt::Display| self.unreachable(&error.to_string());
        let request = Request::get(uri).body(()).map_err(|error| unreachable(&error))?;
        self.read(self.agent.run(request).map_err(|error| unreachable(&error))?, limit)
    }

    /// The path of an address that the registry gave, which must be its own.
    pub fn own_path(&self, address: &str) -> Result<String, Failed> {
        let base = format!("{}://{}", self.scheme(), self.host);
        let path = address.strip_prefix(&base).unwrap_or(address);
        if path.starts_with('/') && !path.starts_with("//") {
            return Ok(path.to_owned());
        }
        Err(self.elsewhere(address))
    }

    /// A refusal, in its words.
    pub fn refusal(&self, what: &str, answer: &Answer) -> Failed {
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let error = &said["errors"][0];
        let words = [&error["code"], &error["message"]];
        let words: Vec<_> = words.iter().filter_map(|it| it.as_str()).collect();
        let words = match words[..] {
            [] => String::new(),
            _ => format!(" ({})", printable(&words.join(": "), TEXT)),
        };
        let help = match (answer.status, &self.login) {
            (401 | 403, None) => {
                "log in with docker, or export WAVETANK_REGISTRY, _USER and _PASSWORD (docker's \
                 credential helpers are not asked)"
            }
            (401 | 403, Some(_)) => "the login that was found is not good for this",
            (404, _) => "look at the name and the tag: `HOST/NAME:TAG`",
            _ => "try again later, or ask whoever keeps the registry",
        };
        let place = format!("{}/{}", self.host, self.name);
        let message = format!("{what}: `{place}` answers {}{words}", answer.status);
        configuration(Diagnostic::new(message).help(help))
    }

    const fn scheme(&self) -> &'static str {
        if self.plain { "http" } else { "https" }
    }

    /// An answer that sends us nowhere.
    fn plainly(&self, answer: Answer) -> Result<Answer, Failed> {
        if (300..400).contains(&answer.status) {
            return Err(self.elsewhere(answer.header("location").unwrap_or("nowhere")));
        }
        Ok(answer)
    }

    fn elsewhere(&self, address: &str) -> Failed {
        let place = address.split('?').next().unwrap_or_default();
        configuration(
            Diagnostic::new(format!(
                "the registry `{}` sends us to `{}`, and nobody said that it may",
                self.host,
                printable(place, TEXT)
            ))
            .help("name a registry that answers itself"),
        )
    }

    fn once(&self, question: Question<'_>) -> Result<Answer, Failed> {
        let address = format!("{}://{}{}", self.scheme(), self.host, question.path);
        let mut request = Request::builder().method(question.method).uri(&address);
        for (name, value) in question.headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let limit = question.limit;
        let answer = match question.method {
            "GET" | "HEAD" => request.body(()).map(|request| self.agent.run(request)),
            _ => request.body(question.body).map(|request| self.agent.run(request)),
        };
        let answer = answer.map_err(|error| self.unreachable(&error.to_string()))?;
        self.read(answer.map_err(|error| self.unreachable(&error.to_string()))?, limit)
    }

    /// An answer to its end; one that does not end is cut off.
    fn read(&self, answer: Response<Body>, limit: u64) -> Result<Answer, Failed> {
        let (parts, body) = answer.into_parts();
        let status = parts.status.as_u16();
        let limit = if (200..300).contains(&status) { limit } else { ASIDE };
        // One more than it may have: the reader refuses what would be the end, too.
        let read = body.into_with_config().limit(limit + 1).read_to_vec();
        let body = read.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => configuration(
                Diagnostic::new(format!(
                    "the registry `{}` sends more than {limit} bytes where no more can be right",
                    self.host
                ))
                .help("name a registry that can be trusted to answer"),
            ),
            error => self.unreachable(&error.to_string()),
        })?;
        Ok(Answer { status, headers: parts.headers, body })
    }

    fn unreachable(&self, why: &str) -> Failed {
        configuration(
            Diagnostic::new(format!(
                "the registry `{}` cannot be asked: {}",
                self.host,
                printable(why, TEXT)
            ))
            .help(if self.plain {
                "look at its name and port"
            } else {
                "look at its name and port; one that speaks without TLS is asked with --plain-http"
            }),
        )
    }

    /// What to say who we are, for what the registry wants to hear.
    fn authorize(&self, challenge: &str) -> Result<String, Failed> {
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        match (&scheme.to_ascii_lowercase()[..], &self.login) {
            ("basic", Some(login)) => Ok(login.basic()),
            ("bearer", _) => self.token(rest),
            ("basic", None) => {
                let empty = Answer { status: 401, headers: HeaderMap::new(), body: Vec::new() };
                Err(self.refusal("it wants to know who asks", &empty))
            }
            _ => Err(self.unreachable("it asks who we are in a way that is not known")),
        }
    }

    /// A token for this name, from where the registry says that they are granted.
    fn token(&self, challenge: &str) -> Result<String, Failed> {
        let parameter = |name: &str| parameter(challenge, name);
        let realm = parameter("realm").unwrap_or_default();
        let uri: Uri = realm.parse().map_err(|_| self.elsewhere(&realm))?;
        let own = uri.authority().is_some_and(|it| it.as_str() == self.host);
        let safe = uri.scheme_str() == Some("https") || (self.plain && own);
        if !safe || realm.contains(['?', '#', '@']) {
            return Err(self.elsewhere(&realm));
        }
        let service = parameter("service").unwrap_or_default();
        let query = format!("service={}&scope={}", encoded(&service), encoded(&self.scope));
        let mut request = Request::builder().uri(format!("{realm}?{query}"));
        if let Some(login) = &self.login {
            request = request.header(header::AUTHORIZATION, login.basic());
        }
        let request = request.body(()).map_err(|error| self.unreachable(&error.to_string()))?;
        let answer = self.agent.run(request);
        let answer = answer.map_err(|error| self.unreachable(&error.to_string()))?;
        let answer = self.plainly(self.read(answer, ASIDE)?)?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let token = said["token"].as_str().or_else(|| said["access_token"].as_str());
        match token.filter(|it| answer.status == 200 && it.bytes().all(|it| it.is_ascii_graphic()))
        {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(self.refusal("it grants no token", &answer)),
        }
    }
}

/// Where an answer sends us.
fn sent_on(answer: &Answer) -> Option<String> {
    let sends = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
    answer.header("location").filter(|_| sends).map(str::to_owned)
}

fn agent(plain: bool) -> Result<Agent, Failed> {
    let mut roots = Vec::new();
    if !plain {
        let found = rustls_native_certs::load_native_certs();
        roots = found.certs.iter().map(|it| Certificate::from_der(it).to_owned()).collect();
        if roots.is_empty() {
            return Err(configuration(
                Diagnostic::new("no certificates are known here, so no registry can be trusted")
                    .help("install `ca-certificates`, or name a file of them in SSL_CERT_FILE"),
            ));
        }
    }
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(!plain)
        .tls_config(tls)
        .max_redirects(0)
        .proxy(if plain { None } else { Proxy::try_from_env() })
        .user_agent(concat!("wavetank/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(HEADERS)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .timeout_global(Some(WHOLE))
        .build();
    Ok(Agent::new_with_config(config))
}

/// A parameter of a challenge: `realm="…",service="…"`.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let mut rest = challenge;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim_matches([' ', ',']).eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = next;
    }
    None
}

/// Text for an address's query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_for_what_it_says() {
        let challenge = r#"realm="https://a.example/token",service=plain, scope="a,b=c""#;
        assert_eq!(parameter(challenge, "realm").as_deref(), Some("https://a.example/token"));
        assert_eq!(parameter(challenge, "service").as_deref(), Some("plain"));
        assert_eq!(parameter(challenge, "Scope").as_deref(), Some("a,b=c"));
        assert_eq!(parameter(challenge, "b"), None, "what stands in a value is none");
        assert_eq!(parameter("realm=\"never ends", "realm"), None);
        assert_eq!(encoded("a b&c/d:e"), "a%20b%26c%2Fd%3Ae");
    }

    #[test]
    fn an_address_is_the_registry_s_own_or_refused() {
        let reference = Reference::parse("127.0.0.1:5000/a/b:1").unwrap();
        let registry = Registry::of(&reference, Action::Push, false).unwrap();
        for good in ["/v2/a?x=1", "http://127.0.0.1:5000/v2/a?x=1"] {
            assert_eq!(registry.own_path(good).unwrap(), "/v2/a?x=1");
        }
        for bad in ["https://evil.example/v2", "//evil.example/v2", "http://127.0.0.1:50001/v2", ""]
        {
            assert!(registry.own_path(bad).is_err(), "{bad}");
        }
    }
}
