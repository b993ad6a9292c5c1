//! The command line as it is typed. What it means is decided elsewhere; nothing here does I/O.

mod comparison;
mod exchange;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::PossibleValue};

pub use comparison::{AbArgs, CompareArgs, ComparisonFormat, TermsArgs, TrendArgs};
pub use exchange::{PullArgs, PushArgs};

use super::reports::{FilesArgs, Format};
use crate::workload::component::Language;

/// A scenario runner for event-driven systems whose numbers can be trusted.
#[derive(Debug, Parser)]
#[command(
    name = "wavetank",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 pass or warn, 99 thresholds failed, 104 bad configuration, 111 invalid \
                  (the runner was the limit), 117 no data. `wavetank exit-codes` lists them all."
)]
pub struct Command {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// The subcommands, one file each.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run a workload, judge its thresholds, print the summary
    Run(Box<RunArgs>),
    /// Say everything about a workload that can be said without running it
    Check(CheckArgs),
    /// Show what a workload is: scenarios, parameters, metrics, imports, digest, limits
    Inspect(InspectArgs),
    /// Run a service on a bus until stopped
    Serve(ServeArgs),
    /// Show what a run came to, from its record; also of one that was cut off
    Report(ReportArgs),
    /// List, show, tag, remove and export the runs that were kept
    Runs {
        /// Where they are
        #[arg(long, value_name = "DIR", default_value = "wavetank-runs", global = true)]
        runs: PathBuf,
        /// What to do
        #[command(subcommand)]
        action: RunsAction,
    },
    /// Say whether runs got worse than others: one or many against many
    Compare(CompareArgs),
    /// Run two things in turn, pair by pair, and say whether one is worse
    Ab(AbArgs),
    /// Start a new script
    #[command(subcommand)]
    Script(ScriptAction),
    /// Begin a plugin, build it, pin what a suite is made of
    #[command(subcommand)]
    Plugin(PluginAction),
    /// Print the JSON Schema of a format
    Schema {
        /// Which format
        format: SchemaFormat,
    },
    /// Say what this machine, bus and database allow, and this tool's own noise floor
    Doctor(BackendArgs),
    /// List the exit codes
    ExitCodes,
    /// Kills what a runner left behind when its standard input ends
    #[command(hide = true)]
    Guard,
    /// Print shell completions
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Where bus and database are.
#[derive(Debug, Args)]
pub struct BackendArgs {
    /// `embedded` (default), `nats-server` (started and stopped by the run) or
    /// `nats://[user:password@]host:port`
    #[arg(long, value_name = "URL", env = "WAVETANK_BUS", hide_env_values = true)]
    pub bus: Option<String>,
    /// `embedded` (default: SQLite), `sqlite:PATH` or `postgres://…`
    #[arg(long = "db", value_name = "URL", env = "WAVETANK_DB", hide_env_values = true)]
    pub database: Option<String>,
    /// A PostgreSQL schema that exists, instead of one of the run's own
    #[arg(long = "db-schema", value_name = "NAME", env = "WAVETANK_DB_SCHEMA")]
    pub database_schema: Option<String>,
}

/// What is used where nobody names another one.
const EMBEDDED: &str = "embedded";

impl BackendArgs {
    /// The bus.
    pub fn bus(&self) -> &str {
        self.bus.as_deref().unwrap_or(EMBEDDED)
    }

    /// The database.
    pub fn database(&self) -> &str {
        self.database.as_deref().unwrap_or(EMBEDDED)
    }
}

/// What a workload is given.
#[derive(Debug, Args)]
pub struct WorkloadArgs {
    /// A `.rhai` script, a `.wasm` component or, to run or check, a `suite.toml`
    #[arg(value_name = "WORKLOAD")]
    pub workload: PathBuf,
    /// Sets a parameter of the workload
    #[arg(short = 'p', long = "param", value_name = "KEY=VALUE", value_parser = pair)]
    pub parameters: Vec<(String, String)>,
    /// Gives the workload a secret from an environment variable
    #[arg(long, value_name = "KEY=VAR", value_parser = pair)]
    pub secret_env: Vec<(String, String)>,
    /// Changes a limit (`wavetank inspect` lists them)
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = pair)]
    pub limits: Vec<(String, String)>,
    /// Takes only components that one of these keys has signed (minisign: a public key, or its file)
    #[arg(long, value_name = "KEY")]
    pub trust: Vec<String>,
}

impl WorkloadArgs {
    /// A workload as it is by itself.
    pub fn of(workload: PathBuf) -> Self {
        let (parameters, secret_env, limits) = (Vec::new(), Vec::new(), Vec::new());
        Self { workload, parameters, secret_env, limits, trust: Vec::new() }
    }
}

/// What replaces a workload's scenarios, as in k6.
#[derive(Debug, Default, Args)]
pub struct ScenarioArgs {
    /// VUs; with --duration or --iterations replaces the scenarios
    #[arg(long, value_name = "N")]
    pub vus: Option<u32>,
    /// Iterations, shared by all VUs
    #[arg(long, value_name = "N")]
    pub iterations: Option<u64>,
    /// How long
    #[arg(long, value_name = "D", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Iterations per second, whatever the system does; with --duration
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,
    /// A stage of ramping VUs; repeat for more
    #[arg(long = "stage", value_name = "D:TARGET", value_parser = stage)]
    pub stages: Vec<(Duration, u32)>,
    /// Runs only this scenario
    #[arg(long, value_name = "NAME")]
    pub scenario: Option<String>,
    /// Seed of all randomness
    #[arg(long, value_name = "N", env = "WAVETANK_SEED")]
    pub seed: Option<u64>,
    /// A tenth of the durations and counts, never below what the thresholds need
    #[arg(long)]
    pub quick: bool,
    /// Adds a tag to every sample; of a suite, `--tag WORD` chooses the workloads that bear
    /// it (all of them, if there are more)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    pub tags: Vec<Tag>,
    /// Threads that run VUs (default: one per core)
    #[arg(long, value_name = "N")]
    pub shards: Option<usize>,
}

/// What of a suite is run.
#[derive(Debug, Args)]
pub struct ChoiceArgs {
    /// Of a suite, runs only what covers this row; repeat for more
    #[arg(long = "row", value_name = "ROW")]
    pub rows: Vec<String>,
    /// Of a suite, runs its long rows, too
    #[arg(long)]
    pub long: bool,
    /// Of a suite, runs what soaks, for as long as that takes
    #[arg(long, conflicts_with = "quick")]
    pub soak: bool,
}

/// Whether it must be what was pinned.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Runs only what the lock beside it names, byte for byte (`wavetank plugin lock`)
    #[arg(long)]
    pub locked: bool,
}

/// `wavetank run`
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub workload: WorkloadArgs,
    #[command(flatten)]
    pub backends: BackendArgs,
    #[command(flatten)]
    pub scenario: ScenarioArgs,
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Stops the run from outside after that
    #[arg(long, value_name = "D", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Prints the plan: VUs and arrivals over time, whether the VUs suffice; runs nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Runs one VU once, of --scenario or else of the first one, and shows every host call
    #[arg(long, conflicts_with = "dry_run")]
    pub trace: bool,
    /// Declares a process of the system under test, started before the run and stopped after it, or
    /// attached to with `pid:N`, `pidfile:PATH`, `port:N`; repeat for more
    #[arg(long = "target", value_name = "NAME=COMMAND")]
    pub targets: Vec<String>,
    /// Allows what is refused by default: `bus=PATTERN`, `db`, `existing-data`, `no-baseline`,
    /// `other-machine`, `superuser`, `target=NAME`
    #[arg(long = "allow", value_name = "CAPABILITY[=PATTERN]")]
    pub allow: Vec<String>,
    /// Compares the run with an earlier one, which thresholds can name as `baseline`: a run's folder or
    /// id, a summary's file, or `latest:TAG`
    #[arg(long, value_name = "RUN|FILE|latest:TAG")]
    pub baseline: Option<String>,
    /// A change for the worse of the baseline's figures beyond this is a regression
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = comparison::part)]
    pub tolerance: f64,
    /// The run's folder (default: `wavetank-runs/<time>-<name>`)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub pins: PinArgs,
    /// Gives the disk the run's record each second, not only at its end
    #[arg(long)]
    pub durable: bool,
    /// Writes the summary as JSON (`wavetank schema summary`)
    #[arg(long, value_name = "PATH", env = "WAVETANK_SUMMARY_EXPORT")]
    pub summary_export: Option<PathBuf>,
    #[command(flatten)]
    pub reports: FilesArgs,
    /// Whether a warning fails the run
    #[arg(long, value_name = "WHEN", default_value = "fail")]
    pub fail_on: FailOn,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

/// How things are shown.
#[derive(Debug, Args)]
pub struct ScreenArgs {
    /// Nothing but the verdict line
    #[arg(long)]
    pub quiet: bool,
    /// How progress is shown on stderr
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub progress: ProgressMode,
    /// Whether the summary is coloured
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorMode,
}

/// `wavetank check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub workload: WorkloadArgs,
    #[command(flatten)]
    pub scenario: ScenarioArgs,
    /// How findings are printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: CheckFormat,
}

/// `wavetank inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

/// `wavetank serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub workload: WorkloadArgs,
    #[command(flatten)]
    pub backends: BackendArgs,
    /// What it is called in a run's figures, and the queue that processes share (default: the workload's
    /// own name)
    #[arg(long, value_name = "NAME", value_parser = service_name)]
    pub name: Option<String>,
    /// Messages that are handled at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub concurrency: u32,
    /// Allows what is refused by default: `bus=PATTERN`, `db`, `existing-data`, `superuser`
    #[arg(long = "allow", value_name = "CAPABILITY[=PATTERN]")]
    pub allow: Vec<String>,
    /// Serves it only if it has this digest (`wavetank inspect` shows it)
    #[arg(long, value_name = "sha256:DIGEST")]
    pub digest: Option<String>,
    /// What a suite grants it, as JSON, in the place of `--allow bus` and `--allow db`
    #[arg(long, value_name = "JSON", hide = true)]
    pub grants: Option<String>,
    /// The run that handler times are sent to
    #[arg(long, value_name = "RUN", env = "WAVETANK_RUN")]
    pub run: Option<String>,
}

/// `wavetank report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The folder of a run, or its id
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Where runs are looked for by their id
    #[arg(long, value_name = "DIR", default_value = "wavetank-runs")]
    pub runs: PathBuf,
    /// What is printed (default: the page that a run ends with, unless files are asked for with --report); of
    /// `github` the annotations
    #[arg(long, value_name = "FORMAT", group = "told")]
    pub format: Option<Format>,
    #[command(flatten)]
    pub files: FilesArgs,
    /// Whether the page is coloured
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorMode,
}

/// `wavetank runs`
#[derive(Debug, Subcommand)]
pub enum RunsAction {
    /// List them, the newest first
    List,
    /// Show what one was and what became of it
    Show {
        /// The folder of a run, or its id
        #[arg(value_name = "RUN")]
        run: String,
    },
    /// Show what happened in one, in words: phases, notes, what its workloads logged
    Log {
        /// The folder of a run, or its id
        #[arg(value_name = "RUN")]
        run: String,
    },
    /// Mark one with words; what has a tag is not pruned
    Tag {
        /// The folder of a run, or its id
        #[arg(value_name = "RUN")]
        run: String,
        /// Letters, digits, `.`, `_` and `-`
        #[arg(value_name = "WORD", required = true)]
        words: Vec<String>,
        /// Takes the tags away
        #[arg(long)]
        remove: bool,
    },
    /// Show how a figure went over the runs, and where it changed
    Trend(TrendArgs),
    /// Remove old ones; never one that has a tag, goes on, or is no run
    Prune(PruneArgs),
    /// Write the times of one as an interval log that HdrHistogram tools read
    Export {
        /// The folder of a run, or its id
        #[arg(value_name = "RUN")]
        run: String,
        /// Where to (default: standard output)
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
    },
}

/// `wavetank runs prune`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("limit").required(true).multiple(true))]
pub struct PruneArgs {
    /// Removes those that began longer ago
    #[arg(long, value_name = "D", value_parser = duration, group = "limit")]
    pub older_than: Option<Duration>,
    /// Keeps so many, the newest
    #[arg(long, value_name = "N", group = "limit")]
    pub keep: Option<usize>,
    /// Removes only runs that have this tag and no other
    #[arg(long, value_name = "WORD", requires = "limit")]
    pub tag: Option<String>,
    /// Keeps the newest that are no larger together
    #[arg(long, value_name = "SIZE", value_parser = bytes, group = "limit")]
    pub max_size: Option<u64>,
    /// Says what would be removed, and removes nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `wavetank plugin`
#[derive(Debug, Subcommand)]
pub enum PluginAction {
    /// Write a plugin to begin with, the SDK beside it
    New(NewArgs),
    /// Make the component of a plugin's folder; the same files give the same bytes
    Build(BuildArgs),
    /// Say whether a plugin is one that can be run and shipped, and what it asks for
    Check(PluginCheckArgs),
    /// Run a workload's or service's lifecycle by itself, and show every call to the host
    Test(TestArgs),
    /// Write down, beside it, which files it is made of; `run --locked` runs nothing else
    Lock(LockArgs),
    /// Lay a component into a registry, as the WebAssembly tools lay them there
    Push(PushArgs),
    /// Take a component out of a registry
    Pull(PullArgs),
}

/// `wavetank plugin new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Where; its name is the plugin's
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// In which language
    #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
    pub lang: Language,
    /// What it is to be
    #[arg(long, value_name = "KIND", default_value = "workload")]
    pub kind: PluginKind,
}

impl ValueEnum for Language {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Rust, Self::JavaScript, Self::C, Self::Python]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Rust => ("rust", "Rust, with the SDK"),
            Self::JavaScript => ("js", "JavaScript, by componentize-qjs"),
            Self::C => ("c", "C, by clang"),
            Self::Python => ("python", "Python, by componentize-py"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// `--kind`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PluginKind {
    /// Virtual users
    Workload,
    /// Something that answers messages
    Service,
}

/// `wavetank plugin build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The plugin's folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}

/// `wavetank plugin check`
#[derive(Debug, Args)]
pub struct PluginCheckArgs {
    /// A `.wasm` component
    #[arg(value_name = "PLUGIN")]
    pub plugin: PathBuf,
    /// A suite that runs it: whether it grants what the plugin asks for
    #[arg(long, value_name = "SUITE")]
    pub suite: Option<PathBuf>,
}

/// `wavetank plugin test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// A plugin's folder, which is built first, a `.wasm` component or a `.rhai` script
    #[arg(value_name = "PLUGIN", default_value = ".")]
    pub plugin: PathBuf,
    /// Sets a parameter of the workload
    #[arg(short = 'p', long = "param", value_name = "KEY=VALUE", value_parser = pair)]
    pub parameters: Vec<(String, String)>,
    /// Gives the workload a secret from an environment variable
    #[arg(long, value_name = "KEY=VAR", value_parser = pair)]
    pub secret_env: Vec<(String, String)>,
    /// Runs only this scenario
    #[arg(long, value_name = "NAME")]
    pub scenario: Option<String>,
    /// Iterations of each scenario
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub iterations: u64,
    /// Seed of all randomness
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Sends a service this message, not `{}` to each of its subjects; repeat for more
    #[arg(long, value_name = "SUBJECT=PAYLOAD", value_parser = pair)]
    pub send: Vec<(String, String)>,
    /// Tests it again whenever one of its files changes, until stopped
    #[arg(long)]
    pub watch: bool,
}

/// `wavetank plugin lock`
#[derive(Debug, Args)]
pub struct LockArgs {
    /// A `suite.toml`, a `.wasm` component or a `.rhai` script
    #[arg(value_name = "WORKLOAD")]
    pub workload: PathBuf,
    /// Locks only components that one of these keys has signed (minisign: a public key, or its file)
    #[arg(long, value_name = "KEY")]
    pub trust: Vec<String>,
}

/// `wavetank script`
#[derive(Debug, Subcommand)]
pub enum ScriptAction {
    /// Write a script to begin with
    New {
        /// Where; must not exist
        path: PathBuf,
    },
    /// Print the host functions as Rhai definitions, for editors
    Definitions,
}

/// Formats with a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SchemaFormat {
    /// `--summary-export`
    Summary,
    /// `suite.toml`
    Suite,
}

/// `--tag`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `KEY=VALUE`: on every sample.
    Label(String, String),
    /// `WORD`: chooses workloads of a suite.
    Word(String),
}

/// `--fail-on`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Warnings pass
    Fail,
    /// Warnings fail the run with exit code 99
    Warn,
}

/// `--progress`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Bars on a terminal, lines elsewhere
    Auto,
    /// One line per interval
    Plain,
    /// Nothing
    None,
}

/// `--color`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorMode {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// `--format` of `check`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people
    Text,
    /// One JSON array
    Json,
    /// GitHub annotations
    Github,
}

fn service_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if (1..=64).contains(&text.len()) && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("a name is letters, digits, `_` and `-`, at most 64".to_owned())
}

fn tag(text: &str) -> Result<Tag, String> {
    if text.contains('=') {
        return pair(text).map(|(key, value)| Tag::Label(key, value));
    }
    if text.is_empty() {
        Err("a tag is no empty word".to_owned())
    } else {
        Ok(Tag::Word(text.to_owned()))
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not of the form KEY=VALUE")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::plan::parse_duration(text).map_err(|error| error.to_string())
}

fn bytes(text: &str) -> Result<u64, String> {
    crate::plan::parse_bytes(text).map_err(|error| error.to_string())
}

fn stage(text: &str) -> Result<(Duration, u32), String> {
    let Some((length, target)) = text.rsplit_once(':') else {
        return Err(format!("`{text}` is not of the form D:TARGET, such as 30s:10"));
    };
    let target = target.parse().map_err(|_| format!("`{target}` is not a number of VUs"))?;
    Ok((duration(length)?, target))
}
