//! What changes open, pair of classes by pair of classes, by asking the model before and after.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use super::change::{Change, NewEntry, NewPeer, NewRule};
use crate::change::Comparison;
use crate::class::{Class, ClassId, Classes, Facts, index};
use crate::flow::{EPHEMERAL_PORTS_DEFAULT, Flow, FlowProtocol, SourceKind};
use crate::id::SecurityGroupId;
use crate::matrix::VerdictKind;
use crate::net::PortRange;
use crate::predict::verdict;
use crate::snapshot::{
    Direction, Host, InterfaceEntry, Key, Owner, Readable, Route, RouteTarget, Snapshot, Traffic,
};

/// Most packets that are asked about for one change of a protocol that the relation does not hold.
const PROBES_MAX: usize = 200_000;
/// Most members of a class that are tried to find two ends on two hosts.
const MEMBERS_MAX: usize = 8;

/// Packets that changes let pass, between two kinds of ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opened {
    /// Who sends.
    pub source: OpenedEnd,
    /// Who receives.
    pub destination: OpenedEnd,
    /// The protocol with its lowest port.
    pub protocol: FlowProtocol,
    /// All ports, sorted; empty of protocols without ports.
    pub ports: Vec<PortRange>,
}

/// An end of packets that changes let pass.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenedEnd {
    /// What people call its class, or the address where it is of none; raw text.
    pub name: String,
    /// One of the addresses.
    pub example: IpAddr,
}

/// What changes do to the rest of the network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Effect {
    pub(super) opened: Vec<Opened>,
    /// Whether something that passed does not any more.
    pub(super) closes: bool,
    /// Whether a bound left something out.
    pub(super) is_bounded: bool,
}

/// Packets by what the model tells apart: ends of no class are of their own.
type Cell = (End, End, FlowProtocol);

/// A class, or an address of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum End {
    Class(ClassId),
    Address(IpAddr),
}

/// Flows whose opening is wanted.
#[derive(Debug, Default)]
pub(super) struct Wanted(HashSet<Cell>);

fn end(classes: &Classes, address: IpAddr) -> End {
    classes
        .of(address)
        .map_or(End::Address(address), End::Class)
}

impl Wanted {
    pub(super) fn new<'f>(classes: &Classes, flows: impl IntoIterator<Item = &'f Flow>) -> Self {
        let cell = |flow: &Flow| {
            let ends = (end(classes, flow.source), end(classes, flow.destination));
            (ends.0, ends.1, flow.protocol)
        };
        Self(flows.into_iter().map(cell).collect())
    }
}

/// Asks the model before and after.
pub(super) struct Survey<'a> {
    pub(super) before: &'a Snapshot,
    pub(super) after: &'a Snapshot,
    pub(super) classes: &'a Classes,
    pub(super) wanted: &'a Wanted,
    /// The flows that shall pass.
    pub(super) flows: &'a [Flow],
}

impl Survey<'_> {
    /// What changes open besides the flows that are wanted.
    pub(super) fn effect(&self, changes: &[Change]) -> Effect {
        let mut effect = Effect::default();
        let is_whole = changes.iter().any(|change| match change {
            Change::Rule(_) => false,
            Change::Route(_) => true,
            Change::Entry(entry) => matches!(entry.traffic, Traffic::Tcp(_)),
        });
        if is_whole {
            self.compare(&mut effect);
        }
        let mut asked = HashSet::new();
        for change in changes {
            let flows = match change {
                Change::Rule(rule) => self.of_rule(rule),
                Change::Entry(entry) if !matches!(entry.traffic, Traffic::Tcp(_)) => {
                    let flows = self.of_entry(entry);
                    effect.is_bounded |= flows.len() > PROBES_MAX;
                    flows
                }
                Change::Entry(_) | Change::Route(_) => Vec::new(),
            };
            for (cell, flow) in flows.into_iter().take(PROBES_MAX) {
                let is_listed = is_whole && matches!(flow.protocol, FlowProtocol::Tcp { .. });
                if !is_listed && asked.insert(cell) {
                    self.ask(cell, &flow, &mut effect);
                }
            }
        }
        effect.opened = merged(std::mem::take(&mut effect.opened));
        effect
    }

    /// Asks about one packet before and after.
    fn ask(&self, cell: Cell, flow: &Flow, effect: &mut Effect) {
        let after = VerdictKind::from(&verdict(self.after, flow));
        let before = VerdictKind::from(&verdict(self.before, flow));
        if before == after {
            return;
        }
        if passes(before) {
            effect.closes = true;
        } else if !self.wanted.0.contains(&cell) {
            effect.opened.push(self.opened(cell, flow));
        }
    }

    fn opened(&self, (source, destination, protocol): Cell, flow: &Flow) -> Opened {
        let named = |end: End, example| OpenedEnd {
            name: match end {
                End::Class(id) => self.classes.class(id).name(self.before),
                End::Address(address) => address.to_string(),
            },
            example,
        };
        let ports = protocol.port().map(|port| PortRange::between(port, port));
        Opened {
            source: named(source, flow.source),
            destination: named(destination, flow.destination),
            protocol,
            ports: ports.into_iter().collect(),
        }
    }

    /// One packet for each pair of classes that a rule is about.
    fn of_rule(&self, rule: &NewRule) -> Vec<(Cell, Flow)> {
        let protocols: BTreeSet<FlowProtocol> = self
            .flows
            .iter()
            .map(|flow| flow.protocol)
            .filter(|protocol| rule.traffic.matches(*protocol) == crate::snapshot::Match::Yes)
            .collect();
        let own = self.wearers(&rule.group);
        let mut found = Vec::new();
        for protocol in protocols {
            match &rule.peer {
                NewPeer::Group(group, _) => {
                    let peers = self.matched(group);
                    for one in &own {
                        for other in &peers {
                            let pair = match rule.direction {
                                Direction::Egress => (*one, *other),
                                Direction::Ingress => (*other, *one),
                            };
                            found.extend(self.between(pair, protocol));
                        }
                    }
                }
                NewPeer::Network(network) => {
                    for address in self.addresses(network) {
                        for one in &own {
                            found.extend(self.beside((*one, address), rule.direction, protocol));
                        }
                    }
                }
            }
        }
        found
    }

    /// Classes that a reference to a group may match: over a transit gateway that is not described all of them, since the
    /// reference is unresolved whoever the peer is (K.1 "TGW").
    fn matched(&self, group: &SecurityGroupId) -> Vec<ClassId> {
        let is_undescribed = |route: &Route| match &route.target {
            RouteTarget::TransitGateway(id) => !self.before.transit_gateways.contains_key(id),
            RouteTarget::Local
            | RouteTarget::Middlebox(_)
            | RouteTarget::Peering(_)
            | RouteTarget::Nat(_)
            | RouteTarget::InternetGateway(_)
            | RouteTarget::VpnGateway(_)
            | RouteTarget::GatewayEndpoint(_)
            | RouteTarget::Other(_)
            | RouteTarget::Unfollowed(_)
            | RouteTarget::Unread => false,
        };
        let mut routes = self
            .before
            .route_tables
            .iter()
            .flat_map(|table| &table.routes);
        if routes.any(is_undescribed) {
            return self.classes.iter().map(|(id, _)| id).collect();
        }
        self.wearers(group)
    }

    /// Classes that wear a group, or may, themselves or as the node that translates them.
    fn wearers(&self, group: &SecurityGroupId) -> Vec<ClassId> {
        let Some(key) = self.before.group_keys.get(group) else {
            return Vec::new();
        };
        let wears = |facts: &Facts| {
            let set = self.classes.sets.get(index(facts.set));
            set.is_none_or(|set| !set.is_read || set.groups.contains(key))
        };
        let leaves = |facts: &Facts| {
            let exit = self.classes.exits.get(index(facts.exit));
            exit.and_then(|exit| exit.primary.ok())
                .is_some_and(|primary| wears(&primary))
        };
        self.classes
            .iter()
            .filter(|(_, class)| wears(&class.facts) || leaves(&class.facts))
            .map(|(id, _)| id)
            .collect()
    }

    /// One address for each class in a network, and those of the flows that shall pass.
    fn addresses(&self, network: &ipnet::IpNet) -> BTreeSet<IpAddr> {
        let members = self.classes.iter().filter_map(|(_, class)| {
            let mut addresses = class.members.iter().map(|member| member.address);
            addresses.find(|address| network.contains(address))
        });
        let asked = self.flows.iter().flat_map(|flow| {
            let seen = crate::predict::translated_source(self.before, flow);
            [Some(flow.source), Some(flow.destination), seen]
        });
        let asked = asked.flatten().filter(|address| network.contains(address));
        members.chain(asked).collect()
    }

    /// A packet between two classes, from one host to another.
    fn between(
        &self,
        (source, destination): (ClassId, ClassId),
        protocol: FlowProtocol,
    ) -> Option<(Cell, Flow)> {
        let (from, to) = (self.classes.class(source), self.classes.class(destination));
        let (source_address, destination_address) = apart(self.before, from, to)?;
        let flow = flow(
            (source_address, from.source_kind),
            destination_address,
            protocol,
        );
        Some((
            (End::Class(source), End::Class(destination), protocol),
            flow,
        ))
    }

    /// A packet between a class and an address.
    fn beside(
        &self,
        (class, address): (ClassId, IpAddr),
        direction: Direction,
        protocol: FlowProtocol,
    ) -> Option<(Cell, Flow)> {
        let own = self.classes.class(class);
        let other = self.before.owner(address);
        let member = own.members.iter().take(MEMBERS_MAX).find(|member| {
            let is_family = member.address.is_ipv4() == address.is_ipv4();
            let host = |id| {
                self.before
                    .network_interface(id)
                    .map(|found| self.before.host(found))
            };
            let is_apart = match &other {
                Owner::One(interface) => {
                    host(&member.interface) != Some(self.before.host(interface))
                }
                Owner::Nobody | Owner::Several(_) => true,
            };
            is_family && is_apart
        })?;
        let there = end(self.classes, address);
        Some(match direction {
            Direction::Egress => (
                (End::Class(class), there, protocol),
                flow((member.address, own.source_kind), address, protocol),
            ),
            Direction::Ingress => (
                (there, End::Class(class), protocol),
                flow(
                    (address, self.before.source_kind(address)),
                    member.address,
                    protocol,
                ),
            ),
        })
    }

    /// Packets and replies that an entry of a list is about, for protocols that the relation does not hold.
    fn of_entry(&self, entry: &NewEntry) -> Vec<(Cell, Flow)> {
        let Some(acl) = self.before.network_acl(&entry.acl) else {
            return Vec::new();
        };
        let near: Vec<ClassId> = self
            .classes
            .iter()
            .filter(|(_, class)| {
                self.before
                    .network_acl_of(&class.subnet)
                    .map(|found| &found.id)
                    == Some(&acl.id)
            })
            .map(|(id, _)| id)
            .collect();
        let mut found = Vec::new();
        let addresses = self.addresses(&entry.network);
        for protocol in self.protocols(&entry.traffic) {
            for address in &addresses {
                for class in &near {
                    for direction in [Direction::Egress, Direction::Ingress] {
                        if found.len() > PROBES_MAX {
                            return found;
                        }
                        found.extend(self.beside((*class, *address), direction, protocol));
                    }
                }
            }
        }
        found
    }

    /// One packet for each piece of ports that no rule tells apart.
    fn protocols(&self, traffic: &Traffic) -> Vec<FlowProtocol> {
        let mut ports = BTreeSet::new();
        if let Traffic::Udp(Readable::Is(range)) = traffic {
            ports.insert(range.first());
            for group in self.before.security_groups() {
                for rule in group.ingress.iter().chain(&group.egress) {
                    if let Traffic::Udp(Readable::Is(own)) = &rule.traffic {
                        let edges = [Some(own.first()), own.last().checked_add(1)];
                        ports.extend(
                            edges
                                .into_iter()
                                .flatten()
                                .filter(|edge| range.contains(*edge)),
                        );
                    }
                }
            }
        }
        let asked = self.flows.iter().map(|flow| flow.protocol);
        let mut found: BTreeSet<FlowProtocol> = asked.collect();
        found.extend(ports.into_iter().map(|port| FlowProtocol::Udp { port }));
        found.into_iter().collect()
    }

    /// All of TCP, by laying the relations before and after on each other.
    fn compare(&self, effect: &mut Effect) {
        let comparison = Comparison::new(self.before, self.after);
        let classes = comparison.before().classes();
        let wanted: HashSet<(Option<ClassId>, Option<ClassId>, FlowProtocol)> = self
            .flows
            .iter()
            .map(|flow| {
                (
                    classes.of(flow.source),
                    classes.of(flow.destination),
                    flow.protocol,
                )
            })
            .collect();
        for change in comparison.flows() {
            if passes(change.before) {
                effect.closes = true;
                continue;
            }
            let (source, destination) = (change.source.before, change.destination.before);
            let ends = (classes.class(source), classes.class(destination));
            if apart(self.before, ends.0, ends.1).is_none() {
                continue;
            }
            let is_wanted = |port| {
                let protocol = FlowProtocol::Tcp { port };
                wanted.contains(&(Some(source), Some(destination), protocol))
            };
            let named = |class: &Class| OpenedEnd {
                name: class.name(self.before),
                example: class.example,
            };
            let own: Vec<u16> = self
                .flows
                .iter()
                .filter_map(|flow| flow.protocol.port())
                .filter(|port| change.ports.contains(*port) && is_wanted(*port))
                .collect();
            let ports = without(change.ports, &own);
            if let Some(first) = ports.first() {
                effect.opened.push(Opened {
                    source: named(ends.0),
                    destination: named(ends.1),
                    protocol: FlowProtocol::Tcp {
                        port: first.first(),
                    },
                    ports,
                });
            }
        }
    }
}

fn passes(kind: VerdictKind) -> bool {
    matches!(
        kind,
        VerdictKind::Allow | VerdictKind::Bypass | VerdictKind::Exempt
    )
}

fn flow(
    (source, source_kind): (IpAddr, SourceKind),
    destination: IpAddr,
    protocol: FlowProtocol,
) -> Flow {
    Flow {
        source,
        destination,
        protocol,
        source_kind,
        ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
        source_interface: None,
    }
}

/// Addresses of two classes on two hosts; absent of two families, and where every pair that was tried shares a host.
fn apart(snapshot: &Snapshot, source: &Class, destination: &Class) -> Option<(IpAddr, IpAddr)> {
    if source.example.is_ipv4() != destination.example.is_ipv4() {
        return None;
    }
    let host = |class: &Class, place: usize| -> Option<(IpAddr, Key<Host>, &InterfaceEntry)> {
        let member = class.members.get(place)?;
        let key = snapshot.interface_keys.get(&member.interface)?;
        let entry = snapshot.interfaces.at(*key);
        Some((member.address, entry.host, entry))
    };
    for place in 0..source.members.len().min(MEMBERS_MAX) {
        for other in 0..destination.members.len().min(MEMBERS_MAX) {
            let Some((one, other)) = host(source, place).zip(host(destination, other)) else {
                continue;
            };
            // A branch interface meets even its own host over the VPC (E.4).
            let meets = one.1 != other.1
                || crate::predict::same_host(snapshot, one.2, other.2).is_none()
                    && one.0 != other.0;
            if meets {
                return Some((one.0, other.0));
            }
        }
    }
    None
}

/// A range of ports without some of them.
fn without(range: PortRange, ports: &[u16]) -> Vec<PortRange> {
    let ports: BTreeSet<u16> = ports.iter().copied().collect();
    let mut left = Vec::new();
    let mut first = Some(range.first());
    for port in ports {
        if let (Some(start), Some(last)) = (first, port.checked_sub(1)) {
            left.extend(PortRange::new(start, last).ok());
        }
        first = port.checked_add(1);
    }
    if let Some(start) = first {
        left.extend(PortRange::new(start, range.last()).ok());
    }
    left
}

/// Ports of the same two ends together.
fn merged(opened: Vec<Opened>) -> Vec<Opened> {
    let mut by_ends: BTreeMap<(IpAddr, IpAddr, u8), Opened> = BTreeMap::new();
    for one in opened {
        let key = (
            one.source.example,
            one.destination.example,
            one.protocol.number(),
        );
        match by_ends.entry(key) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(one);
            }
            std::collections::btree_map::Entry::Occupied(mut place) => {
                place.get_mut().ports.extend(one.ports);
            }
        }
    }
    let mut found: Vec<Opened> = by_ends.into_values().collect();
    for one in &mut found {
        one.ports.sort();
        one.ports.dedup();
    }
    found
}
