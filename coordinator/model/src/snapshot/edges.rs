//! Ports at which the answer may change.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Direction, NetworkInterface, Owner, Readable, Snapshot, Traffic};
use crate::net::PortRange;

impl Snapshot {
    /// Returns the destination TCP ports at which a rule or an entry between two addresses begins or ends, sorted.
    ///
    /// Each end comes with its neighbour just outside. Rules count whatever their peer, entries whatever their
    /// network: the list is a superset of the ports at which the verdict changes. Port 0 is left out, since nobody
    /// can listen on it. Rules for every port have no edge.
    #[must_use]
    pub fn port_edges(&self, source: IpAddr, destination: IpAddr) -> Vec<u16> {
        let mut edges = BTreeSet::new();
        if let Owner::One(interface) = self.owner(source) {
            self.interface_edges(interface, Direction::Egress, &mut edges);
        }
        if let Owner::One(interface) = self.owner(destination) {
            self.interface_edges(interface, Direction::Ingress, &mut edges);
        }
        edges.remove(&0);
        edges.into_iter().collect()
    }

    fn interface_edges(
        &self,
        interface: &NetworkInterface,
        direction: Direction,
        edges: &mut BTreeSet<u16>,
    ) {
        for group in interface
            .groups
            .iter()
            .filter_map(|id| self.security_group(id))
        {
            for rule in group.rules(direction) {
                add_edges(&rule.traffic, edges);
            }
        }
        if let Some(acl) = self.network_acl_of(&interface.subnet) {
            for entry in acl.entries(direction) {
                add_edges(&entry.traffic, edges);
            }
        }
    }
}

fn add_edges(traffic: &Traffic, edges: &mut BTreeSet<u16>) {
    let Traffic::Tcp(Readable::Is(range)) = traffic else {
        return;
    };
    if *range == PortRange::ALL {
        return;
    }
    edges.extend([range.first(), range.last()]);
    edges.extend(range.first().checked_sub(1));
    edges.extend(range.last().checked_add(1));
}
