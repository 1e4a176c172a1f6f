//! Which flows to try, from where, and how often.
//!
//! The plan is made from snapshot, roster, scope and seed alone, so two runs over the same plan the same. It fixes the
//! number of attempts before the first packet leaves: nobody retries until a result agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::flow::Flow;
use crate::observation::AgentName;
pub use crate::observation::ProbeId;
use crate::snapshot::EndpointListing;

pub use build::{
    Depth, FLOWS_PER_AGENT_MAX, FLOWS_PER_RUN_MAX, FileState, Scope, WHOLE_MESH_MAX, plan,
    plan_rules,
};
pub use ports::{JUDGED_PORTS_MAX, judged_ports};
pub(crate) use required::control_plane_targets;
pub use roster::{AddressConflict, AgentKind, Roster, RosterAgent};

mod build;
mod control;
mod cover;
mod ports;
mod required;
mod roster;
mod seed;

/// Most attempts of one probe: what silence needs to count as repeated (F.2.6).
pub const ATTEMPTS: u32 = 3;

/// How long an attempt waits: at least 2 SYNs on old kernels and 3 on new ones (F.1).
pub const ATTEMPT_DEADLINE: Duration = Duration::from_millis(3_000);

/// Time between the starts of two attempts, so that three of them spread over more than 10 s (F.2.6).
pub const ATTEMPT_INTERVAL: Duration = Duration::from_millis(5_100);

/// Port on which agents serve `Peer.Identify` to each other, the first of 7500 to 7509 (DESIGN 5).
pub const PEER_PORT: u16 = 7500;

/// What a probe does once it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// Connects and closes; sends nothing.
    Connect,
    /// Connects and asks the peer who it is.
    Identify,
    /// Asks one DNS query, over the protocol of the flow: TCP or UDP.
    Resolve,
}

/// Source ports of a probe's attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourcePorts {
    /// A new random port of the ephemeral range for each attempt.
    Random,
    /// This port for every attempt: a partial verdict is judged port by port (F.3).
    Fixed(u16),
}

/// One probe: [`ATTEMPTS`] attempts at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedProbe {
    /// Names it in the run.
    pub id: ProbeId,
    /// What it does once connected.
    pub kind: ProbeKind,
    /// Which source ports it uses.
    pub source_ports: SourcePorts,
}

/// What stands at the destination of a planned flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A network interface of the control plane.
    ControlPlane(EndpointListing),
    /// Another agent.
    Agent(AgentName),
    /// A pod of the cluster without an agent (CoreDNS).
    Pod,
}

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
    /// It shows that source and target of a predicted deny can talk otherwise (F.2.5).
    Control,
}

/// Whether a NetworkPolicy may drop packets of a flow (F.2.4).
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
    /// Agent that tries it.
    pub source: AgentName,
    /// What stands at its destination.
    pub target: Target,
    /// Why it is tried.
    pub purposes: BTreeSet<Purpose>,
    /// Whether a NetworkPolicy may interfere.
    pub policy: PolicyFact,
    /// Address that the target should see, where the model predicts CNI source NAT.
    pub translated: Option<IpAddr>,
    /// One probe; for a predicted partial one for each source port that is judged.
    pub probes: Vec<PlannedProbe>,
}

/// Every flow of one run, in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbePlan {
    /// The flows.
    pub flows: Vec<PlannedFlow>,
    /// Ports to serve `Peer.Identify` on, by agent.
    pub listens: BTreeMap<AgentName, BTreeSet<u16>>,
    /// Flows that the limits kept out; all flows between two agents that never had a turn count as one.
    pub left_out: usize,
}
