//! Why: the reason words of SEMANTICS K.

use crate::id::RuleId;

/// Why a route or return route denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteReason {
    /// No route covers the address.
    None,
    /// The target of the route is gone (C.5).
    Blackhole,
    /// The route is filtered (C.5).
    Filtered,
    /// The peering is not active or joins another VPC; peering is not transitive (C.7).
    FarSide,
    /// The transit gateway has no attachment subnet in the sender's zone (C.7).
    TgwZone,
    /// Replies would go to a NAT gateway.
    Nat,
    /// Replies would go to an internet gateway.
    Igw,
    /// Replies would go somewhere that does not lead back.
    Other,
}

impl RouteReason {
    /// Every reason.
    pub(crate) const ALL: [Self; 8] = [
        Self::None,
        Self::Blackhole,
        Self::Filtered,
        Self::FarSide,
        Self::TgwZone,
        Self::Nat,
        Self::Igw,
        Self::Other,
    ];

    /// Returns the word of SEMANTICS K, as in the vectors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Blackhole => "blackhole",
            Self::Filtered => "filtered",
            Self::FarSide => "far-side",
            Self::TgwZone => "tgw-zone",
            Self::Nat => "nat",
            Self::Igw => "igw",
            Self::Other => "other",
        }
    }
}

/// Why the model cannot tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnknownReason {
    /// No rule matches for certain and some could not be resolved.
    UnresolvedRule {
        /// Those rules: egress first, then ingress, each sorted. A group that is not in the snapshot stands for its
        /// rules.
        rules: Vec<RuleId>,
    },
    /// The interface has no security group (A.5).
    NoGroups,
    /// An appliance on the way may drop (C.3).
    Middlebox,
    /// An appliance on the way back may drop.
    ReturnMiddlebox,
    /// The way leads over a NAT gateway.
    Nat,
    /// The way leads over an internet gateway.
    Igw,
    /// The way leads over a virtual private gateway.
    Vgw,
    /// The way, or a list on it, is not in the snapshot or not in the model.
    Other,
    /// Sources disagree about pods with other groups on one node (X6).
    SameHostBranch,
    /// No interface of the snapshot owns the source.
    SrcOutsideModel,
    /// No interface that the way leads to owns the destination.
    DstOutsideModel,
    /// Two interfaces own an address.
    AmbiguousAddress,
    /// A NetworkPolicy selects either pod; policies are not evaluated (E.5).
    NetworkPolicy,
    /// What the transit gateway does is not in the snapshot.
    Tgw,
    /// The destination is the address of a Kubernetes service, which kube-proxy translates.
    ServiceAddress,
    /// Two views of one thing contradict each other.
    Conflict,
}

impl UnknownReason {
    /// Every reason but the one that names rules.
    pub(crate) const ALL: [Self; 15] = [
        Self::NoGroups,
        Self::Middlebox,
        Self::ReturnMiddlebox,
        Self::Nat,
        Self::Igw,
        Self::Vgw,
        Self::Other,
        Self::SameHostBranch,
        Self::SrcOutsideModel,
        Self::DstOutsideModel,
        Self::AmbiguousAddress,
        Self::NetworkPolicy,
        Self::Tgw,
        Self::ServiceAddress,
        Self::Conflict,
    ];

    /// Returns the word of SEMANTICS K, as in the vectors.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::UnresolvedRule { .. } => "unresolved-rule",
            Self::NoGroups => "no-groups",
            Self::Middlebox => "middlebox",
            Self::ReturnMiddlebox => "return-middlebox",
            Self::Nat => "nat",
            Self::Igw => "igw",
            Self::Vgw => "vgw",
            Self::Other => "other",
            Self::SameHostBranch => "same-host-branch",
            Self::SrcOutsideModel => "src-outside-model",
            Self::DstOutsideModel => "dst-outside-model",
            Self::AmbiguousAddress => "ambiguous-address",
            Self::NetworkPolicy => "networkpolicy",
            Self::Tgw => "tgw",
            Self::ServiceAddress => "service-address",
            Self::Conflict => "conflict",
        }
    }
}

/// Why the packets never meet a security group (E.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BypassReason {
    /// Both addresses are on one host.
    SameHost,
    /// Both addresses are the same, or one is a loopback address.
    Loopback,
}

impl BypassReason {
    /// Every reason.
    pub(crate) const ALL: [Self; 2] = [Self::SameHost, Self::Loopback];

    /// Returns the word of SEMANTICS K, as in the vectors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SameHost => "same-host",
            Self::Loopback => "loopback",
        }
    }
}

/// Why AWS does not filter a destination (A.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExemptReason {
    /// The resolver at the base of the VPC's primary CIDR plus two.
    VpcDns,
    /// Instance metadata, time, task metadata and the link-local resolver.
    LinkLocal,
}

impl ExemptReason {
    /// Every reason.
    pub(crate) const ALL: [Self; 2] = [Self::VpcDns, Self::LinkLocal];

    /// Returns the word of SEMANTICS K, as in the vectors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VpcDns => "vpc-dns",
            Self::LinkLocal => "link-local",
        }
    }
}
