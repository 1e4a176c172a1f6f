//! What this agent may connect to, whatever anybody asks for (security.md, "What an agent may connect to").
//!
//! The coordinator takes its targets from the snapshot; the agent has an allow-list of its own from a local file. Both must
//! agree. Nothing that comes over the stream changes a [`Policy`]: it is read once, when the agent starts.
//!
//! * `forms`: the IPv4 addresses that an IPv6 address stands for
//! * `file`: the file

mod file;
mod forms;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use self::file::{POLICY_FILE_MAX, PolicyError};
use self::forms::embedded_addresses;

/// Ports that a policy file never opens: remote shells (security.md, "What an agent may connect to").
pub const PORTS_ALWAYS_DENIED: [u16; 2] = [22, 3389];

/// Networks that no policy opens (security.md, "What an agent may connect to"), as `address, prefix length`: "this"
/// network, loopback, link-local with the instance metadata, the Pod Identity agent and NodeLocal DNS, multicast,
/// reserved addresses with the broadcast.
const ALWAYS_DENIED_V4: [(Ipv4Addr, u8); 5] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The same for IPv6, as the first 16 address bits that are set, and the prefix length: unspecified and loopback,
/// link-local, site-local, multicast, and `fd00:ec2::/32` with the instance metadata and the Pod Identity agent.
const ALWAYS_DENIED_V6: [([u16; 2], u8); 5] = [
    ([0, 0], 127),
    ([0xfe80, 0], 10),
    ([0xfec0, 0], 10),
    ([0xff00, 0], 8),
    ([0xfd00, 0x0ec2], 32),
];

/// What an agent may connect to.
///
/// **Invariant.** What is always denied stays so under every policy that can be read or made here, but for
/// [`Policy::unrestricted`], which no command uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    scope: Scope,
    deny: Vec<IpNet>,
    deny_ports: Vec<RangeInclusive<u16>>,
}

/// Where the allowed addresses lie.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    /// In these networks.
    Networks(Vec<IpNet>),
    /// Anywhere that is not always denied.
    AllButDenied,
    /// Anywhere at all.
    Everywhere,
}

/// Why a target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The address is, or stands for, one that is always denied.
    #[error("{address} is always denied")]
    AlwaysDenied {
        /// The address that it stands for.
        address: IpAddr,
    },
    /// The address is, or stands for, one that the policy denies.
    #[error("{address} is in {network}, which the policy denies")]
    Denied {
        /// The address that it stands for.
        address: IpAddr,
        /// The network of the policy.
        network: IpNet,
    },
    /// The address is the broadcast address of an allowed network.
    #[error("{address} is the broadcast address of {network}")]
    Broadcast {
        /// The address.
        address: Ipv4Addr,
        /// The allowed network.
        network: Ipv4Net,
    },
    /// No allowed network has the address.
    #[error("{address} is in no network that the policy allows")]
    NotAllowed {
        /// The address.
        address: IpAddr,
    },
    /// The port is denied.
    #[error("port {port} is denied")]
    Port {
        /// The port.
        port: u16,
    },
}

impl Policy {
    /// Allows `allow`, but for what is always denied, `deny`, `deny_ports` and [`PORTS_ALWAYS_DENIED`].
    ///
    /// An IPv4-mapped network of `allow` or `deny` counts as the IPv4 network that it stands for.
    pub fn new(
        allow: Vec<IpNet>,
        deny: Vec<IpNet>,
        deny_ports: Vec<RangeInclusive<u16>>,
    ) -> Policy {
        let remote_shells = PORTS_ALWAYS_DENIED.into_iter().map(|port| port..=port);
        Policy {
            scope: Scope::Networks(allow.into_iter().map(canonical).collect()),
            deny: deny.into_iter().map(canonical).collect(),
            deny_ports: remote_shells.chain(deny_ports).collect(),
        }
    }

    /// Allows every address and port that is not always denied: for somebody who types targets by hand.
    pub fn by_hand() -> Policy {
        Policy {
            scope: Scope::AllButDenied,
            deny: Vec::new(),
            deny_ports: Vec::new(),
        }
    }

    /// Allows everything, loopback included: for programs that test this crate on one host. No command line gives it.
    pub fn unrestricted() -> Policy {
        Policy {
            scope: Scope::Everywhere,
            ..Policy::by_hand()
        }
    }

    /// Says whether the agent may connect to `target`.
    ///
    /// Looks through every disguise first: an IPv6 address that stands for IPv4 addresses (IPv4-mapped, IPv4-compatible,
    /// translated, NAT64, 6to4, Teredo, ISATAP) is refused when one of these is denied. An IPv4-mapped one is judged as the
    /// IPv4 address alone, since that is what would be on the wire.
    ///
    /// # Errors
    /// [`Refusal`], which is a result and not a failure.
    pub fn check(&self, target: SocketAddr) -> Result<(), Refusal> {
        let address = target.ip().to_canonical();
        if self.scope == Scope::Everywhere {
            return Ok(());
        }
        self.check_denied(address)?;
        if let IpAddr::V6(disguise) = address {
            for hidden in embedded_addresses(disguise) {
                self.check_denied(IpAddr::V4(hidden))?;
            }
        }
        let port = target.port();
        if self.deny_ports.iter().any(|ports| ports.contains(&port)) {
            return Err(Refusal::Port { port });
        }
        self.check_allowed(address)
    }

    /// Refuses an address that is denied by itself.
    fn check_denied(&self, address: IpAddr) -> Result<(), Refusal> {
        if is_always_denied(address) {
            return Err(Refusal::AlwaysDenied { address });
        }
        match self.deny.iter().find(|network| network.contains(&address)) {
            Some(network) => Err(Refusal::Denied {
                address,
                network: *network,
            }),
            None => Ok(()),
        }
    }

    /// Refuses an address that no network of the policy has, or that is the broadcast address of one.
    fn check_allowed(&self, address: IpAddr) -> Result<(), Refusal> {
        let networks = match &self.scope {
            Scope::Networks(networks) => networks,
            Scope::AllButDenied | Scope::Everywhere => return Ok(()),
        };
        for network in networks {
            if let (IpAddr::V4(address), IpNet::V4(network)) = (address, network)
                && network.prefix_len() < 31
                && network.broadcast() == address
            {
                return Err(Refusal::Broadcast {
                    address,
                    network: *network,
                });
            }
        }
        if networks.iter().any(|network| network.contains(&address)) {
            Ok(())
        } else {
            Err(Refusal::NotAllowed { address })
        }
    }
}

/// Whether no policy opens this address, disguises not counted.
fn is_always_denied(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => ALWAYS_DENIED_V4.iter().any(|(first, length)| {
            let shift = 32 - u32::from(*length);
            address.to_bits() >> shift == first.to_bits() >> shift
        }),
        IpAddr::V6(address) => ALWAYS_DENIED_V6.iter().any(|([high, low], length)| {
            let shift = 128 - u32::from(*length);
            let first = u128::from(*high) << 112 | u128::from(*low) << 96;
            address.to_bits() >> shift == first >> shift
        }),
    }
}

/// An IPv4-mapped network as the IPv4 network that it stands for; any other as it is.
fn canonical(network: IpNet) -> IpNet {
    let mapped = |network: Ipv6Net| {
        let address = network.addr().to_ipv4_mapped()?;
        Ipv4Net::new(address, network.prefix_len().checked_sub(96)?).ok()
    };
    match network {
        IpNet::V6(network) => mapped(network).map_or(IpNet::V6(network), IpNet::V4),
        IpNet::V4(_) => network,
    }
}

#[cfg(test)]
mod tests;
