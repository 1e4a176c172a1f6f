//! The conditions under which silence carries a verdict, and how each was met.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::observation::{AgentName, ProbeId};
use crate::prediction::Gate;
/// One of the conditions under which silence carries a verdict (F.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionName {
    /// The source's address is its agent's.
    Address,
    /// The clocks of the agents are known. Of each attempt.
    Clock,
    /// The source was heard shortly before and shortly after the silence. Of each attempt.
    SourceHeard,
    /// The target was heard shortly before and shortly after the silence. Of each attempt.
    TargetHeard,
    /// The source's agent was on time in the silence. Of each attempt.
    SourceOnTime,
    /// The target's agent was on time in the silence. Of each attempt.
    TargetOnTime,
    /// The target's agent accepted no connection of the flow.
    Unseen,
    /// The target dropped no connection for want of room.
    AcceptQueue,
    /// The model knows every gate on the way.
    Known,
    /// No NetworkPolicy selects either pod.
    NoPolicy,
    /// At least 3 silent attempts that count, over at least 10 s, each with a new source port, from every third of them.
    Repeated,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionState {
    /// It holds.
    Met,
    /// It holds by the weaker way that F.2 names.
    MetWeakly,
    /// It does not hold.
    Failed,
}

/// An answered attempt that shows that its two ends were there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Who asked.
    pub source: IpAddr,
    /// Who answered.
    pub target: SocketAddr,
    /// When it began, by the coordinator's clock, in milliseconds since the run began.
    pub at_ms: u64,
}

/// Around a silence: the 5 s before its first SYN and the 5 s after its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Margin {
    /// Before it.
    Before,
    /// After it.
    After,
    /// Both.
    Both,
}

/// Where connections are counted that were dropped for want of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropCounter {
    /// At the listening socket itself.
    Socket,
    /// In the whole network namespace: bounds those of the socket from above.
    Namespace,
}

/// How a condition was met, or why it was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Basis {
    /// Address: the agent's control stream comes from it.
    StreamFrom {
        /// That address.
        address: IpAddr,
    },
    /// Address: a peer's proof says that it saw it, or the agent answered there with its proof.
    SeenByPeer {
        /// That address.
        address: IpAddr,
    },
    /// Address: nothing shows it.
    AddressUnshown {
        /// That address.
        address: IpAddr,
    },
    /// Clock: it is known.
    ClockKnown {
        /// How far the truth may be away, in microseconds: the worse of the two agents.
        uncertainty_us: u64,
    },
    /// Clock: it is not known.
    ClockUnknown {
        /// Whose.
        agent: AgentName,
    },
    /// Heard: answered attempts before and after.
    Answered {
        /// The last before.
        before: Witness,
        /// The first after.
        after: Witness,
    },
    /// Heard, weaker: its agent's stream runs over that interface, and signs of life came before and after.
    Stream {
        /// The agent.
        agent: AgentName,
        /// When the last before came, in milliseconds since the run began.
        before_ms: u64,
        /// When the first after came.
        after_ms: u64,
    },
    /// Not heard then.
    Unheard {
        /// When.
        margin: Margin,
    },
    /// Never heard in this run.
    NeverHeard,
    /// On time: so late at most.
    OnTime {
        /// Milliseconds.
        late_max_ms: u64,
    },
    /// On time: an API server ended its dial by its own limit, so long after it was asked.
    DialLimit {
        /// Milliseconds.
        after_ms: u64,
    },
    /// Late.
    Late {
        /// Milliseconds.
        late_max_ms: u64,
    },
    /// Nobody knows how late.
    LatenessUnknown,
    /// The target has no agent: none that could be late, see the flow or count its drops.
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
    /// Accept queue: nothing was dropped.
    NoDrops {
        /// Where that was counted.
        counter: DropCounter,
    },
    /// Accept queue: the kernel of the target's agent dropped connections for want of room.
    QueueFull {
        /// The target's agent.
        agent: AgentName,
        /// How many during the run.
        drops: u64,
        /// Where that was counted.
        counter: DropCounter,
    },
    /// Accept queue: nobody knows what was dropped.
    DropsUnknown {
        /// The target's agent.
        agent: AgentName,
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
    /// Repeated: so many silent attempts that count.
    SilentAttempts {
        /// Attempts, all silent.
        attempts: usize,
        /// Milliseconds between the starts of the first and the last.
        spread_ms: u64,
    },
    /// Not repeated enough.
    TooFewAttempts {
        /// Silent attempts that count, with source ports of their own.
        attempts: usize,
        /// Milliseconds between the starts of the first and the last.
        spread_ms: u64,
    },
}

impl Basis {
    /// Whether the condition holds on this basis.
    pub fn state(&self) -> ConditionState {
        match self {
            Self::StreamFrom { .. }
            | Self::SeenByPeer { .. }
            | Self::ClockKnown { .. }
            | Self::Answered { .. }
            | Self::OnTime { .. }
            | Self::DialLimit { .. }
            | Self::NoTargetAgent
            | Self::NoAccept { .. }
            | Self::NoDrops { .. }
            | Self::EveryGateKnown
            | Self::NoPolicySelects
            | Self::SilentAttempts { .. } => ConditionState::Met,
            Self::Stream { .. } => ConditionState::MetWeakly,
            Self::AddressUnshown { .. }
            | Self::ClockUnknown { .. }
            | Self::Unheard { .. }
            | Self::NeverHeard
            | Self::Late { .. }
            | Self::LatenessUnknown
            | Self::Accepted { .. }
            | Self::ReportIncomplete { .. }
            | Self::QueueFull { .. }
            | Self::DropsUnknown { .. }
            | Self::GateUnknown { .. }
            | Self::PolicySelects { .. }
            | Self::PoliciesUnread
            | Self::TooFewAttempts { .. } => ConditionState::Failed,
        }
    }
}

/// One condition with how it was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// The conditions of one silent attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptConditions {
    /// Number of the attempt.
    pub number: u32,
    /// Probe of the attempt.
    pub probe: ProbeId,
    /// Whether it counts: every condition holds.
    pub counts: bool,
    /// The conditions.
    pub conditions: Vec<Condition>,
}
