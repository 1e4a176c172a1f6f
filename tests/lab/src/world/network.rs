//! The network part of a world: VPCs, subnets, security groups, network ACLs, route tables, peerings.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::notation::{AclLine, RouteTarget, Rule};

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Vpc {
    /// CIDRs, at least one of IPv4; the first of IPv4 is the primary one.
    pub cidrs: Vec<IpNet>,
    /// Subnets by name; names of subnets are unique in the world.
    pub subnets: BTreeMap<String, Subnet>,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Subnet {
    /// One CIDR of IPv4, and at most one of IPv6, which AWS wants to be a /64.
    pub cidrs: Vec<IpNet>,
    /// Letter of the availability zone.
    #[serde(default = "zone_default")]
    pub zone: char,
    /// Name of its network ACL; absent: the VPC's default one, which allows everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<String>,
    /// Name of its route table; absent: the VPC's main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<String>,
}

fn zone_default() -> char {
    'a'
}

/// A security group. Without rules in a direction it lets nothing through there (A.1).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SecurityGroup {
    /// Name of its VPC; may be absent where the world has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
    /// Rules for new connections to the interface.
    #[serde(default)]
    pub ingress: Vec<Rule>,
    /// Rules for new connections from the interface.
    #[serde(default)]
    pub egress: Vec<Rule>,
}

/// A network ACL. The closing deny entries are added as the API shows them (B.2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Acl {
    /// Entries for packets that enter the subnet.
    pub ingress: Vec<AclLine>,
    /// Entries for packets that leave the subnet.
    pub egress: Vec<AclLine>,
}

/// A route table. `local` routes are added for every CIDR of the VPC (C.3).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RouteTable {
    /// Name of its VPC; may be absent where the world has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
    /// Whether it is the main table, used by the subnets that name none.
    #[serde(default)]
    pub main: bool,
    /// Targets by destination.
    #[serde(default)]
    pub routes: BTreeMap<IpNet, RouteTarget>,
}

/// A peering of two VPCs of the world, in the same Region. Routes in both directions are written apart.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Peering {
    /// Name of the VPC that asked.
    pub requester: String,
    /// Name of the VPC that accepted.
    pub accepter: String,
}

/// What the wire enforces instead of what the APIs say. Each entry replaces the whole group or list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Drift {
    /// Security groups, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// Network ACLs, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acls: BTreeMap<String, Acl>,
}
