//! `--allow`: what is refused by default. DESIGN §7.

use super::{Failed, load::configuration};
use crate::{
    diagnostic::{Diagnostic, nearest},
    primitive::bus::validate_pattern,
};

/// What was allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// `bus=PATTERN`: subjects that a component may use on a bus that is not embedded.
    pub bus: Vec<String>,
    /// `db`: a component may use a database that is not embedded.
    pub database: bool,
    /// `existing-data`: `--db-schema` may name a schema with tables in it.
    pub existing_data: bool,
    /// `other-machine`: the baseline may be a run of any.
    pub machines: Machines,
    /// `no-baseline`: `--baseline` may name a run that there is not yet.
    pub missing: Missing,
    /// `superuser`: the database's user may be one.
    pub superuser: bool,
    /// `target=NAME`: targets that the workload may start and stop; `*` for all.
    pub targets: Vec<String>,
}

/// What a baseline that there is not is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// A mistake.
    #[default]
    Refused,
    /// A first run's, which goes on without.
    Excused,
}

/// Of which machines a baseline may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Machines {
    /// Of this one.
    #[default]
    This,
    /// Of any; that it is another is said.
    Any,
}

const CAPABILITIES: [&str; 7] =
    ["bus", "db", "existing-data", "no-baseline", "other-machine", "superuser", "target"];

impl Allowed {
    /// Reads the flags.
    pub fn parse(flags: &[String]) -> Result<Self, Failed> {
        let mut allowed = Self::default();
        for flag in flags {
            let (name, pattern) = flag
                .split_once('=')
                .map_or((flag.as_str(), None), |(name, rest)| (name, Some(rest)));
            match (name, pattern) {
                ("bus", Some(pattern)) => {
                    validate_pattern(pattern).map_err(|error| {
                        configuration(Diagnostic::new(format!("--allow {flag}: {error}")))
                    })?;
                    allowed.bus.push(pattern.to_owned());
                }
                ("db", None) => allowed.database = true,
                ("existing-data", None) => allowed.existing_data = true,
                ("no-baseline", None) => allowed.missing = Missing::Excused,
                ("other-machine", None) => allowed.machines = Machines::Any,
                ("superuser", None) => allowed.superuser = true,
                ("target", Some(name)) => allowed.targets.push(name.to_owned()),
                ("target", None) => {
                    return Err(configuration(
                        Diagnostic::new("--allow target needs the name of a target")
                            .help("write `--allow target=NAME`, or `--allow 'target=*'` for all"),
                    ));
                }
                ("bus", None) => {
                    return Err(configuration(
                        Diagnostic::new("--allow bus needs the subjects that are allowed")
                            .help("write `--allow 'bus=orders.>'`"),
                    ));
                }
                _ => {
                    let help = nearest(name, CAPABILITIES).map_or_else(
                        || format!("known are {}", CAPABILITIES.join(", ")),
                        |near| format!("did you mean `{near}`?"),
                    );
                    let message = format!("--allow {flag}: no such capability");
                    return Err(configuration(Diagnostic::new(message).help(help)));
                }
            }
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_and_others_refused() {
        let flags: Vec<String> =
            ["bus=a.>", "bus=b", "db", "superuser", "target=x", "other-machine", "no-baseline"]
                .map(str::to_owned)
                .into();
        let allowed = Allowed::parse(&flags).unwrap();
        assert_eq!(allowed.bus, ["a.>", "b"]);
        assert_eq!((allowed.targets, allowed.machines), (vec!["x".to_owned()], Machines::Any));
        assert!(allowed.database && allowed.superuser && !allowed.existing_data);
        assert_eq!(allowed.missing, Missing::Excused);
        for wrong in ["bus", "target", "bus=a b", "dbs", "everything", "db=x"] {
            assert!(Allowed::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
