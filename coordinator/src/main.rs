//! The `reachproof` command: arguments, wiring, exit code.
//!
//! Decisions are in `reachproof-model`, waiting is in `reachproof-verify`. Nothing here prints to standard output but
//! what the user asked for; progress, gaps and errors go to standard error.

mod cli;
mod review;
mod source;

use std::process::ExitCode;

use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    // Who is refused, and why, is told here; the rest of a run is in its report.
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    cli::main()
}
