//! Flows in JSON (ARCHITECTURE, "Flow").

use std::net::IpAddr;

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use thiserror::Error;

use super::{EPHEMERAL_PORTS_DEFAULT, Flow, FlowProtocol, ICMP, ICMPV6, SourceKind, TCP, UDP};
use crate::id::NetworkInterfaceId;
use crate::net::PortRange;

/// ICMP type of an echo request, the default of a flow (K.1 "Flows").
pub(super) const ECHO_REQUEST: u8 = 8;
/// ICMPv6 type of an echo request, the default of a flow (K.1 "Flows").
pub(super) const ECHO_REQUEST_V6: u8 = 128;
/// The keys that a flow may have.
const KEYS: [&str; 9] = [
    "source",
    "destination",
    "protocol",
    "port",
    "icmp_type",
    "icmp_code",
    "source_kind",
    "ephemeral_ports",
    "source_interface",
];

/// JSON that is not a flow.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidFlow {
    /// The value is no JSON object.
    #[error("flow is not a JSON object")]
    NotAnObject,
    /// A field that every flow of this protocol needs is absent.
    #[error("field `{field}` is missing")]
    Missing {
        /// Name of the field.
        field: &'static str,
    },
    /// A field has a value that it cannot have.
    #[error("field `{field}` must be {wanted}, found `{found}`")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What it may be.
        wanted: &'static str,
        /// The value as JSON.
        found: String,
    },
    /// Source and destination are of different address families.
    #[error(
        "field `destination` must be of the same address family as `source`, found `{destination}` for `{source_address}`"
    )]
    MixedFamilies {
        /// Source address of the flow.
        source_address: IpAddr,
        /// Destination address of the flow.
        destination: IpAddr,
    },
    /// The object has a key that no flow has.
    #[error("field `{field}` is unknown, a flow has {}", KEYS.join(", "))]
    UnknownField {
        /// The key.
        field: String,
    },
}

impl Flow {
    /// Reads a flow from its JSON form.
    ///
    /// Absent optional fields get the defaults of K.1 "Flows", an absent protocol is tcp. A field that does not belong to the protocol (a port
    /// of ICMP) is ignored, an unknown key is an error.
    ///
    /// # Errors
    /// [`InvalidFlow`] names the first field that is wrong.
    pub fn from_json(value: &Value) -> Result<Self, InvalidFlow> {
        let object = value.as_object().ok_or(InvalidFlow::NotAnObject)?;
        if let Some(field) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(InvalidFlow::UnknownField {
                field: field.clone(),
            });
        }
        let source = address(object, "source")?;
        let destination = address(object, "destination")?;
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(InvalidFlow::MixedFamilies {
                source_address: source,
                destination,
            });
        }
        Ok(Self {
            source,
            destination,
            protocol: protocol(object)?,
            source_kind: source_kind(object)?,
            ephemeral_ports: ephemeral_ports(object)?,
            source_interface: source_interface(object)?,
        })
    }
}

/// A field that is there and not null.
fn present<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null())
}

fn invalid(field: &'static str, wanted: &'static str, value: &Value) -> InvalidFlow {
    InvalidFlow::Field {
        field,
        wanted,
        found: value.to_string(),
    }
}

fn address(object: &Map<String, Value>, field: &'static str) -> Result<IpAddr, InvalidFlow> {
    let value = present(object, field).ok_or(InvalidFlow::Missing { field })?;
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| invalid(field, "an IP address", value))
}

fn protocol(object: &Map<String, Value>) -> Result<FlowProtocol, InvalidFlow> {
    match protocol_number(object)? {
        TCP => Ok(FlowProtocol::Tcp {
            port: port(object)?,
        }),
        UDP => Ok(FlowProtocol::Udp {
            port: port(object)?,
        }),
        ICMP => Ok(FlowProtocol::Icmp {
            kind: octet(object, "icmp_type")?.unwrap_or(ECHO_REQUEST),
            code: octet(object, "icmp_code")?.unwrap_or(0),
        }),
        ICMPV6 => Ok(FlowProtocol::IcmpV6 {
            kind: octet(object, "icmp_type")?.unwrap_or(ECHO_REQUEST_V6),
            code: octet(object, "icmp_code")?.unwrap_or(0),
        }),
        number => Ok(FlowProtocol::Other(number)),
    }
}

fn protocol_number(object: &Map<String, Value>) -> Result<u8, InvalidFlow> {
    let Some(value) = present(object, "protocol") else {
        return Ok(TCP);
    };
    let number = match value {
        Value::String(text) => number_of(text),
        Value::Number(number) => number.as_u64().and_then(|number| u8::try_from(number).ok()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.ok_or_else(|| {
        invalid(
            "protocol",
            "`tcp`, `udp`, `icmp`, `icmpv6` or a number from 0 to 255",
            value,
        )
    })
}

/// The number of a protocol that is named, or written as a number.
pub(super) fn number_of(text: &str) -> Option<u8> {
    match text {
        "tcp" => Some(TCP),
        "udp" => Some(UDP),
        "icmp" => Some(ICMP),
        "icmpv6" => Some(ICMPV6),
        digits => digits.parse().ok(),
    }
}

fn port(object: &Map<String, Value>) -> Result<u16, InvalidFlow> {
    let value = present(object, "port").ok_or(InvalidFlow::Missing { field: "port" })?;
    port_number(value).ok_or_else(|| invalid("port", "a port from 0 to 65535", value))
}

/// Never narrows: 65979 is no port, not port 443.
fn port_number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|number| u16::try_from(number).ok())
}

fn octet(object: &Map<String, Value>, field: &'static str) -> Result<Option<u8>, InvalidFlow> {
    let Some(value) = present(object, field) else {
        return Ok(None);
    };
    value
        .as_u64()
        .and_then(|number| u8::try_from(number).ok())
        .map(Some)
        .ok_or_else(|| invalid(field, "a number from 0 to 255", value))
}

fn source_kind(object: &Map<String, Value>) -> Result<SourceKind, InvalidFlow> {
    let Some(value) = present(object, "source_kind") else {
        return Ok(SourceKind::Host);
    };
    match value.as_str() {
        Some("host") => Ok(SourceKind::Host),
        Some("pod") => Ok(SourceKind::Pod),
        Some(_) | None => Err(invalid("source_kind", "`host` or `pod`", value)),
    }
}

fn ephemeral_ports(object: &Map<String, Value>) -> Result<PortRange, InvalidFlow> {
    let Some(value) = present(object, "ephemeral_ports") else {
        return Ok(EPHEMERAL_PORTS_DEFAULT);
    };
    let ends = match value.as_array().map(Vec::as_slice) {
        Some([first, last]) => port_number(first).zip(port_number(last)),
        Some(_) | None => None,
    };
    ends.and_then(|(first, last)| PortRange::new(first, last).ok())
        .ok_or_else(|| {
            invalid(
                "ephemeral_ports",
                "a list of two ports, the lower one first",
                value,
            )
        })
}

fn source_interface(
    object: &Map<String, Value>,
) -> Result<Option<NetworkInterfaceId>, InvalidFlow> {
    let Some(value) = present(object, "source_interface") else {
        return Ok(None);
    };
    value
        .as_str()
        .map(|text| Some(NetworkInterfaceId::from(text)))
        .ok_or_else(|| invalid("source_interface", "the id of a network interface", value))
}

impl<'de> Deserialize<'de> for Flow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value).map_err(D::Error::custom)
    }
}

impl Serialize for Flow {
    /// Writes every field with its value, defaults too, so that the answer says what was asked.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("destination", &self.destination)?;
        match self.protocol {
            FlowProtocol::Tcp { port } => {
                map.serialize_entry("protocol", "tcp")?;
                map.serialize_entry("port", &port)?;
            }
            FlowProtocol::Udp { port } => {
                map.serialize_entry("protocol", "udp")?;
                map.serialize_entry("port", &port)?;
            }
            FlowProtocol::Icmp { kind, code } => {
                map.serialize_entry("protocol", "icmp")?;
                map.serialize_entry("icmp_type", &kind)?;
                map.serialize_entry("icmp_code", &code)?;
            }
            FlowProtocol::IcmpV6 { kind, code } => {
                map.serialize_entry("protocol", "icmpv6")?;
                map.serialize_entry("icmp_type", &kind)?;
                map.serialize_entry("icmp_code", &code)?;
            }
            FlowProtocol::Other(number) => map.serialize_entry("protocol", &number)?,
        }
        map.serialize_entry("source_kind", &self.source_kind)?;
        map.serialize_entry("ephemeral_ports", &self.ephemeral_ports)?;
        if let Some(interface) = &self.source_interface {
            map.serialize_entry("source_interface", interface)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flow_without_a_protocol_is_tcp() {
        let mut flow = json!({"source": "10.0.1.5", "destination": "10.0.2.6", "port": 443});
        let expected = FlowProtocol::Tcp { port: 443 };
        assert_eq!(
            Flow::from_json(&flow).map(|flow| flow.protocol),
            Ok(expected)
        );
        flow["protocol"] = Value::Null;
        assert_eq!(
            Flow::from_json(&flow).map(|flow| flow.protocol),
            Ok(expected)
        );
        flow["protocol"] = json!("udp");
        let udp = FlowProtocol::Udp { port: 443 };
        assert_eq!(Flow::from_json(&flow).map(|flow| flow.protocol), Ok(udp));
    }

    #[test]
    fn a_key_that_no_flow_has_is_named() {
        let flow = json!({"source": "10.0.1.5", "destination": "10.0.2.6", "dport": 443});
        let error = Flow::from_json(&flow).map_err(|error| error.to_string());
        let expected = "field `dport` is unknown, a flow has source, destination, protocol, port, icmp_type, icmp_code, \
                        source_kind, ephemeral_ports, source_interface";
        assert_eq!(error.map(|_| ()), Err(expected.to_owned()));
    }
}
