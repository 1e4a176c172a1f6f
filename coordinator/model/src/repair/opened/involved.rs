//! Whom changes may touch: those at whose gate something changes, and those whom the changed element names.

use std::collections::{BTreeSet, HashSet};

use ipnet::IpNet;

use super::probe::has_undescribed_gateway;
use crate::class::{ClassId, Classes, owned};
use crate::id::SecurityGroupId;
use crate::repair::change::{Change, NewPeer};
use crate::snapshot::{InterfaceEntry, Key, Reading, Snapshot};

/// Interfaces between which changes may let anything pass or stop it: pairs of one of either side.
///
/// A rule, an entry or a route is asked about packets between whoever carries the group, or is in the subnets of the list
/// or of the table, and whoever it names. Pods that their node translates are met as its primary interface (E.1). So every
/// pair with another verdict is a pair of these, and every class of such a pair is here with all its members.
#[derive(Debug, Default)]
pub(super) struct Involved {
    /// Those at whose gate something changes.
    near: BTreeSet<Key<InterfaceEntry>>,
    /// Those whom the changed elements name.
    named: BTreeSet<Key<InterfaceEntry>>,
}

impl Involved {
    /// Finds both sides; absent where they may be all.
    pub(super) fn new(snapshot: &Snapshot, changes: &[Change]) -> Option<Self> {
        let names_group = |change: &Change| match change {
            Change::Rule(rule) => matches!(rule.peer, NewPeer::Group(..)),
            Change::Entry(_) | Change::Route(_) => false,
        };
        if changes.iter().any(names_group) && has_undescribed_gateway(snapshot) {
            return None;
        }
        let side = |is_in: fn(&Snapshot, &InterfaceEntry, &Change) -> bool| {
            let touched =
                |entry: &InterfaceEntry| changes.iter().any(|it| is_in(snapshot, entry, it));
            let all = snapshot.interfaces.entries();
            let found = all.filter(|(_, entry)| {
                let primary = snapshot.primaries.get(&entry.host);
                touched(entry) || primary.is_some_and(|key| touched(snapshot.interfaces.at(*key)))
            });
            found.map(|(key, _)| key).collect()
        };
        Some(Self {
            near: side(is_near),
            named: side(is_named),
        })
    }

    /// The interfaces of both sides.
    pub(super) fn interfaces(&self) -> BTreeSet<Key<InterfaceEntry>> {
        self.near.union(&self.named).copied().collect()
    }

    /// The pairs of classes of which one end is of either side.
    pub(super) fn pairs(&self, snapshot: &Snapshot, classes: &Classes) -> Pairs {
        let mut pairs = Pairs::default();
        for (id, class) in classes.iter() {
            let keys = class.members.iter();
            for key in keys.filter_map(|member| snapshot.interface_keys.get(&member.interface)) {
                if self.near.contains(key) {
                    pairs.near.insert(id);
                }
                if self.named.contains(key) {
                    pairs.named.insert(id);
                }
            }
        }
        pairs
    }
}

/// Classes of either side.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    near: HashSet<ClassId>,
    named: HashSet<ClassId>,
}

impl Pairs {
    /// Whether the ends are one of either side.
    pub(super) fn contains(&self, one: ClassId, other: ClassId) -> bool {
        (self.near.contains(&one) && self.named.contains(&other))
            || (self.near.contains(&other) && self.named.contains(&one))
    }
}

/// Whether an interface sends or receives through the group, the list or the table that changes.
fn is_near(snapshot: &Snapshot, entry: &InterfaceEntry, change: &Change) -> bool {
    let subnet = || snapshot.subnets.at(entry.subnet);
    match change {
        Change::Rule(rule) => may_carry(snapshot, entry, &rule.group),
        Change::Entry(changed) => {
            let list = subnet().acl.map(|key| &snapshot.network_acls.at(key).id);
            list == Some(&changed.acl)
        }
        Change::Route(changed) => {
            let table = subnet().table.map(|key| &snapshot.route_tables.at(key).id);
            table == Some(&changed.table)
        }
    }
}

/// Whether a change names an interface.
fn is_named(snapshot: &Snapshot, entry: &InterfaceEntry, change: &Change) -> bool {
    match change {
        Change::Rule(rule) => match &rule.peer {
            NewPeer::Group(group, _) => may_carry(snapshot, entry, group),
            NewPeer::Network(network) => owns_within(entry, network),
        },
        Change::Entry(changed) => owns_within(entry, &changed.network),
        Change::Route(changed) => owns_within(entry, &changed.destination),
    }
}

/// Whether an interface carries a group, or its groups could not be read.
fn may_carry(snapshot: &Snapshot, entry: &InterfaceEntry, group: &SecurityGroupId) -> bool {
    let key = snapshot.group_keys.get(group);
    entry.interface.reading == Reading::GroupsUnread
        || key.is_some_and(|key| entry.groups.contains(key))
}

/// Whether an interface owns an address of a network.
fn owns_within(entry: &InterfaceEntry, network: &IpNet) -> bool {
    let meets = |own: &IpNet| network.contains(own) || own.contains(network);
    owned(entry).iter().any(meets)
}
