//! The way to an installed coordinator, and how it is closed.

use reachproof_kube::forward::{Forward, ForwardError, beneath};
use reachproof_kube::installed::{FindError, Installed};
use serde_json::{Value, json};

use crate::support::{Fake, Reply};

fn service(namespace: &str) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": "x", "labels": {"app.kubernetes.io/instance": "probes"}},
        "spec": {"selector": {"app": "x"}, "ports": [{"name": "web", "port": 7080}]},
    })
}

fn pod(name: &str, ready: &str, born: &str) -> Value {
    json!({
        "metadata": {"namespace": "network", "name": name, "creationTimestamp": born},
        "spec": {"nodeName": "node-1", "containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    })
}

/// A server with a coordinator whose pods are `pods`, that answers a port-forward with `forward`.
async fn server(pods: Vec<Value>, forward: Reply) -> (Fake, Forward) {
    let fake = Fake::start(move |path, _| match path {
        "/version" => Reply::ok(json!({"gitVersion": "v1.36.3"})),
        "/readyz" => Reply::Text(200, "ok"),
        path if path.contains("/portforward") => forward.clone(),
        path if path.contains("/services") => Reply::ok(json!({"items": [service("network")]})),
        path if path.contains("/pods") => Reply::ok(json!({"items": pods})),
        _ => Reply::status(404, "no"),
    })
    .await;
    let server = fake.connect().await;
    let installed = Installed::find(&server, None, None).await.unwrap();
    (fake, Forward::new(server, installed))
}

#[tokio::test]
async fn a_kubelet_that_the_api_server_does_not_reach_is_named_with_its_words() {
    let said = "error dialing backend: dial tcp 10.0.1.20:10250: i/o timeout";
    let pods = vec![
        pod("old", "False", "2026-01-01T00:00:00Z"),
        pod("x-1", "True", "2025-01-01T00:00:00Z"),
    ];
    let (fake, forward) = server(pods, Reply::status(500, said)).await;
    let error = forward.open().await.unwrap_err();
    assert!(matches!(error, ForwardError::Kubelet { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!("control plane to kubelet of node-1 tcp/10250: the port-forward failed: {said}")
    );
    let advice = beneath(&error).unwrap().advice().unwrap();
    assert!(
        advice.remedy.contains("'control plane' node-1 10250"),
        "{advice:?}"
    );
    let asked = fake.paths("/portforward");
    // The pod that is ready, not the youngest.
    assert!(
        asked[0].contains("/namespaces/network/pods/x-1/portforward?"),
        "{asked:?}"
    );
    assert!(asked[0].contains("ports=7080"), "{asked:?}");
}

#[tokio::test]
async fn a_missing_right_is_no_closed_way_and_says_what_to_grant() {
    let pods = vec![pod("x-1", "True", "")];
    let (_fake, forward) = server(pods, Reply::status(403, "no right")).await;
    let error = forward.open().await.unwrap_err();
    assert_eq!(error.advice(), None);
    let text = error.to_string();
    for words in [
        "access denied: no right",
        "pods/portforward",
        "create, get",
        "namespace `network`",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test]
async fn a_pod_that_is_missing_or_not_ready_is_not_asked() {
    for (pods, wanted) in [
        (vec![], "the Service network/x has no pod"),
        (
            vec![pod("x-1", "False", "")],
            "the pod network/x-1 is not ready: Running",
        ),
    ] {
        let (fake, forward) = server(pods, Reply::status(500, "not asked")).await;
        let error = forward.open().await.unwrap_err();
        assert_eq!(error.to_string(), wanted);
        assert!(error.advice().is_some());
        assert!(fake.paths("/portforward").is_empty());
    }
}

#[tokio::test]
async fn services_are_looked_for_where_they_are_meant_to_be() {
    let fake = Fake::start(|path, _| match path {
        "/version" => Reply::ok(json!({})),
        "/readyz" => Reply::Text(200, "ok"),
        path if path.contains("/namespaces/two/services") => {
            Reply::ok(json!({"items": [service("two"), service("two")]}))
        }
        path if path.contains("/namespaces/none/services") => Reply::ok(json!({"items": []})),
        _ => Reply::status(403, "no right"),
    })
    .await;
    let server = fake.connect().await;
    let find = async |namespace| Installed::find(&server, namespace, None).await.unwrap_err();
    assert!(matches!(find(Some("two")).await, FindError::Several { .. }));
    assert!(matches!(find(Some("none")).await, FindError::Nobody { .. }));
    let denied = find(None).await.to_string();
    assert!(denied.contains("pass -n NAMESPACE"), "{denied}");
    let asked = fake.paths("/api/v1/services");
    let selector = "labelSelector=app.kubernetes.io/name%3Dreachproof-coordinator";
    assert!(asked[0].contains(selector), "{asked:?}");
}
