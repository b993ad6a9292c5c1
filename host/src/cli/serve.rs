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
    plan::{Giver, Grants, Plan, lock::Pin},
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
/// Characters of a subject.
const SUBJECT: usize = 200;

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
    let reach = reach(&args, &allowed)?;
    let pin = args.digest.as_deref().map(Pin::alone);
    let program = load::pinned(&args.workload, &reach, pin)?;
    let plan = Arc::new(load::service(&program, &args.workload)?);
    let name = name(&args, &program, &plan);
    check_subjects(&name, &plan, &program, &reach.grants())?;
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

fn reach(args: &ServeArgs, allowed: &Allowed) -> Result<load::Reach, Failed> {
    let backends = &args.backends;
    if let Some(grants) = &args.grants {
        let grants = serde_json::from_str(grants).map_err(|error| {
            load::configuration(
                Diagnostic::new(format!("--grants: {error}"))
                    .help("a suite writes it; by hand, use --allow"),
            )
        })?;
        return Ok(load::Reach::Suite(grants));
    }
    let own = backends.database() == "embedded"
        || (!backends.database().starts_with("sqlite:") && backends.database_schema.is_none());
    Ok(load::Reach::Hand {
        foreign_bus: Some(allowed.bus.clone()),
        foreign_database: (!own).then_some(allowed.database),
        targets: Vec::new(),
    })
}

/// Refuses a service that wants to answer what is not its own. By hand, a component names the subjects that it
/// answers itself, and those of everyone are not among them; in a suite, all of them are granted.
pub fn check_subjects(
    name: &str,
    plan: &Plan,
    program: &Program,
    grants: &Grants,
) -> Result<(), Failed> {
    let refused = |what: String, help: String| {
        let message = format!("the service `{name}` wants to answer {what}");
        Err(Failed::new(Cause::PluginRefused, Diagnostic::new(message).help(help)))
    };
    let shown = |subject: &str| printable(subject, SUBJECT);
    if let Some(subject) = plan.services.keys().find(|subject| bus::is_reserved(subject)) {
        let what = format!("`{}`, which is reserved", shown(subject));
        let help = "such subjects are the server's and the host's: choose another";
        return refused(what, help.to_owned());
    }
    if matches!(program, Program::Script(_)) {
        return Ok(());
    }
    let granted =
        |subject: &str| grants.subscribe.iter().any(|it| it == ">" || bus::contains(it, subject));
    let mut others = plan.services.keys().filter(|subject| !granted(subject));
    match grants.giver {
        Giver::Hand => match others.find(|subject| subject.starts_with(['*', '>'])) {
            None => Ok(()),
            Some(subject) => {
                let what = format!("`{}`, which are everyone's messages", shown(subject));
                refused(what, format!("allow it with `--allow bus={}`", shown(subject)))
            }
        },
        Giver::Suite => {
            let others: Vec<_> = others.collect();
            let Some(first) = others.first().map(|first| shown(first)) else { return Ok(()) };
            let what = match others.len() {
                1 => format!("\"{first}\", which it is not granted"),
                many => format!("\"{first}\" and {} more, which it is not granted", many - 1),
            };
            refused(what, grants.line_to_add("", "subscribe", &listed(others)))
        }
    }
}

/// Subjects, as a suite lists them.
pub fn listed<'a>(subjects: impl IntoIterator<Item = &'a String>) -> String {
    let quoted = |subject: &String| format!("\"{}\"", printable(subject, SUBJECT));
    let quoted: Vec<_> = subjects.into_iter().map(quoted).collect();
    format!("[{}]", quoted.join(", "))
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
            name: name(args, program, plan),
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
fn name(args: &ServeArgs, program: &Program, plan: &Plan) -> String {
    if let Some(name) = &args.name {
        return name.clone();
    }
    let given = &program.describe().name;
    let name = if given.is_empty() { &plan.name } else { given };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.chars().take(64).map(|c| if fits(c) { c } else { '_' }).collect()
}
