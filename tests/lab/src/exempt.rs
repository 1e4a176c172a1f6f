//! Destinations that neither security groups nor network ACLs filter (A.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::cloud::Cloud;
use crate::nft::peer;
use crate::path::Direction;

/// Instance metadata, resolver, time and task credentials, each family's own (A.5).
const LINK_LOCAL: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 253)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 123)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123)),
];

/// Lists the exempt addresses of a VPC: link-local ones and its resolver.
pub(crate) fn addresses(cloud: &Cloud, vpc: &str) -> Vec<IpAddr> {
    let resolver = cloud.vpc(vpc).and_then(|vpc| vpc.resolver());
    LINK_LOCAL.into_iter().chain(resolver).collect()
}

/// Rules that accept whatever goes to an exempt address.
pub(crate) fn accept(cloud: &Cloud, vpc: &str) -> Vec<String> {
    let networks: Vec<IpNet> = addresses(cloud, vpc).into_iter().map(IpNet::from).collect();
    peer(&networks, Direction::Egress)
        .into_iter()
        .map(|(_, side)| format!("{side} accept"))
        .collect()
}

/// The filter of every namespace of the fabric: it answers as an exempt address or not at all.
///
/// Whatever is dropped or leads nowhere is dropped silently, so errors that the fabric itself would send are held back.
pub(crate) fn silence(cloud: &Cloud, vpc: Option<&str>) -> String {
    let networks: Vec<IpNet> = vpc
        .map(|vpc| addresses(cloud, vpc))
        .unwrap_or_default()
        .into_iter()
        .map(IpNet::from)
        .collect();
    let mut text = String::from("table inet silence {\n  chain output {\n");
    text.push_str("    type filter hook output priority 0; policy accept;\n");
    for (_, side) in peer(&networks, Direction::Ingress) {
        text.push_str(&format!("    {side} accept\n"));
    }
    text.push_str("    icmp type { destination-unreachable, redirect, time-exceeded, parameter-problem } drop\n");
    text.push_str("    icmpv6 type { 1, 2, 3, 4, 137 } drop\n  }\n}\n");
    text
}
