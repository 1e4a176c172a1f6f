//! What the snapshot looks up by number and by address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::id::{RuleId, SecurityGroupId};
use crate::prediction::UnknownReason;

use super::{
    GroupReference, Host, Key, NetworkAcl, NetworkInterface, RouteTable, SecurityGroup, Snapshot,
    Subnet, Views, Vpc,
};

/// A network interface with what its ids name.
#[derive(Debug, Clone)]
pub(crate) struct InterfaceEntry {
    pub(crate) interface: NetworkInterface,
    pub(crate) vpc: Key<Vpc>,
    pub(crate) subnet: Key<SubnetEntry>,
    pub(crate) host: Key<Host>,
    pub(crate) groups: Vec<Key<GroupEntry>>,
}

/// A subnet with the lists that hold for it.
#[derive(Debug, Clone)]
pub(crate) struct SubnetEntry {
    pub(crate) subnet: Subnet,
    pub(crate) acl: Option<Key<NetworkAcl>>,
    pub(crate) table: Option<Key<RouteTable>>,
    /// Whether all who describe the subnet say the same of it.
    pub(crate) views: Views,
    /// The same of the network ACLs that may hold for it.
    pub(crate) acl_views: Views,
}

/// A group with those who carry it; also one that is only mentioned.
#[derive(Debug, Clone)]
pub(crate) struct GroupEntry {
    pub(crate) group: SecurityGroup,
    pub(crate) state: GroupState,
    pub(crate) members: Vec<Key<InterfaceEntry>>,
}

/// Whether the rules of a group are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupState {
    /// They are.
    Described,
    /// The group is only mentioned.
    Undescribed,
    /// Two descriptions contradict each other.
    Conflict,
}

/// The owners of networks of one length.
type OfLength = HashMap<IpNet, Vec<Key<InterfaceEntry>>>;

/// From an address to the interfaces that own it, singly or in a delegated prefix: a map for each length of a prefix, of
/// which there are few.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressIndex {
    v4: BTreeMap<u8, OfLength>,
    v6: BTreeMap<u8, OfLength>,
}

impl AddressIndex {
    /// Notes that an interface owns a network.
    pub(crate) fn insert(&mut self, network: IpNet, owner: Key<InterfaceEntry>) {
        let family = match network {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        };
        let networks = family.entry(network.prefix_len()).or_default();
        let owners = networks.entry(network.trunc()).or_default();
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }

    /// Returns everybody who owns an address, each once.
    pub(crate) fn owners(&self, address: IpAddr) -> Vec<Key<InterfaceEntry>> {
        let family = match address {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        let mut found = Vec::new();
        for (length, networks) in family {
            let network = IpNet::new(address, *length).map(|network| network.trunc());
            let owners = network.ok().and_then(|network| networks.get(&network));
            found.extend(owners.into_iter().flatten().copied());
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Who carries a group to which a rule refers (K.1 "SG references").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Members {
    /// The members of this group.
    Of(Key<GroupEntry>),
    /// Nobody: the group is gone.
    Nobody,
    /// Interfaces of another account, which are not in the snapshot.
    Invisible,
}

impl Snapshot {
    /// Returns why rules do not settle a flow: names of those that could not be resolved, or that two views of a group,
    /// which stands for its rules, contradict each other (K.1 "Two views of one thing").
    pub(crate) fn unresolved(&self, rules: Vec<RuleId>) -> UnknownReason {
        let is_contradicted = |rule: &RuleId| {
            let key = self.group_keys.get(&SecurityGroupId::from(rule.as_str()));
            key.is_some_and(|key| self.groups.at(*key).state == GroupState::Conflict)
        };
        if rules.iter().any(is_contradicted) {
            UnknownReason::Conflict
        } else {
            UnknownReason::UnresolvedRule { rules }
        }
    }

    /// Returns who carries a group to which a rule refers.
    pub(crate) fn members(&self, reference: &GroupReference) -> Members {
        if let Some(key) = self.group_keys.get(&reference.group) {
            let entry = self.groups.at(*key);
            if entry.state != GroupState::Undescribed || !entry.members.is_empty() {
                return Members::Of(*key);
            }
        }
        match &reference.account {
            Some(account) if !self.own_accounts.contains(account) => Members::Invisible,
            Some(_) | None => Members::Nobody,
        }
    }
}
