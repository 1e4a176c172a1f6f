//! What the model says about one flow, with every gate that it walked.

use serde::Serialize;

use crate::flow::Flow;
use crate::id::{NetworkAclId, NetworkInterfaceId, RuleId, SubnetId};

/// The model's answer to one flow. JSON: DESIGN section 5, "Predictions".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// The question.
    pub flow: Flow,
    /// The answer with what decided it.
    pub verdict: Verdict,
    /// Every gate walked, in order, up to the one that decides (all of them where nothing denies).
    pub steps: Vec<Step>,
}

/// The model's word for a flow, with what decides it (SEMANTICS K.1 "Fields of an answer").
#[derive(Debug, Clone, PartialEq, Eq)]
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
        /// Source ports, within the flow's ephemeral range, that work: sorted, disjoint, not adjacent.
        open_ports: Vec<crate::flow::PortRange>,
    },
    /// The snapshot does not say.
    Unknown(UnknownReason),
    /// The packets never meet a security group.
    Bypass(BypassReason),
    /// AWS does not filter this destination (A.5).
    Exempt(ExemptReason),
}

/// What stops a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// No rule of the interface's groups matches: `sg-egress` or `sg-ingress`.
    SecurityGroup { /// Which of the two gates.
        gate: Gate, /// Interface whose groups have no matching rule.
        at: NetworkInterfaceId },
    /// The interface emits an address that it does not own, with the source/destination check on.
    SourceDestCheck { /// Interface that emits.
        at: NetworkInterfaceId },
    /// An entry of a network ACL: `nacl-out`, `nacl-in`, `nacl-return-out` or `nacl-return-in`.
    NetworkAcl {
        /// Which of the four gates.
        gate: Gate,
        /// List that denies.
        at: NetworkAclId,
        /// Subnet whose list it is.
        subnet: SubnetId,
        /// Entry that decides; 32767 (IPv4) or 32768 (IPv6) when no entry matches.
        rule_number: u32,
    },
    /// No usable route: `route` or `return-route`.
    Route { /// Which of the two gates.
        gate: Gate, /// What is wrong with the route.
        reason: RouteReason },
}
