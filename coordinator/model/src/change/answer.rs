//! An answer of the model that changed: who sends what to whom, and what was said before and after.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Concern;
use super::atom::Atom;
use super::end::{End, Member};
use crate::flow::{FlowProtocol, SourceKind};
use crate::id::NetworkInterfaceId;
use crate::matrix::VerdictKind;
use crate::net::PortRange;
use crate::prediction::Verdict;

/// One end of a changed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// Addresses that interfaces own.
    Inside {
        /// One of them before.
        before: IpAddr,
        /// The same after, or the address of the interface that replaced it.
        after: IpAddr,
        /// How many such addresses there are; a delegated prefix counts as one.
        addresses: usize,
    },
    /// Addresses that no interface owns.
    Outside {
        /// The smallest network around them that a rule, entry, route or setting names.
        network: Option<IpNet>,
        /// One of them.
        example: IpAddr,
    },
}

impl Party {
    pub(super) fn new(end: &End, member: Member) -> Self {
        if end.is_outside {
            Self::Outside {
                network: end.network,
                example: member.after,
            }
        } else {
            Self::Inside {
                before: member.before,
                after: member.after,
                addresses: end.count,
            }
        }
    }

    /// Returns whether no interface owns the addresses.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        matches!(self, Self::Outside { .. })
    }

    /// Returns an address after the change.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Inside { after, .. } => *after,
            Self::Outside { example, .. } => *example,
        }
    }
}

/// Packets whose answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packets {
    /// TCP to these ports.
    Tcp(PortRange),
    /// UDP to these ports.
    Udp(PortRange),
    /// ICMP for IPv4: this type and code, or all types where both are absent.
    Icmp(Option<(u8, u8)>),
    /// ICMP for IPv6.
    IcmpV6(Option<(u8, u8)>),
    /// Another protocol, by its number; absent for all others.
    Other(Option<u8>),
}

impl Packets {
    pub(super) fn new(atom: Atom) -> Self {
        let single = |port| PortRange::between(port, port);
        match atom.packet {
            FlowProtocol::Tcp { port } => Self::Tcp(atom.ports.unwrap_or(single(port))),
            FlowProtocol::Udp { port } => Self::Udp(atom.ports.unwrap_or(single(port))),
            FlowProtocol::Icmp { kind, code } => {
                Self::Icmp((!atom.is_rest).then_some((kind, code)))
            }
            FlowProtocol::IcmpV6 { kind, code } => {
                Self::IcmpV6((!atom.is_rest).then_some((kind, code)))
            }
            FlowProtocol::Other(number) => Self::Other((!atom.is_rest).then_some(number)),
        }
    }

    /// Both as one, where nothing lies between them; what is said of all of a protocol holds for its parts.
    pub(super) fn joined(self, next: Self) -> Option<Self> {
        let touch = |one: PortRange, other: PortRange| {
            (one.last().checked_add(1) == Some(other.first()))
                .then(|| PortRange::between(one.first(), other.last()))
        };
        match (self, next) {
            (Self::Tcp(one), Self::Tcp(other)) => touch(one, other).map(Self::Tcp),
            (Self::Udp(one), Self::Udp(other)) => touch(one, other).map(Self::Udp),
            (Self::Tcp(_) | Self::Udp(_) | Self::Icmp(_) | Self::IcmpV6(_) | Self::Other(_), _) => {
                None
            }
        }
    }

    /// Returns the ports of TCP and UDP.
    #[must_use]
    pub fn ports(&self) -> Option<PortRange> {
        match self {
            Self::Tcp(ports) | Self::Udp(ports) => Some(*ports),
            Self::Icmp(_) | Self::IcmpV6(_) | Self::Other(_) => None,
        }
    }

    /// Returns the word for the protocol.
    #[must_use]
    pub fn protocol(&self) -> String {
        match self {
            Self::Tcp(_) => "tcp".to_owned(),
            Self::Udp(_) => "udp".to_owned(),
            Self::Icmp(_) => "icmp".to_owned(),
            Self::IcmpV6(_) => "icmpv6".to_owned(),
            Self::Other(Some(number)) => number.to_string(),
            Self::Other(None) => "other".to_owned(),
        }
    }
}

impl std::fmt::Display for Packets {
    /// Writes `udp/53`, `icmp type 8 code 0`, `other icmp types` or `other protocols`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(ports) => write!(formatter, "tcp/{ports}"),
            Self::Udp(ports) => write!(formatter, "udp/{ports}"),
            Self::Icmp(Some((kind, code))) => write!(formatter, "icmp type {kind} code {code}"),
            Self::Icmp(None) => formatter.write_str("other icmp types"),
            Self::IcmpV6(Some((kind, code))) => {
                write!(formatter, "icmpv6 type {kind} code {code}")
            }
            Self::IcmpV6(None) => formatter.write_str("other icmpv6 types"),
            Self::Other(Some(number)) => write!(formatter, "protocol {number}"),
            Self::Other(None) => formatter.write_str("other protocols"),
        }
    }
}

/// An answer of the model that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerChange {
    /// Who sends.
    pub source: Party,
    /// Who receives.
    pub destination: Party,
    /// Whether the source is asked about as a host or as a pod.
    pub source_kind: SourceKind,
    /// Both ends are on one host in at least one snapshot.
    pub on_one_host: bool,
    /// The packets.
    pub packets: Packets,
    /// One of them.
    pub packet: FlowProtocol,
    /// Source ports that were asked about; the usual ones, unless only others show the change.
    pub ephemeral_ports: PortRange,
    /// Interface that emits, where it does not own the source.
    pub emitter: Option<NetworkInterfaceId>,
    /// The answer before.
    pub before: Verdict,
    /// The answer after.
    pub after: Verdict,
    /// Whether the cluster needs such flows.
    pub concern: Concern,
    /// What is responsible: names of rules, a setting, or the word of a gate or reason.
    pub responsible: Vec<String>,
}

impl AnswerChange {
    /// Returns the words before and after.
    #[must_use]
    pub fn kinds(&self) -> (VerdictKind, VerdictKind) {
        (
            VerdictKind::from(&self.before),
            VerdictKind::from(&self.after),
        )
    }

    /// What the cluster needs first, then by who sends, to whom, as what, which packets.
    pub(super) fn order(&self) -> (Concern, Party, Party, SourceKind, Packets) {
        let ends = (self.source, self.destination);
        (self.concern, ends.0, ends.1, self.source_kind, self.packets)
    }

    /// Returns whether one of the ends is outside.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        self.source.is_outside() || self.destination.is_outside()
    }
}
