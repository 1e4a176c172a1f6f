//! The answers that a snapshot is made of: one row for each, and nothing about them is written anywhere else.
//!
//! Decoding, the texts about missing answers, `snapshot --check` and `snapshot --print-commands` read this table. A
//! further answer is a row here and the code that takes it apart.

use crate::snapshot::Consequence;

/// One answer of a snapshot: the command that prints it, what is on top of it, and what follows when it is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Stem of its file; `STEM.ID` where there may be several.
    pub stem: &'static str,
    /// What its document looks like.
    pub form: Form,
    /// Whether a snapshot can do without it.
    pub need: Need,
    /// The command that prints it, without options.
    pub command: &'static str,
    /// Options of the command, for bash and PowerShell alike: `$vpcs`, `$cluster` and `$id` stand for what was found.
    pub options: &'static str,
    /// How often the command is to be called.
    pub each: Each,
}

/// What the document of an answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An object with a list under a key.
    List {
        /// The key.
        key: &'static str,
        /// Fields that an item of this list has and an item of no other list: so a bare list is known.
        marks: &'static [&'static str],
    },
    /// A list of one thing that the answer does not name: its id is in the name of the file.
    ListOf {
        /// The key.
        key: &'static str,
        /// Fields by which an item is known.
        marks: &'static [&'static str],
        /// Beginning of the id.
        prefix: &'static str,
    },
    /// An object with one thing under a key.
    Single {
        /// The key.
        key: &'static str,
        /// Field of the thing that names it.
        name: &'static str,
    },
    /// A single object without a key on top, known by its fields.
    Plain {
        /// The fields, of which it has one.
        marks: &'static [&'static str],
        /// Field that names the thing.
        name: &'static str,
    },
    /// Kubernetes objects of one kind: a list of them, or one.
    Objects {
        /// The kind.
        kind: &'static str,
        /// API group of the kind, empty for the core group: other groups have kinds of the same name.
        group: &'static str,
        /// Name of the only object that is taken; absent where all are.
        only: Option<&'static str>,
    },
}

/// Whether a snapshot can do without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// There is no snapshot without it.
    Required,
    /// Its absence is a gap with this consequence.
    Optional(Consequence),
    /// Its absence is no gap; the text says what follows all the same.
    Silent(&'static str),
    /// The same, and not every cluster serves it: that the API server refuses to list it says that there may be some
    /// (K.1 "Policies of other kinds").
    UnlessRefused(&'static str),
}

/// How often a command is to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// Once.
    Once,
    /// For each VPC.
    Vpc,
    /// For each managed node group.
    Nodegroup,
    /// For each Fargate profile.
    FargateProfile,
    /// For each managed prefix list.
    PrefixList,
    /// For each route table of a transit gateway.
    TransitGatewayRouteTable,
}

/// Filter of the calls that read what lies in the cluster's VPC and in those that it is joined with \[H.1\].
const IN_VPCS: &str = r#"--filters "Name=vpc-id,Values=$vpcs""#;
/// What follows when an answer is absent that the model does not ask.
const UNASKED: &str = "no prediction depends on it";
/// What follows when policies are absent that only some clusters have.
const NO_POLICIES: &str = "policies of this kind count as absent";
/// Option for all namespaces.
const ALL: &str = "--all-namespaces";

/// A row for an answer that is asked for once.
const fn once(
    stem: &'static str,
    command: &'static str,
    form: Form,
    need: Need,
    options: &'static str,
) -> Answer {
    Answer {
        stem,
        form,
        need,
        command,
        options,
        each: Each::Once,
    }
}

/// A list under a key.
const fn keyed(key: &'static str, marks: &'static [&'static str]) -> Form {
    Form::List { key, marks }
}

/// All Kubernetes objects of a kind.
const fn all_of(kind: &'static str, group: &'static str) -> Form {
    Form::Objects {
        kind,
        group,
        only: None,
    }
}

/// Every answer, in the order in which they are asked for (ARCHITECTURE, "Snapshot").
pub const ANSWERS: [Answer; 46] = [
    Answer {
        stem: "describe-cluster",
        form: Form::Single {
            key: "cluster",
            name: "name",
        },
        need: Need::Optional(Consequence::NoCluster),
        command: "aws eks describe-cluster",
        options: r#"--name "$cluster""#,
        each: Each::Once,
    },
    once(
        "describe-vpcs",
        "aws ec2 describe-vpcs",
        keyed("Vpcs", &["VpcId", "CidrBlock"]),
        Need::Required,
        IN_VPCS,
    ),
    once(
        "describe-subnets",
        "aws ec2 describe-subnets",
        keyed("Subnets", &["SubnetId", "CidrBlock"]),
        Need::Required,
        IN_VPCS,
    ),
    once(
        "describe-network-interfaces",
        "aws ec2 describe-network-interfaces",
        keyed("NetworkInterfaces", &["NetworkInterfaceId"]),
        Need::Required,
        IN_VPCS,
    ),
    once(
        "describe-security-groups",
        "aws ec2 describe-security-groups",
        keyed("SecurityGroups", &["GroupId", "GroupName"]),
        Need::Required,
        IN_VPCS,
    ),
    once(
        "describe-route-tables",
        "aws ec2 describe-route-tables",
        keyed("RouteTables", &["RouteTableId"]),
        Need::Required,
        IN_VPCS,
    ),
    once(
        "describe-network-acls",
        "aws ec2 describe-network-acls",
        keyed("NetworkAcls", &["NetworkAclId"]),
        Need::Required,
        IN_VPCS,
    ),
    once(
        "describe-instances",
        "aws ec2 describe-instances",
        keyed("Reservations", &["Instances"]),
        Need::Optional(Consequence::HostsFromAttachments),
        IN_VPCS,
    ),
    once(
        "describe-security-group-rules",
        "aws ec2 describe-security-group-rules",
        keyed("SecurityGroupRules", &["SecurityGroupRuleId"]),
        Need::Optional(Consequence::RulesNamedByPosition),
        "",
    ),
    Answer {
        stem: "describe-stale-security-groups",
        form: keyed("StaleSecurityGroupSet", &["GroupId", "StaleIpPermissions"]),
        need: Need::Optional(Consequence::StaleUnknown),
        command: "aws ec2 describe-stale-security-groups",
        options: r#"--vpc-id "$id""#,
        each: Each::Vpc,
    },
    once(
        "describe-security-group-vpc-associations",
        "aws ec2 describe-security-group-vpc-associations",
        keyed("SecurityGroupVpcAssociations", &["GroupId", "VpcOwnerId"]),
        Need::Silent("groups of other VPCs are known by the interfaces that have them alone"),
        IN_VPCS,
    ),
    once(
        "describe-vpc-peering-connections",
        "aws ec2 describe-vpc-peering-connections",
        keyed("VpcPeeringConnections", &["VpcPeeringConnectionId"]),
        Need::Optional(Consequence::PeeringUnknown),
        "",
    ),
    once(
        "describe-managed-prefix-lists",
        "aws ec2 describe-managed-prefix-lists",
        keyed("PrefixLists", &["PrefixListId"]),
        Need::Silent("prefix lists have no names"),
        "",
    ),
    Answer {
        stem: "get-managed-prefix-list-entries",
        form: Form::ListOf {
            key: "Entries",
            marks: &["Cidr"],
            prefix: "pl-",
        },
        need: Need::Silent("flows for which a prefix list decides are unknown"),
        command: "aws ec2 get-managed-prefix-list-entries",
        options: r#"--prefix-list-id "$id""#,
        each: Each::PrefixList,
    },
    once(
        "describe-transit-gateways",
        "aws ec2 describe-transit-gateways",
        keyed(
            "TransitGateways",
            &["TransitGatewayId", "TransitGatewayArn"],
        ),
        Need::Optional(Consequence::TransitGatewayUnknown),
        "",
    ),
    once(
        "describe-transit-gateway-vpc-attachments",
        "aws ec2 describe-transit-gateway-vpc-attachments",
        keyed(
            "TransitGatewayVpcAttachments",
            &["TransitGatewayAttachmentId", "VpcId"],
        ),
        Need::Optional(Consequence::TransitGatewayUnknown),
        "",
    ),
    once(
        "describe-transit-gateway-route-tables",
        "aws ec2 describe-transit-gateway-route-tables",
        keyed("TransitGatewayRouteTables", &["TransitGatewayRouteTableId"]),
        Need::Silent("attachments are assumed to reach each other through the default table"),
        "",
    ),
    Answer {
        stem: "search-transit-gateway-routes",
        form: Form::ListOf {
            key: "Routes",
            marks: &["DestinationCidrBlock", "TransitGatewayAttachments"],
            prefix: "tgw-rtb-",
        },
        need: Need::Silent("flows over a transit gateway with a table of its own are unknown"),
        command: "aws ec2 search-transit-gateway-routes",
        options: r#"--transit-gateway-route-table-id "$id" --filters "Name=state,Values=active,blackhole""#,
        each: Each::TransitGatewayRouteTable,
    },
    once(
        "describe-dhcp-options",
        "aws ec2 describe-dhcp-options",
        keyed("DhcpOptions", &["DhcpOptionsId", "DhcpConfigurations"]),
        Need::Silent(UNASKED),
        "",
    ),
    Answer {
        stem: "describe-vpc-attribute",
        form: Form::Plain {
            marks: &["EnableDnsSupport", "EnableDnsHostnames"],
            name: "VpcId",
        },
        need: Need::Silent(UNASKED),
        command: "aws ec2 describe-vpc-attribute",
        options: r#"--vpc-id "$id" --attribute enableDnsSupport"#,
        each: Each::Vpc,
    },
    Answer {
        stem: "describe-nodegroup",
        form: Form::Single {
            key: "nodegroup",
            name: "nodegroupName",
        },
        need: Need::Silent(UNASKED),
        command: "aws eks describe-nodegroup",
        options: r#"--cluster-name "$cluster" --nodegroup-name "$id""#,
        each: Each::Nodegroup,
    },
    Answer {
        stem: "describe-fargate-profile",
        form: Form::Single {
            key: "fargateProfile",
            name: "fargateProfileName",
        },
        need: Need::Silent("agents for Fargate profiles are not missed"),
        command: "aws eks describe-fargate-profile",
        options: r#"--cluster-name "$cluster" --fargate-profile-name "$id""#,
        each: Each::FargateProfile,
    },
    once(
        "nodes",
        "kubectl get nodes",
        all_of("Node", ""),
        Need::Optional(Consequence::NoKubernetes),
        "",
    ),
    once(
        "leases",
        "kubectl get leases",
        all_of("Lease", "coordination.k8s.io"),
        Need::Silent("no evidence of leases is named beside what is found of nodes"),
        "--namespace kube-node-lease",
    ),
    once(
        "pods",
        "kubectl get pods",
        all_of("Pod", ""),
        Need::Optional(Consequence::NoKubernetes),
        ALL,
    ),
    once(
        "services",
        "kubectl get services",
        all_of("Service", ""),
        Need::Silent(UNASKED),
        ALL,
    ),
    once(
        "endpointslices",
        "kubectl get endpointslices",
        all_of("EndpointSlice", "discovery.k8s.io"),
        Need::Optional(Consequence::NoKubernetes),
        ALL,
    ),
    Answer {
        stem: "aws-node",
        form: Form::Objects {
            kind: "DaemonSet",
            group: "apps",
            only: Some("aws-node"),
        },
        need: Need::Optional(Consequence::CniAssumed),
        command: "kubectl get daemonsets aws-node",
        options: "--namespace kube-system",
        each: Each::Once,
    },
    once(
        "networkpolicies",
        "kubectl get networkpolicies",
        all_of("NetworkPolicy", "networking.k8s.io"),
        Need::Optional(Consequence::NoKubernetes),
        ALL,
    ),
    once(
        "applicationnetworkpolicies",
        "kubectl get applicationnetworkpolicies",
        all_of("ApplicationNetworkPolicy", "networking.k8s.aws"),
        Need::UnlessRefused(NO_POLICIES),
        ALL,
    ),
    once(
        "clusternetworkpolicies",
        "kubectl get clusternetworkpolicies",
        all_of("ClusterNetworkPolicy", "networking.k8s.aws"),
        Need::UnlessRefused(NO_POLICIES),
        "",
    ),
    once(
        "policyendpoints",
        "kubectl get policyendpoints",
        all_of("PolicyEndpoint", "networking.k8s.aws"),
        Need::UnlessRefused(NO_POLICIES),
        ALL,
    ),
    once(
        "clusterpolicyendpoints",
        "kubectl get clusterpolicyendpoints",
        all_of("ClusterPolicyEndpoint", "networking.k8s.aws"),
        Need::UnlessRefused(NO_POLICIES),
        "",
    ),
    once(
        "adminnetworkpolicies",
        "kubectl get adminnetworkpolicies",
        all_of("AdminNetworkPolicy", "policy.networking.k8s.io"),
        Need::UnlessRefused(NO_POLICIES),
        "",
    ),
    once(
        "baselineadminnetworkpolicies",
        "kubectl get baselineadminnetworkpolicies",
        all_of("BaselineAdminNetworkPolicy", "policy.networking.k8s.io"),
        Need::UnlessRefused(NO_POLICIES),
        "",
    ),
    once(
        "ciliumnetworkpolicies",
        "kubectl get ciliumnetworkpolicies",
        all_of("CiliumNetworkPolicy", "cilium.io"),
        Need::UnlessRefused(NO_POLICIES),
        ALL,
    ),
    once(
        "ciliumclusterwidenetworkpolicies",
        "kubectl get ciliumclusterwidenetworkpolicies",
        all_of("CiliumClusterwideNetworkPolicy", "cilium.io"),
        Need::UnlessRefused(NO_POLICIES),
        "",
    ),
    once(
        "caliconetworkpolicies",
        "kubectl get networkpolicies.crd.projectcalico.org",
        all_of("NetworkPolicy", "crd.projectcalico.org"),
        Need::UnlessRefused(NO_POLICIES),
        ALL,
    ),
    once(
        "globalnetworkpolicies",
        "kubectl get globalnetworkpolicies",
        all_of("GlobalNetworkPolicy", "crd.projectcalico.org"),
        Need::UnlessRefused(NO_POLICIES),
        "",
    ),
    once(
        "securitygrouppolicies",
        "kubectl get securitygrouppolicies",
        all_of("SecurityGroupPolicy", "vpcresources.k8s.aws"),
        Need::Silent(UNASKED),
        ALL,
    ),
    once(
        "eniconfigs",
        "kubectl get eniconfigs",
        all_of("ENIConfig", "crd.k8s.amazonaws.com"),
        Need::Silent(UNASKED),
        "",
    ),
    once(
        "cninodes",
        "kubectl get cninodes",
        all_of("CNINode", "vpcresources.k8s.aws"),
        Need::Silent(UNASKED),
        "",
    ),
    once(
        "validatingwebhookconfigurations",
        "kubectl get validatingwebhookconfigurations",
        all_of(
            "ValidatingWebhookConfiguration",
            "admissionregistration.k8s.io",
        ),
        Need::Silent(UNASKED),
        "",
    ),
    once(
        "mutatingwebhookconfigurations",
        "kubectl get mutatingwebhookconfigurations",
        all_of(
            "MutatingWebhookConfiguration",
            "admissionregistration.k8s.io",
        ),
        Need::Silent(UNASKED),
        "",
    ),
    once(
        "customresourcedefinitions",
        "kubectl get customresourcedefinitions",
        all_of("CustomResourceDefinition", "apiextensions.k8s.io"),
        Need::Silent(UNASKED),
        "",
    ),
    once(
        "apiservices",
        "kubectl get apiservices",
        all_of("APIService", "apiregistration.k8s.io"),
        Need::Silent(UNASKED),
        "",
    ),
];

impl Answer {
    /// Returns the answer of that stem; an id behind a dot is left out.
    #[must_use]
    pub fn of_stem(stem: &str) -> Option<&'static Self> {
        let command = stem.split_once('.').map_or(stem, |(command, _)| command);
        ANSWERS.iter().find(|answer| answer.stem == command)
    }

    /// Whether it says something that the API server refuses to list these objects: where it serves them, one may drop
    /// packets of pods (K.1 "Policies of other kinds").
    #[must_use]
    pub fn may_be_a_refusal(&self) -> bool {
        matches!(self.need, Need::UnlessRefused(_))
    }

    /// Returns the answer that holds Kubernetes objects of that kind. Without `apiVersion` the kind alone decides.
    #[must_use]
    pub fn of_kind(kind: &str, api_version: Option<&str>) -> Option<&'static Self> {
        let given =
            api_version.map(|version| version.split_once('/').map_or("", |(group, _)| group));
        ANSWERS.iter().find(|answer| {
            matches!(answer.form, Form::Objects { kind: own, group, .. }
                if own == kind && given.is_none_or(|given| given == group))
        })
    }

    /// Returns the command that prints the answer as JSON: `aws ec2 describe-vpcs --output json`.
    #[must_use]
    pub fn shown_command(&self) -> String {
        match self.form {
            Form::Objects { .. } if self.options.is_empty() => format!("{} -o json", self.command),
            Form::Objects { .. } => format!("{} {} -o json", self.command, self.options),
            Form::List { .. } | Form::ListOf { .. } | Form::Single { .. } | Form::Plain { .. } => {
                format!("{} --output json", self.command)
            }
        }
    }

    /// Returns what follows when the answer is absent, in words.
    #[must_use]
    pub fn absence(&self) -> &'static str {
        match self.need {
            Need::Required => "there is no snapshot without it",
            Need::Optional(consequence) => consequence.as_str(),
            Need::Silent(text) | Need::UnlessRefused(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_answer_has_a_stem_a_key_and_a_kind_of_its_own() {
        let stems: BTreeSet<_> = ANSWERS.iter().map(|answer| answer.stem).collect();
        assert_eq!(stems.len(), ANSWERS.len());
        let tops: Vec<_> = ANSWERS
            .iter()
            .filter_map(|answer| match answer.form {
                Form::List { key, .. } | Form::ListOf { key, .. } | Form::Single { key, .. } => {
                    Some((key, ""))
                }
                Form::Objects { kind, group, .. } => Some((kind, group)),
                Form::Plain { .. } => None,
            })
            .collect();
        let different: BTreeSet<_> = tops.iter().collect();
        assert_eq!(different.len(), tops.len());
    }

    #[test]
    fn the_command_of_an_answer_ends_in_its_stem() {
        for answer in &ANSWERS {
            let last = answer.command.split(' ').next_back();
            // The plain name is the one of Kubernetes' own policies.
            let wanted = match answer.stem {
                "caliconetworkpolicies" => "networkpolicies.crd.projectcalico.org",
                stem => stem,
            };
            assert_eq!(last, Some(wanted));
        }
    }

    #[test]
    fn an_id_behind_a_dot_belongs_to_no_stem() {
        let answer = Answer::of_stem("get-managed-prefix-list-entries.pl-1.json");
        assert_eq!(
            answer.map(|answer| answer.command),
            Some("aws ec2 get-managed-prefix-list-entries")
        );
        assert_eq!(Answer::of_stem("describe-vpcs-of-mine"), None);
    }
}
