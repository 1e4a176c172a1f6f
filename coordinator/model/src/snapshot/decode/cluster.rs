//! The cluster, its Fargate profiles and the settings of the VPC CNI.

use ipnet::IpNet;

use super::kubernetes::text_map;
use super::{Decoder, Item};
use crate::describe::{Fault, Node};
use crate::id::{SecurityGroupId, SubnetId, VpcId};
use crate::net::{InvalidNetwork, network_v4, network_v6};
use crate::snapshot::{
    Cluster, CniSettings, Consequence, EnforcingMode, FargateProfile, FargateSelector, GapKind,
    IpFamily, OtherFamily, PolicyMode, Snat, SnatPorts,
};

/// Reads a network of one family.
type ParseNetwork = fn(&str) -> Result<IpNet, InvalidNetwork>;

/// Settings whose absence is noted, with their defaults \[CNI-R\].
const DEFAULTS: [(&str, &str); 2] = [
    ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "false"),
    ("POD_SECURITY_GROUP_ENFORCING_MODE", "strict"),
];
/// Variable with the destinations that are never translated \[CNI-R\].
const EXCLUDED: &str = "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS";
/// Spellings of Go's `strconv.ParseBool` for true.
const TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];
/// Spellings of Go's `strconv.ParseBool` for false.
const FALSE: [&str; 6] = ["0", "f", "F", "FALSE", "false", "False"];

impl<'a> Decoder<'a> {
    pub(super) fn cluster(&mut self) {
        let rows = self
            .described
            .family("describe-cluster")
            .filter_map(|file| file.field("cluster"))
            .collect();
        // Invariant: there is at most one name, several were refused before.
        let (items, _) = self.things(rows, "name", Consequence::NoCluster);
        let node = items.first().and_then(|item| item.descriptions.first());
        self.snapshot.cluster = node.and_then(|node| self.the_cluster(node));
        let vpc = self
            .snapshot
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.vpc.clone());
        self.snapshot.cluster_vpc = vpc.map(|id| self.vpc_key(&id));
        self.fargate_profiles();
        self.cni();
    }

    fn the_cluster(&mut self, node: &Node<'a>) -> Option<Cluster> {
        let name = self.read(node.required("name"), Consequence::NoCluster)?;
        let network = node.field("resourcesVpcConfig");
        if network.is_none() {
            self.note(node.missing("resourcesVpcConfig"), Consequence::NoCluster);
        }
        let vpc = network
            .as_ref()
            .and_then(|network| self.read(network.required("vpcId"), Consequence::NoCluster));
        let cluster_group = network
            .as_ref()
            .and_then(|network| self.plain_text(network, "clusterSecurityGroupId"));
        Some(Cluster {
            name: name.to_owned(),
            status: self
                .plain_text(node, "status")
                .unwrap_or_default()
                .to_owned(),
            version: self
                .plain_text(node, "version")
                .unwrap_or_default()
                .to_owned(),
            endpoint_url: self
                .plain_text(node, "endpoint")
                .unwrap_or_default()
                .to_owned(),
            certificate_authority: self.certificate_authority(node),
            vpc: vpc.map(VpcId::from),
            subnets: self
                .names(network.as_ref(), "subnetIds")
                .into_iter()
                .map(SubnetId::from)
                .collect(),
            cluster_group: cluster_group.map(SecurityGroupId::from),
            additional_groups: self
                .names(network.as_ref(), "securityGroupIds")
                .into_iter()
                .map(SecurityGroupId::from)
                .collect(),
            ip_family: self.ip_family(node),
            service_networks: self.service_networks(node),
        })
    }

    /// The CA, empty where the answer names none: then no API server can prove who it is.
    fn certificate_authority(&mut self, cluster: &Node<'a>) -> String {
        let authority = cluster.field("certificateAuthority");
        let data = authority.and_then(|authority| self.plain_text(&authority, "data"));
        data.unwrap_or_default().to_owned()
    }

    /// The family of pods' addresses.
    fn ip_family(&mut self, cluster: &Node<'a>) -> IpFamily {
        let network = cluster.field("kubernetesNetworkConfig");
        match network.and_then(|network| self.plain_text(&network, "ipFamily")) {
            Some("ipv6") => IpFamily::V6,
            Some(_) | None => IpFamily::V4,
        }
    }

    /// The ranges of services, of both families; an unreadable one is a gap without consequence for a prediction.
    fn service_networks(&mut self, cluster: &Node<'a>) -> Vec<IpNet> {
        let Some(network) = cluster.field("kubernetesNetworkConfig") else {
            return Vec::new();
        };
        let parsers: [(&str, ParseNetwork); 2] = [
            ("serviceIpv4Cidr", network_v4),
            ("serviceIpv6Cidr", network_v6),
        ];
        let mut networks = Vec::new();
        for (field, parse) in parsers {
            let read = network.parsed(field, "a network", parse);
            networks.extend(self.read(read, Consequence::None).flatten());
        }
        networks
    }

    /// The texts of a list; unreadable ones are gaps without consequence.
    pub(super) fn names(&mut self, node: Option<&Node<'a>>, list: &str) -> Vec<&'a str> {
        let Some(node) = node else {
            return Vec::new();
        };
        let items = self
            .read(node.list(list), Consequence::None)
            .unwrap_or_default();
        items
            .iter()
            .filter_map(|item| self.read(item.as_text(), Consequence::None))
            .collect()
    }

    fn fargate_profiles(&mut self) {
        let rows = self
            .described
            .family("describe-fargate-profile")
            .filter_map(|file| file.field("fargateProfile"))
            .collect();
        let (items, _) = self.things(rows, "fargateProfileName", Consequence::None);
        for item in items {
            let profile = self.fargate_profile(&item);
            self.snapshot.fargate_profiles.push(profile);
        }
    }

    fn fargate_profile(&mut self, item: &Item<'a>) -> FargateProfile {
        let (mut subnets, mut selectors) = (Vec::new(), Vec::new());
        for node in &item.descriptions {
            subnets.extend(
                self.names(Some(node), "subnets")
                    .into_iter()
                    .map(SubnetId::from),
            );
            let items = self.read(node.list("selectors"), Consequence::None);
            for selector in items.unwrap_or_default() {
                selectors.extend(self.read(fargate_selector(&selector), Consequence::None));
            }
        }
        FargateProfile {
            name: item.id.to_owned(),
            subnets,
            selectors,
        }
    }

    /// Settings of container `aws-node` (K.1 "CNI settings"): absent ones are the defaults, unreadable ones unread.
    fn cni(&mut self) {
        for object in self.objects("aws-node") {
            let Some(variables) = self.read(cni_variables(&object), Consequence::CniUnread) else {
                self.snapshot.cni.snat = Snat::Unread;
                self.snapshot.cni.enforcing_mode = EnforcingMode::Unread;
                self.snapshot.cni.policy_mode = PolicyMode::Unread;
                continue;
            };
            let settings = &mut self.snapshot.cni;
            let mut faults = Vec::new();
            let mut excluded_is_unread = false;
            let defaults = DEFAULTS
                .iter()
                .filter(|(wanted, _)| variables.iter().all(|(name, _, _)| name != wanted));
            for (name, value) in defaults {
                let value = format!("{name}={value}");
                faults.push((object.fault(GapKind::Assumed { value }), Consequence::None));
            }
            for (name, variable, value) in variables {
                let is_understood = match name {
                    "AWS_VPC_K8S_CNI_EXTERNALSNAT" => set_snat(settings, value),
                    EXCLUDED => set_excluded(settings, value),
                    "POD_SECURITY_GROUP_ENFORCING_MODE" => set_mode(settings, value),
                    "NETWORK_POLICY_ENFORCING_MODE" => set_policy_mode(settings, value),
                    "AWS_VPC_K8S_CNI_RANDOMIZESNAT" => {
                        set_snat_ports(settings, value);
                        true
                    }
                    "ENABLE_V4_EGRESS" => {
                        settings.v4_egress = other_family(value, OtherFamily::Translated);
                        settings.v4_egress != OtherFamily::Unread
                    }
                    "ENABLE_V6_EGRESS" => {
                        settings.v6_egress = other_family(value, OtherFamily::Absent);
                        settings.v6_egress != OtherFamily::Unread
                    }
                    _ => continue,
                };
                excluded_is_unread |= name == EXCLUDED && !is_understood;
                if !is_understood {
                    let fault = variable.malformed("a value that the VPC CNI understands");
                    faults.push((fault, Consequence::CniUnread));
                }
            }
            if excluded_is_unread && settings.snat == Snat::OnNode {
                settings.snat = Snat::Unread;
            }
            for (fault, consequence) in faults {
                self.note(fault, consequence);
            }
        }
    }
}

/// A variable of the CNI: its name, where it is, and its value; no value if it comes from elsewhere.
type Variable<'a> = (&'a str, Node<'a>, Option<&'a str>);

/// One selector of a Fargate profile.
fn fargate_selector(node: &Node<'_>) -> Result<FargateSelector, Fault> {
    Ok(FargateSelector {
        namespace: node.required("namespace")?.to_owned(),
        labels: text_map(node, "labels")?,
    })
}

fn cni_variables<'a>(object: &Node<'a>) -> Result<Vec<Variable<'a>>, Fault> {
    let spec = object
        .field("spec")
        .and_then(|spec| spec.field("template"))
        .and_then(|template| template.field("spec"))
        .ok_or_else(|| object.missing("spec.template.spec"))?;
    let mut found = None;
    for container in spec.list("containers")? {
        if container.required("name")? == "aws-node" {
            found = Some(container);
        }
    }
    found
        .ok_or_else(|| spec.missing("containers"))?
        .list("env")?
        .into_iter()
        .map(|variable| {
            let name = variable.required("name")?;
            let value = match variable.field("valueFrom") {
                Some(_) => None,
                // Kubernetes leaves an empty value out.
                None => Some(variable.text("value")?.unwrap_or_default()),
            };
            Ok((name, variable, value))
        })
        .collect()
}

/// Sets who translates; returns whether the value was understood. An empty one is the default.
fn set_snat(settings: &mut CniSettings, value: Option<&str>) -> bool {
    settings.snat = match value {
        Some(word) if TRUE.contains(&word) => Snat::External,
        Some(word) if FALSE.contains(&word) || word.is_empty() => Snat::OnNode,
        Some(_) | None => Snat::Unread,
    };
    settings.snat != Snat::Unread
}

/// Sets the excluded networks; returns whether all of them were understood.
fn set_excluded(settings: &mut CniSettings, value: Option<&str>) -> bool {
    let words = value.unwrap_or_default().split(',').map(str::trim);
    let networks: Result<Vec<_>, _> = words
        .filter(|word| !word.is_empty())
        .map(network_v4)
        .collect();
    match (value, networks) {
        (Some(_), Ok(networks)) => {
            settings.snat_excluded = networks;
            true
        }
        (Some(_), Err(_)) | (None, _) => false,
    }
}

/// Sets how branch interfaces are enforced; returns whether the value was understood. An empty one is the default.
fn set_mode(settings: &mut CniSettings, value: Option<&str>) -> bool {
    let mode = match value {
        Some("strict" | "") => EnforcingMode::Strict,
        Some("standard") => EnforcingMode::Standard,
        Some(_) | None => EnforcingMode::Unread,
    };
    settings.enforcing_mode = mode;
    mode != EnforcingMode::Unread
}

/// Sets what holds for pods without policies; returns whether the value was understood. An empty one is the default.
fn set_policy_mode(settings: &mut CniSettings, value: Option<&str>) -> bool {
    let mode = match value {
        Some("standard" | "") => PolicyMode::Standard,
        Some("strict") => PolicyMode::Strict,
        Some(_) | None => PolicyMode::Unread,
    };
    settings.policy_mode = mode;
    mode != PolicyMode::Unread
}

/// Sets the ports of translated connections: only `none` keeps them (K.1 "SNAT ports").
fn set_snat_ports(settings: &mut CniSettings, value: Option<&str>) {
    settings.snat_ports = match value {
        Some("none") => SnatPorts::Kept,
        Some(_) | None => SnatPorts::Random,
    };
}

/// Whether pods reach the other family; an empty value is the default.
fn other_family(value: Option<&str>, default: OtherFamily) -> OtherFamily {
    match value {
        Some(word) if TRUE.contains(&word) => OtherFamily::Translated,
        Some(word) if FALSE.contains(&word) => OtherFamily::Absent,
        Some("") => default,
        Some(_) | None => OtherFamily::Unread,
    }
}

/// Keeps the defaults next to the code that replaces them.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cni_translates_on_the_node_and_is_strict_by_default() {
        let settings = CniSettings::default();
        assert_eq!(settings.snat, Snat::OnNode);
        assert_eq!(settings.enforcing_mode, EnforcingMode::Strict);
    }
}
