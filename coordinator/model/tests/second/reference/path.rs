//! Where a packet goes when it leaves its subnet: routes, peerings, transit gateways (C, K.1).

use std::net::IpAddr;

use serde_json::Value;

use super::net::Net;
use super::world::{Eni, Subnet, World, list, rows, text};

/// Where the router of a subnet sends a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    SameSubnet,
    Local,
    None,
    Blackhole,
    Filtered,
    /// A peering that is active and of two VPCs of which ours is one.
    Peering {
        other: String,
        same_region: bool,
        leads_there: bool,
    },
    /// A peering that is not active.
    DeadPeering,
    Tgw(Tgw),
    Middlebox,
    Nat,
    Igw,
    Vgw,
    Other,
    /// `other` because something could not be read: absence is not denial, so it denies in no direction.
    Unread,
}

/// What the transit gateway makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tgw {
    pub id: String,
    /// VPCs that are attached to it.
    pub attached: Vec<String>,
    /// An attachment of our VPC is visible and none has our zone.
    pub zone_missing: bool,
    /// Our VPC has no visible attachment.
    pub detached: bool,
    /// References from elsewhere: absent where nobody can tell.
    pub references: Option<bool>,
}

/// Whether a reference to a group can match over this path, seen from the side that judges.
pub fn references_cross(path: &Path, egress: bool) -> Option<bool> {
    match path {
        // On paths that end the flow they are judged as on local, so that the gate named is the route.
        Path::SameSubnet
        | Path::Local
        | Path::None
        | Path::Blackhole
        | Path::Filtered
        | Path::DeadPeering => Some(true),
        Path::Peering {
            same_region,
            leads_there,
            ..
        } => Some(*same_region || !leads_there),
        Path::Tgw(_) if egress => Some(false),
        Path::Tgw(tgw) => tgw.references,
        Path::Middlebox | Path::Nat | Path::Igw | Path::Vgw | Path::Other => Some(false),
        Path::Unread => None,
    }
}

/// The path of a packet that leaves `subnet` of `vpc` for `to`.
pub fn route(world: &World, subnet: &Subnet, to: IpAddr) -> Path {
    let never = ["169.254.168.0/22", "fd00:ec2::/32"];
    if never.iter().any(|net| Net::read(net).contains(to)) {
        return Path::None;
    }
    let Some(table) = table_of(world, subnet) else {
        return Path::Unread;
    };
    // Whether an unread list may be anywhere, and whether one may be inside of `local`.
    let mut unreadable_inside = false;
    // Longest prefix, then static before prefix list before propagated.
    let mut best: Option<(u32, u32, &Value)> = None;
    let mut unreadable = false;
    for route in list(table, "Routes") {
        let propagated = ["EnableVgwRoutePropagation", "Advertisement"]
            .iter()
            .any(|word| route["Origin"] == *word);
        if let Some(id) = text(route, "DestinationPrefixListId") {
            let endpoint = text(route, "GatewayId").is_some_and(|it| it.starts_with("vpce-"));
            match world.lists.get(&id) {
                None if endpoint => {}
                None => {
                    unreadable = true;
                    let inner = ["NetworkInterfaceId", "InstanceId", "NatGatewayId"];
                    if inner.iter().any(|key| route.get(*key).is_some()) {
                        unreadable_inside = true;
                    }
                }
                Some(nets) => {
                    for net in nets.iter().filter(|net| net.contains(to)) {
                        best = better(best, (net.len, 1, route));
                    }
                }
            }
            continue;
        }
        let cidr = text(route, "DestinationCidrBlock")
            .or_else(|| text(route, "DestinationIpv6CidrBlock"))
            .unwrap();
        let net = Net::read(&cidr);
        if net.contains(to) {
            best = better(best, (net.len, if propagated { 0 } else { 2 }, route));
        }
    }
    match best {
        None if unreadable => Path::Unread,
        None => Path::None,
        Some((length, _, route)) => {
            let whole = if to.is_ipv4() { 32 } else { 128 };
            let doubtful = if route["GatewayId"] == "local" {
                unreadable_inside
            } else {
                unreadable
            };
            if doubtful && length < whole {
                Path::Unread
            } else {
                target(world, subnet, route, to)
            }
        }
    }
}

fn better<'a>(
    best: Option<(u32, u32, &'a Value)>,
    candidate: (u32, u32, &'a Value),
) -> Option<(u32, u32, &'a Value)> {
    match best {
        Some(best) if (best.0, best.1) >= (candidate.0, candidate.1) => Some(best),
        _ => Some(candidate),
    }
}

/// Explicit association, else the VPC's main table; nothing where the one that counts is under way.
fn table_of<'a>(world: &'a World, subnet: &Subnet) -> Option<&'a Value> {
    let tables = rows(&world.json, "describe-route-tables", "RouteTables");
    let word = |it: &Value| {
        it.pointer("/AssociationState/State")
            .and_then(Value::as_str)
            .unwrap_or("associated")
            .to_owned()
    };
    let of = |wanted: &dyn Fn(&Value, &Value) -> bool| -> Vec<(&'a Value, String)> {
        let mut found = Vec::new();
        for table in tables {
            for it in list(table, "Associations") {
                if wanted(table, it) && word(it) != "disassociated" {
                    found.push((table, word(it)));
                }
            }
        }
        found
    };
    let mut found = of(&|_, it| it["SubnetId"] == *subnet.id);
    if found.is_empty() {
        found = of(&|table, it| table["VpcId"] == *subnet.vpc && it["Main"] == true);
    }
    if found.iter().any(|(_, word)| word != "associated") {
        return None;
    }
    found.first().map(|(table, _)| *table)
}

fn target(world: &World, subnet: &Subnet, route: &Value, to: IpAddr) -> Path {
    match route["State"].as_str() {
        Some("blackhole") => return Path::Blackhole,
        Some("filtered") => return Path::Filtered,
        _ => {}
    }
    let has = |key: &str| route.get(key).is_some();
    let gateway = text(route, "GatewayId").unwrap_or_default();
    if gateway == "local" {
        Path::Local
    } else if has("CoreNetworkArn") {
        Path::Unread
    } else if let Some(hop) = text(route, "IpAddress") {
        let hop: IpAddr = hop.parse().unwrap();
        let known = world
            .enis
            .iter()
            .any(|eni| eni.owned.contains(&Net::host(hop)));
        if known { Path::Middlebox } else { Path::Unread }
    } else if has("NetworkInterfaceId") || has("InstanceId") {
        Path::Middlebox
    } else if gateway.starts_with("vpce-") && !has("DestinationPrefixListId") {
        Path::Middlebox
    } else if let Some(id) = text(route, "VpcPeeringConnectionId") {
        peering(world, &subnet.vpc, &id, to)
    } else if let Some(id) = text(route, "TransitGatewayId") {
        Path::Tgw(transit_gateway(world, subnet, &id, to))
    } else if has("NatGatewayId") {
        Path::Nat
    } else if gateway.starts_with("igw-") || has("EgressOnlyInternetGatewayId") {
        Path::Igw
    } else if gateway.starts_with("vgw-") {
        Path::Vgw
    } else {
        Path::Other
    }
}

fn peering(world: &World, ours: &str, id: &str, to: IpAddr) -> Path {
    let found = rows(
        &world.json,
        "describe-vpc-peering-connections",
        "VpcPeeringConnections",
    )
    .iter()
    .find(|row| row["VpcPeeringConnectionId"] == id);
    let Some(row) = found else {
        return Path::Unread;
    };
    let (one, two) = (&row["RequesterVpcInfo"], &row["AccepterVpcInfo"]);
    if one["VpcId"] != ours && two["VpcId"] != ours {
        return Path::DeadPeering;
    }
    if row["Status"]["Code"] != "active" {
        return Path::DeadPeering;
    }
    let far = if one["VpcId"] == ours { two } else { one };
    let other = text(far, "VpcId").unwrap();
    let owned = world.owners(to).iter().any(|eni| eni.vpc == other);
    let cidrs = match world.vpc(&other) {
        Some(vpc) => vpc.cidrs.clone(),
        None => shown_cidrs(far),
    };
    Path::Peering {
        same_region: same_region(region(world, one), region(world, two)),
        leads_there: owned || cidrs.is_empty() || cidrs.iter().any(|net| net.contains(to)),
        other,
    }
}

/// The CIDRs that a peering shows of one side.
fn shown_cidrs(side: &Value) -> Vec<Net> {
    let mut cidrs: Vec<String> = text(side, "CidrBlock").into_iter().collect();
    cidrs.extend(super::world::texts(side, "CidrBlockSet", "CidrBlock"));
    cidrs.extend(super::world::texts(
        side,
        "Ipv6CidrBlockSet",
        "Ipv6CidrBlock",
    ));
    cidrs.iter().map(|cidr| Net::read(cidr)).collect()
}

/// The Region of one side of a peering: as it says, else by the zone of a subnet, else the same for all.
/// As far as both Regions are known, else the same.
fn same_region(one: Option<String>, two: Option<String>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => one == two,
        _ => true,
    }
}

fn region(world: &World, side: &Value) -> Option<String> {
    text(side, "Region").or_else(|| {
        let vpc = text(side, "VpcId")?;
        let subnet = world.subnets.iter().find(|subnet| subnet.vpc == vpc)?;
        let zone = subnet.zone.as_ref()?;
        Some(zone.trim_end_matches(char::is_alphabetic).to_owned())
    })
}

fn attachments<'a>(world: &'a World, gateway: &str) -> Vec<&'a Value> {
    let mut all = all_attachments(world);
    all.retain(|row| row["TransitGatewayId"] == gateway);
    all
}

fn all_attachments(world: &World) -> Vec<&Value> {
    rows(
        &world.json,
        "describe-transit-gateway-vpc-attachments",
        "TransitGatewayVpcAttachments",
    )
    .iter()
    .filter(|row| {
        row.get("State")
            .is_none_or(|state| state == "available" || state == "modifying")
    })
    .collect()
}

fn gateway_record<'a>(world: &'a World, id: &str) -> Option<&'a Value> {
    rows(&world.json, "describe-transit-gateways", "TransitGateways")
        .iter()
        .find(|row| row["TransitGatewayId"] == id)
}

fn disabled(row: &Value) -> bool {
    row["Options"]["SecurityGroupReferencingSupport"] == "disable"
}

/// By the id of the zone where both have it, else by name.
fn one_zone(one: &Subnet, other: &Subnet) -> bool {
    match (&one.zone_id, &other.zone_id) {
        (Some(one), Some(other)) => one == other,
        _ => one.zone == other.zone,
    }
}

fn transit_gateway(world: &World, subnet: &Subnet, id: &str, to: IpAddr) -> Tgw {
    let all = attachments(world, id);
    let ours: Vec<&Value> = all
        .iter()
        .copied()
        .filter(|row| row["VpcId"] == *subnet.vpc)
        .collect();
    let has_zone = ours.iter().any(|row| {
        list(row, "SubnetIds").iter().any(|member| {
            world
                .subnets
                .iter()
                .any(|other| *member == *other.id && one_zone(other, subnet))
        })
    });
    let attached: Vec<String> = all.iter().filter_map(|row| text(row, "VpcId")).collect();
    let far: Vec<&Value> = all
        .iter()
        .copied()
        .filter(|row| world.owners(to).iter().any(|eni| row["VpcId"] == *eni.vpc))
        .collect();
    let references = gateway_record(world, id)
        .map(|record| !disabled(record) && !ours.iter().chain(&far).any(|row| disabled(row)));
    Tgw {
        id: id.to_owned(),
        attached,
        zone_missing: !ours.is_empty() && !has_zone,
        detached: ours.is_empty(),
        references,
    }
}

/// Whether the gateway brings `to` from one VPC to another for sure.
pub fn tgw_delivers(world: &World, tgw: &Tgw, from: &str, far: &str, to: IpAddr) -> bool {
    let all = attachments(world, &tgw.id);
    let of = |vpc: &str| -> Vec<&Value> {
        all.iter()
            .copied()
            .filter(|row| row["VpcId"] == vpc)
            .collect()
    };
    let (ours, theirs) = (of(from), of(far));
    if ours.is_empty() || theirs.is_empty() {
        return false;
    }
    let stem = "describe-transit-gateway-route-tables";
    if !world.json.contains_key(stem) {
        return gateway_record(world, &tgw.id).is_some_and(|record| {
            record["Options"]["DefaultRouteTableAssociation"] == "enable"
                && record["Options"]["DefaultRouteTablePropagation"] == "enable"
        });
    }
    ours.iter().any(|attachment| {
        tgw_table(world, &tgw.id, attachment)
            .is_some_and(|table| leads_to(world, &table, to, &theirs))
    })
}

/// The table that is associated with an attachment, else the default one.
fn tgw_table(world: &World, gateway: &str, attachment: &Value) -> Option<String> {
    let tables = rows(
        &world.json,
        "describe-transit-gateway-route-tables",
        "TransitGatewayRouteTables",
    );
    text(&attachment["Association"], "TransitGatewayRouteTableId")
        .or_else(|| {
            let naming = tables.iter().find(|table| {
                list(table, "Associations").iter().any(|it| {
                    it["TransitGatewayAttachmentId"] == attachment["TransitGatewayAttachmentId"]
                })
            })?;
            text(naming, "TransitGatewayRouteTableId")
        })
        .or_else(|| {
            let record = gateway_record(world, gateway)?;
            text(&record["Options"], "AssociationDefaultRouteTableId")
        })
        .or_else(|| {
            let default = tables.iter().find(|table| {
                table["TransitGatewayId"] == gateway
                    && table["DefaultAssociationRouteTable"] == true
            })?;
            text(default, "TransitGatewayRouteTableId")
        })
}

/// Whether the longest prefix of a table that holds `to` is active and leads to one of `theirs`.
fn leads_to(world: &World, table: &str, to: IpAddr, theirs: &[&Value]) -> bool {
    let stem = format!("search-transit-gateway-routes.{table}");
    let mut best: Option<(u32, u32, &Value)> = None;
    for route in rows(&world.json, &stem, "Routes") {
        let Some(cidr) = text(route, "DestinationCidrBlock") else {
            continue;
        };
        let net = Net::read(&cidr);
        if net.contains(to) {
            let rank = if route["Type"] == "propagated" { 0 } else { 1 };
            best = better(best, (net.len, rank, route));
        }
    }
    best.is_some_and(|(_, _, route)| {
        route["State"] == "active"
            && list(route, "TransitGatewayAttachments").iter().any(|it| {
                theirs.iter().any(|row| {
                    row["TransitGatewayAttachmentId"] == it["TransitGatewayAttachmentId"]
                })
            })
    })
}

/// The owners of the destination in the VPC to which the path leads.
///
/// A middlebox is an interface of the sender's own VPC. Behind a transit gateway whoever is attached comes first, then
/// whoever is in a VPC without any visible attachment: that one is UNKNOWN(tgw), not outside the model.
pub fn far_owners<'a>(world: &'a World, se: &Eni, path: &Path, to: IpAddr) -> Vec<&'a Eni> {
    let owners = world.owners(to);
    let within = |wanted: &dyn Fn(&str) -> bool| -> Vec<&Eni> {
        let mut found = owners.clone();
        found.retain(|eni| wanted(&eni.vpc));
        found
    };
    match path {
        Path::Peering { other, .. } => within(&|vpc| vpc == other),
        Path::Tgw(tgw) => {
            let attached = within(&|vpc| tgw.attached.iter().any(|it| it == vpc));
            if attached.is_empty() {
                within(&|vpc| !is_attached_anywhere(world, vpc))
            } else {
                attached
            }
        }
        _ => within(&|vpc| vpc == se.vpc),
    }
}

fn is_attached_anywhere(world: &World, vpc: &str) -> bool {
    all_attachments(world).iter().any(|row| row["VpcId"] == vpc)
}
