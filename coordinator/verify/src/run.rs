//! One run, forward only (STYLE 2).

use std::future::Future;

use tokio::net::TcpListener;

use crate::config::RunConfig;
use crate::error::RunError;
use crate::progress::Progress;
use crate::report::Report;

/// Does one run: read, decode, gather, plan, predict, probe, re-read, compare, report.
///
/// Serves agents on `listener` until the run is over; tells `progress` what happens; ends early when `shutdown`
/// completes.
///
/// # Errors
/// [`RunError`] when the run could not be done. A contradiction is a result, not an error.
pub async fn run(
    config: RunConfig,
    listener: TcpListener,
    progress: impl Fn(Progress) + Send + Sync,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Report, RunError> {
    let address = listener.local_addr().map_err(RunError::Listener)?;
    progress(Progress::Gathering {
        expected: None,
        wait: config.wait,
    });
    tokio::select! {
        () = shutdown => Err(RunError::Interrupted),
        () = tokio::time::sleep(config.wait) => Err(RunError::NoAgents { wait_s: config.wait.as_secs(), address }),
    }
}
