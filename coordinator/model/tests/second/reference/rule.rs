//! Security group rules and network ACL entries.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::net::Net;
use super::path::{Path, references_cross};
use super::walk::Packet;
use super::world::{Eni, World, list, rows, text};

pub struct Group {
    pub ingress: Vec<Rule>,
    pub egress: Vec<Rule>,
}

pub struct Rule {
    pub id: String,
    protocol: String,
    from: i64,
    to: i64,
    peer: Peer,
}

enum Peer {
    Cidr(Net),
    List(String),
    Group {
        id: String,
        account: Option<String>,
        stale: bool,
    },
}

/// What a security group layer says.
pub enum Said {
    Allow(String),
    Deny,
    NoGroups,
    Unresolved(Vec<String>),
}

/// `tcp`, `udp`, `icmp`, `icmpv6` for their numbers, anything else as it is.
fn protocol_name(text: &str) -> String {
    match text {
        "6" => "tcp",
        "17" => "udp",
        "1" => "icmp",
        "58" => "icmpv6",
        other => other,
    }
    .to_owned()
}

/// Protocol and ports, comparable: absent ports are -1, and those of `-1` are ignored.
fn traffic(value: &Value) -> (String, i64, i64) {
    let protocol = protocol_name(&text(value, "IpProtocol").unwrap());
    if protocol == "-1" {
        return (protocol, -1, -1);
    }
    let port = |key: &str| value.get(key).and_then(Value::as_i64).unwrap_or(-1);
    (protocol, port("FromPort"), port("ToPort"))
}

pub fn groups(world: &World) -> BTreeMap<String, Group> {
    rows(&world.json, "describe-security-groups", "SecurityGroups")
        .iter()
        .map(|value| {
            let id = text(value, "GroupId").unwrap();
            let group = Group {
                ingress: rules(world, &id, value, false),
                egress: rules(world, &id, value, true),
            };
            (id, group)
        })
        .collect()
}

fn rules(world: &World, group: &str, value: &Value, egress: bool) -> Vec<Rule> {
    let key = if egress {
        "IpPermissionsEgress"
    } else {
        "IpPermissions"
    };
    let mut rules = Vec::new();
    for permission in list(value, key) {
        let (protocol, from, to) = traffic(permission);
        for (set, field) in [
            ("IpRanges", "CidrIp"),
            ("Ipv6Ranges", "CidrIpv6"),
            ("PrefixListIds", "PrefixListId"),
            ("UserIdGroupPairs", "GroupId"),
        ] {
            for item in list(permission, set) {
                let named = text(item, field).unwrap();
                let peer = match set {
                    "PrefixListIds" => Peer::List(named.clone()),
                    "UserIdGroupPairs" => Peer::Group {
                        id: named.clone(),
                        account: text(item, "UserId"),
                        stale: stale(world, (group, egress), permission, item),
                    },
                    _ => Peer::Cidr(Net::read(&named)),
                };
                let place = rules.len();
                rules.push(Rule {
                    id: rule_id(world, (group, egress), permission, &named, place),
                    protocol: protocol.clone(),
                    from,
                    to,
                    peer,
                });
            }
        }
    }
    rules
}

/// The `sgr-` id of the rule with the same group, direction, protocol, ports and peer, else the group and place.
fn rule_id(
    world: &World,
    (group, egress): (&str, bool),
    permission: &Value,
    peer: &str,
    place: usize,
) -> String {
    let peer_of = |row: &Value| {
        ["CidrIpv4", "CidrIpv6", "PrefixListId"]
            .iter()
            .find_map(|key| text(row, key))
            .or_else(|| text(&row["ReferencedGroupInfo"], "GroupId"))
    };
    let same_peer = |row: &Value| match peer_of(row) {
        Some(found) if found.contains('/') && peer.contains('/') => {
            Net::read(&found) == Net::read(peer)
        }
        found => found.as_deref() == Some(peer),
    };
    rows(
        &world.json,
        "describe-security-group-rules",
        "SecurityGroupRules",
    )
    .iter()
    .find(|row| {
        row["GroupId"] == group
            && row["IsEgress"] == egress
            && traffic(row) == traffic(permission)
            && same_peer(row)
    })
    .and_then(|row| text(row, "SecurityGroupRuleId"))
    .unwrap_or_else(|| format!("{group}.{}[{place}]", if egress { "out" } else { "in" }))
}

/// Listed as stale, or over a peering that is known and not active, or marked as deleted or the like.
fn stale(world: &World, (group, egress): (&str, bool), permission: &Value, pair: &Value) -> bool {
    let key = if egress {
        "StaleIpPermissionsEgress"
    } else {
        "StaleIpPermissions"
    };
    let listed = rows(
        &world.json,
        "describe-stale-security-groups",
        "StaleSecurityGroupSet",
    )
    .iter()
    .filter(|row| row["GroupId"] == group)
    .flat_map(|row| list(row, key))
    .any(|row| {
        traffic(row) == traffic(permission)
            && list(row, "UserIdGroupPairs")
                .iter()
                .any(|it| it["GroupId"] == pair["GroupId"])
    });
    let peering = pair.get("VpcPeeringConnectionId");
    let gone = peering.is_some()
        && rows(
            &world.json,
            "describe-vpc-peering-connections",
            "VpcPeeringConnections",
        )
        .iter()
        .any(|row| {
            row.get("VpcPeeringConnectionId") == peering && row["Status"]["Code"] != "active"
        });
    let word = text(pair, "PeeringStatus");
    let dead = ["deleted", "deleting", "rejected", "failed", "expired"];
    listed || gone || word.is_some_and(|word| dead.contains(&word.as_str()))
}

/// `SG(eni, dir, peer, path)` of section K.
pub fn security_groups(
    world: &World,
    (eni, egress): (&Eni, bool),
    packet: &Packet,
    peer: IpAddr,
    path: &Path,
) -> Said {
    if eni.groups.is_empty() {
        return Said::NoGroups;
    }
    let mut allowing = Vec::new();
    let mut unsure = Vec::new();
    for id in &eni.groups {
        let Some(group) = world.groups.get(id) else {
            unsure.push(id.clone());
            continue;
        };
        for rule in if egress {
            &group.egress
        } else {
            &group.ingress
        } {
            if !covers(rule, packet) {
                continue;
            }
            match peer_matches(world, &rule.peer, egress, peer, path) {
                Some(true) => allowing.push(rule.id.clone()),
                Some(false) => {}
                None => unsure.push(rule.id.clone()),
            }
        }
    }
    unsure.sort();
    unsure.dedup();
    match allowing.into_iter().min() {
        Some(rule) => Said::Allow(rule),
        None if unsure.is_empty() => Said::Deny,
        None => Said::Unresolved(unsure),
    }
}

/// Protocol and ports of a rule against a packet (A.2).
fn covers(rule: &Rule, packet: &Packet) -> bool {
    if rule.protocol == "-1" {
        return true;
    }
    if rule.protocol != protocol_name(&packet.protocol.to_string()) {
        return false;
    }
    match rule.protocol.as_str() {
        "tcp" | "udp" => {
            (rule.from == -1 && rule.to == -1)
                || (rule.from..=rule.to).contains(&i64::from(packet.port))
        }
        "icmp" | "icmpv6" => {
            (rule.from == -1 || rule.from == i64::from(packet.icmp_type))
                && (rule.from == -1 || rule.to == -1 || rule.to == i64::from(packet.icmp_code))
        }
        _ => true,
    }
}

/// Three values: absent where nobody can tell.
fn peer_matches(
    world: &World,
    peer: &Peer,
    egress: bool,
    address: IpAddr,
    path: &Path,
) -> Option<bool> {
    match peer {
        Peer::Cidr(net) => Some(net.contains(address)),
        Peer::List(id) => {
            let nets = world.lists.get(id)?;
            Some(nets.iter().any(|net| net.contains(address)))
        }
        Peer::Group { stale: true, .. } => Some(false),
        Peer::Group { id, account, .. } => {
            let is_member = world
                .owners(address)
                .iter()
                .any(|eni| eni.groups.contains(id));
            let visible = world.groups.contains_key(id) || world.carried.contains(id);
            let foreign = account
                .as_ref()
                .is_some_and(|account| !world.accounts.contains(account));
            if !visible && !foreign {
                return Some(false);
            }
            match references_cross(path, egress) {
                // Nobody can tell where the packet goes; who is no member is none anywhere.
                None if *path == Path::Unread && visible && !is_member => Some(false),
                Some(true) if visible => Some(is_member),
                Some(true) | None => None,
                Some(false) => Some(false),
            }
        }
    }
}

/// A network ACL.
pub struct Acl {
    pub id: String,
    pub vpc: String,
    pub is_default: bool,
    pub subnets: Vec<String>,
    entries: Vec<Entry>,
}

struct Entry {
    number: u64,
    egress: bool,
    allow: bool,
    protocol: String,
    net: Net,
    ports: Option<(u16, u16)>,
    icmp: Option<(i64, i64)>,
}

impl Acl {
    pub fn read(value: &Value) -> Self {
        let mut entries: Vec<Entry> = list(value, "Entries").iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.number);
        Self {
            id: text(value, "NetworkAclId").unwrap(),
            vpc: text(value, "VpcId").unwrap(),
            is_default: value["IsDefault"] == true,
            subnets: super::world::texts(value, "Associations", "SubnetId"),
            entries,
        }
    }

    /// Verdict and the number of the entry that decides (section B).
    pub fn judge(&self, egress: bool, packet: &Packet, remote: IpAddr) -> (bool, u64) {
        let found = self.entries.iter().find(|entry| {
            entry.egress == egress && entry.net.contains(remote) && entry_covers(entry, packet)
        });
        match found {
            Some(entry) => (entry.allow, entry.number),
            None => (false, if remote.is_ipv4() { 32767 } else { 32768 }),
        }
    }

    /// Ports of a range at which some entry begins or has ended: between two of them nothing changes.
    pub fn turns(&self, (first, last): (u16, u16)) -> Vec<u16> {
        let mut ports = vec![first];
        for (from, to) in self.entries.iter().filter_map(|entry| entry.ports) {
            ports.push(from);
            ports.extend(to.checked_add(1));
        }
        ports.retain(|port| (first..=last).contains(port));
        ports
    }
}

fn entry(value: &Value) -> Entry {
    let port = |key: &str| {
        let number = value["PortRange"][key].as_u64()?;
        u16::try_from(number).ok()
    };
    let icmp = |key: &str| value["IcmpTypeCode"][key].as_i64();
    let cidr = text(value, "CidrBlock").or_else(|| text(value, "Ipv6CidrBlock"));
    Entry {
        number: value["RuleNumber"].as_u64().unwrap(),
        egress: value["Egress"] == true,
        allow: value["RuleAction"] == "allow",
        protocol: text(value, "Protocol").unwrap(),
        net: Net::read(&cidr.unwrap()),
        ports: port("From").zip(port("To")),
        icmp: icmp("Type").map(|kind| (kind, icmp("Code").unwrap_or(-1))),
    }
}

fn entry_covers(entry: &Entry, packet: &Packet) -> bool {
    if entry.protocol == "-1" {
        return true;
    }
    if entry.protocol != packet.protocol.to_string() {
        return false;
    }
    match entry.protocol.as_str() {
        "6" | "17" => entry
            .ports
            .is_none_or(|(from, to)| (from..=to).contains(&packet.port)),
        // 58 with an IPv4 CIDR is every type; it cannot meet an IPv6 packet.
        "1" | "58" => entry.icmp.is_none_or(|(kind, code)| {
            kind == -1
                || (kind == i64::from(packet.icmp_type)
                    && (code == -1 || code == i64::from(packet.icmp_code)))
        }),
        _ => true,
    }
}
