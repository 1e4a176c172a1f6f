//! Which policies concern an address, and which addresses could be a pod's of which nothing is known.

use std::net::IpAddr;

use super::{Host, InterfaceEntry, NetworkPolicy, Pod, PodNetwork, PodPhase, Snapshot};
use crate::flow::SourceKind;

/// What policies make of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policing<'s> {
    /// None concerns it.
    None,
    /// These select the pod that has it, sorted by kind, namespace and name.
    Selected(Vec<&'s NetworkPolicy>),
    /// None selects the pod that has it, and the VPC CNI denies such pods everything (E.5).
    DeniedByDefault,
    /// There are policies, or pods without one are denied, and it could be the address of a pod of which nothing is known.
    PerhapsPod,
}

impl Snapshot {
    /// Returns in whose network namespace an address is, as far as the pods say: a running pod that does not use the
    /// host's makes it a pod's (K.1 "Source kind").
    #[must_use]
    pub fn source_kind(&self, address: IpAddr) -> SourceKind {
        let is_pod = |pod: &Pod| pod.network == PodNetwork::Pod && pod.phase == PodPhase::Live;
        if self.pods_at(address).any(is_pod) {
            SourceKind::Pod
        } else {
            SourceKind::Host
        }
    }

    /// Returns the policies that select a pod with this address, in the order in which they are sorted (E.5).
    #[must_use]
    pub fn network_policies_selecting(&self, address: IpAddr) -> Vec<&NetworkPolicy> {
        let selects = |policy: &&NetworkPolicy| {
            policy.listed.contains(&address) || self.pods_at(address).any(|pod| policy.selects(pod))
        };
        self.network_policies.iter().filter(selects).collect()
    }

    /// Returns what policies make of an address (K.1 "NetworkPolicy with pods unread").
    #[must_use]
    pub fn policing(&self, address: IpAddr) -> Policing<'_> {
        if !self.has_network_policies() {
            return Policing::None;
        }
        let selecting = self.network_policies_selecting(address);
        if !selecting.is_empty() {
            Policing::Selected(selecting)
        } else if self.denies_by_default() && self.pods_at(address).any(Pod::is_policed) {
            Policing::DeniedByDefault
        } else if self.could_be_unknown_pod(address) {
            Policing::PerhapsPod
        } else {
            Policing::None
        }
    }

    /// Whether an address is one that pods get and that no running pod claims: a pod that started since the pods were
    /// listed, one of a namespace that is not in the file, or one whose addresses could not be read.
    fn could_be_unknown_pod(&self, address: IpAddr) -> bool {
        let is_claimed = self.pods_at(address).any(|pod| pod.phase == PodPhase::Live);
        !is_claimed
            && self
                .addresses
                .owners(address)
                .into_iter()
                .any(|key| self.may_be_of_pod(self.interfaces.at(key), address))
    }

    /// Whether the VPC CNI may give an address to a pod: a secondary IPv4 address or one of a prefix, of an instance that
    /// is a node; any address of a branch interface (K.1 "Who could be a pod").
    fn may_be_of_pod(&self, entry: &InterfaceEntry, address: IpAddr) -> bool {
        let interface = &entry.interface;
        if interface.is_branch() {
            return true;
        }
        let is_node = match self.hosts.at(entry.host) {
            Host::Instance(_) => self
                .node_hosts
                .as_ref()
                .is_none_or(|nodes| nodes.contains(&entry.host)),
            Host::Interface(_) => false,
        };
        let is_given = if interface.addresses.contains(&address) {
            address.is_ipv4() && interface.primary_address() != Some(address)
        } else {
            interface.owns(address)
        };
        is_node && is_given
    }
}
