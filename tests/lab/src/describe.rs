//! The answers of the AWS CLI and `kubectl` as far as a network can be built from them.
//!
//! Fields that the lab does not need are left out; what real answers of some years lack is optional.

mod address;

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::LabError;

/// Reads the answer called `stem`.
///
/// # Errors
/// [`LabError::MissingAnswer`] if it is absent, [`LabError::Decode`] if it has another shape.
pub(crate) fn required<T: DeserializeOwned>(
    snapshot: &Map<String, Value>,
    stem: &str,
) -> Result<T, LabError> {
    optional(snapshot, stem)?.ok_or_else(|| LabError::MissingAnswer {
        stem: stem.to_owned(),
    })
}

/// Reads the answer called `stem` if it is there.
///
/// # Errors
/// [`LabError::Decode`] if it has another shape.
pub(crate) fn optional<T: DeserializeOwned>(
    snapshot: &Map<String, Value>,
    stem: &str,
) -> Result<Option<T>, LabError> {
    snapshot
        .get(stem)
        .map(T::deserialize)
        .transpose()
        .map_err(|source| LabError::Decode {
            stem: stem.to_owned(),
            source,
        })
}

/// Reads the answer called `stem`; an absent one is empty.
///
/// # Errors
/// [`LabError::Decode`] if it has another shape.
pub(crate) fn or_empty<T: DeserializeOwned + Default>(
    snapshot: &Map<String, Value>,
    stem: &str,
) -> Result<T, LabError> {
    Ok(optional(snapshot, stem)?.unwrap_or_default())
}

/// Declares structs that are read leniently: every field may be absent, unknown fields are ignored.
macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        pub(crate) struct $name { $($(#[$attribute])* pub(crate) $field: $kind,)* }
    )*};
}

shapes! {
    /// `describe-vpcs`.
    Vpcs { vpcs: Vec<Vpc>, }
    /// One VPC.
    Vpc {
        vpc_id: String,
        cidr_block: Option<Ipv4Net>,
        cidr_block_association_set: Vec<CidrAssociation>,
        ipv6_cidr_block_association_set: Vec<CidrAssociation>,
    }
    /// An address range of a VPC or subnet, with its state.
    CidrAssociation {
        cidr_block: Option<IpNet>,
        #[serde(rename = "Ipv6CidrBlock")]
        ipv6_cidr_block: Option<IpNet>,
        cidr_block_state: Option<State>,
        #[serde(rename = "Ipv6CidrBlockState")]
        ipv6_cidr_block_state: Option<State>,
    }
    /// A state word in an object of its own.
    State { state: String, }
    /// `describe-subnets`.
    Subnets { subnets: Vec<Subnet>, }
    /// One subnet.
    Subnet {
        subnet_id: String,
        vpc_id: String,
        cidr_block: Option<Ipv4Net>,
        ipv6_cidr_block_association_set: Vec<CidrAssociation>,
        availability_zone: String,
    }
    /// `describe-network-interfaces`.
    NetworkInterfaces { network_interfaces: Vec<NetworkInterface>, }
    /// One network interface (ENI).
    NetworkInterface {
        network_interface_id: String,
        vpc_id: String,
        subnet_id: String,
        interface_type: String,
        description: String,
        source_dest_check: Option<bool>,
        private_ip_address: Option<Ipv4Addr>,
        private_ip_addresses: Vec<PrivateIpAddress>,
        ipv6_addresses: Vec<Ipv6Address>,
        ipv4_prefixes: Vec<Ipv4Prefix>,
        ipv6_prefixes: Vec<Ipv6Prefix>,
        groups: Vec<GroupId>,
        tag_set: Vec<Tag>,
        attachment: Option<Attachment>,
    }
    /// One private IPv4 address.
    PrivateIpAddress { private_ip_address: Option<Ipv4Addr>, primary: bool, }
    /// One IPv6 address.
    Ipv6Address { ipv6_address: Option<Ipv6Addr>, }
    /// One delegated IPv4 prefix.
    Ipv4Prefix { ipv4_prefix: Option<Ipv4Net>, }
    /// One delegated IPv6 prefix.
    Ipv6Prefix { ipv6_prefix: Option<Ipv6Net>, }
    /// A group that an interface carries.
    GroupId { group_id: String, }
    /// A tag.
    Tag { key: String, value: String, }
    /// How an interface hangs on an instance.
    Attachment {
        instance_id: Option<String>,
        device_index: Option<u32>,
        network_card_index: Option<u32>,
    }
    /// `describe-instances`.
    Reservations { reservations: Vec<Reservation>, }
    /// One reservation.
    Reservation { instances: Vec<Instance>, }
    /// One instance.
    Instance {
        instance_id: String,
        private_ip_address: Option<Ipv4Addr>,
        network_interfaces: Vec<InstanceInterface>,
    }
    /// An interface as its instance lists it.
    InstanceInterface { network_interface_id: String, }
    /// `describe-instances`, read for the interfaces alone.
    InstancesForInterfaces { reservations: Vec<ReservationForInterfaces>, }
    /// One reservation of them.
    ReservationForInterfaces { instances: Vec<InterfacesOfInstance>, }
    /// One instance of them.
    InterfacesOfInstance { network_interfaces: Vec<NetworkInterface>, }
    /// `describe-security-groups`.
    SecurityGroups { security_groups: Vec<SecurityGroup>, }
    /// One security group.
    SecurityGroup {
        group_id: String,
        ip_permissions: Vec<IpPermission>,
        ip_permissions_egress: Vec<IpPermission>,
    }
    /// Rules under one protocol and port range (A.2).
    IpPermission {
        ip_protocol: String,
        from_port: Option<i32>,
        to_port: Option<i32>,
        ip_ranges: Vec<IpRange>,
        ipv6_ranges: Vec<Ipv6Range>,
        prefix_list_ids: Vec<PrefixListId>,
        user_id_group_pairs: Vec<UserIdGroupPair>,
    }
    /// An IPv4 range.
    IpRange { cidr_ip: Option<Ipv4Net>, }
    /// An IPv6 range.
    Ipv6Range { cidr_ipv6: Option<Ipv6Net>, }
    /// A prefix list in a rule.
    PrefixListId { prefix_list_id: String, }
    /// A reference to a security group.
    UserIdGroupPair {
        group_id: String,
        user_id: Option<String>,
        vpc_peering_connection_id: Option<String>,
        peering_status: Option<String>,
    }
    /// `describe-stale-security-groups`.
    StaleSecurityGroups { stale_security_group_set: Vec<StaleSecurityGroup>, }
    /// The rules of one group that reference something gone.
    StaleSecurityGroup {
        group_id: String,
        stale_ip_permissions: Vec<IpPermission>,
        stale_ip_permissions_egress: Vec<IpPermission>,
    }
    /// `get-managed-prefix-list-entries.ID`.
    PrefixListEntries { entries: Vec<PrefixListEntry>, }
    /// One entry of a prefix list.
    PrefixListEntry { cidr: Option<IpNet>, }
    /// `describe-network-acls`.
    NetworkAcls { network_acls: Vec<NetworkAcl>, }
    /// One network ACL.
    NetworkAcl {
        network_acl_id: String,
        vpc_id: String,
        is_default: bool,
        entries: Vec<NetworkAclEntry>,
        associations: Vec<Association>,
    }
    /// One entry of a network ACL (B).
    NetworkAclEntry {
        rule_number: u32,
        protocol: String,
        rule_action: String,
        egress: bool,
        cidr_block: Option<Ipv4Net>,
        ipv6_cidr_block: Option<Ipv6Net>,
        port_range: Option<PortRange>,
        icmp_type_code: Option<IcmpTypeCode>,
    }
    /// Ports, both inclusive.
    PortRange { from: Option<u16>, to: Option<u16>, }
    /// ICMP type and code, -1 for any.
    IcmpTypeCode {
        #[serde(rename = "Type")]
        kind: Option<i32>,
        code: Option<i32>,
    }
    /// What a subnet is associated with.
    Association { subnet_id: Option<String>, main: bool, }
    /// `describe-route-tables`.
    RouteTables { route_tables: Vec<RouteTable>, }
    /// One route table.
    RouteTable { vpc_id: String, routes: Vec<Route>, associations: Vec<Association>, }
    /// One route (C).
    Route {
        state: Option<String>,
        origin: Option<String>,
        destination_cidr_block: Option<Ipv4Net>,
        destination_ipv6_cidr_block: Option<Ipv6Net>,
        destination_prefix_list_id: Option<String>,
        gateway_id: Option<String>,
        vpc_peering_connection_id: Option<String>,
        transit_gateway_id: Option<String>,
        network_interface_id: Option<String>,
        instance_id: Option<String>,
    }
    /// `describe-vpc-peering-connections`.
    VpcPeeringConnections { vpc_peering_connections: Vec<VpcPeeringConnection>, }
    /// One peering.
    VpcPeeringConnection {
        vpc_peering_connection_id: String,
        status: Option<Code>,
        requester_vpc_info: Option<PeeredVpc>,
        accepter_vpc_info: Option<PeeredVpc>,
    }
    /// A state word called code.
    Code { code: String, }
    /// One side of a peering.
    PeeredVpc { vpc_id: String, region: Option<String>, }
    /// `describe-transit-gateways`.
    TransitGateways { transit_gateways: Vec<TransitGateway>, }
    /// One transit gateway.
    TransitGateway { transit_gateway_id: String, options: Option<TransitGatewayOptions>, }
    /// Options of a transit gateway or of an attachment: `enable` or `disable`.
    TransitGatewayOptions {
        default_route_table_association: Option<String>,
        default_route_table_propagation: Option<String>,
        security_group_referencing_support: Option<String>,
    }
    /// `describe-transit-gateway-vpc-attachments`.
    TransitGatewayVpcAttachments { transit_gateway_vpc_attachments: Vec<TransitGatewayVpcAttachment>, }
    /// One attachment of a VPC.
    TransitGatewayVpcAttachment {
        transit_gateway_attachment_id: String,
        transit_gateway_id: String,
        vpc_id: String,
        state: Option<String>,
        subnet_ids: Vec<String>,
        options: Option<TransitGatewayOptions>,
        association: Option<TransitGatewayAssociation>,
    }
    /// The route table that an attachment uses.
    TransitGatewayAssociation { transit_gateway_route_table_id: String, }
    /// `describe-transit-gateway-route-tables`.
    TransitGatewayRouteTables { transit_gateway_route_tables: Vec<TransitGatewayRouteTable>, }
    /// One route table of a transit gateway.
    TransitGatewayRouteTable {
        transit_gateway_route_table_id: String,
        transit_gateway_id: String,
        default_association_route_table: bool,
    }
    /// `search-transit-gateway-routes.ID`.
    TransitGatewayRoutes { routes: Vec<TransitGatewayRoute>, }
    /// One route of a transit gateway.
    TransitGatewayRoute {
        destination_cidr_block: Option<IpNet>,
        state: Option<String>,
        transit_gateway_attachments: Vec<TransitGatewayRouteTarget>,
    }
    /// Where a route of a transit gateway leads.
    TransitGatewayRouteTarget { transit_gateway_attachment_id: String, }
}

/// `describe-cluster`, which spells its fields in camel case.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClusterAnswer {
    /// The cluster itself.
    pub(crate) cluster: Cluster,
}

/// What the lab needs of a cluster.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Cluster {
    /// Its name, part of the description of the control plane's interfaces (D.1).
    pub(crate) name: String,
    /// Where it lies.
    pub(crate) resources_vpc_config: ResourcesVpcConfig,
}

/// The network of a cluster.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ResourcesVpcConfig {
    /// Its VPC.
    pub(crate) vpc_id: String,
    /// The group that EKS made (D.2).
    pub(crate) cluster_security_group_id: String,
}
