//! Who belongs to the cluster: nodes, pods, CoreDNS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::id::InstanceId;
use crate::plan::{AgentKind, Roster};
use crate::snapshot::{Host, Instance, Owner, Platform, Pod, PodNetwork, PodPhase, Snapshot};

/// Port of the API server on control-plane interfaces (D.4).
pub const API_SERVER_PORT: u16 = 443;

/// Port of the kubelet (D.4).
pub const KUBELET_PORT: u16 = 10_250;

/// Port of CoreDNS, over TCP and UDP (D.4).
pub const DNS_PORT: u16 = 53;

/// Namespace and label of the CoreDNS pods (the Deployment that EKS installs; UNSOURCED for replacements).
const DNS_NAMESPACE: &str = "kube-system";
const DNS_LABEL: (&str, &str) = ("k8s-app", "kube-dns");

/// Where the list of nodes comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeBasis {
    /// The `nodes` file.
    Kubernetes,
    /// Tags of the instances that name the cluster.
    InstanceTags,
    /// Nothing says which instances are nodes: every running one in the cluster's VPC counts (SEMANTICS I).
    EveryInstance,
}

/// One node or pod of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMember {
    /// What people call it, raw text of the snapshot.
    pub name: String,
    /// Its addresses, primary first, not empty.
    pub addresses: Vec<IpAddr>,
    /// Where an agent there would run.
    pub kind: AgentKind,
}

/// The nodes and pods of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMembers {
    /// EC2 nodes, sorted by name.
    pub nodes: Vec<ClusterMember>,
    /// Fargate pods, each of which is a node of its own (E.6), sorted by name.
    pub fargate: Vec<ClusterMember>,
    /// Pods on the pod network of EC2 nodes, sorted by name.
    pub pods: Vec<ClusterMember>,
    /// How the nodes were found.
    pub basis: NodeBasis,
}

/// Finds the members of the cluster; `roster` adds the pods in which agents run.
#[must_use]
pub fn cluster_members(snapshot: &Snapshot, roster: &Roster) -> ClusterMembers {
    let (nodes, basis) = nodes(snapshot);
    ClusterMembers {
        nodes,
        fargate: fargate(snapshot, roster),
        pods: pods(snapshot, roster),
        basis,
    }
}

/// Addresses of the CoreDNS pods, in the order of the pods.
#[must_use]
pub fn core_dns(snapshot: &Snapshot) -> Vec<IpAddr> {
    let (key, value) = DNS_LABEL;
    snapshot
        .pods()
        .iter()
        .filter(|pod| pod.namespace == DNS_NAMESPACE && is_on_pod_network(pod))
        .filter(|pod| pod.labels.get(key).is_some_and(|found| found == value))
        .flat_map(|pod| pod.addresses.iter().copied())
        .collect()
}

/// The EC2 nodes, by the best source that the snapshot has.
fn nodes(snapshot: &Snapshot) -> (Vec<ClusterMember>, NodeBasis) {
    if !snapshot.nodes().is_empty() {
        let nodes = snapshot
            .nodes()
            .iter()
            .filter(|node| node.platform == Platform::Ec2);
        let nodes = nodes
            .map(|node| (node.name.to_string(), node.addresses.clone()))
            .collect();
        return (members(nodes, AgentKind::Node), NodeBasis::Kubernetes);
    }
    let running: Vec<&Instance> = snapshot
        .instances()
        .filter(|instance| is_running_here(snapshot, instance))
        .collect();
    let tagged: Vec<&Instance> = running
        .iter()
        .copied()
        .filter(|instance| is_tagged(snapshot, instance))
        .collect();
    let (chosen, basis) = if tagged.is_empty() {
        (running, NodeBasis::EveryInstance)
    } else {
        (tagged, NodeBasis::InstanceTags)
    };
    let named = chosen
        .into_iter()
        .map(|instance| (name(instance), addresses(snapshot, &instance.id)))
        .collect();
    (members(named, AgentKind::Node), basis)
}

/// What people call an instance.
fn name(instance: &Instance) -> String {
    instance
        .name
        .clone()
        .unwrap_or_else(|| instance.id.to_string())
}

/// Addresses of an instance's primary interface.
fn addresses(snapshot: &Snapshot, instance: &InstanceId) -> Vec<IpAddr> {
    snapshot
        .primary_interface(instance)
        .map(|interface| interface.addresses.clone())
        .unwrap_or_default()
}

/// Whether an instance runs in the cluster's VPC. A state that the answer does not say counts as running.
fn is_running_here(snapshot: &Snapshot, instance: &Instance) -> bool {
    let running = instance.state.is_empty() || instance.state == "running";
    let vpc = snapshot.cluster().and_then(|cluster| cluster.vpc.as_ref());
    let here = snapshot
        .primary_interface(&instance.id)
        .is_some_and(|interface| vpc.is_none_or(|vpc| *vpc == interface.vpc));
    running && here
}

/// Whether the tags of an instance name the cluster (D.2; `eks:cluster-name` of managed node groups).
fn is_tagged(snapshot: &Snapshot, instance: &Instance) -> bool {
    let Some(cluster) = snapshot.cluster() else {
        return false;
    };
    let owned = format!("kubernetes.io/cluster/{}", cluster.name);
    instance.tags.iter().any(|(key, value)| {
        *key == owned
            || (matches!(key.as_str(), "eks:cluster-name" | "aws:eks:cluster-name")
                && *value == cluster.name)
    })
}

/// Fargate pods: those of `pods` and `nodes`, and the agents that say so.
fn fargate(snapshot: &Snapshot, roster: &Roster) -> Vec<ClusterMember> {
    let nodes = snapshot
        .nodes()
        .iter()
        .filter(|node| node.platform == Platform::Fargate)
        .map(|node| (node.name.to_string(), node.addresses.clone()));
    let pods = snapshot
        .pods()
        .iter()
        .filter(|pod| pod.platform == Platform::Fargate && is_on_pod_network(pod))
        .map(|pod| (pod_name(pod), pod.addresses.clone()));
    let named = agents(roster, AgentKind::Fargate).chain(pods).chain(nodes);
    members(named.collect(), AgentKind::Fargate)
}

/// Pods on EC2 nodes: those of `pods`, and the agents that say so.
fn pods(snapshot: &Snapshot, roster: &Roster) -> Vec<ClusterMember> {
    let pods = snapshot
        .pods()
        .iter()
        .filter(|pod| pod.platform == Platform::Ec2 && is_on_pod_network(pod))
        .map(|pod| (pod_name(pod), pod.addresses.clone()));
    let named = agents(roster, AgentKind::Pod).chain(pods);
    members(named.collect(), AgentKind::Pod)
}

/// Agents of a kind with their addresses.
fn agents(roster: &Roster, kind: AgentKind) -> impl Iterator<Item = (String, Vec<IpAddr>)> {
    roster
        .agents()
        .filter(move |agent| agent.kind == kind)
        .map(|agent| (agent.name.to_string(), agent.addresses.clone()))
}

/// Whether a pod lives and has an address of its own.
fn is_on_pod_network(pod: &Pod) -> bool {
    pod.network == PodNetwork::Pod && pod.phase == PodPhase::Live
}

/// What people call a pod.
fn pod_name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

/// Members by name; one without an address, or with one that another already has, is left out.
fn members(named: Vec<(String, Vec<IpAddr>)>, kind: AgentKind) -> Vec<ClusterMember> {
    let mut taken = BTreeSet::new();
    let mut members = BTreeMap::new();
    for (name, addresses) in named {
        let fresh = addresses.iter().all(|address| !taken.contains(address));
        if fresh && !addresses.is_empty() {
            taken.extend(addresses.iter().copied());
            let member = ClusterMember {
                name: name.clone(),
                addresses,
                kind,
            };
            members.insert(name, member);
        }
    }
    members.into_values().collect()
}

/// What holds an address: agents on one host reach each other without a security group (E.3).
#[must_use]
pub fn host_of(snapshot: &Snapshot, address: IpAddr) -> Option<Host> {
    match snapshot.owner(address) {
        Owner::One(interface) => Some(snapshot.host(interface)),
        Owner::Nobody | Owner::Several(_) => None,
    }
}
