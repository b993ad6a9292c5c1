//! `wavetank doctor`: what this machine, bus and database allow, and this tool's own noise floor.

use std::process::ExitCode;

use super::{
    Failed,
    args::BackendArgs,
    backends::{self, close},
    machine,
    print::out,
    run::runtime,
};
use crate::{
    clock::Clock, diagnostic::Diagnostic, plan::Limits, primitive::database, run::noise_floor,
    verdict::Cause,
};

/// Runs the subcommand.
pub fn doctor(args: &BackendArgs) -> Result<ExitCode, Failed> {
    for (name, value) in machine::facts() {
        out(&format!("{name:<22} {value}"));
    }
    let runtime = runtime()?;
    let floor = runtime.block_on(noise_floor(Clock::real()));
    out(&format!("{:<22} {:.0} ns", "clock_read", floor.clock_read_ns));
    out(&format!("{:<22} {:.0} ns", "empty_operation", floor.empty_operation_ns));
    let folder = tempfile::tempdir().map_err(|error| {
        Failed::new(Cause::NotWritten, Diagnostic::new(format!("a temporary folder: {error}")))
    })?;
    runtime.block_on(async {
        let bus = backends::open_bus(args.bus(), "doctor", None).await?;
        out(&format!("{:<22} {}", "bus", bus.describe()));
        let database = backends::open_database(database::Opening {
            address: args.database().to_owned(),
            schema: args.database_schema.clone(),
            allow_existing: true,
            keep_schema: false,
            directory: folder.path().to_path_buf(),
            run: format!("doctor_{}", std::process::id()),
            shards: 1,
            limits: Limits::default(),
        })
        .await?;
        out(&format!("{:<22} {}", "database", database.describe()));
        close(&bus, &database).await;
        Ok(ExitCode::SUCCESS)
    })
}
