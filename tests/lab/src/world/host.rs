//! The inhabitants of a world: instances with interfaces and pods, Fargate pods, the cluster with its own interfaces.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// An EC2 instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Host {
    /// Whether it belongs to the cluster.
    #[serde(default)]
    pub role: HostRole,
    /// Name of its node group, for a node; absent: the only one of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_group: Option<String>,
    /// Interfaces in the order of their device index; the first is the primary one.
    pub interfaces: Vec<Interface>,
    /// Pods by name, for a node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pods: BTreeMap<String, Pod>,
    /// Whether an agent runs in the host's own network namespace.
    #[serde(default)]
    pub agent: AgentPresence,
}

/// Whether an instance belongs to the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostRole {
    /// A node of a managed node group.
    #[default]
    Node,
    /// An instance that has nothing to do with the cluster.
    Instance,
}

/// Whether an agent runs somewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentPresence {
    /// An agent runs there and is waited for.
    #[default]
    Running,
    /// None runs there, and none is waited for.
    None,
    /// None runs there, but one is waited for.
    Missing,
}

/// A network interface of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Interface {
    /// Name of its subnet.
    pub subnet: String,
    /// Names of its security groups. Absent on a node: those of the launch template, else the cluster's group [D.3].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Addresses; the first of IPv4 is the primary one, the others of IPv4 are secondary ones.
    pub addresses: Vec<IpAddr>,
    /// Delegated prefixes: /28 of IPv4, /80 of IPv6.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<IpNet>,
    /// Whether it is a trunk, on which branch interfaces sit (E.4).
    #[serde(default)]
    pub kind: InterfaceKind,
}

/// Whether branch interfaces can sit on an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceKind {
    /// An ordinary interface.
    #[default]
    Interface,
    /// A trunk interface.
    Trunk,
}

/// A pod on an instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pod {
    /// Addresses: of an interface of the host (secondary or in a prefix), or of its own branch interface.
    pub addresses: Vec<IpAddr>,
    /// Its own branch interface, for a pod that a SecurityGroupPolicy selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Branch>,
    /// What it is.
    #[serde(default)]
    pub app: App,
    /// Whether an agent runs in it.
    #[serde(default)]
    pub agent: AgentPresence,
}

/// A branch interface.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Branch {
    /// Name of its subnet.
    pub subnet: String,
    /// Names of its security groups.
    pub groups: Vec<String>,
}

/// What a pod is, as far as the cluster needs to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum App {
    /// Any workload.
    #[default]
    Workload,
    /// The cluster's DNS server: every pod needs it on port 53.
    Coredns,
}

/// A Fargate pod: its micro-VM, its node and its interface in one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fargate {
    /// Name of its subnet.
    pub subnet: String,
    /// Addresses; the first of IPv4 is the primary one.
    pub addresses: Vec<IpAddr>,
    /// Names of its security groups. Absent: the cluster's group alone; a SecurityGroupPolicy replaces it [D.3].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Whether an agent runs in it.
    #[serde(default)]
    pub agent: AgentPresence,
}

/// The cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cluster {
    /// Name; it stands in the description of the control plane's interfaces [D.1].
    pub name: String,
    /// Name of the cluster security group.
    pub security_group: String,
    /// Names of the additional ("control plane") security groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_groups: Vec<String>,
    /// Names of the subnets that the cluster was given.
    pub subnets: Vec<String>,
    /// The control plane's interfaces, by name. They carry the cluster group and the additional groups [D.1].
    pub control_plane: BTreeMap<String, ControlPlaneInterface>,
    /// Node groups by name; absent: one that is called `workers`, without a launch template.
    #[serde(default = "node_groups_default")]
    pub node_groups: BTreeMap<String, NodeGroup>,
    /// Services that the API servers call, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub backends: BTreeMap<String, Backend>,
    /// Family of pods and services.
    #[serde(default)]
    pub ip_family: IpFamily,
    /// Whether `describe-cluster` says how to call the API servers.
    #[serde(default)]
    pub endpoint: ClusterEndpoint,
}

fn node_groups_default() -> BTreeMap<String, NodeGroup> {
    BTreeMap::from([("workers".to_owned(), NodeGroup::default())])
}

/// An interface of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ControlPlaneInterface {
    /// Name of its subnet.
    pub subnet: String,
    /// Addresses; the first of IPv4 is the primary one.
    pub addresses: Vec<IpAddr>,
}

/// A service that the API servers call: behind a webhook, a conversion webhook, or an aggregated API. Its own port is 443.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Backend {
    /// The aggregated API, like `v1beta1.metrics.k8s.io`; absent: a webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// The CustomResourceDefinition whose objects it converts, like `widgets.example.com`; absent: it admits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converts: Option<String>,
    /// Names of the pods, or of the hosts where it is on the host network.
    pub at: Vec<String>,
    /// Port at which they listen.
    pub port: u16,
}

/// A managed node group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeGroup {
    /// Names of the security groups that its launch template names: then nodes get these and no other [D.3].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_template_groups: Option<Vec<String>>,
}

/// Family of pods and services of a cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpFamily {
    /// Pods and services have IPv4 addresses.
    #[default]
    Ipv4,
    /// Pods and services have IPv6 addresses.
    Ipv6,
}

/// Whether a cluster says its endpoint and the authority of its API servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterEndpoint {
    /// It says both.
    #[default]
    Described,
    /// It says neither, as a file that somebody wrote by hand may: then nobody knows who answers on 443.
    Withheld,
}

/// Settings of the VPC CNI, the environment of `aws-node`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cni {
    /// `AWS_VPC_K8S_CNI_EXTERNALSNAT`: whether something else translates source addresses.
    #[serde(default)]
    pub external_snat: bool,
    /// `AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS`: destinations towards which pods keep their address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_snat_cidrs: Vec<IpNet>,
    /// `POD_SECURITY_GROUP_ENFORCING_MODE`.
    #[serde(default)]
    pub pod_security_groups: EnforcingMode,
    /// `AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG`: pods sit on secondary interfaces with groups of their own.
    #[serde(default)]
    pub custom_networking: bool,
}

/// How branch interfaces are enforced (E.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnforcingMode {
    /// All traffic of the pod passes its branch interface.
    #[default]
    Strict,
    /// Traffic inside the node and out of the VPC does not.
    Standard,
}
