//! `wavetank plugin test`: the lifecycle of a workload or a service by itself, on the embedded bus and
//! database, from a fixed seed and under a virtual clock: every call to the host in the order in which it is
//! made, the same each time.
//!
//! A sleep of an hour is over at once, and nothing depends on how fast the machine is. So nothing here is a
//! measurement, and no time is printed. What the plugin talks to is not there, and what it answers is not
//! judged: only that the plugin comes through.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;

use super::{build, watch::Watch};
use crate::{
    cli::{
        Failed,
        args::{BuildArgs, ScenarioArgs, TestArgs, WorkloadArgs},
        backends::{self, Backends},
        diagnose, load,
        print::{out, say},
    },
    clock::Clock,
    diagnostic::Diagnostic,
    plan::Plan,
    primitive::{LogLevel, bus},
    report::printable::printable,
    run::{
        RunInput, RunOutcome, ServeInput, StopLevel, StopSignal,
        event::Event,
        summary::{Environment, RunInfo, Summary, SummaryInput},
    },
    verdict::{Cause, ScenarioFacts},
    workload::{Program, component::World},
};

/// Characters of a line.
const LINE: usize = 4_096;
/// Lines that may wait to be printed, and lines in all.
const LINES: usize = 100_000;
/// Virtual time that a scenario's iterations have.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// What a service is sent where nobody says what.
const NOTHING: &str = "{}";
/// Virtual time that a service has for its reply.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where its replies go, which no workload can listen to.
const INBOX: &str = "_wavetank.test";

/// Runs the subcommand.
pub fn test(args: &TestArgs) -> Result<ExitCode, Failed> {
    if !args.watch {
        return once(args);
    }
    let mut watch = Watch::of(&args.plugin);
    loop {
        if let Err(failed) = once(args) {
            say(&diagnose::render(&failed.diagnostic, false));
        }
        say(&format!("waiting for a change of `{}`", args.plugin.display()));
        watch.changed();
    }
}

fn once(args: &TestArgs) -> Result<ExitCode, Failed> {
    let workload = if args.plugin.is_dir() {
        build::build(&BuildArgs { folder: args.plugin.clone() })?
    } else {
        args.plugin.clone()
    };
    let trial = Trial::of(args, workload)?;
    if trial.is_service() { trial.serve() } else { trial.run() }
}

/// What is tested, and how.
struct Trial<'a> {
    args: &'a TestArgs,
    workload: WorkloadArgs,
    program: Program,
    hidden: Vec<String>,
}

/// A database for one test; gone with it.
type Folder = tempfile::TempDir;

impl<'a> Trial<'a> {
    fn of(args: &'a TestArgs, workload: PathBuf) -> Result<Self, Failed> {
        let workload = WorkloadArgs {
            parameters: args.parameters.clone(),
            secret_env: args.secret_env.clone(),
            ..WorkloadArgs::of(workload)
        };
        let program = load::program(&workload, &load::Reach::default())?;
        let hidden = load::hidden(&workload, &[])?;
        Ok(Self { args, workload, program, hidden })
    }

    fn is_service(&self) -> bool {
        match &self.program {
            Program::Component(component) => component.contract().world == World::Service,
            Program::Script(_) => false,
        }
    }

    /// Each scenario: setup, one VU for some iterations, teardown.
    fn run(&self) -> Result<ExitCode, Failed> {
        let plan = |scenario: Option<String>, iterations| {
            let scenario = ScenarioArgs {
                vus: Some(1),
                iterations: Some(iterations),
                duration: Some(LONGEST),
                seed: Some(self.args.seed),
                scenario,
                shards: Some(1),
                ..ScenarioArgs::default()
            };
            load::plan(&self.program, &self.workload, &scenario, None)
        };
        let all = ScenarioArgs { scenario: self.args.scenario.clone(), ..ScenarioArgs::default() };
        let all = load::plan(&self.program, &self.workload, &all, None)?;
        let mut worst = None;
        for (number, scenario) in all.scenarios.iter().enumerate() {
            if number > 0 {
                out("");
            }
            out(&format!(
                "{} ({}) · {} iterations · seed {} · virtual time",
                scenario.name, scenario.exec, self.args.iterations, self.args.seed,
            ));
            let mut plan = plan(Some(scenario.name.clone()), self.args.iterations)?;
            plan.limits.log_lines = LINES as u64;
            plan.thresholds.clear();
            plan.derived.clear();
            let plan = Arc::new(plan);
            let outcome = paused()?.block_on(self.scenario(&plan))?;
            worst = worst.max(told(&plan, outcome).map(Cause::code));
        }
        Ok(worst.map_or(ExitCode::SUCCESS, ExitCode::from))
    }

    async fn scenario(&self, plan: &Arc<Plan>) -> Result<RunOutcome, Failed> {
        let (backends, _folder) = embedded(plan).await?;
        let (events, shown) = mpsc::channel(LINES);
        let running = crate::run::run(RunInput {
            plan: Arc::clone(plan),
            workload: Arc::new(self.program.clone()),
            bus: backends.bus.clone(),
            database: backends.database.clone(),
            targets: None,
            clock: Clock::paused(),
            events,
            stop: StopSignal::new(),
            trace: true,
            hidden: self.hidden.clone(),
            tape: None,
        });
        let (outcome, ()) = tokio::join!(running, show(shown));
        backends.close().await;
        Ok(outcome)
    }

    /// A service: start, a message to each subject, stop.
    fn serve(&self) -> Result<ExitCode, Failed> {
        let mut plan = load::service(&self.program, &self.workload)?;
        plan.limits.log_lines = LINES as u64;
        plan.seed = self.args.seed;
        let sent = self.messages(&plan)?;
        out(&format!(
            "{} · {} messages · seed {} · virtual time",
            plan.name,
            sent.len(),
            plan.seed
        ));
        paused()?.block_on(self.service(&Arc::new(plan), &sent))
    }

    /// What the service is sent: subject and payload.
    fn messages(&self, plan: &Plan) -> Result<Vec<(String, String)>, Failed> {
        if !self.args.send.is_empty() {
            return Ok(self.args.send.clone());
        }
        let subjects = plan.services.keys().filter(|subject| !subject.contains(['*', '>']));
        let sent: Vec<_> = subjects.map(|it| (it.clone(), NOTHING.to_owned())).collect();
        if sent.is_empty() {
            return Err(load::configuration(
                Diagnostic::new(
                    "all subjects of this service are patterns: none can be written to",
                )
                .help("say what it is sent: --send SUBJECT=PAYLOAD"),
            ));
        }
        Ok(sent)
    }

    async fn service(
        &self,
        plan: &Arc<Plan>,
        sent: &[(String, String)],
    ) -> Result<ExitCode, Failed> {
        let (backends, _folder) = embedded(plan).await?;
        let (events, shown) = mpsc::channel(LINES);
        let (stop, ready) = (StopSignal::new(), StopSignal::new());
        let serving = crate::run::serve(
            ServeInput {
                plan: Arc::clone(plan),
                workload: Arc::new(self.program.clone()),
                bus: backends.bus.clone(),
                database: backends.database.clone(),
                clock: Clock::paused(),
                trace: true,
                events,
                stop: stop.clone(),
                hidden: self.hidden.clone(),
                name: "test".to_owned(),
                instance: "test".to_owned(),
                run: None,
                concurrency: 1,
                inside: true,
                instances_stop: matches!(self.program, Program::Component(_)),
            },
            |_| ready.stop(StopLevel::Graceful),
        );
        let asking = async {
            tokio::select! {
                () = ready.reached(StopLevel::Graceful) => {}
                // It ended before it was ready: its own error says why.
                () = tokio::time::sleep(PATIENCE) => return Ok(0),
            }
            let unanswered = ask(&backends.bus, sent).await;
            stop.stop(StopLevel::Graceful);
            unanswered
        };
        let (served, unanswered, ()) = tokio::join!(serving, asking, show(shown));
        backends.close().await;
        served
            .map_err(|(cause, text)| Failed::new(cause, Diagnostic::new(printable(&text, LINE))))?;
        let unanswered = unanswered?;
        out(&format!("{} messages, {unanswered} without a reply", sent.len()));
        Ok(ExitCode::SUCCESS)
    }
}

/// Sends each message when the one before it is answered; how many were not.
async fn ask(bus: &bus::Source, sent: &[(String, String)]) -> Result<usize, Failed> {
    let unreachable = |text: String| Failed::new(Cause::Unreachable, Diagnostic::new(text));
    let connection = bus
        .connect("wavetank plugin test")
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let replies = connection.subscribe_raw(INBOX, None, LINES).await;
    let replies = replies.map_err(|failure| unreachable(failure.to_string()))?;
    let mut unanswered = 0;
    for (subject, payload) in sent {
        out(&format!("  sent to {}: {}", printable(subject, LINE), printable(payload, LINE)));
        let (bytes, headers) = (payload.clone().into_bytes().into(), bus::Headers::new());
        let published = connection.publish_raw(subject, bytes, headers, Some(INBOX)).await;
        published.map_err(|failure| {
            load::configuration(
                Diagnostic::new(format!("nothing can be sent to `{subject}`: {failure}"))
                    .help("name a subject of the service, without wildcards"),
            )
        })?;
        match tokio::time::timeout(PATIENCE, replies.next()).await {
            Ok(Some(reply)) if is_nobody(&reply) => {
                unanswered += 1;
                out("  no reply: nobody answers this subject");
            }
            Ok(Some(reply)) => {
                let text = String::from_utf8_lossy(&reply.payload).into_owned();
                out(&format!("  replied: {}", printable(&text, LINE)));
            }
            Ok(None) | Err(_) => {
                unanswered += 1;
                out("  no reply");
            }
        }
    }
    Ok(unanswered)
}

/// What a bus replies where nobody subscribes.
fn is_nobody(reply: &bus::Message) -> bool {
    let status = ("Status".to_owned(), "503".to_owned());
    reply.payload.is_empty() && reply.headers.contains(&status)
}

/// A runtime whose time goes on only when there is nothing to do.
fn paused() -> Result<tokio::runtime::Runtime, Failed> {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().map_err(
        |error| Failed::new(Cause::Internal, Diagnostic::new(format!("no runtime: {error}"))),
    )
}

async fn embedded(plan: &Plan) -> Result<(Backends, Folder), Failed> {
    let folder = tempfile::tempdir().map_err(|error| {
        let message = format!("a folder for the database: {error}");
        Failed::new(Cause::NotWritten, Diagnostic::new(message).help("set TMPDIR"))
    })?;
    let backends = Backends::open(backends::Opening {
        bus: "embedded",
        database: "embedded",
        schema: None,
        existing_data: false,
        run: "test",
        prefix: None,
        directory: Path::to_owned(folder.path()),
        shards: 1,
        limits: &plan.limits,
    })
    .await?;
    Ok((backends, folder))
}

/// Prints what happens as it happens.
async fn show(mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Phase(phase) => out(phase),
            Event::Log(line) => {
                let text = printable(&line.text, LINE);
                let level = match line.level {
                    LogLevel::Trace => String::new(),
                    level => format!("[{}] ", level.name()),
                };
                out(&format!("  vu {}: {level}{text}", line.vu));
            }
            Event::Note(note) => out(&format!("  {}", printable(&note, LINE))),
            Event::Progress(_) => {}
        }
    }
}

/// Says what came of a scenario; why it failed, if it did.
fn told(plan: &Plan, mut outcome: RunOutcome) -> Option<Cause> {
    let judgement = outcome.judge.finish(outcome.start, &outcome.facts);
    let summary = Summary::build(SummaryInput {
        plan,
        names: &outcome.names,
        totals: outcome.judge.totals(),
        judgement: &judgement,
        fail_on_warn: false,
        facts: &outcome.facts,
        run: &RunInfo::default(),
        environment: &Environment::default(),
        backend: None,
    });
    for (_, cause) in &outcome.facts.causes {
        out(&format!("  failed: {}", printable(cause, LINE)));
    }
    for error in &summary.errors {
        let place = error.place.as_ref().map_or_else(String::new, |place| format!(" ({place})"));
        let text = format!("{} × {}: {}{place}", error.count, error.kind, error.message);
        out(&format!("  {}", printable(&text, LINE)));
    }
    for check in &summary.checks {
        let all = check.passes + check.fails;
        let text = format!("check {}: {} of {all}", check.name, check.passes);
        out(&format!("  {}", printable(&text, LINE)));
    }
    let of = |count: fn(&ScenarioFacts) -> u64| summary.scenarios.iter().map(count).sum::<u64>();
    let (done, errors, cut) = (of(|it| it.completed), of(|it| it.errors), of(|it| it.interrupted));
    out(&format!("{done} iterations, {errors} errors, {cut} cut off"));
    let certain = outcome.facts.causes.iter().map(|(cause, _)| *cause).min();
    certain.or((done == 0 || errors > 0 || cut > 0).then_some(Cause::ThresholdsFailed))
}
