//! The `presence` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    presence::cli::main()
}
