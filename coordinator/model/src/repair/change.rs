//! Changes of a network that open flows, and a snapshot with them.

use ipnet::IpNet;

use crate::id::{
    AccountId, NetworkAclId, PeeringId, RouteTableId, RuleId, SecurityGroupId, TransitGatewayId,
};
use crate::snapshot::{
    AclAction, Direction, Freshness, GroupReference, NetworkAclEntry, Readable, Route,
    RouteDestination, RouteOrigin, RouteState, RouteTarget, RulePeer, SecurityGroupRule, Snapshot,
    Traffic,
};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A rule of a security group.
    Rule(NewRule),
    /// An entry of a network ACL that lets packets pass.
    Entry(NewEntry),
    /// A route.
    Route(NewRoute),
}

/// A rule that is added to a security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRule {
    /// The group.
    pub group: SecurityGroupId,
    /// Whether packets arrive or leave.
    pub direction: Direction,
    /// Protocol and ports.
    pub traffic: Traffic,
    /// The other side.
    pub peer: NewPeer,
}

/// The other side of a new rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewPeer {
    /// The interfaces that carry a group, with the account that owns it where that is not the account of the rule's group.
    Group(SecurityGroupId, Option<AccountId>),
    /// The addresses of a network.
    Network(IpNet),
}

/// An entry that is added to a network ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// The list.
    pub acl: NetworkAclId,
    /// Whether packets enter or leave the subnet.
    pub direction: Direction,
    /// Its number, which no other entry of that direction has.
    pub rule_number: u32,
    /// Protocol and ports.
    pub traffic: Traffic,
    /// The other side.
    pub network: IpNet,
}

/// A route that is added, or that takes the place of the one for the same network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoute {
    /// The table.
    pub table: RouteTableId,
    /// Addresses for which it is.
    pub destination: IpNet,
    /// Where it leads.
    pub target: NewTarget,
    /// Whether the table has a route for that network.
    pub replaces: Replaces,
}

/// Where a new route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewTarget {
    /// Over a VPC peering connection.
    Peering(PeeringId),
    /// To a transit gateway.
    TransitGateway(TransitGatewayId),
}

impl NewTarget {
    /// Returns its id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Peering(id) => id.as_str(),
            Self::TransitGateway(id) => id.as_str(),
        }
    }
}

/// Whether a new route takes the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaces {
    /// The table has none for that network.
    Nothing,
    /// It takes the place of the one for that network.
    Route,
}

impl Change {
    /// Makes the change in a snapshot. What is not in the snapshot is not changed.
    pub(super) fn apply(&self, snapshot: &mut Snapshot) {
        match self {
            Self::Rule(rule) => rule.apply(snapshot),
            Self::Entry(entry) => entry.apply(snapshot),
            Self::Route(route) => route.apply(snapshot),
        }
    }
}

impl NewRule {
    fn apply(&self, snapshot: &mut Snapshot) {
        let Some(key) = snapshot.group_keys.get(&self.group).copied() else {
            return;
        };
        let account = self.account(snapshot);
        let group = &mut snapshot.groups.at_mut(key).group;
        let rules = match self.direction {
            Direction::Ingress => &mut group.ingress,
            Direction::Egress => &mut group.egress,
        };
        rules.push(SecurityGroupRule {
            id: RuleId::from(format!("new rule {} of {}", rules.len(), self.group)),
            group: self.group.clone(),
            traffic: self.traffic.clone(),
            peer: match &self.peer {
                NewPeer::Network(network) => RulePeer::Network(*network),
                NewPeer::Group(group, _) => RulePeer::Group(GroupReference {
                    group: group.clone(),
                    account,
                    peering: None,
                    freshness: Freshness::Fresh,
                }),
            },
        });
    }

    /// The account of the group that the rule refers to.
    fn account(&self, snapshot: &Snapshot) -> Option<AccountId> {
        match &self.peer {
            NewPeer::Group(_, Some(account)) => Some(account.clone()),
            NewPeer::Group(group, None) => snapshot.security_group(group)?.owner.clone(),
            NewPeer::Network(_) => None,
        }
    }
}

impl NewEntry {
    fn apply(&self, snapshot: &mut Snapshot) {
        let lists = snapshot.network_acls.entries();
        let found = lists
            .filter(|(_, acl)| acl.id == self.acl)
            .map(|(key, _)| key);
        let Some(key) = found.last() else {
            return;
        };
        let acl = snapshot.network_acls.at_mut(key);
        let entries = match self.direction {
            Direction::Ingress => &mut acl.ingress,
            Direction::Egress => &mut acl.egress,
        };
        let place = entries.partition_point(|entry| entry.rule_number < Some(self.rule_number));
        entries.insert(
            place,
            NetworkAclEntry {
                rule_number: Some(self.rule_number),
                action: Readable::Is(AclAction::Allow),
                remote: Readable::Is(self.network),
                traffic: self.traffic.clone(),
            },
        );
    }
}

impl NewRoute {
    fn apply(&self, snapshot: &mut Snapshot) {
        let tables = snapshot.route_tables.entries();
        let found = tables
            .filter(|(_, table)| table.id == self.table)
            .map(|(key, _)| key);
        let Some(key) = found.last() else {
            return;
        };
        let routes = &mut snapshot.route_tables.at_mut(key).routes;
        let destination = RouteDestination::Network(self.destination);
        routes.retain(|route| {
            route.destination != destination || route.origin != RouteOrigin::Static
        });
        routes.push(Route {
            destination,
            target: match &self.target {
                NewTarget::Peering(id) => RouteTarget::Peering(id.clone()),
                NewTarget::TransitGateway(id) => RouteTarget::TransitGateway(id.clone()),
            },
            state: RouteState::Active,
            origin: RouteOrigin::Static,
        });
    }
}

/// A snapshot in which changes are tried, and taken back.
#[derive(Debug)]
pub(super) struct Scratch<'s> {
    original: &'s Snapshot,
    changed: Snapshot,
    changes: Vec<Change>,
}

impl<'s> Scratch<'s> {
    pub(super) fn new(original: &'s Snapshot) -> Self {
        Self {
            original,
            changed: original.clone(),
            changes: Vec::new(),
        }
    }

    /// The snapshot with the changes so far.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.changed
    }

    pub(super) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Makes one more change.
    pub(super) fn push(&mut self, change: Change) {
        change.apply(&mut self.changed);
        self.changes.push(change);
    }

    /// Makes these changes and no others.
    pub(super) fn set(&mut self, changes: Vec<Change>) {
        for change in std::mem::take(&mut self.changes) {
            self.restore(&change);
        }
        for change in changes {
            self.push(change);
        }
    }

    /// Puts what a change touched back as it was.
    fn restore(&mut self, change: &Change) {
        match change {
            Change::Rule(rule) => {
                if let Some(key) = self.original.group_keys.get(&rule.group) {
                    self.changed.groups.at_mut(*key).group =
                        self.original.groups.at(*key).group.clone();
                }
            }
            Change::Entry(entry) => {
                for (key, acl) in self.original.network_acls.entries() {
                    if acl.id == entry.acl {
                        *self.changed.network_acls.at_mut(key) = acl.clone();
                    }
                }
            }
            Change::Route(route) => {
                for (key, table) in self.original.route_tables.entries() {
                    if table.id == route.table {
                        *self.changed.route_tables.at_mut(key) = table.clone();
                    }
                }
            }
        }
    }
}
