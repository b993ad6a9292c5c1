//! The command under test: the product's main, built with the tests so that it is never stale.

use std::process::ExitCode;

fn main() -> ExitCode {
    wavetank::cli::main()
}
