//! What EKS does about Fargate, which no part of Kubernetes does: it marks the pods that a Fargate profile selects for a
//! scheduler of its own, and this scheduler gives each of them a node of its own.
//!
//! The mark is set by a webhook on EKS and by an admission policy here, before the ordinary scheduler can see the pod. The
//! nodes are made on demand on EKS; here they are those of the world.

use std::collections::BTreeSet;

use reachproof_lab::kubernetes::{ControlPlane, KubernetesError};
use serde_json::{Map, Value, json};

/// The scheduler that EKS names in Fargate pods (E.6).
pub const SCHEDULER: &str = "fargate-scheduler";

/// Label with the profile that took a pod (E.6).
const PROFILE_LABEL: &str = "eks.amazonaws.com/fargate-profile";

/// Objects that mark pods as EKS's webhook does, one policy with its binding for each profile of the snapshot.
///
/// Only the namespaces of the selectors count: those of worlds have no labels.
#[must_use]
pub fn admission(snapshot: &Map<String, Value>) -> Vec<Value> {
    let profiles = snapshot
        .iter()
        .filter(|(stem, _)| stem.starts_with("describe-fargate-profile."));
    profiles
        .filter_map(|(_, answer)| answer.get("fargateProfile"))
        .flat_map(mark)
        .collect()
}

fn mark(profile: &Value) -> [Value; 2] {
    let name = profile
        .get("fargateProfileName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let selectors = profile.get("selectors").and_then(Value::as_array);
    let namespaces: Vec<&Value> = selectors
        .into_iter()
        .flatten()
        .filter_map(|selector| selector.get("namespace"))
        .collect();
    let policy = format!("{name}.fargate.lab");
    let expression = format!(
        "Object{{metadata: Object.metadata{{labels: {{'{PROFILE_LABEL}': '{name}'}}}}, \
         spec: Object.spec{{schedulerName: '{SCHEDULER}'}}}}"
    );
    [
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": policy},
            "spec": {
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "matchConstraints": {
                    "namespaceSelector": {"matchExpressions": [
                        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces},
                    ]},
                    "resourceRules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
                    ],
                },
                "mutations": [
                    {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}},
                ],
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": policy},
            "spec": {"policyName": policy},
        }),
    ]
}

/// Gives each pod that waits for Fargate a node of its own, as long as there are nodes without one.
///
/// # Errors
/// [`KubernetesError`] with what the API server refused.
pub fn schedule(
    plane: &ControlPlane,
    pods: &[Value],
    nodes: &BTreeSet<&str>,
) -> Result<(), KubernetesError> {
    let text = |pod: &Value, path: &str| {
        let text = pod.pointer(path).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let taken: BTreeSet<String> = pods.iter().map(|pod| text(pod, "/spec/nodeName")).collect();
    let free = nodes.iter().filter(|node| !taken.contains(**node));
    let waiting = pods.iter().filter(|pod| {
        text(pod, "/spec/schedulerName") == SCHEDULER && text(pod, "/spec/nodeName").is_empty()
    });
    for (pod, node) in waiting.zip(free) {
        let (namespace, name) = (
            text(pod, "/metadata/namespace"),
            text(pod, "/metadata/name"),
        );
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
        plane.send_kubectl(["create", "--raw", &path, "--filename", "-"], &binding)?;
    }
    Ok(())
}
