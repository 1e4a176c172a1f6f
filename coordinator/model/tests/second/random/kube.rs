//! The cluster, the CNI, pods and policies.

use serde_json::{Value, json};

use super::Draft;

impl Draft {
    /// Everything that is not EC2.
    pub fn kubernetes(&mut self) {
        if self.dice.chance(92) {
            let family = if self.dice.chance(10) { "ipv6" } else { "ipv4" };
            let mut network = json!({"ipFamily": family});
            if self.dice.chance(60) {
                // One of the ranges holds addresses of the VPC, which nobody forbids.
                let range = *self
                    .dice
                    .pick(&["172.20.0.0/16", "172.20.0.0/16", "10.0.1.0/28"]);
                network["serviceIpv4Cidr"] = json!(range);
            }
            if self.dice.chance(20) {
                network["serviceIpv6Cidr"] = json!("2001:db8::/108");
            }
            self.file(
                "describe-cluster",
                json!({"cluster": {
                    "name": "demo", "status": "ACTIVE",
                    "resourcesVpcConfig": {
                        "vpcId": "vpc-v", "clusterSecurityGroupId": "sg-v0", "subnetIds": [],
                        "securityGroupIds": [],
                    },
                    "kubernetesNetworkConfig": network,
                }}),
            );
        }
        if self.dice.chance(85) {
            self.cni();
        }
        if self.dice.chance(40) {
            self.pods();
        }
    }

    fn cni(&mut self) {
        let mut env = Vec::new();
        if self.dice.chance(40) {
            let word = *self.dice.pick(&["true", "1", "false", "T", "0"]);
            env.push(json!({"name": "AWS_VPC_K8S_CNI_EXTERNALSNAT", "value": word}));
        }
        if self.dice.chance(25) {
            let cidrs = *self
                .dice
                .pick(&["10.1.0.0/16", "10.2.0.0/16,192.0.2.0/24", ""]);
            env.push(json!({"name": "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "value": cidrs}));
        }
        if self.dice.chance(20) {
            let word = *self.dice.pick(&["none", "prng", "hashrandom", "else"]);
            env.push(json!({"name": "AWS_VPC_K8S_CNI_RANDOMIZESNAT", "value": word}));
        }
        if self.dice.chance(20) {
            let name = *self.dice.pick(&["ENABLE_V4_EGRESS", "ENABLE_V6_EGRESS"]);
            let word = *self.dice.pick(&["true", "false"]);
            env.push(json!({"name": name, "value": word}));
        }
        if self.dice.chance(10) {
            let mode = *self.dice.pick(&["strict", "standard"]);
            env.push(json!({"name": "NETWORK_POLICY_ENFORCING_MODE", "value": mode}));
        }
        if self.dice.chance(70) {
            let mode = *self.dice.pick(&["strict", "standard"]);
            env.push(json!({"name": "POD_SECURITY_GROUP_ENFORCING_MODE", "value": mode}));
        }
        self.file(
            "aws-node",
            json!({"kind": "DaemonSet", "metadata": {"name": "aws-node", "namespace": "kube-system"}, "spec": {"template": {"spec": {"containers": [
                {"name": "aws-node", "env": env},
                {"name": "aws-eks-nodeagent", "env": [
                    {"name": "AWS_VPC_K8S_CNI_EXTERNALSNAT", "value": "true"},
                ]},
            ]}}}}),
        );
    }

    fn pods(&mut self) {
        let mut pods = Vec::new();
        for (number, address) in self.addresses.clone().iter().enumerate() {
            if !self.dice.chance(30) {
                continue;
            }
            let namespace = *self.dice.pick(&["default", "shop"]);
            let app = *self.dice.pick(&["web", "db"]);
            let phase = *self
                .dice
                .pick(&["Running", "Running", "Running", "Succeeded"]);
            let node = *self.dice.pick(&["node-1", "node-1", "fargate-1", "node-f"]);
            pods.push(json!({
                "metadata": {
                    "namespace": namespace, "name": format!("pod-{number}"),
                    "labels": {"app": app},
                },
                "spec": {"nodeName": node, "hostNetwork": self.dice.chance(20)},
                "status": {"phase": phase, "podIP": address, "podIPs": [{"ip": address}]},
            }));
        }
        if self.dice.chance(90) {
            self.file("pods", json!({"items": pods}));
        }
        if self.dice.chance(80) {
            self.nodes();
        }
        let mut policies = Vec::new();
        for number in 0..self.dice.below(3) {
            let namespace = *self.dice.pick(&["default", "shop"]);
            let selector = self.selector();
            policies.push(json!({
                "metadata": {"namespace": namespace, "name": format!("policy-{number}")},
                "spec": {"podSelector": selector, "policyTypes": ["Ingress"]},
            }));
        }
        self.file("networkpolicies", json!({"items": policies}));
        if self.dice.chance(15) {
            self.other_policy();
        }
    }

    fn nodes(&mut self) {
        let mut nodes = vec![
            json!({"metadata": {"name": "node-1", "labels": {}}}),
            json!({"metadata": {
                "name": "node-f", "labels": {"eks.amazonaws.com/compute-type": "fargate"},
            }}),
        ];
        for number in 0..self.instances.len() {
            let instance = &self.instances[number];
            let id = instance["InstanceId"].as_str().unwrap().to_owned();
            let address = instance["PrivateIpAddress"].clone();
            let name = format!("node-of-{id}");
            match self.dice.below(4) {
                0 => {}
                1 if address.is_string() => nodes.push(json!({
                    "metadata": {"name": name},
                    "status": {"addresses": [{"type": "InternalIP", "address": address}]},
                })),
                _ => nodes.push(json!({
                    "metadata": {"name": name},
                    "spec": {"providerID": format!("aws:///us-east-1a/{id}")},
                })),
            }
        }
        self.file("nodes", json!({"items": nodes}));
    }

    /// A policy of another kind than NetworkPolicy.
    fn other_policy(&mut self) {
        let selector = self.selector();
        let name = json!({"name": "other"});
        let own = json!({"name": "other", "namespace": "shop"});
        let listed = json!([{"podIP": self.dice.pick(&self.addresses).clone()}]);
        let (stem, object) = match self.dice.below(5) {
            0 => (
                "applicationnetworkpolicies",
                json!({"metadata": own, "spec": {"podSelector": selector}}),
            ),
            1 => (
                "clusternetworkpolicies",
                json!({"metadata": name, "spec": {"subject": {"pods": {
                    "namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": selector,
                }}}}),
            ),
            2 => (
                "policyendpoints",
                json!({"metadata": own, "spec": {"podSelectorEndpoints": listed}}),
            ),
            3 => (
                "policyendpoints",
                json!({"metadata": own, "spec": {
                    "podSelector": selector, "podSelectorEndpoints": listed,
                }}),
            ),
            _ => (
                "ciliumclusterwidenetworkpolicies",
                json!({"metadata": name, "spec": {"endpointSelector": {}}}),
            ),
        };
        self.file(stem, json!({"items": [object]}));
    }

    fn selector(&mut self) -> Value {
        let term = |operator: &str| {
            json!({"matchExpressions": [
                {"key": "app", "operator": operator, "values": ["db", "cache"]},
            ]})
        };
        match self.dice.below(6) {
            0 => json!({}),
            1 => json!({"matchLabels": {"app": "web"}}),
            2 => term("In"),
            3 => term("NotIn"),
            4 => json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
            _ => json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
        }
    }
}
