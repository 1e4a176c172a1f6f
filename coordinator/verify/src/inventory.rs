//! Who should have an agent and has none, and what the model says about the way to the coordinator.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use reachproof_model::expectation::agent_of;
use reachproof_model::expectation::members::{ClusterMember, cluster_members};
use reachproof_model::flow::Flow;
use reachproof_model::plan::{Roster, RosterAgent};
use reachproof_model::predict::predict;
use reachproof_model::prediction::{Prediction, Verdict};
use reachproof_model::snapshot::{Owner, Snapshot};
use serde::{Deserialize, Serialize};

use crate::config::ExpectedAgents;

/// An agent that was expected and never came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingAgent {
    /// Name of the agent, node or pod; raw text of snapshot or file.
    pub name: String,
    /// Where it should run, as far as the snapshot says.
    pub addresses: Vec<IpAddr>,
    /// Why it did not come, as far as the model can tell.
    pub explanation: Explanation,
}

/// Why an agent did not come, as far as the model can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// What the model says about the ways from where agents should run to the coordinator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    /// Nodes and Fargate pods whose agents get through, by name.
    pub open: Vec<String>,
    /// Those that do not, each with the prediction that says so.
    pub stopped: Vec<MissingAgent>,
    /// Those about which the model cannot tell.
    pub unsaid: Vec<MissingAgent>,
}

/// Asks the model about the way from every node and Fargate pod to `coordinator`, before any agent runs.
pub fn ways(snapshot: &Snapshot, coordinator: SocketAddr) -> Ways {
    let mut ways = Ways::default();
    let everybody = missing(
        &ExpectedAgents::Inventory,
        snapshot,
        &Roster::default(),
        coordinator,
    );
    for agent in everybody {
        match &agent.explanation {
            Explanation::Predicted { prediction, .. } => match &prediction.verdict {
                // A flow that crosses no security group gets through as well.
                Verdict::Allow { .. } | Verdict::Bypass(_) | Verdict::Exempt(_) => {
                    ways.open.push(agent.name);
                }
                Verdict::Deny(_) => ways.stopped.push(agent),
                Verdict::Partial { .. } | Verdict::Unknown(_) => ways.unsaid.push(agent),
            },
            Explanation::CoordinatorOutsideModel { .. } | Explanation::NotInSnapshot => {
                ways.unsaid.push(agent);
            }
        }
    }
    ways
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

/// Every node and Fargate pod of the snapshot: each should have an agent (ARCHITECTURE, "Agents and ports").
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use reachproof_model::describe::parse;
    use reachproof_model::flow::EPHEMERAL_PORTS_DEFAULT;
    use reachproof_model::observation::AgentName;
    use reachproof_model::plan::AgentKind;
    use serde_json::Value;

    use super::*;

    /// The base world of SEMANTICS J: instances with 10.0.1.20, 10.0.2.20 and 10.0.1.40 in the cluster's VPC.
    fn snapshot() -> Snapshot {
        let vector = include_str!("../../../tests/vectors/A01.json");
        let Value::Object(mut vector) = parse(vector).unwrap() else {
            unreachable!("a vector is an object");
        };
        let Some(Value::Object(answers)) = vector.remove("snapshot") else {
            unreachable!("a vector has a snapshot");
        };
        Snapshot::decode(&answers.into()).unwrap().snapshot
    }

    /// An agent on a node.
    fn agent(name: &str, address: &str) -> RosterAgent {
        RosterAgent {
            name: AgentName::try_from(name).unwrap(),
            node: None,
            kind: AgentKind::Node,
            addresses: vec![address.parse().unwrap()],
            ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
            stream_address: None,
        }
    }

    /// Those who are missing beside n1, with a coordinator at `address`.
    fn absentees(expected: &ExpectedAgents, address: &str) -> Vec<MissingAgent> {
        let roster = Roster::new([agent("n1", "10.0.1.20")]);
        missing(expected, &snapshot(), &roster, address.parse().unwrap())
    }

    #[test]
    fn a_node_without_an_agent_is_explained_by_its_way_to_the_coordinator() {
        let found = absentees(&ExpectedAgents::Inventory, "10.0.1.20:7443");
        assert_eq!(found.len(), 2);
        for absentee in &found {
            let Explanation::Predicted { prediction, .. } = &absentee.explanation else {
                unreachable!("{absentee:?}");
            };
            // D lets nothing out.
            assert!(
                prediction
                    .verdict
                    .to_string()
                    .starts_with("deny (sg-egress")
            );
        }
    }

    #[test]
    fn a_coordinator_outside_the_snapshot_explains_nothing_and_says_so() {
        for address in ["0.0.0.0:7443", "127.0.0.1:7443", "192.0.2.1:7443"] {
            let found = absentees(&ExpectedAgents::Inventory, address);
            assert!(found.iter().all(|absentee| matches!(
                absentee.explanation,
                Explanation::CoordinatorOutsideModel { .. }
            )));
        }
    }

    #[test]
    fn ways_to_a_coordinator_are_open_or_stopped_as_the_model_says_and_unsaid_outside_of_it() {
        let snapshot = snapshot();
        // n2 admits tcp/8080 from the VPC; D, which n2 and n3 carry, lets nothing out.
        let found = ways(&snapshot, "10.0.2.20:8080".parse().unwrap());
        assert_eq!(found.open.len(), 2, "n1, and n2 to itself: {found:?}");
        assert_eq!(found.stopped.len(), 1, "n3: {found:?}");
        assert!(found.unsaid.is_empty());
        let found = ways(&snapshot, "10.0.2.20:7443".parse().unwrap());
        assert_eq!((found.open.len(), found.stopped.len()), (1, 2));
        let found = ways(&snapshot, "192.0.2.1:7443".parse().unwrap());
        assert_eq!(found.unsaid.len(), 3);
    }

    #[test]
    fn a_count_lists_no_more_than_are_missing() {
        let found = absentees(&ExpectedAgents::Count(2), "192.0.2.1:7443");
        assert_eq!(found.len(), 1);
        assert!(absentees(&ExpectedAgents::Count(1), "192.0.2.1:7443").is_empty());
    }

    #[test]
    fn a_name_that_the_snapshot_does_not_know_is_listed_as_such() {
        let names = ["n1", "stranger"].map(str::to_owned).into();
        let found = absentees(&ExpectedAgents::Names(names), "192.0.2.1:7443");
        assert_eq!(found.len(), 1);
        assert_eq!(
            found.first().unwrap().explanation,
            Explanation::NotInSnapshot
        );
    }

    #[test]
    fn a_run_waits_for_whom_it_expects() {
        let snapshot = snapshot();
        let all = [
            agent("n1", "10.0.1.20"),
            agent("n2", "10.0.2.20"),
            agent("n3", "10.0.1.40"),
        ];
        let two = all.get(..2).unwrap();
        assert!(is_complete(&ExpectedAgents::Inventory, &snapshot, &all));
        assert!(!is_complete(&ExpectedAgents::Inventory, &snapshot, two));
        assert!(is_complete(&ExpectedAgents::Count(2), &snapshot, two));
        assert!(!is_complete(&ExpectedAgents::Count(3), &snapshot, two));
        let names = ExpectedAgents::Names(["n1", "n3"].map(str::to_owned).into());
        assert!(is_complete(&names, &snapshot, &all));
        assert!(!is_complete(&names, &snapshot, two));
    }
}
