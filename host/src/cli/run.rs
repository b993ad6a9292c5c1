//! `wavetank run`: from the command line to a judged summary and an exit code.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use super::{
    Failed,
    allow::Allowed,
    args::{BackendArgs, ColorMode, FailOn, RunArgs, ScenarioArgs},
    folder, forecast, load, machine,
    print::{out, paint, say},
    progress::Screen,
    signals, target,
};
use crate::{
    clock::Clock,
    diagnostic::Diagnostic,
    plan::Plan,
    primitive::{bus, database},
    report::{json, terminal},
    run::{
        RunInput, RunOutcome, StopSignal,
        summary::{Environment, RunInfo, Summary, SummaryInput, WorkloadInfo},
    },
    verdict::Cause,
    workload::Program,
};

/// Bus and database of a run.
struct Backends {
    bus: bus::Source,
    database: database::Source,
}

/// Runs the subcommand.
pub fn run(args: RunArgs) -> Result<ExitCode, Failed> {
    let allowed = Allowed::parse(&args.allow)?;
    let declared = target::declared(&args.targets)?;
    let program = load::program(&args.workload, &grants(&allowed, &args.backends))?;
    let once = args.trace.then(|| once(&args, &program)).transpose()?;
    let scenario = once.as_ref().unwrap_or(&args.scenario);
    let mut plan = load::plan(&program, &args.workload, scenario, args.timeout)?;
    if database::has_connections(&args.backends.database) {
        plan.share_connections(scenario.shards).map_err(load::configuration)?;
    }
    let plan = Arc::new(plan);
    if args.dry_run {
        out(&forecast::render(&plan));
        return Ok(ExitCode::SUCCESS);
    }
    let started = jiff::Timestamp::now();
    let id = folder::run_id(&plan.name, started);
    let folder = folder::make(args.out.as_deref(), &id)?;
    let runtime = runtime()?;
    let (backends, outcome) = runtime.block_on(async {
        let backends = open(&args, &allowed, &plan, &id, folder.clone()).await?;
        guard(&allowed, &program, &backends)?;
        let targets =
            target::open(declared, &backends.bus, &backends.database, &id, &folder).await?;
        let outcome = drive(&args, &plan, &program, &backends, targets.as_ref()).await;
        if let Some(targets) = targets {
            targets.close().await;
        }
        Ok((backends, outcome))
    })?;
    let environment = environment(&backends);
    let info = RunInfo {
        id,
        started: started.to_string(),
        command: command_line(),
        workloads: vec![workload_info(&args, &program)],
        version: env!("CARGO_PKG_VERSION").to_owned(),
        complete: outcome.complete,
        ..RunInfo::default()
    };
    runtime.block_on(close(&backends.bus, &backends.database));
    let summary = judge(&args, &plan, outcome, &info, &environment);
    report(&args, &folder, &summary)
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

/// Refuses a database user who could leave the database.
fn guard(allowed: &Allowed, program: &Program, backends: &Backends) -> Result<(), Failed> {
    let Some(objection) = backends.database.privileges().objection().filter(|_| !allowed.superuser)
    else {
        return Ok(());
    };
    let cause = match program {
        Program::Script(_) => Cause::Configuration,
        Program::Component(_) => Cause::PluginRefused,
    };
    Err(Failed::new(cause, Diagnostic::new(objection)))
}

/// What a component may use: everything that is embedded, and what was allowed.
fn grants(allowed: &Allowed, backends: &BackendArgs) -> load::Reach {
    load::Reach {
        foreign_bus: (backends.bus != "embedded").then(|| allowed.bus.clone()),
        foreign_database: (backends.database != "embedded").then_some(allowed.database),
        targets: allowed.targets.clone(),
    }
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failed::new(Cause::Internal, Diagnostic::new(format!("no runtime: {error}")))
    })
}

async fn open(
    args: &RunArgs,
    allowed: &Allowed,
    plan: &Plan,
    id: &str,
    directory: PathBuf,
) -> Result<Backends, Failed> {
    let bus = bus::Source::open_with_files(
        bus::OpenInput {
            address: args.backends.bus.clone(),
            run: id.to_owned(),
            search_path: search_path(),
        },
        nats_files(),
    )
    .await
    .map_err(|error| Failed::new(Cause::Unreachable, Diagnostic::new(error.to_string())))?;
    let database = database::Source::open_with(database::Opening {
        address: args.backends.database.clone(),
        schema: args.backends.database_schema.clone(),
        allow_existing: allowed.existing_data,
        keep_schema: false,
        directory,
        run: id.to_owned(),
        shards: plan.shards,
        limits: plan.limits.clone(),
    })
    .await
    .map_err(|error| Failed::new(Cause::Unreachable, Diagnostic::new(error.to_string())))?;
    Ok(Backends { bus, database })
}

/// Takes away what was made for this process alone; what stays behind is named.
pub async fn close(bus: &bus::Source, database: &database::Source) {
    bus.close().await;
    if let Err(error) = database.close().await {
        say(&format!("wavetank: the database is not cleaned up: {error}"));
    }
}

/// `PATH`, where `nats-server` is looked for.
pub fn search_path() -> Option<std::ffi::OsString> {
    std::env::var_os("PATH")
}

/// Credentials and certificates, as NATS tools take them.
pub fn nats_files() -> bus::Files {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    bus::Files {
        credentials: path("NATS_CREDS"),
        authority: path("NATS_CA"),
        certificate: path("NATS_CERT"),
        key: path("NATS_KEY"),
    }
}

async fn drive(
    args: &RunArgs,
    plan: &Arc<Plan>,
    program: &Program,
    backends: &Backends,
    targets: Option<&crate::target::Source>,
) -> RunOutcome {
    let (screen, events) = Screen::start(&args.screen);
    let stop = StopSignal::new();
    let watching = signals::watch(stop.clone());
    let outcome = crate::run::run(RunInput {
        plan: Arc::clone(plan),
        workload: Arc::new(program.clone()),
        bus: backends.bus.clone(),
        database: backends.database.clone(),
        targets: targets.cloned(),
        clock: Clock::real(),
        events,
        stop,
        trace: args.trace,
    })
    .await;
    watching.abort();
    screen.finish();
    outcome
}

fn environment(backends: &Backends) -> Environment {
    let facts = machine::facts();
    let fact = |name: &str| facts.get(name).cloned().unwrap_or_default();
    Environment {
        os: fact("os"),
        kernel: fact("kernel"),
        cpu: fact("cpu"),
        cores: machine::cores() as u32,
        ram_bytes: fact("ram_bytes").parse().unwrap_or(0),
        clock_source: fact("clock_source"),
        bus: backends.bus.describe(),
        database: backends.database.describe(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn workload_info(args: &RunArgs, program: &Program) -> WorkloadInfo {
    let description = program.describe();
    WorkloadInfo {
        path: args.workload.workload.display().to_string(),
        digest: format!("sha256:{}", description.digest),
        name: description.name.clone(),
        version: description.version.clone(),
        kind: match program {
            Program::Script(_) => "script".to_owned(),
            Program::Component(_) => "component".to_owned(),
        },
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
    outcome.facts.remarks.extend(plan.notes.iter().cloned());
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
    })
}

fn report(args: &RunArgs, folder: &std::path::Path, summary: &Summary) -> Result<ExitCode, Failed> {
    let color = match args.screen.color {
        ColorMode::Always => true,
        ColorMode::Never => false,
        ColorMode::Auto => std::io::IsTerminal::is_terminal(&std::io::stdout()),
    };
    let page = terminal::render(summary, terminal::Options { color, long: false });
    if args.screen.quiet {
        out(page.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default());
    } else {
        paint(&page, color);
    }
    let text = json::render(summary);
    folder::write(&folder.join("summary.json"), &text)?;
    if let Some(path) = &args.summary_export {
        folder::write(path, &text)?;
    }
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
