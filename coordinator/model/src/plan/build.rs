//! The drafts of a plan: the flows that may become part of it, each once, within the limits.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use super::scope::{Depth, FLOWS_PER_AGENT_MAX, FLOWS_PER_RUN_MAX, FileState, Scope};
use super::seed::Sequence;
use super::{
    LISTEN_PORT_MIN, LISTENS_PER_AGENT_MAX, PEER_PORT, PlannedFlow, PlannedProbe, PlannedPulse,
    PolicyFact, ProbeId, ProbeKind, ProbePlan, Purpose, Roster, RosterAgent, SourcePorts, Target,
    Until, judged_ports,
};
use crate::expectation::members::API_SERVER_PORT;
use crate::flow::{Flow, FlowProtocol, SourceKind};
use crate::id::NetworkInterfaceId;
use crate::matrix::Matrix;
use crate::observation::AgentName;
use crate::plan::AgentKind;
use crate::predict::verdict;
use crate::prediction::Verdict;
use crate::snapshot::{Owner, Policing, Snapshot};
use crate::vantage::Vantage;

/// A flow that may become part of the plan.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    source: AgentName,
    target: Target,
    kind: ProbeKind,
    purposes: BTreeSet<Purpose>,
    pub(super) verdict: Verdict,
}

impl Draft {
    /// What stands at the destination.
    pub(super) fn target(&self) -> Target {
        self.target.clone()
    }

    /// The agent that tries it.
    pub(super) fn source(&self) -> &AgentName {
        &self.source
    }

    /// What is done once connected.
    pub(super) fn kind(&self) -> ProbeKind {
        self.kind
    }

    /// Whether an answer ends the first stage: not where every part of the source ports is to be tried.
    fn until(&self, depth: Depth) -> Until {
        let decides = [
            Purpose::Required,
            Purpose::Edge,
            Purpose::Rule,
            Purpose::Earlier,
        ];
        match depth {
            Depth::Required | Depth::Mesh => Until::Last,
            Depth::Rules
                if decides
                    .iter()
                    .any(|purpose| self.purposes.contains(purpose)) =>
            {
                Until::Last
            }
            Depth::Rules => Until::Answered,
        }
    }
}

/// Whether an agent may try another flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It may.
    Left,
    /// It has its share.
    None,
}

/// The flows chosen so far.
pub(super) struct Drafts<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// Answers faster than flow by flow, where somebody built it.
    matrix: Option<&'a Matrix<'a>>,
    pub(super) roster: &'a Roster,
    flows: Vec<(Flow, Draft)>,
    /// Where in `flows` a flow is; the agent of a source says the rest of it.
    places: HashMap<Ends, usize>,
    per_agent: HashMap<AgentName, usize>,
    per_agent_max: usize,
    pub(super) left_out: usize,
}

/// Addresses and protocol of a flow.
type Ends = (IpAddr, IpAddr, FlowProtocol);

fn ends(flow: &Flow) -> Ends {
    (flow.source, flow.destination, flow.protocol)
}

/// A flow with what is known of its ends.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) flow: Flow,
    pub(super) source: AgentName,
    pub(super) target: Target,
    pub(super) kind: ProbeKind,
}

impl<'a> Drafts<'a> {
    pub(super) fn new(
        (snapshot, matrix): (&'a Snapshot, Option<&'a Matrix<'a>>),
        roster: &'a Roster,
        scope: &Scope,
    ) -> Self {
        let share = scope.flows_max.min(FLOWS_PER_RUN_MAX) / roster.len().max(1);
        Self {
            snapshot,
            matrix,
            roster,
            flows: Vec::new(),
            places: HashMap::new(),
            per_agent: HashMap::new(),
            per_agent_max: share.min(FLOWS_PER_AGENT_MAX),
            left_out: 0,
        }
    }

    /// The flows chosen so far, in their order.
    pub(super) fn flows(&self) -> impl Iterator<Item = (&Flow, &Draft)> {
        self.flows.iter().map(|(flow, draft)| (flow, draft))
    }

    /// The draft of a flow that was chosen.
    pub(super) fn draft(&self, flow: &Flow) -> Option<&Draft> {
        let place = *self.places.get(&ends(flow))?;
        self.flows.get(place).map(|(_, draft)| draft)
    }

    /// Adds a flow, or another purpose to one that is there, or counts it if its agent has no room left.
    pub(super) fn add(&mut self, candidate: Candidate, purpose: Purpose) {
        let kind = self.provable(&candidate);
        let known = self.places.get(&ends(&candidate.flow)).copied();
        if let Some((_, draft)) = known.and_then(|place| self.flows.get_mut(place)) {
            draft.purposes.insert(purpose);
            return;
        }
        let planned = self.per_agent.get(&candidate.source).copied().unwrap_or(0);
        if planned >= self.per_agent_max {
            self.left_out += 1;
            return;
        }
        match self.per_agent.get_mut(&candidate.source) {
            Some(count) => *count += 1,
            None => drop(self.per_agent.insert(candidate.source.clone(), 1)),
        }
        let draft = Draft {
            source: candidate.source,
            target: candidate.target,
            kind,
            purposes: BTreeSet::from([purpose]),
            verdict: self.verdict(&candidate.flow),
        };
        self.places.insert(ends(&candidate.flow), self.flows.len());
        self.flows.push((candidate.flow, draft));
    }

    /// Whether the snapshot has the CA that certificates of the API server are checked against.
    pub(super) fn has_authority(&self) -> bool {
        let cluster = self.snapshot.cluster();
        cluster.is_some_and(|cluster| !cluster.certificate_authority.is_empty())
    }

    /// What the probe of a candidate asks: no session where nobody could check it.
    fn provable(&self, candidate: &Candidate) -> ProbeKind {
        if candidate.kind == ProbeKind::Certify && !self.has_authority() {
            return ProbeKind::Connect;
        }
        candidate.kind
    }

    /// What the model says of a flow.
    pub(super) fn verdict(&self, flow: &Flow) -> Verdict {
        match self.matrix {
            Some(matrix) => matrix.verdict(flow),
            None => verdict(self.snapshot, flow),
        }
    }

    /// Counts flows that a limit keeps out.
    pub(super) fn leave_out(&mut self, flows: usize) {
        self.left_out += flows;
    }

    /// Whether `agent` may try another flow.
    pub(super) fn room(&self, agent: &RosterAgent) -> Room {
        match self.per_agent.get(&agent.name) {
            Some(planned) if *planned >= self.per_agent_max => Room::None,
            Some(_) | None => Room::Left,
        }
    }

    /// The ports that every agent opens: the peer port, and those at which it is asked who it is.
    fn listens(&self, pulses: &[PlannedPulse]) -> BTreeMap<AgentName, BTreeSet<u16>> {
        let agents = self.roster.agents();
        let mut listens: BTreeMap<AgentName, BTreeSet<u16>> = agents
            .map(|agent| (agent.name.clone(), BTreeSet::from([PEER_PORT])))
            .collect();
        let flows = self.flows.iter();
        let of_flows = flows.filter_map(|(flow, draft)| match (&draft.target, draft.kind) {
            (Target::Agent(agent), ProbeKind::Identify) => Some((agent, flow.protocol.port()?)),
            (_, _) => None,
        });
        let of_pulses = pulses.iter().filter_map(|pulse| {
            let holder = self.roster.holder(pulse.target.ip())?;
            Some((&holder.name, pulse.target.port()))
        });
        let sources = self.fixed_sources();
        for (agent, port) in of_pulses.chain(of_flows) {
            let is_source = sources.contains(&(agent, port));
            if let Some(ports) = listens.get_mut(agent)
                && ports.len() < LISTENS_PER_AGENT_MAX
                && !is_source
            {
                ports.insert(port);
            }
        }
        listens
    }

    /// The source ports that agents are told to use: one that listens on such a port could not connect from there.
    fn fixed_sources(&self) -> HashSet<(&AgentName, u16)> {
        let flows = self.flows.iter();
        flows
            .flat_map(|(flow, draft)| {
                let ports = fixed_ports(flow, draft).into_iter();
                ports.map(|port| (&draft.source, port))
            })
            .collect()
    }

    /// Which interface holds each address of the agents.
    fn interfaces(&self) -> BTreeMap<IpAddr, NetworkInterfaceId> {
        let agents = self.roster.agents();
        let addresses = agents.flat_map(|agent| agent.addresses.iter().copied());
        addresses
            .filter_map(|address| match self.snapshot.owner(address) {
                Owner::One(interface) => Some((address, interface.id.clone())),
                Owner::Nobody | Owner::Several(_) => None,
            })
            .collect()
    }

    /// How many probes the flows have.
    pub(super) fn probe_count(&self, depth: Depth) -> u32 {
        let probes_of = |(flow, draft): (&Flow, &Draft)| probes(flow, draft, depth, &mut 0).len();
        let count = self.flows().map(probes_of).sum::<usize>();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Numbers the probes, in an order that the seed decides, and says who listens.
    pub(super) fn finish(
        self,
        scope: &Scope,
        pulses: Vec<PlannedPulse>,
        sequence: &mut Sequence,
    ) -> ProbePlan {
        let listens = self.listens(&pulses);
        let interfaces = self.interfaces();
        let mut next = 0;
        let (snapshot, roster) = (self.snapshot, self.roster);
        let flows = sequence
            .shuffle(self.flows)
            .into_iter()
            .map(|(flow, draft)| PlannedFlow {
                policy: policy(snapshot, roster, scope, &flow),
                relay: relay(snapshot, &flow),
                translated: match flow.source_kind {
                    SourceKind::Host => None,
                    SourceKind::Pod => crate::predict::translated_source(snapshot, &flow),
                },
                probes: probes(&flow, &draft, scope.depth, &mut next),
                flow,
                source: Vantage::Agent(draft.source),
                target: draft.target,
                purposes: draft.purposes,
            })
            .collect();
        ProbePlan {
            flows,
            listens,
            pulses,
            interfaces,
            left_out: self.left_out,
        }
    }
}

/// A TCP flow from `source`, an address of `agent`.
pub(super) fn flow_from(agent: &RosterAgent, source: IpAddr, target: IpAddr, port: u16) -> Flow {
    Flow {
        source,
        destination: target,
        protocol: FlowProtocol::Tcp { port },
        source_kind: agent.kind.source_kind(),
        ephemeral_ports: agent.ephemeral_ports,
        source_interface: None,
    }
}

/// The flow of an agent to an address, if one of its vantage points is of that family.
pub(super) fn candidate(
    agent: &RosterAgent,
    (address, target): (IpAddr, Target),
    port: u16,
) -> Option<Candidate> {
    let source = agent
        .vantage_points()
        .find(|source| source.is_ipv4() == address.is_ipv4())?;
    let kind = match (&target, port) {
        (Target::Agent(_), LISTEN_PORT_MIN..) => ProbeKind::Identify,
        (Target::ControlPlane(_), API_SERVER_PORT) => ProbeKind::Certify,
        (Target::Agent(_) | Target::Kubelet(_) | Target::ControlPlane(_) | Target::Pod, _) => {
            ProbeKind::Connect
        }
    };
    Some(Candidate {
        flow: flow_from(agent, source, address, port),
        source: agent.name.clone(),
        target,
        kind,
    })
}

/// The probes of a flow: one, or for a predicted partial one for each source port that is judged.
fn probes(flow: &Flow, draft: &Draft, depth: Depth, next: &mut u32) -> Vec<PlannedProbe> {
    let mut numbered = |kind, source_ports| {
        let id = ProbeId(*next);
        *next += 1;
        PlannedProbe {
            id,
            kind,
            source_ports,
            until: draft.until(depth),
        }
    };
    let ports = fixed_ports(flow, draft);
    if ports.is_empty() {
        return vec![numbered(draft.kind, SourcePorts::Spread)];
    }
    ports
        .into_iter()
        .map(|port| numbered(draft.kind, SourcePorts::Fixed(port)))
        .collect()
}

/// The source ports from which a predicted partial is judged; none for another verdict.
fn fixed_ports(flow: &Flow, draft: &Draft) -> BTreeSet<u16> {
    match &draft.verdict {
        // Judging a port by its silence is for TCP alone.
        Verdict::Partial { open_ports, .. }
            if matches!(flow.protocol, FlowProtocol::Tcp { .. }) =>
        {
            judged_ports(flow.ephemeral_ports, open_ports)
        }
        Verdict::Partial { .. }
        | Verdict::Allow { .. }
        | Verdict::Deny(_)
        | Verdict::Unknown(_)
        | Verdict::Bypass(_)
        | Verdict::Exempt(_) => BTreeSet::new(),
    }
}

/// Whether a NetworkPolicy may drop packets of `flow` (E.5).
pub(super) fn policy(
    snapshot: &Snapshot,
    roster: &Roster,
    scope: &Scope,
    flow: &Flow,
) -> PolicyFact {
    let ends = [flow.source, flow.destination];
    let selected = ends.iter().find(|end| match snapshot.policing(**end) {
        Policing::Selected(_) | Policing::DeniedByDefault => true,
        Policing::None | Policing::PerhapsPod => false,
    });
    if let Some(end) = selected {
        return PolicyFact::Selects(*end);
    }
    let pods = || {
        ends.iter()
            .filter(|end| may_be_pod(snapshot, roster, **end))
    };
    let doubt = match scope.network_policies {
        FileState::Absent => pods().next().is_some(),
        // A policy selects by labels; those of a pod that is not in the snapshot are not known.
        FileState::Read => {
            snapshot.has_network_policies()
                && pods().any(|end| snapshot.pods_at(*end).next().is_none())
        }
    };
    if doubt {
        PolicyFact::Unread
    } else {
        PolicyFact::NoneSelects
    }
}

/// The first end of `flow` at which a service mesh may take over connections.
pub(super) fn relay(snapshot: &Snapshot, flow: &Flow) -> Option<IpAddr> {
    let has_relay = |end: &IpAddr| {
        let mut pods = snapshot.pods_at(*end);
        pods.any(|pod| pod.relay.is_some())
    };
    [flow.source, flow.destination].into_iter().find(has_relay)
}

/// Whether a policy could select what stands at `address`: neither hosts nor Fargate pods (E.5).
fn may_be_pod(snapshot: &Snapshot, roster: &Roster, address: IpAddr) -> bool {
    match roster.holder(address).map(|agent| agent.kind) {
        Some(AgentKind::Pod) => true,
        Some(AgentKind::Node | AgentKind::Fargate) => false,
        None => snapshot.pods_at(address).next().is_some(),
    }
}
