//! The way between two addresses: everything about a flow that no port changes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::route::Path;
use super::{Notes, Sender, Walk};
use crate::flow::Flow;
use crate::id::RouteTableId;
use crate::net::PortRange;
use crate::prediction::{Gate, StepOutcome, UnknownReason, Verdict};
use crate::snapshot::{Direction, InterfaceEntry, Key, Match, Snapshot};

/// What the gates without ports say of every TCP flow between two addresses on different hosts.
///
/// The answers depend on subnets, VPCs and on the networks that contain the addresses, on nothing else: one way serves
/// all pairs that have those in common. Fields are in the order of the walk; each is absent where the gate passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    /// The walk ends before its first gate.
    pub(crate) endpoints: Option<Verdict>,
    /// No router is on the way, so no ACL either.
    pub(crate) is_same_subnet: bool,
    /// Whether references of egress rules work; see [`Walk::references`].
    pub(crate) egress: Option<Match>,
    /// Whether references of ingress rules work.
    pub(crate) ingress: Option<Match>,
    /// The forward route drops.
    pub(crate) route: Option<Verdict>,
    /// The far side cannot be judged.
    pub(crate) receiver: Option<Verdict>,
    /// No reply passes the ACLs.
    pub(crate) replies: Option<Verdict>,
    /// The return route drops.
    pub(crate) return_route: Option<Verdict>,
    /// A middlebox or a transit gateway: unknown unless something denies, before the rules.
    pub(crate) before_rules: Option<UnknownReason>,
    /// Something else that is not known, after the rules.
    pub(crate) after_rules: Option<UnknownReason>,
    /// Replies pass for some source ports only.
    pub(crate) partial: Option<Verdict>,
    /// Route that decides the forward path.
    pub(crate) route_taken: Option<RouteTaken>,
    /// What the gates said that the way met.
    pub(crate) outcomes: Vec<(Gate, StepOutcome)>,
}

/// A route of a route table, by what names it.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        if let Err(verdict) = walk.fill(sender, &mut way) {
            way.endpoints = Some(verdict);
        }
        way.outcomes = walk.notes.into_outcomes();
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
        let verdicts = [
            &self.endpoints,
            &self.route,
            &self.receiver,
            &self.replies,
            &self.return_route,
            &self.partial,
        ];
        verdicts.iter().all(|verdict| verdict.is_none())
            && self.before_rules.is_none()
            && self.after_rules.is_none()
    }

    fn open() -> Self {
        Self {
            endpoints: None,
            is_same_subnet: false,
            egress: Some(Match::Yes),
            ingress: Some(Match::Yes),
            route: None,
            receiver: None,
            replies: None,
            return_route: None,
            before_rules: None,
            after_rules: None,
            partial: None,
            route_taken: None,
            outcomes: Vec::new(),
        }
    }
}

impl<'s> Walk<'s> {
    /// Walks every gate without ports; an `Err` is a way that ends before the first of them.
    fn fill(&mut self, sender: Sender<'s>, way: &mut Way) -> Result<(), Verdict> {
        let route = self.lead(sender)?;
        self.known(&route)?;
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
        way.route = self.route(&route).err();
        match self.receiver(&route) {
            Err(verdict) => way.receiver = Some(verdict),
            Ok(receiver) if way.route.is_none() && !way.is_same_subnet => {
                way.replies = self.replies(&route, receiver).err();
                way.return_route = self.return_route(&route, receiver).err();
            }
            Ok(_) => {}
        }
        let remembered = std::mem::take(&mut self.remembered);
        way.before_rules = if matches!(route.hop.path, Path::Middlebox) {
            Some(UnknownReason::Middlebox)
        } else {
            remembered.transit_gateway.or(remembered.return_middlebox)
        };
        way.after_rules = remembered.other;
        way.partial = remembered.partial;
        Ok(())
    }
}
