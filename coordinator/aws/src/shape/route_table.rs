//! Route tables and what routes lead to or are made of: peerings and prefix lists.

use aws_sdk_ec2::types::{
    ManagedPrefixList, PrefixListEntry, Route, RouteTable, RouteTableAssociation,
    VpcPeeringConnection, VpcPeeringConnectionStateReason, VpcPeeringConnectionVpcInfo,
};
use serde_json::Value;

use crate::shape::Shape;

/// As `describe-route-tables` prints it.
pub(crate) fn route_table(table: &RouteTable) -> Value {
    Shape::default()
        .text("RouteTableId", &table.route_table_id)
        .text("VpcId", &table.vpc_id)
        .text("OwnerId", &table.owner_id)
        .list("Routes", &table.routes, route)
        .list("PropagatingVgws", &table.propagating_vgws, |gateway| {
            Shape::default()
                .text("GatewayId", &gateway.gateway_id)
                .into()
        })
        .list("Associations", &table.associations, association)
        .tags("Tags", &table.tags)
        .into()
}

fn route(route: &Route) -> Value {
    Shape::default()
        .text("DestinationCidrBlock", &route.destination_cidr_block)
        .text(
            "DestinationIpv6CidrBlock",
            &route.destination_ipv6_cidr_block,
        )
        .text("DestinationPrefixListId", &route.destination_prefix_list_id)
        .text("GatewayId", &route.gateway_id)
        .text("NatGatewayId", &route.nat_gateway_id)
        .text(
            "EgressOnlyInternetGatewayId",
            &route.egress_only_internet_gateway_id,
        )
        .text("VpcPeeringConnectionId", &route.vpc_peering_connection_id)
        .text("TransitGatewayId", &route.transit_gateway_id)
        .text("NetworkInterfaceId", &route.network_interface_id)
        .text("InstanceId", &route.instance_id)
        .text("InstanceOwnerId", &route.instance_owner_id)
        .text("LocalGatewayId", &route.local_gateway_id)
        .text("CarrierGatewayId", &route.carrier_gateway_id)
        .text("CoreNetworkArn", &route.core_network_arn)
        .text("OdbNetworkArn", &route.odb_network_arn)
        .text("IpAddress", &route.ip_address)
        .word(
            "Origin",
            route.origin.as_ref().map(|origin| origin.as_str()),
        )
        .word("State", route.state.as_ref().map(|state| state.as_str()))
        .into()
}

fn association(association: &RouteTableAssociation) -> Value {
    Shape::default()
        .boolean("Main", association.main)
        .text(
            "RouteTableAssociationId",
            &association.route_table_association_id,
        )
        .text("RouteTableId", &association.route_table_id)
        .text("SubnetId", &association.subnet_id)
        .text("GatewayId", &association.gateway_id)
        .text("PublicIpv4Pool", &association.public_ipv4_pool)
        .object(
            "AssociationState",
            &association.association_state,
            |state| {
                Shape::default()
                    .word("State", state.state.as_ref().map(|state| state.as_str()))
                    .into()
            },
        )
        .into()
}

/// As `describe-vpc-peering-connections` prints it.
pub(crate) fn vpc_peering_connection(peering: &VpcPeeringConnection) -> Value {
    Shape::default()
        .text("VpcPeeringConnectionId", &peering.vpc_peering_connection_id)
        .object("Status", &peering.status, peering_status)
        .object(
            "RequesterVpcInfo",
            &peering.requester_vpc_info,
            peering_side,
        )
        .object("AccepterVpcInfo", &peering.accepter_vpc_info, peering_side)
        .tags("Tags", &peering.tags)
        .into()
}

fn peering_status(status: &VpcPeeringConnectionStateReason) -> Value {
    Shape::default()
        .word("Code", status.code.as_ref().map(|code| code.as_str()))
        .text("Message", &status.message)
        .into()
}

fn peering_side(side: &VpcPeeringConnectionVpcInfo) -> Value {
    Shape::default()
        .text("VpcId", &side.vpc_id)
        .text("OwnerId", &side.owner_id)
        .text("Region", &side.region)
        .text("CidrBlock", &side.cidr_block)
        .list("CidrBlockSet", &side.cidr_block_set, |block| {
            Shape::default().text("CidrBlock", &block.cidr_block).into()
        })
        .list("Ipv6CidrBlockSet", &side.ipv6_cidr_block_set, |block| {
            Shape::default()
                .text("Ipv6CidrBlock", &block.ipv6_cidr_block)
                .into()
        })
        .into()
}

/// As `describe-managed-prefix-lists` prints it.
pub(crate) fn managed_prefix_list(list: &ManagedPrefixList) -> Value {
    Shape::default()
        .text("PrefixListId", &list.prefix_list_id)
        .text("PrefixListName", &list.prefix_list_name)
        .text("PrefixListArn", &list.prefix_list_arn)
        .text("AddressFamily", &list.address_family)
        .word("State", list.state.as_ref().map(|state| state.as_str()))
        .number("MaxEntries", list.max_entries.map(i64::from))
        .number("Version", list.version)
        .text("OwnerId", &list.owner_id)
        .tags("Tags", &list.tags)
        .into()
}

/// As `get-managed-prefix-list-entries` prints it.
pub(crate) fn prefix_list_entry(entry: &PrefixListEntry) -> Value {
    Shape::default()
        .text("Cidr", &entry.cidr)
        .text("Description", &entry.description)
        .into()
}
