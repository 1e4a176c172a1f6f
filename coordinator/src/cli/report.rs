//! `reachproof report`: a saved report in any format.

use std::path::PathBuf;

use clap::Args;

use super::CliError;
use super::rendering::{Rendering, saved};

/// What `report` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Report as `verify -o json` or `--report json=FILE` wrote it, of this or an older version; may be compressed by gzip
    file: PathBuf,
    #[command(flatten)]
    rendering: Rendering,
}

/// Reads a report and writes it; returns the exit code that it stands for.
///
/// # Errors
/// When it cannot be read or written; the exit code is then 2.
pub(crate) fn run(arguments: &Arguments) -> Result<u8, CliError> {
    let prepared = arguments.rendering.prepare()?;
    prepared.finish(&mut saved(&arguments.file)?)
}
