//! Transit gateways (C.7, K.1 "TGW").

use std::net::IpAddr;

use super::endpoint::Destination;
use super::{Doubt, Route, Walk};
use crate::id::{TransitGatewayId, VpcId};
use crate::prediction::RouteReason;
use crate::snapshot::{
    DefaultTables, InterfaceEntry, Match, ReferenceSupport, RouteLead, RouteState, Snapshot,
    TableRole, TransitGateway, TransitGatewayRoute, TransitGatewayRouteTable, VpcAttachment,
};

/// What a transit gateway does with a packet.
pub(super) enum Crossing {
    /// It delivers it.
    Open,
    /// It has no attachment subnet in the sender's zone.
    OtherZone,
    /// It hands it to a network function, which may drop it.
    Inspected,
    /// Two views of it contradict each other.
    Contradicted,
    /// Nobody can tell.
    Unknown,
}

impl<'s> Walk<'s> {
    /// Whether a VPC is attached to a transit gateway, or to any.
    pub(super) fn is_attached(&self, vpc: &VpcId, gateway: Option<&TransitGatewayId>) -> bool {
        self.snapshot.attachments.iter().any(|attachment| {
            attachment.vpc == *vpc && gateway.is_none_or(|gateway| attachment.gateway == *gateway)
        }) || self
            .snapshot
            .contradicted_attachments
            .iter()
            .any(|(at, attached)| attached == vpc && gateway.is_none_or(|gateway| at == gateway))
    }

    /// The forward path over a transit gateway: a deny, or something to remember.
    pub(super) fn cross(
        &mut self,
        route: &Route<'s>,
        gateway: &TransitGatewayId,
    ) -> Option<RouteReason> {
        let to = match &route.destination {
            Destination::One(receiver) => Some(&receiver.entry.interface.vpc),
            Destination::Nobody | Destination::Elsewhere => None,
        };
        let from = route.sender.entry;
        self.remember_crossing(crossing(
            self.snapshot,
            gateway,
            from,
            to,
            self.flow.destination,
        ))
    }

    /// Turns a crossing into a deny or a remembered unknown.
    pub(super) fn remember_crossing(&mut self, crossing: Crossing) -> Option<RouteReason> {
        match crossing {
            Crossing::Open => None,
            Crossing::OtherZone => Some(RouteReason::TgwZone),
            Crossing::Inspected => {
                self.doubts.add(Doubt::Other);
                None
            }
            Crossing::Contradicted => {
                self.doubts.add(Doubt::Conflict);
                None
            }
            Crossing::Unknown => {
                self.doubts.add(Doubt::TransitGateway);
                None
            }
        }
    }
}

/// What a transit gateway does with a packet of an interface to an address in another VPC.
pub(super) fn crossing(
    snapshot: &Snapshot,
    gateway: &TransitGatewayId,
    from: &InterfaceEntry,
    to: Option<&VpcId>,
    address: IpAddr,
) -> Crossing {
    if is_contradicted(snapshot, gateway, [Some(&from.interface.vpc), to]) {
        return Crossing::Contradicted;
    }
    let Some(attachment) = attachment(snapshot, gateway, &from.interface.vpc) else {
        return Crossing::Unknown;
    };
    match serves_zone(snapshot, attachment, from) {
        Match::No => return Crossing::OtherZone,
        Match::Unsure => return Crossing::Unknown,
        Match::Yes => {}
    }
    let far = to.and_then(|vpc| self::attachment(snapshot, gateway, vpc));
    match far {
        Some(far) => delivery(snapshot, attachment, far, address),
        None => Crossing::Unknown,
    }
}

/// Whether views of a gateway, of its tables or of the attachment of an end contradict each other.
fn is_contradicted(
    snapshot: &Snapshot,
    gateway: &TransitGatewayId,
    ends: [Option<&VpcId>; 2],
) -> bool {
    snapshot.contradicted_gateways.contains(gateway)
        || snapshot
            .contradicted_attachments
            .iter()
            .any(|(at, vpc)| at == gateway && ends.contains(&Some(vpc)))
}

fn attachment<'s>(
    snapshot: &'s Snapshot,
    gateway: &TransitGatewayId,
    vpc: &VpcId,
) -> Option<&'s VpcAttachment> {
    snapshot
        .attachments
        .iter()
        .find(|attachment| attachment.gateway == *gateway && attachment.vpc == *vpc)
}

/// Whether the attachment has a subnet in the zone of the sender's subnet.
fn serves_zone(snapshot: &Snapshot, attachment: &VpcAttachment, from: &InterfaceEntry) -> Match {
    let sender = &snapshot.subnets.at(from.subnet).subnet;
    let mut answer = if attachment.subnets.is_empty() {
        Match::Unsure
    } else {
        Match::No
    };
    for id in &attachment.subnets {
        let served = snapshot.subnet(id);
        match served.map_or(Match::Unsure, |served| sender.shares_zone(served)) {
            Match::Yes => return Match::Yes,
            Match::No => {}
            Match::Unsure => answer = Match::Unsure,
        }
    }
    answer
}

/// What the gateway's tables do with a packet from one attachment to another.
fn delivery(
    snapshot: &Snapshot,
    from: &VpcAttachment,
    to: &VpcAttachment,
    address: IpAddr,
) -> Crossing {
    let open_if = |is_open| {
        if is_open {
            Crossing::Open
        } else {
            Crossing::Unknown
        }
    };
    let tables: Vec<_> = snapshot
        .transit_gateway_tables
        .iter()
        .flatten()
        .filter(|table| table.gateway.as_ref().is_none_or(|id| *id == from.gateway))
        .collect();
    if tables.is_empty() {
        let gateway = snapshot.transit_gateways.get(&from.gateway);
        let is_default = |gateway: &TransitGateway| gateway.default_tables == DefaultTables::Both;
        return open_if(gateway.is_some_and(is_default));
    }
    let table = associated(snapshot, &tables, from);
    let route = table.and_then(|table| longest(table, address));
    match route {
        Some(route) if route.leads == RouteLead::NetworkFunction => Crossing::Inspected,
        Some(route) => {
            open_if(route.state == RouteState::Active && route.attachments.contains(&to.id))
        }
        None => Crossing::Unknown,
    }
}

/// The table of an attachment: its own, the one that names it, else the default one.
fn associated<'t>(
    snapshot: &Snapshot,
    tables: &[&'t TransitGatewayRouteTable],
    attachment: &VpcAttachment,
) -> Option<&'t TransitGatewayRouteTable> {
    let by_id = |id: &crate::id::TransitGatewayRouteTableId| {
        tables.iter().copied().find(|table| table.id == *id)
    };
    if let Some(id) = &attachment.table {
        return by_id(id);
    }
    let naming = tables
        .iter()
        .copied()
        .find(|table| table.attachments.contains(&attachment.id));
    let default = snapshot
        .transit_gateways
        .get(&attachment.gateway)
        .and_then(|gateway| gateway.default_association.as_ref());
    naming.or_else(|| default.and_then(by_id)).or_else(|| {
        tables
            .iter()
            .copied()
            .find(|table| table.role == TableRole::Default)
    })
}

/// The route with the longest prefix for an address.
fn longest(table: &TransitGatewayRouteTable, address: IpAddr) -> Option<&TransitGatewayRoute> {
    table
        .routes
        .iter()
        .flatten()
        .filter(|route| route.destination.contains(&address))
        .min_by_key(|route| {
            let length = std::cmp::Reverse(route.destination.prefix_len());
            (length, route.origin)
        })
}

/// Whether references to groups cross a transit gateway between two VPCs (A.3, K.1 "TGW"); absent for one that is not
/// described.
pub(super) fn references(
    snapshot: &Snapshot,
    gateway: &TransitGatewayId,
    ends: [Option<&VpcId>; 2],
) -> Option<Match> {
    let described = snapshot.transit_gateways.get(gateway)?;
    let mut answer = supports(described.references);
    for end in ends {
        let attachment = end.and_then(|vpc| attachment(snapshot, gateway, vpc));
        answer = answer.and(attachment.map_or(Match::Unsure, |found| supports(found.references)));
    }
    Some(answer)
}

fn supports(support: ReferenceSupport) -> Match {
    Match::from(support == ReferenceSupport::Enabled)
}
