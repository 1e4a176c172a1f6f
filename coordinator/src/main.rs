//! The `reachproof` command: arguments, wiring, exit code.
//!
//! Decisions are in `reachproof-model`, waiting is in `reachproof-verify`. Nothing here prints to standard output but
//! what the user asked for; progress, gaps and errors go to standard error.

mod cli;
mod review;
mod source;

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

/// What is logged unless `RUST_LOG` says otherwise. What the clients of AWS and Kubernetes say of each attempt is
/// in the error that follows, if one does.
const LOG: &str = "warn,aws_config=error,kube_client=off";

fn main() -> ExitCode {
    // Who is refused, and why, is told here; the rest of a run is in its report.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG)))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    cli::main()
}
