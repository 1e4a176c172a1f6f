//! Arguments and what they start.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use reachproof_kube::ConnectError;
use reachproof_model::describe::{Described, InvalidJson};
use reachproof_model::flow::InvalidFlow;
use reachproof_model::net::escaped_json;
use reachproof_model::selector::{InvalidQuestion, SelectorError};
use reachproof_model::snapshot::{DecodeError, Decoded, Snapshot};
use reachproof_model::words::chain;
use reachproof_verify::RunError;
use reachproof_verify::credentials::CredentialsError;
use reachproof_verify::random::RandomError;
use reachproof_verify::report::FormatError;
use reachproof_verify::report::document::DocumentError;
use reachproof_verify::yaml::FileError;
use serde::Serialize;
use thiserror::Error;

use crate::console::{self, ConsoleArguments};
use crate::history::KeepError;
#[cfg(feature = "serve")]
use crate::remote::RemoteError;
use crate::source::{SourceArguments, WorldFailure};
use exit_code::ExitCode;
use plugin::Call;

#[cfg(feature = "serve")]
mod agents;
mod browser;
mod check;
mod claims;
#[cfg(feature = "serve")]
mod closed_way;
mod completions;
mod diagnosis;
mod diff;
#[cfg(feature = "live")]
mod doctor;
mod exit_code;
mod expectations;
mod explain;
mod gaps;
mod history;
mod listen;
mod man;
mod manifests;
mod matrix;
mod plugin;
mod predict;
mod rendering;
mod report;
mod report_file;
#[cfg(feature = "serve")]
mod serve;
mod snapshot;
mod table;
mod token;
mod verify;
mod wiring;

/// Where `verify`, `token` and `manifests` keep their keys, unless told otherwise: all must use the same.
const CREDENTIALS_DIRECTORY: &str = "reachproof-credentials";

/// Shows whether the network of an EKS cluster does what its security groups say.
#[derive(Debug, Parser)]
#[command(name = "reachproof", version = env!("REACHPROOF_VERSION"), max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    console: ConsoleArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what the VPC does with each flow of a list.
    Predict(predict::Arguments),
    /// Says gate by gate what the VPC does with one flow, and why.
    Explain(explain::Arguments),
    /// Says whether the network lets the cluster have what it needs, by the model alone; causes come with repairs.
    ///
    /// Exit code 0 if nothing stops a required flow, 1 if something does, 3 if nobody can tell of some.
    Check(check::Arguments),
    /// Lists what is expected: built-in expectations and your own, with the flows that they stand for.
    Expectations(expectations::Arguments),
    /// Says of sentences about security groups of EKS whether they hold for this cluster, with the evidence; claims.md lists
    /// them.
    Claims(claims::Arguments),
    /// Shows who can reach whom, in a grid; with --list on which TCP ports, and which rules decide.
    Matrix(matrix::Arguments),
    /// Says what changed in reachability between two snapshots; exit code 1 if anything did.
    ///
    /// Every answer of the model is compared: TCP, UDP, ICMP and other protocols, IPv4 and IPv6, hosts and pods, two
    /// endpoints on one host, and addresses that no interface owns, by the networks that rules, ACLs and routes name.
    /// Interfaces that are gone are laid on new ones of the same kind in the same subnet.
    Diff(diff::Arguments),
    /// Does one run: predicts, lets agents probe, compares, reports.
    Verify(Box<verify::VerifyArguments>),
    /// Shows a saved report, in any format; exit code as the run that wrote it.
    Report(report::Arguments),
    /// Lists the reports that a cluster (`verify --keep`) or a coordinator that stays keeps, or shows one of them; exit code as the run that wrote it.
    History(history::Arguments),
    /// Keeps agents connected, does runs on a schedule, remembers them, and shows a page.
    #[cfg(feature = "serve")]
    Serve(serve::Arguments),
    /// Lists the agents of a coordinator that stays, and those that it did not let in.
    #[cfg(feature = "serve")]
    Agents(agents::Arguments),
    /// Prints a token for one agent outside a cluster: name, kind and addresses are in it.
    Token(token::Arguments),
    /// Prints what one run needs on a cluster: agents with CA, token and policy, for `kubectl apply -f -`.
    Manifests(manifests::Arguments),
    /// Reads a cluster into a directory that every other command takes, prints how to do that by hand, or checks one.
    Snapshot(snapshot::Arguments),
    /// Prints completions for a shell; with bash: `reachproof completions bash > /etc/bash_completion.d/reachproof`.
    Completions(completions::Arguments),
    /// Prints the manual page of this program or of one of its commands: `reachproof man verify | man -l -`.
    Man(man::Arguments),
    /// Says what is missing for reading a cluster, and what to do about it.
    #[cfg(feature = "live")]
    Doctor(doctor::Arguments),
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
}

/// A command could not be done.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The world could not be read.
    #[error(transparent)]
    World(#[from] WorldFailure),
    /// The snapshot is not one.
    #[error("cannot use the snapshot `{origin}`")]
    Decode {
        /// Directory or file of the snapshot, or the cluster that was read.
        origin: String,
        /// What it lacks.
        #[source]
        source: DecodeError,
    },
    /// The file of flows could not be read.
    #[error("cannot read the flows `{}`", path.display())]
    Flows {
        /// File of flows.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The file of flows is no JSON.
    #[error("cannot use the flows `{}`", path.display())]
    FlowsJson {
        /// File of flows.
        path: PathBuf,
        /// Cause.
        #[source]
        source: InvalidJson,
    },
    /// The file of flows holds no list.
    #[error("cannot use the flows `{}`: write a JSON list of flows", path.display())]
    FlowsNoList {
        /// File of flows.
        path: PathBuf,
    },
    /// One flow of the file is wrong.
    #[error("cannot use the flows `{}`: flow {index} (counted from 0)", path.display())]
    FlowOfFile {
        /// File of flows.
        path: PathBuf,
        /// Place in the list, from 0.
        index: usize,
        /// What is wrong.
        #[source]
        source: InvalidFlow,
    },
    /// The words of the arguments name no ends, no ports or no protocol.
    #[error("cannot use these arguments")]
    Question(#[from] InvalidQuestion),
    /// The words of the arguments are no flows.
    #[error(
        "{words} words make no flows, write SOURCE DESTINATION PORT for each, as 10.0.1.5 kube-system/kube-dns udp/53"
    )]
    FlowWords {
        /// How many there are.
        words: usize,
    },
    /// A flow to judge has no port.
    #[error(
        "a flow to judge needs a port: `explain SOURCE DESTINATION` lists the ports that get through"
    )]
    NoPort,
    /// Another protocol than TCP was to be listed.
    #[error(
        "lists, JSON and CSV are about tcp: leave out --list and -o for a grid of another protocol"
    )]
    ListOfTcp,
    /// A grid would have too many cells.
    #[error(
        "{pairs} pairs of classes are too many for a grid: narrow with --source and --destination, or take --list"
    )]
    GridTooLarge {
        /// How many pairs there are.
        pairs: usize,
    },
    /// The file of expectations cannot be used.
    #[error(transparent)]
    Expectations(#[from] FileError),
    /// The file of claims cannot be used.
    #[error(transparent)]
    Claims(FileError),
    /// A claim of one's own has the id of one of the catalogue.
    #[error("cannot use the claims `{}`: the catalogue has a claim `{id}`, take another id", path.display())]
    ClaimOfCatalogue {
        /// The file.
        path: PathBuf,
        /// The id.
        id: String,
    },
    /// No claim has the id.
    #[error("there is no claim `{id}`{}", near_hint(near))]
    NoSuchClaim {
        /// What was asked for.
        id: String,
        /// What comes near, separated by commas.
        near: String,
    },
    /// The report does not carry the world.
    #[error("cannot judge claims by `{}`: it has no snapshot, run `verify` without --no-snapshot", path.display())]
    ReportWithoutWorld {
        /// The file.
        path: PathBuf,
    },
    /// The run could not be done.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The runtime does not start.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// Nobody can be heard at the address.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Nobody says where agents are awaited.
    #[error("pass --listen PORT, where agents are awaited")]
    NoPlace,
    /// The credentials of the run cannot be had.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The system has no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Tokens are reviewed for a cluster, and nobody says for which.
    #[error(
        "the snapshot does not name its cluster, which tokens are reviewed for: add describe-cluster"
    )]
    NamelessCluster,
    /// The API server that reviews tokens is not reached.
    #[error("cannot review the tokens of agents")]
    Reviewer(#[source] ConnectError),
    /// The API servers that are to connect are not reached.
    #[error("cannot ask the control plane to connect")]
    ControlPlane(#[source] ConnectError),
    /// `--expect 0`.
    #[error("--expect needs at least one agent")]
    NobodyExpected,
    /// The file of `--expect` could not be read.
    #[error("cannot read `{file}`, --expect needs a number or a file")]
    ExpectedFile {
        /// The file.
        file: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The file of `--expect` is empty.
    #[error("`{file}` names no agent, write one name a line")]
    NoNames {
        /// The file.
        file: String,
    },
    /// `--fail-on new` without an earlier report.
    #[error("--fail-on new needs --baseline, the report of an earlier run")]
    NoBaseline,
    /// Expectations for a run that a coordinator does.
    #[cfg(feature = "serve")]
    #[error(
        "--expectations is for a run of this command: name the file in the settings of the coordinator (`expectations`)"
    )]
    OwnExpectations,
    /// The saved report could not be read.
    #[error("cannot use `{}`", path.display())]
    SavedReport {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: DocumentError,
    },
    /// Nothing can be written to the file of a report.
    #[error("cannot write the report to `{}`", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The report could not be written to its file.
    #[error("cannot write the report to `{}`", path.display())]
    ReportFile {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: FormatError,
    },
    /// The report could not be written to standard output.
    #[error(transparent)]
    Report(#[from] FormatError),
    /// The report cannot be shown in a browser.
    #[error(transparent)]
    Browser(#[from] browser::BrowserError),
    /// Reports cannot be kept or had.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The service cannot start or go on.
    #[cfg(feature = "serve")]
    #[error(transparent)]
    Serve(#[from] serve::ServeError),
    /// A coordinator that stays did not do what it was asked.
    #[cfg(feature = "serve")]
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Nobody says which coordinator.
    #[cfg(feature = "serve")]
    #[error(
        "pass --coordinator URL, the page of `reachproof serve`, or --kubernetes for the one of the cluster"
    )]
    NoCoordinator,
    /// A list of runs in a format of reports.
    #[error("a list is a table or JSON: name a run for its report as {format}")]
    ListOfRuns {
        /// The format.
        format: &'static str,
    },
    /// The manifests could not be made.
    #[error("cannot make the manifests")]
    Manifests(#[from] manifests::ManifestsError),
    /// The token could not be made.
    #[error("cannot make the token")]
    Token(#[from] token::TokenFailure),
    /// The snapshot could not be written.
    #[cfg(feature = "live")]
    #[error("cannot keep the snapshot")]
    Directory(#[from] snapshot::DirectoryError),
    /// There is no manual page of that name.
    #[error("there is no command `{name}`: take one of {known}")]
    NoSuchCommand {
        /// What was asked for.
        name: String,
        /// The commands, separated by commas.
        known: String,
    },
    /// The answer could not be written.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
}

/// Names that come near, behind what has none.
fn near_hint(near: &str) -> String {
    if near.is_empty() {
        return String::new();
    }
    format!("; near it: {near}")
}

impl From<SelectorError> for CliError {
    fn from(error: SelectorError) -> Self {
        Self::Question(InvalidQuestion::Selector(error))
    }
}

/// The arguments of this process; whoever types others is told, and it ends.
fn arguments() -> Cli {
    let call = Call::of(std::env::args_os());
    let mut program = Cli::command();
    if let Some(name) = call.name {
        program = program.bin_name(name).display_name(name);
    }
    let matches = program.try_get_matches_from_mut(call.words);
    let parsed = matches.and_then(|matches| {
        Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut program))
    });
    parsed.unwrap_or_else(|error| error.exit())
}

/// Runs the command that the arguments name.
pub(crate) fn main() -> process::ExitCode {
    let Cli { console, command } = arguments();
    console::open(&console);
    let result = match command {
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Expectations(arguments) => expectations::run(&arguments),
        Command::Claims(arguments) => claims::run(&arguments),
        Command::Matrix(arguments) => matrix::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Verify(arguments) => verify::verify(&arguments).map(ExitCode::Judged),
        Command::Report(arguments) => report::run(&arguments).map(ExitCode::Judged),
        Command::History(arguments) => history::run(&arguments).map(ExitCode::Judged),
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => serve::run(&arguments),
        #[cfg(feature = "serve")]
        Command::Agents(arguments) => agents::run(&arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Manifests(arguments) => manifests::run(&arguments),
        Command::Snapshot(arguments) => snapshot::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        #[cfg(feature = "live")]
        Command::Doctor(arguments) => doctor::run(&arguments),
    };
    console::status().end();
    match result {
        Ok(code) => code.into(),
        // Somebody who reads the first lines and leaves has what he wanted.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::Answered.into()
        }
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::Failed.into()
        }
    }
}

/// Reads a snapshot, with what it does not say.
fn decoded(source: &SourceArguments) -> Result<Decoded, CliError> {
    decode(&source.described()?, source)
}

/// Decodes what was read from `origin`.
fn decode(described: &Described, origin: &impl ToString) -> Result<Decoded, CliError> {
    Snapshot::decode(described).map_err(|source| CliError::Decode {
        origin: origin.to_string(),
        source,
    })
}

/// Writes one answer as JSON in one line, safe for a terminal.
fn write_json(out: &mut impl Write, answer: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(answer).map_err(io::Error::from)?;
    writeln!(out, "{}", escaped_json(&text))?;
    Ok(())
}
