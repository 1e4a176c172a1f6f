//! The settings of the VPC CNI that shape traffic on a node, from the `aws-node` DaemonSet (E.1, E.4).

use ipnet::Ipv4Net;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::describe::optional;
use crate::error::LabError;

/// Whether traffic of branch interfaces is kept off the host's own wiring (E.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BranchMode {
    /// Everything goes over the branch interface.
    Strict,
    /// Traffic between pods of one node stays on the node; traffic out of the VPC is translated.
    Standard,
}

/// Whether the node translates the source of what its pods send out of the VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SourceTranslation {
    /// It does, except towards these ranges (beside those of the VPC).
    Node {
        /// `AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS`.
        excluded: Vec<Ipv4Net>,
    },
    /// It does not: something outside the node does it, or nothing.
    External,
}

/// Settings of the CNI; an absent DaemonSet or variable has the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cni {
    pub(crate) branch_mode: BranchMode,
    pub(crate) translation: SourceTranslation,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DaemonSet {
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    template: Template,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Template {
    spec: PodSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    env: Vec<Variable>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Variable {
    name: String,
    value: Option<String>,
}

impl Cni {
    /// Reads the answer `aws-node`.
    ///
    /// # Errors
    /// [`LabError::Decode`] if it is not a DaemonSet.
    pub(crate) fn read(snapshot: &Map<String, Value>) -> Result<Self, LabError> {
        let set = optional::<DaemonSet>(snapshot, "aws-node")?.unwrap_or_default();
        let containers = set.spec.template.spec.containers;
        let setting = |name: &str| {
            let container = containers
                .iter()
                .find(|container| container.name == "aws-node")?;
            container
                .env
                .iter()
                .find(|variable| variable.name == name)?
                .value
                .clone()
        };
        let external = setting("AWS_VPC_K8S_CNI_EXTERNALSNAT").is_some_and(|value| is_true(&value));
        let excluded = setting("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS").unwrap_or_default();
        let mode = setting("POD_SECURITY_GROUP_ENFORCING_MODE");
        Ok(Self {
            branch_mode: if mode.as_deref() == Some("standard") {
                BranchMode::Standard
            } else {
                BranchMode::Strict
            },
            translation: if external {
                SourceTranslation::External
            } else {
                SourceTranslation::Node {
                    excluded: excluded
                        .split(',')
                        .filter_map(|cidr| cidr.trim().parse().ok())
                        .collect(),
                }
            },
        })
    }
}

/// Reads a flag as the CNI does, with Go's `ParseBool`.
fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "TRUE" | "true" | "True")
}
