//! Security groups and their rules (A).

use std::fmt;

use ipnet::IpNet;

use super::traffic::Traffic;
use crate::id::{AccountId, PeeringId, PrefixListId, RuleId, SecurityGroupId, VpcId};

/// A security group with its rules, one for each peer (A.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroup {
    /// Its id.
    pub id: SecurityGroupId,
    /// Its name, empty where absent.
    pub name: String,
    /// VPC in which it was made; it may be associated with others (A.3).
    pub vpc: Option<VpcId>,
    /// Account that owns it.
    pub owner: Option<AccountId>,
    /// Rules for packets that arrive, sorted by id.
    pub ingress: Vec<SecurityGroupRule>,
    /// Rules for packets that leave, sorted by id.
    pub egress: Vec<SecurityGroupRule>,
    /// The `Name` tag.
    pub label: Option<String>,
}

impl SecurityGroup {
    /// Returns the rules of one direction, sorted by id.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> &[SecurityGroupRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Returns the name that people know: the group's name, else its `Name` tag.
    #[must_use]
    pub fn display_name(&self) -> Option<&str> {
        Some(self.name.as_str())
            .filter(|name| !name.is_empty())
            .or(self.label.as_deref())
    }
}

/// Way of a packet, seen from the interface or subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// It arrives.
    Ingress,
    /// It leaves.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// One rule: traffic to or from one peer is admitted. There are no rules that deny (A.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroupRule {
    /// Its name in answers (K.1 "Naming rules").
    pub id: RuleId,
    /// Group whose rule it is.
    pub group: SecurityGroupId,
    /// Protocols and ports.
    pub traffic: Traffic,
    /// The other side.
    pub peer: RulePeer,
}

/// The other side of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RulePeer {
    /// Addresses of a network; it never matches the other family (A.2).
    Network(IpNet),
    /// Addresses of a managed prefix list.
    PrefixList(PrefixListId),
    /// Private addresses of the interfaces that carry a group (A.3).
    Group(GroupReference),
    /// Nobody can tell.
    Unread,
}

/// A reference of a rule to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReference {
    /// The group.
    pub group: SecurityGroupId,
    /// Account of the group; absent when the group was deleted in another VPC (EC2M).
    pub account: Option<AccountId>,
    /// Peering over which the group is reached.
    pub peering: Option<PeeringId>,
    /// Whether the reference still counts.
    pub freshness: Freshness,
}

/// Whether a reference to a group still counts (A.3, K.1 "SG references").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It does.
    Fresh,
    /// Its group or peering is gone: it never matches.
    Stale,
}

impl fmt::Display for RulePeer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(formatter),
            Self::PrefixList(id) => id.fmt(formatter),
            Self::Group(reference) => match reference.freshness {
                Freshness::Fresh => reference.group.fmt(formatter),
                Freshness::Stale => write!(formatter, "{} (stale)", reference.group),
            },
            Self::Unread => formatter.write_str("?"),
        }
    }
}
