//! What follows when the model's word and the network's word for one flow are laid side by side (F.3).

use std::net::{IpAddr, SocketAddr};

use serde::{Serialize, Serializer};

use crate::flow::Flow;
use crate::observation::{AgentName, Observation};
use crate::prediction::{Gate, Prediction, UnknownReason};

/// How model and network stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The network answers although the model denies.
    ContradictionOpen,
    /// The network is silent although the model allows, and every other cause is excluded.
    ContradictionClosed,
    /// The evidence cannot carry a verdict.
    Inconclusive,
    /// Predicted silence, seen, every other cause excluded.
    ConfirmedDeny,
    /// Predicted port by port, seen port by port.
    ConfirmedPartial,
    /// Predicted answer, seen.
    ConfirmedAllow,
    /// The packets meet no security group, so the probe says nothing about one.
    Bypass,
    /// Nobody tried: no source there, or its agent did not report.
    NotObserved,
}

impl FindingKind {
    /// Every kind, in the order of the report: what needs attention first.
    pub const ALL: [Self; 8] = [
        Self::ContradictionOpen,
        Self::ContradictionClosed,
        Self::Inconclusive,
        Self::ConfirmedDeny,
        Self::ConfirmedPartial,
        Self::ConfirmedAllow,
        Self::Bypass,
        Self::NotObserved,
    ];

    /// Returns the word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContradictionOpen => "contradiction_open",
            Self::ContradictionClosed => "contradiction_closed",
            Self::Inconclusive => "inconclusive",
            Self::ConfirmedDeny => "confirmed_deny",
            Self::ConfirmedPartial => "confirmed_partial",
            Self::ConfirmedAllow => "confirmed_allow",
            Self::Bypass => "bypass",
            Self::NotObserved => "not_observed",
        }
    }

    /// Returns whether model and network say the opposite of each other.
    pub fn is_contradiction(self) -> bool {
        matches!(self, Self::ContradictionOpen | Self::ContradictionClosed)
    }
}

/// Why a finding is inconclusive or not observed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingReason {
    /// F.2.1 fails: nothing shows that the target was there.
    NotAlive,
    /// F.2.2 fails: the target's agent accepted this flow, so the answer was lost on the way back.
    SeenByTarget,
    /// F.2.2 cannot be told: the target's agent did not report to the end, or dropped reports.
    TargetReportIncomplete,
    /// F.2.2 cannot be told: a queue of accepted connections was full at the target, which then drops what arrives.
    AcceptQueueFull,
    /// Silence over UDP, where nothing but an answer says anything.
    UdpSilent,
    /// F.2.3 fails: a gate on the way is unknown to the model.
    UnknownGate,
    /// F.2.4 fails: a NetworkPolicy selects a pod of the flow, or nobody could read the policies.
    NetworkPolicy,
    /// F.2.5 fails: no control probe was answered.
    NoControl,
    /// F.2.6 fails: too few silent attempts, too close together, or source ports used again.
    NotRepeated,
    /// The source ports that a partial verdict is judged by were not all tried.
    Partial,
    /// A flow that no group filters stayed silent.
    BypassSilent,
    /// The kernel said host or network unreachable.
    Unreachable,
    /// The agent could not make the attempt.
    LocalError,
    /// The agent ran late.
    Starved,
    /// The agent's own policy forbids the target.
    RefusedByPolicy,
    /// Somebody answered who could not prove to be the intended agent.
    PeerMismatch,
    /// The target saw another source address than the model predicts (SNAT or a proxy).
    SourceTranslated,
    /// The world changed between the two readings in a way that could touch the flow.
    Unstable,
    /// The model does not know the verdict, for this reason.
    Model(UnknownReason),
    /// No agent can try this flow.
    NoVantagePoint,
    /// The agent that was asked did not report the attempt.
    NotReported,
}

impl FindingReason {
    /// Returns the word in JSON: kebab-case, like the reasons of the vectors.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotAlive => "not-alive",
            Self::SeenByTarget => "seen-by-target",
            Self::TargetReportIncomplete => "target-report-incomplete",
            Self::AcceptQueueFull => "accept-queue-full",
            Self::UdpSilent => "udp-silent",
            Self::UnknownGate => "unknown-gate",
            Self::NetworkPolicy => "networkpolicy",
            Self::NoControl => "no-control",
            Self::NotRepeated => "not-repeated",
            Self::Partial => "partial",
            Self::BypassSilent => "bypass-silent",
            Self::Unreachable => "unreachable",
            Self::LocalError => "local-error",
            Self::Starved => "starved",
            Self::RefusedByPolicy => "refused-by-policy",
            Self::PeerMismatch => "peer-mismatch",
            Self::SourceTranslated => "source-translated",
            Self::Unstable => "unstable",
            Self::Model(reason) => reason.as_str(),
            Self::NoVantagePoint => "no-vantage-point",
            Self::NotReported => "not-reported",
        }
    }
}

impl Serialize for FindingReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One of the six conditions under which silence carries a verdict (F.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionName {
    /// The target answered during the run.
    Alive,
    /// The target's agent saw no connection of the flow.
    Unseen,
    /// The model knows every gate on the way.
    Known,
    /// No NetworkPolicy selects either pod.
    NoPolicy,
    /// Source and target can talk otherwise.
    Control,
    /// At least 3 attempts over at least 10 s, each with a new source port, all silent.
    Repeated,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionState {
    /// It holds.
    Met,
    /// It holds by the weaker way that F.2 names.
    MetWeakly,
    /// It does not hold.
    Failed,
}

/// How a condition was met, or why it was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Basis {
    /// Alive: the agent on the target's host was heard during the run.
    Heartbeat {
        /// That agent.
        agent: AgentName,
    },
    /// Alive: the target answered a probe in this run.
    AnsweredProbe {
        /// Agent whose probe was answered.
        agent: AgentName,
        /// Port that was answered on.
        port: u16,
    },
    /// Alive, weaker: the control-plane interface is in the `kubernetes` EndpointSlice.
    EndpointSlice,
    /// Not alive: nothing was heard from the target.
    NothingHeard,
    /// Unseen: the target has no agent that could have seen it.
    NoTargetAgent,
    /// Unseen: the target's agent reported to the end and accepted nothing of this flow.
    NoAccept {
        /// The target's agent.
        agent: AgentName,
    },
    /// Seen: the target's agent accepted a connection that may be of this flow.
    Accepted {
        /// The target's agent.
        agent: AgentName,
        /// Source that it saw.
        peer: SocketAddr,
    },
    /// Not known whether seen: the target's agent did not report everything.
    ReportIncomplete {
        /// The target's agent.
        agent: AgentName,
    },
    /// Not known whether seen: the kernel of the target's agent dropped connections for want of room.
    QueueFull {
        /// The target's agent.
        agent: AgentName,
        /// Connections dropped during the run, on any of its ports.
        drops: u64,
    },
    /// Known: no gate that was walked is unknown.
    EveryGateKnown,
    /// Not known: this gate.
    GateUnknown {
        /// First unknown gate on the way.
        gate: Gate,
    },
    /// No policy: none selects an end of the flow.
    NoPolicySelects,
    /// A policy selects an end of the flow.
    PolicySelects {
        /// The end that is selected.
        address: IpAddr,
    },
    /// The policies could not be read, and an end of the flow is a pod.
    PoliciesUnread,
    /// Control (a): the same source was answered by the same target on another port.
    OtherPort {
        /// That port.
        port: u16,
    },
    /// Control of a partial verdict: the same flow was answered with another source port.
    OtherSourcePort {
        /// That source port.
        port: u16,
    },
    /// Control (b): another source was answered on the same target and port, and the same source elsewhere.
    OtherSourceAndTarget {
        /// Agent of the other source.
        agent: AgentName,
        /// Where the same source was answered.
        target: SocketAddr,
    },
    /// Control (c), weaker: the target's agent is connected through the same interface, and the same source was
    /// answered elsewhere.
    TargetStream {
        /// The target's agent.
        agent: AgentName,
        /// Where the same source was answered.
        target: SocketAddr,
    },
    /// No control probe was answered.
    NoControlAnswered,
    /// Repeated: so many silent attempts.
    SilentAttempts {
        /// Attempts, all silent.
        attempts: usize,
        /// Milliseconds between the starts of the first and the last.
        spread_ms: u64,
    },
    /// Not repeated enough.
    TooFewAttempts {
        /// Silent attempts with source ports of their own.
        attempts: usize,
        /// Milliseconds between the starts of the first and the last.
        spread_ms: u64,
    },
}

impl Basis {
    /// Whether the condition holds on this basis.
    pub fn state(&self) -> ConditionState {
        match self {
            Self::Heartbeat { .. }
            | Self::AnsweredProbe { .. }
            | Self::NoTargetAgent
            | Self::NoAccept { .. }
            | Self::EveryGateKnown
            | Self::NoPolicySelects
            | Self::OtherPort { .. }
            | Self::OtherSourcePort { .. }
            | Self::OtherSourceAndTarget { .. }
            | Self::SilentAttempts { .. } => ConditionState::Met,
            Self::EndpointSlice | Self::TargetStream { .. } => ConditionState::MetWeakly,
            Self::NothingHeard
            | Self::Accepted { .. }
            | Self::ReportIncomplete { .. }
            | Self::QueueFull { .. }
            | Self::GateUnknown { .. }
            | Self::PolicySelects { .. }
            | Self::PoliciesUnread
            | Self::NoControlAnswered
            | Self::TooFewAttempts { .. } => ConditionState::Failed,
        }
    }
}

/// One condition with how it was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Which condition.
    pub name: ConditionName,
    /// Whether it holds.
    pub state: ConditionState,
    /// How, or why not.
    #[serde(flatten)]
    pub basis: Basis,
}

impl Condition {
    /// The condition `name` on `basis`.
    pub fn new(name: ConditionName, basis: Basis) -> Self {
        Self {
            name,
            state: basis.state(),
            basis,
        }
    }

    /// Whether it holds, in the weaker way or not.
    pub fn holds(&self) -> bool {
        match self.state {
            ConditionState::Met | ConditionState::MetWeakly => true,
            ConditionState::Failed => false,
        }
    }
}

/// Something worth knowing that does not change the kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// Attempts were silent before one was answered.
    Lossy {
        /// How many.
        silent: usize,
    },
    /// The target saw the source that the model predicts after SNAT.
    Translated {
        /// That source.
        observed: SocketAddr,
    },
}

/// One flow with the model's word, the network's word and what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What follows.
    pub kind: FindingKind,
    /// The flow.
    pub flow: Flow,
    /// Agent at the source; absent where there is none.
    pub source_agent: Option<AgentName>,
    /// Agent at the destination; absent where there is none.
    pub destination_agent: Option<AgentName>,
    /// What the model said before the first packet.
    pub prediction: Prediction,
    /// Every attempt; empty when nobody tried.
    pub observation: Observation,
    /// Why, for [`FindingKind::Inconclusive`] and [`FindingKind::NotObserved`].
    pub reason: Option<FindingReason>,
    /// The conditions of F.2, where silence was judged.
    pub conditions: Vec<Condition>,
    /// What else is worth knowing.
    pub notes: Vec<Note>,
}
