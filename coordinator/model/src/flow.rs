//! A flow: the question that the model answers and a probe tries.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::id::NetworkInterfaceId;

/// Ephemeral range that is assumed where nobody said otherwise: `net.ipv4.ip_local_port_range` of Linux.
pub const EPHEMERAL_PORTS_DEFAULT: RangeInclusive<u16> = 32768..=60999;

/// Source ports after CNI source NAT: any unprivileged port, chosen at random [B, CNI-R].
pub const EPHEMERAL_PORTS_AFTER_SNAT: RangeInclusive<u16> = 1024..=65535;

/// A new connection, or the first packet of another protocol, that somebody may try.
///
/// Both addresses are of one family. JSON: DESIGN section 5, "Flow".
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

/// Protocol of a flow. There is no flow without its port or type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlowProtocol {
    /// TCP to a destination port.
    Tcp { /// Destination port, 0 to 65535.
        port: u16 },
    /// UDP to a destination port.
    Udp { /// Destination port, 0 to 65535.
        port: u16 },
    /// ICMP for IPv4 (protocol 1).
    Icmp { /// ICMP type.
        kind: u8, /// ICMP code.
        code: u8 },
    /// ICMP for IPv6 (protocol 58).
    IcmpV6 { /// ICMPv6 type.
        kind: u8, /// ICMPv6 code.
        code: u8 },
    /// Any other protocol, by its number.
    Other(u8),
}

/// Where the source sits: decides whether CNI source NAT applies (E.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum SourceKind {
    /// A host's network namespace.
    #[default]
    Host,
    /// A pod's network namespace on an EC2 node.
    Pod,
}

/// A range of ports, both ends inclusive. **Invariant.** `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// Lowest port of the range.
    pub first: u16,
    /// Highest port of the range.
    pub last: u16,
}
