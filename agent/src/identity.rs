//! Who the agent says it is.

use std::{fs, io};

use reachproof_proto::{
    WIRE_VERSION,
    net::address_to_wire,
    v1::{AgentKind, AgentLimits, Hello},
};
use thiserror::Error;

use crate::{config::Config, limits::Limits};

/// Where Linux shows the ephemeral range of the network namespace.
const EPHEMERAL_RANGE_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// The range that source ports come from, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EphemeralRange {
    /// First port.
    pub first: u16,
    /// Last port, not below the first.
    pub last: u16,
}

/// A range that is not known.
#[derive(Debug, Error)]
pub enum EphemeralRangeError {
    /// The kernel does not show it.
    #[error("cannot read {EPHEMERAL_RANGE_FILE}")]
    Unreadable(#[source] io::Error),
    /// The kernel shows something else.
    #[error("{EPHEMERAL_RANGE_FILE} says `{text}`, needs two ports")]
    Invalid {
        /// What it shows.
        text: String,
    },
}

impl EphemeralRange {
    /// Reads the range of this network namespace. It holds for IPv6, too.
    ///
    /// # Errors
    /// [`EphemeralRangeError`] when the kernel does not show two ports.
    pub fn of_host() -> Result<EphemeralRange, EphemeralRangeError> {
        let text =
            fs::read_to_string(EPHEMERAL_RANGE_FILE).map_err(EphemeralRangeError::Unreadable)?;
        EphemeralRange::parse(&text).ok_or_else(|| EphemeralRangeError::Invalid {
            text: text.trim().to_owned(),
        })
    }

    /// Two ports with white space between.
    fn parse(text: &str) -> Option<EphemeralRange> {
        let mut ports = text.split_whitespace().map(str::parse);
        let (first, last) = (ports.next()?.ok()?, ports.next()?.ok()?);
        (ports.next().is_none() && 0 < first && first <= last)
            .then_some(EphemeralRange { first, last })
    }
}

/// What the agent says about itself, the same on every stream of one boot.
pub fn hello(config: &Config, limits: Limits, range: EphemeralRange, boot: u64) -> Hello {
    Hello {
        agent: config.name.clone(),
        node: config.node.clone(),
        kind: AgentKind::from(config.kind).into(),
        addresses: config
            .addresses
            .iter()
            .copied()
            .map(address_to_wire)
            .collect(),
        ephemeral_port_first: range.first.into(),
        ephemeral_port_last: range.last.into(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot,
        limits: Some(AgentLimits {
            attempts_in_flight_max: limits.in_flight_max,
            attempts_per_second_max: limits.starts_per_second_max,
        }),
        wire_version: WIRE_VERSION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ephemeral_range_is_two_ports() {
        let range = EphemeralRange {
            first: 32_768,
            last: 60_999,
        };
        assert_eq!(EphemeralRange::parse("32768\t60999\n"), Some(range));
        for text in [
            "",
            "32768",
            "60999 32768",
            "1 2 3",
            "0 10",
            "1 65536",
            "a b",
        ] {
            assert_eq!(EphemeralRange::parse(text), None, "{text}");
        }
    }
}
