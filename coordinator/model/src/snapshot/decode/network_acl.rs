//! Network ACLs.

use std::collections::BTreeSet;

use super::{Decoder, Item};
use crate::describe::Node;
use crate::id::{NetworkAclId, SubnetId, VpcId};
use crate::net::{network_v4, network_v6};
use crate::snapshot::{
    AclAction, Completeness, Consequence, FINAL_RULE_NUMBER_V6, NetworkAcl, NetworkAclEntry,
    Readable, Traffic, Views,
};

impl<'a> Decoder<'a> {
    pub(super) fn network_acls(&mut self) {
        let rows = self.rows("describe-network-acls", "NetworkAcls");
        let (items, mut completeness) =
            self.things(rows, "NetworkAclId", Consequence::SubnetUnknown);
        let mut defaults = Vec::new();
        let mut explicit = Vec::new();
        let mut contradicted = Vec::new();
        for item in items {
            let (acl, is_default, associations) = self.network_acl(&item);
            if item.sole().is_none() {
                contradicted.push((acl.subnets.clone(), acl.vpc.clone().filter(|_| is_default)));
            }
            if associations == Completeness::Incomplete {
                completeness = Completeness::Incomplete;
            }
            let (vpc, subnets) = (acl.vpc.clone(), acl.subnets.clone());
            let key = self.snapshot.network_acls.push(acl);
            explicit.extend(subnets.into_iter().map(|subnet| (subnet, key)));
            defaults.extend(is_default.then_some((vpc, key)));
        }
        let named: BTreeSet<SubnetId> = explicit.iter().map(|(id, _)| id.clone()).collect();
        let chosen = self.choose_lists("describe-network-acls", explicit, defaults, completeness);
        for (subnet, key) in chosen {
            self.snapshot.subnets.at_mut(subnet).acl = key;
        }
        for (subnets, vpc) in contradicted {
            self.contradict_lists(&subnets, vpc.as_ref(), &named);
        }
    }

    /// Marks the subnets for which contradicting views of a list may make it hold: those that a view names, and where one says
    /// that it is the default of the VPC, those that no list names.
    fn contradict_lists(
        &mut self,
        subnets: &[SubnetId],
        default_of: Option<&VpcId>,
        named: &BTreeSet<SubnetId>,
    ) {
        let keys: Vec<_> = self
            .snapshot
            .subnets
            .entries()
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            let entry = self.snapshot.subnets.at_mut(key);
            let subnet = &entry.subnet;
            let is_default = default_of.is_some()
                && subnet.vpc.as_ref() == default_of
                && !named.contains(&subnet.id);
            if subnets.contains(&subnet.id) || is_default {
                entry.acl_views = Views::Contradict;
            }
        }
    }

    fn network_acl(&mut self, item: &Item<'a>) -> (NetworkAcl, bool, Completeness) {
        let mut acl = NetworkAcl {
            id: NetworkAclId::from(item.id),
            vpc: None,
            subnets: Vec::new(),
            ingress: Vec::new(),
            egress: Vec::new(),
        };
        let mut is_default = false;
        let mut completeness = Completeness::Complete;
        for node in &item.descriptions {
            acl.vpc = self
                .read(node.required("VpcId"), Consequence::SubnetUnknown)
                .map(VpcId::from);
            match self.read(node.flag("IsDefault"), Consequence::SubnetUnknown) {
                Some(flag) => is_default |= flag.unwrap_or(false),
                None => completeness = Completeness::Incomplete,
            }
            match self.read(associated_subnets(node), Consequence::SubnetUnknown) {
                Some(subnets) => acl.subnets.extend(subnets),
                None => completeness = Completeness::Incomplete,
            }
            self.entries(node, &mut acl);
        }
        if item.sole().is_none() {
            acl.ingress = vec![unread_entry()];
            acl.egress = vec![unread_entry()];
        }
        acl.ingress.sort_by_key(|entry| entry.rule_number);
        acl.egress.sort_by_key(|entry| entry.rule_number);
        (acl, is_default, completeness)
    }

    fn entries(&mut self, node: &Node<'a>, acl: &mut NetworkAcl) {
        let listed = match node.field("Entries") {
            Some(entries) => entries.items(),
            None => Err(node.missing("Entries")),
        };
        let Some(entries) = self.read(listed, Consequence::EntryUnknown) else {
            acl.ingress.push(unread_entry());
            acl.egress.push(unread_entry());
            return;
        };
        for node in entries {
            let direction = match node.flag("Egress") {
                Ok(flag) => flag.ok_or_else(|| node.missing("Egress")),
                Err(fault) => Err(fault),
            };
            let entry = self.entry(&node);
            match self.read(direction, Consequence::EntryUnknown) {
                Some(true) => acl.egress.push(entry),
                Some(false) => acl.ingress.push(entry),
                None => {
                    acl.ingress.push(unread_entry());
                    acl.egress.push(unread_entry());
                }
            }
        }
    }

    fn entry(&mut self, node: &Node<'a>) -> NetworkAclEntry {
        let consequence = Consequence::EntryUnknown;
        let number = match node.integer("RuleNumber") {
            Ok(number) => number
                .and_then(|number| u32::try_from(number).ok())
                .filter(|number| (1..=FINAL_RULE_NUMBER_V6).contains(number))
                .ok_or_else(|| {
                    node.field("RuleNumber").map_or_else(
                        || node.missing("RuleNumber"),
                        |field| field.malformed("a number from 1 to 32768"),
                    )
                }),
            Err(fault) => Err(fault),
        };
        let action = match node.required("RuleAction") {
            Ok("allow") => Ok(AclAction::Allow),
            Ok("deny") => Ok(AclAction::Deny),
            Ok(_) => Err(node.field("RuleAction").map_or_else(
                || node.missing("RuleAction"),
                |field| field.malformed("`allow` or `deny`"),
            )),
            Err(fault) => Err(fault),
        };
        NetworkAclEntry {
            rule_number: self.read(number, consequence),
            action: self
                .read(action, consequence)
                .map_or(Readable::Unread, Readable::Is),
            remote: self.remote(node),
            traffic: self.entry_traffic(node),
        }
    }

    fn remote(&mut self, node: &Node<'a>) -> Readable<ipnet::IpNet> {
        let v4 = node.parsed("CidrBlock", "an IPv4 network", network_v4);
        let v6 = node.parsed("Ipv6CidrBlock", "an IPv6 network", network_v6);
        let v4 = self.read(v4, Consequence::EntryUnknown);
        let v6 = self.read(v6, Consequence::EntryUnknown);
        match (v4, v6) {
            (Some(Some(network)), Some(None)) | (Some(None), Some(Some(network))) => {
                Readable::Is(network)
            }
            (Some(None), Some(None)) => {
                self.note(node.missing("CidrBlock"), Consequence::EntryUnknown);
                Readable::Unread
            }
            (None | Some(_), None | Some(_)) => Readable::Unread,
        }
    }
}

fn associated_subnets(node: &Node<'_>) -> Result<Vec<SubnetId>, crate::describe::Fault> {
    node.list("Associations")?
        .iter()
        .map(|association| association.required("SubnetId").map(SubnetId::from))
        .collect()
}

/// An entry of which nothing is known: it may match anything, anywhere in the list.
fn unread_entry() -> NetworkAclEntry {
    NetworkAclEntry {
        rule_number: None,
        action: Readable::Unread,
        remote: Readable::Unread,
        traffic: Traffic::Unread,
    }
}
