//! The cluster, its Fargate profiles and the settings of the VPC CNI.

use super::{Decoder, Item};
use crate::describe::Node;
use crate::id::{SecurityGroupId, SubnetId, VpcId};
use crate::net::network_v4;
use crate::snapshot::{Cluster, Consequence, EnforcingMode, FargateProfile, GapKind, Snat};

/// Spellings of Go's `strconv.ParseBool` for true.
const TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];
/// Spellings of Go's `strconv.ParseBool` for false.
const FALSE: [&str; 6] = ["0", "f", "F", "FALSE", "false", "False"];

impl<'a> Decoder<'a> {
    pub(super) fn cluster(&mut self) {
        if let Some(answer) = self.described.get("describe-cluster") {
            let file = Node::file("describe-cluster", answer);
            self.snapshot.cluster = file
                .field("cluster")
                .and_then(|node| self.the_cluster(&node));
        }
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
        })
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
        let mut subnets = Vec::new();
        for node in &item.descriptions {
            subnets.extend(
                self.names(Some(node), "subnets")
                    .into_iter()
                    .map(SubnetId::from),
            );
        }
        FargateProfile {
            name: item.id.to_owned(),
            subnets,
        }
    }

    /// Settings of container `aws-node` (K.1 "CNI settings"); what is absent is assumed to be the default.
    fn cni(&mut self) {
        for object in self.objects("aws-node") {
            for variable in self.cni_variables(&object) {
                let name = self.plain_text(&variable, "name").unwrap_or_default();
                match name {
                    "AWS_VPC_K8S_CNI_EXTERNALSNAT" => self.external_snat(&variable),
                    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS" => self.excluded_cidrs(&variable),
                    "POD_SECURITY_GROUP_ENFORCING_MODE" => self.enforcing_mode(&variable),
                    _ => {}
                }
            }
        }
    }

    fn cni_variables(&mut self, object: &Node<'a>) -> Vec<Node<'a>> {
        let spec = object
            .field("spec")
            .and_then(|spec| spec.field("template"))
            .and_then(|template| template.field("spec"));
        let Some(spec) = spec else {
            self.note(
                object.missing("spec.template.spec"),
                Consequence::CniAssumed,
            );
            return Vec::new();
        };
        let containers = self.read(spec.list("containers"), Consequence::CniAssumed);
        let mut variables = Vec::new();
        for container in containers.unwrap_or_default() {
            if self.plain_text(&container, "name") == Some("aws-node") {
                let env = self.read(container.list("env"), Consequence::CniAssumed);
                variables.extend(env.unwrap_or_default());
            }
        }
        variables
    }

    /// Value of a variable; one that comes from elsewhere is a gap.
    fn variable(&mut self, variable: &Node<'a>) -> Option<&'a str> {
        self.read(variable.required("value"), Consequence::CniAssumed)
    }

    fn external_snat(&mut self, variable: &Node<'a>) {
        match self.variable(variable) {
            Some(word) if TRUE.contains(&word) => self.snapshot.cni.snat = Snat::External,
            Some(word) if FALSE.contains(&word) => self.snapshot.cni.snat = Snat::OnNode,
            Some(word) => self.unknown_setting(variable, word),
            None => {}
        }
    }

    fn excluded_cidrs(&mut self, variable: &Node<'a>) {
        let text = self.variable(variable).unwrap_or_default();
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match network_v4(word) {
                Ok(network) => self.snapshot.cni.snat_excluded.push(network),
                Err(_) => self.unknown_setting(variable, word),
            }
        }
    }

    fn enforcing_mode(&mut self, variable: &Node<'a>) {
        match self.variable(variable) {
            Some("strict") => self.snapshot.cni.enforcing_mode = EnforcingMode::Strict,
            Some("standard") => self.snapshot.cni.enforcing_mode = EnforcingMode::Standard,
            Some(word) => self.unknown_setting(variable, word),
            None => {}
        }
    }

    fn unknown_setting(&mut self, variable: &Node<'a>, word: &str) {
        let kind = GapKind::UnknownWord {
            found: word.to_owned(),
        };
        self.note(variable.fault(kind), Consequence::CniAssumed);
    }
}

/// Keeps the defaults next to the code that replaces them.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::CniSettings;

    #[test]
    fn the_cni_translates_on_the_node_and_is_strict_by_default() {
        let settings = CniSettings::default();
        assert_eq!(settings.snat, Snat::OnNode);
        assert_eq!(settings.enforcing_mode, EnforcingMode::Strict);
    }
}
