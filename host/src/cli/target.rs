//! `--target`: what is declared, started before the run and gone after it; and the guard.

use std::{io, path::Path, process::ExitCode, sync::Arc};

use super::{Failed, load::configuration, machine};
use crate::{
    diagnostic::Diagnostic,
    plan::TargetPlan,
    primitive::{bus, database},
    run::BusProbe,
    target::{self, Opening},
    verdict::Cause,
};

/// Reads the flags.
pub fn declared(flags: &[String]) -> Result<Vec<TargetPlan>, Failed> {
    let plans = flags.iter().map(|flag| TargetPlan::from_flag(flag)).collect::<Result<Vec<_>, _>>();
    let plans = plans.map_err(configuration)?;
    TargetPlan::check_all(&plans).map_err(configuration)?;
    Ok(plans)
}

/// Starts targets and waits until they are ready; none if none is declared.
pub async fn open(
    plans: Vec<TargetPlan>,
    bus: &bus::Source,
    database: &database::Source,
    run: &str,
    folder: &Path,
) -> Result<Option<target::Source>, Failed> {
    if plans.is_empty() {
        return Ok(None);
    }
    let opening = Opening {
        plans,
        bus: bus.url(),
        database: database.url(),
        run: run.to_owned(),
        directory: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
        guard: Some(machine::this_program()),
        probe: Some(Arc::new(BusProbe::new(bus.clone()))),
    };
    target::Source::open(opening).await.map(Some).map_err(|error| {
        let cause = if error.declared_wrongly { Cause::Configuration } else { Cause::TargetDied };
        Failed::new(cause, Diagnostic::new(error.message).help(error.help))
    })
}

/// Is the guard, until the runner that started it is gone.
pub fn guard() -> ExitCode {
    target::guard(io::stdin().lock());
    ExitCode::SUCCESS
}
