//! Security groups, prefix lists and network ACLs of a random world.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use reachproof_lab::world::notation::{
    AclAction, AclEntry, AclLine, Direction, IcmpRange, Peer, Rule, Traffic,
};
use reachproof_lab::world::{Acl, SecurityGroup, World};

use super::{Draw, Features, cidr};

/// Ports that rules and flows meet at.
pub(super) const PORTS: [u16; 8] = [53, 443, 1024, 1025, 8080, 9443, 10250, 30000];

/// Groups of the main VPC beside the cluster group.
pub(super) const MAIN_GROUPS: [&str; 4] = ["extra", "node", "pods", "other"];

/// Groups of the peered VPC.
pub(super) const FAR_GROUPS: [&str; 2] = ["far-a", "far-b"];

/// Adds prefix lists, groups and ACLs to a world that has its VPCs.
pub(super) fn add_groups(world: &mut World, features: &Features, draw: &mut Draw) {
    let cidrs = vec![
        cidr(Ipv4Addr::new(10, 0, 1, 0).into(), 24),
        cidr(Ipv4Addr::new(10, 1, 1, 16).into(), 28),
    ];
    world.prefix_lists.insert("offices".to_owned(), cidrs);
    let everyone = known_groups(features);
    let mut add = |name: &str, vpc: &str, draw: &mut Draw| {
        let group = security_group(vpc, &everyone, features, draw);
        world.security_groups.insert(name.to_owned(), group);
    };
    for name in MAIN_GROUPS {
        add(name, "main", draw);
    }
    add("cluster", "main", draw);
    if features.peered {
        for name in FAR_GROUPS {
            add(name, "far", draw);
        }
    }
    // Most clusters keep the rules that EKS makes [D.2].
    if draw.chance(60)
        && let Some(group) = world.security_groups.get_mut("cluster")
    {
        group.ingress = vec![rule(
            Direction::Ingress,
            Traffic::All,
            Peer::Group("cluster".to_owned()),
        )];
        group.egress = vec![
            rule(Direction::Egress, Traffic::All, Peer::Cidr(everywhere_v4())),
            rule(
                Direction::Egress,
                Traffic::All,
                Peer::Group("cluster".to_owned()),
            ),
        ];
    }
    add_acls(world, features, draw);
}

/// Groups that a rule may name: those of the main VPC, and over the peering those of the other.
fn known_groups(features: &Features) -> Vec<&'static str> {
    let mut names = vec!["cluster"];
    names.extend(MAIN_GROUPS);
    if features.peered {
        names.extend(FAR_GROUPS);
    }
    names
}

fn security_group(
    vpc: &str,
    known: &[&str],
    features: &Features,
    draw: &mut Draw,
) -> SecurityGroup {
    let mut group = SecurityGroup {
        vpc: Some(vpc.to_owned()),
        ingress: Vec::new(),
        egress: Vec::new(),
    };
    for _ in 0..draw.number(1..5) {
        add_rule(&mut group.ingress, Direction::Ingress, known, draw);
    }
    // What a group stops, no network ACL gets to see.
    if features.half_open_acls && draw.chance(60) {
        let everything = rule(
            Direction::Ingress,
            Traffic::Tcp(0..=u16::MAX),
            v4_peer(0, 0, 16),
        );
        if !group.ingress.contains(&everything) {
            group.ingress.push(everything);
        }
    }
    if draw.chance(60) {
        group.egress.push(rule(
            Direction::Egress,
            Traffic::All,
            Peer::Cidr(everywhere_v4()),
        ));
        if features.dual_stack && draw.chance(60) {
            group.egress.push(rule(
                Direction::Egress,
                Traffic::All,
                Peer::Cidr(everywhere_v6()),
            ));
        }
    } else {
        for _ in 0..draw.number(1..4) {
            add_rule(&mut group.egress, Direction::Egress, known, draw);
        }
    }
    group
}

/// Adds a rule unless the group has it already, which the API would refuse.
fn add_rule(rules: &mut Vec<Rule>, direction: Direction, known: &[&str], draw: &mut Draw) {
    let new = rule(direction, traffic(draw), peer(known, draw));
    if !rules.contains(&new) {
        rules.push(new);
    }
}

fn rule(direction: Direction, traffic: Traffic, peer: Peer) -> Rule {
    Rule {
        direction,
        traffic,
        peer,
    }
}

fn traffic(draw: &mut Draw) -> Traffic {
    let port = draw.pick(&PORTS).copied().unwrap_or(443);
    match draw.number(0..20) {
        0..4 => Traffic::All,
        4..8 => Traffic::tcp(port),
        8..11 => Traffic::Tcp(port..=port.saturating_add(1000)),
        11..14 => Traffic::Tcp(1025..=u16::MAX),
        14 => Traffic::Tcp(0..=u16::MAX),
        15 => Traffic::Udp(port..=port),
        16 => Traffic::Udp(0..=u16::MAX),
        17 => Traffic::Icmp(IcmpRange {
            kind: Some(8),
            code: None,
        }),
        18 => Traffic::Icmp(IcmpRange {
            kind: None,
            code: None,
        }),
        _ => Traffic::IcmpV6(IcmpRange {
            kind: None,
            code: None,
        }),
    }
}

fn peer(known: &[&str], draw: &mut Draw) -> Peer {
    match draw.number(0..20) {
        0..3 => Peer::Cidr(everywhere_v4()),
        3 => Peer::Cidr(everywhere_v6()),
        4..8 => v4_peer(0, 0, 16),
        8 => v4_peer(0, 1, 24),
        9 => v4_peer(0, 2, 25),
        10 => v4_peer(1, 0, 16),
        11 => Peer::Cidr(cidr(super::v6(0, 0, 0), 56)),
        12 => Peer::PrefixList("offices".to_owned()),
        _ => Peer::Group(
            draw.pick(known)
                .map_or_else(String::new, |name| (*name).to_owned()),
        ),
    }
}

/// Addresses of `10.SECOND.THIRD.0/LENGTH`.
fn v4_peer(second: u8, third: u8, length: u8) -> Peer {
    Peer::Cidr(cidr(Ipv4Addr::new(10, second, third, 0).into(), length))
}

/// Gives some subnets a list of their own.
fn add_acls(world: &mut World, features: &Features, draw: &mut Draw) {
    let chance = if features.half_open_acls { 60 } else { 35 };
    let mut named = Vec::new();
    for (name, subnet) in world
        .vpcs
        .values_mut()
        .flat_map(|vpc| vpc.subnets.iter_mut())
    {
        if draw.chance(chance) {
            subnet.acl = Some(name.clone());
            named.push(name.clone());
        }
    }
    for name in named {
        let ingress = entries(Direction::Ingress, features, draw);
        let egress = entries(Direction::Egress, features, draw);
        world.acls.insert(name, Acl { ingress, egress });
    }
}

/// A list of one direction: perhaps a deny first, then allows; replies pass all, half or not at all.
fn entries(direction: Direction, features: &Features, draw: &mut Draw) -> Vec<AclLine> {
    let mut lines = Vec::new();
    if draw.chance(40) {
        let port = draw.pick(&PORTS).copied().unwrap_or(443);
        let place = draw.number(0..4);
        let third = u8::try_from(place).unwrap_or(0);
        let from = cidr(Ipv4Addr::new(10, 0, third, 0).into(), 24);
        lines.push(entry(
            90,
            AclAction::Deny,
            direction,
            Traffic::tcp(port),
            from,
        ));
    }
    if draw.chance(40) {
        lines.push(AclLine::Open);
        return lines;
    }
    let replies = match draw.number(0..6) {
        0..3 if features.half_open_acls => Some(32768..=50000),
        3 | 4 if features.half_open_acls => Some(46001..=60999),
        0..5 => Some(1024..=u16::MAX),
        _ => None,
    };
    let both = [everywhere_v4(), everywhere_v6()];
    for (step, cidr) in (0..).zip(both) {
        lines.push(entry(
            110 + step,
            AclAction::Allow,
            direction,
            Traffic::Tcp(0..=1023),
            cidr,
        ));
        if let Some(ports) = &replies {
            let traffic = Traffic::Tcp(ports.clone());
            lines.push(entry(
                120 + step,
                AclAction::Allow,
                direction,
                traffic,
                cidr,
            ));
        }
        // Without replies but with these, the ports that the CNI chooses after SNAT would be half open.
        if replies.is_some() || features.half_open_acls {
            lines.push(entry(
                130 + step,
                AclAction::Allow,
                direction,
                Traffic::Tcp(1024..=32767),
                cidr,
            ));
        }
    }
    lines
}

fn entry(
    number: u16,
    action: AclAction,
    direction: Direction,
    traffic: Traffic,
    cidr: IpNet,
) -> AclLine {
    AclLine::Entry(AclEntry {
        number,
        action,
        direction,
        traffic,
        cidr,
    })
}

fn everywhere_v4() -> IpNet {
    cidr(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)
}

fn everywhere_v6() -> IpNet {
    cidr(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)
}
