//! Causes in words. Raw text of the snapshot is in them: whoever prints it wraps it in [`crate::net::Printable`].

use std::net::IpAddr;

use super::{Cause, Obstacle, Packets, Peer};
use crate::class::Classes;
use crate::flow::{FlowProtocol, TCP, UDP};
use crate::id::SecurityGroupId;
use crate::prediction::{Gate, RouteReason};
use crate::snapshot::{Direction, FINAL_RULE_NUMBER_V4, Snapshot};

/// Most names in one list of a line.
const NAMES_MAX: usize = 3;

/// What holds an address, as people call it.
pub(super) fn holder(snapshot: &Snapshot, classes: &Classes, address: IpAddr) -> String {
    let class = classes.of(address).map(|id| classes.class(id));
    class.map_or_else(
        || {
            let name = snapshot.address_name(address);
            name.unwrap_or_else(|| address.to_string())
        },
        |class| class.holder_name(snapshot),
    )
}

impl Cause {
    /// Says who cannot reach whom: `SOURCES -> DESTINATIONS PROTOCOLS`.
    #[must_use]
    pub fn title(&self) -> String {
        let mut protocols: Vec<FlowProtocol> =
            self.flows.iter().map(|flow| flow.protocol).collect();
        protocols.sort();
        protocols.dedup();
        let protocols: Vec<String> = protocols.iter().map(ToString::to_string).collect();
        format!(
            "{} -> {} {}",
            listed(&self.sources),
            listed(&self.destinations),
            listed(&protocols)
        )
    }

    /// Says why, gate by gate.
    #[must_use]
    pub fn why(&self, snapshot: &Snapshot) -> Vec<String> {
        let words = self.obstacles.iter();
        words.map(|obstacle| obstacle.why(snapshot)).collect()
    }
}

impl Obstacle {
    /// Says what is wrong, in one line without a full stop.
    #[must_use]
    pub fn why(&self, snapshot: &Snapshot) -> String {
        match self {
            Self::Groups {
                direction,
                groups,
                peer,
                protocol,
            } => groups_why(snapshot, *direction, (groups, peer), *protocol),
            Self::Acl {
                gate,
                acl,
                rule_number,
                missing,
            } => {
                let direction = direction(*gate);
                let what = match missing {
                    Some(packets) => said(packets),
                    None if is_reply(*gate) => "replies".to_owned(),
                    None => "the packets".to_owned(),
                };
                if *rule_number >= FINAL_RULE_NUMBER_V4 {
                    format!("no {direction} entry of {acl} lets {what} pass")
                } else {
                    format!("{direction} entry {rule_number} of {acl} drops {what}")
                }
            }
            Self::Route {
                gate,
                table,
                reason,
            } => {
                let way = if *gate == Gate::ReturnRoute {
                    "back to the source"
                } else {
                    "to the destination"
                };
                let table = table.as_ref().map_or("no route table", |id| id.as_str());
                format!("{table}: {} {way}", route(*reason))
            }
            Self::SourceDestCheck { at } => {
                format!(
                    "the source/destination check of {at} is on, and the source is not its address"
                )
            }
            Self::NotKnown { reason, by } if by.is_empty() => {
                format!("nothing that is known stops it; not known: {reason}")
            }
            Self::NotKnown { reason, by } => {
                format!(
                    "nothing that is known stops it; not known: {reason} ({})",
                    listed(by)
                )
            }
        }
    }
}

/// What no rule of the groups at an end says.
fn groups_why(
    snapshot: &Snapshot,
    direction: Direction,
    (groups, peer): (&[SecurityGroupId], &Peer),
    protocol: FlowProtocol,
) -> String {
    let own = group_list(snapshot, groups);
    let other = match peer {
        Peer::Groups(groups) => group_list(snapshot, groups),
        Peer::Address(address) => address.to_string(),
    };
    match direction {
        Direction::Egress => format!("no egress rule of {own} lets {protocol} out to {other}"),
        Direction::Ingress => format!("no ingress rule of {own} admits {protocol} from {other}"),
    }
}

fn is_reply(gate: Gate) -> bool {
    matches!(gate, Gate::NaclReturnOut | Gate::NaclReturnIn)
}

fn direction(gate: Gate) -> &'static str {
    if matches!(gate, Gate::NaclOut | Gate::NaclReturnOut) {
        "outbound"
    } else {
        "inbound"
    }
}

fn said(packets: &Packets) -> String {
    match packets {
        Packets::Opening(protocol) => protocol.to_string(),
        Packets::Replies(TCP, ports) => format!("replies to tcp ports {ports}"),
        Packets::Replies(UDP, ports) => format!("replies to udp ports {ports}"),
        Packets::Replies(_, _) => "replies".to_owned(),
    }
}

fn route(reason: RouteReason) -> &'static str {
    match reason {
        RouteReason::None => "no route",
        RouteReason::Blackhole => "a blackhole route, whose target is gone,",
        RouteReason::Filtered => "a filtered route",
        RouteReason::FarSide => "a route to a peering or gateway that does not lead",
        RouteReason::TgwZone => "a transit gateway without an attachment in the zone",
        RouteReason::Nat => "a route over a NAT gateway",
        RouteReason::Igw => "a route over an internet gateway",
        RouteReason::Other => "a route that does not lead",
    }
}

/// Groups with their names.
fn group_list(snapshot: &Snapshot, groups: &[SecurityGroupId]) -> String {
    if groups.is_empty() {
        return "no group".to_owned();
    }
    let named: Vec<String> = groups
        .iter()
        .map(|id| {
            match snapshot
                .security_group(id)
                .and_then(|group| group.display_name())
            {
                Some(name) => format!("{id} ({name})"),
                None => id.to_string(),
            }
        })
        .collect();
    listed(&named)
}

/// Texts with commas, the rest as a number.
fn listed(texts: &[String]) -> String {
    let shown: Vec<&str> = texts.iter().take(NAMES_MAX).map(String::as_str).collect();
    match texts.len().saturating_sub(NAMES_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
