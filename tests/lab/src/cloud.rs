//! A snapshot read into typed parts, with the look-ups that every compiler needs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::cni::Cni;
use crate::describe::{
    Cluster, ClusterAnswer, Instance, InstancesForInterfaces, NetworkAcl, NetworkAcls,
    NetworkInterface, NetworkInterfaces, PrefixListEntries, Reservations, RouteTable, RouteTables,
    SecurityGroup, SecurityGroups, StaleSecurityGroup, StaleSecurityGroups, Subnet, Subnets,
    TransitGateway, TransitGatewayRoute, TransitGatewayRouteTable, TransitGatewayRouteTables,
    TransitGatewayRoutes, TransitGatewayVpcAttachment, TransitGatewayVpcAttachments,
    TransitGateways, Vpc, VpcPeeringConnection, VpcPeeringConnections, Vpcs, optional, or_empty,
    required,
};
use crate::error::LabError;

/// The tag that names the trunk of a branch interface (E.1).
const TRUNK_TAG: &str = "vpcresources.k8s.aws/trunk-eni-id";

/// Everything that a snapshot says about the network.
#[derive(Debug, Clone)]
pub(crate) struct Cloud {
    pub(crate) vpcs: Vec<Vpc>,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) interfaces: Vec<NetworkInterface>,
    pub(crate) groups: Vec<SecurityGroup>,
    pub(crate) stale: Vec<StaleSecurityGroup>,
    pub(crate) peerings: Vec<VpcPeeringConnection>,
    pub(crate) transit_gateways: Vec<TransitGateway>,
    pub(crate) attachments: Vec<TransitGatewayVpcAttachment>,
    pub(crate) gateway_tables: Vec<TransitGatewayRouteTable>,
    /// Routes of transit gateways by their table's id; a table without them was not read.
    pub(crate) gateway_routes: BTreeMap<String, Vec<TransitGatewayRoute>>,
    /// Entries by the prefix list's id; a list that could not be read is absent.
    pub(crate) prefix_lists: BTreeMap<String, Vec<IpNet>>,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) cni: Cni,
    instances: Vec<Instance>,
    acls: Vec<NetworkAcl>,
    tables: Vec<RouteTable>,
}

impl Cloud {
    /// Reads a snapshot.
    ///
    /// # Errors
    /// [`LabError::MissingAnswer`], [`LabError::Decode`], and [`LabError::Dangling`] for an interface in a subnet,
    /// or a subnet in a VPC, that is not described.
    pub(crate) fn read(snapshot: &Map<String, Value>) -> Result<Self, LabError> {
        let cloud = Self {
            vpcs: required::<Vpcs>(snapshot, "describe-vpcs")?.vpcs,
            subnets: required::<Subnets>(snapshot, "describe-subnets")?.subnets,
            interfaces: interfaces(snapshot)?,
            groups: required::<SecurityGroups>(snapshot, "describe-security-groups")?
                .security_groups,
            tables: required::<RouteTables>(snapshot, "describe-route-tables")?.route_tables,
            acls: required::<NetworkAcls>(snapshot, "describe-network-acls")?.network_acls,
            stale: or_empty::<StaleSecurityGroups>(snapshot, "describe-stale-security-groups")?
                .stale_security_group_set,
            peerings: peerings(snapshot)?,
            transit_gateways: or_empty::<TransitGateways>(snapshot, "describe-transit-gateways")?
                .transit_gateways,
            attachments: or_empty::<TransitGatewayVpcAttachments>(
                snapshot,
                "describe-transit-gateway-vpc-attachments",
            )?
            .transit_gateway_vpc_attachments,
            gateway_tables: or_empty::<TransitGatewayRouteTables>(
                snapshot,
                "describe-transit-gateway-route-tables",
            )?
            .transit_gateway_route_tables,
            gateway_routes: by_id(
                snapshot,
                "search-transit-gateway-routes.",
                |answer: TransitGatewayRoutes| answer.routes,
            )?,
            prefix_lists: by_id(
                snapshot,
                "get-managed-prefix-list-entries.",
                |answer: PrefixListEntries| {
                    answer
                        .entries
                        .into_iter()
                        .filter_map(|entry| entry.cidr)
                        .collect()
                },
            )?,
            instances: or_empty::<Reservations>(snapshot, "describe-instances")?
                .reservations
                .into_iter()
                .flat_map(|reservation| reservation.instances)
                .collect(),
            cluster: optional::<ClusterAnswer>(snapshot, "describe-cluster")?
                .map(|answer| answer.cluster),
            cni: Cni::read(snapshot)?,
        };
        cloud.check()?;
        Ok(cloud)
    }

    fn check(&self) -> Result<(), LabError> {
        for interface in &self.interfaces {
            self.subnet(&interface.subnet_id)
                .ok_or_else(|| LabError::Dangling {
                    holder: interface.network_interface_id.clone(),
                    id: interface.subnet_id.clone(),
                })?;
        }
        for subnet in &self.subnets {
            self.vpc(&subnet.vpc_id).ok_or_else(|| LabError::Dangling {
                holder: subnet.subnet_id.clone(),
                id: subnet.vpc_id.clone(),
            })?;
        }
        Ok(())
    }

    /// The VPC `id`.
    pub(crate) fn vpc(&self, id: &str) -> Option<&Vpc> {
        self.vpcs.iter().find(|vpc| vpc.vpc_id == id)
    }

    /// The subnet `id`.
    pub(crate) fn subnet(&self, id: &str) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.subnet_id == id)
    }

    /// The network interface `id`.
    pub(crate) fn interface(&self, id: &str) -> Option<&NetworkInterface> {
        self.interfaces
            .iter()
            .find(|interface| interface.network_interface_id == id)
    }

    /// The interface that owns `address`: one in the cluster's VPC before any other.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<&NetworkInterface> {
        let home = self
            .cluster
            .as_ref()
            .map(|cluster| cluster.resources_vpc_config.vpc_id.as_str());
        let mut owners = self
            .interfaces
            .iter()
            .filter(|interface| interface.owns(address));
        let first = owners.next()?;
        if home == Some(first.vpc_id.as_str()) {
            return Some(first);
        }
        Some(
            owners
                .find(|interface| home == Some(interface.vpc_id.as_str()))
                .unwrap_or(first),
        )
    }

    /// The instance on which an interface ends: its own, or that of its trunk.
    pub(crate) fn instance_of(&self, interface: &NetworkInterface) -> Option<String> {
        if let Some(trunk) = interface.tag(TRUNK_TAG) {
            return self
                .interface(trunk)
                .and_then(|trunk| self.attached_to(trunk));
        }
        self.attached_to(interface)
    }

    fn attached_to(&self, interface: &NetworkInterface) -> Option<String> {
        let attached = interface
            .attachment
            .as_ref()
            .and_then(|attachment| attachment.instance_id.clone());
        attached.or_else(|| {
            self.instances
                .iter()
                .find(|instance| {
                    instance
                        .network_interfaces
                        .iter()
                        .any(|listed| listed.network_interface_id == interface.network_interface_id)
                })
                .map(|instance| instance.instance_id.clone())
        })
    }

    /// Whether an interface is the primary one of its instance: device 0 on card 0, else the instance's address.
    pub(crate) fn is_primary(&self, interface: &NetworkInterface) -> bool {
        let place = interface.attachment.as_ref().and_then(|attachment| {
            attachment
                .device_index
                .map(|device| (device, attachment.network_card_index))
        });
        match place {
            Some((device, card)) => device == 0 && card.unwrap_or(0) == 0,
            None => self.instances.iter().any(|instance| {
                instance
                    .private_ip_address
                    .is_some_and(|address| interface.owns(IpAddr::V4(address)))
            }),
        }
    }

    /// Whether an interface belongs to the control plane: described so, and in the cluster's group (D.1).
    pub(crate) fn is_control_plane(&self, interface: &NetworkInterface) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| {
            let group = &cluster.resources_vpc_config.cluster_security_group_id;
            interface.description == format!("Amazon EKS {}", cluster.name)
                && (group.is_empty() || interface.groups.iter().any(|held| held.group_id == *group))
        })
    }

    /// The network ACL of a subnet: the associated one, else the VPC's default (B.1).
    pub(crate) fn acl(&self, subnet: &Subnet) -> Option<&NetworkAcl> {
        let associated = |acl: &&NetworkAcl| {
            acl.associations
                .iter()
                .any(|association| association.subnet_id.as_ref() == Some(&subnet.subnet_id))
        };
        self.acls.iter().find(associated).or_else(|| {
            self.acls
                .iter()
                .find(|acl| acl.is_default && acl.vpc_id == subnet.vpc_id)
        })
    }

    /// The route table of a subnet: the associated one, else the VPC's main table (C.1).
    pub(crate) fn route_table(&self, subnet: &Subnet) -> Option<&RouteTable> {
        let associated = |table: &&RouteTable| {
            table
                .associations
                .iter()
                .any(|association| association.subnet_id.as_ref() == Some(&subnet.subnet_id))
        };
        self.tables.iter().find(associated).or_else(|| {
            self.tables.iter().find(|table| {
                table.vpc_id == subnet.vpc_id
                    && table
                        .associations
                        .iter()
                        .any(|association| association.main)
            })
        })
    }
}

/// The interfaces: without the answer that has all of them those that instances list, so that whatever is on no instance is
/// not in the lab.
fn interfaces(snapshot: &Map<String, Value>) -> Result<Vec<NetworkInterface>, LabError> {
    let stem = "describe-network-interfaces";
    if snapshot.contains_key(stem) || !snapshot.contains_key("describe-instances") {
        return Ok(required::<NetworkInterfaces>(snapshot, stem)?.network_interfaces);
    }
    let answer = required::<InstancesForInterfaces>(snapshot, "describe-instances")?;
    let instances = answer.reservations.into_iter().flat_map(|it| it.instances);
    let listed: Vec<NetworkInterface> = instances.flat_map(|it| it.network_interfaces).collect();
    // Made by hand, instances may name their interfaces and say no more of them.
    if listed.iter().any(|it| it.subnet_id.is_empty()) {
        return Ok(required::<NetworkInterfaces>(snapshot, stem)?.network_interfaces);
    }
    Ok(listed)
}

/// Peerings as one account or both describe them, each once.
fn peerings(snapshot: &Map<String, Value>) -> Result<Vec<VpcPeeringConnection>, LabError> {
    let stem = "describe-vpc-peering-connections";
    let mut all = or_empty::<VpcPeeringConnections>(snapshot, stem)?.vpc_peering_connections;
    let of_account = |answer: VpcPeeringConnections| answer.vpc_peering_connections;
    let others = by_id(snapshot, &format!("{stem}."), of_account)?;
    all.extend(others.into_values().flatten());
    all.sort_by(|one, other| {
        one.vpc_peering_connection_id
            .cmp(&other.vpc_peering_connection_id)
    });
    all.dedup_by(|one, other| one.vpc_peering_connection_id == other.vpc_peering_connection_id);
    Ok(all)
}

/// Reads all answers whose stem starts with `stem`, by the id that follows.
fn by_id<T: serde::de::DeserializeOwned, V>(
    snapshot: &Map<String, Value>,
    stem: &str,
    value: impl Fn(T) -> V,
) -> Result<BTreeMap<String, V>, LabError> {
    let mut answers = BTreeMap::new();
    for key in snapshot.keys() {
        if let Some(id) = key.strip_prefix(stem) {
            answers.insert(id.to_owned(), value(required(snapshot, key)?));
        }
    }
    Ok(answers)
}
