//! The networks that tell addresses outside apart, and an address of each that nobody owns.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::class::mentioned;
use crate::predict::exempt_addresses;
use crate::snapshot::Snapshot;

/// Most addresses of a network that are tried for one that nobody owns.
pub(super) const TRIES_MAX: usize = 4_096;

/// What became of the search for an address that nobody owns.
pub(super) enum Free {
    At(IpAddr),
    /// Smaller networks and owned addresses fill the network.
    Nowhere,
    /// The search was given up.
    Unseen,
}

/// An address of a network that is in no smaller one.
pub(super) fn free(
    network: IpNet,
    taken: &BTreeSet<IpNet>,
    is_free: impl Fn(IpAddr) -> bool,
) -> Free {
    let mut candidate = Some(network.network());
    let mut inner = taken
        .range(network..)
        .take_while(|inner| network.contains(&inner.addr()))
        .filter(|inner| **inner != network)
        .peekable();
    for _ in 0..TRIES_MAX {
        let Some(address) = candidate.filter(|address| network.contains(address)) else {
            return Free::Nowhere;
        };
        // Sorted by address: what lies before the candidate is done with.
        while inner.next_if(|inner| inner.broadcast() < address).is_some() {}
        match inner.peek() {
            Some(inner) if inner.contains(&address) => candidate = following(inner.broadcast()),
            Some(_) | None if is_free(address) => return Free::At(address),
            Some(_) | None => candidate = following(address),
        }
    }
    Free::Unseen
}

/// The next address; absent of the last one.
fn following(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address)
            .checked_add(1)
            .map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(address) => u128::from(address)
            .checked_add(1)
            .map(|next| IpAddr::V6(next.into())),
    }
}

/// Every network that tells addresses apart: those that snapshots mention, and those that the model itself knows.
pub(super) fn networks(snapshots: [&Snapshot; 2]) -> BTreeSet<IpNet> {
    const V4: [([u8; 4], u8); 8] = [
        ([0, 0, 0, 0], 0),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 168, 0, 0], 16),
        ([224, 0, 0, 0], 4),
    ];
    const V6: [(u16, u16, u8); 4] = [(0, 0, 0), (0, 1, 128), (0xfc00, 0, 7), (0xfe80, 0, 10)];
    let mut networks = BTreeSet::new();
    for snapshot in snapshots {
        mentioned(snapshot, &mut networks);
        networks.extend(exempt_addresses(snapshot).map(IpNet::from));
        let cluster = snapshot.cluster.iter();
        networks
            .extend(cluster.flat_map(|cluster| cluster.service_networks.iter().map(IpNet::trunc)));
        let policies = snapshot.network_policies.iter();
        networks.extend(policies.flat_map(|policy| policy.listed.iter().copied().map(IpNet::from)));
    }
    networks
        .extend(V4.map(|(address, length)| IpNet::V4(Ipv4Net::new_assert(address.into(), length))));
    networks.extend(V6.map(|(first, last, length)| {
        let address = [first, 0, 0, 0, 0, 0, 0, last];
        IpNet::V6(Ipv6Net::new_assert(address.into(), length))
    }));
    networks
}
