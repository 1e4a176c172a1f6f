//! VPCs, subnets and DHCP options.

use aws_sdk_ec2::types::{
    AttributeBooleanValue, DhcpConfiguration, DhcpOptions, Subnet, SubnetIpv6CidrBlockAssociation,
    Vpc, VpcCidrBlockAssociation, VpcCidrBlockState, VpcIpv6CidrBlockAssociation,
};
use serde_json::Value;

use crate::shape::Shape;

/// As `describe-vpcs` prints it.
pub(crate) fn vpc(vpc: &Vpc) -> Value {
    Shape::default()
        .text("VpcId", &vpc.vpc_id)
        .text("OwnerId", &vpc.owner_id)
        .word("State", vpc.state.as_ref().map(|state| state.as_str()))
        .boolean("IsDefault", vpc.is_default)
        .text("CidrBlock", &vpc.cidr_block)
        .list(
            "CidrBlockAssociationSet",
            &vpc.cidr_block_association_set,
            cidr_association,
        )
        .list(
            "Ipv6CidrBlockAssociationSet",
            &vpc.ipv6_cidr_block_association_set,
            ipv6_cidr_association,
        )
        .text("DhcpOptionsId", &vpc.dhcp_options_id)
        .tags("Tags", &vpc.tags)
        .into()
}

fn cidr_association(association: &VpcCidrBlockAssociation) -> Value {
    Shape::default()
        .text("AssociationId", &association.association_id)
        .text("CidrBlock", &association.cidr_block)
        .object("CidrBlockState", &association.cidr_block_state, cidr_state)
        .into()
}

fn ipv6_cidr_association(association: &VpcIpv6CidrBlockAssociation) -> Value {
    Shape::default()
        .text("AssociationId", &association.association_id)
        .text("Ipv6CidrBlock", &association.ipv6_cidr_block)
        .object(
            "Ipv6CidrBlockState",
            &association.ipv6_cidr_block_state,
            cidr_state,
        )
        .into()
}

fn cidr_state(state: &VpcCidrBlockState) -> Value {
    Shape::default()
        .word("State", state.state.as_ref().map(|state| state.as_str()))
        .into()
}

/// As `describe-subnets` prints it.
pub(crate) fn subnet(subnet: &Subnet) -> Value {
    Shape::default()
        .text("SubnetId", &subnet.subnet_id)
        .text("VpcId", &subnet.vpc_id)
        .text("OwnerId", &subnet.owner_id)
        .word("State", subnet.state.as_ref().map(|state| state.as_str()))
        .text("CidrBlock", &subnet.cidr_block)
        .list(
            "Ipv6CidrBlockAssociationSet",
            &subnet.ipv6_cidr_block_association_set,
            subnet_ipv6_association,
        )
        .boolean("Ipv6Native", subnet.ipv6_native)
        .text("AvailabilityZone", &subnet.availability_zone)
        .text("AvailabilityZoneId", &subnet.availability_zone_id)
        .text("OutpostArn", &subnet.outpost_arn)
        .boolean("MapPublicIpOnLaunch", subnet.map_public_ip_on_launch)
        .tags("Tags", &subnet.tags)
        .into()
}

fn subnet_ipv6_association(association: &SubnetIpv6CidrBlockAssociation) -> Value {
    let state = |state: &aws_sdk_ec2::types::SubnetCidrBlockState| {
        Shape::default()
            .word("State", state.state.as_ref().map(|state| state.as_str()))
            .into()
    };
    Shape::default()
        .text("AssociationId", &association.association_id)
        .text("Ipv6CidrBlock", &association.ipv6_cidr_block)
        .object(
            "Ipv6CidrBlockState",
            &association.ipv6_cidr_block_state,
            state,
        )
        .into()
}

/// As `describe-dhcp-options` prints it.
pub(crate) fn dhcp_options(options: &DhcpOptions) -> Value {
    Shape::default()
        .text("DhcpOptionsId", &options.dhcp_options_id)
        .text("OwnerId", &options.owner_id)
        .list(
            "DhcpConfigurations",
            &options.dhcp_configurations,
            dhcp_configuration,
        )
        .tags("Tags", &options.tags)
        .into()
}

fn dhcp_configuration(configuration: &DhcpConfiguration) -> Value {
    Shape::default()
        .text("Key", &configuration.key)
        .list("Values", &configuration.values, |value| {
            Shape::default().text("Value", &value.value).into()
        })
        .into()
}

/// As `describe-vpc-attribute` prints one attribute.
pub(crate) fn boolean_attribute(attribute: &AttributeBooleanValue) -> Value {
    Shape::default().boolean("Value", attribute.value).into()
}
