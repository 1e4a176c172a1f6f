//! The packets to ask about: for each change those that no rule and no entry tells apart, one each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Cell, End, PROBES_MAX, Probe, Survey, end};
use crate::change::Mentioned;
use crate::class::{Class, ClassId, Classes, Facts, index};
use crate::flow::{EPHEMERAL_PORTS_DEFAULT, Flow, FlowProtocol, SourceKind};
use crate::id::SecurityGroupId;
use crate::net::PortRange;
use crate::repair::change::{NewEntry, NewPeer, NewRoute, NewRule};
use crate::snapshot::{
    Direction, Host, InterfaceEntry, Key, Owner, Route, RouteTarget, Snapshot, Traffic,
};

/// Most members of a class that are tried to find two ends on two hosts.
const MEMBERS_MAX: usize = 8;

impl Survey<'_> {
    /// One packet for each pair of classes that a rule is about.
    pub(super) fn of_rule(&self, rule: &NewRule) -> Vec<Probe> {
        let protocols: BTreeSet<FlowProtocol> = self
            .flows
            .iter()
            .map(|flow| flow.protocol)
            .filter(|protocol| rule.traffic.matches(*protocol) == crate::snapshot::Match::Yes)
            .collect();
        let own = self.carriers(&rule.group);
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
                    // Pods that a node in the network translates arrive as the node (E.1).
                    if rule.direction == Direction::Ingress {
                        for source in self.translated() {
                            let pairs = own.iter().map(|one| (source, *one));
                            found.extend(pairs.filter_map(|pair| self.between(pair, protocol)));
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
        if has_undescribed_gateway(self.before) {
            return self.classes.iter().map(|(id, _)| id).collect();
        }
        self.carriers(group)
    }

    fn carriers(&self, group: &SecurityGroupId) -> Vec<ClassId> {
        carriers(self.before, self.classes, group)
    }

    /// Classes of pods that their nodes translate.
    fn translated(&self) -> Vec<ClassId> {
        let all = self.classes.iter();
        all.filter(|(_, class)| class.facts.exit != Facts::NO_EXIT)
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
    ) -> Option<Probe> {
        let (from, to) = (self.classes.class(source), self.classes.class(destination));
        let (source_address, destination_address) = apart(self.before, from, to)?;
        let flow = flow(
            (source_address, from.source_kind),
            destination_address,
            protocol,
        );
        Some(probe(
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
    ) -> Option<Probe> {
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
        let here = End::Class(class);
        Some(match direction {
            Direction::Egress => probe(
                (here, there, protocol),
                flow((member.address, own.source_kind), address, protocol),
            ),
            Direction::Ingress => {
                let source = (address, self.before.source_kind(address));
                probe(
                    (there, here, protocol),
                    flow(source, member.address, protocol),
                )
            }
        })
    }

    /// Packets and replies that an entry of a list is about, for protocols that the relation does not hold.
    pub(super) fn of_entry(&self, entry: &NewEntry) -> Vec<Probe> {
        let asked = match &entry.traffic {
            Traffic::Tcp(_) => return Vec::new(),
            Traffic::Udp(_) => Asked {
                udp: true,
                others: Vec::new(),
            },
            Traffic::Icmp(_)
            | Traffic::IcmpV6(_)
            | Traffic::Protocol(_)
            | Traffic::All
            | Traffic::Unread => Asked {
                udp: false,
                others: self.without_ports(&entry.network),
            },
        };
        let is_near = |class: &Class| {
            let list = self.before.network_acl_of(&class.subnet);
            list.is_some_and(|list| list.id == entry.acl)
        };
        self.across(is_near, &entry.network, &asked)
    }

    /// Packets there and back that a route is about, for protocols that the relation does not hold.
    pub(super) fn of_route(&self, route: &NewRoute) -> Vec<Probe> {
        let is_near = |class: &Class| {
            let table = self.before.route_table_of(&class.subnet);
            table.is_some_and(|table| table.id == route.table)
        };
        let asked = Asked {
            udp: true,
            others: self.without_ports(&route.destination),
        };
        self.across(is_near, &route.destination, &asked)
    }

    /// Packets between near classes and a network, in both directions.
    fn across(
        &self,
        is_near: impl Fn(&Class) -> bool,
        network: &ipnet::IpNet,
        asked: &Asked,
    ) -> Vec<Probe> {
        let mut cuts = Cuts::new(self);
        let all = self.classes.iter();
        let near = all.filter(|(_, class)| is_near(class));
        let near: Vec<(ClassId, usize)> = near
            .map(|(id, class)| (id, cuts.number(class.example)))
            .collect();
        let mut found = Vec::new();
        for address in self.addresses(network) {
            let there = cuts.number(address);
            for (class, here) in &near {
                let udp = if asked.udp {
                    cuts.between(*here, there)
                } else {
                    &[]
                };
                let udp = udp.iter().map(|ports| {
                    let port = ports.first();
                    (FlowProtocol::Udp { port }, Some(*ports))
                });
                let others = asked.others.iter().map(|protocol| (*protocol, None));
                for (protocol, ports) in udp.chain(others) {
                    for direction in [Direction::Egress, Direction::Ingress] {
                        let probe = self.beside((*class, address), direction, protocol);
                        found.extend(probe.map(|probe| Probe { ports, ..probe }));
                    }
                }
                if found.len() > PROBES_MAX {
                    return found;
                }
            }
        }
        found
    }

    /// ICMP echo of the family of a network, and what was asked about.
    fn without_ports(&self, network: &ipnet::IpNet) -> Vec<FlowProtocol> {
        let is_v4 = matches!(network, ipnet::IpNet::V4(_));
        let is_asked = |protocol: &FlowProtocol| match protocol {
            FlowProtocol::Icmp { .. } => is_v4,
            FlowProtocol::IcmpV6 { .. } => !is_v4,
            FlowProtocol::Other(_) => true,
            FlowProtocol::Tcp { .. } | FlowProtocol::Udp { .. } => false,
        };
        let asked = self.flows.iter().map(|flow| flow.protocol);
        let mut found: BTreeSet<FlowProtocol> = asked.filter(is_asked).collect();
        found.insert(if is_v4 {
            FlowProtocol::Icmp { kind: 8, code: 0 }
        } else {
            FlowProtocol::IcmpV6 { kind: 128, code: 0 }
        });
        found.into_iter().collect()
    }
}

/// What is asked about two ends.
struct Asked {
    /// Whether UDP is, range by range.
    udp: bool,
    /// Packets of protocols without ports.
    others: Vec<FlowProtocol>,
}

/// Ranges of ports of UDP that nothing at two addresses tells apart, each pair of kinds of addresses once.
struct Cuts<'a> {
    survey: &'a Survey<'a>,
    numbers: BTreeMap<Mentioned, usize>,
    kinds: Vec<Mentioned>,
    known: BTreeMap<(usize, usize), Vec<PortRange>>,
}

impl<'a> Cuts<'a> {
    fn new(survey: &'a Survey<'a>) -> Self {
        Self {
            survey,
            numbers: BTreeMap::new(),
            kinds: Vec::new(),
            known: BTreeMap::new(),
        }
    }

    /// The number of what rules and entries at an address mention, before or after.
    fn number(&mut self, address: IpAddr) -> usize {
        let mut found = Mentioned::default();
        for snapshot in [self.survey.before, self.survey.after] {
            found.add_address(snapshot, address);
        }
        let next = self.kinds.len();
        let kinds = &mut self.kinds;
        *self.numbers.entry(found).or_insert_with_key(|found| {
            kinds.push(found.clone());
            next
        })
    }

    fn between(&mut self, one: usize, other: usize) -> &[PortRange] {
        let Self {
            survey,
            kinds,
            known,
            ..
        } = self;
        known.entry((one, other)).or_insert_with(|| {
            let mut all = Mentioned::default();
            for place in [one, other] {
                if let Some(kind) = kinds.get(place) {
                    all.join(kind);
                }
            }
            let asked = survey.flows.iter().map(|flow| flow.protocol);
            all.add_udp(asked.filter_map(|protocol| match protocol {
                FlowProtocol::Udp { port } => Some(port),
                FlowProtocol::Tcp { .. }
                | FlowProtocol::Icmp { .. }
                | FlowProtocol::IcmpV6 { .. }
                | FlowProtocol::Other(_) => None,
            }));
            all.udp_ports()
        })
    }
}

fn probe(cell: Cell, flow: Flow) -> Probe {
    let port = flow.protocol.port();
    Probe {
        cell,
        flow,
        ports: port.map(|port| PortRange::between(port, port)),
    }
}

/// Whether a route leads to a transit gateway that is not described: there every reference is unresolved (K.1 "TGW").
pub(super) fn has_undescribed_gateway(snapshot: &Snapshot) -> bool {
    let is_undescribed = |route: &Route| match &route.target {
        RouteTarget::TransitGateway(id) => !snapshot.transit_gateways.contains_key(id),
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
    let tables = snapshot.route_tables.iter();
    tables.flat_map(|table| &table.routes).any(is_undescribed)
}

/// Classes that carry a group, or may, themselves or as the node that translates them.
pub(super) fn carriers(
    snapshot: &Snapshot,
    classes: &Classes,
    group: &SecurityGroupId,
) -> Vec<ClassId> {
    let Some(key) = snapshot.group_keys.get(group) else {
        return Vec::new();
    };
    let carries = |facts: &Facts| {
        let set = classes.sets.get(index(facts.set));
        set.is_none_or(|set| !set.is_read || set.groups.contains(key))
    };
    let leaves = |facts: &Facts| {
        let exit = classes.exits.get(index(facts.exit));
        exit.and_then(|exit| exit.primary.ok())
            .is_some_and(|primary| carries(&primary))
    };
    classes
        .iter()
        .filter(|(_, class)| carries(&class.facts) || leaves(&class.facts))
        .map(|(id, _)| id)
        .collect()
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
pub(super) fn apart(
    snapshot: &Snapshot,
    source: &Class,
    destination: &Class,
) -> Option<(IpAddr, IpAddr)> {
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
pub(super) fn without(range: PortRange, ports: &[u16]) -> Vec<PortRange> {
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
