//! Sorting the addresses of a snapshot into classes.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::id::NetworkInterfaceId;
use crate::predict::exempt_addresses;
use crate::snapshot::{Host, InterfaceEntry, Key, Reading, Snapshot};

use super::{
    Class, ClassId, Classes, Endpoint, Facts, GroupSet, HostRole, Member, Place, PlaceId, Policed,
    SetId, Spots, ZoneId, Zones, index, number,
};

impl Classes {
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
