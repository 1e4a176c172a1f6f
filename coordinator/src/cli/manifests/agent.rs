//! The agents: a DaemonSet or a Deployment for each kind of place.

use std::collections::BTreeMap;

use reachproof_proto::endpoint::EndpointName;
use reachproof_verify::audience::Audience;
use serde_json::{Value, json};

use super::argument::{CoordinatorAddress, FargatePods};
use super::labels::{PLACE_LABEL, standard_labels};
use super::namespace::{HOST_NAMESPACE, NAME, NAMESPACE};
use super::restricted;

/// Label with which EKS says what a node is: `ec2`, `auto`, `fargate` or `hybrid` (E.6).
const COMPUTE_TYPE: &str = "eks.amazonaws.com/compute-type";

/// The program in the image.
const PROGRAM: &str = "/reachproof-agent";

/// Where ConfigMap and token are mounted.
const SETTINGS_PATH: &str = "/etc/reachproof/settings";
const TOKEN_PATH: &str = "/etc/reachproof/token";

/// File of a projected token.
const TOKEN_FILE: &str = "token";

/// Life of a projected token in seconds: the shortest that Kubernetes allows (security.md, "The review of a token").
/// The node renews it at 80 %.
const TOKEN_SECONDS: u32 = 600;

/// Readable for the group of the pod, and for nobody else: 0440.
pub(super) const TOKEN_MODE: u32 = 0o440;

/// Time for the last results after SIGTERM, in seconds; a drain takes at most a few.
const GRACE_SECONDS: u32 = 10;

/// Agents of one kind of place.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    /// Where they run.
    pub(super) place: Place,
    /// Image with the agent.
    pub(super) image: String,
    /// Where they dial.
    pub(super) coordinator: CoordinatorAddress,
    /// Name of the API server, which they resolve to tell where it leads; absent where the snapshot does not say it.
    pub(super) cluster_endpoint: Option<EndpointName>,
    /// For whom the API server makes their tokens; absent where each node has a signed one.
    pub(super) audience: Option<Audience>,
}

/// Where agents run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// On the pod network of each EC2 node.
    Pod,
    /// In the host network of each EC2 node.
    Host,
    /// In one Fargate pod.
    Fargate {
        /// Place in the list of the arguments, from 1.
        number: usize,
        /// What a Fargate profile selects.
        pods: FargatePods,
    },
}

impl Agent {
    /// Namespace of the pods.
    pub(super) fn namespace(&self) -> &str {
        match &self.place {
            Place::Pod => NAMESPACE,
            Place::Host => HOST_NAMESPACE,
            Place::Fargate { pods, .. } => &pods.namespace,
        }
    }

    /// Labels of the pods.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = standard_labels();
        // A mesh would answer in the place of the agent (security.md, "What an agent may connect to").
        labels.insert("sidecar.istio.io/inject".to_owned(), "false".to_owned());
        match &self.place {
            Place::Pod | Place::Host => {}
            Place::Fargate { pods, .. } => {
                labels.insert(pods.key.clone(), pods.value.clone());
            }
        }
        labels.insert(PLACE_LABEL.to_owned(), self.place.word());
        labels
    }

    /// The DaemonSet or Deployment.
    pub(super) fn object(&self) -> Value {
        let word = self.place.word();
        let kind = match self.place {
            Place::Pod | Place::Host => "DaemonSet",
            Place::Fargate { .. } => "Deployment",
        };
        json!({
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {
                "name": format!("{NAME}-{word}"),
                "namespace": self.namespace(),
                "labels": standard_labels(),
            },
            "spec": {
                "selector": {"matchLabels": {PLACE_LABEL: word}},
                "template": {
                    "metadata": {
                        "labels": self.labels(),
                        "annotations": {"linkerd.io/inject": "disabled"},
                    },
                    "spec": self.pod(),
                },
            },
        })
    }

    /// What a pod is, but for where it may run.
    fn pod(&self) -> Value {
        let mut pod = json!({
            "serviceAccountName": NAME,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": restricted::pod(),
            "containers": [self.container()],
            "volumes": [
                {"name": "settings", "configMap": {"name": NAME}},
                self.token(),
            ],
        });
        if let Value::Object(fields) = &mut pod {
            fields.extend(self.place.scheduling());
            if self.place == Place::Host && self.coordinator.is_service() {
                // In the host network only this resolves names of Services.
                fields.insert("dnsPolicy".to_owned(), json!("ClusterFirstWithHostNet"));
            }
        }
        pod
    }

    /// The volume with the token, or with those of all nodes.
    fn token(&self) -> Value {
        match &self.audience {
            Some(audience) => json!({"name": "token", "projected": {
                "defaultMode": TOKEN_MODE,
                "sources": [{"serviceAccountToken": {
                    "path": TOKEN_FILE,
                    "audience": audience.as_str(),
                    "expirationSeconds": TOKEN_SECONDS,
                }}],
            }}),
            None => {
                json!({"name": "token", "secret": {"secretName": NAME, "defaultMode": TOKEN_MODE}})
            }
        }
    }

    fn container(&self) -> Value {
        json!({
            "name": "agent",
            "image": self.image,
            "command": [PROGRAM],
            "args": ["run"],
            "env": self.environment(),
            "securityContext": restricted::container(),
            "resources": {
                "requests": {"cpu": "10m", "memory": "16Mi"},
                // A limit of processor time would make an agent late, and its silence worth nothing.
                "limits": {"memory": "64Mi"},
            },
            "livenessProbe": {
                "exec": {"command": [PROGRAM, "health"]},
                "initialDelaySeconds": 5,
                "periodSeconds": 30,
                "timeoutSeconds": 3,
            },
            // Ready is who has reached the coordinator: `kubectl get pods` shows who has not.
            "readinessProbe": {
                "exec": {"command": [PROGRAM, "health", "--attached"]},
                "periodSeconds": 10,
                "timeoutSeconds": 3,
            },
            "volumeMounts": [
                {"name": "settings", "mountPath": SETTINGS_PATH, "readOnly": true},
                {"name": "token", "mountPath": TOKEN_PATH, "readOnly": true},
            ],
        })
    }

    /// The arguments of `reachproof-agent run` and `health`, as the environment has them.
    fn environment(&self) -> Value {
        // A signed token names the node of its agent; the node replaces the variable by its own name.
        let (name, token) = match self.audience {
            Some(_) => ("metadata.name", TOKEN_FILE),
            None => ("spec.nodeName", "$(REACHPROOF_NODE)"),
        };
        // A pod of the host network has the addresses of its host here.
        let of_the_pod = [
            ("REACHPROOF_NAME", name),
            ("REACHPROOF_NODE", "spec.nodeName"),
            ("REACHPROOF_ADDRESS", "status.podIPs"),
        ];
        let plain = [
            (
                "REACHPROOF_COORDINATOR",
                format!("https://{}", self.coordinator),
            ),
            ("REACHPROOF_CA", format!("{SETTINGS_PATH}/ca.crt")),
            ("REACHPROOF_POLICY", format!("{SETTINGS_PATH}/policy.yaml")),
            ("REACHPROOF_TOKEN_FILE", format!("{TOKEN_PATH}/{token}")),
            ("REACHPROOF_KIND", self.place.kind().to_owned()),
        ];
        let endpoint = self.cluster_endpoint.as_ref();
        let endpoint =
            endpoint.map(|name| ("REACHPROOF_CLUSTER_ENDPOINT", name.as_str().to_owned()));
        let plain = plain.into_iter().chain(endpoint);
        let plain = plain.map(|(name, value)| json!({"name": name, "value": value}));
        let of_the_pod = of_the_pod.map(
            |(name, field)| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}}),
        );
        // A variable is known to those that come after it.
        of_the_pod.into_iter().chain(plain).collect()
    }
}

impl Place {
    /// Ends the name of DaemonSet or Deployment.
    fn word(&self) -> String {
        match self {
            Self::Pod => "pod".to_owned(),
            Self::Host => "host".to_owned(),
            Self::Fargate { number, .. } => format!("fargate-{number}"),
        }
    }

    /// The agent's word for it.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Host => "node",
            Self::Fargate { .. } => "fargate",
        }
    }

    /// The fields of a pod that say where it runs.
    ///
    /// A Fargate pod has none: EKS places it by namespace and labels, and knows no affinity \[EKS User Guide, Fargate
    /// profiles\]. On EC2 there is an agent on every node, however tainted.
    fn scheduling(&self) -> serde_json::Map<String, Value> {
        let mut fields = serde_json::Map::new();
        match self {
            Self::Fargate { .. } => return fields,
            Self::Pod => {}
            Self::Host => {
                fields.insert("hostNetwork".to_owned(), json!(true));
            }
        }
        // A label that a node lacks is not in a list either.
        let term = json!({"matchExpressions": [
            {"key": COMPUTE_TYPE, "operator": "NotIn", "values": ["fargate", "hybrid"]},
            {"key": "kubernetes.io/os", "operator": "NotIn", "values": ["windows"]},
        ]});
        let required = json!({"nodeSelectorTerms": [term]});
        fields.insert(
            "affinity".to_owned(),
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}),
        );
        fields.insert("tolerations".to_owned(), json!([{"operator": "Exists"}]));
        fields
    }
}
