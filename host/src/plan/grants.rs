//! What a workload or a service may use of the bus, the database, the targets and the run's secrets. Who gives
//! it is `cli` (flags) or a suite; who holds a call against it is the workload's host functions.

use serde::{Deserialize, Serialize};

/// What may be done with the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DatabaseGrant {
    /// Nothing.
    #[default]
    None,
    /// Queries.
    Read,
    /// Everything that the database's own guards let through.
    Write,
}

/// Who gives it: where more of it is to be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Giver {
    /// Whoever runs a workload by itself, by flags.
    #[default]
    Hand,
    /// A suite, which grants nothing by default.
    Suite,
}

/// What a component may use of the bus, the database and the secrets, and any workload of the targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Patterns that may be published to.
    pub publish: Vec<String>,
    /// Patterns that may be sent requests.
    pub request: Vec<String>,
    /// Patterns that may be subscribed to.
    pub subscribe: Vec<String>,
    /// The database.
    pub database: DatabaseGrant,
    /// Targets that may be started and stopped, by name; `*` for all. Asked of scripts, too.
    pub targets: Vec<String>,
    /// Secrets that a component is told, by name; `*` for all.
    pub secrets: Vec<String>,
    /// Who gives it.
    pub giver: Giver,
}

impl Default for Grants {
    /// Everything: what a component gets on the embedded bus and database.
    fn default() -> Self {
        Self::bus(">", DatabaseGrant::Write)
    }
}

impl Grants {
    /// Nothing of a suite's.
    pub const NONE: Self = Self {
        publish: Vec::new(),
        request: Vec::new(),
        subscribe: Vec::new(),
        database: DatabaseGrant::None,
        targets: Vec::new(),
        secrets: Vec::new(),
        giver: Giver::Suite,
    };

    /// The line that would add something: a flag's value, or a key of a suite's `grants` and what it holds.
    pub fn line_to_add(&self, flag: &str, key: &str, value: &str) -> String {
        match self.giver {
            Giver::Hand => format!("add `--allow {flag}`"),
            Giver::Suite => format!("add `{key} = {value}` to its `grants` in the suite"),
        }
    }

    /// Whether a component is told a secret.
    pub fn tell(&self, secret: &str) -> bool {
        self.secrets.iter().any(|it| it == "*" || it == secret)
    }

    /// One pattern for every use of the bus.
    pub fn bus(pattern: &str, database: DatabaseGrant) -> Self {
        let patterns = vec![pattern.to_owned()];
        Self {
            publish: patterns.clone(),
            request: patterns.clone(),
            subscribe: patterns,
            database,
            targets: Vec::new(),
            secrets: vec!["*".to_owned()],
            giver: Giver::Hand,
        }
    }
}
