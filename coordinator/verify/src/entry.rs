//! The control server of a fleet, and the one-run entry: both for as long as one run takes.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::{EntrySettings, RunConfig};
use crate::control::{ControlConfig, serve};
use crate::error::RunError;
use crate::fleet::{ARRIVALS_MAX, Fleet};
use crate::progress::Progress;
use crate::report::Report;
use crate::run::run as run_once;

/// How long the control server may take to end after the last run.
const SERVER_END_WAIT: Duration = Duration::from_secs(2);

/// A fleet with the server that lets its agents in. Both end when it is closed or dropped.
#[derive(Debug)]
pub struct Entry {
    fleet: Fleet,
    server: JoinHandle<()>,
    streams: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Entry {
    /// Serves agents on `listener`: whoever is let in belongs to the fleet.
    ///
    /// # Errors
    /// [`RunError::Listener`] and [`RunError::Tls`].
    pub fn open(listener: TcpListener, settings: EntrySettings) -> Result<Self, RunError> {
        let fleet = Fleet::new(listener.local_addr().map_err(RunError::Listener)?);
        let (arrive, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let control = ControlConfig::new(settings, fleet.expected(), fleet.refused(), arrive)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = serve(listener, control, async {
            // An error is the sender dropped: the fleet is over as well.
            drop(stopped.await);
        });
        Ok(Self {
            server: tokio::spawn(server),
            streams: tokio::spawn(fleet.clone().serve(arrivals)),
            fleet,
            stop,
        })
    }

    /// The agents that are let in.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Completes if the server ends by itself: nobody can come in any more.
    pub async fn ended(&mut self) {
        // An error is a panic, which was told already.
        drop((&mut self.server).await);
    }

    /// Ends every stream and the server.
    pub async fn close(mut self) {
        self.fleet.close();
        self.streams.abort();
        // An error says that it was aborted.
        drop((&mut self.streams).await);
        drop(self.stop);
        // A client that keeps its connection open keeps nobody back.
        if !self.server.is_finished() && timeout(SERVER_END_WAIT, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

/// Does one run: read, decode, gather, settle, plan, predict, probe, re-read, compare, report.
///
/// Serves agents on `listener` until the run is over; tells `progress` what happens; ends early when `shutdown`
/// completes. Predictions are sealed before the first packet leaves.
///
/// # Errors
/// [`RunError`] when the run could not be done. A contradiction is a result, not an error.
pub async fn run(
    config: RunConfig,
    listener: TcpListener,
    progress: impl Fn(Progress) + Send + Sync,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Report, RunError> {
    let (world, settings, order) = config.into_parts();
    let mut entry = Entry::open(listener, settings)?;
    let fleet = entry.fleet().clone();
    let report = tokio::select! {
        report = run_once(&world, &fleet, &order, &progress, shutdown) => report,
        () = entry.ended() => Err(RunError::ServerEnded),
    };
    entry.close().await;
    report
}
