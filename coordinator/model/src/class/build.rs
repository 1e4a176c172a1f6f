//! Sorting the addresses of a snapshot into classes.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::flow::SourceKind;
use crate::id::NetworkInterfaceId;
use crate::predict::exempt_addresses;
use crate::snapshot::{
    Completeness, EnforcingMode, Host, InterfaceEntry, IpFamily, Key, OtherFamily, Policing,
    Reading, Snapshot, Snat, Views,
};

use super::{
    Class, ClassId, Classes, Endpoint, Exit, Facts, GroupSet, HostRole, Member, Place, PlaceId,
    Policed, SetId, Spots, Untranslated, ZoneId, Zones, index, network_addresses, number,
};

impl Classes {
    /// Sorts the addresses of a snapshot with the networks of several, so that the classes can be compared. With a `kind`,
    /// all addresses count as that; without, those of pods are those that the pods list (K.1 "Source kind").
    pub(crate) fn with_zones(snapshot: &Snapshot, zones: Zones, kind: Option<SourceKind>) -> Self {
        Self::of_some(snapshot, (zones, kind), |_| true)
    }

    /// The same of some interfaces. A class of which all members are among them is as it is among all, and in the same order;
    /// others have fewer members.
    pub(crate) fn of_some(
        snapshot: &Snapshot,
        (zones, kind): (Zones, Option<SourceKind>),
        is_wanted: impl Fn(Key<InterfaceEntry>) -> bool,
    ) -> Self {
        let mut builder = Builder::new(snapshot, zones, kind);
        for entry in snapshot.interfaces.iter() {
            owned(entry)
                .iter()
                .for_each(|network| builder.classes.spots.claim(*network));
        }
        for address in exempt_addresses(snapshot) {
            builder.classes.spots.exempt(address);
        }
        for (key, entry) in snapshot.interfaces.entries() {
            if is_wanted(key) && !entry.interface.reading.is_doubtful() {
                builder.add(key, entry);
            }
        }
        builder.classes
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
    marks: Marks,
    exit: u32,
}

/// What addresses of one interface may differ in, besides their zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Marks {
    policed: Policed,
    kind: SourceKind,
}

struct Builder<'s> {
    snapshot: &'s Snapshot,
    /// In whose network namespace all addresses are; absent where the pods say it.
    kind: Option<SourceKind>,
    classes: Classes,
    control_plane: BTreeSet<NetworkInterfaceId>,
    /// Addresses at which what policies say may change.
    marked: BTreeSet<IpAddr>,
    by_key: HashMap<ClassKey, ClassId>,
    by_set: HashMap<GroupSet, SetId>,
    by_place: HashMap<(usize, usize, ZoneId), PlaceId>,
}

impl<'s> Builder<'s> {
    fn new(snapshot: &'s Snapshot, zones: Zones, kind: Option<SourceKind>) -> Self {
        let control_plane = snapshot
            .control_plane_interfaces()
            .iter()
            .map(|found| found.interface.id.clone())
            .collect();
        Self {
            snapshot,
            kind,
            classes: Classes {
                classes: Vec::new(),
                facts: Vec::new(),
                endpoints: Vec::new(),
                spots: Spots::default(),
                sets: Vec::new(),
                places: Vec::new(),
                exits: Vec::new(),
                zones,
            },
            control_plane,
            marked: marked(snapshot, kind),
            by_key: HashMap::new(),
            by_set: HashMap::new(),
            by_place: HashMap::new(),
        }
    }

    /// Sorts the addresses of one interface.
    fn add(&mut self, key: Key<InterfaceEntry>, entry: &InterfaceEntry) {
        let set = self.set(entry);
        // The classes of this interface so far: few, so a list is enough.
        let mut own: Vec<(ZoneId, Marks, u32)> = Vec::new();
        for network in owned(entry) {
            for (part, marks) in self.parts(network) {
                // What several own stays apart; a class is shown by an address that is really in it.
                let Some(example) = self.classes.spots.first_claimed(part) else {
                    continue;
                };
                let zone = self.classes.zones.of(part.addr());
                let known = own.iter().find(|it| (it.0, it.1) == (zone, marks));
                let spot = match known {
                    Some(known) => known.2,
                    None => {
                        let spot = self.endpoint((key, entry), (set, zone, marks), example);
                        own.push((zone, marks, spot));
                        spot
                    }
                };
                self.classes.spots.settle(part, spot);
                self.count(spot, part);
            }
        }
    }

    /// Cuts a network where its addresses differ; a large one that rules would cut stays whole, in no class. Addresses of
    /// services are in none, either: what is asked about them is answered before any gate (K.1 "Service addresses").
    fn parts(&self, network: IpNet) -> Vec<(IpNet, Marks)> {
        let cluster = self.snapshot.cluster.as_ref();
        let mut services = cluster
            .into_iter()
            .flat_map(|cluster| &cluster.service_networks);
        if services.any(|range| range.contains(&network) || network.contains(range)) {
            return Vec::new();
        }
        let single = |address: IpAddr| (IpNet::from(address), self.marks(address));
        let marked = || self.marked.range(network.network()..=network.broadcast());
        let is_single = network.prefix_len() == network.max_prefix_len();
        let is_large = network.max_prefix_len() - network.prefix_len() > CUT_BITS_MAX;
        let is_cut = !is_single && self.classes.zones.cut(&network);
        match (is_cut, marked().next()) {
            (true, _) if is_large => Vec::new(),
            (false, Some(_)) if is_large && network.addr().is_ipv4() => Vec::new(),
            (false, Some(_)) if is_large => {
                let unmarked = network_addresses(network).find(|it| !self.marked.contains(it));
                let rest = unmarked.map(|address| (network, self.marks(address)));
                marked().copied().map(single).chain(rest).collect()
            }
            (true, _) => network_addresses(network).map(single).collect(),
            (false, Some(_)) if !is_single => network_addresses(network).map(single).collect(),
            (false, _) => vec![(network, self.marks(network.addr()))],
        }
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
        (set, zone, marks): (SetId, ZoneId, Marks),
        example: IpAddr,
    ) -> u32 {
        let class_key = ClassKey {
            subnet: entry.subnet.place(),
            vpc: entry.vpc.place(),
            set,
            role: self.role(entry),
            zone,
            marks,
            exit: self.exit(entry, marks, IpFamily::of(example)),
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
        let place = self.place((owner, entry), key.zone, example);
        let id = ClassId(number(self.classes.classes.len()));
        let facts = Facts {
            set: key.set,
            zone: key.zone,
            place,
            acl: self.acl(entry),
            role: key.role,
            policed: key.marks.policed,
            exit: key.exit,
        };
        self.classes.classes.push(Class {
            vpc: entry.interface.vpc.clone(),
            subnet: entry.interface.subnet.clone(),
            groups: entry.interface.groups.clone(),
            role: key.role,
            network: self.classes.zones.network(key.zone),
            policed: key.marks.policed,
            source_kind: key.marks.kind,
            example,
            members: Vec::new(),
            addresses: 0,
            facts,
        });
        self.classes.facts.push(facts);
        self.by_key.insert(key, id);
        id
    }

    /// The subnet of an interface, and a zone within it.
    fn place(
        &mut self,
        (owner, entry): (Key<InterfaceEntry>, &InterfaceEntry),
        zone: ZoneId,
        example: IpAddr,
    ) -> PlaceId {
        let acl = self.acl(entry);
        let places = &mut self.classes.places;
        let key = (entry.vpc.place(), entry.subnet.place(), zone);
        *self.by_place.entry(key).or_insert_with(|| {
            places.push(Place {
                owner,
                example,
                zone,
                acl,
            });
            number(places.len() - 1)
        })
    }

    /// The number of the network ACL of an interface's subnet.
    fn acl(&self, entry: &InterfaceEntry) -> u32 {
        let acl = self.snapshot.subnets.at(entry.subnet).acl;
        acl.map_or(0, |acl| number(acl.place() + 1))
    }

    /// The number of how pods of an interface leave; [`Facts::NO_EXIT`] for everybody else.
    fn exit(&mut self, entry: &InterfaceEntry, marks: Marks, family: IpFamily) -> u32 {
        if marks.kind == SourceKind::Host {
            return Facts::NO_EXIT;
        }
        let cni = &self.snapshot.cni;
        let is_unread = match (family, self.snapshot.ip_family()) {
            (IpFamily::V4, IpFamily::V4) => {
                let vpc = self.snapshot.vpcs.at(entry.vpc);
                let is_branch = entry.interface.is_branch();
                vpc.completeness == Completeness::Incomplete
                    || cni.snat == Snat::Unread
                    || (is_branch && cni.enforcing_mode == EnforcingMode::Unread)
            }
            (IpFamily::V4, IpFamily::V6) => cni.v4_egress == OtherFamily::Unread,
            (IpFamily::V6, IpFamily::V4) => cni.v6_egress == OtherFamily::Unread,
            (IpFamily::V6, IpFamily::V6) => false,
        };
        let is_own_family = family == self.snapshot.ip_family();
        let is_contradicted =
            is_own_family && self.snapshot.vpcs.at(entry.vpc).views == Views::Contradict;
        let primary = if is_contradicted {
            Err(Untranslated::Contradicted)
        } else if is_unread {
            Err(Untranslated::Unread)
        } else {
            self.primary(entry, family).ok_or(Untranslated::NoPrimary)
        };
        let exit = Exit {
            vpc: entry.vpc,
            family,
            primary,
        };
        let exits = &mut self.classes.exits;
        let known = exits.iter().position(|known| *known == exit);
        number(known.unwrap_or_else(|| {
            exits.push(exit);
            exits.len() - 1
        }))
    }

    /// The primary interface of the host of an interface, as rules, lists and routes see it.
    fn primary(&mut self, entry: &InterfaceEntry, family: IpFamily) -> Option<Facts> {
        let key = *self.snapshot.primaries.get(&entry.host)?;
        let primary = self.snapshot.interfaces.at(key);
        let address = primary.interface.emitting_address(family)?;
        let zone = self.classes.zones.of(address);
        Some(Facts {
            set: self.set(primary),
            zone,
            place: self.place((key, primary), zone, address),
            acl: self.acl(primary),
            role: self.role(primary),
            policed: Policed::No,
            exit: Facts::NO_EXIT,
        })
    }

    /// What is told apart of an address.
    fn marks(&self, address: IpAddr) -> Marks {
        let snapshot = self.snapshot;
        let kind = || self.kind.unwrap_or_else(|| snapshot.source_kind(address));
        let is_translated = translates(snapshot, address)
            && kind() == SourceKind::Pod
            && is_on_translating_node(snapshot, address);
        Marks {
            policed: match snapshot.policing(address) {
                Policing::None => Policed::No,
                Policing::Selected(_) | Policing::DeniedByDefault | Policing::PerhapsPod => {
                    Policed::Yes
                }
            },
            kind: if is_translated {
                SourceKind::Pod
            } else {
                SourceKind::Host
            },
        }
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
pub(crate) fn owned(entry: &InterfaceEntry) -> BTreeSet<IpNet> {
    let single = entry.interface.addresses.iter().copied().map(IpNet::from);
    single
        .chain(entry.interface.prefixes.iter().map(IpNet::trunc))
        .collect()
}

/// Most bits by which an owned network may be larger than one address if it has to be cut into them: a /24 of IPv4.
const CUT_BITS_MAX: u8 = 8;

/// Addresses that differ from those around them: of pods where policies or the node's translation tell pods apart, and
/// those that policies list.
fn marked(snapshot: &Snapshot, kind: Option<SourceKind>) -> BTreeSet<IpAddr> {
    let is_policed = snapshot.has_network_policies();
    let is_told_apart =
        |address: &&IpAddr| is_policed || (kind.is_none() && translates(snapshot, **address));
    let pods = snapshot.pods.iter().flat_map(|pod| &pod.addresses);
    let policies = snapshot.network_policies.iter();
    let listed = policies.flat_map(|policy| &policy.listed);
    pods.filter(is_told_apart).chain(listed).copied().collect()
}

/// Whether nodes may translate addresses of pods of the family (E.1, K.1 "Pods of the other family").
fn translates(snapshot: &Snapshot, address: IpAddr) -> bool {
    let cni = &snapshot.cni;
    match (IpFamily::of(address), snapshot.ip_family()) {
        (IpFamily::V4, IpFamily::V4) => cni.snat != Snat::External,
        (IpFamily::V4, IpFamily::V6) => cni.v4_egress != OtherFamily::Absent,
        (IpFamily::V6, IpFamily::V4) => cni.v6_egress != OtherFamily::Absent,
        (IpFamily::V6, IpFamily::V6) => false,
    }
}

/// Whether packets of a pod with this address leave through its node: on an instance, and no pod of the cluster's own
/// family with a strict branch interface (E.1, E.4).
fn is_on_translating_node(snapshot: &Snapshot, address: IpAddr) -> bool {
    let is_own_family = IpFamily::of(address) == snapshot.ip_family();
    snapshot.addresses.owners(address).iter().any(|key| {
        let entry = snapshot.interfaces.at(*key);
        let is_strict =
            entry.interface.is_branch() && snapshot.cni.enforcing_mode == EnforcingMode::Strict;
        let is_on_instance = matches!(snapshot.hosts.at(entry.host), Host::Instance(_));
        is_on_instance && !(is_strict && is_own_family)
    })
}
