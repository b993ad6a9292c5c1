//! Where virtual users and services come from: Rhai scripts and WebAssembly components.
//!
//! A [`Program`] is loaded once, on the main thread, and shared; [`Program::on_shard`] prepares it for
//! a shard's thread; from that come [`VirtualUser`]s. A workload says what a VU does; it never
//! measures, never chooses when, and never sees another VU.

pub mod component;
pub mod script;
mod slice;
mod target;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use rustix::fs::{Mode, OFlags};
use serde_json::Value as Json;

pub use target::Targets;

use crate::{
    clock::Instant,
    diagnostic::{Diagnostic, Place},
    metric::Builtin,
    plan::{Grants, Limits, Options, lock::Pin},
    primitive::{Primitives, Random, bus::Message},
};

/// What a workload says of itself.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its version; empty for scripts.
    pub version: String,
    /// Its options, unchecked.
    pub options: Options,
    /// Functions that an iteration may call.
    pub functions: Vec<String>,
    /// Its parameters, with the values of this run.
    pub parameters: Vec<Parameter>,
    /// Where the values of the options stand in the source, by path.
    pub places: BTreeMap<Vec<String>, Place>,
    /// What is never measured of this kind of workload.
    pub unmeasured: &'static [Builtin],
    /// That of the bytes that were loaded; of all files of a script, in order.
    pub digest: String,
}

/// A parameter of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in `-p NAME=VALUE`.
    pub name: String,
    /// What it is if nothing is given.
    pub default: Json,
    /// What it is in this run.
    pub value: Json,
    /// What it means.
    pub doc: String,
}

/// What a workload is loaded with.
#[derive(Clone, Debug, Default)]
pub struct LoadInput {
    /// `-p NAME=VALUE`; a value is parsed to the type of the parameter's default.
    pub parameters: BTreeMap<String, String>,
    /// `--secret-env NAME=VAR`, resolved by `cli`.
    pub secrets: BTreeMap<String, String>,
    /// Limits for loading and running.
    pub limits: Arc<Limits>,
    /// Folder in which compiled components are kept; made, private, by whoever uses it first. None:
    /// compile each time.
    pub cache: Option<PathBuf>,
    /// What a component may use of the bus and the database, with which scripts are trusted; and what
    /// either may do with targets.
    pub grants: Arc<Grants>,
    /// The only bytes that it may have; `None`: any.
    pub pin: Option<Pin>,
}

impl LoadInput {
    /// Refuses what has another digest than it must have.
    pub fn check(&self, found: &str) -> Result<(), Diagnostic> {
        match &self.pin {
            Some(pin) if pin.digest != found => {
                let Pin { digest, what, anew } = pin;
                Err(Diagnostic::new(format!("it is not what was locked: it has {found}")).help(
                    format!(
                        "{what} was locked as {digest}: use that, or look at what changed and lock \
                         it anew with {anew}"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Opens a file that a user named. Only a file: of a pipe without a writer the opening alone would never
/// end, and a device may have no end.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let what = if kind.is_dir() { "a folder" } else { "a device or a pipe" };
    Err(io::Error::other(format!("it is {what}, not a file")))
}

/// The bytes of a file that a user named, at most so many.
pub fn read_bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

/// The text of a file that a user named, of at most so many bytes.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read_bytes(path, limit)?).map_err(io::Error::other)
}

/// A workload could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Exit code 104.
    #[error(transparent)]
    Invalid(#[from] Diagnostic),
    /// A component that may not run here: exit code 114.
    #[error("{0}")]
    Refused(Diagnostic),
}

/// A loaded workload; shared by all shards.
#[derive(Clone, Debug)]
pub enum Program {
    /// A Rhai script.
    Script(Arc<script::Program>),
    /// A WebAssembly component.
    Component(Arc<component::Program>),
}

/// A workload prepared for one shard's thread.
#[derive(Clone, Debug)]
pub enum ShardProgram {
    /// A Rhai script.
    Script(Rc<script::ShardProgram>),
    /// A WebAssembly component.
    Component(Rc<component::ShardProgram>),
}

/// What a virtual user is made from.
#[derive(Debug)]
pub struct VirtualUserInput {
    /// What it may do.
    pub primitives: Primitives,
    /// Its number, from 1; 0 for setup and teardown.
    pub vu: u32,
    /// What `setup` returned: `ctx.data`.
    pub data: Arc<Json>,
    /// The seed of the run: `ctx.seed`.
    pub seed: u64,
    /// The run's targets.
    pub targets: Option<crate::target::Source>,
}

/// One iteration, as the executor asks for it.
#[derive(Clone, Debug)]
pub struct Iteration {
    /// The function to call.
    pub exec: Rc<str>,
    /// The scenario's name.
    pub scenario: Rc<str>,
    /// The stage's name; empty without stages.
    pub stage: Rc<str>,
    /// Scenario-wide number, from 0.
    pub number: u64,
    /// When it was due.
    pub due: Instant,
    /// Guest CPU time after which it is cut off.
    pub cpu_timeout: Duration,
    /// The scenario's `env`.
    pub env: Rc<BTreeMap<String, String>>,
    /// Its random numbers are seeded with (seed, scenario, this).
    pub stream: u64,
}

/// A guest ended its call with an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GuestError {
    /// What kind.
    pub kind: GuestErrorKind,
    /// What it said, hostile until escaped.
    pub message: String,
    /// `file:line:column`, when there is one.
    pub place: Option<String>,
}

/// How a guest ended badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuestErrorKind {
    /// It threw, or returned an error.
    Threw,
    /// It trapped or overflowed its stack.
    Trapped,
    /// It used more CPU time than it may.
    CpuTimeout,
    /// It went beyond another limit.
    Limit,
    /// It used the host wrongly.
    Misuse,
}

impl GuestError {
    /// Whether the host, or a trap, ended the guest in its middle.
    fn is_end(&self) -> bool {
        use GuestErrorKind::{CpuTimeout, Limit, Trapped};
        matches!(self.kind, CpuTimeout | Limit | Trapped)
    }
}

impl GuestErrorKind {
    /// The tag `error`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Threw => "threw",
            Self::Trapped => "trapped",
            Self::CpuTimeout => "cpu_timeout",
            Self::Limit => "limit",
            Self::Misuse => "misuse",
        }
    }
}

/// One virtual user, on its shard's thread.
///
/// Every future may be dropped before its end (a stop, a timeout): the guest is then ended, what it
/// had under way is recorded as censored, and the next call starts on a fresh guest state. Each
/// implementation calls `scope.enter_guest` right before guest code runs, and `scope.leave_guest` when
/// it has a reading of the run's clock from right after it.
pub trait VirtualUser {
    /// Runs `setup`; what it returns is everyone's `ctx.data`. `Null` if there is none.
    fn setup(&mut self) -> LocalBoxFuture<'_, Result<Json, GuestError>>;

    /// Runs `init`, once before the first iteration.
    fn init(&mut self) -> LocalBoxFuture<'_, Result<(), GuestError>>;

    /// Runs one iteration. The caller has begun it on the scope.
    fn iterate<'a>(
        &'a mut self,
        iteration: &'a Iteration,
    ) -> LocalBoxFuture<'a, Result<(), GuestError>>;

    /// Runs `teardown`.
    fn teardown(&mut self) -> LocalBoxFuture<'_, Result<(), GuestError>>;

    /// Calls a service's handler; the reply, if it gives one.
    fn handle<'a>(
        &'a mut self,
        handler: &'a str,
        message: Message,
    ) -> LocalBoxFuture<'a, Result<Option<Bytes>, GuestError>>;
}

impl Program {
    /// The text of a script; `None` for a component.
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Script(script) => Some(script.source()),
            Self::Component(_) => None,
        }
    }

    /// Loads a `.rhai` script or a `.wasm` component.
    pub fn load(path: &Path, input: &LoadInput) -> Result<Self, LoadError> {
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("rhai") => Ok(Self::Script(Arc::new(script::Program::load(path, input)?))),
            Some("wasm") => Ok(Self::Component(Arc::new(component::Program::load(path, input)?))),
            _ => Err(LoadError::Invalid(
                Diagnostic::new(format!(
                    "`{}` is neither a script nor a component",
                    path.display()
                ))
                .help("a workload is a file that ends in `.rhai` or `.wasm`"),
            )),
        }
    }

    /// What it says of itself.
    pub fn describe(&self) -> &Description {
        match self {
            Self::Script(program) => program.describe(),
            Self::Component(program) => program.describe(),
        }
    }

    /// What is wrong with it, found without running it; for `check`.
    pub fn findings(&self) -> &[Diagnostic] {
        match self {
            Self::Script(program) => program.findings(),
            Self::Component(program) => program.findings(),
        }
    }

    /// How many virtual users of it fit into this process: of a component, as many instances as the
    /// kernel grants maps for.
    pub fn room(&self) -> Option<u32> {
        match self {
            Self::Script(_) => None,
            Self::Component(program) => Some(program.room()),
        }
    }

    /// Says how many virtual users a run may have, before it is prepared for a thread.
    pub fn reserve(&self, vus: u32) {
        if let Self::Component(program) = self {
            program.reserve(vus);
        }
    }

    /// Gives back what a run has taken of the process, when that has ended and another is to come.
    pub fn leave(&self) {
        if let Self::Component(program) = self {
            program.leave();
        }
    }

    /// Prepares it for the calling thread.
    pub fn on_shard(&self) -> Result<ShardProgram, LoadError> {
        Ok(match self {
            Self::Script(program) => ShardProgram::Script(Rc::new(program.on_shard()?)),
            Self::Component(program) => ShardProgram::Component(Rc::new(program.on_shard()?)),
        })
    }
}

impl ShardProgram {
    /// A new virtual user.
    pub fn virtual_user(
        &self,
        input: VirtualUserInput,
    ) -> Result<Box<dyn VirtualUser>, GuestError> {
        match self {
            Self::Script(program) => script::ShardProgram::virtual_user(program, input),
            Self::Component(program) => component::ShardProgram::virtual_user(program, input),
        }
    }
}

impl Iteration {
    /// The iteration's random numbers.
    pub fn random(&self, seed: u64) -> Random {
        Random::new(seed, Rc::clone(&self.scenario), self.stream)
    }
}
