//! The lab runner: see `reachproof_tests::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    reachproof_tests::cli::main_from(std::env::args_os())
}
