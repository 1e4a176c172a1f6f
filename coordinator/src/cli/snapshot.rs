//! `reachproof snapshot`: a cluster read into a directory.

mod directory;

use std::path::PathBuf;

use clap::Args;
use reachproof_model::describe::Described;
use reachproof_model::snapshot::{Decoded, Snapshot};

use super::CliError;
use super::exit_code::ExitCode;
use crate::source::live::{self, Access};

pub(crate) use directory::DirectoryError;

/// Arguments of `snapshot`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Cluster to read, by its name
    #[arg(long, value_name = "NAME")]
    cluster: String,
    #[command(flatten)]
    access: Access,
    /// Directory to write, one STEM.json for each answer; an earlier snapshot there is replaced
    #[arg(long, value_name = "DIRECTORY")]
    output: PathBuf,
    /// Writes a stand-in for every account id, always the same for the same accounts
    #[arg(long)]
    redact: bool,
}

/// Reads the cluster and writes the directory, whole or not at all. The same world gives the same bytes.
///
/// # Errors
/// [`CliError`] when the cluster cannot be read whole, when the model cannot use what was read, or when the directory
/// cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let reading = live::read(&arguments.cluster, &arguments.access)
        .map_err(crate::source::WorldFailure::from)?;
    let described = Described::from(reading.answers.clone());
    let Decoded { snapshot, .. } =
        Snapshot::decode(&described).map_err(|source| CliError::Decode {
            origin: arguments.cluster.clone(),
            source,
        })?;
    let answers = if arguments.redact {
        reachproof_aws::redact(&reading.answers)
    } else {
        reading.answers
    };
    directory::write(&arguments.output, &answers)?;
    eprintln!(
        "wrote {} files to `{}`: {} interfaces, {} of them the control plane's",
        answers.len(),
        arguments.output.display(),
        snapshot.network_interfaces().count(),
        snapshot.control_plane_interfaces().len(),
    );
    Ok(ExitCode::Answered)
}
