//! Which objects are read, and which of their fields are kept.
//!
//! A path names a field and everything below it; lists are walked through. What is not named is left out: fields that
//! change by themselves would make two snapshots of one world differ, and others are nobody's business. The exceptions are
//! evidence of what the cluster meets by itself, and no change of the world
//! ([`reachproof_model::describe::lasting`]).

use crate::limits::DEFINITIONS_PER_PAGE;

/// A kind of object that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// Stem of its file in a snapshot.
    pub stem: &'static str,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version of the group.
    pub version: &'static str,
    /// Plural name in paths and in RBAC rules.
    pub plural: &'static str,
    /// `kind` of an object.
    pub kind: &'static str,
    /// Which of them.
    pub extent: Extent,
    /// Fields that are kept, each a path from the top.
    pub kept: &'static [&'static [&'static str]],
}

/// Which objects of a kind are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of them, of all namespaces.
    All,
    /// A single one.
    One {
        /// Its namespace.
        namespace: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// All of one namespace. They are not followed: what is read so changes all the time.
    Of {
        /// The namespace.
        namespace: &'static str,
    },
}

impl Resource {
    /// `apiVersion` of an object: `v1`, `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Path of the group's version, where the API server lists what it serves of it; absent for the core group.
    #[must_use]
    pub fn group_path(&self) -> Option<String> {
        (!self.group.is_empty()).then(|| format!("/apis/{}", self.api_version()))
    }

    /// Whether objects of this kind may drop packets of pods and not every cluster serves them: policies of the VPC CNI,
    /// of `policy.networking.k8s.io`, of Cilium and of Calico (K.1 "Policies of other kinds").
    #[must_use]
    pub fn is_further_policy(&self) -> bool {
        FURTHER_POLICIES.contains(&self.group)
    }

    /// Most objects of a page of the list, where `usual` is what a page has: definitions are large.
    #[must_use]
    pub fn page_size(&self, usual: u32) -> u32 {
        if self.plural == DEFINITIONS {
            usual.min(DEFINITIONS_PER_PAGE)
        } else {
            usual
        }
    }

    /// Path of the list, or of the single object.
    #[must_use]
    pub fn path(&self) -> String {
        let root = if self.group.is_empty() {
            "/api"
        } else {
            "/apis"
        };
        let group = self.api_version();
        match self.extent {
            Extent::All => format!("{root}/{group}/{}", self.plural),
            Extent::Of { namespace } => {
                format!("{root}/{group}/namespaces/{namespace}/{}", self.plural)
            }
            Extent::One { namespace, name } => {
                format!(
                    "{root}/{group}/namespaces/{namespace}/{}/{name}",
                    self.plural
                )
            }
        }
    }
}

/// Groups with policies beside NetworkPolicies.
const FURTHER_POLICIES: [&str; 4] = [
    "networking.k8s.aws",
    "policy.networking.k8s.io",
    "cilium.io",
    "crd.projectcalico.org",
];

/// Plural of the definitions of kinds, and the stem of their file.
const DEFINITIONS: &str = "customresourcedefinitions";

/// Name of the VPC CNI's container, and of its DaemonSet.
pub(crate) const AWS_NODE: &str = "aws-node";

/// Everything that is read, in this order.
pub const RESOURCES: [Resource; 24] = [
    Resource {
        stem: "nodes",
        group: "",
        version: "v1",
        plural: "nodes",
        kind: "Node",
        extent: Extent::All,
        kept: &[
            &["metadata", "name"],
            &["metadata", "labels"],
            // ENIConfig of the node, where custom networking goes by annotation [E.1, EKS-CN].
            &["metadata", "annotations", "k8s.amazonaws.com/eniConfig"],
            &["spec", "providerID"],
            // Whether it is about to go.
            &["metadata", "deletionTimestamp"],
            &["spec", "unschedulable"],
            &["spec", "taints", "effect"],
            &["spec", "taints", "key"],
            &["status", "addresses"],
            // Whether its kubelet is heard (control-plane.md, "Free evidence").
            &["status", "conditions", "reason"],
            &["status", "conditions", "status"],
            &["status", "conditions", "type"],
        ],
    },
    // Renewed by kubelets every few seconds (control-plane.md, "Free evidence").
    Resource {
        stem: "leases",
        group: "coordination.k8s.io",
        version: "v1",
        plural: "leases",
        kind: "Lease",
        extent: Extent::Of {
            namespace: "kube-node-lease",
        },
        kept: &[
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["spec", "leaseDurationSeconds"],
            &["spec", "renewTime"],
        ],
    },
    Resource {
        stem: "pods",
        group: "",
        version: "v1",
        plural: "pods",
        kind: "Pod",
        extent: Extent::All,
        kept: &[
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["metadata", "labels"],
            &["metadata", "deletionTimestamp"],
            // Branch ENI of the pod, and the groups of a Fargate pod [E.4, X5].
            &["metadata", "annotations", "vpc.amazonaws.com/pod-eni"],
            &["metadata", "annotations", "fargate.amazonaws.com/pod-sg"],
            &["spec", "nodeName"],
            &["spec", "hostNetwork"],
            &["spec", "serviceAccountName"],
            &["spec", "containers", "name"],
            &["spec", "initContainers", "name"],
            &["spec", "containers", "ports"],
            &["status", "phase"],
            &["status", "hostIP"],
            &["status", "hostIPs"],
            &["status", "podIP"],
            &["status", "podIPs"],
        ],
    },
    Resource {
        stem: "services",
        group: "",
        version: "v1",
        plural: "services",
        kind: "Service",
        extent: Extent::All,
        kept: &[
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["metadata", "labels"],
            &["spec", "type"],
            &["spec", "clusterIP"],
            &["spec", "clusterIPs"],
            &["spec", "ipFamilies"],
            &["spec", "ports"],
            &["spec", "selector"],
        ],
    },
    Resource {
        stem: "endpointslices",
        group: "discovery.k8s.io",
        version: "v1",
        plural: "endpointslices",
        kind: "EndpointSlice",
        extent: Extent::All,
        kept: &[
            &["addressType"],
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["metadata", "labels", "kubernetes.io/service-name"],
            &["endpoints", "addresses"],
            &["endpoints", "conditions"],
            &["endpoints", "nodeName"],
            &["endpoints", "targetRef", "kind"],
            &["endpoints", "targetRef", "name"],
            &["endpoints", "targetRef", "namespace"],
            &["ports"],
        ],
    },
    Resource {
        stem: "aws-node",
        group: "apps",
        version: "v1",
        plural: "daemonsets",
        kind: "DaemonSet",
        extent: Extent::One {
            namespace: "kube-system",
            name: AWS_NODE,
        },
        kept: &[
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["spec", "template", "spec", "containers", "name"],
            // The version of the CNI, which decides what its settings mean [CNI-L].
            &["spec", "template", "spec", "containers", "image"],
            &["spec", "template", "spec", "containers", "env"],
            &["spec", "template", "spec", "containers", "envFrom"],
        ],
    },
    Resource {
        stem: "networkpolicies",
        group: "networking.k8s.io",
        version: "v1",
        plural: "networkpolicies",
        kind: "NetworkPolicy",
        extent: Extent::All,
        kept: &[&["metadata", "name"], &["metadata", "namespace"], &["spec"]],
    },
    // Policies of other kinds: a cluster has those whose engine it runs [E.5, K.1].
    Resource {
        stem: "applicationnetworkpolicies",
        group: "networking.k8s.aws",
        version: "v1alpha1",
        plural: "applicationnetworkpolicies",
        kind: "ApplicationNetworkPolicy",
        extent: Extent::All,
        kept: &[&["metadata", "name"], &["metadata", "namespace"], &["spec"]],
    },
    Resource {
        stem: "clusternetworkpolicies",
        group: "networking.k8s.aws",
        version: "v1alpha1",
        plural: "clusternetworkpolicies",
        kind: "ClusterNetworkPolicy",
        extent: Extent::All,
        kept: &[&["metadata", "name"], &["spec"]],
    },
    Resource {
        stem: "policyendpoints",
        group: "networking.k8s.aws",
        version: "v1alpha1",
        plural: "policyendpoints",
        kind: "PolicyEndpoint",
        extent: Extent::All,
        kept: &[
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["spec", "podSelector"],
            &["spec", "podSelectorEndpoints"],
        ],
    },
    Resource {
        stem: "clusterpolicyendpoints",
        group: "networking.k8s.aws",
        version: "v1alpha1",
        plural: "clusterpolicyendpoints",
        kind: "ClusterPolicyEndpoint",
        extent: Extent::All,
        kept: &[&["metadata", "name"], &["spec", "podSelectorEndpoints"]],
    },
    Resource {
        stem: "adminnetworkpolicies",
        group: "policy.networking.k8s.io",
        version: "v1alpha1",
        plural: "adminnetworkpolicies",
        kind: "AdminNetworkPolicy",
        extent: Extent::All,
        kept: &[&["metadata", "name"], &["spec"]],
    },
    Resource {
        stem: "baselineadminnetworkpolicies",
        group: "policy.networking.k8s.io",
        version: "v1alpha1",
        plural: "baselineadminnetworkpolicies",
        kind: "BaselineAdminNetworkPolicy",
        extent: Extent::All,
        kept: &[&["metadata", "name"], &["spec"]],
    },
    Resource {
        stem: "ciliumnetworkpolicies",
        group: "cilium.io",
        version: "v2",
        plural: "ciliumnetworkpolicies",
        kind: "CiliumNetworkPolicy",
        extent: Extent::All,
        kept: &[
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["spec", "endpointSelector"],
        ],
    },
    Resource {
        stem: "ciliumclusterwidenetworkpolicies",
        group: "cilium.io",
        version: "v2",
        plural: "ciliumclusterwidenetworkpolicies",
        kind: "CiliumClusterwideNetworkPolicy",
        extent: Extent::All,
        kept: &[&["metadata", "name"], &["spec", "endpointSelector"]],
    },
    Resource {
        stem: "caliconetworkpolicies",
        group: "crd.projectcalico.org",
        version: "v1",
        plural: "networkpolicies",
        kind: "NetworkPolicy",
        extent: Extent::All,
        kept: &[
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["spec", "selector"],
        ],
    },
    Resource {
        stem: "globalnetworkpolicies",
        group: "crd.projectcalico.org",
        version: "v1",
        plural: "globalnetworkpolicies",
        kind: "GlobalNetworkPolicy",
        extent: Extent::All,
        kept: &[&["metadata", "name"], &["spec", "selector"]],
    },
    Resource {
        stem: "securitygrouppolicies",
        group: "vpcresources.k8s.aws",
        version: "v1beta1",
        plural: "securitygrouppolicies",
        kind: "SecurityGroupPolicy",
        extent: Extent::All,
        kept: &[&["metadata", "name"], &["metadata", "namespace"], &["spec"]],
    },
    Resource {
        stem: "eniconfigs",
        group: "crd.k8s.amazonaws.com",
        version: "v1alpha1",
        plural: "eniconfigs",
        kind: "ENIConfig",
        extent: Extent::All,
        kept: &[&["metadata", "name"], &["spec"]],
    },
    Resource {
        stem: "cninodes",
        group: "vpcresources.k8s.aws",
        version: "v1alpha1",
        plural: "cninodes",
        kind: "CNINode",
        extent: Extent::All,
        kept: &[&["metadata", "name"], &["spec"]],
    },
    Resource {
        stem: "validatingwebhookconfigurations",
        group: "admissionregistration.k8s.io",
        version: "v1",
        plural: "validatingwebhookconfigurations",
        kind: "ValidatingWebhookConfiguration",
        extent: Extent::All,
        kept: WEBHOOKS,
    },
    Resource {
        stem: "mutatingwebhookconfigurations",
        group: "admissionregistration.k8s.io",
        version: "v1",
        plural: "mutatingwebhookconfigurations",
        kind: "MutatingWebhookConfiguration",
        extent: Extent::All,
        kept: WEBHOOKS,
    },
    Resource {
        stem: DEFINITIONS,
        group: "apiextensions.k8s.io",
        version: "v1",
        plural: DEFINITIONS,
        kind: "CustomResourceDefinition",
        extent: Extent::All,
        // The backend of its conversion webhook [G.1]. Not the schemas, which are nearly all of it.
        kept: &[
            &["metadata", "name"],
            &["spec", "conversion", "strategy"],
            &["spec", "conversion", "webhook", "clientConfig", "service"],
            &["spec", "conversion", "webhook", "clientConfig", "url"],
        ],
    },
    Resource {
        stem: "apiservices",
        group: "apiregistration.k8s.io",
        version: "v1",
        plural: "apiservices",
        kind: "APIService",
        extent: Extent::All,
        kept: &[
            &["metadata", "name"],
            &["spec", "group"],
            &["spec", "version"],
            &["spec", "service"],
            // Whatever the last of five parallel attempts ended with: a change of this alone is none [G.2].
            &["status", "conditions", "message"],
            &["status", "conditions", "reason"],
            &["status", "conditions", "status"],
            &["status", "conditions", "type"],
        ],
    },
];

/// Where the API server dials to: the backend of each webhook [G.1]. Not the CA bundle.
const WEBHOOKS: &[&[&str]] = &[
    &["metadata", "name"],
    &["webhooks", "name"],
    &["webhooks", "clientConfig", "service"],
    &["webhooks", "clientConfig", "url"],
    &["webhooks", "failurePolicy"],
    &["webhooks", "timeoutSeconds"],
];

/// Variables of `aws-node` that are kept: they decide which interface, groups and address a pod's traffic has
/// [CNI-R; E.1, E.2, E.4, E.5, K.1]. Other variables, among them whatever an operator added, are left out.
pub(crate) const CNI_VARIABLES: [&str; 17] = [
    "AWS_VPC_CNI_NODE_PORT_SUPPORT",
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
    "AWS_VPC_K8S_CNI_EXTERNALSNAT",
    "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
    "DISABLE_NETWORK_RESOURCE_PROVISIONING",
    "ENABLE_IPv4",
    "ENABLE_IPv6",
    "ENABLE_MULTI_NIC",
    "ENABLE_POD_ENI",
    "ENABLE_PREFIX_DELEGATION",
    "ENABLE_SUBNET_DISCOVERY",
    "ENABLE_V4_EGRESS",
    "ENABLE_V6_EGRESS",
    "ENI_CONFIG_LABEL_DEF",
    "NETWORK_POLICY_ENFORCING_MODE",
    "POD_SECURITY_GROUP_ENFORCING_MODE",
];
