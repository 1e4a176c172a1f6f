//! Worlds: the small YAML files from which a lab is built, and what a run in it must end with.
//!
//! A [`World`] names VPCs, subnets, security groups, hosts and pods in a page of text. It expands to a *snapshot* (the
//! answers of the AWS CLI and `kubectl` that describe it) and to a [`LabPlan`](crate::LabPlan). It may carry *drift*:
//! the wire then enforces something else than the snapshot says. Worlds know nothing of the model: what a run must
//! end with ([`Expect`]) is written by hand.
//!
//! * [`notation`]: rules, entries and route targets in one line each
//! * `network`, `host`, `expect`: the nouns of the file
//! * `check`: what the file must keep to; `expand`: file to snapshot and plan; `builtin`: the worlds that come along
//!
//! ```
//! let world = reachproof_lab::world::World::builtin("default")?;
//! let expanded = world.expand()?;
//! assert!(expanded.plan.snapshot.contains_key("describe-security-groups"));
//! # Ok::<(), reachproof_lab::world::WorldError>(())
//! ```

mod builtin;
mod check;
mod error;
mod expand;
mod expect;
mod host;
mod network;
pub mod notation;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use builtin::{BUILTIN, Builtin};
pub use error::WorldError;
pub use expand::{AgentPlace, Expanded};
pub use expect::{Expect, ExpectedFinding, ExpectedKind, Family, InvalidExpectation};
pub use host::{
    AgentPresence, App, Backend, Branch, Cluster, ClusterEndpoint, Cni, ControlPlaneInterface,
    EnforcingMode, Fargate, Host, HostRole, Interface, InterfaceKind, IpFamily, NodeGroup, Pod,
};
pub use network::{Acl, Drift, Peering, RouteTable, SecurityGroup, Subnet, Vpc};

/// A world file. Unknown keys are errors that name the line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct World {
    /// One line that says what the world shows.
    pub about: String,
    /// What to look at, and why it is so: some lines for people.
    #[serde(default)]
    pub lesson: String,
    /// VPCs by name.
    pub vpcs: BTreeMap<String, Vpc>,
    /// Peerings by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peerings: BTreeMap<String, Peering>,
    /// Customer-managed prefix lists by name, each of one family.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prefix_lists: BTreeMap<String, Vec<IpNet>>,
    /// Security groups by name, of all VPCs.
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// Network ACLs by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acls: BTreeMap<String, Acl>,
    /// Route tables by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub route_tables: BTreeMap<String, RouteTable>,
    /// The cluster.
    pub cluster: Cluster,
    /// Settings of the VPC CNI.
    #[serde(default)]
    pub cni: Cni,
    /// Instances by name.
    #[serde(default)]
    pub hosts: BTreeMap<String, Host>,
    /// Fargate pods by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fargate: BTreeMap<String, Fargate>,
    /// Name of the host at which the coordinator listens, so that agents reach it through the VPC. Absent: agents have
    /// a management link of their own, so that a broken world can still report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<String>,
    /// What the wire enforces instead; absent: what the snapshot says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// What a run must end with.
    pub expect: Expect,
    /// What a run must end with in which API servers are asked, too; absent: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_with_api_servers: Option<Expect>,
}

impl World {
    /// Reads a world file and checks it: every name leads somewhere, every address is where it says.
    ///
    /// `name` is what errors call the file.
    ///
    /// # Errors
    /// [`WorldError::Yaml`] with line and column for what is not YAML, not a known key or not in the notation; the
    /// other variants for a file that contradicts itself.
    pub fn parse(name: &str, text: &str) -> Result<Self, WorldError> {
        let world: World = yaml_serde::from_str(text).map_err(|source| WorldError::Yaml {
            file: name.to_owned(),
            source,
        })?;
        world.check()?;
        world.expand()?;
        Ok(world)
    }

    /// Reads one of the worlds that come along.
    ///
    /// # Errors
    /// [`WorldError::NoSuchWorld`] names those that there are.
    pub fn builtin(name: &str) -> Result<Self, WorldError> {
        let found = BUILTIN.iter().find(|world| world.name == name);
        let builtin = found.ok_or_else(|| WorldError::NoSuchWorld {
            name: name.to_owned(),
            known: BUILTIN
                .iter()
                .map(|world| world.name)
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        Self::parse(builtin.name, builtin.text)
    }

    /// Writes the world as a world file that reads back as the same world.
    ///
    /// # Errors
    /// [`WorldError::Yaml`] if the writer fails.
    pub fn to_yaml(&self) -> Result<String, WorldError> {
        yaml_serde::to_string(self).map_err(|source| WorldError::Yaml {
            file: "world".to_owned(),
            source,
        })
    }
}
