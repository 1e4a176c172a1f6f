//! Why a world could not be run.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use reachproof_lab::world::WorldError;
use reachproof_lab::{IsolateError, LabError};
use reachproof_model::observation::InvalidAgentName;
use reachproof_verify::token::TokenError;
use thiserror::Error;

/// Binaries of the workspace could not be built or found.
#[derive(Debug, Error)]
pub enum BinariesError {
    /// The running program is not in a target directory.
    #[error("the running program is in no target directory of cargo: start it by cargo")]
    NoTarget,
    /// `cargo` could not be started, or the running program not be found.
    #[error("cannot start cargo")]
    Cargo(#[from] io::Error),
    /// `cargo` failed; it said why.
    #[error("cargo build: {status}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
    },
}

/// A world could not be run.
#[derive(Debug, Error)]
pub enum RunnerError {
    /// The world file is wrong.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The world file cannot be read.
    #[error("cannot read world file `{}`: give an existing file, or a name that --list shows", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The program could not be isolated.
    #[error(transparent)]
    Isolate(#[from] IsolateError),
    /// The lab could not be built.
    #[error("cannot build the lab")]
    Lab(#[from] LabError),
    /// The control plane could not be built or started.
    #[error(transparent)]
    Kubernetes(#[from] reachproof_lab::kubernetes::KubernetesError),
    /// No directory for the files of the run.
    #[error("cannot make a directory in the lab: run this inside `isolate`")]
    Directory {
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`: check that its directory has room", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// An agent's place has a name that no agent may have.
    #[error(transparent)]
    Name(#[from] InvalidAgentName),
    /// A token could not be made.
    #[error("cannot make the token of an agent")]
    Token(#[from] TokenError),
    /// An agent did not open its peer port.
    #[error("{agent} does not listen: its log says why")]
    NotListening {
        /// Name of its endpoint.
        agent: String,
    },
    /// The coordinator's host has no address.
    #[error("the coordinator's host `{name}` has no address: correct `coordinator` in the world")]
    NoCoordinator {
        /// Name of the host.
        name: String,
    },
    /// The coordinator's socket could not be opened.
    #[error("cannot listen on {address} in the lab")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Standard input was given as snapshot.
    #[error(
        "cannot read the snapshot from standard input: the lab reads it twice, give a file or directory"
    )]
    Stdin,
    /// The snapshot cannot be opened.
    #[error("cannot read the snapshot")]
    Source(#[from] reachproof_verify::source::SourceError),
    /// The snapshot has nobody to draw.
    #[error("the snapshot has no network interface: there is nobody to build a lab of")]
    Nobody,
    /// The snapshot cannot be decoded.
    #[error("cannot decode the snapshot")]
    Snapshot {
        /// Cause.
        #[source]
        source: reachproof_model::snapshot::DecodeError,
    },
    /// An agent could not be started.
    #[error("cannot start the agent `{agent}`")]
    Agent {
        /// Its name.
        agent: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A pod could not be started as a node starts it.
    #[error("cannot start the pod `{pod}`")]
    Pod {
        /// Namespace and name.
        pod: String,
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The manifests of the agents could not be had.
    #[error("`reachproof manifests` failed: {said}")]
    Manifests {
        /// What it said.
        said: String,
    },
    /// The binaries that the manifests need could not be built.
    #[error("cannot build `reachproof` and `reachproof-agent`")]
    Binaries(#[from] BinariesError),
    /// Controllers or nodes did not do what they do in seconds.
    #[error("not within {waited:?}: {what}")]
    NotInTime {
        /// What was awaited.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// The coordinator's process could not be started or watched.
    #[error("cannot run the coordinator as a process")]
    Coordinator {
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The coordinator's process ended without a report.
    #[error("the coordinator gave no report ({how}): {said}")]
    CoordinatorEnded {
        /// How it ended.
        how: String,
        /// What it said.
        said: String,
    },
    /// The program does not know its own file.
    #[error("cannot tell where this program's file is")]
    Program(#[source] io::Error),
    /// The asynchronous runtime could not be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// Credentials for the run could not be made.
    #[error(transparent)]
    Credentials(#[from] reachproof_verify::credentials::CredentialsError),
    /// The catalogue of claims cannot be read.
    #[error(transparent)]
    Claims(#[from] reachproof_verify::yaml::FileError),
    /// The run could not be done.
    #[error(transparent)]
    Run(#[from] reachproof_verify::RunError),
    /// The report could not be written as JSON.
    #[error("cannot write the report as JSON")]
    Json(#[from] serde_json::Error),
    /// The report could not be printed.
    #[error("cannot print the report")]
    Print(#[source] io::Error),
}
