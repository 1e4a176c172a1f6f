//! What API servers are asked to connect to, from every control-plane interface (G.1, G.2b).
//!
//! Only agents are dialled, and the kubelets beside them: nobody else's workload is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::build::{policy, relay};
use super::required::control_plane_targets;
use super::{
    AgentKind, Depth, LISTEN_PORT_MIN, LISTENS_PER_AGENT_MAX, PEER_PORT, PlannedFlow, PlannedProbe,
    ProbeId, ProbeKind, ProbePlan, Purpose, Roster, RosterAgent, Scope, SourcePorts, Target, Until,
};
use crate::class::{ClassId, Classes};
use crate::expectation::members::KUBELET_PORT;
use crate::flow::Flow;
use crate::observation::AgentName;
use crate::predict::verdict;
use crate::prediction::Verdict;
use crate::snapshot::{Snapshot, Targets};
use crate::vantage::Vantage;

/// Most connections that API servers are asked for in one run.
pub const DIALS_PER_RUN_MAX: usize = 2_000;

/// Agents that one API server calls again and again, so that it is heard around every silence.
pub const CONTROLS_PER_SERVER_MAX: usize = 8;

/// Most ports of one pair of ends that are dialled for the edges of rules: ten rules have no more.
const EDGES_PER_PAIR_MAX: usize = 20;

/// Most flows that the model calls closed that one API server is asked for where edges of rules are among them: each is three
/// dials of 30 s, and so many of them are under way at once. Backends and kubelets go before.
pub const CLOSED_EDGES_PER_SERVER_MAX: usize = 8;

/// What API servers can be asked, and through which pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dialling {
    /// Addresses of control-plane interfaces whose API server answers.
    pub servers: BTreeSet<IpAddr>,
    /// The pods of agents to which API servers connect when they are asked.
    pub pods: BTreeMap<AgentName, DialPod>,
}

/// A pod through which an API server is asked to connect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DialPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its first address, the only one that an API server connects to (G.2b).
    pub address: IpAddr,
    /// Whether its log may be asked for: the kubelet of its node has it.
    pub log: bool,
}

/// Lists the addresses at which API servers of the cluster may be assumed to listen, each a source by itself: those of the
/// EndpointSlice `kubernetes`, where it was read (D.1).
#[must_use]
pub fn api_servers(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
    control_plane_targets(snapshot)
        .map(|(address, _)| address)
        .collect()
}

/// A connection that may become part of the plan.
struct Dial {
    server: IpAddr,
    agent: AgentName,
    target: SocketAddr,
    kind: ProbeKind,
    purpose: Purpose,
}

/// What the model cannot tell apart from a dial: the server's address, the class of the target, port and question.
type Kin = (IpAddr, Option<ClassId>, u16, ProbeKind);

/// Adds what API servers are asked for to a plan of agents.
///
/// Kubelets beside agents, a port of each agent that the model calls open, and the target port of every backend on an agent
/// of its class; and, as far as the scope's depth goes, both sides of the edges of rules. In [`Depth::Rules`] one of each
/// class, in [`Depth::Mesh`] all; never more than [`DIALS_PER_RUN_MAX`], nor closed edges than [`CLOSED_EDGES_PER_SERVER_MAX`].
pub fn add_dials(
    plan: &mut ProbePlan,
    snapshot: &Snapshot,
    roster: &Roster,
    scope: &Scope,
    dialling: &Dialling,
) {
    let (chosen, left_out) = Chooser::new(snapshot, roster, scope.depth, dialling).chosen();
    plan.left_out += left_out + chosen.len().saturating_sub(DIALS_PER_RUN_MAX);
    let first: usize = plan.flows.iter().map(|flow| flow.probes.len()).sum();
    let mut ids = (u32::try_from(first).unwrap_or(u32::MAX)..).map(ProbeId);
    let dials = chosen.into_iter().take(DIALS_PER_RUN_MAX);
    for ((flow, kind), (agent, purposes)) in dials {
        let Some(id) = ids.next() else {
            break;
        };
        let kind = listened(plan, &agent, &flow, kind);
        plan.flows.push(PlannedFlow {
            policy: policy(snapshot, roster, scope, &flow),
            relay: relay(snapshot, &flow),
            translated: None,
            source: Vantage::ApiServer(flow.source),
            target: match kind {
                ProbeKind::KubeletLog => Target::Kubelet(agent),
                ProbeKind::Connect
                | ProbeKind::Identify
                | ProbeKind::Resolve
                | ProbeKind::Certify
                | ProbeKind::Kubelet => Target::Agent(agent),
            },
            purposes,
            probes: vec![PlannedProbe {
                id,
                kind,
                source_ports: SourcePorts::Unchosen,
                until: Until::Last,
            }],
            flow,
        });
    }
    // The numbers of pulses follow those of all probes.
    for pulse in &mut plan.pulses {
        if let Some(id) = ids.next() {
            pulse.id = id;
        }
    }
}

/// Lets an agent open the port that is asked for, and says what can be asked there.
fn listened(plan: &mut ProbePlan, agent: &AgentName, flow: &Flow, kind: ProbeKind) -> ProbeKind {
    let port = flow.protocol.port();
    let ports = plan.listens.entry(agent.clone()).or_default();
    match (kind, port) {
        (ProbeKind::Identify, Some(port))
            if ports.contains(&port) || ports.len() < LISTENS_PER_AGENT_MAX =>
        {
            ports.insert(port);
            kind
        }
        (ProbeKind::Identify, _) => ProbeKind::Connect,
        (other, _) => other,
    }
}

/// The dials of a plan: each once, with the agent that is dialled and every reason.
type Chosen = BTreeMap<(Flow, ProbeKind), (AgentName, BTreeSet<Purpose>)>;

/// Chooses what is dialled.
struct Chooser<'a> {
    snapshot: &'a Snapshot,
    depth: Depth,
    dialling: &'a Dialling,
    /// Agents with the address at which they are dialled.
    agents: Vec<(&'a RosterAgent, IpAddr)>,
    classes: Classes,
    seen: BTreeSet<Kin>,
    chosen: Chosen,
    /// Dials of each API server that the model calls closed.
    closed: BTreeMap<IpAddr, usize>,
    left_out: usize,
}

impl<'a> Chooser<'a> {
    fn new(
        snapshot: &'a Snapshot,
        roster: &'a Roster,
        depth: Depth,
        dialling: &'a Dialling,
    ) -> Self {
        let address = |agent: &RosterAgent| {
            let pod = dialling.pods.get(&agent.name)?;
            agent
                .addresses
                .contains(&pod.address)
                .then_some(pod.address)
        };
        let agents = roster.agents();
        Self {
            snapshot,
            depth,
            dialling,
            agents: agents
                .filter_map(|agent| Some((agent, address(agent)?)))
                .collect(),
            classes: Classes::new(snapshot),
            seen: BTreeSet::new(),
            chosen: Chosen::new(),
            closed: BTreeMap::new(),
            left_out: 0,
        }
    }

    /// What is dialled, and how many edges the limit kept out.
    fn chosen(mut self) -> (Chosen, usize) {
        for server in self.dialling.servers.clone() {
            let of_family = |(_, address): &&(_, IpAddr)| address.is_ipv4() == server.is_ipv4();
            let agents: Vec<_> = self.agents.iter().filter(of_family).copied().collect();
            for (agent, address) in &agents {
                self.kubelet(server, agent, *address);
            }
            self.backends(server);
            self.controls(server, &agents);
            if self.depth != Depth::Required {
                for (agent, address) in agents {
                    self.edges(server, agent, address);
                }
            }
        }
        (self.chosen, self.left_out)
    }

    /// The kubelet at the address of an agent, that of its node or of its own micro-VM; for a pod that of its node.
    fn kubelet(&mut self, server: IpAddr, agent: &RosterAgent, address: IpAddr) {
        match agent.kind {
            AgentKind::Pod => self.kubelet_by_log(server, agent),
            AgentKind::Node | AgentKind::Fargate => self.add(Dial {
                server,
                agent: agent.name.clone(),
                target: SocketAddr::new(address, KUBELET_PORT),
                kind: ProbeKind::Kubelet,
                purpose: Purpose::Required,
            }),
        }
    }

    /// The kubelet of a pod's node, by the pod's log, where no agent has the node's address: one that has can be asked without
    /// a connection that is used again (G.2b).
    fn kubelet_by_log(&mut self, server: IpAddr, agent: &RosterAgent) {
        let pod = self.dialling.pods.get(&agent.name);
        let node = agent
            .node
            .as_ref()
            .filter(|_| pod.is_some_and(|pod| pod.log));
        let node = node.and_then(|name| self.snapshot.node(name));
        // API servers connect to the first of them.
        let Some(address) = node.and_then(|node| node.addresses.first()).copied() else {
            return;
        };
        let is_asked = |(_, other): &(&RosterAgent, IpAddr)| *other == address;
        if address.is_ipv4() == server.is_ipv4() && !self.agents.iter().any(is_asked) {
            self.add(Dial {
                server,
                agent: agent.name.clone(),
                target: SocketAddr::new(address, KUBELET_PORT),
                kind: ProbeKind::KubeletLog,
                purpose: Purpose::Required,
            });
        }
    }

    /// The target port of every backend, on an agent that the model cannot tell apart from it (D.4).
    fn backends(&mut self, server: IpAddr) {
        let targets: BTreeSet<SocketAddr> = self
            .snapshot
            .backends()
            .iter()
            .filter_map(|backend| match &backend.targets {
                Targets::Known(targets) => Some(targets),
                Targets::Unknown => None,
            })
            .flatten()
            .filter(|target| target.is_ipv4() == server.is_ipv4())
            .copied()
            .collect();
        for target in targets {
            if let Some((agent, address)) = self.stand_in(target) {
                self.agent_port(server, agent, (address, target.port()), Purpose::Required);
            }
        }
    }

    /// An agent of the class of a backend: rather one at whose address the backend itself does not listen.
    fn stand_in(&self, backend: SocketAddr) -> Option<(&'a RosterAgent, IpAddr)> {
        let class = self.classes.of(backend.ip())?;
        let kin = |(_, address): &&(_, IpAddr)| self.classes.of(*address) == Some(class);
        let kin: Vec<_> = self.agents.iter().filter(kin).copied().collect();
        let is_elsewhere = |(_, address): &&(_, IpAddr)| *address != backend.ip();
        let elsewhere = kin.iter().find(is_elsewhere);
        elsewhere.or_else(|| kin.first()).copied()
    }

    /// For some agents a port that the model calls open: what an API server reaches shows where it comes from.
    fn controls(&mut self, server: IpAddr, agents: &[(&RosterAgent, IpAddr)]) {
        let mut classes: BTreeSet<Option<ClassId>> = BTreeSet::new();
        let of_new_class = |(_, address): &&(_, IpAddr)| classes.insert(self.classes.of(*address));
        let first: Vec<_> = agents.iter().filter(of_new_class).copied().collect();
        let is_first = |(agent, _): &(&RosterAgent, IpAddr)| {
            first.iter().any(|(other, _)| other.name == agent.name)
        };
        let rest = agents.iter().copied().filter(|agent| !is_first(agent));
        let all: Vec<_> = first.iter().copied().chain(rest).collect();
        let open = all.into_iter().filter_map(|(agent, address)| {
            let port = self.open_port(server, agent, address)?;
            Some((agent, address, port))
        });
        let open: Vec<_> = open.take(CONTROLS_PER_SERVER_MAX).collect();
        for (agent, address, port) in open {
            // Every one of them is needed, whatever its class.
            self.keep(Dial {
                server,
                agent: agent.name.clone(),
                target: SocketAddr::new(address, port),
                kind: ProbeKind::Identify,
                purpose: Purpose::Control,
            });
        }
    }

    /// The first port that an agent can open and that the model calls open.
    fn open_port(&self, server: IpAddr, agent: &RosterAgent, address: IpAddr) -> Option<u16> {
        let edges = self.snapshot.port_edges(server, address);
        let ports = std::iter::once(PEER_PORT).chain(edges);
        ports
            .filter(|port| is_free(agent.kind, *port))
            .find(|port| {
                let flow = Flow::from_api_server(server, address, *port);
                matches!(verdict(self.snapshot, &flow), Verdict::Allow { .. })
            })
    }

    /// Both sides of the edges of rules, and the peer port.
    fn edges(&mut self, server: IpAddr, agent: &RosterAgent, address: IpAddr) {
        let edges = self.snapshot.port_edges(server, address);
        let edges = edges.into_iter().filter(|port| *port >= LISTEN_PORT_MIN);
        let edges = edges
            .take(EDGES_PER_PAIR_MAX)
            .map(|port| (port, Purpose::Edge));
        for (port, purpose) in std::iter::once((PEER_PORT, Purpose::Peer)).chain(edges) {
            if self.has_room((server, address), port) {
                self.agent_port(server, agent, (address, port), purpose);
            }
        }
    }

    /// Whether an edge may be dialled: one that is open, or one of few that are closed.
    fn has_room(&mut self, (server, address): (IpAddr, IpAddr), port: u16) -> bool {
        let flow = Flow::from_api_server(server, address, port);
        if !self.is_closed(&flow) {
            return true;
        }
        let class = self.classes.of(address);
        let is_known = |kind| self.seen.contains(&(server, class, port, kind));
        if [ProbeKind::Identify, ProbeKind::Kubelet]
            .into_iter()
            .any(is_known)
        {
            // Silence of one of its class takes long enough.
            return false;
        }
        let closed = self.closed.get(&server).copied().unwrap_or_default();
        let has_room = closed < CLOSED_EDGES_PER_SERVER_MAX;
        self.left_out += usize::from(!has_room);
        has_room
    }

    /// A port of an agent, at which it is asked who it is if it can open it.
    fn agent_port(
        &mut self,
        server: IpAddr,
        agent: &RosterAgent,
        (address, port): (IpAddr, u16),
        purpose: Purpose,
    ) {
        let has_kubelet = agent.kind != AgentKind::Pod && port == KUBELET_PORT;
        let kind = if has_kubelet {
            ProbeKind::Kubelet
        } else if port >= LISTEN_PORT_MIN {
            ProbeKind::Identify
        } else {
            ProbeKind::Connect
        };
        self.add(Dial {
            server,
            agent: agent.name.clone(),
            target: SocketAddr::new(address, port),
            kind,
            purpose,
        });
    }

    /// Adds a dial, unless one that the model cannot tell apart is there and the depth asks for no more.
    fn add(&mut self, dial: Dial) {
        let class = self.classes.of(dial.target.ip());
        let kin = (dial.server, class, dial.target.port(), dial.kind);
        let is_new = self.seen.insert(kin) || class.is_none();
        if is_new || self.depth == Depth::Mesh {
            self.keep(dial);
        }
    }

    /// Adds a dial, or another reason to one that is there.
    fn keep(&mut self, dial: Dial) {
        let flow = Flow::from_api_server(dial.server, dial.target.ip(), dial.target.port());
        let key = (flow, dial.kind);
        if !self.chosen.contains_key(&key) && self.is_closed(&key.0) {
            *self.closed.entry(dial.server).or_default() += 1;
        }
        let known = self.chosen.entry(key);
        let (_, purposes) = known.or_insert_with(|| (dial.agent, BTreeSet::new()));
        purposes.insert(dial.purpose);
    }

    /// Whether the model calls a flow closed.
    fn is_closed(&self, flow: &Flow) -> bool {
        matches!(verdict(self.snapshot, flow), Verdict::Deny(_))
    }
}

/// Whether an agent of this kind can open a port: it has no right to low ones, and a kubelet may have its own.
fn is_free(kind: AgentKind, port: u16) -> bool {
    port >= LISTEN_PORT_MIN && (port != KUBELET_PORT || kind == AgentKind::Pod)
}
