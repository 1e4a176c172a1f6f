//! Back from the nouns to the words of a world file.

use std::fmt;
use std::ops::RangeInclusive;

use super::{AclAction, AclLine, Direction, IcmpRange, Peer, RouteTarget, Rule, Traffic};

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Traffic::All => write!(f, "all"),
            Traffic::Tcp(ports) => write_ports(f, "tcp", ports),
            Traffic::Udp(ports) => write_ports(f, "udp", ports),
            Traffic::Icmp(range) => write_icmp(f, "icmp", *range),
            Traffic::IcmpV6(range) => write_icmp(f, "icmpv6", *range),
            Traffic::Protocol(number) => write!(f, "protocol {number}"),
        }
    }
}

fn write_ports(
    f: &mut fmt::Formatter<'_>,
    protocol: &str,
    ports: &RangeInclusive<u16>,
) -> fmt::Result {
    match (*ports.start(), *ports.end()) {
        (0, u16::MAX) => write!(f, "{protocol}"),
        (first, last) if first == last => write!(f, "{protocol} {first}"),
        (first, last) => write!(f, "{protocol} {first}-{last}"),
    }
}

fn write_icmp(f: &mut fmt::Formatter<'_>, protocol: &str, range: IcmpRange) -> fmt::Result {
    match (range.kind, range.code) {
        (None, _) => write!(f, "{protocol}"),
        (Some(kind), None) => write!(f, "{protocol} {kind}"),
        (Some(kind), Some(code)) => write!(f, "{protocol} {kind}:{code}"),
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Cidr(cidr) => write!(f, "{cidr}"),
            Peer::Group(name) => write!(f, "{name}"),
            Peer::PrefixList(name) => write!(f, "list:{name}"),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        })
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        format!("{} {} {}", rule.traffic, rule.direction, rule.peer)
    }
}

impl From<AclLine> for String {
    fn from(line: AclLine) -> Self {
        let entry = match line {
            AclLine::Open => return "open".to_owned(),
            AclLine::Entry(entry) => entry,
        };
        let action = match entry.action {
            AclAction::Allow => "allow",
            AclAction::Deny => "deny",
        };
        format!(
            "{} {action} {} {} {}",
            entry.number, entry.traffic, entry.direction, entry.cidr
        )
    }
}

impl From<RouteTarget> for String {
    fn from(target: RouteTarget) -> Self {
        match target {
            RouteTarget::Peering(name) => format!("peering {name}"),
            RouteTarget::Nat => "nat".to_owned(),
            RouteTarget::Internet => "internet".to_owned(),
            RouteTarget::Blackhole => "blackhole".to_owned(),
        }
    }
}
