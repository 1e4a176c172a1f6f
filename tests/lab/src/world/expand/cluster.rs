//! What the EKS API says, and the settings of the VPC CNI.

use serde_json::{Map, Value, json};

use super::{ACCOUNT, Expansion, REGION, dangling};
use crate::world::WorldError;
use crate::world::host::{ClusterEndpoint, EnforcingMode, Host, IpFamily, NodeGroup};

/// Kubernetes version of every world.
const VERSION: &str = "1.35";

/// What the host of every endpoint begins with.
const ENDPOINT: &str = "0123456789ABCDEF0123456789ABCDEF";

impl<'w> Expansion<'w> {
    pub(super) fn add_cluster(self, answers: &mut Map<String, Value>) {
        answers.insert(
            "describe-cluster".to_owned(),
            json!({"cluster": self.cluster_answer()}),
        );
        for (name, group) in &self.world.cluster.node_groups {
            answers.insert(
                format!("describe-nodegroup.{name}"),
                json!({"nodegroup": self.node_group_answer(name, group)}),
            );
        }
        if !self.world.fargate.is_empty() {
            answers.insert(
                "describe-fargate-profile.fargate".to_owned(),
                json!({"fargateProfile": self.fargate_profile_answer()}),
            );
        }
        answers.insert("aws-node".to_owned(), self.aws_node());
    }

    fn cluster_answer(self) -> Value {
        let cluster = &self.world.cluster;
        let vpc = cluster
            .subnets
            .first()
            .and_then(|name| self.subnet("", name).ok());
        let (family, services) = match cluster.ip_family {
            IpFamily::Ipv4 => ("ipv4", json!({"serviceIpv4Cidr": "172.20.0.0/16"})),
            IpFamily::Ipv6 => ("ipv6", json!({"serviceIpv6Cidr": "fd12:3456:789a::/108"})),
        };
        let mut network = services;
        super::vpc::set(&mut network, "ipFamily", json!(family));
        let mut answer = json!({
            "name": cluster.name,
            "arn": format!("arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{}", cluster.name),
            "version": VERSION,
            "platformVersion": "eks.7",
            "status": "ACTIVE",
            "resourcesVpcConfig": {
                "subnetIds": self.subnet_ids(),
                "securityGroupIds": ids("sg", &cluster.additional_groups),
                "clusterSecurityGroupId": format!("sg-{}", cluster.security_group),
                "vpcId": vpc.map(|(vpc, _)| format!("vpc-{vpc}")),
                "endpointPublicAccess": true,
                "endpointPrivateAccess": true,
                "publicAccessCidrs": ["0.0.0.0/0"],
            },
            "kubernetesNetworkConfig": network,
        });
        match cluster.endpoint {
            ClusterEndpoint::Described => {
                let url = format!("https://{ENDPOINT}.gr7.{REGION}.eks.amazonaws.com");
                super::vpc::set(&mut answer, "endpoint", json!(url));
            }
            ClusterEndpoint::Withheld => {}
        }
        answer
    }

    fn subnet_ids(self) -> Value {
        ids("subnet", &self.world.cluster.subnets)
    }

    /// A launch template shows as its id; the groups that it names show on the interfaces alone (X1).
    fn node_group_answer(self, name: &str, group: &NodeGroup) -> Value {
        let cluster = &self.world.cluster.name;
        let mut answer = json!({
            "nodegroupName": name,
            "nodegroupArn": format!("arn:aws:eks:{REGION}:{ACCOUNT}:nodegroup/{cluster}/{name}/1"),
            "clusterName": cluster,
            "version": VERSION,
            "status": "ACTIVE",
            "capacityType": "ON_DEMAND",
            "subnets": self.subnet_ids(),
            "resources": {"autoScalingGroups": [{"name": format!("eks-{name}")}]},
        });
        if group.launch_template_groups.is_some() {
            let template = json!({"name": name, "id": format!("lt-{name}"), "version": "1"});
            super::vpc::set(&mut answer, "launchTemplate", template);
        }
        answer
    }

    fn fargate_profile_answer(self) -> Value {
        let cluster = &self.world.cluster.name;
        json!({
            "fargateProfileName": "fargate",
            "fargateProfileArn": format!("arn:aws:eks:{REGION}:{ACCOUNT}:fargateprofile/{cluster}/fargate/1"),
            "clusterName": cluster,
            "status": "ACTIVE",
            "subnets": self.subnet_ids(),
            "selectors": [{"namespace": "fargate"}],
        })
    }

    fn aws_node(self) -> Value {
        let cni = &self.world.cni;
        let mode = match cni.pod_security_groups {
            EnforcingMode::Strict => "strict",
            EnforcingMode::Standard => "standard",
        };
        let excluded: Vec<String> = cni
            .exclude_snat_cidrs
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut environment = vec![
            json!({"name": "AWS_VPC_K8S_CNI_EXTERNALSNAT", "value": cni.external_snat.to_string()}),
            json!({"name": "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "value": cni.custom_networking.to_string()}),
            json!({"name": "ENABLE_POD_ENI", "value": self.has_branches().to_string()}),
            json!({"name": "POD_SECURITY_GROUP_ENFORCING_MODE", "value": mode}),
        ];
        if !excluded.is_empty() {
            let value = excluded.join(",");
            environment.push(json!({"name": "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "value": value}));
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "aws-node", "namespace": "kube-system"},
            "spec": {"template": {"spec": {"containers": [{"name": "aws-node", "env": environment}]}}},
        })
    }

    fn has_branches(self) -> bool {
        self.world
            .hosts
            .values()
            .any(|host| host.pods.values().any(|pod| pod.branch.is_some()))
    }

    /// Node group of a node: the one it names, else the only one.
    pub(super) fn node_group(
        self,
        place: &str,
        host: &Host,
    ) -> Result<(&'w String, &'w NodeGroup), WorldError> {
        let groups = &self.world.cluster.node_groups;
        match &host.node_group {
            Some(name) => groups
                .get_key_value(name)
                .ok_or_else(|| dangling(place, "node group", name)),
            None => match groups.iter().next() {
                Some(only) if groups.len() == 1 => Ok(only),
                Some(_) | None => Err(dangling(place, "node group", "")),
            },
        }
    }
}

fn ids(prefix: &str, names: &[String]) -> Value {
    names
        .iter()
        .map(|name| format!("{prefix}-{name}"))
        .collect()
}
