//! Between the wire and the domain: every message of an agent is checked here, once.
//!
//! A field that is missing, out of range or unknown gives an [`InvalidMessage`] that names it; nothing is narrowed,
//! guessed or dropped in silence.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use reachproof_model::cluster_endpoint::EndpointResolution;
use reachproof_model::id::NodeName;
use reachproof_model::net::{InvalidPortRange, PortRange};
use reachproof_model::observation::{Accept, AgentName, InvalidAgentName};
use reachproof_model::plan::{AgentKind, RosterAgent};
use reachproof_proto::column::InvalidColumn;
use reachproof_proto::net::{InvalidAddress, InvalidPort, address_from_wire, port_from_wire};
use reachproof_proto::{WIRE_VERSION, v1};
use thiserror::Error;

pub mod assignment;
pub mod observations;
pub mod signs;

/// Most addresses of one agent: 15 interfaces with 50 addresses each, the largest instance types (EC2-ENI).
pub const ADDRESSES_MAX: usize = 750;

/// Most connections in one batch: 256 KiB hold no more (`control.proto`).
pub const ACCEPTS_MAX: usize = 10_000;

/// Longest version text that is kept, in bytes.
pub const VERSION_LENGTH_MAX: usize = 128;

/// Most addresses of a cluster endpoint (`control.proto`).
pub const ENDPOINT_ADDRESSES_MAX: usize = 32;

/// Longest name of a host or node in bytes (RFC 1035).
pub const NAME_LENGTH_MAX: usize = 253;

/// Longest text of a resolver's failure in bytes (`control.proto`).
pub const FAILURE_LENGTH_MAX: usize = 128;

/// A message that breaks the rules of `control.proto`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidMessage {
    /// The message has no body that this version knows.
    #[error("a message has no known body, update the coordinator or the agent")]
    Body,
    /// The wire version is another one.
    #[error("wire version {version} is not spoken here, use an agent that speaks {WIRE_VERSION}")]
    WireVersion {
        /// Version of the agent.
        version: u32,
    },
    /// The name does not fit.
    #[error("field `{field}` names no agent")]
    Name {
        /// Field of the message.
        field: &'static str,
        /// Cause.
        #[source]
        source: InvalidAgentName,
    },
    /// An address does not fit.
    #[error("field `{field}` holds no address")]
    Address {
        /// Field of the message.
        field: &'static str,
        /// Cause.
        #[source]
        source: InvalidAddress,
    },
    /// A port does not fit.
    #[error("field `{field}` holds no port")]
    Port {
        /// Field of the message.
        field: &'static str,
        /// Cause.
        #[source]
        source: InvalidPort,
    },
    /// The ephemeral range is upside down.
    #[error("the ephemeral range is upside down")]
    EphemeralPorts(#[source] InvalidPortRange),
    /// An enum value is missing or not known.
    #[error("field `{field}` holds the unknown value {value}")]
    Unknown {
        /// Field of the message.
        field: &'static str,
        /// The number on the wire.
        value: i32,
    },
    /// A list is empty or too long.
    #[error("field `{field}` has {count} entries, needs {least} to {most}")]
    Count {
        /// Field of the message.
        field: &'static str,
        /// Entries.
        count: usize,
        /// Fewest that are taken.
        least: usize,
        /// Most that are taken.
        most: usize,
    },
    /// A column does not fit its batch.
    #[error("field `{field}` is no column of the batch")]
    Column {
        /// Field of the message.
        field: &'static str,
        /// Cause.
        #[source]
        source: InvalidColumn,
    },
    /// A number leaves its range.
    #[error("field `{field}` is out of range at entry {index}")]
    Range {
        /// Field of the message.
        field: &'static str,
        /// Entry of the column, from 0.
        index: usize,
    },
    /// A text is too long or holds control characters.
    #[error("field `{field}` is not a text of at most {most} bytes without control characters")]
    Text {
        /// Field of the message.
        field: &'static str,
        /// Most bytes that are taken.
        most: usize,
    },
}

/// What an agent says of itself when it dials in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The agent, without the address of its stream.
    pub agent: RosterAgent,
    /// Its version, for people.
    pub version: String,
    /// Names this start of the agent.
    pub boot: u64,
    /// Attempts that it starts per second at most, at least 1.
    pub attempts_per_second_max: u32,
}

impl TryFrom<v1::Hello> for Greeting {
    type Error = InvalidMessage;

    fn try_from(hello: v1::Hello) -> Result<Self, InvalidMessage> {
        if hello.wire_version != WIRE_VERSION {
            return Err(InvalidMessage::WireVersion {
                version: hello.wire_version,
            });
        }
        let name = agent_name("agent", &hello.agent)?;
        let node = match text("node", &hello.node, NAME_LENGTH_MAX)? {
            "" => None,
            node => Some(NodeName::from(node)),
        };
        let first = port("ephemeral_port_first", hello.ephemeral_port_first)?;
        let last = port("ephemeral_port_last", hello.ephemeral_port_last)?;
        let limits = hello.limits.ok_or(InvalidMessage::Range {
            field: "limits",
            index: 0,
        })?;
        if limits.attempts_per_second_max == 0 || limits.attempts_in_flight_max == 0 {
            return Err(InvalidMessage::Range {
                field: "limits",
                index: 0,
            });
        }
        Ok(Self {
            agent: RosterAgent {
                name,
                node,
                kind: agent_kind(hello.kind)?,
                addresses: addresses(&hello.addresses)?,
                ephemeral_ports: PortRange::new(first, last)
                    .map_err(InvalidMessage::EphemeralPorts)?,
                stream_address: None,
            },
            version: text("version", &hello.version, VERSION_LENGTH_MAX)?.to_owned(),
            boot: hello.boot,
            attempts_per_second_max: limits.attempts_per_second_max,
        })
    }
}

/// Reads the kind of an agent.
fn agent_kind(value: i32) -> Result<AgentKind, InvalidMessage> {
    let unknown = InvalidMessage::Unknown {
        field: "kind",
        value,
    };
    match v1::AgentKind::try_from(value) {
        Ok(v1::AgentKind::Node) => Ok(AgentKind::Node),
        Ok(v1::AgentKind::Pod) => Ok(AgentKind::Pod),
        Ok(v1::AgentKind::Fargate) => Ok(AgentKind::Fargate),
        Ok(v1::AgentKind::Unspecified) | Err(_) => Err(unknown),
    }
}

/// Reads the addresses of an agent; a repeated one counts once.
fn addresses(wire: &[Vec<u8>]) -> Result<Vec<IpAddr>, InvalidMessage> {
    count("addresses", wire.len(), 1, ADDRESSES_MAX)?;
    let mut seen = BTreeSet::new();
    let mut addresses = Vec::with_capacity(wire.len());
    for bytes in wire {
        let address = address("addresses", bytes)?;
        if seen.insert(address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Reads the connections that an agent accepted.
///
/// # Errors
/// [`InvalidMessage`] for the first field that does not fit.
pub fn accepts(batch: &v1::AcceptBatch) -> Result<Vec<Accept>, InvalidMessage> {
    count("accepts", batch.accepts.len(), 0, ACCEPTS_MAX)?;
    batch
        .accepts
        .iter()
        .map(|accept| {
            let local = address("accepts.local_address", &accept.local_address)?;
            let peer = address("accepts.peer_address", &accept.peer_address)?;
            Ok(Accept {
                local: SocketAddr::new(local, port("accepts.local_port", accept.local_port)?),
                peer: SocketAddr::new(peer, port("accepts.peer_port", accept.peer_port)?),
            })
        })
        .collect()
}

/// Reads the ports that could not be opened, with errno.
///
/// # Errors
/// [`InvalidMessage`] for a port out of range.
pub fn listen_failures(report: &v1::ListenReport) -> Result<Vec<(u16, u32)>, InvalidMessage> {
    report
        .failures
        .iter()
        .map(|failure| Ok((port("failures.port", failure.port)?, failure.errno)))
        .collect()
}

/// Reads what an agent's host says about the cluster endpoint.
///
/// # Errors
/// [`InvalidMessage`] for the first field that does not fit.
pub fn endpoint(report: &v1::EndpointReport) -> Result<EndpointResolution, InvalidMessage> {
    count(
        "endpoint.addresses",
        report.addresses.len(),
        0,
        ENDPOINT_ADDRESSES_MAX,
    )?;
    count("endpoint.name", report.name.len(), 1, NAME_LENGTH_MAX)?;
    let addresses = report.addresses.iter();
    Ok(EndpointResolution {
        name: text("endpoint.name", &report.name, NAME_LENGTH_MAX)?.to_owned(),
        addresses: addresses
            .map(|bytes| address("endpoint.addresses", bytes))
            .collect::<Result<_, _>>()?,
        failure: text("endpoint.failure", &report.failure, FAILURE_LENGTH_MAX)?.to_owned(),
    })
}

/// Reads the name of an agent.
fn agent_name(field: &'static str, name: &str) -> Result<AgentName, InvalidMessage> {
    AgentName::try_from(name).map_err(|source| InvalidMessage::Name { field, source })
}

/// Reads an address.
fn address(field: &'static str, bytes: &[u8]) -> Result<IpAddr, InvalidMessage> {
    address_from_wire(bytes).map_err(|source| InvalidMessage::Address { field, source })
}

/// Reads a port.
fn port(field: &'static str, number: u32) -> Result<u16, InvalidMessage> {
    port_from_wire(number).map_err(|source| InvalidMessage::Port { field, source })
}

/// Checks the length of a list.
fn count(
    field: &'static str,
    count: usize,
    least: usize,
    most: usize,
) -> Result<(), InvalidMessage> {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(InvalidMessage::Count {
        field,
        count,
        least,
        most,
    })
}

/// Checks a text for people.
fn text<'a>(field: &'static str, content: &'a str, most: usize) -> Result<&'a str, InvalidMessage> {
    if content.len() <= most && !content.chars().any(char::is_control) {
        return Ok(content);
    }
    Err(InvalidMessage::Text { field, most })
}

#[cfg(test)]
mod tests;
