//! The way between two addresses: everything about a flow that no port changes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Doubts, Fixed, Gates, Notes, Route, Sender, Walk, walk};
use crate::flow::Flow;
use crate::id::RouteTableId;
use crate::net::PortRange;
use crate::prediction::{Gate, StepOutcome, UnknownReason, Verdict};
use crate::snapshot::{Direction, InterfaceEntry, Key, Match, Snapshot};

/// What the gates without ports say of every TCP flow between two addresses on different hosts.
///
/// The answers depend on subnets, VPCs and on the networks that contain the addresses, on nothing else: one way serves
/// all pairs that have those in common. Fields are in the order of the walk; each is absent where the gate passes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    /// The gate that ends the walk of every flow, if none with ports does before, with its verdict.
    pub(crate) end: Option<(Fixed, Verdict)>,
    /// No router is on the way, so no ACL either.
    pub(crate) is_same_subnet: bool,
    /// Whether references of egress rules work; see [`Walk::references`].
    pub(crate) egress: Option<Match>,
    /// Whether references of ingress rules work.
    pub(crate) ingress: Option<Match>,
    /// What is not known of the way.
    pub(crate) doubts: Doubts,
    /// Replies pass for some source ports only.
    pub(crate) partial: Option<Verdict>,
    /// Route that decides the forward path.
    pub(crate) route_taken: Option<RouteTaken>,
    /// What the gates said that the way met.
    pub(crate) said: Vec<Said>,
}

/// What one gate said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Said {
    /// Where on the walk.
    pub(crate) at: Fixed,
    /// Which gate of an answer.
    pub(crate) gate: Gate,
    /// Its word.
    pub(crate) outcome: StepOutcome,
}

/// A route of a route table, by what names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteTaken {
    /// The table.
    pub table: RouteTableId,
    /// Network that the route is for; of a prefix list the one that counts.
    pub destination: IpNet,
    /// What the route leads to, as the API names it.
    pub target: String,
}

impl Way {
    /// Follows the way from one address to another, with replies to `ports`.
    ///
    /// Walks the same gates as [`super::predict`], so both agree by construction.
    pub(crate) fn follow(
        snapshot: &Snapshot,
        (key, source): (Key<InterfaceEntry>, IpAddr),
        destination: IpAddr,
        ports: PortRange,
    ) -> Self {
        let mut flow = Flow::tcp(source, destination, 0);
        flow.ephemeral_ports = ports;
        let mut walk = Walk::new(snapshot, &flow, Notes::Outcomes(Vec::new()));
        let sender = Sender {
            key,
            entry: snapshot.interfaces.at(key),
            address: source,
            ports,
        };
        let mut way = Self::open();
        way.end = walk.fill(sender, &mut way).err();
        way
    }

    /// Returns whether references of one direction work.
    pub(crate) fn crossing(&self, direction: Direction) -> Option<Match> {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }

    /// Returns whether nothing on the way but rules and entries decides.
    pub(crate) fn is_plain(&self) -> bool {
        self.end.is_none() && self.partial.is_none() && self.doubts.is_empty()
    }

    /// A way of which nobody knows where it begins.
    pub(crate) fn unknown(reason: UnknownReason) -> Self {
        let outcome = StepOutcome::Unknown(reason.clone());
        Self {
            end: Some((Fixed::Endpoints, Verdict::Unknown(reason))),
            is_same_subnet: true,
            said: vec![Said {
                at: Fixed::Endpoints,
                gate: Gate::Endpoints,
                outcome,
            }],
            ..Self::open()
        }
    }

    fn open() -> Self {
        Self {
            end: None,
            is_same_subnet: false,
            egress: Some(Match::Yes),
            ingress: Some(Match::Yes),
            doubts: Doubts::default(),
            partial: None,
            route_taken: None,
            said: Vec::new(),
        }
    }
}

/// The gates without ports, on the way of every flow between two addresses.
struct Filling<'w, 's> {
    walk: &'w mut Walk<'s>,
    route: Route<'s>,
    said: Vec<Said>,
}

impl Gates for Filling<'_, '_> {
    type End = (Fixed, Verdict);

    fn fixed(&mut self, gate: Fixed) -> Result<(), Self::End> {
        let met = self.walk.fixed(gate, &self.route);
        self.said.extend(self.walk.said(gate));
        met.map_err(|verdict| (gate, verdict))
    }

    fn rules(&mut self, _: Direction) -> Result<(), Self::End> {
        Ok(())
    }

    fn entries(&mut self, _: Direction) -> Result<(), Self::End> {
        Ok(())
    }
}

impl<'s> Walk<'s> {
    /// Walks every gate without ports; an `Err` is the one that ends the way.
    fn fill(&mut self, sender: Sender<'s>, way: &mut Way) -> Result<(), (Fixed, Verdict)> {
        let route = match self.resolve_destination(sender) {
            Ok(route) => route,
            Err(verdict) => {
                way.said.extend(self.said(Fixed::Endpoints));
                return Err((Fixed::Endpoints, verdict));
            }
        };
        way.is_same_subnet = route.hop.path.is_same_subnet();
        way.egress = self.references(&route, Direction::Egress);
        way.ingress = self.references(&route, Direction::Ingress);
        way.route_taken = route
            .hop
            .table
            .zip(route.hop.route)
            .map(|(table, taken)| RouteTaken {
                table: table.id.clone(),
                destination: taken.0,
                target: taken.1.as_str().to_owned(),
            });
        let mut filling = Filling {
            walk: self,
            route,
            said: Vec::new(),
        };
        let met = walk(&mut filling);
        way.said = filling.said;
        way.doubts = self.doubts;
        way.partial = self.partial.take();
        met
    }

    /// Takes what was noted at a gate.
    fn said(&mut self, at: Fixed) -> Vec<Said> {
        let noted = self.notes.take_outcomes().into_iter();
        noted
            .map(|(gate, outcome)| Said { at, gate, outcome })
            .collect()
    }
}
