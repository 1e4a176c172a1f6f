//! Classes of endpoints that the model cannot tell apart.
//!
//! Two addresses are of one class when they have VPC, subnet, security groups, host role and family in common, when the
//! same networks of any rule, ACL entry or route contain them, and when NetworkPolicies select both or neither. Every
//! flow between two classes has one verdict for each port, except that two addresses of one host never leave it.
//!
//! **Invariant.** An address that several interfaces own, or that AWS does not filter, is of no class: it is
//! apart, and whoever asks about it asks [`crate::predict`].

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::id::{NetworkInterfaceId, SecurityGroupId, SubnetId, VpcId};
use crate::predict::exempt_addresses;
use crate::snapshot::{GroupEntry, Host, InterfaceEntry, Key, NetworkAcl, Reading, Snapshot};

pub(crate) use address::Spots;
pub(crate) use zone::{ZoneId, Zones};

pub(crate) use name::NODE_GROUP;

mod address;
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
    /// Security groups that they wear, sorted.
    pub groups: Vec<SecurityGroupId>,
    /// What holds them.
    pub role: HostRole,
    /// Smallest network of a rule, entry or route that contains them; absent where none does.
    pub network: Option<IpNet>,
    /// Whether a NetworkPolicy selects them.
    pub policed: Policed,
    /// One of the addresses.
    pub example: IpAddr,
    /// Interfaces that own at least one of the addresses, in the order of the snapshot.
    pub members: Vec<Member>,
    /// How many addresses there are.
    pub addresses: u128,
    pub(crate) facts: Facts,
    pub(crate) acl: Option<Key<NetworkAcl>>,
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

/// Security groups that some interface wears together.
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
}

/// One interface as a member of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) class: ClassId,
    pub(crate) host: u32,
    pub(crate) owner: Key<InterfaceEntry>,
}

/// What every look-up needs of a class, close together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) set: SetId,
    pub(crate) zone: ZoneId,
    pub(crate) place: PlaceId,
    /// Number of the network ACL, one above its place; 0 for a subnet without.
    pub(crate) acl: u32,
    pub(crate) role: HostRole,
    pub(crate) policed: Policed,
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
        Self::with_zones(snapshot, Zones::new([snapshot]))
    }

    /// Sorts the addresses of a snapshot with the networks of several, so that the classes can be compared.
    pub(crate) fn with_zones(snapshot: &Snapshot, zones: Zones) -> Self {
        let mut builder = Builder::new(snapshot, zones);
        for entry in snapshot.interfaces.iter() {
            owned(entry)
                .iter()
                .for_each(|network| builder.classes.spots.claim(*network));
        }
        for address in exempt_addresses(snapshot) {
            builder.classes.spots.exempt(address);
        }
        for (key, entry) in snapshot.interfaces.entries() {
            if entry.interface.reading != Reading::Doubtful {
                builder.add(key, entry);
            }
        }
        builder.classes
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

    /// Returns what look-ups need of each place: of its subnet and zone, that is.
    pub(crate) fn by_place(&self) -> Vec<Facts> {
        let mut facts: Vec<Facts> = self.facts.clone();
        facts.sort_by_key(|facts| facts.place);
        facts.dedup_by_key(|facts| facts.place);
        facts
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

/// Everything that all addresses of a class have in common, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ClassKey {
    subnet: usize,
    vpc: usize,
    set: SetId,
    role: HostRole,
    zone: ZoneId,
    policed: Policed,
}

struct Builder<'s> {
    snapshot: &'s Snapshot,
    classes: Classes,
    control_plane: BTreeSet<NetworkInterfaceId>,
    policed: BTreeSet<IpAddr>,
    by_key: HashMap<ClassKey, ClassId>,
    by_set: HashMap<GroupSet, SetId>,
    by_place: HashMap<(usize, usize, ZoneId), PlaceId>,
}

impl<'s> Builder<'s> {
    fn new(snapshot: &'s Snapshot, zones: Zones) -> Self {
        let control_plane = snapshot
            .control_plane_interfaces()
            .iter()
            .map(|found| found.interface.id.clone())
            .collect();
        Self {
            snapshot,
            classes: Classes {
                classes: Vec::new(),
                facts: Vec::new(),
                endpoints: Vec::new(),
                spots: Spots::default(),
                sets: Vec::new(),
                places: Vec::new(),
                zones,
            },
            control_plane,
            policed: policed(snapshot),
            by_key: HashMap::new(),
            by_set: HashMap::new(),
            by_place: HashMap::new(),
        }
    }

    /// Sorts the addresses of one interface.
    fn add(&mut self, key: Key<InterfaceEntry>, entry: &InterfaceEntry) {
        let set = self.set(entry);
        // The classes of this interface so far: few, so a list is enough.
        let mut own: Vec<(ZoneId, Policed, u32)> = Vec::new();
        for network in owned(entry) {
            for (part, policed) in self.parts(network) {
                // What several own stays apart; a class is shown by an address that is really in it.
                let Some(example) = self.classes.spots.first_claimed(part) else {
                    continue;
                };
                let zone = self.classes.zones.of(part.addr());
                let known = own.iter().find(|it| (it.0, it.1) == (zone, policed));
                let spot = match known {
                    Some(known) => known.2,
                    None => {
                        let spot = self.endpoint((key, entry), (set, zone, policed), example);
                        own.push((zone, policed, spot));
                        spot
                    }
                };
                self.classes.spots.settle(part, spot);
                self.count(spot, part);
            }
        }
    }

    /// Cuts a network where its addresses differ; a large one that would have to be cut stays whole, in no class.
    fn parts(&self, network: IpNet) -> Vec<(IpNet, Policed)> {
        let is_single = network.prefix_len() == network.max_prefix_len();
        let is_cut = !is_single
            && (self.classes.zones.cut(&network)
                || self
                    .policed
                    .range(network.network()..=network.broadcast())
                    .next()
                    .is_some());
        let policed = |address: &IpAddr| {
            if self.policed.contains(address) {
                Policed::Yes
            } else {
                Policed::No
            }
        };
        if !is_cut {
            return vec![(network, policed(&network.addr()))];
        }
        if network.max_prefix_len() - network.prefix_len() > CUT_BITS_MAX {
            return Vec::new();
        }
        network_addresses(network)
            .map(|address| (IpNet::from(address), policed(&address)))
            .collect()
    }

    fn count(&mut self, spot: u32, part: IpNet) {
        let Some(endpoint) = self.classes.endpoints.get(index(spot)) else {
            return;
        };
        let free = u32::from(part.max_prefix_len() - part.prefix_len());
        if let Some(class) = self.classes.classes.get_mut(index(endpoint.class.0)) {
            class.addresses = class
                .addresses
                .saturating_add(1u128.checked_shl(free).unwrap_or(u128::MAX));
        }
    }

    fn set(&mut self, entry: &InterfaceEntry) -> SetId {
        let set = GroupSet {
            groups: entry.groups.clone(),
            is_read: entry.interface.reading != Reading::GroupsUnread,
        };
        let sets = &mut self.classes.sets;
        *self.by_set.entry(set).or_insert_with_key(|set| {
            sets.push(set.clone());
            number(sets.len() - 1)
        })
    }

    /// The spot of an interface in a class, which is made if it is new.
    fn endpoint(
        &mut self,
        (key, entry): (Key<InterfaceEntry>, &InterfaceEntry),
        (set, zone, policed): (SetId, ZoneId, Policed),
        example: IpAddr,
    ) -> u32 {
        let class_key = ClassKey {
            subnet: entry.subnet.place(),
            vpc: entry.vpc.place(),
            set,
            role: self.role(entry),
            zone,
            policed,
        };
        let class = match self.by_key.get(&class_key) {
            Some(class) => *class,
            None => self.class((key, entry), class_key, example),
        };
        if let Some(class) = self.classes.classes.get_mut(index(class.0)) {
            class.members.push(Member {
                interface: entry.interface.id.clone(),
                address: example,
            });
        }
        self.classes.endpoints.push(Endpoint {
            class,
            host: number(entry.host.place()),
            owner: key,
        });
        number(self.classes.endpoints.len() - 1)
    }

    fn class(
        &mut self,
        (owner, entry): (Key<InterfaceEntry>, &InterfaceEntry),
        key: ClassKey,
        example: IpAddr,
    ) -> ClassId {
        let places = &mut self.classes.places;
        let place = *self
            .by_place
            .entry((key.vpc, key.subnet, key.zone))
            .or_insert_with(|| {
                places.push(Place { owner, example });
                number(places.len() - 1)
            });
        let id = ClassId(number(self.classes.classes.len()));
        let acl = self.snapshot.subnets.at(entry.subnet).acl;
        let facts = Facts {
            set: key.set,
            zone: key.zone,
            place,
            acl: acl.map_or(0, |acl| number(acl.place() + 1)),
            role: key.role,
            policed: key.policed,
        };
        self.classes.classes.push(Class {
            vpc: entry.interface.vpc.clone(),
            subnet: entry.interface.subnet.clone(),
            groups: entry.interface.groups.clone(),
            role: key.role,
            network: self.classes.zones.network(key.zone),
            policed: key.policed,
            example,
            members: Vec::new(),
            addresses: 0,
            facts,
            acl,
        });
        self.classes.facts.push(facts);
        self.by_key.insert(key, id);
        id
    }

    fn role(&self, entry: &InterfaceEntry) -> HostRole {
        if self.control_plane.contains(&entry.interface.id) {
            HostRole::ControlPlane
        } else if entry.interface.is_branch() {
            HostRole::Branch
        } else {
            match self.snapshot.hosts.at(entry.host) {
                Host::Instance(_) => HostRole::Node,
                Host::Interface(_) => HostRole::Alone,
            }
        }
    }
}

/// The networks that an interface owns, single addresses too.
fn owned(entry: &InterfaceEntry) -> BTreeSet<IpNet> {
    let single = entry.interface.addresses.iter().copied().map(IpNet::from);
    single
        .chain(entry.interface.prefixes.iter().map(IpNet::trunc))
        .collect()
}

/// Most bits by which an owned network may be larger than one address if it has to be cut into them: a /24 of IPv4.
const CUT_BITS_MAX: u8 = 8;

/// Every address of a small network.
pub(crate) fn network_addresses(network: IpNet) -> impl Iterator<Item = IpAddr> {
    network
        .subnets(network.max_prefix_len())
        .into_iter()
        .flatten()
        .map(|single| single.addr())
}

/// Addresses of pods that a NetworkPolicy selects.
fn policed(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
    if snapshot.network_policies.is_empty() {
        return BTreeSet::new();
    }
    snapshot
        .pods
        .iter()
        .filter(|pod| {
            snapshot
                .network_policies
                .iter()
                .any(|policy| policy.selects(pod))
        })
        .flat_map(|pod| pod.addresses.iter().copied())
        .collect()
}
