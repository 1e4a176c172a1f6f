//! Kubernetes objects: nodes, pods, network policies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{NodeLease, StatusCondition};
use crate::id::{InstanceId, NodeName};
use crate::net::Printable;

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
    /// Its condition Ready; absent where the answer does not say.
    pub ready: Option<StatusCondition>,
    /// Its lease; absent where the snapshot has none.
    pub lease: Option<NodeLease>,
    /// What says that it is about to go; absent where nothing does.
    pub leaving: Option<Leaving>,
}

/// What says that a node is about to go: an agent that is not there is not missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Leaving {
    /// The object is being deleted (`metadata.deletionTimestamp`).
    Deleted,
    /// No pod is put there any more (`spec.unschedulable`), as `kubectl cordon` and `kubectl drain` begin.
    Cordoned,
    /// Somebody who removes nodes has marked it.
    Tainted {
        /// Key of the taint; raw text.
        taint: String,
    },
    /// Its EC2 instance does not run any more.
    InstanceEnds {
        /// Life cycle word of the API; raw text.
        state: String,
    },
}

impl fmt::Display for Leaving {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleted => formatter.write_str("it is being deleted"),
            Self::Cordoned => formatter.write_str("it is cordoned"),
            Self::Tainted { taint } => write!(formatter, "it has the taint {}", Printable(taint)),
            Self::InstanceEnds { state } => {
                write!(formatter, "its instance is {}", Printable(state))
            }
        }
    }
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

impl Pod {
    /// Returns whether policies are about the pod: never about host-network, finished and Fargate pods (E.5).
    #[must_use]
    pub fn is_policed(&self) -> bool {
        self.network == PodNetwork::Pod
            && self.phase == PodPhase::Live
            && self.platform == Platform::Ec2
    }
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

/// A policy of any engine that may drop packets of pods, as far as the model goes: whom it selects (E.5, K.1 "Policies of
/// other kinds").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Its kind as Kubernetes names it (`NetworkPolicy`, `ClusterNetworkPolicy`, `CiliumNetworkPolicy`, …).
    pub kind: &'static str,
    /// Its namespace; empty for a policy of the whole cluster.
    pub namespace: String,
    /// Its name; empty where it could not be read.
    pub name: String,
    /// In which namespaces it selects pods.
    pub subject: PolicySubject,
    /// Which pods there; absent where that could not be read, which counts as all.
    pub selector: Option<LabelSelector>,
    /// Addresses of pods that it lists by themselves.
    pub listed: BTreeSet<IpAddr>,
}

/// In which namespaces a policy selects pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySubject {
    /// In its own.
    Namespace,
    /// In all, as far as their names say: their labels are not in a snapshot. Absent: in all.
    Cluster(Option<LabelSelector>),
    /// In none: it lists addresses.
    Listed,
}

/// Label that every namespace has, with its name \[Kubernetes, automatic labelling\].
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

impl NetworkPolicy {
    /// Returns whether the policy selects a pod; host-network, finished and Fargate pods never are (E.5).
    #[must_use]
    pub fn selects(&self, pod: &Pod) -> bool {
        pod.is_policed()
            && (self.is_about(pod) || pod.addresses.iter().any(|own| self.listed.contains(own)))
    }

    fn is_about(&self, pod: &Pod) -> bool {
        let is_there = match &self.subject {
            PolicySubject::Namespace => pod.namespace == self.namespace,
            PolicySubject::Cluster(namespaces) => namespaces
                .as_ref()
                .is_none_or(|selector| selector.may_match_namespace(&pod.namespace)),
            PolicySubject::Listed => false,
        };
        is_there
            && self
                .selector
                .as_ref()
                .is_none_or(|selector| selector.matches(&pod.labels))
    }
}

impl std::fmt::Display for NetworkPolicy {
    /// Writes kind, namespace and name, raw text of the snapshot.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.namespace.as_str(), self.name.as_str()) {
            ("", "") => write!(formatter, "an unreadable {}", self.kind),
            ("", name) => write!(formatter, "{} {name}", self.kind),
            (namespace, name) => write!(formatter, "{} {namespace}/{name}", self.kind),
        }
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
        self.terms.iter().all(|term| term.holds(labels))
    }

    /// Returns whether all terms may hold for a namespace, of which only the name is known.
    fn may_match_namespace(&self, name: &str) -> bool {
        let labels = BTreeMap::from([(NAMESPACE_NAME.to_owned(), name.to_owned())]);
        let mut terms = self.terms.iter();
        terms.all(|term| term.key() != NAMESPACE_NAME || term.holds(&labels))
    }
}

impl SelectorTerm {
    fn key(&self) -> &str {
        match self {
            Self::In(key, _)
            | Self::NotIn(key, _)
            | Self::Exists(key)
            | Self::DoesNotExist(key) => key,
        }
    }

    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}
