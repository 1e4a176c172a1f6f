//! From an address to a number: tables of blocks of 16 for IPv4, maps for IPv6.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::{index, number};

/// Places in the table of the first level: the upper half of an IPv4 address.
const ROOT: usize = 1 << 16;
/// Blocks in a table of the second level: what the third quarter and half of the last one say.
const BLOCKS: usize = 1 << 12;
/// Addresses in a block.
const BLOCK: usize = 1 << 4;
/// Prefix length of a block: that of the prefixes that are delegated.
const BLOCK_PREFIX: u8 = 28;
/// Shortest IPv4 network whose addresses are written one by one; addresses of larger ones are apart.
const WRITTEN_MIN: u8 = 20;

/// Most addresses of an IPv6 network that are tried for one that nobody else owns.
const EXAMPLES_MAX: usize = 256;

/// The places of an address: in the first level, in a table of the second, and in its block.
fn places(address: Ipv4Addr) -> (usize, usize, usize) {
    let [one, two, three, four] = address.octets();
    let upper = u16::from_be_bytes([one, two]);
    let lower = usize::from(u16::from_be_bytes([three, four]));
    (usize::from(upper), lower / BLOCK, lower % BLOCK)
}

/// A number for every owned address.
#[derive(Debug, Default)]
pub(crate) struct Spots {
    /// Table of an upper half, or [`Spots::NOBODY`].
    root: Vec<u32>,
    /// What all addresses of a block have, or above [`Spots::CUT`] the number of its cut.
    tables: Vec<[u32; BLOCKS]>,
    /// What each address of a block has.
    cuts: Vec<[u32; BLOCK]>,
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
    /// The addresses of a block differ: the number of the cut is added. Numbers of spots stay below.
    const CUT: u32 = 1 << 31;

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
        if self.large.iter().any(|network| network.contains(&address)) {
            return Self::APART;
        }
        let (upper, block, last) = places(address);
        let table = self.root.get(upper);
        let found = table
            .and_then(|table| self.tables.get(index(*table)))
            .and_then(|table| table.get(block))
            .copied()
            .unwrap_or(Self::NOBODY);
        // Whether a block is cut is a coin toss to the processor: both answers are looked up, one is chosen.
        let number = index(found.wrapping_sub(Self::CUT));
        let is_cut = number < self.cuts.len();
        let cut = self.cuts.get(if is_cut { number } else { 0 });
        let inside = cut.and_then(|cut| cut.get(last)).copied();
        [found, inside.unwrap_or(Self::NOBODY)]
            .get(usize::from(is_cut))
            .copied()
            .unwrap_or(Self::NOBODY)
    }

    /// The spots of a block whose addresses differ.
    fn cut(&self, spot: u32) -> Option<&[u32; BLOCK]> {
        let number = spot.checked_sub(Self::CUT)?;
        self.cuts.get(index(number))
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
        let blocks = network.subnets(network.prefix_len().max(BLOCK_PREFIX));
        for part in blocks.into_iter().flatten() {
            let (_, _, first) = places(part.network());
            let (_, _, last) = places(part.broadcast());
            let place = self.block(part.network());
            let before = self
                .tables
                .get(place.0)
                .and_then(|table| table.get(place.1));
            let before = before.copied().unwrap_or(Self::NOBODY);
            let is_cut = self.cut(before).is_some();
            let after = if is_cut || part.prefix_len() > BLOCK_PREFIX {
                let number = self.cut_of(before);
                let spots = self.cuts.get_mut(index(number));
                let spots = spots.and_then(|spots| spots.get_mut(first..=last));
                for spot in spots.into_iter().flatten() {
                    *spot = change(*spot);
                }
                Self::CUT + number
            } else {
                change(before)
            };
            let slot = self
                .tables
                .get_mut(place.0)
                .and_then(|table| table.get_mut(place.1));
            slot.into_iter().for_each(|slot| *slot = after);
        }
    }

    /// The number of the cut of a block, which is made if all its addresses have the same.
    fn cut_of(&mut self, spot: u32) -> u32 {
        if self.cut(spot).is_some() {
            return spot - Self::CUT;
        }
        self.cuts.push([spot; BLOCK]);
        number(self.cuts.len() - 1)
    }

    /// The table of the second level that has an address, made if it is new, and the place of the block in it.
    fn block(&mut self, address: Ipv4Addr) -> (usize, usize) {
        if self.root.is_empty() {
            self.root = vec![Self::NOBODY; ROOT];
        }
        let (upper, block, _) = places(address);
        let next = number(self.tables.len());
        let Some(table) = self.root.get_mut(upper) else {
            return (usize::MAX, block);
        };
        if *table == Self::NOBODY {
            *table = next;
            self.tables.push([Self::NOBODY; BLOCKS]);
        }
        (index(*table), block)
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

/// Every address of a small network.
pub(crate) fn network_addresses(network: IpNet) -> impl Iterator<Item = IpAddr> {
    network
        .subnets(network.max_prefix_len())
        .into_iter()
        .flatten()
        .map(|single| single.addr())
}
