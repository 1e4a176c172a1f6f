//! Where packets go: the routes of each subnet, and which paths carry references to security groups.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::cloud::Cloud;
use crate::describe::{
    NetworkInterface, Route, Subnet, TransitGatewayOptions, TransitGatewayVpcAttachment,
    VpcPeeringConnection,
};

/// The direction of a rule, seen from the interface that carries its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    Ingress,
    Egress,
}

/// Whether two sides of a peering lie in one Region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Regions {
    Same,
    Different,
}

/// Where a route of a subnet leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The subnets of the own VPC.
    Local,
    /// An appliance in the own VPC. The lab's appliance passes everything on unchanged.
    Middlebox,
    /// The VPC on the other side of an active peering.
    Peering { vpc: String, regions: Regions },
    /// A transit gateway with an attachment in the subnet's zone (C.7).
    TransitGateway { id: String },
    /// Nowhere: a blackhole, or a gateway out of what the snapshot describes.
    Nowhere,
}

/// Resolves the route table of `subnet`: one target for each destination; a static route before a propagated one (C.2).
pub(crate) fn routes(cloud: &Cloud, subnet: &Subnet) -> BTreeMap<IpNet, Target> {
    let mut resolved = BTreeMap::new();
    let Some(table) = cloud.route_table(subnet) else {
        return resolved;
    };
    let mut ordered: Vec<&Route> = table.routes.iter().collect();
    ordered.sort_by_key(|route| rank(route));
    for route in ordered {
        for destination in destinations(cloud, route) {
            resolved
                .entry(destination.trunc())
                .or_insert_with(|| target(cloud, subnet, route));
        }
    }
    resolved
}

/// Whether a packet of `sender` to `address` of `receiver` takes a path on which rules that name a group match (A.3).
pub(crate) fn carries_references(
    cloud: &Cloud,
    sender: &NetworkInterface,
    (receiver, address): (&NetworkInterface, IpAddr),
    direction: Direction,
) -> bool {
    if sender.subnet_id == receiver.subnet_id {
        return true;
    }
    let Some(subnet) = cloud.subnet(&sender.subnet_id) else {
        return false;
    };
    let routes = routes(cloud, subnet);
    let longest = routes
        .iter()
        .filter(|(destination, _)| destination.contains(&address))
        .max_by_key(|(destination, _)| destination.prefix_len());
    match longest.map(|(_, target)| target) {
        Some(Target::Local) => sender.vpc_id == receiver.vpc_id,
        Some(Target::Peering { vpc, regions }) => {
            *vpc == receiver.vpc_id && *regions == Regions::Same
        }
        Some(Target::TransitGateway { id }) => {
            direction == Direction::Ingress
                && gateway_carries(cloud, id, [&sender.vpc_id, &receiver.vpc_id])
        }
        Some(Target::Middlebox | Target::Nowhere) | None => false,
    }
}

fn rank(route: &Route) -> u8 {
    match route.origin.as_deref() {
        Some("EnableVgwRoutePropagation" | "Advertisement") => 2,
        Some(_) | None => u8::from(route.destination_prefix_list_id.is_some()),
    }
}

fn destinations(cloud: &Cloud, route: &Route) -> Vec<IpNet> {
    let listed = route
        .destination_prefix_list_id
        .as_ref()
        .and_then(|list| cloud.prefix_lists.get(list))
        .cloned();
    let single = route.destination_cidr_block.map(IpNet::V4);
    let single = single.or(route.destination_ipv6_cidr_block.map(IpNet::V6));
    single
        .into_iter()
        .chain(listed.unwrap_or_default())
        .collect()
}

fn target(cloud: &Cloud, subnet: &Subnet, route: &Route) -> Target {
    if matches!(route.state.as_deref(), Some("blackhole" | "filtered")) {
        return Target::Nowhere;
    }
    if let Some(gateway) = route.gateway_id.as_deref() {
        let endpoint = gateway.starts_with("vpce-") && route.destination_prefix_list_id.is_none();
        return match gateway {
            "local" => Target::Local,
            _ if endpoint => Target::Middlebox,
            _ => Target::Nowhere,
        };
    }
    if let Some(id) = route.vpc_peering_connection_id.as_deref() {
        return peering(cloud, subnet, id).unwrap_or(Target::Nowhere);
    }
    if let Some(id) = route.transit_gateway_id.as_ref() {
        let attached = zone_attached(cloud, subnet, id);
        return if attached {
            Target::TransitGateway { id: id.clone() }
        } else {
            Target::Nowhere
        };
    }
    if route.network_interface_id.is_some() || route.instance_id.is_some() {
        return Target::Middlebox;
    }
    Target::Nowhere
}

fn peering(cloud: &Cloud, subnet: &Subnet, id: &str) -> Option<Target> {
    let peering = cloud
        .peerings
        .iter()
        .find(|peering| peering.vpc_peering_connection_id == id)?;
    if peering
        .status
        .as_ref()
        .is_some_and(|status| status.code != "active")
    {
        return None;
    }
    let (requester, accepter) = (
        peering.requester_vpc_info.as_ref()?,
        peering.accepter_vpc_info.as_ref()?,
    );
    let other = if requester.vpc_id == subnet.vpc_id {
        accepter
    } else if accepter.vpc_id == subnet.vpc_id {
        requester
    } else {
        return None;
    };
    cloud.vpc(&other.vpc_id)?;
    Some(Target::Peering {
        vpc: other.vpc_id.clone(),
        regions: regions(cloud, peering),
    })
}

/// Compares the Regions of both sides, as the peering says them, else by the zones of their subnets.
fn regions(cloud: &Cloud, peering: &VpcPeeringConnection) -> Regions {
    let side = |side: &Option<crate::describe::PeeredVpc>| {
        let side = side.as_ref()?;
        side.region.clone().or_else(|| {
            let subnet = cloud
                .subnets
                .iter()
                .find(|subnet| subnet.vpc_id == side.vpc_id)?;
            Some(
                subnet
                    .availability_zone
                    .trim_end_matches(|letter: char| letter.is_ascii_lowercase())
                    .to_owned(),
            )
        })
    };
    match (
        side(&peering.requester_vpc_info),
        side(&peering.accepter_vpc_info),
    ) {
        (Some(requester), Some(accepter)) if requester != accepter => Regions::Different,
        _ => Regions::Same,
    }
}

/// The attachment of `vpc` to the transit gateway `gateway`.
pub(crate) fn attachment<'a>(
    cloud: &'a Cloud,
    gateway: &str,
    vpc: &str,
) -> Option<&'a TransitGatewayVpcAttachment> {
    cloud.attachments.iter().find(|attachment| {
        attachment.transit_gateway_id == gateway
            && attachment.vpc_id == vpc
            && attachment
                .state
                .as_deref()
                .is_none_or(|state| state == "available")
    })
}

fn zone_attached(cloud: &Cloud, subnet: &Subnet, gateway: &str) -> bool {
    attachment(cloud, gateway, &subnet.vpc_id).is_some_and(|attachment| {
        attachment
            .subnet_ids
            .iter()
            .filter_map(|id| cloud.subnet(id))
            .any(|attached| attached.availability_zone == subnet.availability_zone)
    })
}

/// Whether the gateway and the attachments of both VPCs support references; only an explicit `disable` forbids.
fn gateway_carries(cloud: &Cloud, gateway: &str, vpcs: [&String; 2]) -> bool {
    let allows = |options: &Option<TransitGatewayOptions>| {
        options
            .as_ref()
            .and_then(|options| options.security_group_referencing_support.as_deref())
            != Some("disable")
    };
    let described = cloud
        .transit_gateways
        .iter()
        .find(|described| described.transit_gateway_id == gateway);
    described.is_some_and(|described| allows(&described.options))
        && vpcs.iter().all(|vpc| {
            attachment(cloud, gateway, vpc).is_some_and(|attachment| allows(&attachment.options))
        })
}
