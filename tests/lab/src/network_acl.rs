//! The filter between a subnet and everything outside it: its network ACL, stateless and in order (B).

use ipnet::IpNet;

use crate::cloud::Cloud;
use crate::describe::{NetworkAcl, NetworkAclEntry, Subnet};
use crate::error::LabError;
use crate::nft::{peer, transport};
use crate::path::Direction;

/// Compiles the filter of `subnet`, whose interfaces `w…` lead to its wires and all others out of it.
///
/// What stays inside the subnet passes unfiltered (B.4). No rule looks at connection state, so the kernel keeps none
/// here. A subnet without an ACL is not filtered: it is outside what AWS documents.
///
/// # Errors
/// [`LabError::InvalidProtocol`].
pub(crate) fn filter(cloud: &Cloud, subnet: &Subnet) -> Result<String, LabError> {
    let Some(acl) = cloud.acl(subnet) else {
        return Ok(String::new());
    };
    let mut text = String::from("table inet subnet {\n  chain transit {\n");
    text.push_str("    type filter hook forward priority 0; policy drop;\n");
    text.push_str("    iifname \"w*\" oifname \"w*\" accept\n");
    text.push_str("    iifname \"w*\" goto outbound\n");
    text.push_str("    oifname \"w*\" goto inbound\n  }\n");
    for direction in [Direction::Egress, Direction::Ingress] {
        text.push_str(&chain(acl, direction)?);
    }
    text.push_str("}\n");
    Ok(text)
}

fn chain(acl: &NetworkAcl, direction: Direction) -> Result<String, LabError> {
    let name = match direction {
        Direction::Ingress => "inbound",
        Direction::Egress => "outbound",
    };
    let mut entries: Vec<&NetworkAclEntry> = acl
        .entries
        .iter()
        .filter(|entry| entry.egress == (direction == Direction::Egress))
        .collect();
    entries.sort_by_key(|entry| entry.rule_number);
    let mut text = format!("  chain {name} {{\n");
    for entry in entries {
        for rule in rules(acl, entry, direction)? {
            text.push_str(&format!("    {rule}\n"));
        }
    }
    text.push_str("    drop\n  }\n");
    Ok(text)
}

fn rules(
    acl: &NetworkAcl,
    entry: &NetworkAclEntry,
    direction: Direction,
) -> Result<Vec<String>, LabError> {
    let ports = entry.port_range.as_ref();
    let icmp = entry.icmp_type_code.as_ref();
    let bounds = match entry.protocol.as_str() {
        "1" | "58" | "icmp" | "icmpv6" => (
            icmp.and_then(|icmp| icmp.kind),
            icmp.and_then(|icmp| icmp.code),
        ),
        _ => (
            ports.and_then(|ports| ports.from).map(i32::from),
            ports.and_then(|ports| ports.to).map(i32::from),
        ),
    };
    let transport =
        transport(&entry.protocol, bounds).ok_or_else(|| LabError::InvalidProtocol {
            holder: acl.network_acl_id.clone(),
            protocol: entry.protocol.clone(),
        })?;
    let action = if entry.rule_action == "allow" {
        "accept"
    } else {
        "drop"
    };
    let networks: Vec<IpNet> = entry
        .cidr_block
        .map(IpNet::V4)
        .into_iter()
        .chain(entry.ipv6_cidr_block.map(IpNet::V6))
        .collect();
    Ok(peer(&networks, direction)
        .into_iter()
        .filter_map(|(family, side)| {
            let matching = transport.matching(family)?;
            Some(format!(
                "{side} {matching}{action} comment \"{}\"",
                entry.rule_number
            ))
        })
        .collect())
}
