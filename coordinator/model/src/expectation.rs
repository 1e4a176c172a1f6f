//! What the cluster needs, and whether it has it (F.3, "Expectations").

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::flow::{EPHEMERAL_PORTS_DEFAULT, Flow, FlowProtocol};
use crate::plan::{Roster, RosterAgent, control_plane_targets};
use crate::snapshot::{Backend, BackendCaller, Snapshot, Targets};

use members::{
    API_SERVER_PORT, ClusterMember, ClusterMembers, DNS_PORT, KUBELET_PORT, NodeBasis,
    cluster_members, core_dns, host_of,
};
use sign::Sign;

pub mod judge;
pub mod members;
pub mod needs;
pub mod own;
pub mod sign;

/// Most flows of one expectation: the largest cluster has 5,000 nodes and 4 control-plane interfaces (D.1).
pub const FLOWS_PER_EXPECTATION_MAX: usize = 20_000;

/// The expectations that are built in, and those of users.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExpectationName {
    /// Every node reaches every control-plane interface on 443.
    NodeToControlPlane,
    /// Every pod reaches every control-plane interface on 443.
    PodToControlPlane,
    /// Every control-plane interface reaches every kubelet on 10250.
    ControlPlaneToKubelet,
    /// Every pod reaches CoreDNS on 53, over TCP and UDP.
    PodToCoreDns,
    /// Every node reaches CoreDNS on 53, over TCP and UDP: pods of the host network resolve there. Judged by
    /// [`needs`](needs::needs) alone, like the following ones.
    NodeToCoreDns,
    /// Every control-plane interface reaches the backends of every webhook at their target port.
    ControlPlaneToWebhook,
    /// Every control-plane interface reaches the backends of every `APIService` at their target port.
    ControlPlaneToApiService,
    /// The metrics server reaches every kubelet on 10250.
    MetricsToKubelet,
    /// One of a user, by its name; raw text.
    Own(Arc<str>),
}

impl ExpectationName {
    /// Every one that is built in, in their order.
    pub const ALL: [Self; 8] = [
        Self::NodeToControlPlane,
        Self::PodToControlPlane,
        Self::ControlPlaneToKubelet,
        Self::PodToCoreDns,
        Self::NodeToCoreDns,
        Self::ControlPlaneToWebhook,
        Self::ControlPlaneToApiService,
        Self::MetricsToKubelet,
    ];

    /// Returns the name in JSON and for people.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Own(name) => name,
            Self::NodeToControlPlane => "node to control plane 443",
            Self::PodToControlPlane => "pod to control plane 443",
            Self::ControlPlaneToKubelet => "control plane to kubelet 10250",
            Self::PodToCoreDns => "pod to coredns 53",
            Self::NodeToCoreDns => "node to coredns 53",
            Self::ControlPlaneToWebhook => "control plane to webhook",
            Self::ControlPlaneToApiService => "control plane to API service",
            Self::MetricsToKubelet => "metrics server to kubelet 10250",
        }
    }
}

impl Serialize for ExpectationName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ExpectationName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let mut built_in = Self::ALL.into_iter();
        let found = built_in.find(|own| own.as_str() == name);
        Ok(found.unwrap_or_else(|| Self::Own(name.into())))
    }
}

/// What is expected of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// That they arrive.
    #[default]
    Open,
    /// That they do not.
    Closed,
}

/// Whether an expectation is fulfilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectationState {
    /// Every flow is as expected, and was seen, or one of its class was.
    Met,
    /// Every flow is as expected, some by the model alone: nobody in this run could try them.
    Predicted,
    /// Of some flow it is not known, and none is broken.
    Unverified,
    /// Model or network says otherwise for some flow.
    Broken,
}

impl ExpectationState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Met, Self::Predicted, Self::Unverified, Self::Broken];

    /// Returns the word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Predicted => "predicted",
            Self::Unverified => "unverified",
            Self::Broken => "broken",
        }
    }
}

/// The flows of one expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Which expectation.
    pub name: ExpectationName,
    /// Whose it is, where there are several of the kind: a webhook, an `APIService`; raw text.
    pub subject: Option<String>,
    /// What is expected of its flows.
    pub wanted: Wanted,
    /// Why, where a user says it; raw text.
    pub why: Option<String>,
    /// Its flows, at most [`FLOWS_PER_EXPECTATION_MAX`]. Never empty, but for a cluster whose control plane is not known.
    pub flows: Vec<Flow>,
    /// Flows beyond that.
    pub left_out: usize,
}

/// All expectations that apply to a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// The expectations, each once, in the order of their names.
    pub requirements: Vec<Requirement>,
    /// How the nodes were found.
    pub basis: NodeBasis,
}

/// One expectation with what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// Which expectation.
    pub name: ExpectationName,
    /// Whose it is, where there are several of the kind, with the target ports; raw text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What is expected of its flows; open where a report of an older version does not say it.
    #[serde(rename = "expect", default)]
    pub wanted: Wanted,
    /// Why, where a user says it; raw text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What became of it.
    pub state: ExpectationState,
    /// The findings that it rests on, by their place in the report.
    pub findings: Vec<usize>,
    /// Flows that are confirmed themselves.
    pub met: usize,
    /// Flows that nobody tried, while one between the same two classes is confirmed.
    pub by_class: usize,
    /// Flows that are as expected by the model alone, since nobody in this run could try them.
    pub predicted: usize,
    /// Flows of which model or network says otherwise.
    pub broken: usize,
    /// Flows that stayed inconclusive although somebody tried.
    pub inconclusive: usize,
    /// Flows that nobody tried, although an agent could.
    pub not_observed: usize,
    /// Flows that the limit kept out.
    pub left_out: usize,
    /// How the nodes were found, where nodes are part of the expectation.
    pub node_basis: NodeBasis,
    /// What the cluster says by itself of those flows. It decides nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signs: Vec<Sign>,
}

/// Finds the flows that the cluster needs (D.4).
///
/// Where an agent runs on a node or in a pod, the flow is the one that the agent tries. A snapshot without a cluster has
/// no expectations, and an expectation without sources or destinations in the snapshot does not apply; only a cluster whose
/// control-plane interfaces are not in the snapshot keeps its expectation, with no flow.
#[must_use]
pub fn requirements(snapshot: &Snapshot, roster: &Roster) -> Requirements {
    let members = cluster_members(snapshot, roster);
    let basis = members.basis;
    if snapshot.cluster().is_none() {
        return Requirements {
            requirements: Vec::new(),
            basis,
        };
    }
    let requirements = flows(snapshot, roster, &members)
        .into_iter()
        .map(|(name, flows)| requirement((name, None), flows))
        .chain(backends(snapshot))
        .collect();
    Requirements {
        requirements,
        basis,
    }
}

/// A requirement of these flows, each once, as many as one may have.
fn requirement(
    (name, subject): (ExpectationName, Option<String>),
    mut flows: Vec<Flow>,
) -> Requirement {
    flows.sort();
    flows.dedup();
    let left_out = flows.len().saturating_sub(FLOWS_PER_EXPECTATION_MAX);
    flows.truncate(FLOWS_PER_EXPECTATION_MAX);
    Requirement {
        name,
        subject,
        wanted: Wanted::Open,
        why: None,
        flows,
        left_out,
    }
}

/// From every control-plane address to what the services of webhooks and aggregated APIs lead to, at the target port (D.4).
/// Those that lead nowhere, or nobody knows where, have no flow.
fn backends(snapshot: &Snapshot) -> Vec<Requirement> {
    let control_plane: Vec<IpAddr> = control_plane_targets(snapshot)
        .map(|(address, _)| address)
        .collect();
    let of_backend = |backend: &Backend| {
        let Targets::Known(targets) = &backend.targets else {
            return None;
        };
        let name = match backend.caller {
            BackendCaller::Webhook(_) | BackendCaller::Conversion(_) => {
                ExpectationName::ControlPlaneToWebhook
            }
            BackendCaller::ApiService { .. } => ExpectationName::ControlPlaneToApiService,
        };
        let ends = control_plane
            .iter()
            .flat_map(|source| targets.iter().map(move |target| (*source, *target)));
        let ends = ends.filter(|(source, target)| {
            source.is_ipv4() == target.is_ipv4() && *source != target.ip()
        });
        let flows: Vec<Flow> = ends
            .map(|(source, target)| Flow::from_api_server(source, target.ip(), target.port()))
            .collect();
        (!flows.is_empty()).then(|| requirement((name, Some(backend.to_string())), flows))
    };
    snapshot.backends().iter().filter_map(of_backend).collect()
}

/// The flows of each expectation that applies.
fn flows(
    snapshot: &Snapshot,
    roster: &Roster,
    members: &ClusterMembers,
) -> Vec<(ExpectationName, Vec<Flow>)> {
    let control_plane: Vec<IpAddr> = control_plane_targets(snapshot)
        .map(|(address, _)| address)
        .collect();
    let dns = core_dns(snapshot);
    let pods: Vec<&ClusterMember> = members.fargate.iter().chain(&members.pods).collect();
    let nodes: Vec<&ClusterMember> = members.nodes.iter().collect();
    let kubelets = members.nodes.iter().chain(&members.fargate);
    let to = |sources: &[&ClusterMember], targets: &[IpAddr], protocol| -> Vec<Flow> {
        let sources = sources
            .iter()
            .map(|member| source(snapshot, roster, member));
        let ends = sources.flat_map(|source| targets.iter().map(move |to| (source.clone(), *to)));
        ends.filter_map(|(source, target)| source.flow(target, protocol))
            .collect()
    };
    let api_server = FlowProtocol::Tcp {
        port: API_SERVER_PORT,
    };
    let dns_tcp = FlowProtocol::Tcp { port: DNS_PORT };
    let dns_udp = FlowProtocol::Udp { port: DNS_PORT };
    let mut expectations = Vec::new();
    if !nodes.is_empty() {
        let flows = to(&nodes, &control_plane, api_server);
        expectations.push((ExpectationName::NodeToControlPlane, flows));
    }
    if !pods.is_empty() {
        let flows = to(&pods, &control_plane, api_server);
        expectations.push((ExpectationName::PodToControlPlane, flows));
    }
    let kubelet_flows = kubelet_flows(&control_plane, kubelets);
    if !kubelet_flows.is_empty() {
        expectations.push((ExpectationName::ControlPlaneToKubelet, kubelet_flows));
    }
    let mut dns_flows = to(&pods, &dns, dns_tcp);
    dns_flows.extend(to(&pods, &dns, dns_udp));
    dns_flows.retain(|flow| flow.source != flow.destination);
    if !dns_flows.is_empty() {
        expectations.push((ExpectationName::PodToCoreDns, dns_flows));
    }
    expectations
}

/// From every control-plane address to the kubelet of every member, over each family that both have.
fn kubelet_flows<'a>(
    control_plane: &[IpAddr],
    members: impl Iterator<Item = &'a ClusterMember>,
) -> Vec<Flow> {
    members
        .flat_map(|member| {
            control_plane.iter().filter_map(|from| {
                let target = family(&member.addresses, *from)?;
                Some(Flow::from_api_server(*from, target, KUBELET_PORT))
            })
        })
        .collect()
}

/// The first of `addresses` that is of the family of `like`.
fn family(addresses: &[IpAddr], like: IpAddr) -> Option<IpAddr> {
    addresses
        .iter()
        .copied()
        .find(|address| address.is_ipv4() == like.is_ipv4())
}

/// Where the flows of a member start.
#[derive(Clone)]
struct Source {
    addresses: Vec<IpAddr>,
    template: Flow,
}

impl Source {
    /// The flow to `target`, if the member has an address of its family.
    fn flow(&self, target: IpAddr, protocol: FlowProtocol) -> Option<Flow> {
        Some(Flow {
            source: family(&self.addresses, target)?,
            destination: target,
            protocol,
            ..self.template.clone()
        })
    }
}

/// Where the flows of `member` start: at the agent of its kind that runs there, else at its own addresses.
fn source(snapshot: &Snapshot, roster: &Roster, member: &ClusterMember) -> Source {
    let agent = agent_of(snapshot, roster, member);
    let addresses = agent.map_or_else(|| member.addresses.clone(), |agent| agent.addresses.clone());
    let first = addresses
        .first()
        .copied()
        .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    Source {
        template: Flow {
            source_kind: member.kind.source_kind(),
            ephemeral_ports: agent.map_or(EPHEMERAL_PORTS_DEFAULT, |agent| agent.ephemeral_ports),
            ..Flow::tcp(first, first, API_SERVER_PORT)
        },
        addresses,
    }
}

/// The agent that runs at `member`: the holder of one of its addresses, or for a node the agent on its host.
#[must_use]
pub fn agent_of<'a>(
    snapshot: &Snapshot,
    roster: &'a Roster,
    member: &ClusterMember,
) -> Option<&'a RosterAgent> {
    let of_kind = |agent: &&RosterAgent| agent.kind == member.kind;
    let holder = member
        .addresses
        .iter()
        .find_map(|address| roster.holder(*address).filter(of_kind));
    holder.or_else(|| {
        if member.kind != crate::plan::AgentKind::Node {
            return None;
        }
        let host = host_of(snapshot, *member.addresses.first()?)?;
        roster.agents().filter(of_kind).find(|agent| {
            agent
                .addresses
                .iter()
                .any(|address| host_of(snapshot, *address).as_ref() == Some(&host))
        })
    })
}
