//! The wire of one network interface: source/dest check and security groups, stateful (A).

use ipnet::IpNet;

use crate::cloud::Cloud;
use crate::describe::{IpPermission, NetworkInterface, SecurityGroup, UserIdGroupPair};
use crate::error::LabError;
use crate::exempt;
use crate::nft::{Family, elements, peer, set, transport};
use crate::path::{Direction, carries_references};

/// Compiles the filter of the wire of `interface`.
///
/// The wire has two ends: `host` and `net`. What passes needs a rule of any group that the interface carries;
/// replies need none (A.1, A.4). An interface without groups is not filtered: it is outside what AWS documents (A.5).
///
/// # Errors
/// [`LabError::InvalidProtocol`].
pub(crate) fn wire(cloud: &Cloud, interface: &NetworkInterface) -> Result<String, LabError> {
    let mut text = String::from("table inet wire {\n  chain transit {\n");
    text.push_str("    type filter hook forward priority 0; policy drop;\n");
    text.push_str("    iifname \"host\" oifname \"net\" jump egress\n");
    text.push_str("    iifname \"net\" oifname \"host\" jump ingress\n  }\n");
    for direction in [Direction::Egress, Direction::Ingress] {
        text.push_str(&chain(cloud, interface, direction)?);
    }
    text.push_str("}\n");
    Ok(text)
}

fn chain(
    cloud: &Cloud,
    interface: &NetworkInterface,
    direction: Direction,
) -> Result<String, LabError> {
    let (name, own) = match direction {
        Direction::Ingress => ("ingress", "daddr"),
        Direction::Egress => ("egress", "saddr"),
    };
    let mut lines = Vec::new();
    if interface.source_dest_check.unwrap_or(true) {
        lines.extend(ownership(interface, own));
    }
    if direction == Direction::Egress {
        lines.extend(exempt::accept(cloud, &interface.vpc_id));
    }
    lines.push("ct state established,related accept".to_owned());
    if interface.groups.is_empty() {
        lines.push("accept".to_owned());
    }
    for held in &interface.groups {
        if let Some(group) = cloud
            .groups
            .iter()
            .find(|group| group.group_id == held.group_id)
        {
            lines.extend(rules(cloud, (interface, group), direction)?);
        }
    }
    Ok(format!(
        "  chain {name} {{\n    {}\n  }}\n",
        lines.join("\n    ")
    ))
}

/// The interface must be source or destination of what passes; delegated prefixes count (A.6).
fn ownership(interface: &NetworkInterface, side: &str) -> Vec<String> {
    let networks = interface.networks();
    [(Family::Ipv4, "ip", "ipv4"), (Family::Ipv6, "ip6", "ipv6")]
        .into_iter()
        .map(
            |(family, word, whole)| match elements(&networks, family).as_slice() {
                [] => format!("meta nfproto {whole} drop"),
                own => format!("{word} {side} != {} drop", set(own)),
            },
        )
        .collect()
}

fn rules(
    cloud: &Cloud,
    (interface, group): (&NetworkInterface, &SecurityGroup),
    direction: Direction,
) -> Result<Vec<String>, LabError> {
    let permissions = match direction {
        Direction::Ingress => &group.ip_permissions,
        Direction::Egress => &group.ip_permissions_egress,
    };
    let mut lines = Vec::new();
    for permission in permissions {
        let transport = transport(
            &permission.ip_protocol,
            (permission.from_port, permission.to_port),
        )
        .ok_or_else(|| LabError::InvalidProtocol {
            holder: group.group_id.clone(),
            protocol: permission.ip_protocol.clone(),
        })?;
        for networks in peers(cloud, (interface, group), (permission, direction)) {
            for (family, side) in peer(&networks, direction) {
                if let Some(matching) = transport.matching(family) {
                    lines.push(format!(
                        "{side} {matching}accept comment \"{}\"",
                        comment(&group.group_id)
                    ));
                }
            }
        }
    }
    Ok(lines)
}

/// The remote sides of one permission: each list of networks becomes one rule a family.
fn peers(
    cloud: &Cloud,
    (interface, group): (&NetworkInterface, &SecurityGroup),
    (permission, direction): (&IpPermission, Direction),
) -> Vec<Vec<IpNet>> {
    let ipv4 = permission
        .ip_ranges
        .iter()
        .filter_map(|range| range.cidr_ip.map(IpNet::V4));
    let ipv6 = permission
        .ipv6_ranges
        .iter()
        .filter_map(|range| range.cidr_ipv6.map(IpNet::V6));
    let mut peers = vec![ipv4.chain(ipv6).collect()];
    let lists = &permission.prefix_list_ids;
    peers.extend(
        lists
            .iter()
            .filter_map(|list| cloud.prefix_lists.get(&list.prefix_list_id))
            .cloned(),
    );
    for pair in &permission.user_id_group_pairs {
        if !is_stale(cloud, group, (permission, pair), direction) {
            peers.push(members(cloud, interface, &pair.group_id, direction));
        }
    }
    peers
}

/// The addresses of the interfaces that carry `group` and that traffic reaches on a path that carries references.
fn members(
    cloud: &Cloud,
    interface: &NetworkInterface,
    group: &str,
    direction: Direction,
) -> Vec<IpNet> {
    let carriers = cloud
        .interfaces
        .iter()
        .filter(|carrier| carrier.groups.iter().any(|held| held.group_id == group));
    carriers
        .flat_map(|carrier| {
            carrier
                .networks()
                .into_iter()
                .map(move |network| (carrier, network))
        })
        .filter(|(carrier, network)| match direction {
            Direction::Egress => {
                carries_references(cloud, interface, (carrier, network.addr()), direction)
            }
            Direction::Ingress => own_address(interface, network)
                .is_some_and(|own| carries_references(cloud, carrier, (interface, own), direction)),
        })
        .map(|(_, network)| network)
        .collect()
}

fn own_address(interface: &NetworkInterface, other: &IpNet) -> Option<std::net::IpAddr> {
    let same_family = |network: &IpNet| network.addr().is_ipv4() == other.addr().is_ipv4();
    interface
        .networks()
        .into_iter()
        .find(same_family)
        .map(|network| network.addr())
}

/// Whether a reference leads to something gone: listed as stale, or over a peering that is known and not active (A.3).
fn is_stale(
    cloud: &Cloud,
    group: &SecurityGroup,
    (permission, pair): (&IpPermission, &UserIdGroupPair),
    direction: Direction,
) -> bool {
    let listed = cloud
        .stale
        .iter()
        .filter(|stale| stale.group_id == group.group_id)
        .any(|stale| {
            let permissions = match direction {
                Direction::Ingress => &stale.stale_ip_permissions,
                Direction::Egress => &stale.stale_ip_permissions_egress,
            };
            permissions.iter().any(|other| {
                same_traffic(permission, other)
                    && other
                        .user_id_group_pairs
                        .iter()
                        .any(|listed| listed.group_id == pair.group_id)
            })
        });
    let gone = |status: &str| !matches!(status, "active" | "provisioning" | "pending-acceptance");
    let peering = cloud.peerings.iter().find(|peering| {
        pair.vpc_peering_connection_id.as_ref() == Some(&peering.vpc_peering_connection_id)
    });
    let inactive = peering.is_some_and(|peering| {
        peering
            .status
            .as_ref()
            .is_some_and(|status| status.code != "active")
    });
    let undescribed = !cloud
        .groups
        .iter()
        .any(|described| described.group_id == pair.group_id);
    listed
        || inactive
        || pair.peering_status.as_deref().is_some_and(gone)
        || (pair.user_id.is_none() && undescribed)
}

fn same_traffic(left: &IpPermission, right: &IpPermission) -> bool {
    let read = |permission: &IpPermission| {
        transport(
            &permission.ip_protocol,
            (permission.from_port, permission.to_port),
        )
    };
    read(left) == read(right)
}

/// An id as a comment: nftables takes 128 bytes and no quotes.
fn comment(id: &str) -> String {
    id.chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
        .take(60)
        .collect()
}
