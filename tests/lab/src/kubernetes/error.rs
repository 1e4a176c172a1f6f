//! Why there is no control plane.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::authority::AuthorityError;
use crate::error::LabError;

/// The control plane could not be built, started or used.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Go is not installed, and no binary was built before.
    #[error(
        "building the control plane needs Go: install it (https://go.dev/dl), or leave the control plane out"
    )]
    NoGo,
    /// There is no folder for the binary.
    #[error("cannot keep the control plane's binary: set HOME or XDG_CACHE_HOME")]
    NoCache,
    /// `go build` failed.
    #[error("building the control plane failed: {said}")]
    Build {
        /// The end of what the compiler said.
        said: String,
    },
    /// A file or folder of the control plane could not be read or written.
    #[error("cannot use `{}`", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A key or certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes for the administrator's token")]
    Random,
    /// A program could not be started.
    #[error("cannot start `{program}`")]
    Start {
        /// Which.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program ended that should run.
    #[error("`{program}` ended; the end of its log: {log}")]
    Ended {
        /// Which.
        program: String,
        /// Its last lines.
        log: String,
    },
    /// A program was not ready in time.
    #[error("`{program}` was not ready after {} s; the end of its log: {log}", .waited.as_secs())]
    NotReady {
        /// Which.
        program: String,
        /// How long it had.
        waited: Duration,
        /// Its last lines.
        log: String,
    },
    /// kubectl or the API server refused.
    #[error("the control plane refused: {said}")]
    Kubectl {
        /// What it said.
        said: String,
    },
    /// There is no API server, or none of that name.
    #[error(
        "the control plane has no such API server: the world needs an interface of the control plane"
    )]
    NoFront,
    /// An answer of the snapshot cannot be turned into objects.
    #[error("cannot use the answer `{stem}`: {what}")]
    Answer {
        /// Which.
        stem: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The definitions that come along are broken.
    #[error("cannot read the kinds that come along")]
    Definitions(#[source] yaml_serde::Error),
    /// The lab refused.
    #[error(transparent)]
    Lab(#[from] LabError),
}
