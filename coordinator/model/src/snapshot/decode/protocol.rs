//! Protocols, ports and ICMP types in the two spellings of the API.

use super::Decoder;
use crate::describe::{Fault, Node};
use crate::flow::{ICMP, ICMPV6, TCP, UDP};
use crate::net::PortRange;
use crate::snapshot::{Consequence, IcmpRange, Readable, Traffic};

/// Word and number of the API for "any".
pub(super) const ANY: i64 = -1;

/// A protocol as a rule or an entry names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    /// `-1`.
    Any,
    /// A number of the IP header.
    Number(u8),
}

/// Reads `tcp`, `6`, `-1` and the like; a JSON number will do, too.
pub(super) fn protocol(node: &Node<'_>, name: &str) -> Result<Protocol, Fault> {
    let field = node.field(name).ok_or_else(|| node.missing(name))?;
    let text = match field.value().as_i64() {
        Some(number) => number.to_string(),
        None => field.as_text()?.to_ascii_lowercase(),
    };
    let number = match text.as_str() {
        "-1" | "all" => return Ok(Protocol::Any),
        "tcp" => Some(TCP),
        "udp" => Some(UDP),
        "icmp" => Some(ICMP),
        "icmpv6" => Some(ICMPV6),
        digits => digits.parse().ok(),
    };
    number
        .map(Protocol::Number)
        .ok_or_else(|| field.malformed("a protocol name or a number from -1 to 255"))
}

impl<'a> Decoder<'a> {
    /// Protocol and ports of a security group rule: `FromPort` and `ToPort` are type and code of ICMP [A.2].
    pub(super) fn rule_traffic(&mut self, node: &Node<'a>) -> Traffic {
        let consequence = Consequence::RuleUnresolved;
        let Some(protocol) = self.read(protocol(node, "IpProtocol"), consequence) else {
            return Traffic::Unread;
        };
        match protocol {
            Protocol::Any => Traffic::All,
            Protocol::Number(TCP) => {
                Traffic::Tcp(self.ports(node, "FromPort", "ToPort", consequence))
            }
            Protocol::Number(UDP) => {
                Traffic::Udp(self.ports(node, "FromPort", "ToPort", consequence))
            }
            Protocol::Number(ICMP) => {
                Traffic::Icmp(self.icmp(node, "FromPort", "ToPort", consequence))
            }
            Protocol::Number(ICMPV6) => {
                Traffic::IcmpV6(self.icmp(node, "FromPort", "ToPort", consequence))
            }
            Protocol::Number(number) => Traffic::Protocol(number),
        }
    }

    /// Protocol and ports of a network ACL entry: ports and ICMP types have fields of their own [B.5].
    pub(super) fn entry_traffic(&mut self, node: &Node<'a>) -> Traffic {
        let consequence = Consequence::EntryUnknown;
        let Some(protocol) = self.read(protocol(node, "Protocol"), consequence) else {
            return Traffic::Unread;
        };
        match protocol {
            Protocol::Any => Traffic::All,
            Protocol::Number(TCP) => Traffic::Tcp(self.entry_ports(node)),
            Protocol::Number(UDP) => Traffic::Udp(self.entry_ports(node)),
            Protocol::Number(ICMP) => Traffic::Icmp(self.entry_icmp(node)),
            // 58 with an IPv4 network: all types [B.5, EC2M CreateNetworkAclEntry].
            Protocol::Number(ICMPV6) if node.field("CidrBlock").is_some() => {
                Traffic::IcmpV6(Readable::Is(IcmpRange::ALL))
            }
            Protocol::Number(ICMPV6) => Traffic::IcmpV6(self.entry_icmp(node)),
            Protocol::Number(number) => Traffic::Protocol(number),
        }
    }

    fn entry_ports(&mut self, node: &Node<'a>) -> Readable<PortRange> {
        match node.field("PortRange") {
            Some(range) => self.ports(&range, "From", "To", Consequence::EntryUnknown),
            None => {
                self.note(node.missing("PortRange"), Consequence::EntryUnknown);
                Readable::Unread
            }
        }
    }

    fn entry_icmp(&mut self, node: &Node<'a>) -> Readable<IcmpRange> {
        match node.field("IcmpTypeCode") {
            Some(range) => self.icmp(&range, "Type", "Code", Consequence::EntryUnknown),
            None => {
                self.note(node.missing("IcmpTypeCode"), Consequence::EntryUnknown);
                Readable::Unread
            }
        }
    }

    /// An inclusive range of ports. Both ends must be there: a rule for all ports says 0 to 65535.
    fn ports(
        &mut self,
        node: &Node<'a>,
        first: &str,
        last: &str,
        consequence: Consequence,
    ) -> Readable<PortRange> {
        let first = self.port(node, first, consequence);
        let last = self.port(node, last, consequence);
        let range = first
            .zip(last)
            .and_then(|(first, last)| PortRange::new(first, last).ok());
        match range {
            Some(range) => Readable::Is(range),
            None => {
                if first.is_some() && last.is_some() {
                    let fault = node.malformed("the lower port first");
                    self.note(fault, consequence);
                }
                Readable::Unread
            }
        }
    }

    /// A port. 65979 is none: it never becomes 443.
    fn port(&mut self, node: &Node<'a>, name: &str, consequence: Consequence) -> Option<u16> {
        let number = self.read(node.integer(name), consequence)?;
        let Some(number) = number else {
            self.note(node.missing(name), consequence);
            return None;
        };
        match u16::try_from(number) {
            Ok(port) => Some(port),
            Err(_) => {
                let field = node.field(name)?;
                self.note(field.malformed("a port from 0 to 65535"), consequence);
                None
            }
        }
    }

    /// Type and code of ICMP; absent and -1 mean any, and any type means any code [A.2].
    fn icmp(
        &mut self,
        node: &Node<'a>,
        kind: &str,
        code: &str,
        consequence: Consequence,
    ) -> Readable<IcmpRange> {
        match self.octet(node, kind, consequence) {
            Readable::Unread => Readable::Unread,
            Readable::Is(None) => Readable::Is(IcmpRange::ALL),
            Readable::Is(kind) => match self.octet(node, code, consequence) {
                Readable::Unread => Readable::Unread,
                Readable::Is(code) => Readable::Is(IcmpRange { kind, code }),
            },
        }
    }

    fn octet(
        &mut self,
        node: &Node<'a>,
        name: &str,
        consequence: Consequence,
    ) -> Readable<Option<u8>> {
        match self.read(node.integer(name), consequence) {
            None => Readable::Unread,
            Some(None | Some(ANY)) => Readable::Is(None),
            Some(Some(number)) => match u8::try_from(number) {
                Ok(octet) => Readable::Is(Some(octet)),
                Err(_) => {
                    if let Some(field) = node.field(name) {
                        self.note(field.malformed("a number from -1 to 255"), consequence);
                    }
                    Readable::Unread
                }
            },
        }
    }
}
