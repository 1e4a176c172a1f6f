//! The measured network: where agents may be.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use reachproof_model::snapshot::Snapshot;

/// The addresses of all interfaces of a snapshot. Loopback, multicast and whatever else belongs to nobody is not among them.
#[derive(Debug, Clone, Default)]
pub struct Territory {
    addresses: BTreeSet<IpAddr>,
    prefixes: Vec<IpNet>,
}

impl Territory {
    /// The addresses of `snapshot`.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut territory = Self::default();
        for interface in snapshot.network_interfaces() {
            territory
                .addresses
                .extend(interface.addresses.iter().copied());
            territory
                .prefixes
                .extend(interface.prefixes.iter().copied());
        }
        territory
    }

    /// The first of `addresses` that no interface has; absent if each is somebody's.
    pub fn stranger(&self, addresses: &[IpAddr]) -> Option<IpAddr> {
        let is_known = |address: &IpAddr| {
            self.addresses.contains(address)
                || self.prefixes.iter().any(|prefix| prefix.contains(address))
        };
        addresses.iter().copied().find(|address| !is_known(address))
    }
}
