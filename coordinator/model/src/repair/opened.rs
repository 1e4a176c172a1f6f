//! What changes open, pair of classes by pair of classes, by asking the model before and after.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::change::{Change, NewPeer, NewRule};
use crate::change::Comparison;
use crate::class::{Class, ClassId, Classes};
use crate::flow::{Flow, FlowProtocol};
use crate::matrix::VerdictKind;
use crate::net::PortRange;
use crate::predict::verdict;
use crate::snapshot::{Snapshot, Traffic};
use involved::Involved;
use probe::{apart, carriers, without};

mod involved;
mod probe;

/// Most packets that are asked about for one change of a protocol that the relation does not hold.
const PROBES_MAX: usize = 200_000;

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

/// One packet, and the ports for which it stands: those that no rule and no entry tells apart.
struct Probe {
    cell: Cell,
    flow: Flow,
    ports: Option<PortRange>,
}

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
            self.compare(changes, &mut effect);
        }
        let may_close = changes
            .iter()
            .any(|change| matches!(change, Change::Route(_)));
        let mut asked = HashSet::new();
        for change in changes {
            let probes = match change {
                Change::Rule(rule) => self.of_rule(rule),
                Change::Entry(entry) => self.of_entry(entry),
                Change::Route(route) => self.of_route(route),
            };
            effect.is_bounded |= probes.len() > PROBES_MAX;
            for probe in probes.into_iter().take(PROBES_MAX) {
                let is_tcp = matches!(probe.flow.protocol, FlowProtocol::Tcp { .. });
                if !(is_whole && is_tcp) && asked.insert(probe.cell) {
                    self.ask(&probe, may_close, &mut effect);
                }
            }
        }
        effect.opened = merged(std::mem::take(&mut effect.opened));
        effect
    }

    /// Asks about one packet before and after.
    fn ask(&self, probe: &Probe, may_close: bool, effect: &mut Effect) {
        let after = VerdictKind::from(&verdict(self.after, &probe.flow));
        // Only a route can close anything.
        if after == VerdictKind::Deny && !may_close {
            return;
        }
        let before = VerdictKind::from(&verdict(self.before, &probe.flow));
        if before == after {
            return;
        }
        if passes(before) {
            effect.closes = true;
        } else if after != VerdictKind::Deny && !self.wanted.0.contains(&probe.cell) {
            effect.opened.push(self.opened(probe));
        }
    }

    fn opened(&self, probe: &Probe) -> Opened {
        let named = |end: End, example| OpenedEnd {
            name: match end {
                End::Class(id) => self.classes.class(id).name(self.before),
                End::Address(address) => address.to_string(),
            },
            example,
        };
        let (source, destination, protocol) = probe.cell;
        Opened {
            source: named(source, probe.flow.source),
            destination: named(destination, probe.flow.destination),
            protocol,
            ports: probe.ports.into_iter().collect(),
        }
    }

    /// Whether an entry is about one address that is owned and of no class: it is in no relation.
    fn is_apart(&self, classes: &Classes, change: &Change) -> bool {
        match change {
            Change::Entry(entry) => {
                let address = entry.network.addr();
                let is_one = entry.network.prefix_len() == entry.network.max_prefix_len();
                let is_owned = !self.before.addresses.owners(address).is_empty();
                is_one && is_owned && classes.of(address).is_none()
            }
            Change::Rule(_) | Change::Route(_) => false,
        }
    }

    /// The flows that shall pass, by the classes of a relation.
    fn wanted_between(
        &self,
        classes: &Classes,
    ) -> HashSet<(Option<ClassId>, Option<ClassId>, FlowProtocol)> {
        let ends = |flow: &Flow| (classes.of(flow.source), classes.of(flow.destination));
        let flows = self.flows.iter();
        flows
            .map(|flow| {
                let (source, destination) = ends(flow);
                (source, destination, flow.protocol)
            })
            .collect()
    }

    /// All of TCP, by laying the relations before and after on each other: between those whom the changes may touch.
    fn compare(&self, changes: &[Change], effect: &mut Effect) {
        let involved = Involved::new(self.before, changes);
        let comparison = match &involved {
            Some(both) => Comparison::among(self.before, self.after, &both.interfaces()),
            None => Comparison::new(self.before, self.after),
        };
        let classes = comparison.before().classes();
        effect.is_bounded |= changes.iter().any(|change| self.is_apart(classes, change));
        let wanted = self.wanted_between(classes);
        let pairs = involved.map(|both| both.pairs(self.before, classes));
        let is_met = |one, other| {
            pairs
                .as_ref()
                .is_none_or(|pairs| pairs.contains(one, other))
        };
        for change in comparison.flows_between(is_met) {
            if passes(change.before) {
                effect.closes = true;
                continue;
            }
            if change.after == VerdictKind::Deny {
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

/// How many pairs of classes a rule is about.
pub(super) fn pairs(snapshot: &Snapshot, classes: &Classes, rule: &NewRule) -> usize {
    let own = carriers(snapshot, classes, &rule.group).len();
    match &rule.peer {
        NewPeer::Group(group, _) => own * carriers(snapshot, classes, group).len(),
        NewPeer::Network(_) => own,
    }
}

fn passes(kind: VerdictKind) -> bool {
    matches!(
        kind,
        VerdictKind::Allow | VerdictKind::Bypass | VerdictKind::Exempt
    )
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
