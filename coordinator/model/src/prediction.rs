//! What the model says about one flow, with every gate that it walked.

use std::fmt;

use crate::flow::Flow;
use crate::id::{NetworkAclId, NetworkInterfaceId, RuleId, SubnetId};
use crate::net::PortRange;

pub use reason::{BypassReason, ExemptReason, RouteReason, UnknownReason};
pub use step::{Place, Step, StepOutcome};

mod json;
pub(crate) mod read;
mod reason;
mod step;

/// The model's answer to one flow. JSON: ARCHITECTURE, "Predictions".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// The question.
    pub flow: Flow,
    /// The answer with what decided it.
    pub verdict: Verdict,
    /// Every gate walked, in order, up to the one that ends the walk.
    pub steps: Vec<Step>,
}

/// The model's word for a flow, with what decides it (SEMANTICS K.1 "Fields of an answer").
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every gate lets the flow and its replies pass.
    Allow {
        /// Lowest matching egress rule of the source interface.
        egress: RuleId,
        /// Lowest matching ingress rule of the destination interface.
        ingress: RuleId,
    },
    /// A gate stops the flow or its replies.
    Deny(Denial),
    /// Only some source ports get their replies through the network ACLs.
    Partial {
        /// [`Gate::NaclReturnOut`] or [`Gate::NaclReturnIn`].
        gate: Gate,
        /// List that stops the others.
        at: NetworkAclId,
        /// Subnet whose list it is.
        subnet: SubnetId,
        /// Source ports, within the flow's ephemeral range (1024 to 65535 after SNAT), that work: sorted, disjoint,
        /// not adjacent.
        open_ports: Vec<PortRange>,
    },
    /// The snapshot does not say.
    Unknown(UnknownReason),
    /// The packets never meet a security group.
    Bypass(BypassReason),
    /// AWS does not filter this destination (A.5).
    Exempt(ExemptReason),
}

/// What stops a flow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Denial {
    /// No rule of the interface's groups matches: `sg-egress` or `sg-ingress`.
    SecurityGroup {
        /// Which of the two gates.
        gate: Gate,
        /// Interface whose groups have no matching rule.
        at: NetworkInterfaceId,
    },
    /// The interface emits an address that it does not own, with the source/destination check on (A.6).
    SourceDestCheck {
        /// Interface that emits.
        at: NetworkInterfaceId,
    },
    /// An entry of a network ACL: `nacl-out`, `nacl-in`, `nacl-return-out` or `nacl-return-in`.
    NetworkAcl {
        /// Which of the four gates.
        gate: Gate,
        /// List that denies.
        at: NetworkAclId,
        /// Subnet whose list it is.
        subnet: SubnetId,
        /// Entry that decides; 32767 (IPv4) or 32768 (IPv6) when no entry matches. Of a reply list: the entry that
        /// denies the lowest denied port.
        rule_number: u32,
    },
    /// No usable route: `route` or `return-route`.
    Route {
        /// Which of the two gates.
        gate: Gate,
        /// What is wrong with the route.
        reason: RouteReason,
    },
}

impl Denial {
    /// Returns the gate that stops the flow.
    #[must_use]
    pub fn gate(&self) -> Gate {
        match self {
            Self::SecurityGroup { gate, .. }
            | Self::NetworkAcl { gate, .. }
            | Self::Route { gate, .. } => *gate,
            Self::SourceDestCheck { .. } => Gate::SourceDestCheck,
        }
    }
}

/// A filter on the way of a flow, in the order of SEMANTICS K.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gate {
    /// Who owns the two addresses, and whether the packets meet a filter at all.
    Endpoints,
    /// Source/destination check of the emitting interface (A.6).
    SourceDestCheck,
    /// Egress rules of the source interface's groups (A).
    SgEgress,
    /// Route from the source's subnet to the destination (C).
    Route,
    /// Outbound network ACL of the source's subnet (B).
    NaclOut,
    /// Inbound network ACL of the destination's subnet (B).
    NaclIn,
    /// Ingress rules of the destination interface's groups (A).
    SgIngress,
    /// Outbound network ACL of the destination's subnet, for the replies (B.3).
    NaclReturnOut,
    /// Inbound network ACL of the source's subnet, for the replies (B.3).
    NaclReturnIn,
    /// Route from the destination's subnet back to the source (C).
    ReturnRoute,
    /// Kubernetes NetworkPolicies that select either pod (E.5).
    NetworkPolicy,
}

impl Gate {
    /// Every gate, in the order of the walk.
    pub const ALL: [Self; 11] = [
        Self::Endpoints,
        Self::SourceDestCheck,
        Self::SgEgress,
        Self::Route,
        Self::NaclOut,
        Self::NaclIn,
        Self::SgIngress,
        Self::NaclReturnOut,
        Self::NaclReturnIn,
        Self::ReturnRoute,
        Self::NetworkPolicy,
    ];

    /// Returns the word of SEMANTICS K, as in the vectors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoints",
            Self::SourceDestCheck => "src-dst-check",
            Self::SgEgress => "sg-egress",
            Self::Route => "route",
            Self::NaclOut => "nacl-out",
            Self::NaclIn => "nacl-in",
            Self::SgIngress => "sg-ingress",
            Self::NaclReturnOut => "nacl-return-out",
            Self::NaclReturnIn => "nacl-return-in",
            Self::ReturnRoute => "return-route",
            Self::NetworkPolicy => "networkpolicy",
        }
    }
}

impl Verdict {
    /// Returns the word of the JSON form, snake_case.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::Deny(_) => "deny",
            Self::Partial { .. } => "partial",
            Self::Unknown(_) => "unknown",
            Self::Bypass(_) => "bypass",
            Self::Exempt(_) => "exempt",
        }
    }

    /// Returns the gate that decides, where one does: of a deny and of a partial.
    #[must_use]
    pub fn gate(&self) -> Option<Gate> {
        match self {
            Self::Deny(denial) => Some(denial.gate()),
            Self::Partial { gate, .. } => Some(*gate),
            Self::Allow { .. } | Self::Unknown(_) | Self::Bypass(_) | Self::Exempt(_) => None,
        }
    }

    /// Returns the reason word of a route denial, an unknown, a bypass or an exemption.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Deny(Denial::Route { reason, .. }) => Some(reason.as_str()),
            Self::Unknown(reason) => Some(reason.as_str()),
            Self::Bypass(reason) => Some(reason.as_str()),
            Self::Exempt(reason) => Some(reason.as_str()),
            Self::Allow { .. }
            | Self::Partial { .. }
            | Self::Deny(
                Denial::SecurityGroup { .. }
                | Denial::SourceDestCheck { .. }
                | Denial::NetworkAcl { .. },
            ) => None,
        }
    }

    /// Returns the rules that the answer names: egress and ingress of an allow, the unresolved ones of an unknown.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleId> {
        match self {
            Self::Allow { egress, ingress } => vec![egress.clone(), ingress.clone()],
            Self::Unknown(UnknownReason::UnresolvedRule { rules }) => rules.clone(),
            Self::Deny(_)
            | Self::Partial { .. }
            | Self::Unknown(_)
            | Self::Bypass(_)
            | Self::Exempt(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Display for Verdict {
    /// Writes one line: the word, and what decides.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())?;
        match self {
            Self::Allow { egress, ingress } => write!(formatter, " ({egress}, {ingress})"),
            Self::Deny(denial) => write!(formatter, " ({denial})"),
            Self::Partial {
                gate, at, subnet, ..
            } => {
                write!(formatter, " ({gate} at {at} of {subnet})")
            }
            Self::Unknown(reason) => write!(formatter, " ({})", reason.as_str()),
            Self::Bypass(reason) => write!(formatter, " ({})", reason.as_str()),
            Self::Exempt(reason) => write!(formatter, " ({})", reason.as_str()),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecurityGroup { gate, at } => write!(formatter, "{gate} at {at}"),
            Self::SourceDestCheck { at } => write!(formatter, "src-dst-check at {at}"),
            Self::NetworkAcl {
                gate,
                at,
                subnet,
                rule_number,
            } => {
                write!(formatter, "{gate} at {at} of {subnet}, entry {rule_number}")
            }
            Self::Route { gate, reason } => write!(formatter, "{gate}: {}", reason.as_str()),
        }
    }
}
