//! What the manifests promise, one test each.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use clap::Parser;
use reachproof_model::describe::parse;
use reachproof_verify::credentials::CA_CERTIFICATE_FILE;
use serde_json::json;

use super::*;
use crate::cli::{Cli, Command};

/// The arguments that every call needs.
const NEEDED: [&str; 10] = [
    "reachproof",
    "manifests",
    "--snapshot",
    "unread",
    "--image",
    "registry.example/reachproof-agent:1",
    "--coordinator",
    "10.0.1.5:7443",
    "--tokens",
    "reviewed",
];

fn arguments(more: &[&str]) -> Arguments {
    let all = NEEDED.iter().chain(more);
    let Command::Manifests(arguments) = Cli::try_parse_from(all).unwrap().command else {
        panic!("another command");
    };
    arguments
}

/// The base world of SEMANTICS J with further answers.
fn snapshot(more: &[(&str, Value)]) -> Snapshot {
    let vector = include_str!("../../../../tests/vectors/F03.json");
    let mut vector = parse(vector).unwrap();
    let answers = vector["snapshot"].as_object_mut().unwrap();
    for (stem, answer) in more {
        answers.insert((*stem).to_owned(), answer.clone());
    }
    Snapshot::decode(&answers.clone().into()).unwrap().snapshot
}

/// A Fargate profile that selects these pods.
fn profile(selector: Value) -> (&'static str, Value) {
    let profile = json!({"fargateProfileName": "one", "subnets": [], "selectors": [selector]});
    (
        "describe-fargate-profile.one",
        json!({"fargateProfile": profile}),
    )
}

/// The objects for these arguments, with fixed credentials.
fn made(more: &[&str]) -> Vec<Value> {
    let audience = audience(&snapshot(&[])).unwrap();
    let agents = agents(&arguments(more), &snapshot(&[]), Some(&audience));
    objects(&agents, &contents(None))
}

/// The same with a signed token for each node.
fn made_signed() -> Vec<Value> {
    let token = ("n1".to_owned(), "rp1.e30.c2lnbmF0dXJl".to_owned());
    let tokens = BTreeMap::from([token]);
    objects(
        &agents(&arguments(&[]), &snapshot(&[]), None),
        &contents(Some(tokens)),
    )
}

fn contents(tokens: Option<BTreeMap<String, String>>) -> Contents {
    let policy = policy(&snapshot(&[])).unwrap();
    Contents {
        ca_certificate: "-----BEGIN CERTIFICATE-----\nQ0E=\n-----END CERTIFICATE-----\n".to_owned(),
        tokens,
        policy: yaml_serde::to_string(&policy).unwrap(),
    }
}

const EVERYTHING: [&str; 4] = [
    "--host-network",
    "--fargate",
    "reachproof/subnet=a",
    "apps/example.com/on=fargate",
];

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let kinds = objects.iter().filter(|object| object["kind"] == kind);
    kinds.collect()
}

/// DaemonSets and Deployments.
fn workloads(objects: &[Value]) -> Vec<&Value> {
    let mut found = of_kind(objects, "DaemonSet");
    found.extend(of_kind(objects, "Deployment"));
    found
}

fn pod(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]
}

fn names(objects: &[&Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names = objects.iter().map(|object| {
        let metadata = &object["metadata"];
        format!(
            "{}/{}",
            text(&metadata["namespace"]),
            text(&metadata["name"])
        )
    });
    names.collect()
}

#[test]
fn a_run_on_the_pod_network_needs_this() {
    let documents = made(&[]);
    let documents: Vec<String> = documents
        .iter()
        .map(|object| yaml_serde::to_string(object).unwrap())
        .collect();
    insta::assert_snapshot!(documents.join("---\n"));
}

#[test]
fn a_run_on_hosts_and_fargate_needs_these_agents_as_well() {
    let objects = made(&["--host-network", "--fargate", "reachproof/subnet=a"]);
    let documents: Vec<String> = workloads(&objects)
        .into_iter()
        .skip(1)
        .map(|object| yaml_serde::to_string(object).unwrap())
        .collect();
    insta::assert_snapshot!(documents.join("---\n"));
}

#[test]
fn no_agent_has_a_right_and_no_pod_has_its_token() {
    let objects = made(&EVERYTHING);
    assert!(of_kind(&objects, "ClusterRole").is_empty());
    let (roles, bindings) = (of_kind(&objects, "Role"), of_kind(&objects, "RoleBinding"));
    assert_eq!((roles.len(), bindings.len()), (3, 3));
    for role in roles {
        let resources = match role["metadata"]["namespace"].as_str() {
            Some("reachproof") => json!(["pods/log", "pods/proxy"]),
            _ => json!(["pods/proxy"]),
        };
        let rule = json!({"apiGroups": [""], "resources": resources, "verbs": ["get"]});
        assert_eq!(role["rules"], json!([rule]));
    }
    let coordinator = json!({"kind": "ServiceAccount", "name": "reachproof-coordinator", "namespace": "reachproof"});
    for binding in bindings {
        assert_eq!(binding["subjects"], json!([coordinator]));
    }
    let accounts = of_kind(&objects, "ServiceAccount");
    assert_eq!(accounts.len(), 3);
    for account in accounts {
        assert_eq!(account["automountServiceAccountToken"], false);
    }
    for workload in workloads(&objects) {
        assert_eq!(pod(workload)["automountServiceAccountToken"], false);
    }
}

#[test]
fn every_pod_is_restricted_but_for_the_network_of_its_host() {
    for workload in workloads(&made(&EVERYTHING)) {
        let pod = pod(workload);
        assert_eq!(
            pod["securityContext"],
            json!({
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            })
        );
        assert_eq!(
            pod["containers"][0]["securityContext"],
            json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            })
        );
        let on_host = workload["metadata"]["namespace"] == "reachproof-host";
        assert_eq!(pod["hostNetwork"].as_bool(), on_host.then_some(true));
    }
}

#[test]
fn hosts_have_agents_only_when_asked_for_and_in_a_namespace_of_their_own() {
    let objects = made(&[]);
    assert_eq!(
        names(&workloads(&objects)),
        ["reachproof/reachproof-agent-pod"]
    );
    let objects = made(&["--host-network"]);
    let host = "reachproof-host/reachproof-agent-host";
    assert_eq!(names(&of_kind(&objects, "DaemonSet"))[1], host);
    let enforced: Vec<&Value> = of_kind(&objects, "Namespace")
        .into_iter()
        .map(|namespace| &namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"])
        .collect();
    assert_eq!(enforced, ["restricted", "privileged"]);
}

#[test]
fn a_daemon_set_goes_to_no_fargate_hybrid_or_windows_node_and_to_all_others() {
    let objects = made(&EVERYTHING);
    for set in of_kind(&objects, "DaemonSet") {
        let required = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        assert_eq!(
            pod(set).pointer(required),
            Some(&json!([{"matchExpressions": [
                {"key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["fargate", "hybrid"]},
                {"key": "kubernetes.io/os", "operator": "NotIn", "values": ["windows"]},
            ]}]))
        );
        assert_eq!(pod(set)["tolerations"], json!([{"operator": "Exists"}]));
    }
}

#[test]
fn each_fargate_profile_gets_one_pod_with_its_label_and_without_an_affinity() {
    let objects = made(&EVERYTHING);
    let deployments = of_kind(&objects, "Deployment");
    assert_eq!(
        names(&deployments),
        [
            "reachproof/reachproof-agent-fargate-1",
            "apps/reachproof-agent-fargate-2"
        ]
    );
    let labels = |place: usize| &deployments[place]["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels(0)["subnet"], "a");
    assert_eq!(labels(1)["example.com/on"], "fargate");
    for deployment in deployments {
        assert_eq!(deployment["spec"].get("replicas"), None);
        assert_eq!(pod(deployment).get("affinity"), None);
        assert_eq!(pod(deployment).get("nodeSelector"), None);
    }
}

#[test]
fn a_namespace_of_somebody_else_gets_what_agents_need_and_is_not_itself_touched() {
    let objects = made(&EVERYTHING);
    assert_eq!(
        names(&of_kind(&objects, "Namespace")),
        ["/reachproof", "/reachproof-host"]
    );
    for kind in ["ServiceAccount", "ConfigMap"] {
        assert_eq!(
            names(&of_kind(&objects, kind)),
            [
                "reachproof/reachproof-agent",
                "reachproof-host/reachproof-agent",
                "apps/reachproof-agent"
            ]
        );
    }
}

#[test]
fn selectors_find_their_own_pods_and_no_others() {
    let objects = made(&EVERYTHING);
    let workloads = workloads(&objects);
    for (place, workload) in workloads.iter().enumerate() {
        let wanted = &workload["spec"]["selector"]["matchLabels"]["reachproof/agents"];
        for (other, candidate) in workloads.iter().enumerate() {
            let labels = &candidate["spec"]["template"]["metadata"]["labels"];
            assert_eq!(labels["reachproof/agents"] == *wanted, place == other);
        }
    }
}

#[test]
fn agents_may_connect_to_the_ranges_of_the_vpcs_but_not_to_services() {
    assert_eq!(
        policy(&snapshot(&[])).unwrap(),
        json!({
            "allow": ["10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16", "2600:1f14:abc::/56"],
            "deny": ["172.20.0.0/16"],
        })
    );
    let none = snapshot(&[("describe-vpcs", json!({"Vpcs": []}))]);
    assert!(matches!(policy(&none), Err(ManifestsError::NoRange)));
}

#[test]
fn a_verify_with_the_same_directory_uses_the_same_ca() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("credentials");
    let flag = format!("--credentials={}", directory.display());
    let now = SystemTime::UNIX_EPOCH;
    let first = text(&arguments(&[&flag]), &snapshot(&[]), now).unwrap();
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap();
    let documents: Vec<Value> = first
        .split("\n---\n")
        .skip(1)
        .map(|document| yaml_serde::from_str(document).unwrap())
        .collect();
    assert!(of_kind(&documents, "Secret").is_empty());
    let settings = of_kind(&documents, "ConfigMap")[0];
    assert_eq!(settings["data"]["ca.crt"], read(CA_CERTIFICATE_FILE));
    let again = text(&arguments(&[&flag]), &snapshot(&[]), now).unwrap();
    assert_eq!(first, again);

    // Neither command is told a directory: both take the same.
    let Command::Verify(verify) = Cli::try_parse_from([
        "reachproof",
        "verify",
        "--snapshot",
        "unread",
        "--listen",
        "0.0.0.0:7443",
    ])
    .unwrap()
    .command
    else {
        panic!("another command");
    };
    assert_eq!(verify.credentials(), arguments(&[]).credentials);
    assert_eq!(verify.credentials(), Path::new(CREDENTIALS_DIRECTORY));
}

#[test]
fn agents_are_told_only_an_endpoint_whose_name_they_take() {
    let told = |endpoint: &str| {
        let world = snapshot(&[(
            "describe-cluster",
            json!({"cluster": {"name": "demo", "endpoint": endpoint}}),
        )]);
        let agents = agents(&arguments(&[]), &world, None);
        agents[0]
            .cluster_endpoint
            .clone()
            .map(|name| name.as_str().to_owned())
    };
    let name = "0123.gr7.eu-central-1.eks.amazonaws.com";
    assert_eq!(told(&format!("https://{name}")).as_deref(), Some(name));
    assert_eq!(told("https://cluster.example"), None);
    assert_eq!(told(""), None);
}

#[test]
fn pods_that_no_fargate_profile_selects_are_refused() {
    let check = |selector: Value| {
        let asked = arguments(&["--fargate", "apps/subnet=a"]);
        let world = snapshot(&[profile(selector)]);
        check_profiles(
            &world,
            &agents(&asked, &world, audience(&world).ok().as_ref()),
        )
    };
    assert!(check(json!({"namespace": "apps", "labels": {"subnet": "?"}})).is_ok());
    let refused = check(json!({"namespace": "apps", "labels": {"subnet": "b"}}));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "no Fargate profile of the snapshot selects `apps/subnet=a`: make one that does, then read the cluster again"
    );
}

#[test]
fn a_fargate_profile_that_would_take_a_daemon_set_is_named() {
    let taken = snapshot(&[profile(json!({"namespace": "reachproof*"}))]);
    let audience = audience(&taken).unwrap();
    let refused = check_profiles(&taken, &agents(&arguments(&[]), &taken, Some(&audience)));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the Fargate profile `one` selects the pods of the DaemonSet in the namespace `reachproof`: give its selector a label"
    );
}

#[test]
fn an_agent_gets_a_token_for_this_installation_and_none_for_the_api_server() {
    let objects = made(&EVERYTHING);
    assert!(of_kind(&objects, "Secret").is_empty());
    for workload in workloads(&objects) {
        let pod = pod(workload);
        assert_eq!(pod["automountServiceAccountToken"], false);
        let volumes = pod["volumes"].as_array().unwrap();
        let token = volumes.iter().find(|volume| volume["name"] == "token");
        assert_eq!(
            token.unwrap()["projected"]["sources"],
            json!([{"serviceAccountToken": {
                "path": "token",
                "audience": "reachproof/demo/reachproof/reachproof",
                "expirationSeconds": 600,
            }}])
        );
    }
}

#[test]
fn without_an_api_server_each_host_gets_the_token_of_its_node() {
    let objects = made_signed();
    assert_eq!(
        names(&workloads(&objects)),
        ["reachproof-host/reachproof-agent-host"]
    );
    let documents: Vec<String> = objects
        .iter()
        .map(|object| yaml_serde::to_string(object).unwrap())
        .collect();
    insta::assert_snapshot!(documents.join("---\n"));
}

#[test]
fn signed_tokens_are_for_the_nodes_of_the_snapshot_and_for_no_pod() {
    let place = tempfile::tempdir().unwrap();
    let flag = format!("--credentials={}", place.path().join("c").display());
    let world = snapshot(&[(
        "nodes",
        json!({"items": [{
            "metadata": {"name": "ip-10-0-1-20"},
            "spec": {"providerID": "aws:///us-east-1a/i-0000000000000001a"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.20"}]},
        }]}),
    )]);
    let signed = |more: &[&str], world: &Snapshot| {
        let mut asked = arguments(&[&[flag.as_str()], more].concat());
        asked.tokens = None;
        text(&asked, world, SystemTime::UNIX_EPOCH)
    };
    let printed = signed(&[], &world).unwrap();
    assert!(printed.contains("  ip-10-0-1-20: rp1."), "{printed}");
    let pod = signed(&["--fargate", "apps/subnet=a"], &world);
    assert!(matches!(pod, Err(ManifestsError::FargateSigned)), "{pod:?}");
    let none = signed(&[], &snapshot(&[("nodes", json!({"items": []}))]));
    assert!(matches!(none, Err(ManifestsError::NoNodes)), "{none:?}");
}

/// A schedule for the base world.
const SCHEDULED: [&str; 4] = [
    "--schedule",
    "*/30 * * * *",
    "--coordinator-image",
    "registry.example/reachproof:1",
];

/// The objects of a schedule.
fn scheduled(more: &[&str]) -> Result<Vec<Value>, ManifestsError> {
    let asked = arguments(&[&SCHEDULED, more].concat());
    let snapshot = snapshot(&[]);
    Schedule::of(&asked, &snapshot)?.unwrap().objects()
}

#[test]
fn a_schedule_brings_a_job_that_keeps_its_reports_and_fails_as_its_run() {
    let objects = scheduled(&["--role", "arn:aws:iam::123456789012:role/reader"]).unwrap();
    let job = of_kind(&objects, "CronJob")[0];
    let spec = &job["spec"]["jobTemplate"]["spec"];
    let container = &spec["template"]["spec"]["containers"][0];
    let words: Vec<&str> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    assert_eq!(words[..3], ["verify", "--cluster", "demo"]);
    assert!(words.join(" ").contains("--keep 24"), "{words:?}");
    assert_eq!(spec["backoffLimit"], 0);
    assert_eq!(job["spec"]["concurrencyPolicy"], "Forbid");
    let account = of_kind(&objects, "ServiceAccount")[0];
    let role = &account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"];
    assert_eq!(role, "arn:aws:iam::123456789012:role/reader");
    assert!(
        of_kind(&objects, "Secret").is_empty(),
        "keys are in no manifest"
    );
}

#[test]
fn the_account_of_a_schedule_writes_reports_where_nothing_else_is() {
    let objects = scheduled(&[]).unwrap();
    let writing = |role: &&&Value| {
        let rules = role["rules"].to_string();
        ["create", "delete", "update", "patch"]
            .iter()
            .any(|verb| rules.contains(verb))
    };
    let mut found = of_kind(&objects, "Role");
    found.extend(of_kind(&objects, "ClusterRole"));
    let found: Vec<&Value> = found.iter().filter(writing).copied().collect();
    assert_eq!(
        names(&found),
        [
            "reachproof-history/reachproof-history",
            "reachproof/reachproof-history",
            "/reachproof-coordinator"
        ]
    );
    let events = &found[1]["rules"];
    assert_eq!(events[0]["resources"], json!(["events"]));
    assert_eq!(events[1]["verbs"], json!(["get"]));
}

#[test]
fn agents_of_a_schedule_dial_its_service_and_run_in_the_host_network_too() {
    let mut needed: Vec<&str> = NEEDED.to_vec();
    let coordinator = needed.iter().position(|word| *word == "--coordinator");
    needed.drain(coordinator.unwrap()..coordinator.unwrap() + 2);
    let parsed = Cli::try_parse_from(needed.iter().chain(&SCHEDULED)).unwrap();
    let Command::Manifests(asked) = parsed.command else {
        panic!("another command");
    };
    let audience = audience(&snapshot(&[])).unwrap();
    let agents = agents(&asked, &snapshot(&[]), Some(&audience));
    let objects = objects(&agents, &contents(None));
    let workloads = workloads(&objects);
    let dialled = "https://reachproof-coordinator.reachproof.svc:7443";
    assert_eq!(workloads.len(), 2);
    for workload in &workloads {
        assert!(workload.to_string().contains(dialled));
    }
    assert_eq!(pod(workloads[1])["dnsPolicy"], "ClusterFirstWithHostNet");
    assert!(pod(workloads[0]).get("dnsPolicy").is_none());
}

#[test]
fn an_address_in_the_range_of_services_is_that_of_the_service() {
    let range = json!({"cluster": {"name": "demo", "kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.0.0.0/16"}}});
    let world = snapshot(&[("describe-cluster", range)]);
    let asked = arguments(&SCHEDULED);
    let objects = Schedule::of(&asked, &world).unwrap().unwrap().objects();
    let objects = objects.unwrap();
    assert_eq!(
        of_kind(&objects, "Service")[0]["spec"]["clusterIP"],
        "10.0.1.5"
    );
    let outside = scheduled(&[]).unwrap();
    assert!(
        of_kind(&outside, "Service")[0]["spec"]
            .get("clusterIP")
            .is_none()
    );
}

#[test]
fn what_verify_does_not_take_is_refused_before_it_is_printed() {
    let taken = scheduled(&["--", "--settle", "2m"]).unwrap();
    assert!(of_kind(&taken, "CronJob")[0].to_string().contains("2m"));
    let refused = scheduled(&["--", "--settel", "2m"]);
    assert!(matches!(refused, Err(ManifestsError::Verify(_))));
}
