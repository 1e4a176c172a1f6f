//! One reading's calls: how many at once, how pages are followed, what is written down.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::call::Call;
use crate::connection::Pace;
use crate::error::{CallError, Failure};

/// How many calls are in flight at once, so that a reading leaves the account's request rate to others [H.2, R-12].
pub const CALLS_IN_FLIGHT_MAX: usize = 2;

/// How many pages one list may have: a thousand pages of a thousand items are more than a Region's quotas allow.
const PAGES_MAX: usize = 1000;

/// How often one page is asked for again when its answer was cut off. The SDK does not retry an answer that our own
/// check refuses (ARCHITECTURE, "Reading AWS").
const CUT_RETRIES_MAX: usize = 2;

/// One call with all its pages, as it went; for the log and the run's report, never for the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// Which call.
    pub call: Call,
    /// The VPC, cluster, number of ids or list that it asked for.
    pub subject: String,
    /// Pages received; 1 for calls without pages.
    pub pages: usize,
    /// Items received in all pages.
    pub items: usize,
    /// From the first request to the last answer, waits for other calls included.
    pub took: Duration,
}

impl fmt::Display for CallRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            call,
            subject,
            pages,
            items,
            took,
        } = self;
        write!(
            formatter,
            "{call} {subject}: items: {items}, pages: {pages}, {} ms",
            took.as_millis()
        )
    }
}

/// Is told of every call that has ended well.
pub type Progress<'a> = dyn Fn(&CallRecord) + Send + Sync + 'a;

/// One page of a list.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// What all calls of one reading share.
pub(crate) struct Session<'a> {
    permits: Semaphore,
    pace: Pace,
    started: Instant,
    progress: &'a Progress<'a>,
    records: Mutex<Vec<CallRecord>>,
}

impl<'a> Session<'a> {
    /// Starts the clock of a reading.
    pub(crate) fn start(pace: Pace, progress: &'a Progress<'a>) -> Self {
        Self {
            permits: Semaphore::new(CALLS_IN_FLIGHT_MAX),
            pace,
            started: Instant::now(),
            progress,
            records: Mutex::new(Vec::new()),
        }
    }

    /// The calls so far, in the order of their ends, and the time since the start.
    pub(crate) fn finish(self) -> (Vec<CallRecord>, Duration) {
        let took = self.started.elapsed();
        (
            self.records
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            took,
        )
    }

    /// Makes one call that has no pages.
    pub(crate) async fn once<T, F, A>(
        &self,
        call: Call,
        subject: &str,
        fetch: F,
    ) -> Result<T, CallError>
    where
        F: Fn() -> A,
        A: Future<Output = Result<T, Failure>>,
    {
        let begun = Instant::now();
        let answer = self
            .page(&fetch)
            .await
            .map_err(|failure| failed(call, subject, failure))?;
        self.note(CallRecord {
            call,
            subject: subject.to_owned(),
            pages: 1,
            items: 1,
            took: begun.elapsed(),
        });
        Ok(answer)
    }

    /// Follows a list to its end, with a loop of our own.
    ///
    /// The SDK's paginator takes a repeated token for the end and never leaves a cycle of tokens [H.2, tried]. An
    /// empty page with a token is legal and an empty token is the end \[EC2M\].
    ///
    /// # Errors
    /// [`Failure::TokenRepeated`], [`Failure::PagesUnending`], or the failure of a page; the pages before it are
    /// dropped with it.
    pub(crate) async fn pages<T, F, A>(
        &self,
        call: Call,
        subject: &str,
        fetch: F,
    ) -> Result<Vec<T>, CallError>
    where
        F: Fn(Option<String>) -> A,
        A: Future<Output = Result<Page<T>, Failure>>,
    {
        let begun = Instant::now();
        let mut items = Vec::new();
        let mut seen = HashSet::new();
        let mut token = None;
        for page in 1..=PAGES_MAX {
            let answer = self
                .page(|| fetch(token.clone()))
                .await
                .map_err(|failure| failed(call, subject, failure))?;
            items.extend(answer.items);
            let Some(next) = answer.next.filter(|next| !next.is_empty()) else {
                let record = CallRecord {
                    call,
                    subject: subject.to_owned(),
                    pages: page,
                    items: items.len(),
                    took: begun.elapsed(),
                };
                self.note(record);
                return Ok(items);
            };
            if !seen.insert(next.clone()) {
                return Err(failed(call, subject, Failure::TokenRepeated { page }));
            }
            token = Some(next);
        }
        Err(failed(
            call,
            subject,
            Failure::PagesUnending { limit: PAGES_MAX },
        ))
    }

    /// Fetches one page within the limits; asks again after a cut answer, and while the account is throttled.
    async fn page<T, F, A>(&self, fetch: F) -> Result<T, Failure>
    where
        F: Fn() -> A,
        A: Future<Output = Result<T, Failure>>,
    {
        let mut cuts = 0;
        let mut pause = self.pace.first_backoff;
        loop {
            let outcome = match self.permits.acquire().await {
                Ok(_permit) => Box::pin(fetch()).await,
                // Invariant: the semaphore is never closed; without it the call still may be made.
                Err(_closed) => Box::pin(fetch()).await,
            };
            match outcome {
                Err(Failure::Cut { .. }) if cuts < CUT_RETRIES_MAX => cuts += 1,
                Err(Failure::Throttled { .. })
                    if self.started.elapsed() + pause < self.pace.reading_time_max => {}
                outcome => return outcome,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.pace.longest_backoff);
        }
    }

    fn note(&self, record: CallRecord) {
        (self.progress)(&record);
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
    }
}

fn failed(call: Call, subject: &str, failure: Failure) -> CallError {
    CallError {
        call,
        subject: subject.to_owned(),
        failure,
    }
}
