//! Flows by what stops them: each gate, group, list or route that several flows share, once.
//!
//! A reader of a broken cluster wants to know what to change, and one missing rule may break a thousand flows. A
//! [`Cause`] is what those flows share; [`crate::repair`] says what would open them.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::class::{ClassId, Classes};
use crate::flow::{Flow, FlowProtocol, TCP, UDP};
use crate::id::{NetworkAclId, NetworkInterfaceId, RouteTableId, RuleId, SecurityGroupId};
use crate::net::PortRange;
use crate::predict::{Ends, Stop, survey, verdict};
use crate::prediction::{Denial, Gate, RouteReason, UnknownReason, Verdict};
use crate::snapshot::{Direction, FINAL_RULE_NUMBER_V4, InterfaceEntry, Owner, Policing, Snapshot};

mod words;

/// Most pairs of classes that a cause names.
const CLASS_PAIRS_MAX: usize = 100;

/// What stops flows at one gate, or keeps the model from telling: as far as several flows can share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Obstacle {
    /// No rule of these groups admits the packets.
    Groups {
        /// Whether they leave or arrive.
        direction: Direction,
        /// All groups of the interface, sorted.
        groups: Vec<SecurityGroupId>,
        /// The other end.
        peer: Peer,
        /// What is not admitted.
        protocol: FlowProtocol,
    },
    /// An entry of a network ACL drops packets or their replies.
    Acl {
        /// Which of the four gates.
        gate: Gate,
        /// The list.
        acl: NetworkAclId,
        /// The entry; 32767 or 32768 where none matches.
        rule_number: u32,
        /// What finds no entry: absent where an entry of its own drops it.
        missing: Option<Packets>,
    },
    /// No usable route.
    Route {
        /// There or back.
        gate: Gate,
        /// The table; absent where the snapshot has none.
        table: Option<RouteTableId>,
        /// What is wrong with the route.
        reason: RouteReason,
    },
    /// The interface emits an address that it does not own (A.6).
    SourceDestCheck {
        /// The interface.
        at: NetworkInterfaceId,
    },
    /// Nothing that is known stops the flows, and something is not known.
    NotKnown {
        /// Why nobody can tell.
        reason: &'static str,
        /// What could settle it: rules that could not be resolved, or policies that select an end; raw text.
        by: Vec<String>,
    },
}

/// The other end of packets at a group's gate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// An interface that carries these groups, sorted.
    Groups(Vec<SecurityGroupId>),
    /// An address that no interface owns.
    Address(IpAddr),
}

/// Packets as an entry of a network ACL tells them apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Packets {
    /// Those that open a connection.
    Opening(FlowProtocol),
    /// Replies of a protocol, by its number, to these ports.
    Replies(u8, PortRange),
}

impl Obstacle {
    /// Returns the gate; absent of what is not known.
    #[must_use]
    pub fn gate(&self) -> Option<Gate> {
        match self {
            Self::Groups { direction, .. } => Some(match direction {
                Direction::Egress => Gate::SgEgress,
                Direction::Ingress => Gate::SgIngress,
            }),
            Self::Acl { gate, .. } | Self::Route { gate, .. } => Some(*gate),
            Self::SourceDestCheck { .. } => Some(Gate::SourceDestCheck),
            Self::NotKnown { .. } => None,
        }
    }

    /// The same for TCP where it is about UDP: what a Service needs on one port over both is missing by one oversight.
    fn over_tcp(&self) -> Self {
        let over_tcp = |protocol| {
            if let FlowProtocol::Udp { port } = protocol {
                FlowProtocol::Tcp { port }
            } else {
                protocol
            }
        };
        let mut same = self.clone();
        match &mut same {
            Self::Groups { protocol, .. }
            | Self::Acl {
                missing: Some(Packets::Opening(protocol)),
                ..
            } => *protocol = over_tcp(*protocol),
            Self::Acl {
                missing: Some(Packets::Replies(number @ UDP, _)),
                ..
            } => *number = TCP,
            Self::Acl { .. }
            | Self::Route { .. }
            | Self::SourceDestCheck { .. }
            | Self::NotKnown { .. } => {}
        }
        same
    }
}

/// What some flows share that keeps them from working, or from being known to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What they share, in the order of the walk: several where the same flows meet several.
    pub obstacles: Vec<Obstacle>,
    /// The flows, in the order in which they were asked; never empty, the first is the example.
    pub flows: Vec<Flow>,
    /// What holds the ends that send, as people call it, sorted; raw text.
    pub sources: Vec<String>,
    /// What holds the ends that receive.
    pub destinations: Vec<String>,
    /// The classes of the ends, each pair once, at most 100.
    pub classes: Vec<(ClassId, ClassId)>,
    /// Pairs of classes beyond that.
    pub more_classes: usize,
}

impl Cause {
    /// Returns whether something stops the flows; otherwise something about them is not known.
    #[must_use]
    pub fn is_stop(&self) -> bool {
        self.obstacles.iter().any(|found| found.gate().is_some())
    }

    /// Returns the gates that stop the flows, each once, in the order of the walk.
    #[must_use]
    pub fn gates(&self) -> Vec<Gate> {
        let mut gates: Vec<Gate> = self.obstacles.iter().filter_map(Obstacle::gate).collect();
        gates.dedup();
        gates
    }

    /// Returns one of the flows.
    #[must_use]
    pub fn example(&self) -> Option<&Flow> {
        self.flows.first()
    }
}

/// Groups flows by what keeps them from working, the cause of most flows first; causes that stop flows before those of
/// which something is not known.
///
/// Flows that work are left out. A flow that several gates stop is part of the cause of each, so that no cause hides
/// behind another; causes of the very same flows are one, and so are those of the same ends on one port over TCP and UDP.
#[must_use]
pub fn causes<'f>(
    snapshot: &Snapshot,
    classes: &Classes,
    flows: impl IntoIterator<Item = &'f Flow>,
) -> Vec<Cause> {
    let mut asked: Vec<&Flow> = Vec::new();
    let mut by_obstacle: HashMap<Obstacle, Vec<usize>> = HashMap::new();
    for flow in flows {
        let found = obstacles(snapshot, flow);
        for obstacle in found {
            let places = by_obstacle.entry(obstacle).or_default();
            if places.last() != Some(&asked.len()) {
                places.push(asked.len());
            }
        }
        asked.push(flow);
    }
    let mut by_flows: HashMap<Vec<usize>, Vec<Obstacle>> = HashMap::new();
    for (obstacle, places) in by_obstacle {
        by_flows.entry(places).or_default().push(obstacle);
    }
    let mut found: Vec<(Vec<usize>, Cause)> = over_both(&asked, by_flows)
        .into_iter()
        .map(|(places, obstacles)| {
            let flows = places.iter().filter_map(|place| asked.get(*place).copied());
            let cause = cause(snapshot, classes, obstacles, flows.cloned().collect());
            (places, cause)
        })
        .collect();
    found.sort_by(|(places, one), (others, other)| {
        let rank = |places: &Vec<usize>, cause: &Cause| {
            (!cause.is_stop(), std::cmp::Reverse(places.len()))
        };
        rank(places, one)
            .cmp(&rank(others, other))
            .then_with(|| places.cmp(others))
            .then_with(|| one.obstacles.cmp(&other.obstacles))
    });
    found.into_iter().map(|(_, cause)| cause).collect()
}

/// Joins what stops TCP and UDP between the same ends on the same port.
fn over_both(
    asked: &[&Flow],
    by_flows: HashMap<Vec<usize>, Vec<Obstacle>>,
) -> Vec<(Vec<usize>, Vec<Obstacle>)> {
    let mut joined: HashMap<_, (Vec<usize>, Vec<Obstacle>)> = HashMap::new();
    for (places, obstacles) in by_flows {
        let flows = places.iter().filter_map(|place| asked.get(*place));
        let ends: BTreeSet<_> = flows.map(|flow| (flow.source, flow.destination)).collect();
        let alike: BTreeSet<Obstacle> = obstacles.iter().map(Obstacle::over_tcp).collect();
        let (own, met) = joined.entry((ends, alike)).or_default();
        own.extend(places);
        own.sort_unstable();
        met.extend(obstacles);
    }
    joined.into_values().collect()
}

/// Finds everything that stops one flow, or the reason why nobody can tell; nothing of a flow that works.
#[must_use]
pub fn obstacles(snapshot: &Snapshot, flow: &Flow) -> Vec<Obstacle> {
    match verdict(snapshot, flow) {
        Verdict::Allow { .. } | Verdict::Bypass(_) | Verdict::Exempt(_) => Vec::new(),
        Verdict::Unknown(reason) => vec![not_known(snapshot, flow, &reason)],
        Verdict::Deny(first) => {
            let survey = survey(snapshot, flow);
            let Some(ends) = survey.ends else {
                return vec![at_ends(snapshot, flow, &first, None)];
            };
            stopped(snapshot, flow, &survey.stops, &ends)
        }
        Verdict::Partial { .. } => {
            let survey = survey(snapshot, flow);
            let ends = survey.ends;
            ends.map_or_else(Vec::new, |ends| {
                stopped(snapshot, flow, &survey.stops, &ends)
            })
        }
    }
}

fn stopped(snapshot: &Snapshot, flow: &Flow, stops: &[Stop], ends: &Ends<'_>) -> Vec<Obstacle> {
    let mut found: Vec<Obstacle> = stops
        .iter()
        .map(|stop| at_ends(snapshot, flow, &stop.denial, Some(ends)))
        .collect();
    found.dedup();
    found
}

fn cause(
    snapshot: &Snapshot,
    classes: &Classes,
    mut obstacles: Vec<Obstacle>,
    flows: Vec<Flow>,
) -> Cause {
    obstacles.sort_by(|one, other| (one.gate(), one).cmp(&(other.gate(), other)));
    let mut pairs = BTreeSet::new();
    let (mut sources, mut destinations) = (BTreeSet::new(), BTreeSet::new());
    let mut names: HashMap<IpAddr, String> = HashMap::new();
    let mut name = |address: IpAddr| {
        let known = names.entry(address);
        known
            .or_insert_with(|| words::holder(snapshot, classes, address))
            .clone()
    };
    for flow in &flows {
        sources.insert(name(flow.source));
        destinations.insert(name(flow.destination));
        let ends = classes.of(flow.source).zip(classes.of(flow.destination));
        pairs.extend(ends);
    }
    Cause {
        obstacles,
        flows,
        sources: sources.into_iter().collect(),
        destinations: destinations.into_iter().collect(),
        more_classes: pairs.len().saturating_sub(CLASS_PAIRS_MAX),
        classes: pairs.into_iter().take(CLASS_PAIRS_MAX).collect(),
    }
}

/// What a denial is, as far as other flows can share it.
fn at_ends(snapshot: &Snapshot, flow: &Flow, denial: &Denial, ends: Option<&Ends<'_>>) -> Obstacle {
    match denial {
        Denial::SecurityGroup { gate, at } => groups(snapshot, flow, (*gate, at), ends),
        Denial::SourceDestCheck { at } => Obstacle::SourceDestCheck { at: at.clone() },
        Denial::NetworkAcl {
            gate,
            at,
            rule_number,
            ..
        } => Obstacle::Acl {
            gate: *gate,
            acl: at.clone(),
            rule_number: *rule_number,
            missing: (*rule_number >= FINAL_RULE_NUMBER_V4).then(|| packets(*gate, flow, ends)),
        },
        Denial::Route { gate, reason } => Obstacle::Route {
            gate: *gate,
            table: table(snapshot, *gate, ends),
            reason: *reason,
        },
    }
}

fn groups(
    snapshot: &Snapshot,
    flow: &Flow,
    (gate, at): (Gate, &NetworkInterfaceId),
    ends: Option<&Ends<'_>>,
) -> Obstacle {
    let direction = if gate == Gate::SgEgress {
        Direction::Egress
    } else {
        Direction::Ingress
    };
    let (entry, address) = match direction {
        Direction::Egress => (ends.and_then(|ends| ends.receiver), flow.destination),
        Direction::Ingress => (
            ends.and_then(|ends| ends.sender),
            ends.map_or(flow.source, |ends| ends.source),
        ),
    };
    let interface = snapshot.network_interface(at);
    Obstacle::Groups {
        direction,
        groups: interface.map_or_else(Vec::new, |found| found.groups.clone()),
        peer: peer(snapshot, entry, address),
        protocol: flow.protocol,
    }
}

/// Who is at the other end: the groups of the interface to which the way leads, else of whoever owns the address.
fn peer(snapshot: &Snapshot, entry: Option<&InterfaceEntry>, address: IpAddr) -> Peer {
    let carried = match (entry, snapshot.owner(address)) {
        (Some(entry), _) => Some(&entry.interface.groups),
        (None, Owner::One(interface)) => Some(&interface.groups),
        (None, Owner::Nobody | Owner::Several(_)) => None,
    };
    match carried {
        Some(groups) if !groups.is_empty() => Peer::Groups(groups.clone()),
        Some(_) | None => Peer::Address(address),
    }
}

fn packets(gate: Gate, flow: &Flow, ends: Option<&Ends<'_>>) -> Packets {
    if matches!(gate, Gate::NaclReturnOut | Gate::NaclReturnIn) {
        let ports = ends.map_or(flow.ephemeral_ports, |ends| ends.ports);
        Packets::Replies(flow.protocol.number(), ports)
    } else {
        Packets::Opening(flow.protocol)
    }
}

/// The table that is asked at a route gate.
fn table(snapshot: &Snapshot, gate: Gate, ends: Option<&Ends<'_>>) -> Option<RouteTableId> {
    let ends = ends?;
    let entry = if gate == Gate::ReturnRoute {
        ends.receiver?
    } else {
        ends.sender?
    };
    let table = snapshot.route_table_of(&entry.interface.subnet)?;
    Some(table.id.clone())
}

fn not_known(snapshot: &Snapshot, flow: &Flow, reason: &UnknownReason) -> Obstacle {
    let by = if let UnknownReason::UnresolvedRule { rules } = reason {
        rules.iter().map(RuleId::to_string).collect()
    } else if *reason == UnknownReason::NetworkPolicy {
        policies(snapshot, flow)
    } else {
        Vec::new()
    };
    Obstacle::NotKnown {
        reason: reason.as_str(),
        by,
    }
}

/// The policies that select an end of a flow.
fn policies(snapshot: &Snapshot, flow: &Flow) -> Vec<String> {
    let mut found = BTreeSet::new();
    for address in [flow.source, flow.destination] {
        if let Policing::Selected(policies) = snapshot.policing(address) {
            found.extend(policies.into_iter().map(ToString::to_string));
        }
    }
    found.into_iter().collect()
}
