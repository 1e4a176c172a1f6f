//! The cluster, its managed node groups and Fargate profiles; keys in camelCase.

use std::collections::HashMap;

use aws_sdk_eks::types::{
    Cluster, ClusterHealth, ComputeConfigResponse, FargateProfile, KubernetesNetworkConfigResponse,
    Nodegroup, NodegroupResources, OutpostConfigResponse, RemoteAccessConfig,
    RemoteNetworkConfigResponse, VpcConfigResponse,
};
use serde_json::{Map, Value};

use crate::shape::Shape;

/// As `eks describe-cluster` prints the value of `cluster`: the fields that SEMANTICS D.7 names.
///
/// `identity`, `logging` and the like are left out: they say nothing about the network and a snapshot may be attached to a
/// ticket. `certificateAuthority` is kept: what control-plane interfaces show is judged by it, and every client has it.
pub(crate) fn cluster(cluster: &Cluster) -> Value {
    Shape::default()
        .text("name", &cluster.name)
        .text("arn", &cluster.arn)
        .text("version", &cluster.version)
        .text("platformVersion", &cluster.platform_version)
        .word(
            "status",
            cluster.status.as_ref().map(|status| status.as_str()),
        )
        .text("endpoint", &cluster.endpoint)
        .object(
            "certificateAuthority",
            &cluster.certificate_authority,
            |authority| Shape::default().text("data", &authority.data).into(),
        )
        .object(
            "resourcesVpcConfig",
            &cluster.resources_vpc_config,
            vpc_config,
        )
        .object(
            "kubernetesNetworkConfig",
            &cluster.kubernetes_network_config,
            network_config,
        )
        .object(
            "remoteNetworkConfig",
            &cluster.remote_network_config,
            remote_network_config,
        )
        .object("computeConfig", &cluster.compute_config, compute_config)
        .object(
            "controlPlaneScalingConfig",
            &cluster.control_plane_scaling_config,
            |scaling| {
                Shape::default()
                    .word("tier", scaling.tier.as_ref().map(|tier| tier.as_str()))
                    .into()
            },
        )
        .object("health", &cluster.health, health)
        .object("outpostConfig", &cluster.outpost_config, outpost_config)
        .object("tags", &cluster.tags, texts_by_key)
        .into()
}

fn vpc_config(config: &VpcConfigResponse) -> Value {
    let egress = config.control_plane_egress_mode.as_ref();
    Shape::default()
        .texts("subnetIds", &config.subnet_ids)
        .texts("securityGroupIds", &config.security_group_ids)
        .text("clusterSecurityGroupId", &config.cluster_security_group_id)
        .text("vpcId", &config.vpc_id)
        .boolean("endpointPublicAccess", Some(config.endpoint_public_access))
        .boolean(
            "endpointPrivateAccess",
            Some(config.endpoint_private_access),
        )
        .texts("publicAccessCidrs", &config.public_access_cidrs)
        .word("controlPlaneEgressMode", egress.map(|mode| mode.as_str()))
        .into()
}

fn network_config(config: &KubernetesNetworkConfigResponse) -> Value {
    Shape::default()
        .text("serviceIpv4Cidr", &config.service_ipv4_cidr)
        .text("serviceIpv6Cidr", &config.service_ipv6_cidr)
        .word(
            "ipFamily",
            config.ip_family.as_ref().map(|family| family.as_str()),
        )
        .object(
            "elasticLoadBalancing",
            &config.elastic_load_balancing,
            |balancing| {
                Shape::default()
                    .boolean("enabled", balancing.enabled)
                    .into()
            },
        )
        .into()
}

fn remote_network_config(config: &RemoteNetworkConfigResponse) -> Value {
    Shape::default()
        .list(
            "remoteNodeNetworks",
            &config.remote_node_networks,
            |network| Shape::default().texts("cidrs", &network.cidrs).into(),
        )
        .list(
            "remotePodNetworks",
            &config.remote_pod_networks,
            |network| Shape::default().texts("cidrs", &network.cidrs).into(),
        )
        .into()
}

fn compute_config(config: &ComputeConfigResponse) -> Value {
    Shape::default()
        .boolean("enabled", config.enabled)
        .texts("nodePools", &config.node_pools)
        .text("nodeRoleArn", &config.node_role_arn)
        .into()
}

fn health(health: &ClusterHealth) -> Value {
    Shape::default()
        .list("issues", &health.issues, |issue| {
            Shape::default()
                .word("code", issue.code.as_ref().map(|code| code.as_str()))
                .text("message", &issue.message)
                .texts("resourceIds", &issue.resource_ids)
                .into()
        })
        .into()
}

fn outpost_config(config: &OutpostConfigResponse) -> Value {
    Shape::default()
        .texts("outpostArns", &Some(config.outpost_arns.clone()))
        .into()
}

/// As `eks describe-nodegroup` prints the value of `nodegroup`: what says which groups and subnets its nodes get [D.3].
pub(crate) fn nodegroup(group: &Nodegroup) -> Value {
    Shape::default()
        .text("nodegroupName", &group.nodegroup_name)
        .text("nodegroupArn", &group.nodegroup_arn)
        .text("clusterName", &group.cluster_name)
        .text("version", &group.version)
        .text("releaseVersion", &group.release_version)
        .word(
            "status",
            group.status.as_ref().map(|status| status.as_str()),
        )
        .word("amiType", group.ami_type.as_ref().map(|kind| kind.as_str()))
        .texts("subnets", &group.subnets)
        .object("remoteAccess", &group.remote_access, remote_access)
        .object("resources", &group.resources, resources)
        .object("launchTemplate", &group.launch_template, |template| {
            Shape::default()
                .text("name", &template.name)
                .text("version", &template.version)
                .text("id", &template.id)
                .into()
        })
        .object("labels", &group.labels, texts_by_key)
        .object("tags", &group.tags, texts_by_key)
        .into()
}

fn remote_access(access: &RemoteAccessConfig) -> Value {
    Shape::default()
        .texts("sourceSecurityGroups", &access.source_security_groups)
        .into()
}

fn resources(resources: &NodegroupResources) -> Value {
    Shape::default()
        .list(
            "autoScalingGroups",
            &resources.auto_scaling_groups,
            |group| Shape::default().text("name", &group.name).into(),
        )
        .text(
            "remoteAccessSecurityGroup",
            &resources.remote_access_security_group,
        )
        .into()
}

/// As `eks describe-fargate-profile` prints the value of `fargateProfile`.
pub(crate) fn fargate_profile(profile: &FargateProfile) -> Value {
    Shape::default()
        .text("fargateProfileName", &profile.fargate_profile_name)
        .text("fargateProfileArn", &profile.fargate_profile_arn)
        .text("clusterName", &profile.cluster_name)
        .texts("subnets", &profile.subnets)
        .list("selectors", &profile.selectors, |selector| {
            Shape::default()
                .text("namespace", &selector.namespace)
                .object("labels", &selector.labels, texts_by_key)
                .into()
        })
        .word(
            "status",
            profile.status.as_ref().map(|status| status.as_str()),
        )
        .object("tags", &profile.tags, texts_by_key)
        .into()
}

fn texts_by_key(texts: &HashMap<String, String>) -> Value {
    let texts: Map<String, Value> = texts
        .iter()
        .map(|(key, value)| (key.clone(), Value::from(value.clone())))
        .collect();
    Value::Object(texts)
}
