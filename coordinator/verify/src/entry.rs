//! The one-run entry: a fleet and its control server for as long as one run takes.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config::RunConfig;
use crate::control::{ControlConfig, serve};
use crate::error::RunError;
use crate::fleet::{ARRIVALS_MAX, Fleet};
use crate::progress::Progress;
use crate::report::Report;
use crate::run::run as run_once;

/// How long the control server may take to end after the run.
const SERVER_END_WAIT: Duration = Duration::from_secs(2);

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
    let fleet = Fleet::new(listener.local_addr().map_err(RunError::Listener)?);
    let (world, entry, order) = config.into_parts();
    let (arrive, arrivals) = mpsc::channel(ARRIVALS_MAX);
    let control = ControlConfig::new(entry, fleet.expected(), fleet.refused(), arrive)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = serve(listener, control, async {
        // An error is the sender dropped: the run is over as well.
        drop(stopped.await);
    });
    let mut server = tokio::spawn(server);
    let streams = tokio::spawn(fleet.clone().serve(arrivals));
    let report = tokio::select! {
        report = run_once(&world, &fleet, &order, &progress, shutdown) => report,
        _ = &mut server => Err(RunError::ServerEnded),
    };
    fleet.close();
    streams.abort();
    // An error says that it was aborted.
    drop(streams.await);
    drop(stop);
    // A client that keeps its connection open does not keep the report back.
    if !server.is_finished() && timeout(SERVER_END_WAIT, &mut server).await.is_err() {
        server.abort();
    }
    report
}
