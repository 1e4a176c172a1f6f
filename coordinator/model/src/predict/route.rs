//! The way out of a subnet: longest prefix and what its target means (C, K.1 "Path from a route").

pub(super) mod words;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Doubt, Route, Walk};
use crate::id::{PeeringId, TransitGatewayId, VpcId};
use crate::prediction::{Denial, Gate, Place, RouteReason, StepOutcome, UnknownReason, Verdict};
use crate::snapshot::{
    Completeness, InterfaceEntry, Match, Peering, PeeringSide, RouteDestination, RouteOrigin,
    RouteState, RouteTable, RouteTarget, Snapshot, SubnetEntry,
};

/// Where a packet goes when it leaves its subnet.
#[derive(Debug, Clone)]
pub(super) enum Path<'s> {
    /// Nowhere: the destination is in the subnet.
    SameSubnet,
    /// Into the VPC.
    Local,
    /// To an appliance.
    Middlebox,
    /// Over a peering that leads to the destination.
    Peering {
        /// The VPC behind it.
        far: &'s VpcId,
        /// Whether references to groups cross it: only within a Region (A.3).
        references: Match,
    },
    /// Over a peering that does not lead there.
    FarSide,
    /// To a transit gateway.
    TransitGateway(&'s TransitGatewayId),
    /// To a NAT gateway.
    Nat,
    /// To an internet gateway.
    InternetGateway,
    /// To a virtual private gateway.
    VpnGateway,
    /// To something that the model does not follow.
    Other,
    /// Nobody can tell. Named `other` like the above, but references to groups are not false on it.
    Unread,
    /// Two views of what is on the way contradict each other: as unread.
    Conflict,
    /// No route.
    None,
    /// A route whose target is gone.
    Blackhole,
    /// A route that is filtered.
    Filtered,
}

impl Path<'_> {
    /// Returns whether no router is on the way.
    pub(super) fn is_same_subnet(&self) -> bool {
        matches!(self, Self::SameSubnet)
    }

    /// Returns whether the far end may be in any VPC, or in none.
    pub(super) fn may_lead_anywhere(&self) -> bool {
        matches!(
            self,
            Self::Nat
                | Self::InternetGateway
                | Self::VpnGateway
                | Self::Other
                | Self::Unread
                | Self::Conflict
        )
    }
}

/// A path with the route that says so.
#[derive(Debug, Clone)]
pub(super) struct Hop<'s> {
    pub(super) path: Path<'s>,
    pub(super) table: Option<&'s RouteTable>,
    pub(super) route: Option<(IpNet, &'s RouteTarget)>,
}

/// The way from an interface to an address: inside its subnet, or by its route table.
pub(super) fn hop<'s>(
    snapshot: &'s Snapshot,
    from: &'s InterfaceEntry,
    destination: IpAddr,
) -> Hop<'s> {
    if is_in_subnet(snapshot, from, destination) {
        return Hop {
            path: Path::SameSubnet,
            table: None,
            route: None,
        };
    }
    let mut hop = routed(snapshot, snapshot.subnets.at(from.subnet), destination);
    if let (Path::FarSide, Some((_, RouteTarget::Peering(id)))) = (&hop.path, hop.route) {
        hop.path = peering(snapshot, id, &from.interface.vpc, destination);
    }
    hop
}

/// Whether the destination is in the subnet: owned there, or unowned inside its networks (K).
fn is_in_subnet(snapshot: &Snapshot, from: &InterfaceEntry, destination: IpAddr) -> bool {
    let mut owners = snapshot
        .addresses
        .owners(destination)
        .into_iter()
        .map(|key| snapshot.interfaces.at(key))
        .filter(|entry| entry.vpc == from.vpc)
        .peekable();
    if owners.peek().is_some() {
        return owners.any(|entry| entry.subnet == from.subnet);
    }
    let subnet = &snapshot.subnets.at(from.subnet).subnet;
    subnet
        .networks
        .iter()
        .any(|network| network.contains(&destination))
}

/// The way by a subnet's route table. Of a peering nobody has looked yet where it leads: `FarSide`.
pub(super) fn routed<'s>(
    snapshot: &'s Snapshot,
    subnet: &'s SubnetEntry,
    destination: IpAddr,
) -> Hop<'s> {
    let table = subnet.table.map(|key| snapshot.route_tables.at(key));
    let nowhere = |path| Hop {
        path,
        table,
        route: None,
    };
    if is_never_forwarded(destination) {
        return nowhere(Path::None);
    }
    let Some(routes) = table else {
        return nowhere(Path::Unread);
    };
    match best(snapshot, routes, destination) {
        Best::None => nowhere(Path::None),
        Best::Unread => nowhere(Path::Unread),
        Best::Conflict => nowhere(Path::Conflict),
        Best::Route(candidate) => Hop {
            path: candidate.path(),
            table,
            route: Some((candidate.network, candidate.target)),
        },
    }
}

/// Networks that no route table forwards (C.6, K.1).
pub(crate) fn never_forwarded() -> [IpNet; 2] {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 168, 0), 22);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32);
    [IpNet::V4(v4), IpNet::V6(v6)]
}

fn is_never_forwarded(destination: IpAddr) -> bool {
    never_forwarded()
        .iter()
        .any(|network| network.contains(&destination))
}

/// A route that covers the destination.
#[derive(Clone, Copy)]
struct Candidate<'s> {
    network: IpNet,
    target: &'s RouteTarget,
    state: RouteState,
    origin: RouteOrigin,
}

enum Best<'s> {
    None,
    Unread,
    Conflict,
    Route(Candidate<'s>),
}

impl<'s> Candidate<'s> {
    fn path(self) -> Path<'s> {
        match self.state {
            RouteState::Blackhole => Path::Blackhole,
            RouteState::Filtered => Path::Filtered,
            RouteState::Unread => Path::Unread,
            RouteState::Active => match self.target {
                RouteTarget::Local => Path::Local,
                RouteTarget::Middlebox(_) => Path::Middlebox,
                RouteTarget::Peering(_) => Path::FarSide,
                RouteTarget::TransitGateway(id) => Path::TransitGateway(id),
                RouteTarget::Nat(_) => Path::Nat,
                RouteTarget::InternetGateway(_) => Path::InternetGateway,
                RouteTarget::VpnGateway(_) => Path::VpnGateway,
                RouteTarget::GatewayEndpoint(_) | RouteTarget::Other(_) => Path::Other,
                RouteTarget::Unfollowed(_) | RouteTarget::Unread => Path::Unread,
            },
        }
    }

    /// Longer prefixes first; of equal ones static, then prefix-list, then propagated routes.
    fn rank(&self) -> (std::cmp::Reverse<u8>, RouteOrigin) {
        (std::cmp::Reverse(self.network.prefix_len()), self.origin)
    }
}

/// The route that wins. An unreadable route may cover anything; an unreadable list may hold a longer prefix than the
/// winner, unless none is longer or AWS refuses it (K.1 "Unreadable prefix list in a route").
fn best<'s>(snapshot: &'s Snapshot, table: &'s RouteTable, destination: IpAddr) -> Best<'s> {
    let mut best: Option<Candidate<'s>> = None;
    let mut is_contested = false;
    let mut unread = UnreadLists::default();
    for route in &table.routes {
        let network = match &route.destination {
            RouteDestination::Unread => return Best::Unread,
            RouteDestination::Conflict => return Best::Conflict,
            RouteDestination::Network(network) => {
                network.contains(&destination).then_some(*network)
            }
            RouteDestination::PrefixList(id) => {
                let networks = snapshot
                    .prefix_list(id)
                    .and_then(|list| list.networks.as_ref());
                if networks.is_none() {
                    unread.add(&route.target);
                }
                longest(networks.map_or(&[], Vec::as_slice), destination)
            }
        };
        let Some(network) = network else {
            continue;
        };
        let candidate = Candidate {
            network,
            target: &route.target,
            state: route.state,
            origin: route.origin,
        };
        match best {
            Some(known) if known.rank() < candidate.rank() => {}
            Some(known) if known.rank() == candidate.rank() => {
                is_contested |= known.target != candidate.target || known.state != candidate.state;
            }
            Some(_) | None => {
                is_contested = false;
                best = Some(candidate);
            }
        }
    }
    match best {
        Some(_) if is_contested => Best::Unread,
        Some(candidate) if !unread.may_beat(&candidate) => Best::Route(candidate),
        None if !unread.is_any => Best::None,
        Some(_) | None => Best::Unread,
    }
}

/// Routes over prefix lists that could not be read.
#[derive(Default)]
struct UnreadLists {
    is_any: bool,
    /// One of them leads where AWS allows routes more specific than `local`.
    is_inside: bool,
}

impl UnreadLists {
    fn add(&mut self, target: &RouteTarget) {
        match target {
            // Gateway endpoints are ignored (K.1).
            RouteTarget::GatewayEndpoint(_) => {}
            // An interface, an instance, a Gateway Load Balancer endpoint, a NAT gateway; an unread one may be any.
            RouteTarget::Middlebox(_) | RouteTarget::Nat(_) | RouteTarget::Unread => {
                self.is_any = true;
                self.is_inside = true;
            }
            RouteTarget::Local
            | RouteTarget::Peering(_)
            | RouteTarget::TransitGateway(_)
            | RouteTarget::InternetGateway(_)
            | RouteTarget::VpnGateway(_)
            | RouteTarget::Unfollowed(_)
            | RouteTarget::Other(_) => self.is_any = true,
        }
    }

    /// Whether one of the lists may hold a longer prefix than a route that matches.
    fn may_beat(&self, candidate: &Candidate<'_>) -> bool {
        let is_whole = candidate.network.prefix_len() == candidate.network.max_prefix_len();
        let counts = match candidate.target {
            RouteTarget::Local => self.is_inside,
            RouteTarget::Middlebox(_)
            | RouteTarget::Peering(_)
            | RouteTarget::TransitGateway(_)
            | RouteTarget::Nat(_)
            | RouteTarget::InternetGateway(_)
            | RouteTarget::VpnGateway(_)
            | RouteTarget::GatewayEndpoint(_)
            | RouteTarget::Unfollowed(_)
            | RouteTarget::Other(_)
            | RouteTarget::Unread => self.is_any,
        };
        counts && !is_whole
    }
}

fn longest(networks: &[IpNet], destination: IpAddr) -> Option<IpNet> {
    networks
        .iter()
        .filter(|network| network.contains(&destination))
        .max_by_key(|network| network.prefix_len())
        .copied()
}

/// Where a peering leads, seen from a VPC. One that is not in the snapshot is not known (K.1).
fn peering<'s>(
    snapshot: &'s Snapshot,
    id: &PeeringId,
    from: &VpcId,
    destination: IpAddr,
) -> Path<'s> {
    let Some(peering) = snapshot.peerings.get(id) else {
        return if snapshot.contradicted_peerings.contains(id) {
            Path::Conflict
        } else {
            Path::Unread
        };
    };
    let Some((side, far)) = peering
        .far_side(from)
        .and_then(|side| Some((side, side.vpc.as_ref()?)))
    else {
        return Path::FarSide;
    };
    if !peering.is_active() || !leads_to(snapshot, side, far, destination) {
        return Path::FarSide;
    }
    Path::Peering {
        far,
        references: Match::from(is_within_region(snapshot, peering)),
    }
}

/// Whether an address is of the far VPC; one whose networks nobody knows may have it.
fn leads_to(snapshot: &Snapshot, side: &PeeringSide, far: &VpcId, destination: IpAddr) -> bool {
    let is_owned = snapshot
        .addresses
        .owners(destination)
        .into_iter()
        .any(|key| snapshot.interfaces.at(key).interface.vpc == *far);
    let described = snapshot.vpc(far).filter(|vpc| !vpc.networks.is_empty());
    let (networks, is_complete) = match described {
        Some(vpc) => (&vpc.networks, vpc.completeness == Completeness::Complete),
        None => (&side.networks, !side.networks.is_empty()),
    };
    is_owned
        || !is_complete
        || networks
            .iter()
            .any(|network| network.contains(&destination))
}

/// Regions of both sides as the peering says, else by the zones of their subnets, else the same (K.1).
fn is_within_region(snapshot: &Snapshot, peering: &Peering) -> bool {
    let region = |side: &PeeringSide| {
        side.region.clone().or_else(|| {
            snapshot
                .subnets()
                .filter(|subnet| subnet.vpc == side.vpc)
                .find_map(|subnet| region_of(subnet.zone.as_ref()?.as_str()))
        })
    };
    match (region(&peering.requester), region(&peering.accepter)) {
        (Some(one), Some(other)) => one == other,
        (None, _) | (_, None) => true,
    }
}

/// The Region of a zone: everything up to the first number (`us-east-1` of `us-east-1a` and `us-east-1-bos-1a`).
fn region_of(zone: &str) -> Option<String> {
    let digit = zone.find(|character: char| character.is_ascii_digit())?;
    let rest = zone.get(digit..)?;
    let length = rest
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(rest.len());
    zone.get(..digit.checked_add(length)?).map(str::to_owned)
}

impl<'s> Walk<'s> {
    /// The gate `route`: a way that ends, or a transit gateway that may not take the packet.
    pub(super) fn route(&mut self, route: &Route<'s>) -> Result<(), Verdict> {
        let reason = match &route.hop.path {
            Path::None => Some(RouteReason::None),
            Path::Blackhole => Some(RouteReason::Blackhole),
            Path::Filtered => Some(RouteReason::Filtered),
            Path::FarSide => Some(RouteReason::FarSide),
            Path::TransitGateway(gateway) => self.cross(route, gateway),
            Path::SameSubnet
            | Path::Local
            | Path::Middlebox
            | Path::Peering { .. }
            | Path::Nat
            | Path::InternetGateway
            | Path::VpnGateway
            | Path::Other
            | Path::Unread
            | Path::Conflict => None,
        };
        let outcome = match (&reason, &route.hop.path) {
            (Some(_), _) => StepOutcome::Drop,
            (None, Path::SameSubnet) => StepOutcome::Skipped,
            (None, Path::Unread | Path::Other) => StepOutcome::Unknown(UnknownReason::Other),
            (None, Path::Conflict) => StepOutcome::Unknown(UnknownReason::Conflict),
            (None, Path::Middlebox) => StepOutcome::Unknown(UnknownReason::Middlebox),
            (None, Path::TransitGateway(_)) if self.doubts.has(Doubt::Conflict) => {
                StepOutcome::Unknown(UnknownReason::Conflict)
            }
            (None, Path::TransitGateway(_)) if self.doubts.has(Doubt::TransitGateway) => {
                StepOutcome::Unknown(UnknownReason::Tgw)
            }
            (None, _) => StepOutcome::Pass { rule: None },
        };
        let place = Place::RouteTable {
            subnet: route.sender.entry.interface.subnet.clone(),
            table: route.hop.table.map(|table| table.id.clone()),
        };
        let destination = self.flow.destination;
        let hop = &route.hop;
        self.note(Gate::Route, place, outcome, |_| {
            words::hop(hop, destination, reason)
        });
        self.doubts
            .add_if(matches!(route.hop.path, Path::Middlebox), Doubt::Middlebox);
        match reason {
            Some(reason) => Err(Verdict::Deny(Denial::Route {
                gate: Gate::Route,
                reason,
            })),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_zone_belongs_to_its_region() {
        assert_eq!(region_of("us-east-1-bos-1a").as_deref(), Some("us-east-1"));
        assert_eq!(
            region_of("us-gov-west-1b").as_deref(),
            Some("us-gov-west-1")
        );
    }
}
