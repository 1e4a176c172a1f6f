//! What of an object is kept.

use serde_json::{Value, json};

use super::{list, object, reduce_cni};
use crate::resource::{RESOURCES, Resource};

fn resource(stem: &str) -> Resource {
    *RESOURCES
        .iter()
        .find(|resource| resource.stem == stem)
        .unwrap()
}

#[test]
fn fields_that_change_by_themselves_are_left_out() {
    let pod = json!({
        "metadata": {
            "name": "p", "namespace": "n", "uid": "u", "resourceVersion": "17", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"manager": "kubelet"}],
            "annotations": {"vpc.amazonaws.com/pod-eni": "[]", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "labels": {"b": "2", "a": "1"},
        },
        "spec": {"nodeName": "node", "containers": [{"name": "c", "env": [{"name": "PASSWORD", "value": "secret"}]}]},
        "status": {"podIP": "10.0.0.1", "phase": "Running", "startTime": "2026-01-01T00:00:00Z",
                   "conditions": [{"type": "Ready", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    let kept = object(&resource("pods"), &pod);
    assert_eq!(
        kept.to_string(),
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"annotations":{"vpc.amazonaws.com/pod-eni":"[]"},"labels":{"a":"1","b":"2"},"name":"p","namespace":"n"},"spec":{"containers":[{"name":"c"}],"nodeName":"node"},"status":{"phase":"Running","podIP":"10.0.0.1"}}"#
    );
}

#[test]
fn heartbeats_of_a_node_are_left_out_and_its_readiness_is_kept() {
    let node = |heartbeat: &str| {
        json!({
            "metadata": {"name": "n", "labels": {}},
            "spec": {"providerID": "aws:///eu-west-1a/i-1", "taints": [{"key": "k"}]},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat}],
                "images": [{"sizeBytes": 1}],
            },
        })
    };
    let nodes = resource("nodes");
    let kept = object(&nodes, &node("2026-01-01T00:00:00Z"));
    assert_eq!(kept, object(&nodes, &node("2026-01-01T00:05:00Z")));
    assert_eq!(
        kept.pointer("/status/conditions"),
        Some(&json!([{"type": "Ready", "status": "True"}]))
    );
    assert_eq!(kept.pointer("/status/images"), None);
}

#[test]
fn items_are_sorted_by_namespace_and_name_whatever_their_order() {
    let item =
        |namespace: &str, name: &str| json!({"metadata": {"namespace": namespace, "name": name}});
    let sorted = list(vec![item("a", "x"), item("a", "y"), item("b", "a")]);
    assert_eq!(
        list(vec![item("b", "a"), item("a", "y"), item("a", "x")]),
        sorted
    );
    assert_eq!(sorted.get("kind"), Some(&json!("List")));
}

#[test]
fn an_empty_selector_survives_since_it_selects_everything() {
    let policy = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"podSelector": {}}});
    let kept = object(&resource("networkpolicies"), &policy);
    assert_eq!(kept.pointer("/spec/podSelector"), Some(&json!({})));
}

#[test]
fn certificates_of_webhooks_are_left_out_and_their_backends_kept() {
    let configuration = json!({
        "metadata": {"name": "w"},
        "webhooks": [{
            "name": "w.example.com",
            "clientConfig": {"caBundle": "LS0t", "service": {"name": "s", "namespace": "n", "port": 443}},
            "failurePolicy": "Fail",
            "rules": [{"operations": ["*"]}],
        }],
    });
    let kept = object(&resource("validatingwebhookconfigurations"), &configuration);
    let service = json!({"name": "s", "namespace": "n", "port": 443});
    assert_eq!(
        kept.get("webhooks"),
        Some(
            &json!([{"clientConfig": {"service": service}, "failurePolicy": "Fail", "name": "w.example.com"}])
        )
    );
}

fn daemon_set(env: &Value, env_from: &Value) -> Value {
    let containers = json!([
        {"name": "aws-node", "image": "cni:v1.20.0", "env": env, "envFrom": env_from},
        {"name": "aws-eks-nodeagent", "image": "agent:v1.0.0", "env": []},
    ]);
    json!({"metadata": {"name": "aws-node", "namespace": "kube-system"},
           "spec": {"template": {"spec": {"containers": containers}}}})
}

#[test]
fn settings_of_the_cni_are_kept_and_other_variables_are_not() {
    let env = json!([
        {"name": "AWS_VPC_K8S_CNI_EXTERNALSNAT", "value": "true"},
        {"name": "HTTPS_PROXY", "value": "http://user:password@proxy"},
    ]);
    let mut kept = object(&resource("aws-node"), &daemon_set(&env, &json!([])));
    assert_eq!(reduce_cni(&mut kept), Vec::<String>::new());
    assert!(!kept.to_string().contains("password"));
    assert_eq!(
        kept.pointer("/spec/template/spec/containers/0/env"),
        Some(&json!([{"name": "AWS_VPC_K8S_CNI_EXTERNALSNAT", "value": "true"}]))
    );
    assert_eq!(kept.pointer("/spec/template/spec/containers/1"), None);
}

#[test]
fn settings_that_come_from_elsewhere_are_named() {
    let env = json!([
        {"name": "AWS_VPC_K8S_CNI_EXTERNALSNAT", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "MY_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]);
    let from = json!([{"configMapRef": {"name": "c"}}]);
    let mut kept = object(&resource("aws-node"), &daemon_set(&env, &from));
    assert_eq!(
        reduce_cni(&mut kept),
        ["envFrom", "AWS_VPC_K8S_CNI_EXTERNALSNAT"]
    );
}
