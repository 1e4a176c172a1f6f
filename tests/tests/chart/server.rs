//! What a real API server says of what is rendered.

use std::fs;

use reachproof_lab::world::World;
use reachproof_tests::dialling;
use reachproof_tests::harness::CaseResult;
use serde_json::{Value, json};

use super::values::{GOOD, whole};
use super::{RELEASE, helm, nothing};

/// Kinds of the Prometheus operator, which a cluster may have.
const KINDS: [(&str, &str); 2] = [
    ("ServiceMonitor", "servicemonitors"),
    ("PrometheusRule", "prometheusrules"),
];

pub(crate) fn takes_what_is_rendered() -> CaseResult {
    let stage = dialling::stage(&World::builtin("default")?)?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    for namespace in [RELEASE.1, "reachproof-host", "fargate"] {
        // Found there already where the world has it.
        let _there = plane.run_kubectl(["create", "namespace", namespace]);
        if namespace != "reachproof-host" {
            let warn = "pod-security.kubernetes.io/warn=restricted";
            plane.run_kubectl(["label", "namespace", namespace, warn])?;
        }
    }
    // Pods are taken only where their account is there.
    for account in ["reachproof-coordinator", "probes-coordinator"] {
        plane.run_kubectl([
            "--namespace",
            RELEASE.1,
            "create",
            "serviceaccount",
            account,
        ])?;
    }
    for kind in KINDS {
        plane.send_kubectl(["create", "--filename", "-"], &definition(kind))?;
    }
    let helm = helm()?;
    let (mut found, mut count) = (Vec::new(), 0);
    for (name, values) in GOOD {
        let rendered = helm.render(RELEASE, &whole(values), &[])?;
        let file = stage.log("rendered");
        fs::write(&file, &rendered.text)?;
        let mut command = plane.kubectl()?;
        let words = [
            "apply",
            "--dry-run=server",
            "--validate=strict",
            "--output=name",
        ];
        let output = command.args(words).arg("--filename").arg(&file).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let complaints = said
            .lines()
            // Namespaces and accounts were not made by `apply`, which says that it takes them over.
            .filter(|line| !line.contains("last-applied-configuration"));
        let complaints: Vec<&str> = complaints.collect();
        if !output.status.success() || !complaints.is_empty() || !rendered.is_done {
            found.push(format!(
                "{name}: {}: {said}{}",
                output.status, rendered.said
            ));
        }
        count += String::from_utf8_lossy(&output.stdout).lines().count();
    }
    nothing(&found)?;
    println!(
        "  {} sets of values, {count} objects taken, no warning",
        GOOD.len()
    );
    Ok(())
}

/// A kind whose objects may hold anything.
fn definition((kind, plural): (&str, &str)) -> Value {
    let group = "monitoring.coreos.com";
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
            }],
        },
    })
}
