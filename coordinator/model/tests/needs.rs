//! What a cluster needs beyond what agents try: backends of webhooks and of aggregated APIs at the ports that are dialled.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it expects by failing"
)]

use std::fs;
use std::path::Path;

use reachproof_model::describe::{Described, parse};
use reachproof_model::expectation::ExpectationName;
use reachproof_model::expectation::needs::{Needs, needs};
use reachproof_model::expectation::requirements;
use reachproof_model::expectation::sign::{Speaks, signs};
use reachproof_model::plan::Roster;
use reachproof_model::snapshot::Snapshot;
use serde_json::{Map, Value, json};

/// The answers of a replayed thread.
fn answers(id: &str) -> Map<String, Value> {
    let path = format!("../../tests/field/{id}.thread.json");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut thread = parse(&fs::read_to_string(path).unwrap()).unwrap();
    match thread["snapshot"].take() {
        Value::Object(answers) => answers,
        other => panic!("{other} is no snapshot"),
    }
}

/// A cluster with one webhook, `chaos-hook` at 443, whose pod listens on 9443.
fn webhook() -> Map<String, Value> {
    answers("webhook-port-behind-service")
}

fn of(answers: &Map<String, Value>) -> Needs {
    let described = Described::from(answers.clone());
    needs(&Snapshot::decode(&described).unwrap().snapshot)
}

/// The flows of one kind of need, as people read them.
fn flows(needs: &Needs, name: ExpectationName) -> Vec<String> {
    let own = needs.needs.iter().filter(|need| need.name == name);
    own.flat_map(|need| &need.flows)
        .map(ToString::to_string)
        .collect()
}

/// Where the webhook is dialled from the first interface of the control plane.
fn dialled(answers: &Map<String, Value>) -> Vec<String> {
    let all = flows(&of(answers), ExpectationName::ControlPlaneToWebhook);
    let first = all
        .iter()
        .filter_map(|flow| flow.strip_prefix("10.40.1.11 -> "));
    first.map(str::to_owned).collect()
}

/// The slice of the webhook's service.
fn slice(answers: &mut Map<String, Value>) -> &mut Value {
    let items = answers["endpointslices"]["items"].as_array_mut().unwrap();
    let mut own = items
        .iter_mut()
        .filter(|item| item["metadata"]["namespace"] == "chaos");
    own.next().unwrap()
}

/// The port of the webhook's service.
fn service(answers: &mut Map<String, Value>) -> &mut Value {
    let items = answers["services"]["items"].as_array_mut().unwrap();
    let mut own = items
        .iter_mut()
        .filter(|item| item["metadata"]["namespace"] == "chaos");
    own.next().unwrap()
}

#[test]
fn a_webhook_is_needed_from_every_control_plane_interface_at_its_target_port() {
    let needs = of(&webhook());
    assert_eq!(
        flows(&needs, ExpectationName::ControlPlaneToWebhook),
        [
            "10.40.1.11 -> 10.40.2.21 tcp/9443",
            "10.40.2.11 -> 10.40.2.21 tcp/9443"
        ],
    );
    let subjects: Vec<_> = needs
        .needs
        .iter()
        .filter_map(|need| need.subject.as_deref())
        .collect();
    assert_eq!(subjects, ["webhook chaos (service chaos/chaos-hook)"]);
    assert_eq!(
        (needs.unknown.as_slice(), needs.idle.as_slice()),
        (&[][..], &[][..])
    );
}

#[test]
fn of_several_ports_of_a_service_the_one_that_the_webhook_names_counts() {
    let mut answers = webhook();
    service(&mut answers)["spec"]["ports"] = json!([
        {"name": "metrics", "port": 8080, "targetPort": 8081},
        {"name": "hook", "port": 443, "targetPort": "https"},
    ]);
    slice(&mut answers)["ports"] = json!([
        {"name": "metrics", "port": 8081, "protocol": "TCP"},
        {"name": "hook", "port": 10_250, "protocol": "TCP"},
    ]);
    assert_eq!(dialled(&answers), ["10.40.2.21 tcp/10250"]);
}

#[test]
fn an_endpoint_that_is_not_ready_is_needed_and_one_that_ends_is_not() {
    let mut answers = webhook();
    slice(&mut answers)["endpoints"] = json!([
        {"addresses": ["10.40.2.21"], "conditions": {"ready": false}},
        {"addresses": ["10.40.2.22"], "conditions": {"ready": false, "terminating": true}},
    ]);
    assert_eq!(dialled(&answers), ["10.40.2.21 tcp/9443"]);
    slice(&mut answers)["endpoints"] = json!([]);
    let needs = of(&answers);
    assert_eq!(
        needs.idle,
        ["webhook chaos (service chaos/chaos-hook) has no endpoint"]
    );
    assert!(needs.unknown.is_empty());
}

#[test]
fn without_slices_the_pods_that_a_service_selects_are_needed() {
    let mut answers = webhook();
    answers.remove("endpointslices");
    for pod in answers["pods"]["items"].as_array_mut().unwrap() {
        if pod["metadata"]["namespace"] == "chaos" {
            pod["metadata"]["labels"] = json!({"app": "chaos-hook"});
        }
    }
    assert_eq!(dialled(&answers), ["10.40.2.21 tcp/9443"]);
}

#[test]
fn a_webhook_whose_endpoints_nobody_knows_is_unknown_and_not_fine() {
    let mut answers = webhook();
    answers.remove("endpointslices");
    answers.remove("services");
    let needs = of(&answers);
    assert!(flows(&needs, ExpectationName::ControlPlaneToWebhook).is_empty());
    assert_eq!(
        needs.unknown,
        [
            "webhook chaos (service chaos/chaos-hook): the snapshot does not say where its service leads"
        ],
    );
}

#[test]
fn a_webhook_at_a_url_and_an_api_of_the_server_itself_are_dialled_nowhere() {
    let mut answers = webhook();
    answers["validatingwebhookconfigurations"]["items"][0]["webhooks"][0]["clientConfig"] =
        json!({"url": "https://hook.example.org/v"});
    answers.insert(
        "apiservices".to_owned(),
        json!({"kind": "List", "items": [{"kind": "APIService", "metadata": {"name": "v1.apps"},
            "spec": {"group": "apps", "version": "v1"}}]}),
    );
    let needs = of(&answers);
    assert!(needs.needs.iter().all(|need| need.subject.is_none()));
    assert!(needs.unknown.is_empty());
}

#[test]
fn a_conversion_webhook_is_needed_at_its_target_port_unless_nothing_is_converted_or_by_a_url() {
    let mut answers = webhook();
    answers.remove("validatingwebhookconfigurations");
    let mut with = |conversion: Value| {
        let definition = json!({"kind": "CustomResourceDefinition", "metadata": {"name": "faults.chaos.example"},
            "spec": {"conversion": conversion}});
        let list = json!({"kind": "List", "items": [definition]});
        answers.insert("customresourcedefinitions".to_owned(), list);
        let needs = of(&answers);
        let subjects = needs.needs.iter().filter_map(|need| need.subject.clone());
        (subjects.collect::<Vec<_>>(), dialled(&answers))
    };
    let service = json!({"name": "chaos-hook", "namespace": "chaos"});
    let by = |config: Value| json!({"strategy": "Webhook", "webhook": {"clientConfig": config}});
    assert_eq!(
        with(by(json!({"service": service}))),
        (
            vec![
                "conversion webhook of faults.chaos.example (service chaos/chaos-hook)".to_owned()
            ],
            vec!["10.40.2.21 tcp/9443".to_owned()]
        )
    );
    let none = (Vec::new(), Vec::new());
    assert_eq!(with(json!({"strategy": "None"})), none);
    assert_eq!(with(by(json!({"url": "https://hook.example.org"}))), none);
    assert_eq!(with(Value::Null), none);
}

/// What the cluster says of one kind of need: what that speaks for, and in words.
fn said(answers: &Map<String, Value>, name: &ExpectationName) -> Vec<(Speaks, String)> {
    let snapshot = Snapshot::decode(&Described::from(answers.clone()))
        .unwrap()
        .snapshot;
    let needs = needs(&snapshot);
    let own = needs.needs.iter().filter(|need| need.name == *name);
    let said = own.flat_map(|need| {
        signs(
            &snapshot,
            (&need.name, need.subject.as_deref()),
            &need.flows,
        )
    });
    said.map(|sign| (sign.speaks, sign.to_string())).collect()
}

/// The nodes of a world, each with its condition Ready and the moment at which its lease was renewed.
fn heard(answers: &mut Map<String, Value>, nodes: &[(&str, &str, &str)]) {
    let mut leases = Vec::new();
    let items = answers["nodes"]["items"].as_array_mut().unwrap();
    assert_eq!(items.len(), nodes.len());
    for (node, (status, reason, renewed)) in items.iter_mut().zip(nodes) {
        node["status"]["conditions"] = json!([
            {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"},
            {"type": "Ready", "status": status, "reason": reason},
        ]);
        leases.push(
            json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
            "metadata": {"name": node["metadata"]["name"], "namespace": "kube-node-lease"},
            "spec": {"renewTime": renewed, "leaseDurationSeconds": 40}}),
        );
    }
    // One of somebody else, renewed later.
    leases.push(
        json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": "scheduler", "namespace": "kube-system"},
        "spec": {"renewTime": "2027-01-01T00:00:00.000000Z"}}),
    );
    let list = json!({"apiVersion": "v1", "kind": "List", "items": leases});
    answers.insert("leases".to_owned(), list);
}

#[test]
fn nodes_are_heard_by_their_condition_and_their_lease() {
    let mut answers = answers("metrics-server-two-gaps");
    let names: Vec<String> = answers["nodes"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| format!("node {}", node["metadata"]["name"].as_str().unwrap()))
        .collect();
    let [one, other] = names.as_slice() else {
        panic!("{names:?}")
    };
    let both = format!("{one}, {other}");
    let (ready, lost) = (
        ("True", "KubeletReady", "2026-11-30T08:40:01.5Z"),
        ("Unknown", "NodeStatusUnknown", "2026-11-30T08:39:10.0Z"),
    );
    let kubelet = ExpectationName::ControlPlaneToKubelet;
    heard(&mut answers, &[ready, ready]);
    let fine = (
        Speaks::For,
        format!("{both}: Ready is True (KubeletReady), lease renewed in time"),
    );
    assert_eq!(said(&answers, &kubelet), std::slice::from_ref(&fine));
    assert_eq!(said(&answers, &ExpectationName::NodeToControlPlane), [fine]);
    heard(&mut answers, &[ready, lost]);
    assert_eq!(
        said(&answers, &kubelet),
        [
            (
                Speaks::Against,
                format!(
                    "{other}: Ready is Unknown (NodeStatusUnknown), lease not renewed for more than 40 s"
                )
            ),
            (
                Speaks::For,
                format!("{one}: Ready is True (KubeletReady), lease renewed in time")
            ),
        ]
    );
    // Who says that it is not ready is heard.
    let unready = ("False", "KubeletNotReady", "2026-11-30T08:40:01.5Z");
    heard(&mut answers, &[ready, unready]);
    assert_eq!(
        said(&answers, &kubelet)[0],
        (
            Speaks::Neither,
            format!("{other}: Ready is False (KubeletNotReady), lease renewed in time")
        )
    );
    answers.remove("leases");
    let text = &said(&answers, &kubelet)[1].1;
    assert!(text.ends_with("Ready is True (KubeletReady)"), "{text}");
    // No need or verdict rests on it.
    let before = of(&answers);
    heard(&mut answers, &[lost, lost]);
    assert_eq!(of(&answers), before);
}

#[test]
fn an_aggregated_api_says_itself_whether_it_is_reached() {
    let mut answers = webhook();
    answers.remove("validatingwebhookconfigurations");
    let mut with = |condition: Value| {
        let service = json!({"name": "chaos-hook", "namespace": "chaos", "port": 443});
        let own = json!({"kind": "APIService", "metadata": {"name": "v1.chaos.example"},
            "spec": {"group": "chaos.example", "version": "v1", "service": service},
            "status": {"conditions": [condition]}});
        answers.insert(
            "apiservices".to_owned(),
            json!({"kind": "List", "items": [own]}),
        );
        said(&answers, &ExpectationName::ControlPlaneToApiService)
    };
    let condition = |status: &str, reason: &str, message: &str| json!({"type": "Available", "status": status, "reason": reason, "message": message});
    let message = "failing or missing response from https://10.40.2.21:9443/apis/chaos.example/v1: context deadline exceeded";
    assert_eq!(
        with(condition("False", "FailedDiscoveryCheck", message)),
        [(
            Speaks::Against,
            format!(
                "APIService v1.chaos.example: Available is False (FailedDiscoveryCheck): {message}"
            )
        )]
    );
    assert_eq!(
        with(condition("True", "Passed", "all checks passed"))[0].0,
        Speaks::For
    );
    // Nothing of the network (G.2).
    for reason in [
        "ServiceNotFound",
        "ServicePortError",
        "EndpointsNotFound",
        "MissingEndpoints",
    ] {
        assert_eq!(
            with(condition("False", reason, ""))[0].0,
            Speaks::Neither,
            "{reason}"
        );
    }
    assert_eq!(with(condition("Unknown", "", ""))[0].0, Speaks::Neither);
    let long = with(condition(
        "False",
        "FailedDiscoveryCheck",
        &"x".repeat(10_000),
    ));
    assert!(long[0].1.len() < 500, "{}", long[0].1.len());
    assert!(with(json!({"type": "Other", "status": "True"})).is_empty());
}

#[test]
fn a_metrics_server_needs_the_kubelets_of_all_nodes() {
    let needs = of(&answers("metrics-server-two-gaps"));
    assert_eq!(
        flows(&needs, ExpectationName::MetricsToKubelet),
        [
            "10.40.1.21 -> 10.40.1.20 tcp/10250 (pod)",
            "10.40.1.21 -> 10.40.2.20 tcp/10250 (pod)"
        ],
    );
}

#[test]
fn nodes_need_coredns_over_both_protocols() {
    let needs = of(&answers("pod-group-and-dns"));
    let found = flows(&needs, ExpectationName::NodeToCoreDns);
    for flow in [
        "10.40.1.20 -> 10.40.2.21 tcp/53",
        "10.40.1.20 -> 10.40.2.21 udp/53",
    ] {
        assert!(found.iter().any(|found| found == flow), "{found:?}");
    }
}

#[test]
fn a_run_is_measured_by_what_agents_and_api_servers_can_try() {
    let described = Described::from(webhook());
    let snapshot = Snapshot::decode(&described).unwrap().snapshot;
    let found = requirements(&snapshot, &Roster::default()).requirements;
    let names: Vec<_> = found
        .iter()
        .map(|requirement| requirement.name.clone())
        .collect();
    assert_eq!(
        names,
        [
            ExpectationName::NodeToControlPlane,
            ExpectationName::PodToControlPlane,
            ExpectationName::ControlPlaneToKubelet,
            ExpectationName::ControlPlaneToWebhook,
        ],
    );
}

#[test]
fn a_snapshot_without_a_cluster_has_no_needs_and_says_so() {
    let mut answers = webhook();
    answers.remove("describe-cluster");
    let needs = of(&answers);
    assert!(needs.needs.is_empty());
    assert_eq!(
        needs.unknown,
        ["the snapshot has no cluster: `describe-cluster` is missing"]
    );
}
