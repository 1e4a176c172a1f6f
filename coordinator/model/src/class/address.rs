//! From an address to a number: tables of three levels for IPv4, maps for IPv6.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::{index, network_addresses, number};

/// Places in the table of the first level: the upper half of an IPv4 address.
const ROOT: usize = 1 << 16;
/// Places in a table of the other levels: one byte of an address.
const FANOUT: usize = 1 << 8;
/// Prefix length of what a table of the last level covers.
const LEAF: u8 = 24;
/// Shortest IPv4 network whose addresses are written one by one; addresses of larger ones are apart.
const WRITTEN_MIN: u8 = 20;

/// Most addresses of an IPv6 network that are tried for one that nobody else owns.
const EXAMPLES_MAX: usize = 256;

/// A number for every owned address.
#[derive(Debug, Default)]
pub(crate) struct Spots {
    root: Vec<u32>,
    tables: Vec<[u32; FANOUT]>,
    large: Vec<Ipv4Net>,
    v6: BTreeMap<Ipv6Addr, u32>,
    v6_networks: PrefixMap<Ipv6Net, u32>,
}

impl Spots {
    /// No interface owns the address.
    pub(crate) const NOBODY: u32 = u32::MAX;
    /// The address is owned, but of no class.
    const APART: u32 = u32::MAX - 1;
    /// The address was claimed and waits for its number.
    const CLAIMED: u32 = u32::MAX - 2;

    /// Returns the number of an address; more than any number where it is owned but of no class.
    pub(crate) fn at(&self, address: IpAddr) -> u32 {
        match address {
            IpAddr::V4(address) => self.at_v4(address),
            IpAddr::V6(address) => self.v6.get(&address).copied().unwrap_or_else(|| {
                self.v6_networks
                    .get_lpm(&Ipv6Net::from(address))
                    .map_or(Self::NOBODY, |(_, spot)| *spot)
            }),
        }
    }

    fn at_v4(&self, address: Ipv4Addr) -> u32 {
        let [one, two, three, four] = address.octets();
        if self.large.iter().any(|network| network.contains(&address)) {
            return Self::APART;
        }
        self.root
            .get(usize::from(u16::from_be_bytes([one, two])))
            .and_then(|table| self.tables.get(index(*table)))
            .and_then(|table| table.get(usize::from(three)))
            .and_then(|table| self.tables.get(index(*table)))
            .and_then(|table| table.get(usize::from(four)))
            .copied()
            .unwrap_or(Self::NOBODY)
    }

    /// Notes that an interface owns a network; what somebody else owns, too, is apart for good.
    pub(crate) fn claim(&mut self, network: IpNet) {
        let claimed = |spot| match spot {
            Self::NOBODY => Self::CLAIMED,
            _ => Self::APART,
        };
        match network {
            IpNet::V4(network) if network.prefix_len() < WRITTEN_MIN => self.large.push(network),
            IpNet::V4(network) => self.write_v4(network, claimed),
            IpNet::V6(network) => self.claim_v6(network),
        }
    }

    /// Returns the first address of a network that one interface alone claims and that has no number yet.
    pub(crate) fn first_claimed(&self, network: IpNet) -> Option<IpAddr> {
        match network {
            IpNet::V4(network) if network.prefix_len() < WRITTEN_MIN => None,
            IpNet::V4(_) => network_addresses(network).find(|it| self.at(*it) == Self::CLAIMED),
            IpNet::V6(_) => network_addresses(network)
                .take(EXAMPLES_MAX)
                .find(|it| self.at(*it) == Self::CLAIMED),
        }
    }

    /// Gives the claimed addresses of a network their number.
    pub(crate) fn settle(&mut self, network: IpNet, number: u32) {
        let settled = |spot| match spot {
            Self::CLAIMED => number,
            other => other,
        };
        match network {
            IpNet::V4(network) if network.prefix_len() < WRITTEN_MIN => {}
            IpNet::V4(network) => self.write_v4(network, settled),
            IpNet::V6(network) => self.write_v6(network, settled),
        }
    }

    /// Takes an address out of the classes, if somebody owns it.
    pub(crate) fn exempt(&mut self, address: IpAddr) {
        if self.at(address) == Self::NOBODY {
            return;
        }
        match address {
            IpAddr::V4(address) => self.write_v4(Ipv4Net::from(address), |_| Self::APART),
            IpAddr::V6(address) => {
                self.v6.insert(address, Self::APART);
            }
        }
    }

    fn write_v4(&mut self, network: Ipv4Net, mut change: impl FnMut(u32) -> u32) {
        let blocks = network.subnets(network.prefix_len().max(LEAF));
        for block in blocks.into_iter().flatten() {
            let [.., first] = block.network().octets();
            let [.., last] = block.broadcast().octets();
            let leaf = self.leaf(block.network());
            let spots = leaf.get_mut(usize::from(first)..=usize::from(last));
            for spot in spots.into_iter().flatten() {
                *spot = change(*spot);
            }
        }
    }

    /// The table of the last level that holds an address, made if it is new.
    fn leaf(&mut self, address: Ipv4Addr) -> &mut [u32] {
        let [one, two, three, _] = address.octets();
        if self.root.is_empty() {
            self.root = vec![Self::NOBODY; ROOT];
        }
        let upper = usize::from(u16::from_be_bytes([one, two]));
        let mut middle = self.root.get(upper).copied().unwrap_or(Self::NOBODY);
        if middle == Self::NOBODY {
            middle = self.table();
            if let Some(place) = self.root.get_mut(upper) {
                *place = middle;
            }
        }
        let three = usize::from(three);
        let found = self
            .tables
            .get(index(middle))
            .and_then(|table| table.get(three));
        let mut leaf = found.copied().unwrap_or(Self::NOBODY);
        if leaf == Self::NOBODY {
            leaf = self.table();
            let place = self
                .tables
                .get_mut(index(middle))
                .and_then(|table| table.get_mut(three));
            if let Some(place) = place {
                *place = leaf;
            }
        }
        self.tables
            .get_mut(index(leaf))
            .map_or(&mut [], |table| &mut table[..])
    }

    fn table(&mut self) -> u32 {
        self.tables.push([Self::NOBODY; FANOUT]);
        number(self.tables.len() - 1)
    }

    fn write_v6(&mut self, network: Ipv6Net, mut change: impl FnMut(u32) -> u32) {
        if network.prefix_len() == network.max_prefix_len() {
            let known = self.v6.get(&network.addr()).copied();
            // A single address that was not claimed on its own belongs to a network that had to be cut.
            let before = known.unwrap_or_else(|| self.at(IpAddr::V6(network.addr())));
            self.v6.insert(network.addr(), change(before));
        } else if let Some(spot) = self.v6_networks.get_mut(&network) {
            *spot = change(*spot);
        }
    }

    fn claim_v6(&mut self, network: Ipv6Net) {
        let is_single = network.prefix_len() == network.max_prefix_len();
        let around = self.v6_networks.get_lpm_mut(&network);
        let mut spot = Self::CLAIMED;
        if let Some((_, around)) = around {
            *around = Self::APART;
            spot = Self::APART;
        }
        if is_single {
            let taken = self.v6.contains_key(&network.addr());
            let spot = if taken { Self::APART } else { spot };
            self.v6.insert(network.addr(), spot);
            return;
        }
        for (_, inside) in self.v6.range_mut(network.network()..=network.broadcast()) {
            *inside = Self::APART;
            spot = Self::APART;
        }
        for (_, inside) in self.v6_networks.children_mut(&network) {
            *inside = Self::APART;
            spot = Self::APART;
        }
        self.v6_networks.insert(network, spot);
    }
}
