//! What `check` prints, run as a process on replayed threads and on a world of the vectors.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Most lines of a run without trouble, and of one with one cause.
const LINES_MAX: (usize, usize) = (25, 40);

/// A replayed thread.
fn thread(id: &str) -> Value {
    let file = format!("../tests/field/{id}.thread.json");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Runs `check` on a world.
fn check(world: &Value, arguments: &[&str]) -> Output {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("snapshot.json");
    fs::write(&path, world.to_string()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .arg("check")
        .args(arguments)
        .args(["--snapshot", path.to_str().unwrap()])
        .output()
        .unwrap()
}

/// Exit code and standard output.
fn said(world: &Value, arguments: &[&str]) -> (Option<i32>, String) {
    let output = check(world, arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        !text.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), text)
}

#[test]
fn one_cause_ends_with_what_to_type() {
    let (code, text) = said(&thread("webhook-port-behind-service")["snapshot"], &[]);
    assert_eq!(code, Some(1));
    assert!(text.lines().count() <= LINES_MAX.1, "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_world_with_its_fix_passes() {
    let (code, text) = said(
        &thread("webhook-port-behind-service")["fixes"]["9443-from-CP"],
        &[],
    );
    assert_eq!(code, Some(0));
    assert!(text.lines().count() <= LINES_MAX.0, "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn several_causes_are_told_one_by_one_and_the_last_lines_mend_all() {
    let (code, text) = said(&thread("metrics-server-two-gaps")["snapshot"], &[]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(text);
}

#[test]
fn a_policy_leaves_it_unsure() {
    let (code, text) = said(&thread("policy-beside-groups")["snapshot"], &[]);
    assert_eq!(code, Some(3));
    insta::assert_snapshot!(text);
}

#[test]
fn a_flow_that_nobody_needs_is_judged_when_it_is_asked_for() {
    let world = &thread("bastion-private-endpoint")["snapshot"];
    let (code, _) = said(world, &[]);
    assert_eq!(code, Some(0));
    let (code, text) = said(world, &["10.40.2.99", "10.40.1.11", "443", "--terraform"]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(text);
}

#[test]
fn ends_and_ports_go_by_name() {
    let world = &thread("webhook-port-behind-service")["snapshot"];
    let (code, text) = said(world, &["control plane", "svc/chaos/chaos-hook", "9443"]);
    assert_eq!(code, Some(1));
    let by_address = said(
        world,
        &[
            "10.40.1.11",
            "10.40.2.21",
            "9443",
            "10.40.2.11",
            "10.40.2.21",
            "9443",
        ],
    );
    assert_eq!((code, text), by_address);
    let (code, _) = said(world, &["chaos/chaos-hook-7f", "control plane", "https"]);
    assert_eq!(code, Some(0));
}

#[test]
fn the_json_has_cause_and_repair() {
    let (code, text) = said(&thread("pod-group-and-dns")["snapshot"], &["-o", "json"]);
    assert_eq!(code, Some(1));
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["schema"], "reachproof.check/v1");
    assert_eq!(
        (&answer["verdict"], &answer["exit_code"]),
        (&json!("fail"), &json!(1))
    );
    assert_eq!(answer["after_repairs"]["stopped"], 0);
    let causes = answer["causes"].as_array().unwrap();
    let dns = causes
        .iter()
        .find(|cause| cause["title"].as_str().unwrap().ends_with("tcp/53, udp/53"));
    let dns = dns.unwrap();
    assert_eq!(dns["gates"], json!(["sg-ingress"]));
    assert_eq!(dns["needed_by"], json!(["pod to coredns 53"]));
    for (place, protocol) in ["tcp", "udp"].iter().enumerate() {
        let command = dns["repair"]["changes"][place]["aws_cli"].as_str().unwrap();
        let end = format!("--protocol {protocol} --port 53 --source-group sg-0cd505cb2f80dd378");
        assert!(command.ends_with(&end), "{command}");
    }
}

#[test]
fn without_a_cluster_nothing_is_confirmed() {
    let mut world = thread("webhook-port-behind-service")["snapshot"].take();
    world.as_object_mut().unwrap().remove("describe-cluster");
    let (code, text) = said(&world, &[]);
    assert_eq!(code, Some(3));
    let last = text.lines().last().unwrap();
    assert!(
        last.starts_with("UNSURE the snapshot has no cluster"),
        "{text}"
    );
}

#[test]
fn explain_names_the_service_that_holds_an_interface_and_what_to_type() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("snapshot.json");
    fs::write(&path, thread("alb-to-fargate")["snapshot"].to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args(["explain", "10.40.100.8", "10.40.2.50", "8080"])
        .args(["--snapshot", path.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "10.40.100.8: eni-4c9ef238f8f5db154 is of a load balancer (ELB app/k8s-shop/0123456789abcdef)",
        "is of a Fargate pod (aws-k8s-fargate)",
        "\nFAIL   10.40.100.8 -> 10.40.2.50 tcp/8080: sg-ingress at eni-85bae17a7d4f30a34",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert!(
        text.ends_with("then: the model lets it pass; nothing was applied\n"),
        "{text}"
    );
}

#[test]
fn words_that_make_no_flow_are_an_error() {
    let world = &thread("bastion-private-endpoint")["snapshot"];
    for arguments in [
        &["10.40.2.99", "10.40.1.11"][..],
        &["10.40.2.99", "10.40.1.11", "htps"],
        &["10.40.2.99", "10.40.1.11", "tcp"],
        &["nobody", "10.40.1.11", "https"],
    ] {
        let output = check(world, arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        assert!(
            String::from_utf8(output.stderr)
                .unwrap()
                .starts_with("error: ")
        );
    }
}
