//! Which flows to try, from where, and how often.
//!
//! The plan is made from snapshot, roster, scope and seed alone, so two runs over the same plan the same. It fixes the
//! number of attempts before the first packet leaves: nobody retries until a result agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use crate::flow::Flow;
use crate::id::NetworkInterfaceId;
use crate::net::PortRange;
pub use crate::observation::ProbeId;
use crate::observation::{AgentName, Attempt, RunEvidence, micros};
use crate::snapshot::EndpointListing;
use crate::vantage::Vantage;

pub use compose::{Besides, plan, plan_rules, plan_with};
pub use dial::{
    CLOSED_EDGES_PER_SERVER_MAX, CONTROLS_PER_SERVER_MAX, DIALS_PER_RUN_MAX, DialPod, Dialling,
    add_dials, api_servers,
};
pub use ports::{JUDGED_PORTS_MAX, judged_ports};
pub(crate) use required::control_plane_targets;
pub use roster::{AddressConflict, AgentKind, Roster, RosterAgent};
pub use scope::{Depth, FLOWS_PER_AGENT_MAX, FLOWS_PER_RUN_MAX, FileState, Scope, WHOLE_MESH_MAX};

mod build;
mod compose;
mod control;
mod cover;
mod dial;
mod ports;
mod pulse;
mod required;
mod roster;
mod scope;
mod seed;

/// Attempts of one stage: what silence needs to count as repeated (F.2).
pub const ATTEMPTS: u32 = 3;

/// Most attempts of one probe, over all its stages.
pub const ATTEMPTS_MAX: u32 = 3 * ATTEMPTS;

/// How long an attempt waits: at least 2 SYNs on old kernels and 3 on new ones (F.1).
pub const ATTEMPT_DEADLINE: Duration = Duration::from_millis(3_000);

/// Time between the starts of two attempts, so that three of them spread over more than 10 s (F.2 "repeated").
pub const ATTEMPT_INTERVAL: Duration = Duration::from_millis(5_100);

/// Time between the starts of two attempts of [`Stage::Second`]: they need no spread of their own.
pub const SECOND_INTERVAL: Duration = Duration::from_millis(3_100);

/// How long a pulse waits for its answer: shorter than the time between two.
pub const PULSE_DEADLINE: Duration = Duration::from_millis(1_500);

/// Attempts of one dial of an API server: what silence needs (G.2b).
pub const DIAL_ATTEMPTS: u32 = ATTEMPTS;

/// Time between the starts of two dials that are not answered: over 10 s by whatever clock (G.2b "Silence").
pub const DIAL_INTERVAL: Duration = Duration::from_millis(10_100);

/// Shortest time in which an API server ends a dial by its own limit, which is 30 s (G.2, Go's dialer).
pub const DIAL_LIMIT_MIN: Duration = Duration::from_secs(29);

/// How long an API server may take to answer: longer than its own limit, so that the two are told apart (G.2b).
pub const DIAL_DEADLINE: Duration = Duration::from_secs(45);

/// Time between two calls of a control dial: each margin of a silence holds one (F.2).
pub const CONTROL_DIAL_INTERVAL: Duration = Duration::from_secs(3);

/// Port on which agents serve `Peer.Identify` to each other, the first of 7500 to 7509 (ARCHITECTURE, "Agents and
/// ports").
pub const PEER_PORT: u16 = 7500;

/// What a probe does once it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// Connects and closes; sends nothing.
    Connect,
    /// Connects and asks the peer who it is.
    Identify,
    /// Asks one DNS query, over the protocol of the flow: TCP or UDP.
    Resolve,
    /// Connects and asks for a TLS session, in which the API server proves its key.
    Certify,
    /// Speaks plain HTTP to a kubelet's port, which it answers in its own words (G.2b): for API servers alone.
    Kubelet,
    /// Asks for the log of a pod, which the kubelet of its node has (G.2b): for API servers alone.
    KubeletLog,
}

/// Source ports of a probe's attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourcePorts {
    /// A new port of the ephemeral range for each attempt, drawn at random from the part that [`Spread`] gives it.
    Spread,
    /// This port for every attempt: a partial verdict is judged port by port (F.3).
    Fixed(u16),
    /// Those that the kernel of an API server takes: nobody can choose them.
    Unchosen,
}

/// One probe: a stage of [`ATTEMPTS`] attempts, and two more where they are needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedProbe {
    /// Names it in the run.
    pub id: ProbeId,
    /// What it does once connected.
    pub kind: ProbeKind,
    /// Which source ports it uses.
    pub source_ports: SourcePorts,
    /// Whether an answer ends the first stage.
    pub until: Until,
}

/// When the first stage of a probe ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// With the first answer.
    Answered,
    /// With its last attempt: so a filter on source ports shows.
    Last,
}

/// The stages of a probe with [`SourcePorts::Spread`] over TCP; others have the first alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Attempts 0 to 2, [`ATTEMPT_INTERVAL`] apart.
    First,
    /// Attempts 3 to 5, [`SECOND_INTERVAL`] apart, once attempt 0 had no answer; an answer ends it.
    Second,
    /// Attempts 6 to 8, [`ATTEMPT_INTERVAL`] apart, when the others have ended and some of them do not count; all are made.
    Replacement(Spread),
}

impl Stage {
    /// Number of its first attempt.
    #[must_use]
    pub fn first_attempt(self) -> u32 {
        match self {
            Self::First => 0,
            Self::Second => ATTEMPTS,
            Self::Replacement(_) => 2 * ATTEMPTS,
        }
    }

    /// Time between the starts of two of its attempts.
    #[must_use]
    pub fn interval(self) -> Duration {
        match self {
            Self::First | Self::Replacement(_) => ATTEMPT_INTERVAL,
            Self::Second => SECOND_INTERVAL,
        }
    }

    /// Where its source ports lie.
    #[must_use]
    pub fn spread(self) -> Spread {
        match self {
            Self::First => Spread::Even,
            Self::Second => Spread::Odd,
            Self::Replacement(spread) => spread,
        }
    }
}

/// Which parts of the ephemeral range the source ports of a stage are drawn from, one for each attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// The first half of each third.
    Even,
    /// The second half of each third.
    Odd,
    /// Each third.
    Thirds,
    /// One third, 0 to 2, for every attempt.
    Third(u8),
}

/// How many parts [`Spread`] is made of.
const SIXTHS: u32 = 6;

impl Spread {
    /// The ranges of the attempts, in their order, as parts of `range`.
    #[must_use]
    pub fn ranges(self, range: PortRange) -> Vec<PortRange> {
        let sixths: [(u32, u32); 3] = match self {
            Self::Even => [(0, 1), (2, 3), (4, 5)],
            Self::Odd => [(1, 2), (3, 4), (5, 6)],
            Self::Thirds => [(0, 2), (2, 4), (4, 6)],
            Self::Third(third) => [(2 * u32::from(third), 2 * u32::from(third) + 2); 3],
        };
        sixths
            .into_iter()
            .map(|part| sixths_of(range, part))
            .collect()
    }
}

/// The part of `range` from one of its sixths up to another, the latter not included. At least one port wide.
fn sixths_of(range: PortRange, (from, to): (u32, u32)) -> PortRange {
    let first = u32::from(range.first());
    let length = u32::from(range.last()) - first + 1;
    let at = |sixth: u32| first + length * sixth.min(SIXTHS) / SIXTHS;
    let begin = at(from).min(u32::from(range.last()));
    let end = at(to).saturating_sub(1).max(begin);
    let port = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    PortRange::between(port(begin), port(end))
}

/// Which third of `range` a source port lies in, 0 to 2; absent where it lies outside.
#[must_use]
pub fn third_of(range: PortRange, port: u16) -> Option<u8> {
    (0..3).find(|third| {
        let part = sixths_of(range, (2 * u32::from(*third), 2 * u32::from(*third) + 2));
        part.contains(port)
    })
}

/// A call that is made again and again while a run probes: what is answered shows that both ends were there (F.2
/// "Pulses"). Never a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedPulse {
    /// Names it in the run; the numbers follow those of the probes.
    pub id: ProbeId,
    /// Agent that calls.
    pub agent: AgentName,
    /// Address that it calls from.
    pub source: IpAddr,
    /// Whom it calls: predicted allow, at least from its source ports.
    pub target: SocketAddr,
    /// What it asks: [`ProbeKind::Identify`] or [`ProbeKind::Certify`].
    pub kind: ProbeKind,
    /// Where its source ports lie, if only some are predicted to be answered; absent: in the whole ephemeral range.
    pub source_ports: Option<PortRange>,
    /// Time between two calls.
    #[serde(rename = "interval_us", with = "micros")]
    pub interval: Duration,
}

/// What stands at the destination of a planned flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A network interface of the control plane.
    ControlPlane(EndpointListing),
    /// Another agent.
    Agent(AgentName),
    /// The kubelet of the node on which this agent is a pod: no agent has the node's address.
    Kubelet(AgentName),
    /// A pod of the cluster without an agent (CoreDNS).
    Pod,
}

/// Lowest port that an agent opens: lower ones need a right that it does not have.
pub const LISTEN_PORT_MIN: u16 = 1024;

/// Most ports that one agent opens in a run (`control.proto`, `Assignment.listen`).
pub const LISTENS_PER_AGENT_MAX: usize = 256;

/// Why a flow is in the plan; one may have several reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// It leads to a target that the cluster needs: a control-plane interface on 443, or CoreDNS on 53.
    Required,
    /// Agents reach each other on the peer port.
    Peer,
    /// A rule between the two ends begins or ends here.
    Edge,
    /// A tuple of rules decides here that no other flow shows, or an agent was not yet seen in its role at this port.
    Rule,
    /// An earlier run tried it, which this one is compared with.
    Earlier,
    /// It shows that source and target of a predicted deny can talk otherwise (F.2 "Silence", 1 and 2).
    Control,
}

/// Whether a NetworkPolicy may drop packets of a flow (F.2 "Silence", 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyFact {
    /// No policy selects an end, or no end can be selected (E.5).
    NoneSelects,
    /// A policy selects this end.
    Selects(IpAddr),
    /// An end may be a pod and the policies were not read.
    Unread,
}

/// One flow to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFlow {
    /// The flow.
    pub flow: Flow,
    /// Who tries it: never [`Vantage::Model`].
    pub source: Vantage,
    /// What stands at its destination.
    pub target: Target,
    /// Why it is tried.
    pub purposes: BTreeSet<Purpose>,
    /// Whether a NetworkPolicy may interfere.
    pub policy: PolicyFact,
    /// An end whose pod has a container that may answer in the place of others (F.2 "Answers").
    pub relay: Option<IpAddr>,
    /// Address that the target should see, where the model predicts CNI source NAT.
    pub translated: Option<IpAddr>,
    /// One probe; for a predicted partial one for each source port that is judged.
    pub probes: Vec<PlannedProbe>,
}

/// Every flow of one run, in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbePlan {
    /// The flows: those of agents first, then those of API servers.
    pub flows: Vec<PlannedFlow>,
    /// Ports to serve `Peer.Identify` on, by agent: every port that is probed at it, from 1024 up.
    pub listens: BTreeMap<AgentName, BTreeSet<u16>>,
    /// Calls that show who is there, from before the first probe until after the last.
    pub pulses: Vec<PlannedPulse>,
    /// Which network interface holds an address of an agent, as far as the snapshot says.
    pub interfaces: BTreeMap<IpAddr, NetworkInterfaceId>,
    /// Flows that the limits kept out; all flows between two agents that never had a turn count as one.
    pub left_out: usize,
}

impl ProbePlan {
    /// What `evidence` has of one of the pulses; none when nothing was reported.
    pub fn attempts_of_pulse<'e>(&self, evidence: &'e RunEvidence, id: ProbeId) -> &'e [Attempt] {
        let place = self.pulses.first();
        let place = place.and_then(|first| id.index().checked_sub(first.id.index()));
        let observation = place.and_then(|place| evidence.pulses.get(place));
        observation.map_or(&[], |observation| &observation.attempts)
    }
}
