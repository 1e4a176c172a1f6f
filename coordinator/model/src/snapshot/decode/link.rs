//! What holds for what: lists for subnets, hosts for interfaces, members for groups, owners for addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::IpNet;

use super::Decoder;
use crate::describe::Answer;
use crate::id::{InstanceId, NetworkInterfaceId, SubnetId, VpcId};
use crate::snapshot::{
    Completeness, Consequence, Gap, GapKind, GroupReference, Host, InterfaceEntry, Key, RulePeer,
    SubnetEntry,
};

impl Decoder<'_> {
    /// Finds the list of each subnet: its own, else the VPC's default one (B.1, C.1).
    ///
    /// Two lists of one's own, two defaults, or a default while some association could not be read, are none: the
    /// subnet's flows are then unknown.
    pub(super) fn choose_lists<T>(
        &mut self,
        file: &str,
        explicit: Vec<(SubnetId, Key<T>)>,
        defaults: Vec<(Option<VpcId>, Key<T>)>,
        associations: Completeness,
    ) -> Vec<(Key<SubnetEntry>, Option<Key<T>>)> {
        let mut own: BTreeMap<SubnetId, BTreeSet<Key<T>>> = BTreeMap::new();
        for (subnet, key) in explicit {
            own.entry(subnet).or_default().insert(key);
        }
        let mut chosen = Vec::new();
        let mut without = Vec::new();
        for (key, entry) in self.snapshot.subnets.entries() {
            let subnet = &entry.subnet;
            let list = match own.get(&subnet.id) {
                Some(keys) => sole(keys.iter().copied()),
                None if associations == Completeness::Incomplete => None,
                None => sole(
                    defaults
                        .iter()
                        .filter(|(vpc, _)| vpc.is_some() && *vpc == subnet.vpc)
                        .map(|(_, key)| *key),
                ),
            };
            if list.is_none() {
                without.push(subnet.id.to_string());
            }
            chosen.push((key, list));
        }
        for id in without {
            self.gaps.push(Gap {
                file: file.to_owned(),
                path: String::new(),
                id: Some(id),
                kind: GapKind::NoneHolds,
                consequence: Consequence::SubnetUnknown,
            });
        }
        chosen
    }

    /// Links everything that needs all files.
    pub(super) fn link(&mut self) {
        self.link_hosts();
        self.link_primaries();
        self.link_members();
        self.link_addresses();
        self.link_nodes();
        self.note_dangling_interfaces();
        self.note_references();
    }

    /// Host = instance of the attachment, else the instance that lists the interface; of a branch interface that of
    /// its trunk; none: the interface itself (K.1 "Hosts").
    fn link_hosts(&mut self) {
        let mut listed: HashMap<NetworkInterfaceId, InstanceId> = HashMap::new();
        for instance in self.snapshot.instances.values() {
            for interface in &instance.interfaces {
                listed
                    .entry(interface.clone())
                    .or_insert_with(|| instance.id.clone());
            }
        }
        let own: HashMap<NetworkInterfaceId, InstanceId> = self
            .snapshot
            .interfaces
            .iter()
            .filter_map(|entry| {
                let id = &entry.interface.id;
                let instance = entry.interface.instance.clone();
                Some((id.clone(), instance.or_else(|| listed.get(id).cloned())?))
            })
            .collect();
        let found: Vec<_> = self
            .snapshot
            .interfaces
            .entries()
            .filter_map(|(key, entry)| Some((key, instance_of(entry, &own)?.clone())))
            .collect();
        let mut hosts = HashMap::new();
        for (key, instance) in found {
            let host = *hosts
                .entry(instance.clone())
                .or_insert_with(|| self.snapshot.hosts.push(Host::Instance(instance.clone())));
            let entry = self.snapshot.interfaces.at_mut(key);
            entry.host = host;
            entry.interface.instance = Some(instance);
        }
    }

    /// Primary interface: device 0 on card 0, else the one with the instance's address (K.1 "Hosts").
    fn link_primaries(&mut self) {
        let mut found: BTreeMap<_, (u8, Key<InterfaceEntry>)> = BTreeMap::new();
        for (key, entry) in self.snapshot.interfaces.entries() {
            let Host::Instance(instance) = self.snapshot.hosts.at(entry.host) else {
                continue;
            };
            let Some(rank) = self.primary_rank(entry, instance) else {
                continue;
            };
            let best = found.entry(entry.host).or_insert((rank, key));
            if rank < best.0 {
                *best = (rank, key);
            }
        }
        self.snapshot.primaries = found
            .into_iter()
            .map(|(host, (_, key))| (host, key))
            .collect();
    }

    /// How well an interface fits as the primary one, the best first; interfaces come sorted by id.
    fn primary_rank(&self, entry: &InterfaceEntry, instance: &InstanceId) -> Option<u8> {
        let interface = &entry.interface;
        if interface.is_branch() {
            return None;
        }
        let address = self
            .snapshot
            .instance(instance)
            .and_then(|instance| instance.private_address);
        let has_address = address.is_some_and(|address| interface.addresses.contains(&address));
        let is_first =
            interface.device_index == Some(0) && interface.network_card.unwrap_or(0) == 0;
        match (is_first, has_address) {
            (true, true) => Some(0),
            (true, false) => Some(1),
            (false, true) => Some(2),
            (false, false) => None,
        }
    }

    fn link_members(&mut self) {
        let found: Vec<_> = self
            .snapshot
            .interfaces
            .entries()
            .flat_map(|(key, entry)| entry.groups.iter().map(move |group| (*group, key)))
            .collect();
        for (group, member) in found {
            self.snapshot.groups.at_mut(group).members.push(member);
        }
    }

    fn link_addresses(&mut self) {
        let mut found = Vec::new();
        for (key, entry) in self.snapshot.interfaces.entries() {
            let single = entry.interface.addresses.iter().copied().map(IpNet::from);
            let networks = single.chain(entry.interface.prefixes.iter().copied());
            found.extend(networks.map(|network| (network, key)));
        }
        for (network, key) in &found {
            self.snapshot.addresses.insert(*network, *key);
        }
        self.note_shared_addresses(&found);
    }

    /// Hosts that a Node names, by its provider id or by an address; not known where some Node could not be read.
    fn link_nodes(&mut self) {
        let has_file = Answer::of_stem("nodes").is_some_and(|answer| self.has(answer));
        if !has_file || self.nodes_read == Completeness::Incomplete {
            return;
        }
        let snapshot = &self.snapshot;
        let is_named = |entry: &InterfaceEntry| match snapshot.hosts.at(entry.host) {
            Host::Instance(instance) => {
                let addresses = &entry.interface.addresses;
                snapshot.nodes_by_instance.contains_key(instance)
                    || addresses
                        .iter()
                        .any(|address| snapshot.nodes_by_address.contains_key(address))
            }
            Host::Interface(_) => false,
        };
        let named = snapshot.interfaces.iter().filter(|entry| is_named(entry));
        let hosts = named.map(|entry| entry.host).collect();
        self.snapshot.node_hosts = Some(hosts);
    }

    fn note_shared_addresses(&mut self, found: &[(IpNet, Key<InterfaceEntry>)]) {
        let mut shared = Vec::new();
        for (network, key) in found {
            let entry = self.snapshot.interfaces.at(*key);
            for other in self.snapshot.addresses.owners(network.addr()) {
                let other = self.snapshot.interfaces.at(other);
                if other.vpc == entry.vpc && other.interface.id != entry.interface.id {
                    let ids = (entry.interface.id.clone(), other.interface.id.clone());
                    shared.push(ids);
                }
            }
        }
        for (id, with) in shared {
            self.gaps.push(Gap {
                file: "describe-network-interfaces".to_owned(),
                path: String::new(),
                id: Some(id.to_string()),
                kind: GapKind::Overlap {
                    with: with.to_string(),
                },
                consequence: Consequence::AddressAmbiguous,
            });
        }
    }

    /// Notes prefix lists that rules name and nobody read.
    fn note_references(&mut self) {
        let mut found = BTreeSet::new();
        for group in self.snapshot.security_groups() {
            for rule in group.ingress.iter().chain(&group.egress) {
                match &rule.peer {
                    RulePeer::PrefixList(id)
                        if self
                            .snapshot
                            .prefix_list(id)
                            .is_none_or(|list| list.networks.is_none()) =>
                    {
                        found.insert((
                            group.id.to_string(),
                            id.to_string(),
                            Consequence::PrefixListUnknown,
                        ));
                    }
                    RulePeer::Group(reference) if self.is_foreign(reference) => {
                        let id = reference.group.to_string();
                        found.insert((group.id.to_string(), id, Consequence::RuleUnresolved));
                    }
                    RulePeer::PrefixList(_)
                    | RulePeer::Group(_)
                    | RulePeer::Network(_)
                    | RulePeer::Unread => {}
                }
            }
        }
        for (group, id, consequence) in found {
            self.gaps.push(Gap {
                file: "describe-security-groups".to_owned(),
                path: String::new(),
                id: Some(group),
                kind: GapKind::Dangling { id },
                consequence,
            });
        }
    }

    /// Whether a reference leads into an account whose interfaces nobody here sees.
    fn is_foreign(&self, reference: &GroupReference) -> bool {
        self.snapshot.members(reference) == crate::snapshot::Members::Invisible
    }
}

fn instance_of<'e>(
    entry: &InterfaceEntry,
    own: &'e HashMap<NetworkInterfaceId, InstanceId>,
) -> Option<&'e InstanceId> {
    let trunk = entry
        .interface
        .trunk
        .as_ref()
        .filter(|_| entry.interface.is_branch());
    match trunk {
        Some(trunk) => own.get(trunk).or_else(|| own.get(&entry.interface.id)),
        None => own.get(&entry.interface.id),
    }
}

/// The only item, if there is exactly one.
fn sole<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}
