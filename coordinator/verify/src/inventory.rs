//! Who should have an agent and has none, and what the model says about the way to the coordinator.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use reachproof_model::expectation::agent_of;
use reachproof_model::expectation::members::{ClusterMember, cluster_members};
use reachproof_model::flow::Flow;
use reachproof_model::plan::{Roster, RosterAgent};
use reachproof_model::predict::predict;
use reachproof_model::prediction::Prediction;
use reachproof_model::snapshot::{Owner, Snapshot};
use serde::Serialize;

use crate::config::ExpectedAgents;

/// An agent that was expected and never came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingAgent {
    /// Name of the agent, node or pod; raw text of snapshot or file.
    pub name: String,
    /// Where it should run, as far as the snapshot says.
    pub addresses: Vec<IpAddr>,
    /// Why it did not come, as far as the model can tell.
    pub explanation: Explanation,
}

/// Why an agent did not come, as far as the model can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Explanation {
    /// The model's word for its way to the coordinator.
    Predicted {
        /// Where the coordinator listens.
        coordinator: SocketAddr,
        /// What the model says.
        prediction: Box<Prediction>,
    },
    /// The coordinator listens outside the snapshot (another network, a wildcard or loopback address).
    CoordinatorOutsideModel {
        /// Where it listens.
        coordinator: SocketAddr,
    },
    /// The snapshot has no address for it.
    NotInSnapshot,
}

/// Whether everybody who is expected has come.
pub fn is_complete(expected: &ExpectedAgents, snapshot: &Snapshot, agents: &[RosterAgent]) -> bool {
    match expected {
        ExpectedAgents::Count(count) => agents.len() >= *count,
        ExpectedAgents::Names(names) => names
            .iter()
            .all(|name| agents.iter().any(|agent| agent.name.as_str() == name)),
        ExpectedAgents::Inventory => {
            let roster = Roster::new(agents.iter().cloned());
            let expected = inventory(snapshot);
            !expected.is_empty() && absent(snapshot, &roster, expected).is_empty()
        }
    }
}

/// How many agents are expected.
pub fn expected_count(expected: &ExpectedAgents, snapshot: &Snapshot) -> usize {
    match expected {
        ExpectedAgents::Count(count) => *count,
        ExpectedAgents::Names(names) => names.len(),
        ExpectedAgents::Inventory => inventory(snapshot).len(),
    }
}

/// Those who are expected and have not come, each explained.
///
/// A bare count says how many, not who: then nodes and Fargate pods without an agent are listed as long as agents are
/// missing.
pub fn missing(
    expected: &ExpectedAgents,
    snapshot: &Snapshot,
    roster: &Roster,
    coordinator: SocketAddr,
) -> Vec<MissingAgent> {
    let explain = |member: ClusterMember| MissingAgent {
        explanation: explanation(snapshot, &member.addresses, coordinator),
        name: member.name,
        addresses: member.addresses,
    };
    match expected {
        ExpectedAgents::Inventory => absent(snapshot, roster, inventory(snapshot))
            .into_iter()
            .map(explain)
            .collect(),
        ExpectedAgents::Count(count) => absent(snapshot, roster, inventory(snapshot))
            .into_iter()
            .take(count.saturating_sub(roster.len()))
            .map(explain)
            .collect(),
        ExpectedAgents::Names(names) => missing_names(names, snapshot, roster)
            .map(|(name, addresses)| MissingAgent {
                name,
                explanation: explanation(snapshot, &addresses, coordinator),
                addresses,
            })
            .collect(),
    }
}

/// Names without an agent, with the addresses of the node or pod of that name.
fn missing_names<'a>(
    names: &'a BTreeSet<String>,
    snapshot: &Snapshot,
    roster: &'a Roster,
) -> impl Iterator<Item = (String, Vec<IpAddr>)> {
    let members = cluster_members(snapshot, roster);
    names
        .iter()
        .filter(|name| !roster.agents().any(|agent| agent.name.as_str() == *name))
        .map(move |name| {
            let all = members
                .nodes
                .iter()
                .chain(&members.fargate)
                .chain(&members.pods);
            let addresses = all
                .filter(|member| {
                    member.name == *name || member.name.rsplit('/').next() == Some(name)
                })
                .map(|member| member.addresses.clone())
                .next()
                .unwrap_or_default();
            (name.clone(), addresses)
        })
}

/// Every node and Fargate pod of the snapshot: each should have an agent (DESIGN 5).
fn inventory(snapshot: &Snapshot) -> Vec<ClusterMember> {
    let members = cluster_members(snapshot, &Roster::default());
    members.nodes.into_iter().chain(members.fargate).collect()
}

/// Those of `expected` at which no agent runs.
fn absent(
    snapshot: &Snapshot,
    roster: &Roster,
    expected: Vec<ClusterMember>,
) -> Vec<ClusterMember> {
    expected
        .into_iter()
        .filter(|member| agent_of(snapshot, roster, member).is_none())
        .collect()
}

/// What the model says about the way from `addresses` to the coordinator.
fn explanation(snapshot: &Snapshot, addresses: &[IpAddr], coordinator: SocketAddr) -> Explanation {
    let target = coordinator.ip();
    let source = addresses
        .iter()
        .find(|address| address.is_ipv4() == target.is_ipv4());
    let Some(source) = source else {
        return Explanation::NotInSnapshot;
    };
    match snapshot.owner(target) {
        Owner::Nobody => Explanation::CoordinatorOutsideModel { coordinator },
        Owner::One(_) | Owner::Several(_) => {
            let flow = Flow::tcp(*source, target, coordinator.port());
            Explanation::Predicted {
                coordinator,
                prediction: Box::new(predict(snapshot, &flow)),
            }
        }
    }
}
