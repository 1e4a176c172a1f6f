//! Whether answers that must agree do agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::call::Call;
use crate::collected::{Collected, collect, text};

/// Two answers that cannot both be whole: a page is missing, or the world changed between them.
///
/// Each would make the model judge a part of the world as the whole. What the model itself can tell (a group that is
/// not described, a peering without a record) is not listed here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contradiction {
    /// One id came with different contents.
    Changed { id: String },
    /// A running instance lists an interface that is not among the interfaces.
    InterfaceMissing { instance: String, interface: String },
    /// A subnet without network ACL; every subnet has one [B]. It would be judged by the default ACL.
    NetworkAclMissing { subnet: String },
    /// A subnet that the cluster names is not among the subnets.
    SubnetMissing { subnet: String },
    /// An interface lies in a subnet that is not among the subnets.
    SubnetOfInterfaceMissing { interface: String, subnet: String },
    /// The cluster's own security group is not among the groups.
    ClusterGroupMissing { group: String },
    /// A group has another number of rules than its permissions spell out.
    RulesDiffer {
        group: String,
        rules: usize,
        permissions: usize,
    },
}

impl fmt::Display for Contradiction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { id } => write!(formatter, "`{id}` came twice with different contents"),
            Self::InterfaceMissing {
                instance,
                interface,
            } => {
                write!(
                    formatter,
                    "`{instance}` has `{interface}`, which ec2:DescribeNetworkInterfaces does not list"
                )
            }
            Self::NetworkAclMissing { subnet } => {
                write!(
                    formatter,
                    "no network acl of ec2:DescribeNetworkAcls is associated with `{subnet}`"
                )
            }
            Self::SubnetMissing { subnet } => {
                write!(
                    formatter,
                    "the cluster uses `{subnet}`, which ec2:DescribeSubnets does not list"
                )
            }
            Self::SubnetOfInterfaceMissing { interface, subnet } => {
                write!(
                    formatter,
                    "`{interface}` lies in `{subnet}`, which ec2:DescribeSubnets does not list"
                )
            }
            Self::ClusterGroupMissing { group } => {
                write!(
                    formatter,
                    "`{group}`, the cluster's own, is not listed by ec2:DescribeSecurityGroups"
                )
            }
            Self::RulesDiffer {
                group,
                rules,
                permissions,
            } => write!(
                formatter,
                "`{group}` has {rules} rules in ec2:DescribeSecurityGroupRules and {permissions} in \
                 ec2:DescribeSecurityGroups"
            ),
        }
    }
}

/// Everything that does not fit, sorted; empty for a world that was read whole, as far as the answers can show it.
///
/// Not to be seen: a missing last page of interfaces without instance (control plane, Fargate, branch), of route tables
/// that are named by no gateway, or of prefix-list entries. No answer states their number.
pub(crate) fn contradictions(world: &Collected) -> Vec<Contradiction> {
    let changed = world
        .changed()
        .iter()
        .map(|id| Contradiction::Changed { id: id.clone() });
    let mut found: Vec<Contradiction> = changed.collect();
    found.extend(interfaces_missing(world));
    found.extend(subnets_missing(world));
    found.extend(network_acls_missing(world));
    found.extend(rules_differing(world));
    found.sort();
    found
}

fn interfaces_missing(world: &Collected) -> Vec<Contradiction> {
    let interfaces = world.ids(Call::NetworkInterfaces, "NetworkInterfaceId");
    let mut found = Vec::new();
    for reservation in world.items(Call::Instances) {
        for instance in objects(reservation, "Instances") {
            // A terminated instance keeps no interface; one that shuts down is about to lose them.
            let state = instance.get("State").and_then(|state| text(state, "Name"));
            if !matches!(state, Some("running" | "stopped" | "stopping")) {
                continue;
            }
            for interface in objects(instance, "NetworkInterfaces")
                .filter_map(|one| text(one, "NetworkInterfaceId"))
            {
                if !interfaces.contains(interface) {
                    let instance = text(instance, "InstanceId")
                        .unwrap_or("an instance")
                        .to_owned();
                    found.push(Contradiction::InterfaceMissing {
                        instance,
                        interface: interface.to_owned(),
                    });
                }
            }
        }
    }
    found
}

fn subnets_missing(world: &Collected) -> Vec<Contradiction> {
    let subnets = world.ids(Call::Subnets, "SubnetId");
    let config = world
        .file("describe-cluster")
        .and_then(|file| file.pointer("/cluster/resourcesVpcConfig"));
    let mut found = Vec::new();
    for subnet in config
        .into_iter()
        .flat_map(|config| texts(config, "subnetIds"))
    {
        if !subnets.contains(subnet) {
            found.push(Contradiction::SubnetMissing {
                subnet: subnet.to_owned(),
            });
        }
    }
    if let Some(group) = config.and_then(|config| text(config, "clusterSecurityGroupId"))
        && !world.ids(Call::SecurityGroups, "GroupId").contains(group)
    {
        found.push(Contradiction::ClusterGroupMissing {
            group: group.to_owned(),
        });
    }
    for interface in world.items(Call::NetworkInterfaces) {
        if let (Some(id), Some(subnet)) = (
            text(interface, "NetworkInterfaceId"),
            text(interface, "SubnetId"),
        ) && !subnets.contains(subnet)
        {
            let (interface, subnet) = (id.to_owned(), subnet.to_owned());
            found.push(Contradiction::SubnetOfInterfaceMissing { interface, subnet });
        }
    }
    found
}

fn network_acls_missing(world: &Collected) -> Vec<Contradiction> {
    let mut associated = BTreeSet::new();
    for acl in world.items(Call::NetworkAcls) {
        collect(acl, "SubnetId", &mut associated);
    }
    let subnets = world.ids(Call::Subnets, "SubnetId");
    subnets
        .difference(&associated)
        .map(|subnet| Contradiction::NetworkAclMissing {
            subnet: subnet.clone(),
        })
        .collect()
}

fn rules_differing(world: &Collected) -> Vec<Contradiction> {
    if !world.has(Call::SecurityGroupRules) {
        return Vec::new();
    }
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in world.items(Call::SecurityGroupRules) {
        *rules
            .entry(text(rule, "GroupId").unwrap_or_default())
            .or_default() += 1;
    }
    let mut found = Vec::new();
    for group in world.items(Call::SecurityGroups) {
        let id = text(group, "GroupId").unwrap_or_default();
        let permissions = permissions_of(group);
        let rules = rules.get(id).copied().unwrap_or_default();
        if rules != permissions {
            found.push(Contradiction::RulesDiffer {
                group: id.to_owned(),
                rules,
                permissions,
            });
        }
    }
    found
}

/// How many rules the permissions of a group stand for: one for each peer.
fn permissions_of(group: &Value) -> usize {
    let peers = [
        "IpRanges",
        "Ipv6Ranges",
        "PrefixListIds",
        "UserIdGroupPairs",
    ];
    ["IpPermissions", "IpPermissionsEgress"]
        .iter()
        .flat_map(|key| objects(group, key))
        .map(|permission| {
            peers
                .iter()
                .map(|key| objects(permission, key).count())
                .sum::<usize>()
        })
        .sum()
}

fn objects<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn texts<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v str> {
    objects(value, key).filter_map(Value::as_str)
}
