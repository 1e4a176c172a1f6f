//! `reachproof man`: manual pages.

use std::io;

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;

use super::exit_code::ExitCode;
use super::{Cli, CliError};

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The command [default: the program]
    command: Option<String>,
}

/// Writes the page to standard output, as troff.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let mut program = Cli::command();
    // Commands get the names of their own pages by this, like `reachproof-verify`.
    program.build();
    let page = match &arguments.command {
        None => program,
        Some(name) => command(&program, name)?,
    };
    let mut text = Vec::new();
    Man::new(page).render(&mut text)?;
    io::Write::write_all(&mut io::stdout(), &text)?;
    Ok(ExitCode::Answered)
}

/// One command, by the name under which it is called.
fn command(program: &Command, name: &str) -> Result<Command, CliError> {
    program.find_subcommand(name).cloned().ok_or_else(|| {
        let known: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
        CliError::NoSuchCommand {
            name: name.to_owned(),
            known: known.join(", "),
        }
    })
}
