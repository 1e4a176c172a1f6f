//! `cargo lab -- --snapshot PATH` builds the lab of a saved snapshot and runs `verify` in it.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use reachproof_lab::world::World;
use serde_json::{Value, json};

/// Runs the lab with these arguments.
fn lab(arguments: &[&OsStr]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reachproof-lab"))
        .args(arguments)
        .output()
        .unwrap()
}

/// Exit code and report of a run, and what was said beside it.
fn report(flag: &str, of: &OsStr) -> (Option<i32>, Value, String) {
    let output = lab(&["--output".as_ref(), "json".as_ref(), flag.as_ref(), of]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {said}"));
    (output.status.code(), report, said)
}

/// Flow and kind of every confirmed finding.
fn confirmed(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    let kind = |finding: &Value| finding["kind"].as_str().unwrap().to_owned();
    findings
        .filter(|finding| kind(finding).starts_with("confirmed"))
        .map(|finding| {
            let flow = &finding["flow"];
            let part = |field: &str| flow[field].to_string();
            let parts = ["source", "destination", "protocol", "port"].map(part);
            format!("{} {}", parts.join(" "), kind(finding))
        })
        .collect()
}

/// Holds the rehearsal of a world's own snapshot against a run of the world.
fn as_the_world(name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("saved.json");
    let mut snapshot = World::builtin(name)
        .unwrap()
        .expand()
        .unwrap()
        .plan
        .snapshot;
    // As a real one: with the authority of a cluster that is elsewhere.
    let cluster = snapshot["describe-cluster"]["cluster"].as_object_mut();
    cluster.unwrap().insert(
        "certificateAuthority".to_owned(),
        json!({"data": "c29tZWJvZHkgZWxzZQ=="}),
    );
    fs::write(&file, Value::Object(snapshot).to_string()).unwrap();
    let (world_exit, world, _) = report("--world", name.as_ref());
    let (exit, rehearsal, said) = report("--snapshot", file.as_os_str());
    assert_eq!(exit, world_exit, "{said}");
    assert!(said.contains("limits of a rehearsal"), "{said}");
    assert!(!confirmed(&world).is_empty());
    assert_eq!(confirmed(&rehearsal), confirmed(&world));
}

#[test]
fn the_snapshot_of_the_default_world_ends_as_the_world() {
    as_the_world("default");
}

#[test]
fn the_snapshot_of_a_world_with_branch_interfaces_ends_as_the_world() {
    as_the_world("pod-sg");
}

/// Holds a rehearsal of the snapshot in a vector against the model: no finding is a contradiction.
fn nothing_contradicts(vector: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("vectors/{vector}.json"));
    no_contradiction(&file)
}

/// The same of the snapshot in any file.
fn no_contradiction(file: &Path) -> Value {
    let (_, report, _) = report("--snapshot", file.as_os_str());
    let findings = report["findings"].as_array().unwrap();
    assert!(!findings.is_empty());
    for finding in findings {
        let kind = finding["kind"].as_str().unwrap();
        assert!(!kind.starts_with("contradiction"), "{finding:#}");
    }
    report
}

#[test]
fn the_snapshot_in_a_vector_is_rehearsed_and_nothing_contradicts_it() {
    let confirmed = confirmed(&nothing_contradicts("A01"));
    for kind in ["confirmed_allow", "confirmed_deny"] {
        assert!(confirmed.iter().any(|one| one.ends_with(kind)), "{kind}");
    }
}

/// Instances list their own interfaces; what is on none, like those of the control plane, is not there.
#[test]
fn a_snapshot_without_the_list_of_interfaces_is_rehearsed_by_its_instances() {
    let mut snapshot = World::builtin("default")
        .unwrap()
        .expand()
        .unwrap()
        .plan
        .snapshot;
    let listed = snapshot.remove("describe-network-interfaces").unwrap();
    let listed = listed["NetworkInterfaces"].as_array().unwrap();
    let reservations = snapshot["describe-instances"]["Reservations"].as_array_mut();
    let instances = reservations.unwrap().iter_mut();
    for instance in instances.flat_map(|it| it["Instances"].as_array_mut().unwrap()) {
        let id = instance["InstanceId"].clone();
        let own = listed
            .iter()
            .filter(|it| it["Attachment"]["InstanceId"] == id);
        let own: Vec<Value> = own.cloned().collect();
        instance["NetworkInterfaces"] = json!(own);
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("by-instances.json");
    fs::write(&file, Value::Object(snapshot).to_string()).unwrap();
    let report = no_contradiction(&file);
    let confirmed = confirmed(&report);
    assert!(
        confirmed.iter().any(|one| one.ends_with("confirmed_allow")),
        "{confirmed:?}"
    );
    let gaps = report["gaps"].to_string();
    assert!(
        gaps.contains("interfaces are those that instances list"),
        "{gaps}"
    );
}

/// Its groups let nobody hear of anybody, so that nothing can be confirmed.
#[test]
fn the_snapshot_of_a_cluster_in_which_nothing_works_is_rehearsed() {
    let report = nothing_contradicts("F03");
    assert_eq!(report["agents"]["expected"], 6);
    assert_eq!(confirmed(&report), BTreeSet::new());
}

#[test]
#[ignore = "needs two minutes: 57 agents"]
fn sixty_hosts_of_a_larger_cluster_are_rehearsed() {
    let mut world = World::builtin("default").unwrap();
    let first = world.hosts["node-1"].clone();
    for number in 0..75_u8 {
        let address = |last: u8| format!("10.0.1.{last}").parse().unwrap();
        let mut node = first.clone();
        let mut pod = node.pods.remove("web").unwrap();
        pod.addresses = vec![address(101 + 2 * number)];
        node.interfaces[0].addresses = vec![address(100 + 2 * number), address(101 + 2 * number)];
        node.pods.insert(format!("web-{number}"), pod);
        world.hosts.insert(format!("more-{number}"), node);
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("large.json");
    let snapshot = world.expand().unwrap().plan.snapshot;
    fs::write(&file, Value::Object(snapshot).to_string()).unwrap();
    let (_, report, said) = report("--snapshot", file.as_os_str());
    assert!(said.contains("60 of 160 hosts"), "{said}");
    assert_eq!(report["agents"]["expected"], 57);
    let findings = report["findings"].as_array().unwrap().iter();
    let contradicted = findings.filter(|finding| {
        finding["kind"]
            .as_str()
            .unwrap()
            .starts_with("contradiction")
    });
    assert_eq!(contradicted.count(), 0);
    assert!(!confirmed(&report).is_empty());
}

#[test]
fn what_is_no_snapshot_ends_with_2_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("describe-vpcs.json");
    fs::write(&file, r#"{"Vpcs": []}"#).unwrap();
    for (path, said) in [
        (file.as_path(), "cannot decode the snapshot"),
        (directory.path(), "cannot decode the snapshot"),
        (Path::new("no/such/file"), "cannot read `no/such/file`"),
        (Path::new("-"), "standard input"),
    ] {
        let output = lab(&["--snapshot".as_ref(), path.as_os_str()]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(said), "{error}");
    }
}
