//! Whom changes may touch: those at whose gate something changes, and those whom the changed element names.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::probe::has_undescribed_gateway;
use crate::class::owned;
use crate::id::SecurityGroupId;
use crate::repair::change::{Change, NewPeer};
use crate::snapshot::{InterfaceEntry, Key, Reading, Snapshot};

/// The interfaces between which changes may let anything pass or stop it; absent where those may be all.
///
/// A rule, an entry or a route is asked about packets between whoever carries the group, or is in the subnets of the list
/// or of the table, and whoever it names. Pods that their node translates are met as its primary interface (E.1). So every
/// pair with another verdict is a pair of these, and every class of such a pair is here with all its members.
pub(super) fn involved(
    snapshot: &Snapshot,
    changes: &[Change],
) -> Option<BTreeSet<Key<InterfaceEntry>>> {
    let names_group = |change: &Change| match change {
        Change::Rule(rule) => matches!(rule.peer, NewPeer::Group(..)),
        Change::Entry(_) | Change::Route(_) => false,
    };
    if changes.iter().any(names_group) && has_undescribed_gateway(snapshot) {
        return None;
    }
    let touched = |entry: &InterfaceEntry| changes.iter().any(|it| is_touched(snapshot, entry, it));
    let all = snapshot.interfaces.entries();
    let found = all.filter(|(_, entry)| {
        let primary = snapshot.primaries.get(&entry.host);
        touched(entry) || primary.is_some_and(|key| touched(snapshot.interfaces.at(*key)))
    });
    Some(found.map(|(key, _)| key).collect())
}

/// Whether a change may concern what an interface sends or receives.
fn is_touched(snapshot: &Snapshot, entry: &InterfaceEntry, change: &Change) -> bool {
    let subnet = || snapshot.subnets.at(entry.subnet);
    match change {
        Change::Rule(rule) => {
            let is_peer = match &rule.peer {
                NewPeer::Group(group, _) => may_carry(snapshot, entry, group),
                NewPeer::Network(network) => owns_within(entry, network),
            };
            is_peer || may_carry(snapshot, entry, &rule.group)
        }
        Change::Entry(changed) => {
            let list = subnet().acl.map(|key| &snapshot.network_acls.at(key).id);
            list == Some(&changed.acl) || owns_within(entry, &changed.network)
        }
        Change::Route(changed) => {
            let table = subnet().table.map(|key| &snapshot.route_tables.at(key).id);
            table == Some(&changed.table) || owns_within(entry, &changed.destination)
        }
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
