//! Who should have an agent and has none, and what the model says about the way to the coordinator.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use reachproof_model::expectation::agent_of;
use reachproof_model::expectation::members::{ClusterMember, cluster_members, host_of};
use reachproof_model::flow::Flow;
use reachproof_model::id::NodeName;
use reachproof_model::plan::{AgentKind, Roster, RosterAgent};
use reachproof_model::predict::predict;
use reachproof_model::prediction::{Prediction, Verdict};
use reachproof_model::snapshot::{Host, Leaving, Owner, Snapshot};
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

/// A node without an agent that is about to go: nobody is missed there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneAgent {
    /// Name of the agent, node or pod; raw text of snapshot or file.
    pub name: String,
    /// Where it would run.
    pub addresses: Vec<IpAddr>,
    /// What says that its node goes.
    #[serde(flatten)]
    pub leaving: Leaving,
}

/// Whether everybody who is expected has come.
pub fn is_complete(expected: &ExpectedAgents, snapshot: &Snapshot, agents: &[RosterAgent]) -> bool {
    match expected {
        ExpectedAgents::Count(count) => agents.len() >= *count,
        ExpectedAgents::Names(names) => {
            let roster = Roster::new(agents.iter().cloned());
            missing_names(names, snapshot, &roster)
                .all(|(_, addresses)| snapshot.leaving(&addresses).is_some())
        }
        ExpectedAgents::Inventory(kinds) => {
            let roster = Roster::new(agents.iter().cloned());
            let expected = inventory(snapshot, kinds);
            !expected.is_empty() && absent(snapshot, &roster, expected).next().is_none()
        }
    }
}

/// How many agents are expected: none on nodes that are about to go, unless somebody said how many in all.
pub fn expected_count(expected: &ExpectedAgents, snapshot: &Snapshot) -> usize {
    match expected {
        ExpectedAgents::Count(count) => *count,
        ExpectedAgents::Names(names) => {
            let nobody = Roster::default();
            missing_names(names, snapshot, &nobody)
                .filter(|(_, addresses)| snapshot.leaving(addresses).is_none())
                .count()
        }
        ExpectedAgents::Inventory(kinds) => inventory(snapshot, kinds)
            .iter()
            .filter(|member| snapshot.leaving(&member.addresses).is_none())
            .count(),
    }
}

/// Nodes that are about to go, as the snapshot says, and that have no agent.
///
/// With a list of names those of it.
pub fn gone(expected: &ExpectedAgents, snapshot: &Snapshot, roster: &Roster) -> Vec<GoneAgent> {
    let named: Vec<(String, Vec<IpAddr>)> = match expected {
        ExpectedAgents::Names(names) => missing_names(names, snapshot, roster).collect(),
        ExpectedAgents::Count(_) => not_attended(snapshot, roster, &BTreeSet::from(ANYWHERE)),
        ExpectedAgents::Inventory(kinds) => not_attended(snapshot, roster, kinds),
    };
    named
        .into_iter()
        .filter_map(|(name, addresses)| {
            let leaving = snapshot.leaving(&addresses)?;
            Some(GoneAgent {
                name,
                addresses,
                leaving,
            })
        })
        .collect()
}

/// Places for agents of some kinds at which none runs.
fn not_attended(
    snapshot: &Snapshot,
    roster: &Roster,
    kinds: &BTreeSet<AgentKind>,
) -> Vec<(String, Vec<IpAddr>)> {
    let attendance = Attendance::new(snapshot, roster);
    let all = inventory(snapshot, kinds).into_iter();
    all.filter(|member| !attendance.is_there(member))
        .map(|member| (member.name, member.addresses))
        .collect()
}

/// Those who are expected and have not come, each explained; without those that are [`gone`].
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
        ExpectedAgents::Inventory(kinds) => absent(snapshot, roster, inventory(snapshot, kinds))
            .map(explain)
            .collect(),
        ExpectedAgents::Count(count) => absent(
            snapshot,
            roster,
            inventory(snapshot, &BTreeSet::from(ANYWHERE)),
        )
        .take(count.saturating_sub(roster.len()))
        .map(explain)
        .collect(),
        ExpectedAgents::Names(names) => missing_names(names, snapshot, roster)
            .filter(|(_, addresses)| snapshot.leaving(addresses).is_none())
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
        &ExpectedAgents::default(),
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

/// Kinds of agents that a bare count stands for: one on every node and Fargate pod.
const ANYWHERE: [AgentKind; 2] = [AgentKind::Node, AgentKind::Fargate];

/// The places of the snapshot that should have an agent of one of `kinds` (ARCHITECTURE, "Agents and ports"): a node one in its
/// host network and one in a pod.
fn inventory(snapshot: &Snapshot, kinds: &BTreeSet<AgentKind>) -> Vec<ClusterMember> {
    let members = cluster_members(snapshot, &Roster::default());
    let in_pods = members.nodes.iter().cloned().map(|node| ClusterMember {
        kind: AgentKind::Pod,
        ..node
    });
    let in_pods: Vec<ClusterMember> = in_pods.collect();
    let all = members.nodes.into_iter().chain(in_pods);
    all.chain(members.fargate)
        .filter(|member| kinds.contains(&member.kind))
        .collect()
}

/// Who attends to the places of an [`inventory`].
struct Attendance<'a> {
    snapshot: &'a Snapshot,
    roster: &'a Roster,
    /// Nodes of agents that are pods, as they say.
    nodes: BTreeSet<&'a NodeName>,
    /// Hosts of such agents, by their addresses.
    hosts: BTreeSet<Host>,
}

impl<'a> Attendance<'a> {
    fn new(snapshot: &'a Snapshot, roster: &'a Roster) -> Self {
        let pods = || roster.agents().filter(|agent| agent.kind == AgentKind::Pod);
        let addresses = pods().flat_map(|agent| &agent.addresses);
        Self {
            snapshot,
            roster,
            nodes: pods().filter_map(|agent| agent.node.as_ref()).collect(),
            hosts: addresses
                .filter_map(|address| host_of(snapshot, *address))
                .collect(),
        }
    }

    /// Whether an agent runs where `member` should have one.
    fn is_there(&self, member: &ClusterMember) -> bool {
        if member.kind != AgentKind::Pod {
            return agent_of(self.snapshot, self.roster, member).is_some();
        }
        member.addresses.iter().any(|address| {
            let node = self.snapshot.node_at(*address);
            let host = host_of(self.snapshot, *address);
            node.is_some_and(|node| self.nodes.contains(&node.name))
                || host.is_some_and(|host| self.hosts.contains(&host))
        })
    }
}

/// Those of `expected` at which no agent runs, though nothing says that they are about to go.
fn absent<'a>(
    snapshot: &'a Snapshot,
    roster: &'a Roster,
    expected: Vec<ClusterMember>,
) -> impl Iterator<Item = ClusterMember> + 'a {
    let attendance = Attendance::new(snapshot, roster);
    expected.into_iter().filter(move |member| {
        !attendance.is_there(member) && snapshot.leaving(&member.addresses).is_none()
    })
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
    use serde_json::{Map, Value, json};

    use super::*;

    /// The base world of SEMANTICS J: instances with 10.0.1.20, 10.0.2.20 and 10.0.1.40 in the cluster's VPC.
    fn snapshot() -> Snapshot {
        Snapshot::decode(&answers().into()).unwrap().snapshot
    }

    /// The answers of that world.
    fn answers() -> Map<String, Value> {
        let vector = include_str!("../../../tests/vectors/A01.json");
        let Value::Object(mut vector) = parse(vector).unwrap() else {
            unreachable!("a vector is an object");
        };
        let Some(Value::Object(answers)) = vector.remove("snapshot") else {
            unreachable!("a vector has a snapshot");
        };
        answers
    }

    /// That world with three nodes, of which n3 has this `spec` and this `metadata` beside its name.
    fn with_nodes(spec: &Value, metadata: &Value) -> Snapshot {
        let node = |name: &str, address: &str| {
            json!({
                "metadata": {"name": name},
                "status": {"addresses": [{"type": "InternalIP", "address": address}]},
            })
        };
        let mut last = node("n3", "10.0.1.40");
        last["spec"] = spec.clone();
        let more = metadata.as_object().unwrap().clone();
        last["metadata"].as_object_mut().unwrap().extend(more);
        let nodes = [node("n1", "10.0.1.20"), node("n2", "10.0.2.20"), last];
        let list = json!({"apiVersion": "v1", "kind": "NodeList", "items": nodes});
        let mut answers = answers();
        answers.insert("nodes".to_owned(), list);
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
    fn a_node_is_attended_by_a_pod_on_it_where_pods_are_expected() {
        let world = with_nodes(&json!({}), &json!({}));
        let pods = ExpectedAgents::read("pod").unwrap();
        let pod = |name: &str, address: &str, node: Option<&str>| RosterAgent {
            kind: AgentKind::Pod,
            node: node.map(Into::into),
            ..agent(name, address)
        };
        let coordinator = "10.0.1.20:7443".parse().unwrap();
        let missed = |expected: &ExpectedAgents, agents: Vec<RosterAgent>| {
            let found = missing(expected, &world, &Roster::new(agents), coordinator);
            found.into_iter().map(|it| it.addresses).collect::<Vec<_>>()
        };
        // One says its node, one has an address of the node's interface; the third node has only an agent in its host network.
        let agents = vec![
            pod("p1", "10.9.9.9", Some("n1")),
            pod("p2", "10.0.2.20", None),
            agent("n3", "10.0.1.40"),
        ];
        let third: Vec<IpAddr> = vec!["10.0.1.40".parse().unwrap()];
        assert_eq!(missed(&pods, agents.clone()), [third]);
        assert!(!is_complete(&pods, &world, &agents));
        assert_eq!(missed(&ExpectedAgents::default(), agents).len(), 2);
        assert_eq!(expected_count(&pods, &world), 3);
        let both = ExpectedAgents::read("pod,node").unwrap();
        assert_eq!(expected_count(&both, &world), 6);
        assert_eq!(ExpectedAgents::read("pod,nobody"), None);
    }

    #[test]
    fn a_node_without_an_agent_is_explained_by_its_way_to_the_coordinator() {
        let found = absentees(&ExpectedAgents::default(), "10.0.1.20:7443");
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
            let found = absentees(&ExpectedAgents::default(), address);
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
        assert!(is_complete(&ExpectedAgents::default(), &snapshot, &all));
        assert!(!is_complete(&ExpectedAgents::default(), &snapshot, two));
        assert!(is_complete(&ExpectedAgents::Count(2), &snapshot, two));
        assert!(!is_complete(&ExpectedAgents::Count(3), &snapshot, two));
        let names = ExpectedAgents::Names(["n1", "n3"].map(str::to_owned).into());
        assert!(is_complete(&names, &snapshot, &all));
        assert!(!is_complete(&names, &snapshot, two));
    }

    #[test]
    fn a_node_that_is_about_to_go_is_gone_and_nobody_waits_for_it() {
        let taint = |key: &str| json!({"taints": [{"key": key, "effect": "NoSchedule"}]});
        let (nothing, there) = (
            json!({}),
            [agent("n1", "10.0.1.20"), agent("n2", "10.0.2.20")],
        );
        for (spec, metadata, sign) in [
            (
                json!({"unschedulable": true}),
                nothing.clone(),
                Some("it is cordoned"),
            ),
            (
                nothing.clone(),
                json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
                Some("it is being deleted"),
            ),
            (
                taint("karpenter.sh/disrupted"),
                nothing.clone(),
                Some("it has the taint karpenter.sh/disrupted"),
            ),
            (
                taint("aws-node-termination-handler/spot-itn"),
                nothing.clone(),
                Some("it has the taint aws-node-termination-handler/spot-itn"),
            ),
            // Trouble is no farewell, nor is a taint of the user's own.
            (taint("node.kubernetes.io/not-ready"), nothing.clone(), None),
            (taint("karpenter.sh/disrupted-not"), nothing.clone(), None),
            (
                json!({"unschedulable": false}),
                json!({"deletionTimestamp": null}),
                None,
            ),
        ] {
            let snapshot = with_nodes(&spec, &metadata);
            let expected = [
                ExpectedAgents::default(),
                ExpectedAgents::Names(["n1", "n2", "n3"].map(str::to_owned).into()),
            ];
            for expected in &expected {
                let roster = Roster::new(there.iter().cloned());
                let coordinator = "192.0.2.1:7443".parse().unwrap();
                let missed = missing(expected, &snapshot, &roster, coordinator);
                let gone = gone(expected, &snapshot, &roster);
                let told: Vec<String> = gone.iter().map(|node| node.leaving.to_string()).collect();
                assert_eq!(
                    told,
                    sign.map(str::to_owned).into_iter().collect::<Vec<_>>()
                );
                assert_eq!(
                    missed.len(),
                    usize::from(sign.is_none()),
                    "{spec} {metadata}"
                );
                assert_eq!(is_complete(expected, &snapshot, &there), sign.is_some());
                let count = expected_count(expected, &snapshot);
                assert_eq!(count, if sign.is_some() { 2 } else { 3 });
            }
        }
    }

    #[test]
    fn an_agent_on_a_node_that_is_about_to_go_is_there_like_any_other() {
        let snapshot = with_nodes(&json!({"unschedulable": true}), &json!({}));
        let roster = Roster::new([agent("n3", "10.0.1.40")]);
        assert!(gone(&ExpectedAgents::default(), &snapshot, &roster).is_empty());
    }
}
