//! A flow: the question that the model answers and a probe tries.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::id::NetworkInterfaceId;
pub use crate::net::PortRange;

pub use json::InvalidFlow;
pub use packets::{InvalidPackets, Packets};

mod json;
mod packets;

/// Ephemeral range that is assumed where nobody said otherwise: `net.ipv4.ip_local_port_range` of Linux.
///
/// UNSOURCED default of the kernel (B); agents report their own.
pub const EPHEMERAL_PORTS_DEFAULT: PortRange = PortRange::between(32_768, 60_999);

/// Source ports after CNI source NAT: any unprivileged port, chosen at random [B, CNI-R].
pub const EPHEMERAL_PORTS_AFTER_SNAT: PortRange = PortRange::between(1_024, 65_535);

/// Source ports of API servers: nobody publishes them, so all that a host may take are reckoned with (G.2b).
pub const API_SERVER_SOURCE_PORTS: PortRange = PortRange::between(1_024, 65_535);

/// Protocol number of ICMP for IPv4.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ICMP for IPv6.
pub const ICMPV6: u8 = 58;

/// A new connection, or the first packet of another protocol, that somebody may try.
///
/// **Invariant.** Both addresses are of one family; [`Flow::from_json`] checks it, whoever builds a flow by hand keeps
/// it. JSON: ARCHITECTURE, "Flow".
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// Address that the packet carries when it leaves the source's network namespace, before any SNAT.
    pub source: IpAddr,
    /// Address that the source connects to.
    pub destination: IpAddr,
    /// Protocol with what it adds: ports, or ICMP type and code.
    pub protocol: FlowProtocol,
    /// Whether the source sits in a host's or in a pod's network namespace.
    pub source_kind: SourceKind,
    /// Source ports that the sender may use; TCP and UDP replies go to them.
    pub ephemeral_ports: PortRange,
    /// Interface that emits the packet, where somebody knows better than the owner of `source`.
    pub source_interface: Option<NetworkInterfaceId>,
}

impl Flow {
    /// Makes a TCP flow from a host's network namespace with the default ephemeral range.
    #[must_use]
    pub fn tcp(source: IpAddr, destination: IpAddr, port: u16) -> Self {
        Self {
            source,
            destination,
            protocol: FlowProtocol::Tcp { port },
            source_kind: SourceKind::Host,
            ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
            source_interface: None,
        }
    }

    /// Makes a TCP flow from a control-plane interface. Nobody publishes the source ports of API servers: all from 1024 up
    /// are reckoned with, so that a network ACL that forgets some of them shows as partial (G.2b).
    #[must_use]
    pub fn from_api_server(source: IpAddr, destination: IpAddr, port: u16) -> Self {
        Self {
            ephemeral_ports: API_SERVER_SOURCE_PORTS,
            ..Self::tcp(source, destination, port)
        }
    }
}

impl fmt::Display for Flow {
    /// Writes `source -> destination protocol/port`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} -> {} {}",
            self.source, self.destination, self.protocol
        )?;
        match self.source_kind {
            SourceKind::Host => Ok(()),
            SourceKind::Pod => formatter.write_str(" (pod)"),
        }
    }
}

/// Protocol of a flow. There is no flow without its port or type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlowProtocol {
    /// TCP to a destination port.
    Tcp {
        /// Destination port, 0 to 65535.
        port: u16,
    },
    /// UDP to a destination port.
    Udp {
        /// Destination port, 0 to 65535.
        port: u16,
    },
    /// ICMP for IPv4 (protocol 1).
    Icmp {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// ICMP for IPv6 (protocol 58).
    IcmpV6 {
        /// ICMPv6 type.
        kind: u8,
        /// ICMPv6 code.
        code: u8,
    },
    /// Any other protocol, by its number: never 1, 6, 17 or 58.
    Other(u8),
}

impl FlowProtocol {
    /// Returns the protocol number of the IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp { .. } => TCP,
            Self::Udp { .. } => UDP,
            Self::Icmp { .. } => ICMP,
            Self::IcmpV6 { .. } => ICMPV6,
            Self::Other(number) => number,
        }
    }

    /// Returns the reply to an ICMP echo: type 0 (129 for IPv6) with the code of the request; absent of anything else
    /// (K.1 "ICMP echo").
    #[must_use]
    pub fn echo_reply(self) -> Option<Self> {
        match self {
            Self::Icmp { kind: 8, code } => Some(Self::Icmp { kind: 0, code }),
            Self::IcmpV6 { kind: 128, code } => Some(Self::IcmpV6 { kind: 129, code }),
            Self::Tcp { .. }
            | Self::Udp { .. }
            | Self::Icmp { .. }
            | Self::IcmpV6 { .. }
            | Self::Other(_) => None,
        }
    }

    /// Returns whether a reply is judged, too: to tcp, udp and ICMP echo (K, K.1).
    #[must_use]
    pub fn has_reply(self) -> bool {
        matches!(self, Self::Tcp { .. } | Self::Udp { .. }) || self.echo_reply().is_some()
    }

    /// Returns the destination port of TCP and UDP, and nothing for the others.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Tcp { port } | Self::Udp { port } => Some(port),
            Self::Icmp { .. } | Self::IcmpV6 { .. } | Self::Other(_) => None,
        }
    }
}

impl FlowProtocol {
    /// Returns the protocol without its port, as in JSON: `tcp`, `udp`, `icmp`, `icmpv6` or a number.
    #[must_use]
    pub fn word(self) -> Cow<'static, str> {
        match self {
            Self::Tcp { .. } => "tcp".into(),
            Self::Udp { .. } => "udp".into(),
            Self::Icmp { .. } => "icmp".into(),
            Self::IcmpV6 { .. } => "icmpv6".into(),
            Self::Other(number) => number.to_string().into(),
        }
    }
}

impl fmt::Display for FlowProtocol {
    /// Writes `tcp/443`, `icmp type 8 code 0` or `protocol 50`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { port } => write!(formatter, "tcp/{port}"),
            Self::Udp { port } => write!(formatter, "udp/{port}"),
            Self::Icmp { kind, code } => write!(formatter, "icmp type {kind} code {code}"),
            Self::IcmpV6 { kind, code } => write!(formatter, "icmpv6 type {kind} code {code}"),
            Self::Other(number) => write!(formatter, "protocol {number}"),
        }
    }
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Returns the protocol with a destination port.
    #[must_use]
    pub fn to_port(self, port: u16) -> FlowProtocol {
        match self {
            Self::Tcp => FlowProtocol::Tcp { port },
            Self::Udp => FlowProtocol::Udp { port },
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Where the source sits: decides whether CNI source NAT applies (E.1).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// A host's network namespace.
    #[default]
    Host,
    /// A pod's network namespace on an EC2 node.
    Pod,
}

impl SourceKind {
    /// Returns the word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Pod => "pod",
        }
    }
}
