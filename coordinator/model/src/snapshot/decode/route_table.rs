//! Route tables.

use std::collections::BTreeSet;

use super::{Decoder, Item};
use crate::describe::{Fault, Node};
use crate::id::{PeeringId, PrefixListId, RouteTableId, SubnetId, TransitGatewayId, VpcId};
use crate::net::{network_v4, network_v6};
use crate::snapshot::{
    Completeness, Consequence, GapKind, Route, RouteDestination, RouteOrigin, RouteState,
    RouteTable, RouteTarget,
};

/// Targets that the model does not follow, with the field that names them [C.8].
const OTHER_TARGETS: [&str; 7] = [
    "CarrierGatewayId",
    "LocalGatewayId",
    "CoreNetworkArn",
    "OdbNetworkArn",
    "IpAddress",
    "VpcEndpointId",
    "GatewayLoadBalancerEndpointId",
];

/// Those of which nobody knows what they do to a packet (K.1 "Newer routes").
const UNFOLLOWED: [&str; 2] = ["CoreNetworkArn", "IpAddress"];

/// Modes of a firewall on an internet gateway in which it drops nothing. INFERRED: `describe-route-tables` of a VPC with
/// one settles the words.
const FIREWALL_OFF: [&str; 4] = ["off", "disabled", "monitor", "audit"];

/// What a table says for whom it holds.
#[derive(Default)]
struct Associations {
    subnets: Vec<SubnetId>,
    is_main: bool,
    /// Subnets whose association is under way or failed.
    unsettled: BTreeSet<SubnetId>,
    /// The association as main table is under way or failed.
    is_main_unsettled: bool,
}

/// Subnets, and VPCs by their main table, of which nobody knows which table holds.
#[derive(Default)]
struct Unsettled {
    subnets: BTreeSet<SubnetId>,
    mains: BTreeSet<VpcId>,
}

impl<'a> Decoder<'a> {
    pub(super) fn route_tables(&mut self) {
        let rows = self.rows("describe-route-tables", "RouteTables");
        let (items, mut completeness) =
            self.things(rows, "RouteTableId", Consequence::SubnetUnknown);
        let mut mains = Vec::new();
        let mut explicit = Vec::new();
        let mut unsettled = Unsettled::default();
        for item in items {
            let (table, is_main, associations) = self.route_table(&item, &mut unsettled);
            if associations == Completeness::Incomplete {
                completeness = Completeness::Incomplete;
            }
            let (vpc, subnets) = (table.vpc.clone(), table.subnets.clone());
            let key = self.snapshot.route_tables.push(table);
            explicit.extend(subnets.into_iter().map(|subnet| (subnet, key)));
            mains.extend(is_main.then_some((vpc, key)));
        }
        let named: BTreeSet<SubnetId> = explicit
            .iter()
            .map(|(subnet, _): &(SubnetId, _)| subnet.clone())
            .collect();
        let chosen = self.choose_lists("describe-route-tables", explicit, mains, completeness);
        for (subnet, key) in chosen {
            let entry = self.snapshot.subnets.at_mut(subnet);
            let is_own = named.contains(&entry.subnet.id);
            let vpc = entry.subnet.vpc.as_ref();
            let is_unsettled = unsettled.subnets.contains(&entry.subnet.id)
                || !is_own && vpc.is_some_and(|vpc| unsettled.mains.contains(vpc));
            entry.table = key.filter(|_| !is_unsettled);
        }
    }

    fn route_table(
        &mut self,
        item: &Item<'a>,
        unsettled: &mut Unsettled,
    ) -> (RouteTable, bool, Completeness) {
        let mut table = RouteTable {
            id: RouteTableId::from(item.id),
            vpc: None,
            subnets: Vec::new(),
            routes: Vec::new(),
        };
        let mut is_main = false;
        let mut completeness = Completeness::Complete;
        for node in &item.descriptions {
            table.vpc = self
                .read(node.required("VpcId"), Consequence::SubnetUnknown)
                .map(VpcId::from);
            match self.associations(node) {
                Some(associations) => {
                    table.subnets.extend(associations.subnets);
                    is_main |= associations.is_main;
                    unsettled.subnets.extend(associations.unsettled);
                    let main = table.vpc.clone().filter(|_| associations.is_main_unsettled);
                    unsettled.mains.extend(main);
                }
                None => completeness = Completeness::Incomplete,
            }
            let listed = match node.field("Routes") {
                Some(routes) => routes.items(),
                None => Err(node.missing("Routes")),
            };
            match self.read(listed, Consequence::RouteUnknown) {
                Some(routes) => {
                    let routes = routes.iter().map(|route| self.route(route));
                    table.routes.extend(routes);
                }
                None => table.routes.push(unread_route()),
            }
        }
        if item.sole().is_none() {
            table.routes = vec![Route {
                destination: RouteDestination::Conflict,
                ..unread_route()
            }];
        }
        (table, is_main, completeness)
    }

    fn route(&mut self, node: &Node<'a>) -> Route {
        let consequence = Consequence::RouteUnknown;
        let destination = self
            .read(destination(node), consequence)
            .unwrap_or(RouteDestination::Unread);
        let target = self
            .read(target(node, &destination), consequence)
            .unwrap_or(RouteTarget::Unread);
        let target = self.newer_target(node, target);
        let state = self.route_state(node);
        let origin = match (self.plain_text(node, "Origin"), &destination) {
            (Some("EnableVgwRoutePropagation" | "Advertisement"), _) => RouteOrigin::Propagated,
            (_, RouteDestination::PrefixList(_)) => RouteOrigin::PrefixList,
            (
                _,
                RouteDestination::Network(_)
                | RouteDestination::Unread
                | RouteDestination::Conflict,
            ) => RouteOrigin::Static,
        };
        Route {
            destination,
            target,
            state,
            origin,
        }
    }

    /// For whom a table holds; an association that is under way or failed is a gap.
    fn associations(&mut self, node: &Node<'a>) -> Option<Associations> {
        let (associations, under_way) =
            self.read(associations(node), Consequence::SubnetUnknown)?;
        for association in under_way {
            let fault = association.malformed("an association that is `associated`");
            self.note(fault, Consequence::SubnetUnknown);
        }
        Some(associations)
    }

    /// Targets of newer kinds: a next hop of a route server that is an interface of the snapshot is that interface; an
    /// internet gateway whose firewall enforces is not followed (K.1 "Newer routes").
    fn newer_target(&mut self, node: &Node<'a>, target: RouteTarget) -> RouteTarget {
        if let Some(firewall) = node.field("IgwFirewall") {
            let mode = match firewall.field("Mode") {
                Some(mode) => mode,
                None => firewall,
            };
            let is_off = mode
                .as_text()
                .is_ok_and(|mode| FIREWALL_OFF.contains(&mode));
            if !is_off {
                return RouteTarget::Unfollowed(target.as_str().to_owned());
            }
        }
        let RouteTarget::Unfollowed(id) = &target else {
            return target;
        };
        let interface = id.parse().ok().and_then(|address| {
            let mut interfaces = self.snapshot.interfaces.iter();
            interfaces.find(|entry| entry.interface.addresses.contains(&address))
        });
        match interface {
            Some(entry) => RouteTarget::Middlebox(entry.interface.id.to_string()),
            None => target,
        }
    }

    /// State of a route; absent means active.
    pub(super) fn route_state(&mut self, node: &Node<'a>) -> RouteState {
        match self.read(node.text("State"), Consequence::RouteUnknown) {
            Some(None | Some("active")) => RouteState::Active,
            Some(Some("blackhole")) => RouteState::Blackhole,
            Some(Some("filtered")) => RouteState::Filtered,
            Some(Some(word)) => {
                let kind = GapKind::UnknownWord {
                    found: word.to_owned(),
                };
                self.note(node.fault(kind), Consequence::RouteUnknown);
                RouteState::Unread
            }
            None => RouteState::Unread,
        }
    }
}

/// How far an association is (`AssociationState.State`).
enum AssociationState {
    /// It holds.
    Associated,
    /// It holds no longer.
    Disassociated,
    /// It is under way, failed, or in a state that is not known.
    Unsettled,
}

fn association_state(node: &Node<'_>) -> Result<AssociationState, Fault> {
    let word = match node.field("AssociationState") {
        Some(state) => state.text("State")?,
        None => None,
    };
    Ok(match word {
        None | Some("associated") => AssociationState::Associated,
        Some("disassociated") => AssociationState::Disassociated,
        Some(_) => AssociationState::Unsettled,
    })
}

fn associations<'a>(node: &Node<'a>) -> Result<(Associations, Vec<Node<'a>>), Fault> {
    let mut found = Associations::default();
    let mut under_way = Vec::new();
    for association in node.list("Associations")? {
        let is_main = association.flag("Main")?.unwrap_or(false);
        // An association with a gateway has no subnet and says nothing about one.
        let subnet = association.text("SubnetId")?.map(SubnetId::from);
        match association_state(&association)? {
            AssociationState::Associated => {
                found.is_main |= is_main;
                found.subnets.extend(subnet);
            }
            AssociationState::Disassociated => {}
            AssociationState::Unsettled => {
                found.is_main_unsettled |= is_main;
                found.unsettled.extend(subnet);
                under_way.push(association);
            }
        }
    }
    Ok((found, under_way))
}

fn destination(node: &Node<'_>) -> Result<RouteDestination, Fault> {
    if let Some(network) = node.parsed("DestinationCidrBlock", "an IPv4 network", network_v4)? {
        return Ok(RouteDestination::Network(network));
    }
    let v6 = node.parsed("DestinationIpv6CidrBlock", "an IPv6 network", network_v6)?;
    if let Some(network) = v6 {
        return Ok(RouteDestination::Network(network));
    }
    let id = node
        .text("DestinationPrefixListId")?
        .ok_or_else(|| node.missing("DestinationCidrBlock"))?;
    Ok(RouteDestination::PrefixList(PrefixListId::from(id)))
}

/// The target by the first field that names one (K.1 "Path from a route").
fn target(node: &Node<'_>, destination: &RouteDestination) -> Result<RouteTarget, Fault> {
    if let Some(id) = node.text("VpcPeeringConnectionId")? {
        return Ok(RouteTarget::Peering(PeeringId::from(id)));
    }
    if let Some(id) = node.text("TransitGatewayId")? {
        return Ok(RouteTarget::TransitGateway(TransitGatewayId::from(id)));
    }
    if let Some(id) = node.text("NatGatewayId")? {
        return Ok(RouteTarget::Nat(id.to_owned()));
    }
    if let Some(id) = node.text("EgressOnlyInternetGatewayId")? {
        return Ok(RouteTarget::InternetGateway(id.to_owned()));
    }
    for field in ["NetworkInterfaceId", "InstanceId"] {
        if let Some(id) = node.text(field)? {
            return Ok(RouteTarget::Middlebox(id.to_owned()));
        }
    }
    if let Some(id) = node.text("GatewayId")? {
        return Ok(gateway(id, destination));
    }
    for field in OTHER_TARGETS {
        if let Some(id) = node.text(field)? {
            return Ok(if id.starts_with("vpce-") {
                gateway(id, destination)
            } else if UNFOLLOWED.contains(&field) {
                RouteTarget::Unfollowed(id.to_owned())
            } else {
                RouteTarget::Other(id.to_owned())
            });
        }
    }
    Err(node.missing("GatewayId"))
}

/// What a `GatewayId` is, by its prefix: a `vpce-` is a load balancer endpoint or, with a prefix list, a gateway
/// endpoint.
fn gateway(id: &str, destination: &RouteDestination) -> RouteTarget {
    let id = id.to_owned();
    if id == "local" {
        RouteTarget::Local
    } else if id.starts_with("igw-") || id.starts_with("eigw-") {
        RouteTarget::InternetGateway(id)
    } else if id.starts_with("vgw-") {
        RouteTarget::VpnGateway(id)
    } else if id.starts_with("vpce-") {
        match destination {
            RouteDestination::Network(_) => RouteTarget::Middlebox(id),
            RouteDestination::PrefixList(_) => RouteTarget::GatewayEndpoint(id),
            RouteDestination::Unread | RouteDestination::Conflict => RouteTarget::Unread,
        }
    } else {
        RouteTarget::Other(id)
    }
}

/// A route of which nothing is known: it may carry any packet anywhere.
fn unread_route() -> Route {
    Route {
        destination: RouteDestination::Unread,
        target: RouteTarget::Unread,
        state: RouteState::Unread,
        origin: RouteOrigin::Static,
    }
}
