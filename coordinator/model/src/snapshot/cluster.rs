//! The EKS cluster and its network settings (D.7, K.1 "CNI settings").

use std::collections::BTreeMap;
use std::net::IpAddr;

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
    /// Certificate of its CA as the answer gives it (PEM in base64), empty where absent. Public.
    pub certificate_authority: String,
    /// Its VPC.
    pub vpc: Option<VpcId>,
    /// Subnets in which control-plane interfaces may be.
    pub subnets: Vec<SubnetId>,
    /// The cluster security group (D.2).
    pub cluster_group: Option<SecurityGroupId>,
    /// Additional security groups of the control-plane interfaces (D.3).
    pub additional_groups: Vec<SecurityGroupId>,
    /// Family of the addresses of pods.
    pub ip_family: IpFamily,
    /// Ranges of the addresses of services, outside the VPC; empty where the answer names none.
    pub service_networks: Vec<IpNet>,
}

impl Cluster {
    /// Host name of the API server, where the answer says it.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        let name = self.endpoint_url.strip_prefix("https://")?;
        Some(name.trim_end_matches('/')).filter(|name| !name.is_empty())
    }
}

/// Family of the addresses of pods (`kubernetesNetworkConfig.ipFamily`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IpFamily {
    /// IPv4; also where the answer does not say.
    #[default]
    V4,
    /// IPv6.
    V6,
}

impl IpFamily {
    /// Returns the family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A Fargate profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FargateProfile {
    /// Its name.
    pub name: String,
    /// Subnets in which its pods run.
    pub subnets: Vec<SubnetId>,
    /// Which pods it takes: those that one of these selects. Unread ones are left out and noted.
    pub selectors: Vec<FargateSelector>,
}

impl FargateProfile {
    /// Returns whether the profile takes a pod of `namespace` with `labels`.
    #[must_use]
    pub fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.selectors
            .iter()
            .any(|selector| selector.selects(namespace, labels))
    }
}

/// Which pods a Fargate profile takes: those of a namespace that have all its labels \[EKS User Guide, Fargate profiles\].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FargateSelector {
    /// Namespace, in which `*` stands for any text and `?` for any character.
    pub namespace: String,
    /// Labels with their values, with the same wildcards in both.
    pub labels: BTreeMap<String, String>,
}

impl FargateSelector {
    fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: (&String, &String)| {
            labels
                .iter()
                .any(|(key, value)| fits(wanted.0, key) && fits(wanted.1, value))
        };
        fits(&self.namespace, namespace) && self.labels.iter().all(has)
    }
}

/// Whether `text` is as `pattern` says, in which `*` stands for any text and `?` for any character.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let (mut wanted, mut found) = (pattern.chars(), text.chars());
    // What follows the last `*`, and where it was last tried: shorter stretches before longer ones.
    let mut retry = None;
    loop {
        match (wanted.clone().next(), found.clone().next()) {
            (Some('*'), _) => {
                wanted.next();
                retry = Some((wanted.clone(), found.clone()));
            }
            (Some(one), Some(other)) if one == '?' || one == other => {
                wanted.next();
                found.next();
            }
            (None, None) => return true,
            (Some(_) | None, Some(_) | None) => {
                let Some((after, start)) = retry.as_mut() else {
                    return false;
                };
                if start.next().is_none() {
                    return false;
                }
                (wanted, found) = (after.clone(), start.clone());
            }
        }
    }
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
    /// What holds for a pod that no policy selects (`NETWORK_POLICY_ENFORCING_MODE`).
    pub policy_mode: PolicyMode,
    /// Which source ports pods have after SNAT (`AWS_VPC_K8S_CNI_RANDOMIZESNAT`).
    pub snat_ports: SnatPorts,
    /// Whether pods of an IPv6 cluster reach IPv4 (`ENABLE_V4_EGRESS`).
    pub v4_egress: OtherFamily,
    /// Whether pods of an IPv4 cluster reach IPv6 (`ENABLE_V6_EGRESS`).
    pub v6_egress: OtherFamily,
}

impl Default for CniSettings {
    /// The CNI's own defaults \[CNI-R\].
    fn default() -> Self {
        Self {
            snat: Snat::OnNode,
            snat_excluded: Vec::new(),
            enforcing_mode: EnforcingMode::Strict,
            policy_mode: PolicyMode::Standard,
            snat_ports: SnatPorts::Random,
            v4_egress: OtherFamily::Translated,
            v6_egress: OtherFamily::Absent,
        }
    }
}

/// What the VPC CNI's agent does with a pod that no policy selects, or whose policies it does not know yet (E.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyMode {
    /// It lets everything pass.
    Standard,
    /// It drops everything.
    Strict,
    /// The setting is there in a form that is not understood: it may be strict.
    Unread,
}

/// Which source ports pods have after SNAT (K.1 "SNAT ports").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnatPorts {
    /// Any unprivileged one, also where the setting is not understood.
    Random,
    /// Their own.
    Kept,
}

/// Whether pods reach the address family that is not the cluster's (K.1 "Pods of the other family").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherFamily {
    /// They do: the node translates them to the address of its primary interface.
    Translated,
    /// They have no address of that family.
    Absent,
    /// The setting is there in a form that is not understood.
    Unread,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    #[test]
    fn a_fargate_profile_takes_pods_of_its_namespace_that_have_all_its_labels() {
        let profile = FargateProfile {
            name: "p".to_owned(),
            subnets: Vec::new(),
            selectors: vec![
                FargateSelector {
                    namespace: "apps".to_owned(),
                    labels: labels(&[("tier", "web"), ("zone", "a")]),
                },
                FargateSelector {
                    namespace: "jobs-*".to_owned(),
                    labels: labels(&[("size-?", "*")]),
                },
            ],
        };
        let both = labels(&[("tier", "web"), ("zone", "a"), ("more", "x")]);
        assert!(profile.selects("apps", &both));
        assert!(!profile.selects("apps", &labels(&[("tier", "web")])));
        assert!(!profile.selects("other", &both));
        assert!(profile.selects("jobs-night", &labels(&[("size-s", "")])));
        assert!(!profile.selects("jobs-night", &labels(&[("size-xl", "")])));
    }

    #[test]
    fn wildcards_stand_for_any_text_and_for_one_character() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("a*c", "abbc"),
            ("a*bc*", "abbbc"),
            ("?*", "x"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("?", ""),
            ("a*c", "abb"),
            ("a?c", "ac"),
            ("a", "A"),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
        // Each of the stars could be tried at each place: this must not take for ever.
        assert!(!fits(&"a*".repeat(40), &"a".repeat(39)));
        assert!(!fits(&format!("{}b", "*a".repeat(30)), &"a".repeat(2000)));
    }
}
