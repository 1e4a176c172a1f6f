//! Who stands where: hosts with their interfaces, and the pods behind them (E).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::cloud::Cloud;
use crate::cni::BranchMode;
use crate::describe::NetworkInterface;
use crate::error::LabError;
use crate::plan::{Endpoint, EndpointKind};

/// A network namespace with interfaces of the VPC.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) kind: EndpointKind,
    /// The primary interface first, if the instance has one that is visible.
    pub(crate) ports: Vec<Port>,
    pub(crate) pods: Vec<Pod>,
}

/// One interface of a host, `eth0` and so on by its place.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    /// The network interface's id.
    pub(crate) interface: String,
    /// Addresses that the host itself has; those of pods are not among them.
    pub(crate) addresses: Vec<IpAddr>,
    /// Whether it is the primary interface of an instance.
    pub(crate) primary: bool,
}

/// A pod with a namespace of its own.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) name: String,
    /// Each address with the place of the port whose interface owns it.
    pub(crate) addresses: Vec<(IpAddr, usize)>,
}

/// All hosts, and everything that can be entered.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) hosts: Vec<Host>,
    /// Those of the plan, then the hosts and branch pods that it did not name.
    pub(crate) endpoints: Vec<Endpoint>,
}

/// Lays out the hosts of `cloud` and puts `endpoints` on them.
///
/// # Errors
/// [`LabError::UnownedAddress`], [`LabError::NoAddress`], [`LabError::SplitEndpoint`], [`LabError::ClaimedTwice`].
pub(crate) fn layout(cloud: &Cloud, endpoints: &[Endpoint]) -> Result<Layout, LabError> {
    let mut hosts = hosts(cloud);
    let mut named: BTreeMap<usize, String> = BTreeMap::new();
    let mut claimed: BTreeMap<(usize, IpAddr), String> = BTreeMap::new();
    for endpoint in endpoints {
        let place = place(cloud, &hosts, endpoint)?;
        let Some(host) = hosts.get_mut(place) else {
            continue;
        };
        if endpoint.kind == EndpointKind::Pod && host.kind == EndpointKind::Node {
            for address in &endpoint.addresses {
                claim(&mut claimed, (place, *address), endpoint)?;
            }
            let addresses = owned_by_ports(cloud, host, &endpoint.addresses);
            host.pods.push(Pod {
                name: endpoint.name.clone(),
                addresses,
            });
        } else {
            if let Some(other) = named.insert(place, endpoint.name.clone()) {
                return Err(LabError::ClaimedTwice {
                    name: endpoint.name.clone(),
                    other,
                });
            }
            host.name.clone_from(&endpoint.name);
            host.kind = endpoint.kind;
        }
    }
    let mut all = endpoints.to_vec();
    for (place, host) in hosts.iter_mut().enumerate() {
        all.extend(branch_pods(cloud, host));
        withdraw(host);
        if !named.contains_key(&place) {
            all.extend(unnamed(host));
        }
    }
    Ok(Layout {
        hosts,
        endpoints: all,
    })
}

/// Groups the interfaces into hosts: by instance, each other interface on its own (K.1 Hosts).
fn hosts(cloud: &Cloud) -> Vec<Host> {
    let mut order: Vec<String> = Vec::new();
    let mut ports: BTreeMap<String, Vec<&NetworkInterface>> = BTreeMap::new();
    for interface in &cloud.interfaces {
        let key = host_key(cloud, interface);
        if !order.contains(&key) {
            order.push(key.clone());
        }
        ports.entry(key).or_default().push(interface);
    }
    order
        .into_iter()
        .map(|name| {
            let mut interfaces = ports.remove(&name).unwrap_or_default();
            interfaces.sort_by_key(|interface| (!is_primary(cloud, interface), device(interface)));
            let kind = interfaces
                .first()
                .map_or(EndpointKind::Node, |first| kind(cloud, first, &name));
            let ports = interfaces.into_iter().map(|interface| Port {
                interface: interface.network_interface_id.clone(),
                addresses: interface.addresses(),
                primary: is_primary(cloud, interface),
            });
            Host {
                name,
                kind,
                ports: ports.collect(),
                pods: Vec::new(),
            }
        })
        .collect()
}

/// A branch interface in strict mode bypasses its host's wiring, so it is a host of its own (E.4).
fn host_key(cloud: &Cloud, interface: &NetworkInterface) -> String {
    let own = interface.network_interface_id.clone();
    if is_branch(interface) && cloud.cni.branch_mode == BranchMode::Strict {
        return own;
    }
    cloud.instance_of(interface).unwrap_or(own)
}

fn is_branch(interface: &NetworkInterface) -> bool {
    interface.interface_type == "branch"
}

fn is_primary(cloud: &Cloud, interface: &NetworkInterface) -> bool {
    !is_branch(interface) && cloud.instance_of(interface).is_some() && cloud.is_primary(interface)
}

fn device(interface: &NetworkInterface) -> u32 {
    interface
        .attachment
        .as_ref()
        .and_then(|attachment| attachment.device_index)
        .unwrap_or(u32::MAX)
}

fn kind(cloud: &Cloud, first: &NetworkInterface, host: &str) -> EndpointKind {
    if cloud.is_control_plane(first) {
        EndpointKind::ControlPlane
    } else if host != first.network_interface_id {
        EndpointKind::Node
    } else if is_branch(first) {
        EndpointKind::Pod
    } else {
        EndpointKind::Fargate
    }
}

/// Finds the one host whose interfaces own every address of `endpoint`.
fn place(cloud: &Cloud, hosts: &[Host], endpoint: &Endpoint) -> Result<usize, LabError> {
    let mut places = BTreeSet::new();
    for address in &endpoint.addresses {
        let unowned = || LabError::UnownedAddress {
            endpoint: endpoint.name.clone(),
            address: *address,
        };
        let owner = cloud.owner(*address).ok_or_else(unowned)?;
        let holds = |host: &Host| {
            host.ports
                .iter()
                .any(|port| port.interface == owner.network_interface_id)
        };
        places.insert(hosts.iter().position(holds).ok_or_else(unowned)?);
    }
    match (places.first(), places.len()) {
        (Some(place), 1) => Ok(*place),
        (None, _) => Err(LabError::NoAddress {
            endpoint: endpoint.name.clone(),
        }),
        (Some(_), _) => Err(LabError::SplitEndpoint {
            endpoint: endpoint.name.clone(),
        }),
    }
}

fn claim(
    claimed: &mut BTreeMap<(usize, IpAddr), String>,
    address: (usize, IpAddr),
    endpoint: &Endpoint,
) -> Result<(), LabError> {
    match claimed.insert(address, endpoint.name.clone()) {
        Some(other) => Err(LabError::ClaimedTwice {
            name: endpoint.name.clone(),
            other,
        }),
        None => Ok(()),
    }
}

fn owned_by_ports(cloud: &Cloud, host: &Host, addresses: &[IpAddr]) -> Vec<(IpAddr, usize)> {
    let port_of = |address: IpAddr| {
        host.ports.iter().position(|port| {
            cloud
                .interface(&port.interface)
                .is_some_and(|interface| interface.owns(address))
        })
    };
    addresses
        .iter()
        .filter_map(|address| Some((*address, port_of(*address)?)))
        .collect()
}

/// Makes a pod for each branch interface behind this host that no endpoint of the plan stands on.
fn branch_pods(cloud: &Cloud, host: &mut Host) -> Vec<Endpoint> {
    if host.kind != EndpointKind::Node {
        return Vec::new();
    }
    let taken = |place: usize| {
        host.pods
            .iter()
            .any(|pod| pod.addresses.iter().any(|(_, owner)| *owner == place))
    };
    let is_free = |(place, port): &(usize, &Port)| {
        cloud.interface(&port.interface).is_some_and(is_branch)
            && !taken(*place)
            && !port.addresses.is_empty()
    };
    let pods: Vec<Pod> = host
        .ports
        .iter()
        .enumerate()
        .filter(is_free)
        .map(|(place, port)| Pod {
            name: port.interface.clone(),
            addresses: port
                .addresses
                .iter()
                .map(|address| (*address, place))
                .collect(),
        })
        .collect();
    host.pods.extend(pods.iter().cloned());
    pods.into_iter()
        .map(|pod| Endpoint {
            name: pod.name,
            addresses: pod
                .addresses
                .into_iter()
                .map(|(address, _)| address)
                .collect(),
            kind: EndpointKind::Pod,
        })
        .collect()
}

/// Takes the addresses of pods off the ports of their host.
fn withdraw(host: &mut Host) {
    let given: BTreeSet<IpAddr> = host
        .pods
        .iter()
        .flat_map(|pod| pod.addresses.iter().map(|(address, _)| *address))
        .collect();
    for port in &mut host.ports {
        port.addresses.retain(|address| !given.contains(address));
    }
}

fn unnamed(host: &Host) -> Option<Endpoint> {
    let addresses: Vec<IpAddr> = host
        .ports
        .iter()
        .flat_map(|port| port.addresses.clone())
        .collect();
    if addresses.is_empty() {
        return None;
    }
    Some(Endpoint {
        name: host.name.clone(),
        addresses,
        kind: host.kind,
    })
}
