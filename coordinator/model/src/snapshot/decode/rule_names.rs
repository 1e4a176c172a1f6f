//! Names of rules: which `sgr-` id belongs to which rule of which group, and which references are stale.

use std::collections::HashSet;

use super::Decoder;
use super::protocol::{ANY, Protocol, protocol};
use crate::describe::{Fault, Node};
use crate::net::network;
use crate::snapshot::{Consequence, Direction};

/// What makes two descriptions of a rule the same one (K.1 "Naming rules").
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RuleKey {
    group: String,
    direction: Direction,
    protocol: Protocol,
    ports: (i64, i64),
    peer: PeerKey,
}

/// The peer of a rule, as far as it tells rules apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum PeerKey {
    /// A network, bits below the prefix cleared where it is one.
    Network(String),
    /// A prefix list.
    PrefixList(String),
    /// A group.
    Group(String),
}

impl PeerKey {
    /// A network as the API spells it.
    pub(super) fn network(text: &str) -> Self {
        Self::Network(network(text).map_or_else(|_| text.to_owned(), |network| network.to_string()))
    }
}

/// Protocol and ports of a permission, in the form that both answers share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permission {
    protocol: Protocol,
    ports: (i64, i64),
}

impl Permission {
    /// Reads `IpProtocol`, `FromPort` and `ToPort`: absent ports are -1, and of `-1` they do not count.
    pub(super) fn read(node: &Node<'_>) -> Result<Self, Fault> {
        let protocol = protocol(node, "IpProtocol")?;
        let ports = match protocol {
            Protocol::Any => (ANY, ANY),
            Protocol::Number(_) => (
                node.integer("FromPort")?.unwrap_or(ANY),
                node.integer("ToPort")?.unwrap_or(ANY),
            ),
        };
        Ok(Self { protocol, ports })
    }

    /// The key of a rule with this protocol and these ports.
    pub(super) fn key(self, group: &str, direction: Direction, peer: PeerKey) -> RuleKey {
        RuleKey {
            group: group.to_owned(),
            direction,
            protocol: self.protocol,
            ports: self.ports,
            peer,
        }
    }
}

impl<'a> Decoder<'a> {
    /// Reads the names of all rules; of several for the same rule the lowest counts.
    pub(super) fn rule_names(&mut self) {
        let rows = self.rows("describe-security-group-rules", "SecurityGroupRules");
        for row in rows {
            let named = self.read(named_rule(&row), Consequence::RulesNamedByPosition);
            let Some((key, name)) = named else {
                continue;
            };
            let known = self
                .groups_named
                .entry(key)
                .or_insert_with(|| name.to_owned());
            if name < known.as_str() {
                name.clone_into(known);
            }
        }
    }

    /// Reads the references that no longer count.
    pub(super) fn stale_references(&mut self) -> HashSet<RuleKey> {
        let mut stale = HashSet::new();
        let rows = self.rows("describe-stale-security-groups", "StaleSecurityGroupSet");
        for row in rows {
            for (list, direction) in [
                ("StaleIpPermissions", Direction::Ingress),
                ("StaleIpPermissionsEgress", Direction::Egress),
            ] {
                let permissions = self.read(row.list(list), Consequence::StaleUnknown);
                for permission in permissions.unwrap_or_default() {
                    let keys = stale_keys(&row, &permission, direction);
                    stale.extend(
                        self.read(keys, Consequence::StaleUnknown)
                            .unwrap_or_default(),
                    );
                }
            }
        }
        stale
    }
}

fn named_rule<'a>(row: &Node<'a>) -> Result<(RuleKey, &'a str), Fault> {
    let name = row.required("SecurityGroupRuleId")?;
    let row = row.clone().named(name);
    let group = row.required("GroupId")?;
    let direction = match row
        .flag("IsEgress")?
        .ok_or_else(|| row.missing("IsEgress"))?
    {
        true => Direction::Egress,
        false => Direction::Ingress,
    };
    let permission = Permission::read(&row)?;
    Ok((permission.key(group, direction, named_peer(&row)?), name))
}

fn named_peer(row: &Node<'_>) -> Result<PeerKey, Fault> {
    for field in ["CidrIpv4", "CidrIpv6"] {
        if let Some(text) = row.text(field)? {
            return Ok(PeerKey::network(text));
        }
    }
    if let Some(id) = row.text("PrefixListId")? {
        return Ok(PeerKey::PrefixList(id.to_owned()));
    }
    let reference = row
        .field("ReferencedGroupInfo")
        .ok_or_else(|| row.missing("ReferencedGroupInfo"))?;
    Ok(PeerKey::Group(reference.required("GroupId")?.to_owned()))
}

fn stale_keys(
    row: &Node<'_>,
    permission: &Node<'_>,
    direction: Direction,
) -> Result<Vec<RuleKey>, Fault> {
    let group = row.required("GroupId")?;
    let shape = Permission::read(permission)?;
    permission
        .list("UserIdGroupPairs")?
        .iter()
        .map(|pair| {
            let peer = PeerKey::Group(pair.required("GroupId")?.to_owned());
            Ok(shape.key(group, direction, peer))
        })
        .collect()
}
