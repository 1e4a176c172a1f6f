//! Where an API server stands, and what all of them have in common.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use ipnet::{IpNet, Ipv4Net};
use serde_json::{Map, Value};

use crate::authority::{Authority, endpoint_host};
use crate::kubernetes::{KubernetesError, same_family};
use crate::lab::Lab;
use crate::plan::EndpointKind;

/// The port of the API server on the control plane's interfaces (D.1).
const API_SERVER: u16 = 443;

/// An API server: where it stands and by what address it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// Unique among the fronts of a control plane; letters, digits and `-`.
    pub name: String,
    /// What it puts into the endpoint slice of `default/kubernetes`, and what clients dial.
    pub address: IpAddr,
    /// Where it listens.
    pub bind: IpAddr,
    /// Its port.
    pub port: u16,
    /// What its command line begins with, so that it runs in its network namespace; empty: here.
    pub enter: Vec<OsString>,
}

impl Front {
    /// Lists a front for each interface of the control plane in `lab`, in the order of its endpoints, with the first
    /// address of the family of `settings`.
    ///
    /// # Errors
    /// [`KubernetesError::NoFront`] if there is none; what the lab refuses.
    pub fn all_in(lab: &Lab, settings: &Settings) -> Result<Vec<Self>, KubernetesError> {
        let mut fronts = Vec::new();
        for endpoint in lab.endpoints() {
            let mut addresses = endpoint.addresses.iter().copied();
            let address = addresses.find(|it| same_family(*it, settings.service_range.addr()));
            let Some(address) = address.filter(|_| endpoint.kind == EndpointKind::ControlPlane)
            else {
                continue;
            };
            let several = endpoint.addresses.len() > 1;
            let bind = if several {
                IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            } else {
                address
            };
            let command = lab.command(&endpoint.name, OsStr::new(""))?;
            let mut enter = vec![command.get_program().to_owned()];
            let arguments = command.get_args().filter(|argument| !argument.is_empty());
            enter.extend(arguments.map(OsStr::to_owned));
            fronts.push(Self {
                name: endpoint.name.clone(),
                address,
                bind,
                port: API_SERVER,
                enter,
            });
        }
        if fronts.is_empty() {
            Err(KubernetesError::NoFront)
        } else {
            Ok(fronts)
        }
    }

    /// A front on this machine's loopback, outside any lab.
    ///
    /// An API server does not publish a loopback address; it says 192.0.2.1, which nobody dials.
    #[must_use]
    pub fn on_loopback(name: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port,
            enter: Vec::new(),
        }
    }

    /// What clients call: the listening address on loopback, else the published one.
    #[must_use]
    pub fn url(&self) -> String {
        let host = if self.bind.is_loopback() {
            self.bind
        } else {
            self.address
        };
        format!("https://{}", SocketAddr::new(host, self.port))
    }

    /// A command that runs `program` where the API server stands.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut words = self
            .enter
            .iter()
            .map(OsString::as_os_str)
            .chain([program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or(program.as_os_str()));
        command.args(words);
        // The API server's own proxy to pods would take these.
        for variable in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env_remove(variable);
        }
        command
    }
}

/// What the API servers of a cluster have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Addresses of services; its family is the cluster's.
    pub service_range: IpNet,
    /// Names by which clients call, beside those that every cluster has.
    pub names: Vec<String>,
    /// Who signs their certificates; absent: an authority of their own.
    pub authority: Option<Authority>,
    /// Further flags of the API server, for tests that need a small or a forgetful one.
    pub api_server_flags: Vec<String>,
}

impl Default for Settings {
    /// What EKS takes where the VPC does not use 172.16.0.0/12.
    fn default() -> Self {
        let range = Ipv4Net::new_assert(Ipv4Addr::new(172, 20, 0, 0), 16);
        Self {
            service_range: IpNet::V4(range),
            names: Vec::new(),
            authority: None,
            api_server_flags: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads the range of services and the endpoint's name from `describe-cluster`; what it lacks stays as by default.
    ///
    /// Of an IPv6 range only a /108 is used: an API server takes no larger one.
    #[must_use]
    pub fn of(snapshot: &Map<String, Value>) -> Self {
        let mut settings = Self::default();
        let Some(cluster) = snapshot
            .get("describe-cluster")
            .and_then(|it| it.get("cluster"))
        else {
            return settings;
        };
        let network = |field: &str| {
            let network = cluster.get("kubernetesNetworkConfig")?;
            network.get(field)?.as_str().map(str::to_owned)
        };
        let six = network("ipFamily").as_deref() == Some("ipv6");
        let field = if six {
            "serviceIpv6Cidr"
        } else {
            "serviceIpv4Cidr"
        };
        if let Some(range) = network(field).and_then(|range| range.parse::<IpNet>().ok()) {
            settings.service_range = match range {
                IpNet::V6(_) => {
                    IpNet::new(range.network(), range.prefix_len().max(108)).unwrap_or(range)
                }
                IpNet::V4(_) => range,
            };
        }
        settings.names.extend(endpoint_host(snapshot));
        settings
    }
}
