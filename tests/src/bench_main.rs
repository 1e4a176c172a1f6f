//! The measurements: see `reachproof_tests::bench`.

use std::process::ExitCode;

fn main() -> ExitCode {
    reachproof_tests::bench::main_from(std::env::args_os())
}
