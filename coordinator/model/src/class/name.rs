//! What people call a class.

use std::fmt;

use super::{Class, HostRole};
use crate::flow::SourceKind;
use crate::snapshot::{Instance, InterfaceType, NetworkInterface, Platform, Snapshot};

/// Tag of an instance with the name of its managed node group \[EKS-LT\].
pub(crate) const NODE_GROUP: &str = "eks:nodegroup-name";
/// Tag of an instance with the name of its Karpenter node pool (D.3).
const NODE_POOL: &str = "karpenter.sh/nodepool";
/// Label of a pod that a Fargate profile took [E.6].
pub(crate) const FARGATE_PROFILE: &str = "eks.amazonaws.com/fargate-profile";

impl Class {
    /// Returns a name that people know: what holds the endpoints, what they carry, where they are.
    ///
    /// Raw text of the snapshot; whoever prints it wraps it in [`crate::net::Printable`]. Two classes may share a name:
    /// their networks or policies tell them apart.
    #[must_use]
    pub fn name(&self, snapshot: &Snapshot) -> String {
        let place = self.place(snapshot);
        format!("{} in {place}{}", self.inhabitants(snapshot), self.family())
    }

    /// Returns the name of the subnet, or its id.
    pub(crate) fn place<'s>(&'s self, snapshot: &'s Snapshot) -> &'s str {
        let subnet = snapshot.subnet(&self.subnet);
        subnet
            .and_then(|subnet| subnet.name.as_deref())
            .unwrap_or(self.subnet.as_str())
    }

    /// Returns the name without the place: classes of several subnets share it. Raw text like [`Self::name`].
    #[must_use]
    pub fn name_anywhere(&self, snapshot: &Snapshot) -> String {
        format!("{}{}", self.inhabitants(snapshot), self.family())
    }

    fn family(&self) -> &'static str {
        if self.example.is_ipv6() { ", IPv6" } else { "" }
    }

    /// What holds the endpoints, and what they carry.
    fn inhabitants(&self, snapshot: &Snapshot) -> String {
        let holder = self.holder_name(snapshot);
        format!("{holder} [{}]", self.group_names(snapshot))
    }

    /// Returns the names of the groups, or their ids.
    pub(crate) fn group_names(&self, snapshot: &Snapshot) -> String {
        if self.groups.is_empty() {
            return "no groups".to_owned();
        }
        let names = self.groups.iter().map(|id| {
            let group = snapshot.security_group(id);
            let name = group.and_then(|group| group.display_name());
            name.unwrap_or(id.as_str())
        });
        names.collect::<Vec<_>>().join("+")
    }

    /// Returns what holds the endpoints, as people call it: `control plane`, `pods on node group web`; raw text.
    #[must_use]
    pub fn holder_name(&self, snapshot: &Snapshot) -> String {
        match self.source_kind {
            SourceKind::Host => self.holder(snapshot),
            SourceKind::Pod => format!("pods on {}", self.holder(snapshot)),
        }
    }

    /// What holds the endpoints: control plane, node group, Fargate profile.
    fn holder(&self, snapshot: &Snapshot) -> String {
        let first = self
            .members
            .first()
            .and_then(|member| snapshot.network_interface(&member.interface));
        match self.role {
            HostRole::ControlPlane => "control plane".to_owned(),
            HostRole::Node => first
                .and_then(|interface| snapshot.instance(interface.instance.as_ref()?))
                .and_then(NodeGroup::of)
                .map(|group| group.to_string())
                .unwrap_or_else(|| "nodes".to_owned()),
            HostRole::Branch => "pods with groups of their own".to_owned(),
            HostRole::Alone => self
                .fargate(snapshot)
                .or_else(|| first.map(|interface| alone(snapshot, interface)))
                .unwrap_or_else(|| "interfaces".to_owned()),
        }
    }

    fn fargate(&self, snapshot: &Snapshot) -> Option<String> {
        let pods = snapshot.pods_at(self.example);
        let mut fargate = pods.filter(|pod| pod.platform == Platform::Fargate);
        let pod = fargate.next()?;
        Some(match pod.labels.get(FARGATE_PROFILE) {
            Some(profile) => format!("Fargate profile {profile}"),
            None => "Fargate".to_owned(),
        })
    }
}

/// What made a node, by the tags of its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum NodeGroup<'s> {
    /// A managed node group.
    Group(&'s str),
    /// A node pool of Karpenter.
    Pool(&'s str),
}

impl<'s> NodeGroup<'s> {
    /// Returns what made an instance, where its tags say so.
    pub(crate) fn of(instance: &'s Instance) -> Option<Self> {
        let tag = |wanted: &str| {
            let found = instance.tags.iter().find(|(key, _)| key == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let group = tag(NODE_GROUP).map(Self::Group);
        group.or_else(|| tag(NODE_POOL).map(Self::Pool))
    }

    /// Returns its name, raw text of the snapshot.
    pub(crate) fn name(self) -> &'s str {
        match self {
            Self::Group(name) | Self::Pool(name) => name,
        }
    }
}

impl fmt::Display for NodeGroup<'_> {
    /// Writes `node group NAME`, raw text of the snapshot.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => write!(formatter, "node group {name}"),
            Self::Pool(name) => write!(formatter, "node pool {name}"),
        }
    }
}

fn alone(snapshot: &Snapshot, interface: &NetworkInterface) -> String {
    let named = snapshot.interface_name(interface);
    let described = Some(&interface.description).filter(|text| !text.is_empty());
    named
        .or_else(|| described.cloned())
        .unwrap_or_else(|| match &interface.interface_type {
            InterfaceType::Interface => "interfaces without instance".to_owned(),
            kind @ (InterfaceType::Trunk | InterfaceType::Branch | InterfaceType::Other(_)) => {
                kind.to_string()
            }
        })
}
