//! What the cluster says by itself: written by real API servers, named beside what they find, and nothing rests on it.

use std::fs;
use std::process::Command;

use reachproof_lab::kubernetes::ControlPlane;
use reachproof_tests::deployment::until;
use reachproof_tests::dialling::Outcome;
use reachproof_tests::harness::CaseResult;
use reachproof_tests::stage::Stage;
use serde_json::{Map, Value, json};

use crate::ensure;

/// Namespace of the leases of nodes.
const LEASES: &str = "kube-node-lease";

/// How long ago the kubelet was last heard that is heard no more.
const LONG_AGO: u64 = 600;

/// Lays down the world's aggregated APIs and leases of its nodes, waits until an API server has tried the former, and puts
/// what it lists then into the snapshot.
pub(crate) fn let_the_cluster_speak(stage: &Stage, plane: &ControlPlane) -> CaseResult {
    let snapshot = &stage.expanded.plan.snapshot;
    let apis = items(snapshot, "apiservices");
    for slice in items(snapshot, "endpointslices") {
        let is_backend = slice.pointer("/metadata/namespace") == Some(&json!("default"))
            && slice.pointer("/metadata/name") != Some(&json!("kubernetes"));
        if is_backend {
            plane.send_kubectl(["create", "--filename", "-"], slice)?;
        }
    }
    for api in apis {
        let mut api = api.clone();
        let spec = api.get_mut("spec").and_then(Value::as_object_mut);
        spec.ok_or("no spec")?.extend([
            ("groupPriorityMinimum".to_owned(), json!(100)),
            ("versionPriority".to_owned(), json!(100)),
            ("insecureSkipTLSVerify".to_owned(), json!(true)),
        ]);
        plane.send_kubectl(["create", "--filename", "-"], &api)?;
    }
    for (node, ago) in items(snapshot, "nodes").iter().zip([0, LONG_AGO]) {
        plane.send_kubectl(["create", "--filename", "-"], &lease(node, ago)?)?;
    }
    let reason = "jsonpath={.items[*].status.conditions[?(@.type=='Available')].reason}";
    until("aggregated APIs were tried", || {
        let said = plane.run_kubectl(["get", "apiservices", "--output", reason])?;
        Ok(said.matches("FailedDiscoveryCheck").count() == apis.len())
    })?;
    let mut read: Map<String, Value> =
        serde_json::from_str(&fs::read_to_string(stage.snapshot())?)?;
    for (stem, namespace) in [("apiservices", "default"), ("leases", LEASES)] {
        let words = ["get", stem, "--namespace", namespace, "--output", "json"];
        let listed = plane.run_kubectl(words)?;
        read.insert(stem.to_owned(), serde_json::from_str(&listed)?);
    }
    Ok(fs::write(
        stage.snapshot(),
        Value::Object(read).to_string(),
    )?)
}

/// The objects of an answer.
fn items<'s>(snapshot: &'s Map<String, Value>, stem: &str) -> &'s [Value] {
    let items = snapshot.get(stem).and_then(|answer| answer.get("items"));
    items.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The lease of a node whose kubelet renewed it so many seconds ago.
fn lease(node: &Value, ago: u64) -> Outcome<Value> {
    let when = format!("--date={ago} seconds ago");
    let date = Command::new("date")
        .args(["--utc", &when, "+%Y-%m-%dT%H:%M:%S.000000Z"])
        .output()?;
    let renewed = String::from_utf8(date.stdout)?;
    let name = node.pointer("/metadata/name");
    Ok(json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASES},
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": 40,
            "renewTime": renewed.trim(),
        },
    }))
}

/// What the cluster says stands beside what was found: of the aggregated APIs that it calls unavailable one is broken and
/// one as predicted, and a node is met that it has not heard for long.
pub(crate) fn are_named_and_decide_nothing(report: &Value) -> CaseResult {
    let against = |name: &str, subject: &str| -> Vec<(String, String)> {
        let all = report["expectations"].as_array().into_iter().flatten();
        let own = all.filter(|one| {
            let of = one.get("subject").and_then(Value::as_str);
            one["name"] == name && of.unwrap_or_default().contains(subject)
        });
        let signs = own.filter_map(|one| Some((one["state"].as_str()?, one["signs"].as_array()?)));
        let against = signs.flat_map(|(state, signs)| {
            let own = signs.iter().filter(|sign| sign["speaks"] == "against");
            own.map(move |sign| (state.to_owned(), sign["text"].to_string()))
        });
        against.collect()
    };
    for (name, subject, state, words) in [
        (
            "control plane to API service",
            "v1beta1.metrics",
            "predicted",
            "10.0.2.21:4443",
        ),
        (
            "control plane to API service",
            "v1beta1.external",
            "broken",
            "10.0.1.20:10260",
        ),
        (
            "node to control plane 443",
            "",
            "met",
            "lease not renewed for more than 40 s",
        ),
    ] {
        let found = against(name, subject);
        let [(told, text)] = found.as_slice() else {
            return Err(format!("{name} {subject}: {found:?}").into());
        };
        println!("  {state}: {name} {subject}, while the cluster says {text}");
        ensure(told == state && text.contains(words), || {
            format!("{name} {subject}: {found:?}")
        })?;
    }
    Ok(())
}
