//! Whether Kubernetes can be read, in lines for people: the API server, then the rights there.

use std::error::Error;

use reachproof_model::examination::{Check, CheckState};

use crate::access::{Account, CheckedRight, Right, RightState, Scope, check, check_rights};
use crate::connect::{ApiServer, Entry};
use crate::dial::{dial_right, log_right};
use crate::error::ConnectError;
use crate::limits::Limits;

/// What is looked at, in the order in which one thing needs the other.
pub const SUBJECTS: [&str; 3] = [SERVER, RIGHTS, DIALS];

/// The API server and the way to it.
pub const SERVER: &str = "api server";
/// The rights of the account there.
pub const RIGHTS: &str = "kubernetes rights";

/// The right to let API servers connect to agents.
pub const DIALS: &str = "control plane as source";

/// Namespaces of the agents that `reachproof manifests` prints.
const AGENT_NAMESPACES: [&str; 2] = ["reachproof", "reachproof-host"];

/// That of the agents on the pod network among them: a log leads to the kubelets of their nodes.
const POD_NAMESPACES: [&str; 1] = ["reachproof"];

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
    examination.checks.push(dials(&server).await);
}

fn reached(server: &ApiServer) -> Check {
    let detail = format!("{} {}", server.url(), server.version());
    Check::new(SERVER, CheckState::Ok, detail.trim_end(), "")
}

/// Whether API servers may be asked to connect to agents; nothing else depends on it.
async fn dials(server: &ApiServer) -> Check {
    let pods = lacking(server, AGENT_NAMESPACES.map(dial_right)).await;
    let logs = lacking(server, POD_NAMESPACES.map(log_right)).await;
    let lacking: Vec<String> = pods.into_iter().chain(logs).collect();
    if lacking.is_empty() {
        let detail = "API servers may be asked to connect to agents";
        return Check::new(DIALS, CheckState::Ok, detail, "");
    }
    let detail = format!(
        "what the control plane reaches is predicted alone: no `get` on {}",
        lacking.join("; ")
    );
    let remedy = "apply what `reachproof manifests` prints, or grant it there";
    Check::new(DIALS, CheckState::Unknown, detail, remedy)
}

/// The object that rights are for, with the namespaces in which they are not held; nothing where all are.
async fn lacking<const N: usize>(server: &ApiServer, rights: [Right; N]) -> Option<String> {
    let mut namespaces = Vec::new();
    let mut object = "";
    for right in &rights {
        if let Scope::Namespace(namespace) = &right.scope
            && !matches!(check(server, right).await, RightState::Held)
        {
            namespaces.push(namespace.as_str());
            object = right.resource;
        }
    }
    (!namespaces.is_empty()).then(|| format!("{object} in {}", namespaces.join(", ")))
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
