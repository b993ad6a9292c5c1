//! `wavetank serve`: the services of a workload on a bus, until stopped.
//!
//! Bus and database are those that the command names. What the process makes for itself it may use
//! freely: the embedded database (a file that ends with it) and, on PostgreSQL, a schema of its own
//! (`wavetank_serve_<time>_<name>`, dropped at the end). What is someone else's, a `sqlite:PATH` or a
//! `--db-schema`, a component uses with `--allow db`; that is also what keeps data beyond the process.

use std::{
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use tokio::sync::mpsc;

use super::{
    Failed,
    allow::Allowed,
    args::{BackendArgs, ServeArgs},
    backends::{self, close},
    folder, load,
    print::say,
    run::runtime,
    signals,
};
use crate::{
    clock::Clock,
    diagnostic::Diagnostic,
    plan::{Plan, lock::Pin},
    primitive::{bus, database},
    report::printable::printable,
    run::{self, ServeInput, StopSignal, event::Event},
    verdict::Cause,
    workload::Program,
};

/// Lines that may wait to be printed.
const QUEUE: usize = 1_024;
/// Characters of a line.
const LINE: usize = 4_096;

/// Runs the subcommand.
pub fn serve(args: ServeArgs) -> Result<ExitCode, Failed> {
    let allowed = Allowed::parse(&args.allow)?;
    if args.backends.bus() == "embedded" {
        return Err(load::configuration(
            Diagnostic::new("a service on the embedded bus reaches nobody").help(
                "name a server with --bus nats://host:port, or start one with --bus nats-server",
            ),
        ));
    }
    let reach = reach(&allowed, &args.backends);
    let pin = args.digest.as_deref().map(Pin::alone);
    let program = load::pinned(&args.workload, &reach, pin)?;
    let plan = Arc::new(load::service(&program, &args.workload)?);
    check_subjects(&plan, &program, &allowed)?;
    runtime()?.block_on(async {
        let id = format!("serve_{}", folder::run_id(&plan.name, jiff::Timestamp::now()));
        let directory = Directory::make(&id, &args.backends)?;
        let bus = backends::open_bus(args.backends.bus(), &id, None).await?;
        let database = open_database(&args, &allowed, &plan, &id, &directory).await?;
        let result = match objection(&database, &allowed) {
            Some(failed) => Err(failed),
            None => drive(&args, &plan, &program, &bus, &database, id).await,
        };
        close(&bus, &database).await;
        result
    })
}

fn reach(allowed: &Allowed, backends: &BackendArgs) -> load::Reach {
    let own = backends.database() == "embedded"
        || (!backends.database().starts_with("sqlite:") && backends.database_schema.is_none());
    load::Reach::Hand {
        foreign_bus: Some(allowed.bus.clone()),
        foreign_database: (!own).then_some(allowed.database),
        targets: Vec::new(),
    }
}

/// A component names the subjects that it answers itself: those of others are not among them.
fn check_subjects(plan: &Plan, program: &Program, allowed: &Allowed) -> Result<(), Failed> {
    let refused = |subject: &str, why: &str, help: String| {
        let message = format!("the service wants to answer `{}`, {why}", printable(subject, 200));
        Failed::new(Cause::PluginRefused, Diagnostic::new(message).help(help))
    };
    for subject in plan.services.keys() {
        if bus::is_reserved(subject) {
            let help = "such subjects are the server's and the host's: choose another".to_owned();
            return Err(refused(subject, "which is reserved", help));
        }
        let everything = subject.starts_with(['*', '>']);
        let granted = allowed.bus.iter().any(|pattern| bus::contains(pattern, subject));
        if everything && !granted && matches!(program, Program::Component(_)) {
            let help = format!("allow it with `--allow bus={}`", printable(subject, 200));
            return Err(refused(subject, "which are everyone's messages", help));
        }
    }
    Ok(())
}

/// Where the embedded database lives; gone with the process.
struct Directory(Option<PathBuf>);

impl Directory {
    fn make(id: &str, backends: &BackendArgs) -> Result<Self, Failed> {
        if backends.database() != "embedded" {
            return Ok(Self(None));
        }
        let path = std::env::temp_dir().join(format!("wavetank_{id}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|error| {
            let message = format!("a folder for the database, `{}`: {error}", path.display());
            Failed::new(Cause::NotWritten, Diagnostic::new(message).help("set TMPDIR, or use --db"))
        })?;
        Ok(Self(Some(path)))
    }

    fn path(&self) -> PathBuf {
        self.0.as_deref().unwrap_or(Path::new(".")).to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Of a folder for temporary files nothing worse can be said than that it stays.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

async fn open_database(
    args: &ServeArgs,
    allowed: &Allowed,
    plan: &Plan,
    id: &str,
    directory: &Directory,
) -> Result<database::Source, Failed> {
    backends::open_database(database::Opening {
        address: args.backends.database().to_owned(),
        schema: args.backends.database_schema.clone(),
        allow_existing: allowed.existing_data,
        keep_schema: false,
        directory: directory.path(),
        run: id.to_owned(),
        shards: 1,
        limits: plan.limits.clone(),
    })
    .await
}

fn objection(database: &database::Source, allowed: &Allowed) -> Option<Failed> {
    let objection = database.privileges().objection().filter(|_| !allowed.superuser)?;
    Some(Failed::new(Cause::PluginRefused, Diagnostic::new(objection)))
}

async fn drive(
    args: &ServeArgs,
    plan: &Arc<Plan>,
    program: &Program,
    bus: &bus::Source,
    database: &database::Source,
    id: String,
) -> Result<ExitCode, Failed> {
    let (events, mut shown) = mpsc::channel(QUEUE);
    let stop = StopSignal::new();
    let watching = signals::watch(stop.clone());
    let place = bus.describe();
    let place = place.rsplit(" at ").next().unwrap_or_default();
    let serving = run::serve(
        ServeInput {
            hidden: load::hidden(&args.workload, &[args.backends.bus(), args.backends.database()])?,
            plan: Arc::clone(plan),
            workload: Arc::new(program.clone()),
            bus: bus.clone(),
            database: database.clone(),
            clock: Clock::real(),
            trace: false,
            events,
            stop,
            name: args.name.clone().unwrap_or_else(|| name(program, plan)),
            instance: id,
            run: args.run.clone(),
            concurrency: args.concurrency as usize,
            inside: false,
            instances_stop: matches!(program, Program::Component(_)),
        },
        |subjects| say(&format!("ready: {subjects} subjects on {place}")),
    );
    let showing = async {
        while let Some(event) = shown.recv().await {
            match event {
                Event::Log(line) => say(&printable(&line.text, LINE)),
                Event::Note(note) => say(&format!("wavetank: {}", printable(&note, LINE))),
                Event::Phase(_) | Event::Progress(_) => {}
            }
        }
    };
    let (served, ()) = tokio::join!(serving, showing);
    watching.abort();
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err((cause, text)) => Err(Failed::new(cause, Diagnostic::new(printable(&text, LINE)))),
    }
}

/// The service's name, as one token: tag and queue.
fn name(program: &Program, plan: &Plan) -> String {
    let given = &program.describe().name;
    let name = if given.is_empty() { &plan.name } else { given };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.chars().take(64).map(|c| if fits(c) { c } else { '_' }).collect()
}
