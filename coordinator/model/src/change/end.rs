//! Ends of flows in two snapshots: addresses that neither model tells apart, inside and outside.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::kin::{Kin, kin};
use crate::class::{ZoneId, Zones, mentioned, network_addresses};
use crate::expectation::members::core_dns;
use crate::id::NetworkInterfaceId;
use crate::predict::exempt_addresses;
use crate::snapshot::{Host, InterfaceEntry, Key, Policing, Snapshot};

use super::content::{Contents, interface_texts};

/// Most addresses of a network that are tried for one that nobody owns.
const TRIES_MAX: usize = 4_096;
/// Most members of an end that are kept, each on a host of its own.
const MEMBERS_MAX: usize = 8;
/// Most bits by which a delegated prefix is larger than one address and still taken address by address.
const LISTED_BITS_MAX: u8 = 8;

/// Number of what a model knows of an address: equal numbers, equal answers.
pub(super) type Look = u32;

/// Addresses of one kind.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// What the model before knows of them.
    pub(super) before: Look,
    /// What the model after knows of them.
    pub(super) after: Look,
    /// Whether no interface owns them.
    pub(super) is_outside: bool,
    /// Smallest network that something mentions around the addresses after.
    pub(super) network: Option<IpNet>,
    /// Some of them.
    pub(super) members: Vec<Member>,
    /// How many there are, singly owned or one for each prefix.
    pub(super) count: usize,
    /// What the cluster needs of them.
    pub(super) duties: Duties,
}

/// What some address of an end is for the cluster.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Duties {
    /// CoreDNS has it.
    pub(super) is_resolver: bool,
    /// The control plane has it.
    pub(super) is_control_plane: bool,
    /// An instance has it.
    pub(super) is_node: bool,
}

impl End {
    /// Whether the two models know the same.
    pub(super) fn is_same(&self) -> bool {
        self.before == self.after
    }
}

/// One address, and who holds it in either snapshot; two addresses where an interface was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// The address before.
    pub(super) before: IpAddr,
    /// The address after.
    pub(super) after: IpAddr,
    /// The hosts before and after; absent where there is none, or more than one.
    pub(super) hosts: (Option<u32>, Option<u32>),
}

/// Two members of two ends on one host in at least one snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neighbours {
    /// Places of the ends.
    pub(super) ends: (usize, usize),
    /// The one and the other.
    pub(super) members: (Member, Member),
}

/// The ends of two snapshots.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) ends: Vec<End>,
    pub(super) neighbours: Vec<Neighbours>,
    /// Interfaces that others replaced, and those others.
    pub(super) replaced: BTreeSet<NetworkInterfaceId>,
    /// Interfaces with an address of a kind that was not there before, and that replaces nothing.
    pub(super) novel: BTreeSet<NetworkInterfaceId>,
    /// Interfaces that are still there without an address of a kind that is no more.
    pub(super) shrunk: BTreeSet<NetworkInterfaceId>,
    /// Interfaces of both of which something changed.
    pub(super) changed: BTreeSet<NetworkInterfaceId>,
    /// Networks in which no address without an owner was found, though there may be one.
    pub(super) unseen: Vec<IpNet>,
}

/// What one snapshot knows of addresses.
struct Side<'s> {
    snapshot: &'s Snapshot,
    /// Number of what is known of every interface, by place.
    interfaces: Vec<u32>,
}

/// What a model knows of an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Known {
    owners: Vec<u32>,
    zone: ZoneId,
    is_policed: bool,
}

/// Everything that has a number.
#[derive(Default)]
struct Numbers {
    texts: HashMap<String, u32>,
    known: HashMap<Known, u32>,
    hosts: HashMap<Host, u32>,
}

impl Numbers {
    fn next<K: std::hash::Hash + Eq>(map: &mut HashMap<K, u32>, key: K) -> u32 {
        let next = crate::class::number(map.len());
        *map.entry(key).or_insert(next)
    }
}

impl Ends {
    /// Finds the ends of two snapshots.
    pub(super) fn new(before: &Snapshot, after: &Snapshot, contents: &[Contents; 2]) -> Self {
        let mut numbers = Numbers::default();
        let networks = networks([before, after]);
        let zones = Zones::of_networks(networks.clone());
        let [one, other] = contents;
        let [before, after] = [(before, one), (after, other)].map(|(snapshot, contents)| {
            let texts = interface_texts(snapshot, contents, &zones);
            let number = |text| Numbers::next(&mut numbers.texts, text);
            Side {
                snapshot,
                interfaces: texts.into_iter().map(number).collect(),
            }
        });
        let control_plane = [before.snapshot, after.snapshot].map(|snapshot| {
            let found = snapshot.control_plane_interfaces().into_iter();
            found
                .map(|found| found.interface.id.clone())
                .collect::<Vec<_>>()
        });
        let mut resolvers: BTreeSet<IpAddr> = core_dns(before.snapshot).into_iter().collect();
        resolvers.extend(core_dns(after.snapshot));
        let mut builder = Builder {
            control_plane: control_plane.into_iter().flatten().collect(),
            resolvers,
            sides: [before, after],
            zones,
            numbers,
            by_looks: BTreeMap::new(),
            ends: Self::default(),
        };
        let addresses = builder.addresses();
        builder.inside(&addresses);
        builder.changed();
        builder.outside(&networks);
        builder.neighbours(&addresses);
        builder.ends
    }
}

struct Builder<'s> {
    sides: [Side<'s>; 2],
    control_plane: BTreeSet<NetworkInterfaceId>,
    resolvers: BTreeSet<IpAddr>,
    zones: Zones,
    numbers: Numbers,
    by_looks: BTreeMap<(Look, Look, bool), usize>,
    ends: Ends,
}

/// Addresses by what they are, as widely as is asked.
fn by_kin(
    snapshot: &Snapshot,
    addresses: &[IpAddr],
    widened: fn(Kin) -> Kin,
) -> BTreeMap<Kin, Vec<IpAddr>> {
    let mut found: BTreeMap<Kin, Vec<IpAddr>> = BTreeMap::new();
    for address in addresses {
        if let Some(kin) = kin(snapshot, *address) {
            found.entry(widened(kin)).or_default().push(*address);
        }
    }
    found
}

/// Where an address is owned.
enum Ownership {
    Both,
    Before,
    After,
    Nowhere,
}

impl Builder<'_> {
    /// Addresses that somebody owns in either snapshot: all single ones, and of prefixes those that may differ.
    fn addresses(&self) -> BTreeSet<IpAddr> {
        let mut singles = BTreeSet::new();
        let mut prefixes = BTreeSet::new();
        let mut marked = BTreeSet::new();
        for side in &self.sides {
            for interface in side.snapshot.network_interfaces() {
                singles.extend(interface.addresses.iter().copied());
                prefixes.extend(interface.prefixes.iter().map(IpNet::trunc));
            }
            if side.snapshot.has_network_policies() {
                let pods = side.snapshot.pods.iter().flat_map(|pod| &pod.addresses);
                let policies = side.snapshot.network_policies.iter();
                marked.extend(
                    pods.chain(policies.flat_map(|policy| &policy.listed))
                        .copied(),
                );
            }
        }
        let mut found = singles.clone();
        for prefix in prefixes {
            let (first, last) = (prefix.network(), prefix.broadcast());
            let is_small = prefix.max_prefix_len() - prefix.prefix_len() <= LISTED_BITS_MAX;
            let is_cut = self.zones.cut(&prefix);
            let has_marks = marked.range(first..=last).next().is_some();
            if is_small && (is_cut || has_marks) {
                found.extend(network_addresses(prefix));
                continue;
            }
            found.extend(marked.range(first..=last));
            let is_plain =
                |address: &IpAddr| !singles.contains(address) && !marked.contains(address);
            found.extend(network_addresses(prefix).take(TRIES_MAX).find(is_plain));
            if is_cut {
                let inner = self.zones.inside(&prefix);
                found.extend(inner.map(|network| network.addr()));
            }
        }
        found
    }

    fn ownership(&self, address: IpAddr) -> Ownership {
        let [before, after] = self
            .sides
            .each_ref()
            .map(|side| !side.snapshot.addresses.owners(address).is_empty());
        match (before, after) {
            (true, true) => Ownership::Both,
            (true, false) => Ownership::Before,
            (false, true) => Ownership::After,
            (false, false) => Ownership::Nowhere,
        }
    }

    fn look(&mut self, side: usize, address: IpAddr) -> Look {
        let Some(it) = self.sides.get(side) else {
            return 0;
        };
        let owners = it.snapshot.addresses.owners(address);
        let number =
            |key: Key<InterfaceEntry>| it.interfaces.get(key.place()).copied().unwrap_or(0);
        let mut owners: Vec<u32> = owners.into_iter().map(number).collect();
        owners.sort_unstable();
        let known = Known {
            owners,
            zone: self.zones.of(address),
            is_policed: it.snapshot.policing(address) != Policing::None,
        };
        Numbers::next(&mut self.numbers.known, known)
    }

    fn host(&mut self, side: usize, address: IpAddr) -> Option<u32> {
        let snapshot = self.sides.get(side)?.snapshot;
        match snapshot.addresses.owners(address).as_slice() {
            [key] => {
                let host = snapshot.hosts.at(snapshot.interfaces.at(*key).host);
                Some(Numbers::next(&mut self.numbers.hosts, host.clone()))
            }
            [] | [_, _, ..] => None,
        }
    }

    fn member(&mut self, before: IpAddr, after: IpAddr) -> Member {
        Member {
            before,
            after,
            hosts: (self.host(0, before), self.host(1, after)),
        }
    }

    fn add(&mut self, member: Member, is_outside: bool) -> usize {
        let (before, after) = (self.look(0, member.before), self.look(1, member.after));
        let network = self.zones.network(self.zones.of(member.after));
        let duties = self.duties(member);
        let ends = &mut self.ends.ends;
        // A replacement is an end of its own: its addresses differ.
        let is_replaced = member.before != member.after;
        let place = *self
            .by_looks
            .entry((before, after, is_replaced))
            .or_insert_with(|| {
                ends.push(End {
                    before,
                    after,
                    is_outside,
                    network,
                    members: Vec::new(),
                    count: 0,
                    duties: Duties::default(),
                });
                ends.len() - 1
            });
        if let Some(end) = ends.get_mut(place) {
            end.count += 1;
            end.duties.is_resolver |= duties.is_resolver;
            end.duties.is_control_plane |= duties.is_control_plane;
            end.duties.is_node |= duties.is_node;
            let is_new = end.members.iter().all(|known| known.hosts != member.hosts);
            if end.members.len() < MEMBERS_MAX && (is_new || end.members.is_empty()) {
                end.members.push(member);
            }
        }
        place
    }

    /// Ends that somebody owns; those owned in one snapshot alone are joined by what they are.
    fn inside(&mut self, addresses: &BTreeSet<IpAddr>) {
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        let (mut kept_before, mut kept_after) = (BTreeSet::new(), BTreeSet::new());
        for address in addresses {
            match self.ownership(*address) {
                Ownership::Both => {
                    let member = self.member(*address, *address);
                    let place = self.add(member, false);
                    if let Some(end) = self.ends.ends.get(place) {
                        kept_before.insert(end.before);
                        kept_after.insert(end.after);
                    }
                }
                Ownership::Before => gone.push(*address),
                Ownership::After => new.push(*address),
                Ownership::Nowhere => {}
            }
        }
        self.join(&gone, &new);
        for address in new {
            let look = self.look(1, address);
            if !kept_after.contains(&look) {
                let ids = self.owners(1, address);
                let is_replacing = ids.iter().all(|id| self.ends.replaced.contains(id));
                if !is_replacing {
                    self.ends.novel.extend(ids);
                }
            }
        }
        for address in gone {
            let look = self.look(0, address);
            if !kept_before.contains(&look) {
                let ids = self.owners(0, address);
                let after = self.sides.get(1).map(|side| side.snapshot);
                let is_there = |id: &NetworkInterfaceId| {
                    after.is_some_and(|after| after.network_interface(id).is_some())
                };
                let rest = ids
                    .into_iter()
                    .filter(|id| is_there(id) && !self.ends.replaced.contains(id));
                let rest: Vec<_> = rest.collect();
                self.ends.shrunk.extend(rest);
            }
        }
    }

    fn duties(&self, member: Member) -> Duties {
        let mut owners = self.owners(1, member.after).into_iter();
        let after = self.sides.get(1).map(|side| side.snapshot);
        let is_node = |id: &NetworkInterfaceId| {
            let interface = after.and_then(|after| after.network_interface(id));
            interface.is_some_and(|interface| interface.instance.is_some())
        };
        Duties {
            is_resolver: self.resolvers.contains(&member.after),
            is_control_plane: owners.clone().any(|id| self.control_plane.contains(&id)),
            is_node: owners.any(|id| is_node(&id)),
        }
    }

    /// Interfaces of both snapshots of which something changed.
    fn changed(&mut self) {
        let [before, after] = &self.sides;
        for (key, entry) in before.snapshot.interfaces.entries() {
            let id = &entry.interface.id;
            let there = after.snapshot.interface_keys.get(id);
            let number = |side: &Side<'_>, place: usize| side.interfaces.get(place).copied();
            if there
                .is_some_and(|there| number(before, key.place()) != number(after, there.place()))
            {
                self.ends.changed.insert(id.clone());
            }
        }
    }

    fn owners(&self, side: usize, address: IpAddr) -> Vec<NetworkInterfaceId> {
        let Some(side) = self.sides.get(side) else {
            return Vec::new();
        };
        let keys = side.snapshot.addresses.owners(address);
        let id = |key| side.snapshot.interfaces.at(key).interface.id.clone();
        keys.into_iter().map(id).collect()
    }

    /// Lays what is gone on what is new and of the same kin: within a subnet, and what has none there within the VPC.
    fn join(&mut self, gone: &[IpAddr], new: &[IpAddr]) {
        let [before, after] = self.sides.each_ref().map(|side| side.snapshot);
        let mut successors = by_kin(after, new, |kin| kin);
        let mut left = Vec::new();
        for (kin, gone) in by_kin(before, gone, |kin| kin) {
            match successors.remove(&kin) {
                Some(new) => self.replace(&gone, &new),
                None => left.extend(gone),
            }
        }
        let (all_gone, all_new) = (
            by_kin(before, gone, Kin::anywhere),
            by_kin(after, new, Kin::anywhere),
        );
        for (kin, left) in by_kin(before, &left, Kin::anywhere) {
            if let Some(new) = all_new.get(&kin) {
                self.replace(&left, new);
            }
        }
        let left: Vec<IpAddr> = successors.into_values().flatten().collect();
        for (kin, left) in by_kin(after, &left, Kin::anywhere) {
            if let Some(gone) = all_gone.get(&kin) {
                self.replace(gone, &left);
            }
        }
    }

    /// Lays what is gone on what is new, each pair of kinds once.
    fn replace(&mut self, gone: &[IpAddr], new: &[IpAddr]) {
        for address in gone {
            self.ends.replaced.extend(self.owners(0, *address));
        }
        for address in new {
            self.ends.replaced.extend(self.owners(1, *address));
        }
        let (gone, new) = (self.kinds(0, gone), self.kinds(1, new));
        for before in gone.values() {
            for after in new.values() {
                let member = self.member(*before, *after);
                self.add(member, false);
            }
        }
    }

    /// One address of every kind.
    fn kinds(&mut self, side: usize, addresses: &[IpAddr]) -> BTreeMap<Look, IpAddr> {
        let mut kinds = BTreeMap::new();
        for address in addresses {
            kinds.entry(self.look(side, *address)).or_insert(*address);
        }
        kinds
    }

    /// One address without an owner in every network that something mentions.
    fn outside(&mut self, networks: &BTreeSet<IpNet>) {
        let mut taken = networks.clone();
        for side in &self.sides {
            for interface in side.snapshot.network_interfaces() {
                taken.extend(interface.prefixes.iter().map(IpNet::trunc));
                taken.extend(interface.addresses.iter().copied().map(IpNet::from));
            }
        }
        for network in networks {
            match free(*network, &taken, |address| {
                matches!(self.ownership(address), Ownership::Nowhere)
            }) {
                Free::At(address) => {
                    let member = self.member(address, address);
                    self.add(member, true);
                }
                Free::Nowhere => {}
                Free::Unseen => self.ends.unseen.push(*network),
            }
        }
    }

    /// Pairs of addresses on one host, each combination of kinds once.
    fn neighbours(&mut self, addresses: &BTreeSet<IpAddr>) {
        let mut by_host: BTreeMap<u32, Vec<(usize, Member)>> = BTreeMap::new();
        for address in addresses {
            if !matches!(self.ownership(*address), Ownership::Both) {
                continue;
            }
            let member = self.member(*address, *address);
            let looks = (self.look(0, *address), self.look(1, *address), false);
            let Some(place) = self.by_looks.get(&looks).copied() else {
                continue;
            };
            let hosts: BTreeSet<u32> = [member.hosts.0, member.hosts.1]
                .into_iter()
                .flatten()
                .collect();
            for host in hosts {
                let list = by_host.entry(host).or_default();
                let known = list
                    .iter()
                    .filter(|(end, other)| *end == place && other.hosts == member.hosts);
                if known.count() < 2 {
                    list.push((place, member));
                }
            }
        }
        let mut seen = BTreeSet::new();
        for list in by_host.values() {
            for (one, first) in list {
                for (other, second) in list {
                    let is_shared =
                        |one: Option<u32>, other: Option<u32>| one.is_some() && one == other;
                    let before = is_shared(first.hosts.0, second.hosts.0);
                    let after = is_shared(first.hosts.1, second.hosts.1);
                    if first != second && seen.insert((*one, *other, before, after)) {
                        self.ends.neighbours.push(Neighbours {
                            ends: (*one, *other),
                            members: (*first, *second),
                        });
                    }
                }
            }
        }
    }
}

/// What became of the search for an address that nobody owns.
enum Free {
    At(IpAddr),
    /// Smaller networks and owned addresses fill the network.
    Nowhere,
    /// The search was given up.
    Unseen,
}

/// An address of a network that is in no smaller one.
fn free(network: IpNet, taken: &BTreeSet<IpNet>, is_free: impl Fn(IpAddr) -> bool) -> Free {
    let mut candidate = Some(network.network());
    let mut inner = taken
        .range(network..)
        .take_while(|inner| network.contains(&inner.addr()))
        .filter(|inner| **inner != network)
        .peekable();
    for _ in 0..TRIES_MAX {
        let Some(address) = candidate.filter(|address| network.contains(address)) else {
            return Free::Nowhere;
        };
        // Sorted by address: what lies before the candidate is done with.
        while inner.next_if(|inner| inner.broadcast() < address).is_some() {}
        match inner.peek() {
            Some(inner) if inner.contains(&address) => candidate = following(inner.broadcast()),
            Some(_) | None if is_free(address) => return Free::At(address),
            Some(_) | None => candidate = following(address),
        }
    }
    Free::Unseen
}

/// The next address; absent of the last one.
fn following(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address)
            .checked_add(1)
            .map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(address) => u128::from(address)
            .checked_add(1)
            .map(|next| IpAddr::V6(next.into())),
    }
}

/// Every network that tells addresses apart: those that snapshots mention, and those that the model itself knows.
fn networks(snapshots: [&Snapshot; 2]) -> BTreeSet<IpNet> {
    const V4: [([u8; 4], u8); 8] = [
        ([0, 0, 0, 0], 0),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 168, 0, 0], 16),
        ([224, 0, 0, 0], 4),
    ];
    const V6: [(u16, u16, u8); 4] = [(0, 0, 0), (0, 1, 128), (0xfc00, 0, 7), (0xfe80, 0, 10)];
    let mut networks = BTreeSet::new();
    for snapshot in snapshots {
        mentioned(snapshot, &mut networks);
        networks.extend(exempt_addresses(snapshot).map(IpNet::from));
        let cluster = snapshot.cluster.iter();
        networks
            .extend(cluster.flat_map(|cluster| cluster.service_networks.iter().map(IpNet::trunc)));
        let policies = snapshot.network_policies.iter();
        networks.extend(policies.flat_map(|policy| policy.listed.iter().copied().map(IpNet::from)));
    }
    networks
        .extend(V4.map(|(address, length)| IpNet::V4(Ipv4Net::new_assert(address.into(), length))));
    networks.extend(V6.map(|(first, last, length)| {
        let address = [first, 0, 0, 0, 0, 0, 0, last];
        IpNet::V6(Ipv6Net::new_assert(address.into(), length))
    }));
    networks
}
