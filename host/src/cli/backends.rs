//! Where a run takes place: bus, database, and the services of a suite. Opened and closed here, used by
//! runs; in a suite one of these may see several runs.
//!
//! On the embedded bus the services of a suite live inside the runner, each on a thread of its own; on any
//! other each is a target of its own: `wavetank serve`, in a process that is sampled and can be stopped.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    Failed, args::WorkloadArgs, load, machine, print::say, serve::check_subjects, target as targets,
};
use crate::{
    clock::Clock,
    diagnostic::Diagnostic,
    plan::{
        Backend, Limits, Plan, Ready, TargetPlan, TargetSource, TargetStop, lock::Pin,
        suite::Service,
    },
    primitive::{bus, database},
    report::printable::printable,
    run::{
        Hosted, ServeInput, StopSignal,
        event::Event,
        summary::{Environment, FileInfo},
    },
    target,
    verdict::Cause,
    workload::Program,
};

/// Lines of services that may wait to be printed.
const QUEUE: usize = 1_024;
/// Characters of a line.
const LINE: usize = 4_096;
/// How long a service's process may take until it answers.
const READY: Duration = Duration::from_secs(30);

/// Bus, database, targets and services.
pub struct Backends {
    pub bus: bus::Source,
    pub database: database::Source,
    pub targets: Option<target::Source>,
    hosted: Vec<Hosted>,
}

/// What they are opened with.
pub struct Opening<'a> {
    /// `--bus`
    pub bus: &'a str,
    /// `--db`
    pub database: &'a str,
    /// `--db-schema`
    pub schema: Option<&'a str>,
    /// `--allow existing-data`
    pub existing_data: bool,
    /// The run's id.
    pub run: &'a str,
    /// What all subjects begin with on a server that others may use.
    pub prefix: Option<String>,
    /// Where the embedded database lives.
    pub directory: PathBuf,
    /// Over how many shards database connections are shared out.
    pub shards: usize,
    pub limits: &'a Limits,
}

/// A service that is to run beside the workloads of a suite.
pub struct ServiceInput {
    pub declared: Service,
    workload: WorkloadArgs,
    program: Program,
    plan: Arc<Plan>,
}

/// This machine, without a bus and a database.
pub fn machine_here() -> Environment {
    let facts = machine::facts();
    let fact = |name: &str| facts.get(name).cloned().unwrap_or_default();
    Environment {
        os: fact("os"),
        kernel: fact("kernel"),
        cpu: fact("cpu"),
        cores: machine::cores() as u32,
        ram_bytes: fact("ram_bytes").parse().unwrap_or(0),
        clock_source: fact("clock_source"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Environment::default()
    }
}

/// What rows say of bus and database addresses.
pub fn backend(bus: &str, database: &str) -> Backend {
    match (bus, database::has_connections(database)) {
        ("embedded", _) => Backend::E,
        (_, false) => Backend::S,
        (_, true) => Backend::P,
    }
}

impl Backends {
    /// Opens bus and database.
    pub async fn open(opening: Opening<'_>) -> Result<Self, Failed> {
        let bus = open_bus(opening.bus, opening.run, opening.prefix).await?;
        let database = open_database(database::Opening {
            address: opening.database.to_owned(),
            schema: opening.schema.map(str::to_owned),
            allow_existing: opening.existing_data,
            keep_schema: false,
            directory: opening.directory,
            run: opening.run.to_owned(),
            shards: opening.shards,
            limits: opening.limits.clone(),
        })
        .await?;
        Ok(Self { bus, database, targets: None, hosted: Vec::new() })
    }

    /// Makes streams, where the bus has any.
    pub async fn make_streams(&self, streams: &[(String, Vec<String>)]) -> Result<(), Failed> {
        if streams.is_empty() {
            return Ok(());
        }
        let failed = |name: &str, error: &dyn std::fmt::Display| {
            unreachable(format!("the stream `{name}` could not be made: {error}"))
        };
        let connection = self.bus.connect("wavetank streams").await;
        let connection = connection.map_err(|error| failed("", &error))?;
        for (name, subjects) in streams {
            let (name, subjects) = (name.clone(), subjects.clone());
            let spec = bus::StreamSpec { name, subjects, ..bus::StreamSpec::default() };
            let made = connection.ensure_stream_raw(&spec).await;
            made.map_err(|failure| failed(&spec.name, &failure))?;
        }
        Ok(())
    }

    /// Starts targets and waits until they are ready.
    pub async fn start(
        &mut self,
        plans: Vec<TargetPlan>,
        run: &str,
        folder: &Path,
    ) -> Result<(), Failed> {
        self.targets = targets::open(plans, &self.bus, &self.database, run, folder).await?;
        Ok(())
    }

    /// A service as a target: this program, serving in a process of its own.
    pub fn as_target(&self, service: &ServiceInput, superuser: bool) -> TargetPlan {
        let program = machine::this_program();
        let mut words = vec![program.display().to_string(), "serve".to_owned()];
        words.push(service.workload.workload.display().to_string());
        let mut flag = |name: &str, value: String| words.extend([name.to_owned(), value]);
        flag("--name", service.declared.name.clone());
        // What was looked at is what is run, and what the record names.
        flag("--digest", service.program.describe().digest.clone());
        flag("--concurrency", service.declared.concurrency.to_string());
        for (name, value) in &service.workload.parameters {
            flag("--param", format!("{name}={value}"));
        }
        for (name, value) in &service.workload.limits {
            flag("--limit", format!("{name}={value}"));
        }
        let grants = serde_json::to_string(&service.declared.grants);
        flag("--grants", grants.expect("it is made of words and lists"));
        // The run's schema is there already, and has what other services made.
        flag("--allow", "existing-data".to_owned());
        if superuser {
            flag("--allow", "superuser".to_owned());
        }
        let schema = self.database.schema();
        let env = schema.map(|schema| ("WAVETANK_DB_SCHEMA".to_owned(), schema.to_owned()));
        TargetPlan {
            name: service.declared.name.clone(),
            source: TargetSource::Command {
                words,
                env: env.into_iter().collect::<BTreeMap<_, _>>(),
                directory: None,
            },
            ready: vec![Ready::Line("ready: ".to_owned())],
            ready_timeout: READY,
            stop: TargetStop::default(),
            allow_stop: false,
        }
    }

    /// Starts a service inside this process; it answers when this returns.
    /// What is hidden is told by none of its lines.
    pub async fn host(&mut self, service: &ServiceInput, hidden: &[String]) -> Result<(), Failed> {
        let (events, shown) = mpsc::channel(QUEUE);
        tokio::spawn(show(service.declared.name.clone(), shown));
        let run = self.bus.run().map(str::to_owned);
        let hosted = Hosted::start(ServeInput {
            hidden: hidden.to_vec(),
            plan: Arc::clone(&service.plan),
            workload: Arc::new(service.program.clone()),
            bus: self.bus.clone(),
            database: self.database.clone(),
            clock: Clock::real(),
            trace: false,
            events,
            stop: StopSignal::new(),
            name: service.declared.name.clone(),
            instance: service.declared.name.clone(),
            run,
            concurrency: service.declared.concurrency as usize,
            inside: true,
            instances_stop: matches!(service.program, Program::Component(_)),
        })
        .await
        .map_err(|(cause, text)| Failed::new(cause, Diagnostic::new(printable(&text, LINE))))?;
        self.hosted.push(hosted);
        Ok(())
    }

    /// Services that ended though nobody asked them to.
    pub fn failures(&mut self) -> Vec<(Cause, String)> {
        self.hosted.iter_mut().filter_map(Hosted::failure).collect()
    }

    /// Stops what was started and takes away what was made; what stays behind is named.
    pub async fn close(self) {
        if let Some(targets) = &self.targets {
            targets.close().await;
        }
        for hosted in self.hosted {
            if let Err((_, text)) = hosted.stop().await {
                say(&format!("wavetank: {}", printable(&text, LINE)));
            }
        }
        close(&self.bus, &self.database).await;
    }

    /// Where the run took place, for its summary.
    pub fn environment(&self) -> Environment {
        Environment {
            bus: self.bus.describe(),
            subjects: self.bus.subjects(),
            database: self.database.describe(),
            ..machine_here()
        }
    }

    /// Refuses a database user who could leave the database.
    pub fn guard(&self, program: &Program, superuser: bool) -> Result<(), Failed> {
        let objection = self.database.privileges().objection().filter(|_| !superuser);
        let Some(objection) = objection else { return Ok(()) };
        let cause = match program {
            Program::Script(_) => Cause::Configuration,
            Program::Component(_) => Cause::PluginRefused,
        };
        Err(Failed::new(cause, Diagnostic::new(objection)))
    }
}

impl ServiceInput {
    /// What it was loaded from, for the record.
    pub fn file(&self) -> FileInfo {
        FileInfo {
            path: self.workload.workload.display().to_string(),
            digest: self.program.describe().digest.clone(),
            kind: "service".to_owned(),
        }
    }

    /// Loads a service of a suite.
    pub fn load(
        service: &Service,
        workload: WorkloadArgs,
        pin: Option<Pin>,
    ) -> Result<Self, Failed> {
        let reach = load::Reach::Suite(service.grants.clone());
        let program = load::pinned(&workload, &reach, pin)?;
        let plan = Arc::new(load::service(&program, &workload)?);
        check_subjects(&service.name, &plan, &program, &service.grants)?;
        let declared = service.clone();
        Ok(Self { declared, workload, program, plan })
    }
}

/// Takes away what was made for this process alone; what stays behind is named.
pub async fn close(bus: &bus::Source, database: &database::Source) {
    bus.close().await;
    if let Err(error) = database.close().await {
        say(&format!("wavetank: the database is not cleaned up: {error}"));
    }
}

/// Opens a bus; credentials and certificates are taken from where NATS tools take them.
pub async fn open_bus(
    address: &str,
    run: &str,
    prefix: Option<String>,
) -> Result<bus::Source, Failed> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let files = bus::Files {
        credentials: path("NATS_CREDS"),
        authority: path("NATS_CA"),
        certificate: path("NATS_CERT"),
        key: path("NATS_KEY"),
    };
    let input = bus::OpenInput {
        address: address.to_owned(),
        run: run.to_owned(),
        // Where `nats-server` is looked for.
        search_path: std::env::var_os("PATH"),
        prefix,
    };
    let opened = bus::Source::open_with_files(input, files).await;
    opened.map_err(|error| unreachable(error.to_string()))
}

/// Opens a database.
pub async fn open_database(opening: database::Opening) -> Result<database::Source, Failed> {
    let opened = database::Source::open_with(opening).await;
    opened.map_err(|error| unreachable(error.to_string()))
}

fn unreachable(text: String) -> Failed {
    Failed::new(Cause::Unreachable, Diagnostic::new(text))
}

/// What a service says, by its name.
async fn show(name: String, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Log(line) => say(&format!("{name}: {}", printable(&line.text, LINE))),
            Event::Note(note) => say(&format!("{name}: {}", printable(&note, LINE))),
            Event::Phase(_) | Event::Progress(_) => {}
        }
    }
}
