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
    /// A subnet without network ACL; every subnet has one \[B\]. It would be judged by the default ACL.
    NetworkAclMissing { subnet: String },
    /// A VPC of the cluster's own account without main route table; every VPC has one [C.1].
    MainRouteTableMissing { vpc: String },
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
            Self::Changed { id } => write!(formatter, "two answers do not agree on `{id}`"),
            Self::MainRouteTableMissing { vpc } => write!(
                formatter,
                "no route table of ec2:DescribeRouteTables is the main one of `{vpc}`"
            ),
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
/// Route tables and prefix-list entries, whose number no answer states, are read twice for that.
///
/// Not to be seen: a missing last page of interfaces without instance (control plane, Fargate, branch). Nobody owns their
/// addresses then, so that the model doubts what it says of them and nothing is confirmed (`tests/absence.rs` of the model).
pub(crate) fn contradictions(world: &Collected) -> Vec<Contradiction> {
    let changed = world
        .changed()
        .iter()
        .map(|id| Contradiction::Changed { id: id.clone() });
    let mut found: Vec<Contradiction> = changed.collect();
    found.extend(interfaces_missing(world));
    found.extend(subnets_missing(world));
    found.extend(network_acls_missing(world));
    found.extend(main_tables_missing(world));
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
    let shared = shared_vpcs(world);
    let listed = world.ids(Call::NetworkAcls, "VpcId");
    subnets_without_acl(world)
        .filter(|(vpc, _)| !shared.contains(*vpc) || listed.contains(*vpc))
        .map(|(_, subnet)| Contradiction::NetworkAclMissing {
            subnet: subnet.to_owned(),
        })
        .collect()
}

/// VPCs of other accounts that do not show the network ACLs of all subnets that they share.
///
/// Which ACLs a participant sees is UNSOURCED. A subnet whose ACL is hidden must not be judged by one that is not.
pub(crate) fn hidden_acls(world: &Collected) -> BTreeSet<String> {
    let shared = shared_vpcs(world);
    subnets_without_acl(world)
        .map(|(vpc, _)| vpc.to_owned())
        .filter(|vpc| shared.contains(vpc))
        .collect()
}

/// The subnets with which no network ACL is associated, and their VPCs.
fn subnets_without_acl(world: &Collected) -> impl Iterator<Item = (&str, &str)> {
    let mut associated = BTreeSet::new();
    for acl in world.items(Call::NetworkAcls) {
        collect(acl, "SubnetId", &mut associated);
    }
    let subnets = world.items(Call::Subnets);
    let named = subnets.filter_map(|one| Some((text(one, "VpcId")?, text(one, "SubnetId")?)));
    named.filter(move |(_, subnet)| !associated.contains(*subnet))
}

/// The VPCs of accounts other than the cluster's.
fn shared_vpcs(world: &Collected) -> BTreeSet<String> {
    let arn = world
        .file("describe-cluster")
        .and_then(|file| file.pointer("/cluster/arn"))
        .and_then(Value::as_str);
    let Some(own) = arn.and_then(|arn| arn.split(':').nth(4)) else {
        return BTreeSet::new();
    };
    let vpcs = world.items(Call::Vpcs);
    let shared = vpcs.filter(|vpc| text(vpc, "OwnerId").is_some_and(|owner| owner != own));
    shared
        .filter_map(|vpc| text(vpc, "VpcId"))
        .map(str::to_owned)
        .collect()
}

fn main_tables_missing(world: &Collected) -> Vec<Contradiction> {
    let is_main = |table: &&Value| {
        objects(table, "Associations")
            .any(|association| association.get("Main").and_then(Value::as_bool) == Some(true))
    };
    let tables = world.items(Call::RouteTables).filter(is_main);
    let with_main: BTreeSet<&str> = tables.filter_map(|table| text(table, "VpcId")).collect();
    let shared = shared_vpcs(world);
    let vpcs = world.items(Call::Vpcs).filter_map(|vpc| text(vpc, "VpcId"));
    vpcs.filter(|vpc| !with_main.contains(vpc) && !shared.contains(*vpc))
        .map(|vpc| Contradiction::MainRouteTableMissing {
            vpc: vpc.to_owned(),
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
