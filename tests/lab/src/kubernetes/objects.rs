//! A world's Kubernetes half as objects that an API server accepts.
//!
//! An answer of a snapshot is what a reader keeps of an object; what an API server wants in addition is filled in here
//! with values that a reader does not keep.

use serde_json::{Map, Value, json};

use crate::kubernetes::KubernetesError;

/// The kinds that the VPC CNI and the VPC resource controller bring.
const DEFINITIONS: &str = include_str!("../../kubernetes/definitions.yaml");

/// Label with which EKS says what a node is.
const COMPUTE_TYPE: &str = "eks.amazonaws.com/compute-type";

/// Answers whose objects are created as they are, in this order: whatever is selected before whoever selects.
const AS_THEY_ARE: [&str; 5] = [
    "services",
    "networkpolicies",
    "securitygrouppolicies",
    "eniconfigs",
    "cninodes",
];

/// No image is ever pulled: there is no kubelet.
const IMAGE: &str = "reachproof/lab:none";

/// Makes the list of everything to create.
///
/// # Errors
/// [`KubernetesError::Answer`] for an answer that is no list, [`KubernetesError::Definitions`].
pub(super) fn list(snapshot: &Map<String, Value>) -> Result<Value, KubernetesError> {
    let mut objects: Vec<Value> =
        yaml_serde::from_str(DEFINITIONS).map_err(KubernetesError::Definitions)?;
    objects.extend(items(snapshot, "nodes")?.iter().map(node));
    for stem in AS_THEY_ARE {
        objects.extend(items(snapshot, stem)?.iter().cloned());
    }
    objects.extend(snapshot.get("aws-node").map(daemon_set));
    objects.extend(items(snapshot, "pods")?.iter().map(pod));
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": objects}))
}

fn items<'a>(snapshot: &'a Map<String, Value>, stem: &str) -> Result<&'a [Value], KubernetesError> {
    let Some(answer) = snapshot.get(stem) else {
        return Ok(&[]);
    };
    match answer.get("items") {
        Some(Value::Array(items)) => Ok(items),
        Some(_) | None => Err(KubernetesError::Answer {
            stem: stem.to_owned(),
            what: "it has no list `items`",
        }),
    }
}

fn set(object: &mut Value, path: &[&str], value: Value) {
    let mut place = object;
    for field in path {
        if !place.is_object() {
            *place = json!({});
        }
        let Value::Object(fields) = place else { return };
        place = fields.entry(*field).or_insert(Value::Null);
    }
    if place.is_null() {
        *place = value;
    }
}

/// Adds room for pods, without which the scheduler leaves a node out, and what keeps other pods off a Fargate node.
fn node(answer: &Value) -> Value {
    let mut node = answer.clone();
    let room = json!({"cpu": "2", "memory": "4Gi", "pods": "29"});
    for field in ["capacity", "allocatable"] {
        set(&mut node, &["status", field], room.clone());
    }
    let labels = node.pointer("/metadata/labels");
    let kind = labels.and_then(|labels| labels.get(COMPUTE_TYPE));
    if kind.is_some_and(|kind| kind == "fargate") {
        let taint = json!([{"key": COMPUTE_TYPE, "value": "fargate", "effect": "NoSchedule"}]);
        set(&mut node, &["spec", "taints"], taint);
    }
    node
}

/// Adds what admission wants, and that the pod is ready: a service then lists it.
fn pod(answer: &Value) -> Value {
    let mut pod = answer.clone();
    set(&mut pod, &["spec", "containers"], json!([{"name": "main"}]));
    add_images(pod.pointer_mut("/spec/containers"));
    let conditions: Value = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
        .iter()
        .map(|kind| json!({"type": kind, "status": "True"}))
        .collect();
    set(&mut pod, &["status", "conditions"], conditions);
    pod
}

/// Adds a selector, and a label that no node has: the settings are there, and no pod that nobody could start.
fn daemon_set(answer: &Value) -> Value {
    let labels = json!({"k8s-app": "aws-node"});
    let mut set_up = answer.clone();
    set(
        &mut set_up,
        &["spec", "selector", "matchLabels"],
        labels.clone(),
    );
    set(
        &mut set_up,
        &["spec", "template", "metadata", "labels"],
        labels,
    );
    let nowhere = json!({"reachproof.lab/no-node-has-this": "true"});
    set(
        &mut set_up,
        &["spec", "template", "spec", "nodeSelector"],
        nowhere,
    );
    add_images(set_up.pointer_mut("/spec/template/spec/containers"));
    set_up
}

fn add_images(containers: Option<&mut Value>) {
    for container in containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        set(container, &["image"], Value::from(IMAGE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_first_and_pods_last() {
        let node = json!({"kind": "Node", "metadata": {"name": "n"}});
        let pod =
            json!({"kind": "Pod", "metadata": {"name": "p"}, "status": {"podIP": "10.0.0.1"}});
        let snapshot = json!({"pods": {"items": [pod]}, "nodes": {"items": [node]}});
        let list = list(snapshot.as_object().unwrap()).unwrap();
        let kinds: Vec<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["kind"].as_str().unwrap())
            .collect();
        assert_eq!(kinds.first(), Some(&"CustomResourceDefinition"));
        assert_eq!(&kinds[kinds.len() - 2..], ["Node", "Pod"]);
    }

    #[test]
    fn a_pod_gets_an_image_and_keeps_what_it_has() {
        let pod =
            pod(&json!({"spec": {"containers": [{"name": "c"}, {"name": "d", "image": "i"}]}}));
        assert_eq!(
            pod["spec"]["containers"],
            json!([{"name": "c", "image": IMAGE}, {"name": "d", "image": "i"}])
        );
    }

    #[test]
    fn a_node_gets_room_and_a_fargate_node_its_taint() {
        let labelled = |kind: &str| node(&json!({"metadata": {"labels": {COMPUTE_TYPE: kind}}}));
        let (ec2, fargate) = (labelled("ec2"), labelled("fargate"));
        assert_eq!(ec2["status"]["allocatable"]["pods"], "29");
        assert_eq!(ec2.pointer("/spec/taints"), None);
        assert_eq!(
            fargate["spec"]["taints"],
            json!([{"key": COMPUTE_TYPE, "value": "fargate", "effect": "NoSchedule"}])
        );
    }

    #[test]
    fn an_answer_that_is_no_list_is_named() {
        let snapshot = json!({"pods": {"kind": "PodList"}});
        let error = list(snapshot.as_object().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot use the answer `pods`: it has no list `items`"
        );
    }
}
