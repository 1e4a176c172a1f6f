//! Sentences about who the two ends are, and why the walk ends among them.

use std::net::IpAddr;

use super::super::Sender;
use crate::flow::Flow;
use crate::prediction::UnknownReason;
use crate::snapshot::{InterfaceEntry, Snapshot};

/// Who the two ends are.
pub(in crate::predict) fn endpoints(
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
pub(in crate::predict) fn outside(reason: &UnknownReason, flow: &Flow) -> String {
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
pub(in crate::predict) fn unreachable(reason: &UnknownReason, destination: IpAddr) -> String {
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
