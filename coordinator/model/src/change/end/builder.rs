//! Gathers the ends, address by address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::network::{Free, TRIES_MAX, free};
use super::{Duties, End, Ends, Look, Member, Neighbours};
use crate::change::kin::{Kin, by_kin};
use crate::class::{ZoneId, Zones, network_addresses};
use crate::id::NetworkInterfaceId;
use crate::snapshot::{Host, InterfaceEntry, Key, Policing, Snapshot};

/// Most members of an end that are kept, each on a host of its own.
const MEMBERS_MAX: usize = 8;
/// Most bits by which a delegated prefix is larger than one address and still taken address by address.
const LISTED_BITS_MAX: u8 = 8;

/// What one snapshot knows of addresses.
pub(super) struct Side<'s> {
    pub(super) snapshot: &'s Snapshot,
    /// Number of what is known of every interface where it sends, by place.
    pub(super) sending: Vec<u32>,
    /// The same where it receives.
    pub(super) receiving: Vec<u32>,
}

impl Side<'_> {
    /// What is known of an interface where it sends, and where it receives.
    fn numbers(&self, place: usize) -> Option<(u32, u32)> {
        Some((*self.sending.get(place)?, *self.receiving.get(place)?))
    }
}

/// What a model knows of an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Known {
    /// Of each owner where it sends, and where it receives.
    owners: Vec<(u32, u32)>,
    zone: ZoneId,
    is_policed: bool,
}

impl Known {
    /// Whether both say the same, of the owners what `part` takes.
    fn agrees(&self, other: &Self, part: fn(&(u32, u32)) -> u32) -> bool {
        let owners = |known: &Self| {
            let mut owners: Vec<u32> = known.owners.iter().map(part).collect();
            owners.sort_unstable();
            owners
        };
        (self.zone, self.is_policed) == (other.zone, other.is_policed)
            && owners(self) == owners(other)
    }
}

/// Everything that has a number.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) texts: HashMap<String, u32>,
    known: HashMap<Known, u32>,
    hosts: HashMap<Host, u32>,
}

impl Numbers {
    pub(super) fn next<K: std::hash::Hash + Eq>(map: &mut HashMap<K, u32>, key: K) -> u32 {
        let next = crate::class::number(map.len());
        *map.entry(key).or_insert(next)
    }
}

pub(super) struct Builder<'s> {
    pub(super) sides: [Side<'s>; 2],
    pub(super) control_plane: BTreeSet<NetworkInterfaceId>,
    pub(super) resolvers: BTreeSet<IpAddr>,
    pub(super) zones: Zones,
    pub(super) numbers: Numbers,
    pub(super) by_looks: BTreeMap<(Look, Look, bool), usize>,
    pub(super) ends: Ends,
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
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
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
        match self.known(side, address) {
            Some(known) => Numbers::next(&mut self.numbers.known, known),
            None => 0,
        }
    }

    fn known(&self, side: usize, address: IpAddr) -> Option<Known> {
        let it = self.sides.get(side)?;
        let owners = it.snapshot.addresses.owners(address).into_iter();
        let number = |key: Key<InterfaceEntry>| it.numbers(key.place()).unwrap_or_default();
        let mut owners: Vec<(u32, u32)> = owners.map(number).collect();
        owners.sort_unstable();
        Some(Known {
            owners,
            zone: self.zones.of(address),
            is_policed: it.snapshot.policing(address) != Policing::None,
        })
    }

    /// Whether both models know the same of an address where it sends, and where it receives.
    fn agreement(&self, member: Member) -> (bool, bool) {
        let known = (self.known(0, member.before), self.known(1, member.after));
        let (Some(before), Some(after)) = known else {
            return (false, false);
        };
        (
            before.agrees(&after, |owner| owner.0),
            before.agrees(&after, |owner| owner.1),
        )
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
        // A replacement is an end of its own: its addresses differ.
        let looks = (before, after, member.before != member.after);
        let place = match self.by_looks.get(&looks) {
            Some(place) => *place,
            None => {
                let place = self.ends.ends.len();
                let end = self.end(member, (before, after), is_outside);
                self.ends.ends.push(end);
                self.by_looks.insert(looks, place);
                place
            }
        };
        let duties = self.duties(member);
        if let Some(end) = self.ends.ends.get_mut(place) {
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

    /// An end of which nobody is a member yet.
    fn end(&self, member: Member, (before, after): (Look, Look), is_outside: bool) -> End {
        let (sends_the_same, receives_the_same) = self.agreement(member);
        End {
            before,
            after,
            sends_the_same,
            receives_the_same,
            is_outside,
            network: self.zones.network(self.zones.of(member.after)),
            members: Vec::new(),
            count: 0,
            duties: Duties::default(),
        }
    }

    /// Ends that somebody owns; those owned in one snapshot alone are joined by what they are.
    pub(super) fn inside(&mut self, addresses: &BTreeSet<IpAddr>) {
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
    pub(super) fn changed(&mut self) {
        let [before, after] = &self.sides;
        for (key, entry) in before.snapshot.interfaces.entries() {
            let id = &entry.interface.id;
            let there = after.snapshot.interface_keys.get(id);
            if there
                .is_some_and(|there| before.numbers(key.place()) != after.numbers(there.place()))
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
    pub(super) fn outside(&mut self, networks: &BTreeSet<IpNet>) {
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
    pub(super) fn neighbours(&mut self, addresses: &BTreeSet<IpAddr>) {
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
