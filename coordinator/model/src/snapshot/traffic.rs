//! Which protocols and ports a rule or an entry is about.

use std::fmt;

use super::Match;
use crate::flow::{FlowProtocol, ICMP, ICMPV6, TCP, UDP};
use crate::net::PortRange;

/// Protocols, ports and ICMP types that a security group rule or a network ACL entry covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Traffic {
    /// Every protocol (`-1`).
    All,
    /// Ports of TCP.
    Tcp(Readable<PortRange>),
    /// Ports of UDP.
    Udp(Readable<PortRange>),
    /// Types and codes of ICMP for IPv4.
    Icmp(Readable<IcmpRange>),
    /// Types and codes of ICMP for IPv6.
    IcmpV6(Readable<IcmpRange>),
    /// Another protocol number, with whatever ports [A.2].
    Protocol(u8),
    /// Nobody can tell.
    Unread,
}

/// Something that could be read, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readable<T> {
    /// What was read.
    Is(T),
    /// The answer has it in a form that is not understood, or not at all.
    Unread,
}

/// Types and codes of ICMP; absent means any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpRange {
    /// The type.
    pub kind: Option<u8>,
    /// The code; always absent when the type is (EC2M).
    pub code: Option<u8>,
}

impl Traffic {
    /// Returns whether a flow is covered.
    #[must_use]
    pub fn matches(&self, protocol: FlowProtocol) -> Match {
        match (self, protocol) {
            (Self::All, _) => Match::Yes,
            (Self::Unread, _) => Match::Unsure,
            (Self::Tcp(ports), FlowProtocol::Tcp { port })
            | (Self::Udp(ports), FlowProtocol::Udp { port }) => match ports {
                Readable::Is(range) => Match::from(range.contains(port)),
                Readable::Unread => Match::Unsure,
            },
            (Self::Icmp(range), FlowProtocol::Icmp { kind, code })
            | (Self::IcmpV6(range), FlowProtocol::IcmpV6 { kind, code }) => match range {
                Readable::Is(range) => Match::from(range.contains(kind, code)),
                Readable::Unread => Match::Unsure,
            },
            (Self::Protocol(number), FlowProtocol::Other(other)) => Match::from(*number == other),
            (
                Self::Tcp(_) | Self::Udp(_) | Self::Icmp(_) | Self::IcmpV6(_) | Self::Protocol(_),
                _,
            ) => Match::No,
        }
    }

    /// Returns the protocol number; absent for every protocol and for an unread one.
    #[must_use]
    pub fn protocol_number(&self) -> Option<u8> {
        match self {
            Self::All | Self::Unread => None,
            Self::Tcp(_) => Some(TCP),
            Self::Udp(_) => Some(UDP),
            Self::Icmp(_) => Some(ICMP),
            Self::IcmpV6(_) => Some(ICMPV6),
            Self::Protocol(number) => Some(*number),
        }
    }
}

impl IcmpRange {
    /// Every type and code.
    pub const ALL: Self = Self {
        kind: None,
        code: None,
    };

    /// Returns whether a type and code are covered.
    #[must_use]
    pub fn contains(self, kind: u8, code: u8) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind)
            && self.code.is_none_or(|wanted| wanted == code)
    }
}

impl fmt::Display for Traffic {
    /// Writes `all`, `tcp/443`, `icmp type 8` or `protocol 50`; `?` stands for what could not be read.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::Tcp(ports) => write!(formatter, "tcp/{ports}"),
            Self::Udp(ports) => write!(formatter, "udp/{ports}"),
            Self::Icmp(range) => write!(formatter, "icmp {range}"),
            Self::IcmpV6(range) => write!(formatter, "icmpv6 {range}"),
            Self::Protocol(number) => write!(formatter, "protocol {number}"),
            Self::Unread => formatter.write_str("?"),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Readable<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(value) => value.fmt(formatter),
            Self::Unread => formatter.write_str("?"),
        }
    }
}

impl fmt::Display for IcmpRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.code) {
            (None, _) => formatter.write_str("all types"),
            (Some(kind), None) => write!(formatter, "type {kind}"),
            (Some(kind), Some(code)) => write!(formatter, "type {kind} code {code}"),
        }
    }
}
