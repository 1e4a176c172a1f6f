//! The walk of section K, line by line.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::net::Net;
use super::path::{Path, far_owners, route, tgw_delivers};
use super::policy::{denied_by_default, selected, unknown_pod};
use super::rule::{Acl, Said, security_groups};
use super::world::{Eni, Subnet, World, text};

/// An answer: `expect` of the vectors.
pub type Answer = Value;

/// Addresses that no security group and no ACL filters (A.5).
const EXEMPT: [&str; 7] = [
    "169.254.169.254",
    "169.254.169.253",
    "169.254.169.123",
    "169.254.170.2",
    "fd00:ec2::254",
    "fd00:ec2::253",
    "fd00:ec2::123",
];

/// What a rule looks at.
#[derive(Clone, Copy)]
pub struct Packet {
    pub protocol: u8,
    pub port: u16,
    pub icmp_type: u8,
    pub icmp_code: u8,
}

/// One flow.
pub struct Question {
    source: IpAddr,
    destination: IpAddr,
    packet: Packet,
    pod: bool,
    ephemeral: (u16, u16),
    interface: Option<String>,
}

impl Question {
    pub fn read(flow: &Value) -> Self {
        let number = |value: &Value, default: u64| value.as_u64().unwrap_or(default);
        let source: IpAddr = text(flow, "source").unwrap().parse().unwrap();
        let protocol = match flow["protocol"].as_str() {
            Some("tcp") => 6,
            Some("udp") => 17,
            Some("icmp") => 1,
            Some("icmpv6") => 58,
            Some(digits) => digits.parse().unwrap(),
            None => number(&flow["protocol"], 6),
        };
        let echo = if protocol == 58 { 128 } else { 8 };
        let port = |value: &Value, default: u64| u16::try_from(number(value, default)).unwrap();
        Self {
            source,
            destination: text(flow, "destination").unwrap().parse().unwrap(),
            packet: Packet {
                protocol: u8::try_from(protocol).unwrap(),
                port: port(&flow["port"], 0),
                icmp_type: u8::try_from(number(&flow["icmp_type"], echo)).unwrap(),
                icmp_code: u8::try_from(number(&flow["icmp_code"], 0)).unwrap(),
            },
            pod: flow["source_kind"] == "pod",
            ephemeral: (
                port(&flow["ephemeral_ports"][0], 32768),
                port(&flow["ephemeral_ports"][1], 60999),
            ),
            interface: text(flow, "source_interface"),
        }
    }
}

fn deny(gate: &str, reason: &str) -> Answer {
    json!({"verdict": "deny", "gate": gate, "reason": reason})
}

fn deny_at(gate: &str, eni: &Eni) -> Answer {
    json!({"verdict": "deny", "gate": gate, "at": eni.id})
}

fn unknown(reason: &str) -> Answer {
    json!({"verdict": "unknown", "reason": reason})
}

/// The interfaces that may emit.
fn source_enis<'a>(world: &'a World, question: &Question) -> Vec<&'a Eni> {
    if let Some(id) = &question.interface {
        return world.eni(id).into_iter().collect();
    }
    let all = world.owners(question.source);
    let preferred: Vec<&Eni> = all
        .iter()
        .copied()
        .filter(|eni| Some(&eni.vpc) == world.cluster_vpc.as_ref())
        .collect();
    if preferred.is_empty() { all } else { preferred }
}

/// Answers one flow.
pub fn answer(world: &World, question: &Question) -> Answer {
    let (src, dst) = (question.source, question.destination);
    if EXEMPT.iter().any(|it| it.parse::<IpAddr>().unwrap() == dst) {
        return json!({"verdict": "exempt", "reason": "link-local"});
    }
    let emitting = source_enis(world, question);
    if let Some(se) = emitting.first()
        && emitting.iter().all(|other| other.vpc == se.vpc)
        && let Some(primary) = world.vpc(&se.vpc).and_then(|vpc| vpc.primary)
        && primary.nth(2) == dst
    {
        return json!({"verdict": "exempt", "reason": "vpc-dns"});
    }
    if src.is_loopback() || dst.is_loopback() || src == dst {
        return json!({"verdict": "bypass", "reason": "loopback"});
    }
    if world.services.iter().any(|net| net.contains(dst)) {
        return unknown("service-address");
    }
    let se = match emitting.as_slice() {
        [] => return from_outside(world, question),
        [one] => *one,
        _ => return unknown("ambiguous-address"),
    };
    if let Some(answer) = same_host(world, se, dst) {
        return answer;
    }
    let mut hop = Hop {
        se,
        src,
        dst,
        packet: question.packet,
        ephemeral: question.ephemeral,
        own: src,
    };
    if is_translated(world, question, se)
        && let Some(instance) = world.instance_of(se)
    {
        let Some(primary) = world.primary_of(&instance) else {
            return unknown("src-outside-model");
        };
        let first = if dst.is_ipv4() {
            primary.primary
        } else {
            primary.v6.first().copied()
        };
        let Some(address) = first else {
            return unknown("src-outside-model");
        };
        hop.se = primary;
        hop.src = address;
        let kept = world.cni.get("AWS_VPC_K8S_CNI_RANDOMIZESNAT");
        if kept.is_none_or(|word| word != "none") {
            hop.ephemeral = (1024, 65535);
        }
    }
    forward(world, &hop)
}

fn same_host(world: &World, se: &Eni, dst: IpAddr) -> Option<Answer> {
    let host = world.host_of(se);
    let owners = world.owners(dst);
    let de = owners.iter().find(|de| world.host_of(de) == host)?;
    let branch = se.branch || de.branch;
    if branch && world.strict() {
        return None;
    }
    let groups = |eni: &Eni| {
        let mut groups = eni.groups.clone();
        groups.sort();
        groups
    };
    if branch && groups(se) != groups(de) {
        return Some(unknown("same-host-branch"));
    }
    Some(json!({"verdict": "bypass", "reason": "same-host"}))
}

/// Whether the CNI translates the source address.
fn is_translated(world: &World, question: &Question, se: &Eni) -> bool {
    let dst = question.destination;
    let truth = ["1", "t", "T", "true", "TRUE", "True"];
    if world.ipv6_cluster && dst.is_ipv4() {
        let word = world.cni.get("ENABLE_V4_EGRESS");
        return question.pod && word.is_none_or(|it| truth.contains(&it.as_str()));
    }
    if !world.ipv6_cluster && dst.is_ipv6() {
        let word = world.cni.get("ENABLE_V6_EGRESS");
        return question.pod && word.is_some_and(|it| truth.contains(&it.as_str()));
    }
    let external = world
        .cni
        .get("AWS_VPC_K8S_CNI_EXTERNALSNAT")
        .is_some_and(|it| ["1", "t", "T", "true", "TRUE", "True"].contains(&it.as_str()));
    let excluded = world
        .cni
        .get("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS")
        .is_some_and(|it| {
            it.split(',')
                .filter(|cidr| !cidr.is_empty())
                .any(|cidr| Net::read(cidr.trim()).contains(dst))
        });
    let inside = world
        .vpc(&se.vpc)
        .is_some_and(|vpc| vpc.cidrs.iter().any(|net| net.contains(dst)));
    question.pod
        && dst.is_ipv4()
        && !inside
        && !excluded
        && !external
        && !(se.branch && world.strict())
}

/// The flow after source NAT.
struct Hop<'a> {
    se: &'a Eni,
    src: IpAddr,
    dst: IpAddr,
    packet: Packet,
    ephemeral: (u16, u16),
    /// The source address before NAT: NetworkPolicies know pods by it.
    own: IpAddr,
}

fn forward_path(world: &World, hop: &Hop<'_>) -> Path {
    let subnet = world.subnet(&hop.se.subnet);
    let owners = world.owners(hop.dst);
    let own_vpc: Vec<&&Eni> = owners.iter().filter(|de| de.vpc == hop.se.vpc).collect();
    let same = if own_vpc.is_empty() {
        subnet.cidrs.iter().any(|net| net.contains(hop.dst))
    } else {
        own_vpc.iter().any(|de| de.subnet == hop.se.subnet)
    };
    if same {
        Path::SameSubnet
    } else {
        route(world, subnet, hop.dst)
    }
}

fn forward(world: &World, hop: &Hop<'_>) -> Answer {
    let (se, src, dst) = (hop.se, hop.src, hop.dst);
    let path = forward_path(world, hop);
    let owners = far_owners(world, se, &path, dst);
    if owners.len() > 1 {
        return unknown("ambiguous-address");
    }
    if !se.owns(src) && se.source_dest_check {
        return deny_at("src-dst-check", se);
    }
    let e = security_groups(world, (se, true), &hop.packet, dst, &path);
    if matches!(e, Said::Deny) {
        return deny_at("sg-egress", se);
    }
    match &path {
        Path::None => return deny("route", "none"),
        Path::Blackhole => return deny("route", "blackhole"),
        Path::Filtered => return deny("route", "filtered"),
        Path::DeadPeering => return deny("route", "far-side"),
        Path::Peering {
            leads_there: false, ..
        } => return deny("route", "far-side"),
        Path::Tgw(tgw) if tgw.zone_missing => return deny("route", "tgw-zone"),
        _ => {}
    }
    let mut doubts = Doubts::default();
    if path != Path::SameSubnet {
        let subnet = world.subnet(&se.subnet);
        if let Some(answer) = acl_gate(world, subnet, "nacl-out", hop, &mut doubts) {
            return answer;
        }
    }
    let is_owned = !world.owners(dst).is_empty();
    let unjudged = matches!(
        path,
        Path::Nat | Path::Igw | Path::Vgw | Path::Other | Path::Unread
    );
    if (unjudged || owners.is_empty())
        && path != Path::SameSubnet
        && has_reply(&hop.packet)
        && let Some(answer) = one_reply_list(
            world,
            ("nacl-return-in", &se.subnet, false),
            (&hop.packet, dst),
            hop.ephemeral,
        )
    {
        return answer;
    }
    match path {
        Path::Nat if is_owned => return unknown("nat"),
        Path::Igw if is_owned => return unknown("igw"),
        Path::Vgw if is_owned => return unknown("vgw"),
        Path::Other | Path::Unread if is_owned => return unknown("other"),
        _ => {}
    }
    let Some(de) = owners.first() else {
        return unknown("dst-outside-model");
    };
    if let Path::Tgw(tgw) = &path {
        doubts.tgw = tgw.detached || !tgw_delivers(world, tgw, &se.vpc, &de.vpc, dst);
    }
    doubts.middlebox = path == Path::Middlebox;
    arrive(world, hop, &path, (e, de, doubts))
}

/// What is remembered on the way.
#[derive(Default)]
struct Doubts {
    middlebox: bool,
    tgw: bool,
    return_middlebox: bool,
    other: bool,
}

/// One pass of an ACL in the forward direction: an answer where it denies.
fn acl_gate(
    world: &World,
    subnet: &Subnet,
    gate: &str,
    hop: &Hop<'_>,
    doubts: &mut Doubts,
) -> Option<Answer> {
    let egress = gate == "nacl-out";
    let remote = if egress { hop.dst } else { hop.src };
    let Some(acl) = acl_of(world, subnet) else {
        doubts.other = true;
        return None;
    };
    let (allowed, number) = acl.judge(egress, &hop.packet, remote);
    (!allowed).then(|| {
        json!({
            "verdict": "deny", "gate": gate, "at": acl.id, "subnet": subnet.id,
            "rule_number": number,
        })
    })
}

/// The ACL that lists the subnet, else the VPC's default one.
fn acl_of<'a>(world: &'a World, subnet: &Subnet) -> Option<&'a Acl> {
    let acls = &world.acls;
    let explicit = acls.iter().find(|acl| acl.subnets.contains(&subnet.id));
    explicit.or_else(|| {
        acls.iter()
            .find(|acl| acl.vpc == subnet.vpc && acl.is_default)
    })
}

/// From the destination's subnet to the verdict.
fn arrive(
    world: &World,
    hop: &Hop<'_>,
    path: &Path,
    (e, de, mut doubts): (Said, &Eni, Doubts),
) -> Answer {
    let there = world.subnet(&de.subnet);
    if *path != Path::SameSubnet
        && let Some(answer) = acl_gate(world, there, "nacl-in", hop, &mut doubts)
    {
        return answer;
    }
    let i = security_groups(world, (de, false), &hop.packet, hop.src, path);
    if matches!(i, Said::Deny) {
        return deny_at("sg-ingress", de);
    }
    let mut partial = None;
    if *path != Path::SameSubnet && has_reply(&hop.packet) {
        match replies(world, hop, de, &mut doubts) {
            Some(answer) if answer["verdict"] == "deny" => return answer,
            other => partial = other,
        }
        if let Some(answer) = return_route(world, hop, de, &mut doubts) {
            return answer;
        }
    }
    if doubts.middlebox {
        return unknown("middlebox");
    }
    if doubts.tgw {
        return unknown("tgw");
    }
    if doubts.other {
        return unknown("other");
    }
    if doubts.return_middlebox {
        return unknown("return-middlebox");
    }
    conclude(world, hop, (e, i), partial)
}

/// What is left when no gate denied and no path is in doubt.
fn conclude(world: &World, hop: &Hop<'_>, (e, i): (Said, Said), partial: Option<Answer>) -> Answer {
    let unresolved = |rules: Vec<String>| json!({"verdict": "unknown", "reason": "unresolved-rule", "rules": rules});
    let (egress, ingress) = match (e, i) {
        (Said::NoGroups, _) => return unknown("no-groups"),
        (Said::Unresolved(mut rules), Said::Unresolved(more)) => {
            rules.extend(more);
            return unresolved(rules);
        }
        (Said::Unresolved(rules), _) => return unresolved(rules),
        (_, Said::NoGroups) => return unknown("no-groups"),
        (_, Said::Unresolved(rules)) => return unresolved(rules),
        (Said::Allow(egress), Said::Allow(ingress)) => (egress, ingress),
        (Said::Deny, _) | (_, Said::Deny) => panic!("a deny came this far"),
    };
    let policed = |address| {
        selected(&world.pods, &world.policies, address)
            || denied_by_default(world, address)
            || unknown_pod(world, address)
    };
    if policed(hop.own) || policed(hop.dst) {
        return unknown("networkpolicy");
    }
    partial.unwrap_or_else(|| json!({"verdict": "allow", "rules": [egress, ingress]}))
}

/// The two reply lists over the whole ephemeral range: a deny, a partial or nothing.
fn replies(world: &World, hop: &Hop<'_>, de: &Eni, doubts: &mut Doubts) -> Option<Answer> {
    let (there, here) = (world.subnet(&de.subnet), world.subnet(&hop.se.subnet));
    let lists = [
        ("nacl-return-out", there, true, hop.src),
        ("nacl-return-in", here, false, hop.dst),
    ];
    if ![6, 17].contains(&hop.packet.protocol) {
        let sides = [
            ("nacl-return-out", &de.subnet, true, hop.src),
            ("nacl-return-in", &hop.se.subnet, false, hop.dst),
        ];
        for (gate, subnet, egress, remote) in sides {
            if acl_of(world, world.subnet(subnet)).is_none() {
                doubts.other = true;
                continue;
            }
            let list = (gate, subnet.as_str(), egress);
            let answer = one_reply_list(world, list, (&hop.packet, remote), hop.ephemeral);
            if answer.is_some() {
                return answer;
            }
        }
        return None;
    }
    let mut ports: Vec<u16> = lists
        .iter()
        .filter_map(|(_, subnet, _, _)| acl_of(world, subnet))
        .flat_map(|acl| acl.turns(hop.ephemeral))
        .collect();
    ports.sort_unstable();
    let mut open: Vec<u16> = ports.clone();
    let mut denied = Vec::new();
    for (gate, subnet, egress, remote) in lists {
        let Some(acl) = acl_of(world, subnet) else {
            doubts.other = true;
            continue;
        };
        let judge = |port: &u16| {
            let packet = Packet {
                port: *port,
                ..hop.packet
            };
            acl.judge(egress, &packet, remote)
        };
        let lowest = ports.iter().map(judge).find(|(allowed, _)| !allowed);
        if let Some((_, number)) = lowest {
            denied.push((gate, acl.id.clone(), subnet.id.clone(), number));
        }
        open.retain(|port| judge(port).0);
    }
    let (gate, at, subnet, number) = denied.into_iter().next()?;
    Some(if !open.is_empty() {
        json!({"verdict": "partial", "gate": gate, "at": at, "subnet": subnet})
    } else {
        json!({
            "verdict": "deny", "gate": gate, "at": at, "subnet": subnet, "rule_number": number,
        })
    })
}

/// The way of the replies: an answer where they are lost.
fn return_route(world: &World, hop: &Hop<'_>, de: &Eni, doubts: &mut Doubts) -> Option<Answer> {
    let there = world.subnet(&de.subnet);
    let lost = |reason: &str| Some(deny("return-route", reason));
    match route(world, there, hop.src) {
        Path::None => lost("none"),
        Path::Blackhole => lost("blackhole"),
        Path::Filtered => lost("filtered"),
        Path::Nat => lost("nat"),
        Path::Igw => lost("igw"),
        Path::Vgw | Path::Other => lost("other"),
        Path::Unread => {
            doubts.other = true;
            None
        }
        Path::DeadPeering => lost("far-side"),
        Path::Peering { other, .. } if other != hop.se.vpc => lost("far-side"),
        Path::Local if de.vpc != hop.se.vpc => lost("far-side"),
        Path::Tgw(tgw) if tgw.zone_missing => lost("tgw-zone"),
        Path::Tgw(tgw) => {
            doubts.tgw |= tgw.detached || !tgw_delivers(world, &tgw, &de.vpc, &hop.se.vpc, hop.src);
            None
        }
        Path::Middlebox => {
            doubts.return_middlebox = true;
            None
        }
        Path::Peering { .. } | Path::Local | Path::SameSubnet => None,
    }
}

/// tcp, udp and ICMP echo are judged there and back.
fn has_reply(packet: &Packet) -> bool {
    match packet.protocol {
        6 | 17 => true,
        1 => packet.icmp_type == 8,
        58 => packet.icmp_type == 128,
        _ => false,
    }
}

/// One list for the replies, judged alone: an answer where it denies all of them.
fn one_reply_list(
    world: &World,
    (gate, subnet, egress): (&str, &str, bool),
    (packet, remote): (&Packet, IpAddr),
    ephemeral: (u16, u16),
) -> Option<Answer> {
    let acl = acl_of(world, world.subnet(subnet))?;
    let mut replies = Vec::new();
    match packet.protocol {
        1 => replies.push(Packet {
            icmp_type: 0,
            ..*packet
        }),
        58 => replies.push(Packet {
            icmp_type: 129,
            ..*packet
        }),
        _ => {
            let mut ports = acl.turns(ephemeral);
            ports.sort_unstable();
            replies.extend(ports.into_iter().map(|port| Packet { port, ..*packet }));
        }
    }
    let said: Vec<(bool, u64)> = replies
        .iter()
        .map(|reply| acl.judge(egress, reply, remote))
        .collect();
    if said.iter().any(|(allowed, _)| *allowed) {
        return None;
    }
    Some(json!({
        "verdict": "deny", "gate": gate, "at": acl.id, "subnet": subnet,
        "rule_number": said.first()?.1,
    }))
}

/// Nobody owns the source: the gates of the destination, with the address as given.
fn from_outside(world: &World, question: &Question) -> Answer {
    let (src, dst) = (question.source, question.destination);
    let outside = unknown("src-outside-model");
    let all = world.owners(dst);
    let mut owners: Vec<&Eni> = all
        .iter()
        .copied()
        .filter(|eni| Some(&eni.vpc) == world.cluster_vpc.as_ref())
        .collect();
    if owners.is_empty() {
        owners = all;
    }
    let [de] = owners.as_slice() else {
        return outside;
    };
    if question.interface.is_some() {
        return outside;
    }
    let there = world.subnet(&de.subnet);
    let owned_inside = |eni: &&&Eni| eni.vpc == de.vpc;
    let inside = world.owners(src).iter().find(owned_inside).is_none()
        && there.cidrs.iter().any(|net| net.contains(src));
    if !inside && let Some(acl) = acl_of(world, there) {
        let (allowed, number) = acl.judge(false, &question.packet, src);
        if !allowed {
            return json!({
                "verdict": "deny", "gate": "nacl-in", "at": acl.id, "subnet": there.id,
                "rule_number": number,
            });
        }
    }
    let said = security_groups(world, (de, false), &question.packet, src, &Path::Local);
    if matches!(said, Said::Deny) {
        return deny_at("sg-ingress", de);
    }
    if inside || !has_reply(&question.packet) {
        return outside;
    }
    let list = ("nacl-return-out", de.subnet.as_str(), true);
    let lost = one_reply_list(world, list, (&question.packet, src), question.ephemeral);
    if let Some(answer) = lost {
        return answer;
    }
    let reason = match route(world, there, src) {
        Path::None => "none",
        Path::Blackhole => "blackhole",
        Path::Filtered => "filtered",
        Path::Nat => "nat",
        Path::DeadPeering => "far-side",
        Path::Peering {
            leads_there: false, ..
        } => "far-side",
        Path::Igw if is_internal(src) => "igw",
        Path::Tgw(tgw) if tgw.zone_missing => "tgw-zone",
        _ => return outside,
    };
    deny("return-route", reason)
}

/// Addresses that the internet does not carry.
fn is_internal(address: IpAddr) -> bool {
    [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    ]
    .iter()
    .any(|net| Net::read(net).contains(address))
}
