//! Fragments of nftables text that several compilers share.

use ipnet::IpNet;

use crate::path::Direction;

/// The address family of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

/// What a rule says about the protocol and its ports or types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Every protocol.
    Any,
    /// TCP or UDP with inclusive bounds of the destination port.
    Ports {
        protocol: &'static str,
        first: u16,
        last: u16,
    },
    /// ICMP or ICMPv6; an absent type or code is any.
    Icmp {
        family: Family,
        kind: Option<u8>,
        code: Option<u8>,
    },
    /// Any other protocol, whole.
    Number(u8),
    /// Nothing: a range that is empty or lies outside the numbers there are.
    Nothing,
}

/// Reads a protocol word or number; ports or types follow from `bounds` (first and last port, or type and code).
///
/// Numbers other than those of tcp, udp, icmp and icmpv6 match all ports, whatever bounds are present [A.2, B.5].
/// `None` for what is neither a known word nor a number to 255.
pub(crate) fn transport(protocol: &str, bounds: (Option<i32>, Option<i32>)) -> Option<Transport> {
    Some(match protocol {
        "-1" => Transport::Any,
        "tcp" | "6" => ports("tcp", bounds),
        "udp" | "17" => ports("udp", bounds),
        "icmp" | "1" => icmp(Family::Ipv4, bounds),
        "icmpv6" | "58" => icmp(Family::Ipv6, bounds),
        number => Transport::Number(number.parse().ok()?),
    })
}

fn ports(protocol: &'static str, bounds: (Option<i32>, Option<i32>)) -> Transport {
    let (first, last) = match bounds {
        (None, _) | (_, None) | (Some(-1), _) => (0, i32::from(u16::MAX)),
        (Some(first), Some(last)) => (first, last),
    };
    match (u16::try_from(first), u16::try_from(last)) {
        (Ok(first), Ok(last)) if first <= last => Transport::Ports {
            protocol,
            first,
            last,
        },
        _ => Transport::Nothing,
    }
}

fn icmp(family: Family, (kind, code): (Option<i32>, Option<i32>)) -> Transport {
    let any = |number: Option<i32>| {
        number
            .filter(|number| *number != -1)
            .map(u8::try_from)
            .transpose()
    };
    match (any(kind), any(code)) {
        (Ok(None), _) => Transport::Icmp {
            family,
            kind: None,
            code: None,
        },
        (Ok(kind), Ok(code)) => Transport::Icmp { family, kind, code },
        (Err(_), _) | (_, Err(_)) => Transport::Nothing,
    }
}

impl Transport {
    /// The match for packets of `family`, with a trailing space if there is anything to match. `None` if no packet can.
    pub(crate) fn matching(self, family: Family) -> Option<String> {
        match self {
            Self::Any => Some(String::new()),
            Self::Ports {
                protocol,
                first: 0,
                last: u16::MAX,
            } => Some(format!("meta l4proto {protocol} ")),
            Self::Ports {
                protocol,
                first,
                last,
            } if first == last => Some(format!("{protocol} dport {first} ")),
            Self::Ports {
                protocol,
                first,
                last,
            } => Some(format!("{protocol} dport {first}-{last} ")),
            // 58 with an IPv4 range is all types [B.5]; ICMP proper does not exist over IPv6.
            Self::Icmp {
                family: Family::Ipv6,
                ..
            } if family == Family::Ipv4 => Some("meta l4proto 58 ".to_owned()),
            Self::Icmp {
                family: Family::Ipv4,
                ..
            } if family == Family::Ipv6 => None,
            Self::Icmp { family, kind, code } => Some(icmp_match(family, kind, code)),
            Self::Number(number) => Some(format!("meta l4proto {number} ")),
            Self::Nothing => None,
        }
    }
}

fn icmp_match(family: Family, kind: Option<u8>, code: Option<u8>) -> String {
    let word = match family {
        Family::Ipv4 => "icmp",
        Family::Ipv6 => "icmpv6",
    };
    match (kind, code) {
        (None, _) => format!(
            "meta l4proto {} ",
            if family == Family::Ipv4 { 1 } else { 58 }
        ),
        (Some(kind), None) => format!("{word} type {kind} "),
        (Some(kind), Some(code)) => format!("{word} type {kind} {word} code {code} "),
    }
}

/// The matches of the remote side, one for each family that `networks` has, without a trailing space.
///
/// The remote side is the source of what comes in and the destination of what goes out.
pub(crate) fn peer(networks: &[IpNet], direction: Direction) -> Vec<(Family, String)> {
    let side = match direction {
        Direction::Ingress => "saddr",
        Direction::Egress => "daddr",
    };
    [(Family::Ipv4, "ip", "ipv4"), (Family::Ipv6, "ip6", "ipv6")]
        .into_iter()
        .filter_map(|(family, word, whole)| {
            let own = elements(networks, family);
            match own.as_slice() {
                [] => None,
                [all] if all.prefix_len() == 0 => Some((family, format!("meta nfproto {whole}"))),
                [single] => Some((family, format!("{word} {side} {single}"))),
                many => Some((family, format!("{word} {side} {}", set(many)))),
            }
        })
        .collect()
}

/// Those of `networks` that are of `family`, merged so that none overlaps another.
pub(crate) fn elements(networks: &[IpNet], family: Family) -> Vec<IpNet> {
    let own: Vec<IpNet> = networks
        .iter()
        .filter(|network| {
            matches!(
                (network, family),
                (IpNet::V4(_), Family::Ipv4) | (IpNet::V6(_), Family::Ipv6)
            )
        })
        .map(|network| network.trunc())
        .collect();
    IpNet::aggregate(&own)
}

/// An anonymous set.
pub(crate) fn set(networks: &[IpNet]) -> String {
    let elements: Vec<String> = networks.iter().map(IpNet::to_string).collect();
    format!("{{ {} }}", elements.join(", "))
}
