//! Control probes: what shows that a silent source and target can talk otherwise (F.2.5).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::build::{Candidate, Drafts, candidate};
use super::seed::Sequence;
use super::{Purpose, RosterAgent, Target};
use crate::flow::{Flow, FlowProtocol};
use crate::predict::predict;
use crate::prediction::Verdict;

/// Most agents that are asked the model about for one missing control: the first that the model allows is enough.
pub(super) const CONTROL_CANDIDATES_MAX: usize = 64;

/// Adds control probes for every predicted deny that the flows chosen so far give none.
///
/// A control is another port of the same target from the same source (a); or another source on the same target and port
/// together with another target of the same source (b). Only flows that the model allows are added: a bypass crosses no
/// security group.
pub(super) fn add_controls(drafts: &mut Drafts<'_>, sequence: &mut Sequence) {
    let allowed = Allowed::new(drafts);
    let mut controls: Vec<Candidate> = Vec::new();
    for flow in denied(drafts) {
        let FlowProtocol::Tcp { port } = flow.protocol else {
            // Silence over other protocols is never judged, so that no control helps.
            continue;
        };
        if allowed.pairs.contains(&(flow.source, flow.destination)) {
            continue;
        }
        if !allowed.targets.contains(&(flow.destination, port)) {
            controls.extend(other_source(drafts, sequence, &flow, port));
        }
        if !allowed.sources.contains(&flow.source) {
            controls.extend(other_target(drafts, sequence, &flow));
        }
    }
    for control in controls {
        drafts.add(control, Purpose::Control);
    }
}

/// What the flows chosen so far show if the model is right.
struct Allowed {
    pairs: BTreeSet<(IpAddr, IpAddr)>,
    targets: BTreeSet<(IpAddr, u16)>,
    sources: BTreeSet<IpAddr>,
}

impl Allowed {
    fn new(drafts: &Drafts<'_>) -> Self {
        let mut allowed = Self {
            pairs: BTreeSet::new(),
            targets: BTreeSet::new(),
            sources: BTreeSet::new(),
        };
        for (flow, draft) in drafts.flows() {
            if let (Verdict::Allow { .. }, FlowProtocol::Tcp { port }) =
                (&draft.verdict, flow.protocol)
            {
                allowed.pairs.insert((flow.source, flow.destination));
                allowed.targets.insert((flow.destination, port));
                allowed.sources.insert(flow.source);
            }
        }
        allowed
    }
}

/// The flows that the model denies.
fn denied(drafts: &Drafts<'_>) -> Vec<Flow> {
    drafts
        .flows()
        .filter(|(_, draft)| matches!(draft.verdict, Verdict::Deny(_)))
        .map(|(flow, _)| flow.clone())
        .collect()
}

/// A flow of another agent to the target and port of `denied`.
fn other_source(
    drafts: &Drafts<'_>,
    sequence: &mut Sequence,
    denied: &Flow,
    port: u16,
) -> Option<Candidate> {
    let target = drafts.draft(denied)?.target();
    let agents: Vec<&RosterAgent> = drafts.roster.agents().collect();
    first_allowed(
        drafts,
        sequence
            .shuffle(agents)
            .into_iter()
            .filter(|agent| !agent.addresses.contains(&denied.source))
            .filter_map(|agent| candidate(agent, (denied.destination, target.clone()), port)),
    )
}

/// A flow of the source of `denied` to another agent, at an edge of the rules between them.
fn other_target(drafts: &Drafts<'_>, sequence: &mut Sequence, denied: &Flow) -> Option<Candidate> {
    let agent = drafts.roster.holder(denied.source)?;
    let others: Vec<&RosterAgent> = drafts.roster.agents().collect();
    let targets = sequence
        .shuffle(others)
        .into_iter()
        .filter(|other| other.name != agent.name)
        .flat_map(|other| other.addresses.iter().map(move |address| (other, *address)));
    let candidates = targets.flat_map(|(other, address)| {
        let ports = drafts.snapshot.port_edges(denied.source, address);
        let target = Target::Agent(other.name.clone());
        ports
            .into_iter()
            .filter_map(move |port| candidate(agent, (address, target.clone()), port))
    });
    first_allowed(drafts, candidates)
}

/// The first of at most [`CONTROL_CANDIDATES_MAX`] candidates that the model allows.
fn first_allowed(
    drafts: &Drafts<'_>,
    candidates: impl Iterator<Item = Candidate>,
) -> Option<Candidate> {
    candidates.take(CONTROL_CANDIDATES_MAX).find(|candidate| {
        let verdict = predict(drafts.snapshot, &candidate.flow).verdict;
        matches!(verdict, Verdict::Allow { .. })
    })
}
