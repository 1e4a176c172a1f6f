//! Packets as people write them: `443`, `https`, `udp/53`, `icmp`.

use thiserror::Error;

use super::json::{ECHO_REQUEST, ECHO_REQUEST_V6, number_of};
use super::{FlowProtocol, ICMP, ICMPV6, TCP, Transport, UDP};
use crate::near::near;
use crate::net::Printable;

/// Packets that somebody asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packets {
    /// These, several where a port's name stands for several protocols.
    These(Vec<FlowProtocol>),
    /// Whatever gets through, port by port.
    EveryPort(Vec<Transport>),
}

/// Words that name no packets.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPackets {
    /// It is no port.
    #[error(
        "`{}` is no port: take a number from 0 to 65535 or a name{}",
        Printable(found),
        hint(near)
    )]
    Port {
        /// What was given.
        found: String,
        /// Names that come near.
        near: Vec<&'static str>,
    },
    /// It is no protocol.
    #[error(
        "`{}` is no protocol: take `tcp`, `udp`, `icmp`, `icmpv6` or a number from 0 to 255",
        Printable(found)
    )]
    Protocol {
        /// What was given.
        found: String,
    },
    /// Two protocols are given, and they differ.
    #[error(
        "`{}` and `{}` are two protocols: give one",
        Printable(one),
        Printable(other)
    )]
    TwoProtocols {
        /// The one.
        one: String,
        /// The other one.
        other: String,
    },
    /// A protocol without ports is given one.
    #[error(
        "protocol `{}` has no ports: leave out `{}`",
        Printable(protocol),
        Printable(port)
    )]
    NoPorts {
        /// The protocol.
        protocol: String,
        /// The port.
        port: String,
    },
    /// The port has a name in another protocol alone.
    #[error("`{name}` is no port of {transport}")]
    NotOf {
        /// The port's name.
        name: &'static str,
        /// The protocol.
        transport: Transport,
    },
}

fn hint(near: &[&str]) -> String {
    match near {
        [] => " like `https`".to_owned(),
        [..] => format!(", like `{}`", near.join("`, `")),
    }
}

/// A port with its name.
struct NamedPort {
    name: &'static str,
    port: u16,
    transports: &'static [Transport],
}

const fn named(name: &'static str, port: u16, transports: &'static [Transport]) -> NamedPort {
    NamedPort {
        name,
        port,
        transports,
    }
}

const ON_TCP: &[Transport] = &[Transport::Tcp];
const ON_UDP: &[Transport] = &[Transport::Udp];
const ON_BOTH: &[Transport] = &[Transport::Udp, Transport::Tcp];

/// Ports that a cluster's people call by name, with the protocols in use: the names of IANA's registry of service names,
/// and those of Kubernetes (`kubelet`: D.4).
const NAMED_PORTS: [NamedPort; 21] = [
    named("dns", 53, ON_BOTH),
    named("domain", 53, ON_BOTH),
    named("http", 80, ON_TCP),
    named("http-alt", 8080, ON_TCP),
    named("https", 443, ON_TCP),
    named("imaps", 993, ON_TCP),
    named("kafka", 9092, ON_TCP),
    named("kubelet", 10_250, ON_TCP),
    named("ldap", 389, ON_TCP),
    named("ldaps", 636, ON_TCP),
    named("ms-sql-s", 1433, ON_TCP),
    named("mysql", 3306, ON_TCP),
    named("nfs", 2049, ON_TCP),
    named("ntp", 123, ON_UDP),
    named("postgresql", 5432, ON_TCP),
    named("redis", 6379, ON_TCP),
    named("smtp", 25, ON_TCP),
    named("snmp", 161, ON_UDP),
    named("ssh", 22, ON_TCP),
    named("submission", 587, ON_TCP),
    named("syslog", 514, ON_UDP),
];

impl Packets {
    /// Reads a protocol and a port; each may be absent, and the port may have the protocol before it, as `udp/53`.
    ///
    /// A number without a protocol is a port of TCP, a name stands for the protocols that it is known for. Without a port
    /// tcp and udp stand for every port, and without a protocol both of them are meant.
    ///
    /// # Errors
    /// [`InvalidPackets`] says which word is wrong.
    pub fn from_words(protocol: Option<&str>, port: Option<&str>) -> Result<Self, InvalidPackets> {
        let (before, port) = match port {
            None => (None, None),
            Some(word) => split(word),
        };
        let protocol = match (protocol, before) {
            (Some(one), Some(other)) if one != other => {
                return Err(InvalidPackets::TwoProtocols {
                    one: one.to_owned(),
                    other: other.to_owned(),
                });
            }
            (one, other) => one.or(other),
        };
        let Some(protocol) = protocol else {
            return port.map_or_else(
                || Ok(Self::EveryPort(vec![Transport::Tcp, Transport::Udp])),
                |port| named_or_numbered(port, None),
            );
        };
        let number = number_of(protocol).ok_or_else(|| InvalidPackets::Protocol {
            found: protocol.to_owned(),
        })?;
        match (transport(number), port) {
            (Some(transport), Some(port)) => named_or_numbered(port, Some(transport)),
            (Some(transport), None) => Ok(Self::EveryPort(vec![transport])),
            (None, None) => Ok(Self::These(vec![without_ports(number)])),
            (None, Some(port)) => Err(InvalidPackets::NoPorts {
                protocol: protocol.to_owned(),
                port: port.to_owned(),
            }),
        }
    }

    /// Reads the ports of one protocol out of a number, a range or a name.
    ///
    /// # Errors
    /// [`InvalidPackets::Port`] for a word that is none, [`InvalidPackets::NotOf`] for a name of another protocol.
    pub fn port(word: &str, transport: Transport) -> Result<u16, InvalidPackets> {
        match named_or_numbered(word, Some(transport))? {
            Self::These(packets) => packets.first().and_then(|packet| packet.port()),
            Self::EveryPort(_) => None,
        }
        .ok_or_else(|| no_port(word))
    }
}

/// Protocol and port of a word that may have both, or one of them.
fn split(word: &str) -> (Option<&str>, Option<&str>) {
    match word.split_once('/') {
        Some((protocol, port)) => (Some(protocol), Some(port)),
        None if matches!(word, "tcp" | "udp" | "icmp" | "icmpv6") => (Some(word), None),
        None => (None, Some(word)),
    }
}

fn transport(number: u8) -> Option<Transport> {
    match number {
        TCP => Some(Transport::Tcp),
        UDP => Some(Transport::Udp),
        _ => None,
    }
}

/// The packet that is asked about of a protocol without ports; of ICMP an echo request (K.1 "Flows").
fn without_ports(number: u8) -> FlowProtocol {
    match number {
        ICMP => FlowProtocol::Icmp {
            kind: ECHO_REQUEST,
            code: 0,
        },
        ICMPV6 => FlowProtocol::IcmpV6 {
            kind: ECHO_REQUEST_V6,
            code: 0,
        },
        number => FlowProtocol::Other(number),
    }
}

fn named_or_numbered(word: &str, wanted: Option<Transport>) -> Result<Packets, InvalidPackets> {
    if let Ok(port) = word.parse() {
        let transport = wanted.unwrap_or(Transport::Tcp);
        return Ok(Packets::These(vec![transport.to_port(port)]));
    }
    let found = NAMED_PORTS.iter().find(|known| known.name == word);
    let found = found.ok_or_else(|| no_port(word))?;
    let is_wanted = |one: &&Transport| wanted.is_none_or(|wanted| wanted == **one);
    let transports = found.transports.iter().filter(is_wanted);
    let packets: Vec<_> = transports.map(|it| it.to_port(found.port)).collect();
    match wanted {
        Some(transport) if packets.is_empty() => Err(InvalidPackets::NotOf {
            name: found.name,
            transport,
        }),
        Some(_) | None => Ok(Packets::These(packets)),
    }
}

fn no_port(word: &str) -> InvalidPackets {
    InvalidPackets::Port {
        found: word.to_owned(),
        near: near(word, NAMED_PORTS.iter().map(|known| known.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(protocol: Option<&str>, port: Option<&str>) -> String {
        match Packets::from_words(protocol, port) {
            Ok(Packets::These(packets)) => packets
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            Ok(Packets::EveryPort(transports)) => format!("every port {transports:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn ports_have_numbers_and_names() {
        assert_eq!(read(None, Some("443")), "tcp/443");
        assert_eq!(read(None, Some("https")), "tcp/443");
        assert_eq!(read(None, Some("udp/53")), "udp/53");
        assert_eq!(read(Some("udp"), Some("53")), "udp/53");
        assert_eq!(read(None, Some("domain")), "udp/53 tcp/53");
        assert_eq!(read(None, Some("tcp/domain")), "tcp/53");
        assert_eq!(read(None, Some("kubelet")), "tcp/10250");
        assert_eq!(read(None, Some("icmp")), "icmp type 8 code 0");
        assert_eq!(read(Some("icmpv6"), None), "icmpv6 type 128 code 0");
        assert_eq!(read(Some("50"), None), "protocol 50");
    }

    #[test]
    fn without_a_port_every_one_is_meant() {
        assert_eq!(read(None, None), "every port [Tcp, Udp]");
        assert_eq!(read(Some("udp"), None), "every port [Udp]");
        assert_eq!(read(None, Some("tcp")), "every port [Tcp]");
    }

    #[test]
    fn what_is_no_port_is_told_with_what_comes_near() {
        assert_eq!(
            read(None, Some("htps")),
            "`htps` is no port: take a number from 0 to 65535 or a name, like `https`, `http`, `ntp`"
        );
        assert!(read(None, Some("65979")).starts_with("`65979` is no port"));
        assert_eq!(read(None, Some("udp/https")), "`https` is no port of udp");
        assert!(read(Some("tcpp"), Some("1")).starts_with("`tcpp` is no protocol"));
        assert!(read(Some("icmp"), Some("1")).starts_with("protocol `icmp` has no ports"));
        assert!(read(Some("tcp"), Some("udp/53")).starts_with("`tcp` and `udp` are two"));
    }

    #[test]
    fn the_names_are_sorted() {
        assert!(NAMED_PORTS.is_sorted_by_key(|known| known.name));
    }
}
