//! What a lab is built from.

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::authority::Authority;

/// What to build: a snapshot, what the wire enforces, and who lives behind the nodes.
///
/// Every network interface of the snapshot is built, with a host behind it, whether or not an endpoint names it.
/// A snapshot maps the stem of each answer (`describe-subnets`) to the answer, in the shape that the AWS CLI
/// prints. Required are the six answers of [`REQUIRED_ANSWERS`](crate::REQUIRED_ANSWERS).
#[derive(Debug, Clone, Default)]
pub struct LabPlan {
    /// The world: interfaces, addresses, hosts, and (without [`LabPlan::enforced`]) every rule.
    pub snapshot: Map<String, Value>,
    /// Drift: the snapshot whose security groups, network ACLs and routes the wire enforces instead.
    ///
    /// It must describe the same network interfaces (their groups and source/dest check may differ).
    pub enforced: Option<Map<String, Value>>,
    /// Names for hosts, and pods with a namespace of their own; names are unique.
    pub endpoints: Vec<Endpoint>,
    /// Whether endpoints get a link to the lab's root namespace, where the coordinator runs.
    pub management: Management,
    /// Who signs what the control plane's interfaces show on 443; absent: they accept and say nothing.
    pub authority: Option<Authority>,
}

/// A network namespace in which something can run: an agent, a probe, a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Unique in its lab: letters, digits, `-` and `.`; at most 63 characters.
    pub name: String,
    /// At least one, all owned by network interfaces of one host. The first is the one to call it by.
    pub addresses: Vec<IpAddr>,
    /// What stands there.
    pub kind: EndpointKind,
}

/// What stands at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointKind {
    /// The host network of an EC2 instance.
    Node,
    /// A pod behind an EC2 instance: a namespace of its own, on the interface that owns its address.
    Pod,
    /// A Fargate micro-VM: pod, node and network interface in one (E.6).
    Fargate,
    /// A network interface of the EKS control plane, with a listener on 443 that the lab starts itself (D.1).
    ControlPlane,
}

/// Whether endpoints have a way to the coordinator beside the network under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Management {
    /// No such link: endpoints reach only what the world lets them reach.
    #[default]
    None,
    /// Every endpoint has a link of its own to the lab's root namespace, in 198.18.0.0/16 (benchmark space of
    /// RFC 2544, never part of a VPC here). It leads nowhere else, least of all to another endpoint.
    Links,
}
