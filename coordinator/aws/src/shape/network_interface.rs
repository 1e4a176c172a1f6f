//! Interfaces and the instances that they belong to.

use aws_sdk_ec2::types::{
    GroupIdentifier, Instance, InstanceNetworkInterface, InstanceState, NetworkInterface,
    NetworkInterfaceAttachment, NetworkInterfaceIpv6Address, NetworkInterfacePrivateIpAddress,
    OperatorResponse, Reservation,
};
use serde_json::Value;

use crate::shape::Shape;

/// As `describe-network-interfaces` prints it.
pub(crate) fn network_interface(interface: &NetworkInterface) -> Value {
    Shape::default()
        .text("NetworkInterfaceId", &interface.network_interface_id)
        .text("VpcId", &interface.vpc_id)
        .text("SubnetId", &interface.subnet_id)
        .text("OwnerId", &interface.owner_id)
        .text("AvailabilityZone", &interface.availability_zone)
        .word(
            "Status",
            interface.status.as_ref().map(|status| status.as_str()),
        )
        .word(
            "InterfaceType",
            interface.interface_type.as_ref().map(|kind| kind.as_str()),
        )
        .boolean("SourceDestCheck", interface.source_dest_check)
        .text("Description", &interface.description)
        .boolean("RequesterManaged", interface.requester_managed)
        .text("RequesterId", &interface.requester_id)
        .object("Operator", &interface.operator, operator)
        .text("MacAddress", &interface.mac_address)
        .text("PrivateIpAddress", &interface.private_ip_address)
        .list(
            "PrivateIpAddresses",
            &interface.private_ip_addresses,
            private_ip_address,
        )
        .list("Ipv4Prefixes", &interface.ipv4_prefixes, |prefix| {
            Shape::default()
                .text("Ipv4Prefix", &prefix.ipv4_prefix)
                .into()
        })
        .text("Ipv6Address", &interface.ipv6_address)
        .list("Ipv6Addresses", &interface.ipv6_addresses, ipv6_address)
        .list("Ipv6Prefixes", &interface.ipv6_prefixes, |prefix| {
            Shape::default()
                .text("Ipv6Prefix", &prefix.ipv6_prefix)
                .into()
        })
        .list("Groups", &interface.groups, group)
        .object("Attachment", &interface.attachment, attachment)
        .object("Association", &interface.association, |association| {
            Shape::default()
                .text("PublicIp", &association.public_ip)
                .text("IpOwnerId", &association.ip_owner_id)
                .into()
        })
        .tags("TagSet", &interface.tag_set)
        .into()
}

fn operator(operator: &OperatorResponse) -> Value {
    Shape::default()
        .boolean("Managed", operator.managed)
        .text("Principal", &operator.principal)
        .boolean("HiddenByDefault", operator.hidden_by_default)
        .into()
}

fn private_ip_address(address: &NetworkInterfacePrivateIpAddress) -> Value {
    Shape::default()
        .boolean("Primary", address.primary)
        .text("PrivateIpAddress", &address.private_ip_address)
        .object("Association", &address.association, |association| {
            Shape::default()
                .text("PublicIp", &association.public_ip)
                .into()
        })
        .into()
}

fn ipv6_address(address: &NetworkInterfaceIpv6Address) -> Value {
    Shape::default()
        .text("Ipv6Address", &address.ipv6_address)
        .boolean("IsPrimaryIpv6", address.is_primary_ipv6)
        .into()
}

fn group(group: &GroupIdentifier) -> Value {
    Shape::default()
        .text("GroupId", &group.group_id)
        .text("GroupName", &group.group_name)
        .into()
}

fn attachment(attachment: &NetworkInterfaceAttachment) -> Value {
    Shape::default()
        .text("AttachmentId", &attachment.attachment_id)
        .text("InstanceId", &attachment.instance_id)
        .text("InstanceOwnerId", &attachment.instance_owner_id)
        .word(
            "Status",
            attachment.status.as_ref().map(|status| status.as_str()),
        )
        .number("DeviceIndex", attachment.device_index.map(i64::from))
        .number(
            "NetworkCardIndex",
            attachment.network_card_index.map(i64::from),
        )
        .boolean("DeleteOnTermination", attachment.delete_on_termination)
        .into()
}

/// As `describe-instances` prints it. A reservation can be split over pages; whoever collects puts it together.
pub(crate) fn reservation(reservation: &Reservation) -> Value {
    Shape::default()
        .text("ReservationId", &reservation.reservation_id)
        .text("OwnerId", &reservation.owner_id)
        .text("RequesterId", &reservation.requester_id)
        .list("Instances", &reservation.instances, instance)
        .into()
}

fn instance(instance: &Instance) -> Value {
    Shape::default()
        .text("InstanceId", &instance.instance_id)
        .object("State", &instance.state, state)
        .word(
            "InstanceType",
            instance.instance_type.as_ref().map(|kind| kind.as_str()),
        )
        .word(
            "Platform",
            instance.platform.as_ref().map(|platform| platform.as_str()),
        )
        .text("VpcId", &instance.vpc_id)
        .text("SubnetId", &instance.subnet_id)
        .text("PrivateIpAddress", &instance.private_ip_address)
        .text("PrivateDnsName", &instance.private_dns_name)
        .text("Ipv6Address", &instance.ipv6_address)
        .boolean("SourceDestCheck", instance.source_dest_check)
        .object("Operator", &instance.operator, operator)
        .list(
            "NetworkInterfaces",
            &instance.network_interfaces,
            instance_interface,
        )
        .list("SecurityGroups", &instance.security_groups, group)
        .tags("Tags", &instance.tags)
        .into()
}

fn state(state: &InstanceState) -> Value {
    Shape::default()
        .number("Code", state.code.map(i64::from))
        .word("Name", state.name.as_ref().map(|name| name.as_str()))
        .into()
}

/// Only what ties the two files together: the interface itself is in `describe-network-interfaces`.
fn instance_interface(interface: &InstanceNetworkInterface) -> Value {
    Shape::default()
        .text("NetworkInterfaceId", &interface.network_interface_id)
        .text("PrivateIpAddress", &interface.private_ip_address)
        .object("Attachment", &interface.attachment, |attachment| {
            Shape::default()
                .text("AttachmentId", &attachment.attachment_id)
                .word(
                    "Status",
                    attachment.status.as_ref().map(|status| status.as_str()),
                )
                .number("DeviceIndex", attachment.device_index.map(i64::from))
                .number(
                    "NetworkCardIndex",
                    attachment.network_card_index.map(i64::from),
                )
                .into()
        })
        .into()
}
