//! The addresses that VPCs, subnets and interfaces have, collected from the fields in which the API spreads them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{CidrAssociation, NetworkInterface, Subnet, Vpc};

impl Vpc {
    /// Lists the associated address ranges, the primary IPv4 range first.
    pub(crate) fn networks(&self) -> Vec<IpNet> {
        let associated = self
            .cidr_block_association_set
            .iter()
            .chain(&self.ipv6_cidr_block_association_set)
            .filter_map(CidrAssociation::network);
        unique(self.cidr_block.map(IpNet::V4).into_iter().chain(associated))
    }

    /// The resolver's address: the primary range's base plus two (A.5).
    pub(crate) fn resolver(&self) -> Option<IpAddr> {
        let base = u32::from(self.cidr_block?.network());
        Some(IpAddr::V4(Ipv4Addr::from(base.checked_add(2)?)))
    }
}

impl Subnet {
    /// Lists the associated address ranges.
    pub(crate) fn networks(&self) -> Vec<IpNet> {
        let associated = self
            .ipv6_cidr_block_association_set
            .iter()
            .filter_map(CidrAssociation::network);
        unique(self.cidr_block.map(IpNet::V4).into_iter().chain(associated))
    }
}

impl CidrAssociation {
    fn network(&self) -> Option<IpNet> {
        let state = self
            .cidr_block_state
            .as_ref()
            .or(self.ipv6_cidr_block_state.as_ref());
        if state.is_some_and(|state| state.state != "associated") {
            return None;
        }
        self.cidr_block.or(self.ipv6_cidr_block)
    }
}

impl NetworkInterface {
    /// Lists the single addresses, the primary IPv4 address first.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let primary = self
            .private_ip_addresses
            .iter()
            .filter(|address| address.primary)
            .chain(
                self.private_ip_addresses
                    .iter()
                    .filter(|address| !address.primary),
            )
            .filter_map(|address| address.private_ip_address);
        let mut addresses = Vec::new();
        for address in self
            .private_ip_address
            .into_iter()
            .chain(primary)
            .map(IpAddr::V4)
        {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.extend(
            self.ipv6_addresses
                .iter()
                .filter_map(|address| address.ipv6_address.map(IpAddr::V6)),
        );
        addresses
    }

    /// Lists the delegated prefixes.
    pub(crate) fn prefixes(&self) -> Vec<IpNet> {
        let ipv4 = self
            .ipv4_prefixes
            .iter()
            .filter_map(|prefix| prefix.ipv4_prefix.map(IpNet::V4));
        let ipv6 = self
            .ipv6_prefixes
            .iter()
            .filter_map(|prefix| prefix.ipv6_prefix.map(IpNet::V6));
        unique(ipv4.chain(ipv6))
    }

    /// Lists everything that it owns: its addresses as host networks, then its prefixes (A.3).
    pub(crate) fn networks(&self) -> Vec<IpNet> {
        self.addresses()
            .into_iter()
            .map(IpNet::from)
            .chain(self.prefixes())
            .collect()
    }

    /// Whether it owns `address`.
    pub(crate) fn owns(&self, address: IpAddr) -> bool {
        self.networks()
            .iter()
            .any(|network| network.contains(&address))
    }

    /// The value of the tag `key`.
    pub(crate) fn tag(&self, key: &str) -> Option<&str> {
        self.tag_set
            .iter()
            .find(|tag| tag.key == key)
            .map(|tag| tag.value.as_str())
    }
}

/// Truncates host bits and drops duplicates, keeping the order.
fn unique(networks: impl Iterator<Item = IpNet>) -> Vec<IpNet> {
    let mut kept: Vec<IpNet> = Vec::new();
    for network in networks.map(|network| network.trunc()) {
        if !kept.contains(&network) {
            kept.push(network);
        }
    }
    kept
}
