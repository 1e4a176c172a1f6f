//! Addresses that are meant, with the interfaces that own them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::expectation::members::ClusterMember;
use crate::id::{InstanceId, NetworkInterfaceId};
use crate::snapshot::{Host, IpFamily, Manager, NetworkInterface, Owner, Snapshot};

/// Why there may be a control plane that nobody sees.
pub(super) const NO_CLUSTER: &str = "`describe-cluster` is not in the snapshot";

/// An address that is meant, with the interface that owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub(super) address: IpAddr,
    pub(super) interface: Option<&'a NetworkInterface>,
}

/// Who is meant in one world.
#[derive(Debug, Clone, Default)]
pub(super) struct Members<'a> {
    pub(super) members: Vec<Member<'a>>,
    /// Why there may be others; raw text.
    pub(super) doubt: Option<String>,
}

impl<'a> Members<'a> {
    /// Their interfaces, each once, in the order of their ids.
    pub(super) fn interfaces(&self) -> Vec<&'a NetworkInterface> {
        let all = self.members.iter().filter_map(|member| member.interface);
        let by_id: BTreeMap<&NetworkInterfaceId, &NetworkInterface> =
            all.map(|interface| (&interface.id, interface)).collect();
        by_id.into_values().collect()
    }

    pub(super) fn of(snapshot: &'a Snapshot, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let members = addresses.into_iter().map(|address| Member {
            address,
            interface: match snapshot.owner(address) {
                Owner::One(interface) => Some(interface),
                Owner::Nobody | Owner::Several(_) => None,
            },
        });
        Self {
            members: members.collect(),
            doubt: None,
        }
    }

    pub(super) fn of_interfaces(
        interfaces: impl IntoIterator<Item = &'a NetworkInterface>,
    ) -> Self {
        let members = interfaces.into_iter().flat_map(|interface| {
            let addresses = interface.addresses.iter();
            addresses.map(move |address| Member {
                address: *address,
                interface: Some(interface),
            })
        });
        Self {
            members: members.collect(),
            doubt: None,
        }
    }

    /// The same, with a doubt where nobody was found and `is_known` does not hold.
    pub(super) fn doubted(mut self, is_known: bool, why: &str) -> Self {
        if self.members.is_empty() && !is_known {
            self.doubt = Some(why.to_owned());
        }
        self
    }
}

/// The nodes' own addresses: what else their interfaces own is pods'.
pub(super) fn own_addresses(snapshot: &Snapshot, nodes: &[ClusterMember]) -> Vec<IpAddr> {
    let is_own = |address: &IpAddr| match snapshot.owner(*address) {
        Owner::One(interface) => {
            interface.emitting_address(IpFamily::of(*address)) == Some(*address)
        }
        Owner::Nobody | Owner::Several(_) => true,
    };
    let all = nodes.iter().flat_map(|node| node.addresses.iter().copied());
    all.filter(is_own).collect()
}

/// Interfaces of nodes that are neither their primary ones nor of one pod alone.
pub(super) fn secondary<'a>(
    snapshot: &'a Snapshot,
    nodes: &[ClusterMember],
) -> Vec<&'a NetworkInterface> {
    let own = Members::of(snapshot, own_addresses(snapshot, nodes));
    let own = own.interfaces();
    let instances: BTreeSet<&InstanceId> =
        own.iter().filter_map(|one| one.instance.as_ref()).collect();
    let primary: BTreeSet<&NetworkInterfaceId> = own.iter().map(|one| &one.id).collect();
    let all = snapshot.network_interfaces();
    all.filter(|interface| {
        let is_of_node = match snapshot.host(interface) {
            Host::Instance(id) => instances.contains(&id),
            Host::Interface(_) => false,
        };
        is_of_node && !interface.is_branch() && !primary.contains(&interface.id)
    })
    .collect()
}

/// Pods on Fargate: those that Kubernetes names, and interfaces whose description says so.
pub(super) fn fargate(snapshot: &Snapshot, known: Vec<ClusterMember>) -> Members<'_> {
    let mut addresses: BTreeSet<IpAddr> = known.into_iter().flat_map(|pod| pod.addresses).collect();
    let described = snapshot.network_interfaces();
    let described = described.filter(|it| it.manager() == Some(Manager::FargatePod));
    addresses.extend(described.flat_map(|interface| interface.addresses.iter().copied()));
    Members::of(snapshot, addresses)
}
