//! Route tables.

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

/// Subnets, whether the table is the main one, and whether all associations could be read.
struct Associations {
    subnets: Vec<SubnetId>,
    is_main: bool,
}

impl<'a> Decoder<'a> {
    pub(super) fn route_tables(&mut self) {
        let rows = self.rows("describe-route-tables", "RouteTables");
        let (items, mut completeness) =
            self.things(rows, "RouteTableId", Consequence::SubnetUnknown);
        let mut mains = Vec::new();
        let mut explicit = Vec::new();
        for item in items {
            let (table, is_main, associations) = self.route_table(&item);
            if associations == Completeness::Incomplete {
                completeness = Completeness::Incomplete;
            }
            let (vpc, subnets) = (table.vpc.clone(), table.subnets.clone());
            let key = self.snapshot.route_tables.push(table);
            explicit.extend(subnets.into_iter().map(|subnet| (subnet, key)));
            mains.extend(is_main.then_some((vpc, key)));
        }
        let chosen = self.choose_lists("describe-route-tables", explicit, mains, completeness);
        for (subnet, key) in chosen {
            self.snapshot.subnets.at_mut(subnet).table = key;
        }
    }

    fn route_table(&mut self, item: &Item<'a>) -> (RouteTable, bool, Completeness) {
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
            match self.read(associations(node), Consequence::SubnetUnknown) {
                Some(associations) => {
                    table.subnets.extend(associations.subnets);
                    is_main |= associations.is_main;
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
            table.routes = vec![unread_route()];
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
        let state = self.route_state(node);
        let origin = match (self.plain_text(node, "Origin"), &destination) {
            (Some("EnableVgwRoutePropagation" | "Advertisement"), _) => RouteOrigin::Propagated,
            (_, RouteDestination::PrefixList(_)) => RouteOrigin::PrefixList,
            (_, RouteDestination::Network(_) | RouteDestination::Unread) => RouteOrigin::Static,
        };
        Route {
            destination,
            target,
            state,
            origin,
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

fn associations(node: &Node<'_>) -> Result<Associations, Fault> {
    let mut found = Associations {
        subnets: Vec::new(),
        is_main: false,
    };
    for association in node.list("Associations")? {
        found.is_main |= association.flag("Main")?.unwrap_or(false);
        // An association with a gateway has no subnet and says nothing about one.
        found
            .subnets
            .extend(association.text("SubnetId")?.map(SubnetId::from));
    }
    Ok(found)
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
            RouteDestination::Unread => RouteTarget::Unread,
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
