//! The `reachproof` command: arguments, wiring, exit code.
//!
//! Decisions are in `reachproof-model`, waiting is in `reachproof-verify`. Nothing here prints to standard output but
//! what the user asked for; progress, gaps and errors go to standard error.

mod cli;
mod console;
mod dial;
mod entry;
mod history;
#[cfg(feature = "serve")]
mod installed;
#[cfg(feature = "serve")]
mod remote;
mod review;
mod source;
#[cfg(feature = "serve")]
mod stored;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
