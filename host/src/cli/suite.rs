//! `wavetank run suite.toml`: every workload of a suite, one after the other, and one summary of them all.
//!
//! Everything is loaded and planned before anything runs: a mistake in the last workload must not cost the
//! time of those before it. Each workload is a run of its own, judged by itself, whose summary stays in its
//! own folder; what they come to together is joined from their samples.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use super::{
    Failed,
    allow::Allowed,
    args::{ChoiceArgs, FailOn, RunArgs, ScenarioArgs, Tag, WorkloadArgs},
    backends::{self, Backends, ServiceInput},
    baseline::{self, Baseline},
    folder, forecast, load,
    lock::Pins,
    print::{out, say},
    report::not_written,
    run::{Kept, drive, run_info, runtime, tell, workload_info},
    signals,
};
use crate::{
    diagnostic::Diagnostic,
    digest::digest,
    plan::{
        Backend, Plan,
        suite::{Entry, Fresh, Subjects, Suite},
    },
    primitive::database,
    record::{self, Journal, SuiteEnd, SuiteJob, SuiteJournal, SuiteStart},
    report::{json, printable::printable, story::Story},
    run::{
        Chapter, StopLevel, StopSignal,
        summary::{self, FileInfo, Part, RunInfo, SummaryInput},
    },
    verdict::Cause,
    workload::{Program, read_text},
};

/// Whether a path is that of a suite.
pub fn is_one(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

/// Refuses the flags that only a suite has a meaning for.
pub fn refuse_its_flags(args: &RunArgs) -> Result<(), Failed> {
    let flag = match &args.choice {
        ChoiceArgs { rows, .. } if !rows.is_empty() => "--row",
        ChoiceArgs { long: true, .. } => "--long",
        ChoiceArgs { soak: true, .. } => "--soak",
        _ => return Ok(()),
    };
    Err(load::configuration(
        Diagnostic::new(format!("{flag} is about rows, and only a suite has them"))
            .help("run a suite.toml, or leave it out"),
    ))
}

/// A workload that is going to run.
struct Job {
    entry: Entry,
    /// Names its folder.
    name: String,
    workload: WorkloadArgs,
    program: Program,
    plan: Arc<Plan>,
}

impl Job {
    /// What the suite's record says of it before it runs.
    fn planned(&self, backend: Backend) -> SuiteJob {
        let row = |row| summary::not_run(row, &self.entry.name, backend);
        let rows = self.plan.rows.iter().map(row).collect();
        SuiteJob { folder: self.name.clone(), rows }
    }
}

/// Everything of a suite that is known before anything runs.
struct Course {
    suite: Suite,
    /// The suite's folder, from which its paths go.
    folder: PathBuf,
    bus: String,
    database: String,
    backend: Backend,
    services: Vec<ServiceInput>,
    jobs: Vec<Job>,
    /// Rows that do not apply on this backend, and are covered by nothing that runs.
    skipped: Vec<summary::Row>,
    notes: Vec<String>,
    /// What must not get into any text.
    hidden: Vec<String>,
    /// What alone may be run.
    pins: Option<Pins>,
    /// The digest of the suite's file.
    digest: String,
}

/// A workload that has run: its part of the summary, and what happened when.
type Told = (Part, Chapter);

/// Bytes of a suite file.
const MOST_BYTES: u64 = 16 << 20;

/// Reads a suite file; with the digest of what was read.
pub fn read(path: &Path) -> Result<(Suite, String), Failed> {
    let origin = path.display().to_string();
    let text = read_text(path, MOST_BYTES).map_err(|error| {
        load::configuration(
            Diagnostic::new(format!("the suite `{origin}` cannot be read: {error}"))
                .help("name a file that exists"),
        )
    })?;
    let suite = Suite::read(&text, &origin).map_err(load::configuration)?;
    Ok((suite, digest(text.as_bytes())))
}

/// Runs a suite.
pub fn run(args: &RunArgs) -> Result<ExitCode, Failed> {
    refuse_flags_of_one(args)?;
    let allowed = Allowed::parse(&args.allow)?;
    let mut course = Course::plan(args)?;
    if args.dry_run {
        for job in &course.jobs {
            out(&forecast::render(&job.plan));
        }
        return Ok(ExitCode::SUCCESS);
    }
    args.reports.check()?;
    let baseline = Baseline::of(args, &allowed, &course.suite.name)?;
    for job in &mut course.jobs {
        baseline::prepare(Arc::make_mut(&mut job.plan), baseline.as_ref())?;
    }
    let started = jiff::Timestamp::now();
    let id = folder::run_id(&course.suite.name, started);
    let folder = folder::make(args.out.as_deref(), &id)?;
    let info = run_info(id.clone(), started, &course.hidden);
    let start = SuiteStart {
        run: RunInfo { name: course.suite.name.clone(), files: course.files(args), ..info },
        skipped: course.skipped.clone(),
        order: course.suite.workloads.iter().flat_map(|entry| entry.rows.clone()).collect(),
        jobs: course.jobs.iter().map(|job| job.planned(course.backend)).collect(),
        notes: course.notes.clone(),
        fail_on_warn: args.fail_on == FailOn::Warn,
    };
    let journal = SuiteJournal::open(&folder, &start).map_err(not_written)?;
    let (told, cut) = runtime()?.block_on(course.run(args, &allowed, &id, &folder))?;
    let SuiteStart { run, mut skipped, order, notes, fail_on_warn, jobs } = start;
    skipped.extend(jobs.into_iter().skip(told.len()).flat_map(|job| job.rows));
    let (parts, chapters) = told.into_iter().unzip();
    let suite = summary::Suite { run, skipped, order, fail_on_warn, cut: cut.clone() };
    let mut joined = suite.join(parts);
    joined.remarks.extend(notes);
    let found = baseline.map(|baseline| baseline.judge(&joined));
    journal.finish(&SuiteEnd { cut, baseline: found.clone() }).map_err(not_written)?;
    if let Some(found) = found {
        joined.set_against(found, fail_on_warn);
    }
    tell(args, &folder, &Story { summary: joined, chapters })
}

/// Everything that can be said of a suite without running it, on every backend that a row knows.
pub fn findings(args: &RunArgs) -> Vec<Failed> {
    let mut course = match Course::of(args) {
        Ok(course) => course,
        Err(failed) => return vec![failed],
    };
    let mut findings = Vec::new();
    for entry in course.suite.workloads.clone() {
        // Where none of its rows applies it is not loaded: on another backend it is.
        for (_, backend) in Backend::ALL {
            course.backend = *backend;
            if let Err(failed) = course.add(args, &entry) {
                findings.push(failed);
                break;
            }
        }
    }
    findings
}

/// Refuses the flags that replace what one workload says.
fn refuse_flags_of_one(args: &RunArgs) -> Result<(), Failed> {
    let ScenarioArgs { vus, iterations, duration, rate, stages, scenario, .. } = &args.scenario;
    let given = [
        ("--vus", vus.is_some()),
        ("--iterations", iterations.is_some()),
        ("--duration", duration.is_some()),
        ("--rate", rate.is_some()),
        ("--stage", !stages.is_empty()),
        ("--scenario", scenario.is_some()),
        ("--param", !args.workload.parameters.is_empty()),
        ("--trace", args.trace),
        ("--target", !args.targets.is_empty()),
        ("--db-schema", args.backends.database_schema.is_some()),
    ];
    let Some((flag, _)) = given.iter().find(|(_, given)| *given) else { return Ok(()) };
    Err(load::configuration(
        Diagnostic::new(format!("{flag} is about one workload, and a suite has many"))
            .help("run the workload itself, or write it into the suite"),
    ))
}

impl Course {
    /// What it is made of besides its workloads.
    fn files(&self, args: &RunArgs) -> Vec<FileInfo> {
        let suite = FileInfo {
            path: args.workload.workload.display().to_string(),
            digest: self.digest.clone(),
            kind: "suite".to_owned(),
        };
        let mut files = vec![suite];
        files.extend(self.services.iter().map(ServiceInput::file));
        files
    }

    /// Chooses, loads and plans.
    fn plan(args: &RunArgs) -> Result<Self, Failed> {
        let mut course = Self::of(args)?;
        for entry in course.chosen(args)? {
            course.add(args, &entry)?;
        }
        course.note_untold(&args.workload.secret_env);
        Ok(course)
    }

    /// Says which secrets no workload is told: one that waits for its token would fail without a word of why.
    fn note_untold(&mut self, secrets: &[(String, String)]) {
        for (name, _) in secrets {
            let told = self.jobs.iter().any(|job| match &job.program {
                Program::Script(_) => true,
                Program::Component(_) => job.entry.grants.tell(name),
            });
            if !told {
                self.notes.push(format!(
                    "no workload is told the secret `{name}`: add `secrets = [\"{name}\"]` to its `grants`"
                ));
            }
        }
    }

    /// The suite and its services, and nothing that is run.
    fn of(args: &RunArgs) -> Result<Self, Failed> {
        let path = &args.workload.workload;
        let pins = Pins::of(args)?;
        let (suite, digest) = read(path)?;
        if let Some(pins) = &pins {
            pins.check_suite(path, &digest)?;
        }
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let address = |flag: &Option<String>, suite: &Option<String>| {
            flag.clone().or_else(|| suite.clone()).unwrap_or_else(|| "embedded".to_owned())
        };
        let bus = address(&args.backends.bus, &suite.bus);
        let database = address(&args.backends.database, &suite.database);
        let backend = backends::backend(&bus, &database);
        let services = services(&suite, &folder, pins.as_ref(), &args.workload.trust)?;
        let hidden = load::hidden(&args.workload, &[&bus, &database])?;
        Ok(Self {
            folder,
            bus,
            database,
            backend,
            services,
            jobs: Vec::new(),
            skipped: Vec::new(),
            notes: Vec::new(),
            hidden,
            pins,
            digest,
            suite,
        })
    }

    /// The workloads that flags leave.
    fn chosen(&mut self, args: &RunArgs) -> Result<Vec<Entry>, Failed> {
        let ChoiceArgs { rows, long: with_long, soak } = &args.choice;
        for row in rows {
            if !self.suite.rows.contains_key(row) {
                let names: Vec<_> = self.suite.rows.keys().map(String::as_str).collect();
                return Err(load::configuration(
                    Diagnostic::new(format!("the suite has no row `{}`", printable(row, 64)))
                        .help(format!("it has {}", names.join(", "))),
                ));
            }
        }
        let words: Vec<_> = args
            .scenario
            .tags
            .iter()
            .filter_map(|tag| match tag {
                Tag::Word(word) => Some(word),
                Tag::Label(..) => None,
            })
            .collect();
        let mut chosen = Vec::new();
        for entry in &self.suite.workloads {
            let named = entry.rows.iter().any(|row| rows.contains(row));
            let tagged = words.iter().all(|word| entry.tags.contains(word));
            let long =
                !entry.rows.is_empty() && entry.rows.iter().all(|row| self.suite.rows[row].long);
            if !(rows.is_empty() || named) || !tagged || (*soak && entry.soak.is_none()) {
                continue;
            }
            if long && !(*with_long || *soak || named) {
                let rows = entry.rows.join(", ");
                self.notes.push(format!("{rows} is long and was left out: --long runs it"));
                continue;
            }
            chosen.push(entry.clone());
        }
        if chosen.is_empty() {
            return Err(load::configuration(
                Diagnostic::new("the flags leave nothing of the suite to run")
                    .help("see the suite's `rows`, `tags` and `soak`"),
            ));
        }
        Ok(chosen)
    }

    /// Loads and plans a workload, unless none of its rows applies here.
    fn add(&mut self, args: &RunArgs, entry: &Entry) -> Result<(), Failed> {
        let rows: Vec<_> =
            entry.rows.iter().map(|name| self.suite.row(name, self.backend)).collect();
        if !rows.is_empty() && rows.iter().all(|row| row.not_applicable.is_some()) {
            let skipped = rows.iter().map(|row| summary::not_run(row, &entry.name, self.backend));
            self.skipped.extend(skipped);
            return Ok(());
        }
        let mut parameters = entry.parameters.clone();
        if args.choice.soak {
            parameters.extend(entry.soak.clone().unwrap_or_default());
        }
        let workload = WorkloadArgs {
            workload: self.suite.resolve(&self.folder, &entry.workload),
            parameters: parameters.into_iter().collect(),
            secret_env: args.workload.secret_env.clone(),
            limits: limits(entry, args),
            trust: args.workload.trust.clone(),
        };
        let pin = self.pins.as_ref().map(|pins| pins.pin(&entry.workload)).transpose()?;
        let reach = load::Reach::Suite(entry.grants.clone());
        let program = load::pinned(&workload, &reach, pin)?;
        let scenario = ScenarioArgs {
            scenario: entry.scenario.clone(),
            seed: args.scenario.seed,
            quick: args.scenario.quick,
            tags: labels(args),
            shards: args.scenario.shards,
            ..ScenarioArgs::default()
        };
        let mut overrides = load::overrides(&workload, &scenario, args.timeout)?;
        overrides.scale = match (overrides.scale, entry.scale) {
            (Some(quick), Some(scale)) => Some(quick.min(scale)),
            (quick, scale) => quick.or(scale),
        };
        overrides.thresholds.clone_from(&entry.thresholds);
        overrides.rows = rows;
        overrides.name = Some(entry.name.clone());
        let mut plan = load::plan_with(&program, &workload, overrides)?;
        if database::has_connections(&self.database) {
            plan.share_connections(args.scenario.shards).map_err(load::configuration)?;
        }
        let name = format!("{:02}-{}", self.jobs.len() + 1, entry.name);
        self.jobs.push(Job { entry: entry.clone(), name, workload, program, plan: Arc::new(plan) });
        Ok(())
    }

    /// Runs everything; what ran, and why it ended early, if it did.
    async fn run(
        &self,
        args: &RunArgs,
        allowed: &Allowed,
        id: &str,
        folder: &Path,
    ) -> Result<(Vec<Told>, Option<(Cause, String)>), Failed> {
        let stop = StopSignal::new();
        let watching = signals::watch(stop.clone());
        let mut parts = Vec::new();
        let mut open: Option<Backends> = None;
        let mut cut = None;
        let mut broken = None;
        for (index, job) in self.jobs.iter().enumerate() {
            if stop.level() > StopLevel::None {
                let left = self.jobs.len() - index;
                cut = Some((Cause::Interrupted, format!("{left} workloads were not run")));
                break;
            }
            let directory = folder::make(Some(&folder.join(&job.name)), id)?;
            if self.suite.fresh == Fresh::Row
                && let Some(used) = open.take()
            {
                used.close().await;
            }
            let backends = match &mut open {
                Some(backends) => backends,
                none => match self.open(job, allowed, &format!("{id}_{index}"), &directory).await {
                    Ok(backends) => none.insert(backends),
                    // What ran before has its figures: they are not lost for what comes after.
                    Err(failed) if !parts.is_empty() => {
                        let text = format!("{}: {}", job.plan.name, failed.diagnostic);
                        cut = Some((failed.cause, text));
                        break;
                    }
                    Err(failed) => return Err(failed),
                },
            };
            self.announce(args, job, index);
            let ran = self.one(args, job, backends, stop.clone(), &directory).await;
            job.program.leave();
            match ran {
                Ok(part) => parts.push(part),
                Err(failed) => {
                    broken = Some(failed);
                    break;
                }
            }
        }
        if let Some(used) = open {
            used.close().await;
        }
        watching.abort();
        broken.map_or(Ok((parts, cut)), Err)
    }

    /// Opens bus and database and starts the services.
    async fn open(
        &self,
        job: &Job,
        allowed: &Allowed,
        run: &str,
        directory: &Path,
    ) -> Result<Backends, Failed> {
        let shards = self.sharing(job).iter().map(|job| job.plan.shards).max().unwrap_or(1);
        let mut backends = Backends::open(backends::Opening {
            bus: &self.bus,
            database: &self.database,
            schema: None,
            existing_data: allowed.existing_data,
            run,
            prefix: (self.suite.subjects == Subjects::Own).then(|| format!("wt_{run}")),
            directory: directory.to_owned(),
            shards,
            limits: &job.plan.limits,
        })
        .await?;
        match self.populate(&mut backends, job, allowed, run, directory).await {
            Ok(()) => Ok(backends),
            Err(failed) => {
                backends.close().await;
                Err(failed)
            }
        }
    }

    /// The workloads that see the same backends as this one.
    fn sharing<'a>(&'a self, job: &'a Job) -> &'a [Job] {
        match self.suite.fresh {
            Fresh::Row => std::slice::from_ref(job),
            Fresh::Suite => &self.jobs,
        }
    }

    /// Starts targets and services.
    async fn populate(
        &self,
        backends: &mut Backends,
        job: &Job,
        allowed: &Allowed,
        run: &str,
        directory: &Path,
    ) -> Result<(), Failed> {
        for job in self.sharing(job) {
            backends.guard(&job.program, allowed.superuser)?;
        }
        backends.make_streams(&self.suite.streams).await?;
        let services = self.services.iter().filter(|service| match self.suite.fresh {
            Fresh::Row => service.declared.is_for(&job.entry),
            Fresh::Suite => true,
        });
        let mut targets = self.suite.targets.clone();
        if self.backend != Backend::E {
            for service in services.clone() {
                targets.push(backends.as_target(service, allowed.superuser));
            }
        }
        backends.start(targets, run, directory).await?;
        if self.backend == Backend::E {
            for service in services {
                backends.host(service, &self.hidden).await?;
            }
        }
        Ok(())
    }

    fn announce(&self, args: &RunArgs, job: &Job, index: usize) {
        if args.screen.quiet {
            return;
        }
        let rows: Vec<_> = job.plan.rows.iter().map(|row| row.name.as_str()).collect();
        let of = self.jobs.len();
        let name = printable(&job.plan.name, 64);
        say(&format!("{} of {of}: {name} {}", index + 1, rows.join(" ")));
    }

    /// Runs and judges a workload; its own summary goes into its folder.
    async fn one(
        &self,
        args: &RunArgs,
        job: &Job,
        backends: &mut Backends,
        stop: StopSignal,
        directory: &Path,
    ) -> Result<Told, Failed> {
        let id = directory.file_name().map_or_else(String::new, |name| name.display().to_string());
        let workloads = vec![workload_info(&job.workload, &job.program)];
        let hidden = self.hidden.clone();
        let info = RunInfo { workloads, ..run_info(id, jiff::Timestamp::now(), &hidden) };
        let fail_on_warn = args.fail_on == FailOn::Warn;
        let (environment, source) = (backends.environment(), job.program.source());
        let start = record::Start::new(&job.plan, info, environment, fail_on_warn, source, &hidden);
        let start = record::Start { backend: Some(self.backend), ..start };
        let journal = Journal::open(directory, &start, args.durable).map_err(not_written)?;
        let kept = Kept { journal, hidden, baseline: false };
        let (mut outcome, _) = drive(args, &job.plan, &job.program, backends, stop, kept).await;
        let info = RunInfo { complete: outcome.complete, ..start.run };
        let chronicle = std::mem::take(&mut outcome.chronicle);
        let judgement = outcome.judge.finish(outcome.start, &outcome.facts);
        let part = Part::new(SummaryInput {
            plan: &job.plan,
            names: &outcome.names,
            totals: outcome.judge.totals(),
            judgement: &judgement,
            fail_on_warn,
            facts: &outcome.facts,
            run: &info,
            environment: &start.environment,
            backend: Some(self.backend),
        });
        folder::write(&directory.join("summary.json"), &json::render(&part.summary))?;
        if !args.screen.quiet {
            for row in &part.summary.rows {
                say(&format!("  {} {}", row.row, row.status.words()));
            }
        }
        let thresholds = part.summary.thresholds.len();
        let chapter = Chapter::of(&job.plan, thresholds, chronicle, start.source);
        Ok((part, chapter))
    }
}

/// Loads the services of a suite.
fn services(
    suite: &Suite,
    folder: &Path,
    pins: Option<&Pins>,
    trust: &[String],
) -> Result<Vec<ServiceInput>, Failed> {
    let load = |service: &crate::plan::suite::Service| {
        let workload = WorkloadArgs {
            workload: suite.resolve(folder, &service.workload),
            parameters: service.parameters.clone().into_iter().collect(),
            secret_env: Vec::new(),
            limits: service.limits.clone().into_iter().collect(),
            trust: trust.to_vec(),
        };
        let pin = pins.map(|pins| pins.pin(&service.workload)).transpose()?;
        ServiceInput::load(service, workload, pin)
    };
    suite.services.iter().map(load).collect()
}

/// A workload's limits: the flags' go before the suite's.
fn limits(entry: &Entry, args: &RunArgs) -> Vec<(String, String)> {
    let mut limits = entry.limits.clone();
    limits.extend(args.workload.limits.iter().cloned());
    limits.into_iter().collect()
}

/// The tags that every sample is to bear.
fn labels(args: &RunArgs) -> Vec<Tag> {
    let tags = args.scenario.tags.iter();
    tags.filter(|tag| matches!(tag, Tag::Label(..))).cloned().collect()
}
