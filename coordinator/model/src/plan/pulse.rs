//! Pulses: who calls whom while a run probes, so that every silence has somebody who was heard around it (F.2 "Pulses").
//!
//! Every target of a TCP flow is called by two sources, and every source calls somebody who tells from where, as far as the model allows. What
//! is called is a flow that the plan has, else one that the rules between the two ends name. Two calls of one end are at two
//! ports, where there are two: otherwise the port that the network closes against the model would silence its own control.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::build::{Candidate, Draft, Drafts, candidate};
use super::control::{CONTROL_CANDIDATES_MAX, turned};
use super::seed::Sequence;
use super::{PEER_PORT, PlannedPulse, ProbeId, ProbeKind, RosterAgent, Target};
use crate::flow::{Flow, FlowProtocol, SourceKind};
use crate::net::PortRange;
use crate::observation::AgentName;
use crate::prediction::Verdict;

/// Time between two calls of an agent: two of them fit into each margin of a silence.
const PEER_INTERVAL: Duration = Duration::from_secs(2);

/// Time between two calls of a control-plane interface by one source: with two sources it has one TLS handshake in 2 s.
const CONTROL_PLANE_INTERVAL: Duration = Duration::from_secs(4);

/// Sources that call one target.
const SOURCES_PER_TARGET: usize = 2;

/// Ports that one source calls, where the plan has as many.
const PORTS_PER_SOURCE: usize = 2;

/// Most pulses of one agent: at 2 s each it makes 8 calls a second.
const PER_AGENT_MAX: usize = 16;

/// Fewest source ports that a pulse is made from: each of its calls takes another one.
const SOURCE_PORTS_MIN: u16 = 2_048;

/// A call that may become a pulse.
#[derive(Debug, Clone)]
struct Call {
    agent: AgentName,
    source: IpAddr,
    target: SocketAddr,
    kind: ProbeKind,
    /// Those that are predicted to be answered, where not all are.
    source_ports: Option<PortRange>,
}

impl Call {
    /// The call that `flow` is, if it proves who answers and reaches the target from its own address.
    fn of(drafts: &Drafts<'_>, flow: &Flow, agent: &AgentName, kind: ProbeKind) -> Option<Self> {
        let FlowProtocol::Tcp { port } = flow.protocol else {
            return None;
        };
        match kind {
            ProbeKind::Identify | ProbeKind::Certify => {}
            ProbeKind::Connect
            | ProbeKind::Resolve
            | ProbeKind::Kubelet
            | ProbeKind::KubeletLog => return None,
        }
        let is_translated = match flow.source_kind {
            SourceKind::Host => false,
            SourceKind::Pod => crate::predict::translated_source(drafts.snapshot, flow).is_some(),
        };
        (!is_translated).then(|| Self {
            agent: agent.clone(),
            source: flow.source,
            target: SocketAddr::new(flow.destination, port),
            kind,
            source_ports: None,
        })
    }

    /// The call from the widest range of source ports of which a partial verdict says that they work.
    fn partly(self, open: &[PortRange]) -> Option<Self> {
        let width = |range: &PortRange| range.last() - range.first();
        let widest = open.iter().copied().max_by_key(width)?;
        (width(&widest) >= SOURCE_PORTS_MIN).then_some(Self {
            source_ports: Some(widest),
            ..self
        })
    }
}

/// The pulses chosen so far.
#[derive(Default)]
struct Chosen {
    calls: Vec<Call>,
    per_agent: BTreeMap<AgentName, usize>,
    callers: BTreeMap<IpAddr, BTreeSet<IpAddr>>,
    /// Ports that a source calls.
    sources: BTreeMap<IpAddr, BTreeSet<u16>>,
    targets: BTreeSet<SocketAddr>,
    /// Sources of which a peer tells the address that it saw.
    told: BTreeSet<IpAddr>,
}

impl Chosen {
    /// Adds a call, if its agent has room and does not call that target from there already.
    fn add(&mut self, call: Call) {
        let count = self.per_agent.entry(call.agent.clone()).or_default();
        let callers = self.callers.entry(call.target.ip()).or_default();
        if *count < PER_AGENT_MAX && callers.insert(call.source) {
            *count += 1;
            let ports = self.sources.entry(call.source).or_default();
            ports.insert(call.target.port());
            self.targets.insert(call.target);
            if call.kind == ProbeKind::Identify {
                self.told.insert(call.source);
            }
            self.calls.push(call);
        }
    }

    /// How many sources call `target`.
    fn callers_of(&self, target: IpAddr) -> usize {
        self.callers.get(&target).map_or(0, BTreeSet::len)
    }

    /// Ports that `source` calls.
    fn ports_of(&self, source: IpAddr) -> BTreeSet<u16> {
        self.sources.get(&source).cloned().unwrap_or_default()
    }

    /// How many pulses the agent of `call` has.
    fn load(&self, call: &Call) -> usize {
        self.per_agent.get(&call.agent).copied().unwrap_or(0)
    }
}

/// Chooses the pulses of a plan; their numbers begin with `first`.
pub(super) fn pulses(
    drafts: &Drafts<'_>,
    sequence: &mut Sequence,
    first: u32,
) -> Vec<PlannedPulse> {
    let calls = planned_calls(drafts);
    let ends = Ends::of(drafts);
    let mut chosen = Chosen::default();
    for target in &ends.targets {
        let to_target = calls.iter().filter(|call| call.target.ip() == *target);
        fill(&mut chosen, *target, to_target.cloned().collect());
        if chosen.callers_of(*target) < SOURCES_PER_TARGET {
            let more = calls_to(drafts, *target, sequence);
            fill(&mut chosen, *target, more);
        }
    }
    let mut by_source: BTreeMap<IpAddr, Vec<&Call>> = BTreeMap::new();
    for call in &calls {
        by_source.entry(call.source).or_default().push(call);
    }
    let own_of = |source: &IpAddr| by_source.get(source).into_iter().flatten();
    for source in &ends.sources {
        let ports = chosen.ports_of(*source);
        if ports.len() >= PORTS_PER_SOURCE {
            continue;
        }
        let others = own_of(source).filter(|call| !ports.contains(&call.target.port()));
        let mut calls: Vec<Call> = least_called(&chosen, others.copied().cloned().collect())
            .into_iter()
            .collect();
        // Of a handshake with an API server nobody tells from which address it came.
        let is_told = chosen.told.contains(source)
            || own_of(source).any(|call| call.kind == ProbeKind::Identify);
        if !is_told {
            calls.extend(least_called(&chosen, calls_from(drafts, *source, sequence)));
        }
        calls.into_iter().for_each(|call| chosen.add(call));
    }
    (first..)
        .zip(chosen.calls)
        .map(|(id, call)| PlannedPulse {
            id: ProbeId(id),
            agent: call.agent,
            source: call.source,
            target: call.target,
            interval: match call.kind {
                ProbeKind::Certify => CONTROL_PLANE_INTERVAL,
                ProbeKind::Identify
                | ProbeKind::Connect
                | ProbeKind::Resolve
                | ProbeKind::Kubelet
                | ProbeKind::KubeletLog => PEER_INTERVAL,
            },
            kind: call.kind,
            source_ports: call.source_ports,
        })
        .collect()
}

/// The addresses between which the plan tries TCP.
struct Ends {
    sources: BTreeSet<IpAddr>,
    targets: BTreeSet<IpAddr>,
}

impl Ends {
    fn of(drafts: &Drafts<'_>) -> Self {
        let flows = || {
            drafts
                .flows()
                .filter(|(flow, _)| matches!(flow.protocol, FlowProtocol::Tcp { .. }))
        };
        Self {
            sources: flows().map(|(flow, _)| flow.source).collect(),
            targets: flows().map(|(flow, _)| flow.destination).collect(),
        }
    }
}

/// The calls that the flows of the plan are, of those that the model allows, at least from some source ports.
fn planned_calls(drafts: &Drafts<'_>) -> Vec<Call> {
    let call = |flow, draft: &Draft| {
        let call = Call::of(drafts, flow, draft.source(), draft.kind())?;
        match &draft.verdict {
            Verdict::Allow { .. } => Some(call),
            Verdict::Partial { open_ports, .. } => call.partly(open_ports),
            Verdict::Deny(_) | Verdict::Unknown(_) | Verdict::Bypass(_) | Verdict::Exempt(_) => {
                None
            }
        }
    };
    drafts
        .flows()
        .filter_map(|(flow, draft)| call(flow, draft))
        .collect()
}

/// Lets sources call `target` until enough do: at a port where nobody calls yet, first those that call nobody yet, then those
/// with the least to do.
fn fill(chosen: &mut Chosen, target: IpAddr, mut calls: Vec<Call>) {
    while chosen.callers_of(target) < SOURCES_PER_TARGET {
        let key = |call: &Call| {
            (
                call.source_ports.is_some(),
                chosen.targets.contains(&call.target),
                chosen.sources.contains_key(&call.source),
                chosen.load(call),
                call.source,
                call.target,
            )
        };
        let places = calls.iter().enumerate();
        let Some((place, _)) = places.min_by_key(|(_, call)| key(call)) else {
            return;
        };
        chosen.add(calls.swap_remove(place));
    }
}

/// The call whose target the fewest call; a control-plane interface gets no more than its share.
fn least_called(chosen: &Chosen, calls: Vec<Call>) -> Option<Call> {
    calls
        .into_iter()
        .filter(|call| match call.kind {
            ProbeKind::Certify => chosen.callers_of(call.target.ip()) < SOURCES_PER_TARGET,
            ProbeKind::Identify
            | ProbeKind::Connect
            | ProbeKind::Resolve
            | ProbeKind::Kubelet
            | ProbeKind::KubeletLog => true,
        })
        .min_by_key(|call| {
            let callers = chosen.callers_of(call.target.ip());
            (call.source_ports.is_some(), callers, call.target)
        })
}

/// Calls of other agents to `target`, beyond the flows of the plan, that the model allows.
fn calls_to(drafts: &Drafts<'_>, target: IpAddr, sequence: &mut Sequence) -> Vec<Call> {
    let Some(holder) = drafts.roster.holder(target) else {
        return Vec::new();
    };
    let agents: Vec<&RosterAgent> = drafts.roster.agents().collect();
    let others = turned(&agents, sequence).into_iter();
    let candidates = others
        .filter(|agent| agent.name != holder.name)
        .flat_map(|agent| between(drafts, agent, (target, holder)));
    allowed(drafts, candidates)
        .take(SOURCES_PER_TARGET)
        .collect()
}

/// Calls of the agent at `source` to others, beyond the flows of the plan, that the model allows.
fn calls_from(drafts: &Drafts<'_>, source: IpAddr, sequence: &mut Sequence) -> Vec<Call> {
    let Some(agent) = drafts.roster.holder(source) else {
        return Vec::new();
    };
    let agents: Vec<&RosterAgent> = drafts.roster.agents().collect();
    let others = turned(&agents, sequence).into_iter();
    let candidates = others
        .filter(|other| other.name != agent.name)
        .flat_map(|other| other.vantage_points().map(move |address| (address, other)))
        .flat_map(|target| between(drafts, agent, target))
        .filter(|candidate| candidate.flow.source == source);
    allowed(drafts, candidates).take(1).collect()
}

/// What an agent could call at an address of another: the peer port, and the edges of the rules between them.
fn between(
    drafts: &Drafts<'_>,
    agent: &RosterAgent,
    (target, holder): (IpAddr, &RosterAgent),
) -> Vec<Candidate> {
    let at = |port| candidate(agent, (target, Target::Agent(holder.name.clone())), port);
    let Some(peer) = at(PEER_PORT) else {
        return Vec::new();
    };
    let edges = drafts.snapshot.port_edges(peer.flow.source, target);
    let edges = edges.into_iter().filter(|port| *port != PEER_PORT);
    std::iter::once(peer).chain(edges.filter_map(at)).collect()
}

/// Those of at most [`CONTROL_CANDIDATES_MAX`] candidates that the model allows, as calls.
fn allowed<'a>(
    drafts: &'a Drafts<'_>,
    candidates: impl Iterator<Item = Candidate> + 'a,
) -> impl Iterator<Item = Call> + 'a {
    candidates
        .take(CONTROL_CANDIDATES_MAX)
        .filter(|candidate| matches!(drafts.verdict(&candidate.flow), Verdict::Allow { .. }))
        .filter_map(|candidate| {
            Call::of(drafts, &candidate.flow, &candidate.source, candidate.kind)
        })
}
