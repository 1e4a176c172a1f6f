//! Why the service ends.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use reachproof_verify::RunError;
use reachproof_verify::random::RandomError;
use thiserror::Error;

use crate::store::StoreError;
use crate::store::leader::LeadError;

/// The service cannot start or go on.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody can tell who leads the store.
    #[error(transparent)]
    Lead(#[from] LeadError),
    /// Nobody can be heard at the address.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The control server cannot serve agents, or ended by itself.
    #[error(transparent)]
    Agents(#[from] RunError),
    /// A file of the web server cannot be read.
    #[error("cannot read `{}`", path.display())]
    WebFile {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Certificate and key of the web server are not what they should be.
    #[error("cannot serve TLS with `{}`: it needs a certificate chain and its key, both PEM", path.display())]
    WebTls {
        /// The certificate.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of a token holds none.
    #[error("`{}` holds no token: write at least 16 characters, as of `openssl rand -hex 32`", path.display())]
    WebToken {
        /// The file.
        path: PathBuf,
    },
    /// The system has no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}
