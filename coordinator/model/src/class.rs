//! Classes of endpoints that the model cannot tell apart.
//!
//! Two addresses are of one class when they have VPC, subnet, security groups, host role and family in common, when the
//! same networks of any rule, ACL entry or route contain them, and when NetworkPolicies select both or neither; of pods
//! that a node translates also when those nodes' primary interfaces are such. Every
//! flow between two classes has one verdict for each port, except that two addresses of one host never leave it.
//!
//! **Invariant.** An address that several interfaces own, or that AWS does not filter, is of no class: it is
//! apart, and whoever asks about it asks [`crate::predict`].

use std::net::IpAddr;

use ipnet::IpNet;

use crate::flow::SourceKind;
use crate::id::{NetworkInterfaceId, SecurityGroupId, SubnetId, VpcId};
use crate::snapshot::{GroupEntry, InterfaceEntry, IpFamily, Key, Snapshot, Vpc};

pub(crate) use address::Spots;
pub(crate) use zone::{ZoneId, Zones, mentioned};

pub(crate) use address::network_addresses;
pub(crate) use build::owned;
pub(crate) use name::{FARGATE_PROFILE, NODE_GROUP, NodeGroup};

mod address;
mod build;
mod name;
mod zone;

/// Number of a class in one [`Classes`], dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub(crate) u32);

impl ClassId {
    /// Returns the place of the class in [`Classes::iter`].
    #[must_use]
    pub fn place(self) -> usize {
        index(self.0)
    }
}

/// What holds the endpoints of a class, as far as the model cares (E.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostRole {
    /// An interface of the control plane (D.1).
    ControlPlane,
    /// An EC2 instance.
    Node,
    /// A branch interface of a pod (E.4).
    Branch,
    /// An interface without a visible instance: Fargate, NAT gateway, load balancer.
    Alone,
}

/// Whether a NetworkPolicy selects the endpoints of a class (E.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policed {
    /// None does.
    No,
    /// One does: the model answers unknown where nothing denies.
    Yes,
}

/// A set of endpoints that the model cannot tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// VPC of the endpoints.
    pub vpc: VpcId,
    /// Subnet of the endpoints.
    pub subnet: SubnetId,
    /// Security groups that they carry, sorted.
    pub groups: Vec<SecurityGroupId>,
    /// What holds them.
    pub role: HostRole,
    /// Smallest network of a rule, entry or route that contains them; absent where none does.
    pub network: Option<IpNet>,
    /// Whether a NetworkPolicy selects them.
    pub policed: Policed,
    /// Whether they are pods whose address the node translates on the way out of the VPC (E.1).
    pub source_kind: SourceKind,
    /// One of the addresses.
    pub example: IpAddr,
    /// Interfaces that own at least one of the addresses, in the order of the snapshot.
    pub members: Vec<Member>,
    /// How many addresses there are.
    pub addresses: u128,
    pub(crate) facts: Facts,
}

/// An interface in a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The interface.
    pub interface: NetworkInterfaceId,
    /// One of its addresses in the class.
    pub address: IpAddr,
}

/// Number of a set of security groups.
pub(crate) type SetId = u32;
/// Number of a place.
pub(crate) type PlaceId = u32;

/// Security groups that some interface carries together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct GroupSet {
    pub(crate) groups: Vec<Key<GroupEntry>>,
    pub(crate) is_read: bool,
}

/// A subnet, and a zone within it: all that routes and ACLs see of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) owner: Key<InterfaceEntry>,
    pub(crate) example: IpAddr,
    pub(crate) zone: ZoneId,
    /// Number of the network ACL, one above its place; 0 for a subnet without.
    pub(crate) acl: u32,
}

/// One interface as a member of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) class: ClassId,
    pub(crate) host: u32,
    pub(crate) owner: Key<InterfaceEntry>,
}

/// What every look-up needs of a class, close together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    pub(crate) set: SetId,
    pub(crate) zone: ZoneId,
    pub(crate) place: PlaceId,
    /// Number of the network ACL, one above its place; 0 for a subnet without.
    pub(crate) acl: u32,
    pub(crate) role: HostRole,
    pub(crate) policed: Policed,
    /// Number of the exit of pods that are translated; [`Facts::NO_EXIT`] for everybody else.
    pub(crate) exit: u32,
}

impl Facts {
    /// Nobody translates the source.
    pub(crate) const NO_EXIT: u32 = u32::MAX;
}

/// How pods leave: as the primary interface of their node, out of the VPC in the cluster's own family, to everywhere in the
/// other one (E.1, K.1 "Pods of the other family").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Exit {
    /// VPC whose networks are no outside.
    pub(crate) vpc: Key<Vpc>,
    /// Family of the addresses.
    pub(crate) family: IpFamily,
    /// Who sends instead; absent where nobody can tell.
    pub(crate) primary: Result<Facts, Untranslated>,
}

/// Why nobody can tell as whom pods leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Untranslated {
    /// The primary interface is not in the snapshot.
    NoPrimary,
    /// A setting or the networks of the VPC could not be read.
    Unread,
    /// Two views of the VPC contradict each other.
    Contradicted,
}

/// Where an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Located<'c> {
    /// No interface owns it.
    Nobody,
    /// It is owned, but of no class.
    Apart,
    /// It belongs to this endpoint.
    At(&'c Endpoint),
}

/// The classes of a snapshot.
#[derive(Debug)]
pub struct Classes {
    classes: Vec<Class>,
    facts: Vec<Facts>,
    endpoints: Vec<Endpoint>,
    spots: Spots,
    pub(crate) sets: Vec<GroupSet>,
    pub(crate) places: Vec<Place>,
    /// How pods leave, each way once.
    pub(crate) exits: Vec<Exit>,
    pub(crate) zones: Zones,
}

/// A number that indexes a list; numbers are dense, so it always fits.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The number of the next item of a list.
pub(crate) fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Classes {
    /// Sorts every owned address of a snapshot into its class.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        Self::with_zones(snapshot, Zones::new([snapshot]), None)
    }

    /// Visits the classes, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (ClassId, &Class)> {
        (0..).map(ClassId).zip(&self.classes)
    }

    /// Returns how many classes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Returns whether the snapshot has no interface.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Returns a class by its number.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "numbers are made while the list grows, which never shrinks"
    )]
    pub fn class(&self, id: ClassId) -> &Class {
        &self.classes[index(id.0)]
    }

    /// Returns what every look-up needs of a class.
    #[expect(
        clippy::indexing_slicing,
        reason = "numbers are made while the list grows, which never shrinks"
    )]
    pub(crate) fn facts(&self, id: ClassId) -> &Facts {
        &self.facts[index(id.0)]
    }

    /// Returns the class of an address; absent of one that nobody owns, that several own, or that AWS exempts.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> Option<ClassId> {
        match self.locate(address) {
            Located::At(endpoint) => Some(endpoint.class),
            Located::Nobody | Located::Apart => None,
        }
    }

    /// Returns the class of an address and the number of its host.
    pub(crate) fn endpoint(&self, address: IpAddr) -> Option<(ClassId, u32)> {
        match self.locate(address) {
            Located::At(endpoint) => Some((endpoint.class, endpoint.host)),
            Located::Nobody | Located::Apart => None,
        }
    }

    pub(crate) fn locate(&self, address: IpAddr) -> Located<'_> {
        match self.spots.at(address) {
            Spots::NOBODY => Located::Nobody,
            spot => match self.endpoints.get(index(spot)) {
                Some(endpoint) => Located::At(endpoint),
                None => Located::Apart,
            },
        }
    }
}
