//! Whether Kubernetes can be read, in lines for people: the API server, then the rights there.

use std::error::Error;

use reachproof_model::examination::{Check, CheckState};

use crate::access::{Account, CheckedRight, RightState, check_rights};
use crate::connect::{ApiServer, Entry};
use crate::error::ConnectError;
use crate::limits::Limits;

/// What is looked at, in the order in which one thing needs the other.
pub const SUBJECTS: [&str; 2] = [SERVER, RIGHTS];

/// The API server and the way to it.
pub const SERVER: &str = "api server";
/// The rights of the account there.
pub const RIGHTS: &str = "kubernetes rights";

/// What was found so far. Whoever waits no longer has what was found until then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examination {
    /// The lines, one of each subject at most, in the order of [`SUBJECTS`].
    pub checks: Vec<Check>,
    /// Address of the API server, as the configuration has it, also where nothing answers there.
    pub url: Option<String>,
}

/// Examines the way to the API server and every right that `account` needs.
///
/// Without an API server, no right is asked for.
pub async fn examine(
    entry: &Entry,
    limits: Limits,
    account: &Account,
    examination: &mut Examination,
) {
    let server = match ApiServer::connect(entry, limits).await {
        Ok(server) => server,
        Err(error) => {
            examination.url = error.url().map(str::to_owned);
            examination.checks.push(missed(&error));
            return;
        }
    };
    examination.url = Some(server.url().to_owned());
    examination.checks.push(reached(&server));
    let checked = check_rights(&server, account).await;
    examination.checks.push(rights(&checked));
}

fn reached(server: &ApiServer) -> Check {
    let detail = format!("{} {}", server.url(), server.version());
    Check::new(SERVER, CheckState::Ok, detail.trim_end(), "")
}

fn missed(error: &ConnectError) -> Check {
    Check {
        evidence: causes(error.source()),
        ..Check::new(SERVER, CheckState::Missing, error.cause(), error.remedy())
    }
}

/// The messages from `error` down, joined by colons.
fn causes(mut error: Option<&dyn Error>) -> String {
    let mut words = Vec::new();
    while let Some(cause) = error {
        words.push(cause.to_string());
        error = cause.source();
    }
    words.join(": ")
}

/// One line for all rights: what is missing is one thing to mend, a role that lacks rules.
fn rights(checked: &[CheckedRight]) -> Check {
    let mut refused = Vec::new();
    let mut rules = Vec::new();
    for one in checked {
        if let RightState::Missing { verbs } = &one.state {
            refused.push(format!("{} {}", verbs.join(", "), one.right.object()));
            rules.push(one.right.rule());
        }
    }
    if let [rule, others @ ..] = rules.as_slice() {
        let remedy = if others.is_empty() {
            format!("add the rule {rule}")
        } else {
            "grant them as in deploy/rbac-reader.yaml".to_owned()
        };
        let detail = format!("access denied: {}", refused.join("; "));
        return Check::new(RIGHTS, CheckState::Missing, detail, remedy);
    }
    let unheard = checked.iter().find_map(|one| match &one.state {
        RightState::Unknown(error) => Some((&one.right, error)),
        RightState::Held | RightState::Missing { .. } => None,
    });
    match unheard {
        Some((right, error)) => Check {
            evidence: causes(Some(error)),
            ..Check::new(
                RIGHTS,
                CheckState::Unknown,
                format!("nobody said whether the account may {right}"),
                "run this again when the API server answers",
            )
        },
        None => Check::new(
            RIGHTS,
            CheckState::Ok,
            format!("all {} are held", checked.len()),
            "",
        ),
    }
}
