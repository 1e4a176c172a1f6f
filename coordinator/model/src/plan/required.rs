//! What a cluster needs: every agent to the control plane, every pod to CoreDNS.

use std::net::IpAddr;

use super::build::{Candidate, Drafts, candidate};
use super::seed::Sequence;
use super::{AgentKind, ProbeKind, Purpose, RosterAgent, Target};
use crate::expectation::members::{API_SERVER_PORT, DNS_PORT, core_dns};
use crate::flow::{Flow, FlowProtocol};
use crate::snapshot::{EndpointListing, Snapshot};

/// Most agents that ask one control-plane interface for a TLS session: at 2 handshakes a second three for each of them
/// take 8 minutes.
const CERTIFIED_PER_INTERFACE_MAX: usize = 320;

/// Adds what the cluster needs.
pub(super) fn add_required(drafts: &mut Drafts<'_>, sequence: &mut Sequence) {
    let (targets, resolvers) = (
        control_plane_targets(drafts.snapshot).collect::<Vec<_>>(),
        core_dns(drafts.snapshot),
    );
    let agents = sequence.shuffle(drafts.roster.agents().collect());
    for (place, agent) in agents.into_iter().enumerate() {
        // An agent beyond what an interface can take is said for by another of its class.
        if place < CERTIFIED_PER_INTERFACE_MAX || !drafts.has_authority() {
            add_control_plane(drafts, agent, &targets);
        } else {
            drafts.leave_out(targets.len());
        }
        add_core_dns(drafts, agent, &resolvers);
    }
}

/// Adds the flows of `agent` to the control plane.
fn add_control_plane(
    drafts: &mut Drafts<'_>,
    agent: &RosterAgent,
    targets: &[(IpAddr, EndpointListing)],
) {
    for (address, listing) in targets {
        let target = (*address, Target::ControlPlane(*listing));
        if let Some(candidate) = candidate(agent, target, API_SERVER_PORT) {
            drafts.add(candidate, Purpose::Required);
        }
    }
}

/// The first address of each family of every control-plane interface that may be assumed to listen.
pub(crate) fn control_plane_targets(
    snapshot: &Snapshot,
) -> impl Iterator<Item = (IpAddr, EndpointListing)> {
    let interfaces = snapshot.control_plane_interfaces().into_iter();
    interfaces
        .filter(|found| found.endpoint != EndpointListing::Unlisted)
        .flat_map(|found| {
            let addresses = &found.interface.addresses;
            let first = |v4: bool| addresses.iter().copied().find(move |a| a.is_ipv4() == v4);
            [first(true), first(false)]
                .into_iter()
                .flatten()
                .map(move |address| (address, found.endpoint))
        })
}

/// Adds the TCP flows of `wanted` whose source has an agent.
pub(super) fn add_wanted(drafts: &mut Drafts<'_>, wanted: &[&Flow], purpose: Purpose) {
    if wanted.is_empty() {
        return;
    }
    let listed: Vec<_> = control_plane_targets(drafts.snapshot).collect();
    for flow in wanted {
        let FlowProtocol::Tcp { port } = flow.protocol else {
            continue;
        };
        let Some(agent) = drafts.roster.holder(flow.source) else {
            continue;
        };
        let address = flow.destination;
        let listing = listed.iter().find(|(target, _)| *target == address);
        let target = match (drafts.roster.holder(address), listing) {
            (Some(holder), _) if holder.name == agent.name => continue,
            (Some(holder), _) => Target::Agent(holder.name.clone()),
            (None, Some((_, listing))) => Target::ControlPlane(*listing),
            (None, None) => Target::Pod,
        };
        if let Some(candidate) = candidate(agent, (address, target), port) {
            drafts.add(candidate, purpose);
        }
    }
}

/// Adds the flows of an agent in a pod to CoreDNS, over TCP and UDP (D.4).
fn add_core_dns(drafts: &mut Drafts<'_>, agent: &RosterAgent, resolvers: &[IpAddr]) {
    match agent.kind {
        AgentKind::Node => return,
        AgentKind::Pod | AgentKind::Fargate => {}
    }
    for address in resolvers.iter().copied() {
        let target = match drafts.roster.holder(address) {
            Some(holder) if holder.name == agent.name => continue,
            Some(holder) => Target::Agent(holder.name.clone()),
            None => Target::Pod,
        };
        let Some(tcp) = candidate(agent, (address, target), DNS_PORT) else {
            continue;
        };
        let tcp = Candidate {
            kind: ProbeKind::Resolve,
            ..tcp
        };
        let udp = Candidate {
            flow: Flow {
                protocol: FlowProtocol::Udp { port: DNS_PORT },
                ..tcp.flow.clone()
            },
            ..tcp.clone()
        };
        drafts.add(tcp, Purpose::Required);
        drafts.add(udp, Purpose::Required);
    }
}
