//! Tells a local program how the agent is, over a socket without a file.
//!
//! An exec probe runs in the container of the agent, whose file system is read-only. The socket has an abstract name, which
//! belongs to the network namespace. It takes no byte and tells nothing that is secret.

use std::{
    io::{self, Read},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tracing::warn;

use crate::{limits::ACCEPT_PAUSE, spool::Spool};

/// Longest wait for the agent's answer: its event loop is asked, which is never busy that long.
pub const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Largest answer in bytes.
const STATUS_MAX: u64 = 1024;

/// How an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether its stream to the coordinator is open.
    pub attached: bool,
    /// Results that were dropped since it started.
    pub results_lost: u64,
}

/// What the agent lets others see.
#[derive(Debug)]
pub(crate) struct Pulse {
    pub(crate) attached: AtomicBool,
    pub(crate) spool: Arc<Spool>,
}

impl Pulse {
    /// How the agent is now.
    fn status(&self) -> Status {
        Status {
            attached: self.attached.load(Ordering::Acquire),
            results_lost: self.spool.results_lost(),
        }
    }
}

/// The abstract name for the agent `name`; long names share it with others of the same beginning.
fn address(name: &str) -> io::Result<SocketAddr> {
    let full = format!("reachproof-agent/{name}");
    let most = full.len().min(ABSTRACT_NAME_MAX);
    SocketAddr::from_abstract_name(full.as_bytes().get(..most).unwrap_or_default())
}

/// Most bytes of an abstract name: `sun_path` but for its first byte [unix(7)].
const ABSTRACT_NAME_MAX: usize = 107;

/// Opens the socket of the agent `name`; none where that cannot be: it works all the same.
pub(crate) fn listen(name: &str) -> Option<tokio::net::UnixListener> {
    let listener = address(name)
        .and_then(|address| UnixListener::bind_addr(&address))
        .and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::UnixListener::from_std(listener)
        });
    listener
        .inspect_err(|error| warn!(%error, name, "`health` will not find this agent"))
        .ok()
}

/// Answers whoever connects, for ever.
pub(crate) async fn answer_all(listener: tokio::net::UnixListener, pulse: Arc<Pulse>) {
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let status = serde_json::to_vec(&pulse.status()).unwrap_or_default();
                // Fits into the socket's buffer; who went away needs no answer.
                let _ = stream.write_all(&status).await;
            }
            Err(error) => {
                warn!(%error, "cannot answer `health`");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Asks the agent `name` of this network namespace how it is.
///
/// # Errors
/// When there is no such agent, or it does not answer within [`ANSWER_MAX`].
pub fn ask(name: &str) -> io::Result<Status> {
    let mut stream = UnixStream::connect_addr(&address(name)?)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let mut answer = Vec::new();
    stream.by_ref().take(STATUS_MAX).read_to_end(&mut answer)?;
    serde_json::from_slice(&answer).map_err(io::Error::from)
}
