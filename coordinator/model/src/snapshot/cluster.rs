//! The EKS cluster and its network settings (D.7, K.1 "CNI settings").

use ipnet::IpNet;

use crate::id::{SecurityGroupId, SubnetId, VpcId};

/// The EKS cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Life cycle word of the API, empty where absent.
    pub status: String,
    /// Kubernetes version, empty where absent.
    pub version: String,
    /// URL of its API server, empty where absent; see [`Cluster::endpoint`].
    pub endpoint_url: String,
    /// Its VPC.
    pub vpc: Option<VpcId>,
    /// Subnets in which control-plane interfaces may be.
    pub subnets: Vec<SubnetId>,
    /// The cluster security group (D.2).
    pub cluster_group: Option<SecurityGroupId>,
    /// Additional security groups of the control-plane interfaces (D.3).
    pub additional_groups: Vec<SecurityGroupId>,
}

impl Cluster {
    /// Host name of the API server, where the answer says it.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        let name = self.endpoint_url.strip_prefix("https://")?;
        Some(name.trim_end_matches('/')).filter(|name| !name.is_empty())
    }
}

/// A Fargate profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FargateProfile {
    /// Its name.
    pub name: String,
    /// Subnets in which its pods run.
    pub subnets: Vec<SubnetId>,
}

/// Settings of the VPC CNI that change what the model says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniSettings {
    /// Who translates the source of pod traffic that leaves the VPC (`AWS_VPC_K8S_CNI_EXTERNALSNAT`).
    pub snat: Snat,
    /// Further destinations without SNAT, as far as they were understood: if not all were, `snat` is unread
    /// (`AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS`).
    pub snat_excluded: Vec<IpNet>,
    /// How branch interfaces are enforced (`POD_SECURITY_GROUP_ENFORCING_MODE`).
    pub enforcing_mode: EnforcingMode,
}

impl Default for CniSettings {
    /// The CNI's own defaults \[CNI-R\].
    fn default() -> Self {
        Self {
            snat: Snat::OnNode,
            snat_excluded: Vec::new(),
            enforcing_mode: EnforcingMode::Strict,
        }
    }
}

/// Who translates the source of pod traffic that leaves the VPC (E.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snat {
    /// The node, to the primary address of its primary interface.
    OnNode,
    /// Something outside: the pod's address is kept.
    External,
    /// The setting is there in a form that is not understood.
    Unread,
}

/// How branch interfaces are enforced (E.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnforcingMode {
    /// All traffic of the pod crosses its branch interface.
    Strict,
    /// Traffic inside the node does not, and SNAT applies.
    Standard,
    /// The setting is there in a form that is not understood.
    Unread,
}
