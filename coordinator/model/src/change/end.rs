//! Ends of flows in two snapshots: addresses that neither model tells apart, inside and outside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::content::{Contents, interface_texts};
use crate::class::Zones;
use crate::expectation::members::core_dns;
use crate::id::NetworkInterfaceId;
use crate::snapshot::{Direction, Snapshot};
use builder::{Builder, Numbers, Side};
use network::networks;

mod builder;
mod network;

/// Number of what a model knows of an address: equal numbers, equal answers.
pub(super) type Look = u32;

/// Addresses of one kind.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// What the model before knows of them.
    pub(super) before: Look,
    /// What the model after knows of them.
    pub(super) after: Look,
    /// Whether both models know the same of what counts where they send.
    pub(super) sends_the_same: bool,
    /// The same where they receive.
    pub(super) receives_the_same: bool,
    /// Whether no interface owns them.
    pub(super) is_outside: bool,
    /// Smallest network that something mentions around the addresses after.
    pub(super) network: Option<IpNet>,
    /// Some of them.
    pub(super) members: Vec<Member>,
    /// How many there are, singly owned or one for each prefix.
    pub(super) count: usize,
    /// What the cluster needs of them.
    pub(super) duties: Duties,
}

/// What some address of an end is for the cluster.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Duties {
    /// CoreDNS has it.
    pub(super) is_resolver: bool,
    /// The control plane has it.
    pub(super) is_control_plane: bool,
    /// An instance has it.
    pub(super) is_node: bool,
}

impl End {
    /// Whether the two models know the same.
    pub(super) fn is_same(&self) -> bool {
        self.before == self.after
    }
}

/// One address, and who holds it in either snapshot; two addresses where an interface was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// The address before.
    pub(super) before: IpAddr,
    /// The address after.
    pub(super) after: IpAddr,
    /// The hosts before and after; absent where there is none, or more than one.
    pub(super) hosts: (Option<u32>, Option<u32>),
}

/// Two members of two ends on one host in at least one snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neighbours {
    /// Places of the ends.
    pub(super) ends: (usize, usize),
    /// The one and the other.
    pub(super) members: (Member, Member),
}

/// The ends of two snapshots.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) ends: Vec<End>,
    pub(super) neighbours: Vec<Neighbours>,
    /// Interfaces that others replaced, and those others.
    pub(super) replaced: BTreeSet<NetworkInterfaceId>,
    /// Interfaces with an address of a kind that was not there before, and that replaces nothing.
    pub(super) novel: BTreeSet<NetworkInterfaceId>,
    /// Interfaces that are still there without an address of a kind that is no more.
    pub(super) shrunk: BTreeSet<NetworkInterfaceId>,
    /// Interfaces of both of which something changed.
    pub(super) changed: BTreeSet<NetworkInterfaceId>,
    /// Networks in which no address without an owner was found, though there may be one.
    pub(super) unseen: Vec<IpNet>,
}

impl Ends {
    /// Finds the ends of two snapshots.
    pub(super) fn new(before: &Snapshot, after: &Snapshot, contents: &[Contents; 2]) -> Self {
        let mut numbers = Numbers::default();
        let networks = networks([before, after]);
        let zones = Zones::of_networks(networks.clone());
        let [one, other] = contents;
        let [before, after] = [(before, one), (after, other)].map(|(snapshot, contents)| {
            let mut numbered = |direction| -> Vec<u32> {
                let texts = interface_texts(snapshot, contents, &zones, direction).into_iter();
                texts
                    .map(|text| Numbers::next(&mut numbers.texts, text))
                    .collect()
            };
            Side {
                snapshot,
                receiving: numbered(Direction::Ingress),
                sending: numbered(Direction::Egress),
            }
        });
        let control_plane = [before.snapshot, after.snapshot].map(|snapshot| {
            let found = snapshot.control_plane_interfaces().into_iter();
            found
                .map(|found| found.interface.id.clone())
                .collect::<Vec<_>>()
        });
        let mut resolvers: BTreeSet<IpAddr> = core_dns(before.snapshot).into_iter().collect();
        resolvers.extend(core_dns(after.snapshot));
        let mut builder = Builder {
            control_plane: control_plane.into_iter().flatten().collect(),
            resolvers,
            sides: [before, after],
            zones,
            numbers,
            by_looks: BTreeMap::new(),
            ends: Self::default(),
        };
        let addresses = builder.addresses();
        builder.inside(&addresses);
        builder.changed();
        builder.outside(&networks);
        builder.neighbours(&addresses);
        builder.ends
    }
}
