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
