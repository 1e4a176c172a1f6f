//! The compact words of a world file: rules, network ACL entries, route targets.
//!
//! * a security group rule: `TRAFFIC from PEER` (ingress) or `TRAFFIC to PEER` (egress)
//! * a network ACL entry: `NUMBER allow|deny TRAFFIC from|to CIDR`, or `open` for "allow everything"
//! * TRAFFIC: `all`, `tcp`, `tcp 443`, `tcp 1025-65535`, `udp 53`, `icmp`, `icmp 8`, `icmp 3:4`, `icmpv6 128`,
//!   `protocol 47`
//! * PEER: a CIDR, the name of a security group, or `list:NAME` for a prefix list
//! * a route target: `peering NAME`, `nat`, `internet` or `blackhole`

#[cfg(test)]
mod tests;

mod display;

use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Numbers that an entry of a network ACL may have; the closing `*` entries are not written [B.2].
const ENTRY_NUMBERS: RangeInclusive<u16> = 1..=32766;

/// Which way a rule or an entry looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Written `from PEER`.
    Ingress,
    /// Written `to PEER`.
    Egress,
}

/// What a rule lets through, without the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Traffic {
    /// Every protocol and port (`-1`).
    All,
    /// TCP to these ports, both ends inclusive.
    Tcp(RangeInclusive<u16>),
    /// UDP to these ports, both ends inclusive.
    Udp(RangeInclusive<u16>),
    /// ICMP for IPv4: one type and code, `None` for all of them.
    Icmp(IcmpRange),
    /// ICMP for IPv6.
    IcmpV6(IcmpRange),
    /// Another protocol, by number. Security groups let all ports of it through [A.2].
    Protocol(u8),
}

/// Type and code of an ICMP rule; what is absent matches all [A.2].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpRange {
    /// ICMP type, `None` for every type.
    pub kind: Option<u8>,
    /// ICMP code, `None` for every code of the type.
    pub code: Option<u8>,
}

/// The other side of a security group rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Addresses of one family.
    Cidr(IpNet),
    /// Every interface that carries the group of this name (A.3).
    Group(String),
    /// The entries of the prefix list of this name.
    PrefixList(String),
}

/// A security group rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    /// Given by the word before the peer.
    pub direction: Direction,
    /// What the rule lets through.
    pub traffic: Traffic,
    /// Where to or where from.
    pub peer: Peer,
}

/// One line of a network ACL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum AclLine {
    /// Allows everything in both families: entries 100 and 101.
    Open,
    /// One entry.
    Entry(AclEntry),
}

/// One entry of a network ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclEntry {
    /// Place in the order, 1 to 32766, unique in its list.
    pub number: u16,
    /// What the entry says.
    pub action: AclAction,
    /// Given by the word before the CIDR.
    pub direction: Direction,
    /// What the entry is about.
    pub traffic: Traffic,
    /// Remote side.
    pub cidr: IpNet,
}

/// What an entry of a network ACL says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclAction {
    /// Lets the packet pass.
    Allow,
    /// Drops it silently.
    Deny,
}

/// Where a route leads. `local` routes are not written: every table has them (C.3).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum RouteTarget {
    /// A peering of this name.
    Peering(String),
    /// A NAT gateway, beyond which nothing is built.
    Nat,
    /// An internet gateway, beyond which nothing is built.
    Internet,
    /// A target that is gone: state `blackhole` (C.5).
    Blackhole,
}

/// A text that is not in the notation of world files.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidNotation {
    /// Neither `all` nor a protocol.
    #[error(
        "`{0}` is not traffic: write `all`, `tcp 443`, `tcp 1-1023`, `udp 53`, `icmp 8`, `icmpv6 128` or `protocol 47`"
    )]
    Traffic(String),
    /// Neither `TRAFFIC from PEER` nor `TRAFFIC to PEER`.
    #[error(
        "`{0}` is not a rule: write `TRAFFIC from PEER` (ingress) or `TRAFFIC to PEER` (egress)"
    )]
    Rule(String),
    /// A peer that is neither CIDR nor name.
    #[error("`{0}` is not a peer: write a CIDR, the name of a security group or `list:NAME`")]
    Peer(String),
    /// Not an entry of a network ACL.
    #[error(
        "`{0}` is not an entry: write `NUMBER allow|deny TRAFFIC from|to CIDR` (number 1 to 32766) or `open`"
    )]
    Entry(String),
    /// Not a route target.
    #[error("`{0}` is not a route target: write `peering NAME`, `nat`, `internet` or `blackhole`")]
    Target(String),
}

impl Traffic {
    /// TCP to one port.
    #[must_use]
    pub fn tcp(port: u16) -> Self {
        Traffic::Tcp(port..=port)
    }
}

impl FromStr for Traffic {
    type Err = InvalidNotation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidNotation::Traffic(text.to_owned());
        let mut words = text.split_whitespace();
        let protocol = words.next().ok_or_else(invalid)?;
        let detail = words.next();
        if words.next().is_some() {
            return Err(invalid());
        }
        match (protocol, detail) {
            ("all", None) => Ok(Traffic::All),
            ("tcp", ports) => Ok(Traffic::Tcp(parse_ports(ports).ok_or_else(invalid)?)),
            ("udp", ports) => Ok(Traffic::Udp(parse_ports(ports).ok_or_else(invalid)?)),
            ("icmp", range) => Ok(Traffic::Icmp(parse_icmp(range).ok_or_else(invalid)?)),
            ("icmpv6", range) => Ok(Traffic::IcmpV6(parse_icmp(range).ok_or_else(invalid)?)),
            ("protocol", Some(number)) => {
                number.parse().map(Traffic::Protocol).map_err(|_| invalid())
            }
            _ => Err(invalid()),
        }
    }
}

fn parse_ports(text: Option<&str>) -> Option<RangeInclusive<u16>> {
    let Some(text) = text else {
        return Some(0..=u16::MAX);
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}

fn parse_icmp(text: Option<&str>) -> Option<IcmpRange> {
    let Some(text) = text else {
        return Some(IcmpRange {
            kind: None,
            code: None,
        });
    };
    let (kind, code) = match text.split_once(':') {
        Some((kind, code)) => (kind, Some(code.parse().ok()?)),
        None => (text, None),
    };
    Some(IcmpRange {
        kind: Some(kind.parse().ok()?),
        code,
    })
}

impl FromStr for Peer {
    type Err = InvalidNotation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidNotation::Peer(text.to_owned());
        if text.contains('/') {
            return text.parse().map(Peer::Cidr).map_err(|_| invalid());
        }
        match text.strip_prefix("list:") {
            Some(list) if is_name(list) => Ok(Peer::PrefixList(list.to_owned())),
            None if is_name(text) => Ok(Peer::Group(text.to_owned())),
            Some(_) | None => Err(invalid()),
        }
    }
}

/// Tells whether `text` can name a thing of a world: 1 to 40 lower-case letters, digits and hyphens, no hyphen at an end.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Splits `TRAFFIC from PEER` at the word that gives the direction.
fn split_direction(text: &str) -> Option<(&str, Direction, &str)> {
    let ingress = text
        .split_once(" from ")
        .map(|(left, right)| (left, Direction::Ingress, right));
    ingress.or_else(|| {
        text.split_once(" to ")
            .map(|(left, right)| (left, Direction::Egress, right))
    })
}

impl TryFrom<String> for Rule {
    type Error = InvalidNotation;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (traffic, direction, peer) =
            split_direction(&text).ok_or_else(|| InvalidNotation::Rule(text.clone()))?;
        Ok(Rule {
            direction,
            traffic: traffic.parse()?,
            peer: peer.trim().parse()?,
        })
    }
}

impl TryFrom<String> for AclLine {
    type Error = InvalidNotation;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "open" {
            return Ok(AclLine::Open);
        }
        let invalid = || InvalidNotation::Entry(text.clone());
        let (left, direction, cidr) = split_direction(&text).ok_or_else(invalid)?;
        let (number, left) = left.split_once(' ').ok_or_else(invalid)?;
        let (action, traffic) = left.trim().split_once(' ').ok_or_else(invalid)?;
        let number = number.parse().map_err(|_| invalid())?;
        if !ENTRY_NUMBERS.contains(&number) {
            return Err(invalid());
        }
        let action = match action {
            "allow" => AclAction::Allow,
            "deny" => AclAction::Deny,
            _ => return Err(invalid()),
        };
        let cidr = cidr.trim().parse().map_err(|_| invalid())?;
        Ok(AclLine::Entry(AclEntry {
            number,
            action,
            direction,
            traffic: traffic.parse()?,
            cidr,
        }))
    }
}

impl TryFrom<String> for RouteTarget {
    type Error = InvalidNotation;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once(' ') {
            Some(("peering", name)) if is_name(name) => Ok(RouteTarget::Peering(name.to_owned())),
            None if text == "nat" => Ok(RouteTarget::Nat),
            None if text == "internet" => Ok(RouteTarget::Internet),
            None if text == "blackhole" => Ok(RouteTarget::Blackhole),
            Some(_) | None => Err(InvalidNotation::Target(text)),
        }
    }
}
