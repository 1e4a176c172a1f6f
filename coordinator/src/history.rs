//! Reports that a cluster keeps: what `verify --keep` writes and `history` reads.
//!
//! The client of Kubernetes and a report do not know each other (ARCHITECTURE, "Floors"); this is where they are joined.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use reachproof_kube::history::{History, HistoryError, Kept, Notice, REPORT_BYTES_MAX};
use reachproof_kube::{ApiServer, ConnectError, Entry, Limits};
use reachproof_verify::Report;
use reachproof_verify::calendar::utc;
use reachproof_verify::report::Allowed;
use reachproof_verify::report::document::DocumentError;
use reachproof_verify::report::human::why;
use serde::Serialize;
#[cfg(feature = "serve")]
use serde_json::Value;
use thiserror::Error;

#[cfg(feature = "serve")]
use crate::remote::text;

/// Verdict of a run that came to no report.
const NO_REPORT: &str = "ERROR";

/// What is known of a kept report without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entered {
    /// Names the run.
    pub(crate) run: String,
    /// Start of the run, milliseconds since 1970.
    pub(crate) started_at_unix_ms: u64,
    /// `PASS`, `FAIL`, `UNSURE`, or `ERROR` where the run could not be done; raw text.
    pub(crate) verdict: String,
    /// Exit code of the run.
    pub(crate) exit: u8,
    /// Why; raw text.
    pub(crate) why: String,
    /// Flows of the run.
    pub(crate) flows: usize,
    /// Contradictions of the run.
    pub(crate) contradictions: usize,
    /// What was left out of the report for want of room; empty where all is there. Raw text.
    pub(crate) left_out: String,
}

/// Reports could not be kept or shown.
#[derive(Debug, Error)]
pub(crate) enum KeepError {
    /// Nobody says which cluster keeps it.
    #[error("--keep needs an API server: pass --cluster or --kubeconfig")]
    NoApiServer,
    /// The API server could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The API server did not do what was asked.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The report could not be written as JSON.
    #[error("cannot pack the report")]
    Pack(#[source] std::io::Error),
    /// There is no such report.
    #[error("the cluster keeps no report `{run}`: `reachproof history` lists them")]
    NoSuchRun {
        /// What was asked for.
        run: String,
    },
    /// What is kept under this name is no report.
    #[error("cannot read the report `{run}`")]
    Document {
        /// Its run.
        run: String,
        /// What is wrong.
        #[source]
        source: DocumentError,
    },
    /// The runtime does not start.
    #[error("cannot start the runtime")]
    Runtime(#[from] std::io::Error),
}

impl Entered {
    /// What is known of `report`, whose run ended with `exit`.
    fn of(report: &Report, allowed: Allowed, exit: u8) -> Self {
        let (conclusion, reasons) = why(report, allowed);
        Self {
            run: report.run.id.clone(),
            started_at_unix_ms: report.run.started_at_unix_ms,
            verdict: conclusion.as_str().to_owned(),
            exit,
            why: reasons.join(", "),
            flows: report.findings.len(),
            contradictions: report.contradictions().count(),
            left_out: String::new(),
        }
    }

    /// What a coordinator that stays says of a run.
    #[cfg(feature = "serve")]
    pub(crate) fn of_run(run: &Value) -> Self {
        let number = |key: &str| run.get(key).and_then(Value::as_u64).unwrap_or_default();
        let count = |key: &str| usize::try_from(number(key)).unwrap_or(usize::MAX);
        let verdict = text(run, "verdict");
        Self {
            run: text(run, "id"),
            started_at_unix_ms: number("started_at_unix_ms"),
            verdict: if verdict.is_empty() {
                text(run, "state")
            } else {
                verdict
            },
            exit: u8::try_from(number("exit_code")).unwrap_or(u8::MAX),
            why: text(run, "why"),
            flows: count("flows"),
            contradictions: count("contradictions"),
            left_out: String::new(),
        }
    }

    fn of_kept(kept: &Kept) -> Self {
        let fact = |name: &str| kept.facts.get(name).cloned().unwrap_or_default();
        Self {
            run: kept.name.clone(),
            started_at_unix_ms: fact("started-at-unix-ms").parse().unwrap_or_default(),
            verdict: fact("verdict"),
            exit: fact("exit").parse().unwrap_or_default(),
            why: fact("why"),
            flows: fact("flows").parse().unwrap_or_default(),
            contradictions: fact("contradictions").parse().unwrap_or_default(),
            left_out: fact("left-out"),
        }
    }

    fn kept(&self) -> Kept {
        let facts = [
            ("started-at-unix-ms", self.started_at_unix_ms.to_string()),
            ("verdict", self.verdict.clone()),
            ("exit", self.exit.to_string()),
            ("why", shortened(&self.why)),
            ("flows", self.flows.to_string()),
            ("contradictions", self.contradictions.to_string()),
            ("left-out", self.left_out.clone()),
        ];
        let facts = facts.map(|(name, fact)| (name.to_owned(), fact));
        Kept {
            name: self.run.clone(),
            facts: BTreeMap::from(facts),
        }
    }

    /// What is to be said where the verdict is not that of the run before.
    fn notice(&self, before: &Self) -> Option<Notice> {
        (before.verdict != self.verdict).then(|| Notice {
            name: format!("reachproof-{}", self.run),
            reason: "VerdictChanged",
            message: format!(
                "{} after {} in {}: {}; `reachproof history {}` shows the report",
                self.verdict,
                before.verdict,
                before.run,
                shortened(&self.why),
                self.run
            ),
            is_warning: self.verdict != "PASS",
            at: utc(self.started_at_unix_ms),
        })
    }
}

/// Most characters of a reason that are kept beside the report, which has all of them.
const WHY_MAX: usize = 600;

fn shortened(text: &str) -> String {
    text.chars().take(WHY_MAX).collect()
}

/// Keeps `report` as one of the last `most`, and makes an Event where its verdict is not that of the run before.
///
/// # Errors
/// [`KeepError`]; what was kept before stays.
pub(crate) fn keep(
    entry: Option<Entry>,
    most: usize,
    (report, allowed, exit): (Report, Allowed, u8),
) -> Result<(), KeepError> {
    let mut entered = Entered::of(&report, allowed, exit);
    let packed = report.packed(REPORT_BYTES_MAX).map_err(KeepError::Pack)?;
    entered.left_out = packed.left_out.to_owned();
    write(entry, most, &entered, packed.bytes.as_deref())
}

/// Keeps that a run which began at `started_at_unix_ms` came to no report, and why.
///
/// # Errors
/// As [`keep`].
pub(crate) fn keep_failure(
    entry: Option<Entry>,
    most: usize,
    (started_at_unix_ms, why): (u64, String),
) -> Result<(), KeepError> {
    let entered = Entered {
        run: format!("none-{started_at_unix_ms}"),
        started_at_unix_ms,
        verdict: NO_REPORT.to_owned(),
        exit: 2,
        why,
        flows: 0,
        contradictions: 0,
        left_out: String::new(),
    };
    write(entry, most, &entered, None)
}

fn write(
    entry: Option<Entry>,
    most: usize,
    entered: &Entered,
    report: Option<&[u8]>,
) -> Result<(), KeepError> {
    let entry = entry.ok_or(KeepError::NoApiServer)?;
    runtime()?.block_on(async {
        let history = history(&entry).await?;
        let mut all = all(&history).await?;
        all.retain(|one| one.run != entered.run);
        history.keep(&entered.kept(), report).await?;
        for old in all.iter().skip(most.saturating_sub(1)) {
            history.forget(&old.run).await?;
        }
        let notice = all.first().and_then(|before| entered.notice(before));
        if let Some(notice) = notice {
            history.tell(&notice).await?;
        }
        Ok(())
    })
}

/// What the cluster keeps, the latest first.
///
/// # Errors
/// [`KeepError`].
pub(crate) fn list(entry: &Entry) -> Result<Vec<Entered>, KeepError> {
    runtime()?.block_on(async { all(&history(entry).await?).await })
}

/// The report of a run.
///
/// # Errors
/// [`KeepError`].
pub(crate) fn report(entry: &Entry, run: &str) -> Result<Report, KeepError> {
    let bytes = runtime()?.block_on(async {
        let found = history(entry).await?.report(run).await?;
        found.ok_or_else(|| KeepError::NoSuchRun {
            run: run.to_owned(),
        })
    })?;
    Report::from_bytes(bytes).map_err(|source| KeepError::Document {
        run: run.to_owned(),
        source,
    })
}

async fn history(entry: &Entry) -> Result<History, KeepError> {
    Ok(History::new(
        ApiServer::connect(entry, Limits::default()).await?,
    ))
}

async fn all(history: &History) -> Result<Vec<Entered>, KeepError> {
    let kept = history.list().await?;
    let mut all: Vec<Entered> = kept.iter().map(Entered::of_kept).collect();
    all.sort_by_key(|one| (Reverse(one.started_at_unix_ms), one.run.clone()));
    Ok(all)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    // The Kubernetes client takes the process's provider; a second installation changes nothing.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
