//! Kinds of packets that no rule and no entry between two ends tells apart, each shown by one packet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::flow::FlowProtocol;
use crate::net::PortRange;
use crate::snapshot::{Direction, IcmpRange, InterfaceEntry, Readable, Snapshot, Traffic};

/// A kind of packets between two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Atom {
    /// One of the packets.
    pub(super) packet: FlowProtocol,
    /// Ports of the kind, where it has any.
    pub(super) ports: Option<PortRange>,
    /// Whether the packet stands for everything of its protocol, or for all other protocols, that nothing mentions.
    pub(super) is_rest: bool,
}

/// What rules and entries mention, protocol by protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Mentioned {
    tcp: BTreeSet<u16>,
    udp: BTreeSet<u16>,
    icmp: BTreeSet<(u8, Option<u8>)>,
    icmp_v6: BTreeSet<(u8, Option<u8>)>,
    others: BTreeSet<u8>,
}

impl Default for Mentioned {
    fn default() -> Self {
        Self {
            tcp: BTreeSet::from([0]),
            udp: BTreeSet::from([0]),
            icmp: BTreeSet::new(),
            icmp_v6: BTreeSet::new(),
            others: BTreeSet::new(),
        }
    }
}

impl Mentioned {
    /// Adds what the groups of an interface and the list of its subnet mention.
    pub(super) fn add(&mut self, snapshot: &Snapshot, entry: &InterfaceEntry) {
        for key in &entry.groups {
            let group = &snapshot.groups.at(*key).group;
            for direction in [Direction::Ingress, Direction::Egress] {
                let rules = group.rules(direction).iter();
                rules.for_each(|rule| self.traffic(&rule.traffic));
            }
        }
        self.add_list(snapshot, entry);
    }

    /// Adds what the list of an interface's subnet mentions.
    pub(super) fn add_list(&mut self, snapshot: &Snapshot, entry: &InterfaceEntry) {
        if let Some(acl) = snapshot.subnets.at(entry.subnet).acl {
            let acl = snapshot.network_acls.at(acl);
            let entries = acl.ingress.iter().chain(&acl.egress);
            entries.for_each(|entry| self.traffic(&entry.traffic));
        }
    }

    /// Adds what is mentioned at an address: of whoever owns it, and of the primary interface of its node, which sends in
    /// place of pods (E.1).
    pub(crate) fn add_address(&mut self, snapshot: &Snapshot, address: IpAddr) {
        for key in snapshot.addresses.owners(address) {
            let entry = snapshot.interfaces.at(key);
            self.add(snapshot, entry);
            if let Some(primary) = snapshot.primaries.get(&entry.host) {
                self.add(snapshot, snapshot.interfaces.at(*primary));
            }
        }
    }

    /// Adds single ports of UDP.
    pub(crate) fn add_udp(&mut self, ports: impl IntoIterator<Item = u16>) {
        for port in ports {
            self.udp.insert(port);
            self.udp.extend(port.checked_add(1));
        }
    }

    /// Adds what another one mentions.
    pub(crate) fn join(&mut self, other: &Self) {
        self.tcp.extend(&other.tcp);
        self.udp.extend(&other.udp);
        self.icmp.extend(&other.icmp);
        self.icmp_v6.extend(&other.icmp_v6);
        self.others.extend(&other.others);
    }

    fn traffic(&mut self, traffic: &Traffic) {
        let cut = |ports: &Readable<PortRange>, starts: &mut BTreeSet<u16>| {
            if let Readable::Is(range) = ports {
                starts.insert(range.first());
                starts.extend(range.last().checked_add(1));
            }
        };
        let kinds = |range: &Readable<IcmpRange>, found: &mut BTreeSet<(u8, Option<u8>)>| {
            if let Readable::Is(IcmpRange {
                kind: Some(kind),
                code,
            }) = range
            {
                found.insert((*kind, *code));
            }
        };
        match traffic {
            Traffic::All | Traffic::Unread => {}
            Traffic::Tcp(ports) => cut(ports, &mut self.tcp),
            Traffic::Udp(ports) => cut(ports, &mut self.udp),
            Traffic::Icmp(range) => kinds(range, &mut self.icmp),
            Traffic::IcmpV6(range) => kinds(range, &mut self.icmp_v6),
            Traffic::Protocol(number) => {
                self.others.insert(*number);
            }
        }
    }

    /// Lists the kinds of packets; of ICMP those for `is_v4` or for IPv6, whatever the other one would carry.
    pub(super) fn atoms(&self) -> Vec<Atom> {
        let tcp = pieces(&self.tcp).map(|ports| Atom {
            packet: FlowProtocol::Tcp {
                port: ports.first(),
            },
            ports: Some(ports),
            is_rest: false,
        });
        let udp = pieces(&self.udp).map(|ports| Atom {
            packet: FlowProtocol::Udp {
                port: ports.first(),
            },
            ports: Some(ports),
            is_rest: false,
        });
        let v4 = icmp(&self.icmp, (8, 0), |kind, code| FlowProtocol::Icmp {
            kind,
            code,
        });
        let v6 = icmp(&self.icmp_v6, (128, 129), |kind, code| {
            FlowProtocol::IcmpV6 { kind, code }
        });
        tcp.chain(udp)
            .chain(v4)
            .chain(v6)
            .chain(self.others())
            .collect()
    }

    /// Lists the ranges of ports of UDP that nothing tells apart.
    pub(crate) fn udp_ports(&self) -> Vec<PortRange> {
        pieces(&self.udp).collect()
    }

    fn others(&self) -> Vec<Atom> {
        // Numbers with packets of their own are never asked by number.
        let is_free =
            |number: &u8| !self.others.contains(number) && ![1, 6, 17, 58].contains(number);
        let rest = (0..=u8::MAX)
            .rev()
            .find(is_free)
            .map(|number| (number, true));
        let named = self
            .others
            .iter()
            .filter(|number| ![1, 6, 17, 58].contains(*number));
        let all = named.map(|number| (*number, false)).chain(rest);
        all.map(|(number, is_rest)| Atom {
            packet: FlowProtocol::Other(number),
            ports: None,
            is_rest,
        })
        .collect()
    }

    /// Lists the ranges of source ports that no entry for replies tells apart.
    pub(super) fn reply_ports(&self) -> Vec<PortRange> {
        let starts: BTreeSet<u16> = self.tcp.union(&self.udp).copied().collect();
        pieces(&starts).collect()
    }
}

/// The ranges between the places at which something begins.
fn pieces(starts: &BTreeSet<u16>) -> impl Iterator<Item = PortRange> + '_ {
    let ends = starts.iter().skip(1).map(|next| next.saturating_sub(1));
    starts
        .iter()
        .zip(ends.chain([u16::MAX]))
        .map(|(first, last)| PortRange::between(*first, last))
}

/// Every type and code that something mentions, the echo and its reply, and one of all others each.
fn icmp(
    mentioned: &BTreeSet<(u8, Option<u8>)>,
    (echo, reply): (u8, u8),
    packet: impl Fn(u8, u8) -> FlowProtocol,
) -> Vec<Atom> {
    let kinds: BTreeSet<u8> = mentioned
        .iter()
        .map(|(kind, _)| *kind)
        .chain([echo])
        .collect();
    let rest = (0..=u8::MAX)
        .rev()
        .find(|kind| !kinds.contains(kind) && *kind != reply);
    let mut atoms = Vec::new();
    for kind in &kinds {
        // What is said of replies holds for echoes with their code.
        let same = |named: u8| named == *kind || (*kind == echo && named == reply);
        let codes: BTreeSet<u8> = mentioned
            .iter()
            .filter(|(named, _)| same(*named))
            .filter_map(|(_, code)| *code)
            .chain([0])
            .collect();
        let other = (0..=u8::MAX).rev().find(|code| !codes.contains(code));
        atoms.extend(codes.iter().copied().chain(other).map(|code| Atom {
            packet: packet(*kind, code),
            ports: None,
            is_rest: false,
        }));
    }
    atoms.extend(rest.map(|kind| Atom {
        packet: packet(kind, 0),
        ports: None,
        is_rest: true,
    }));
    atoms
}
