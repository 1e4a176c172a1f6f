//! What has a name: one row for each thing of a snapshot that stands for addresses.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use super::ends::Members;
use crate::class::{FARGATE_PROFILE, NodeGroup};
use crate::id::InstanceId;
use crate::snapshot::{
    Host, Instance, NetworkInterface, Node, Pod, PodPhase, SecurityGroup, Service, Snapshot, Subnet,
};

/// Kind of a thing, by which a name can be told from an equal one of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// All interfaces of the control plane.
    ControlPlane,
    /// A pod, `NAMESPACE/POD`.
    Pod,
    /// A Kubernetes Service, `NAMESPACE/SERVICE`: its endpoints.
    Service,
    /// A Kubernetes node.
    Node,
    /// The nodes of a managed node group.
    NodeGroup,
    /// The nodes of a Karpenter node pool.
    NodePool,
    /// The pods of a Fargate profile.
    FargateProfile,
    /// An EC2 instance.
    Instance,
    /// A network interface.
    Interface,
    /// Everything that a security group is associated with.
    SecurityGroup,
    /// Everything in a subnet.
    Subnet,
}

/// A name of an end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndName {
    /// What it is the name of.
    pub kind: Kind,
    /// The name; raw text.
    pub name: String,
}

/// Words before a slash that say the kind; the first of a kind is the one that is written.
const PREFIXES: [(&str, Kind); 14] = [
    ("pod", Kind::Pod),
    ("svc", Kind::Service),
    ("service", Kind::Service),
    ("node", Kind::Node),
    ("nodegroup", Kind::NodeGroup),
    ("nodepool", Kind::NodePool),
    ("fargate", Kind::FargateProfile),
    ("instance", Kind::Instance),
    ("interface", Kind::Interface),
    ("eni", Kind::Interface),
    ("sg", Kind::SecurityGroup),
    ("group", Kind::SecurityGroup),
    ("subnet", Kind::Subnet),
    ("controlplane", Kind::ControlPlane),
];

impl Kind {
    /// Returns the kind that a word before a slash stands for.
    pub(super) fn of_prefix(word: &str) -> Option<Self> {
        let mut prefixes = PREFIXES.iter();
        prefixes
            .find(|(prefix, _)| *prefix == word)
            .map(|(_, kind)| *kind)
    }

    fn prefix(self) -> &'static str {
        let mut prefixes = PREFIXES.iter();
        let found = prefixes.find(|(_, kind)| *kind == self);
        found.map_or("", |(prefix, _)| prefix)
    }
}

impl fmt::Display for Kind {
    /// Writes the word before the slash.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.prefix())
    }
}

/// A thing that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing<'s> {
    ControlPlane,
    Pod(&'s Pod),
    Service(&'s Service),
    Node(&'s Node),
    NodeGroup(NodeGroup<'s>),
    FargateProfile(&'s str),
    Instance(&'s Instance),
    Interface(&'s NetworkInterface),
    SecurityGroup(&'s SecurityGroup),
    Subnet(&'s Subnet),
}

/// Everything in a snapshot that has a name.
pub(super) fn things(snapshot: &Snapshot) -> impl Iterator<Item = Thing<'_>> {
    let live = snapshot
        .pods()
        .iter()
        .filter(|pod| pod.phase == PodPhase::Live);
    let control_plane = snapshot.cluster().map(|_| Thing::ControlPlane);
    control_plane
        .into_iter()
        .chain(live.map(Thing::Pod))
        .chain(snapshot.services().iter().map(Thing::Service))
        .chain(snapshot.nodes().iter().map(Thing::Node))
        .chain(node_groups(snapshot).into_iter().map(Thing::NodeGroup))
        .chain(profiles(snapshot).into_iter().map(Thing::FargateProfile))
        .chain(snapshot.instances().map(Thing::Instance))
        .chain(snapshot.network_interfaces().map(Thing::Interface))
        .chain(snapshot.security_groups().map(Thing::SecurityGroup))
        .chain(snapshot.subnets().map(Thing::Subnet))
}

fn node_groups(snapshot: &Snapshot) -> BTreeSet<NodeGroup<'_>> {
    snapshot.instances().filter_map(NodeGroup::of).collect()
}

/// The Fargate profiles that the cluster has, and those that its pods name.
fn profiles(snapshot: &Snapshot) -> BTreeSet<&str> {
    let described = snapshot.fargate_profiles().iter();
    let described = described.map(|profile| profile.name.as_str());
    described
        .chain(snapshot.pods().iter().filter_map(profile))
        .collect()
}

/// The Fargate profile that took a pod.
pub(super) fn profile(pod: &Pod) -> Option<&str> {
    pod.labels.get(FARGATE_PROFILE).map(String::as_str)
}

impl<'s> Thing<'s> {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::ControlPlane => Kind::ControlPlane,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::Node(_) => Kind::Node,
            Self::NodeGroup(NodeGroup::Group(_)) => Kind::NodeGroup,
            Self::NodeGroup(NodeGroup::Pool(_)) => Kind::NodePool,
            Self::FargateProfile(_) => Kind::FargateProfile,
            Self::Instance(_) => Kind::Instance,
            Self::Interface(_) => Kind::Interface,
            Self::SecurityGroup(_) => Kind::SecurityGroup,
            Self::Subnet(_) => Kind::Subnet,
        }
    }

    /// Returns the names, the one that is written first; raw text.
    pub(super) fn names(self) -> Vec<String> {
        match self {
            Self::ControlPlane => vec!["control plane".to_owned(), "control-plane".to_owned()],
            Self::Pod(pod) => vec![format!("{}/{}", pod.namespace, pod.name)],
            Self::Service(service) => vec![format!("{}/{}", service.namespace, service.name)],
            Self::Node(node) => vec![node.name.to_string()],
            Self::NodeGroup(group) => vec![group.name().to_owned(), group.to_string()],
            Self::FargateProfile(name) => {
                vec![name.to_owned(), format!("Fargate profile {name}")]
            }
            Self::Instance(instance) => named(instance.id.as_str(), [instance.name.as_deref()]),
            // What an instance holds is called by the instance's name.
            Self::Interface(interface) => {
                let own = interface.name.as_deref();
                let own = own.filter(|_| interface.instance.is_none());
                named(interface.id.as_str(), [own])
            }
            Self::SecurityGroup(group) => {
                let names = [Some(group.name.as_str()), group.label.as_deref()];
                named(group.id.as_str(), names)
            }
            Self::Subnet(subnet) => named(subnet.id.as_str(), [subnet.name.as_deref()]),
        }
    }

    /// Returns the names with what they are the names of.
    pub(super) fn end_names(self) -> impl Iterator<Item = EndName> {
        let kind = self.kind();
        let names = self.names().into_iter();
        names.map(move |name| EndName { kind, name })
    }

    /// Returns what selects this thing and no other; raw text.
    pub(super) fn exact(self) -> String {
        let name = self.names().into_iter().next().unwrap_or_default();
        match self {
            Self::Pod(_)
            | Self::Service(_)
            | Self::Node(_)
            | Self::NodeGroup(_)
            | Self::FargateProfile(_) => format!("{}/{name}", self.kind()),
            Self::ControlPlane
            | Self::Instance(_)
            | Self::Interface(_)
            | Self::SecurityGroup(_)
            | Self::Subnet(_) => name,
        }
    }

    /// Returns what selects this thing, with what people call it behind an id; raw text.
    pub(super) fn called(self) -> String {
        match (self, self.names().get(1)) {
            (
                Self::Instance(_) | Self::Interface(_) | Self::SecurityGroup(_) | Self::Subnet(_),
                Some(name),
            ) => format!("{} ({name})", self.exact()),
            (_, _) => self.exact(),
        }
    }

    /// Returns whether two things are one by two names: a node and its instance.
    pub(super) fn is_same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Node(node), Self::Instance(instance))
            | (Self::Instance(instance), Self::Node(node)) => {
                node.instance.as_ref() == Some(&instance.id)
            }
            (one, other) => one == other,
        }
    }

    /// Adds the addresses that the thing stands for.
    pub(super) fn add_to(self, members: &mut Members, snapshot: &'s Snapshot) {
        let associated = |is_meant: &dyn Fn(&NetworkInterface) -> bool| {
            let all = snapshot.network_interfaces().filter(|it| is_meant(it));
            all.map(|interface| interface.id.clone())
                .collect::<Vec<_>>()
        };
        match self {
            Self::ControlPlane => {
                let found = snapshot.control_plane_interfaces();
                let own = found.iter().flat_map(|found| &found.interface.addresses);
                members.addresses.extend(own);
            }
            Self::Pod(pod) => members.addresses.extend(&pod.addresses),
            Self::Service(service) => {
                let targets = service.endpoints.iter().map(|target| target.ip());
                members.addresses.extend(targets);
            }
            Self::Node(node) if node.addresses.is_empty() => {
                let own = hosts(snapshot, &node.instance.iter().collect());
                members.addresses.extend(own);
            }
            Self::Node(node) => members.addresses.extend(&node.addresses),
            Self::NodeGroup(group) => {
                let all = snapshot.instances();
                let own = all.filter(|instance| NodeGroup::of(instance) == Some(group));
                let own = own.map(|instance| &instance.id).collect();
                members.addresses.extend(hosts(snapshot, &own));
            }
            Self::FargateProfile(name) => {
                let pods = snapshot.pods().iter();
                let own =
                    pods.filter(|pod| pod.phase == PodPhase::Live && profile(pod) == Some(name));
                members
                    .addresses
                    .extend(own.flat_map(|pod| pod.addresses.iter()));
            }
            Self::Instance(instance) => {
                let own = hosts(snapshot, &BTreeSet::from([&instance.id]));
                members.addresses.extend(own);
            }
            Self::Interface(interface) => {
                members.interfaces.insert(interface.id.clone());
            }
            Self::SecurityGroup(group) => {
                let own = associated(&|interface| interface.groups.contains(&group.id));
                members.interfaces.extend(own);
            }
            Self::Subnet(subnet) => {
                let own = associated(&|interface| interface.subnet == subnet.id);
                members.interfaces.extend(own);
            }
        }
    }
}

/// An id, and the names that people gave.
fn named<const N: usize>(id: &str, names: [Option<&str>; N]) -> Vec<String> {
    let names = names.into_iter().flatten().filter(|name| !name.is_empty());
    [id].into_iter().chain(names).map(str::to_owned).collect()
}

/// The addresses of instances themselves, one of each family: what else their interfaces own is pods'.
fn hosts(snapshot: &Snapshot, wanted: &BTreeSet<&InstanceId>) -> Vec<IpAddr> {
    let is_wanted = |host: &Host| match host {
        Host::Instance(id) => wanted.contains(id),
        Host::Interface(_) => false,
    };
    let primaries = snapshot.primaries.iter();
    let primaries = primaries.filter(|(host, _)| is_wanted(snapshot.hosts.at(**host)));
    primaries
        .flat_map(|(_, key)| {
            let own = &snapshot.interfaces.at(*key).interface.addresses;
            let first = |is_wanted: fn(&IpAddr) -> bool| own.iter().copied().find(is_wanted);
            [first(IpAddr::is_ipv4), first(IpAddr::is_ipv6)]
        })
        .flatten()
        .collect()
}
