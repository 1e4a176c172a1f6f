//! Control probes: what shows that a silent source and target can talk otherwise (F.2 "Silence", 1 and 2).

use std::collections::HashSet;
use std::net::IpAddr;

use super::build::{Candidate, Drafts, candidate};
use super::seed::Sequence;
use super::{Purpose, RosterAgent, Target};
use crate::flow::{Flow, FlowProtocol};
use crate::prediction::Verdict;

/// Most agents that are asked the model about for one missing control: the first that the model allows is enough.
pub(super) const CONTROL_CANDIDATES_MAX: usize = 64;

/// Adds control probes for every predicted deny that the flows chosen so far give none.
///
/// A control is another port of the same target from the same source (a); or another source on the same target and port
/// together with another target of the same source (b). Only flows that the model allows are added: a bypass crosses no
/// security group.
pub(super) fn add_controls(drafts: &mut Drafts<'_>, sequence: &mut Sequence) {
    let mut allowed = Allowed::default();
    let mut denied: Vec<Flow> = Vec::new();
    for (flow, draft) in drafts.flows() {
        match &draft.verdict {
            Verdict::Allow { .. } => allowed.note(flow),
            Verdict::Deny(_) => denied.push(flow.clone()),
            Verdict::Partial { .. }
            | Verdict::Unknown(_)
            | Verdict::Bypass(_)
            | Verdict::Exempt(_) => {}
        }
    }
    let agents: Vec<&RosterAgent> = drafts.roster.agents().collect();
    for flow in denied {
        let FlowProtocol::Tcp { port } = flow.protocol else {
            // Silence over other protocols is never judged, so that no control helps.
            continue;
        };
        if allowed.pairs.contains(&(flow.source, flow.destination)) {
            continue;
        }
        let turned = turned(&agents, sequence);
        let mut controls: Vec<Candidate> = Vec::new();
        if !allowed.targets.contains(&(flow.destination, port)) {
            controls.extend(other_source(drafts, &turned, &flow, port));
        }
        if !allowed.sources.contains(&flow.source) {
            controls.extend(other_target(drafts, &turned, &flow));
        }
        for control in controls {
            allowed.note(&control.flow);
            drafts.add(control, Purpose::Control);
        }
    }
}

/// What the flows chosen so far show if the model is right.
#[derive(Default)]
struct Allowed {
    pairs: HashSet<(IpAddr, IpAddr)>,
    targets: HashSet<(IpAddr, u16)>,
    sources: HashSet<IpAddr>,
}

impl Allowed {
    /// Takes note of a flow that the model allows. Over UDP it would be no control.
    fn note(&mut self, flow: &Flow) {
        if let FlowProtocol::Tcp { port } = flow.protocol {
            self.pairs.insert((flow.source, flow.destination));
            self.targets.insert((flow.destination, port));
            self.sources.insert(flow.source);
        }
    }
}

/// The agents, beginning at any of them.
pub(super) fn turned<'r>(
    agents: &[&'r RosterAgent],
    sequence: &mut Sequence,
) -> Vec<&'r RosterAgent> {
    let first = sequence.below(agents.len());
    let turned = agents.iter().cycle().skip(first).take(agents.len());
    turned.take(CONTROL_CANDIDATES_MAX).copied().collect()
}

/// A flow of another agent to the target and port of `denied`.
fn other_source(
    drafts: &Drafts<'_>,
    agents: &[&RosterAgent],
    denied: &Flow,
    port: u16,
) -> Option<Candidate> {
    let target = drafts.draft(denied)?.target();
    let others = agents
        .iter()
        .filter(|agent| !agent.addresses.contains(&denied.source));
    first_allowed(
        drafts,
        others.filter_map(|agent| candidate(agent, (denied.destination, target.clone()), port)),
    )
}

/// A flow of the source of `denied` to another agent, at an edge of the rules between them.
fn other_target(drafts: &Drafts<'_>, agents: &[&RosterAgent], denied: &Flow) -> Option<Candidate> {
    let agent = drafts.roster.holder(denied.source)?;
    let targets = agents
        .iter()
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
        let verdict = drafts.verdict(&candidate.flow);
        matches!(verdict, Verdict::Allow { .. })
    })
}
