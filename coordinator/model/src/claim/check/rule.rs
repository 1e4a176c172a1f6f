//! Whether a group has a rule.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::super::groups::{GroupWord, UnknownGroup, listed};
use super::super::members::NO_CLUSTER;
use super::super::{Look, World};
use crate::flow::FlowProtocol;
use crate::id::SecurityGroupId;
use crate::snapshot::{
    Direction, Freshness, Match, RulePeer, SecurityGroup, SecurityGroupRule, Traffic,
};

/// A rule that a group must have, or several that together do as much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCheck {
    /// Whose rule: one of these groups must have it.
    pub of: GroupWord,
    /// For packets that arrive or leave.
    pub direction: Direction,
    /// What it admits.
    pub packets: RulePackets,
    /// From or to whom.
    pub peer: Peer,
}

/// What a rule admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RulePackets {
    /// Everything.
    All,
    /// Each of these.
    These(Vec<FlowProtocol>),
}

/// The other side of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// The group itself.
    Itself,
    /// Every address of one of the two families.
    Anywhere,
    /// Whoever.
    Anybody,
    /// Every remote node and pod network of the cluster (D.7).
    RemoteNetworks,
    /// Each address of a network.
    Network(IpNet),
    /// Each of these groups.
    Group(GroupWord),
}

/// Words that mean no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no words for a peer: write `itself`, `anywhere`, `anybody`, `remote networks`, a network or a group"
)]
pub struct InvalidPeer(#[from] UnknownGroup);

const WORDS: [(&str, Peer); 4] = [
    ("itself", Peer::Itself),
    ("anywhere", Peer::Anywhere),
    ("anybody", Peer::Anybody),
    ("remote networks", Peer::RemoteNetworks),
];

impl FromStr for Peer {
    type Err = InvalidPeer;

    fn from_str(text: &str) -> Result<Self, InvalidPeer> {
        let text = text.trim();
        if let Some((_, peer)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(peer.clone());
        }
        match text.parse() {
            Ok(network) => Ok(Self::Network(network)),
            Err(_) => Ok(Self::Group(text.parse()?)),
        }
    }
}

impl fmt::Display for Peer {
    /// Writes the words, raw text.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(formatter),
            Self::Group(group) => group.fmt(formatter),
            Self::Itself | Self::Anywhere | Self::Anybody | Self::RemoteNetworks => {
                let words = WORDS.iter().find(|(_, peer)| peer == self);
                formatter.write_str(words.map_or("", |(word, _)| word))
            }
        }
    }
}

impl RuleCheck {
    /// Looks for rules that admit each packet to each peer.
    pub(super) fn look(&self, world: &World<'_>) -> Look {
        match self.found(world) {
            Ok(look) => look,
            Err(why) => Look::unsure(why),
        }
    }

    fn found(&self, world: &World<'_>) -> Result<Look, String> {
        let ids = self.of.groups(world)?;
        let shown = listed(world.snapshot, &ids);
        let described: Vec<&SecurityGroup> = ids
            .iter()
            .filter_map(|id| world.snapshot.security_group(id))
            .collect();
        if described.len() < ids.len() {
            return Err(format!("{shown} is not in `describe-security-groups`"));
        }
        let rules = described
            .into_iter()
            .flat_map(|group| group.rules(self.direction));
        let rules: Vec<&SecurityGroupRule> = rules.collect();
        let mut used = BTreeSet::new();
        let mut answer = Match::Yes;
        for peer in self.peers(world)? {
            for packet in self.wanted() {
                let found = rules.iter().map(|rule| (rule, peer.admitted(rule, packet)));
                let best = found.max_by_key(|(_, admitted)| *admitted);
                match best {
                    Some((rule, Match::Yes)) => {
                        used.insert(rule.id.to_string());
                    }
                    Some((_, admitted)) => answer = answer.and(admitted),
                    None => answer = Match::No,
                }
            }
        }
        let what = format!(
            "{} {} {}",
            self.direction,
            self.packets,
            match self.direction {
                Direction::Ingress => format!("from {}", self.peer),
                Direction::Egress => format!("to {}", self.peer),
            }
        );
        let text = match answer {
            Match::Yes => {
                let used: Vec<String> = used.into_iter().collect();
                format!("{shown} has {what}: {}", used.join(", "))
            }
            Match::No => format!("{shown} has no rule for {what}"),
            Match::Unsure => format!("a rule of {shown} could not be read"),
        };
        Ok(Look { answer, text })
    }

    fn wanted(&self) -> Vec<Option<FlowProtocol>> {
        match &self.packets {
            RulePackets::All => vec![None],
            RulePackets::These(packets) => packets.iter().copied().map(Some).collect(),
        }
    }

    /// Whom rules must name, each one.
    fn peers(&self, world: &World<'_>) -> Result<Vec<Named>, String> {
        Ok(match &self.peer {
            Peer::Itself => vec![Named::Own],
            Peer::Anywhere => vec![Named::Anywhere],
            Peer::Anybody => vec![Named::Anybody],
            Peer::Network(network) => vec![Named::Network(*network)],
            Peer::Group(group) => group.groups(world)?.into_iter().map(Named::Group).collect(),
            Peer::RemoteNetworks => remote_networks(world)?
                .into_iter()
                .map(Named::Network)
                .collect(),
        })
    }
}

/// One peer that a rule must name.
enum Named {
    Own,
    Anywhere,
    Anybody,
    Network(IpNet),
    Group(SecurityGroupId),
}

impl Named {
    fn admitted(&self, rule: &SecurityGroupRule, packet: Option<FlowProtocol>) -> Match {
        let traffic = match (packet, &rule.traffic) {
            (Some(packet), traffic) => traffic.matches(packet),
            (None, Traffic::All) => Match::Yes,
            (None, Traffic::Unread) => Match::Unsure,
            (
                None,
                Traffic::Tcp(_)
                | Traffic::Udp(_)
                | Traffic::Icmp(_)
                | Traffic::IcmpV6(_)
                | Traffic::Protocol(_),
            ) => Match::No,
        };
        traffic.and(self.is_named(rule))
    }

    fn is_named(&self, rule: &SecurityGroupRule) -> Match {
        let references = |wanted: &SecurityGroupId| match &rule.peer {
            RulePeer::Group(found) => {
                Match::from(found.group == *wanted && found.freshness == Freshness::Fresh)
            }
            RulePeer::Unread => Match::Unsure,
            RulePeer::Network(_) | RulePeer::PrefixList(_) => Match::No,
        };
        match self {
            Self::Own => references(&rule.group),
            Self::Group(group) => references(group),
            Self::Anybody => Match::Yes,
            Self::Anywhere => match &rule.peer {
                RulePeer::Network(network) => Match::from(network.prefix_len() == 0),
                RulePeer::Unread => Match::Unsure,
                RulePeer::Group(_) | RulePeer::PrefixList(_) => Match::No,
            },
            Self::Network(wanted) => match &rule.peer {
                RulePeer::Network(network) => Match::from(network.contains(wanted)),
                RulePeer::Unread | RulePeer::PrefixList(_) => Match::Unsure,
                RulePeer::Group(_) => Match::No,
            },
        }
    }
}

/// Networks of hybrid nodes and of their pods (`remoteNetworkConfig`).
fn remote_networks(world: &World<'_>) -> Result<Vec<IpNet>, String> {
    let mut answers = world.described.family("describe-cluster");
    let answer = answers.next().ok_or(NO_CLUSTER)?;
    let mut found = Vec::new();
    for list in ["remoteNodeNetworks", "remotePodNetworks"] {
        let place = format!("/cluster/remoteNetworkConfig/{list}");
        let entries = answer
            .value()
            .pointer(&place)
            .and_then(|list| list.as_array());
        for entry in entries.into_iter().flatten() {
            let networks = entry.get("cidrs").and_then(|cidrs| cidrs.as_array());
            for network in networks.into_iter().flatten().filter_map(|it| it.as_str()) {
                let parsed = network
                    .parse::<IpNet>()
                    .or_else(|_| network.parse::<IpAddr>().map(IpNet::from));
                found.push(parsed.map_err(|_| format!("`{network}` of `{list}` is no network"))?);
            }
        }
    }
    if found.is_empty() {
        return Err("`describe-cluster` names no remote network".to_owned());
    }
    Ok(found)
}

impl fmt::Display for RulePackets {
    /// Writes `all`, or each packet.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::These(packets) => {
                let words: Vec<String> = packets.iter().map(ToString::to_string).collect();
                formatter.write_str(&words.join(", "))
            }
        }
    }
}
