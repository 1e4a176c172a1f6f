//! What is to be built, as text for `ip` and `nft`: pure, so that it can be read and tested without a kernel.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::LabError;

/// The longest name of a namespace, in bytes.
const NAME_MAX: usize = 63;

/// All namespaces and the links between them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blueprint {
    pub(crate) namespaces: BTreeMap<String, Namespace>,
    pub(crate) links: Vec<Link>,
    /// Where the program itself runs; only management links end there.
    pub(crate) root: Namespace,
}

/// Whether a namespace passes packets on between its interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Forwarding {
    #[default]
    Off,
    On,
}

/// One namespace: lines for `ip -batch`, rules of IPv6 for `ip -6 -batch`, and text for `nft -f`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Namespace {
    pub(crate) forwarding: Forwarding,
    pub(crate) devices: Vec<String>,
    pub(crate) lines: Vec<String>,
    pub(crate) ipv6_rules: Vec<String>,
    pub(crate) nft: String,
}

/// A virtual cable between two namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) left: End,
    pub(crate) right: End,
}

/// One end of a cable; without a namespace it is in the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) namespace: Option<String>,
    pub(crate) device: String,
}

/// Returns whether an endpoint can have this name: letters, digits, `-`, `_` and `.`, at most 63, the first of them a letter
/// or digit.
#[must_use]
pub fn is_namespace_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
        && name.len() <= NAME_MAX
}

impl Blueprint {
    /// Adds an empty namespace.
    ///
    /// # Errors
    /// [`LabError::InvalidName`], [`LabError::DuplicateName`].
    pub(crate) fn add(
        &mut self,
        name: &str,
        forwarding: Forwarding,
    ) -> Result<&mut Namespace, LabError> {
        if !is_namespace_name(name) {
            return Err(LabError::InvalidName {
                name: name.to_owned(),
            });
        }
        if self.namespaces.contains_key(name) {
            return Err(LabError::DuplicateName {
                name: name.to_owned(),
            });
        }
        let namespace = Namespace {
            forwarding,
            ..Namespace::default()
        };
        Ok(self.namespaces.entry(name.to_owned()).or_insert(namespace))
    }

    /// Lays a cable between two namespaces that were added before; `None` is the root.
    pub(crate) fn link(&mut self, left: (Option<&str>, &str), right: (Option<&str>, &str)) {
        for (namespace, device) in [left, right] {
            if let Some(namespace) = self.at(namespace) {
                namespace.devices.push(device.to_owned());
            }
        }
        let end = |(namespace, device): (Option<&str>, &str)| End {
            namespace: namespace.map(str::to_owned),
            device: device.to_owned(),
        };
        self.links.push(Link {
            left: end(left),
            right: end(right),
        });
    }

    fn at(&mut self, namespace: Option<&str>) -> Option<&mut Namespace> {
        match namespace {
            Some(name) => self.namespaces.get_mut(name),
            None => Some(&mut self.root),
        }
    }
}

impl Link {
    /// Whether its left end is in the namespace `name`.
    pub(crate) fn begins_at(&self, name: &str) -> bool {
        self.left.namespace.as_deref() == Some(name)
    }

    /// Whether another one begins at the same device and leads to the same namespace.
    pub(crate) fn leads_as(&self, other: &Self) -> bool {
        self.left == other.left && self.right.namespace == other.right.namespace
    }
}

impl Namespace {
    /// The next free device whose name starts with `prefix`.
    pub(crate) fn device(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.devices.len())
    }

    /// The lines that say where packets go. Each replaces what it says of the same network and table.
    pub(crate) fn routes(&self) -> Vec<String> {
        let lines = self.lines.iter();
        let routes = lines.filter(|line| line.starts_with("route replace "));
        routes.cloned().collect()
    }

    /// Gives `device` an address of its own, without a network around it.
    pub(crate) fn address(&mut self, address: IpAddr, device: &str) {
        let options = if address.is_ipv6() { " nodad" } else { "" };
        self.lines.push(format!(
            "addr replace {} dev {device}{options}",
            IpNet::from(address)
        ));
    }

    /// Routes `network` into `device`, in `table`.
    pub(crate) fn route(&mut self, network: IpNet, device: &str, table: Table) {
        self.lines
            .push(format!("route replace {network} dev {device}{table}"));
    }

    /// Drops what goes to `network` silently, in `table`.
    pub(crate) fn blackhole(&mut self, network: IpNet, table: Table) {
        self.lines
            .push(format!("route replace blackhole {network}{table}"));
    }

    /// Routes everything else into `device`, in `table`.
    pub(crate) fn route_rest(&mut self, device: &str, table: Table) {
        for network in everything() {
            self.route(network, device, table);
        }
    }

    /// Drops everything else silently, in `table`.
    pub(crate) fn blackhole_rest(&mut self, table: Table) {
        for network in everything() {
            self.blackhole(network, table);
        }
    }

    /// Looks `table` up for packets that `selector` picks, in both families.
    pub(crate) fn rule(&mut self, preference: u32, selector: &str, table: u32) {
        let line = format!("rule add pref {preference} {selector} lookup {table}");
        self.ipv6_rules.push(line.clone());
        self.lines.push(line);
    }

    /// Looks `table` up for packets from `address`.
    pub(crate) fn rule_from(&mut self, preference: u32, address: IpAddr, table: u32) {
        let from = IpNet::from(address);
        let line = format!("rule add pref {preference} from {from} lookup {table}");
        match address {
            IpAddr::V4(_) => self.lines.push(line),
            IpAddr::V6(_) => self.ipv6_rules.push(line),
        }
    }
}

/// A routing table of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Main,
    Numbered(u32),
}

impl std::fmt::Display for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Main => Ok(()),
            Self::Numbered(number) => write!(formatter, " table {number}"),
        }
    }
}

fn everything() -> [IpNet; 2] {
    [
        IpNet::V4(ipnet::Ipv4Net::default()),
        IpNet::V6(ipnet::Ipv6Net::default()),
    ]
}
