//! `wavetank ab`: two things run in turn, pair by pair, and compared.
//!
//! A machine drifts: what runs second may be slower because it is second. Pairs go ABBA, so that a drift
//! falls on both sides alike; both runs of a pair have one seed, so that they do the same. Each run is a
//! process of its own, as a user would start it: nothing is warm that would not be, and either side may be
//! another wavetank.

use std::{
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    Failed,
    args::AbArgs,
    compare::{print, refused, terms},
    folder, history,
    load::configuration,
    machine::this_program,
    print::say,
    run::runtime,
};
use crate::{
    diagnostic::Diagnostic,
    report::{comparison as page, printable::printable},
    run::{
        comparison::{self, objection},
        summary::Summary,
    },
    target::Guard,
    verdict::{Cause, comparison::Design},
};

/// Characters of a path.
const TEXT: usize = 160;

/// One of the two things.
struct Side {
    /// `base` or `new`; names the folders of its runs.
    name: &'static str,
    binary: PathBuf,
    workload: PathBuf,
    targets: Vec<String>,
}

/// Runs the subcommand.
pub fn ab(args: &AbArgs) -> Result<ExitCode, Failed> {
    let terms = terms(&args.terms, Design::Pairs)?;
    let sides = sides(args)?;
    let id = folder::run_id("ab", jiff::Timestamp::now());
    let directory = folder::make(args.out.as_deref(), &id)?;
    let (base, new) = runtime()?.block_on(pairs(args, &sides, &directory))?;
    let found = comparison::compare(&base, &new, &terms).map_err(|it| refused(*it))?;
    folder::write(&directory.join("comparison.json"), &page::json(&found))?;
    Ok(print(&found, &args.terms))
}

/// Both sides, with programs and workloads that exist.
fn sides(args: &AbArgs) -> Result<[Side; 2], Failed> {
    let own = this_program();
    let side = |name, workload: &PathBuf, binary: &Option<PathBuf>, targets: &[String]| {
        let binary = binary.clone().unwrap_or_else(|| own.clone());
        for path in [&binary, workload] {
            if !path.is_file() {
                return Err(configuration(
                    Diagnostic::new(format!("there is no file `{}`", path.display()))
                        .help("name two workloads or suites, and wavetank programs that exist"),
                ));
            }
        }
        // A name without a folder would be looked for on PATH.
        let binary = std::path::absolute(&binary).unwrap_or(binary);
        Ok(Side { name, binary, workload: workload.clone(), targets: targets.to_vec() })
    };
    Ok([
        side("base", &args.base, &args.base_binary, &args.base_targets)?,
        side("new", &args.new, &args.new_binary, &args.new_targets)?,
    ])
}

/// The summaries of all pairs, of both sides.
async fn pairs(
    args: &AbArgs,
    sides: &[Side; 2],
    directory: &Path,
) -> Result<(Vec<Summary>, Vec<Summary>), Failed> {
    let mut signals = Signals::watch()?;
    let guard = Guard::start(&this_program(), &[]).map_err(|error| {
        let message = format!("the process that guards the runs cannot be started: {error}");
        Failed::new(Cause::Internal, Diagnostic::new(message))
    })?;
    let (mut base, mut new) = (Vec::new(), Vec::new());
    for pair in 0..args.pairs {
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for (half, index) in order.into_iter().enumerate() {
            let side = &sides[index];
            let seed = args.seed.wrapping_add(u64::from(pair));
            let folder = directory.join(format!("{:03}-{}", pair + 1, side.name));
            let number = pair as usize * 2 + half + 1;
            let all = args.pairs * 2;
            let path = printable(&side.workload.display().to_string(), TEXT);
            say(&format!("{number} of {all}: {} {path}, seed {seed}", side.name));
            let summary = one(args, side, seed, &folder, (&mut signals, &guard)).await?;
            if let Some(why) = objection(&summary) {
                say(&format!("  it {why}: this pair is left out"));
            }
            if index == 0 { base.push(summary) } else { new.push(summary) }
        }
    }
    Ok((base, new))
}

/// Runs one side once, in a process of its own.
async fn one(
    args: &AbArgs,
    side: &Side,
    seed: u64,
    folder: &Path,
    (signals, guard): (&mut Signals, &Guard),
) -> Result<Summary, Failed> {
    let mut command = tokio::process::Command::new(&side.binary);
    command.arg("run").arg(&side.workload).arg("--out").arg(folder);
    command.args(["--seed", &seed.to_string(), "--quiet", "--progress", "none"]);
    for target in &side.targets {
        command.args(["--target", target]);
    }
    // A group of its own: Ctrl-C reaches this process, which passes it on once.
    command.args(&args.flags).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let name = side.binary.display().to_string();
    let mut child = command.spawn().map_err(|error| {
        configuration(
            Diagnostic::new(format!("`{}` cannot be run: {error}", printable(&name, TEXT)))
                .help("name a wavetank program with --base-binary or --new-binary"),
        )
    })?;
    // A guard that is gone has been ended by somebody: then nobody is left to guard.
    let _ = child.id().map(|id| guard.keep_leader(id));
    let mut interrupted = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            () = signals.next() => {
                interrupted = true;
                let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
                if let Some(pid) = pid {
                    // It has just ended, if this fails.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
            }
        }
    };
    let code = status.ok().and_then(|status| status.code());
    if interrupted {
        let text = "stopped from outside: pairs that are not complete are compared with nothing";
        return Err(Failed::new(Cause::Interrupted, Diagnostic::new(text)));
    }
    check(code, side, folder)?;
    history::find(&folder.display().to_string())
}

/// Ends the comparison where a run has no figures. What was judged has, whatever it was judged to be.
fn check(code: Option<i32>, side: &Side, folder: &Path) -> Result<(), Failed> {
    let judged = [
        Cause::ThresholdsFailed,
        Cause::MarkedFailed,
        Cause::NotShown,
        Cause::Regression,
        Cause::Invalid,
    ];
    let known = |cause: &&Cause| code == Some(i32::from(cause.code()));
    if code == Some(0) || judged.iter().any(|cause| known(&cause)) {
        return Ok(());
    }
    let cause = Cause::ALL.iter().find(known).copied().unwrap_or(Cause::Internal);
    let how =
        code.map_or_else(|| "a signal ended it".to_owned(), |code| format!("exit code {code}"));
    let message = format!("a run of {} did not come to its end ({how})", side.name);
    Err(Failed::new(
        cause,
        Diagnostic::new(message)
            .help(format!("what it said stands above; what it left is in `{}`", folder.display())),
    ))
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn watch() -> Result<Self, Failed> {
        let watch = |kind| {
            signal(kind).map_err(|error| {
                Failed::new(Cause::Internal, Diagnostic::new(format!("no signals: {error}")))
            })
        };
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
