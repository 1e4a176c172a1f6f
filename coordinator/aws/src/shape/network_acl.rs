//! Network ACLs.

use aws_sdk_ec2::types::{NetworkAcl, NetworkAclAssociation, NetworkAclEntry};
use serde_json::Value;

use crate::shape::Shape;

/// As `describe-network-acls` prints it.
pub(crate) fn network_acl(acl: &NetworkAcl) -> Value {
    Shape::default()
        .text("NetworkAclId", &acl.network_acl_id)
        .text("VpcId", &acl.vpc_id)
        .text("OwnerId", &acl.owner_id)
        .boolean("IsDefault", acl.is_default)
        .list("Entries", &acl.entries, entry)
        .list("Associations", &acl.associations, association)
        .tags("Tags", &acl.tags)
        .into()
}

fn entry(entry: &NetworkAclEntry) -> Value {
    Shape::default()
        .number("RuleNumber", entry.rule_number.map(i64::from))
        .text("Protocol", &entry.protocol)
        .word(
            "RuleAction",
            entry.rule_action.as_ref().map(|action| action.as_str()),
        )
        .boolean("Egress", entry.egress)
        .text("CidrBlock", &entry.cidr_block)
        .text("Ipv6CidrBlock", &entry.ipv6_cidr_block)
        .object("PortRange", &entry.port_range, |range| {
            Shape::default()
                .number("From", range.from.map(i64::from))
                .number("To", range.to.map(i64::from))
                .into()
        })
        .object("IcmpTypeCode", &entry.icmp_type_code, |icmp| {
            Shape::default()
                .number("Type", icmp.r#type.map(i64::from))
                .number("Code", icmp.code.map(i64::from))
                .into()
        })
        .into()
}

fn association(association: &NetworkAclAssociation) -> Value {
    Shape::default()
        .text(
            "NetworkAclAssociationId",
            &association.network_acl_association_id,
        )
        .text("NetworkAclId", &association.network_acl_id)
        .text("SubnetId", &association.subnet_id)
        .into()
}
