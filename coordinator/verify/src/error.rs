//! Why a run could not be done (exit code 2).

use thiserror::Error;

use reachproof_model::snapshot::DecodeError;

use crate::inventory::MissingAgent;
use crate::random::RandomError;
use crate::source::WorldError;

/// A run could not be done.
#[derive(Debug, Error)]
pub enum RunError {
    /// The snapshot could not be read.
    #[error("cannot read the snapshot")]
    Source(#[from] WorldError),
    /// The snapshot is not one.
    #[error("cannot use the snapshot")]
    Decode(#[from] DecodeError),
    /// The control server ended by itself.
    #[error("the control server ended before the run was over, see the log")]
    ServerEnded,
    /// The caller asked to stop.
    #[error("stopped before the run was over; nothing was judged")]
    Interrupted,
    /// No agent dialled in.
    #[error(
        "no agent dialled in within {wait_s} s: start agents with --coordinator https://{address}, --ca and --token-file, or raise --wait"
    )]
    NoAgents {
        /// How long the run waited, in seconds.
        wait_s: u64,
        /// Where it listened.
        address: std::net::SocketAddr,
        /// Those who were expected, each explained as far as the model can tell.
        missing: Vec<MissingAgent>,
    },
    /// The server's certificate or its settings were not accepted.
    #[error("cannot serve TLS with these credentials")]
    Tls(#[source] rustls::Error),
    /// The address of the listener is not known.
    #[error("cannot tell the address of the listening socket")]
    Listener(#[source] std::io::Error),
    /// The operating system gave no random bytes.
    #[error("cannot draw keys for this run")]
    Random(#[from] RandomError),
}
