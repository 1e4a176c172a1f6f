//! `reachproof completions`: what a shell needs to complete commands and flags.

use std::io;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::exit_code::ExitCode;
use super::{Cli, CliError};

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the script to standard output.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Cli::command(),
        "reachproof",
        &mut script,
    );
    io::Write::write_all(&mut io::stdout(), &script)?;
    Ok(ExitCode::Answered)
}
