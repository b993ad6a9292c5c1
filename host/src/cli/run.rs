//! `wavetank run`: from the command line to a judged summary and an exit code.

use std::{path::Path, process::ExitCode, sync::Arc};

use super::{
    Failed,
    allow::Allowed,
    args::{BackendArgs, FailOn, RunArgs, ScenarioArgs, WorkloadArgs},
    backends::{self, Backends},
    baseline::{self, Baseline},
    folder, forecast, load,
    lock::{self, Pins},
    print::out,
    progress::Screen,
    report, signals, suite, target,
};
use crate::{
    clock::Clock,
    diagnostic::Diagnostic,
    metric::Names,
    plan::{Plan, TargetPlan},
    primitive::database,
    record::{self, Ending, Journal, RecordError, Sealed},
    report::{json, story::Story, terminal},
    run::{
        Chapter, RunInput, RunOutcome, StopSignal,
        summary::{Environment, RunInfo, Summary, SummaryInput, WorkloadInfo},
    },
    verdict::Cause,
    workload::Program,
};

/// Runs the subcommand.
pub fn run(args: RunArgs) -> Result<ExitCode, Failed> {
    if suite::is_one(&args.workload.workload) {
        return suite::run(&args);
    }
    suite::refuse_its_flags(&args)?;
    let mut job = Job::of(&args)?;
    if args.dry_run {
        out(&forecast::render(&job.plan));
        return Ok(ExitCode::SUCCESS);
    }
    args.reports.check()?;
    let baseline = Baseline::of(&args, &job.allowed, &job.plan.name)?;
    baseline::prepare(Arc::make_mut(&mut job.plan), baseline.as_ref())?;
    let started = jiff::Timestamp::now();
    let id = folder::run_id(&job.plan.name, started);
    let folder = folder::make(args.out.as_deref(), &id)?;
    let runtime = runtime()?;
    let (hidden, info) = known(&args, &job.program, id, started)?;
    let Done { mut outcome, start, sealed } =
        runtime.block_on(job.perform(&args, &folder, info, hidden))?;
    let info = RunInfo { complete: outcome.complete, ..start.run };
    let chronicle = std::mem::take(&mut outcome.chronicle);
    let mut summary = judge(&args, &job.plan, outcome, &info, &start.environment);
    let thresholds = summary.thresholds.len();
    let chapters = vec![Chapter::of(&job.plan, thresholds, chronicle, start.source)];
    let mut kept = Ok(());
    if let Some(baseline) = &baseline {
        let found = baseline.judge(&summary);
        kept = sealed.map_or(Ok(()), |sealed| sealed.baseline(&found));
        summary.set_against(found, args.fail_on == FailOn::Warn);
    }
    let code = tell(&args, &folder, &Story { summary, chapters })?;
    kept.map(|()| code).map_err(report::not_written)
}

/// A run that has ended.
struct Done {
    outcome: RunOutcome,
    /// What it was to do.
    start: record::Start,
    /// Its record, unless that has failed, which its causes say.
    sealed: Option<Sealed>,
}

/// A workload that is going to run, with everything that is known before anything is opened.
struct Job {
    program: Program,
    plan: Arc<Plan>,
    allowed: Allowed,
    /// Processes under test.
    targets: Vec<TargetPlan>,
}

impl Job {
    fn of(args: &RunArgs) -> Result<Self, Failed> {
        let allowed = Allowed::parse(&args.allow)?;
        let targets = target::declared(&args.targets)?;
        let own = lock::source(&args.workload.workload);
        let pin = Pins::of(args)?.map(|pins| pins.pin(&own)).transpose()?;
        let program = load::pinned(&args.workload, &grants(&allowed, &args.backends), pin)?;
        let once = args.trace.then(|| once(args, &program)).transpose()?;
        let scenario = once.as_ref().unwrap_or(&args.scenario);
        let mut plan = load::plan(&program, &args.workload, scenario, args.timeout)?;
        if database::has_connections(args.backends.database()) {
            plan.share_connections(scenario.shards).map_err(load::configuration)?;
        }
        Ok(Self { program, plan: Arc::new(plan), allowed, targets })
    }

    /// Opens what it takes, runs it, and closes it.
    async fn perform(
        &self,
        args: &RunArgs,
        folder: &Path,
        info: RunInfo,
        hidden: Vec<String>,
    ) -> Result<Done, Failed> {
        let Self { program, plan, allowed, targets } = self;
        let mut backends = Backends::open(backends::Opening {
            bus: args.backends.bus(),
            database: args.backends.database(),
            schema: args.backends.database_schema.as_deref(),
            existing_data: allowed.existing_data,
            run: &info.id,
            prefix: None,
            directory: folder.to_owned(),
            shards: plan.shards,
            limits: &plan.limits,
        })
        .await?;
        let (environment, source) = (backends.environment(), program.source());
        let fail_on_warn = args.fail_on == FailOn::Warn;
        let start = record::Start::new(plan, info, environment, fail_on_warn, source, &hidden);
        let ready = match backends.guard(program, allowed.superuser) {
            Ok(()) => backends.start(targets.clone(), &start.run.id, folder).await,
            Err(failed) => Err(failed),
        };
        let journal = ready.and_then(|()| {
            Journal::open(folder, &start, args.durable).map_err(report::not_written)
        });
        let journal = match journal {
            Ok(journal) => journal,
            Err(failed) => {
                backends.close().await;
                return Err(failed);
            }
        };
        let stop = StopSignal::new();
        let watching = signals::watch(stop.clone());
        let kept = Kept { journal, hidden, baseline: args.baseline.is_some() };
        let (outcome, sealed) = drive(args, plan, program, &mut backends, stop, kept).await;
        watching.abort();
        backends.close().await;
        Ok(Done { outcome, start, sealed })
    }
}

/// What is secret, and which run it is that must not tell it.
fn known(
    args: &RunArgs,
    program: &Program,
    id: String,
    started: jiff::Timestamp,
) -> Result<(Vec<String>, RunInfo), Failed> {
    let hidden = load::hidden(&args.workload, &[args.backends.bus(), args.backends.database()])?;
    let workloads = vec![workload_info(&args.workload, program)];
    let info = RunInfo { workloads, ..run_info(id, started, &hidden) };
    Ok((hidden, info))
}

/// Which run, as far as that is known at its start.
pub fn run_info(id: String, started: jiff::Timestamp, hidden: &[String]) -> RunInfo {
    RunInfo {
        id,
        started: started.to_string(),
        command: Names::hiding(hidden.iter().cloned()).cover(&command_line()).into_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: record::revision(Path::new(".")),
        ..RunInfo::default()
    }
}

/// What `--trace` runs: the scenario that `--scenario` names, else the plan's first, with one VU, once.
///
/// A scenario is chosen always, because only then its `exec`, `env` and tags are kept.
fn once(args: &RunArgs, program: &Program) -> Result<ScenarioArgs, Failed> {
    let ScenarioArgs { scenario, seed, tags, .. } = &args.scenario;
    let chosen = ScenarioArgs {
        scenario: scenario.clone(),
        seed: *seed,
        tags: tags.clone(),
        ..ScenarioArgs::default()
    };
    let plan = load::plan(program, &args.workload, &chosen, args.timeout)?;
    let first = plan.scenarios.first().map(|scenario| scenario.name.clone());
    Ok(ScenarioArgs { vus: Some(1), iterations: Some(1), scenario: first, ..chosen })
}

/// What a component may use: everything that is embedded, and what was allowed.
fn grants(allowed: &Allowed, backends: &BackendArgs) -> load::Reach {
    load::Reach::Hand {
        foreign_bus: (backends.bus() != "embedded").then(|| allowed.bus.clone()),
        foreign_database: (backends.database() != "embedded").then_some(allowed.database),
        targets: allowed.targets.clone(),
    }
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failed::new(Cause::Internal, Diagnostic::new(format!("no runtime: {error}")))
    })
}

/// What a run leaves behind, and what must not be in there.
pub struct Kept {
    /// Its record.
    pub journal: Journal,
    /// What is secret.
    pub hidden: Vec<String>,
    /// Whether it will be set against a baseline.
    pub baseline: bool,
}

/// Runs a plan on backends that are open, and keeps its record, if that can be kept.
pub async fn drive(
    args: &RunArgs,
    plan: &Arc<Plan>,
    program: &Program,
    backends: &mut Backends,
    stop: StopSignal,
    kept: Kept,
) -> (RunOutcome, Option<Sealed>) {
    let Kept { journal, hidden, baseline } = kept;
    let (screen, events) = Screen::start(&args.screen);
    let mut outcome = crate::run::run(RunInput {
        plan: Arc::clone(plan),
        workload: Arc::new(program.clone()),
        bus: backends.bus.clone(),
        database: backends.database.clone(),
        targets: backends.targets.clone(),
        clock: Clock::real(),
        events,
        stop,
        trace: args.trace,
        hidden,
        tape: Some(journal.tape()),
    })
    .await;
    screen.finish();
    outcome.facts.causes.extend(backends.failures());
    outcome.facts.remarks.extend(plan.notes.iter().cloned());
    let RunOutcome { facts, complete, start, .. } = &outcome;
    let ending = Ending { facts, complete: *complete, start: *start, baseline };
    let kept = journal.finish(ending);
    let sealed = match kept {
        Ok(sealed) => Some(sealed),
        Err(error) => {
            not_kept(&mut outcome.facts.causes, &error);
            None
        }
    };
    (outcome, sealed)
}

/// That the record of a run is not whole is a cause like any other; it may have been told.
fn not_kept(causes: &mut Vec<(Cause, String)>, error: &RecordError) {
    if causes.iter().all(|(cause, _)| *cause != Cause::NotWritten) {
        causes.push((Cause::NotWritten, error.to_string()));
        causes.sort_by_key(|(cause, _)| *cause);
    }
}

pub fn workload_info(workload: &WorkloadArgs, program: &Program) -> WorkloadInfo {
    let description = program.describe();
    WorkloadInfo {
        path: workload.workload.display().to_string(),
        digest: description.digest.clone(),
        name: description.name.clone(),
        version: description.version.clone(),
        kind: match program {
            Program::Script(_) => "script".to_owned(),
            Program::Component(_) => "component".to_owned(),
        },
        ..WorkloadInfo::default()
    }
}

/// How the tool was called, passwords in URLs blacked out.
fn command_line() -> String {
    let words: Vec<String> =
        std::env::args_os().map(|word| without_password(&word.to_string_lossy())).collect();
    words.join(" ")
}

fn without_password(word: &str) -> String {
    let Some((before, rest)) = word.split_once("://") else { return word.to_owned() };
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    match authority.rsplit_once('@') {
        Some((user, _)) => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{before}://{name}:***{}", &rest[user.len()..])
        }
        None => word.to_owned(),
    }
}

fn judge(
    args: &RunArgs,
    plan: &Plan,
    mut outcome: RunOutcome,
    run: &RunInfo,
    environment: &Environment,
) -> Summary {
    let judgement = outcome.judge.finish(outcome.start, &outcome.facts);
    Summary::build(SummaryInput {
        plan,
        names: &outcome.names,
        totals: outcome.judge.totals(),
        judgement: &judgement,
        fail_on_warn: args.fail_on == FailOn::Warn,
        facts: &outcome.facts,
        run,
        environment,
        backend: None,
    })
}

/// Prints the summary and writes it to its files.
pub fn tell(args: &RunArgs, folder: &Path, story: &Story) -> Result<ExitCode, Failed> {
    let summary = &story.summary;
    if args.screen.quiet {
        let page = terminal::render(summary, terminal::Options { color: false, long: false });
        out(page.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default());
    } else {
        report::show(summary, args.screen.color);
    }
    let text = json::render(summary);
    folder::write(&folder.join("summary.json"), &text)?;
    if let Some(path) = &args.summary_export {
        folder::write(path, &text)?;
    }
    args.reports.write(story)?;
    Ok(ExitCode::from(summary.verdict.exit_code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_stays_in_the_command_line() {
        assert_eq!(without_password("nats://me:hush@host:4222"), "nats://me:***@host:4222");
        assert_eq!(
            without_password("postgres://me:h@sh@host/db?x=y"),
            "postgres://me:***@host/db?x=y"
        );
        assert_eq!(without_password("--bus=nats://host:4222"), "--bus=nats://host:4222");
        assert_eq!(without_password("script.rhai"), "script.rhai");
    }
}
