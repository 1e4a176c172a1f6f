//! Who can probe: the agents that dialled in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::flow::SourceKind;
use crate::id::NodeName;
use crate::net::PortRange;
use crate::observation::AgentName;

/// Where an agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// In a host's network namespace: its connections leave from the primary interface.
    Node,
    /// In a pod's network namespace on an EC2 node: CNI source NAT applies (E.1).
    Pod,
    /// In a Fargate micro-VM, one pod with one interface (E.6).
    Fargate,
}

impl AgentKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Node, Self::Pod, Self::Fargate];

    /// Returns the word in arguments and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pod => "pod",
            Self::Fargate => "fargate",
        }
    }

    /// Returns the kind of the flows that such an agent starts. A Fargate pod has no CNI source NAT (E.6).
    #[must_use]
    pub fn source_kind(self) -> SourceKind {
        match self {
            Self::Node | Self::Fargate => SourceKind::Host,
            Self::Pod => SourceKind::Pod,
        }
    }
}

/// One agent, by what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterAgent {
    /// Its name.
    pub name: AgentName,
    /// Kubernetes node; absent outside Kubernetes.
    pub node: Option<NodeName>,
    /// Where it runs.
    pub kind: AgentKind,
    /// Addresses that take part in the measured network, primary first, not empty.
    pub addresses: Vec<IpAddr>,
    /// The host's ephemeral range.
    pub ephemeral_ports: PortRange,
    /// Source address of its control stream, as the coordinator saw it.
    pub stream_address: Option<IpAddr>,
}

impl RosterAgent {
    /// Returns the first address of each family: those that a plan uses.
    pub fn vantage_points(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let first = |v4: bool| {
            self.addresses
                .iter()
                .copied()
                .find(move |address| address.is_ipv4() == v4)
        };
        [first(true), first(false)].into_iter().flatten()
    }
}

/// Two agents that claim one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressConflict {
    /// The address.
    pub address: IpAddr,
    /// The agent that keeps it: the one whose name sorts first.
    pub kept: AgentName,
    /// The agent that is left out of the run.
    pub left_out: AgentName,
}

/// The agents of one run, by name.
///
/// **Invariant.** No two of them share an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    agents: BTreeMap<AgentName, RosterAgent>,
    by_address: BTreeMap<IpAddr, AgentName>,
    conflicts: Vec<AddressConflict>,
}

impl Roster {
    /// Makes the roster of `agents`; one that claims an address of another is left out and listed.
    #[must_use]
    pub fn new(agents: impl IntoIterator<Item = RosterAgent>) -> Self {
        let sorted: BTreeMap<AgentName, RosterAgent> = agents
            .into_iter()
            .map(|agent| (agent.name.clone(), agent))
            .collect();
        let mut roster = Self::default();
        for (name, agent) in sorted {
            match roster.conflict(&agent) {
                Some(conflict) => roster.conflicts.push(conflict),
                None => {
                    for address in &agent.addresses {
                        roster.by_address.insert(*address, name.clone());
                    }
                    roster.agents.insert(name, agent);
                }
            }
        }
        roster
    }

    /// Returns the first address of `agent` that another one already holds.
    fn conflict(&self, agent: &RosterAgent) -> Option<AddressConflict> {
        agent.addresses.iter().find_map(|address| {
            Some(AddressConflict {
                address: *address,
                kept: self.by_address.get(address)?.clone(),
                left_out: agent.name.clone(),
            })
        })
    }

    /// Returns the agents in the order of their names.
    pub fn agents(&self) -> impl Iterator<Item = &RosterAgent> {
        self.agents.values()
    }

    /// Returns how many agents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// Returns the agent called `name`.
    #[must_use]
    pub fn agent(&self, name: &AgentName) -> Option<&RosterAgent> {
        self.agents.get(name)
    }

    /// Returns the agent that holds `address`.
    #[must_use]
    pub fn holder(&self, address: IpAddr) -> Option<&RosterAgent> {
        self.agents.get(self.by_address.get(&address)?)
    }

    /// Returns whether two agents claim `address`: then neither is known to hold it (F.2 "Addresses").
    #[must_use]
    pub fn is_disputed(&self, address: IpAddr) -> bool {
        self.conflicts
            .iter()
            .any(|conflict| conflict.address == address)
    }

    /// Returns the agents that were left out, and why.
    #[must_use]
    pub fn conflicts(&self) -> &[AddressConflict] {
        &self.conflicts
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::flow::EPHEMERAL_PORTS_DEFAULT;

    /// An agent on a node with these addresses.
    fn agent(name: &str, addresses: &[&str]) -> RosterAgent {
        RosterAgent {
            name: AgentName::try_from(name).unwrap(),
            node: None,
            kind: AgentKind::Node,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
            stream_address: None,
        }
    }

    #[test]
    fn an_agent_that_claims_the_address_of_another_is_left_out() {
        let roster = Roster::new([
            agent("b", &["10.0.0.2", "10.0.0.1"]),
            agent("a", &["10.0.0.1"]),
            agent("c", &["10.0.0.3"]),
        ]);
        let names: Vec<_> = roster.agents().map(|agent| agent.name.as_str()).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(roster.conflicts().len(), 1);
        assert!(roster.holder("10.0.0.2".parse().unwrap()).is_none());
    }

    #[test]
    fn the_first_address_of_each_family_is_a_vantage_point() {
        let agent = agent("a", &["fd00::1", "10.0.0.1", "10.0.0.2", "fd00::2"]);
        let points: Vec<_> = agent.vantage_points().map(|a| a.to_string()).collect();
        assert_eq!(points, ["10.0.0.1", "fd00::1"]);
    }
}
