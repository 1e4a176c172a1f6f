//! Networks, ports and text: small things that the standard library lacks.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A range of ports, both ends inclusive. JSON: a list of two numbers.
///
/// **Invariant.** `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A port range whose first port is above its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("port range {first}-{last} is upside down, write the lower port first")]
pub struct InvalidPortRange {
    /// The port given first.
    pub first: u16,
    /// The port given last.
    pub last: u16,
}

impl PortRange {
    /// Every port, 0 to 65535.
    pub const ALL: Self = Self::between(0, u16::MAX);

    /// Makes the range between two ports, in whatever order they come.
    #[must_use]
    pub const fn between(one: u16, other: u16) -> Self {
        if one <= other {
            Self {
                first: one,
                last: other,
            }
        } else {
            Self {
                first: other,
                last: one,
            }
        }
    }

    /// Makes the range from `first` to `last`.
    ///
    /// # Errors
    /// [`InvalidPortRange`] if `first` is above `last`.
    pub const fn new(first: u16, last: u16) -> Result<Self, InvalidPortRange> {
        if first <= last {
            Ok(Self { first, last })
        } else {
            Err(InvalidPortRange { first, last })
        }
    }

    /// Returns the lowest port of the range.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// Returns the highest port of the range.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Returns whether `port` lies in the range, ends included.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Returns the ports that both ranges have.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last)).ok()
    }
}

impl fmt::Display for PortRange {
    /// Writes `443` or `1025-65535`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(formatter, "{}", self.first)
        } else {
            write!(formatter, "{}-{}", self.first, self.last)
        }
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.first, self.last].serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let [first, last] = <[u16; 2]>::deserialize(deserializer)?;
        Self::new(first, last).map_err(D::Error::custom)
    }
}

/// Text that is no network in CIDR notation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a network, write it like 10.0.0.0/16 or 2001:db8::/32")]
pub struct InvalidNetwork {
    /// The text.
    pub text: String,
}

/// Reads an IPv4 or IPv6 network; bits below the prefix are cleared, as AWS does [A.2].
///
/// # Errors
/// [`InvalidNetwork`] if the text is anything else; an address without a prefix length is an error, too.
pub fn network(text: &str) -> Result<IpNet, InvalidNetwork> {
    text.trim()
        .parse::<IpNet>()
        .map(|network| network.trunc())
        .map_err(|_| InvalidNetwork {
            text: text.to_owned(),
        })
}

/// Reads an IPv4 network like [`network`].
///
/// # Errors
/// [`InvalidNetwork`] if the text is no IPv4 network.
pub fn network_v4(text: &str) -> Result<IpNet, InvalidNetwork> {
    text.trim()
        .parse::<Ipv4Net>()
        .map(|network| IpNet::V4(network.trunc()))
        .map_err(|_| InvalidNetwork {
            text: text.to_owned(),
        })
}

/// Reads an IPv6 network like [`network`].
///
/// # Errors
/// [`InvalidNetwork`] if the text is no IPv6 network.
pub fn network_v6(text: &str) -> Result<IpNet, InvalidNetwork> {
    text.trim()
        .parse::<Ipv6Net>()
        .map(|network| IpNet::V6(network.trunc()))
        .map_err(|_| InvalidNetwork {
            text: text.to_owned(),
        })
}

/// Whether the Internet could route to an address: neither private, shared (100.64.0.0/10), unique local, link-local,
/// loopback, multicast nor unspecified.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let shared = first == 100 && (64..128).contains(&second);
            !(shared
                || address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
                || first == 0)
        }
        IpAddr::V6(address) => {
            !(address.is_unique_local()
                || address.is_loopback()
                || address.is_unicast_link_local()
                || address.is_multicast()
                || address.is_unspecified())
        }
    }
}

/// Returns whether a network and an address are of one family.
#[must_use]
pub fn same_family(network: &IpNet, address: IpAddr) -> bool {
    matches!(
        (network, address),
        (IpNet::V4(_), IpAddr::V4(_)) | (IpNet::V6(_), IpAddr::V6(_))
    )
}

/// Somebody else's text, safe for a terminal and a log line.
///
/// Names and descriptions in a snapshot are written by whoever may tag a resource or name a pod. Control characters
/// and the characters that reorder text are replaced by `?`, so that no name can move the cursor, forge a line or
/// show itself backwards.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self
            .0
            .chars()
            .map(|character| {
                if is_printable(character) {
                    character
                } else {
                    '?'
                }
            })
            .collect();
        formatter.pad(&text)
    }
}

/// Returns JSON text in which no name can move the cursor or show itself backwards.
///
/// What [`Printable`] replaces is written as `\uXXXX`. Such a character stands in a string or is one of the line feeds
/// between two tokens, which stay: it is the same value for whoever parses it.
#[must_use]
pub fn escaped_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if is_printable(character) || character == '\n' {
            text.push(character);
        } else {
            text.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
    }
    text
}

/// Neither a control character nor one that is invisible and changes the order or joining of its neighbours.
fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_non_strictly() {
        assert_eq!(
            network("100.68.0.18/18").map(|network| network.to_string()),
            Ok("100.68.0.0/18".to_owned())
        );
    }

    #[test]
    fn an_address_without_prefix_length_is_no_network() {
        assert!(network("10.0.0.1").is_err());
    }

    #[test]
    fn only_what_the_internet_could_route_to_is_public() {
        let public = |text: &str| is_public(text.parse().unwrap());
        for text in ["3.120.0.1", "100.63.0.1", "100.128.0.1", "2600:1f14::1"] {
            assert!(public(text), "{text}");
        }
        for text in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "169.254.1.1",
            "127.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "fd00::1",
            "fe80::1",
            "::1",
            "::",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!public(text), "{text}");
        }
    }

    #[test]
    fn a_range_upside_down_is_refused() {
        assert!(PortRange::new(2, 1).is_err());
    }

    #[test]
    fn control_characters_of_names_do_not_reach_the_terminal() {
        assert_eq!(Printable("a\u{1b}[2Jb\n\u{202e}c").to_string(), "a?[2Jb??c");
    }

    #[test]
    fn escaped_json_is_the_same_value_without_a_character_that_a_terminal_obeys() {
        let hostile =
            "a\u{7f}\u{9b}2J\u{85}\u{202e}\u{2066}\u{200f}\u{61c}\n\u{1b}\u{feff}ü\u{1f600}";
        let value = serde_json::json!({ hostile: [hostile] });
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        let escaped = escaped_json(&text);
        assert!(
            escaped
                .chars()
                .all(|found| found == '\n' || is_printable(found))
        );
        assert!(
            escaped
                .contains("a\\u007f\\u009b2J\\u0085\\u202e\\u2066\\u200f\\u061c\\n\\u001b\\ufeffü")
        );
        let read: serde_json::Value = serde_json::from_str(&escaped).unwrap_or_default();
        assert_eq!(read, value);
    }
}
