//! The network ACLs that replies pass: for a partial verdict, which source ports get an answer.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::{Vector, interfaces};

/// One list of a network ACL, for replies over TCP in one direction.
pub(crate) struct ReplyList<'a> {
    entries: Vec<&'a Value>,
    remote: IpAddr,
}

impl ReplyList<'_> {
    /// Whether the first entry that matches allows a reply to `port`.
    pub(crate) fn allows(&self, port: u16) -> bool {
        let matching = self.entries.iter().find(|entry| {
            let field = if self.remote.is_ipv4() {
                "CidrBlock"
            } else {
                "Ipv6CidrBlock"
            };
            let cidr: Option<ipnet::IpNet> =
                entry[field].as_str().and_then(|cidr| cidr.parse().ok());
            let bound = |end: &str| {
                entry["PortRange"][end]
                    .as_u64()
                    .map(|port| u16::try_from(port).unwrap())
            };
            let ports = bound("From").unwrap_or(0)..=bound("To").unwrap_or(u16::MAX);
            let protocol = entry["Protocol"].as_str().unwrap();
            cidr.is_some_and(|cidr| cidr.contains(&self.remote))
                && (protocol == "-1" || (protocol == "6" && ports.contains(&port)))
        });
        matching.is_some_and(|entry| entry["RuleAction"] == "allow")
    }
}

/// The lists that replies pass: out of the destination's subnet, into the source's.
pub(crate) fn reply_lists(vector: &Vector) -> [ReplyList<'_>; 2] {
    let (source, destination) = (vector.flow.source, vector.flow.destination);
    [(destination, true, source), (source, false, destination)].map(|(inside, egress, remote)| {
        let interface = interfaces(vector)
            .find(|interface| {
                let addresses = interface["PrivateIpAddresses"].as_array().unwrap();
                addresses
                    .iter()
                    .any(|entry| entry["PrivateIpAddress"] == inside.to_string())
            })
            .unwrap();
        let acls = vector.snapshot["describe-network-acls"]["NetworkAcls"]
            .as_array()
            .unwrap();
        let acl = acls
            .iter()
            .find(|acl| {
                let associations = acl["Associations"].as_array().unwrap();
                associations
                    .iter()
                    .any(|association| association["SubnetId"] == interface["SubnetId"])
            })
            .unwrap();
        let entries = acl["Entries"].as_array().unwrap().iter();
        let mut entries: Vec<&Value> = entries.filter(|entry| entry["Egress"] == egress).collect();
        entries.sort_by_key(|entry| entry["RuleNumber"].as_u64());
        ReplyList { entries, remote }
    })
}

/// Port 0 (the kernel's choice), and for a partial verdict both ends of the range and every edge inside it.
pub(crate) fn source_ports(vector: &Vector) -> Vec<u16> {
    if vector.expect.verdict != "partial" {
        return vec![0];
    }
    assert!(
        vector.expect.gate.starts_with("nacl-return"),
        "{} at {}",
        vector.expect.gate,
        vector.expect.at
    );
    let (first, last) = vector.flow.ephemeral_ports;
    let mut ports = BTreeSet::from([first, last]);
    for entry in reply_lists(vector)
        .iter()
        .flat_map(|list| list.entries.iter())
    {
        for (end, step) in [("From", -1), ("To", 1)] {
            if let Some(port) = entry["PortRange"][end].as_i64() {
                ports.extend(
                    [port, port + step]
                        .iter()
                        .filter_map(|port| u16::try_from(*port).ok()),
                );
            }
        }
    }
    ports
        .into_iter()
        .filter(|port| (first..=last).contains(port))
        .collect()
}
