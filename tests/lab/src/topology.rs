//! Draws the blueprint of a lab: hosts, wires, subnets, VPCs and transit gateways.
//!
//! ```text
//! pod -- host -- wire -- subnet -- vpc -- subnet -- wire -- host
//!                           \-- vpc on the other side of a peering
//!                           \-- transit gateway -- vpc
//! ```
//! Every cable is a point-to-point link without neighbour discovery: both of its ends have one hardware address, so
//! that nothing depends on anyone answering for an address. What a namespace passes on is decided by its routes and
//! its filter alone.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::blueprint::{Blueprint, Forwarding, Namespace, Table};
use crate::cloud::Cloud;
use crate::describe::{NetworkInterface, Subnet, TransitGatewayVpcAttachment};
use crate::error::LabError;
use crate::host;
use crate::layout::Layout;
use crate::path::{Target, attachment, routes};
use crate::{exempt, network_acl, security_group};

/// The table with what lies in the subnet itself.
const TABLE_OWN: u32 = 10;
/// The table with the subnet's route table.
const TABLE_ROUTES: u32 = 20;
/// The table that leads nowhere.
const TABLE_NOWHERE: u32 = 30;
/// The first table of a transit gateway's attachments.
const TABLE_ATTACHMENTS: u32 = 100;
/// Never forwarded, whatever the routes say (C.6).
const NEVER_FORWARDED: [&str; 2] = ["169.254.168.0/22", "fd00:ec2::/32"];

/// Draws everything but management links. `world` says who is there, `enforced` what the wire does.
///
/// # Errors
/// [`LabError::InvalidName`], [`LabError::DuplicateName`], [`LabError::InvalidProtocol`].
pub(crate) fn draw(
    world: &Cloud,
    enforced: &Cloud,
    layout: &Layout,
) -> Result<Blueprint, LabError> {
    let mut blueprint = Blueprint::default();
    for vpc in &world.vpcs {
        let namespace = blueprint.add(&vpc.vpc_id, Forwarding::On)?;
        namespace.blackhole_rest(Table::Main);
        namespace.nft = exempt::silence(world, None);
    }
    for gateway in gateways(enforced) {
        let namespace = blueprint.add(&gateway, Forwarding::On)?;
        namespace.blackhole_rest(Table::Main);
        namespace.nft = exempt::silence(world, None);
        draw_gateway(&mut blueprint, enforced, &gateway);
    }
    for host in &layout.hosts {
        host::draw(&mut blueprint, world, host)?;
    }
    for subnet in &world.subnets {
        draw_subnet(&mut blueprint, world, enforced, subnet)?;
    }
    Ok(blueprint)
}

/// The name of the namespace of an interface's wire.
pub(crate) fn wire_name(interface: &str) -> String {
    format!("wire-{interface}")
}

fn draw_subnet(
    blueprint: &mut Blueprint,
    world: &Cloud,
    enforced: &Cloud,
    subnet: &Subnet,
) -> Result<(), LabError> {
    let id = subnet.subnet_id.as_str();
    let enforced_subnet = enforced.subnet(id).unwrap_or(subnet);
    let namespace = blueprint.add(id, Forwarding::On)?;
    namespace.nft = exempt::silence(world, Some(&subnet.vpc_id));
    namespace
        .nft
        .push_str(&network_acl::filter(enforced, enforced_subnet)?);
    for address in exempt::addresses(world, &subnet.vpc_id) {
        namespace.address(address, "lo");
    }
    for network in subnet.networks().into_iter().chain(never_forwarded()) {
        namespace.blackhole(network, Table::Numbered(TABLE_OWN));
    }
    let interfaces = world
        .interfaces
        .iter()
        .filter(|interface| interface.subnet_id == id);
    for (place, interface) in interfaces.enumerate() {
        let filter = security_group::wire(
            enforced,
            enforced
                .interface(&interface.network_interface_id)
                .unwrap_or(interface),
        )?;
        draw_wire(blueprint, (interface, filter), (id, &format!("w{place}")))?;
    }
    draw_uplinks(blueprint, enforced, enforced_subnet);
    if let Some(namespace) = blueprint.namespaces.get_mut(id) {
        namespace.rule(10, "from all", TABLE_OWN);
        namespace.rule(30, "from all", TABLE_ROUTES);
        namespace.blackhole_rest(Table::Numbered(TABLE_NOWHERE));
    }
    if let Some(namespace) = blueprint.namespaces.get_mut(&subnet.vpc_id) {
        let down = device("s", namespace);
        for network in subnet.networks() {
            namespace.route(network, &down, Table::Main);
        }
        blueprint.link((Some(id), "core"), (Some(&subnet.vpc_id), &down));
    }
    Ok(())
}

fn draw_wire(
    blueprint: &mut Blueprint,
    (interface, filter): (&NetworkInterface, String),
    (subnet, device): (&str, &str),
) -> Result<(), LabError> {
    let name = wire_name(&interface.network_interface_id);
    let networks = interface.networks();
    if let Some(namespace) = blueprint.namespaces.get_mut(subnet) {
        for network in &networks {
            namespace.route(*network, device, Table::Numbered(TABLE_OWN));
        }
    }
    // Hosts are drawn first and have added the wire on their side already.
    if let Some(wire) = blueprint.namespaces.get_mut(&name) {
        wire.nft.push_str(&filter);
        wire.route_rest("net", Table::Main);
        for network in networks {
            wire.route(network, "host", Table::Main);
        }
    }
    blueprint.link((Some(&name), "net"), (Some(subnet), device));
    Ok(())
}

/// Links a subnet to whatever its route table leads to, and fills the table.
fn draw_uplinks(blueprint: &mut Blueprint, enforced: &Cloud, subnet: &Subnet) {
    let id = subnet.subnet_id.as_str();
    let table = Table::Numbered(TABLE_ROUTES);
    let mut uplinks: BTreeMap<String, String> = BTreeMap::new();
    if let Some(namespace) = blueprint.namespaces.get_mut(id) {
        namespace.blackhole_rest(table);
        namespace.rule(20, "iif core", TABLE_NOWHERE);
    }
    for (network, target) in routes(enforced, subnet) {
        let far = match target {
            Target::Local | Target::Middlebox => None,
            Target::Nowhere => {
                if let Some(namespace) = blueprint.namespaces.get_mut(id) {
                    namespace.blackhole(network, table);
                }
                continue;
            }
            Target::Peering { vpc, .. } => Some((vpc.clone(), "u".to_owned())),
            Target::TransitGateway { id } => {
                Some((id.clone(), gateway_port(enforced, (&id, &subnet.vpc_id))))
            }
        };
        let device = match far {
            None => "core".to_owned(),
            Some(far) => uplink(blueprint, &mut uplinks, id, far),
        };
        if let Some(namespace) = blueprint.namespaces.get_mut(id) {
            namespace.route(network, &device, table);
        }
    }
}

/// The device of `subnet` that leads to the namespace `far`; laid when it is first asked for.
fn uplink(
    blueprint: &mut Blueprint,
    uplinks: &mut BTreeMap<String, String>,
    subnet: &str,
    (far, port): (String, String),
) -> String {
    if let Some(device) = uplinks.get(&far) {
        return device.clone();
    }
    let near = format!("x{}", uplinks.len());
    let Some(namespace) = blueprint.namespaces.get_mut(&far) else {
        return "core".to_owned();
    };
    let end = device(&port, namespace);
    if let Some(attachment) = port
        .strip_prefix('a')
        .and_then(|place| place.trim_end_matches('-').parse::<u32>().ok())
    {
        namespace.rule(
            10,
            &format!("iif {end}"),
            TABLE_ATTACHMENTS.saturating_add(attachment),
        );
    }
    blueprint.link((Some(subnet), &near), (Some(&far), &end));
    if let Some(namespace) = blueprint.namespaces.get_mut(subnet) {
        namespace.rule(20, &format!("iif {near}"), TABLE_NOWHERE);
    }
    uplinks.insert(far, near.clone());
    near
}

/// The next free device of a namespace whose name starts with `prefix`.
fn device(prefix: &str, namespace: &Namespace) -> String {
    format!("{prefix}{}", namespace.devices.len())
}

fn never_forwarded() -> impl Iterator<Item = IpNet> {
    NEVER_FORWARDED
        .iter()
        .filter_map(|network| network.parse().ok())
}

/// Ids of the transit gateways that have attachments.
fn gateways(cloud: &Cloud) -> Vec<String> {
    let mut ids: Vec<String> = cloud
        .attachments
        .iter()
        .map(|attachment| attachment.transit_gateway_id.clone())
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

fn attachments<'a>(cloud: &'a Cloud, gateway: &str) -> Vec<&'a TransitGatewayVpcAttachment> {
    cloud
        .attachments
        .iter()
        .filter(|attached| {
            crate::path::attachment(cloud, gateway, &attached.vpc_id).is_some_and(|first| {
                first.transit_gateway_attachment_id == attached.transit_gateway_attachment_id
            })
        })
        .collect()
}

/// The device prefix of a gateway for what comes from `vpc`: the place of its attachment.
fn gateway_port(cloud: &Cloud, (gateway, vpc): (&str, &str)) -> String {
    let place = attachments(cloud, gateway)
        .iter()
        .position(|attached| attached.vpc_id == vpc)
        .unwrap_or(0);
    format!("a{place}-")
}

/// Links a gateway to its VPCs; each attachment has a table of its own.
fn draw_gateway(blueprint: &mut Blueprint, cloud: &Cloud, gateway: &str) {
    let attached = attachments(cloud, gateway);
    let mut down: BTreeMap<String, String> = BTreeMap::new();
    for attachment in &attached {
        let (Some(vpc), Some(own)) = (
            blueprint.namespaces.get(&attachment.vpc_id),
            blueprint.namespaces.get(gateway),
        ) else {
            continue;
        };
        let (near, far) = (device("v", own), device("u", vpc));
        blueprint.link((Some(gateway), &near), (Some(&attachment.vpc_id), &far));
        down.insert(attachment.vpc_id.clone(), near);
    }
    let Some(namespace) = blueprint.namespaces.get_mut(gateway) else {
        return;
    };
    for (number, attachment) in (TABLE_ATTACHMENTS..).zip(&attached) {
        let table = Table::Numbered(number);
        namespace.blackhole_rest(table);
        for (network, vpc) in gateway_routes(cloud, gateway, attachment) {
            match vpc.and_then(|vpc| down.get(&vpc)) {
                Some(device) => namespace.route(network, device, table),
                None => namespace.blackhole(network, table),
            }
        }
    }
}

/// The routes that packets of an attachment see, each with the VPC it leads to.
///
/// With route tables in the snapshot: the associated one, else the default one. Without: all attached VPCs, if the
/// gateway associates and propagates by default.
fn gateway_routes(
    cloud: &Cloud,
    gateway: &str,
    attached: &TransitGatewayVpcAttachment,
) -> Vec<(IpNet, Option<String>)> {
    let tables = cloud
        .gateway_tables
        .iter()
        .filter(|table| table.transit_gateway_id == gateway);
    let default = tables
        .clone()
        .find(|table| table.default_association_route_table);
    let associated = attached
        .association
        .as_ref()
        .map(|association| &association.transit_gateway_route_table_id);
    let id = associated.or(default.map(|table| &table.transit_gateway_route_table_id));
    if tables.count() > 0 {
        let routes = id
            .and_then(|id| cloud.gateway_routes.get(id))
            .into_iter()
            .flatten();
        return routes
            .filter_map(|route| {
                let target = route.transit_gateway_attachments.first();
                let active = route.state.as_deref().is_none_or(|state| state == "active");
                let target = target.filter(|_| active).and_then(|target| {
                    cloud.attachments.iter().find(|other| {
                        other.transit_gateway_attachment_id == target.transit_gateway_attachment_id
                    })
                });
                Some((
                    route.destination_cidr_block?.trunc(),
                    target.map(|target| target.vpc_id.clone()),
                ))
            })
            .collect();
    }
    let options = cloud
        .transit_gateways
        .iter()
        .find(|described| described.transit_gateway_id == gateway);
    let options = options.and_then(|described| described.options.as_ref());
    let enabled = |option: Option<&String>| option.is_some_and(|word| word == "enable");
    let open = options.is_some_and(|options| {
        enabled(options.default_route_table_association.as_ref())
            && enabled(options.default_route_table_propagation.as_ref())
    });
    let vpcs = cloud
        .vpcs
        .iter()
        .filter(|vpc| open && attachment(cloud, gateway, &vpc.vpc_id).is_some());
    vpcs.flat_map(|vpc| {
        vpc.networks()
            .into_iter()
            .map(|network| (network, Some(vpc.vpc_id.clone())))
    })
    .collect()
}
