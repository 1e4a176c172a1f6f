//! From a world to its snapshot and plan.
//!
//! Ids are readable and stable: `sg-NAME`, `subnet-NAME`, `eni-HOST`, `sgr-GROUP-in-01`. The answers have the shape that
//! the AWS CLI and `kubectl get … -o json` print.

mod acl;
mod backend;
mod cluster;
mod group;
mod interface;
mod kubernetes;
mod vpc;

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::host::{AgentPresence, Host, HostRole};
use super::network::{Subnet, Vpc};
use super::{World, WorldError};
use crate::plan::{Endpoint, EndpointKind, LabPlan, Management};

/// Region of every world.
const REGION: &str = "us-east-1";

/// Account that owns every world: one of those that AWS documentation uses.
const ACCOUNT: &str = "111122223333";

/// Account that the control plane's interfaces are attached from [D.1].
const CONTROL_PLANE_ACCOUNT: &str = "444455556666";

/// What a world expands to.
#[derive(Debug, Clone)]
pub struct Expanded {
    /// What the lab builds; the snapshot of the world is in it.
    pub plan: LabPlan,
    /// Where agents run or should run, by name.
    pub agents: Vec<AgentPlace>,
}

/// Where an agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPlace {
    /// Name of the endpoint, also the agent's own.
    pub endpoint: String,
    /// Kubernetes name of the node; absent for an instance outside the cluster.
    pub node: Option<String>,
    /// What the agent runs in.
    pub kind: EndpointKind,
    /// Addresses that take part in the measured network, primary first.
    pub addresses: Vec<IpAddr>,
    /// Whether it runs, or is only waited for. Never [`AgentPresence::None`].
    pub presence: AgentPresence,
}

impl World {
    /// Expands the world to its snapshot, what the wire enforces, its endpoints and its agents.
    ///
    /// # Errors
    /// [`WorldError`] for a name that leads nowhere.
    pub fn expand(&self) -> Result<Expanded, WorldError> {
        let expansion = Expansion { world: self };
        let enforced = match &self.drift {
            None => None,
            Some(drift) => {
                let mut world = self.clone();
                world.security_groups.extend(drift.security_groups.clone());
                world.acls.extend(drift.acls.clone());
                Some(Expansion { world: &world }.snapshot()?)
            }
        };
        let management = match self.coordinator {
            None => Management::Links,
            Some(_) => Management::None,
        };
        let plan = LabPlan {
            snapshot: expansion.snapshot()?,
            enforced,
            endpoints: expansion.endpoints(),
            management,
            authority: None,
        };
        Ok(Expanded {
            plan,
            agents: expansion.agents(),
        })
    }
}

/// A world on its way to a snapshot.
#[derive(Clone, Copy)]
pub(super) struct Expansion<'w> {
    /// The world.
    pub(super) world: &'w World,
}

impl<'w> Expansion<'w> {
    fn snapshot(self) -> Result<Map<String, Value>, WorldError> {
        let mut answers = Map::new();
        self.add_vpcs(&mut answers)?;
        self.add_groups(&mut answers)?;
        self.add_interfaces(&mut answers)?;
        self.add_cluster(&mut answers);
        self.add_kubernetes(&mut answers)?;
        Ok(answers)
    }

    /// Finds a subnet with its VPC's name; `place` is where the name stands.
    pub(super) fn subnet(
        self,
        place: &str,
        name: &str,
    ) -> Result<(&'w str, &'w Subnet), WorldError> {
        let found = self.world.vpcs.iter().find_map(|(vpc_name, vpc)| {
            vpc.subnets
                .get(name)
                .map(|subnet| (vpc_name.as_str(), subnet))
        });
        found.ok_or_else(|| dangling(place, "subnet", name))
    }

    /// Finds the VPC that a group or table belongs to: the one it names, else the only one.
    pub(super) fn vpc_of(
        self,
        place: &str,
        name: Option<&'w String>,
    ) -> Result<(&'w str, &'w Vpc), WorldError> {
        let vpcs = &self.world.vpcs;
        match name {
            Some(name) => vpcs
                .get_key_value(name)
                .map(|(name, vpc)| (name.as_str(), vpc))
                .ok_or_else(|| dangling(place, "VPC", name)),
            None if vpcs.len() > 1 => Err(WorldError::VpcNeeded {
                place: place.to_owned(),
            }),
            None => vpcs
                .iter()
                .next()
                .map(|(name, vpc)| (name.as_str(), vpc))
                .ok_or_else(|| WorldError::Empty {
                    place: "the world".to_owned(),
                    what: "VPC",
                }),
        }
    }

    /// Name that Kubernetes knows a node by: EC2 private DNS names, which EKS nodes carry.
    fn node_name(self, address: Option<IpAddr>) -> String {
        let address = address.map(|address| address.to_string().replace('.', "-"));
        format!("ip-{}.ec2.internal", address.unwrap_or_default())
    }

    /// Name of a Fargate pod's node (E.6, UNSOURCED: seen in the names that EKS gives; a live cluster settles it).
    fn fargate_node_name(self, address: Option<IpAddr>) -> String {
        format!("fargate-{}", self.node_name(address))
    }

    fn endpoints(self) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        let mut add = |name: &String, addresses: Vec<IpAddr>, kind| {
            endpoints.push(Endpoint {
                name: name.clone(),
                addresses,
                kind,
            });
        };
        for (name, host) in &self.world.hosts {
            add(name, host_addresses(host), EndpointKind::Node);
            for (pod_name, pod) in &host.pods {
                add(pod_name, primary_first(&pod.addresses), EndpointKind::Pod);
            }
        }
        for (name, pod) in &self.world.fargate {
            add(name, primary_first(&pod.addresses), EndpointKind::Fargate);
        }
        for (name, interface) in &self.world.cluster.control_plane {
            add(
                name,
                primary_first(&interface.addresses),
                EndpointKind::ControlPlane,
            );
        }
        endpoints
    }

    fn agents(self) -> Vec<AgentPlace> {
        let mut agents = Vec::new();
        for (name, host) in &self.world.hosts {
            let addresses = host_addresses(host);
            let node = match host.role {
                HostRole::Node => Some(self.node_name(addresses.first().copied())),
                HostRole::Instance => None,
            };
            for (pod_name, pod) in &host.pods {
                agents.push(AgentPlace {
                    endpoint: pod_name.clone(),
                    node: node.clone(),
                    kind: EndpointKind::Pod,
                    addresses: primary_first(&pod.addresses),
                    presence: pod.agent,
                });
            }
            agents.push(AgentPlace {
                endpoint: name.clone(),
                node,
                kind: EndpointKind::Node,
                addresses,
                presence: host.agent,
            });
        }
        for (name, pod) in &self.world.fargate {
            let addresses = primary_first(&pod.addresses);
            agents.push(AgentPlace {
                endpoint: name.clone(),
                node: Some(self.fargate_node_name(addresses.first().copied())),
                kind: EndpointKind::Fargate,
                addresses,
                presence: pod.agent,
            });
        }
        agents.retain(|agent| agent.presence != AgentPresence::None);
        agents.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
        agents
    }
}

/// Addresses of a host's own network namespace that take part: the primary one, then those of IPv6 on the primary
/// interface. Secondary addresses belong to pods.
pub(super) fn host_addresses(host: &Host) -> Vec<IpAddr> {
    let primary = host
        .interfaces
        .first()
        .map(|interface| interface.addresses.as_slice());
    let addresses = primary.unwrap_or_default();
    let own = primary_address(addresses).into_iter();
    own.chain(addresses.iter().copied().filter(IpAddr::is_ipv6))
        .collect()
}

/// First address of IPv4: the primary one of an interface.
pub(super) fn primary_address(addresses: &[IpAddr]) -> Option<IpAddr> {
    addresses.iter().copied().find(IpAddr::is_ipv4)
}

/// The addresses, IPv4 first.
fn primary_first(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let v4 = addresses.iter().copied().filter(IpAddr::is_ipv4);
    v4.chain(addresses.iter().copied().filter(IpAddr::is_ipv6))
        .collect()
}

pub(super) fn dangling(place: &str, what: &'static str, name: &str) -> WorldError {
    WorldError::Dangling {
        place: place.to_owned(),
        what,
        name: name.to_owned(),
    }
}

/// Tags in the shape of the EC2 API.
fn tags(pairs: &[(&str, &str)]) -> Value {
    pairs
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect()
}
