//! The command `reachproof-agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    reachproof_agent::cli::main_from(std::env::args_os())
}
