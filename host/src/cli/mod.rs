//! argv, environment, files → plan; verdict → exit code. One file per subcommand.

use std::process::ExitCode;

/// The whole program.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
