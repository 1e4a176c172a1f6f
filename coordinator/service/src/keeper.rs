//! Where the last run's result is kept for whoever cannot reach this process.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use reachproof_verify::report::kept::{KEPT_BYTES_MAX, Kept};
use tokio::time::timeout;
use tracing::warn;

/// Longest time for it: the next run waits so long.
const KEEP_WAIT: Duration = Duration::from_secs(30);

/// A text on its way to where it is kept.
pub type Keeping<'a> = Pin<Box<dyn Future<Output = Result<(), KeepingError>> + Send + 'a>>;

/// Why it is not kept.
pub type KeepingError = Box<dyn Error + Send + Sync>;

/// Keeps a text in the place of the one before.
pub trait Keeper: Send + Sync {
    /// Keeps `text`, at most [`KEPT_BYTES_MAX`] bytes.
    fn keep<'a>(&'a self, text: &'a str) -> Keeping<'a>;
}

/// Keeps what came of a run. One that cannot be kept is told in the log: the store has it all the same.
pub(crate) async fn keep(keeper: &dyn Keeper, kept: Kept) {
    let run = kept.run.clone();
    let failure: KeepingError = match kept.within(KEPT_BYTES_MAX) {
        Ok(text) => match timeout(KEEP_WAIT, keeper.keep(&text)).await {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(late) => late.into(),
        },
        Err(failure) => failure.into(),
    };
    let failure = reachproof_model::words::chain(failure.as_ref());
    warn!(run, failure, "the result is not kept in the cluster");
}
