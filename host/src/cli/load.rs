//! From what was typed to a loaded workload and a valid plan: what `run`, `check` and `inspect` share.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Failed,
    args::{ScenarioArgs, Tag, WorkloadArgs},
    machine,
    registry::{self, Reference},
    trust,
};
use crate::{
    diagnostic::Diagnostic,
    plan::{
        DatabaseGrant, Giver, Grants, Limits, Overrides, Plan, PlanInput, QUICK, Shortcuts,
        lock::Pin, suite::stem,
    },
    verdict::Cause,
    workload::{LoadError, LoadInput, Program},
};

/// How far a component may reach; a script is trusted as its author is.
#[derive(Clone, Debug)]
pub enum Reach {
    /// Run by hand: whatever is embedded, and what flags allow of anything else.
    Hand {
        /// The subjects that it may use, when the bus is not embedded.
        foreign_bus: Option<Vec<String>>,
        /// Whether it may use the database, when that is not embedded.
        foreign_database: Option<bool>,
        /// Targets that the workload, whatever its kind, may start and stop.
        targets: Vec<String>,
    },
    /// In a suite: what that grants, and nothing else.
    Suite(Grants),
}

impl Default for Reach {
    fn default() -> Self {
        Self::Hand { foreign_bus: None, foreign_database: None, targets: Vec::new() }
    }
}

impl Reach {
    /// What a component is given.
    pub fn grants(&self) -> Grants {
        let (foreign_bus, foreign_database, targets) = match self {
            Self::Hand { foreign_bus, foreign_database, targets } => {
                (foreign_bus, foreign_database, targets)
            }
            Self::Suite(grants) => return grants.clone(),
        };
        let patterns = foreign_bus.clone().unwrap_or_else(|| vec![">".to_owned()]);
        Grants {
            publish: patterns.clone(),
            request: patterns.clone(),
            subscribe: patterns,
            database: match foreign_database {
                Some(false) => DatabaseGrant::None,
                Some(true) | None => DatabaseGrant::Write,
            },
            targets: targets.clone(),
            secrets: vec!["*".to_owned()],
            giver: Giver::Hand,
        }
    }
}

/// Loads the workload.
pub fn program(args: &WorkloadArgs, reach: &Reach) -> Result<Program, Failed> {
    pinned(args, reach, None)
}

/// Loads the workload, if it is the one that it must be.
pub fn pinned(args: &WorkloadArgs, reach: &Reach, pin: Option<Pin>) -> Result<Program, Failed> {
    let limits = Limits::with(&pairs(&args.limits)).map_err(configuration)?;
    let mut input = LoadInput {
        parameters: pairs(&args.parameters),
        secrets: secrets(&args.secret_env)?,
        limits: Arc::new(limits),
        cache: cache(),
        grants: Arc::new(reach.grants()),
        pin,
    };
    let path = file(args, &mut input)?;
    Program::load(&path, &input).map_err(|error| match error {
        LoadError::Invalid(diagnostic) => configuration(diagnostic),
        LoadError::Refused(diagnostic) => Failed::new(Cause::PluginRefused, diagnostic),
    })
}

/// The file to load, and that it is the right one where keys say so.
fn file(args: &WorkloadArgs, input: &mut LoadInput) -> Result<PathBuf, Failed> {
    let path = if Reference::is_one(&args.workload) {
        registry::fetch(&args.workload, input.pin.as_ref(), input.limits.component_bytes)?
    } else {
        args.workload.clone()
    };
    if !path.exists() {
        return Err(configuration(
            Diagnostic::new(format!("there is no file `{}`", args.workload.display()))
                .help("name a script (`.rhai`) or a component (`.wasm`)"),
        ));
    }
    let is_script = path.extension().is_some_and(|it| it == "rhai");
    if !args.trust.is_empty() && !is_script {
        let digest = trust::signed(&args.trust, &path, input.limits.component_bytes)?;
        // What was signed is what is loaded, and what was locked.
        input.pin.get_or_insert_with(|| Pin::alone(&digest));
        let other = |error: Diagnostic| Failed::new(Cause::PluginRefused, error.in_file(&path));
        input.check(&digest).map_err(other)?;
    }
    Ok(path)
}

/// Builds the plan of a loaded workload.
pub fn plan(
    program: &Program,
    workload: &WorkloadArgs,
    scenario: &ScenarioArgs,
    timeout: Option<Duration>,
) -> Result<Plan, Failed> {
    plan_with(program, workload, overrides(workload, scenario, timeout)?)
}

/// Builds the plan of a loaded workload, with everything that replaces its options.
pub fn plan_with(
    program: &Program,
    workload: &WorkloadArgs,
    overrides: Overrides,
) -> Result<Plan, Failed> {
    let mut plan = Plan::build(input(program, workload, overrides)).map_err(configuration)?;
    if let Some(room) = program.room() {
        let room = room.saturating_sub(plan.workers());
        plan.fit(room, "`vm.max_map_count` lets no more instances into a process here");
    }
    Ok(plan)
}

/// What flags put over a workload's options.
pub fn overrides(
    workload: &WorkloadArgs,
    scenario: &ScenarioArgs,
    timeout: Option<Duration>,
) -> Result<Overrides, Failed> {
    let label = |tag: &Tag| match tag {
        Tag::Label(key, value) => Ok((key.clone(), value.clone())),
        Tag::Word(word) => Err(configuration(
            Diagnostic::new(format!("--tag {word} chooses workloads of a suite, and this is none"))
                .help(format!("write --tag {word}=VALUE to add a tag to every sample")),
        )),
    };
    Ok(Overrides {
        shortcuts: Shortcuts {
            vus: scenario.vus,
            iterations: scenario.iterations,
            duration: scenario.duration,
            rate: scenario.rate,
            stages: scenario.stages.clone(),
        },
        scenario: scenario.scenario.clone(),
        tags: scenario.tags.iter().map(label).collect::<Result<_, _>>()?,
        seed: scenario.seed,
        scale: scenario.quick.then_some(QUICK),
        timeout,
        shards: scenario.shards,
        limits: pairs(&workload.limits),
        ..Overrides::default()
    })
}

/// Builds the plan of a workload that is only to answer messages.
pub fn service(program: &Program, workload: &WorkloadArgs) -> Result<Plan, Failed> {
    let overrides = Overrides { limits: pairs(&workload.limits), ..Overrides::default() };
    Plan::service(input(program, workload, overrides)).map_err(configuration)
}

fn input(program: &Program, workload: &WorkloadArgs, overrides: Overrides) -> PlanInput {
    let description = program.describe();
    let name = stem(&workload.workload.to_string_lossy());
    PlanInput {
        name,
        options: description.options.clone(),
        functions: description.functions.clone(),
        overrides,
        cores: machine::cores(),
        places: description.places.clone(),
        unmeasured: description.unmeasured.to_vec(),
    }
}

/// A mistake of the user's: exit code 104.
pub fn configuration(diagnostic: Diagnostic) -> Failed {
    Failed::new(Cause::Configuration, diagnostic)
}

fn pairs(list: &[(String, String)]) -> BTreeMap<String, String> {
    list.iter().cloned().collect()
}

/// What must not get into any text: the workload's secrets, and the passwords in addresses.
pub fn hidden(args: &WorkloadArgs, addresses: &[&str]) -> Result<Vec<String>, Failed> {
    let mut hidden: Vec<_> = secrets(&args.secret_env)?.into_values().collect();
    for password in addresses.iter().filter_map(|address| password(address)) {
        hidden.push(decoded(password));
        hidden.push(password.to_owned());
    }
    Ok(hidden)
}

/// The password of an address, as it is written there.
fn password(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}

/// A text with its `%xx` as the bytes that they stand for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend(before.as_bytes());
        let byte = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(b'%'));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    bytes.extend(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where compiled components, and those that were pulled, are kept between runs.
pub fn cache() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
    base.is_absolute().then(|| base.join("wavetank"))
}

#[expect(clippy::disallowed_methods, reason = "`cli` is where the environment is read")]
fn secrets(list: &[(String, String)]) -> Result<BTreeMap<String, String>, Failed> {
    list.iter()
        .map(|(name, variable)| match std::env::var(variable) {
            Ok(value) => Ok((name.clone(), value)),
            Err(error) => Err(configuration(
                Diagnostic::new(format!("--secret-env {name}={variable}: {error}"))
                    .help(format!("export {variable} before the run")),
            )),
        })
        .collect()
}
