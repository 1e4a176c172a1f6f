//! Kubernetes objects: nodes, pods, network policies.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::id::{InstanceId, NodeName};

/// A Kubernetes node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// EC2 instance of its provider id; absent for Fargate and where the answer does not say.
    pub instance: Option<InstanceId>,
    /// Its `InternalIP` addresses.
    pub addresses: Vec<IpAddr>,
    /// What it runs on.
    pub platform: Platform,
}

/// What a node or pod runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Platform {
    /// An EC2 instance, or anything that is not Fargate.
    Ec2,
    /// A Fargate micro-VM (E.6).
    Fargate,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Node on which it runs.
    pub node: Option<NodeName>,
    /// Its addresses (`status.podIPs`).
    pub addresses: Vec<IpAddr>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whose network namespace it uses.
    pub network: PodNetwork,
    /// Whether it still runs.
    pub phase: PodPhase,
    /// What it runs on.
    pub platform: Platform,
    /// Container of a service mesh that may answer in the place of others for connections of this pod; absent where none was
    /// found.
    pub relay: Option<String>,
}

/// Whose network namespace a pod uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PodNetwork {
    /// Its own.
    Pod,
    /// The node's (`hostNetwork`).
    Host,
}

/// Whether a pod still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PodPhase {
    /// It does, or it will.
    Live,
    /// It succeeded or failed: its address may be somebody else's by now.
    Finished,
}

/// A NetworkPolicy, as far as the model goes: whom it selects (E.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which pods of its namespace it selects; absent where that could not be read, which counts as all.
    pub selector: Option<LabelSelector>,
}

impl NetworkPolicy {
    /// Returns whether the policy selects a pod; host-network, finished and Fargate pods never are (E.5).
    #[must_use]
    pub fn selects(&self, pod: &Pod) -> bool {
        pod.network == PodNetwork::Pod
            && pod.phase == PodPhase::Live
            && pod.platform == Platform::Ec2
            && pod.namespace == self.namespace
            && self
                .selector
                .as_ref()
                .is_none_or(|selector| selector.matches(&pod.labels))
    }
}

/// A label selector: all terms must hold; no term selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    /// The terms.
    pub terms: Vec<SelectorTerm>,
}

/// A term of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectorTerm {
    /// The label has one of the values.
    In(String, Vec<String>),
    /// The label is absent or has none of the values.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is not there.
    DoesNotExist(String),
}

impl LabelSelector {
    /// Returns whether all terms hold for a set of labels.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.terms.iter().all(|term| match term {
            SelectorTerm::In(key, values) => {
                labels.get(key).is_some_and(|value| values.contains(value))
            }
            SelectorTerm::NotIn(key, values) => {
                labels.get(key).is_none_or(|value| !values.contains(value))
            }
            SelectorTerm::Exists(key) => labels.contains_key(key),
            SelectorTerm::DoesNotExist(key) => !labels.contains_key(key),
        })
    }
}
