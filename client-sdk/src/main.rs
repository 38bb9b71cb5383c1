//! The `anyport` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    anyport_client::cli::run(std::env::args_os())
}
