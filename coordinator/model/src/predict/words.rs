//! Sentences for people: what decided, and for a deny what was missing.

use std::net::IpAddr;

use super::Sender;
use super::network_acl::AclAnswer;
use super::route::{Hop, Path};
use super::security_group::Admission;
use crate::flow::{Flow, FlowProtocol};
use crate::net::PortRange;
use crate::prediction::{RouteReason, UnknownReason};
use crate::snapshot::{
    Direction, InterfaceEntry, NetworkAcl, Owner, Policing, SecurityGroupRule, Snapshot,
};

/// Most endpoints of a service that are named.
const ENDPOINTS_MAX: usize = 10;

/// Who the two ends are.
pub(super) fn endpoints(
    snapshot: &Snapshot,
    flow: &Flow,
    sender: Sender<'_>,
    receiver: Option<&InterfaceEntry>,
) -> String {
    let from = whose(snapshot, flow.source, sender.entry);
    let to = receiver.map_or_else(
        || format!("{} has no owner that the way leads to", flow.destination),
        |entry| whose(snapshot, flow.destination, entry),
    );
    if sender.address == flow.source {
        format!("{from}; {to}")
    } else {
        format!(
            "{} leaves the VPC and is translated: {}; {to}",
            flow.source,
            whose(snapshot, sender.address, sender.entry)
        )
    }
}

fn whose(snapshot: &Snapshot, address: IpAddr, entry: &InterfaceEntry) -> String {
    let interface = &entry.interface;
    let name = snapshot
        .interface_name(interface)
        .map(|name| format!(" ({name})"))
        .unwrap_or_default();
    format!("{address} is on {}{name}", interface.id)
}

/// Why the walk ends among the endpoints.
pub(super) fn outside(reason: &UnknownReason, flow: &Flow) -> String {
    match reason {
        UnknownReason::SrcOutsideModel => format!(
            "no interface of the snapshot sends {}: judged as seen at the other end; if the address is translated on \
             the way, ask with the translated one",
            flow.source
        ),
        UnknownReason::AmbiguousAddress => {
            format!("{} or {} has several owners", flow.source, flow.destination)
        }
        UnknownReason::SameHostBranch => {
            "both pods are on one node with different groups: sources disagree whether they can connect"
                .to_owned()
        }
        UnknownReason::UnresolvedRule { .. }
        | UnknownReason::NoGroups
        | UnknownReason::Middlebox
        | UnknownReason::ReturnMiddlebox
        | UnknownReason::Nat
        | UnknownReason::Igw
        | UnknownReason::Vgw
        | UnknownReason::Other
        | UnknownReason::DstOutsideModel
        | UnknownReason::NetworkPolicy
        | UnknownReason::Tgw
        | UnknownReason::ServiceAddress
        | UnknownReason::Conflict => "the snapshot does not say enough about the source".to_owned(),
    }
}

/// Why the far side cannot be judged.
pub(super) fn unreachable(reason: &UnknownReason, destination: IpAddr) -> String {
    match reason {
        UnknownReason::DstOutsideModel => format!(
            "no interface to which the way leads owns {destination}: judged as seen at this end; if the address is \
             translated on the way, ask with the translated one"
        ),
        UnknownReason::UnresolvedRule { .. }
        | UnknownReason::NoGroups
        | UnknownReason::Middlebox
        | UnknownReason::ReturnMiddlebox
        | UnknownReason::Nat
        | UnknownReason::Igw
        | UnknownReason::Vgw
        | UnknownReason::Other
        | UnknownReason::SameHostBranch
        | UnknownReason::SrcOutsideModel
        | UnknownReason::AmbiguousAddress
        | UnknownReason::NetworkPolicy
        | UnknownReason::Tgw
        | UnknownReason::ServiceAddress
        | UnknownReason::Conflict => {
            "beyond this way another source address may be seen: its gates cannot be judged"
                .to_owned()
        }
    }
}

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

/// Which route wins.
pub(super) fn hop(hop: &Hop<'_>, address: IpAddr, reason: Option<RouteReason>) -> String {
    let route = hop
        .route
        .map(|(network, target)| format!("{network} -> {}", target.as_str()));
    match (reason, route) {
        (Some(RouteReason::None), _) => format!("no route covers {address}"),
        (Some(RouteReason::FarSide), Some(route)) => {
            format!("{route} does not lead to the VPC of {address}")
        }
        (Some(RouteReason::TgwZone), Some(route)) => {
            format!("{route} has no attachment subnet in the zone of the sender")
        }
        (Some(reason), Some(route)) => {
            format!(
                "{route} does not deliver to {address} ({})",
                reason.as_str()
            )
        }
        (Some(reason), None) => format!("{address} is not delivered ({})", reason.as_str()),
        (None, Some(route)) => route,
        (None, None) => match hop.path {
            Path::SameSubnet => format!("{address} is in the same subnet"),
            Path::Local
            | Path::Middlebox
            | Path::Peering { .. }
            | Path::FarSide
            | Path::TransitGateway(_)
            | Path::Nat
            | Path::InternetGateway
            | Path::VpnGateway
            | Path::Other
            | Path::Unread
            | Path::Conflict
            | Path::None
            | Path::Blackhole
            | Path::Filtered => format!("which route holds for {address} could not be read"),
        },
    }
}

/// Which entry decides.
pub(super) fn acl(acl: Option<&NetworkAcl>, answer: AclAnswer) -> String {
    match (answer, acl) {
        (AclAnswer::Allow(number), _) => format!("entry {number} allows"),
        (AclAnswer::Deny(number @ (32_767 | 32_768)), _) => {
            format!("no entry matches, the final one ({number}) denies")
        }
        (AclAnswer::Deny(number), _) => format!("entry {number} denies"),
        (AclAnswer::Unsure, Some(_)) => "an entry that could not be read may decide".to_owned(),
        (AclAnswer::Unsure, None) => {
            "the snapshot has no list that holds for the subnet".to_owned()
        }
    }
}

/// What a list says about replies to a range of source ports, or about the reply to an echo.
pub(super) fn replies(
    protocol: FlowProtocol,
    ports: PortRange,
    answers: &[(PortRange, AclAnswer)],
) -> String {
    if let (Some(_), Some((_, answer))) = (protocol.echo_reply(), answers.first()) {
        return match answer {
            AclAnswer::Allow(number) => format!("entry {number} allows the echo reply"),
            AclAnswer::Deny(number) => format!("entry {number} denies the echo reply"),
            AclAnswer::Unsure => "an entry for the echo reply could not be read".to_owned(),
        };
    }
    let denied: Vec<_> = answers
        .iter()
        .filter_map(|(ports, answer)| match answer {
            AclAnswer::Deny(number) => Some(format!("{ports} (entry {number})")),
            AclAnswer::Allow(_) | AclAnswer::Unsure => None,
        })
        .collect();
    let is_unsure = answers
        .iter()
        .any(|(_, answer)| *answer == AclAnswer::Unsure);
    match (denied.is_empty(), is_unsure) {
        (true, false) => format!("replies to all source ports {ports} pass"),
        (true, true) => format!("an entry for replies to {ports} could not be read"),
        (false, _) => format!(
            "of replies to source ports {ports} the list denies {}",
            denied.join(", ")
        ),
    }
}

/// Which service has an address, and whom to ask about instead.
pub(super) fn service(snapshot: &Snapshot, address: IpAddr) -> String {
    let Some(service) = snapshot.service_at(address) else {
        return format!(
            "{address} is in the range of service addresses, which kube-proxy translates: ask about the endpoints of the \
             service"
        );
    };
    let name = format!("{}/{}", service.namespace, service.name);
    let endpoints: Vec<String> = service
        .endpoints
        .iter()
        .take(ENDPOINTS_MAX)
        .map(ToString::to_string)
        .collect();
    let more = service.endpoints.len().saturating_sub(ENDPOINTS_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    if endpoints.is_empty() {
        return format!(
            "{address} is service {name}, which kube-proxy translates; the snapshot has no endpoint of it to ask about"
        );
    }
    format!(
        "{address} is service {name}, which kube-proxy translates: ask about its endpoints {}{more}",
        endpoints.join(", ")
    )
}

/// Which policies select the ends, and what would hold without them.
pub(super) fn policies(alone: &str, source: &Policing<'_>, destination: &Policing<'_>) -> String {
    let ends = [("source", source), ("destination", destination)];
    let parts: Vec<String> = ends
        .into_iter()
        .filter_map(|(end, policing)| policies_of(end, policing))
        .collect();
    format!(
        "security groups: {alone}; {}; policies are not evaluated",
        parts.join("; ")
    )
}

fn policies_of(end: &str, policing: &Policing<'_>) -> Option<String> {
    match policing {
        Policing::None => None,
        Policing::PerhapsPod => Some(format!(
            "the {end} could be a pod of which nothing is known, and there are policies"
        )),
        Policing::DeniedByDefault => Some(format!(
            "no policy selects the {end}, and the VPC CNI denies such pods everything (NETWORK_POLICY_ENFORCING_MODE)"
        )),
        Policing::Selected(policies) => {
            let names: Vec<String> = policies.iter().map(ToString::to_string).collect();
            let verb = if policies.len() == 1 {
                "policy selects"
            } else {
                "policies select"
            };
            Some(format!(
                "{} {verb} the {end} ({})",
                policies.len(),
                names.join(", ")
            ))
        }
    }
}
