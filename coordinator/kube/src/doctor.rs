//! Whether Kubernetes can be read, in lines for people: the API server, then each right.

use crate::access::{Account, CheckedRight, RightState, check_rights};
use crate::connect::{ApiServer, Entry};
use crate::error::ConnectError;
use crate::limits::Limits;

/// One line of the examination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at: `kubernetes api server`, `kubernetes: list, watch pods`.
    pub subject: String,
    /// What came of it.
    pub state: CheckState,
    /// What was seen; may be empty.
    pub detail: String,
    /// What to do about it; empty when nothing is to be done.
    pub mend: String,
}

/// What came of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckState {
    /// It is as it must be.
    Ok,
    /// It is not.
    Missing,
    /// It could not be found out.
    Unknown,
}

/// Examines the way to the API server and every right that `account` needs; always the same lines in the same order.
///
/// Without an API server, the rights are unknown.
pub async fn examine(entry: &Entry, limits: Limits, account: &Account) -> Vec<Check> {
    match ApiServer::connect(entry, limits).await {
        Ok(server) => {
            let mut checks = vec![reached(&server)];
            checks.extend(check_rights(&server, account).await.iter().map(line));
            checks
        }
        Err(error) => {
            let rights = account.rights();
            let unknown = rights.iter().map(|right| Check {
                subject: format!("kubernetes: {right}"),
                state: CheckState::Unknown,
                detail: "there is no API server to ask".to_owned(),
                mend: String::new(),
            });
            std::iter::once(missed(&error)).chain(unknown).collect()
        }
    }
}

fn reached(server: &ApiServer) -> Check {
    Check {
        subject: "kubernetes api server".to_owned(),
        state: CheckState::Ok,
        detail: format!("{} {}", server.url(), server.version())
            .trim_end()
            .to_owned(),
        mend: String::new(),
    }
}

fn missed(error: &ConnectError) -> Check {
    let text = error.to_string();
    let (detail, mend) = text.split_once(": ").unwrap_or((&text, ""));
    Check {
        subject: "kubernetes api server".to_owned(),
        state: CheckState::Missing,
        detail: std::error::Error::source(error)
            .map_or_else(|| detail.to_owned(), |cause| format!("{detail}: {cause}")),
        mend: mend.to_owned(),
    }
}

fn line(checked: &CheckedRight) -> Check {
    let subject = format!("kubernetes: {}", checked.right);
    match &checked.state {
        RightState::Held => Check {
            subject,
            state: CheckState::Ok,
            detail: String::new(),
            mend: String::new(),
        },
        RightState::Missing { verbs } => Check {
            subject,
            state: CheckState::Missing,
            detail: format!("may not {}", verbs.join(", ")),
            mend: format!("add the rule {}", checked.right.rule()),
        },
        RightState::Unknown(error) => Check {
            subject,
            state: CheckState::Unknown,
            detail: error.to_string(),
            mend: "run this again when the API server answers".to_owned(),
        },
    }
}
