//! `reachproof snapshot`: a cluster read into a directory, by itself or by hand, and a look at what a directory holds.

mod check;
#[cfg(feature = "live")]
mod directory;
mod script;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
#[cfg(feature = "live")]
use reachproof_model::describe::Described;
#[cfg(feature = "live")]
use reachproof_model::snapshot::{Decoded, Snapshot};
#[cfg(feature = "live")]
use reachproof_model::words::counted;

use super::CliError;
use super::exit_code::ExitCode;
#[cfg(feature = "live")]
use crate::source::live::{self, Access};
use script::Shell;

#[cfg(feature = "live")]
pub(crate) use directory::DirectoryError;

/// Arguments of `snapshot`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("task").required(true))]
pub(crate) struct Arguments {
    /// Cluster to read, by its name
    #[cfg(feature = "live")]
    #[arg(long, value_name = "NAME", group = "task", requires = "output")]
    cluster: Option<String>,
    #[cfg(feature = "live")]
    #[command(flatten)]
    access: Access,
    /// Directory to write, one STEM.json for each answer; an earlier snapshot there is replaced
    #[cfg(feature = "live")]
    #[arg(long, value_name = "DIRECTORY", requires = "cluster")]
    output: Option<PathBuf>,
    /// Writes a stand-in for every account id, always the same for the same accounts
    #[cfg(feature = "live")]
    #[arg(long, requires = "cluster")]
    redact: bool,
    /// Prints a script that collects a snapshot with the AWS CLI and kubectl alone
    #[arg(long, group = "task")]
    print_commands: bool,
    /// Language of the script
    #[arg(long, value_enum, default_value_t = Shell::Bash, requires = "print_commands")]
    shell: Shell,
    /// Says of each answer whether a saved snapshot has it, and what follows if not; exit code 2 if it cannot be used
    #[arg(long, value_name = "PATH", group = "task")]
    check: Option<PathBuf>,
}

/// Does the one thing that was asked for.
///
/// # Errors
/// [`CliError`] when a cluster or a directory cannot be read, and when the answer cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    if let Some(path) = &arguments.check {
        return check::run(path);
    }
    #[cfg(feature = "live")]
    if let (Some(cluster), Some(output)) = (&arguments.cluster, &arguments.output) {
        return keep(arguments, cluster, output);
    }
    let script = script::script(arguments.shell);
    io::stdout().lock().write_all(script.as_bytes())?;
    Ok(ExitCode::Answered)
}

/// Reads the cluster and writes the directory, whole or not at all. The same world gives the same bytes.
///
/// # Errors
/// [`CliError`] when the cluster cannot be read whole, when the model cannot use what was read, or when the directory
/// cannot be written.
#[cfg(feature = "live")]
fn keep(
    arguments: &Arguments,
    cluster: &str,
    output: &std::path::Path,
) -> Result<ExitCode, CliError> {
    let reading =
        live::read(cluster, &arguments.access).map_err(crate::source::WorldFailure::from)?;
    let described = Described::from(reading.answers.clone());
    let Decoded { snapshot, .. } =
        Snapshot::decode(&described).map_err(|source| CliError::Decode {
            origin: cluster.to_owned(),
            source,
        })?;
    let answers = if arguments.redact {
        reachproof_aws::redact(&reading.answers)
    } else {
        reading.answers
    };
    directory::write(output, &answers)?;
    crate::console::status().remark(&format!(
        "wrote {} to `{}`: {}, {} of them the control plane's",
        counted(answers.len(), "file", "files"),
        output.display(),
        counted(
            snapshot.network_interfaces().count(),
            "interface",
            "interfaces"
        ),
        snapshot.control_plane_interfaces().len(),
    ));
    Ok(ExitCode::Answered)
}
