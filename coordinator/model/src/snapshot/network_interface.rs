//! Network interfaces and the instances that hold them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::IpFamily;
use crate::id::{InstanceId, NetworkInterfaceId, SecurityGroupId, SubnetId, VpcId};

/// A network interface: the thing that owns addresses and carries security groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInterface {
    /// Its id.
    pub id: NetworkInterfaceId,
    /// VPC in which it is.
    pub vpc: VpcId,
    /// Subnet in which it is.
    pub subnet: SubnetId,
    /// Single addresses: the primary IPv4 address first, then the secondary ones, then IPv6.
    pub addresses: Vec<IpAddr>,
    /// Delegated prefixes (/28 and /80 as a rule), whose addresses it owns, too \[EC2-PFX\].
    pub prefixes: Vec<IpNet>,
    /// Groups that it carries, sorted, each once. Empty: outside the model (A.5), unless `reading` says otherwise.
    pub groups: Vec<SecurityGroupId>,
    /// Instance to which it is attached.
    pub instance: Option<InstanceId>,
    /// Place at the instance: 0 is the primary interface of a network card.
    pub device_index: Option<u64>,
    /// Network card of the instance; absent counts as card 0 (K.1 "Hosts").
    pub network_card: Option<u64>,
    /// Kind of interface as the API names it.
    pub interface_type: InterfaceType,
    /// Free text, empty where absent.
    pub description: String,
    /// Life cycle word of the API (`in-use`, `available`), empty where absent.
    pub status: String,
    /// Whether it may only emit and accept packets of its own addresses (A.6).
    pub source_dest_check: SourceDestCheck,
    /// Trunk on which a branch interface rides, by its tag `vpcresources.k8s.aws/trunk-eni-id` (E.1).
    pub trunk: Option<NetworkInterfaceId>,
    /// Its `Name` tag.
    pub name: Option<String>,
    /// How much of it could be read.
    pub reading: Reading,
}

impl NetworkInterface {
    /// Returns whether the interface owns an address, singly or in a delegated prefix.
    #[must_use]
    pub fn owns(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
            || self.prefixes.iter().any(|prefix| prefix.contains(&address))
    }

    /// Returns the primary IPv4 address, or the first address of an interface that has none.
    #[must_use]
    pub fn primary_address(&self) -> Option<IpAddr> {
        self.addresses.first().copied()
    }

    /// Returns the address that packets have which the node translates (E.1, K.1 "Pods of the other family").
    pub(crate) fn emitting_address(&self, family: IpFamily) -> Option<IpAddr> {
        match family {
            IpFamily::V4 => self.primary_address().filter(IpAddr::is_ipv4),
            IpFamily::V6 => self.addresses.iter().copied().find(IpAddr::is_ipv6),
        }
    }

    /// Returns whether the interface is a branch interface of a pod (E.4).
    #[must_use]
    pub fn is_branch(&self) -> bool {
        self.interface_type == InterfaceType::Branch
    }
}

/// How much of a described thing could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// All that the model needs.
    Whole,
    /// The security groups are not known: neither which rules apply nor which references match.
    GroupsUnread,
    /// Some addresses are not known.
    AddressesUnread,
    /// What holds it is unreadable.
    Doubtful,
    /// Two descriptions contradict each other.
    Conflict,
}

impl Reading {
    /// Returns whether flows of the interface are unknown, whatever else is known.
    #[must_use]
    pub fn is_doubtful(self) -> bool {
        matches!(self, Self::Doubtful | Self::Conflict)
    }
}

/// Kind of a network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceType {
    /// An ordinary interface; also where the answer does not say.
    Interface,
    /// The interface of a node on which branch interfaces ride (E.1).
    Trunk,
    /// The interface of one pod with groups of its own (E.4).
    Branch,
    /// Any other word of the API (`nat_gateway`, `network_load_balancer`, …).
    Other(String),
}

impl fmt::Display for InterfaceType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Interface => "interface",
            Self::Trunk => "trunk",
            Self::Branch => "branch",
            Self::Other(word) => word,
        })
    }
}

/// Source/destination check of an interface (A.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceDestCheck {
    /// Packets with addresses of others are dropped.
    On,
    /// The interface may forward for others.
    Off,
    /// The answer does not say.
    Unread,
}

/// An EC2 instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its `Name` tag.
    pub name: Option<String>,
    /// Life cycle word of the API (`running`, `terminated`), empty where absent.
    pub state: String,
    /// Primary private address, absent of a terminated instance.
    pub private_address: Option<IpAddr>,
    /// Interfaces that the instance itself lists, in the order of the answer.
    pub interfaces: Vec<NetworkInterfaceId>,
    /// Tags as key and value, in the order of the answer.
    pub tags: Vec<(String, String)>,
}

/// What holds an interface: packets between two addresses of one host never leave it (E.3, K.1 "Hosts").
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An EC2 instance with all its interfaces, and the branch interfaces on its trunk.
    Instance(InstanceId),
    /// An interface without a visible instance (control plane, Fargate, NAT gateway, …) is its own host.
    Interface(NetworkInterfaceId),
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(id) => id.fmt(formatter),
            Self::Interface(id) => id.fmt(formatter),
        }
    }
}

/// Who owns an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner<'a> {
    /// No interface of the snapshot.
    Nobody,
    /// One interface.
    One(&'a NetworkInterface),
    /// Several interfaces, sorted by id: the address is ambiguous.
    Several(Vec<&'a NetworkInterface>),
}

/// A control-plane interface of the cluster ("X-ENI", D.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneInterface<'a> {
    /// The interface.
    pub interface: &'a NetworkInterface,
    /// What the cluster's own list of API server addresses says about it.
    pub endpoint: EndpointListing,
}

/// Whether an interface is in the EndpointSlices of Service `default/kubernetes` (D.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointListing {
    /// In a slice: it listens on 443.
    Listed,
    /// In no slice: it may be idle or going away.
    Unlisted,
    /// The snapshot has no such slice.
    Unsaid,
}
