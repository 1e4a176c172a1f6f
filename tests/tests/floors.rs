//! Imports go down, never sideways (ARCHITECTURE, "Floors"), as `cargo metadata` sees them.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Names of the packages that each package links, tests and build scripts left out.
fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--all-features"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| panic!("cannot start cargo: {error}"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeMap<&str, &str> = packages
        .iter()
        .map(|package| {
            (
                package["id"].as_str().unwrap(),
                package["name"].as_str().unwrap(),
            )
        })
        .collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let links = node["deps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| {
                dependency["dep_kinds"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|kind| kind["kind"].is_null())
            });
        let links = links.map(|dependency| names[dependency["pkg"].as_str().unwrap()].to_owned());
        graph
            .entry(names[node["id"].as_str().unwrap()].to_owned())
            .or_default()
            .extend(links);
    }
    graph
}

/// Every package that `package` links, directly or not.
fn linked(package: &str) -> BTreeSet<String> {
    let graph = graph();
    assert!(graph.contains_key(package), "no package {package}");
    let mut found = BTreeSet::new();
    let mut next = vec![package.to_owned()];
    while let Some(name) = next.pop() {
        for dependency in &graph[&name] {
            if found.insert(dependency.clone()) {
                next.push(dependency.clone());
            }
        }
    }
    found
}

/// Fails if `package` links a package that `unwanted` says.
fn links_no(package: &str, unwanted: impl Fn(&str) -> bool) {
    let found: Vec<String> = linked(package)
        .into_iter()
        .filter(|name| unwanted(name))
        .collect();
    assert!(found.is_empty(), "{package} links {found:?}");
}

/// Packages of AWS or Kubernetes.
fn is_cloud(name: &str) -> bool {
    name.starts_with("aws-") || name == "kube" || name.starts_with("kube-") || name == "k8s-openapi"
}

/// Packages that wait or talk.
fn is_asynchronous(name: &str) -> bool {
    ["tokio", "tonic", "hyper", "mio", "socket2", "futures-util"].contains(&name)
}

#[test]
fn the_lab_links_nothing_that_predicts_or_judges() {
    links_no("reachproof-lab", |name| {
        name.starts_with("reachproof") && name != "reachproof-start"
    });
}

#[test]
fn what_is_built_before_the_lab_links_nothing() {
    links_no("reachproof-start", |_| true);
}

#[test]
fn the_agent_links_neither_a_cloud_nor_the_model() {
    links_no("reachproof-agent", |name| {
        is_cloud(name) || (name.starts_with("reachproof") && name != "reachproof-proto")
    });
}

#[test]
fn the_model_neither_waits_nor_talks() {
    links_no("reachproof-model", |name| {
        is_cloud(name) || is_asynchronous(name) || name.starts_with("reachproof")
    });
}

#[test]
fn neither_side_of_the_wire_knows_the_other() {
    links_no("reachproof-proto", |name| name.starts_with("reachproof"));
    links_no("reachproof-verify", |name| {
        is_cloud(name) || name == "reachproof-agent"
    });
}

#[test]
fn a_single_run_brings_no_database_and_the_service_no_cloud() {
    links_no("reachproof-verify", |name| name.starts_with("sqlx"));
    links_no("reachproof-service", |name| {
        is_cloud(name) || name == "reachproof-agent"
    });
    assert!(linked("reachproof-service").contains("sqlx"));
}

#[test]
fn one_tls_provider_is_linked() {
    links_no("reachproof-tests", |name| {
        [
            "openssl",
            "openssl-sys",
            "native-tls",
            "aws-lc-rs",
            "aws-lc-sys",
        ]
        .contains(&name)
    });
}

#[test]
fn what_is_linked_is_found_through_others() {
    // The other tests could not fail if nothing were ever found.
    let found = linked("reachproof-tests");
    for name in ["reachproof-proto", "reachproof-model", "tokio", "ring"] {
        assert!(found.contains(name), "{name}");
    }
}
