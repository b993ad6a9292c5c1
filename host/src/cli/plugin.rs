//! `wavetank plugin`: what workloads are as products: begun, built, tried, pinned.

mod build;
mod check;
mod new;
mod pull;
mod push;
mod test;
mod watch;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    Failed,
    args::{LockArgs, PluginAction, WorkloadArgs},
    folder, load, lock,
    print::{out, say},
    suite,
};
use crate::{
    plan::lock::{Lock, Locked, LockedPlugin},
    report::printable::printable,
    workload::Program,
};

/// Characters of a name.
const TEXT: usize = 160;

/// Runs the subcommand.
pub fn plugin(action: &PluginAction) -> Result<ExitCode, Failed> {
    match action {
        PluginAction::New(args) => new::new(args)?,
        PluginAction::Build(args) => drop(build::build(args)?),
        PluginAction::Check(args) => return check::check(args),
        PluginAction::Test(args) => return test::test(args),
        PluginAction::Lock(args) => lock(args)?,
        PluginAction::Push(args) => push::push(args)?,
        PluginAction::Pull(args) => pull::pull(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the lock beside what it locks.
fn lock(args: &LockArgs) -> Result<(), Failed> {
    let path = &args.workload;
    let mut lock = Lock::default();
    for (source, file) in files(path, &mut lock)? {
        let workload = WorkloadArgs { trust: args.trust.clone(), ..WorkloadArgs::of(file) };
        let program = load::program(&workload, &load::Reach::default())?;
        let digest = program.describe().digest.clone();
        out(&format!("{} {digest}", printable(&source, TEXT)));
        add(&mut lock, Locked { source, digest }, &program);
    }
    let place = lock::place(path);
    folder::write(&place, &lock.render())?;
    say(&format!("locked in `{}`", place.display()));
    Ok(())
}

/// The workloads and services that a path stands for, as they are named and where they are.
fn files(path: &Path, lock: &mut Lock) -> Result<Vec<(String, PathBuf)>, Failed> {
    if !suite::is_one(path) {
        return Ok(vec![(lock::source(path), path.to_owned())]);
    }
    let (suite, digest) = suite::read(path)?;
    lock.suite = Some(Locked { source: lock::source(path), digest });
    let folder = path.parent().unwrap_or(Path::new("."));
    let services = suite.services.iter().map(|service| &service.workload);
    let sources: BTreeSet<&String> =
        suite.workloads.iter().map(|entry| &entry.workload).chain(services).collect();
    Ok(sources.into_iter().map(|it| (it.clone(), suite.resolve(folder, it))).collect())
}

fn add(lock: &mut Lock, file: Locked, program: &Program) {
    let description = program.describe();
    match program {
        Program::Script(_) => lock.scripts.push(file),
        Program::Component(component) => {
            let contract = component.contract();
            lock.plugins.push(LockedPlugin {
                name: description.name.clone(),
                version: description.version.clone(),
                file,
                world: contract.world.name().to_owned(),
                imports: contract.imports.clone(),
            });
        }
    }
}
