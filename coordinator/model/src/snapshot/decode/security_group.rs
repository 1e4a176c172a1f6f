//! Security groups: one rule for each peer of each permission.

use std::collections::HashSet;

use super::rule_names::{PeerKey, Permission, RuleKey};
use super::{Decoder, Item};
use crate::describe::{Fault, Node};
use crate::id::{AccountId, PeeringId, PrefixListId, RuleId, SecurityGroupId, VpcId};
use crate::net::{network_v4, network_v6};
use crate::snapshot::{
    Consequence, Direction, Freshness, GapKind, GroupEntry, GroupReference, GroupState, Key,
    RulePeer, SecurityGroup, SecurityGroupRule, Traffic,
};

/// Words of `PeeringStatus` that say that the peering is gone [A.3; K.1 "SG references"].
const GONE: [&str; 5] = ["deleted", "deleting", "rejected", "expired", "failed"];

/// The lists of peers of a permission, in the order in which they are flattened (K.1 "Naming rules").
const PEERS: [&str; 4] = [
    "IpRanges",
    "Ipv6Ranges",
    "PrefixListIds",
    "UserIdGroupPairs",
];

/// Where a rule is being read.
struct Place<'s> {
    group: &'s str,
    direction: Direction,
    stale: &'s HashSet<RuleKey>,
}

impl<'a> Decoder<'a> {
    pub(super) fn security_groups(&mut self) {
        self.rule_names();
        let stale = self.stale_references();
        let rows = self.rows("describe-security-groups", "SecurityGroups");
        let (items, _) = self.things(rows, "GroupId", Consequence::GroupUnknown);
        for item in items {
            self.security_group(&item, &stale);
        }
    }

    fn security_group(&mut self, item: &Item<'a>, stale: &HashSet<RuleKey>) {
        let mut group = empty_group(item.id);
        for node in &item.descriptions {
            self.plain_text(node, "GroupName")
                .unwrap_or_default()
                .clone_into(&mut group.name);
            group.vpc = self.plain_text(node, "VpcId").map(VpcId::from);
            group.owner = self.plain_text(node, "OwnerId").map(AccountId::from);
            group.label = self.tag(node, "Name").map(str::to_owned);
            self.snapshot.own_accounts.extend(group.owner.clone());
        }
        let state = match item.sole() {
            Some(node) => {
                group.ingress = self.rules(node, "IpPermissions", Direction::Ingress, stale);
                group.egress = self.rules(node, "IpPermissionsEgress", Direction::Egress, stale);
                GroupState::Described
            }
            None => GroupState::Conflict,
        };
        self.add_group(group, state);
    }

    fn add_group(&mut self, group: SecurityGroup, state: GroupState) -> Key<GroupEntry> {
        let id = group.id.clone();
        let key = self.snapshot.groups.push(GroupEntry {
            group,
            state,
            members: Vec::new(),
        });
        self.snapshot.group_keys.insert(id, key);
        key
    }

    /// The group of that id; one that nobody described is added without rules.
    pub(super) fn group_key(&mut self, id: &SecurityGroupId) -> Key<GroupEntry> {
        match self.snapshot.group_keys.get(id) {
            Some(key) => *key,
            None => self.add_group(empty_group(id.as_str()), GroupState::Undescribed),
        }
    }

    /// The rules of one direction, sorted by name.
    fn rules(
        &mut self,
        node: &Node<'a>,
        list: &str,
        direction: Direction,
        stale: &HashSet<RuleKey>,
    ) -> Vec<SecurityGroupRule> {
        let id = node.text("GroupId").ok().flatten().unwrap_or_default();
        let place = Place {
            group: id,
            direction,
            stale,
        };
        let permissions = match node.field(list) {
            Some(field) => field.items(),
            None => Err(node.missing(list)),
        };
        let mut rules = Vec::new();
        match self.read(permissions, Consequence::RuleUnresolved) {
            Some(permissions) => {
                for permission in permissions {
                    self.flatten(&place, &permission, &mut rules);
                }
            }
            None => add_rule(&place, None, Traffic::Unread, RulePeer::Unread, &mut rules),
        }
        rules.sort_by(|one, other| one.id.cmp(&other.id));
        rules
    }

    fn flatten(
        &mut self,
        place: &Place<'_>,
        permission: &Node<'a>,
        rules: &mut Vec<SecurityGroupRule>,
    ) {
        let traffic = self.rule_traffic(permission);
        let shape = Permission::read(permission).ok();
        for list in PEERS {
            let Some(peers) = self.read(permission.list(list), Consequence::RuleUnresolved) else {
                add_rule(place, None, traffic.clone(), RulePeer::Unread, rules);
                continue;
            };
            for node in peers {
                let read = self.read(peer(list, &node), Consequence::RuleUnresolved);
                let (key, mut peer) = read.map_or((None, RulePeer::Unread), |(key, peer)| {
                    let key = shape.map(|shape| shape.key(place.group, place.direction, key));
                    (key, peer)
                });
                self.judge_freshness(place, key.as_ref(), &node, &mut peer);
                let name = key.and_then(|key| self.groups_named.get(&key));
                add_rule(place, name, traffic.clone(), peer, rules);
            }
        }
        // Empty lists are a permission without peers; no list at all is one that was not understood.
        if PEERS.iter().all(|list| permission.field(list).is_none()) {
            let fault = permission.malformed("a permission with its peers");
            self.note(fault, Consequence::RuleUnresolved);
            add_rule(place, None, traffic, RulePeer::Unread, rules);
        }
    }

    /// Marks a reference that no longer counts (K.1 "SG references").
    fn judge_freshness(
        &mut self,
        place: &Place<'_>,
        key: Option<&RuleKey>,
        node: &Node<'a>,
        peer: &mut RulePeer,
    ) {
        let RulePeer::Group(reference) = peer else {
            return;
        };
        let status = self.plain_text(node, "PeeringStatus");
        let known = reference
            .peering
            .as_ref()
            .and_then(|id| self.snapshot.peerings.get(id));
        let is_gone = key.is_some_and(|key| place.stale.contains(key))
            || known.is_some_and(|peering| !peering.is_active())
            || status.is_some_and(|word| GONE.contains(&word));
        if is_gone {
            reference.freshness = Freshness::Stale;
        }
        if let Some(word) = status
            && word != "active"
            && !is_gone
        {
            let kind = GapKind::UnknownWord {
                found: word.to_owned(),
            };
            self.note(node.fault(kind), Consequence::StaleUnknown);
        }
    }
}

fn empty_group(id: &str) -> SecurityGroup {
    SecurityGroup {
        id: SecurityGroupId::from(id),
        name: String::new(),
        vpc: None,
        owner: None,
        ingress: Vec::new(),
        egress: Vec::new(),
        label: None,
    }
}

/// Adds a rule under its name, else under its place in the group (K.1 "Naming rules").
fn add_rule(
    place: &Place<'_>,
    name: Option<&String>,
    traffic: Traffic,
    peer: RulePeer,
    rules: &mut Vec<SecurityGroupRule>,
) {
    let word = match place.direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    };
    let id = match name {
        Some(name) => RuleId::from(name.as_str()),
        None => RuleId::from(format!("{}.{word}[{}]", place.group, rules.len())),
    };
    rules.push(SecurityGroupRule {
        id,
        group: SecurityGroupId::from(place.group),
        traffic,
        peer,
    });
}

fn peer(list: &str, node: &Node<'_>) -> Result<(PeerKey, RulePeer), Fault> {
    match list {
        "IpRanges" => {
            let text = node.required("CidrIp")?;
            let network = node.parsed("CidrIp", "an IPv4 network", network_v4)?;
            Ok((
                PeerKey::network(text),
                network.map_or(RulePeer::Unread, RulePeer::Network),
            ))
        }
        "Ipv6Ranges" => {
            let text = node.required("CidrIpv6")?;
            let network = node.parsed("CidrIpv6", "an IPv6 network", network_v6)?;
            Ok((
                PeerKey::network(text),
                network.map_or(RulePeer::Unread, RulePeer::Network),
            ))
        }
        "PrefixListIds" => {
            let id = node.required("PrefixListId")?;
            Ok((
                PeerKey::PrefixList(id.to_owned()),
                RulePeer::PrefixList(PrefixListId::from(id)),
            ))
        }
        _ => {
            let group = node.required("GroupId")?;
            let reference = GroupReference {
                group: SecurityGroupId::from(group),
                account: node.text("UserId")?.map(AccountId::from),
                peering: node.text("VpcPeeringConnectionId")?.map(PeeringId::from),
                freshness: Freshness::Fresh,
            };
            Ok((PeerKey::Group(group.to_owned()), RulePeer::Group(reference)))
        }
    }
}
