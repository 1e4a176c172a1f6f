//! Security groups, their rules, and what is known about rules that lead nowhere.

use aws_sdk_ec2::types::{
    IpPermission, ReferencedSecurityGroup, SecurityGroup, SecurityGroupRule,
    SecurityGroupVpcAssociation, StaleIpPermission, StaleSecurityGroup, UserIdGroupPair,
};
use serde_json::Value;

use crate::shape::Shape;

/// As `describe-security-groups` prints it.
pub(crate) fn security_group(group: &SecurityGroup) -> Value {
    Shape::default()
        .text("GroupId", &group.group_id)
        .text("GroupName", &group.group_name)
        .text("Description", &group.description)
        .text("OwnerId", &group.owner_id)
        .text("VpcId", &group.vpc_id)
        .list("IpPermissions", &group.ip_permissions, permission)
        .list(
            "IpPermissionsEgress",
            &group.ip_permissions_egress,
            permission,
        )
        .tags("Tags", &group.tags)
        .into()
}

fn permission(permission: &IpPermission) -> Value {
    Shape::default()
        .text("IpProtocol", &permission.ip_protocol)
        .number("FromPort", permission.from_port.map(i64::from))
        .number("ToPort", permission.to_port.map(i64::from))
        .list("IpRanges", &permission.ip_ranges, |range| {
            Shape::default()
                .text("CidrIp", &range.cidr_ip)
                .text("Description", &range.description)
                .into()
        })
        .list("Ipv6Ranges", &permission.ipv6_ranges, |range| {
            Shape::default()
                .text("CidrIpv6", &range.cidr_ipv6)
                .text("Description", &range.description)
                .into()
        })
        .list("PrefixListIds", &permission.prefix_list_ids, |list| {
            Shape::default()
                .text("PrefixListId", &list.prefix_list_id)
                .text("Description", &list.description)
                .into()
        })
        .list(
            "UserIdGroupPairs",
            &permission.user_id_group_pairs,
            group_pair,
        )
        .into()
}

fn group_pair(pair: &UserIdGroupPair) -> Value {
    Shape::default()
        .text("GroupId", &pair.group_id)
        .text("GroupName", &pair.group_name)
        .text("UserId", &pair.user_id)
        .text("VpcId", &pair.vpc_id)
        .text("VpcPeeringConnectionId", &pair.vpc_peering_connection_id)
        .text("PeeringStatus", &pair.peering_status)
        .text("Description", &pair.description)
        .into()
}

/// As `describe-security-group-rules` prints it.
pub(crate) fn security_group_rule(rule: &SecurityGroupRule) -> Value {
    Shape::default()
        .text("SecurityGroupRuleId", &rule.security_group_rule_id)
        .text("GroupId", &rule.group_id)
        .text("GroupOwnerId", &rule.group_owner_id)
        .boolean("IsEgress", rule.is_egress)
        .text("IpProtocol", &rule.ip_protocol)
        .number("FromPort", rule.from_port.map(i64::from))
        .number("ToPort", rule.to_port.map(i64::from))
        .text("CidrIpv4", &rule.cidr_ipv4)
        .text("CidrIpv6", &rule.cidr_ipv6)
        .text("PrefixListId", &rule.prefix_list_id)
        .object(
            "ReferencedGroupInfo",
            &rule.referenced_group_info,
            referenced_group,
        )
        .text("Description", &rule.description)
        .tags("Tags", &rule.tags)
        .into()
}

fn referenced_group(group: &ReferencedSecurityGroup) -> Value {
    Shape::default()
        .text("GroupId", &group.group_id)
        .text("UserId", &group.user_id)
        .text("VpcId", &group.vpc_id)
        .text("VpcPeeringConnectionId", &group.vpc_peering_connection_id)
        .text("PeeringStatus", &group.peering_status)
        .into()
}

/// As `describe-stale-security-groups` prints it.
pub(crate) fn stale_security_group(group: &StaleSecurityGroup) -> Value {
    Shape::default()
        .text("GroupId", &group.group_id)
        .text("GroupName", &group.group_name)
        .text("Description", &group.description)
        .text("VpcId", &group.vpc_id)
        .list(
            "StaleIpPermissions",
            &group.stale_ip_permissions,
            stale_permission,
        )
        .list(
            "StaleIpPermissionsEgress",
            &group.stale_ip_permissions_egress,
            stale_permission,
        )
        .into()
}

fn stale_permission(permission: &StaleIpPermission) -> Value {
    Shape::default()
        .text("IpProtocol", &permission.ip_protocol)
        .number("FromPort", permission.from_port.map(i64::from))
        .number("ToPort", permission.to_port.map(i64::from))
        .texts("IpRanges", &permission.ip_ranges)
        .texts("PrefixListIds", &permission.prefix_list_ids)
        .list(
            "UserIdGroupPairs",
            &permission.user_id_group_pairs,
            group_pair,
        )
        .into()
}

/// As `describe-security-group-vpc-associations` prints it.
pub(crate) fn vpc_association(association: &SecurityGroupVpcAssociation) -> Value {
    Shape::default()
        .text("GroupId", &association.group_id)
        .text("GroupOwnerId", &association.group_owner_id)
        .text("VpcId", &association.vpc_id)
        .text("VpcOwnerId", &association.vpc_owner_id)
        .word(
            "State",
            association.state.as_ref().map(|state| state.as_str()),
        )
        .text("StateReason", &association.state_reason)
        .into()
}
