//! What the cluster says by itself of the flows of an expectation (control-plane.md, "Free evidence").
//!
//! Signs are named beside findings and decide nothing: a kubelet may be silent because it was stopped, an aggregated API
//! unavailable because its pod fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::ExpectationName;
use crate::flow::Flow;
use crate::snapshot::{Backend, BackendCaller, Node, Snapshot, StatusCondition};

/// Most names that one sign lists; the rest is counted.
pub const SIGN_NAMES_MAX: usize = 5;

/// Most characters of one sign's text: a message of an API server may be long.
const TEXT_MAX: usize = 400;

/// Why an aggregated API is unavailable for reasons of the network: other reasons are no such evidence (G.2).
const NOT_REACHED: &str = "FailedDiscoveryCheck";

/// What the cluster says of some of its nodes, or of an aggregated API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sign {
    /// Whether that speaks for open flows.
    pub speaks: Speaks,
    /// Of whom, at most [`SIGN_NAMES_MAX`], sorted: `node NAME`, `APIService NAME`; raw text.
    pub of: Vec<String>,
    /// Of how many it says so.
    pub count: usize,
    /// What it says; raw text.
    pub text: String,
}

/// What a sign speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaks {
    /// Somebody is not heard or not reached.
    Against,
    /// Something is wrong that says nothing of the network.
    Neither,
    /// Everybody is heard and reached.
    For,
}

impl fmt::Display for Sign {
    /// Writes whom it is about and what it says, raw text of the snapshot.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.of.join(", "))?;
        if let Some(more) = self
            .count
            .checked_sub(self.of.len())
            .filter(|more| *more > 0)
        {
            write!(formatter, " and {more} more")?;
        }
        write!(formatter, ": {}", self.text)
    }
}

/// Lists what the cluster says of the flows of an expectation: what speaks against them first.
///
/// Of kubelets and their nodes: the condition Ready and the lease. Both tell that the kubelet reaches an API server and that
/// it runs, not that an API server reaches it. Of an aggregated API: the condition Available, which one of the API servers
/// wrote after it tried.
#[must_use]
pub fn signs(
    snapshot: &Snapshot,
    (name, subject): (&ExpectationName, Option<&str>),
    flows: &[Flow],
) -> Vec<Sign> {
    let end: fn(&Flow) -> IpAddr = match name {
        ExpectationName::ControlPlaneToKubelet | ExpectationName::MetricsToKubelet => {
            |flow| flow.destination
        }
        ExpectationName::NodeToControlPlane => |flow| flow.source,
        ExpectationName::ControlPlaneToApiService => {
            let mut backends = snapshot.backends().iter();
            let own = backends.find(|backend| Some(backend.to_string().as_str()) == subject);
            return own.and_then(of_backend).into_iter().collect();
        }
        ExpectationName::PodToControlPlane
        | ExpectationName::PodToCoreDns
        | ExpectationName::NodeToCoreDns
        | ExpectationName::ControlPlaneToWebhook
        | ExpectationName::Own(_) => return Vec::new(),
    };
    let mut said: BTreeMap<(Speaks, String), BTreeSet<String>> = BTreeMap::new();
    for flow in flows {
        if let Some((node, what)) = snapshot.node_at(end(flow)).and_then(of_node) {
            said.entry(what).or_default().insert(node);
        }
    }
    let signs = said.into_iter().map(|((speaks, text), nodes)| Sign {
        speaks,
        count: nodes.len(),
        of: nodes.into_iter().take(SIGN_NAMES_MAX).collect(),
        text,
    });
    signs.collect()
}

/// What is said of a node, if anything is.
fn of_node(node: &Node) -> Option<(String, (Speaks, String))> {
    let mut parts = Vec::new();
    let mut speaks = Speaks::For;
    if let Some(ready) = &node.ready {
        // A kubelet that says itself that it is not ready is heard.
        speaks = match ready.status.as_str() {
            "True" => Speaks::For,
            "False" => Speaks::Neither,
            _ => Speaks::Against,
        };
        parts.push(told("Ready", ready));
    }
    match &node.lease {
        Some(lease) if lease.is_kept() => parts.push("lease renewed in time".to_owned()),
        Some(lease) => {
            speaks = Speaks::Against;
            let seconds = lease.lasts.as_secs();
            parts.push(format!("lease not renewed for more than {seconds} s"));
        }
        None => {}
    }
    (!parts.is_empty()).then(|| (format!("node {}", node.name), (speaks, parts.join(", "))))
}

/// What is said of a backend, if it is one of an aggregated API.
fn of_backend(backend: &Backend) -> Option<Sign> {
    let BackendCaller::ApiService { name, .. } = &backend.caller else {
        return None;
    };
    let available = backend.available.as_ref()?;
    let speaks = match (available.status.as_str(), available.reason.as_str()) {
        ("True", _) => Speaks::For,
        (_, NOT_REACHED) => Speaks::Against,
        (_, _) => Speaks::Neither,
    };
    Some(Sign {
        speaks,
        of: vec![format!("APIService {name}")],
        count: 1,
        text: told("Available", available),
    })
}

/// A condition in words, as long as a line may be.
fn told(kind: &str, condition: &StatusCondition) -> String {
    let reason = match condition.reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    let message = match condition.message.as_str() {
        "" => String::new(),
        message => format!(": {message}"),
    };
    let text = format!("{kind} is {}{reason}{message}", condition.status);
    text.chars().take(TEXT_MAX).collect()
}
