//! Zones: parts of the address space that no network of the snapshot cuts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::number;
use crate::snapshot::{Direction, Readable, RouteDestination, RulePeer, Snapshot};

/// Number of a zone.
pub(crate) type ZoneId = u32;

/// Every network that rules, entries, routes, VPCs, subnets, peerings and settings mention.
///
/// Networks are nested or disjoint, so the smallest one that contains an address says which others do.
#[derive(Debug, Default, Clone)]
pub(crate) struct Zones {
    networks: BTreeSet<IpNet>,
    by_number: Vec<IpNet>,
    v4: PrefixMap<Ipv4Net, ZoneId>,
    v6: PrefixMap<Ipv6Net, ZoneId>,
    longest_v4: u8,
    longest_v6: u8,
}

/// The zones of addresses in no network at all, by family.
const OUTSIDE_V4: ZoneId = 0;
const OUTSIDE_V6: ZoneId = 1;
/// How many numbers have no network.
const OUTSIDES: usize = 2;

impl Zones {
    /// Collects the networks of all snapshots.
    pub(crate) fn new<'s>(snapshots: impl IntoIterator<Item = &'s Snapshot>) -> Self {
        let mut networks = BTreeSet::new();
        for snapshot in snapshots {
            mentioned(snapshot, &mut networks);
        }
        Self::of_networks(networks)
    }

    /// Numbers networks.
    pub(crate) fn of_networks(networks: BTreeSet<IpNet>) -> Self {
        let mut zones = Self::default();
        for network in &networks {
            let zone = number(OUTSIDES + zones.by_number.len());
            zones.by_number.push(*network);
            match network {
                IpNet::V4(network) => {
                    zones.v4.insert(*network, zone);
                    zones.longest_v4 = zones.longest_v4.max(network.prefix_len());
                }
                IpNet::V6(network) => {
                    zones.v6.insert(*network, zone);
                    zones.longest_v6 = zones.longest_v6.max(network.prefix_len());
                }
            }
        }
        zones.networks = networks;
        zones
    }

    /// Returns the zone of an address.
    pub(crate) fn of(&self, address: IpAddr) -> ZoneId {
        match address {
            IpAddr::V4(address) => self
                .v4
                .get_lpm(&Ipv4Net::from(address))
                .map_or(OUTSIDE_V4, |(_, zone)| *zone),
            IpAddr::V6(address) => self
                .v6
                .get_lpm(&Ipv6Net::from(address))
                .map_or(OUTSIDE_V6, |(_, zone)| *zone),
        }
    }

    /// Returns whether addresses of one network are in different zones.
    pub(crate) fn cut(&self, network: &IpNet) -> bool {
        let longest = match network {
            IpNet::V4(_) => self.longest_v4,
            IpNet::V6(_) => self.longest_v6,
        };
        longest > network.prefix_len()
            && self
                .networks
                .range(*network..)
                .take_while(|inner| network.contains(&inner.addr()))
                .any(|inner| inner.prefix_len() > network.prefix_len())
    }

    /// Visits the networks inside a network, itself left out.
    pub(crate) fn inside(&self, network: &IpNet) -> impl Iterator<Item = &IpNet> {
        let (network, own) = (*network, *network);
        self.networks
            .range(network..)
            .take_while(move |inner| network.contains(&inner.addr()))
            .filter(move |inner| **inner != own)
    }

    /// Returns the network of a zone.
    pub(crate) fn network(&self, zone: ZoneId) -> Option<IpNet> {
        let place = super::index(zone).checked_sub(OUTSIDES)?;
        self.by_number.get(place).copied()
    }

    /// Returns how many numbers there are.
    pub(crate) fn len(&self) -> usize {
        OUTSIDES + self.by_number.len()
    }

    /// Returns whether a network is one of those that make the zones.
    pub(crate) fn contains(&self, network: &IpNet) -> bool {
        self.networks.contains(&network.trunc())
    }
}

/// Collects what rules, entries, routes, VPCs, subnets, peerings and settings of a snapshot mention.
pub(crate) fn mentioned(snapshot: &Snapshot, networks: &mut BTreeSet<IpNet>) {
    for group in snapshot.groups.iter() {
        for direction in [Direction::Ingress, Direction::Egress] {
            let rules = group.group.rules(direction).iter();
            networks.extend(rules.filter_map(|rule| match &rule.peer {
                RulePeer::Network(network) => Some(network.trunc()),
                RulePeer::PrefixList(_) | RulePeer::Group(_) | RulePeer::Unread => None,
            }));
        }
    }
    for acl in snapshot.network_acls.iter() {
        let entries = acl.ingress.iter().chain(&acl.egress);
        networks.extend(entries.filter_map(|entry| match entry.remote {
            Readable::Is(network) => Some(network.trunc()),
            Readable::Unread => None,
        }));
    }
    for table in snapshot.route_tables.iter() {
        networks.extend(
            table
                .routes
                .iter()
                .filter_map(|route| match route.destination {
                    RouteDestination::Network(network) => Some(network.trunc()),
                    RouteDestination::PrefixList(_)
                    | RouteDestination::Unread
                    | RouteDestination::Conflict => None,
                }),
        );
    }
    let lists = snapshot.prefix_lists.values();
    networks.extend(lists.flat_map(|list| list.networks.iter().flatten().map(IpNet::trunc)));
    networks.extend(
        snapshot
            .vpcs
            .iter()
            .flat_map(|vpc| vpc.networks.iter().map(IpNet::trunc)),
    );
    networks.extend(
        snapshot
            .subnets()
            .flat_map(|subnet| subnet.networks.iter().map(IpNet::trunc)),
    );
    networks.extend(snapshot.peerings.values().flat_map(|peering| {
        let sides = peering
            .requester
            .networks
            .iter()
            .chain(&peering.accepter.networks);
        sides.map(IpNet::trunc)
    }));
    let tables = snapshot.transit_gateway_tables.iter().flatten();
    let routes = tables.flat_map(|table| table.routes.iter().flatten());
    networks.extend(routes.map(|route| route.destination.trunc()));
    networks.extend(snapshot.cni.snat_excluded.iter().map(IpNet::trunc));
    networks.extend(crate::predict::never_forwarded());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::describe::Described;

    /// The zones of a VPC with these networks, and of nothing else.
    fn zones(networks: &[&str]) -> Zones {
        let list = networks.iter().map(
            |network| json!({"CidrBlock": network, "CidrBlockState": {"State": "associated"}}),
        );
        let vpc = json!({"VpcId": "vpc-1", "CidrBlockAssociationSet": list.collect::<Vec<_>>()});
        let mut world = Described::default();
        world.insert("describe-vpcs", json!({"Vpcs": [vpc]}));
        for (stem, list) in [
            ("describe-subnets", "Subnets"),
            ("describe-network-interfaces", "NetworkInterfaces"),
            ("describe-security-groups", "SecurityGroups"),
            ("describe-route-tables", "RouteTables"),
            ("describe-network-acls", "NetworkAcls"),
        ] {
            world.insert(stem, json!({list: []}));
        }
        Zones::new([&Snapshot::decode(&world).unwrap().snapshot])
    }

    /// A network.
    fn network(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_smaller_network_cuts_a_larger_one_and_none_cuts_itself() {
        let zones = zones(&["10.0.0.0/16", "10.0.1.0/24", "10.7.0.0/16"]);
        assert!(zones.cut(&network("10.0.0.0/16")));
        assert!(zones.cut(&network("10.0.0.0/23")));
        assert!(!zones.cut(&network("10.0.1.0/24")));
        assert!(!zones.cut(&network("10.7.0.0/16")));
        assert!(!zones.cut(&network("10.0.2.0/25")));
    }

    #[test]
    fn the_numbers_are_those_of_the_networks_and_of_the_two_outsides() {
        let zones = zones(&["10.0.0.0/16", "10.0.1.0/24", "10.7.0.0/16"]);
        let last = number(zones.len() - 1);
        assert!(zones.network(last).is_some());
        assert!(zones.network(last + 1).is_none());
        assert!(zones.network(OUTSIDE_V4).is_none() && zones.network(OUTSIDE_V6).is_none());
        assert_eq!(zones.of("10.9.0.1".parse().unwrap()), OUTSIDE_V4);
        assert_eq!(zones.of("fd00::1".parse().unwrap()), OUTSIDE_V6);
        let inner = zones.of("10.0.1.9".parse().unwrap());
        assert_eq!(zones.network(inner), Some(network("10.0.1.0/24")));
    }

    #[test]
    fn only_a_network_that_something_mentions_is_one_of_the_zones() {
        let zones = zones(&["10.0.0.0/16"]);
        assert!(zones.contains(&network("10.0.0.0/16")));
        assert!(zones.contains(&network("10.0.3.4/16")));
        assert!(!zones.contains(&network("10.0.0.0/17")));
    }
}
