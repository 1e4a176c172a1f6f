//! What follows when the model's word and the network's word for one flow are laid side by side (F.3).

use std::net::{IpAddr, SocketAddr};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::dial::DialFailure;
use crate::flow::Flow;
use crate::observation::{AgentName, Observation};
use crate::prediction::read::unknown;
use crate::prediction::{Prediction, UnknownReason};
use crate::vantage::Vantage;
use crate::words::named;

pub use condition::{
    AttemptConditions, Basis, Condition, ConditionName, ConditionState, DropCounter, Margin,
    Witness,
};

mod condition;

/// How model and network stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

    /// Returns the kind of a word in JSON.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Returns whether model and network were seen to agree.
    pub fn is_confirmed(self) -> bool {
        matches!(
            self,
            Self::ConfirmedAllow | Self::ConfirmedPartial | Self::ConfirmedDeny
        )
    }

    /// Returns whether the network was seen to say anything.
    pub fn is_decided(self) -> bool {
        self.is_confirmed() || self.is_contradiction() || self == Self::Bypass
    }

    /// Returns whether model and network say the opposite of each other.
    pub fn is_contradiction(self) -> bool {
        matches!(self, Self::ContradictionOpen | Self::ContradictionClosed)
    }
}

/// Why a finding is inconclusive or not observed, or what a contradiction rests on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingReason {
    /// Somebody answered who did not show to be the target, although the target could have.
    Unproven,
    /// The source was not heard in the margins of the silence.
    SourceUnheard,
    /// The target was not heard in the margins of the silence.
    TargetUnheard,
    /// Source or target were never heard, so that silence has no control.
    NoControl,
    /// A loop of the source's agent ran late in the silence, or nobody knows.
    SourceLate,
    /// A loop of the target's agent ran late in the silence, or nobody knows.
    TargetLate,
    /// How an agent's clock stands to the coordinator's is not known.
    Clock,
    /// Nothing shows that the source's address is its agent's.
    AddressUnshown,
    /// Two agents claim an address of the flow.
    AddressDisputed,
    /// The target's agent accepted this flow, so the answer was lost on the way back.
    SeenByTarget,
    /// The target's agent did not report to the end, or dropped reports.
    TargetReportIncomplete,
    /// A queue of accepted connections was full at the target, which then drops what arrives, or nobody knows.
    AcceptQueue,
    /// Silence over UDP, where nothing but an answer says anything.
    UdpSilent,
    /// A gate on the way is unknown to the model.
    UnknownGate,
    /// A NetworkPolicy selects a pod of the flow.
    NetworkPolicy,
    /// The policies that may select a pod of the flow were not read.
    PoliciesUnread,
    /// Too few silent attempts that count, too close together, or not from every part of the source ports.
    NotRepeated,
    /// Some source ports are answered and others are not. With a contradiction: a whole third of them, again and again.
    SomeSourcePorts,
    /// The source ports that a partial verdict is judged by were not all tried.
    Partial,
    /// A flow that no group filters stayed silent.
    BypassSilent,
    /// An ICMP error, or the host itself, said that there is no way.
    Unreachable,
    /// The agent could not make the attempt.
    LocalError,
    /// The agent ran late.
    Starved,
    /// The agent's own policy forbids the target.
    RefusedByPolicy,
    /// Somebody answered whose proof does not hold.
    PeerMismatch,
    /// The target saw another source address than the model predicts (SNAT or a proxy).
    SourceTranslated,
    /// An agent of the flow reported what cannot be.
    Implausible,
    /// The world changed between the two readings in a way that could touch the flow.
    Unstable,
    /// The model does not know the verdict, for this reason.
    Model(UnknownReason),
    /// An API server was asked to connect, and nothing is known of a dial.
    Dial(DialFailure),
    /// No agent can try this flow.
    NoVantagePoint,
    /// The agent that was asked did not report the attempt.
    NotReported,
}

impl FindingReason {
    /// Every reason of a finding's own.
    const ALL: [Self; 30] = [
        Self::Unproven,
        Self::SourceUnheard,
        Self::TargetUnheard,
        Self::NoControl,
        Self::SourceLate,
        Self::TargetLate,
        Self::Clock,
        Self::AddressUnshown,
        Self::AddressDisputed,
        Self::SeenByTarget,
        Self::TargetReportIncomplete,
        Self::AcceptQueue,
        Self::UdpSilent,
        Self::UnknownGate,
        Self::NetworkPolicy,
        Self::PoliciesUnread,
        Self::NotRepeated,
        Self::SomeSourcePorts,
        Self::Partial,
        Self::BypassSilent,
        Self::Unreachable,
        Self::LocalError,
        Self::Starved,
        Self::RefusedByPolicy,
        Self::PeerMismatch,
        Self::SourceTranslated,
        Self::Implausible,
        Self::Unstable,
        Self::NoVantagePoint,
        Self::NotReported,
    ];

    /// Returns the word in JSON: kebab-case, like the reasons of the vectors.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::SourceUnheard => "source-unheard",
            Self::TargetUnheard => "target-unheard",
            Self::NoControl => "no-control",
            Self::SourceLate => "source-late",
            Self::TargetLate => "target-late",
            Self::Clock => "clock",
            Self::AddressUnshown => "address-unshown",
            Self::AddressDisputed => "address-disputed",
            Self::SeenByTarget => "seen-by-target",
            Self::TargetReportIncomplete => "target-report-incomplete",
            Self::AcceptQueue => "accept-queue",
            Self::UdpSilent => "udp-silent",
            Self::UnknownGate => "unknown-gate",
            Self::NetworkPolicy => "networkpolicy",
            Self::PoliciesUnread => "policies-unread",
            Self::NotRepeated => "not-repeated",
            Self::SomeSourcePorts => "some-source-ports",
            Self::Partial => "partial",
            Self::BypassSilent => "bypass-silent",
            Self::Unreachable => "unreachable",
            Self::LocalError => "local-error",
            Self::Starved => "starved",
            Self::RefusedByPolicy => "refused-by-policy",
            Self::PeerMismatch => "peer-mismatch",
            Self::SourceTranslated => "source-translated",
            Self::Implausible => "implausible",
            Self::Unstable => "unstable",
            Self::Model(reason) => reason.as_str(),
            Self::Dial(failure) => failure.as_str(),
            Self::NoVantagePoint => "no-vantage-point",
            Self::NotReported => "not-reported",
        }
    }
}

impl<'de> Deserialize<'de> for FindingReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        named(&Self::ALL, Self::as_str, &word)
            .or_else(|| {
                let failure = named(&DialFailure::ALL, |failure| failure.as_str(), &word);
                failure.map(Self::Dial)
            })
            .or_else(|| unknown(&word, Vec::new()).map(Self::Model))
            .ok_or_else(|| D::Error::custom(format!("unknown reason `{word}`")))
    }
}

impl Serialize for FindingReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What an answer is worth (F.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// It shows that the target gave it.
    Proven,
    /// Somebody gave it, where nobody can prove who: a port on which no agent of the run listens.
    Unproven,
}

impl Strength {
    /// Returns the word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Unproven => "unproven",
        }
    }
}

/// Something worth knowing that does not change the kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// Attempts were silent before one was answered.
    Lossy {
        /// How many.
        silent: usize,
    },
    /// A third of the source ports stayed silent in every attempt while another was answered.
    SilentPorts {
        /// First port of that third.
        first: u16,
        /// Last port of that third.
        last: u16,
    },
    /// A service mesh at this end takes over connections: a forwarder that reaches the target gives its proof, too.
    RelayedPossible {
        /// That end.
        address: IpAddr,
    },
    /// The target saw the source that the model predicts after SNAT.
    Translated {
        /// That source.
        observed: SocketAddr,
    },
}

/// One flow with the model's word, the network's word and what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What follows.
    pub kind: FindingKind,
    /// The flow.
    pub flow: Flow,
    /// Who tried it, or who is at its source.
    #[serde(flatten)]
    pub source: Vantage,
    /// Agent at the destination; absent where there is none.
    pub destination_agent: Option<AgentName>,
    /// What the model said before the first packet.
    pub prediction: Prediction,
    /// Every attempt; empty when nobody tried.
    pub observation: Observation,
    /// What the answer is worth; absent where none counts.
    pub strength: Option<Strength>,
    /// Why, for [`FindingKind::Inconclusive`] and [`FindingKind::NotObserved`]; for a contradiction
    /// [`FindingReason::SomeSourcePorts`], where it is one of these.
    pub reason: Option<FindingReason>,
    /// The conditions of F.2, where silence was judged.
    pub conditions: Vec<Condition>,
    /// The conditions of each silent attempt, where silence was judged.
    pub attempt_conditions: Vec<AttemptConditions>,
    /// What else is worth knowing.
    pub notes: Vec<Note>,
}

impl Finding {
    /// Returns whether an answer that proves who gave it confirms the flow (F.2).
    #[must_use]
    pub fn is_proven(&self) -> bool {
        match self.kind {
            FindingKind::ConfirmedAllow | FindingKind::ConfirmedPartial => {
                self.strength == Some(Strength::Proven)
            }
            FindingKind::ContradictionOpen
            | FindingKind::ContradictionClosed
            | FindingKind::Inconclusive
            | FindingKind::ConfirmedDeny
            | FindingKind::Bypass
            | FindingKind::NotObserved => false,
        }
    }
}
