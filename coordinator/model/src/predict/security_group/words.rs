//! Sentences about groups: the rule that admits, or what was missing.

use std::net::IpAddr;

use super::Admission;
use crate::flow::Flow;
use crate::snapshot::{Direction, InterfaceEntry, Owner, SecurityGroupRule, Snapshot};

/// The rule that admits, or what was missing.
pub(super) fn admission(
    snapshot: &Snapshot,
    direction: Direction,
    entry: &InterfaceEntry,
    (flow, peer): (&Flow, IpAddr),
    admission: Option<&Admission>,
) -> String {
    let preposition = preposition(direction);
    match admission {
        Some(Admission::By(id)) => rule_of(snapshot, entry, direction, id.as_str()).map_or_else(
            || format!("admitted by {id}"),
            |rule| admitted(snapshot, rule, preposition),
        ),
        Some(Admission::Unresolved(rules)) => {
            let names: Vec<_> = rules.iter().map(ToString::to_string).collect();
            format!(
                "no rule admits {} {preposition} {peer} for certain, {} could not be resolved",
                flow.protocol,
                names.join(", ")
            )
        }
        Some(Admission::NoGroups) => {
            "the interface has no security group that the model could ask".to_owned()
        }
        None => refused(snapshot, entry, direction, (flow, peer)),
    }
}

fn preposition(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "to",
        Direction::Ingress => "from",
    }
}

fn admitted(snapshot: &Snapshot, rule: &SecurityGroupRule, preposition: &str) -> String {
    let peer = match &rule.peer {
        crate::snapshot::RulePeer::Group(reference) => {
            group_name(snapshot, reference.group.as_str())
        }
        crate::snapshot::RulePeer::Network(_)
        | crate::snapshot::RulePeer::PrefixList(_)
        | crate::snapshot::RulePeer::Unread => rule.peer.to_string(),
    };
    format!(
        "{} of {} admits {} {preposition} {peer}",
        rule.id,
        group_name(snapshot, rule.group.as_str()),
        rule.traffic
    )
}

/// What was missing: which groups have no rule, and by which networks or groups one could admit the peer.
fn refused(
    snapshot: &Snapshot,
    entry: &InterfaceEntry,
    direction: Direction,
    (flow, peer): (&Flow, IpAddr),
) -> String {
    let preposition = preposition(direction);
    let groups: Vec<_> = entry
        .interface
        .groups
        .iter()
        .map(|id| group_name(snapshot, id.as_str()))
        .collect();
    let member = match snapshot.owner(peer) {
        Owner::One(interface) if !interface.groups.is_empty() => {
            let carried: Vec<_> = interface
                .groups
                .iter()
                .map(|id| group_name(snapshot, id.as_str()))
                .collect();
            format!(
                ", nor {preposition} a group of {}: {}",
                interface.id,
                carried.join(", ")
            )
        }
        Owner::One(_) | Owner::Nobody | Owner::Several(_) => String::new(),
    };
    format!(
        "no rule of {} admits {} {preposition} {peer}{member}",
        groups.join(", "),
        flow.protocol
    )
}

fn rule_of<'s>(
    snapshot: &'s Snapshot,
    entry: &InterfaceEntry,
    direction: Direction,
    id: &str,
) -> Option<&'s SecurityGroupRule> {
    entry
        .interface
        .groups
        .iter()
        .filter_map(|group| snapshot.security_group(group))
        .flat_map(|group| group.rules(direction))
        .find(|rule| rule.id.as_str() == id)
}

/// `sg-… (NAME)`.
fn group_name(snapshot: &Snapshot, id: &str) -> String {
    let name = snapshot
        .security_group(&crate::id::SecurityGroupId::from(id))
        .and_then(|group| group.display_name());
    match name {
        Some(name) => format!("{id} ({name})"),
        None => id.to_owned(),
    }
}
