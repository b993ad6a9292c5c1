//! Who asks a registry: from the environment, for the one registry that it names, or from docker's configuration.
//!
//! What is secret here has no `Debug`, and is in no message. Docker's credential helpers, programs that would
//! have to be run, are not asked.

use std::{env, ffi::OsString, fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{cli::Failed, cli::load::configuration, diagnostic::Diagnostic};

/// Bytes of docker's configuration that are read.
const CONFIGURATION: u64 = 1 << 20;

/// A user and their password.
pub struct Login(String);

impl Login {
    /// As HTTP wants it, for whoever it is for.
    pub fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(&self.0))
    }
}

/// The login for a registry, if there is one.
pub fn login(host: &str) -> Result<Option<Login>, Failed> {
    let text = |name: &str| env::var_os(name).filter(|it| !it.is_empty());
    if text("WAVETANK_REGISTRY").is_some_and(|it| it == *host) {
        let part = |name: &str| {
            let value = text(name).map(OsString::into_string);
            value.and_then(Result::ok).ok_or_else(|| {
                configuration(
                    Diagnostic::new(format!(
                        "WAVETANK_REGISTRY is `{host}`, and {name} says nothing"
                    ))
                    .help("export WAVETANK_REGISTRY_USER and WAVETANK_REGISTRY_PASSWORD with it"),
                )
            })
        };
        let (user, password) =
            (part("WAVETANK_REGISTRY_USER")?, part("WAVETANK_REGISTRY_PASSWORD")?);
        return Ok(Some(Login(format!("{user}:{password}"))));
    }
    Ok(configuration_of_docker().and_then(|text| of_docker(&text, host)))
}

fn configuration_of_docker() -> Option<String> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let folder = env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home)?;
    let path = folder.join("config.json");
    let fits = fs::metadata(&path).is_ok_and(|it| it.is_file() && it.len() <= CONFIGURATION);
    if fits { fs::read_to_string(path).ok() } else { None }
}

fn of_docker(text: &str, host: &str) -> Option<Login> {
    let value: Value = serde_json::from_str(text).ok()?;
    let entries = value["auths"].as_object()?;
    let (_, entry) = entries.iter().find(|(key, _)| {
        let key = key.split_once("://").map_or(key.as_str(), |(_, rest)| rest);
        key.split('/').next() == Some(host)
    })?;
    if let Some(encoded) = entry["auth"].as_str().filter(|it| !it.is_empty()) {
        let bytes = STANDARD.decode(encoded.trim_end_matches('\0')).ok()?;
        let pair = String::from_utf8(bytes).ok()?;
        return pair.contains(':').then_some(Login(pair));
    }
    let (user, password) = (entry["username"].as_str()?, entry["password"].as_str()?);
    Some(Login(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_s_configuration_says_who_asks_whom() {
        let text = r#"{
            "auths": {
                "one.example": { "auth": "YW5uOnNlY3JldA==" },
                "https://two.example/v1/": { "username": "bob", "password": "p:w" },
                "three.example": {},
                "four.example": { "auth": "%%%" }
            },
            "credsStore": "desktop"
        }"#;
        let found = |host| of_docker(text, host).map(|login| login.0);
        assert_eq!(found("one.example").as_deref(), Some("ann:secret"));
        assert_eq!(found("two.example").as_deref(), Some("bob:p:w"));
        for host in ["three.example", "four.example", "example", "one.example:5000"] {
            assert_eq!(found(host), None, "{host}");
        }
        assert!(of_docker("nothing", "one.example").is_none());
        assert_eq!(Login("a:b".to_owned()).basic(), "Basic YTpi");
    }
}
