//! The world as the APIs describe it, indexed for questions.
//!
//! [`Snapshot::decode`](Snapshot) is the only way to make one. What could not be read is in the gaps and in the
//! nouns themselves (`Unread`, `Incomplete`, `Conflict`), so that no prediction can mistake it for an absence.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::flow::Flow;
use crate::id::{
    InstanceId, NetworkAclId, NetworkInterfaceId, NodeName, PeeringId, PrefixListId, RouteTableId,
    SecurityGroupId, SubnetId, TransitGatewayId, VpcId,
};
use crate::net::Printable;

pub use backend::{Backend, BackendCaller, Targets};
pub use cluster::{
    Cluster, CniSettings, EnforcingMode, FargateProfile, FargateSelector, IpFamily, OtherFamily,
    PolicyMode, Snat, SnatPorts,
};
pub use decode::{DecodeError, Decoded};
pub use gap::{Consequence, FieldDifference, FoldedGap, Gap, GapKind, folded};
pub use health::{NodeLease, StatusCondition};
pub use managed::Manager;
pub use network_acl::{
    AclAction, FINAL_RULE_NUMBER_V4, FINAL_RULE_NUMBER_V6, NetworkAcl, NetworkAclEntry,
};
pub use network_interface::{
    ControlPlaneInterface, EndpointListing, Host, Instance, InterfaceType, NetworkInterface, Owner,
    Reading, SourceDestCheck,
};
pub use pod::{
    LabelSelector, Leaving, NetworkPolicy, Node, Platform, Pod, PodNetwork, PodPhase,
    PolicySubject, SelectorTerm,
};
pub use policy::Policing;
pub use prefix_list::PrefixList;
pub use route_table::{Route, RouteDestination, RouteOrigin, RouteState, RouteTable, RouteTarget};
pub use security_group::{
    Direction, Freshness, GroupReference, RulePeer, SecurityGroup, SecurityGroupRule,
};
pub use service::Service;
pub use traffic::{IcmpRange, Readable, Traffic};
pub use vpc::{
    Completeness, DefaultTables, Peering, PeeringSide, ReferenceSupport, RouteLead, Subnet,
    TableRole, TransitGateway, TransitGatewayRoute, TransitGatewayRouteTable, Views, Vpc,
    VpcAttachment,
};

pub(crate) use arena::{Arena, Key};
pub(crate) use cluster::fits;
pub(crate) use index::{
    AddressIndex, GroupEntry, GroupState, InterfaceEntry, Members, SubnetEntry,
};

mod arena;
mod backend;
mod cluster;
mod decode;
mod edges;
mod gap;
mod health;
mod index;
mod managed;
mod network_acl;
mod network_interface;
mod pod;
mod policy;
mod prefix_list;
mod route_table;
mod security_group;
mod service;
mod traffic;
mod vpc;

/// Life cycle words of an EC2 instance that does not run any more \[EC2 API, "InstanceState"\].
const INSTANCE_ENDS: [&str; 4] = ["shutting-down", "terminated", "stopping", "stopped"];

/// Answer of three values: what was not read is neither a match nor a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Match {
    /// It does not match.
    No,
    /// Nobody can tell.
    Unsure,
    /// It matches.
    Yes,
}

impl Match {
    /// Returns whether both match: one sure miss is a miss.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.min(other)
    }
}

impl From<bool> for Match {
    /// Makes an answer out of something that is known.
    fn from(fact: bool) -> Self {
        if fact { Self::Yes } else { Self::No }
    }
}

/// Everything that the APIs say about one cluster's network.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(crate) vpcs: Arena<Vpc>,
    pub(crate) subnets: Arena<SubnetEntry>,
    pub(crate) interfaces: Arena<InterfaceEntry>,
    pub(crate) hosts: Arena<Host>,
    pub(crate) groups: Arena<GroupEntry>,
    pub(crate) network_acls: Arena<NetworkAcl>,
    pub(crate) route_tables: Arena<RouteTable>,
    pub(crate) interface_keys: HashMap<NetworkInterfaceId, Key<InterfaceEntry>>,
    pub(crate) group_keys: HashMap<SecurityGroupId, Key<GroupEntry>>,
    pub(crate) subnet_keys: HashMap<SubnetId, Key<SubnetEntry>>,
    pub(crate) vpc_keys: HashMap<VpcId, Key<Vpc>>,
    pub(crate) addresses: AddressIndex,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    pub(crate) primaries: BTreeMap<Key<Host>, Key<InterfaceEntry>>,
    pub(crate) prefix_lists: BTreeMap<PrefixListId, PrefixList>,
    pub(crate) peerings: BTreeMap<PeeringId, Peering>,
    /// Peerings of which two views contradict each other: not in `peerings`.
    pub(crate) contradicted_peerings: BTreeSet<PeeringId>,
    /// Transit gateways of which, or of a route table of which, views contradict each other.
    pub(crate) contradicted_gateways: BTreeSet<TransitGatewayId>,
    /// The same of attachments: every gateway and VPC that a view names.
    pub(crate) contradicted_attachments: BTreeSet<(TransitGatewayId, VpcId)>,
    pub(crate) transit_gateways: BTreeMap<TransitGatewayId, TransitGateway>,
    pub(crate) attachments: Vec<VpcAttachment>,
    pub(crate) transit_gateway_tables: Option<Vec<TransitGatewayRouteTable>>,
    /// Accounts that own a described group: a reference into another one may have members that nobody here sees.
    pub(crate) own_accounts: BTreeSet<crate::id::AccountId>,
    /// Whether the addresses of every interface could be read: if not, an address without an owner may have one.
    pub(crate) addresses_read: Completeness,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) cluster_vpc: Option<Key<Vpc>>,
    pub(crate) cni: CniSettings,
    pub(crate) fargate_profiles: Vec<FargateProfile>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) nodes_by_instance: HashMap<InstanceId, usize>,
    pub(crate) nodes_by_address: HashMap<IpAddr, usize>,
    /// Hosts that a Node names; absent where the nodes, or one of them, could not be read: then any instance may be one.
    pub(crate) node_hosts: Option<BTreeSet<Key<Host>>>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) pods_by_address: HashMap<IpAddr, Vec<usize>>,
    pub(crate) network_policies: Vec<NetworkPolicy>,
    /// Services, sorted by namespace and name.
    pub(crate) services: Vec<Service>,
    /// What the API server dials for webhooks and aggregated APIs, sorted.
    pub(crate) backends: Vec<Backend>,
    /// Addresses of the API servers in the EndpointSlices of `default/kubernetes`; absent without that file.
    pub(crate) api_endpoints: Option<BTreeSet<IpAddr>>,
}

impl Snapshot {
    /// Visits every network interface, in the order of the answer.
    pub fn network_interfaces(&self) -> impl Iterator<Item = &NetworkInterface> {
        self.interfaces.iter().map(|entry| &entry.interface)
    }

    /// Returns a network interface by its id.
    #[must_use]
    pub fn network_interface(&self, id: &NetworkInterfaceId) -> Option<&NetworkInterface> {
        self.interface_keys
            .get(id)
            .map(|key| &self.interfaces.at(*key).interface)
    }

    /// Returns the interfaces of the control plane, sorted by id (D.1).
    ///
    /// Those are the interfaces in the cluster's VPC whose description is exactly `Amazon EKS NAME`, which carry the
    /// cluster security group and are in use. Without `describe-cluster` there are none.
    #[must_use]
    pub fn control_plane_interfaces(&self) -> Vec<ControlPlaneInterface<'_>> {
        let Some(cluster) = &self.cluster else {
            return Vec::new();
        };
        let description = format!("Amazon EKS {}", cluster.name);
        let mut found: Vec<_> = self
            .network_interfaces()
            .filter(|interface| {
                interface.description == description
                    && (interface.status == "in-use" || interface.status.is_empty())
                    && cluster.vpc.as_ref().is_none_or(|vpc| *vpc == interface.vpc)
                    && cluster
                        .cluster_group
                        .as_ref()
                        .is_none_or(|group| interface.groups.contains(group))
            })
            .map(|interface| ControlPlaneInterface {
                interface,
                endpoint: self.endpoint_listing(interface),
            })
            .collect();
        found.sort_by(|one, other| one.interface.id.cmp(&other.interface.id));
        found
    }

    fn endpoint_listing(&self, interface: &NetworkInterface) -> EndpointListing {
        match &self.api_endpoints {
            None => EndpointListing::Unsaid,
            Some(listed) if interface.addresses.iter().any(|own| listed.contains(own)) => {
                EndpointListing::Listed
            }
            Some(_) => EndpointListing::Unlisted,
        }
    }

    /// Returns who owns an address: the cluster's VPC first, then the others (K.1 "Owners and VPCs").
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Owner<'_> {
        let keys = self.source_owners(address);
        let mut found: Vec<_> = keys
            .iter()
            .map(|key| &self.interfaces.at(*key).interface)
            .collect();
        found.sort_by(|one, other| one.id.cmp(&other.id));
        match found.as_slice() {
            [] => Owner::Nobody,
            [one] => Owner::One(one),
            [_, _, ..] => Owner::Several(found),
        }
    }

    /// Owners in the cluster's VPC, else those elsewhere; without a cluster all VPCs are equal.
    pub(crate) fn source_owners(&self, address: IpAddr) -> Vec<Key<InterfaceEntry>> {
        let all = self.addresses.owners(address);
        let preferred: Vec<_> = all
            .iter()
            .copied()
            .filter(|key| Some(self.interfaces.at(*key).vpc) == self.cluster_vpc)
            .collect();
        if preferred.is_empty() { all } else { preferred }
    }

    /// Returns what holds an interface (K.1 "Hosts"); an interface of another snapshot is its own host.
    #[must_use]
    pub fn host(&self, interface: &NetworkInterface) -> Host {
        self.interface_keys.get(&interface.id).map_or_else(
            || Host::Interface(interface.id.clone()),
            |key| self.hosts.at(self.interfaces.at(*key).host).clone(),
        )
    }

    /// Returns the primary interface of an instance (K.1 "Hosts").
    #[must_use]
    pub fn primary_interface(&self, instance: &InstanceId) -> Option<&NetworkInterface> {
        self.primaries.iter().find_map(|(host, primary)| {
            (*self.hosts.at(*host) == Host::Instance(instance.clone()))
                .then(|| &self.interfaces.at(*primary).interface)
        })
    }

    /// Visits the instances, sorted by id.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values()
    }

    /// Returns an instance by its id.
    #[must_use]
    pub fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        self.instances.get(id)
    }

    /// Returns the cluster.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Returns the family of the addresses of pods; IPv4 without a cluster.
    pub(crate) fn ip_family(&self) -> IpFamily {
        let cluster = self.cluster.as_ref();
        cluster.map_or(IpFamily::V4, |cluster| cluster.ip_family)
    }

    /// Returns the settings of the VPC CNI, defaults where the snapshot does not say.
    #[must_use]
    pub fn cni(&self) -> &CniSettings {
        &self.cni
    }

    /// Returns the Fargate profiles, sorted by name.
    #[must_use]
    pub fn fargate_profiles(&self) -> &[FargateProfile] {
        &self.fargate_profiles
    }

    /// Returns the Kubernetes nodes, sorted by name.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns what says that the node at one of `addresses` is about to go, or the node of a pod there; absent where nothing
    /// does.
    #[must_use]
    pub fn leaving(&self, addresses: &[IpAddr]) -> Option<Leaving> {
        let node_of = |address: &IpAddr| {
            let of_pod = || {
                let mut pods = self.pods_at(*address);
                pods.find_map(|pod| self.node(pod.node.as_ref()?))
            };
            self.node_at(*address).or_else(of_pod)
        };
        let node = addresses.iter().find_map(node_of)?;
        node.leaving.clone().or_else(|| {
            let state = &self.instance(node.instance.as_ref()?)?.state;
            INSTANCE_ENDS
                .contains(&state.as_str())
                .then(|| Leaving::InstanceEnds {
                    state: state.clone(),
                })
        })
    }

    /// Returns a Kubernetes node by its name.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// Returns the Kubernetes node that has an address.
    #[must_use]
    pub fn node_at(&self, address: IpAddr) -> Option<&Node> {
        let place = self.nodes_by_address.get(&address)?;
        self.nodes.get(*place)
    }

    /// Returns the pods, sorted by namespace and name.
    #[must_use]
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// Visits the pods that have an address, those of the host network and finished ones, too.
    pub fn pods_at(&self, address: IpAddr) -> impl Iterator<Item = &Pod> {
        self.pods_by_address
            .get(&address)
            .into_iter()
            .flatten()
            .filter_map(|place| self.pods.get(*place))
    }

    /// Returns whether policies may drop packets of pods: there is one, or pods without one are denied (E.5).
    #[must_use]
    pub fn has_network_policies(&self) -> bool {
        !self.network_policies.is_empty() || self.denies_by_default()
    }

    /// Returns whether pods that no policy selects may be denied everything (E.5).
    #[must_use]
    pub fn denies_by_default(&self) -> bool {
        match self.cni.policy_mode {
            PolicyMode::Standard => false,
            PolicyMode::Strict | PolicyMode::Unread => true,
        }
    }

    /// Returns a described security group by its id; a contradicting description counts as none.
    #[must_use]
    pub fn security_group(&self, id: &SecurityGroupId) -> Option<&SecurityGroup> {
        let entry = self.groups.at(*self.group_keys.get(id)?);
        match entry.state {
            GroupState::Described => Some(&entry.group),
            GroupState::Undescribed | GroupState::Conflict => None,
        }
    }

    /// Visits the described security groups.
    pub fn security_groups(&self) -> impl Iterator<Item = &SecurityGroup> {
        self.groups
            .iter()
            .filter(|entry| entry.state == GroupState::Described)
            .map(|entry| &entry.group)
    }

    /// Returns a subnet by its id; one that is only mentioned has no networks and no zone.
    #[must_use]
    pub fn subnet(&self, id: &SubnetId) -> Option<&Subnet> {
        self.subnet_keys
            .get(id)
            .map(|key| &self.subnets.at(*key).subnet)
    }

    /// Visits the subnets, those that are only mentioned, too.
    pub fn subnets(&self) -> impl Iterator<Item = &Subnet> {
        self.subnets.iter().map(|entry| &entry.subnet)
    }

    /// Returns a VPC by its id; one that is only mentioned has no networks.
    #[must_use]
    pub fn vpc(&self, id: &VpcId) -> Option<&Vpc> {
        self.vpc_keys.get(id).map(|key| self.vpcs.at(*key))
    }

    /// Visits the VPCs, those that are only mentioned, too.
    pub fn vpcs(&self) -> impl Iterator<Item = &Vpc> {
        self.vpcs.iter()
    }

    /// Returns the network ACL of a subnet: its own or the VPC's default one (B.1).
    #[must_use]
    pub fn network_acl_of(&self, subnet: &SubnetId) -> Option<&NetworkAcl> {
        let entry = self.subnets.at(*self.subnet_keys.get(subnet)?);
        entry.acl.map(|key| self.network_acls.at(key))
    }

    /// Returns the route table of a subnet: its own or the VPC's main one (C.1).
    #[must_use]
    pub fn route_table_of(&self, subnet: &SubnetId) -> Option<&RouteTable> {
        let entry = self.subnets.at(*self.subnet_keys.get(subnet)?);
        entry.table.map(|key| self.route_tables.at(key))
    }

    /// Returns a network ACL by its id.
    #[must_use]
    pub fn network_acl(&self, id: &NetworkAclId) -> Option<&NetworkAcl> {
        self.network_acls.iter().find(|acl| acl.id == *id)
    }

    /// Returns a route table by its id.
    #[must_use]
    pub fn route_table(&self, id: &RouteTableId) -> Option<&RouteTable> {
        self.route_tables.iter().find(|table| table.id == *id)
    }

    /// Returns a prefix list by its id.
    #[must_use]
    pub fn prefix_list(&self, id: &PrefixListId) -> Option<&PrefixList> {
        self.prefix_lists.get(id)
    }

    /// Returns whether an interface is described as one of the control plane, in use or not (D.1).
    pub(crate) fn is_of_control_plane(&self, interface: &NetworkInterface) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| {
            let name = interface.description.strip_prefix("Amazon EKS ");
            name == Some(cluster.name.as_str())
        })
    }

    /// Returns what people call an interface: control plane, pod, node or its `Name` tag, raw text of the snapshot.
    ///
    /// Absent where nobody gave it a name. Whoever prints it wraps it in [`crate::net::Printable`].
    #[must_use]
    pub fn interface_name(&self, interface: &NetworkInterface) -> Option<String> {
        if self.is_of_control_plane(interface) {
            return Some("control plane".to_owned());
        }
        let instance = interface.instance.as_ref();
        let place = instance
            .and_then(|id| self.nodes_by_instance.get(id))
            .or_else(|| {
                let mut addresses = interface.addresses.iter();
                addresses.find_map(|address| self.nodes_by_address.get(address))
            });
        place
            .and_then(|place| self.nodes.get(*place))
            .map(|node| node.name.to_string())
            .or_else(|| interface.name.clone())
            .or_else(|| instance.and_then(|id| self.instance(id)?.name.clone()))
    }

    /// Returns what people call an address: the pod that has it (host-network pods do not count), else its
    /// interface's name; raw text of the snapshot.
    #[must_use]
    pub fn address_name(&self, address: IpAddr) -> Option<String> {
        let pod = self
            .pods_at(address)
            .find(|pod| pod.network == PodNetwork::Pod && pod.phase == PodPhase::Live)
            .map(|pod| format!("{}/{}", pod.namespace, pod.name));
        pod.or_else(|| match self.owner(address) {
            Owner::One(interface) => self.interface_name(interface),
            Owner::Nobody | Owner::Several(_) => None,
        })
    }

    /// Returns a flow as `10.0.1.20 (node) -> 10.0.1.10 (control plane) tcp/443`, safe for a terminal.
    #[must_use]
    pub fn flow_called(&self, flow: &Flow) -> String {
        let (from, to) = (self.called(flow.source), self.called(flow.destination));
        format!("{from} -> {to} {}", flow.protocol)
    }

    /// Returns an address with what people call it, safe for a terminal.
    #[must_use]
    pub fn called(&self, address: IpAddr) -> String {
        match self.address_name(address) {
            Some(name) => format!("{address} ({})", Printable(&name)),
            None => address.to_string(),
        }
    }
}
