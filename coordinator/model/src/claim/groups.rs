//! Which security groups a claim means.
//!
//! | words | groups |
//! |---|---|
//! | `the cluster group` | the one that EKS made with the cluster (D.2) |
//! | `additional groups` | those of `resourcesVpcConfig.securityGroupIds` (D.3) |
//! | `groups of nodes` | those that nodes' own interfaces carry, the two kinds above apart |
//!
//! Anything else is the id or the name of a group.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::World;
use super::members::{Members, NO_CLUSTER, own_addresses};
use crate::expectation::members::cluster_members;
use crate::id::SecurityGroupId;
use crate::plan::Roster;
use crate::snapshot::Snapshot;

/// Which groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupWord {
    /// The one that EKS made with the cluster.
    Cluster,
    /// Those that a user gave the control plane.
    Additional,
    /// Those of nodes, the kinds above apart.
    OfNodes,
    /// The one with this id or name; raw text.
    Named(String),
}

const CLUSTER: &str = "the cluster group";
const ADDITIONAL: &str = "additional groups";
const OF_NODES: &str = "groups of nodes";

/// Words that mean no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no words for a group: write `{CLUSTER}`, `{ADDITIONAL}`, `{OF_NODES}`, an id or a name")]
pub struct UnknownGroup;

impl FromStr for GroupWord {
    type Err = UnknownGroup;

    fn from_str(text: &str) -> Result<Self, UnknownGroup> {
        match text.trim() {
            "" => Err(UnknownGroup),
            CLUSTER => Ok(Self::Cluster),
            ADDITIONAL => Ok(Self::Additional),
            OF_NODES => Ok(Self::OfNodes),
            name => Ok(Self::Named(name.to_owned())),
        }
    }
}

impl fmt::Display for GroupWord {
    /// Writes the words, raw text.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Cluster => CLUSTER,
            Self::Additional => ADDITIONAL,
            Self::OfNodes => OF_NODES,
            Self::Named(name) => name,
        })
    }
}

impl GroupWord {
    /// Looks the groups up; may be none. Of a name that no group has, and without the answer that would say it, it tells why.
    pub(super) fn groups(&self, world: &World<'_>) -> Result<BTreeSet<SecurityGroupId>, String> {
        let cluster = || {
            world
                .snapshot
                .cluster()
                .ok_or_else(|| NO_CLUSTER.to_owned())
        };
        match self {
            Self::Cluster => {
                let group = cluster()?.cluster_group.clone();
                let group = group.ok_or("`describe-cluster` names no cluster security group")?;
                Ok([group].into())
            }
            Self::Additional => Ok(cluster()?.additional_groups.iter().cloned().collect()),
            Self::OfNodes => of_nodes(world),
            Self::Named(name) => {
                let all = world.snapshot.security_groups();
                let found = all.filter(|group| {
                    group.id.as_str() == name || group.display_name() == Some(name.as_str())
                });
                let found: BTreeSet<_> = found.map(|group| group.id.clone()).collect();
                if found.is_empty() {
                    return Err(format!("no security group is called `{name}`"));
                }
                Ok(found)
            }
        }
    }
}

fn of_nodes(world: &World<'_>) -> Result<BTreeSet<SecurityGroupId>, String> {
    let nodes = cluster_members(world.snapshot, &Roster::default()).nodes;
    let nodes = Members::of(world.snapshot, own_addresses(world.snapshot, &nodes)).interfaces();
    let mut found: BTreeSet<_> = nodes.into_iter().flat_map(|it| it.groups.clone()).collect();
    for kind in [GroupWord::Cluster, GroupWord::Additional] {
        let others = kind.groups(world)?;
        found.retain(|group| !others.contains(group));
    }
    Ok(found)
}

/// Names of groups with their ids, separated by commas; raw text.
pub(super) fn listed<'g>(
    snapshot: &Snapshot,
    groups: impl IntoIterator<Item = &'g SecurityGroupId>,
) -> String {
    let names = groups.into_iter().map(|id| {
        let name = snapshot.security_group(id);
        match name.and_then(|group| group.display_name()) {
            Some(name) => format!("{name} ({id})"),
            None => id.to_string(),
        }
    });
    let names: Vec<String> = names.collect();
    match names.as_slice() {
        [] => "no group".to_owned(),
        _ => names.join(", "),
    }
}
