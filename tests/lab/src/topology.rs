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

use crate::blueprint::{Blueprint, Forwarding, Table};
use crate::cloud::Cloud;
use crate::describe::{NetworkInterface, Subnet};
use crate::error::LabError;
use crate::host;
use crate::layout::Layout;
use crate::namespace::wire_name;
use crate::path::{Target, routes};
use crate::{exempt, network_acl, security_group, transit_gateway};

/// The table with what lies in the subnet itself.
const TABLE_OWN: u32 = 10;
/// The table with the subnet's route table.
const TABLE_ROUTES: u32 = 20;
/// The same, as lines name it.
pub(crate) const ROUTES: Table = Table::Numbered(TABLE_ROUTES);
/// The table that leads nowhere.
const TABLE_NOWHERE: u32 = 30;
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
    transit_gateway::draw(&mut blueprint, enforced)?;
    for host in &layout.hosts {
        host::draw(&mut blueprint, world, host)?;
    }
    for subnet in &world.subnets {
        draw_subnet(&mut blueprint, world, enforced, subnet)?;
    }
    Ok(blueprint)
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
        let down = namespace.device("s");
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

/// The namespace at the far end of an uplink.
struct Far {
    namespace: String,
    /// How its end of the link is called, before a number.
    device: &'static str,
    /// The table there by which it routes what comes in; absent for its main table.
    table: Option<u32>,
}

/// Links a subnet to whatever its route table leads to, and fills the table.
fn draw_uplinks(blueprint: &mut Blueprint, enforced: &Cloud, subnet: &Subnet) {
    let id = subnet.subnet_id.as_str();
    let table = ROUTES;
    let mut uplinks: BTreeMap<String, String> = BTreeMap::new();
    if let Some(namespace) = blueprint.namespaces.get_mut(id) {
        namespace.blackhole_rest(table);
        namespace.rule(20, "iif core", TABLE_NOWHERE);
    }
    for (network, target) in routes(enforced, subnet) {
        let device = match target {
            Target::Nowhere => None,
            Target::Local | Target::Middlebox => Some("core".to_owned()),
            Target::Peering { vpc, .. } => {
                let far = Far {
                    namespace: vpc,
                    device: "u",
                    table: None,
                };
                uplink(blueprint, &mut uplinks, id, far)
            }
            Target::TransitGateway { id: gateway } => {
                let table = transit_gateway::table(enforced, &gateway, &subnet.vpc_id);
                uplink(
                    blueprint,
                    &mut uplinks,
                    id,
                    Far {
                        namespace: gateway,
                        device: "a",
                        table,
                    },
                )
            }
        };
        if let Some(namespace) = blueprint.namespaces.get_mut(id) {
            match device {
                Some(device) => namespace.route(network, &device, table),
                None => namespace.blackhole(network, table),
            }
        }
    }
}

/// The device of `subnet` that leads to `far`; laid when it is first asked for. `None` if there is no such namespace.
fn uplink(
    blueprint: &mut Blueprint,
    uplinks: &mut BTreeMap<String, String>,
    subnet: &str,
    far: Far,
) -> Option<String> {
    if let Some(device) = uplinks.get(&far.namespace) {
        return Some(device.clone());
    }
    let near = format!("x{}", uplinks.len());
    let namespace = blueprint.namespaces.get_mut(&far.namespace)?;
    let end = namespace.device(far.device);
    if let Some(table) = far.table {
        namespace.rule(10, &format!("iif {end}"), table);
    }
    blueprint.link((Some(subnet), &near), (Some(&far.namespace), &end));
    if let Some(namespace) = blueprint.namespaces.get_mut(subnet) {
        namespace.rule(20, &format!("iif {near}"), TABLE_NOWHERE);
    }
    uplinks.insert(far.namespace, near.clone());
    Some(near)
}

fn never_forwarded() -> impl Iterator<Item = IpNet> {
    NEVER_FORWARDED
        .iter()
        .filter_map(|network| network.parse().ok())
}

#[cfg(test)]
mod tests;
